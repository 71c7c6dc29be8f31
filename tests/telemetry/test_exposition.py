"""`/metrics` of a supervisor: the numbers of its workers added up, over a real socket."""

from __future__ import annotations

import socket

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry import book as books
from gateway.telemetry import exposition, families
from gateway.telemetry.book import Book
from gateway.telemetry.exposition import Office
from gateway.telemetry.families import FAMILIES, Kind


@pytest.fixture
def office():
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    with Office.open(listening) as office:
        yield office, f"http://127.0.0.1:{port}/metrics"


def leave(office, place: int, book: Book) -> None:
    books.write(books.file_of(office.directory, place), book.snapshot())


def samples(url: str) -> dict[tuple[str, ...], float]:
    found = text_string_to_metric_families(httpx2.get(url, timeout=60).text)
    return {(each.name, *sorted(each.labels.values())): each.value for family in found for each in family.samples}


def test_every_family_is_there_before_anything_was_counted(office):
    text = httpx2.get(office[1], timeout=60).text
    for family in FAMILIES:
        assert f"# TYPE {family.name} {family.kind.value}\n" in text
        assert f"# HELP {family.name} " in text


def test_counters_and_histograms_of_workers_are_added_up(office):
    office, url = office
    for place in (0, 1):
        book = Book()
        book.count(families.MASKED, "SSN", by=place + 1)
        for value in (0.002, 0.2, 4000.0):
            book.observe(families.EXCHANGE_S, value, "ward", "call")
        leave(office, place, book)

    found = samples(url)
    assert found["phigate_masked_values_total", "SSN"] == 3
    assert found["phigate_exchange_seconds_bucket", "0.0025", "call", "ward"] == 2
    assert found["phigate_exchange_seconds_bucket", "300.0", "call", "ward"] == 4
    assert found["phigate_exchange_seconds_bucket", "+Inf", "call", "ward"] == 6
    assert found["phigate_exchange_seconds_count", "call", "ward"] == 6
    assert found["phigate_exchange_seconds_sum", "call", "ward"] == pytest.approx(8000.404)


def test_gauges_are_added_up_where_workers_share_the_work_and_are_the_most_of_them_elsewhere(office):
    office, url = office
    for place in (0, 1):
        book = Book()
        book.put(families.OPEN, 5 + place, "ward")
        book.put(families.LEAVES, 5 + place)
        leave(office, place, book)
        office.serves(place)

    found = samples(url)
    assert found["phigate_exchanges_open", "ward"] == 11
    assert found["phigate_evidence_leaves",] == 6
    assert found["phigate_workers",] == 2


def test_of_a_worker_that_is_gone_what_it_counted_stays_and_its_state_does_not(office):
    office, url = office
    book = Book()
    book.count(families.MASKED, "SSN")
    book.put(families.OPEN, 5, "ward")
    leave(office, 0, book)
    office.serves(0)
    assert samples(url)["phigate_exchanges_open", "ward"] == 5

    office.ended(0, "stuck")

    found = samples(url)
    assert ("phigate_exchanges_open", "ward") not in found
    assert found["phigate_masked_values_total", "SSN"] == 1
    assert found["phigate_worker_deaths_total", "stuck"] == 1
    assert found["phigate_workers",] == 0


def test_a_gateway_that_goes_down_says_so(office):
    office, url = office
    assert samples(url)["phigate_draining",] == 0
    office.drains()
    assert samples(url)["phigate_draining",] == 1


def test_nothing_else_is_served_there(office):
    for path in ("/", "/metrics/more", "/healthz"):
        assert httpx2.get(office[1].replace("/metrics", path), timeout=60).status_code == 404
    assert httpx2.post(office[1], timeout=60).status_code == 501


def test_scrapers_that_say_nothing_keep_nobody_out_for_long(office, monkeypatch):
    office, url = office
    monkeypatch.setattr(exposition._Handler, "timeout", 0.3)
    port = int(url.split(":")[2].split("/")[0])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(exposition.SCRAPES_MOST)]
    for each in silent:
        each.settimeout(10)
        assert each.recv(1) == b""  # They are hung up on.
        each.close()
    assert httpx2.get(url, timeout=60).status_code == 200


def test_beyond_a_few_scrapes_at_a_time_the_door_is_closed(office):
    port = int(office[1].split(":")[2].split("/")[0])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(exposition.SCRAPES_MOST)]
    one_more = socket.create_connection(("127.0.0.1", port))
    one_more.settimeout(4)
    assert one_more.recv(1) == b""
    for each in (*silent, one_more):
        each.close()


def test_nothing_is_left_on_the_disk_afterwards():
    with Office.open(socket.create_server(("127.0.0.1", 0))) as office:
        leave(office, 0, Book())
        assert oct(office.directory.stat().st_mode)[-3:] == "700"
    assert not office.directory.exists()


def test_names_follow_the_conventions_of_prometheus():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert family.name.startswith("phigate_")
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert family.help.endswith(".")
