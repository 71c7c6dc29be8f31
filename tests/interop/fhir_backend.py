"""A FHIR R4B server over synthetic patients. Run as a program, on the libraries that tests/python/backends.txt locks.

    python -m tests.interop.fhir_backend PORT

The library reads the types of its handlers, so that there are no postponed annotations in this file.
"""

import os
import sys

os.environ["FHIR_SEQUENCE"] = "R4B"  # Before the library is imported: it reads it then.

import uvicorn
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.patient import Patient
from fhirstarter import FHIRProvider, FHIRStarter, InteractionContext
from fhirstarter.exceptions import FHIRResourceNotFoundError

PATIENTS = 40


def patient(number: int) -> dict[str, object]:
    """One synthetic patient, as FHIR has it."""
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "identifier": [{"system": "http://hl7.org/fhir/sid/us-ssn", "value": f"912-34-{7000 + number}"}],
        "name": [{"family": "Quillfeather", "given": ["Ada"]}],
        "gender": "female",
        "birthDate": "1950-01-02",
        "telecom": [{"system": "phone", "value": "+1 555 0100"}],
    }


RECORDS = {str(each["id"]): each for each in map(patient, range(1, PATIENTS + 1))}
provider = FHIRProvider()


@provider.read(Patient)
async def read(context: InteractionContext, id_: str) -> Patient:
    if id_ not in RECORDS:
        raise FHIRResourceNotFoundError
    return Patient(**RECORDS[id_])


@provider.search_type(Patient)
async def search(context: InteractionContext, family: str | None, _id: str | None) -> Bundle:
    found = [each for each in RECORDS.values() if _id in (None, each["id"])]
    return Bundle(type="searchset", total=len(found), entry=[{"resource": each} for each in found] or None)


@provider.delete(Patient)
async def delete(context: InteractionContext, id_: str) -> None:
    RECORDS.pop(id_, None)


if __name__ == "__main__":
    app = FHIRStarter()
    app.add_providers(provider)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="critical")
