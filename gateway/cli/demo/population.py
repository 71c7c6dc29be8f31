"""The people of the demo clinic: made up, the same for everyone who has the same seed, and impossible to be real.

Social security numbers are in the range that is never issued (area 9xx, groups that are no taxpayer number either),
telephone numbers are in 555-0100 to 555-0199, which fiction may use, and mail is at example.org (RFC 2606). Names,
streets and illnesses are drawn independently, so a resemblance to anybody is chance. No I/O; `clinic.py` stores it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta

SEED = 20260728
PATIENTS = 300
TODAY = date(2026, 7, 28)
"""The clinic's calendar stands still, so that the demo is the same in every year."""

SCHEMA = """
CREATE TABLE about (item TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE patients (id INTEGER PRIMARY KEY, mrn TEXT UNIQUE NOT NULL, given TEXT NOT NULL, family TEXT NOT NULL,
    birth_date TEXT NOT NULL, sex TEXT NOT NULL, ssn TEXT UNIQUE NOT NULL, phone TEXT NOT NULL, email TEXT NOT NULL,
    street TEXT NOT NULL, city TEXT NOT NULL, state TEXT NOT NULL, zip TEXT NOT NULL, allergies TEXT NOT NULL);
CREATE TABLE encounters (id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL REFERENCES patients(id),
    day TEXT NOT NULL, department TEXT NOT NULL, clinician TEXT NOT NULL, reason TEXT NOT NULL);
CREATE TABLE notes (id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL REFERENCES patients(id),
    encounter_id INTEGER NOT NULL REFERENCES encounters(id), author TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE labs (id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL REFERENCES patients(id),
    day TEXT NOT NULL, loinc TEXT NOT NULL, name TEXT NOT NULL, value REAL NOT NULL, unit TEXT NOT NULL);
CREATE TABLE claims (id INTEGER PRIMARY KEY, patient_id INTEGER NOT NULL REFERENCES patients(id),
    encounter_id INTEGER NOT NULL REFERENCES encounters(id), payer TEXT NOT NULL, member TEXT NOT NULL,
    icd10 TEXT NOT NULL, cents INTEGER NOT NULL, status TEXT NOT NULL);
"""

Row = tuple[str | int | float, ...]

_GIVEN = (
    "Amara Benicio Chidi Delphine Emeka Fatoumata Giancarlo Henrietta Ingrid Jacinta Kwabena Leocadia Mireille Nikolai "
    "Oluwaseun Priyanka Quentin Rosalind Svetlana Thaddeus Ulyana Vivienne Wilhelmina Xiomara Yevgenia Zebulon"
).split()
_FAMILY = (
    "Abernathy Bergstrom Castellanos Dimitriadis Eriksson Fairweather Guadarrama Hollingsworth Ivanchenko Jurgensen "
    "Kowalczyk Lindqvist Mwangi Nakagawa Okonkwo Papadakis Quispe Rasmussen Szymanski Thorvaldsen Uzodimma "
    "Vandermeer Wojciechowski Xanthopoulos Yamashita Zielinski"
).split()
_STREETS = "Alderwick Brambleton Cressfield Dunmore Elmhollow Fernbrook Goldthorn Hawkridge".split()
_CITIES = (
    ("Wrenfield", "VT", "05071"),
    ("Marlow Falls", "VT", "05362"),
    ("Otterby", "NH", "03447"),
    ("Saltmere", "ME", "04663"),
    ("Thistledown", "NH", "03601"),
)
_ALLERGIES = ("none known", "penicillin", "latex", "peanuts", "sulfa drugs", "iodinated contrast")
_PAYERS = ("Example Mutual", "Sample Health Plan", "Placeholder Medicare Advantage")
_VISITS = (
    ("Cardiology", "palpitations", "I49.9", "reports palpitations on exertion; ECG shows sinus rhythm"),
    ("Endocrinology", "diabetes follow-up", "E11.9", "glucose diary reviewed; metformin continued"),
    ("Family Medicine", "annual examination", "Z00.00", "feels well; vaccinations brought up to date"),
    ("Orthopaedics", "knee pain", "M25.569", "pain after stairs; physiotherapy begun"),
    ("Pulmonology", "chronic cough", "R05.3", "cough for eight weeks; spirometry ordered"),
    ("Psychiatry", "low mood", "F32.1", "sleeps poorly; agreed to weekly sessions"),
)
_CLINICIANS = ("Dr. A. Ferreira", "Dr. B. Oyelaran", "Dr. C. Halvorsen", "Dr. D. Montclair")
_LABS = (
    ("4548-4", "Hemoglobin A1c", "%", 4.6, 10.5),
    ("2093-3", "Cholesterol", "mg/dL", 120.0, 290.0),
    ("2160-0", "Creatinine", "mg/dL", 0.5, 2.1),
    ("718-7", "Hemoglobin", "g/dL", 9.5, 17.5),
)


@dataclass(frozen=True, slots=True)
class Population:
    """Rows of each table, in the order of its columns."""

    tables: dict[str, tuple[Row, ...]] = field(repr=False)

    def values(self) -> Iterator[str]:
        """Every identifier of every patient: what must be found in the clear nowhere but in the clinic."""
        for row in self.tables["patients"]:
            yield from (str(row[column]) for column in (1, 6, 7, 8, 9))
            yield f"{row[2]} {row[3]}"


def generate(seed: int = SEED, patients: int = PATIENTS) -> Population:
    """The population of `seed`: the same rows in every run, on every machine."""
    draw = random.Random(seed)
    tables: dict[str, list[Row]] = {name: [] for name in ("patients", "encounters", "notes", "labs", "claims")}
    for patient in range(1, patients + 1):
        person = _person(draw, patient)
        tables["patients"].append(person)
        for _ in range(draw.randint(1, 4)):
            _visit(draw, tables, person)
        for _ in range(draw.randint(0, 3)):
            _lab(draw, tables, patient)
    about: list[Row] = [("data", "SYNTHETIC: no person in this database exists"), ("seed", str(seed))]
    return Population({"about": tuple(about), **{name: tuple(rows) for name, rows in tables.items()}})


def _person(draw: random.Random, patient: int) -> Row:
    given, family = draw.choice(_GIVEN), draw.choice(_FAMILY)
    city, state, zip_code = draw.choice(_CITIES)
    return (
        patient,
        f"MRN-{1_000_000 + patient * 7919 % 9_000_000:07d}",
        given,
        family,
        _day(draw, 365, 95 * 365).isoformat(),
        draw.choice(("F", "M")),
        # Area 9xx was never issued; groups 01 to 49 keep it clear of individual taxpayer numbers (50 to 99). The serial
        # number is the patient's, so that no two people share one.
        f"9{draw.randint(0, 99):02d}-{draw.randint(1, 49):02d}-{patient:04d}",
        f"({draw.randint(201, 989)}) 555-01{draw.randint(0, 99):02d}",
        f"{given}.{family}.{patient}@example.org".lower(),
        f"{draw.randint(1, 999)} {draw.choice(_STREETS)} Lane",
        city,
        state,
        zip_code,
        draw.choice(_ALLERGIES),
    )


def _visit(draw: random.Random, tables: dict[str, list[Row]], person: Row) -> None:
    patient, mrn, given, family, *_, phone = person[:8]
    department, reason, code, finding = draw.choice(_VISITS)
    clinician = draw.choice(_CLINICIANS)
    day = _day(draw, 1, 900).isoformat()
    encounter = len(tables["encounters"]) + 1
    tables["encounters"].append((encounter, patient, day, department, clinician, reason))
    note = f"SYNTHETIC NOTE. {given} {family} ({mrn}), seen {day}: {finding}. Call back on {phone}."
    tables["notes"].append((encounter, patient, encounter, clinician, note))
    claim = (draw.choice(_PAYERS), f"EX{draw.randint(10**8, 10**9 - 1)}", code, draw.randint(40_00, 900_00))
    tables["claims"].append((encounter, patient, encounter, *claim, draw.choice(("paid", "submitted", "denied"))))


def _lab(draw: random.Random, tables: dict[str, list[Row]], patient: int) -> None:
    loinc, name, unit, low, high = draw.choice(_LABS)
    value = round(draw.uniform(low, high), 1)
    day = _day(draw, 1, 900).isoformat()
    tables["labs"].append((len(tables["labs"]) + 1, patient, day, loinc, name, value, unit))


def _day(draw: random.Random, least: int, most: int) -> date:
    return TODAY - timedelta(days=draw.randint(least, most))
