"""What is told of a running gateway, and to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TelemetryConfig:
    """`[metrics]` and `[telemetry]`."""

    metrics: tuple[str, int] | None = None
    """Host and port where /metrics is served; None: nowhere."""
    otlp_endpoint: str | None = None
    """Base URL of the OpenTelemetry collector that gets traces; None: there are none."""
    otlp_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    sample_ratio: float = 1.0
    """Share of the traces that begin here which are recorded."""
    service_name: str = "phigate"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker stands among its supervisor's, and where it leaves its numbers (None: nowhere)."""

    number: int
    numbers: Path | None = None
