"""Asks Microsoft Graph for the groups of a person whose token only says that they are too many (Entra ID, overage).

The link in the token is not followed: it leads to Azure AD Graph, which is retired, and where our credentials are sent
is for the configuration to say. Asked is `getMemberGroups` of v1.0, which is transitive as the claim is. An answer is
used for `cache_s`, a failure for a moment; whoever asks for the same person meanwhile waits for the same answer.
Whatever goes wrong is IdentityUnavailable: nobody counts as somebody without groups because we could not ask.
"""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
import orjson
import trio

from gateway.core.errors import IdentityUnavailable
from gateway.core.types import Json
from gateway.identity import groups, oidc
from gateway.identity.settings import MAX_GROUPS, GraphConfig

RETRY_S = 5.0
"""Least time between two questions about the same person after one that failed."""
KEPT = 4096
"""Answers that are remembered, some 30 KB each at the very most."""
AT_ONCE = 8
"""Questions under way; Graph throttles who asks more."""
_MARGIN_S = 60.0
"""Our own token is not used in its last minute."""

logger = logging.getLogger(__name__)

LookUp = Callable[[str], Awaitable[tuple[tuple[str, ...], float]]]
"""The groups of the person with this object id, and for how many seconds more they count. Raises
IdentityUnavailable."""


@dataclass(slots=True)
class _Answer:
    """What came of asking about one person; `until` is of trio's clock."""

    come: trio.Event = field(default_factory=trio.Event)
    until: float = math.inf
    groups: tuple[str, ...] = ()
    fault: str = "Microsoft Graph could not be asked"
    """Why there are no groups; empty once there are. It stands from the start: whoever waits for an answer that never
    came, for whatever reason, must not be taken for somebody without groups."""


class Directory:
    """Microsoft Graph as one issuer's tokens need it."""

    def __init__(self, config: GraphConfig, http: httpx2.AsyncClient) -> None:
        self._config = config
        self._http = http
        self._answers: OrderedDict[str, _Answer] = OrderedDict()
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._token = ""
        self._token_until = -math.inf
        self._renewing = trio.Lock()

    async def groups(self, person: str) -> tuple[tuple[str, ...], float]:
        """See LookUp."""
        answer = self._answers.get(person)
        if answer is None or trio.current_time() >= answer.until:
            answer = self._answers[person] = _Answer()
            self._answers.move_to_end(person)
            while len(self._answers) > KEPT:
                self._answers.popitem(last=False)
            await self._fill(answer, person)
        await answer.come.wait()
        if answer.fault:
            raise IdentityUnavailable(answer.fault)
        return answer.groups, answer.until - trio.current_time()

    async def _fill(self, answer: _Answer, person: str) -> None:
        """Ask. Shielded, because others wait for the same answer; `timeout_s` bounds it."""
        kept_s = RETRY_S
        try:
            with trio.fail_after(self._config.timeout_s, shield=True):
                async with self._turns:
                    answer.groups = await self._ask(person)
            answer.fault, kept_s = "", self._config.cache_s
        except trio.TooSlowError:
            answer.fault = _told(f"did not answer within {self._config.timeout_s:g} s")
        except httpx2.HTTPError as error:
            answer.fault = _told(f"could not be reached ({type(error).__name__})")
        except _Refused as why:
            answer.fault = _told(str(why))
        finally:
            answer.until = trio.current_time() + kept_s
            answer.come.set()
        if answer.fault:
            logger.warning("identity: %s", answer.fault)

    async def _ask(self, person: str) -> tuple[str, ...]:
        token = await self._own_token()
        request = self._http.build_request(
            "POST",
            f"{self._config.url}/users/{person}/getMemberGroups",
            headers={**oidc.JSON, "authorization": f"Bearer {token}"},
            json={"securityEnabledOnly": False},
        )
        status, document = await self._send(request)
        if status == 401:
            self._token_until = -math.inf
        if status != 200:
            raise _Refused(f"answered {status} when asked for somebody's groups{_CAUSES.get(status, '')}")
        found = document.get("value") if isinstance(document, dict) and "@odata.nextLink" not in document else None
        texts = groups.texts(found) if isinstance(found, list) else None
        if texts is None or len(texts) > MAX_GROUPS:
            raise _Refused(f"sent what is no list of at most {MAX_GROUPS} groups")
        return tuple(dict.fromkeys(texts))

    async def _own_token(self) -> str:
        """The gateway's token for Graph (RFC 6749 §4.4), renewed by one at a time."""
        async with self._renewing:
            if trio.current_time() >= self._token_until:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        parts = urlsplit(self._config.url)
        form = {
            "grant_type": "client_credentials",
            "client_id": self._config.client_id,
            "client_secret": self._config.client_secret,
            "scope": f"{parts.scheme}://{parts.netloc}/.default",
        }
        request = self._http.build_request("POST", self._config.token_url, headers=oidc.JSON, data=form)
        status, document = await self._send(request)
        if status != 200:
            raise _Refused(f"could not be asked: its token endpoint answered {status}; check client_id and the secret")
        match document:
            case {"access_token": str(token), "expires_in": int(seconds)} if token.isascii() and token.isprintable():
                self._token, self._token_until = token, trio.current_time() + seconds - _MARGIN_S
            case _:
                raise _Refused("could not be asked: its token endpoint sent no token")

    async def _send(self, request: httpx2.Request) -> tuple[int, Json]:
        """The status and JSON of the answer; null when it is not JSON."""
        response = await self._http.send(request, stream=True)
        try:
            data = await oidc.body(response)
        finally:
            await response.aclose()
        if data is None:
            raise _Refused(f"sent more than {oidc.MAX_DOCUMENT_BYTES} bytes")
        try:
            return response.status_code, orjson.loads(data)
        except ValueError:
            return response.status_code, None


class _Refused(Exception):
    """Graph's answer is not one."""


_CAUSES = {
    401: ": its token was refused",
    403: ": give the application GroupMember.Read.All and User.Read.All, with an administrator's consent",
    404: ": it knows no such person",
    429: ": it is asked too often",
}


def _told(what: str) -> str:
    return f"Microsoft Graph {what}; tokens without their groups cannot be checked until that is mended"
