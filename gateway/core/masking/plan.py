"""The mask plan carried out: value in, masked value and manifest out."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.types import Document, Json


@dataclass(frozen=True, slots=True)
class Masked:
    """A masked value and the manifest of what was done: class, place, detector and operator, never the value."""

    value: Json = field(repr=False)
    manifest: Document = field(default_factory=dict)
    """`{"counts": {class: n}, "items": [{path, class, detector, operator}…] (bounded), "truncated": bool}`"""

    @property
    def count(self) -> int:
        """How many values were masked."""
        counts = self.manifest.get("counts", {})
        assert isinstance(counts, dict)
        return sum(n for n in counts.values() if isinstance(n, int))
