"""`[upstream.credentials]`: what the gateway shows to an HTTP upstream, where that has to be fetched."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from gateway.config import outside, values
from gateway.config.table import Table, Wrong, did_you_mean, shown
from gateway.upstream.credentials import endpoint
from gateway.upstream.credentials.settings import EndpointSettings, Kind, Settings

_OF_ENDPOINT = (
    "token_url", "client_id", "client_secret_env", "client_secret_file", "client_key_file", "client_key_id",
    "assertion_audience", "scope", "resource", "timeout_s",
)  # fmt: skip
_WAYS = ("client_key_file", "client_secret_env", "client_secret_file")


def decode(upstream: Table, base: Path, environ: Mapping[str, str]) -> Settings | None:
    """The table of one `[[upstream]]`, if it has one."""
    if not upstream.has("credentials"):
        return None
    table = upstream.table("credentials")
    kind = table.need("type", _kind, Kind.CLIENT_CREDENTIALS, fix='add type = "token_exchange", or another')
    if kind is Kind.PASSTHROUGH:
        audience = table.need(
            "audience", values.text, "", fix="add the upstream's own audience, which tokens must have"
        )
        for key in _OF_ENDPOINT:
            if table.has(key):
                table.fault(key, "has no effect with passthrough, which fetches nothing", "remove it")
                table.taken.add(key)
        table.finish()
        return Settings(kind, None, audience)
    settings = Settings(kind, _endpoint(table, base, environ))
    table.finish()
    return settings


def check_audiences(top: Table, found: Iterable[Settings | None], public_url: str, own: Container[str | None]) -> None:
    """Note a fault for each upstream, in their order, to which tokens would be passed on that are for the gateway:
    for a resource of `public_url`, or for one of `own`, what issuers call the gateway instead."""
    for index, settings in enumerate(found):
        if settings is None or settings.kind is not Kind.PASSTHROUGH:
            continue
        if settings.audience.startswith(public_url) or settings.audience in own:
            what = "is the gateway's own, so any client's token would go to the upstream"
            where = ("upstream", index, "credentials", "audience")
            top.faults.add(where, what, "name the upstream's own audience, or use token_exchange")


def _endpoint(table: Table, base: Path, environ: Mapping[str, str]) -> EndpointSettings:
    url = table.need("token_url", values.service_url, "", fix="add the token endpoint of your provider")
    ways = [key for key in _WAYS if table.has(key)]
    if len(ways) != 1:
        what = "is missing" if not ways else f"and {ways[1]}: the gateway proves who it is in exactly one way"
        table.fault(ways[0] if ways else _WAYS[0], what, f"give exactly one of {', '.join(_WAYS)}")
    no_secret: str | None = None
    secret = table.take("client_secret_env", values.optional(outside.secret_from_environment(environ)), no_secret)
    secret = table.take("client_secret_file", values.optional(outside.secret_from_file(base)), secret)
    table.belongs("client_key_file", "client_key_id", "assertion_audience")
    return EndpointSettings(
        url=url,
        client_id=table.need("client_id", values.text, "", fix="add the client_id of the gateway at that provider"),
        secret=secret,
        key=table.take("client_key_file", values.optional(_key(base)), no_secret),
        key_id=table.take("client_key_id", values.text, ""),
        assertion_audience=table.take("assertion_audience", values.text, url),
        scope=table.take("scope", values.text, ""),
        resource=table.take("resource", values.text, ""),
        audience=table.take("audience", values.text, ""),
        timeout_s=table.take("timeout_s", values.seconds(0.1, 60), 5.0),
    )


def _kind(value: Any) -> Kind:
    name = values.text(value)
    known = [each.value for each in Kind]
    if name not in known:
        raise Wrong(f"is no way to come by credentials ({shown(name)})", did_you_mean(name, known))
    return Kind(name)


def _key(base: Path) -> Callable[[Any], str]:
    """A file with a private key in PEM, not encrypted; what is wrong with it is told without it."""

    def decode(value: Any) -> str:
        found = outside.path(base)(value)
        try:
            pem = found.read_bytes()[: 1 << 16].decode()
            endpoint.algorithm(pem)
        except OSError as error:
            raise Wrong(f"cannot be read ({found}: {error.strerror})", "correct the path") from None
        except (ValueError, TypeError):
            fix = "write an unencrypted RSA (2,048 bits), P-256 or Ed25519 key in PEM: openssl genpkey"
            raise Wrong(f"is no private key that the gateway can use ({found})", fix) from None
        return pem

    return decode
