"""Asks real OPA many questions, in a process of its own: the Go runtime must not share ours with trio and forks.

`python -m tests.agreement.asking` reads one JSON document from standard input and writes the answers to standard
output: `[canonical JSON of the value, ""]`, or `["", why there is none]`, for each question in order.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field

import orjson

from gateway.core.policy.bundle import Source
from tests.opa import Opa

CANONICAL = orjson.OPT_SORT_KEYS


@dataclass
class Questions:
    """What to ask: of policies, each with its data, about paths and inputs (JSON text)."""

    policies: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def policy(self, sources, data):
        """Make another policy the one that is asked; its number."""
        self.policies.append([{source.path: source.text for source in sources}, data])
        return len(self.policies) - 1

    def ask(self, policy, path, text):
        """`path` is dotted, without `data`."""
        self.asked.append([policy, path, text])

    def answers(self):
        """OPA's answers, in order."""
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=orjson.dumps([self.policies, self.asked]),
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        if done.returncode:
            raise RuntimeError(f"OPA could not be asked:\n{done.stderr.decode()}")
        return [tuple(answer) for answer in orjson.loads(done.stdout)]


def canonical(value):
    """As the gateway writes it; whole numbers beyond 64 bits, which it cannot, as Python does."""
    try:
        return orjson.dumps(value, option=CANONICAL).decode()
    except TypeError:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))


def engine(sources, data):
    """OPA with a policy; None when it refuses to load it."""
    try:
        return Opa([Source(path, text) for path, text in sources.items()], data)
    except RuntimeError:
        return None


def main():
    policies, asked = orjson.loads(sys.stdin.buffer.read())
    engines = [engine(sources, data) for sources, data in policies]
    answers = []
    for policy, path, text in asked:
        opa = engines[policy]
        value, why = opa.value(path, text.encode()) if opa is not None else (None, "refused")
        answers.append(["" if why else canonical(value), why])
    sys.stdout.buffer.write(orjson.dumps(answers))


if __name__ == "__main__":
    main()
