"""The house rules that no linter knows: sizes, the mirror of core in its tests, and what core may not ask for."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = sorted((ROOT / "gateway").rglob("*.py"))
CORE = [file for file in SOURCE if (ROOT / "gateway" / "core") in file.parents]
LONGEST_FILE = 400
LONGEST_FUNCTION = 60
CLOCKS = {"now", "utcnow", "today"}
TESTED_THROUGH = {
    # The enforcement and its words are tested by playing whole calls; the inner parts of an engine through the engine.
    "gateway/core/call.py": "tests/playbooks/test_stories.py",
    "gateway/core/exchange.py": "tests/playbooks/test_stories.py",
    "gateway/core/records.py": "tests/playbooks/test_stories.py",
    "gateway/core/replies.py": "tests/playbooks/test_stories.py",
    "gateway/core/waiting.py": "tests/playbooks/test_waiting.py",
    "gateway/core/facts/bounds.py": "tests/core/facts/test_sql.py",
    "gateway/core/facts/lineage.py": "tests/core/facts/test_sql.py",
    "gateway/core/masking/conform.py": "tests/core/masking/test_plan.py",
    "gateway/core/masking/cuts.py": "tests/core/masking/test_plan.py",
    "gateway/core/masking/fold.py": "tests/core/masking/test_bypasses.py",
    "gateway/core/masking/hints.py": "tests/core/masking/test_bypasses.py",
    "gateway/core/masking/known_values.py": "tests/core/masking/test_bypasses.py",
    "gateway/core/masking/layers.py": "tests/core/masking/test_bypasses.py",
    "gateway/core/masking/manifest.py": "tests/core/masking/test_plan.py",
    "gateway/core/masking/operators.py": "tests/core/masking/test_plan.py",
    "gateway/core/masking/paths.py": "tests/core/masking/test_plan.py",
    "gateway/core/masking/scan.py": "tests/core/masking/test_bypasses.py",
    "gateway/core/masking/structure.py": "tests/core/masking/test_plan.py",
    "gateway/core/masking/survey.py": "tests/core/masking/test_profile.py",
    "gateway/core/masking/tables.py": "tests/core/masking/test_bypasses.py",
    "gateway/core/masking/values.py": "tests/core/masking/test_plan.py",
    "gateway/core/policy/lint/undefined.py": "tests/core/policy/lint/test_safety.py",
}


def name(file):
    return str(file.relative_to(ROOT))


def test_no_file_is_longer_than_can_be_read_at_once():
    assert [name(file) for file in SOURCE if len(file.read_text().splitlines()) > LONGEST_FILE] == []


def test_no_function_is_longer_than_a_page():
    assert [found for file in SOURCE for found in long_functions(file)] == []


def long_functions(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None
            first = node.body[min(documented, len(node.body) - 1)].lineno
            if (node.end_lineno or first) - first >= LONGEST_FUNCTION:
                yield f"{name(file)}: {node.name}"


def test_every_module_of_core_is_tested_by_the_file_that_mirrors_it():
    untested = {file for file in CORE if has_behaviour(file) and not mirror(file).exists()}

    assert {name(file) for file in untested} - set(TESTED_THROUGH) == set()
    assert [test for test in TESTED_THROUGH.values() if not (ROOT / test).exists()] == []


def mirror(file):
    return ROOT / "tests" / file.relative_to(ROOT / "gateway").with_name(f"test_{file.name}")


def has_behaviour(file):
    branches = ast.If | ast.For | ast.While | ast.Match | ast.Try
    return any(isinstance(node, branches) for node in ast.walk(ast.parse(file.read_text())))


def test_core_never_asks_what_time_it_is():
    asked = [
        f"{name(file)}:{node.lineno}"
        for file in CORE
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
    ]

    assert asked == []


def test_nothing_is_left_to_do_later():
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X")

    assert [name(file) for file in SOURCE if any(word in file.read_text() for word in words)] == []


def test_no_test_replaces_what_it_tests():
    files = [file for file in (ROOT / "tests").rglob("*.py") if "node_modules" not in file.parts]
    mocks = "unittest" + ".mock"

    assert [name(file) for file in files if mocks in file.read_text()] == []
