"""Findings in the formats that programs read: OPA's JSON, SARIF 2.1.0 and GitHub's workflow commands."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from gateway.core.policy.lint.finding import PAGE, Check, Finding, Severity
from gateway.core.policy.lint.registry import CHECKS
from gateway.core.types import Document, Json

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def as_json(found: Iterable[Finding]) -> Document:
    """`{"errors": […], "warnings": […]}`, each as `opa check --format json` has its errors, with a fix besides."""
    listed: dict[Severity, list[Json]] = {severity: [] for severity in Severity}
    for finding in found:
        listed[finding.severity].append(
            {
                "message": finding.reason,
                "code": finding.rule,
                "location": {"file": finding.file, "row": finding.place.line, "col": finding.place.column},
                "fix": finding.fix,
                "docs": finding.docs,
            }
        )
    return {"errors": listed[Severity.ERROR], "warnings": listed[Severity.WARNING]}


def as_sarif(found: Iterable[Finding], *, version: str) -> Document:
    """A SARIF log (OASIS SARIF 2.1.0) of one run by phigate's `version`. Files are relative URI references."""
    index = {one.name: number for number, one in enumerate(CHECKS)}
    driver: Document = {"name": "phigate", "semanticVersion": version, "rules": [_rule(one) for one in CHECKS]}
    results: list[Json] = [_result(finding, index[finding.rule]) for finding in found]
    run: Document = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def as_github(finding: Finding) -> str:
    """A line that GitHub shows beside the source: a workflow command, escaped as its toolkit does."""
    place = f"line={finding.place.line},col={finding.place.column}"
    title = _property(f"phigate {finding.rule}")
    message = _data(f"{finding.reason}\nFix: {finding.fix} ({finding.docs})")
    return f"::{finding.severity.value} file={_property(finding.file)},{place},title={title}::{message}"


def _rule(one: Check) -> Document:
    text = f"{one.why} Fix: {one.fix}"
    shown = [f"\n\n{word}:\n\n```rego\n{body}\n```" for word, body in (("Wrong", one.bad), ("Right", one.good)) if body]
    return {
        "id": one.name,
        "shortDescription": {"text": one.name.replace("-", " ").capitalize()},
        "fullDescription": {"text": one.why},
        "help": {"text": f"{text} See {PAGE}#{one.name}.", "markdown": text + "".join(shown)},
        "defaultConfiguration": {"level": one.severity.value},
    }


def _result(finding: Finding, index: int) -> Document:
    region: Document = {"startLine": finding.place.line, "startColumn": finding.place.column}
    artifact: Document = {"uri": quote(finding.file)}
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": f"{finding.reason} Fix: {finding.fix}"},
        "locations": [{"physicalLocation": {"artifactLocation": artifact, "region": region}}],
    }


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
