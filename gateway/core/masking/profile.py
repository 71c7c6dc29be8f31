"""What PHI a value holds, as policy is told: classes, places and counts, never the values."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.types import Document


@dataclass(frozen=True, slots=True)
class Profile:
    """The answer to Inspect. `document` is what goes into the decision input as `profile`."""

    document: Document = field(default_factory=dict)
    """`{"classes": {class: count}, "paths": [distinct paths, indices as *, bounded], "rows": n, "patients": n, "bytes": n}`"""
