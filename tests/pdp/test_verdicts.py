"""One worker tries a bundle, and the others take its word; nobody takes another word for it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from gateway.core.errors import PolicyFault
from gateway.pdp.verdicts import Verdicts

from .policies import allowing, policy

ROOT = Path(__file__).parents[2]
ONE, TWO = allowing(1), allowing(2)

WORKER = """
import sys
from gateway.core.policy import bundle
from gateway.pdp.verdicts import Verdicts

def trial(_):
    print("tries", flush=True)
    sys.stdin.readline()

Verdicts(int(sys.argv[1]), trial=trial, code="code").admit(bundle.read(sys.stdin.buffer.read(int(sys.argv[2]))))
print("admitted", flush=True)
"""
"""Another worker: it says that it tries a bundle, and has done when it is told a line."""


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
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_bundle_is_tried_once(worker, tried):
    for each in (ONE, TWO, ONE, TWO):
        worker().admit(each)

    assert tried == [ONE, TWO]


def test_what_another_version_found_counts_for_nothing(worker, tried):
    worker("phigate 1").admit(ONE)
    worker("phigate 2").admit(ONE)
    worker("phigate").admit(ONE)

    assert tried == [ONE, ONE, ONE]


def test_a_bundle_that_was_refused_is_refused_again_and_told_why(file):
    bad = policy('decision := {"effect": "perhaps"}\n')

    for _ in range(2):
        with pytest.raises(PolicyFault, match="gateway/call/decision"):
            Verdicts(os.dup(file)).admit(bad)
    Verdicts(os.dup(file)).admit(ONE)


def test_the_word_is_of_this_version_and_this_engine(file):
    Verdicts(os.dup(file), trial=lambda _: None).admit(ONE)

    (word,) = os.pread(file, 1000, 0).decode().splitlines()
    assert word.startswith(f"{ONE.digest} phigate 0.")
    assert "regorus" in word


def test_who_comes_while_another_worker_tries_waits_and_takes_its_word(other, worker, tried):
    first = other(ONE)
    assert first.stdout.readline() == b"tries\n"
    second = other(ONE)
    assert second.poll() is None

    first.stdin.write(b"\n")
    first.stdin.flush()

    assert first.stdout.readline() == b"admitted\n"
    assert second.stdout.readline() == b"admitted\n"
    worker().admit(ONE)
    assert tried == []


def test_a_worker_that_dies_while_it_tries_has_said_nothing_and_keeps_nobody_waiting(other, worker, tried):
    doomed = other(ONE)
    assert doomed.stdout.readline() == b"tries\n"
    doomed.kill()
    doomed.wait()

    worker().admit(ONE)

    assert tried == [ONE]


def test_no_child_of_a_worker_inherits_the_file(file):
    ours = os.dup(file)
    os.set_inheritable(ours, True)

    Verdicts(ours)

    assert not os.get_inheritable(ours)
