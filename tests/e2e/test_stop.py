"""The gateway stops while clients listen for what may never come: they are told, and it does not wait for them."""

from __future__ import annotations

import httpx2
import trio

from tests.e2e import harness
from tests.e2e.test_wire import META, greeted, in_session, request


async def test_standing_streams_end_at_once_on_record_and_whole(tmp_path, people, ward_upstream):
    with harness.running(tmp_path, people, [ward_upstream]) as gateway:
        session = in_session(await trio.to_thread.run_sync(greeted, gateway, "ward", "analyst"))
        modern = {"mcp-protocol-version": "2026-07-28", "mcp-method": "subscriptions/listen"}
        subscription = request("subscriptions/listen", "s", notifications={"toolsListChanged": True}, _meta=META)
        url, bodies = gateway.mcp("ward"), {}

        async def listen(name, opened, method, **more):
            async with (
                httpx2.AsyncClient(timeout=60) as http,
                http.stream(method, url, **more) as response,
            ):
                opened.set()
                bodies[name] = (await response.aread()).decode()  # Raises when the stream is cut off.

        async with trio.open_nursery() as nursery:
            for name, method, more in (
                ("legacy", "GET", {"headers": gateway.headers("analyst", **session)}),
                ("modern", "POST", {"headers": gateway.headers("analyst", **modern), "json": subscription}),
            ):
                opened = trio.Event()
                nursery.start_soon(lambda *all_, more=more: listen(*all_, **more), name, opened, method)
                await opened.wait()
            await trio.to_thread.run_sync(gateway.stop)
        ends = [leaf["members"]["status"] for leaf in gateway.leaves() if leaf["type"] == "exchange.outcome"]
    assert ends.count("ended") == 2
    assert "abandoned" not in ends
    assert '"resultType":"complete"' in bodies["modern"]
    assert "result" not in bodies["legacy"]
