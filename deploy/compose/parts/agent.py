"""An agent of Dana's that knows nothing but a URL: it logs in by itself and asks for a patient's record.

    docker compose run --rm agent

Everything is the official MCP client: 401, resource metadata (RFC 9728), authorization server metadata (RFC 8414),
dynamic registration, code with PKCE, a token for this one resource (RFC 8707). The one click of a person, who she is,
is given as `login_hint`, which this demo's provider takes for it.
"""

import argparse
import json
from collections.abc import Sequence
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import httpx2
import trio
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

CALLBACK = "http://127.0.0.1:9/callback"
"""Nobody listens there: the code is read from the address to which the browser would be sent."""
HOPS = 10
"""Redirects between a login and its end."""
MRN = "MRN-1007919"
QUERIES = ("SELECT department, count(*) AS visits FROM encounters GROUP BY department", "DROP TABLE claims")


class Memory:
    """The client's token storage (`TokenStorage`), for one run."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """What was got."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep what was got."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """As whom the client registered itself."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep that."""
        self.client = client_info


class Browser:
    """The browser of `who`: opens the login page, follows where it leads, and reads the code at its end."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._answer = AuthorizationCodeResult(code="", state=None)

    async def open(self, url: str) -> None:
        """Log in at `url`."""
        location = f"{url}&{urlencode({'login_hint': self._who})}"
        async with httpx2.AsyncClient() as http:
            for _ in range(HOPS):
                reply = await http.get(location)
                if not reply.is_redirect:
                    break
                location = urljoin(location, reply.headers["location"])
                if location.startswith(CALLBACK):
                    break
        if not location.startswith(CALLBACK):
            raise SystemExit(f"The login ended at {urlsplit(location).path} with {reply.status_code}.")
        answer = parse_qs(urlsplit(location).query)
        self._answer = AuthorizationCodeResult(
            code=answer["code"][0], state=answer["state"][0], iss=answer.get("iss", [None])[0]
        )

    async def read(self) -> AuthorizationCodeResult:
        """The code."""
        return self._answer


def login(url: str, who: str) -> OAuthClientProvider:
    """How requests to `url` get their token: by a login of `who`, when it is first asked for."""
    metadata = OAuthClientMetadata(
        client_name="care-agent", redirect_uris=[CALLBACK], token_endpoint_auth_method="none", application_type="native"
    )
    browser = Browser(who)
    return OAuthClientProvider(url, metadata, Memory(), browser.open, browser.read)


async def ask(url: str, who: str, queries: Sequence[str]) -> None:
    """A record, and what comes back of each query; with a query of one's own only that."""
    async with (
        httpx2.AsyncClient(auth=login(url, who), timeout=90) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        tell("tools", [tool.name for tool in (await client.list_tools()).tools])
        if queries is QUERIES:
            record = await client.call_tool("read_patient", {"mrn": MRN})
            tell(f"read_patient {MRN}", record.structured_content["patient"])
        for query in queries:
            result = await client.call_tool("run_sql", {"sql": query})
            tell(f"run_sql {query}", result.structured_content or result.content[0].text)


async def go_around(url: str) -> None:
    """Try to reach the upstream without the gateway."""
    try:
        async with httpx2.AsyncClient(timeout=5) as http:
            await http.get(url)
    except httpx2.TransportError as error:
        tell(f"past the gateway, {url}", f"cannot be reached ({type(error).__name__}): the gateway is the only way")
    else:
        raise SystemExit(f"{url} can be reached past the gateway: the networks are not what they should be.")


def tell(what: str, found: object) -> None:
    """One step and its result."""
    print(f"── {what}\n{found if isinstance(found, str) else json.dumps(found, indent=2)}", flush=True)


async def main() -> None:
    """Ask through the gateway, then try to go around it."""
    arguments = argparse.ArgumentParser(prog="agent", description=__doc__)
    arguments.add_argument("--url", default="https://phigate.localhost:8443/mcp/clinic", help="the gateway's address")
    arguments.add_argument("--direct", default="http://clinic:8000/mcp", help="the upstream's own; not for agents")
    arguments.add_argument("--as", dest="who", default="dana.whitfield", help="who logs in")
    arguments.add_argument("--sql", help="ask this and nothing else")
    options = arguments.parse_args()
    await ask(options.url, options.who, QUERIES if options.sql is None else (options.sql,))
    await go_around(options.direct)


if __name__ == "__main__":
    trio.run(main)
