"""Odd clients and odd upstreams against a whole gateway: no 500, no hang, no leak, one end each.

The short form of `python -m benchmarks.fuzz`.
"""

from __future__ import annotations

import pytest

from benchmarks import fuzz
from tests.e2e import issuer
from tests.fuzz import asking, parts

EXAMPLES = 150


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    """Somebody at a gateway that is checked when all is over."""
    with issuer.running() as people, parts.running(tmp_path_factory.mktemp("fuzz"), people) as house:
        yield asking.arrive(house)


def test_whatever_a_client_sends_it_gets_an_answer_and_nothing_breaks(person):
    fuzz.clients(person, EXAMPLES)()


def test_whatever_an_upstream_says_nothing_unmasked_leaves_and_nothing_breaks(person):
    fuzz.upstreams(person, EXAMPLES)()
