"""Policy bundles in OPA's format, as values: bytes to Bundle and back, without a disk.

A bundle is a gzipped tar of `*.rego` files, `data.json` files (the directory is the data's path) and a `.manifest`.
Reading trusts nothing: sizes are bounded before anything is unpacked, names cannot leave the bundle, and data lies
under the manifest's roots. What building makes depends on the files alone, so that the same source has the same digest
on every machine. Every fault is a PolicyFault that names the file.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
import tarfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.types import Digest, Document, Json

MANIFEST = ".manifest"
TEST = "_test.rego"
SIGNATURES = ".signatures.json"
ARCHIVE_MAX = 8 * 2**20
UNPACKED_MAX = 32 * 2**20
FILES_MAX = 2_000
PATH_MAX = 200
NESTING_MAX = 64
"""Of objects in data; the engine reads 128 levels."""
SOURCE_MAX = 2**20
"""regorus refuses a policy file above 1 MiB as well."""

_STORED_MAX = 65_535  # RFC 1951 §3.2.4
_SEGMENT = re.compile(r"[A-Za-z0-9._@+-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """One Rego file."""

    path: str
    text: str = field(repr=False)

    @property
    def is_test(self) -> bool:
        """Whether it only tests: such a source is no part of what decides."""
        return self.path.endswith(TEST)


@dataclass(frozen=True, slots=True)
class Manifest:
    """`.manifest` (OPA docs, Bundle File Format). `roots` are slash paths; `""` owns everything."""

    revision: str = ""
    roots: tuple[str, ...] = ("",)
    metadata: Document = field(default_factory=dict)

    def owns(self, path: str) -> bool:
        """Whether `path` (slash-separated) lies under one of the roots."""
        return any(not root or path == root or path.startswith(f"{root}/") for root in self.roots)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that can be read; whether it may decide is for admission to say."""

    digest: Digest
    """SHA-256 of `archive`: what evidence names the bundle by, and archives it under."""
    archive: bytes = field(repr=False)
    manifest: Manifest
    sources: tuple[Source, ...]
    data: Document = field(repr=False)
    files: Mapping[str, bytes] = field(repr=False)
    """Every file by its path, the manifest too, in order of path."""

    @property
    def name(self) -> str:
        """What the bundle is called in OPA's decision log: `metadata.name` in the manifest, else `policy`."""
        name = self.manifest.metadata.get("name")
        return name if isinstance(name, str) and name else "policy"


def read(archive: bytes) -> Bundle:
    """The bundle that these bytes are. Raises PolicyFault when they are none, or more than a bundle may be."""
    files = _untar(_gunzip(archive))
    manifest = _manifest(files.get(MANIFEST, b"{}"))
    return Bundle(
        digest=Digest(hashlib.sha256(archive).hexdigest()),
        archive=archive,
        manifest=manifest,
        sources=tuple(_source(path, content) for path, content in files.items() if path.endswith(".rego")),
        data=_data(files, manifest),
        files=files,
    )


def build(files: Mapping[str, bytes], *, revision: str = "") -> bytes:
    """The bundle archive of these files; without `revision` the manifest gets one made from the files' content.

    The archive is gzip with stored blocks: what deflate makes of the same input differs between zlib versions, and a
    digest must not. Raises PolicyFault when the result could not be read back.
    """
    chosen = {path: content for path, content in files.items() if is_part(path)}
    declared = _object(files.get(MANIFEST, b"{}"), MANIFEST)
    declared.setdefault("roots", [""])
    declared["revision"] = revision or declared.get("revision") or _revision(chosen)
    chosen[MANIFEST] = _manifest_text(declared)
    archive = _gzip_stored(_tar(sorted(chosen.items())))
    read(archive)
    return archive


def unrevised(bundle: Bundle) -> dict[str, bytes]:
    """The bundle's files as sources to go on from: without the revision that this build of them has."""
    declared = {
        key: value for key, value in _object(bundle.files.get(MANIFEST, b"{}"), MANIFEST).items() if key != "revision"
    }
    return {**bundle.files, MANIFEST: _manifest_text(declared)}


def is_part(path: str) -> bool:
    """Whether a file of this name belongs into a bundle: Rego, data, and nothing else of what lies beside them."""
    name = path.rsplit("/", 1)[-1]
    return name.endswith(".rego") or name == "data.json"


def _manifest_text(declared: Document) -> bytes:
    return orjson.dumps(declared, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _revision(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for path, content in sorted(files.items()):
        whole.update(struct.pack(">II", len(path.encode()), len(content)) + path.encode() + content)
    return f"sha256:{whole.hexdigest()[:16]}"


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
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
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
                if entry.isdir():
                    continue
                if not entry.isreg() or entry.issparse():
                    raise PolicyFault(f"{entry.name!r} in the bundle is a link or a device; only plain files are read.")
                path = _path(entry.name)
                if path in files or len(files) >= FILES_MAX:
                    raise PolicyFault(f"{path} is in the bundle twice, or is one file more than {FILES_MAX}.")
                member = tar.extractfile(entry)
                files[path] = member.read() if member is not None else b""
                if len(files[path]) != entry.size:
                    raise PolicyFault(f"{path} is cut short in the bundle.")
    except (tarfile.TarError, ValueError, OverflowError, EOFError):
        raise PolicyFault("The bundle is not a tar archive that can be read.") from None
    return dict(sorted(files.items()))


def _path(name: str) -> str:
    """A member's name as a relative path. `opa build` writes a leading slash; nothing may climb out."""
    path = name.removeprefix("./").removeprefix("/")
    segments = path.split("/")
    if len(path) > PATH_MAX or not all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in segments):
        raise PolicyFault(f"{name[:PATH_MAX]!r} is no file name for a bundle: relative, plain letters, no `..`.")
    return path


def _source(path: str, content: bytes) -> Source:
    if len(content) > SOURCE_MAX:
        raise PolicyFault(f"{path} is larger than {SOURCE_MAX} bytes.")
    try:
        return Source(path, content.decode())
    except UnicodeDecodeError:
        raise PolicyFault(f"{path} is not UTF-8 text.") from None


def _manifest(content: bytes) -> Manifest:
    declared = _object(content, MANIFEST)
    revision, metadata = declared.get("revision", ""), declared.get("metadata", {})
    roots = declared.get("roots", [""])
    if declared.get("rego_version", 1) != 1 or declared.get("file_rego_versions"):
        raise PolicyFault(f"{MANIFEST}: only Rego v1 is read. Convert the sources with `opa fmt --v0-v1`.")
    if not isinstance(revision, str) or not isinstance(metadata, dict) or not isinstance(roots, list):
        raise PolicyFault(f"{MANIFEST}: `revision` is text, `metadata` an object and `roots` an array of paths.")
    paths = tuple(root.strip("/") for root in roots if isinstance(root, str))
    if len(paths) != len(roots) or not paths:
        raise PolicyFault(f"{MANIFEST}: `roots` names at least one path, and each is text.")
    for index, root in enumerate(paths):
        for other in paths[index + 1 :]:
            if not root or not other or f"{root}/".startswith(f"{other}/") or f"{other}/".startswith(f"{root}/"):
                raise PolicyFault(f"{MANIFEST}: the roots {root!r} and {other!r} overlap.")
    return Manifest(revision, paths, metadata)


def _data(files: Mapping[str, bytes], manifest: Manifest) -> Document:
    whole: Document = {}
    for path, content in files.items():
        directory, _, name = path.rpartition("/")
        if name in ("data.yaml", "data.yml"):
            raise PolicyFault(f"{path}: data is read as JSON only. Convert it to data.json.")
        if name == "data.json":
            declared = _object(content, path)
            if any(len(leaf) > NESTING_MAX for leaf in leaves(declared)):
                raise PolicyFault(f"{path}: objects are nested deeper than {NESTING_MAX}.")
            _place(whole, directory.split("/") if directory else [], declared, path)
    for leaf in leaves(whole):
        if not manifest.owns("/".join(leaf)):
            raise PolicyFault(f"The data at {'/'.join(leaf)} lies outside the bundle's roots {list(manifest.roots)}.")
    return whole


def leaves(data: Document) -> Iterable[tuple[str, ...]]:
    """The path of every value in `data` that is no object (or an empty one)."""
    waiting: list[tuple[tuple[str, ...], Json]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting.extend(((*path, key), inner) for key, inner in value.items())
        elif path:
            yield path


def _place(whole: Document, segments: list[str], content: Document, path: str) -> None:
    """Merge `content` into `whole` below `segments`; two files may not say different things about one path."""
    at = whole
    for segment in segments:
        inner = at.setdefault(segment, {})
        if not isinstance(inner, dict):
            raise PolicyFault(f"{path}: another data file already gives {segment!r} a value.")
        at = inner
    _merge(at, content, path)


def _merge(into: Document, content: Document, path: str) -> None:
    for key, value in content.items():
        held = into.get(key)
        if key not in into:
            into[key] = value
        elif isinstance(held, dict) and isinstance(value, dict):
            _merge(held, value, path)
        else:
            raise PolicyFault(f"{path}: another data file already gives {key!r} a value.")


def _object(content: bytes, path: str) -> Document:
    try:
        value: Json = orjson.loads(content)
    except orjson.JSONDecodeError as fault:
        raise PolicyFault(f"{path}:{fault.lineno}: not JSON: {fault.msg}") from None
    if not isinstance(value, dict):
        raise PolicyFault(f"{path}: not a JSON object.")
    return value
