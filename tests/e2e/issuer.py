"""An issuer for end-to-end tests: any person in any groups, its keys served on loopback by a thread of the tests."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt

from tests.identity.minting import signing_key

AUDIENCE = "urn:phigate:e2e"
_KEY = signing_key("ES256", "e2e")

GROUPS = {
    "clinician": ("clinicians",),
    "analyst": ("analysts",),
    "engineer": ("engineers",),
    "officer": ("privacy-officers",),
    "auditor": ("auditors",),
    "nobody": (),
}
"""Who is in which groups; `token` takes others too."""


class Issuer:
    """Mints access tokens (RFC 9068) that gateways of the tests accept. `url` is their `iss`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def token(self, who: str, groups: Sequence[str] | None = None, *, lifetime_s: int = 3600) -> str:
        """A token for `who`, by default in the groups of `GROUPS`; what follows a dash in the name tells people apart:
        `analyst-2` is an analyst too."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": who,
            "client_id": "e2e-agent",
            "groups": list(GROUPS[who.partition("-")[0]] if groups is None else groups),
            "iat": min(now, now + lifetime_s - 1),
            "exp": now + lifetime_s,
            "jti": uuid.uuid4().hex,
        }
        headers = {"kid": _KEY.kid, "typ": "at+jwt"}
        return jwt.encode(claims, _KEY.private, algorithm=_KEY.algorithm, headers=headers)


@contextmanager
def running() -> Iterator[Issuer]:
    """An issuer whose discovery document and keys can be fetched while the block runs."""

    class Published(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = f"http://127.0.0.1:{self.server.server_address[1]}"
            documents = {
                "/.well-known/openid-configuration": {"issuer": url, "jwks_uri": f"{url}/jwks"},
                "/jwks": {"keys": [_KEY.jwk(alg=_KEY.algorithm)]},
            }
            body = json.dumps(documents.get(self.path)).encode()
            self.send_response(200 if self.path in documents else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Published) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Issuer(f"http://127.0.0.1:{server.server_address[1]}")
        finally:
            server.shutdown()
            thread.join()
