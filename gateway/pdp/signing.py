"""Makes a bundle's `.signatures.json` (core/policy/signature.py says what it holds and verifies it)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.core.errors import PolicyFault
from gateway.core.policy import signature, structured
from gateway.core.policy.bundle import SIGNATURES
from gateway.core.policy.signature import Verification
from gateway.core.types import Document

KEY_MAX = 64 * 1024

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | bytes


@dataclass(frozen=True, slots=True)
class Signer:
    """What bundles are signed with."""

    algorithm: str
    private: PrivateKey = field(repr=False)
    key_id: str = ""
    """Tells a verifier that knows several keys which one to take."""
    claims: Document = field(default_factory=dict)
    """Further members of the signature: `scope`, `iss`, …"""

    def signed(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """The files with `.signatures.json` over all of them; one that was there is replaced."""
        payload = orjson.dumps({"files": signature.listing(files), **self.claims})
        headers = {"kid": self.key_id} if self.key_id else None
        token = jwt.PyJWS().encode(payload, self.private, algorithm=self.algorithm, headers=headers)
        content = orjson.dumps({"signatures": [token]}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        return {**files, SIGNATURES: content}


def signer(key: str, algorithm: str, *, key_id: str = "", claims: Path | None = None) -> Signer:
    """The signer of `opa sign`'s options. `key` is a file; for HS256 and its like it may be the secret itself.

    Raises PolicyFault when a file cannot be read, or the key is not one for the algorithm.
    """
    if algorithm not in signature.ALGORITHMS:
        known = ", ".join(signature.ALGORITHMS)
        raise PolicyFault(f"{algorithm!r} is no algorithm that bundles are signed with: {known}.")
    content = _key(key, algorithm)
    private = signature.secret(content, algorithm) if algorithm.startswith("HS") else _private(content, algorithm)
    return Signer(algorithm, private, key_id, _claims(claims) if claims is not None else {})


def verification(
    key: str, algorithm: str, *, key_id: str = "", scope: str = "", exclude: tuple[str, ...] = ()
) -> Verification:
    """What `opa run --verification-key` believes: this one key, whichever the signature names. Raises PolicyFault."""
    id_ = key_id or signature.DEFAULT_KEY_ID
    public = signature.public_key(_key(key, algorithm), algorithm)
    return Verification((signature.Key(id_, algorithm, public),), id_, scope, exclude)


def _key(key: str, algorithm: str) -> bytes:
    path = Path(key)
    try:
        if not algorithm.startswith("HS") or path.is_file():
            with path.open("rb") as file:
                return file.read(KEY_MAX)
    except (OSError, ValueError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else "that is no path"
        raise PolicyFault(f"The key {key[:200]!r} cannot be read: {why}. Name a file in PEM.") from None
    return key.encode("utf-8", "surrogateescape")


def _private(pem: bytes, algorithm: str) -> PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise PolicyFault(
            "The signing key is no private key in PEM that is not encrypted. Make one with `openssl genpkey`."
        ) from None
    signature.fitting(key.public_key() if hasattr(key, "public_key") else key, algorithm)
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise PolicyFault(f"The signing key is not one for {algorithm}.")
    return key


def _claims(path: Path) -> Document:
    try:
        with path.open("rb") as file:
            claims = structured.decode(file.read(KEY_MAX), str(path))
    except OSError as fault:
        raise PolicyFault(f"{path} cannot be read: {fault.strerror}.") from None
    if not isinstance(claims, dict) or "files" in claims:
        raise PolicyFault(f"{path}: claims are a JSON object without `files`, which the signature lists itself.")
    return claims
