"""The keys directory: complete, private, of one piece; and the wrapping keys of the months that the store names."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio

from gateway.cli.doctor.finding import Finding, fail, ok, warn
from gateway.cli.doctor.store import opened
from gateway.config import Config
from gateway.core.errors import ConfigFault, EvidenceFault
from gateway.store import keys as keystore
from gateway.store.keys import Keys
from gateway.store.kms import FileKms, months_left


async def check(config: Config) -> list[Finding]:
    """Everything about `[evidence] keys`."""
    return await trio.to_thread.run_sync(_check, config, abandon_on_cancel=True)


def _check(config: Config) -> list[Finding]:
    directory = config.evidence.keys
    try:
        keys = keystore.load(directory)
    except ConfigFault as fault:
        return [fail(fault.detail, fix=f"restore {directory} from its backup: phigate keys restore FILE {directory}")]
    found = [ok(f"the keys of the log {keys.origin} are all there, private, and of one piece")]
    months = _months(directory) if isinstance(config.evidence.store, Path) else _prepared(directory)
    return [*found, *_authority(config, keys), *months, *_lost(config), *_others(config)]


def _authority(config: Config, keys: Keys) -> list[Finding]:
    """The key that our own access tokens are signed with, where they are issued."""
    if config.authority is None:
        return []
    if keys.authority is None:
        text = f"{config.evidence.keys} holds no authority.key, which signs the tokens of [authority]."
        return [fail(text, fix=f"phigate keys prepare -c {config.file}")]
    return [ok("the key that signs our own tokens is there; every replica needs the same")]


def _months(directory: Path) -> list[Finding]:
    """This month's and the next wrapping key, without which nothing can be sealed."""
    today = datetime.now(UTC)
    following = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    missing = [f"{month:%Y-%m}" for month in (today, following) if not (directory / f"kek-{month:%Y-%m}.key").exists()]
    if not missing:
        return [ok("wrapping keys of this month and the next are there")]
    if os.access(directory, os.W_OK):
        return [ok("wrapping keys are made when a month begins")]
    text = f"There is no wrapping key for {' and '.join(missing)}, and the gateway cannot make one in {directory}."
    state = fail if f"{today:%Y-%m}" in missing else warn
    return [state(text, fix=f"let the gateway's user write in {directory}, or make it ahead: phigate keys prepare")]


def _prepared(directory: Path) -> list[Finding]:
    """The wrapping keys of replicas, which make none by themselves."""
    left = months_left(directory, datetime.now(UTC))
    if left > 2:
        return [ok(f"wrapping keys for {left} months from now on")]
    text = f"There are wrapping keys for {left} months from now on, and replicas make none: without one all stop."
    state = warn if left else fail
    return [state(text, fix="phigate keys prepare --months 12   once, and the same directory for all replicas")]


def _lost(config: Config) -> list[Finding]:
    """Months whose bodies nobody can read any more: of the data keys in the store, those whose wrapping key is gone."""
    try:
        with opened(config) as reader:
            if reader is None:
                return []
            named = [str(row[0]) for row in reader.connection.execute("SELECT DISTINCT kek FROM dek ORDER BY kek")]
    except EvidenceFault:
        return []  # The store's own check tells.
    gone = [kek for kek in named if not (config.evidence.keys / f"{kek.replace(':', '-')}.key").exists()]
    if not gone:
        return []
    text = f"The wrapping keys {', '.join(gone)} are gone: the bodies of those months are intact and unreadable."
    return [warn(text, fix="restore them from the keys' backup, unless they were destroyed on purpose")]


def _others(config: Config) -> list[Finding]:
    """Wrapping keys here that are not those which the store's bodies are sealed with."""
    kms = FileKms(config.evidence.keys)
    try:
        with opened(config) as reader:
            if reader is None:
                return []
            agreed = [(str(kek), str(of)) for kek, of in reader.connection.execute("SELECT id, commitment FROM kek")]
    except EvidenceFault:
        return []  # The store's own check tells, or it is of a time before they were compared.
    there = [(kek, of) for kek, of in agreed if (config.evidence.keys / f"{kek.replace(':', '-')}.key").exists()]
    differ = [kek for kek, of in there if kms.commitment(kek) != of]
    if not differ:
        return []
    text = f"The wrapping keys {', '.join(differ)} are others than those that this store's bodies are sealed with."
    return [fail(text, fix="give this replica the keys directory of the others, or the one from its backup")]
