"""What a field's name says about its value: the dictionary of field names, and how names are told apart.

A bare number in a field called `ssn` is masked whatever its shape, so this dictionary finds what no pattern can. Names
are normalised first (`PatientSSN`, `p.patient_ssn` and `patient ssn` are one name); then the longest tail of the name
that the dictionary knows decides. `shape` reads the names of one object together, because `name` and `id` mean a person
only in some company. Unknown `*_name` fields count as names of people: the dictionary errs on the side of masking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from gateway.core.masking.phi import Phi

LONGEST_NAME = 80
"""Characters; what is longer is no field name (and is not remembered in the cache)."""
KEPT_MEMBERS = 64
KEPT_CHARACTERS = 1024
"""Of one object's members, and of all names on the way to it: of what has more nothing is remembered."""

_WORDS = """
NAME: first_name last_name given_name given family family_name surname middle_name middle_initial maiden_name maiden
  full_name fname lname mname nickname alias forename initials legal_name preferred_name person_name human_name
  patient_name name_of_patient insured_name signature signed_by informant
GEO: address addr address1 address2 address_1 address_2 address_line address_line1 address_line2 addr1 addr2
  street street1 street2 street_address line1 line2 city town county district precinct neighborhood village parish
  birthplace birth_place place_of_birth birth_city lat latitude lon lng long longitude geo geolocation coordinates
  geo_point gps census_tract census_block
ZIP: zip zip_code zipcode zip5 zip4 postal_code postcode postal
BIRTH_DATE: birth_month birth_day dob birth_date birthdate date_of_birth birthday birth birth_year year_of_birth born
  born_on birth_dt
DATE: date datetime date_time
  timestamp dod death_date deceased deceased_date_time date_of_death admit admission discharge
  dos service_date visit_date issued authored_on effective recorded onset performed period
AGE: age age_years age_in_years patient_age age_at_visit age_at_death
PHONE: phone telephone tel mobile cell_phone phone_number phone_no telephone_number mobile_number contact_number
  pager home_phone work_phone telecom
FAX: fax fax_number
EMAIL: email e_mail email_address mail_address
SSN: ssn social_security social_security_number social_security_no soc_sec ssn_last4 last4_ssn ssn4 tax_id tin itin
  social_insurance_number us_ssn
MRN: mrn medical_record_number medical_record medical_record_no patient_id pat_id pt_id patient_no patient_number
  patient_uuid patient_guid patient_key person_id emr_id ehr_id epic_id chart_no chart_number chart_id subject_id
HEALTH_PLAN: member_id member_no member_number subscriber_id subscriber_number policy_number policy_no mbi hicn
  medicare_id medicare_number medicaid_id medicaid_number beneficiary_id health_plan_id health_plan_number
  insurance_id insurance_number group_number group_no
ACCOUNT: account acct account_number account_no acct_no acct_number account_id csn har iban credit_card card_number
  bank_account routing_number
LICENSE: license licence license_number licence_number license_no drivers_license driver_license dl dl_number
  driver_licence npi dea dea_number certificate_number passport passport_number
VEHICLE: vin plate license_plate licence_plate plate_number vehicle_id
DEVICE: udi device_id device_serial serial serial_number serial_no implant_id implant_serial imei mac mac_address
  udi_carrier device_identifier distinct_identifier
URL: url website web_site homepage home_page portal_url
IP: ip ip_address ip_addr ipv4 ipv6 client_ip remote_addr
BIOMETRIC: fingerprint voiceprint voice_print retina retina_scan iris iris_scan biometric biometrics faceprint dna
PHOTO: photo photograph picture headshot avatar portrait face_image
UNIQUE_ID: identifier guid uuid accession accession_number accession_no encounter_id visit_id visit_number
  encounter_number claim_id claim_number order_id order_number specimen_id case_id case_number report_id
  prescription_id rx_number referral_id appointment_id study_uid record_id full_url
"""
_PEOPLE = frozenset(
    "patient person provider practitioner physician doctor nurse clinician guarantor subscriber member spouse mother "
    "father parent child guardian relative sibling employer attending referring surgeon performer author contact "
    "emergency_contact next_of_kin kin caregiver beneficiary insured responsible user human people participant".split()
)
_THINGS = frozenset(
    "drug medication medicine test lab file table column tool procedure organization organisation facility hospital "
    "department clinic ward payer plan product brand generic code display event method class schema database index "
    "field key type status specialty allergen vaccine condition diagnosis host domain server service package module "
    "function variable param parameter property resource template prompt format unit species gene group role "
    "job task queue topic bucket image branch repo metric display_type code_system".split()
)
_COMPANY_OF_THINGS = frozenset("input_schema output_schema mime_type code loinc dose strength unit".split())
_COMPANY_OF_PEOPLE = frozenset({"gender", "sex", "race", "ethnicity", "marital_status", "blood_type"})
_IDENTIFYING = frozenset({Phi.NAME, Phi.BIRTH_DATE, Phi.SSN, Phi.MRN, Phi.HEALTH_PLAN, Phi.EMAIL, Phi.PHONE})
_NEUTRAL = frozenset("use system type unit code rank resource_type content_type mime_type state country status".split())
"""Members that say nothing about a person even inside an address or a name (FHIR R4 datatypes; State may stay)."""

_PLAIN_KEY = re.compile(r"(?:[A-Za-z_$][A-Za-z_.$-]{0,40}\d{0,3}){1,2}")
_MASKED = re.compile(r"\[[A-Z][A-Z0-9_]*\]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPLIT = re.compile(r"[^a-z0-9]+")


def _entries() -> Iterator[tuple[str, Phi]]:
    phi = Phi.PHI
    for word in _WORDS.split():
        if word.endswith(":"):
            phi = Phi(word[:-1])
        else:
            yield word, phi


_BY_NAME = dict(_entries())
_RUN_TOGETHER = {name.replace("_", ""): name for name in _BY_NAME if "_" in name}


@dataclass(frozen=True, slots=True)
class Named:
    """A field as its name describes it: the normalised name and the class, if any; `neutral` never inherits one."""

    name: str
    phi: Phi | None = None
    neutral: bool = False
    weak: bool = False
    """Whether the value must also look like one of the class."""
    deep: bool = True
    """Whether an object under this name belongs to the class as a whole; a `patient` object does not."""


@lru_cache(maxsize=8192)
def normalise(name: str) -> str:
    """`PatientSSN` -> `patient_ssn`; `p.ssn` -> `ssn`; anything between letters and digits is one underscore."""
    tail = name.rsplit(".", 1)[-1] if "." in name.strip(".") else name
    return "_".join(part for part in _SPLIT.split(_CAMEL.sub("_", tail).lower()) if part)


@lru_cache(maxsize=8192)
def named(name: str) -> Named:
    """What one field name says on its own. `name` and `id` say nothing without company; see `shape`."""
    plain = normalise(name)
    plain = _RUN_TOGETHER.get(plain, plain)
    if _MASKED.search(name):
        return Named(
            plain
        )  # What a mask has left of a name says nothing; else masking twice would not be masking once.
    if plain in _NEUTRAL:
        return Named(plain, neutral=True)
    parts = plain.split("_")
    for size in range(min(len(parts), 4), 0, -1):
        tail = "_".join(parts[-size:])
        if tail in _BY_NAME:
            return Named(plain, _BY_NAME[tail])
        if tail in _PEOPLE:
            return Named(plain, Phi.NAME, deep=False)
    return Named(plain, _by_last_word(parts))


def _by_last_word(parts: list[str]) -> Phi | None:
    last = parts[-1]
    before = parts[-2] if len(parts) > 1 else ""
    if not before:
        return None
    if last in ("name", "names") and before not in _THINGS:
        return Phi.NAME
    if last in ("at", "ts", "dt", "on", "dttm"):
        return Phi.DATE
    if last in ("id", "number", "no", "num", "nr", "identifier") and singular(before) in _PEOPLE:
        return Phi.MRN
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    """What the names of one object say together. `label`: the member that names what its `value…` members hold."""

    members: tuple[Named, ...]
    keys: frozenset[str] = frozenset()
    label: str = ""
    odd: tuple[str, ...] = ()
    """Keys that are not plainly names, so that they may be PHI themselves."""


_LABELS = ("field", "key", "label", "column", "question", "attribute", "property", "parameter", "url", "name", "linkId")


def shape(keys: tuple[str, ...], under: str) -> Shape:
    """What each of an object's names says in the company of the others. `under`: normalised name it is found under.

    `name` counts as a person's unless the company is technical; `id` is a patient's among people's fields; `display`
    and `text` are names in a FHIR Reference and HumanName, `value` is an identifier in an Identifier.
    """
    if len(keys) <= KEPT_MEMBERS and len("".join(keys)) <= KEPT_CHARACTERS:
        return _kept_shape(keys, under)
    return _shape(keys, under)


def _shape(keys: tuple[str, ...], under: str) -> Shape:
    singles = [named(key) if len(key) <= LONGEST_NAME else Named("") for key in keys]
    company = frozenset(single.name for single in singles)
    under = singular(under)
    person = under in _PEOPLE or bool(company & _COMPANY_OF_PEOPLE)
    person = person or any(single.deep and single.phi in _IDENTIFYING for single in singles)
    members = tuple(_in_company(single, company, under, person=person) for single in singles)
    holds = any(single.name == "value" or single.name.startswith(("value_", "answer")) for single in singles)
    label = next((key for key in _LABELS if key in keys), "") if holds else ""
    odd = tuple(key for key in keys if not _PLAIN_KEY.fullmatch(key))
    return Shape(members, frozenset(keys), label, odd)


_kept_shape = lru_cache(maxsize=4096)(_shape)


def _in_company(single: Named, company: frozenset[str], under: str, *, person: bool) -> Named:
    match single.name:
        case "name" | "names":
            thing = under in _THINGS or (bool(company & _COMPANY_OF_THINGS) and not person)
            return single if thing else Named(single.name, Phi.NAME, weak=not person)
        case "day" | "month" if {"day", "month"} <= company:
            return Named(single.name, Phi.DATE)
        case "id" if person:
            return Named("id", Phi.MRN)
        case "display" if "reference" in company:
            return Named("display", Phi.NAME)
        case "text" if "family" in company or "given" in company:
            return Named("text", Phi.NAME)
        case "line" if company & {"city", "postal_code"}:
            return Named("line", Phi.GEO)
        case "value" if under == "identifier":
            return Named("value", Phi.UNIQUE_ID)
    return single


def singular(name: str) -> str:
    """`patients` -> `patient`: enough for names of tables and lists."""
    return name[:-1] if name.endswith("s") and not name.endswith("ss") else name
