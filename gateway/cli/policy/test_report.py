"""What `phigate policy test` says, for people; the lines that OPA prints as well are as OPA prints them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import orjson
from rich.console import Console
from rich.text import Text

from gateway.core.policy.compare import Absent, Difference
from gateway.core.policy.outcome import Halt, Outcome
from gateway.core.types import Json
from gateway.pdp.coverage import Coverage, Covered

WORDS = ("PASS", "FAIL", "ERROR", "SKIPPED")

_COLOURS = {"PASS": "green", "FAIL": "red", "ERROR": "red", "SKIPPED": "yellow"}
_LINE = "-" * 80
_VALUE_MAX = 400
_VALUES_SHOWN = 3


def tests(console: Console, outcomes: list[Outcome], *, verbose: bool) -> None:
    """Each test that did not pass, or with `verbose` each, and how many did what."""
    shown = [outcome for outcome in outcomes if verbose or not outcome.passed]
    for outcome in shown:
        one(console, outcome, verbose=verbose)
    if shown:
        _print(console, _LINE)
    words = [word for outcome in outcomes for word in _words(outcome)]
    for word in WORDS:
        if word in words:
            _print(console, (f"{word}: {words.count(word)}/{len(words)}", _COLOURS[word]))


def one(console: Console, outcome: Outcome, *, verbose: bool) -> None:
    """One test, and all that is known of why it did not pass."""
    _print(console, f"{outcome.file}:{outcome.place.line}:")
    took = f" ({duration(outcome.duration_ns)})" if outcome.duration_ns else ""
    _print(console, f"{outcome.title}: ", (outcome.word, _COLOURS[outcome.word]), took)
    for depth, name, word in _parts(outcome):
        if verbose or word != "PASS":
            _print(console, f"{'  ' * depth}{name}: ", (word, _COLOURS[word]))
    for text in (outcome.fault, outcome.output.rstrip()):
        if text:
            _print(console, "\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    for line in (*_differences(outcome), *_halts(outcome)):
        console.print(line, soft_wrap=True)


def covered(console: Console, coverage: Coverage, texts: Mapping[str, str]) -> None:
    """The lines that no test came to, each in its place, and the share that they are. `texts`: the sources by path."""
    for file in coverage.files:
        colour = "red" if file.missed else "green"
        count = len(file.covered) + len(file.missed)
        told = f"{file.percent:6.2f} %  {file.file}  ({len(file.covered)} of {count} lines)"
        _print(console, (told, colour))
        for line in _excerpt(file, texts.get(file.file, "").split("\n")):
            console.print(line, soft_wrap=True)
    _print(console, f"coverage: {coverage.percent:.2f} %")


def duration(ns: int) -> str:
    """A time as Go prints it: in the largest unit of which there is one."""
    for unit, size in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)):
        if ns >= size:
            return f"{ns / size:.9g}{unit}"
    return f"{ns}ns"


def _words(outcome: Outcome) -> list[str]:
    """What a test counts as; each parameter of a rule is a test of its own."""
    return ["PASS" if passed else "FAIL" for _, passed in outcome.parts] or [outcome.word]


def _parts(outcome: Outcome) -> Iterator[tuple[int, str, str]]:
    """The parameters of a rule: how deep each is, its name, and what it and those below it came to."""
    told: set[tuple[str, ...]] = set()
    for names, _ in outcome.parts:
        for depth in range(1, len(names) + 1):
            prefix = names[:depth]
            if prefix not in told:
                told.add(prefix)
                passed = all(passed for each, passed in outcome.parts if each[:depth] == prefix)
                yield depth, prefix[-1], "PASS" if passed else "FAIL"


def _differences(outcome: Outcome) -> Iterator[Text]:
    if outcome.differences:
        yield Text("\n  ").append("- wanted", "green").append("  ").append("+ got", "red")
    for difference in outcome.differences:
        yield Text(f"  {difference.path}")
        yield from _sides(difference)
    if outcome.differences:
        for reason in outcome.reasons:
            yield Text(f"  reason given: {reason}")
        yield Text("")


def _sides(difference: Difference) -> Iterator[Text]:
    for mark, value, colour in (("-", difference.want, "green"), ("+", difference.got, "red")):
        if not isinstance(value, Absent):
            yield Text(f"    {mark} {_value(value)}", colour)
    if isinstance(difference.got, Absent) and difference.path == "approval":
        yield Text("    + no approval is asked for", "red")


def _halts(outcome: Outcome) -> Iterator[Text]:
    if outcome.halts:
        yield Text("")
    for halt in outcome.halts:
        first, _, more = halt.text.partition("\n")
        yield (
            Text(f"  {outcome.file}:{halt.line}: ")
            .append(f"{first}{' …' if more else ''}", "bold")
            .append("  does not hold")
        )
        yield from _values(halt)
    if outcome.halts:
        yield Text("")


def _values(halt: Halt) -> Iterator[Text]:
    for values in halt.values[:_VALUES_SHOWN]:
        for name, held in values.items():
            told = _value(held[0]) if isinstance(held, list) and held else "(undefined)"
            yield Text(f"    {name} = {told}")


def _value(value: Json) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"


def _excerpt(file: Covered, lines: list[str]) -> Iterator[Text]:
    """The lines that were missed with one before and behind."""
    missed = set(file.missed)
    shown = sorted({near for line in missed for near in (line - 1, line, line + 1) if 1 <= near <= len(lines)})
    last = 0
    for number in shown:
        if last and number != last + 1:
            yield Text("         …")
        last = number
        mark, colour = (">", "red") if number in missed else (" ", "")
        yield Text(f"  {mark} {number:5} | {lines[number - 1].expandtabs(4)}", colour)


def _print(console: Console, *parts: str | tuple[str, str]) -> None:
    console.print(Text.assemble(*parts), soft_wrap=True)
