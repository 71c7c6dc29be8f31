"""Decodes what the configuration names outside itself: paths, programs, environment variables and secrets.

Functions take the base directory or the environment first and return the decoder. A secret is never part of a message;
the name of its variable or file is.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.config import values
from gateway.config.table import Wrong, shown
from gateway.core.errors import ConfigFault
from gateway.store import keys as store_keys

BASE_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""What every stdio upstream gets of the gateway's environment: nothing here is a secret."""

OWN_HEADERS = frozenset(
    {"accept", "connection", "content-length", "content-type", "host", "last-event-id", "te", "transfer-encoding"}
)
"""Request headers that the gateway itself writes, beside `Mcp-*`."""

_MAX_SECRET_BYTES = 16_384
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def path(base: Path) -> Callable[[Any], Path]:
    """A path, relative to the configuration file."""
    return lambda value: Path(os.path.normpath(base / values.text(value)))


def new_file(base: Path) -> Callable[[Any], Path]:
    """A file that exists or can be made: its directory is there."""

    def decode(value: Any) -> Path:
        found = path(base)(value)
        if found.is_dir():
            raise Wrong(f"is a directory ({found})", "name a file in it")
        if not found.parent.is_dir():
            raise Wrong(f"is in a directory that does not exist ({found.parent})", f"mkdir -p {found.parent}")
        return found

    return decode


def directory(base: Path) -> Callable[[Any], Path]:
    """A directory that is there."""

    def decode(value: Any) -> Path:
        found = path(base)(value)
        if not found.is_dir():
            raise Wrong(f"is not a directory ({found})", "correct the path")
        return found

    return decode


def bundle(base: Path) -> Callable[[Any], Path]:
    """A policy bundle: a readable file, or a directory of Rego. What it holds is checked when it is admitted."""

    def decode(value: Any) -> Path:
        found = path(base)(value)
        if not found.exists():
            raise Wrong(f"does not exist ({found})", "correct the path, or make one with `phigate init`")
        if not os.access(found, os.R_OK):
            raise Wrong(f"cannot be read ({found})", f"chmod u+r {found}")
        return found

    return decode


def keys(directory: Path) -> tuple[str, list[tuple[str, str]]]:
    """The name of the log that a key directory is for (empty when unknown), and every fault of it with its fix."""
    if not directory.is_dir():
        return "", [(f"is not a directory ({directory})", "make keys with `phigate init`, or correct the path")]
    try:
        faults = list(_loose(directory))
    except OSError as error:
        return "", [(f"cannot be read ({error.strerror})", f"run phigate as the owner of {directory}")]
    try:
        return store_keys.load_verifier(directory).name, faults
    except ConfigFault:
        return "", [*faults, (f"holds no keys ({directory})", "make keys with `phigate init`, or restore your backup")]


def _loose(directory: Path) -> Iterator[tuple[str, str]]:
    """Which of the secrets other users of the machine may read, and the command that mends it."""
    for found in store_keys.loose(directory):
        wanted = "700" if found.is_dir() else "600"
        yield f"can be read by other users of this machine ({found})", f"chmod {wanted} {found}"


def command(base: Path, environ: Mapping[str, str]) -> Callable[[Any], str]:
    """A program: a path, relative to the configuration file, or a name that is looked up in PATH."""

    def decode(value: Any) -> str:
        name = values.text(value)
        found = shutil.which(str(path(base)(name)) if "/" in name else name, path=environ.get("PATH", os.defpath))
        if found is None:
            raise Wrong(f"is no program that can be run ({shown(name)})", "install it, or write its full path")
        return found

    return decode


def launcher(base: Path, environ: Mapping[str, str]) -> Callable[[Any], tuple[str, ...]]:
    """A program with the arguments that stand before the command it is to start."""

    def decode(value: Any) -> tuple[str, ...]:
        words = values.arguments(value)
        if not words:
            raise Wrong("is empty", 'for example ["bwrap", "--ro-bind", "/", "/", "--unshare-net"]')
        return (command(base, environ)(words[0]), *words[1:])

    return decode


def base_environment(environ: Mapping[str, str]) -> Mapping[str, str]:
    """What every stdio upstream gets of the environment."""
    return {name: environ[name] for name in BASE_ENVIRONMENT if name in environ}


def environment(environ: Mapping[str, str]) -> Callable[[Any], Mapping[str, str]]:
    """Names of variables that a stdio upstream gets beside the base ones."""

    def decode(value: Any) -> Mapping[str, str]:
        found = {name: _variable(environ, name) for name in values.array(value)}
        return {**base_environment(environ), **found}

    return decode


def secret_variable(environ: Mapping[str, str]) -> Callable[[Any], str]:
    """The value of the variable that is named."""
    return lambda value: _variable(environ, value)


def headers_from_environment(environ: Mapping[str, str]) -> Callable[[Any], Mapping[str, str]]:
    """Header name -> the variable that holds its value."""
    return lambda value: {
        _header(name): _secret(_variable(environ, source), f"variable {shown(source)}")
        for name, source in values.table(value).items()
    }


def headers_from_files(base: Path) -> Callable[[Any], Mapping[str, str]]:
    """Header name -> the file that holds its value; white space at the file's ends does not count."""
    return lambda value: {_header(name): _content(path(base)(source)) for name, source in values.table(value).items()}


def secret_from_environment(environ: Mapping[str, str]) -> Callable[[Any], str]:
    """The secret in a variable that is named."""
    return lambda value: _secret(_variable(environ, value), f"variable {shown(value)}")


def secret_from_file(base: Path) -> Callable[[Any], str]:
    """The secret in a file that is named; white space at the file's ends does not count."""
    return lambda value: _content(path(base)(value))


def _content(found: Path) -> str:
    try:
        with found.open("rb") as file:
            data = file.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise Wrong(f"names a file that cannot be read ({found}: {error.strerror})", "correct the path") from None
    return _secret(data.decode("latin-1").strip(), f"file {found}")


def _variable(environ: Mapping[str, str], name: Any) -> str:
    if not _VARIABLE.fullmatch(values.text(name)):
        raise Wrong("must name environment variables, not hold their values", 'for example "EHR_AUTHORIZATION"')
    if name not in environ:
        if name != name.upper():  # Many a key of an API would be a name too.
            what = "names a variable that is not set; it is not repeated, because it may be the secret itself"
            raise Wrong(what, "export it, or write the name of a variable that holds the secret")
        raise Wrong(f"names the variable {name}, which is not set", f"export {name}, or correct the name")
    return environ[name]


def _secret(value: str, source: str) -> str:
    """A header value from outside; what is wrong with it is told without it."""
    if not value or len(value) > _MAX_SECRET_BYTES or not value.isascii() or not value.isprintable():
        raise Wrong(f"has a value that cannot be sent in a header ({source})", "use one line of printable ASCII")
    return value


def _header(name: str) -> str:
    if not _HEADER.fullmatch(name):
        raise Wrong(f"holds what is not a header name ({shown(name)})", 'for example "Authorization"')
    if name.lower() in OWN_HEADERS or name.lower().startswith("mcp-"):
        raise Wrong(f"holds {name}, which the gateway writes itself", "remove it")
    return name
