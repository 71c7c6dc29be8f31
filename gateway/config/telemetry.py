"""`[metrics]` and `[telemetry]`: where the gateway can be seen running. Both are off unless they are configured."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.config import outside, values
from gateway.config.table import Table, Wrong, did_you_mean, shown
from gateway.process import LogFormat
from gateway.telemetry.settings import TelemetryConfig

_EXTRA = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def decode(top: Table, base: Path, environ: Mapping[str, str]) -> TelemetryConfig:
    """Both tables."""
    scraped = top.table("metrics")
    metrics = scraped.take("listen", values.optional(values.listen), None)
    scraped.finish()
    table = top.table("telemetry")
    endpoint = table.take("otlp_endpoint", values.optional(values.upstream_url), None)
    table.belongs(
        "otlp_endpoint", "allow_http", "otlp_headers_env", "otlp_headers_file", "sample_ratio", "service_name"
    )
    allow_http = table.take("allow_http", values.boolean, False)
    if endpoint is not None and not allow_http and values.is_plain_remote(endpoint):
        what = "is http beyond this machine, so who calls what and when could be read on the way"
        table.fault("otlp_endpoint", what, "use https, or say allow_http = true if the network itself is encrypted")
    if endpoint is not None and not _installed():
        table.fault("otlp_endpoint", "needs an extra that is not installed", "pip install 'phigate[telemetry]'")
    config = TelemetryConfig(
        metrics=metrics,
        otlp_endpoint=endpoint,
        otlp_headers={
            **table.take("otlp_headers_env", outside.headers_from_environment(environ), {}),
            **table.take("otlp_headers_file", outside.headers_from_files(base), {}),
        },
        sample_ratio=table.take("sample_ratio", _ratio, 1.0),
        service_name=table.take("service_name", values.text, "phigate"),
    )
    table.finish()
    return config


def log_format(value: Any) -> LogFormat:
    """`text` or `json`."""
    name = values.text(value)
    known = [each.value for each in LogFormat]
    if name not in known:
        raise Wrong(f"names no form of logs ({shown(name)})", did_you_mean(name, known))
    return LogFormat(name)


def _installed() -> bool:
    try:
        return all(importlib.util.find_spec(name) for name in _EXTRA)
    except ModuleNotFoundError:  # Of the package that it would be in.
        return False


def _ratio(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise Wrong("must be a share", "use 0 to 1, for example 0.1")
    return float(value)
