"""`[[upstream]]` and `[[aggregate]]`: the MCP servers behind the gateway, and addresses behind which several are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.config import credentials, outside, values
from gateway.config.table import Table, distinct
from gateway.core.facts.fhir_template import Template
from gateway.core.protocol.jsonrpc import DEPTH_CEILING
from gateway.core.types import Document, Era
from gateway.upstream.credentials.settings import Settings

MAX_MEMBERS = 32
"""Upstreams of one aggregate: a legacy session id names each, and servers on the way take 8 KiB of headers."""


@dataclass(frozen=True, slots=True)
class UpstreamConfig:
    """An MCP server. Exactly one of `url` (Streamable HTTP) and `command` (stdio) is set."""

    name: str
    url: str | None
    command: tuple[str, ...]
    """The program and its arguments."""
    cwd: Path
    launcher: tuple[str, ...]
    """What the command is given to as further arguments, such as a sandbox; empty: it is started as it is."""
    shared: bool
    """One program for all sessions."""
    max_memory_bytes: int | None
    """Address space of the program and of each that it starts."""
    max_cpu_s: int | None
    """Processor time, likewise."""
    environment: Mapping[str, str] = field(repr=False)
    """All that the program's environment holds."""
    headers: Mapping[str, str] = field(repr=False)
    """Sent with every request: the gateway's own credentials."""
    labels: Document
    required_scopes: tuple[str, ...]
    """What a token must hold to be used here, as clients ask for it."""
    connect_s: float
    idle_s: float
    """Longest silence while an answer is awaited."""
    call_s: float
    max_response_bytes: int
    max_depth: int
    era: Era | None
    """The one era that it speaks; None where the gateway is to find out."""
    sql: Mapping[str, str]
    """Tool name -> the argument of it that holds SQL."""
    sql_dialect: str
    fhir: Mapping[str, Template]
    """Tool name -> how it makes a FHIR request of its arguments."""
    fhir_bases: tuple[str, ...]
    """What the URLs of its FHIR server, and with them its resources, begin with."""
    credentials: Settings | None = None
    """Where its `Authorization` header comes from, if it is none of `headers`."""


@dataclass(frozen=True, slots=True)
class AggregateConfig:
    """One address for several upstreams."""

    name: str
    upstreams: tuple[str, ...]
    plain: str
    """The upstream whose tools, prompts and resources keep their names; empty: none."""
    wait_s: float


def decode(top: Table, base: Path, environ: Mapping[str, str]) -> tuple[UpstreamConfig, ...]:
    """Every `[[upstream]]`."""
    tables = top.tables("upstream", fix="add [[upstream]] with a name and a url or command")
    upstreams = tuple(_upstream(table, base, environ) for table in tables)
    distinct(tables, "name", [upstream.name for upstream in upstreams])
    return upstreams


def _upstream(table: Table, base: Path, environ: Mapping[str, str]) -> UpstreamConfig:
    url = table.take("url", values.optional(values.upstream_url), None)
    command = table.take("command", outside.command(base, environ), "")
    if table.has("url") == table.has("command"):
        table.fault("url", "and command: an upstream has exactly one of them", "keep url for HTTP, command for stdio")
    table.belongs("url", "allow_http", "headers_env", "headers_file", "credentials")
    table.belongs("command", "args", "env", "cwd", "launcher", "shared", "max_memory_bytes", "max_cpu_s")
    allow_http = table.take("allow_http", values.boolean, False)
    if url is not None and not allow_http and values.is_plain_remote(url):
        what = "is http beyond this machine, so PHI would cross the network in the clear"
        table.fault("url", what, "use https, or say allow_http = true if the network itself is encrypted")
    no_args: tuple[str, ...] = ()
    no_era: Era | None = None
    no_limit: int | None = None
    args = table.take("args", values.arguments, no_args)
    config = UpstreamConfig(
        name=table.need("name", values.upstream_name, "", fix='add name = "…", which becomes /mcp/<name>'),
        url=url,
        command=(command, *args) if command else (),
        cwd=table.take("cwd", outside.directory(base), base),
        launcher=table.take("launcher", outside.launcher(base, environ), no_args),
        shared=table.take("shared", values.boolean, False),
        max_memory_bytes=table.take("max_memory_bytes", values.optional(values.whole(1 << 20, 1 << 50)), no_limit),
        max_cpu_s=table.take("max_cpu_s", values.optional(values.whole(1, 1 << 30)), no_limit),
        environment=table.take("env", outside.environment(environ), outside.base_environment(environ)),
        headers={
            **table.take("headers_env", outside.headers_from_environment(environ), {}),
            **table.take("headers_file", outside.headers_from_files(base), {}),
        },
        credentials=credentials.decode(table, base, environ),
        labels=table.take("labels", values.labels, {}),
        required_scopes=table.take("required_scopes", values.scopes, ()),
        connect_s=table.take("connect_s", values.seconds(0.1, 300), 5.0),
        idle_s=table.take("idle_s", values.seconds(0.1, 3600), 60.0),
        call_s=table.take("call_s", values.seconds(0.1, 86_400), 300.0),
        max_response_bytes=table.take("max_response_bytes", values.whole(1024, 1 << 30), 16 << 20),
        max_depth=table.take("max_depth", values.whole(8, DEPTH_CEILING), DEPTH_CEILING),
        era=table.take("era", values.era, no_era),
        sql=table.take("sql", values.names_to_names, {}),
        sql_dialect=table.take("sql_dialect", values.sql_dialect, ""),
        fhir=table.take("fhir", values.fhir_templates, {}),
        fhir_bases=table.take("fhir_bases", values.fhir_bases, ()),
    )
    if config.credentials is not None and any(name.lower() == "authorization" for name in config.headers):
        what = "and an Authorization header in headers_env or headers_file: the upstream gets one of them"
        table.fault("credentials", what, "remove that header, or the table")
    if config.sql and not table.has("sql_dialect"):
        table.fault("sql_dialect", "is missing, so the SQL of `sql` cannot be parsed", 'add sql_dialect = "postgres"')
    if config.shared and config.era is not Era.MODERN:
        # A legacy program keeps a session and asks its client things: one session's question would reach another's.
        what = "is for programs that keep no session, and only the modern era promises that"
        table.fault("shared", what, 'add era = "modern" if it speaks MCP 2026-07-28, else remove shared')
    table.finish()
    return config


def aggregates(top: Table, upstreams: tuple[UpstreamConfig, ...]) -> tuple[AggregateConfig, ...]:
    """Every `[[aggregate]]`."""
    tables = top.optional_tables("aggregate")
    known = [upstream.name for upstream in upstreams if upstream.name]
    found = tuple(_aggregate(table, known) for table in tables)
    distinct(tables, "name", [aggregate.name for aggregate in found])
    return found


def _aggregate(table: Table, known: list[str]) -> AggregateConfig:
    everybody = tuple(known)
    config = AggregateConfig(
        name=table.need("name", values.upstream_name, "", fix='add name = "…", which becomes /mcp/<name>'),
        upstreams=table.take("upstreams", values.arguments, everybody),
        plain=table.take("plain", values.upstream_name, ""),
        wait_s=table.take("wait_s", values.seconds(0.1, 300), 20.0),
    )
    if config.name in known:
        table.fault("name", "is the name of an upstream", "give it another one")
    members = config.upstreams
    for name in members:
        if name not in known:
            table.fault("upstreams", f"names {name}, which is no upstream", "name upstreams of this file")
        elif not name[:1].isalpha():
            what = f"names {name}, which begins with a digit and so cannot begin the resource URIs of this aggregate"
            table.fault("upstreams", what, "rename the upstream")
    if not 1 <= len(set(members)) == len(members) <= MAX_MEMBERS:
        table.fault("upstreams", f"must be 1 to {MAX_MEMBERS} names, each once", "name each upstream once")
    if config.plain and config.plain not in members:
        table.fault("plain", "is none of its upstreams", "name one of `upstreams`")
    table.finish()
    return config
