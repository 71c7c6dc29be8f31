"""Where policy comes from: verified, admitted, put on record, then swapped in between two decisions.

A bundle that cannot be read, is not signed as wanted or is not admitted changes nothing: the one before keeps deciding,
and `ActivePolicy.status` says why the newest is not in use.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import trio

from gateway.core.errors import EvidenceFault, PolicyFault
from gateway.core.policy import bundle as bundles
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.signature import Verification
from gateway.pdp import admission, server
from gateway.pdp.admission import Admit
from gateway.pdp.engine import DEADLINE_S, Pdp
from gateway.pdp.status import PolicyStatus, Trouble

logger = logging.getLogger("phigate.policy")

SHIPPED = "library.tar.gz"
WATCH_S = 1.0

_Seen = tuple[tuple[str, int, int], ...]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def shipped() -> bytes:
    """The bundle that comes with phigate: what `policies/` of this version builds to."""
    return resources.files("gateway.pdp").joinpath(SHIPPED).read_bytes()


def read(path: Path) -> Bundle:
    """The bundle at `path`: a bundle file, or a directory of sources, which is built in memory.

    A directory that is signed is taken file by file as it is, or its signature would be over something else. Raises
    PolicyFault when it cannot be read or is no bundle.
    """
    try:
        if path.is_dir():
            files = sources(path)
            return bundles.read(bundles.pack(files) if bundles.SIGNATURES in files else bundles.build(files))
        with path.open("rb") as file:  # By no more than may be: what is no plain file has no size, and may never end.
            archive = file.read(bundles.ARCHIVE_MAX + 1)
    except OSError as fault:
        raise PolicyFault(f"{path} cannot be read: {fault.strerror}.") from None
    if len(archive) > bundles.ARCHIVE_MAX:
        raise PolicyFault(f"{path} is larger than the {bundles.ARCHIVE_MAX} bytes that a bundle may have.")
    return bundles.read(archive)


def sources(directory: Path, *, whole: bool = False) -> dict[str, bytes]:
    """The files below `directory` that belong into a bundle, by their path within it; all when signed, or `whole`.

    Hidden files are no part of it. Raises PolicyFault when there is no Rego among them, when one of them cannot be
    read, or when they are more than a bundle may hold.
    """
    files: dict[str, bytes] = {}
    size = 0
    for path in _parts(directory, whole=whole):
        try:
            size += path.stat().st_size
            if size > bundles.UNPACKED_MAX or len(files) >= bundles.FILES_MAX:
                raise PolicyFault(
                    f"{directory} holds more than a bundle may ({bundles.UNPACKED_MAX} bytes in {bundles.FILES_MAX} "
                    f"files), as {path} shows. Name the directory of the policies alone."
                )
            files[path.relative_to(directory).as_posix()] = path.read_bytes()
        except OSError as fault:
            raise PolicyFault(f"{path} cannot be read: {fault.strerror}.") from None
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


class Source(Protocol):
    """Where bundles come from. Both implementations are asked in turn by one task, never at once."""

    label: str
    """The path or the URL, for people."""
    remote: bool
    """Whether it is another machine's, which can be away when this one starts."""

    async def look(self) -> Bundle | None:
        """The bundle there, verified; None when nothing changed since the last look. Raises PolicyFault."""

    def believed(self, archive: bytes) -> Bundle:
        """The bundle in an archive that came from here once, verified again. Raises PolicyFault."""

    def forget(self) -> None:
        """Take what is there for new at the next look."""

    def pause_s(self) -> float:
        """How long to wait before the next look."""


class Local:
    """A bundle file or a directory of sources."""

    def __init__(self, path: Path, *, verification: Verification | None = None, every_s: float = WATCH_S) -> None:
        """Without `verification` a bundle is taken unsigned, and a signed one refused."""
        self.label = str(path)
        self.remote = False
        self._path = path
        self._verification = verification
        self._every_s = every_s
        self._seen: _Seen | None = None

    async def look(self) -> Bundle | None:
        """See Source."""
        seen = await trio.to_thread.run_sync(fingerprint, self._path)
        if seen == self._seen:
            return None
        self._seen = seen
        return await trio.to_thread.run_sync(self._read)

    def believed(self, archive: bytes) -> Bundle:
        """See Source."""
        bundle = bundles.read(archive)
        server.check(bundle, self._verification)
        return bundle

    def forget(self) -> None:
        """See Source."""
        self._seen = None

    def pause_s(self) -> float:
        """See Source."""
        return self._every_s

    def _read(self) -> Bundle:
        bundle = read(self._path)
        server.check(bundle, self._verification)
        return bundle


class ActivePolicy:
    """The policy in force. `current` is replaced between two decisions, never during one, on the loop's thread."""

    def __init__(
        self,
        source: Source,
        *,
        on_activate: Callable[[Bundle], Awaitable[None]],
        archived: Callable[[], Awaitable[bytes | None]] | None = None,
        admit: Admit = admission.admit,
        deadline_s: float = DEADLINE_S,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        """`on_activate` puts a bundle on record and archives it; only when it has returned does the bundle decide.

        `archived` gives the newest bundle that was activated from this very source, for a start while it is away.
        `admit` is asked in a thread whether a bundle may decide, as `admission.admit` is.
        """
        self._source = source
        self._on_activate = on_activate
        self._archived = archived
        self._admit = admit
        self._deadline_s = deadline_s
        self._now = now
        self._current: Pdp | None = None
        self.status = PolicyStatus(source.label)

    @property
    def fault(self) -> str | None:
        """Why the newest bundle is not in use; None when it is."""
        return self.status.message or None

    @property
    def current(self) -> Pdp:
        """The PDP that decides now. Raises PolicyFault before `start` has returned."""
        if self._current is None:
            raise PolicyFault("No policy has been activated yet.")
        return self._current

    async def start(self) -> None:
        """Activate the source's bundle, or if that cannot be, the archived one that came from there.

        Raises PolicyFault when neither can be: there is no older one to keep.
        """
        try:
            found = await self._look()
            if found is not None:
                await self._activate(found)
        except PolicyFault as fault:
            self._trouble(fault)
            archive = await self._archived() if self._archived is not None else None
            if archive is None:
                raise
            logger.error("%s Starting with the archived bundle that was last in force.", fault.detail)
            await self._activate(await trio.to_thread.run_sync(self._source.believed, archive), from_archive=True)

    def close(self) -> None:
        """Decide no more, and free the engine, on the thread that made it."""
        pdp, self._current = self._current, None
        if pdp is not None:
            pdp.close()

    async def watch(self) -> None:
        """Look at the source for ever and activate what is new; run it in a nursery that is cancelled to stop it."""
        while True:
            await trio.sleep(self._source.pause_s())
            await self.reload()

    async def reload(self) -> bool:
        """Activate the source's bundle if it changed since the last look. True when another bundle decides now."""
        try:
            found = await self._look()
            if found is None:
                if self.status.trouble is Trouble.DOWNLOAD:  # The server is back, and has what is in force.
                    self._settled()
                return False
            if found.digest != self.current.bundle:
                await self._activate(found)
                return True
            self._settled()
        except PolicyFault as fault:
            self._trouble(fault)
            logger.error("the policy at %s is not used and the one before stays: %s", self._source.label, fault.detail)
        except EvidenceFault as fault:
            self._noted(trouble=Trouble.RECORD, message=f"It could not be put on record: {fault.detail}")
            self._source.forget()  # To be tried again with the next look: it is the evidence that is at fault.
        return False

    async def _look(self) -> Bundle | None:
        self._noted(last_request=self._now(), http_code=None)
        try:
            found = await self._source.look()
        except server.Unreachable:
            raise
        except PolicyFault:
            self._noted(last_successful_request=self._now())
            raise
        self._noted(last_successful_request=self._now())
        if found is not None:
            self._noted(last_successful_download=self._now())
        return found

    async def _activate(self, bundle: Bundle, *, from_archive: bool = False) -> None:
        await trio.to_thread.run_sync(self._admit, bundle)
        pdp = Pdp(bundle, deadline_s=self._deadline_s)
        try:
            await self._on_activate(bundle)
        except BaseException:
            pdp.close()  # Or it would live on in the fault's traceback, until a collection on any thread.
            raise
        self._current = pdp  # The one before is freed with the last decision that is under way.
        self._noted(
            name=bundle.name,
            active_revision=bundle.manifest.revision,
            digest=bundle.digest,
            size=len(bundle.archive),
            from_archive=from_archive,
            last_successful_activation=self._now(),
        )
        if not from_archive:
            self._settled()
        logger.info("policy %s is in force: bundle %s", bundle.manifest.revision, bundle.digest)

    def _trouble(self, fault: PolicyFault) -> None:
        away = isinstance(fault, server.Unreachable)
        self._noted(
            trouble=Trouble.DOWNLOAD if away else Trouble.BUNDLE,
            message=fault.detail,
            http_code=fault.status if isinstance(fault, server.Unreachable) else None,
        )

    def _settled(self) -> None:
        self._noted(trouble=None, message="", http_code=None, from_archive=False)

    def _noted(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)


def fingerprint(path: Path) -> _Seen:
    """What differs once the file, or a policy file below the directory, was written; empty when unreadable."""
    try:
        parts = _parts(path) if path.is_dir() else [path]
        return tuple((str(part), part.stat().st_mtime_ns, part.stat().st_size) for part in parts)
    except (OSError, PolicyFault):
        return ()  # Being replaced, or gone: different from before, and `read` will say what it is.


def _parts(directory: Path, *, whole: bool = False) -> list[Path]:
    """The files that `sources` reads, in order. Raises PolicyFault for what looks like one and is no plain file."""
    whole = whole or (directory / bundles.SIGNATURES).is_file()
    found = [path for name in (bundles.MANIFEST, bundles.SIGNATURES) if (path := directory / name).is_file()]
    for path in directory.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(directory).parts):
            continue  # An editor's, git's, or where Kubernetes keeps what its links lead to.
        if path.is_file():
            if whole or bundles.is_part(path.name):
                found.append(path)
        elif path.is_symlink() and (bundles.is_part(path.name) or path.is_dir()):
            what = "leads to a directory" if path.is_dir() else "leads nowhere, or round in a circle"
            raise PolicyFault(f"{path} is a link that {what}. Put the files themselves there.")
        elif bundles.is_part(path.name) and not path.is_dir():
            raise PolicyFault(f"{path} is no plain file. Remove it.")
    return sorted(found)
