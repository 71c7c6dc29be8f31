"""What a FHIR REST request would do, read as R4 reads it (HL7 FHIR R4: 3.1.0 RESTful API, 3.1.1 Search).

Policy decides on these facts, so they lean one way: whatever a server could read in another way than this is not
understood. That is so for a control parameter given twice, a path that is escaped, climbs (`Patient/../Observation`)
or leaves the server, a parameter that another one hides in, and a format that masking does not read. A patient is
claimed only where the specification defines the parameter for that type with Patient as its target: servers may ignore
a parameter they do not know (3.1.1.3.1), so `Practitioner?patient=1` asks for everybody. Never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes

import orjson

from gateway.core.types import Document, Json

Pairs = tuple[tuple[str, str], ...]
"""Search parameters in order, decoded."""

ENTRIES_MAX = 100
"""Requests in one batch; a longer one is not understood."""
TARGET_MAX = 8_192
"""Characters of a URL with its query."""

COMPARTMENTS = frozenset({"Patient", "Encounter", "RelatedPerson", "Practitioner", "Device"})
"""R4 2.36.3: the types whose instances have a compartment to search in."""

OF_PATIENT = frozenset(
    "Account AllergyIntolerance Appointment AppointmentResponse AuditEvent Basic BodyStructure CarePlan CareTeam "
    "ChargeItem Claim ClaimResponse ClinicalImpression Communication CommunicationRequest Composition Condition "
    "Consent Contract Coverage CoverageEligibilityRequest CoverageEligibilityResponse DetectedIssue Device "
    "DeviceRequest DeviceUseStatement DiagnosticReport DocumentManifest DocumentReference Encounter "
    "EnrollmentRequest EpisodeOfCare ExplanationOfBenefit FamilyMemberHistory Flag Goal GuidanceResponse "
    "ImagingStudy Immunization ImmunizationEvaluation ImmunizationRecommendation Invoice List MeasureReport Media "
    "MedicationAdministration MedicationDispense MedicationRequest MedicationStatement MolecularSequence "
    "NutritionOrder Observation Person Procedure Provenance QuestionnaireResponse RelatedPerson RequestGroup "
    "ResearchSubject RiskAssessment ServiceRequest Specimen SupplyDelivery Task VisionPrescription".split()
)
"""Types for which R4 defines the search parameter `patient`, whose only target is Patient."""
OF_SUBJECT = frozenset(
    "Account AdverseEvent Basic CarePlan CareTeam ChargeItem ClinicalImpression Communication "
    "CommunicationRequest Composition Condition Contract DeviceRequest DeviceUseStatement DiagnosticReport "
    "DocumentManifest DocumentReference Encounter EnrollmentRequest Flag Goal GuidanceResponse ImagingStudy "
    "Invoice List MeasureReport Media MedicationAdministration MedicationDispense MedicationRequest "
    "MedicationStatement Observation Procedure QuestionnaireResponse RequestGroup RiskAssessment ServiceRequest "
    "Specimen SupplyRequest Task".split()
)
"""Types with `subject`, which may also be a group or a device: it must say that it is a Patient."""

_ONCE = frozenset(
    "_count _summary _elements _format _pretty _total _contained _containedType _type _filter _offset _query".split()
)
"""Parameters that say how to answer (3.1.1.5); two of one kind are read differently by different servers."""
_FORMATS = frozenset({"json", "application/json", "application/fhir+json", "text/json"})
_SUMMARIES = frozenset({"true", "text", "data", "count", "false"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_READS = frozenset("read vread search history capabilities".split())

_STEP = re.compile(r"[A-Za-z0-9\-.]{1,64}")  # 2.24.0.1, `id`
_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")
_OPERATION = re.compile(r"\$[A-Za-z0-9\-_.]{1,63}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_:.\-]{0,199}")
_TARGET = re.compile(r"[!-~]*")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REFERENCE = re.compile(r"(?:Patient/)?([A-Za-z0-9\-.]{1,64})")
_INCLUDE = re.compile(r"\*|[A-Z][A-Za-z]{1,63}:(?:\*|[A-Za-z0-9\-_]{1,64})(?::[A-Z][A-Za-z]{1,63})?")


class Unclear(Exception):
    """The request could mean something else than it seems to; `str()` is a word for policy, never a value from it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in parts: path segments and parameters are decoded."""

    method: str
    steps: tuple[str, ...] = field(repr=False)
    pairs: Pairs = field(default=(), repr=False)
    body: Json = field(default=None, repr=False)
    conditional: bool = False
    """Whether it says on what condition it is to be carried out (`If-None-Exist` of a batch's entry)."""


@dataclass(frozen=True, slots=True)
class _Meant:
    """What kind of request it is, and about what."""

    interaction: str
    type: str = ""
    id: str = ""
    compartment: str = ""
    patient: str = ""
    operation: str = ""
    conditional: bool = False


def not_understood(why: str) -> Document:
    """The facts of a request that says something else to different readers."""
    return {"understood": False, "why": why, "requests": []}


def facts(asked: Asked, bases: tuple[str, ...] = ()) -> Document:
    """`{"understood", "why", "requests": […]}`: one request, or those of a batch; each as docs/policies.md describes.

    `bases`: URLs of the server, by which a batch may name it. `why` is a word, and empty when all is understood.
    """
    try:
        return {"understood": True, "why": "", "requests": [*_requests(asked, bases, nested=False)]}
    except Unclear as unclear:
        return not_understood(str(unclear))


def located(target: str, bases: tuple[str, ...]) -> tuple[tuple[str, ...], Pairs]:
    """Path and parameters of a URL: relative to the server, or below one of `bases`. Raises Unclear."""
    if len(target) > TARGET_MAX or not _TARGET.fullmatch(target) or "\\" in target or "#" in target:
        raise Unclear("characters")
    path, _, query = _below(target, bases).partition("?")
    if "://" in path or path.startswith("//") or ":" in path.partition("/")[0]:
        raise Unclear("elsewhere")
    path = path.removeprefix("/")
    return tuple(_unescaped(step) for step in path.split("/")) if path else (), pairs_of_text(query)


def pairs_of_text(query: str) -> Pairs:
    """The parameters of a query string or of a form (`application/x-www-form-urlencoded`). Raises Unclear."""
    if ";" in query:  # Some servers part parameters by it.
        raise Unclear("characters")
    found = []
    for piece in query.split("&") if query else ():
        name, _, value = piece.partition("=")
        found.append((_unescaped(name.replace("+", " ")), _unescaped(value.replace("+", " "))))
    return tuple(found)


def pairs_of_object(members: Document) -> Pairs:
    """The parameters of an object, `{"patient": "1", "code": ["a", "b"]}`, which a tool will write into a query.

    Raises Unclear for a value that would be more than a value if the tool forgot to escape it.
    """
    found: list[tuple[str, str]] = []
    for name, value in members.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                found.append((name, plain(one)))
    return tuple(found)


def plain(value: Json) -> str:
    """A scalar as it will stand in a URL. Raises Unclear where it could be taken for more than one value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value) if isinstance(value, int | float) else value
    if not isinstance(text, str) or any(char in text for char in "&#%;?"):
        raise Unclear("argument")
    return text


def _requests(asked: Asked, bases: tuple[str, ...], *, nested: bool) -> Iterator[Document]:
    if asked.method not in _METHODS:
        raise Unclear("method")
    if asked.method == "POST" and not asked.steps:
        if nested:
            raise Unclear("nested_batch")
        for entry in _entries(asked.body, bases):
            yield from _requests(entry, bases, nested=True)
        return
    if asked.method == "POST" and asked.steps[-1] == "_search":
        asked = replace(asked, pairs=asked.pairs + _form(asked.body))  # 3.1.0.10: of both the URL and the body.
    yield _request(asked, _meant(asked))


def _entries(body: Json, bases: tuple[str, ...]) -> Iterator[Asked]:
    """The requests of a batch or transaction (3.1.0.11)."""
    if isinstance(body, str):
        try:
            body = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Unclear("batch") from None
    match body:
        case {"resourceType": "Bundle", "type": "batch" | "transaction", "entry": list(entries)}:
            pass
        case _:
            raise Unclear("batch")
    if not 0 < len(entries) <= ENTRIES_MAX:
        raise Unclear("batch")
    for entry in entries:
        yield _entry(entry, bases)


def _entry(entry: Json, bases: tuple[str, ...]) -> Asked:
    asked = entry.get("request") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(asked, dict):
        raise Unclear("batch")
    method, url = asked.get("method"), asked.get("url")
    if not isinstance(method, str) or not isinstance(url, str):
        raise Unclear("batch")
    steps, pairs = located(url, bases)
    return Asked(method, steps, pairs, entry.get("resource"), conditional="ifNoneExist" in asked)


def _form(body: Json) -> Pairs:
    match body:
        case None:
            return ()
        case str():
            return pairs_of_text(body)
        case dict():
            return pairs_of_object(body)
    raise Unclear("body")


def _meant(asked: Asked) -> _Meant:
    """The interaction (3.1.0.1): by method and the shape of the path. Raises Unclear for every other shape."""
    method = "GET" if asked.method == "HEAD" else asked.method
    steps = asked.steps
    if steps and steps[-1] == "_search" and method == "POST":
        method, steps = "GET", steps[:-1]
        if len(steps) == 2:
            raise Unclear("path")
    if any(not _is_step(step) for step in steps):
        raise Unclear("path")
    match (method, *steps):
        case ("GET",):
            return _Meant("search")
        case ("GET", "metadata"):
            return _Meant("capabilities")
        case ("GET", "_history"):
            return _Meant("history")
        case ("GET" | "POST", operation) if _OPERATION.fullmatch(operation):
            return _Meant("operation", operation=operation)
        case (_, kind, *rest) if _TYPE.fullmatch(kind):
            return _of_type(method, kind, rest)
    raise Unclear("path")


def _of_type(method: str, kind: str, rest: list[str]) -> _Meant:
    match (method, *rest):
        case ("GET",):
            return _Meant("search", kind)
        case ("POST",):
            return _Meant("create", kind)
        case ("PUT" | "PATCH" | "DELETE",):
            return _Meant(_CHANGES[method], kind, conditional=True)
        case ("GET", "_history"):
            return _Meant("history", kind)
        case ("GET" | "POST", operation) if _OPERATION.fullmatch(operation):
            return _Meant("operation", kind, operation=operation)
        case (_, ident, *more) if _STEP.fullmatch(ident):
            return _of_instance(method, kind, ident, more)
    raise Unclear("path")


_CHANGES = {"PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def _of_instance(method: str, kind: str, ident: str, rest: list[str]) -> _Meant:
    home = kind if kind in COMPARTMENTS else ""
    at = _Meant("read", kind, ident, home, ident if kind == "Patient" else "")
    match (method, *rest):
        case ("GET",):
            return at
        case ("PUT" | "PATCH" | "DELETE",):
            return replace(at, interaction=_CHANGES[method])
        case ("GET", "_history"):
            return replace(at, interaction="history")
        case ("GET", "_history", version) if _STEP.fullmatch(version):
            return replace(at, interaction="vread")
        case ("GET" | "POST", operation) if _OPERATION.fullmatch(operation):
            return replace(at, interaction="operation", operation=operation)
        case ("GET", inner) if home and (inner == "*" or _TYPE.fullmatch(inner)):
            return replace(at, interaction="search", type="" if inner == "*" else inner, id="")
    raise Unclear("path")


def _request(asked: Asked, meant: _Meant) -> Document:
    given = _given(asked.pairs)
    compartment = meant.compartment
    patients: list[Json] = [meant.patient] if meant.patient else []
    if meant.interaction == "search" and not compartment:
        patients = _patients(meant.type, given)
        compartment = "Patient" if patients else ""
    operation_writes = meant.interaction == "operation" and asked.method == "POST"
    return {
        "interaction": meant.interaction,
        "type": meant.type,
        "id": meant.id,
        "operation": meant.operation,
        "writes": meant.interaction not in _READS and (meant.interaction != "operation" or operation_writes),
        "conditional": meant.conditional or asked.conditional,
        "compartment": compartment,
        "patients": patients,
        "count": _count(given),
        "summary": given["_summary"][0] if "_summary" in given else "",
        "elements": [*given["_elements"][0].split(",")] if "_elements" in given else [],
        "includes": _includes(given, "_include"),
        "revincludes": _includes(given, "_revinclude"),
        "iterate": any(name.startswith(("_include:", "_revinclude:")) for name in given),
        "chained": any("." in name or name.startswith("_has:") for name in given),
        "parameters": [*sorted(given)],
    }


def _given(pairs: Pairs) -> dict[str, list[str]]:
    """The values of each parameter. Raises Unclear for those that would be read in more than one way."""
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if not _NAME.fullmatch(name) or _CONTROL.search(value):
            raise Unclear("parameter")
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        plain_name, modifier, _ = name.partition(":")
        if plain_name in _ONCE and (modifier or len(values) > 1):
            raise Unclear("repeated" if not modifier else "parameter")
        if plain_name in ("_include", "_revinclude") and name not in _INCLUDES:
            raise Unclear("parameter")
    if "_query" in given:  # 3.1.1.7: the server's own search, in which other parameters mean what it likes.
        raise Unclear("named_query")
    if given.get("_format", ["json"])[0] not in _FORMATS:
        raise Unclear("format")
    if given.get("_summary", ["false"])[0] not in _SUMMARIES:
        raise Unclear("parameter")
    return given


_INCLUDES = frozenset(f"{name}{how}" for name in ("_include", "_revinclude") for how in ("", ":iterate", ":recurse"))


def _count(given: Mapping[str, list[str]]) -> int | None:
    if "_count" not in given:
        return None
    said = given["_count"][0]
    if not re.fullmatch(r"[0-9]{1,9}", said):
        raise Unclear("parameter")
    return int(said)


def _includes(given: Mapping[str, list[str]], name: str) -> list[Json]:
    found: list[Json] = []
    for how in ("", ":iterate", ":recurse"):
        for value in given.get(name + how, []):
            if not _INCLUDE.fullmatch(value):
                raise Unclear("parameter")
            found.append(value)
    return found


def _patients(kind: str, given: Mapping[str, list[str]]) -> list[Json]:
    """The patients that a search is bound to; none where one of the values could be anything else."""
    names: dict[str, bool] = {}
    if kind == "Patient":
        names["_id"] = False
    if kind in OF_PATIENT:
        names.update({"patient": False, "patient:Patient": False})
    if kind in OF_SUBJECT:
        names.update({"subject": True, "subject:Patient": False})
    found: list[Json] = []
    for name, qualified in names.items():
        for value in given.get(name, []):
            for one in value.split(","):
                match = _REFERENCE.fullmatch(one)
                if match is None or (qualified and not one.startswith("Patient/")):
                    return []
                found.append(match[1])
    return found


def _is_step(step: str) -> bool:
    known = step in ("_history", "*") or _OPERATION.fullmatch(step) or _STEP.fullmatch(step)
    return step not in (".", "..") and bool(known)


def _below(target: str, bases: tuple[str, ...]) -> str:
    for base in bases:
        root = base.rstrip("/") if not base.endswith("://") else base
        if target == root:
            return ""
        if target.startswith(root) and (root.endswith("://") or target[len(root)] in "/?"):
            return target[len(root) :]
    return target


def _unescaped(text: str) -> str:
    """Percent-decoded once. Raises Unclear where that is not text, or is escaped again."""
    if "%" not in text:
        return text
    if _ESCAPE.search(text):
        raise Unclear("escapes")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Unclear("escapes") from None
    if re.search(r"%[0-9A-Fa-f]{2}", decoded):
        raise Unclear("escapes")
    return decoded
