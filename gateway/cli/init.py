"""`phigate init`: a directory to serve from. Writes what is not there, and refuses to write over what is."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from gateway import config
from gateway.core.errors import ConfigFault
from gateway.core.policy import bundle as bundles
from gateway.pdp import loader
from gateway.store import keys

CONFIG = "phigate.toml"
EXAMPLE_ISSUER = "https://login.example.com"
_IGNORE = "# Secrets and evidence do not belong into version control.\nkeys/\nevidence.db*\n"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register `phigate init`."""
    text = "Write a commented configuration, keys with safe permissions and a starter policy."
    command = commands.add_parser("init", help="make a directory to serve from", description=text)
    command.add_argument("directory", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: here")
    upstream = command.add_mutually_exclusive_group()
    upstream.add_argument("--upstream-url", metavar="URL", help="MCP server to guard, over Streamable HTTP")
    upstream.add_argument("--upstream-command", metavar="COMMAND", help="MCP server to guard, started over stdio")
    command.add_argument("--upstream-name", metavar="NAME", default="upstream", help="its name, and path /mcp/NAME")
    command.add_argument("--issuer", metavar="URL", default=EXAMPLE_ISSUER, help="OIDC provider whose tokens count")
    command.add_argument("--force", action="store_true", help="write the configuration anew; never keys or policies")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the directory and say what to do next. Raises ConfigFault when that would overwrite something."""
    directory: Path = arguments.directory
    file = directory / CONFIG
    if file.exists() and not arguments.force:
        raise ConfigFault(f"{file} exists already and was left as it is. Edit it, or write it anew with --force.")
    upstream = _upstream(arguments.upstream_url, arguments.upstream_command)
    text = document(name=arguments.upstream_name, upstream=upstream, issuer=arguments.issuer)
    try:
        done = prepare(directory)
        file.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigFault(f"{error.filename or directory} cannot be written: {error.strerror}.") from None
    except UnicodeEncodeError:
        raise ConfigFault("An option holds what is not UTF-8 text; correct it and run `phigate init` again.") from None
    try:
        config.load(file)
    except ConfigFault as fault:
        detail = f"{file} was written but cannot be served yet: edit it, or give other options with --force."
        raise ConfigFault(f"{detail}\n{fault.detail}") from None
    _tell(Console(soft_wrap=True), directory, [f"{file}  the configuration, every key explained", *done], arguments)
    return 0


def prepare(directory: Path) -> list[str]:
    """Make what is missing of keys, policies and `.gitignore`; what was made, a line each. Nothing is overwritten."""
    directory.mkdir(parents=True, exist_ok=True)
    done: list[str] = []
    ignore, secrets, policies = directory / ".gitignore", directory / "keys", directory / "policies"
    if not ignore.exists():
        ignore.write_text(_IGNORE, "utf-8")
        done.append(f"{ignore}  keeps keys and evidence out of version control")
    if not (secrets.is_dir() and any(secrets.iterdir())):
        keys.generate(secrets, origin=f"{log_name(directory)}/phigate")
        done.append(f"{secrets}  signing and sealing keys: back them up, apart from the evidence")
    if not (policies.is_dir() and any(policies.iterdir())):
        loader.unpack(bundles.read(loader.shipped()), policies)
        done.append(f"{policies}  the starter policy, to be made your own")
    return done


def log_name(directory: Path) -> str:
    """A name for the log: that of the directory, as far as it can stand in one. It is chosen once, with the keys."""
    return re.sub(r"[^a-z0-9.-]+", "-", directory.absolute().name.lower()).strip("-.") or "gateway"


def _upstream(url: str | None, command: str | None) -> Mapping[str, str | list[str]]:
    """The upstream's keys in the configuration."""
    if command is None:
        return {"url": url or "http://127.0.0.1:8000/mcp"}
    try:
        program, *rest = shlex.split(command)
    except ValueError:  # Nothing in it, or a quote that does not end.
        example = '--upstream-command "python server.py"'
        raise ConfigFault(f"The upstream command cannot be read. Write it as one argument: {example}") from None
    return {"command": program, "args": rest}


def document(*, name: str, upstream: Mapping[str, str | list[str]], issuer: str) -> str:
    """The configuration as a text: what must be decided is set, everything else stands there with its default."""
    lines = "\n".join(f"{key} = {_toml(value)}" for key, value in upstream.items())
    return TEMPLATE.format(name=_toml(name), upstream=lines, issuer=_toml(issuer))


def _toml(value: str | list[str]) -> str:
    """A text or array of texts as TOML, which writes them as JSON does, less one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _tell(console: Console, directory: Path, done: list[str], arguments: argparse.Namespace) -> None:
    for line in done:
        path, _, what = line.partition("  ")
        console.print(f"  [green]wrote[/] {escape(path)}  [dim]{what}[/]", highlight=False)
    steps = []
    if arguments.issuer == EXAMPLE_ISSUER:
        steps.append(f"set [[issuer]] url in {directory / CONFIG} to your OIDC provider")
    if not (arguments.upstream_url or arguments.upstream_command):
        steps.append(f"set [[upstream]] url in {directory / CONFIG} to your MCP server")
    steps.append(f"phigate policy test {directory / 'policies'}")
    steps.append(f"phigate doctor -c {directory / CONFIG}")
    steps.append(f"phigate serve -c {directory / CONFIG}")
    console.print("\nNext:")
    for number, step in enumerate(steps, 1):
        console.print(f"  {number}. {escape(step)}", highlight=False)


TEMPLATE = """\
# phigate's configuration. docs/configuration.md describes every key; what is commented out shows its default.
# Paths are relative to this file. `phigate serve -c phigate.toml` checks all of it before anything starts.

[gateway]
listen = "127.0.0.1:8080"          # where this process listens; TLS ends at the ingress in front of it
# public_url = "https://phigate.example.com"   # the address clients use; needed to listen beyond this machine
# workers = 1                      # processes that share the evidence store
# allowed_hosts = []               # further Host headers to answer to
# allowed_origins = []             # web origins whose pages may call the gateway
# trusted_proxies = []             # networks of the ingress, which says who its client is
# drain_delay_s = 0                # how long to serve on once told to stop, until the ingress has seen it
# drain_s = 30                     # how long running calls may take to end when the gateway stops
# hold_s = 45                      # how long a client is kept waiting for an approval before it is told to ask again
# keepalive_s = 15                 # silence on a held stream is broken this often
# max_request_bytes = 4194304
# max_depth = 64                   # deepest nesting of a message
# max_in_flight = 512              # requests of one principal that a worker serves at a time
# log_format = "text"              # "json": one object a line, for log collectors
# access_log = false               # a line for each HTTP request, without its path

[evidence]
store = "evidence.db"              # everything that happened, sealed and provable; docs/postgresql.md for replicas
keys = "keys"                      # directory, mode 0700: without it evidence stays provable but unreadable
# session_idle_s = 1800            # a client that is silent for this long begins a new session

[policy]
bundle = "policies"                # directory of Rego, or a bundle made with `phigate bundle build`
# reload_s = 2                     # how often to look for a change; a bad change is refused and the old one stays
# deadline_s = 0.25                # a decision that takes longer is a denial

[metrics]
# listen = "127.0.0.1:9464"        # /metrics for Prometheus, apart from what clients use; without this, nowhere

[telemetry]
# otlp_endpoint = "https://collector.example:4318"   # traces for OpenTelemetry: pip install 'phigate[telemetry]'

[[issuer]]                         # an OIDC provider whose access tokens are accepted; there may be several
url = {issuer}
# audience = "api://phigate"       # when the provider cannot put the upstream's URL into `aud` (RFC 8707)
# algorithms = ["RS256", "PS256", "ES256", "EdDSA"]
# groups_claim = "groups"          # Keycloak: "realm_access.roles" · Entra ID: "groups" or "roles" · docs/identity/
# client_claim = "azp"             # default: client_id, else azp
# subject_claim = "sub"            # Entra ID: "oid"
# require_at_jwt = false           # refuse tokens whose header does not say at+jwt (RFC 9068)
# max_lifetime_s = 86400           # longest time from a token's iat to its exp
# clock_skew_s = 30
# jwks_max_age_s = 600             # how long the provider's keys are used before asking again
# jwks_stale_s = 3600              # how much longer when the provider cannot be asked
# jwks_refetch_s = 10              # least time between two questions that unknown keys or failures cause
# timeout_s = 5

# [[login]]                        # people sign in to the pages there; or with [saml]: docs/identity/sign-in.md
#   issuer = {issuer}
#   name = "work"                  # redirect URI: <public_url>/login/callback/work
#   client_id = "phigate-pages"
#   client_secret_env = "LOGIN_SECRET"

[[upstream]]                       # an MCP server behind the gateway, reached at /mcp/<name>; there may be several
name = {name}
{upstream}
# headers_env = {{ Authorization = "UPSTREAM_AUTHORIZATION" }}   # url only: header, variable that holds its value
# headers_file = {{ Authorization = "secrets/upstream" }}        # url only: header, file that holds its value
# allow_http = false               # url only: plain http beyond this machine, where the network itself is encrypted
# env = ["DATABASE_URL"]           # command only: variables it gets beside PATH, HOME, LANG, LC_ALL, TZ and TMPDIR
# cwd = "."                        # command only
# labels = {{ system = "ehr" }}      # what policy is told about it
# required_scopes = []             # scopes that a token must hold to be used here
# connect_s = 5
# idle_s = 60                      # longest silence while an answer is awaited
# call_s = 300
# max_response_bytes = 16777216
# max_depth = 128
# sql = {{ query = "sql" }}          # tools that take SQL, and the argument that holds it: lets policy see statements
# sql_dialect = "postgres"
# fhir = {{ search = "GET {{type}}?{{params?}}" }}   # tools that make FHIR requests: lets policy see requests
# fhir_bases = ["https://fhir.example/r4"]       # what URLs of its FHIR server begin with
"""
