"""docs/interop.md: the matrix as the last run of `make interop` found it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from tests import real_parts
from tests.interop.clients import Kind
from tests.interop.matrix import NO, NOTHING, STEPS, YES, Cell
from tests.interop.probe import Spoken
from tests.interop.upstreams import Real

_ROOT = Path(__file__).resolve().parents[2]
PAGE = _ROOT / "docs" / "interop.md"
_QUOTE = re.compile(r"(?<=<!-- matrix -->\n).*(?=<!-- /matrix -->)", re.DOTALL)

_NPM = {
    "TypeScript 2": ("clients", "@modelcontextprotocol/client"),
    "TypeScript 1": ("clients", "@modelcontextprotocol/sdk"),
    "Inspector": ("clients", "@modelcontextprotocol/inspector"),
    "server-postgres": ("servers", "@modelcontextprotocol/server-postgres"),
    "server-filesystem": ("servers", "@modelcontextprotocol/server-filesystem"),
    "server-everything": ("servers", "@modelcontextprotocol/server-everything"),
}
"""Part -> its lock in tests/node, and the package there."""
_LOCKED = {
    "Python 1": ("mcp-v1", "mcp"),
    "mcp-alchemy": ("mcp-alchemy", "mcp-alchemy"),
    "fhir-mcp-server": ("fhir-mcp", "fhir-mcp-server"),
}
"""Part -> its lock in tests/python, and the package there."""


def version_of(part: str) -> str:
    """The version of a client or server that the tests install."""
    if part in _NPM:
        directory, package = _NPM[part]
        told = real_parts.npm_set(directory) / "node_modules" / package / "package.json"
        return str(json.loads(told.read_text())["version"])
    if part in _LOCKED:
        lock, package = _LOCKED[part]
        text = (_ROOT / "tests" / "python" / f"{lock}.txt").read_text()
        (found,) = re.findall(rf"^{package}==(\S+)", text, re.MULTILINE)
        return str(found)
    return metadata.version("mcp")


def row(cell: Cell) -> str:
    """One line of the matrix."""
    verdicts = [cell.verdicts[step] for step in STEPS]
    return _line(cell.upstream.name, *_named(cell.client), cell.version or NOTHING, *verdicts)


def write(cells: Sequence[Cell], spoken: Iterable[tuple[Real, Spoken]]) -> None:
    """Put what a run found where it belongs in the page."""
    text = _QUOTE.sub(lambda _: "\n".join(_matrix(cells, spoken)) + "\n", PAGE.read_text())
    PAGE.write_text(text)


def _matrix(cells: Sequence[Cell], spoken: Iterable[tuple[Real, Spoken]]) -> Iterable[str]:
    yield "\n## Upstreams\n"
    yield _line("upstream", "what it is", "transport", "`initialize` gets", "`server/discover` gets", "configured era")
    yield _rule(6)
    for real, each in spoken:
        yield upstream_row(real, each)
    yield "\n## In short\n"
    yield "How many of the steps that both sides can take came out as they should.\n"
    yield from _summary(cells)
    yield "\n## Every client at every upstream\n"
    yield _line("upstream", "client", "asked for", "speaks", *STEPS)
    yield _rule(len(STEPS) + 4)
    yield from map(row, cells)
    faults = [(cell, step, why) for cell in cells for step, why in cell.why.items()]
    if faults:
        yield "\nWhat went wrong:\n"
        yield from (
            f"- {cell.upstream.name}, {' '.join(_named(cell.client))}, {step}: `{why}`" for cell, step, why in faults
        )


def upstream_row(real: Real, spoken: Spoken) -> str:
    """One line of the table of upstreams."""
    settings = real.upstream.settings
    transport = "stdio" if "command" in settings else "Streamable HTTP"
    what = f"{real.package} {version_of(real.package)}"
    return _line(real.name, what, transport, spoken.initialize, spoken.discover, str(settings.get("era", "auto")))


def _summary(cells: Sequence[Cell]) -> Iterable[str]:
    names = list(dict.fromkeys(cell.upstream.name for cell in cells))
    yield _line("client", "asked for", *names)
    yield _rule(len(names) + 2)
    for client in dict.fromkeys(cell.client for cell in cells):
        ours = [next(cell for cell in cells if (cell.client, cell.upstream.name) == (client, name)) for name in names]
        yield _line(*_named(client), *map(_score, ours))


def _score(cell: Cell) -> str:
    said = list(cell.verdicts.values())
    return f"{said.count(YES)}/{said.count(YES) + said.count(NO)}"


def _named(client: Kind) -> tuple[str, str]:
    return f"{client.name} ({version_of(client.name)})", client.era


def _line(*fields: str) -> str:
    return f"| {' | '.join(fields)} |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns
