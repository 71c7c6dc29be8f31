"""Reads `[policy]`: where bundles come from, and whose signature they must have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config import outside, values
from gateway.config.table import Table, Wrong, did_you_mean, shown
from gateway.core.errors import PolicyFault
from gateway.core.policy import signature
from gateway.core.policy.signature import Key, PublicKey, Verification
from gateway.pdp.server import ServerConfig

ALGORITHMS = tuple(name for name in signature.ALGORITHMS if not name.startswith("HS"))
"""Public-key algorithms only: with a shared secret, whoever can verify a policy could also make one."""

_MAX_KEY_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """Which policy decides, and how long a decision may take. Exactly one of `bundle` and `server` is set."""

    bundle: Path | None
    """A bundle file or a directory of sources."""
    server: ServerConfig | None
    verification: Verification | None
    """The signature that a bundle must have; None when it is taken unsigned."""
    reload_s: float
    """How often `bundle` is looked at."""
    deadline_s: float
    shadow: Path | None = None
    """A candidate that runs beside the policy in force and decides nothing. It need not be there at start."""


def decode(table: Table, base: Path, environ: Mapping[str, str]) -> PolicyConfig:
    """The section; faults are noted in the table."""
    bundle = table.take("bundle", values.optional(outside.bundle(base)), None)
    url = table.take("url", values.optional(values.bundle_url), None)
    if not table.has("bundle") and not table.has("url"):
        table.fault("bundle", "is missing", 'add bundle = "policies", a bundle file or directory, or url = "https://…"')
    if table.has("bundle") and table.has("url"):
        table.fault("url", "and bundle: policy comes from exactly one of them", "keep one of the two")
    table.belongs("bundle", "reload_s")
    table.belongs(
        "url", "headers_env", "headers_file", "min_delay_s", "max_delay_s", "long_polling_timeout_s", "timeout_s"
    )
    config = PolicyConfig(
        bundle=bundle,
        server=_server(table, url, base, environ),
        verification=_signing(table, base),
        reload_s=table.take("reload_s", values.seconds(0.1, 3600), 2.0),
        deadline_s=table.take("deadline_s", values.seconds(0.001, 10), 0.25),
        shadow=table.take("shadow", values.optional(outside.path(base)), None),
    )
    table.finish()
    return config


def _server(table: Table, url: str | None, base: Path, environ: Mapping[str, str]) -> ServerConfig | None:
    max_delay_s = table.take("max_delay_s", values.seconds(0.1, 86_400), 120.0)
    config = ServerConfig(
        url=url or "",
        headers={
            **table.take("headers_env", outside.headers_from_environment(environ), {}),
            **table.take("headers_file", outside.headers_from_files(base), {}),
        },
        min_delay_s=table.take("min_delay_s", values.seconds(0.1, 86_400), min(60.0, max_delay_s)),
        max_delay_s=max_delay_s,
        long_polling_timeout_s=table.take("long_polling_timeout_s", values.optional(values.whole(1, 3600)), None),
        timeout_s=table.take("timeout_s", values.seconds(0.1, 600), 10.0),
    )
    if config.min_delay_s > config.max_delay_s:
        table.fault("min_delay_s", "is more than max_delay_s", "lower it, or raise max_delay_s (default 120)")
    return config if url is not None else None


def _signing(table: Table, base: Path) -> Verification | None:
    signing = table.table("signing")
    keys = tuple(_key(each, base) for each in signing.optional_tables("key"))
    required = signing.take("required", values.boolean, bool(keys) or table.has("url"))
    if required and not keys and not signing.has("key"):
        what = "is missing, and bundles that come over a network must be signed" if table.has("url") else "is missing"
        signing.fault("key", what, "add [[policy.signing.key]] with public_key, the file that verifies your bundles")
    if keys and not required:
        signing.fault("required", "is false although there are keys", "remove it, or the keys")
    for position, key in enumerate(keys):
        if key.id in {other.id for other in keys[:position]}:
            signing.fault("key", f"there is more than one with the id {key.id!r}", "give each key its own id")
    signing.finish()
    return Verification(keys) if keys else None


def _key(table: Table, base: Path) -> Key:
    algorithm = table.take("algorithm", _algorithm, signature.DEFAULT_ALGORITHM)
    none: PublicKey = b""
    key = Key(
        id=table.take("id", values.text, signature.DEFAULT_KEY_ID),
        algorithm=algorithm,
        public=table.need("public_key", _public_key(base, algorithm), none, fix='add public_key = "bundles.pub"'),
        scope=table.take("scope", values.text, ""),
    )
    table.finish()
    return key


def _algorithm(value: Any) -> str:
    name = values.text(value)
    if name.startswith("HS"):
        raise Wrong(f"is {shown(name)}, with whose key every gateway could sign policies too", "use RS256 or ES256")
    if name not in ALGORITHMS:
        raise Wrong(f"is no algorithm that bundles are signed with ({shown(name)})", did_you_mean(name, ALGORITHMS))
    return name


def _public_key(base: Path, algorithm: str) -> Callable[[Any], PublicKey]:
    def decode(value: Any) -> PublicKey:
        found = outside.path(base)(value)
        try:
            with found.open("rb") as file:
                return signature.public_key(file.read(_MAX_KEY_BYTES), algorithm)
        except OSError as error:
            raise Wrong(f"cannot be read ({found}: {error.strerror})", "correct the path") from None
        except PolicyFault as fault:
            raise Wrong(f"cannot be used ({found}): {fault.detail.rstrip('.')}", "name another file") from None

    return decode
