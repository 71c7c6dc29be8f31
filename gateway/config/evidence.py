"""Decodes `[evidence]`: where evidence and its keys are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config import outside, values
from gateway.config.table import Table, Wrong
from gateway.store import database
from gateway.store.database import LEASE_S, Database
from gateway.store.engines import Store

_OF_A_DATABASE = ("store_password_env", "store_password_file", "store_allow_insecure", "store_migrate", "store_lease_s")


@dataclass(frozen=True, slots=True)
class EvidenceConfig:
    """Where evidence and its keys are."""

    store: Store
    keys: Path
    origin: str
    """Name of the log in its checkpoints (C2SP tlog-checkpoint)."""
    session_idle_s: float


def decode(table: Table, base: Path, environ: Mapping[str, str]) -> EvidenceConfig:
    """The table's settings; every fault is noted in it."""
    directory = table.take("keys", outside.path(base), base / "keys")
    named, faults = outside.keys(directory)
    for what, fix in faults:
        table.fault("keys", what, fix)
    origin = table.take("origin", values.log_origin, named)
    if named and origin != named:
        # Another name would begin a second log in the same file, which no auditor could join to the first.
        table.fault("origin", f"is not the name that the keys were made for ({named})", f'write origin = "{named}"')
    config = EvidenceConfig(
        store=_store(table, base, environ),
        keys=directory,
        origin=origin,
        session_idle_s=table.take("session_idle_s", values.seconds(1, 86_400), 1800.0),
    )
    table.finish()
    return config


def _store(table: Table, base: Path, environ: Mapping[str, str]) -> Store:
    insecure = table.take("store_allow_insecure", values.boolean, False)
    migrates = table.take("store_migrate", values.boolean, False)
    lease_s = table.take("store_lease_s", values.seconds(2, 600), LEASE_S)
    password = table.take("store_password_env", outside.secret_variable(environ), None)
    file = table.take("store_password_file", outside.path(base), None)

    def store(value: Any) -> Store:
        text = values.text(value)
        if not database.is_url(text):
            return outside.new_file(base)(value)
        try:
            url = database.checked(text, unverified=insecure)
        except ValueError as error:
            what, _, fix = str(error).partition(": ")
            raise Wrong(what, fix) from None
        return Database(url, password=password, password_file=file, migrates=migrates, lease_s=lease_s)

    default: Store = base / "evidence.db"
    found = table.take("store", store, default)
    if isinstance(found, Path):
        for key in _OF_A_DATABASE:
            if table.has(key) and not database.is_url(str(table.members.get("store"))):
                table.fault(key, "has no effect on a store that is a file", "remove it")
    elif table.has("store_password_env") and table.has("store_password_file"):
        table.fault("store_password_file", "is one password too many", "keep it or store_password_env, not both")
    return found
