"""Real processes: workers that are killed, get stuck or fail to start, and a supervisor that is killed itself."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

PATIENCE_S = 60.0
SERVICE = Path(__file__).with_name("service.py")
ROOT = Path(__file__).parents[2]


def eventually(condition, what):
    """Waits for something that another process does; fails instead of waiting for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return value


def alive(pid):
    """Whether the process runs; a zombie, which nobody has reaped yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Service:
    def __init__(self, state, *, workers, heartbeat, drain):
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, str(SERVICE), "supervise", str(state), str(workers), str(heartbeat), str(drain)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        self.port = int(eventually(lambda: (state / "port").exists() and (state / "port").read_text(), "no port"))

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def pid(self):
        """Which worker answers a new connection."""
        connection = self.connect()
        try:
            connection.request("GET", "/")
            return int(connection.getresponse().headers["pid"])
        finally:
            connection.close()

    def workers(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {int(pid) for pid in children if alive(pid)}

    def deaths(self):
        path = self.state / "deaths"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def await_workers(self, number):
        """All of them beat: each has answered."""
        seen = set()
        eventually(lambda: seen.add(self.pid()) or (len(seen & self.workers()) == number), "workers did not come up")
        return seen & self.workers()

    def end(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def service(tmp_path):
    running = []

    def start(*, workers=2, heartbeat=1.0, drain=5.0):
        running.append(Service(tmp_path, workers=workers, heartbeat=heartbeat, drain=drain))
        return running[-1]

    yield start
    for one in running:
        one.end()


def held(service, seconds):
    """A response that has begun and will end after so many seconds: its connection and who serves it."""
    connection = service.connect()
    connection.request("GET", f"/held?{seconds}")
    response = connection.getresponse()
    assert response.read(4) == b"held"
    return connection, response


def refuses(service):
    """Whether nobody listens any more."""
    connection = service.connect()
    try:
        connection.connect()
    except ConnectionRefusedError:
        return True
    finally:
        connection.close()
    return False


def test_a_worker_killed_under_load_is_replaced_while_the_others_serve(service):
    running = service()
    victim, other = running.await_workers(2)
    served, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            try:
                served.append(running.pid())
            except (OSError, http.client.HTTPException):
                served.append(None)  # A connection that the killed worker had accepted.

    thread = threading.Thread(target=load)
    thread.start()
    os.kill(victim, signal.SIGKILL)
    killed_at = len(served)
    eventually(lambda: len(set(served[killed_at:]) - {None, victim, other}) == 1, "no replacement")
    stop.set()
    thread.join()
    assert other in served[killed_at:]
    assert served.count(None) <= 1
    assert running.deaths() == 1
    assert len(running.workers()) == 2


def test_a_stuck_worker_is_killed_and_replaced(service):
    running = service(workers=1, heartbeat=0.8)
    (stuck,) = running.await_workers(1)
    connection = running.connect()
    connection.request("GET", "/stuck")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()
    eventually(lambda: not alive(stuck), "the stuck worker lives")
    assert running.pid() != stuck
    assert running.deaths() == 1


def test_a_worker_that_holds_a_call_is_not_stuck(service):
    running = service(workers=1, heartbeat=0.5)
    connection, response = held(running, 1.5)
    assert response.read() == b" released"
    connection.close()
    assert running.deaths() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_what_is_in_flight_and_exits_with_0(service, number):
    running = service()
    running.await_workers(2)
    connection, response = held(running, 0.8)
    running.process.send_signal(number)
    assert response.read() == b" released"
    connection.close()
    assert running.process.wait(PATIENCE_S) == 0
    with pytest.raises(ConnectionRefusedError):
        running.pid()
    assert running.deaths() == 0


def test_a_drain_is_bounded(service):
    running = service(workers=1, drain=0.3)
    connection, response = held(running, 3600)
    running.process.terminate()
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    connection.close()
    assert running.process.wait(PATIENCE_S) == 0


def test_a_second_signal_ends_the_drain_at_once(service):
    running = service(workers=1, drain=600.0)
    connection, response = held(running, 3600)
    running.process.terminate()
    eventually(lambda: refuses(running), "the drain did not begin")
    running.process.terminate()
    assert running.process.wait(PATIENCE_S) == 1
    response.close()
    connection.close()


def test_no_worker_outlives_a_killed_supervisor_not_even_a_stuck_one(service):
    running = service(heartbeat=60.0)
    workers = running.await_workers(2)
    connection = running.connect()
    connection.request("GET", "/stuck")
    running.process.kill()
    eventually(lambda: not any(alive(pid) for pid in workers), "a worker outlived its supervisor")
    connection.close()


def started(running):
    """The ids of a program that a worker started, and of what that started; and the worker's."""
    connection = running.connect()
    connection.request("GET", "/program")
    headers = connection.getresponse().headers
    connection.close()
    return [int(pid) for pid in headers["programs"].split()], int(headers["pid"])


def test_what_a_killed_worker_had_started_is_ended_and_nobody_elses(service):
    running = service(workers=2)
    running.await_workers(2)
    programs, worker = started(running)
    others, other = started(running)
    while other == worker:
        others, other = started(running)
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in programs), "a program outlived its worker")
    assert all(alive(pid) for pid in others)
    for pid in others:
        os.kill(pid, signal.SIGKILL)


def test_a_hangup_signal_changes_nothing(service):
    running = service(workers=1)
    (worker,) = running.await_workers(1)
    running.process.send_signal(signal.SIGHUP)
    assert running.pid() == worker
    running.process.terminate()
    assert running.process.wait(PATIENCE_S) == 0


def test_workers_that_cannot_start_end_the_service_with_their_exit_code(service, tmp_path):
    (tmp_path / "refuse").touch()
    running = service()
    assert running.process.wait(PATIENCE_S) == 7


def test_a_replacement_that_cannot_start_is_tried_again(service, tmp_path):
    running = service(workers=1)
    (worker,) = running.await_workers(1)
    (tmp_path / "refuse").touch()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: running.deaths() >= 3, "no further attempt")
    (tmp_path / "refuse").unlink()
    assert running.pid() != worker
