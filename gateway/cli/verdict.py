"""The verdict on a log: a checkpoint to hold it against, how far verification has come, and the report for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from gateway.cli import places
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.evidence import checkpoint
from gateway.core.evidence.checkpoint import Checkpoint
from gateway.core.evidence.note import Verifier
from gateway.core.evidence.verify import Report, Result, Status

_SHOWN = 10
"""Findings of one check that are listed; the rest are counted. `--format json` lists all."""
_STYLE = {Status.PASS: "bold green", Status.FAIL: "bold red", Status.NOT_CHECKED: "bold yellow"}


def show(console: Console, report: Report, *, origin: str) -> None:
    """Print the report for a person: one line for each check, what failed and where, and what that means."""
    console.print(Text.assemble(("Evidence log ", "bold"), (origin, "bold cyan"), f" · {report.size} leaves\n"))
    grid = Table.grid(padding=(0, 2))
    for result in report.results:
        grid.add_row(*_row(result))
    console.print(grid)
    console.print()
    if report.passed:
        skipped = sum(result.status is Status.NOT_CHECKED for result in report.results)
        rest = f" What was not checked ({skipped}) is listed above." if skipped else ""
        console.print(Text(f"Nothing was altered, removed or reordered.{rest}", style="green"))
        return
    text = (
        "This evidence is not as it was written. Keep the file as it is; compare it with your copies and checkpoints."
    )
    console.print(Text(text, style="bold red"))


def _row(result: Result) -> tuple[Text, Text]:
    text = Text.assemble(result.check.value, (f"  ({result.note})", "dim"))
    for finding in result.findings[:_SHOWN]:
        where = "the log" if finding.leaf is None else f"leaf {finding.leaf}"
        text.append(f"\n  {where}: ", style="bold red")
        text.append(places.plain(finding.detail))
    if len(result.findings) > _SHOWN:
        text.append(f"\n  and {len(result.findings) - _SHOWN} more", style="red")
    return Text(result.status.value, style=_STYLE[result.status]), text


@contextmanager
def progress(console: Console, size: int) -> Iterator[Callable[[int], None]]:
    """Show how far verification has come, on terminals only and gone when it is done."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Verifying", total=size)

        def advance(index: int) -> None:
            if index % 256 == 0:
                bar.update(task, completed=index)

        yield advance


def anchor(path: Path, verifier: Verifier) -> Checkpoint:
    """The checkpoint of this log that was kept at `path`. Raises ConfigFault, and EvidenceFault when it is none."""
    try:
        return checkpoint.verify(path.read_bytes().decode(), [verifier])
    except OSError as error:
        raise ConfigFault(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise EvidenceFault(f"{path} is no checkpoint of this log: {error}.") from None
