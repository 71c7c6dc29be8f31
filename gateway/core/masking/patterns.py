"""What PHI looks like in running text: google-re2 patterns over folded bytes, all of them in one pass.

`re2.Set` says which patterns occur at all, then only those are searched. Linear time whatever the input. Where a
number alone proves nothing the words before it are part of the pattern, and the group is the value. A checksum that
fails never unmasks: a mistyped SSN is still PHI, so there are no checksums here. Every pattern has a canary; one that
does not find its own stops the import, because a pattern that is silently dead is a leak.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import re2

from gateway.core.errors import InternalFault
from gateway.core.masking.phi import Phi

_MEMORY = 64 << 20
_GAP = r"[\s:#=.'\"*\[(-]{0,6}"
_LINK = r"(?:(?:number|no|num|nr|id|is|of|was|ending|in|last 4|last four)\b" + _GAP + r"){0,3}"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_YEAR = r"(?:18|19|20)\d\d"
_M = r"(?:0?[1-9]|1[0-2])"
_D = r"(?:0?[1-9]|[12]\d|3[01])"
_TIME = r"(?:[T ][0-2]\d:?[0-5]\d(?::?[0-5]\d(?:\.\d+)?)?(?: ?Z|[+-]\d\d:?\d\d)?)?"
_DATE = (
    rf"(?:{_YEAR}[-/.]{_M}[-/.]{_D}{_TIME}|{_M}[-/]{_D}[-/](?:{_YEAR}|\d\d)|{_D}[-/.]{_M}[-/.]{_YEAR}"
    rf"|{_M}\.{_D}\.{_YEAR}|{_MONTH} {_D}(?:st|nd|rd|th)?(?:,? {_YEAR})?"
    rf"|{_D}(?:st|nd|rd|th)?(?: of)?[ -]{_MONTH}(?:,?[ -](?:{_YEAR}|\d\d))?|{_MONTH},? {_YEAR})"
)
_STREET = (
    r"(?:street|st|avenue|ave|av|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|way|place|pl|terrace|ter|circle|cir"
    r"|highway|hwy|parkway|pkwy|square|sq|trail|trl|alley|aly|run|row|walk|path|pike|loop|crossing|xing|ridge|mill"
    r"|mills|underpass|trafficway|throughway|station|view|vista|garden|gardens|grove|heights|hill|hollow|key|knoll"
    r"|landing|manor|meadow|orchard|park|plaza|point|quay|shoal|spur|summit|track|union|village|ville|wall|estate"
    r"|bay|branch|bridge|brook|camp|club|common|corner|cove|creek|dale|dam|divide|extension|ferry|field|flat|ford"
    r"|forest|fork|fort|gate|glen|green|harbor|haven|island|isle|junction|lake|light|loaf|lock|lodge|mall|mission"
    r"|neck|overpass|passage|port|prairie|ramp|ranch|rapid|rest|river|shore|skyway|spring|stravenue|stream|tunnel"
    r"|turnpike|valley|viaduct|well)s?"
)
_STATE = (
    r"(?:A[LKSZRAEP]|C[AOT]|D[EC]|FL|G[AU]|HI|I[DLNA]|K[SY]|LA|M[ADEHINOPST]|N[CDEHJMVY]|O[HKR]|P[AR]|RI|S[CD]|T[NX]"
    r"|UT|V[AIT]|W[AIVY])"
)
_CAP = r"[A-Z][A-Za-z0-9'-]+"
_LOWER_NAME = r"(?:van|von|de|del|der|di|la|le|bin|al)"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One way a class is written. `name` is the detector in manifests; the value is group 1, or all of it."""

    name: str
    phi: Phi
    text: str
    canary: str
    """A text in which the pattern must find itself."""


PATTERNS = (
    Pattern("ssn", Phi.SSN, r"\b\d{3}[- .]\d\d[- .]\d{4}\b", "x 123-45-6789"),
    Pattern(
        "ssn-context",
        Phi.SSN,
        rf"(?i)\b(?:ssn|social security|soc sec|tax id|tin|itin)\b{_GAP}{_LINK}(\d[\d .-]{{2,13}}\d)",
        "SSN: 123456789",
    ),
    Pattern(
        "phone",
        Phi.PHONE,
        r"(?:^|[^0-9A-Za-z.])((?:\+?1[-. ]?)?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4})\b",
        "(555) 123-4567",
    ),
    Pattern("phone-international", Phi.PHONE, r"\+\d{1,3}[ .-]?\(?\d[\d ().-]{6,14}\d\b", "+44 20 7946 0958"),
    Pattern(
        "phone-context",
        Phi.PHONE,
        rf"(?i)\b(?:phone|tel|telephone|mobile|cell|call|pager)\b{_GAP}{_LINK}(\+?\(?\d[\d ().-]{{5,16}}\d)",
        "phone 555-1234",
    ),
    Pattern("fax-context", Phi.FAX, rf"(?i)\bfax\b{_GAP}{_LINK}(\+?\(?\d[\d ().-]{{5,16}}\d)", "Fax: 555-123-4567"),
    Pattern(
        "email",
        Phi.EMAIL,
        r"[A-Za-z0-9._%+-]+(?:'[A-Za-z0-9._%+-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,24}",
        "a@b.org",
    ),
    Pattern("url", Phi.URL, r"(?i)\b(?:(?:https?|ftp|s?ftp|s3)://|www\.|mailto:)[^\s\"'<>\x00]+", "https://x.org/a"),
    Pattern("ipv4", Phi.IP, r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b", "10.1.2.3"),
    Pattern(
        "ipv6",
        Phi.IP,
        r"(?i)\b(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}|(?:[0-9a-f]{1,4}:){1,6}:(?:[0-9a-f]{1,4}:){0,5}[0-9a-f]{1,4})\b",
        "2001:db8::1",
    ),
    Pattern("mac", Phi.DEVICE, r"(?i)\b(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}\b", "00:1a:2b:3c:4d:5e"),
    Pattern("date", Phi.DATE, rf"(?i)\b{_DATE}\b", "seen 2020-01-31"),
    Pattern(
        "date-object", Phi.DATE, r"\bdatetime\.(?:date|datetime)\([\d, ]+[^)\x00]{0,40}\)", "datetime.date(2020, 1, 3)"
    ),
    Pattern(
        "birth-context",
        Phi.BIRTH_DATE,
        rf"(?i)\b(?:dob|d\.o\.b|date of birth|birth ?date|birthday|born)\b{_GAP}(?:(?:is|was|on|in)\b{_GAP}){{0,2}}"
        rf"({_DATE}|{_YEAR}(?:\d{{4}})?|\d{{1,2}}[-/. ]\d{{1,2}}[-/. ]\d{{2,4}})\b",
        "DOB: 01/31/1950",
    ),
    Pattern("age", Phi.AGE, r"(?i)\bage[ds]?\b[\s:=]{0,3}(?:of |is )?(9\d|1[0-4]\d)(?:[^+\w]|$)", "aged 93"),
    Pattern(
        "age-years",
        Phi.AGE,
        r"(?i)\b(9\d|1[0-4]\d)[- ]?(?:y/?o\b|y\.o\.|yrs?\b|years?[- ](?:old|of age)\b)",
        "93-year-old",
    ),
    Pattern(
        "mrn-context",
        Phi.MRN,
        rf"(?i)\b(?:mrn|medical record|chart|patient (?:id|no|number)|pt id|emr|ehr)\b{_GAP}{_LINK}"
        r"([a-z]{0,5}-?\d[a-z0-9-]{2,38})\b",
        "MRN 004711",
    ),
    Pattern("fhir-reference", Phi.MRN, r"\b(?:Patient|RelatedPerson|Person)/([A-Za-z0-9._-]{1,64})", "Patient/17"),
    Pattern(
        "mbi",
        Phi.HEALTH_PLAN,
        r"(?i)\b[1-9][ac-hjkmnp-rt-y][0-9ac-hjkmnp-rt-y]\d-?[ac-hjkmnp-rt-y][0-9ac-hjkmnp-rt-y]\d-?"
        r"[ac-hjkmnp-rt-y]{2}\d\d\b",
        "1EG4-TE5-MK73",
    ),
    Pattern(
        "plan-context",
        Phi.HEALTH_PLAN,
        rf"(?i)\b(?:member|subscriber|policy|beneficiary|medicare|medicaid|insurance|group|mbi|hicn)\b{_GAP}{_LINK}"
        r"([a-z]{0,5}-?\d[a-z0-9-]{4,20})\b",
        "Member ID: W12345678",
    ),
    Pattern(
        "account-context",
        Phi.ACCOUNT,
        rf"(?i)\b(?:account|acct|har|csn|invoice|iban|card)\b{_GAP}{_LINK}([a-z]{{0,4}}-?\d[a-z0-9 -]{{3,24}}\d)\b",
        "account no. 00123456",
    ),
    Pattern(
        "card",
        Phi.ACCOUNT,
        r"\b(?:(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|6011|65\d\d)[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}"
        r"|3[47]\d\d[ -]?\d{6}[ -]?\d{5})\b",
        "4111 1111 1111 1111",
    ),
    Pattern(
        "license-context",
        Phi.LICENSE,
        rf"(?i)\b(?:npi|dea|dl|driver'?s licen[sc]e|licen[sc]e|passport)\b{_GAP}{_LINK}"
        rf"([a-z]{{0,3}}-?\d[a-z0-9-]{{3,18}})\b",
        "NPI 1234567893",
    ),
    Pattern("vin", Phi.VEHICLE, r"\b[1-9JKLSTWVYZ][A-HJ-NPR-Z][A-HJ-NPR-Z0-9]{10}[0-9]{5}\b", "1HGCM82633A004352"),
    Pattern(
        "vehicle-context",
        Phi.VEHICLE,
        rf"(?i)\b(?:vin|plate)\b{_GAP}{_LINK}([a-z0-9]{{1,4}}[ -]?[a-z]{{0,3}}\d[a-z0-9-]{{1,16}})\b",
        "plate 7ABC123",
    ),
    Pattern(
        "device-context",
        Phi.DEVICE,
        rf"(?i)\b(?:serial|udi|device|implant|imei|s/n)\b{_GAP}{_LINK}([a-z]{{0,5}}-?\d[a-z0-9-]{{3,30}})\b",
        "serial no. SN-4711-A",
    ),
    Pattern("udi", Phi.DEVICE, r"\(01\)\d{14}[\w()/.-]{0,60}", "(01)00844588003288"),
    Pattern(
        "uuid",
        Phi.UNIQUE_ID,
        r"(?i)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
        "x " + "0" * 8 + "-0000-0000-0000-" + "0" * 12,
    ),
    Pattern(
        "id-context",
        Phi.UNIQUE_ID,
        rf"(?i)\b(?:accession|claim|encounter|visit|case|specimen|prescription|rx|referral)\b{_GAP}{_LINK}"
        r"([a-z]{0,5}-?\d[a-z0-9-]{4,30})\b",
        "accession A-2020-004711",
    ),
    Pattern(
        "street",
        Phi.GEO,
        rf"(?i)\b\d{{1,6}}[a-z]? (?:[nsew]\.? |north |south |east |west )?(?:[a-z][a-z0-9'.-]* ){{1,4}}{_STREET}\b"
        r"(?:\.?,? (?:apt|apartment|suite|ste|unit|#)\.? ?[a-z0-9-]+)?",
        "12 Main Street",
    ),
    Pattern("po-box", Phi.GEO, r"(?i)\bp\.?o\.? box \d+", "P.O. Box 12"),
    Pattern(
        "city-state",
        Phi.GEO,
        rf"\b((?:{_CAP} ){{0,2}}{_CAP}),? {_STATE}\b(?:[ ,]+\d{{5}}|[.,;)\x00]|$)",
        "Boston, MA 02139",
    ),
    Pattern("coordinates", Phi.GEO, r"-?\b\d{1,3}\.\d{3,}, ?-?\d{1,3}\.\d{3,}\b", "42.5363, -71.6485"),
    Pattern(
        "zip-context",
        Phi.ZIP,
        rf"(?i)\b(?:zip|zip code|postal code|postcode)\b{_GAP}(\d{{5}}(?:-\d{{4}})?)\b",
        "zip: 02139",
    ),
    Pattern("zip-state", Phi.ZIP, rf"\b(?:{_STATE}|[A-Z][a-z]+),? (\d{{5}}(?:-\d{{4}})?)\b", "MA 02139"),
    Pattern("zip4", Phi.ZIP, r"\b\d{5}-\d{4}\b", "02139-4307"),
    Pattern(
        "titled-name",
        Phi.NAME,
        r"\b(?:Mr|Mrs|Ms|Mx|Dr|Miss|Prof)\b\.? "
        rf"((?:{_LOWER_NAME} )?{_CAP}(?: [A-Z]\.)?(?: (?:{_LOWER_NAME} )?{_CAP}){{0,3}})",
        "Mrs. Ann Smith",
    ),
    Pattern(
        "patient-name",
        Phi.NAME,
        rf"\b(?:[Pp]atient|[Pp]t|[Mm]ember|[Ss]pouse|[Mm]other|[Ff]ather|[Dd]aughter|[Ss]on|[Ww]ife|[Hh]usband)"
        rf"(?:'s name)?,? (?:is |named |was )?({_CAP}(?: [A-Z]\.)?(?: {_CAP}){{1,3}})",
        "patient Ann Smith",
    ),
    Pattern("name-comma", Phi.NAME, r"\b([A-Z][A-Z'-]+[0-9]*, [A-Z][A-Z'-]+[0-9]*(?: [A-Z]\.?)?)\b", "SMITH, ANN"),
)

# Not PHI themselves: signs that a text must be read in another way (layers.py, tables.py).
GATES = {
    "pairs": r"[A-Za-z0-9)][\"']?[ \t]*[:=]",
    "base64": r"[A-Za-z0-9+/_-]{15,}",
    "percent": r"%[0-9A-Fa-f]{2}",
    "entity": r"&(?:#x?[0-9A-Fa-f]+|[A-Za-z]{2,8});",
    "escape": r"\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|\d)",
    "markup": r"[0-9A-Za-z@.-](?:<[^<>\x00]{0,80}>|[*_`~]{1,3})+[0-9A-Za-z@.-]",
    "spaced": r"(?:[0-9A-Za-z@.()/-] ){6,}[0-9A-Za-z]",
}


class Hit(NamedTuple):
    """A place in scanned bytes where a pattern found its value."""

    start: int
    end: int
    phi: Phi
    detector: str


_TEXTS = [pattern.text for pattern in PATTERNS] + list(GATES.values())
_COMPILED = [re2.compile(text.encode()) for text in _TEXTS]
_GROUP = [min(compiled.groups, 1) for compiled in _COMPILED]
_MATCH = [compiled._regexp.Match for compiled in _COMPILED]
_ANYWHERE = re2._Anchor.UNANCHORED
"""What `finditer` of the library's Python side calls, which spends as long on each match again. Canaries notice if that
should ever change."""
_GATE = {len(PATTERNS) + index: name for index, name in enumerate(GATES)}


def _set() -> re2.Set:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.encoding = re2.Options.Encoding.LATIN1  # Bytes are ASCII once folded; another is a byte, and no fault.
    options.log_errors = False
    found = re2.Set.SearchSet(options)
    for text in _TEXTS:
        found.Add(text.encode())
    found.Compile()
    return found


_SET = _set()
_MATCH_ALL = _SET._set.Match
"""Which of all texts match, in no order; what `Match` of the library's Python side calls."""
_AS_NAMED = {
    phi: frozenset([index for index, pattern in enumerate(PATTERNS) if pattern.phi in phi.wider]) for phi in Phi
}
"""The patterns of a class and of those that take it."""
_LONGEST_WORD = 14
"""One less than what may be base64."""


def is_word(text: str) -> bool:
    """Whether a text is letters or digits and nothing else, in which no pattern and no gate ever is: each wants both of
    them, or a mark or a space."""
    return len(text) <= _LONGEST_WORD and (text.isalpha() or text.isdigit()) and text.isascii()


def occurring(data: bytes) -> tuple[list[int], frozenset[str]]:
    """Which patterns occur in `data` (indices, for `search`) and which gates are open."""
    found = sorted(_MATCH_ALL(data))
    patterns = bisect_left(found, len(PATTERNS))
    return found[:patterns], frozenset([_GATE[index] for index in found[patterns:]])


def are_plainly(phi: Phi, data: bytes) -> bool:
    """Whether nothing in `data` is of another class than `phi` or one that takes it, nor to be read in another way."""
    # What has lines may be a table. A gate's index is none of a pattern's.
    return b"\n" not in data and _AS_NAMED[phi].issuperset(_MATCH_ALL(data))


def search(data: bytes, indices: list[int]) -> Iterator[Hit]:
    """Every value that the given patterns find in `data`."""
    size = len(data)
    for index in indices:
        pattern, group, match = PATTERNS[index], _GROUP[index], _MATCH[index]
        at = 0
        while True:
            spans = match(_ANYWHERE, data, at, size)
            at = spans[0][1]
            if at <= 0:  # Nothing (-1), or an empty match at the very beginning, which no pattern has.
                break
            start, end = spans[group]
            yield Hit(start, end, pattern.phi, pattern.name)


def _check_canaries() -> None:
    for index, pattern in enumerate(PATTERNS):
        data = pattern.canary.encode()
        indices, _ = occurring(data)
        if index not in indices or not any(search(data, [index])):
            raise InternalFault(f"The PHI pattern {pattern.name!r} does not find its own canary; the build is broken.")


_check_canaries()
