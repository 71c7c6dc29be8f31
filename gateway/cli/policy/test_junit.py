"""The outcome of a policy's tests as JUnit XML, which build servers read: a suite a file, a case a test."""

from __future__ import annotations

import re
from itertools import groupby
from xml.etree import ElementTree

from gateway.core.policy.outcome import Outcome

_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(outcomes: list[Outcome], details: list[str]) -> bytes:
    """The report. `details` has, for each outcome, what to say of one that did not pass."""
    root = ElementTree.Element("testsuites", {"name": "phigate policy test", **_counts(outcomes)})
    pairs = list(zip(outcomes, details, strict=True))
    for file, group in groupby(pairs, key=lambda pair: pair[0].file):
        listed = list(group)
        suite = ElementTree.SubElement(root, "testsuite", {"name": file, **_counts([outcome for outcome, _ in listed])})
        for outcome, detail in listed:
            _case(suite, outcome, detail)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _case(suite: ElementTree.Element, outcome: Outcome, detail: str) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=outcome.package,
        name=_text(outcome.name),
        file=outcome.file,
        line=str(outcome.place.line),
        time=_seconds(outcome.duration_ns),
    )
    match outcome.word:
        case "SKIPPED":
            ElementTree.SubElement(case, "skipped")
        case "FAIL":
            ElementTree.SubElement(case, "failure", message="failed").text = _text(detail)
        case "ERROR":
            first = outcome.fault.strip().partition("\n")[0]
            ElementTree.SubElement(case, "error", message=_text(first)).text = _text(detail)
    if outcome.output:
        ElementTree.SubElement(case, "system-out").text = _text(outcome.output)


def _counts(outcomes: list[Outcome]) -> dict[str, str]:
    words = [outcome.word for outcome in outcomes]
    return {
        "tests": str(len(words)),
        "failures": str(words.count("FAIL")),
        "errors": str(words.count("ERROR")),
        "skipped": str(words.count("SKIPPED")),
        "time": _seconds(sum(outcome.duration_ns for outcome in outcomes)),
    }


def _seconds(ns: int) -> str:
    return f"{ns / 1e9:.6f}"


def _text(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return _NO_XML.sub("\ufffd", text)
