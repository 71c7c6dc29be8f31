"""A reviewer's browser: the sealed cookie that carries their access token, and the proof that a form is ours.

Nothing is kept on the server. The cookie holds the token itself, encrypted, and every request has it verified anew, so
that a login ends when the token does, or when its issuer withdraws the key. A form carries a digest of that cookie,
which another site can neither read nor compute.
"""

from __future__ import annotations

import base64
import hmac
import os
from datetime import datetime
from hashlib import sha256
from urllib.parse import urlsplit

import orjson

from gateway.core.protocol import token as sealed
from gateway.core.types import Document

PURPOSE = "login"
LONGEST_S = 8 * 3600
"""A login outlives no working day, whatever the token says."""
COOKIE_LIMIT = 3_900
"""Browsers take 4,096 bytes for name, value and attributes (RFC 6265 §6.1)."""


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

    def seal(self, access_token: str, at: datetime) -> tuple[str, int] | None:
        """The cookie's value for a token that was just verified, and its life in seconds; None when it is too large."""
        now = int(at.timestamp())
        expires = min(_expiry(access_token) or 0, now + LONGEST_S)
        document: Document = {"token": access_token}
        nonce = os.urandom(sealed.NONCE_BYTES)
        value = sealed.seal(document, key=self._key, nonce=nonce, purpose=PURPOSE, expires=expires)
        return (value, max(0, expires - now)) if len(value) <= COOKIE_LIMIT else None

    def unseal(self, value: str | None, at: datetime) -> str | None:
        """The access token in a cookie, None when there is none that we made and that is still good."""
        if value is None:
            return None
        document = sealed.unseal(value, key=self._key, purpose=PURPOSE, now=int(at.timestamp()))
        found = document.get("token") if document is not None else None
        return found if isinstance(found, str) else None

    def proof(self, value: str) -> str:
        """What a form of this login carries."""
        return hmac.new(self._form_key, value.encode(), sha256).hexdigest()

    def proved(self, value: str, proof: str) -> bool:
        """Whether a form was given to this very login."""
        return hmac.compare_digest(self.proof(value).encode(), proof.encode("utf-8", "surrogatepass"))

    def ours(self, origin: str | None) -> bool:
        """Whether the browser says that one of our own pages sent this (Fetch §3.2: every POST says where from)."""
        return origin == self.origin


def local_path(text: str) -> str:
    """Where to go after the login: one of our own pages, whatever the link said."""
    name = text.removeprefix("/approvals/")
    good = text.startswith("/approvals/") and name.isascii() and name.replace("_", "").isalnum()
    return text if good else "/approvals"


def _expiry(access_token: str) -> int | None:
    """The `exp` of a JWT that was verified before (RFC 7519 §4.1.4)."""
    try:
        payload = access_token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return int(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
