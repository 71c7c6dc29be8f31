"""An upstream that runs SQL and keeps count of it in the same database, of the official SDK. Run as a program."""

from __future__ import annotations

import argparse
import logging
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import anyio
from mcp.server import MCPServer
from mcp_types import ToolAnnotations
from pydantic import BaseModel

from gateway.cli.demo.loopback import Loopback

PATIENTS = 60
WAIT_S = 20.0


class Rows(BaseModel):
    """What a statement returned."""

    rows: list[dict[str, str]]


def create(path: Path) -> None:
    """The database: patients, and the statements that ran."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("create table patient (id integer primary key, ssn text, ward text)")
        numbers = [(f"219-09-{9000 + number}", "icu") for number in range(PATIENTS)]
        db.executemany("insert into patient (ssn, ward) values (?, ?)", numbers)
        db.execute("create table ran (sql text)")


def ran(path: Path, sql: str) -> int:
    """How often a statement ran."""
    with closing(sqlite3.connect(path)) as db:
        (count,) = db.execute("select count(*) from ran where sql = ?", (sql,)).fetchone()
    return int(count)


def server(path: Path) -> MCPServer:
    """The MCP server over the database at `path`."""
    mcp = MCPServer("synthetic-ledger", log_level="ERROR")
    events: defaultdict[str, anyio.Event] = defaultdict(anyio.Event)

    @mcp.tool()
    async def query(sql: str, until: str = "") -> Rows:
        """Run one statement; with `until`, only once that event has been told of."""
        if until:
            events[f"{until}/begun"].set()
            with anyio.move_on_after(WAIT_S):
                await events[until].wait()
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("insert into ran values (?)", (sql,))
            cursor = db.execute(sql)
            names = [column[0] for column in cursor.description or ()]
            return Rows(rows=[dict(zip(names, map(str, row), strict=True)) for row in cursor.fetchall()])

    @mcp.tool(annotations=ToolAnnotations(readOnlyHint=True))
    async def tell(event: str) -> str:
        events[event].set()
        return "told"

    @mcp.tool(annotations=ToolAnnotations(readOnlyHint=True))
    async def hear(event: str) -> bool:
        """Whether the event happened; waits for it."""
        with anyio.move_on_after(WAIT_S):
            await events[event].wait()
            return True
        return False

    return mcp


def main() -> None:
    """Serve on loopback until told to stop; the first line says where."""
    arguments = argparse.ArgumentParser(prog="ledger_server", description=__doc__)
    arguments.add_argument("--db", type=Path, required=True)
    options = arguments.parse_args()
    logging.disable(logging.ERROR)
    create(options.db)
    loopback = Loopback()
    loopback.serve(server(options.db).streamable_http_app(), mcp=f"{loopback.url}/mcp")


if __name__ == "__main__":
    main()
