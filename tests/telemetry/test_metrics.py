"""What is counted of a whole gateway with two workers, as Prometheus gets it."""

from __future__ import annotations

import os
import re
import signal

import httpx2
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.evidence.record import LeafType
from gateway.core.masking.phi import Phi
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.records import Status
from gateway.core.types import Era
from gateway.identity.reasons import Reason
from gateway.telemetry.book import Book
from gateway.telemetry.exchanges import Telemetry
from tests.e2e import harness
from tests.e2e.harness import Upstream
from tests.telemetry.watched import PATIENCE_S

LABELS = {
    "for": {"mcp", "pages", "health", "metadata", "tokens"},
    "status": {str(status) for status in range(100, 600)} | {"0"},
    "era": {era.value for era in Era},
    "message": {"call", "read", "list", "greeting", "stream", "task", "notification", "answer", "other"},
    "outcome": {status.value for status in Status} | {"refused", "unrecorded", "session_ended"},
    "upstream": {"ledger", "nobody", "plain"},
    "fault": {"unreachable", "timeout", "closed", "malformed", "oversize", "status", "ended"},
    "entrypoint": {entrypoint.value.split("/")[1] for entrypoint in Entrypoint},
    "effect": {effect.value for effect in Effect},
    "class": {phi.value for phi in Phi},
    "leaf": {leaf.value for leaf in LeafType},
    "reason": {reason.value for reason in Reason},
    "state": {"granted", "refused", "expired", "cancelled", "pending", "kept", "lost"},
    "result": {"exported", "failed", "dropped", "compared", "differing"},
    "cause": {"stopped", "ended", "stuck"},
    "worker": {"0", "1"},
}
"""Every value that a label may have, but for those that configuration names: codes, issuers, revisions, `le`."""
CONFIGURED = {"code", "issuer", "revision", "digest", "version", "le"}


async def test_a_masked_answer_is_counted_with_all_that_went_into_it(watched):
    before = watched.value("phigate_masked_values_total", **{"class": "SSN"})
    answer = watched.query(watched.few())
    assert "[SSN]" in str(answer)

    await watched.until("phigate_masked_values_total", before + 1, **{"class": "SSN"})
    about = {"upstream": "ledger", "message": "call"}
    assert watched.value("phigate_exchanges_total", outcome="replied", era="modern", **about) >= 1
    assert watched.value("phigate_exchange_seconds_count", **about) >= 1
    assert watched.value("phigate_upstream_seconds_count", upstream="ledger") >= 1
    assert watched.value("phigate_decisions_total", entrypoint="result", effect="allow") >= 1
    assert watched.value("phigate_evidence_append_seconds_count", leaf="exchange.outcome") >= 1
    assert watched.value("phigate_evidence_commit_seconds_count") >= 1
    assert watched.value("phigate_evidence_checkpoints_total") >= 1
    assert watched.value("phigate_http_requests_total", status="200", **{"for": "mcp"}) >= 1
    await watched.idle()
    # Whatever the clocks did: what the gateway added and what the upstream took is no more than the whole.
    whole = watched.value("phigate_exchange_seconds_sum", upstream="ledger")
    parts = watched.value("phigate_added_seconds_sum", upstream="ledger")
    assert 0 < parts < whole


async def test_the_log_grows_in_metrics_as_it_does_in_the_store(watched):
    watched.query(watched.few())
    await watched.until("phigate_evidence_leaves", len(watched.gateway.leaves()) - 2)
    assert watched.value("phigate_evidence_unsigned_seconds") < 10
    assert watched.value("phigate_evidence_fault") == 0


async def test_a_refusal_is_counted_by_the_reasons_that_the_policy_gives(watched):
    watched.query("drop table patient")
    await watched.until("phigate_reasons_total", 1, entrypoint="call", code="sql_schema_change")
    assert watched.value("phigate_exchanges_total", outcome="refused") >= 1
    assert watched.value("phigate_decisions_total", entrypoint="call", effect="deny") >= 1


async def test_an_upstream_that_is_not_there_is_counted_by_its_fault(watched):
    watched.query(watched.few(), upstream="nobody")
    await watched.until("phigate_upstream_errors_total", 1, upstream="nobody", fault="unreachable")
    assert watched.value("phigate_exchanges_total", upstream="nobody", outcome="failed") >= 1


def test_an_upstream_that_goes_and_comes_back_is_told_once_each(caplog):
    observer = Telemetry(Book(), None)
    with caplog.at_level("INFO"):
        for how in ("answers", "unreachable", "unreachable", "answers", "malformed", "answers"):
            observer.upstream_did("ward", how)
    told = [(line.levelname, line.getMessage().partition(":")[0]) for line in caplog.records]
    assert told == [("WARNING", "upstream ward cannot be reached"), ("INFO", "upstream ward can be reached again")]
    assert observer.upstreams == {"ward": "answers"}


async def test_requests_of_nobody_are_counted_by_reason(watched):
    url, headers = watched.gateway.mcp("ledger"), watched.gateway.headers("analyst")
    assert (
        httpx2.post(url, json={}, headers={**headers, "authorization": "Bearer forged"}, timeout=60).status_code == 401
    )
    assert httpx2.post(url, json={}, timeout=60).status_code == 401
    await watched.until("phigate_unauthenticated_total", 1, reason="malformed")
    await watched.until("phigate_unauthenticated_total", 1, reason="missing")


async def test_an_approval_is_counted_while_it_waits_and_when_it_is_resolved(watched):
    sql = watched.bulk()
    officer = {"authorization": f"Bearer {watched.gateway.issuer.token('officer')}"}
    url = f"{watched.gateway.url}/api/approvals"

    held = watched.query(sql)["result"]
    await watched.until("phigate_approvals_pending", 1)  # Other tests' questions may wait too; ours is the newest.
    await watched.until("phigate_approval_answers_total", 1, state="pending")
    approval, *others = httpx2.get(f"{url}?state=pending", headers=officer, timeout=60).json()["approvals"]
    reason = {"reason": "a synthetic reason"}
    assert httpx2.post(f"{url}/{approval['id']}/grant", json=reason, headers=officer, timeout=60).status_code == 200
    arguments = {"name": "query", "arguments": {"sql": sql}, "requestState": held["requestState"]}
    assert "[SSN]" in str(watched.ask("tools/call", **arguments))

    await watched.until("phigate_approval_wait_seconds_count", 1, state="granted")
    await watched.until("phigate_approval_answers_total", 1, state="granted")
    with trio.fail_after(PATIENCE_S):
        while watched.value("phigate_approvals_pending") > len(others):
            await trio.sleep(0.2)
    assert watched.value("phigate_calls_held") == 0


async def test_a_killed_worker_is_replaced_and_what_it_counted_goes_on(watched):
    for _ in range(4):
        watched.query(watched.few())
    await watched.until("phigate_exchanges_total", 4)
    await trio.sleep(1.5)  # Its last second is lost with a worker: see docs/observability.md.
    counted = watched.value("phigate_exchanges_total")
    died = watched.value("phigate_worker_deaths_total", cause="ended")

    os.kill(watched.gateway.workers()[0], signal.SIGKILL)

    await watched.until("phigate_worker_deaths_total", died + 1, cause="ended")
    await watched.until("phigate_workers", 2)
    assert watched.value("phigate_exchanges_total") >= counted
    watched.query(watched.few())
    await watched.until("phigate_exchanges_total", counted + 1)


async def test_every_label_is_of_a_closed_set_or_named_in_the_configuration(watched):
    watched.ask("patient/Doe", upstream="ledger")
    httpx2.request(
        "BREW", f"{watched.gateway.url}/mcp/917-36-5284", headers=watched.gateway.headers("analyst"), timeout=60
    )
    watched.query(watched.few())
    await watched.until("phigate_exchanges_total", 1)

    strange = {
        (sample.name, label, value)
        for family in text_string_to_metric_families(watched.scrape())
        for sample in family.samples
        for label, value in sample.labels.items()
        if label not in CONFIGURED and value not in LABELS[label]
    }
    assert strange == set()


async def test_nothing_that_was_sent_or_asked_is_in_a_scrape(watched):
    ssn = "917-36-5284"
    watched.ask("tools/call", name=f"patient {ssn}", arguments={"sql": ssn, ssn: 1})
    watched.query(watched.few())
    await watched.until("phigate_exchanges_total", 2)

    scrape = watched.scrape()
    secret = {*watched.gateway.phi, ssn, "analyst", "query", watched.gateway.issuer.token("analyst").split(".")[2]}
    assert {word for word in secret if re.search(re.escape(word), scrape)} == set()


async def test_the_state_of_every_part_is_told(watched):
    await watched.until("phigate_policy_info", 1)
    told = watched.scrape()
    for name in ("phigate_policy_activated_timestamp_seconds", "phigate_policy_refused", "phigate_config_refused"):
        assert re.search(rf"^{name} ", told, re.MULTILINE)
    assert watched.value("phigate_identity_failing", issuer=watched.gateway.issuer.url) == 0
    assert 0 <= watched.value("phigate_identity_keys_age_seconds") < 600
    assert watched.value("phigate_workers") == 2
    assert watched.value("phigate_worker_resident_bytes", worker="0") > 10_000_000
    assert watched.value("phigate_worker_cpu_seconds_total", worker="1") > 0
    assert watched.value("phigate_build_info") == 1


@pytest.mark.parametrize("path", ["/metrics", "/mcp/metrics"])
def test_the_public_side_serves_no_metrics(watched, path):
    assert httpx2.get(f"{watched.gateway.url}{path}", timeout=60).status_code in (401, 404)


def unstarted(place, people, listen, **more):
    upstream = Upstream("nobody", {"url": "http://127.0.0.1:9/mcp"})
    return harness.prepare(place, people, [upstream], settings={"metrics": {"listen": listen}}, **more)


def test_a_port_that_is_taken_is_told_and_nothing_starts(watched, people, tmp_path):
    gateway = unstarted(tmp_path, people, f"127.0.0.1:{watched.metrics_port}")
    told = gateway.phigate_fails("serve", "-c", str(gateway.config))
    assert f"Cannot listen on 127.0.0.1:{watched.metrics_port}" in told


def test_a_worker_that_cannot_start_says_why_as_it_does_without_metrics(people, tmp_path):
    def broken(policies):
        (policies / "gateway" / "call" / "call.rego").write_text("package gateway.call\nnot rego at all")

    gateway = unstarted(tmp_path, people, f"127.0.0.1:{harness.free_port()}", policy=broken)
    told = gateway.phigate_fails("serve", "-c", str(gateway.config))
    assert "call.rego" in told
    assert "Traceback" not in told
    assert "failed:" not in told
