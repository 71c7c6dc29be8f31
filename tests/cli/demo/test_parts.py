import json
import sqlite3
import urllib.request
from contextlib import closing

import pytest

from gateway.cli.demo import parts
from gateway.cli.demo.parts import DemoFault, Place


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path / "demo")
    with made.prepared():
        yield made


def test_a_directory_that_the_demo_did_not_make_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(DemoFault, match="did not make it"), Place(tmp_path).prepared():
        pass

    assert (tmp_path / "thesis.txt").exists()


def test_the_place_of_an_earlier_run_is_made_anew(tmp_path):
    place = Place(tmp_path / "demo")
    with place.prepared():
        place.token("agent").write_text("old")

    with place.prepared():
        assert not place.token("agent").exists()
        assert place.root.stat().st_mode & 0o777 == 0o700


def test_the_place_of_a_run_that_goes_on_is_left_alone(place):
    place.token("agent").write_text("in use")

    with pytest.raises(DemoFault, match="A demo is running"), place.prepared():
        pass

    assert place.token("agent").exists()


async def test_a_part_runs_as_long_as_its_context_and_tells_its_url(place):
    async with parts.announced(place, "issuer") as issuer:
        with urllib.request.urlopen(f"{issuer.url}/jwks") as answer:
            assert json.load(answer)["keys"]

    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{issuer.url}/jwks")


async def test_a_part_that_does_not_start_is_reported_with_the_end_of_its_log(place):
    with pytest.raises(DemoFault, match=r"(?s)The clinic did not start.*required: --db"):
        async with parts.announced(place, "clinic"):
            pass


async def test_a_gateway_that_does_not_start_is_reported_with_the_end_of_its_log(place):
    place.config.write_text("this is not TOML")

    with pytest.raises(DemoFault, match=r"(?s)The gateway did not start.*phigate\.toml"):
        async with parts.gateway(place, "http://127.0.0.1:9"):
            pass


def test_the_copy_of_the_store_holds_each_value_once(place):
    with closing(sqlite3.connect(place.store)) as database:
        database.execute("CREATE TABLE leaf (entry BLOB)")
        database.executemany("INSERT INTO leaf VALUES (?)", [(b"old-%d" % n,) for n in range(50)])
        database.execute("DELETE FROM leaf")
        database.execute("INSERT INTO leaf VALUES (?)", (b"kept",))
        database.commit()

    place.copy_store(place.root / "copy.db")

    data = (place.root / "copy.db").read_bytes()
    assert (data.count(b"kept"), data.count(b"old-")) == (1, 0)
