import re
import sqlite3
from contextlib import closing

from gateway.cli.demo import population


def test_the_population_is_the_same_in_every_run():
    assert population.generate().tables == population.generate().tables


def test_another_seed_makes_other_people():
    assert population.generate(1).tables["patients"] != population.generate(2).tables["patients"]


def test_social_security_numbers_are_in_the_range_that_is_never_issued():
    numbers = [row[6] for row in population.generate().tables["patients"]]

    # Area 9xx is not assigned; taxpayer numbers in 9xx have groups 50 and above.
    assert all(re.fullmatch(r"9\d\d-(?:0[1-9]|[1-4]\d)-\d{4}", number) for number in numbers)
    assert len(set(numbers)) == population.PATIENTS


def test_telephone_numbers_are_those_that_fiction_may_use():
    numbers = [row[7] for row in population.generate().tables["patients"]]

    assert all(re.fullmatch(r"\([2-9]\d\d\) 555-01\d\d", number) for number in numbers)


def test_mail_goes_to_a_reserved_domain():
    assert all(str(row[8]).endswith("@example.org") for row in population.generate().tables["patients"])


def test_every_note_says_that_it_is_synthetic():
    assert all(str(row[4]).startswith("SYNTHETIC NOTE") for row in population.generate().tables["notes"])


def test_the_rows_fit_the_schema_and_each_belongs_to_a_patient():
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("PRAGMA foreign_keys = ON")
        database.executescript(population.SCHEMA)
        for table, rows in population.generate().tables.items():
            database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)

        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        assert database.execute("SELECT count(*) FROM patients").fetchone() == (population.PATIENTS,)


def test_the_values_to_look_for_name_every_patient():
    people = population.generate()
    values = set(people.values())

    assert all({row[1], row[6], row[7], row[8], f"{row[2]} {row[3]}"} <= values for row in people.tables["patients"])
    assert str(people) == "Population()"
