"""The evidence store in every state that the doctor knows, made for real."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.cli.doctor import keys as keys_check
from gateway.cli.doctor import policy, store
from gateway.cli.doctor.finding import Status
from gateway.core.evidence.record import LeafType, Record
from gateway.store import keys as keystore
from gateway.store.sequencer import EvidenceLog
from tests.cli.doctor.conftest import bad
from tests.fakes.evidence import tamper

NOBODY = 65534
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who alone may mount and become somebody else")


async def fill(patient, *, later: timedelta = timedelta()):
    """Two leaves in the store, written by a gateway whose clock is `later`."""
    loaded = keystore.load(patient.config.evidence.keys)
    async with EvidenceLog.open(patient.gateway.store, loaded, now=lambda: datetime.now(UTC) + later) as log:
        session = await log.session("client", members={}, idle_s=60)
        await log.append(Record(LeafType.HEARTBEAT, {}, session))


async def test_a_store_whose_last_leaves_were_altered_is_a_failure(patient):
    await fill(patient)
    with closing(sqlite3.connect(patient.gateway.store)) as connection:
        connection.execute("DROP TRIGGER checkpoint_no_delete")
        connection.execute("DELETE FROM checkpoint")
        connection.commit()
    tamper(patient.gateway.store, "UPDATE leaf SET entry = replace(entry, 'heartbeat', 'heartbeet') WHERE idx = 1")

    found = bad(await store.check(patient.config))

    assert found.status is Status.FAIL
    assert "altered or damaged: leaf 1 was altered" in found.text
    assert "phigate evidence verify" in found.fix


async def test_a_store_whose_last_leaf_is_gone_is_a_failure(patient):
    await fill(patient)
    with closing(sqlite3.connect(patient.gateway.store)) as connection:
        connection.execute("UPDATE head SET size = 1")
        connection.commit()

    assert "altered or damaged" in bad(await store.check(patient.config)).text


async def test_the_store_of_another_log_is_a_failure(patient, tmp_path):
    await fill(patient)
    keystore.generate(tmp_path / "others", origin="other.example/phigate")
    patient.edit(lambda text: text.replace('keys = "keys"', 'keys = "others"'))

    found = bad(await store.check(patient.config))

    assert "and the keys are of other.example/phigate" in found.text


async def test_a_file_that_is_no_store_is_a_failure(patient):
    with closing(sqlite3.connect(patient.gateway.store)) as connection:
        connection.execute("CREATE TABLE shopping (item)")

    assert "not an evidence store of phigate" in bad(await store.check(patient.config)).text


@pytest.mark.parametrize(("version", "status", "said"), [(99, Status.FAIL, "reads up to"), (2, Status.WARN, "no way")])
async def test_another_schema_is_told_before_a_start_meets_it(patient, version, status, said):
    await fill(patient)
    with closing(sqlite3.connect(patient.gateway.store)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")

    found = bad(await store.check(patient.config))

    assert found.status is status
    assert said in found.text


async def test_a_log_that_a_reader_has_kept_from_shrinking_is_a_warning(patient):
    await fill(patient)
    with (patient.place / "evidence.db-wal").open("wb") as wal:
        wal.truncate(store.WAL_BYTES + 1)

    found = bad(await store.check(patient.config))

    assert found.status is Status.WARN
    assert found.fix.startswith("lsof ")


async def test_a_clock_behind_the_newest_leaf_is_a_failure(patient):
    await fill(patient, later=timedelta(hours=1))

    found = bad(await store.clock(patient.config))

    assert found.status is Status.FAIL
    assert "s in the future" in found.text
    assert "timedatectl" in found.fix


async def test_a_disk_that_fills_within_weeks_is_a_warning(patient):
    await fill(patient, later=timedelta(days=-2))
    await fill(patient)
    room = shutil.disk_usage(patient.place).free
    with patient.gateway.store.open("r+b") as file:
        file.truncate(room)  # Sparse: as large as what is left, in two days.

    (found,) = (one for one in await store.check(patient.config) if "at the rate so far" in one.text)

    assert found.status is Status.WARN
    assert "enough for 2 days" in found.text or "enough for 1 days" in found.text


@contextmanager
def small_disk(place: Path, *options: str):
    """A file system of 2 MB, mounted at `place`."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(["size=2m", *options]), "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@ROOT
async def test_a_full_disk_is_a_failure(patient):
    disk = patient.place / "disk"
    disk.mkdir()
    patient.edit(lambda text: text.replace('"evidence.db"', '"disk/evidence.db"'))

    with small_disk(disk):
        (disk / "ballast").write_bytes(b"x" * (2 << 20))
        found = bad(await store.check(patient.config))

    assert found.status is Status.FAIL
    assert found.text.startswith("0 MiB are free")
    assert "free space on the volume" in found.fix


@ROOT
async def test_a_disk_that_is_read_only_is_a_failure(patient):
    disk = patient.place / "disk"
    disk.mkdir()
    patient.edit(lambda text: text.replace('"evidence.db"', '"disk/evidence.db"'))

    with small_disk(disk, "ro"):
        found = [one.text for one in await store.check(patient.config) if one.status is Status.FAIL]

    assert any("Evidence cannot be made durable" in text for text in found)


@ROOT
async def test_a_store_of_another_user_is_told(patient):
    await fill(patient)
    os.chown(patient.gateway.store, NOBODY, NOBODY)

    found = bad(await store.check(patient.config))

    assert found.status is Status.WARN
    assert found.fix.startswith(f"sudo -u '#{NOBODY}' phigate doctor")


async def test_a_key_that_is_missing_is_a_failure(patient):
    (patient.place / "keys" / "mask.key").unlink()

    found = bad(await keys_check.check(patient.config))

    assert "mask.key is not a readable key" in found.text
    assert "phigate keys restore" in found.fix


async def test_a_public_key_of_another_log_is_a_failure(patient, tmp_path):
    origin = keystore.load(patient.config.evidence.keys).origin
    keystore.generate(tmp_path / "others", origin=origin)
    shutil.copy(tmp_path / "others" / "log.vkey", patient.place / "keys" / "log.vkey")

    assert "is not the public half of" in bad(await keys_check.check(patient.config)).text


async def test_the_months_whose_wrapping_key_is_gone_are_named(patient):
    await fill(patient)
    (lost,) = (patient.place / "keys").glob("kek-*.key")
    lost.unlink()

    found = bad(await keys_check.check(patient.config))

    assert found.status is Status.WARN
    assert f"The wrapping keys kek:{lost.stem.removeprefix('kek-')} are gone" in found.text


async def test_a_policy_that_is_not_the_one_in_force_is_told(patient):
    loaded = keystore.load(patient.config.evidence.keys)
    async with EvidenceLog.open(patient.gateway.store, loaded, now=lambda: datetime.now(UTC)) as log:
        await log.append(Record(LeafType.BUNDLE_ACTIVATED, {"bundle": "ab" * 32, "revision": "of last week"}))

    found = bad(await policy.check(patient.config))

    assert found.status is Status.WARN
    assert "is another bundle" in found.text


async def test_a_policy_that_does_not_parse_is_a_failure_with_its_line(patient):
    (patient.place / "policies" / "gateway" / "call" / "decision.rego").write_text("package gateway.call\n\nallow {")

    found = bad(await policy.check(patient.config))

    assert found.status is Status.FAIL
    assert "gateway/call/decision.rego:3" in found.text
    assert "phigate policy check" in found.fix


async def test_a_policy_without_the_wanted_signature_is_a_failure(patient):
    key = patient.place / "bundles.pub"
    made = ["openssl", "genrsa", "-out", str(patient.place / "bundles.key"), "2048"]
    subprocess.run(made, check=True, capture_output=True)
    subprocess.run(
        ["openssl", "rsa", "-in", str(patient.place / "bundles.key"), "-pubout", "-out", str(key)],
        check=True, capture_output=True,
    )  # fmt: skip
    patient.edit(lambda text: text + '\n[[policy.signing.key]]\npublic_key = "bundles.pub"\n')

    found = bad(await policy.check(patient.config))

    assert found.status is Status.FAIL
    assert "sign" in found.text


async def test_of_a_store_that_cannot_be_read_its_own_check_alone_speaks(patient):
    patient.gateway.store.write_bytes(b"not a database, by any means, but long enough to be looked at")

    said = [*await keys_check.check(patient.config), *await store.clock(patient.config)]

    assert bad(await store.check(patient.config)).status is Status.FAIL
    assert [one for one in said if one.status is not Status.OK] == []


async def test_a_wrapping_key_of_another_directory_is_a_failure(patient, tmp_path):
    await fill(patient)
    (ours,) = (patient.place / "keys").glob("kek-*.key")
    others = keystore.generate(tmp_path / "others", origin="other.example/phigate")
    others.kms.current(datetime.now(UTC))
    shutil.copy(tmp_path / "others" / ours.name, ours)

    found = bad(await keys_check.check(patient.config))

    assert found.status is Status.FAIL
    assert "are others than those that this store's bodies are sealed with" in found.text
