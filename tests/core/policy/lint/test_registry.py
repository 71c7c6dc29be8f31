"""Each check finds something in its bad example and nothing in its good one; docs/lint.md shows both."""

import re
from pathlib import Path

import orjson
import pytest

from gateway.core.policy.lint import Schemas
from gateway.core.policy.lint.registry import CHECKS
from tests.core.policy.lint.policies import found, review

ROOT = Path(__file__).parents[4]
SCHEMAS = Schemas(orjson.loads((ROOT / "policies" / "schema" / "input.json").read_bytes()))


def example(check, body):
    """What is found in an example, in the source that it is meant for."""
    if not check.in_test:
        return found(body, schemas=SCHEMAS)
    text = f"package gateway.call_test\n\n{body}\n"
    return {finding.rule for finding in review(text, path="gateway/call/call_test.rego", schemas=SCHEMAS)}


@pytest.mark.parametrize("check", [one for one in CHECKS if one.bad], ids=lambda check: check.name)
def test_the_bad_example_is_found(check):
    assert check.name in example(check, check.bad)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_the_good_example_has_no_finding_at_all(check):
    assert example(check, check.good) == set()


def test_every_check_has_its_own_name_and_says_why_and_what_to_do():
    names = [check.name for check in CHECKS]

    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []
    assert [check.name for check in CHECKS if not (check.why.endswith(".") and check.fix.endswith("."))] == []
