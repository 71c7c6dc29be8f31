"""A part of the matrix in which every client and every upstream has its place: it is as docs/interop.md says."""

from __future__ import annotations

import pytest

from tests.interop import matrix, page, probe
from tests.interop.clients import KINDS

PLACES = {
    ("Python 2", "auto"): "postgres",
    ("Python 2", "legacy"): "sdk-modern",
    ("Python 2", "modern"): "everything",
    ("Python 1", "legacy"): "database",
    ("TypeScript 2", "auto"): "fhir",
    ("TypeScript 2", "legacy"): "sdk-legacy",
    ("TypeScript 2", "modern"): "sdk-modern",
    ("TypeScript 1", "legacy"): "everything-http",
    ("Inspector", "auto"): "files",
    ("Inspector", "legacy"): "postgres",
    ("Inspector", "modern"): "sdk-legacy",
}
"""Where each client goes: among these are modern clients of legacy upstreams and the reverse, over both transports."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Cells by client and era, after everything has ended and what is on record has been checked; and the upstreams."""
    with matrix.gateway(tmp_path_factory.mktemp("interop")) as (running, real):
        named = {each.name: each for each in real}
        pairs = [(client, named[PLACES[client.name, client.era]]) for client in KINDS]
        spoken = page.upstream_row(named["fhir"], probe.ask(named["fhir"]))
        cells = {(cell.client.name, cell.client.era): cell for cell in matrix.run(running, pairs)}
    return cells, real, spoken


@pytest.fixture(scope="module")
def lines():
    return page.PAGE.read_text().splitlines()


@pytest.mark.parametrize(("client", "era"), PLACES)
def test_a_real_client_meets_a_real_upstream_through_the_gateway_as_documented(ran, lines, client, era):
    cell = ran[0][client, era]
    assert cell.why == {}
    assert page.row(cell) in lines, "run `make interop`"


def test_what_an_upstream_says_of_itself_is_as_documented(ran, lines):
    assert ran[2] in lines, "run `make interop`"


def test_every_client_has_a_line_for_every_upstream_and_no_step_went_wrong(ran, lines):
    rows = [
        line.split(" | ") for line in lines if line.endswith(" |") and len(line.split(" | ")) == 4 + len(matrix.STEPS)
    ]
    found = {(row[0].removeprefix("| "), row[1].partition(" (")[0], row[2]) for row in rows[1:]}
    assert found == {(real.name, client.name, client.era) for real in ran[1] for client in KINDS}
    assert not [row for row in rows if matrix.NO in row]
