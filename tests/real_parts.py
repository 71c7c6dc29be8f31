"""Real parts that we did not write, for tests: installed once from locks with hashes, kept in `.cache`.

Nothing is asked of the machine but Python: Node comes with the development environment. Each set is installed under a
name that holds the digest of its lock, so a changed lock installs anew and an unfinished install is never used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

_TESTS = Path(__file__).resolve().parent
_CACHE = _TESTS.parent / ".cache"
_INSTALL_S = 300
_PIP: tuple[str | Path, ...] = (sys.executable, "-m", "pip")
_EXACTLY = ("install", "-q", "--require-hashes", "--no-deps", "--no-compile")
"""What is in the lock, all of it and no more. Python compiles what is imported, which is little of it."""

_NPM_SETS = {
    "mcp-inspector": "clients",
    "mcp-server-everything": "servers",
    "mcp-server-filesystem": "servers",
    "mcp-server-postgres": "servers",
}
"""npm command -> the directory of `tests/node` that locks it."""


def node() -> Path:
    """The Node executable of the development environment."""
    return Path(sys.executable).parent / "node"


def environment() -> dict[str, str]:
    """An environment in which npm's commands find that Node; nothing else of ours is in it."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "PATH": f"{node().parent}{os.pathsep}{os.environ['PATH']}"}


def npm_tool(name: str) -> Path:
    """The executable that an npm package of `tests/node` installs as `name`."""
    return npm_set(_NPM_SETS[name]) / "node_modules" / ".bin" / name


def npm_set(name: str) -> Path:
    """The directory in which the packages of `tests/node/<name>` are installed, as its lock says to the byte."""
    source = _TESTS / "node" / name
    files = [source / "package.json", source / "package-lock.json"]

    def install(directory: Path) -> None:
        for file in files:
            shutil.copy(file, directory)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        # npm is configured by the user's environment (registry, proxy), so it gets all of it.
        everything = {**os.environ, "PATH": environment()["PATH"]}
        _run(command, cwd=directory, env=everything)

    return once(f"npm-{name}", files, install)


def python_tool(name: str) -> Path:
    """The executable `name` in a virtual environment of its own, locked by `tests/python/<name>.txt`."""
    return python_environment(name) / name


def python_environment(name: str) -> Path:
    """The `bin` of a virtual environment of its own, locked by `tests/python/<name>.txt`."""
    lock = _TESTS / "python" / f"{name}.txt"

    def install(directory: Path) -> None:
        venv.create(directory, symlinks=True)  # Without a pip of its own, which takes seconds: ours serves it.
        _run([*_PIP, "--python", directory / "bin" / "python", *_EXACTLY, "-r", lock], cwd=directory)

    return once(f"python-{name}", [lock], install) / "bin"


def sdist(name: str) -> Path:
    """The unpacked source distribution that `tests/python/<name>-sdist.txt` locks."""
    lock = _TESTS / "python" / f"{name}-sdist.txt"

    def install(directory: Path) -> None:
        fetch = [sys.executable, "-m", "pip", "download", "-q", "--require-hashes", "--no-deps", "--no-binary", ":all:"]
        with tempfile.TemporaryDirectory() as place:
            _run([*fetch, "-d", place, "-r", str(lock)], cwd=directory)
            (archive,) = Path(place).iterdir()
            with tarfile.open(archive) as unpacked:
                unpacked.extractall(directory, filter="data")

    (unpacked,) = (path for path in once(f"sdist-{name}", [lock], install).iterdir() if path.is_dir())
    return unpacked


def python_library(name: str) -> Path:
    """A directory for `sys.path` with what `tests/python/<name>.txt` locks, whichever Python that says it wants."""
    lock = _TESTS / "python" / f"{name}.txt"

    def install(directory: Path) -> None:
        target = ("--ignore-requires-python", "--target", directory / "lib")
        _run([*_PIP, *_EXACTLY, *target, "-r", lock], cwd=directory)

    return once(f"library-{name}", [lock], install) / "lib"


def once(name: str, files: list[Path], install: Callable[[Path], None]) -> Path:
    """A directory that `install` filled, for these contents of `files`; it is given an empty one, at its own place."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    ready = _CACHE / f"{name}-{digest}"
    done = ready / ".installed"
    _CACHE.mkdir(exist_ok=True)
    with (_CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Test processes that run at once install it once.
        if not done.exists():
            shutil.rmtree(ready, ignore_errors=True)
            ready.mkdir()
            install(ready)
            done.touch()
    return ready


def _run(command: list[str | Path], *, cwd: Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} could not install a part that the tests need:\n{done.stderr}")
