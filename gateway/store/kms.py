"""Where the keys that wrap data keys live. Destroying one month's key shreds that month's bodies, backups included.

`Kms` is the seam for a real key service; `FileKms` keeps one key a month in files. On a single machine it makes each
when its month begins. Replicas would each make another, so that theirs are made ahead (`prepare`) and are the same
directory on all: `PreparedKms`, and the store remembers each key's commitment.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from datetime import datetime
from hashlib import sha256
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.core.errors import ConfigFault, EvidenceFault

KEY_SIZE = 32
NONCE_SIZE = 12
_LOOKED_AHEAD = 120
_ID = re.compile(r"kek:[0-9]{4}-[0-9]{2}")


class Kms(Protocol):
    """Wraps and unwraps data keys; the wrapping key never leaves it. Every method raises EvidenceFault."""

    def current(self, at: datetime) -> str:
        """The id of the wrapping key for data keys made at `at`; it exists when this returns."""

    def commitment(self, kek: str) -> str:
        """A digest by which two who have a key `kek` can tell whether it is the same."""

    def shared(self) -> Kms:
        """The same, for replicas: no key is made while serving."""

    def wrap(self, kek: str, dek: bytes, aad: bytes) -> bytes:
        """`dek` wrapped by `kek`, bound to `aad`."""

    def unwrap(self, kek: str, wrapped: bytes, aad: bytes) -> bytes:
        """The data key in `wrapped`. Fails when `kek` was destroyed, or `wrapped` or `aad` are not as they were."""


class FileKms:
    """One AES-256 key a month, in `kek-YYYY-MM.key` files of a private directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ciphers: dict[str, AESGCM] = {}

    def current(self, at: datetime) -> str:
        kek = _month(at)
        if kek not in self._ciphers and not self._path(kek).exists():
            self._make(kek)
        self._cipher(kek)
        return kek

    def commitment(self, kek: str) -> str:
        self._cipher(kek)
        return sha256(b"phigate/kek/v1" + read_key(self._path(kek))).hexdigest()

    def shared(self) -> Kms:
        return PreparedKms(self._directory)

    def wrap(self, kek: str, dek: bytes, aad: bytes) -> bytes:
        nonce = os.urandom(NONCE_SIZE)
        return nonce + self._cipher(kek).encrypt(nonce, dek, aad)

    def unwrap(self, kek: str, wrapped: bytes, aad: bytes) -> bytes:
        try:
            return self._cipher(kek).decrypt(wrapped[:NONCE_SIZE], wrapped[NONCE_SIZE:], aad)
        except (InvalidTag, ValueError):
            raise EvidenceFault(
                f"A data key cannot be unwrapped by {kek}: the store and the keys directory do not belong together."
            ) from None

    def _make(self, kek: str) -> None:
        try:
            write_key(self._path(kek), os.urandom(KEY_SIZE), exists_ok=True)
        except OSError as error:
            raise EvidenceFault(
                f"This month's wrapping key {kek} cannot be made in {self._directory}: {error.strerror}. "
                "Let the gateway's user write there; a new key is needed once a month."
            ) from error

    def _path(self, kek: str) -> Path:
        if not _ID.fullmatch(kek):
            raise EvidenceFault("The store names a wrapping key that is not of the file key service.")
        return self._directory / f"kek-{kek.removeprefix('kek:')}.key"

    def _cipher(self, kek: str) -> AESGCM:
        if kek not in self._ciphers:
            path = self._path(kek)
            if not path.exists():
                raise EvidenceFault(f"The wrapping key {kek} is gone (shredded?): its bodies are unreadable, intact.")
            self._ciphers[kek] = AESGCM(read_key(path))
        return self._ciphers[kek]


class PreparedKms(FileKms):
    """The same files, of which none is made here."""

    def shared(self) -> Kms:
        return self

    def _make(self, kek: str) -> None:
        raise EvidenceFault(
            f"The wrapping key {kek} is not in {self._directory}, and replicas make none while they serve: each would "
            "make another. Make keys ahead, in one place, and give all replicas the same: phigate keys prepare"
        )


def prepare(directory: Path, at: datetime, months: int) -> list[str]:
    """Make the wrapping keys of so many months from `at` on, those that are not there; returns the ids of the new."""
    kms, made = FileKms(directory), []
    for kek in _from(at, months):
        if not kms._path(kek).exists():
            kms._make(kek)
            made.append(kek)
    return made


def months_left(directory: Path, at: datetime) -> int:
    """For how many months, this one among them, there are wrapping keys without a gap; 0: nothing can be sealed."""
    kms = FileKms(directory)
    return sum(1 for _ in takewhile(lambda kek: kms._path(kek).exists(), _from(at, _LOOKED_AHEAD)))


def _month(at: datetime) -> str:
    return f"kek:{at:%Y-%m}"


def _from(at: datetime, months: int) -> list[str]:
    first = at.year * 12 + at.month - 1
    return [f"kek:{number // 12:04}-{number % 12 + 1:02}" for number in range(first, first + months)]


def read_key(path: Path) -> bytes:
    """The 32 bytes in the key file at `path`. Raises ConfigFault when they are not there."""
    try:
        data = base64.b64decode(path.read_text("ascii").strip(), validate=True)
    except (OSError, UnicodeDecodeError, binascii.Error):
        data = b""
    if len(data) != KEY_SIZE:
        raise ConfigFault(f"{path} is not a readable key of {KEY_SIZE} bytes in base64. Restore it from your backup.")
    return data


def write_key(path: Path, key: bytes, *, exists_ok: bool = False) -> None:
    """Write a new key file, 0600, durable and complete or not there at all. With `exists_ok`, the first writer wins."""
    write_private(path, base64.b64encode(key) + b"\n", exists_ok=exists_ok)


def write_private(path: Path, data: bytes, *, exists_ok: bool = False) -> None:
    """Write `data` to a new file that only its owner can read; written aside, synced, then linked into place."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(aside, path)  # Unlike rename, fails when somebody else was first.
        except FileExistsError:
            if not exists_ok:
                raise ConfigFault(f"{path} exists, and keys are never overwritten. Choose another place.") from None
    finally:
        aside.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
