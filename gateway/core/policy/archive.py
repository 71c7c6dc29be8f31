"""A bundle's files as one gzipped tar and back, without a disk.

Reading trusts nothing: sizes are bounded before anything is unpacked, a name cannot leave the bundle, and only plain
files count. What writing makes depends on the files alone, so that the same files have the same digest everywhere.
Every fault is a PolicyFault.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Iterable, Mapping

from gateway.core.errors import PolicyFault

ARCHIVE_MAX = 8 * 2**20
UNPACKED_MAX = 32 * 2**20
"""Also what a bomb can cost in memory, whatever its compression ratio: inflating stops there."""
FILES_MAX = 2_000
PATH_MAX = 512

_STORED_MAX = 65_535  # RFC 1951 §3.2.4


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files, by their path.

    It is gzip with stored blocks: what deflate makes of the same input differs between zlib versions, and a digest must
    not. Raises PolicyFault for a path that no bundle may have.
    """
    return _gzip_stored(_tar(sorted(files.items())))


def unpack(archive: bytes) -> dict[str, bytes]:
    """The files in the archive by their path, in order of path. Raises PolicyFault when it cannot be read."""
    return _untar(_gunzip(archive))


def _gzip_stored(data: bytes) -> bytes:
    """RFC 1952 with RFC 1951 §3.2.4 blocks: no time, no name, no compression, so one input has one output."""
    parts = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]
    for start in range(0, len(data), _STORED_MAX):
        block = data[start : start + _STORED_MAX]
        final = start + _STORED_MAX >= len(data)
        parts.append(struct.pack("<BHH", final, len(block), len(block) ^ 0xFFFF) + block)
    parts.append(struct.pack("<II", zlib.crc32(data), len(data)))
    return b"".join(parts)


def _gunzip(archive: bytes) -> bytes:
    if len(archive) > ARCHIVE_MAX:
        raise PolicyFault(f"The bundle is {len(archive)} bytes; at most {ARCHIVE_MAX} are read.")
    inflate = zlib.decompressobj(wbits=31)
    try:
        data = inflate.decompress(archive, UNPACKED_MAX + 1)
    except zlib.error:
        raise PolicyFault("The bundle is not a gzip file. Build one with `phigate bundle build`.") from None
    if len(data) > UNPACKED_MAX:
        raise PolicyFault(f"The bundle unpacks to more than {UNPACKED_MAX} bytes.")
    if not inflate.eof or inflate.unused_data:
        raise PolicyFault("The bundle is cut short, or something follows it.")
    return data


def _tar(files: Iterable[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    # PAX writes what USTAR does, and a further header only for a path that USTAR has no room or no letters for.
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in files:
            entry = tarfile.TarInfo(_path(path))
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _untar(data: bytes) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for entry in tar:
                if not entry.isdir():
                    path = _path(entry.name)
                    if path in files or len(files) >= FILES_MAX:
                        raise PolicyFault(f"{path} is in the bundle twice, or is one file more than {FILES_MAX}.")
                    files[path] = _content(tar, entry)
            # Python's reader takes a broken header for the end; another reader might go on behind it.
            if data[tar.offset :].strip(b"\0"):
                raise PolicyFault("The bundle's tar archive has a broken header; build the bundle again.")
    except (tarfile.TarError, ValueError, OverflowError, EOFError):
        raise PolicyFault("The bundle is not a tar archive that can be read.") from None
    return dict(sorted(files.items()))


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    if not entry.isreg() or entry.issparse():
        name = entry.name[:PATH_MAX]
        raise PolicyFault(f"{name!r} in the bundle is a link or a device; only plain files are read.")
    member = tar.extractfile(entry)
    content = member.read() if member is not None else b""
    if len(content) != entry.size:
        raise PolicyFault(f"{entry.name} is cut short in the bundle.")
    return content


def _path(name: str) -> str:
    """A member's name as a relative path. `opa build` writes a leading slash; nothing may climb out."""
    path = name.removeprefix("./").removeprefix("/")
    plain = path.isprintable() and "\\" not in path and len(path) <= PATH_MAX
    if not plain or any(part in ("", ".", "..") for part in path.split("/")):
        raise PolicyFault(f"{name[:PATH_MAX]!r} is no file name for a bundle: relative, printable, no `..`.")
    return path
