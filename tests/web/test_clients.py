"""Who is looked after while a request is served: nobody who is answered at once, and whoever waits."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from gateway.core.protocol import sse
from gateway.web.client import HttpClient
from gateway.web.clients import MOMENT_S, Clients


class Line:
    """A connection whose client can hang up, as the server sees it."""

    def __init__(self) -> None:
        self.asked = 0
        self.sent: list[dict] = []
        self._cut = trio.Event()

    async def send(self, event: dict) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(event)

    async def receive(self) -> dict:
        self.asked += 1
        await self._cut.wait()
        return {"type": "http.disconnect"}

    def hang_up(self) -> None:
        self._cut.set()

    def hung_up(self) -> bool:
        return self._cut.is_set()


async def waits(client: HttpClient) -> None:
    with client.interruptible():
        await trio.sleep_forever()


async def test_an_answer_that_is_there_at_once_has_no_task_beside_it(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    clients, line = Clients(), Line()
    nursery.start_soon(clients.look_after)
    seen = []

    async def work() -> None:
        seen.append(list(clients))
        await trio.sleep(MOMENT_S / 2)

    client = HttpClient(line.send, hung_up=line.hung_up, keepalive_s=MOMENT_S)
    await clients.serve(client, line.receive, work)
    await trio.sleep(10 * MOMENT_S)

    assert seen == [[client]]
    assert list(clients) == []
    assert line.asked == 0
    assert line.sent == []


@pytest.mark.parametrize("tells", [True, False], ids=["server tells", "server cannot tell"])
async def test_who_waits_is_noticed_when_it_hangs_up(
    autojump_clock: object, nursery: trio.Nursery, tells: bool
) -> None:
    clients, line = Clients(), Line()
    nursery.start_soon(clients.look_after)
    client = HttpClient(line.send, hung_up=line.hung_up if tells else None)
    line.hang_up()
    began = trio.current_time()
    await clients.serve(client, line.receive, lambda: waits(client))

    assert client.gone
    assert trio.current_time() - began <= 2 * MOMENT_S


async def test_a_server_that_cannot_tell_is_watched_even_where_nobody_looks_after_those_who_wait() -> None:
    clients, line = Clients(), Line()
    client = HttpClient(line.send)
    line.hang_up()
    with trio.fail_after(5):
        await clients.serve(client, line.receive, lambda: waits(client))

    assert client.gone


async def test_the_silence_of_who_waits_is_broken(autojump_clock: object, nursery: trio.Nursery) -> None:
    clients, line = Clients(), Line()
    nursery.start_soon(clients.look_after)
    client = HttpClient(line.send, hung_up=line.hung_up, keepalive_s=15)
    await clients.serve(client, line.receive, lambda: trio.sleep(50))

    assert [event["body"] for event in line.sent[1:]] == [sse.comment("still here")] * 3


async def test_a_hang_up_that_can_be_seen_is_known_before_anybody_looks_after_the_client() -> None:
    line = Line()
    client = HttpClient(line.send, hung_up=line.hung_up)
    assert not client.gone
    line.hang_up()

    assert client.gone
    with trio.fail_after(5):
        await waits(client)


async def test_who_is_on_a_stream_is_watched_from_its_beginning(autojump_clock: object) -> None:
    clients, line = Clients(), Line()
    client = HttpClient(line.send, hung_up=line.hung_up)

    async def work() -> None:
        await client.relay([b"{}"])
        line.hang_up()
        await waits(client)

    began = trio.current_time()
    await clients.serve(client, line.receive, work)

    assert trio.current_time() == began


@pytest.mark.parametrize("after_s", [0, 3 * MOMENT_S])
async def test_a_request_that_is_cut_short_takes_what_looks_after_it_along(
    autojump_clock: object, nursery: trio.Nursery, after_s: float
) -> None:
    """Its server goes down: what waits for the client's sake, though it is shielded, ends."""
    clients, line = Clients(), Line()
    nursery.start_soon(clients.look_after)
    client = HttpClient(line.send, hung_up=line.hung_up)

    async def work() -> None:
        with trio.CancelScope(shield=True):
            await waits(client)

    with trio.move_on_after(after_s) as cut:
        await clients.serve(client, line.receive, work)

    assert cut.cancelled_caught
    assert client._gone
    assert list(clients) == []


async def test_work_that_fails_leaves_nobody_behind(nursery: trio.Nursery) -> None:
    clients, line = Clients(), Line()

    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await clients.serve(HttpClient(line.send), line.receive, work)

    assert list(clients) == []
