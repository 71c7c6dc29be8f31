"""A browser's login: its sealed cookies, what is noted of it for all processes, and the proof that a form is ours.

Two cookies, both encrypted. While a login is under way, one holds what only this browser may bring back (state, nonce,
verifier). Afterwards, the other names the login, whose principal is in a note that all workers and replicas share and
that signing out deletes; or it holds a pasted access token, which every request has verified anew. A form carries a
digest of that cookie, which another site can neither read nor compute.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from collections.abc import Callable
from datetime import datetime
from hashlib import sha256
from typing import Protocol
from urllib.parse import urlsplit

import orjson

from gateway.core.protocol import token as sealed
from gateway.core.types import Document, Principal
from gateway.identity.login import SignedIn

LOGIN, BEGUN = "login", "login begun"
"""What each cookie is sealed for."""
LONGEST_S = 8 * 3600
"""A login with a pasted token outlives no working day, whatever the token says."""
BEGUN_S = 600
"""How long a person may take at their identity provider."""
COOKIE_LIMIT = 3_900
"""Browsers take 4,096 bytes for name, value and attributes (RFC 6265 §6.1)."""


class Notes(Protocol):
    """What all processes share: see `upstream.mail.Mail`. Raises EvidenceFault."""

    async def note(self, key: str) -> Document: ...

    async def change(self, key: str, change: Callable[[Document], Document]) -> None: ...


class Login:
    """Makes and reads cookies and form proofs for one origin."""

    def __init__(self, key: bytes, public_url: str) -> None:
        """`key` is 32 bytes; `public_url` is scheme, host and port."""
        self._key = key
        self._form_key = hmac.new(key, b"phigate form", sha256).digest()
        parts = urlsplit(public_url)
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.secure = parts.scheme == "https"
        # RFC 6265bis §4.1.3.2: with this prefix a browser takes the cookie from this very host alone, over TLS.
        self.cookie = "__Host-phigate" if self.secure else "phigate"
        self.begun = f"{self.cookie}-login"

    def seal(self, document: Document, purpose: str, at: datetime, life_s: int) -> str | None:
        """A cookie's value, good for `life_s` seconds from `at`; None when no browser would keep so much."""
        nonce = os.urandom(sealed.NONCE_BYTES)
        expires = int(at.timestamp()) + life_s
        value = sealed.seal(document, key=self._key, nonce=nonce, purpose=purpose, expires=expires)
        return value if len(value) <= COOKIE_LIMIT else None

    def unseal(self, value: str | None, purpose: str, at: datetime) -> Document | None:
        """What is in a cookie, None when there is none that we made and that is still good."""
        if value is None:
            return None
        return sealed.unseal(value, key=self._key, purpose=purpose, now=int(at.timestamp()))

    def proof(self, value: str) -> str:
        """What a form of this login carries."""
        return hmac.new(self._form_key, value.encode(), sha256).hexdigest()

    def proved(self, value: str, proof: str) -> bool:
        """Whether a form was given to this very login."""
        return hmac.compare_digest(self.proof(value).encode(), proof.encode("utf-8", "surrogatepass"))

    def ours(self, origin: str | None) -> bool:
        """Whether the browser says that one of our own pages sent this (Fetch §3.2: every POST says where from)."""
        return origin == self.origin


def noted(found: SignedIn) -> Document:
    """A login, as it is noted."""
    who = found.principal
    return {
        "since": int(found.since),
        "until": int(found.until),
        "iss": who.issuer,
        "sub": who.subject,
        "groups": list(who.groups),
        "client": who.client,
        "acr": who.acr,
        "amr": list(who.amr),
    }


def of_note(note: Document, at: datetime) -> SignedIn | None:
    """The login that was noted; None when it has ended, or there is none."""
    match note:
        case {
            "since": int(since), "until": int(until), "iss": str(issuer), "sub": str(subject),
            "groups": list(groups), "client": str(client), "acr": str(acr), "amr": list(amr),
        } if at.timestamp() < until:  # fmt: skip
            who = Principal(issuer, subject, tuple(map(str, groups)), client, acr, tuple(map(str, amr)))
            return SignedIn(who, until, since)
    return None


async def enter(notes: Notes, found: SignedIn) -> str:
    """Note a login for all processes, until it ends; its name, which nobody can guess. Raises EvidenceFault."""
    name = secrets.token_urlsafe(24)
    document = noted(found)
    await notes.change(f"login {name}", lambda _: document)
    return name


async def entered(notes: Notes, name: str, at: datetime) -> tuple[Principal, float] | None:
    """Who the login of this name is, and since when; None when it has ended. Raises EvidenceFault."""
    found = of_note(await notes.note(f"login {name}"), at)
    return (found.principal, found.since) if found is not None else None


async def leave(notes: Notes, name: str) -> None:
    """The login of this name ends, everywhere. Raises EvidenceFault."""
    await notes.change(f"login {name}", lambda _: {})


def local_path(text: str) -> str:
    """Where to go after the login: one of our own pages, whatever the link said."""
    name = text.removeprefix("/approvals/")
    good = text.startswith("/approvals/") and name.isascii() and name.replace("_", "").isalnum()
    return text if good else "/approvals"


def token_life_s(access_token: str, at: datetime) -> int:
    """How long a login with this token, which was verified before, may last: until its `exp` (RFC 7519 §4.1.4)."""
    try:
        payload = access_token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        left = int(claims["exp"]) - int(at.timestamp())
    except (IndexError, KeyError, TypeError, ValueError):
        left = 0
    return max(0, min(left, LONGEST_S))
