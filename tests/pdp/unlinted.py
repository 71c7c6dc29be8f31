"""Admission's child without the lint: what the limits alone catch."""

import orjson

from gateway.core.policy import bundle
from gateway.pdp import trial


def tried(asked):
    """See `admission.tried`."""
    decision_s, _, archive = asked.partition(b"\n")
    return orjson.dumps(trial.faults_of(bundle.read(archive), decision_s=float(decision_s)))
