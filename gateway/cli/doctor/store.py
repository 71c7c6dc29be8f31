"""The evidence store, looked at without a trace: no leaf, no lock, no file.

A SQLite reader makes `-wal` and `-shm` beside a database that nobody serves, and they would belong to whoever runs the
doctor. So a store without them is opened as one that nobody changes.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio

from gateway.cli.doctor import database
from gateway.cli.doctor.finding import Finding, Status, fail, ok, warn, worst
from gateway.config import Config
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.core.evidence import merkle
from gateway.core.types import LeafIndex
from gateway.store import keys as keystore
from gateway.store import schema, sqlite, startup
from gateway.store.reader import Reader

FULL_BYTES = 64 << 20
"""Less is as good as nothing: a WAL alone grows to 10 MB and more before it begins anew."""
LOW_BYTES = 1 << 30
WAL_BYTES = 64 << 20
"""The WAL is moved into the database every 10 MB or so, unless a reader that does not end keeps it from that."""
AHEAD_S = 2.0
_WEEKS = timedelta(days=21)


async def check(config: Config) -> list[Finding]:
    """Everything about the store's files and what is in them."""
    return await trio.to_thread.run_sync(_check, config, abandon_on_cancel=True)


async def clock(config: Config) -> list[Finding]:
    """Whether this machine's clock is behind what the log has seen."""
    return await trio.to_thread.run_sync(_clock, config, abandon_on_cancel=True)


@contextmanager
def opened(config: Config) -> Iterator[Reader | None]:
    """The log, None where there is no store yet. Raises EvidenceFault for one that cannot be read."""
    path = config.evidence.store
    if not isinstance(path, Path):
        with Reader.open(path) as reader:
            yield reader
        return
    if not path.exists():
        yield None
        return
    with sqlite.faults("looking at it"):
        still = "" if _beside(path, "-wal").exists() else "&immutable=1"
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{still}", uri=True, isolation_level=None)
        try:
            sqlite.check(connection)
            connection.execute("BEGIN")
            yield Reader(connection, None, sqlite.Sqlite(path))
        finally:
            connection.close()


def _check(config: Config) -> list[Finding]:
    store = config.evidence.store
    if isinstance(store, Path):
        read = _read(config, fix=f"--store COPY   on a copy of {store}")
        return [*_writable(store), *_room(config, store), *read, *_wal(store)]
    found = database.check(store)
    return found if worst(found) is Status.FAIL else [*found, *_read(config, fix="-c …   (docs/postgresql.md)")]


def _read(config: Config, *, fix: str) -> list[Finding]:
    """What is in the store; `fix`: the options by which it is verified."""
    try:
        with opened(config) as reader:
            if reader is None:
                return [ok(f"there is no {config.evidence.store} yet: the first start makes it")]
            return [_version(reader), *_intact(config, reader)]
    except EvidenceFault as fault:
        return [fail(fault.detail, fix=f"phigate evidence verify {fix}")]


def _writable(path: Path) -> list[Finding]:
    """Whether the user who runs the doctor, who should be the gateway's, may write the store."""
    found: list[Finding] = []
    me = os.geteuid()
    if path.exists() and (owner := path.stat().st_uid) != me:
        text = f"{path} belongs to user {owner}, and you are user {me}: what is said here of permissions is yours."
        found.append(warn(text, fix=f"sudo -u '#{owner}' phigate doctor …"))
    files = [each for each in (path, _beside(path, "-wal"), _beside(path, "-shm")) if each.exists()]
    closed = [each for each in (path.parent, *files) if not os.access(each, os.W_OK)]
    if closed:
        names = ", ".join(map(str, closed))
        fix = "chown the files and their directory to the gateway's user, on a volume that is not read-only"
        return [*found, fail(f"Nobody can write here as user {me}: {names}. Evidence cannot be made durable.", fix=fix)]
    return [*found, ok(f"{path} can be written")]


def _room(config: Config, path: Path) -> list[Finding]:
    free = shutil.disk_usage(path.parent).free
    fix = f"free space on the volume of {path.parent}, or move the store to a larger one (docs/operations.md)"
    if free < FULL_BYTES:
        return [fail(f"{_size(free)} are free at {path.parent}: the gateway stops when none is.", fix=fix)]
    left = _lasts(config, path, free)
    if free < LOW_BYTES or (left is not None and left < _WEEKS):
        rest = f", enough for {left.days} days at the rate so far" if left is not None else ""
        return [warn(f"{_size(free)} are free at {path.parent}{rest}.", fix=fix)]
    rest = "" if left is None else f", enough for {min(left.days, 9999)} days at the rate so far"
    return [ok(f"{_size(free)} free{rest}")]


def _lasts(config: Config, path: Path, free: int) -> timedelta | None:
    """How long `free` bytes last if the log grows as it did; None when it is too young to say."""
    try:
        with opened(config) as reader:
            if reader is None or reader.size() < 2:
                return None
            first, last = (datetime.fromisoformat(reader.leaf(index).place.time) for index in _ends(reader))
    except EvidenceFault:
        return None
    age = last - first
    return age * (free / path.stat().st_size) if age > timedelta(days=1) else None


def _ends(reader: Reader) -> tuple[LeafIndex, LeafIndex]:
    return LeafIndex(0), LeafIndex(reader.size() - 1)


def _version(reader: Reader) -> Finding:
    version = reader.version()
    if version < schema.VERSION:
        text = f"schema version {version}: it will be brought to {schema.VERSION}, and there is no way back"
        return warn(f"The store has {text}.", fix="phigate evidence backup -c … FILE   first (docs/upgrading.md)")
    return ok(f"schema version {version}, {reader.size()} leaves")


def _intact(config: Config, reader: Reader) -> list[Finding]:
    """What a start checks: the leaves since the newest checkpoint lead to the head, and it is this log's keys'."""
    fix = (
        "keep the file, run `phigate evidence verify` on a copy, and restore (docs/operations.md, suspected tampering)"
    )
    try:
        verifier = keystore.load_verifier(config.evidence.keys)
    except ConfigFault:
        return []  # The keys' own check tells.
    if reader.origin != verifier.name:
        text = f"The store is of the log {reader.origin} and the keys are of {verifier.name}."
        return [fail(text, fix=f"name the keys that were made with {config.evidence.store}, or another store")]
    try:
        size, frontier = startup.grown(reader.connection, verifier)
        if (size, merkle.root(frontier)) != reader.head():
            raise ValueError("the leaves do not lead to the head that is stored")
    except ValueError as error:
        return [fail(f"The store was altered or damaged: {error}. The gateway will not start on it.", fix=fix)]
    signed = reader.checkpoint()[0] if size else 0
    return [ok(f"the newest checkpoint covers {signed} leaves, and those since lead to the head")]


def _wal(path: Path) -> list[Finding]:
    wal = _beside(path, "-wal")
    if not wal.exists() or wal.stat().st_size < WAL_BYTES:
        return []
    text = f"{wal.name} has grown to {_size(wal.stat().st_size)}: somebody has been reading for long."
    return [warn(text, fix=f"lsof {wal}   names the reader; end it, and the next start or quiet moment shrinks it")]


def _clock(config: Config) -> list[Finding]:
    try:
        with opened(config) as reader:
            if reader is None or not reader.size():
                return [ok("there is no leaf yet to compare the clock with")]
            newest = datetime.fromisoformat(reader.leaf(_ends(reader)[1]).place.time)
    except EvidenceFault:
        return []  # The store's own check tells.
    ahead = (newest - datetime.now(UTC)).total_seconds()
    if ahead > AHEAD_S:
        text = f"The newest leaf is {ahead:.0f} s in the future: this machine's clock went back, or was wrong before."
        return [fail(text, fix="set the clock by a time service: timedatectl set-ntp true")]
    return [ok(f"later than the newest leaf ({newest:%Y-%m-%d %H:%M:%S} UTC)")]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.0f} MiB"
