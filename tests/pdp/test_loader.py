import os
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.policy import bundle
from gateway.core.policy.decision import Effect, Entrypoint
from gateway.core.policy.signature import Key, Verification
from gateway.pdp import loader
from gateway.pdp.loader import ActivePolicy, Local
from gateway.pdp.signing import Signer
from gateway.pdp.status import PolicyStatus, Trouble

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


def test_a_file_without_an_end_is_read_no_further_than_a_bundle_may_go():
    with pytest.raises(PolicyFault, match="larger than"):
        loader.read(Path("/dev/zero"))


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

    with trio.fail_after(60):
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


# Signatures


PRIVATE = rsa.generate_private_key(65537, 2048)
TRUST = Verification((Key("default", "RS256", PRIVATE.public_key()),))


def signed(bundled, key=PRIVATE):
    return bundle.pack(Signer("RS256", key).signed(bundled.files))


@pytest.fixture
def trusting(archive):
    made = []

    def make(path, verification=TRUST):
        made.append(ActivePolicy(Local(path, verification=verification), on_activate=archive))
        return made[-1]

    yield make
    for active in made:
        active.close()


async def test_a_signed_file_is_in_force_and_an_unsigned_one_does_not_replace_it(tmp_path, trusting, archive):
    path = tmp_path / "b.tar.gz"
    put(path, signed(allowing(1)))
    active = trusting(path)
    await active.start()

    for attack in (allowing(2), signed(allowing(2), rsa.generate_private_key(65537, 2048))):
        put(path, attack)
        assert not await active.reload()
        assert number(active) == 1
        assert active.status.trouble is Trouble.BUNDLE
    put(path, signed(allowing(3)))
    assert await active.reload()
    assert (number(active), active.fault, len(archive.kept)) == (3, None, 2)


async def test_a_signed_bundle_is_refused_when_nobody_can_say_by_whom(tmp_path, trusting):
    put(tmp_path / "b.tar.gz", signed(allowing(1)))

    with pytest.raises(PolicyFault, match="no key to verify it with"):
        await trusting(tmp_path / "b.tar.gz", None).start()


async def test_a_signed_directory_is_in_force_as_it_is_and_an_edit_is_refused(tmp_path, trusting):
    files = {**allowing(1).files, "notes/README.md": b"x"}
    for name, content in Signer("RS256", PRIVATE).signed(files).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    active = trusting(tmp_path)
    await active.start()
    assert number(active) == 1

    source = tmp_path / "gateway/call/decision.rego"
    source.write_text(source.read_text().replace('"number": 1', '"number": 77'))
    assert not await active.reload()
    assert "gateway/call/decision.rego is not what was signed" in active.fault
    assert number(active) == 1


def test_links_as_kubernetes_makes_them_are_read_once(tmp_path):
    """A mounted ConfigMap: files are links into a hidden directory."""
    (tmp_path / "..2026_01").mkdir()
    (tmp_path / "..2026_01" / "a.rego").write_text("package a\n")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "a.rego").symlink_to("..data/a.rego")

    assert [source.path for source in loader.read(tmp_path).sources] == ["a.rego"]


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    """Root reads everything, so the refusal is made here."""
    (tmp_path / "a.rego").write_text("package a\n")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "read_bytes", refuse)
    with pytest.raises(PolicyFault, match=r"a\.rego cannot be read: Permission denied"):
        loader.read(tmp_path)


def test_the_status_that_everyone_may_see_has_no_path_and_no_policy_text(tmp_path):
    status = PolicyStatus(
        str(tmp_path), "clinic", "r1", "ab" * 32, 10, trouble=Trouble.BUNDLE, message=f"{tmp_path}/x.rego:1: secret"
    )

    shown = status.public()
    assert (shown["name"], shown["active_revision"], shown["code"]) == ("clinic", "r1", "bundle_error")
    assert "secret" not in str(shown)
    assert str(tmp_path) not in str(shown)
