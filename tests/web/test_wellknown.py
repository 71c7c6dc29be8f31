"""The metadata that a client starts from."""

from __future__ import annotations

import pytest
from quart_trio import QuartTrio

from gateway.identity.challenge import metadata, metadata_url
from gateway.web import wellknown

RESOURCE = "https://gateway.example/mcp/ehr"


def client():
    app = QuartTrio(__name__)
    app.register_blueprint(wellknown.blueprint({"ehr": metadata(RESOURCE, ["https://idp.example"])}.get))
    return app.test_client()


async def test_the_metadata_is_where_the_challenge_says():
    reply = await client().get(metadata_url(RESOURCE).removeprefix("https://gateway.example"))
    assert reply.status_code == 200
    assert reply.content_type == "application/json"
    assert (await reply.get_json())["resource"] == RESOURCE
    assert reply.headers["access-control-allow-origin"] == "*"


async def test_a_page_may_ask_for_the_metadata_and_say_its_version():
    reply = await client().options(metadata_url(RESOURCE).removeprefix("https://gateway.example"))
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.headers["access-control-allow-headers"] == "mcp-protocol-version"


@pytest.mark.parametrize("path", ["/mcp/other", "/mcp/", "", "/mcp/ehr/more", "/mcp/..%2fehr", "/mcp/EHR"])
async def test_there_is_no_metadata_of_anything_else(path):
    reply = await client().get(f"/.well-known/oauth-protected-resource{path}")
    assert reply.status_code == 404
