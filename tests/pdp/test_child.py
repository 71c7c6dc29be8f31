"""The child that can be killed: its answers arrive whole, and whatever ends it is told in a sentence."""

import os

import pytest

from gateway.core.errors import PolicyFault
from gateway.pdp import child
from gateway.pdp.child import End, Stopped
from tests.pdp import child_work as work


def stopped(target, payload=b"", *, wall_s=5.0, cpu_s=None, memory=child.MEMORY):
    with pytest.raises(Stopped) as caught:
        child.run(target, payload, wall_s=wall_s, cpu_s=cpu_s, memory=memory)
    return caught.value


def test_a_large_payload_and_its_answer_arrive_whole():
    payload = bytes(range(256)) * 20_000
    assert child.run(work.echo, payload, wall_s=10) == payload[::-1]


def test_answers_come_one_by_one_and_an_empty_one_is_one_too():
    assert list(child.stream(work.count, b"3", each_s=10)) == [b"0", b"1", b"2"]
    assert list(child.stream(work.count, b"0", each_s=10)) == []
    assert child.run(work.echo, b"", wall_s=10) == b""


def test_what_came_before_a_hang_is_kept():
    answers = child.stream(work.hang_after_two, b"", each_s=0.2)
    assert [next(answers), next(answers)] == [b"one", b"two"]
    with pytest.raises(Stopped, match=r"after 0\.2 s, and was stopped") as caught:
        next(answers)
    assert caught.value.end is End.LATE


def test_a_child_that_computes_for_ever_is_stopped():
    assert stopped(work.spin, wall_s=0.2).end is End.LATE


def test_it_is_stopped_by_its_cpu_time_however_long_it_may_take_and_who_only_waits_is_not():
    fault = stopped(work.spin, wall_s=600, cpu_s=0.2)
    assert (fault.end, "used up the CPU time" in fault.detail) == (End.LATE, True)
    assert child.run(work.doze, b"2.5", wall_s=600, cpu_s=0.2) == b"rested"


def test_a_crash_is_told_by_its_signal():
    fault = stopped(work.crash)
    assert (fault.end, "SIGSEGV" in fault.detail) == (End.CRASHED, True)


def test_a_child_without_end_to_its_memory_is_refused():
    assert stopped(work.grow, memory=2**30).end is End.MEMORY


def test_a_surprise_in_the_child_is_a_fault_that_quotes_nothing():
    fault = stopped(work.surprise, b"PHI")
    assert (fault.end, fault.detail) == (End.CRASHED, "Evaluating the policy failed: its process ended with 1.")


def test_a_policy_fault_is_raised_here_as_it_was_there():
    with pytest.raises(PolicyFault, match=r"x\.rego:1:2: said the child") as caught:
        child.run(work.fault, b"", wall_s=5)
    assert not isinstance(caught.value, Stopped)


def test_what_is_printed_in_the_child_is_no_answer():
    assert child.run(work.chatter, b"", wall_s=5) == b"the answer"


def test_the_child_has_nothing_of_our_environment(monkeypatch):
    monkeypatch.setitem(os.environ, "A_SECRET", "secret")
    assert child.run(work.environment, b"", wall_s=5) == b""


def test_leaving_early_ends_the_child():
    answers = child.stream(work.hang_after_two, b"", each_s=60)
    assert next(answers) == b"one"
    answers.close()
    with pytest.raises(StopIteration):
        next(answers)
