"""How the demo looks: headings, short sentences, real JSON, one column of text that fits a README."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

WIDTH = 100
_INDENT = "  "
_MASKED = r"\[[A-Z_]+\]"
"""What masking puts in a value's place: its class in brackets."""


@dataclass(slots=True)
class Screen:
    """Writes the story to a console, at most 100 columns wide."""

    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=False))
    _step: int = 0

    def __post_init__(self) -> None:
        self.console.width = min(WIDTH, self.console.width) if self.console.is_terminal else WIDTH

    @property
    def room(self) -> int:
        """Columns for what commands print."""
        return self.console.width - len(_INDENT)

    def title(self, text: str, *lines: str) -> None:
        """The head of the story."""
        self._print(Text(text, style="bold"))
        for line in lines:
            self.say(line)
        self.gap()

    @contextmanager
    def starting(self, name: str, about: str) -> Iterator[None]:
        """Progress of a part that is being started."""
        with self.console.status(f"starting {name} …") if self.console.is_terminal else _nothing():
            yield
        self._print(Text.assemble((f"{_INDENT}✔ ", "green"), (f"{name:<9}", "bold"), about))

    def heading(self, text: str) -> None:
        """The next step of the story."""
        self._step += 1
        self.gap()
        line = f"{self._step}. {text} "
        self._print(Text(line + "─" * (self.console.width - len(line)), style="bold cyan"))

    def say(self, text: str) -> None:
        """A sentence or two."""
        for line in textwrap.wrap(text, self.console.width - len(_INDENT)):
            self._print(Text(_INDENT + line))

    def asks(self, who: str, tool: str, argument: str) -> None:
        """What an agent sends."""
        self._print(Text.assemble((_label(who), "bold"), f"{tool}  ", (argument, "italic")))

    def verdict(self, effect: str, text: str, style: str) -> None:
        """What the gateway decided, in one word, and why."""
        first, *rest = self._beside_label(f"{effect} · {text}")
        self._print(Text.assemble((_label("gateway"), "bold"), (effect, f"bold {style}"), first.removeprefix(effect)))
        for line in rest:
            self._print(Text(_label("") + line))

    def command(self, text: str) -> None:
        """A command that the reader could type; never broken over lines, so that it can be copied."""
        self.console.print(Text(f"{_INDENT}$ {text}", style="yellow"), soft_wrap=True)

    def output(self, text: str) -> None:
        """What a command printed."""
        for line in text.rstrip().splitlines():
            self._print(Text(f"{_INDENT}{line}".rstrip(), style="dim"))

    def json(self, value: object, *, more: str = "") -> None:
        """A value as JSON, one member a line; `more` says what was left out."""
        for line in json.dumps(value, indent=2, ensure_ascii=False).splitlines():
            self._print(_coloured(f"{_INDENT}{_INDENT}{line}"))
        if more:
            self._print(Text(f"{_INDENT}{_INDENT}{more}", style="dim"))

    def rows(self, rows: list[object], *, show: int) -> None:
        """The first rows of a result, one a line, and how many more there are."""
        for row in rows[:show]:
            self._print(_coloured(f"{_INDENT}{_INDENT}{json.dumps(row, ensure_ascii=False)}"))
        if len(rows) > show:
            self._print(Text(f"{_INDENT}{_INDENT}… and {len(rows) - show} more rows", style="dim"))

    def beside(self, left: tuple[str, object], right: tuple[str, object]) -> None:
        """Two JSON values side by side, each under its caption."""
        width = (self.console.width - 3 * len(_INDENT)) // 2
        self._row(width, Text(left[0], style="dim"), Text(right[0], style="dim"))
        for before, after in zip(_lines(left[1]), _lines(right[1]), strict=True):
            pieces = itertools.zip_longest(_wrapped(before, width), _wrapped(after, width), fillvalue="")
            for one, other in pieces:
                self._row(width, Text(one), _coloured(other))

    def record(self, text: str) -> None:
        """Where in the evidence the step stands."""
        label = "evidence"
        for line in self._beside_label(text):
            self._print(Text.assemble((_label(label), "bold"), (line, "blue")))
            label = ""

    def gap(self) -> None:
        self.console.print()

    def _beside_label(self, text: str) -> list[str]:
        return textwrap.wrap(text, self.console.width - len(_label(""))) or [""]

    def _row(self, width: int, left: Text, right: Text) -> None:
        gap = " " * (width - len(left) + len(_INDENT))
        self._print(Text.assemble(_INDENT, left, gap if right else "", right))

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)


def _label(who: str) -> str:
    return f"{_INDENT}{who:<10}"


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _lines(value: object) -> list[str]:
    return json.dumps(value, indent=2, ensure_ascii=False).splitlines()


def _wrapped(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + len(_INDENT))
    return textwrap.wrap(line, width, subsequent_indent=indent, drop_whitespace=True) or [""]


def _coloured(line: str) -> Text:
    """The line with what was masked in it standing out."""
    text = Text(line)
    text.highlight_regex(_MASKED, "magenta")
    return text
