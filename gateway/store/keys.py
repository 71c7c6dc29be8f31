"""The gateway's secrets, and the directory that holds them.

    log.key       Ed25519 seed that signs checkpoints        log.vkey   its public half, for auditors
    kek-*.key     wrap the data keys of one month            pseudonym.key, session.key, mask.key   see `Keys`
    authority.key Ed25519 seed that signs our own access tokens

The directory is 0700 and every secret 0600; looser permissions are refused, with the command that mends them.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from gateway.core.errors import ConfigFault
from gateway.core.evidence import note
from gateway.core.evidence.note import Signer, Verifier
from gateway.core.types import Principal
from gateway.store.kms import KEY_SIZE, FileKms, Kms, read_key, write_key

VKEY = "log.vkey"
_SIGNER, _PSEUDONYM, _SESSION, _MASK = "log.key", "pseudonym.key", "session.key", "mask.key"
_AUTHORITY = "authority.key"
_PSEUDONYMS = 10_000
"""That are remembered; about 0.5 KB each."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Everything secret that the gateway holds, by what it is for."""

    signer: Signer = field(repr=False)
    """Signs checkpoints; its name is the log's origin."""
    kms: Kms = field(repr=False)
    """Wraps the data keys that seal bodies."""
    pseudonym: bytes = field(repr=False)
    """HMAC key of the pseudonyms that leaves carry instead of people."""
    session_seal: bytes = field(repr=False)
    """AEAD key of what clients carry for us: `Mcp-Session-Id`, `requestState`, login cookies."""
    mask_token: bytes = field(repr=False)
    """HMAC key of the masking operator `token`."""
    authority: bytes | None = field(default=None, repr=False)
    """Ed25519 seed that signs access tokens; None in a directory from before there were any."""

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.signer.name

    def actor(self, principal: Principal) -> str:
        """The pseudonym of a principal: the same for the same issuer and subject, 32 hex digits."""
        return _pseudonym(self.pseudonym, "actor", principal.issuer, principal.subject)

    def peer(self, address: str) -> str:
        """The pseudonym of an address. An IPv6 one counts by its /64, which one machine has all of."""
        found = ipaddress.ip_address(address)
        network = ipaddress.ip_network((found, 64 if found.version == 6 else 32), strict=False)
        return _pseudonym(self.pseudonym, "peer", str(network))

    def token(self, issuer: str, name: str) -> str:
        """The pseudonym of a token: of its issuer and its `jti`."""
        return _pseudonym(self.pseudonym, "token", issuer, name)

    def usage_key(self, principal: Principal) -> str:
        """The form in which it is stored what a principal used.

        Whichever agent acts for a person, and whatever purpose it declares, uses up the same budget: neither another
        agent nor another word is a way to another one.
        """
        return _pseudonym(self.pseudonym, "usage", principal.issuer, principal.subject)

    @property
    def patient_key(self) -> bytes:
        """HMAC key of the digests by which patients are counted."""
        return hmac.digest(self.pseudonym, b"phigate/patient/v1", sha256)

    def session_key(self, key: str) -> str:
        """The form in which a session's key is stored: keys are made of names, and names are not for a clear table."""
        return _pseudonym(self.pseudonym, "session", key)

    def note_key(self, key: str) -> str:
        """The form in which a note's key is stored, behind what kind of note it is: it may hold an upstream's words."""
        kind, _, rest = key.partition(" ")
        return f"{kind} {_pseudonym(self.pseudonym, 'note', rest)}"


@lru_cache(_PSEUDONYMS)  # The same few people call all day.
def _pseudonym(key: bytes, *parts: str) -> str:
    # Each part goes in with its length, so that no two lists of parts become the same text.
    text = "".join([f"{len(part)}:{part}" for part in parts])
    return hmac.digest(key, text.encode(), sha256).hex()[:32]


def generate(directory: Path, *, origin: str) -> Keys:
    """Make new keys in `directory`, for the log called `origin`. Raises ConfigFault if any is there already."""
    try:
        note.check_name(origin)
    except ValueError as error:
        raise ConfigFault(f"The origin {origin!r} cannot name a log: {error}.") from None
    if (directory / _SIGNER).exists():
        raise ConfigFault(f"{directory} already holds keys, and keys are never overwritten. Choose another.")
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    for name in (_PSEUDONYM, _SESSION, _MASK, _AUTHORITY):
        write_key(directory / name, os.urandom(KEY_SIZE))
    signer = Signer(origin, os.urandom(KEY_SIZE))
    (directory / VKEY).write_text(signer.verifier.vkey + "\n")
    write_key(directory / _SIGNER, signer.seed)
    return load(directory)


def load(directory: Path) -> Keys:
    """The keys in `directory`. Raises ConfigFault when one is missing, unreadable, or readable by others."""
    if not (directory / _SIGNER).is_file():
        raise ConfigFault(f"{directory} holds no keys. Make them with `phigate init`, or restore your backup.")
    _check_private(directory)
    verifier = load_verifier(directory)
    signer = Signer(verifier.name, read_key(directory / _SIGNER))
    if signer.verifier != verifier:
        raise ConfigFault(f"{directory / VKEY} is not the public half of {directory / _SIGNER}. Restore your backup.")
    return Keys(
        signer=signer,
        kms=FileKms(directory),
        pseudonym=read_key(directory / _PSEUDONYM),
        session_seal=read_key(directory / _SESSION),
        mask_token=read_key(directory / _MASK),
        authority=read_key(directory / _AUTHORITY) if (directory / _AUTHORITY).exists() else None,
    )


def add_missing(directory: Path) -> list[Path]:
    """Make the keys that an older phigate did not make; which those were. Nothing is overwritten."""
    missing = [directory / name for name in (_AUTHORITY,) if not (directory / name).exists()]
    for path in missing:
        write_key(path, os.urandom(KEY_SIZE), exists_ok=True)
    return missing


def load_verifier(path: Path) -> Verifier:
    """The log's public key from a vkey file, or from the keys directory that holds one. Raises ConfigFault."""
    file = path / VKEY if path.is_dir() else path
    try:
        return note.parse_vkey(file.read_text("utf-8").strip())
    except (OSError, UnicodeDecodeError):
        raise ConfigFault(f"{file} cannot be read. Name the log's vkey file with --key.") from None
    except ValueError as error:
        raise ConfigFault(f"{file} is no public key of a log: {error}.") from None


def loose(directory: Path) -> list[Path]:
    """Which of the secrets in a keys directory, and the directory itself, others may read or write. Raises OSError.

    What is mounted for us read-only, as Kubernetes mounts a Secret, is listed by anyone in this container and read
    through our group (`fsGroup`): its files belong to somebody else and are closed to others.
    """
    mounted = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    found = [] if mounted or not stat.S_IMODE(directory.stat().st_mode) & 0o077 else [directory]
    for path in sorted(path for path in directory.iterdir() if path.suffix == ".key"):
        status = path.stat()
        through_group = 0o040 if mounted and status.st_uid != os.geteuid() else 0
        if stat.S_IMODE(status.st_mode) & 0o077 & ~through_group:
            found.append(path)
    return found


def _check_private(directory: Path) -> None:
    found = loose(directory)
    if found:
        raise ConfigFault(
            f"Others may read {', '.join(map(str, found))}. "
            f"Close it: chmod 700 {directory} && chmod 600 {directory}/*.key"
        )
