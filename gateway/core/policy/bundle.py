"""Policy bundles in OPA's format, as values: bytes to Bundle and back, without a disk.

A bundle is an archive of `*.rego` files, `data.json` and `data.yaml` files (the directory is the data's path), a
`.manifest`, and `.signatures.json` when it is signed (signature.py). Reading trusts nothing; what OPA would read and
cannot be carried out here is refused rather than left out. What building makes depends on the files alone, so that the
same source has the same digest on every machine. Every fault is a PolicyFault that names the file.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from gateway.core.errors import PolicyFault
from gateway.core.policy import archive as archives
from gateway.core.policy import structured
from gateway.core.policy.archive import ARCHIVE_MAX, FILES_MAX, UNPACKED_MAX
from gateway.core.types import Digest, Document, Json

__all__ = ["ARCHIVE_MAX", "FILES_MAX", "UNPACKED_MAX"]  # A bundle's bounds, beside what is defined here.

MANIFEST = ".manifest"
TEST = "_test.rego"
SIGNATURES = ".signatures.json"
DATA = ("data.json", "data.yaml", "data.yml")
SOURCE_MAX = 2**20
"""regorus refuses a policy file above 1 MiB as well."""

_UNSUPPORTED = {
    "patch.json": "it is a delta bundle. Only whole bundles are used: have the bundle server send snapshots.",
    "policy.wasm": "WebAssembly is not run here. Build the bundle with `opa build --target rego`.",
    "plan.json": "plans are not run here. Build the bundle with `opa build --target rego`.",
    "plan.pb": "plans are not run here. Build the bundle with `opa build --target rego`.",
    ".manifest.pb": "a manifest is read as JSON only. Write it to `.manifest`.",
}
"""Files that mean something to OPA and that cannot be carried out here, with what to do."""

_MANIFEST_KEYS = frozenset({"revision", "roots", "rego_version", "file_rego_versions", "metadata", "wasm"})


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
        return self.owns_segments(tuple(path.split("/")))

    def owns_segments(self, path: tuple[str, ...]) -> bool:
        """The same for a path whose segments may hold a slash themselves, as the names of members in data may."""
        return any(not root or path[: len(steps)] == steps for root in self.roots if (steps := tuple(root.split("/"))))


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

    @property
    def is_signed(self) -> bool:
        """Whether somebody claims to have signed it; whether they have, `signature.verify` says."""
        return SIGNATURES in self.files


def read(archive: bytes) -> Bundle:
    """The bundle that these bytes are. Raises PolicyFault when they are none, or more than a bundle may be."""
    files = archives.unpack(archive)
    _supported(files)
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

    Raises PolicyFault when the result could not be read back.
    """
    return pack(parts(files, revision=revision))


def parts(files: Mapping[str, bytes], *, revision: str = "") -> dict[str, bytes]:
    """What `build` puts into the archive: the files that belong there, and the manifest that goes with them."""
    chosen = {path: content for path, content in files.items() if is_part(path)}
    declared = _object(files.get(MANIFEST, b"{}"), MANIFEST)
    declared.setdefault("roots", [""])
    declared["revision"] = revision or declared.get("revision") or _revision(chosen)
    return {**chosen, MANIFEST: _manifest_text(declared)}


def pack(files: Mapping[str, bytes]) -> bytes:
    """The archive of exactly these files. Raises PolicyFault when it could not be read back."""
    archive = archives.pack(files)
    read(archive)
    return archive


def unrevised(bundle: Bundle) -> dict[str, bytes]:
    """The bundle's files as sources to go on from: without the revision, and the signature, that this build has."""
    declared = {
        key: value for key, value in _object(bundle.files.get(MANIFEST, b"{}"), MANIFEST).items() if key != "revision"
    }
    kept = {path: content for path, content in bundle.files.items() if path != SIGNATURES}
    return {**kept, MANIFEST: _manifest_text(declared)}


def is_part(path: str) -> bool:
    """Whether a file of this name belongs into a bundle: Rego, data, and nothing else of what lies beside them.

    What a bundle cannot have here counts too, so that it is refused and not left out.
    """
    name = path.rsplit("/", 1)[-1]
    return name.endswith(".rego") or name in DATA or name in _UNSUPPORTED


def _manifest_text(declared: Document) -> bytes:
    return orjson.dumps(declared, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _revision(files: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for path, content in sorted(files.items()):
        whole.update(struct.pack(">II", len(path.encode()), len(content)) + path.encode() + content)
    return f"sha256:{whole.hexdigest()[:16]}"


def _source(path: str, content: bytes) -> Source:
    if len(content) > SOURCE_MAX:
        raise PolicyFault(f"{path} is larger than {SOURCE_MAX} bytes.")
    try:
        return Source(path, content.decode())
    except UnicodeDecodeError:
        raise PolicyFault(f"{path} is not UTF-8 text.") from None


def _supported(files: Mapping[str, bytes]) -> None:
    for path in files:
        name = path.rsplit("/", 1)[-1]
        if name in _UNSUPPORTED:
            raise PolicyFault(f"{path}: {_UNSUPPORTED[name]}")
        if name != path and name.endswith((MANIFEST, SIGNATURES)):
            raise PolicyFault(f"{path}: only the bundle's top directory has a {name}. Remove this one.")


def _manifest(content: bytes) -> Manifest:
    declared = _object(content, MANIFEST)
    for key in declared:
        if key not in _MANIFEST_KEYS and key.lower() in _MANIFEST_KEYS:  # OPA would read it.
            raise PolicyFault(f"{MANIFEST}: {key!r} is spelt {key.lower()!r}.")
    revision, metadata = declared.get("revision", ""), declared.get("metadata", {})
    versions = declared.get("file_rego_versions", {})
    if declared.get("rego_version", 1) != 1 or (isinstance(versions, dict) and any(v != 1 for v in versions.values())):
        raise PolicyFault(f"{MANIFEST}: only Rego v1 is read. Convert the sources with `opa fmt --v0-v1`.")
    if not isinstance(revision, str) or not isinstance(metadata, dict) or not isinstance(versions, dict):
        raise PolicyFault(f"{MANIFEST}: `revision` is text; `metadata` and `file_rego_versions` are objects.")
    if declared.get("wasm"):
        raise PolicyFault(f"{MANIFEST}: `wasm`: {_UNSUPPORTED['policy.wasm']}")
    return Manifest(revision, _roots(declared.get("roots", [""])), metadata)


def _roots(declared: Json) -> tuple[str, ...]:
    listed = declared if isinstance(declared, list) else []
    roots = tuple(root.strip("/") for root in listed if isinstance(root, str))
    if len(roots) != len(listed) or not roots:
        raise PolicyFault(f"{MANIFEST}: `roots` is an array that names at least one path, and each is text.")
    for index, root in enumerate(roots):
        for other in roots[index + 1 :]:
            if not root or not other or f"{root}/".startswith(f"{other}/") or f"{other}/".startswith(f"{root}/"):
                raise PolicyFault(f"{MANIFEST}: the roots {root!r} and {other!r} overlap. Keep the shorter one.")
    return roots


def _data(files: Mapping[str, bytes], manifest: Manifest) -> Document:
    whole: Document = {}
    for path, content in files.items():
        directory, _, name = path.rpartition("/")
        if name in DATA:
            _place(whole, directory.split("/") if directory else [], structured.decode(content, path), path)
    for leaf in leaves(whole):
        if not manifest.owns_segments(leaf) and not _holds_a_root(whole, leaf, manifest):
            raise PolicyFault(f"The data at {'/'.join(leaf)} lies outside the bundle's roots {list(manifest.roots)}.")
    return whole


def _holds_a_root(data: Document, leaf: tuple[str, ...], manifest: Manifest) -> bool:
    """Whether `leaf` is an empty object on the way to a root: it says nothing about what lies outside."""
    value: Json = data
    for step in leaf:
        value = value[step] if isinstance(value, dict) else None
    return value == {} and any(tuple(root.split("/"))[: len(leaf)] == leaf for root in manifest.roots)


def leaves(data: Document) -> Iterable[tuple[str, ...]]:
    """The path of every value in `data` that is no object (or an empty one)."""
    waiting: list[tuple[tuple[str, ...], Json]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict) and value:
            waiting.extend(((*path, key), inner) for key, inner in value.items())
        elif path:
            yield path


def _place(whole: Document, segments: list[str], content: Json, path: str) -> None:
    """Put `content` into `whole` at `segments`; two files may not say different things about one path."""
    for segment in reversed(segments):
        content = {segment: content}
    if not isinstance(content, dict):
        raise PolicyFault(f"{path}: not an object, which the data of the bundle's top directory is.")
    _merge(whole, content, path)


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
    value = structured.decode(content, path)
    if not isinstance(value, dict):
        raise PolicyFault(f"{path}: not a JSON object.")
    return value
