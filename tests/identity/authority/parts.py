"""An authority as tests need it: clients with each kind of proof, a grant that grants what the test says, a record."""

from __future__ import annotations

import time
import uuid
from typing import Any

import jwt
import orjson

from gateway.core.types import Principal
from gateway.identity.authority.authority import Authority
from gateway.identity.authority.grants import Granted
from gateway.identity.authority.settings import AuthorityConfig, ClientConfig
from gateway.identity.authority.signer import Signer
from tests.identity.minting import signing_key

URL = "https://gateway.example"
TOKEN = f"{URL}/oauth/token"
RESOURCE = f"{URL}/mcp/ehr"
SECRET = "synthetic-secret-of-forty-characters-long"
SEED = bytes(range(32))
KEY = signing_key("ES256", "client-key")
BY_SECRET = ClientConfig("care-assistant", SECRET, None)
BY_KEY = ClientConfig("scheduler", None, orjson.dumps({"keys": [KEY.jwk()]}))
ALICE = Principal("https://idp.example", "alice", ("clinicians",), "from-elsewhere", "urn:mfa", ("pwd", "otp"))
CREDENTIALS = {"client_id": BY_SECRET.id, "client_secret": SECRET}


class Always:
    """A grant of whatever the test says."""

    grant_type = "urn:example:always"

    def __init__(self) -> None:
        self.metadata = {"example_supported": True}
        self.granted = Granted(ALICE, RESOURCE)
        self.asked: list[tuple[dict[str, str], str]] = []

    async def authorise(self, form, client):
        self.asked.append((dict(form), client.id))
        return self.granted


class House:
    """An authority with its record and what was used up."""

    def __init__(self, *grants: Any, now=time.time) -> None:
        self.always = Always()
        self.record: list[dict[str, Any]] = []
        self.spent: set[str] = set()
        self.signer = Signer(URL, SEED)
        self.now = now
        self.authority = Authority(
            AuthorityConfig(600, (BY_SECRET, BY_KEY), (), frozenset()),
            self.signer,
            [self.always, *grants],
            upstream={RESOURCE: "ehr"}.get,
            actor=lambda principal: f"pseudonym-{len(principal.subject)}",
            record=self.write,
            spend=self.spend,
            now=now,
        )

    async def write(self, members):
        self.record.append(members)

    async def spend(self, key):
        new = key not in self.spent
        self.spent.add(key)
        return new

    async def token(self, authorization=None, **form):
        """A token request: a grant that is always granted, by the client with a secret, unless the test says else."""
        proof = CREDENTIALS if authorization is None and "client_assertion" not in form else {}
        whole = {"grant_type": Always.grant_type, **proof, **form}
        wanted = {name: value for name, value in whole.items() if value is not None}
        return await self.authority.token(wanted, authorization)


def client_assertion(key=KEY, *, header=None, now=None, **changes) -> str:
    """What a client with a key signs for each request (RFC 7523 §2.2); a change to None leaves a claim out."""
    at = time.time() if now is None else now
    good = {
        "iss": BY_KEY.id,
        "sub": BY_KEY.id,
        "aud": URL,
        "jti": uuid.uuid4().hex,
        "iat": at,
        "exp": at + 60,
    }
    claims = {name: value for name, value in {**good, **changes}.items() if value is not None}
    return jwt.encode(claims, key.private, key.algorithm, headers={"kid": key.kid, **(header or {})})
