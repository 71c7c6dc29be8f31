"""Every metric: its name, kind, labels and meaning. docs/observability.md shows this list (a test compares).

Names follow https://prometheus.io/docs/practices/naming/. A label is of a closed set (`era`, `outcome`, `leaf`, …) or
named in the configuration (`upstream`, `issuer`, a policy's reason codes): nothing that a client or an upstream sent
ever becomes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """What a gauge is, of those of several workers: they share some of the work, and see the same of the rest."""

    SUM = "sum"
    MOST = "most"


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric. Compared by identity, so that it is a quick key."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    merge: Merge = Merge.MOST
    buckets: tuple[float, ...] = ()


_CALL_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_STEP_S = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
_WAIT_S = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)
_GROUP = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)

FAMILIES: list[Family] = []


def _counter(name: str, help: str, *labels: str) -> Family:
    return _listed(Family(name, Kind.COUNTER, help, labels))


def _gauge(name: str, help: str, *labels: str, merge: Merge = Merge.MOST) -> Family:
    return _listed(Family(name, Kind.GAUGE, help, labels, merge))


def _histogram(name: str, help: str, *labels: str, buckets: tuple[float, ...]) -> Family:
    return _listed(Family(name, Kind.HISTOGRAM, help, labels, buckets=buckets))


def _listed(family: Family) -> Family:
    FAMILIES.append(family)
    return family


REQUESTS = _counter(
    "phigate_http_requests_total", "HTTP requests, by what they were for and the status of the answer.", "for", "status"
)
EXCHANGES = _counter(
    "phigate_exchanges_total",
    "Messages of clients that came to their end, by how: a status of evidence, refused or unrecorded.",
    *("upstream", "era", "message", "outcome"),
)
EXCHANGE_S = _histogram(
    "phigate_exchange_seconds",
    "From when a message came, its sender known, to its recorded reply; without standing streams.",
    *("upstream", "message"),
    buckets=_CALL_S,
)
ADDED_S = _histogram(
    "phigate_added_seconds",
    "The same less what was spent waiting for the upstream and for reviewers: what the gateway costs.",
    "upstream",
    buckets=_STEP_S,
)
UPSTREAM_S = _histogram(
    "phigate_upstream_seconds", "What was spent waiting for the upstream.", "upstream", buckets=_CALL_S
)
OPEN = _gauge(
    "phigate_exchanges_open", "Exchanges that are going on, standing streams among them.", "upstream", merge=Merge.SUM
)
HELD = _gauge("phigate_calls_held", "Calls whose callers wait for reviewers now.", "upstream", merge=Merge.SUM)
UPSTREAM_ERRORS = _counter(
    "phigate_upstream_errors_total",
    "Exchanges that the upstream failed: unreachable, timeout, closed, malformed, oversize, status or ended.",
    *("upstream", "fault"),
)
DECISIONS = _counter("phigate_decisions_total", "What policy decided.", "entrypoint", "effect")
DECISION_S = _histogram("phigate_decision_seconds", "How long a decision took.", "entrypoint", buckets=_STEP_S)
REASONS = _counter(
    "phigate_reasons_total",
    "Reason codes of decisions that were no allow; a code that the policy's text does not have is other.",
    *("entrypoint", "code"),
)
MASKED = _counter("phigate_masked_values_total", "Values that were masked, by their class of PHI.", "class")
APPROVAL_ANSWERS = _counter(
    "phigate_approval_answers_total", "What callers whose calls need approval were told.", "state"
)
APPROVAL_WAIT_S = _histogram(
    "phigate_approval_wait_seconds",
    "From the question to what became of it, of approvals whose callers were there to be told.",
    "state",
    buckets=_WAIT_S,
)
APPROVALS_PENDING = _gauge("phigate_approvals_pending", "Approvals that wait for reviewers, in the whole store.")
APPROVALS_OLDEST_S = _gauge("phigate_approvals_oldest_seconds", "How long the oldest of them has waited; 0 for none.")
APPEND_S = _histogram(
    "phigate_evidence_append_seconds",
    "How long an exchange waited until a leaf was durable, by its type.",
    "leaf",
    buckets=_STEP_S,
)
COMMIT_S = _histogram("phigate_evidence_commit_seconds", "How long the store took to commit.", buckets=_STEP_S)
COMMIT_JOBS = _histogram("phigate_evidence_commit_jobs", "Appends and other jobs that shared a commit.", buckets=_GROUP)
CHECKPOINTS = _counter("phigate_evidence_checkpoints_total", "Checkpoints that were signed.")
LEAVES = _gauge("phigate_evidence_leaves", "Leaves in the evidence log.")
UNSIGNED_S = _gauge(
    "phigate_evidence_unsigned_seconds", "How long leaves have waited for a signed checkpoint; 0 when all have one."
)
EVIDENCE_FAULT = _gauge("phigate_evidence_fault", "1 while evidence cannot be written, so that nothing is served.")
KEY_MONTHS = _gauge(
    "phigate_evidence_key_months",
    "For how many months, this one among them, replicas have wrapping keys, of which they make none by themselves.",
)
POLICY_INFO = _gauge("phigate_policy_info", "1 for the policy in force.", "revision", "digest")
POLICY_SINCE = _gauge(
    "phigate_policy_activated_timestamp_seconds", "When a policy was last activated, in seconds since 1970."
)
POLICY_REFUSED = _gauge("phigate_policy_refused", "1 while the newest policy is not in use: refused, or not to be had.")
CONFIG_REFUSED = _gauge("phigate_config_refused", "1 while the newest configuration is not in force.")
SHADOW = _counter(
    "phigate_shadow_decisions_total",
    "Decisions that a candidate policy was to compare: compared, differing (among those) or dropped.",
    "result",
)
UNAUTHENTICATED = _counter("phigate_unauthenticated_total", "Requests that nobody was known for, by reason.", "reason")
KEYS_AGE_S = _gauge("phigate_identity_keys_age_seconds", "How old the keys of an issuer are.", "issuer")
ISSUER_FAILING = _gauge("phigate_identity_failing", "1 while the keys of an issuer cannot be had anew.", "issuer")
DRAINING = _gauge("phigate_draining", "1 while the gateway is going down.")
WORKERS = _gauge("phigate_workers", "Worker processes that serve.", merge=Merge.SUM)
WORKER_DEATHS = _counter(
    "phigate_worker_deaths_total",
    "Workers that are gone: stopped as they were told; ended by themselves, or stuck and killed, and replaced.",
    "cause",
)
WORKER_CPU_S = _counter("phigate_worker_cpu_seconds_total", "Processor time of a worker's place.", "worker")
WORKER_BYTES = _gauge("phigate_worker_resident_bytes", "Memory of a worker.", "worker")
SPANS = _counter("phigate_spans_total", "Spans of traces: exported, failed or dropped (the queue was full).", "result")
BUILD = _gauge("phigate_build_info", "1 for the version that runs.", "version")
