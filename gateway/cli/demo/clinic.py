"""The demo's upstream: an MCP server over a clinic's database, as any hospital might put in front of its own.

It knows nothing of phigate: no policy, no masking, and it trusts whoever calls it. That is the point. Run by `phigate
demo` as its own process: `python -m gateway.cli.demo.clinic --db FILE`.
"""

from __future__ import annotations

import argparse
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from gateway.cli.demo import population
from gateway.cli.demo.loopback import Loopback

INSTRUCTIONS = "SYNTHETIC DATA. A clinic's records: patients, encounters, notes, labs and claims."
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=False)
_CHANGEABLE = ("phone", "email", "street", "city", "state", "zip", "allergies")


class Rows(BaseModel):
    """What a statement returned."""

    columns: list[str]
    rows: list[dict[str, Any]]
    row_count: int


class Patient(BaseModel):
    """One patient's record with the latest of everything."""

    patient: dict[str, Any]
    encounters: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    labs: list[dict[str, Any]]


class Changed(BaseModel):
    """How many records a change reached."""

    changed: int


def create(path: Path) -> None:
    """Write the clinic's database anew at `path`."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.executescript(population.SCHEMA)
        for table, rows in population.generate().tables.items():
            marks = ", ".join("?" * len(rows[0]))
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)


def server(path: Path) -> MCPServer[Any]:
    """The MCP server over the database at `path`."""
    mcp: MCPServer[Any] = MCPServer("synthetic-clinic", instructions=INSTRUCTIONS, version="1", log_level="ERROR")

    @mcp.tool(annotations=_WRITES, title="Run SQL")
    def run_sql(sql: Annotated[str, Field(description="One SQLite statement")]) -> Rows:
        """Run one SQL statement on the clinic's database."""
        with _opened(path) as database:
            return _rows(database.execute(sql))

    @mcp.tool(annotations=_READS, title="Read a patient")
    def read_patient(mrn: Annotated[str, Field(description="Medical record number: MRN-1234567")]) -> Patient:
        """One patient's record: who, visits, notes and laboratory values."""
        with _opened(path) as database:
            found = _rows(database.execute("SELECT * FROM patients WHERE mrn = ?", (mrn,))).rows
            if not found:
                raise ToolError("No patient has this medical record number.")
            key = (found[0]["id"],)
            return Patient(
                patient=found[0],
                encounters=_latest(database, "encounters", "day, department, clinician, reason", key),
                notes=_latest(database, "notes", "author, text", key),
                labs=_latest(database, "labs", "day, loinc, name, value, unit", key),
            )

    @mcp.tool(annotations=_READS, title="Search patients")
    async def search_patients(
        text: Annotated[str, Field(description="Part of a name", min_length=2)],
        ctx: Context,
        limit: Annotated[int, Field(ge=1, le=50)] = 10,
    ) -> Rows:
        """Find patients by a part of their name; tells how far it is as it goes."""
        tables = ("patients", "encounters")
        with _opened(path) as database:
            for done, table in enumerate(tables, start=1):
                (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()
                await ctx.report_progress(done, len(tables), f"searched {count} {table}")
            return _rows(
                database.execute(
                    "SELECT mrn, given, family, birth_date, city, count(encounters.id) AS visits FROM patients "
                    "LEFT JOIN encounters ON patient_id = patients.id WHERE given || ' ' || family LIKE ? "
                    "GROUP BY patients.id ORDER BY family, given LIMIT ?",
                    (f"%{text}%", limit),
                )
            )

    @mcp.tool(annotations=_WRITES, title="Update a patient")
    def update_patient(
        mrn: Annotated[str, Field(description="Medical record number: MRN-1234567")],
        field: Annotated[str, Field(description=f"One of {', '.join(_CHANGEABLE)}")],
        value: str,
    ) -> Changed:
        """Change one field of one patient's record."""
        if field not in _CHANGEABLE:
            raise ToolError(f"Only these can be changed: {', '.join(_CHANGEABLE)}.")
        with _opened(path) as database:
            return Changed(
                changed=database.execute(f"UPDATE patients SET {field} = ? WHERE mrn = ?", (value, mrn)).rowcount
            )

    return mcp


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection whose work is committed at the end; what SQLite rejects is told to the model as a tool error."""
    try:
        with closing(sqlite3.connect(path)) as database, database:
            yield database
    except sqlite3.Error as error:
        raise ToolError(f"SQLite: {error}") from error


def _rows(cursor: sqlite3.Cursor) -> Rows:
    columns = [column[0] for column in cursor.description or ()]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return Rows(columns=columns, rows=rows, row_count=len(rows) if columns else cursor.rowcount)


def _latest(database: sqlite3.Connection, table: str, columns: str, key: tuple[int]) -> list[dict[str, Any]]:
    statement = f"SELECT {columns} FROM {table} WHERE patient_id = ? ORDER BY id DESC LIMIT 3"
    return _rows(database.execute(statement, key)).rows


def main() -> None:
    """Serve the clinic on loopback until told to stop."""
    arguments = argparse.ArgumentParser(prog="clinic", description=__doc__)
    arguments.add_argument("--db", type=Path, required=True, help="the database file; made anew")
    arguments.add_argument("--port", type=int, default=0, help="0: any free port")
    options = arguments.parse_args()
    logging.disable(logging.INFO)
    create(options.db)
    loopback = Loopback(options.port)
    loopback.serve(server(options.db).streamable_http_app(), mcp=f"{loopback.url}/mcp")


if __name__ == "__main__":
    main()
