"""An issuer's public keys: a JWK set (RFC 7517) read once into keys that say themselves which algorithms they serve.

Pure. A key that we cannot or should not use is left out, as RFC 7517 §5 asks; a token can then not name it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

from gateway.core.types import Document, Json

MAX_KEYS = 64
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192  # RFC 7518 §3.3; above it one signature check costs more than it proves.

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {
    "P-256": frozenset({"ES256"}),
    "P-384": frozenset({"ES384"}),
    "P-521": frozenset({"ES512"}),
    "Ed25519": frozenset({"EdDSA"}),
}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


@dataclass(frozen=True, slots=True)
class Key:
    """A public key. `algorithms` are those its type and its owner allow, so no token can make it serve another."""

    kid: str | None
    algorithms: frozenset[str]
    public: PublicKey = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """All usable keys that an issuer published at one time. Compared by identity: a rotated set is another set."""

    keys: tuple[Key, ...]

    def find(self, kid: str | None, algorithm: str) -> tuple[bool, Key | None]:
        """Is `kid` known, and which key may check `algorithm` under it?

        A token without a key id is checked only where the set leaves no choice (RFC 7515 §4.1.4 makes it optional).
        """
        named = [key for key in self.keys if kid is None or key.kid == kid]
        fitting = [key for key in named if algorithm in key.algorithms]
        return bool(named), fitting[0] if len(fitting) == 1 else None


def decode(document: Json) -> KeySet:
    """Read a JWK set document. Raises ValueError when it is not one; a set without a usable key is an empty set."""
    found = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(found, list) or len(found) > MAX_KEYS:
        raise ValueError(f"not a JWK set of at most {MAX_KEYS} keys")
    return KeySet(tuple(_usable(found)))


def _usable(found: list[Json]) -> Iterator[Key]:
    for item in found:
        if isinstance(item, dict) and (key := _key(item)) is not None:
            yield key


def _key(item: Document) -> Key | None:
    """One JWK as a key; None when it is not a public key that signatures may be checked with."""
    kid, owner, operations = item.get("kid"), item.get("alg"), item.get("key_ops", ["verify"])
    # A private or symmetric key that a provider published by mistake is everybody's: nothing it signed proves anything.
    if _PRIVATE & item.keys() or item.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(kid, str | None) or not isinstance(owner, str | None):
        return None
    read = _public(item)
    if read is None:
        return None
    public, algorithms = read
    allowed = algorithms if owner is None else algorithms & {owner}
    return Key(kid, allowed, public) if allowed else None


def _public(item: Document) -> tuple[PublicKey, frozenset[str]] | None:
    """The key itself with the algorithms that its type can serve (RFC 7518 §3.1, RFC 8037 §3.1)."""
    curve = item.get("crv")
    of_curve = _CURVES.get(curve, frozenset()) if isinstance(curve, str) else frozenset()
    try:
        match item.get("kty"):
            case "RSA":
                rsa = RSAAlgorithm.from_jwk(item)
                sound = isinstance(rsa, RSAPublicKey) and MIN_RSA_BITS <= rsa.key_size <= MAX_RSA_BITS
                return (rsa, _RSA) if sound and isinstance(rsa, RSAPublicKey) else None
            case "EC":
                ec = ECAlgorithm.from_jwk(item)
                return (ec, of_curve) if isinstance(ec, EllipticCurvePublicKey) else None
            case "OKP":
                okp = OKPAlgorithm.from_jwk(item)
                return (okp, of_curve) if isinstance(okp, Ed25519PublicKey) else None
            case _:
                return None
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None  # Not a key as RFC 7518 §6 writes it.
