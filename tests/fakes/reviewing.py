"""The API and the pages over a real evidence log, and the tokens of people."""

from __future__ import annotations

import base64
import json
from collections import Counter as Count
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from quart_trio import QuartTrio

from gateway.core.errors import IdentityUnavailable, Unauthenticated
from gateway.core.types import Principal
from gateway.store import tools
from gateway.web import approvals
from gateway.web.counter import Counter
from gateway.web.login_pages import CodeWay, Entrance, ServiceProvider
from tests.fakes.house import ALICE, BOB, CAROL, DAVE, EVE, House
from tests.fakes.mail import FakeMail

URL = "https://gate.example"
PEOPLE = {who.subject: who for who in (ALICE, BOB, CAROL, DAVE, EVE)}


def token(subject: str, *, expires: int = 4_000_000_000, padding: int = 0) -> str:
    """A token in the form of a JWT; what makes it good is that `Provider` knows it."""
    claims = json.dumps({"sub": subject, "exp": expires, "groups": "g" * padding}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.c2ln"


@dataclass
class Provider:
    """Knows the tokens of `people`, for this gateway's API, until told otherwise."""

    people: dict[str, Principal] = field(default_factory=lambda: dict(PEOPLE))
    resource: str = f"{URL}/api"
    down: bool = False
    refused: Count = field(default_factory=Count)
    signed_in: list[tuple[str, str]] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)

    async def identify(self, authorization: str | None, *, resource: str) -> Principal:
        if self.down:
            raise IdentityUnavailable("no keys")
        if authorization is None:
            raise Unauthenticated("no bearer token was sent", reason="missing")
        claims = self._claims(authorization.removeprefix("Bearer "))
        if resource != self.resource or claims.get("sub") not in self.people:
            raise Unauthenticated("the signature of the token is not valid", reason="bad_signature")
        return self.people[claims["sub"]]

    def _claims(self, text: str) -> dict:
        try:
            return json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
        except (IndexError, ValueError):
            return {}

    def revokes(self, who: Principal, since: float) -> bool:
        return who.subject in self.revoked

    async def record(self, who: Principal, kind: str) -> None:
        self.signed_in.append((who.subject, kind))

    def note(self, reason: str, where: str) -> None:
        self.refused[reason, where] += 1


def site(
    house: House,
    provider: Provider,
    *,
    url: str = URL,
    ways: Mapping[str, CodeWay] | None = None,
    saml: ServiceProvider | None = None,
) -> QuartTrio:
    """The application that serves the API and the pages of `house`."""
    counter = Counter(
        house.approvals,
        house.policy.decide,
        provider.identify,
        provider.note,
        url,
        b"k" * 32,
        house.clock,
        partial(house.log.read, tools.changed),
    )
    app = QuartTrio(__name__, static_folder=None)
    entrance = Entrance(FakeMail(), provider.record, provider.revokes, ways or {}, saml)
    app.register_blueprint(approvals.blueprint(counter, entrance))
    return app
