"""`phigate approvals` against a gateway's API on a real socket."""

import json
import socket
import time
from dataclasses import replace

import pytest
import trio
from quart import Response
from quart_trio import QuartTrio

from gateway.cli.main import main
from gateway.core.policy.approval import State
from gateway.core.policy.decision import Decision, Effect
from gateway.web.server import ServerSettings, serve
from tests.fakes.evidence import Clock
from tests.fakes.house import SECRET, TERMS, process
from tests.fakes.reviewing import Provider, site, token


@pytest.fixture
async def house(tmp_path):
    async with process(tmp_path, Clock()) as opened:
        yield opened


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def address(listening):
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


async def served(nursery, app, listening):
    """Serve `app` until the nursery is cancelled."""
    up = trio.Event()

    async def run():
        await serve(app, [listening.dup()], settings=ServerSettings(), shutdown=trio.sleep_forever, started=up.set)

    nursery.start_soon(run)
    await up.wait()


@pytest.fixture
def phigate(house, listening, address, capsys, monkeypatch):
    """Run one command as the reviewer who is named; its exit code and what it printed."""

    async def run(*words, who="bob", app=None):
        monkeypatch.setenv("PHIGATE_TOKEN", token(who))
        provider = Provider(resource=f"{address}/api")
        async with trio.open_nursery() as nursery:
            await served(nursery, app or site(house, provider, url=address), listening)
            code = await trio.to_thread.run_sync(main, ["approvals", *words, "--server", address])
            nursery.cancel_scope.cancel()
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture
async def held(house):
    return (await house.hold(await house.call(justification="quarterly review"))).approval


async def test_list_names_what_waits(phigate, held):
    code, said = await phigate("list")

    assert code == 0
    assert held in said
    assert "900-45-6789" not in said


async def test_list_says_when_nothing_waits(phigate):
    assert await phigate("list") == (0, "Nothing waits that is yours to see.\n")


async def test_list_as_json_is_what_the_api_said(phigate, held):
    _, said = await phigate("list", "--format", "json", "--state", "all")

    assert [each["id"] for each in json.loads(said)] == [held]


async def test_show_shows_exactly_what_will_run_and_where_to_review_it(phigate, held, address):
    code, said = await phigate("show", held)

    assert code == 0
    for expected in (SECRET, "alice", "more than 50 rows", "quarterly review", f"{address}/approvals/{held}"):
        assert expected in said


async def test_show_says_how_to_answer_as_long_as_there_is_something_to_answer(phigate, held, address):
    assert f"phigate approvals grant {held} --server {address} --reason …" in (await phigate("show", held))[1]

    await phigate("refuse", held)
    assert "To answer" not in (await phigate("show", held))[1]
    assert "To answer" not in (await phigate("show", held, who="dave"))[1]


async def test_times_name_their_zone(phigate, held, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert " JST" in (await phigate("list"))[1]
        assert " JST" in (await phigate("show", held))[1]
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_show_as_json_has_reasons_and_link(phigate, held, address):
    _, said = await phigate("show", held, "--format", "json")
    shown = json.loads(said)

    assert shown["url"] == f"{address}/approvals/{held}"
    assert shown["reasons"][0]["message"] == "more than 50 rows"


async def test_show_to_who_may_not_review_says_that_the_arguments_are_sealed(phigate, held):
    code, said = await phigate("show", held, who="dave")

    assert code == 0
    assert "sealed" in said
    assert "SELECT" not in said


async def test_what_a_client_sent_cannot_drive_the_terminal(phigate, house):
    held = (await house.hold(await house.call("SELECT 1 \x1b[2J\u202eDROP"))).approval
    _, said = await phigate("show", held)

    assert "\x1b[2J" not in said
    assert "\u202e" not in said


async def test_grant_releases_the_call(phigate, house, held):
    code, said = await phigate("grant", held, "--reason", "checked")

    assert code == 0
    assert said.startswith(f"Granted. {held} releases this one call, once")
    granted = await house.approvals.get(held)
    assert (granted.state, granted.votes[0].reason) == (State.GRANTED, "checked")


async def test_refuse_ends_it(phigate, house, held):
    assert (await phigate("refuse", held))[0] == 0
    assert (await house.approvals.get(held)).state is State.REFUSED


async def test_a_grant_that_is_one_of_two_says_what_is_missing(phigate, house):
    held = (await house.hold(await house.call(), terms=replace(TERMS, quorum=2))).approval
    code, said = await phigate("grant", held)

    assert code == 0
    assert "1 of 2" in said


async def test_the_answer_no_has_its_own_exit_code(phigate, held):
    code, said = await phigate("grant", held, who="alice")

    assert code == 1
    assert "somebody else has to review it" in said


async def test_a_grant_that_policy_no_longer_allows_is_no_success(phigate, house, held):
    house.policy.call = Decision(Effect.DENY)
    code, said = await phigate("grant", held)

    assert code == 1
    assert "was not granted: it is cancelled" in said


async def test_an_unknown_approval_is_told(phigate):
    code, said = await phigate("show", "ap_nothing")

    assert code == 2
    assert "no approval with this id" in said


@pytest.mark.parametrize("name", ["../../healthz", "a/grant", "a?b", "ap_é"])
async def test_an_id_cannot_lead_elsewhere(phigate, name):
    code, said = await phigate("show", name)

    assert code == 2
    assert "no approval with this id" in said or "no phigate" in said


async def test_a_refused_token_says_how_to_give_a_good_one(phigate):
    code, said = await phigate("list", who="nobody")

    assert code == 2
    assert "--token-file" in said


async def test_something_else_that_answers_is_not_taken_for_a_gateway(phigate):
    app = QuartTrio(__name__)

    @app.route("/api/approvals")
    async def elsewhere():
        return Response("<html>hello</html>", 200)

    code, said = await phigate("list", app=app)

    assert code == 2
    assert "is no phigate" in said


async def test_a_token_is_never_sent_on_to_another_place(phigate, address):
    app = QuartTrio(__name__)

    @app.route("/api/approvals")
    async def elsewhere():
        return Response("", 302, {"Location": f"{address}/stolen"})

    code, said = await phigate("list", app=app)

    assert code == 2
    assert "is no phigate" in said


def run(capsys, *words):
    code = main(["approvals", *words])
    return code, capsys.readouterr().err


def test_a_gateway_that_is_not_there_is_told(capsys, monkeypatch):
    monkeypatch.setenv("PHIGATE_TOKEN", token("bob"))
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    code, said = run(capsys, "list", "--server", f"http://127.0.0.1:{port}")

    assert code == 2
    assert "cannot be reached" in said


@pytest.mark.parametrize("server", ["http://gateway.example", "ftp://127.0.0.1", "gateway.example", "https://x/?q"])
def test_a_token_is_not_sent_in_the_clear_or_to_what_is_no_address(capsys, monkeypatch, server):
    monkeypatch.setenv("PHIGATE_TOKEN", token("bob"))

    assert run(capsys, "list", "--server", server)[0] == 2


def test_without_a_token_nothing_is_asked(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("PHIGATE_TOKEN", raising=False)
    empty = tmp_path / "token"
    empty.write_text("\n")

    assert "There is no access token" in run(capsys, "list")[1]
    assert "There is no access token" in run(capsys, "list", "--token-file", str(empty))[1]
    assert "cannot be read" in run(capsys, "list", "--token-file", str(tmp_path / "none"))[1]
    assert "There is no access token" in run(capsys, "list", "--token", "two\nlines")[1]
