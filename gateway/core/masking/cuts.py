"""Overlapping finds in one text, made into cuts that do not overlap: nothing that was found is left half uncovered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

from gateway.core.masking.operators import REDACT, mask_text
from gateway.core.masking.phi import Phi
from gateway.core.masking.scan import Span
from gateway.core.policy.decision import Operator

_NARROWNESS = {phi: len(phi.wider) for phi in Phi}


class Cut(NamedTuple):
    """A span that a rule takes, and how."""

    start: int
    end: int
    phi: Phi
    detector: str
    operator: Operator


T = TypeVar("T", Span, Cut)


def merge(spans: list[Span]) -> list[Span]:
    """The spans with overlapping ones as one, under the class that says most."""
    if len(spans) == 1:
        return spans
    return [
        _best(cluster)._replace(start=cluster[0].start, end=max([one.end for one in cluster]))
        for cluster in _clusters(spans)
    ]


def cut(text: str, cuts: list[Cut], key: bytes) -> tuple[str, list[Cut]]:
    """`text` with all cuts made, and the cuts that changed it."""
    pieces: list[str] = []
    made: list[Cut] = []
    at = 0
    for cluster in _clusters(cuts):
        best = _best(cluster)
        start, end = cluster[0].start, max([one.end for one in cluster])
        # Rules that disagree on one place: the place is redacted, which satisfies each of them.
        agreed = len(cluster) == 1 or all(
            one.operator is best.operator or one.operator == best.operator for one in cluster
        )
        operator = best.operator if agreed else REDACT
        masked = mask_text(operator, best.phi, text[start:end], key)
        if masked != text[start:end]:
            made.append(Cut(start, end, best.phi, best.detector, operator))
        pieces += (text[at:start], masked)
        at = end
    pieces.append(text[at:])
    return "".join(pieces), made


def _clusters(cuts: list[T]) -> Iterable[list[T]]:
    return [cuts] if len(cuts) == 1 else _overlapping(cuts)


def _overlapping(cuts: list[T]) -> Iterator[list[T]]:
    cluster: list[T] = []
    end = -1
    for one in sorted(cuts, key=_order):
        if cluster and one.start >= end:
            yield cluster
            cluster = []
        cluster.append(one)
        end = max(end, one.end) if len(cluster) > 1 else one.end
    if cluster:
        yield cluster


def _order(one: Span | Cut) -> tuple[int, int]:
    return one.start, -one.end


def _says(one: Span | Cut) -> tuple[int, int]:
    return one.end - one.start, _NARROWNESS[one.phi]


def _best(cluster: list[T]) -> T:
    """The longest find; of those, the narrower class: a birth date is more than a date."""
    if len(cluster) == 1:
        return cluster[0]
    best = max(cluster, key=_says)
    return next((one for one in cluster if one.phi is not best.phi and best.phi in one.phi.wider), best)
