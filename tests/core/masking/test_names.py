"""The dictionary of field names."""

from __future__ import annotations

import pytest

from gateway.core.masking import names
from gateway.core.masking.phi import Phi


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("PatientSSN", "patient_ssn"),
        ("patientSsn", "patient_ssn"),
        ("p.patient_ssn", "patient_ssn"),
        ("Patient SSN", "patient_ssn"),
        ("patient-ssn#", "patient_ssn"),
        ("dateOfBirth", "date_of_birth"),
        ("HTTPServer2", "http_server2"),
        ("", ""),
        ("...", ""),
    ],
)
def test_names_are_normalised(name: str, plain: str) -> None:
    assert names.normalise(name) == plain


@pytest.mark.parametrize(
    ("name", "phi"),
    [
        ("ssn", Phi.SSN),
        ("PATIENT_SSN", Phi.SSN),
        ("socialSecurityNumber", Phi.SSN),
        ("mrn", Phi.MRN),
        ("patientId", Phi.MRN),
        ("patientid", Phi.MRN),
        ("PAT_ID", Phi.MRN),
        ("firstName", Phi.NAME),
        ("mother_maiden_name", Phi.NAME),
        ("emergencyContact", Phi.NAME),
        ("user_name", Phi.NAME),
        ("dob", Phi.BIRTH_DATE),
        ("birthDate", Phi.BIRTH_DATE),
        ("admit_date", Phi.DATE),
        ("created_at", Phi.DATE),
        ("effectiveDateTime", Phi.DATE),
        ("homePhone", Phi.PHONE),
        ("fax_no", None),
        ("email_address", Phi.EMAIL),
        ("ip_address", Phi.IP),
        ("home_address", Phi.GEO),
        ("zipCode", Phi.ZIP),
        ("postalCode", Phi.ZIP),
        ("member_id", Phi.HEALTH_PLAN),
        ("accountNumber", Phi.ACCOUNT),
        ("npi", Phi.LICENSE),
        ("vin", Phi.VEHICLE),
        ("device_serial", Phi.DEVICE),
        ("website", Phi.URL),
        ("fingerprint", Phi.BIOMETRIC),
        ("photo", Phi.PHOTO),
        ("encounter_id", Phi.UNIQUE_ID),
        ("age", Phi.AGE),
        ("tool_name", None),
        ("drug_name", None),
        ("file_name", None),
        ("diagnosis", None),
        ("value", None),
        ("state", None),
        ("count", None),
        ("page", None),
        ("image_count", None),
    ],
)
def test_a_name_has_the_class_that_its_tail_says(name: str, phi: Phi | None) -> None:
    assert names.named(name).phi is phi


@pytest.mark.parametrize(
    ("keys", "under", "phi"),
    [
        (("name", "dob"), "", Phi.NAME),
        (("name", "diagnosis"), "rows", Phi.NAME),
        (("name", "code"), "", None),
        (("name", "dose"), "medications", None),
        (("name",), "tools", None),
        (("name",), "patients", Phi.NAME),
    ],
)
def test_a_bare_name_is_a_persons_unless_its_company_is_technical(
    keys: tuple[str, ...], under: str, phi: Phi | None
) -> None:
    assert names.shape(keys, under).members[0].phi is phi


def test_a_bare_id_is_a_patients_among_peoples_fields() -> None:
    assert names.shape(("id", "first_name"), "").members[0].phi is Phi.MRN
    assert names.shape(("id", "label"), "").members[0].phi is None


def test_fhir_names_are_read_in_their_company() -> None:
    assert names.shape(("reference", "display"), "subject").members[1].phi is Phi.NAME
    assert names.shape(("system", "code", "display"), "coding").members[2].phi is None
    assert names.shape(("line", "city"), "address").members[0].phi is Phi.GEO
