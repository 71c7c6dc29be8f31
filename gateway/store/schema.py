"""The evidence store's tables, for SQLite.

`leaf` and `body` are the evidence; triggers refuse to change them, which stops mistakes, not a superuser: that is what
signed checkpoints kept elsewhere are for. All other tables are either derived from leaves (`session`, `open_exchange`)
or checked against them (`head`, `checkpoint`), or hold what leaves name by digest (`bundle`) or key id (`dek`), or
count what policy asks for (`usage`), or are what processes tell each other in passing (`mail`, `note`).
"""

from __future__ import annotations

from gateway.core.errors import EvidenceFault
from gateway.store import projection
from gateway.store.engine import Connection

APPLICATION_ID = 0x70686967  # "phig": lets `file` and us tell an evidence store from any other database.
VERSION = 5
"""1: until tool pins, usage and emergencies were kept; 2: until processes had mail; 3: until wrapping keys
were told apart; 4: until a file's `head` was written with checkpoints only. `migrations` says how an older store
becomes one of this."""

_EVIDENCE = (
    "CREATE TABLE origin (one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL)",
    "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, frontier BLOB NOT NULL)",
    """CREATE TABLE leaf (
        idx INTEGER PRIMARY KEY, type TEXT NOT NULL, session TEXT, exchange TEXT,
        entry BLOB NOT NULL, hash BLOB NOT NULL)""",
    "CREATE INDEX leaf_session ON leaf (session) WHERE session IS NOT NULL",
    "CREATE INDEX leaf_type ON leaf (type) WHERE session IS NULL",
    # place = idx * 16 + position in the leaf's list of bodies: one B-tree that only ever grows at its end.
    "CREATE TABLE body (place INTEGER PRIMARY KEY, name TEXT NOT NULL, data BLOB NOT NULL)",
    """CREATE TABLE checkpoint (
        size INTEGER PRIMARY KEY, note TEXT NOT NULL, frontier BLOB NOT NULL, time TEXT NOT NULL)""",
    "CREATE TABLE dek (id TEXT PRIMARY KEY, kek TEXT NOT NULL, wrapped BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE session (
        id TEXT PRIMARY KEY, key TEXT NOT NULL, opened INTEGER NOT NULL, last TEXT NOT NULL,
        sseq INTEGER NOT NULL, prev BLOB NOT NULL, exchanges INTEGER NOT NULL, closed INTEGER) WITHOUT ROWID""",
    "CREATE INDEX session_live ON session (key) WHERE closed IS NULL",
    """CREATE TABLE open_exchange (
        exchange TEXT PRIMARY KEY, writer TEXT NOT NULL, session TEXT, intent INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE bundle (digest TEXT PRIMARY KEY, data BLOB NOT NULL, archived TEXT NOT NULL)",
    """CREATE TABLE tool (
        upstream TEXT NOT NULL, name TEXT NOT NULL, pin TEXT NOT NULL, definition BLOB NOT NULL, seen TEXT NOT NULL,
        PRIMARY KEY (upstream, name))""",
)

_SINCE_2 = (
    # The definition that a tool was accepted with; `tool` has the newest, which may be another.
    """CREATE TABLE tool_pin (
        upstream TEXT NOT NULL, name TEXT NOT NULL, pin TEXT NOT NULL, definition BLOB NOT NULL, accepted TEXT NOT NULL,
        PRIMARY KEY (upstream, name))""",
    # Epoch seconds throughout. who and patient: keyed digests, of a principal and of an identifier.
    """CREATE TABLE usage (
        who TEXT NOT NULL, span TEXT NOT NULL, bucket INTEGER NOT NULL, expires INTEGER NOT NULL,
        calls INTEGER NOT NULL, rows INTEGER NOT NULL, phi_fields INTEGER NOT NULL, uncounted INTEGER NOT NULL,
        PRIMARY KEY (who, span, bucket)) WITHOUT ROWID""",
    "CREATE INDEX usage_expires ON usage (expires)",
    """CREATE TABLE usage_patient (
        who TEXT NOT NULL, patient BLOB NOT NULL, last INTEGER NOT NULL, expires INTEGER NOT NULL,
        PRIMARY KEY (who, patient)) WITHOUT ROWID""",
    "CREATE INDEX usage_patient_last ON usage_patient (who, last)",
    "CREATE INDEX usage_patient_expires ON usage_patient (expires)",
    # id: the exchange that broke the glass first; what the same principal does soon after is reviewed with it.
    """CREATE TABLE emergency (
        id TEXT PRIMARY KEY, actor TEXT NOT NULL, began TEXT NOT NULL, leaf INTEGER NOT NULL, closed INTEGER
    ) WITHOUT ROWID""",
    "CREATE INDEX emergency_open ON emergency (actor, leaf) WHERE closed IS NULL",
    "CREATE TABLE emergency_access (leaf INTEGER PRIMARY KEY, emergency TEXT NOT NULL)",
    "CREATE INDEX emergency_accesses ON emergency_access (emergency, leaf)",
)
_TO_2 = (
    *_SINCE_2,
    # What was in use before definitions were compared is what they are compared with.
    "INSERT INTO tool_pin SELECT upstream, name, pin, definition, seen FROM tool",
)
_SINCE_3 = (
    # Sealed, and swept within minutes. Ids are never used again: who looks remembers how far it has seen.
    """CREATE TABLE mail (
        id INTEGER PRIMARY KEY AUTOINCREMENT, box TEXT NOT NULL, sender TEXT NOT NULL, sent INTEGER NOT NULL,
        data TEXT NOT NULL)""",
    "CREATE TABLE note (key TEXT PRIMARY KEY, changed INTEGER NOT NULL, data TEXT NOT NULL) WITHOUT ROWID",
)
_SINCE_4 = ("CREATE TABLE kek (id TEXT PRIMARY KEY, commitment TEXT NOT NULL) WITHOUT ROWID",)

BODIES_LIMIT = 16
"""Most bodies one leaf can have; see `body.place`."""


def _guards(table: str) -> tuple[str, ...]:
    return tuple(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, 'evidence is append-only: {table}'); END"
        for verb in ("UPDATE", "DELETE")
    )


def statements() -> tuple[str, ...]:
    """Everything that a new store is made with, in order."""
    guards = tuple(guard for table in ("leaf", "body", "checkpoint", "bundle") for guard in _guards(table))
    return (*_EVIDENCE, *guards, *projection.SCHEMA, *_SINCE_2, *_SINCE_3, *_SINCE_4)


def migrations(version: int) -> tuple[str, ...]:
    """What brings a store of an older `version` to this one, in order; nothing for one that needs none."""
    steps = ((2, _TO_2), (3, _SINCE_3), (4, _SINCE_4))  # 5 has no other tables than 4.
    return tuple(statement for to, step in steps if version < to for statement in step)


def begin_log(connection: Connection, origin: str) -> None:
    """Fill the tables of a new store: an empty log of this name."""
    connection.execute("INSERT INTO origin VALUES (1, ?)", (origin,))
    connection.execute("INSERT INTO head VALUES (1, 0, ?)", (b"",))


def check_origin(connection: Connection, origin: str) -> None:
    """Refuse the store of another log. Raises EvidenceFault."""
    (name,) = connection.execute("SELECT name FROM origin").fetchone()
    if name != origin:
        raise EvidenceFault(
            f"This evidence store belongs to the log {name} and the keys to {origin}. "
            "Use the keys directory that was made with it."
        )


def check_version(version: int) -> None:
    """Refuse a store that a newer phigate wrote. Raises EvidenceFault."""
    if not 1 <= version <= VERSION:
        raise EvidenceFault(
            f"This evidence store has schema version {version} and this phigate reads up to {VERSION}. "
            "Use the phigate release that wrote it."
        )


def outdated(version: int) -> EvidenceFault:
    """The EvidenceFault for a store that has no tables yet for what is asked of it."""
    return EvidenceFault(
        f"This evidence store has schema version {version}, and this needs version {VERSION}. "
        "Bring it up to date: phigate store migrate"
    )
