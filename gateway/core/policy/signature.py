"""Who made a bundle: `.signatures.json`, one JWT that lists every file with its hash.

The format is OPA's (docs, Bundle Signing; v1/bundle/sign.go and verify.go of OPA 1.20.2). The algorithm is the key's,
from our own settings, and never what the token says of itself; the scope must be the wanted one exactly; each file but
the signature must be listed, match its hash, and none may be missing. Where OPA takes the last of two members or files
of one name, the bundle is refused. Signing, which reads secrets, is in pdp/signing.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.core.errors import PolicyFault
from gateway.core.policy import structured
from gateway.core.policy.bundle import MANIFEST, SIGNATURES
from gateway.core.types import Document, Json

ALGORITHMS = tuple(f"{family}{bits}" for family in ("RS", "PS", "ES", "HS") for bits in (256, 384, 512))
"""What OPA signs and verifies with."""
DEFAULT_ALGORITHM = "RS256"
DEFAULT_KEY_ID = "default"

HASHES: Mapping[str, str] = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA-512-224": "sha512_224",
    "SHA-512-256": "sha512_256",
}
"""OPA's names of hash algorithms, and hashlib's."""

_STRUCTURED = frozenset({"data.json", "data.yaml", MANIFEST, SIGNATURES})
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA_BITS = 2048

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | bytes


@dataclass(frozen=True, slots=True)
class Key:
    """A key that bundles may be signed with."""

    id: str
    algorithm: str
    """One of ALGORITHMS."""
    public: PublicKey = field(repr=False)
    """The shared secret for HS256 and its like."""
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Verification:
    """Which signatures are believed."""

    keys: tuple[Key, ...]
    key_id: str = ""
    """Take this key, whichever one the signature names: what `opa run --verification-key-id` does."""
    scope: str = ""
    """Wanted instead of the key's own scope."""
    exclude: tuple[str, ...] = ()
    """Patterns of file names that need not be listed; for the command line alone."""


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature says that was verified."""

    key_id: str
    algorithm: str
    scope: str
    claims: Document
    """What else the signer claims: `iss`, `iat`, …"""


def public_key(pem: bytes, algorithm: str) -> PublicKey:
    """The key in `pem` (a public key or a certificate) for `algorithm`; for HS256 and its like the bytes are the key.

    Raises PolicyFault when the key is not one for this algorithm, or too short for it.
    """
    if algorithm not in ALGORITHMS:
        raise PolicyFault(f"{algorithm!r} is no algorithm that bundles are signed with: {', '.join(ALGORITHMS)}.")
    if algorithm.startswith("HS"):
        return secret(pem, algorithm)
    try:
        if b"-----BEGIN CERTIFICATE-----" in pem:
            key: object = x509.load_pem_x509_certificate(pem).public_key()
        else:
            key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise PolicyFault(
            "The verification key is no public key in PEM. Make one with `openssl pkey -in KEY -pubout`."
        ) from None
    return fitting(key, algorithm)


def secret(key: bytes, algorithm: str) -> bytes:
    """A shared secret that is long enough (RFC 7518 §3.2) and no public key. Raises PolicyFault."""
    if b"-----BEGIN" in key:
        raise PolicyFault(f"A key in PEM is no secret for {algorithm}: everybody may know it. Use RS256 or ES256.")
    least = int(algorithm[2:]) // 8
    if len(key) < least:
        raise PolicyFault(f"The secret has {len(key)} bytes; {algorithm} needs {least} that nobody can guess.")
    return key


def fitting(key: object, algorithm: str) -> rsa.RSAPublicKey | ec.EllipticCurvePublicKey:
    """`key`, when it is one for `algorithm` and long enough. Raises PolicyFault."""
    if isinstance(key, rsa.RSAPublicKey) and algorithm[:2] in ("RS", "PS"):
        if key.key_size < _RSA_BITS:
            raise PolicyFault(f"The RSA key has {key.key_size} bits; {_RSA_BITS} is the least.")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == _CURVES.get(algorithm):
        return key
    kind = "an Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "another kind of"
    curve = f" on the curve {_CURVES[algorithm]}" if algorithm in _CURVES else ""
    raise PolicyFault(f"This is {kind} key; {algorithm} needs {'an EC' if curve else 'an RSA'} key{curve}.")


def listing(files: Mapping[str, bytes]) -> list[Json]:
    """The `files` claim of a signature over these files, `.signatures.json` left out: SHA-256 of each, by its name."""
    return [
        {"name": path, "hash": _hash(path, content, "SHA-256"), "algorithm": "SHA-256"}
        for path, content in sorted(files.items())
        if path != SIGNATURES
    ]


def verify(files: Mapping[str, bytes], wanted: Verification) -> Signed:
    """What the signature over these files says. Raises PolicyFault when there is none, or none to be believed."""
    if SIGNATURES not in files:
        raise PolicyFault("The bundle is not signed, and a signature is required. Sign it with `phigate bundle sign`.")
    token = _token(files[SIGNATURES])
    header, payload = (_part(token, position) for position in (0, 1))
    key = _key(wanted, header, payload)
    if header.get("alg") != key.algorithm:
        said = str(header.get("alg"))[:40]
        raise PolicyFault(f"The signature says {said!r}, but the key {key.id!r} is for {key.algorithm} alone.")
    try:
        jwt.PyJWS().decode(token, key.public, algorithms=[key.algorithm])
    except jwt.PyJWTError:
        raise PolicyFault(
            f"The bundle's signature was not made with the key {key.id!r}: the wrong key, or a bundle that was altered."
        ) from None
    scope = wanted.scope or key.scope
    if payload.get("scope", "") != scope:
        raise PolicyFault(f"The signature's scope is {payload.get('scope', '')!r}, and {scope!r} is wanted.")
    _check_files(files, payload, wanted.exclude)
    claims = {name: value for name, value in payload.items() if name not in ("files", "scope", "keyid")}
    return Signed(key.id, key.algorithm, scope, claims)


def described(files: Mapping[str, bytes]) -> Document:
    """What `.signatures.json` says of itself, for people to look at: nothing of it was verified."""
    token = _token(files[SIGNATURES])
    header, payload = _part(token, 0), _part(token, 1)
    listed = payload.get("files")
    return {
        "algorithm": header.get("alg"),
        "key_id": _named(header, payload),
        "scope": payload.get("scope", ""),
        "claims": {name: value for name, value in payload.items() if name not in ("files", "scope", "keyid")},
        "files": len(listed) if isinstance(listed, list) else 0,
    }


def _token(content: bytes) -> str:
    declared = structured.decode(content, SIGNATURES)
    if not isinstance(declared, dict) or not set(declared) <= {"signatures", "plugin"}:
        raise PolicyFault(f"{SIGNATURES}: not an object with `signatures`.")
    if declared.get("plugin", "") not in ("", "_default"):
        raise PolicyFault(f"{SIGNATURES}: made by a plugin, which nothing here can verify. Sign without one.")
    tokens = declared.get("signatures")
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        count = len(tokens) if isinstance(tokens, list) else "no"
        raise PolicyFault(f"{SIGNATURES}: holds {count} signatures; exactly one JWT is expected.")
    return tokens[0]


def _part(token: str, position: int) -> Document:
    """The header (0) or payload (1) of a compact JWS, unverified."""
    parts = token.split(".")
    try:
        text = parts[position]
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (IndexError, ValueError, binascii.Error):
        data = b""
    value = structured.decode(data, SIGNATURES) if data else None
    if len(parts) != 3 or not isinstance(value, dict):
        raise PolicyFault(f"{SIGNATURES}: the signature is no JWT.")
    return value


def _named(header: Document, payload: Document) -> str:
    """The key id that the signature names; the claim is OPA's older way."""
    name = header.get("kid") or payload.get("keyid") or ""
    return name if isinstance(name, str) else ""


def _key(wanted: Verification, header: Document, payload: Document) -> Key:
    name = wanted.key_id or _named(header, payload)
    if not name and len(wanted.keys) == 1:
        return wanted.keys[0]
    for key in wanted.keys:
        if key.id == name:
            return key
    known = ", ".join(repr(key.id) for key in wanted.keys)
    raise PolicyFault(f"The bundle is signed with the key {name[:80]!r}; known here: {known}. Correct the key's id.")


def _check_files(files: Mapping[str, bytes], payload: Document, exclude: tuple[str, ...]) -> None:
    listed = _listed(payload.get("files"))
    for path, content in files.items():
        if path == SIGNATURES or _excluded(path, exclude):
            listed.pop(path, None)
        elif path not in listed:
            raise PolicyFault(f"{path} is in the bundle and not in its signature: somebody added it after signing.")
        else:
            digest, algorithm = listed.pop(path)
            if not hmac.compare_digest(_hash(path, content, algorithm), digest.lower()):
                raise PolicyFault(f"{path} is not what was signed: its {algorithm} differs.")
    for path in listed:
        raise PolicyFault(f"{path} was signed and is not in the bundle: somebody took it out.")


def _listed(declared: Json) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for item in declared if isinstance(declared, list) else [None]:
        match item:
            case {"name": str(name), "hash": str(digest), "algorithm": str(algorithm)} if digest.isascii():
                if name in found:
                    raise PolicyFault(f"{name} is in the bundle's signature twice.")
                found[name] = (digest, algorithm)
            case _:
                raise PolicyFault(f"{SIGNATURES}: `files` is not a list of name, hash and algorithm.")
    return found


def _hash(path: str, content: bytes, algorithm: str) -> str:
    if algorithm not in HASHES:
        raise PolicyFault(f"{path} is signed with the hash {algorithm[:40]!r}; known: {', '.join(HASHES)}.")
    if path.rsplit("/", 1)[-1] in _STRUCTURED:
        content = structured.canonical_text(content, path)
    # OPA allows MD5 and SHA-1 in a listing, whose signature its maker chose to make with them.
    return hashlib.new(HASHES[algorithm], content, usedforsecurity=False).hexdigest()


def _excluded(path: str, patterns: tuple[str, ...]) -> bool:
    """As Go's filepath.Match: a star ends at a slash."""
    steps = path.split("/")
    return any(
        len(wanted := pattern.split("/")) == len(steps) and all(map(fnmatchcase, steps, wanted)) for pattern in patterns
    )
