"""docs/lint.md describes every check as it is; `python -m tests.test_docs_lint` writes it anew."""

from pathlib import Path

from gateway.core.policy.lint import Severity
from gateway.core.policy.lint.finding import Check
from gateway.core.policy.lint.registry import CHECKS, THEMES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "lint.md"
BEGIN = "<!-- checks: written by `python -m tests.test_docs_lint` -->\n"
END = "<!-- /checks -->\n"


def described() -> str:
    """Every check, as the page has it between its two marks."""
    page = ["| rule | | what would go wrong | `opa check --strict` |\n|---|---|---|---|\n"]
    for one in CHECKS:
        row = (f"[`{one.name}`](#{one.name})", one.severity.value, _cell(one.why), "finds it too" if one.opa else "–")
        page.append(f"| {' | '.join(row)} |\n")
    for theme, checks in THEMES.items():
        page.append(f"\n## {theme}\n")
        page.extend(map(_section, checks))
    return "".join(page)


def _section(one: Check) -> str:
    about = (one.find.__doc__ or "").strip() if one.find.__name__ != "_nothing" else ""
    asks = f"Found: {about[0].lower()}{about[1:]} " if about else ""
    text = [f"\n### {one.name}\n\n**{one.severity.value.capitalize()}.** {one.why} {asks}Fix: {one.fix}\n"]
    if one.bad:
        where = "# in a _test.rego source\n" if one.in_test else ""
        text.append(f"\n```rego\n{where}{_shortened(one.bad)}\n```\n\nInstead:\n\n```rego\n{one.good}\n```\n")
    return "".join(text)


def _shortened(body: str) -> str:
    lines = body.split("\n")
    kept = lines if len(lines) < 20 else [*lines[:2], "\t# … and 39 lines more", lines[-1]]
    return "\n".join(line if len(line) <= 120 else f"{line[:60]}…{line[-1]}" for line in kept)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def test_the_page_describes_every_check_as_it_is():
    text = PAGE.read_text()

    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == described()


def test_what_no_check_can_see_is_said_with_what_closes_it():
    text = PAGE.read_text()

    assert "## What no check can see" in text
    for word in ("set_input", "admission", "deadline_s"):
        assert word in text


def test_every_check_says_in_its_docstring_what_it_looks_for():
    assert [one.name for one in CHECKS if not one.find.__doc__ and one.find.__name__ != "_nothing"] == []
    assert {one.severity for one in CHECKS} == set(Severity)


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + described() + END + rest.partition(END)[2])
