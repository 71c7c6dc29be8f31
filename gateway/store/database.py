"""Where a store in PostgreSQL is, as the configuration or `--store` says; and what of that is refused."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.core.errors import EvidenceFault

SCHEMES = ("postgresql://", "postgres://")
LEASE_S = 20.0
"""A writer that was silent for so long is dead. Longer than a healthy process ever pauses, and no longer than
callers can wait to learn what became of their calls.
"""
_VERIFIED = "verify-full"


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL database that holds a store."""

    url: str
    """libpq's, without a password."""
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    """Read at each connection, so that a password may change while the gateway serves."""
    migrates: bool = False
    """Whether a gateway that starts makes the tables, or brings them up to date."""
    lease_s: float = LEASE_S

    def __str__(self) -> str:
        return self.url

    def secret(self) -> str | None:
        """The password; None leaves it to libpq (PGPASSFILE, PGPASSWORD, certificates). Raises EvidenceFault."""
        if self.password_file is None:
            return self.password
        try:
            return self.password_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise EvidenceFault(
                f"The password of the evidence store cannot be read from {self.password_file}. Let the gateway's user "
                "read it, or correct store_password_file."
            ) from None


def is_url(text: str) -> bool:
    """Whether a store is named by a URL, and not by a path."""
    return text.startswith(SCHEMES)


def checked(url: str, *, unverified: bool = False) -> str:
    """`url` as it may be used: TLS that knows its server, everywhere but on loopback. Raises ValueError saying what is
    wrong and what to write instead; `unverified` leaves TLS to whoever says that the network itself is encrypted."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ValueError("is no URL: write postgresql://USER@HOST/DATABASE") from None
    login, _, places = parts.netloc.rpartition("@")
    if ":" in login or "password" in options:
        raise ValueError("holds a password: name where it is kept with store_password_env or store_password_file")
    if "sslpassword" in options:
        raise ValueError("holds the passphrase of a key: keep that key without one, where only the gateway reads it")
    if "service" in options or "hostaddr" in options:
        raise ValueError("uses `service` or `hostaddr`: write the host itself, which TLS can verify")
    hosts = [_host(place) for place in options.get("host", places).split(",")]
    if not all(hosts):
        raise ValueError("names no host: write postgresql://USER@HOST/DATABASE, with a socket ?host=/run/postgresql")
    if all(map(_is_local, hosts)) or unverified:
        return url
    mode = options.get("sslmode")
    if mode is None:
        return f"{url}{'&' if parts.query else '?'}sslmode={_VERIFIED}"
    if mode != _VERIFIED:
        raise ValueError(
            f"says sslmode={mode}, by which anyone between here and the database can read and alter evidence: "
            f"write sslmode={_VERIFIED} with sslrootcert, or store_allow_insecure = true if the network is encrypted"
        )
    return url


def _host(place: str) -> str:
    """The host of `host[:port]`; libpq writes IPv6 addresses in brackets."""
    text = unquote(place)
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text if text.startswith("/") else text.partition(":")[0]


def _is_local(host: str) -> bool:
    try:
        return host.startswith("/") or host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
