"""What an object says of its values beyond the names of its members: labels, FHIR identifiers, blobs, headers."""

from __future__ import annotations

import re
from collections.abc import Collection

from gateway.core.masking.names import LONGEST_NAME, Named, named
from gateway.core.masking.phi import Phi
from gateway.core.types import Document, Json

_COLUMN_NAME = re.compile(r"[A-Za-z_][\w .-]{0,63}")


def blob_member(node: Document) -> str:
    """The member that holds base64 of something binary: MCP image, audio and blob content, FHIR Attachment."""
    if isinstance(node.get("blob"), str) and "uri" in node:
        return "blob"
    if isinstance(node.get("data"), str) and (
        node.get("type") in ("image", "audio") or "mimeType" in node or "contentType" in node
    ):
        return "data"
    return ""


def told(node: Document, label: str) -> Named | None:
    """What `{"field": "ssn", "value": …}` says of its value; FHIR extensions do the same with the end of a URL."""
    says = node.get(label) if label else None
    if not isinstance(says, str) or len(says) > 256:
        return None
    tail = says.rstrip("/").rsplit("/", 1)[-1]
    one = named(tail) if len(tail) <= LONGEST_NAME else Named("")
    if one.name == "name":
        return Named("name", Phi.NAME, weak=True)
    return one if one.phi is not None else None


_BY_TYPE = {"MR": Phi.MRN, "PI": Phi.MRN, "DL": Phi.LICENSE, "PPN": Phi.LICENSE, "NPI": Phi.LICENSE}
_BY_TYPE |= {"AN": Phi.ACCOUNT, "VN": Phi.ACCOUNT, "MB": Phi.HEALTH_PLAN, "MC": Phi.HEALTH_PLAN, "SN": Phi.HEALTH_PLAN}


def identifier(node: Document) -> Named:
    """The class of a FHIR Identifier's value, by its system and type (HL7 v2-0203)."""
    system = node.get("system")
    kind = node.get("type")
    coding = kind.get("coding") if isinstance(kind, dict) else None
    codes = [str(item.get("code")) for item in coding if isinstance(item, dict)] if isinstance(coding, list) else []
    if "SS" in codes or (isinstance(system, str) and "ssn" in system):
        return Named("ssn", Phi.SSN)
    found = next((_BY_TYPE[code] for code in codes if code in _BY_TYPE), Phi.UNIQUE_ID)
    return Named("identifier_value", found)


def header(first: list[Json], fields: Collection[str]) -> list[str] | None:
    """The column names that the first of several rows gives, if the dictionary or a rule (`fields`) knows one."""
    texts = [item for item in first if isinstance(item, str)]
    if not texts or len(texts) < len(first):
        return None
    # Databases name what has no name after its expression: `upper(x)` stands beside plain names.
    known = (named(text) for text in texts if _COLUMN_NAME.fullmatch(text))
    return texts if any(one.phi is not None or one.name in fields for one in known) else None
