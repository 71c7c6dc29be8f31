"""The standing stream of an aggregate: whatever its upstreams do, in whatever order, each is heard."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from gateway.web.gathered import Gathered
from gateway.web.parts import Asked
from gateway.web.within import Within

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
WARD, TWIN = "018f0000-0000-7000-8000-000000000001", "018f0000-0000-7000-8000-000000000002"


def said(exchange, number):
    data = b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}'
    body = b"id: %s_%d\r\ndata: %s\r\n\r\n" % (exchange.encode(), number, data)
    return {"type": "http.response.body", "body": body, "more_body": True}


async def test_attack_an_upstream_that_opens_its_stream_late_is_heard_and_breaks_nothing(nursery):
    sent = []

    async def send(event):
        sent.append(event.get("body", b""))

    client = Gathered(send, keepalive_s=60, version="2025-11-25")

    def part(member, exchange):
        async def tell(messages):
            await client.tell(member, messages)

        return Asked(member, exchange, Within(b"", tell))

    ward, twin = part("ward", WARD), part("twin", TWIN)
    await ward.within.send(START)
    nursery.start_soon(client.stand, [ward, twin], {})
    await wait_all_tasks_blocked()
    await twin.within.send(START)
    await twin.within.send(said(TWIN, 1))
    await ward.within.send(said(WARD, 1))
    twin.within.end()
    ward.within.end()
    with trio.fail_after(5):
        await wait_all_tasks_blocked()
    ids = [line for body in sent for line in body.split(b"\r\n") if line.startswith(b"id:")]
    assert ids == [
        b"id: all:%s_0" % WARD.encode(),
        b"id: all:%s_0,%s_1" % (WARD.encode(), TWIN.encode()),
        b"id: all:%s_1,%s_1" % (WARD.encode(), TWIN.encode()),
    ]
