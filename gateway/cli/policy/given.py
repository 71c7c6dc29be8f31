"""The policy and the input that a command is given: `-d`, `-b`, `-i` and `-I`, as `opa eval` takes them.

A directory is read as a bundle is: `*.rego` and `data.json` or `data.yaml`, whose directory is the data's path. Other
JSON and YAML (schemas, test cases, inputs) lies beside policies too, and is data only where it is named itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import located
from gateway.core.policy.bundle import Bundle, Source
from gateway.core.types import Document, Json
from gateway.pdp import loader

INPUT_MAX = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Given:
    """Sources, each under the name by which its author can open it, and base data."""

    sources: tuple[Source, ...] = field(repr=False)
    data: Document = field(repr=False)


def add_policy(verb: argparse.ArgumentParser) -> None:
    """Let a verb be told which policy to load; without it, the shipped library is."""
    verb.add_argument(
        "-d",
        "--data",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a directory of policies and data.json or data.yaml files, or one .rego, .json or .yaml file; repeatable",
    )
    verb.add_argument(
        "-b",
        "--bundle",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a bundle file, or a directory as one; repeatable (default: the shipped library)",
    )


def add_input(verb: argparse.ArgumentParser) -> None:
    """Let a verb be told its input document."""
    verb.add_argument("-i", "--input", metavar="FILE", help="input document, JSON or YAML; - is standard input")
    verb.add_argument("-I", "--stdin-input", action="store_true", help="read the input document from standard input")


def policy(arguments: argparse.Namespace) -> Given | None:
    """What `-d` and `-b` name, together; None when neither was given. Raises PolicyFault."""
    parts = [_bundle(path) for path in arguments.bundle] + [_data(path) for path in arguments.data]
    return joined(parts) if parts else None


def shipped() -> Given:
    """The library that comes with phigate."""
    return of(bundles.read(loader.shipped()))


def of(bundle: Bundle) -> Given:
    """A bundle's sources and data, under the bundle's own names."""
    return Given(bundle.sources, bundle.data)


def input_text(arguments: argparse.Namespace) -> bytes | None:
    """The input document as JSON text, None when none was given. Raises PolicyFault when it is none."""
    name = "-" if arguments.stdin_input else arguments.input
    if arguments.stdin_input and arguments.input is not None:
        raise PolicyFault("Say either --input or --stdin-input: there is one input document.")
    if name is None:
        return None
    try:
        content = sys.stdin.buffer.read(INPUT_MAX + 1) if name == "-" else _read(Path(name), INPUT_MAX)
    except OSError as fault:
        raise PolicyFault(f"{name} cannot be read: {fault.strerror}.") from None
    told = "standard input" if name == "-" else name
    if len(content) > INPUT_MAX:
        raise PolicyFault(f"{told} is larger than the {INPUT_MAX} bytes that an input may have.")
    value = _document(told, content, yaml=name.endswith((".yaml", ".yml")))
    try:
        return orjson.dumps(value)
    except TypeError:
        raise PolicyFault(f"{told} is nested deeper than the engine reads (128 levels).") from None


def _read(path: Path, most: int) -> bytes:
    """The file's bytes, at most one more than `most`, so that a larger one is not read whole."""
    with path.open("rb") as file:
        return file.read(most + 1)


def _document(name: str, content: bytes, *, yaml: bool) -> Json:
    if yaml:
        return located.parse(name, content).json
    try:
        value: Json = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise PolicyFault(f"{name}:{fault.lineno}:{fault.colno}: not JSON: {fault.msg}.") from None
    return value


def _bundle(path: Path) -> Given:
    given = of(loader.read(path))
    if not path.is_dir():
        return given
    return Given(tuple(replace(source, path=str(path / source.path)) for source in given.sources), given.data)


def _data(path: Path) -> Given:
    try:
        if path.is_dir():
            return _directory(path)
        content = _read(path, bundles.UNPACKED_MAX)
    except OSError as fault:
        raise PolicyFault(f"{path} cannot be read: {fault.strerror}.") from None
    if len(content) > bundles.UNPACKED_MAX:
        raise PolicyFault(f"{path} is larger than the {bundles.UNPACKED_MAX} bytes that are read of policies and data.")
    if path.suffix == ".rego":
        try:
            return Given((Source(str(path), content.decode()),), {})
        except UnicodeDecodeError:
            raise PolicyFault(f"{path} is not UTF-8 text.") from None
    if path.suffix not in (".json", ".yaml", ".yml"):
        raise PolicyFault(f"{path} is no .rego, .json or .yaml file. A bundle file is named with -b.")
    value = _document(str(path), content, yaml=path.suffix != ".json")
    if not isinstance(value, dict):
        raise PolicyFault(f"{path} holds no object, so that its data has no names.")
    return Given((), value)


def _directory(directory: Path) -> Given:
    """As a bundle of everything below `directory`, whatever a manifest there says it owns."""
    files: dict[str, bytes] = {}
    size = 0
    for path in sorted(directory.rglob("*")):
        if bundles.is_part(path.name) and path.name != bundles.MANIFEST and path.is_file():
            files[path.relative_to(directory).as_posix()] = content = _read(path, bundles.UNPACKED_MAX)
            size += len(content)
            if size > bundles.UNPACKED_MAX or len(files) > bundles.FILES_MAX:
                raise PolicyFault(
                    f"{directory} holds more than a bundle may. Name the directory of the policies alone."
                )
    if not files:
        raise PolicyFault(f"{directory} holds no .rego, data.json or data.yaml file.")
    bundle = bundles.read(bundles.build(files))
    return Given(tuple(replace(source, path=str(directory / source.path)) for source in bundle.sources), bundle.data)


def joined(parts: Iterable[Given]) -> Given:
    sources: dict[str, Source] = {}
    data: Document = {}
    for part in parts:
        sources.update({os.path.normpath(source.path): source for source in part.sources})
        data = _merged(data, part.data, ())
    return Given(tuple(sources.values()), data)


def _merged(held: Document, more: Document, at: tuple[str, ...]) -> Document:
    """Both documents as one. Raises PolicyFault where they give one path two values."""
    whole = dict(held)
    for key, value in more.items():
        there = whole.get(key)
        if key not in whole or there == value:
            whole[key] = value
        elif isinstance(there, dict) and isinstance(value, dict):
            whole[key] = _merged(there, value, (*at, key))
        else:
            raise PolicyFault(f"Two of the files give data.{'.'.join((*at, key))} a value, and not the same one.")
    return whole
