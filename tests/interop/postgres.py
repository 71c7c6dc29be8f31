"""A synthetic table of patients on a real PostgreSQL, and a role that may only read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from tests import postgresql

PATIENTS = 60
NAME = "Quillfeather"
"""The family name of everybody in the table: no such family is known."""


def ssn(number: int) -> str:
    """The social security number of a synthetic patient: 900 and above are never given to anybody."""
    return f"912-34-{5000 + number}"


@contextmanager
def running() -> Iterator[str]:
    """The URL of a database while the block runs. Its role reads `patient` (id, name, ssn, ward) and nothing else."""
    rows = ((f"{NAME}, Ada", ssn(number), "icu") for number in range(1, PATIENTS + 1))
    patients = [sql.SQL("({}, {}, {})").format(*map(sql.Literal, row)) for row in rows]
    with postgresql.running() as server:
        server.execute(
            sql.SQL("create table patient (id serial primary key, name text, ssn text, ward text)"),
            sql.SQL("insert into patient (name, ssn, ward) values {}").format(sql.SQL(", ").join(patients)),
            sql.SQL("create role reader login"),
            sql.SQL("grant select on patient to reader"),
        )
        yield server.url(role="reader")
