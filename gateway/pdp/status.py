"""How the policy in force came to be, and what became of the newest: for readiness, the console and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from gateway.core.types import Document


class Trouble(Enum):
    """Why the newest bundle is not in force, with what may be told to anyone who asks."""

    DOWNLOAD = "download_error"
    BUNDLE = "bundle_error"
    RECORD = "record_error"


_TOLD = {
    Trouble.DOWNLOAD: "The bundle server could not be asked; the bundle in force stays.",
    Trouble.BUNDLE: "The newest bundle was refused; the one before stays in force. The logger says why.",
    Trouble.RECORD: "The newest bundle could not be put on record; the one before stays in force.",
}


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """In the words of OPA's bundle status (Management APIs, Status). Times are UTC; None until it happened."""

    source: str
    """The path or the URL that bundles come from; no URL of ours holds credentials."""
    name: str = ""
    active_revision: str = ""
    digest: str = ""
    """SHA-256 of the active bundle's archive, as evidence has it."""
    size: int = 0
    """Bytes of the active bundle's archive."""
    from_archive: bool = False
    """Whether the active bundle is the archived one, because the source had none to start with."""
    last_request: datetime | None = None
    last_successful_request: datetime | None = None
    last_successful_download: datetime | None = None
    last_successful_activation: datetime | None = None
    trouble: Trouble | None = None
    message: str = ""
    """Why, in full: it can quote policy, so it is for operators and not for everyone."""
    http_code: int | None = None

    def public(self) -> Document:
        """What readiness shows to anyone who reaches the port: OPA's names, no text out of a policy, no path."""
        shown: Document = {"type": "snapshot"}
        for key, value in (
            ("name", self.name),
            ("active_revision", self.active_revision),
            ("digest", self.digest),
            ("size", self.size),
        ):
            shown[key] = value
        for key in (
            "last_request",
            "last_successful_request",
            "last_successful_download",
            "last_successful_activation",
        ):
            moment: datetime | None = getattr(self, key)
            if moment is not None:
                shown[key] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if self.from_archive:
            shown["from_archive"] = True
        if self.trouble is not None:
            shown |= {"code": self.trouble.value, "message": _TOLD[self.trouble]}
        if self.http_code is not None:
            shown["http_code"] = self.http_code
        return shown
