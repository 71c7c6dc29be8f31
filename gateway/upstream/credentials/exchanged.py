"""A token that stands for the caller at the upstream, for which theirs is exchanged (RFC 8693).

The caller's token goes to the token endpoint and nowhere else. What comes back is kept for that very token, so that
nobody, and no weaker token of the same person, is served with what another was given.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from hashlib import sha256

from gateway.core.types import SessionId
from gateway.upstream.credentials import caller
from gateway.upstream.credentials.cache import MOST, Cache, Fetched
from gateway.upstream.credentials.endpoint import Endpoint, unavailable

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


class Exchanged:
    """See `Source`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._cache = Cache()
        self._sessions: OrderedDict[str, bytes] = OrderedDict()
        """By which token each session was served last: its end, and what it is asked meanwhile, come without one."""

    async def authorization(self, session: SessionId) -> str:
        """See `Source`."""
        owner = session.partition(".")[0]  # Sessions that a bridge keeps for one begin with its id.
        subject = caller.token()
        if subject is None:
            return f"Bearer {self._known(owner)}"
        key = sha256(subject.encode()).digest()
        found = await self._cache.get(key, partial(self._fetch, subject))
        self._sessions[owner] = key
        self._sessions.move_to_end(owner)
        while len(self._sessions) > MOST:
            self._sessions.popitem(last=False)
        return f"Bearer {found}"

    def rejected(self, authorization: str) -> None:
        """See `Source`."""
        self._cache.forget(authorization.removeprefix("Bearer "))

    def _known(self, owner: str) -> str:
        key = self._sessions.get(owner)
        found = self._cache.known(key) if key is not None else None
        if found is None:
            raise unavailable("nobody's access token is at hand that could be exchanged")
        return found

    async def _fetch(self, subject: str) -> Fetched:
        return await self._endpoint.fetch(
            {
                "grant_type": GRANT_TYPE,
                "subject_token": subject,
                "subject_token_type": ACCESS_TOKEN,
                "requested_token_type": ACCESS_TOKEN,
            }
        )
