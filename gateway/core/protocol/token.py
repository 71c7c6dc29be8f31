"""Small documents sealed into text that the gateway hands out and gets back: AES-256-GCM, base64url.

What comes back is believed only if the gateway sealed it, for the same purpose, and it has not expired. Used for legacy
session ids, the ids of an upstream's own requests, `requestState` and the console's cookie.
"""

from __future__ import annotations

import base64
import binascii

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.core.types import Document

NONCE_BYTES = 12
"""Random per token: NIST SP 800-38D §8.3 allows 2^32 tokens a key."""


def seal(document: Document, *, key: bytes, nonce: bytes, purpose: str, expires: int) -> str:
    """`document` as text of [A-Za-z0-9_-], good until `expires` (Unix seconds) and for `purpose` alone.

    `key` is 32 bytes; `nonce` is NONCE_BYTES fresh random bytes, never used twice with one key.
    """
    if len(key) != 32 or len(nonce) != NONCE_BYTES:
        raise ValueError("a token needs a key of 32 bytes and a nonce of 12")
    plain = orjson.dumps([expires, document])
    return _text(nonce + AESGCM(key).encrypt(nonce, plain, purpose.encode()))


def unseal(text: str, *, key: bytes, purpose: str, now: int) -> Document | None:
    """The document, or None when `text` was not sealed with this key and purpose or expired at or before `now`."""
    found = opened(text, key=key, purpose=purpose)
    return found[1] if found is not None and now < found[0] else None


def opened(text: str, *, key: bytes, purpose: str) -> tuple[int, Document] | None:
    """The same for whoever looks at the time later: until when it is good (Unix seconds), and the document."""
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        if _text(sealed) != text:  # One token, one text: nothing that base64 would overlook.
            return None
        plain = AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode())
    except (ValueError, binascii.Error, InvalidTag):
        return None
    expires, document = orjson.loads(plain)
    return (expires, document) if isinstance(document, dict) else None


def _text(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
