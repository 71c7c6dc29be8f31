"""What a grant is: something that a client presents, and for which the authority issues a token, or says why not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway.core.errors import GrantRefused
from gateway.core.types import Document, Principal
from gateway.identity.authority.settings import ClientConfig

Form = Mapping[str, str]
"""The parameters of a token request, each there once (RFC 6749 §3.2)."""


class Code(Enum):
    """The errors of a token endpoint: RFC 6749 §5.2, and RFC 8707 §2 for the resource."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"


@dataclass(frozen=True, slots=True)
class Granted:
    """What a grant allows."""

    principal: Principal
    """For whom, by the names of whoever vouched: a person is the same person, however they came."""
    resource: str
    """At what (RFC 8707). It need not be one of ours: the authority checks that."""
    lifetime_s: float = math.inf
    """At most for how long."""
    scope: str = ""
    once: str = ""
    """Names what was presented, if that is good for one token: a second time nothing is issued. See `spent_key`."""
    evidence: Document = field(default_factory=dict)
    """Further members of the leaf that says so. Nothing in them is PHI, or a secret."""


class Grant(Protocol):
    """One grant type."""

    grant_type: str
    metadata: Document
    """What the authority's metadata says beside the grant type (RFC 8414 §2)."""

    async def authorise(self, form: Form, client: ClientConfig) -> Granted:
        """What the client, which has proved who it is, is granted for what it presents.

        Raises GrantRefused, or IdentityUnavailable when nobody can say whether to grant it.
        """


def refusal(code: Code, detail: str) -> GrantRefused:
    """The fault to raise. `detail` repeats nothing of the request: it is told to the client as it is."""
    return GrantRefused(detail, code=code.value)


def need(form: Form, name: str) -> str:
    """A parameter that must be there."""
    if not form.get(name):
        raise refusal(Code.INVALID_REQUEST, f"the parameter {name} is missing")
    return form[name]
