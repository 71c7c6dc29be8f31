"""The keys in one file under a passphrase, to be kept apart from the evidence that they open.

    magic, 24 bytes · salt, 16 · nonce, 12 · AES-256-GCM ciphertext and tag of {"file name": "content in base64"}

The key is scrypt (RFC 7914) of the passphrase with N = 2^17, r = 8, p = 1: 128 MB and half a second for each guess.
The magic is authenticated with the rest, so another format can never be taken for this one.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gateway.core.errors import ConfigFault
from gateway.store import keys
from gateway.store.keys import Keys
from gateway.store.kms import KEY_SIZE, NONCE_SIZE, write_private

PASSPHRASE_LEAST = 12
"""Characters. What protects every body of six years should be several random words."""
_MAGIC = b"phigate keys backup v1\r\n"
_SALT_SIZE = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*\.v?key")
_LARGEST = 1 << 20


def write(directory: Path, target: Path, passphrase: str) -> int:
    """Write the keys in `directory` to the new file `target`; how many files that were. Raises ConfigFault.

    What was written is read again and compared before this returns.
    """
    if len(passphrase) < PASSPHRASE_LEAST:
        raise ConfigFault(f"The passphrase is shorter than {PASSPHRASE_LEAST} characters. Use several random words.")
    keys.load(directory)  # Half a set is no backup.
    files = _read(directory)
    salt, nonce = os.urandom(_SALT_SIZE), os.urandom(NONCE_SIZE)
    document = orjson.dumps({name: base64.b64encode(data).decode() for name, data in files.items()})
    sealed = _cipher(passphrase, salt).encrypt(nonce, document, _MAGIC)
    try:
        write_private(target, _MAGIC + salt + nonce + sealed)
    except OSError as error:
        raise ConfigFault(f"{target} cannot be written: {error.strerror}.") from None
    if read(target, passphrase) != files:
        raise ConfigFault(f"{target} does not hold what was written to it. Look at the disk, and make another.")
    return len(files)


def read(source: Path, passphrase: str) -> dict[str, bytes]:
    """The files in a backup, by name. Raises ConfigFault."""
    try:
        with source.open("rb") as file:
            data = file.read(_LARGEST)
    except OSError as error:
        raise ConfigFault(f"{source} cannot be read: {error.strerror}.") from None
    if not data.startswith(_MAGIC):
        raise ConfigFault(f"{source} is no backup of keys. Name a file from `phigate keys backup`.")
    salt, rest = data[len(_MAGIC) :][:_SALT_SIZE], data[len(_MAGIC) + _SALT_SIZE :]
    try:
        document = orjson.loads(_cipher(passphrase, salt).decrypt(rest[:NONCE_SIZE], rest[NONCE_SIZE:], _MAGIC))
        files = {name: base64.b64decode(content, validate=True) for name, content in document.items()}
    except (InvalidTag, ValueError, TypeError, AttributeError, binascii.Error):
        raise ConfigFault(f"{source} does not open: the passphrase is another, or the file was altered.") from None
    if not all(_NAME.fullmatch(name) for name in files):
        raise ConfigFault(f"{source} holds files that are no keys. Nothing was written.")
    return files


def restore(source: Path, directory: Path, passphrase: str) -> Keys:
    """Write the keys of a backup to `directory`, which holds none yet, and load them. Raises ConfigFault."""
    files = read(source, passphrase)
    if directory.exists() and any(directory.iterdir()):
        raise ConfigFault(f"{directory} is not empty, and keys are never overwritten. Choose another place.")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        for name, data in files.items():
            write_private(directory / name, data)
    except OSError as error:
        raise ConfigFault(f"{directory} cannot be written: {error.strerror}.") from None
    return keys.load(directory)


def _read(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if _NAME.fullmatch(path.name)}


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    if len(salt) != _SALT_SIZE:
        raise ConfigFault("The backup of keys ends before its salt does: it is not whole.")
    return AESGCM(Scrypt(salt=salt, length=KEY_SIZE, n=1 << 17, r=8, p=1).derive(passphrase.encode()))
