"""Numbers of one process: what is counted, what a snapshot keeps, and what goes on after a death."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import book as books
from gateway.telemetry import families
from gateway.telemetry.book import Book


def told(book, family):
    return {tuple(each[0]): each[1:] for each in books.known(orjson.loads(book.snapshot()), family)}


def test_a_snapshot_holds_what_was_counted_put_and_observed():
    book = Book()
    book.count(families.MASKED, "SSN", by=3)
    book.count(families.MASKED, "SSN")
    book.put(families.LEAVES, 12)
    book.observe(families.COMMIT_S, 0.003)

    assert told(book, families.MASKED) == {("SSN",): [4.0]}
    assert told(book, families.LEAVES) == {(): [12]}
    counts, total = told(book, families.COMMIT_S)[()]
    assert (sum(counts), total) == (1, 0.003)


@given(st.lists(st.floats(0, 400), max_size=50))
def test_each_value_falls_into_the_first_bucket_that_is_not_less(values):
    book = Book()
    for value in values:
        book.observe(families.EXCHANGE_S, value, "ward", "call")

    counts = told(book, families.EXCHANGE_S)[("ward", "call")][0] if values else [0] * 17
    bounds = [*families.EXCHANGE_S.buckets, float("inf")]
    for place, bound in enumerate(bounds):
        assert sum(counts[: place + 1]) == sum(value <= bound for value in values)


def test_the_next_worker_in_a_place_goes_on_counting_and_starts_its_gauges_anew():
    before, after = Book(), Book()
    before.count(families.MASKED, "SSN", by=4)
    before.observe(families.COMMIT_S, 0.003)
    before.count(families.OPEN, "ward", by=2)

    after.resume(before.snapshot())
    after.count(families.MASKED, "SSN")
    after.observe(families.COMMIT_S, 0.003)

    assert told(after, families.MASKED) == {("SSN",): [5.0]}
    assert told(after, families.COMMIT_S)[()][1] == 0.006
    assert told(after, families.OPEN) == {}


def test_of_what_is_in_force_only_the_newest_is_told():
    book = Book()
    book.only(families.POLICY_INFO, "v1", "aa")
    book.only(families.POLICY_INFO, "v2", "bb")

    assert told(book, families.POLICY_INFO) == {("v2", "bb"): [1.0]}


def test_a_snapshot_is_replaced_whole(tmp_path):
    path = books.file_of(tmp_path, 0)
    assert books.read(path) is None
    books.write(path, b"one")
    books.write(path, b"two")

    assert books.read(path) == b"two"
    assert [each.name for each in tmp_path.iterdir()] == ["worker-0.json"]


def test_what_is_not_its_kind_is_no_number_of_a_family():
    with pytest.raises(KeyError):
        Book().observe(families.MASKED, 1.0)
