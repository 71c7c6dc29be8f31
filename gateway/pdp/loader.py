"""Where policy comes from: sources or a bundle on disk, admitted, put on record, then swapped in between two decisions.

A bundle that cannot be read or is not admitted changes nothing: the one before keeps deciding, and `ActivePolicy.fault`
says why the newest is not in use.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from importlib import resources
from pathlib import Path

import trio

from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy.bundle import Bundle
from gateway.pdp import admission
from gateway.pdp.engine import DEADLINE_S, Pdp

logger = logging.getLogger("phigate.policy")

SHIPPED = "library.tar.gz"
WATCH_S = 1.0

_Seen = tuple[tuple[str, int, int], ...]


def shipped() -> bytes:
    """The bundle that comes with phigate: what `policies/` of this version builds to."""
    return resources.files("gateway.pdp").joinpath(SHIPPED).read_bytes()


def read(path: Path) -> Bundle:
    """The bundle at `path`: a bundle file, or a directory of sources, which is built in memory.

    Raises PolicyFault when it cannot be read or is no bundle.
    """
    try:
        if path.is_dir():
            return bundles.read(bundles.build(sources(path)))
        if path.stat().st_size > bundles.ARCHIVE_MAX:
            raise PolicyFault(f"{path} is larger than the {bundles.ARCHIVE_MAX} bytes that a bundle may have.")
        return bundles.read(path.read_bytes())
    except OSError as fault:
        raise PolicyFault(f"{path} cannot be read: {fault.strerror}.") from None


def sources(directory: Path) -> dict[str, bytes]:
    """The files below `directory` that belong into a bundle, by their path within it.

    Raises PolicyFault when there is no Rego among them, or more than a bundle may hold.
    """
    files: dict[str, bytes] = {}
    size = 0
    for path in _parts(directory):
        size += path.stat().st_size
        if size > bundles.UNPACKED_MAX or len(files) >= bundles.FILES_MAX:
            raise PolicyFault(f"{directory} holds more than a bundle may. Name the directory of the policies alone.")
        files[path.relative_to(directory).as_posix()] = path.read_bytes()
    if not any(name.endswith(".rego") for name in files):
        raise PolicyFault(f"{directory} holds no .rego file. `phigate init` writes a starter policy.")
    return files


def unpack(bundle: Bundle, directory: Path) -> list[Path]:
    """Write the sources of `bundle` below `directory`, which need not exist, and return their paths.

    The manifest loses its revision, which edited sources would belie. Raises PolicyFault when one of the files exists
    already: nobody's edits are overwritten.
    """
    targets = {directory / name: content for name, content in bundles.unrevised(bundle).items()}
    for target in targets:
        if target.exists():
            raise PolicyFault(f"{target} exists already. Choose an empty directory.")
    for target, content in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    return list(targets)


class ActivePolicy:
    """The policy in force. `current` is replaced between two decisions, never during one, on the loop's thread."""

    def __init__(
        self, path: Path, *, on_activate: Callable[[Bundle], Awaitable[None]], deadline_s: float = DEADLINE_S
    ) -> None:
        """`on_activate` puts a bundle on record and archives it; only when it has returned does the bundle decide."""
        self._path = path
        self._on_activate = on_activate
        self._deadline_s = deadline_s
        self._current: Pdp | None = None
        self._seen: _Seen = ()
        self.fault: str | None = None
        """Why what lies at the path is not in use; None when it is."""

    @property
    def current(self) -> Pdp:
        """The PDP that decides now. Raises PolicyFault before `start` has returned."""
        if self._current is None:
            raise PolicyFault("No policy has been activated yet.")
        return self._current

    async def start(self) -> None:
        """Activate what lies at the path. Raises PolicyFault when it cannot be: there is no older one to keep."""
        self._seen = fingerprint(self._path)
        await self._activate(await trio.to_thread.run_sync(read, self._path))

    def close(self) -> None:
        """Let go of the engine, on the thread that made it: it may not be dropped by a collection on another."""
        self._current = None

    async def watch(self, *, every_s: float = WATCH_S) -> None:
        """Look at the path for ever and activate what is new; run it in a nursery that is cancelled to stop it."""
        while True:
            await trio.sleep(every_s)
            await self.reload()

    async def reload(self) -> bool:
        """Activate what lies at the path if it changed since the last look. True when another bundle decides now."""
        seen = await trio.to_thread.run_sync(fingerprint, self._path)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            found = await trio.to_thread.run_sync(read, self._path)
            if found.digest != self.current.bundle:
                await self._activate(found)
                return True
            self.fault = None
        except PolicyFault as fault:
            self.fault = fault.detail
            logger.error("the policy at %s is not used and the one before stays: %s", self._path, fault.detail)
        except EvidenceFault as fault:
            self.fault = f"It could not be put on record: {fault.detail}"
            self._seen = ()  # To be tried again with the next look: it is the evidence that is at fault, not the file.
        return False

    async def _activate(self, bundle: Bundle) -> None:
        await trio.to_thread.run_sync(admission.admit, bundle)
        pdp = Pdp(bundle, deadline_s=self._deadline_s)
        try:
            await self._on_activate(bundle)
            self._current = pdp
        finally:
            del pdp  # Or a fault's traceback would hold it, and a collection on another thread may not free an engine.
        self.fault = None
        logger.info("policy %s is in force: bundle %s", bundle.manifest.revision, bundle.digest)


def fingerprint(path: Path) -> _Seen:
    """What differs once the file, or a policy file below the directory, was written; empty when unreadable."""
    try:
        parts = _parts(path) if path.is_dir() else [path]
        return tuple((str(part), part.stat().st_mtime_ns, part.stat().st_size) for part in parts)
    except OSError:
        return ()  # Being replaced, or gone: different from before, and `read` will say what it is.


def _parts(directory: Path) -> list[Path]:
    manifest = directory / bundles.MANIFEST
    found = [path for path in directory.rglob("*") if bundles.is_part(path.name) and path.is_file()]
    return sorted([*found, manifest] if manifest.is_file() else found)
