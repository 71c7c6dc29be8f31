"""The configuration: one TOML file read into frozen values that are believed afterwards.

`load` names every fault at once, each with file, line, what it means and the fix, and starts nothing. Secrets are read
here from the environment and from files, are never part of a `repr`, and never stand in a message. Relative paths are
relative to the file. docs/configuration.md describes every key (a test compares both).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gateway.config import (
    authority,
    credentials,
    evidence,
    ingress,
    issuer,
    login,
    policy,
    saml,
    telemetry,
    upstream,
    values,
)
from gateway.config.evidence import EvidenceConfig
from gateway.config.ingress import IngressConfig
from gateway.config.policy import PolicyConfig
from gateway.config.table import Faults, Table, lines
from gateway.config.upstream import AggregateConfig, UpstreamConfig
from gateway.core.errors import ConfigFault
from gateway.core.protocol.jsonrpc import DEPTH_CEILING
from gateway.core.types import Document
from gateway.identity.authority.settings import AuthorityConfig
from gateway.identity.code_flow import CodeFlowConfig
from gateway.identity.saml.settings import SamlConfig
from gateway.identity.settings import IssuerConfig
from gateway.process import LogFormat
from gateway.telemetry.settings import TelemetryConfig

T = TypeVar("T")

MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """The listening side. Times in seconds, sizes in bytes."""

    host: str
    port: int
    public_url: str
    """Origin under which clients reach us, without a trailing slash: RFC 9728 `resource` and review links start so."""
    workers: int
    allowed_hosts: frozenset[str]
    """`Host` header values, lower case, with the port when it is not the scheme's own."""
    allowed_origins: frozenset[str]
    """`Origin` header values that a browser may send."""
    drain_s: float
    hold_s: float
    keepalive_s: float
    max_request_bytes: int
    max_depth: int
    max_in_flight: int
    """Requests of one principal that each worker serves at a time."""
    reload_s: float
    """How often a running gateway looks for other upstreams in its file."""
    drain_delay_s: float
    """How long a stopping gateway goes on serving after it has said that it is not ready."""
    ingress: IngressConfig
    log_format: LogFormat
    access_log: bool
    """A line for each HTTP request."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration, checked."""

    file: Path
    gateway: GatewayConfig
    evidence: EvidenceConfig
    policy: PolicyConfig
    issuers: tuple[IssuerConfig, ...]
    authority: AuthorityConfig | None
    logins: tuple[CodeFlowConfig, ...]
    saml: SamlConfig | None
    upstreams: tuple[UpstreamConfig, ...]
    aggregates: tuple[AggregateConfig, ...]
    telemetry: TelemetryConfig

    def resource(self, upstream: str) -> str:
        """The resource URL of an upstream (RFC 8707): where clients call it, and what tokens must be for."""
        return f"{self.gateway.public_url}/mcp/{upstream}"

    def scopes(self, name: str) -> tuple[str, ...]:
        """The scopes that a token must hold at an upstream, or at an aggregate: all that its upstreams require."""
        members = next((each.upstreams for each in self.aggregates if each.name == name), (name,))
        required = [each.required_scopes for each in self.upstreams if each.name in members]
        return tuple(dict.fromkeys(scope for scopes in required for scope in scopes))


def load(path: Path, *, environ: Mapping[str, str] | None = None) -> Config:
    """Read and check the configuration at `path`; `environ` is where secrets are looked up (default: the process's).

    Raises ConfigFault whose detail lists every fault, each as `file:line: setting: what. Fix: how.`
    """
    known = os.environ if environ is None else environ
    return _read(path, lambda top: _config(top, path.absolute(), known), "started")


def evidence_at(path: Path) -> EvidenceConfig:
    """Where evidence and its keys are, whatever else the file says. Raises ConfigFault as `load`.

    Who looks into the record has neither the gateway's secrets nor the programs of its upstreams.
    """
    return _read(path, lambda top: evidence.decode(top.table("evidence"), path.absolute().parent, os.environ), "done")


def policy_at(path: Path) -> PolicyConfig:
    """Where the policy is, whatever else the file says. Raises ConfigFault as `load`."""
    return _read(path, lambda top: policy.decode(top.table("policy"), path.absolute().parent, os.environ), "done")


def _read(path: Path, decode: Callable[[Table], T], undone: str) -> T:
    faults = Faults(path)
    top = Table((), _parse(path, faults), faults)
    if not faults.found:
        found = decode(top)
        if not faults.found:
            return found
    texts = faults.texts()
    head = f"{len(texts)} fault{'s' * (len(texts) != 1)} in the configuration; nothing was {undone}."
    raise ConfigFault("\n".join([head, *texts]))


def _parse(path: Path, faults: Faults) -> Document:
    """The file's tables; empty with a fault noted when it cannot be read or is not TOML."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            faults.add((), f"is larger than {MAX_FILE_BYTES} bytes", "name a phigate configuration file")
            return {}
        text = data.decode()
        document = tomllib.loads(text)
        faults.lines = lines(text)
        return document
    except FileNotFoundError:
        raise ConfigFault(f"There is no {path}. Name yours with -c, or make one with `phigate init`.") from None
    except OSError as error:
        fix = "check the path and its permissions, or name another file with -c"
        faults.add((), f"cannot be read ({error.strerror})", fix)
    except UnicodeDecodeError:
        faults.add((), "is not UTF-8 text", "save it as UTF-8")
    except tomllib.TOMLDecodeError as error:
        what, line = values.toml_error(str(error))
        faults.lines = {("syntax",): line}
        faults.add(("syntax",), f"is not TOML: {what}", "correct this line; https://toml.io shows the notation")
    except ValueError:  # Python converts no number of more than 4,300 digits.
        faults.add((), "holds a number that is too long to be read", "write a number in its range")
    except RecursionError:
        faults.add((), "is nested too deeply", "write it flat, as docs/configuration.md shows")
    return {}


def _config(top: Table, path: Path, environ: Mapping[str, str]) -> Config:
    base = path.parent
    upstreams = upstream.decode(top, base, environ)
    aggregates = upstream.aggregates(top, upstreams)
    gateway = _gateway(top.table("gateway"), base)
    issuers = issuer.decode(top, base, environ, loopback=values.is_loopback(gateway.host))
    own = {each.audience for each in issuers}
    credentials.check_audiences(top, [each.credentials for each in upstreams], gateway.public_url, own)
    logins = login.decode(top, issuers, base, environ)
    config = Config(
        file=path,
        gateway=gateway,
        evidence=evidence.decode(top.table("evidence"), base, environ),
        policy=policy.decode(top.table("policy"), base, environ),
        issuers=issuers,
        authority=authority.decode(
            top,
            base,
            environ,
            issuers=frozenset(each.url for each in issuers),
            doors=frozenset([*(each.name for each in upstreams), *(each.name for each in aggregates)]),
            public_url=gateway.public_url,
        ),
        logins=logins,
        saml=saml.decode(top, issuers, logins, base, environ, public_url=gateway.public_url),
        upstreams=upstreams,
        aggregates=aggregates,
        telemetry=telemetry.decode(top, base, environ),
    )
    top.finish()
    return config


def _gateway(table: Table, base: Path) -> GatewayConfig:
    host, port = table.take("listen", values.listen, ("127.0.0.1", 8080))
    local = f"http://{values.bracketed(host)}:{port}"
    public = table.take("public_url", values.public_url, values.origin(local))
    if not table.has("public_url") and not values.is_loopback(host):
        what = "is missing, and clients elsewhere cannot be told a resource URL made from the listening address"
        table.fault("public_url", what, 'add public_url = "https://…", the address clients use')
    none: frozenset[str] = frozenset()
    own_hosts = {values.host_of(url) for url in (public, local)}
    if values.is_loopback(host):
        own_hosts |= {values.host_of(f"http://{name}:{port}") for name in ("localhost", "127.0.0.1")}
    config = GatewayConfig(
        host=host,
        port=port,
        public_url=public,
        workers=table.take("workers", values.whole(1, 256), 1),
        allowed_hosts=frozenset(own_hosts) | table.take("allowed_hosts", values.each(values.host_header), none),
        allowed_origins=frozenset({public}) | table.take("allowed_origins", values.each(values.origin), none),
        drain_s=table.take("drain_s", values.seconds(0, 3600), 30.0),
        hold_s=table.take("hold_s", values.seconds(0, 3600), 45.0),
        keepalive_s=table.take("keepalive_s", values.seconds(1, 300), 15.0),
        max_request_bytes=table.take("max_request_bytes", values.whole(1024, 1 << 30), 4 << 20),
        max_depth=table.take("max_depth", values.whole(8, DEPTH_CEILING), 64),
        max_in_flight=table.take("max_in_flight", values.whole(1, 1 << 20), 512),
        reload_s=table.take("reload_s", values.seconds(0.1, 3600), 2.0),
        drain_delay_s=table.take("drain_delay_s", values.seconds(0, 600), 0.0),
        ingress=ingress.decode(table, base),
        log_format=table.take("log_format", telemetry.log_format, LogFormat.TEXT),
        access_log=table.take("access_log", values.boolean, False),
    )
    table.finish()
    return config
