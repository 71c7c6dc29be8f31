"""Every check there is, in the order of docs/lint.md. One that is not here is never asked."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core.policy.lint import (
    bounds,
    bugs,
    definitions,
    engine,
    names,
    raising,
    safety,
    schema,
    style,
    testing,
    text,
    values,
)
from gateway.core.policy.lint.finding import Check

THEMES: Mapping[str, tuple[Check, ...]] = {
    "What the engine does otherwise, or dies of": (*text.CHECKS, *engine.CHECKS),
    "Definitions": definitions.CHECKS,
    "Names": names.CHECKS,
    "Variables and negation": safety.CHECKS,
    "Schemas": schema.CHECKS,
    "Values": values.CHECKS,
    "What fails the decision": raising.CHECKS,
    "What grows without end": bounds.CHECKS,
    "Tests": testing.CHECKS,
    "Likely mistakes": bugs.CHECKS,
    "Style": style.CHECKS,
}

CHECKS: tuple[Check, ...] = tuple(one for checks in THEMES.values() for one in checks)
