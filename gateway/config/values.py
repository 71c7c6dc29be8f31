"""Decodes single values of the configuration: from what TOML holds to a typed value, or raises Wrong.

Pure: what must be looked up in files or in the environment is in `outside.py`. Functions that need bounds take
those first and return the decoder. Nothing here knows where in the file a value stood.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from gateway.config.table import Wrong, did_you_mean, shown
from gateway.core.facts import fhir_template
from gateway.core.facts.fhir_template import Template
from gateway.core.types import Document, Era, Json

T = TypeVar("T")

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""What an issuer may sign with: public-key algorithms only (RFC 8725 §3.1)."""

SQL_DIALECTS = frozenset(
    {
        "bigquery", "clickhouse", "databricks", "duckdb", "mysql", "oracle",
        "postgres", "redshift", "snowflake", "spark", "sqlite", "trino", "tsql",
    }
)  # fmt: skip
"""The dialects of sqlglot that a clinical system is likely to speak, by sqlglot's names."""

_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LOG_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")
_SYNTAX = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)


def toml_error(message: str) -> tuple[str, int]:
    """What tomllib complained of, on one line, and the line number it named (1 when it named none)."""
    match = _SYNTAX.fullmatch(message)
    if match is None:
        return shown(message), 1
    return shown(match[1]) + ("" if match[2] else " at the end of the file"), int(match[2] or 1)


def text(value: Any) -> str:
    """A text that is not empty, of printable characters."""
    if not isinstance(value, str):
        raise Wrong("must be a text", "put it in quotes")
    if not value or len(value) > 2048 or not value.isprintable():
        raise Wrong("must be 1 to 2,048 printable characters", "correct the text")
    return value


def boolean(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Wrong("must be true or false", "write it without quotes")
    return value


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A whole number between `low` and `high`, both included."""

    def decode(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Wrong("must be a whole number in its range", f"use {low} to {high}")
        return value

    return decode


def seconds(low: float, high: float) -> Callable[[Any], float]:
    """A time in seconds between `low` and `high`, both included."""

    def decode(value: Any) -> float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or not low <= value <= high:
            raise Wrong("must be a number of seconds in its range", f"use {low:g} to {high:g}")
        return float(value)

    return decode


def optional(decode: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """The same decoder, for a setting whose absence means something: its type includes None."""
    return decode


def each(decode: Callable[[Any], T]) -> Callable[[Any], frozenset[T]]:
    """An array of what `decode` takes."""
    return lambda value: frozenset(decode(item) for item in array(value))


def listen(value: Any) -> tuple[str, int]:
    """`host:port`; a wildcard host is written 0.0.0.0 or [::]."""
    host, colon, port = text(value).rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise Wrong("must be host:port", 'for example "127.0.0.1:8080"')
    if len(port) > 5 or not 1 <= int(port) <= 65535:
        raise Wrong(f"has a port that is out of range ({shown(port)})", "use a port from 1 to 65535")
    if not _HOST.fullmatch(host.lower()):
        raise Wrong("has no usable host", 'for example "127.0.0.1:8080", or "[::1]:8080"')
    return host.strip("[]").lower(), int(port)


def is_loopback(host: str) -> bool:
    """Is this host name or address this machine, whoever asks?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_plain_remote(url: str) -> bool:
    """Would a request to this URL cross a network unencrypted?"""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def bracketed(host: str) -> str:
    """A host as it stands in a URL (RFC 3986 §3.2.2)."""
    return f"[{host}]" if ":" in host else host


def authority(url: SplitResult) -> str:
    """Host and port as a client writes them: lower case, and without the port that its scheme implies."""
    usual = {"http": 80, "https": 443}[url.scheme]
    host = bracketed((url.hostname or "").lower())
    return host if url.port in (None, usual) else f"{host}:{url.port}"


def host_of(url: str) -> str:
    """The `Host` header of a request to this http or https URL."""
    return authority(urlsplit(url))


def public_url(value: Any) -> str:
    """An origin with nothing after it; https unless it is this machine."""
    parts = _url(value)
    if parts.path not in ("", "/") or parts.query:
        raise Wrong("must end after the host", "remove the path; the gateway serves /mcp/<upstream> itself")
    if is_plain_remote(value):
        raise Wrong("is http, so tokens and PHI would cross the network in the clear", "use https")
    return f"{parts.scheme}://{authority(parts)}"


def host_header(value: Any) -> str:
    """`host` or `host:port`, as a client sends it."""
    host = text(value).lower()
    if not _HOST.fullmatch(host):
        raise Wrong("holds what is not a host", 'use "gateway.example" or "gateway.example:8443"; no wildcards')
    return host


def origin(value: Any) -> str:
    """A web origin (RFC 6454 §6.2)."""
    parts = _url(value)
    if parts.path or parts.query:
        raise Wrong("holds what is not an origin", 'use "https://host", without a path')
    return f"{parts.scheme}://{authority(parts)}"


def issuer_url(value: Any) -> str:
    """An issuer identifier (RFC 8414 §2), kept as written: it is compared character by character."""
    parts = _url(value)
    if parts.query:
        raise Wrong("has a query", "write the issuer exactly as its tokens do")
    if is_plain_remote(value):
        raise Wrong("is http, so whoever is on the network could issue tokens", "use https")
    return str(value)


def service_url(value: Any) -> str:
    """The URL of something that the gateway sends a secret of its own to, kept as written."""
    if _url(value).query:
        raise Wrong("has a query", "write the URL without it")
    if is_plain_remote(value):
        raise Wrong("is http, so a secret would cross the network in the clear", "use https")
    return str(value)


def upstream_url(value: Any) -> str:
    """The URL of an upstream, kept as written."""
    _url(value)
    return str(value)


def bundle_url(value: Any) -> str:
    """The URL of a bundle, kept as written. It is told to operators, so nothing in it is a secret."""
    if _url(value).query:
        raise Wrong("has a query, which would be told wherever the URL is", "put credentials in headers_file")
    if is_plain_remote(value):
        raise Wrong("is http, so credentials and policy would cross the network in the clear", "use https")
    return str(value)


def upstream_name(value: Any) -> str:
    """One path segment that needs no escaping."""
    name = text(value)
    if not _NAME.fullmatch(name):
        raise Wrong("must be 1 to 63 of a-z, 0-9 and -", "rename it; it becomes a part of the URL")
    return name


def log_origin(value: Any) -> str:
    """A checkpoint origin, which is also a signed-note key name: no spaces, no plus sign."""
    name = text(value)
    if not _LOG_ORIGIN.fullmatch(name):
        raise Wrong("is not a log name", 'use a schema-less URL that is yours: "gateway.example/phigate"')
    return name


def algorithms(value: Any) -> tuple[str, ...]:
    """Signature algorithms that tokens of this issuer may use, none of them symmetric."""
    found = tuple(text(item) for item in array(value))
    for name in found:
        if name.lower() == "none":
            raise Wrong('holds "none", which would accept unsigned tokens', "remove it")
        if name.upper().startswith("HS"):
            raise Wrong(f"holds {shown(name)}, whose key would let every holder issue tokens", "remove it")
        if name not in ALGORITHMS:
            raise Wrong(f"holds {shown(name)}, which is not supported", did_you_mean(name, ALGORITHMS))
    if not found:
        raise Wrong("is empty, so no token could ever be accepted", 'for example ["RS256"]')
    return found


def claim_path(value: Any) -> tuple[str, ...]:
    """A claim, or the path to one: "groups", "realm_access.roles"; an array, or a URL, when a name itself has dots."""
    if isinstance(value, list):
        steps = tuple(text(item) for item in value)
    else:
        claim = text(value)
        steps = (claim,) if "://" in claim else tuple(claim.split("."))
    if not steps or len(steps) > 8 or not all(steps):
        raise Wrong("is not the path to a claim", 'for example "groups" or "realm_access.roles"')
    return steps


def claim_paths(value: Any) -> tuple[tuple[str, ...], ...]:
    """One path to a claim, or an array of several; an empty one names none."""
    paths = tuple(claim_path(item) for item in array(value)) if isinstance(value, list) else (claim_path(value),)
    if len(paths) > 8:
        raise Wrong("names more than 8 claims", "name only those that policy needs")
    return paths


def scopes(value: Any) -> tuple[str, ...]:
    """OAuth scopes, each once, as RFC 6749 §3.3 writes them."""
    found = tuple(dict.fromkeys(text(item) for item in array(value)))
    for scope in found:
        if not _SCOPE.fullmatch(scope):
            raise Wrong(f"holds what is no scope ({shown(scope)})", 'for example ["mcp:read"]')
    return found


def sql_dialect(value: Any) -> str:
    """One of SQL_DIALECTS."""
    name = text(value)
    if name not in SQL_DIALECTS:
        raise Wrong(f"names no known dialect ({shown(name)})", did_you_mean(name, SQL_DIALECTS))
    return name


def era(value: Any) -> Era | None:
    """`auto` (None), `legacy` or `modern`."""
    name = text(value)
    known = ("auto", *(each.value for each in Era))
    if name not in known:
        raise Wrong(f"names no era of MCP ({shown(name)})", did_you_mean(name, known))
    return None if name == "auto" else Era(name)


def labels(value: Any) -> Document:
    """What policy is told about an upstream: texts, whole numbers, true/false, and arrays of texts."""

    def label(item: Any) -> Json:
        if isinstance(item, list):
            return [text(part) for part in item]
        if isinstance(item, bool | str) or (isinstance(item, int) and abs(item) < 1 << 53):
            return item
        raise Wrong("holds a value that policy cannot be told", "use texts, whole numbers, true/false, arrays of texts")

    return {text(name): label(item) for name, item in table(value).items()}


def names_to_names(value: Any) -> Mapping[str, str]:
    """A table of texts, which may be empty."""
    return {text(name): item if item == "" else text(item) for name, item in table(value).items()}


def fhir_templates(value: Any) -> Mapping[str, Template]:
    """A table of tools and the FHIR requests that they make."""

    def template(item: Any) -> Template:
        try:
            return fhir_template.parse(text(item))
        except ValueError as wrong:
            raise Wrong(str(wrong), 'for example { search = "GET {type}?{params?}" }') from None

    return {text(name): template(item) for name, item in table(value).items()}


def fhir_bases(value: Any) -> tuple[str, ...]:
    """What URLs of one FHIR server begin with: "https://host/r4", "fhir://"."""
    bases = tuple(text(item) for item in array(value))
    for base in bases:
        if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[!-~]*", base) or any(char in base for char in "?#%\\"):
            raise Wrong(f"holds what no URL begins with ({shown(base)})", 'for example ["https://host/r4", "fhir://"]')
    return bases


def arguments(value: Any) -> tuple[str, ...]:
    """Arguments of a program: any text that an argument can be."""
    found = tuple(array(value))
    if not all(isinstance(item, str) and "\0" not in item for item in found):
        raise Wrong("must be an array of texts", 'for example ["server.py", "--read-only"]')
    return found


def array(value: Any) -> list[Any]:
    """An array of bounded length, its items as they are."""
    if not isinstance(value, list) or len(value) > 256:
        raise Wrong("must be an array of at most 256", "write it in square brackets")
    return value


def table(value: Any) -> dict[str, Any]:
    """A table of bounded length, its members as they are."""
    if not isinstance(value, dict) or len(value) > 256:
        raise Wrong("must be a table of at most 256", 'for example { name = "value" }')
    return value


def _url(value: Any) -> SplitResult:
    """An absolute http or https URL without user, password or fragment."""
    try:
        parts = urlsplit(text(value))
        port, host = parts.port, parts.hostname
    except ValueError:
        raise Wrong("is not a URL", 'for example "https://host/path"') from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise Wrong("is not an absolute http or https URL", 'for example "https://host/path"')
    if parts.username is not None or parts.password is not None:
        raise Wrong("holds a user name or password", "put credentials in headers_env or headers_file")
    if "#" in value or not value.isascii() or " " in value or "\\" in value:
        raise Wrong("has a fragment or a character that is not allowed", "write it plainly: https://host/path")
    if not _HOST.fullmatch(parts.netloc.lower()):
        raise Wrong("has no usable host", 'for example "https://host/path"')
    return parts
