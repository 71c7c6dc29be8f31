"""The formats that programs read."""

from pathlib import Path

import jsonschema_rs
import orjson

from gateway.core.policy.lint import Finding, Severity, report
from gateway.core.policy.lint.registry import CHECKS
from gateway.core.policy.syntax import Place

FOUND = [
    Finding("walk-as-value", "policies/a b/é.rego", Place(3, 5), "100% wrong:\nsee", "do, this", Severity.ERROR),
    Finding("yoda", "x.rego", Place(1, 1), "why", "fix", Severity.WARNING),
]


def test_json_is_as_opa_has_it_and_tells_errors_from_warnings():
    told = report.as_json(FOUND)

    assert told["errors"] == [
        {
            "message": "100% wrong:\nsee",
            "code": "walk-as-value",
            "location": {"file": "policies/a b/é.rego", "row": 3, "col": 5},
            "fix": "do, this",
            "docs": "docs/lint.md#walk-as-value",
        }
    ]
    assert [one["code"] for one in told["warnings"]] == ["yoda"]


def test_sarif_has_every_rule_with_its_help_and_each_result_refers_to_one():
    (run,) = report.as_sarif(FOUND, version="1.2.3")["runs"]
    rules = run["tool"]["driver"]["rules"]

    assert [rule["id"] for rule in rules] == [check.name for check in CHECKS]
    assert all(rule["help"]["text"] and rule["fullDescription"]["text"] for rule in rules)
    assert [rules[result["ruleIndex"]]["id"] for result in run["results"]] == ["walk-as-value", "yoda"]
    assert [result["level"] for result in run["results"]] == ["error", "warning"]


def test_sarif_locations_are_uri_references_with_lines_and_columns():
    (run,) = report.as_sarif(FOUND, version="1.2.3")["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]

    assert place == {
        "artifactLocation": {"uri": "policies/a%20b/%C3%A9.rego"},
        "region": {"startLine": 3, "startColumn": 5},
    }


def test_sarif_fits_what_the_standard_requires():
    wanted = orjson.loads((Path(__file__).parent / "sarif.json").read_bytes())

    jsonschema_rs.validator_for(wanted).validate(report.as_sarif(FOUND, version="1.2.3"))
    jsonschema_rs.validator_for(wanted).validate(report.as_sarif([], version="1.2.3"))


def test_a_github_command_is_one_line_whose_parts_cannot_end_early():
    line = report.as_github(FOUND[0])

    assert "\n" not in line
    assert line == (
        "::error file=policies/a b/é.rego,line=3,col=5,title=phigate walk-as-value::"
        "100%25 wrong:%0Asee%0AFix: do, this (docs/lint.md#walk-as-value)"
    )


def test_a_file_name_that_looks_like_a_command_stays_a_file_name():
    odd = Finding("yoda", "a,line=9::b\n::stop.rego", Place(1, 1), "r", "f", Severity.WARNING)

    told = report.as_github(odd)

    assert told.partition(",title=")[0] == "::warning file=a%2Cline=9%3A%3Ab%0A%3A%3Astop.rego,line=1,col=1"
