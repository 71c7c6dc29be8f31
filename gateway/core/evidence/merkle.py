"""The Merkle tree of RFC 6962 §2.1 over SHA-256: hashes, growth, roots and the two proofs.

A tree that only grows needs no more than its *frontier*: the roots of its perfect subtrees, largest first, one for each
bit set in its size. Proofs are made from leaf hashes and checked by the algorithms of RFC 9162 §2.1.3.2 and §2.1.4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()

Frontier = tuple[bytes, ...]


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry: SHA-256(0x00 || entry). The prefix keeps a leaf from passing for a node."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def append(size: int, frontier: Frontier, leaf: bytes) -> Frontier:
    """The frontier of the tree of `size` leaves after `leaf` (a leaf hash) has joined it."""
    complete, grown, bits = len(frontier), leaf, size
    while bits & 1:
        complete -= 1
        grown = node_hash(frontier[complete], grown)
        bits >>= 1
    return (*frontier[:complete], grown)


def root(frontier: Frontier) -> bytes:
    """The tree's root hash; the hash of nothing for an empty tree."""
    if not frontier:
        return EMPTY_ROOT
    found = frontier[-1]
    for left in reversed(frontier[:-1]):
        found = node_hash(left, found)
    return found


def pack(frontier: Frontier) -> bytes:
    """A frontier as the store keeps it: its hashes one after the other."""
    return b"".join(frontier)


def unpack(size: int, data: bytes) -> Frontier:
    """The frontier of a tree of `size` leaves. Raises ValueError unless `data` has one hash for each bit set."""
    if len(data) != HASH_SIZE * size.bit_count():
        raise ValueError("the frontier does not belong to a tree of this size")
    return tuple(data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE))


def frontier_of(leaves: Sequence[bytes]) -> Frontier:
    """The frontier of the tree over these leaf hashes."""
    frontier: Frontier = ()
    for size, leaf in enumerate(leaves):
        frontier = append(size, frontier, leaf)
    return frontier


def inclusion(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Proof that leaf `index` is in the tree over `leaves`: siblings from leaf to root (RFC 6962 §2.1.1)."""
    if not 0 <= index < len(leaves):
        raise ValueError("there is no leaf at this index")
    return tuple(_path(leaves, index))


def consistency(leaves: Sequence[bytes], old: int) -> tuple[bytes, ...]:
    """Proof that the tree over the first `old` leaves is a prefix of the tree over `leaves` (RFC 6962 §2.1.2)."""
    if not 0 < old <= len(leaves):
        raise ValueError("the older tree must have at least one leaf and not be larger")
    return tuple(_subproof(leaves, old, whole=True))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` shows that `leaf` (a leaf hash) is at `index` of the tree with `size` leaves and `root`."""
    if not 0 <= index < size or not _hashes(leaf, root, *proof):
        return False
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            found = node_hash(found, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree (`old`, `old_root`) is a prefix of (`new`, `new_root`).

    An empty older tree is refused: everything is consistent with it, so callers must say so themselves.
    """
    if not 0 < old <= new or not _hashes(old_root, new_root, *proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    node, last = old - 1, new - 1
    while node & 1:
        node >>= 1
        last >>= 1
    older = newer = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            older = node_hash(sibling, older)
            newer = node_hash(sibling, newer)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            newer = node_hash(newer, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and older == old_root and newer == new_root


def _hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_SIZE for value in values)


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1


def _path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if index < middle:
        return [*_path(leaves[:middle], index), root(frontier_of(leaves[middle:]))]
    return [*_path(leaves[middle:], index - middle), root(frontier_of(leaves[:middle]))]


def _subproof(leaves: Sequence[bytes], old: int, *, whole: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if whole else [root(frontier_of(leaves))]
    middle = _split(len(leaves))
    if old <= middle:
        return [*_subproof(leaves[:middle], old, whole=whole), root(frontier_of(leaves[middle:]))]
    return [*_subproof(leaves[middle:], old - middle, whole=False), root(frontier_of(leaves[:middle]))]
