"""`[authority]`: phigate's own token endpoint, and the clients that may ask it. Without the table there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.config import outside, values
from gateway.config.table import Table, Wrong, distinct
from gateway.identity import keys
from gateway.identity.authority.settings import AuthorityConfig, ClientConfig

MIN_SECRET_CHARACTERS = 32
"""A secret is compared as often as anybody likes, so it must be long enough to be random."""

_MAX_JWKS_BYTES = 65_536


def decode(
    top: Table,
    base: Path,
    environ: Mapping[str, str],
    *,
    issuers: frozenset[str],
    doors: frozenset[str],
    public_url: str,
) -> AuthorityConfig | None:
    """The table, if there is one. `issuers` are the URLs of those configured, `doors` the names of upstreams and
    aggregates; `public_url` is the issuer that this makes us."""
    if not top.has("authority"):
        return None
    table = top.table("authority")
    if public_url in issuers:
        what = "makes the gateway an issuer by its public_url, but [[issuer]] has one of this url already"
        top.fault("authority", what, "remove that [[issuer]]")
    tables = table.tables(
        "client", fix="add [[authority.client]] with an id and a jwks_file, secret_env or secret_file"
    )
    clients = tuple(_client(each, base, environ) for each in tables)
    distinct(tables, "id", [client.id for client in clients])
    none: tuple[str, ...] = ()
    config = AuthorityConfig(
        lifetime_s=table.take("lifetime_s", values.whole(60, 900), 600),
        clients=clients,
        id_jag_issuers=table.take("id_jag_issuers", values.arguments, none),
        first_at=table.take("first_at", values.each(values.upstream_name), frozenset(none)),
    )
    for url in config.id_jag_issuers:
        if url not in issuers:
            table.fault(
                "id_jag_issuers", "names what is no [[issuer]] of this file", "write its url, character by character"
            )
    if config.first_at - doors:
        table.fault("first_at", "names what is no upstream or aggregate", "name upstreams and aggregates of this file")
    table.finish()
    return config


def _client(table: Table, base: Path, environ: Mapping[str, str]) -> ClientConfig:
    ways = [key for key in ("jwks_file", "secret_env", "secret_file") if table.has(key)]
    if len(ways) != 1:
        what = "is missing" if not ways else f"and {ways[1]}: a client proves who it is in exactly one way"
        table.fault(ways[0] if ways else "jwks_file", what, "give exactly one of jwks_file, secret_env and secret_file")
    secret: str | None = table.take("secret_env", values.optional(outside.secret_from_environment(environ)), None)
    secret = table.take("secret_file", values.optional(outside.secret_from_file(base)), secret)
    if secret is not None and len(secret) < MIN_SECRET_CHARACTERS:
        what = f"has fewer than {MIN_SECRET_CHARACTERS} characters, so it could be guessed"
        table.fault(ways[0], what, "make one with: openssl rand -base64 33")
    config = ClientConfig(
        id=table.need("id", values.text, "", fix='add id = "…", the client_id that it sends'),
        secret=secret,
        jwks=table.take("jwks_file", values.optional(_jwks(base)), None),
    )
    table.finish()
    return config


def _jwks(base: Path) -> Callable[[Any], bytes]:
    """A file with a JWK set of public keys, of which some can be used."""

    def decode(value: Any) -> bytes:
        found = outside.path(base)(value)
        try:
            with found.open("rb") as file:
                data = file.read(_MAX_JWKS_BYTES)
        except OSError as error:
            raise Wrong(f"cannot be read ({found}: {error.strerror})", "correct the path") from None
        try:
            usable = keys.decode(orjson.loads(data)).keys
        except ValueError:
            raise Wrong(f"is no JWK set ({found})", 'write {"keys": […]} with the public keys of the client') from None
        if not usable:
            raise Wrong(
                f"holds no usable public key ({found})", "give RSA (2,048 bits), P-256 or Ed25519 keys, public halves"
            )
        return data

    return decode
