"""What `phigate policy test` reads: policy from one or more places, and the cases that lie beside it."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from gateway.cli.policy import shared
from gateway.core.errors import PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy import cases, located
from gateway.core.policy.bundle import Source
from gateway.core.types import Document
from gateway.pdp import loader, suite

CASE_FILES_MAX = 2_000

_Seen = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Tested:
    """A policy and its cases. Files have the names under which whoever runs the tests finds them."""

    sources: tuple[Source, ...]
    data: Document = field(repr=False)
    cases: dict[str, str] = field(repr=False)


def read(paths: list[Path], ignore: list[str]) -> Tested:
    """The policy at `paths` (directories, files or bundles), less what a pattern in `ignore` matches, with its cases.

    Raises PolicyFault when it cannot be read, does not fit together, or a case file has faults.
    """
    files: dict[str, bytes] = {}
    shown: dict[str, str] = {}
    listed: dict[str, bytes] = {}
    for path in paths:
        try:
            for name, content in _parts(path).items():
                if _ignored(name, ignore) or (name == bundles.MANIFEST and len(paths) > 1):
                    continue
                if files.get(name, content) != content:
                    raise PolicyFault(f"{path} has another {name} than {shown[name]}. Test them one after the other.")
                files[name] = content
                shown[name] = str(path) if path.is_file() and _is_source(path) else _shown(path, name)
            listed |= {str(file): _content(file) for file in _cases(path, ignore)}
        except OSError as fault:
            raise PolicyFault(f"{fault.filename or path} cannot be read: {fault.strerror}.") from None
    bundle = bundles.read(bundles.build(files))
    shared.refuse_unparsable(bundle)
    list(suite.read_cases(listed))
    return Tested(
        tuple(Source(shown[source.path], source.text) for source in bundle.sources),
        bundle.data,
        {path: content.decode("utf-8-sig") for path, content in listed.items()},
    )


def fingerprint(paths: list[Path]) -> _Seen:
    """What differs once a file was written that the tests depend on."""
    listed = [file for path in paths if path.is_dir() for file in _cases(path, [])]
    found: list[tuple[str, int, int]] = []
    for path in [*paths, *listed]:
        found += loader.fingerprint(path)
    return tuple(found)


def _parts(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return loader.sources(path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise PolicyFault(f"{path} is neither a file nor a directory.")
    if _is_source(path):
        if path.stat().st_size > bundles.SOURCE_MAX:
            raise PolicyFault(f"{path} is larger than {bundles.SOURCE_MAX} bytes.")
        return {path.name: path.read_bytes()}
    return dict(loader.read(path).files)


def _cases(path: Path, ignore: Iterable[str]) -> Iterator[Path]:
    if not path.is_dir():
        return
    found = sorted(file for file in path.rglob("*") if cases.is_cases(file.name) and file.is_file())
    if len(found) > CASE_FILES_MAX:
        raise PolicyFault(f"{path} holds more than {CASE_FILES_MAX} files of cases.")
    yield from (file for file in found if not _ignored(file.relative_to(path).as_posix(), ignore))


def _content(file: Path) -> bytes:
    if file.stat().st_size > located.SIZE_MAX:
        raise PolicyFault(f"{file}: larger than {located.SIZE_MAX} bytes. Split it into several files.")
    return file.read_bytes()


def _is_source(path: Path) -> bool:
    return bundles.is_part(path.name)


def _shown(path: Path, name: str) -> str:
    return str(path / name) if path.is_dir() else name


def _ignored(name: str, ignore: Iterable[str]) -> bool:
    """Whether a pattern matches the path, or the name of the file or of a directory in it."""
    return any(fnmatch(part, pattern) for pattern in ignore for part in (name, *name.split("/")))
