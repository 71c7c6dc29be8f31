"""`make interop`: every client in every era at every upstream, written into docs/interop.md."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from tests.interop import matrix, page, probe
from tests.interop.clients import KINDS


def main() -> int:
    """Run the whole matrix and write the page; 1 when a step of any cell did not come out as it should."""
    with (
        tempfile.TemporaryDirectory() as place,
        Progress(console=Console(stderr=True), transient=True) as progress,
        matrix.gateway(Path(place)) as (running, real),
    ):
        spoken = [(each, probe.ask(each)) for each in real]
        pairs = [(client, each) for each in real for client in KINDS]
        task = progress.add_task("interop", total=len(pairs))
        cells = matrix.run(running, pairs, lambda _: progress.advance(task))
    page.write(cells, spoken)
    faults = [(cell, step) for cell in cells for step in cell.why]
    print(f"{len(cells)} cells, {len(faults)} steps that did not come out as they should: docs/interop.md")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
