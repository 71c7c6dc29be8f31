"""A real Prometheus scrapes a real gateway, takes the alerts, and understands every expression of the dashboard."""

from __future__ import annotations

import shutil
import subprocess
import time

import httpx2
import pytest
import yaml

from tests.e2e import harness
from tests.telemetry.test_dashboards import ALERTS, expressions

PROMETHEUS = shutil.which("prometheus")
PATIENCE_S = 120.0

pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="needs Debian's prometheus: apt-get install prometheus")


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, watched_gateway):
    """One that has scraped the gateway; its URL."""
    place, port = tmp_path_factory.mktemp("prometheus"), harness.free_port()
    target = {"targets": [f"127.0.0.1:{watched_gateway.metrics_port}"]}
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "phigate", "static_configs": [target]}],
    }
    (place / "prometheus.yml").write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{port}"
    command = [PROMETHEUS, f"--config.file={place}/prometheus.yml", f"--storage.tsdb.path={place}/data"]
    process = subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        harness.wait_for_port(process, port)
        deadline = time.monotonic() + PATIENCE_S
        while not asked(url, "phigate_build_info"):
            assert time.monotonic() < deadline, "it has not scraped the gateway"
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def asked(url, expression):
    """What Prometheus answers to an expression."""
    try:
        answer = httpx2.get(f"{url}/api/v1/query", params={"query": expression}, timeout=60).json()
    except (httpx2.TransportError, ValueError):
        return None  # It is not up yet.
    assert answer["status"] == "success", (expression, answer)
    return answer["data"]["result"]


def test_a_scrape_is_taken_whole(prometheus):
    assert asked(prometheus, "up")[0]["value"][1] == "1"
    [target] = httpx2.get(f"{prometheus}/api/v1/targets", timeout=60).json()["data"]["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")


def test_every_expression_is_one_that_prometheus_understands(prometheus):
    for where, text in expressions().items():
        if not text.startswith("label_values("):
            for name, value in (("$__rate_interval", "1m"), ("$job", ".+"), ("$upstream", ".+")):
                text = text.replace(name, value)
            assert asked(prometheus, text) is not None, where


def test_no_alert_fires_for_a_gateway_that_is_well(prometheus):
    alerts = httpx2.get(f"{prometheus}/api/v1/alerts", timeout=60).json()["data"]["alerts"]
    assert [alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"] == []


def test_the_shown_state_is_that_of_the_gateway(prometheus):
    assert asked(prometheus, "sum(phigate_workers)")[0]["value"][1] == "2"
    assert asked(prometheus, "max(phigate_evidence_fault)")[0]["value"][1] == "0"
