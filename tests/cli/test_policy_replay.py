"""`phigate policy replay`: every decision on record comes out as it was, or it is told which, where and why."""

import json
import sqlite3

import pytest

from gateway.cli.main import main
from gateway.core.policy import bundle
from gateway.pdp import loader, replay

from .traffic import ANN, BOB, PATIENT, fill, options, policy

SHIPPED = bundle.read(loader.shipped())
ALLOWING = policy('decision := {"effect": "allow", "labels": {"who": input.principal.sub}} if true\n')


def replaying(capsys, place, *arguments):
    code = main(["policy", "replay", *options(place), "--format", "json", *arguments])
    return code, json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """A store with three exchanges of two people with two upstreams, decided by the shipped bundle."""
    place = tmp_path_factory.mktemp("day")

    async def script(traffic):
        await traffic.activate(SHIPPED)
        first = await traffic.call(ANN, items=["run_sql"])
        second = await traffic.call(BOB, items=["run_sql"])
        await traffic.call(BOB, upstream="files", items=["read"])
        return {"ann": first, "bob": second, "session": traffic.session, "bob_is": traffic.keys.actor(BOB)}

    return place, fill(place, script)


def test_every_decision_comes_out_as_it_was_recorded(day, capsys):
    place, _ = day

    assert main(["policy", "replay", *options(place)]) == 0
    assert "9 decisions replayed: all came out byte for byte as recorded." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "decisions"),
    [
        (["--session", "{session}"], 3),
        (["--exchange", "{ann}"], 3),
        (["--principal", "bob@clinic.example"], 6),
        (["--principal", "{bob_is:.8}"], 6),
        (["--principal", "{bob_is:.7}"], 0),
        (["--upstream", "files"], 3),
        (["--upstream", "files", "--principal", "ann@clinic.example"], 0),
        (["--since", "2999-01-01T00:00:00+02:00"], 0),
        (["--since", "2026-01-05", "--until", "2026-01-05T00:00:01"], 0),
        (["--first", "3", "--last", "3"], 2),
        (["--first", "999"], 0),
        (["--jobs", "1", "--since", "2026-01-05"], 9),
    ],
)
def test_a_range_is_chosen_by_session_exchange_principal_upstream_time_or_leaves(day, capsys, arguments, decisions):
    place, told = day

    code, report = replaying(capsys, place, *(argument.format(**told) for argument in arguments))

    assert (code, report) == (0, {"decisions": decisions, "differences": [], "engine": replay.engine()})


def test_a_range_without_decisions_proves_nothing_and_says_so(day, capsys):
    place, _ = day

    assert main(["policy", "replay", *options(place), "--first", "5", "--last", "4"]) == 0
    assert capsys.readouterr().out == "There is no decision on record in this range.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--session", "nobody"], "There is no session nobody"),
        (["--exchange", "nothing"], "There is no exchange nothing"),
        (["--since", "yesterday"], "is no time"),
        (["--jobs", "0"], "at least 1"),
        (["--purpose", "audit"], "--purpose goes with --session or --exchange"),
    ],
)
def test_what_cannot_be_replayed_is_told_in_a_sentence(day, capsys, arguments, said):
    place, _ = day

    assert main(["policy", "replay", *options(place), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_store_that_is_not_there_is_told(tmp_path, capsys):
    assert main(["policy", "replay", *options(tmp_path)]) == 2
    assert "There is no evidence store" in capsys.readouterr().err


def forged(before, after):
    async def script(traffic):
        await traffic.activate(ALLOWING)
        await traffic.call()
        return await traffic.call(event=lambda event: event.replace(before, after))

    return script


def test_an_edited_decision_is_told_by_leaf_exchange_place_and_reason_without_its_values(tmp_path, capsys):
    exchange = fill(
        tmp_path, forged(b'"labels":{"who":"ann@clinic.example"}', f'"labels":{{"who":"{PATIENT}"}}'.encode())
    )

    code, report = replaying(capsys, tmp_path)

    (difference,) = report["differences"]
    assert code == 1
    assert difference.pop("leaf") > 0
    assert difference == {
        "type": "exchange.intent",
        "exchange": exchange,
        "body": "decision",
        "kind": "answer",
        "why": "the answer differs: at $.labels.who",
    }
    assert main(["policy", "replay", *options(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "the answer differs: at $.labels.who" in told
    assert "1 come out otherwise" in told
    assert PATIENT not in told


def test_the_values_that_differ_are_shown_for_a_purpose_that_is_on_record_first(tmp_path, capsys):
    exchange = fill(tmp_path, forged(b'"who":"ann@clinic.example"', f'"who":"{PATIENT}"'.encode()))
    loader.unpack(SHIPPED, tmp_path / "policies")
    asked = ["--exchange", exchange, "--purpose", "complaint 7", "--bundle", str(tmp_path / "policies")]

    code, report = replaying(capsys, tmp_path, *asked)

    assert code == 1
    (value,) = report["differences"][0]["values"]
    assert value == {"path": "$.labels.who", "recorded": PATIENT, "replayed": "ann@clinic.example"}
    with sqlite3.connect(tmp_path / "evidence.db") as store:
        (entry,) = store.execute("select entry from leaf where type = 'evidence.read'").fetchone()
    store.close()
    assert json.loads(entry)["members"]["of"] == exchange
    assert main(["policy", "replay", *options(tmp_path), *asked]) == 1
    assert PATIENT in capsys.readouterr().out


def test_values_are_not_shown_when_policy_does_not_let_the_operator(tmp_path, capsys):
    exchange = fill(tmp_path, forged(b'"who":"ann@clinic.example"', b'"who":"x"'))
    (tmp_path / "closed.tar.gz").write_bytes(ALLOWING.archive)
    asked = ["--exchange", exchange, "--purpose", "curious", "--bundle", str(tmp_path / "closed.tar.gz")]

    assert main(["policy", "replay", *options(tmp_path), *asked]) == 2
    assert "The attempt is on record" in capsys.readouterr().err


def test_a_leaf_that_disagrees_with_its_decision_is_told(tmp_path, capsys):
    fill(tmp_path, forged(b'{"bundles"', b'{"error":{"code":"policy_slow"},"bundles"'))

    code, report = replaying(capsys, tmp_path)

    assert code == 1
    assert report["differences"][0]["kind"] == "leaf"
    assert report["differences"][0]["why"] == "the leaf says allow, its decision deny"


def test_a_body_that_is_no_event_is_told(tmp_path, capsys):
    fill(tmp_path, forged(b"{", b"["))

    code, report = replaying(capsys, tmp_path)

    assert code == 1
    assert report["differences"][0]["why"] == "the body is not a decision event"


def test_a_bundle_that_was_swapped_in_the_archive_is_no_proof(tmp_path, capsys):
    async def script(traffic):
        await traffic.activate(SHIPPED, archive=ALLOWING)
        await traffic.call(items=["run_sql"])

    fill(tmp_path, script)
    code, report = replaying(capsys, tmp_path)

    assert code == 1
    assert {each["kind"] for each in report["differences"]} == {"bundle"}
    assert "was altered" in report["differences"][0]["why"]


def test_a_bundle_that_is_not_in_the_archive_is_told(tmp_path, capsys):
    async def script(traffic):
        await traffic.activate(ALLOWING)
        await traffic.call()

    fill(tmp_path, script)
    with sqlite3.connect(tmp_path / "evidence.db") as store:
        store.execute("drop trigger bundle_no_delete")
        store.execute("delete from bundle")
    store.close()

    code, report = replaying(capsys, tmp_path)

    assert code == 1
    assert "is not in this store's archive" in report["differences"][0]["why"]


def test_a_difference_under_another_engine_says_so(tmp_path, capsys):
    async def script(traffic):
        await traffic.activate(ALLOWING, engine="gordon-to-regorus 0.12.0")
        await traffic.call(event=lambda event: event.replace(b'"who"', b'"what"'))

    fill(tmp_path, script)
    _, report = replaying(capsys, tmp_path)

    assert "it was decided by gordon-to-regorus 0.12.0; this is gordon-to-regorus " in report["differences"][0]["why"]


def test_a_decision_that_ends_its_process_is_told_and_the_rest_is_replayed(tmp_path, capsys):
    """Endless recursion kills the process that meets it; no admitted bundle does, but an archive can hold anything."""
    deadly = policy(
        'decision := {"effect": "allow"} if input.upstream.name == "clinic"\n\n'
        'decision := {"effect": "allow", "labels": {"deep": endless(1)}} if input.upstream.name == "deadly"\n\n'
        "endless(n) := endless(n + 1)\n"
    )

    async def script(traffic):
        await traffic.activate(deadly)
        await traffic.call()
        here, there = (b'"upstream":{"labels":{},"name":"%s"}' % name for name in (b"clinic", b"deadly"))
        await traffic.call(event=lambda event: event.replace(here, there))
        await traffic.call()

    fill(tmp_path, script)
    code, report = replaying(capsys, tmp_path)

    (difference,) = report["differences"]
    assert code == 1
    assert difference["kind"] == "stopped"
    assert "ended its process" in difference["why"]
    assert report["decisions"] == 6
