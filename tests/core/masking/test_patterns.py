"""Patterns and folding: every pattern is alive, and every folded place leads back to the text it was read from."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.masking import layers, operators, patterns
from gateway.core.masking.fold import Joined, fold
from gateway.core.masking.operators import mask_text
from gateway.core.masking.phi import Phi
from gateway.core.policy.decision import Operator


@pytest.mark.parametrize("index", [pytest.param(n, id=one.name) for n, one in enumerate(patterns.PATTERNS)])
def test_every_pattern_finds_its_canary(index: int) -> None:
    data = patterns.PATTERNS[index].canary.encode()
    occurring, _ = patterns.occurring(data)
    assert index in occurring
    assert list(patterns.search(data, [index]))


def test_names_of_patterns_are_distinct() -> None:
    assert len({one.name for one in patterns.PATTERNS}) == len(patterns.PATTERNS)


def test_no_pattern_reaches_over_the_border_between_two_texts() -> None:
    for one in patterns.PATTERNS:
        data = one.canary.encode()
        for cut in range(1, len(data)):
            split = data[:cut] + b"\0" + data[cut:]
            occurring, _ = patterns.occurring(split)
            assert all(not (hit.start < cut + 1 <= hit.end - 1) for hit in patterns.search(split, occurring))


def test_nothing_occurs_in_nothing() -> None:
    assert patterns.occurring(b"") == ([], frozenset())


@given(
    st.from_regex(r"(1[789]|20|21)\d\d-\d\d-\d\d", fullmatch=True)
    | st.dates().map(str)
    | st.text("12890-", max_size=12)
)
def test_a_date_as_most_write_it_has_the_year_of_any_other(text: str) -> None:
    fast = mask_text(Operator("generalise"), Phi.DATE, text, b"")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "_ISO_DATE", re.compile(r"(?!)"))
        assert mask_text(Operator("generalise"), Phi.DATE, text, b"") == fast


@given(st.from_regex(r"[A-Za-z]{1,16}|[0-9]{1,16}", fullmatch=True))
def test_nothing_occurs_in_a_word(text: str) -> None:
    if patterns.is_word(text):
        assert patterns.occurring(text.encode()) == ([], frozenset())


def test_only_letters_or_digits_are_a_word() -> None:
    assert [text for text in ("Ann", "02155", "", "93yo", "é", "²", "a" * 15, "a:") if patterns.is_word(text)] == [
        "Ann",
        "02155",
    ]


@given(st.text())
def test_folding_leads_back_to_every_character(text: str) -> None:
    folded = fold(text)
    assert folded.data.isascii()
    assert b"\0" not in folded.data
    last = 0
    for at in range(len(folded.data)):
        start, end = folded.original(at, at + 1)
        assert 0 <= start < end <= len(text)
        assert start >= last
        last = start
    if folded.data:
        assert folded.original(0, len(folded.data))[1] == len(text)


OPERATORS = [
    Operator("redact"),
    Operator("redact", {"label": "GONE"}),
    Operator("null"),
    Operator("token"),
    Operator("generalise"),
    Operator("generalise", {"as_of": 2026}),
    *(Operator("partial", {"keep": keep}) for keep in (0, 1, 4, 8)),
]


@given(
    st.sampled_from(OPERATORS),
    st.sampled_from(list(Phi)),
    st.text() | st.from_regex(r"[0-9/., -]{1,12}", fullmatch=True),
)
def test_every_operator_is_idempotent(operator: Operator, phi: Phi, text: str) -> None:
    once = mask_text(operator, phi, text, b"key")
    assert mask_text(operator, phi, once, b"key") == once


_PIECES = st.sampled_from([one.canary for one in patterns.PATTERNS] + ["", " ", "é", "x", "\0", "12-34", "%41", "<b>"])
_TEXTS = st.lists(st.lists(_PIECES, max_size=4).map("".join), max_size=6)


@given(_TEXTS)
def test_texts_joined_are_their_foldings_and_lead_back_to_them(texts: list[str]) -> None:
    joined = Joined(texts)
    assert joined.data.split(b"\0") == ([fold(text).data for text in texts] or [b""])
    for number, (text, start) in enumerate(zip(texts, joined.starts, strict=True)):
        alone = fold(text)
        assert joined.data[start : start + len(alone.data)] == alone.data
        if alone.data:
            assert joined.original(number, 0, len(alone.data)) == alone.original(0, len(alone.data))


@given(_TEXTS)
def test_what_is_searched_is_what_the_library_finds(texts: list[str]) -> None:
    data = Joined(texts).data
    indices, _ = patterns.occurring(data)
    found = [
        (*match.span(patterns._GROUP[index]), patterns.PATTERNS[index].name)
        for index in indices
        for match in patterns._COMPILED[index].finditer(data)
    ]
    assert [(hit.start, hit.end, hit.detector) for hit in patterns.search(data, indices)] == found


@given(
    st.text(st.sampled_from("%41&lt;\\u0<b>_`~* aB9+/="), max_size=24), st.sets(st.sampled_from(sorted(layers._SIGNS)))
)
def test_a_text_without_signs_has_no_other_reading(text: str, gates: set[str]) -> None:
    if gates and not layers.signs(frozenset(gates)).search(text):
        assert list(layers.readings(text, frozenset(gates))) == []
