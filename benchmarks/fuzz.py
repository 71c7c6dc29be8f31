"""Odd clients and odd upstreams against a whole gateway, for minutes: `python -m benchmarks.fuzz --minutes 10`.

The grammars, and what must hold of every answer, are those of tests/fuzz; `make test` runs them for seconds. A finding
is shrunk and printed as hypothesis prints it.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.e2e import issuer
from tests.fuzz import asking, parts
from tests.fuzz.asking import Person
from tests.fuzz.grammar import CALLED, OFTEN

ROUND = 500
"""Examples between two looks at the clock."""


def bounded(examples: int) -> settings:
    """How much is tried. Nothing is remembered from run to run: who wants a run again gives its seed again."""
    return settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))


def clients(person: Person, examples: int) -> Callable[[], None]:
    """So many odd requests, with an upstream that answers well."""

    @bounded(examples)
    @given(question=asking.questions())
    def ask(question: parts.Question) -> None:
        asking.check(question, person.ask(question, asking.GOOD))

    return ask


def upstreams(person: Person, examples: int) -> Callable[[], None]:
    """So many odd answers, to a client that asks well."""

    @bounded(examples)
    @given(
        question=asking.questions(unspoiled=True),
        script=st.sampled_from([*OFTEN, *CALLED]).flatmap(asking.scripts),
    )
    def answer(question: parts.Question, script: parts.Script) -> None:
        asking.check(question, person.ask(question, script))

    return answer


def main() -> None:
    """Try until the time is up, then check what the gateway left."""
    parser = argparse.ArgumentParser(prog="benchmarks.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    until = time.monotonic() + options.minutes * 60
    with (
        tempfile.TemporaryDirectory() as place,
        issuer.running() as people,
        parts.running(Path(place), people) as house,
    ):
        person, tried = asking.arrive(house), 0
        while time.monotonic() < until:
            for kind in (clients, upstreams):
                seed(options.seed + tried)(kind(person, ROUND))()
                tried += ROUND
            print(f"{tried} exchanges tried, none found wrong", flush=True)
    print("each exchange has one end, the evidence verifies, nothing is noted in the clear")


if __name__ == "__main__":
    main()
