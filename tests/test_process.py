"""What a process tells of errors that nobody expected, in whatever way they come out; and what it asks for."""

import logging
import subprocess
import sys
import time

import pytest

from gateway import process

SSN = "917-36-5284"
BEGIN = f"""
import gc, logging, threading, trio
from gateway import process
process.log_to_stderr()
process.report_uncaught()
def fail():
    raise KeyError("{SSN}")
"""
WAYS = {
    "an error": "fail()",
    "a group": "raise ExceptionGroup('{SSN}', [ExceptionGroup('{SSN}', [KeyError('{SSN}')])])",
    "a cause": "try:\n    fail()\nexcept KeyError as error:\n    raise ValueError('{SSN}') from error",
    "a context": "try:\n    fail()\nexcept KeyError:\n    raise KeyError('{SSN}')",
    "a thread": "thread = threading.Thread(target=fail)\nthread.start()\nthread.join()",
    "a finalizer": "class One:\n    __del__ = lambda self: fail()\nOne()",
    "what a library logs": "try:\n    fail()\nexcept KeyError:\n    logging.getLogger('lib').exception('it failed')",
    "trio": "async def main():\n    async with trio.open_nursery():\n        raise KeyError('{SSN}')\ntrio.run(main)",
    "a system task of trio": "async def bug():\n    fail()\nasync def main():\n"
    "    trio.lowlevel.spawn_system_task(bug)\n    await trio.sleep_forever()\ntrio.run(main)",
}


def told(code, *arguments):
    """What a Python process that runs `code` says on stderr."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize("way", WAYS)
def test_an_ssn_in_the_text_of_an_error_that_nothing_caught_is_not_printed(way):
    said = told(BEGIN + WAYS[way].replace("{SSN}", SSN))

    assert "KeyError" in said
    assert " at <string>:" in said
    assert SSN not in said


def test_an_unknown_error_of_a_worker_is_told_by_type_and_place():
    code = f"""
import sys
from types import SimpleNamespace as Some
from gateway import process, worker
async def bug(*_):
    raise LookupError("{SSN}")
worker.configuration.load = lambda _: Some(gateway=Some(log_format=process.LogFormat.TEXT))
worker._run = bug
sys.exit(worker.main())
"""
    said = told(code, "-c", "phigate.toml", "--lifeline", "0", "--sockets", "0", "--verdicts", "0")

    assert said == "phigate: failed: LookupError at <string>:6\n"


@pytest.mark.parametrize(("soft", "hard", "got"), [(64, 128, 128), (128, 128, 128)])
def test_many_calls_of_one_principal_do_not_use_up_the_descriptors_of_a_soft_limit(soft, hard, got):
    code = f"""
import resource
from gateway.process import allow_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
allow_descriptors()
raise SystemExit(str(resource.getrlimit(resource.RLIMIT_NOFILE)))
"""
    assert told(code) == f"({got}, {hard})\n"


def test_times_in_the_text_log_are_utc_and_say_so(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        record = logging.makeLogRecord({"created": 0.25, "msecs": 250.0})
        assert process._Discreet().formatTime(record) == "1970-01-01T00:00:00.250Z"
    finally:
        monkeypatch.undo()
        time.tzset()
