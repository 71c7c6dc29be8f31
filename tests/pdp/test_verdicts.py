"""One worker tries a bundle, and the others take its word; nobody takes another word for it."""

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.core.errors import PolicyFault
from gateway.pdp.verdicts import Verdicts

from .policies import allowing, policy

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
ONE, TWO = allowing(1), allowing(2)

WORKER = """
import sys
from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle
from gateway.pdp.verdicts import Verdicts

def trial(_):
    print("tries", flush=True)
    if told := sys.stdin.readline().strip():
        raise PolicyFault(told)

given = bundle.read(sys.stdin.buffer.read(int(sys.argv[2])))
print("asks", flush=True)
try:
    Verdicts(int(sys.argv[1]), trial=trial, code="code").admit(given)
    print("admitted", flush=True)
except PolicyFault as fault:
    print(fault.detail, flush=True)
"""
"""Another worker: it says that it tries a bundle, and what came of it once it is told a line: nothing, or a fault."""


@pytest.fixture
def file():
    with tempfile.TemporaryFile() as shared:
        yield shared.fileno()


@pytest.fixture
def tried():
    return []


@pytest.fixture
def worker(file, tried):
    """Makes the view that one worker has of the file."""
    return lambda code="code", trial=tried.append: Verdicts(os.dup(file), trial=trial, code=code)


@pytest.fixture
def other(file):
    """Another worker that is given a bundle, as a process."""
    started = []

    def start(bundle):
        os.set_inheritable(file, True)
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(file), str(len(bundle.archive))],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[file],
            )
        )
        started[-1].stdin.write(bundle.archive)
        started[-1].stdin.flush()
        assert started[-1].stdout.readline() == b"asks\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_bundle_is_tried_once(worker, tried):
    for each in (ONE, TWO, ONE, TWO):
        worker().admit(each)

    assert tried == [ONE, TWO]


def test_half_a_word_of_a_worker_that_died_says_nothing(worker, tried, file):
    os.pwrite(file, b'["' + ONE.digest.encode(), 0)
    for _ in range(2):
        worker().admit(ONE)

    assert tried == [ONE]


def test_what_another_version_found_counts_for_nothing(worker, tried):
    worker("phigate 1").admit(ONE)
    worker("phigate 2").admit(ONE)
    worker("phigate").admit(ONE)

    assert tried == [ONE, ONE, ONE]


def test_a_bundle_that_was_refused_is_tried_again_for_who_asks_later(worker, tried):
    def refuse(bundle):
        tried.append(bundle)
        raise PolicyFault("line 3 is wrong")

    for _ in range(2):
        with pytest.raises(PolicyFault, match="line 3 is wrong"):
            worker(trial=refuse).admit(ONE)
    worker().admit(ONE)

    assert tried == [ONE, ONE, ONE]


def test_a_bundle_that_may_not_decide_is_refused_for_its_reasons(file):
    bad = policy('decision := {"effect": "perhaps"}\n')

    for _ in range(2):
        with pytest.raises(PolicyFault, match="gateway/call/decision"):
            Verdicts(os.dup(file)).admit(bad)
    Verdicts(os.dup(file)).admit(ONE)


def test_the_word_is_of_this_version_and_this_engine(file):
    Verdicts(os.dup(file), trial=lambda _: None).admit(ONE)

    digest, code, _, fault = json.loads(os.pread(file, 1000, 0))
    assert (digest, fault) == (ONE.digest, None)
    assert code.startswith("phigate 0.")
    assert "regorus" in code


@pytest.mark.parametrize(("told", "came"), [(b"\n", b"admitted\n"), (b"line 3 is wrong\n", b"line 3 is wrong\n")])
def test_who_comes_while_another_worker_tries_waits_and_takes_its_word(other, told, came):
    first = other(ONE)
    assert first.stdout.readline() == b"tries\n"
    second = other(ONE)
    waits(second)

    first.stdin.write(told)
    first.stdin.flush()

    assert first.stdout.readline() == came
    assert second.stdout.readline() == came


def waits(process):
    """Returns once a process waits for a lock that another one holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not any(f" {process.pid} " in line for line in Path("/proc/locks").read_text().splitlines() if "->" in line):
        assert time.monotonic() < deadline, "it does not wait"
        time.sleep(0.01)


def test_a_worker_that_dies_while_it_tries_has_said_nothing_and_keeps_nobody_waiting(other, worker, tried):
    doomed = other(ONE)
    assert doomed.stdout.readline() == b"tries\n"
    doomed.kill()
    doomed.wait()

    worker().admit(ONE)

    assert tried == [ONE]


def test_the_policy_in_force_and_its_shadow_ask_one_after_the_other(file):
    inside = []

    def trial(bundle):
        inside.append(bundle)
        time.sleep(0.05)  # Long enough for the other thread to come in, if it could.
        assert inside == [bundle]
        inside.remove(bundle)

    verdicts = Verdicts(os.dup(file), trial=trial)
    with ThreadPoolExecutor() as threads:
        list(threads.map(verdicts.admit, (ONE, TWO)))

    assert len(os.pread(file, 1000, 0).strip().splitlines()) == 2


def test_no_child_of_a_worker_inherits_the_file(file):
    ours = os.dup(file)
    os.set_inheritable(ours, True)

    Verdicts(ours)

    assert not os.get_inheritable(ours)
