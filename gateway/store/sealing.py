"""Sealing bodies: AES-256-GCM under a data key for each session, wrapped by a monthly key of the KMS.

Nonces are random: after a restore a counter could repeat, which is fatal for GCM, and 2^32 seals under one key
(SP 800-38D §8.3) are far beyond any session. The additional data binds a ciphertext to its log, key, leaf, type and
name, so that it cannot be pasted elsewhere. The leaf commits to the key, because GCM alone does not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.core.errors import EvidenceFault, InternalFault
from gateway.core.evidence.leaf import BodyRef, Leaf
from gateway.core.evidence.record import LeafType, Record
from gateway.core.types import Digest
from gateway.store.engine import Connection
from gateway.store.kms import KEY_SIZE, NONCE_SIZE, Kms
from gateway.store.schema import BODIES_LIMIT
from gateway.store.stamps import uuid7

_CACHED_LIMIT = 4096
_ID_ENTROPY = 10


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key, unwrapped."""

    id: str
    cipher: AESGCM = field(repr=False)
    commitment: Digest

    @staticmethod
    def of(id: str, key: bytes) -> DataKey:
        """The data key `key` under its id."""
        return DataKey(id, AESGCM(key), Digest(sha256(b"evidence/kc/v1" + key).hexdigest()))


@dataclass(slots=True)  # Not frozen: one is made for each append, and freezing makes that three times dearer.
class Sealed:
    """A record whose bodies are sealed, ready for its place in the log."""

    record: Record
    id: str
    refs: tuple[BodyRef, ...]
    bodies: tuple[bytes, ...] = field(repr=False)


class Sealer:
    """Seals and opens bodies; keeps the data keys in use. Belongs to one thread, like the connection it reads with."""

    def __init__(self, origin: str, kms: Kms, writer: str) -> None:
        self._origin = origin
        self._kms = kms
        self.writer = writer
        """Whose key seals what belongs to no session."""
        self._keys: dict[str, DataKey] = {}
        self._agreed: set[str] = set()

    def new_key(self, connection: Connection, id: str, at: datetime) -> None:
        """Make the data key `id` and store it wrapped, in the caller's transaction."""
        key = os.urandom(KEY_SIZE)
        kek = self._kms.current(at)
        self._agree(connection, kek)
        wrapped = self._kms.wrap(kek, key, self._dek_aad(id))
        connection.execute("INSERT INTO dek VALUES (?, ?, ?)", (id, kek, wrapped))

    def _agree(self, connection: Connection, kek: str) -> None:
        """See to it that all who write to this store mean the same key by `kek`. Raises EvidenceFault."""
        if kek in self._agreed:
            return
        ours = self._kms.commitment(kek)
        row = connection.execute("SELECT commitment FROM kek WHERE id = ?", (kek,)).fetchone()
        if row is None:
            connection.execute("INSERT INTO kek VALUES (?, ?)", (kek, ours))
        elif row[0] != ours:
            raise EvidenceFault(
                f"The wrapping key {kek} of this keys directory is not the one that this log's bodies are sealed with: "
                "two of that name were made. Put the other's file here; it is on the replicas that serve."
            )
        else:  # Read, so that no rollback takes it back.
            self._agreed.add(kek)

    def make_writer_key(self, connection: Connection, at: datetime) -> None:
        """Make the key for records outside any session, unless this writer has it already."""
        if connection.execute("SELECT 1 FROM dek WHERE id = ?", (self.writer,)).fetchone() is None:
            self.new_key(connection, self.writer, at)

    def key(self, connection: Connection, id: str) -> DataKey:
        """The data key `id`. Raises EvidenceFault when its wrapping key is gone, InternalFault when there is none."""
        known = self._keys.get(id)
        if known is not None:
            return known
        row = connection.execute("SELECT kek, wrapped FROM dek WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise InternalFault("A record names a session that was never opened.")
        found = DataKey.of(id, self._kms.unwrap(row[0], row[1], self._dek_aad(id)))
        if not connection.in_transaction:  # Inside one, the row may yet be rolled back.
            if len(self._keys) >= _CACHED_LIMIT:
                self._keys.clear()
            self._keys[id] = found
        return found

    def at_hand(self, record: Record) -> bool:
        """Whether `record` can be sealed without asking the store for its key."""
        return not record.bodies or (record.session or self.writer) in self._keys

    def seal(self, connection: Connection, record: Record, at: datetime) -> Sealed:
        """`record` with its bodies sealed, for a leaf that gets its id here."""
        bodies = record.bodies
        entropy = os.urandom(_ID_ENTROPY + NONCE_SIZE * len(bodies))
        id = uuid7(at, entropy[:_ID_ENTROPY])
        if not bodies:
            return Sealed(record, id, (), ())
        if len(bodies) > BODIES_LIMIT:
            raise InternalFault(f"A record has more than {BODIES_LIMIT} bodies.")
        key = self.key(connection, record.session or self.writer)
        dek, encrypt, commitment = key.id, key.cipher.encrypt, key.commitment
        place = self._body_aad(dek, id, record.type)
        refs, ciphertexts, start = [], [], _ID_ENTROPY
        for name, data in bodies.items():
            nonce = entropy[start : start + NONCE_SIZE]
            sealed = nonce + encrypt(nonce, data, place + name.encode())
            ciphertexts.append(sealed)
            refs.append(BodyRef(name, Digest(sha256(sealed).hexdigest()), len(sealed), dek, commitment))
            start += NONCE_SIZE
        return Sealed(record, id, tuple(refs), tuple(ciphertexts))

    def unseal(self, connection: Connection, leaf: Leaf, ref: BodyRef, data: bytes) -> bytes:
        """The plaintext of the body `ref` of `leaf`. Raises EvidenceFault when it is not what the leaf commits to."""
        if sha256(data).hexdigest() != ref.sha256:
            raise EvidenceFault(f"Body `{ref.name}` of leaf {leaf.index} was altered: it does not have its digest.")
        key = self.key(connection, ref.dek)
        if key.commitment != ref.commitment:
            raise EvidenceFault(f"Body `{ref.name}` of leaf {leaf.index} was sealed by another key than its leaf says.")
        try:
            aad = self._body_aad(ref.dek, leaf.place.id, leaf.type) + ref.name.encode()
            return key.cipher.decrypt(data[:NONCE_SIZE], data[NONCE_SIZE:], aad)
        except (InvalidTag, ValueError):
            where = f"Body `{ref.name}` of leaf {leaf.index}"
            raise EvidenceFault(f"{where} does not open: it was moved or altered.") from None

    def _dek_aad(self, id: str) -> bytes:
        return f"phigate/dek/v1\n{self._origin}\n{id}".encode()

    def _body_aad(self, dek: str, leaf: str, kind: LeafType) -> bytes:
        # The body's name follows. Only it could hold a newline, so no two lists of parts become the same text.
        return f"phigate/body/v1\n{self._origin}\n{dek}\n{leaf}\n{kind.value}\n".encode()
