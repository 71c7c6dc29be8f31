"""Dashboard, alerts and docs name metrics that are there, with labels that they have; and Prometheus' own tools agree.

`python -m tests.telemetry.test_dashboards` writes the tables of docs/observability.md anew.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry.families import FAMILIES, Kind

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy" / "grafana" / "phigate.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"
RULES = Path(__file__).with_name("rules.yaml")
PAGE = ROOT / "docs" / "observability.md"
PROMTOOL = shutil.which("promtool")
OF_PROMETHEUS = {"job", "instance", "le"}
ROWS = ["At a glance", "Traffic", "Decisions", "Approvals", "Evidence", "Upstreams", "Identity", "Processes"]

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs Debian's promtool: apt-get install prometheus")


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def rules():
    [group] = yaml.safe_load(ALERTS.read_text())["groups"]
    return group["rules"]


def expressions():
    """Every expression, by where it stands."""
    dashboard = json.loads(DASHBOARD.read_text())
    found = {f"{panel['title']} {target['refId']}": target["expr"] for panel in panels() for target in panel["targets"]}
    found |= {each["name"]: each["definition"] for each in dashboard["templating"]["list"] if "definition" in each}
    found |= {each["name"]: each["expr"] for each in dashboard["annotations"]["list"]}
    return found | {rule["alert"]: rule["expr"] for rule in rules()}


SAMPLES = {
    family.name + end: family
    for family in FAMILIES
    for end in (("_bucket", "_sum", "_count") if family.kind is Kind.HISTOGRAM else ("",))
}


@pytest.mark.parametrize("where", expressions())
def test_an_expression_asks_for_metrics_that_there_are_by_labels_that_they_have(where):
    expression = expressions()[where]
    named = set(re.findall(r"\bphigate_\w+", expression))
    assert named
    assert named <= SAMPLES.keys()
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
    for listed in re.findall(r"(?:\bby|\bon)\s*\(([^)]*)\)", expression):
        labels |= {label.strip() for label in listed.split(",")}
    known = {label for name in named for label in SAMPLES[name].labels} | OF_PROMETHEUS
    assert labels <= known


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panels_legend_names_labels_that_its_expression_keeps(panel):
    for target in panel["targets"]:
        wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        kept = {label.strip() for by in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in by.split(",")}
        whole = {label for name in re.findall(r"\bphigate_\w+", target["expr"]) for label in SAMPLES[name].labels}
        assert wanted <= (kept or whole | OF_PROMETHEUS)


def test_every_metric_that_is_asked_for_is_in_a_real_scrape(watched):
    there = {family.name for family in text_string_to_metric_families(watched.scrape())}
    asked = {SAMPLES[name] for text in expressions().values() for name in re.findall(r"\bphigate_\w+", text)}
    assert {family.name.removesuffix("_total") for family in asked} <= there
    assert {family.name.removesuffix("_total") for family in FAMILIES} == there


def test_the_dashboard_is_one_that_grafana_imports():
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["schemaVersion"] >= 39
    assert {"title", "uid", "panels", "templating", "time"} <= dashboard.keys()
    everything = dashboard["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert [panel["title"] for panel in everything if panel["type"] == "row"] == ROWS
    taken = set()
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
    assert {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} == {"${datasource}"}


def test_every_metric_is_shown_asked_or_for_those_who_ask_further():
    asked = {SAMPLES[name].name for text in expressions().values() for name in re.findall(r"\bphigate_\w+", text)}
    assert {family.name for family in FAMILIES} - asked == set()


def test_every_alert_says_what_it_means_and_what_to_do():
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert len(rule["annotations"]["summary"]) > 20
        assert len(rule["annotations"]["description"]) > 40


@needs_promtool
def test_prometheus_itself_takes_the_alerts():
    subprocess.run([PROMTOOL, "check", "rules", ALERTS], check=True, capture_output=True)


@needs_promtool
def test_the_alerts_fire_when_they_should_and_not_when_they_should_not(tmp_path):
    for file in (ALERTS, RULES):
        shutil.copy(file, tmp_path)
    done = subprocess.run(
        [PROMTOOL, "test", "rules", tmp_path / RULES.name], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_itself_finds_nothing_to_mend_in_a_scrape(watched):
    done = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=watched.scrape(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def tables() -> dict[str, str]:
    """The tables of the page, by the heading that they stand under."""
    metrics = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        metrics.append(f"| `{family.name}` | {family.kind.value} | {labels} | {family.help} |")
    alerts = ["| alert | severity | meaning |", "|---|---|---|"]
    for rule in rules():
        summary = rule["annotations"]["summary"].replace("{{ $labels.", "<").replace(" }}", ">")
        alerts.append(f"| `{rule['alert']}` | {rule['labels']['severity']} | {summary} |")
    return {"Metrics": "\n".join(metrics), "Alerts": "\n".join(alerts)}


_TABLE = r"(?ms)^\| {} \|.*?\n(?!\|)"


def written(page: str) -> str:
    """The page with its tables as they should be."""
    for head, table in (("metric", tables()["Metrics"]), ("alert", tables()["Alerts"])):
        page = re.sub(_TABLE.format(head), lambda _: table + "\n", page + "\n")  # noqa: B023 - used at once
    return page.rstrip("\n") + "\n"


def test_the_page_lists_every_metric_and_every_alert():
    assert written(PAGE.read_text()) == PAGE.read_text()
    for table in tables().values():
        assert table in PAGE.read_text()


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
