"""What people are shown things on, and how times are written there."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

_WIDE = 200


def console() -> Console:
    """What trees and tables are drawn on: as wide as the terminal, and wide where there is none to be too narrow."""
    drawn = Console(highlight=False)
    return drawn if drawn.is_terminal else Console(highlight=False, width=_WIDE)


def minute(stamp: str) -> str:
    """A leaf's time for a column whose title says that it is UTC."""
    return datetime.fromisoformat(stamp).astimezone(UTC).strftime("%Y-%m-%d %H:%M")
