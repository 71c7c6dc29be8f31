import os

import pytest
import trio

from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.policy import bundle
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.pdp import loader
from gateway.pdp.loader import ActivePolicy, Local

from .policies import ASKED, allowing, policy

AT = "2026-01-05T12:00:00.000000Z"


class Archive:
    """What `on_activate` does in service: keep the bundle; it can be told to fail."""

    def __init__(self):
        self.kept = []
        self.fault = None

    async def __call__(self, activated):
        if self.fault is not None:
            raise self.fault
        self.kept.append(activated.digest)


@pytest.fixture
def archive():
    return Archive()


@pytest.fixture
def opened(archive):
    """Makes policies that let go of their engines with the test: an engine may not be collected on another thread."""
    made = []

    def make(path, on_activate=archive):
        made.append(ActivePolicy(Local(path), on_activate=on_activate))
        return made[-1]

    yield make
    for active in made:
        active.close()


def put(path, bundled):
    """Replace the file as `bundle build` does; its time of change is always another."""
    draft = path.with_name("draft")
    draft.write_bytes(bundled if isinstance(bundled, bytes) else bundled.archive)
    put.ticks += 1
    os.utime(draft, ns=(put.ticks, put.ticks))
    draft.replace(path)


put.ticks = 0


def number(active):
    return active.current.decide(Entrypoint.CALL, ASKED, at=AT).decision.labels.get("number")


def test_a_directory_is_read_as_the_bundle_it_builds_to(tmp_path):
    shipped = bundle.read(loader.shipped())
    loader.unpack(shipped, tmp_path / "policies")

    assert loader.read(tmp_path / "policies").digest == shipped.digest


def test_what_lies_beside_the_policies_is_left_out(tmp_path):
    loader.unpack(bundle.read(loader.shipped()), tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "gateway" / "schema.json").write_text("{}")

    assert loader.read(tmp_path).archive == loader.shipped()


def test_nobodys_edits_are_overwritten(tmp_path):
    shipped = bundle.read(loader.shipped())
    loader.unpack(shipped, tmp_path)

    with pytest.raises(PolicyFault, match="exists already"):
        loader.unpack(shipped, tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "empty", "huge"])
def test_what_cannot_be_read_is_refused_with_its_path(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(bundle.ARCHIVE_MAX + 1)

    with pytest.raises(PolicyFault, match=name):
        loader.read(tmp_path / name)


async def test_a_bundle_is_on_record_before_it_decides(tmp_path, archive, opened):
    put(tmp_path / "b.tar.gz", allowing(1))
    active = opened(tmp_path / "b.tar.gz")
    with pytest.raises(PolicyFault):
        _ = active.current

    await active.start()

    assert archive.kept == [active.current.bundle]
    assert number(active) == 1


async def test_a_bundle_that_cannot_be_put_on_record_does_not_decide(tmp_path, archive, opened):
    put(tmp_path / "b.tar.gz", allowing(1))
    active = opened(tmp_path / "b.tar.gz")
    archive.fault = EvidenceFault("disk full")

    with pytest.raises(EvidenceFault):
        await active.start()

    with pytest.raises(PolicyFault):
        _ = active.current


async def test_a_new_bundle_replaces_the_old_one(tmp_path, archive, opened):
    put(tmp_path / "b.tar.gz", allowing(1))
    active = opened(tmp_path / "b.tar.gz")
    await active.start()
    put(tmp_path / "b.tar.gz", allowing(2))

    assert await active.reload()
    assert number(active) == 2
    assert archive.kept == [allowing(1).digest, allowing(2).digest]
    assert not await active.reload()


async def test_an_edited_source_is_taken_up(tmp_path, opened):
    loader.unpack(allowing(1), tmp_path)
    active = opened(tmp_path)
    await active.start()
    source = tmp_path / "gateway/call/decision.rego"
    source.write_text(source.read_text().replace('"number": 1', '"number": 77'))

    assert await active.reload()
    assert number(active) == 77


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"not a bundle",
        policy("f(x) := f(x)\n"),
        policy("x := }\n"),
        policy('decision := {"effect": "?"} if true\n'),
    ],
)
async def test_a_bad_bundle_changes_nothing_and_says_why(tmp_path, archive, opened, bad):
    put(tmp_path / "b.tar.gz", allowing(1))
    active = opened(tmp_path / "b.tar.gz")
    await active.start()
    put(tmp_path / "b.tar.gz", bad)

    assert not await active.reload()

    assert number(active) == 1
    assert active.fault
    assert archive.kept == [allowing(1).digest]


async def test_a_bundle_that_vanished_changes_nothing_until_it_is_back(tmp_path, opened):
    path = tmp_path / "b.tar.gz"
    put(path, allowing(1))
    active = opened(path)
    await active.start()
    path.unlink()

    assert not await active.reload()
    assert "cannot be read" in (active.fault or "")
    put(path, allowing(1))
    assert not await active.reload()
    assert active.fault is None


async def test_a_bundle_is_tried_again_when_evidence_is_back(tmp_path, archive, opened):
    path = tmp_path / "b.tar.gz"
    put(path, allowing(1))
    active = opened(path)
    await active.start()
    put(path, allowing(2))
    archive.fault = EvidenceFault("disk full")

    assert not await active.reload()
    assert number(active) == 1
    archive.fault = None
    assert await active.reload()
    assert number(active) == 2


async def test_the_watch_takes_up_what_is_new(tmp_path, nursery, opened):
    path = tmp_path / "b.tar.gz"
    seen, receive = trio.open_memory_channel(1)
    put(path, allowing(1))
    active = opened(path, on_activate=lambda activated: seen.send(activated.digest))
    await active.start()
    await receive.receive()
    nursery.start_soon(active.watch)

    put(path, allowing(2))

    with trio.fail_after(10):
        assert await receive.receive() == allowing(2).digest


async def test_a_decision_under_way_keeps_the_policy_it_began_with(tmp_path, opened):
    path = tmp_path / "b.tar.gz"
    put(path, allowing(1))
    active = opened(path)
    await active.start()
    before = active.current
    put(path, allowing(2))
    await active.reload()

    decided = before.decide(Entrypoint.CALL, ASKED, at=AT)

    assert decided.decision.effect is Effect.ALLOW
    assert decided.decision.labels == {"number": 1}
    assert decided.bundle == allowing(1).digest
