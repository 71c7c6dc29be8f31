"""A bundle server as OPA asks one (Management APIs, Bundles): ETag, long polling, backoff.

Whatever the server sends is bounded in size and time before it is looked at, redirects are not followed, and a
signature is what makes its bytes a policy. The server is told what bundle is held (`If-None-Match`) also when that
bundle was refused: the same bytes would be refused again.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
import trio

from gateway.core.errors import PolicyFault
from gateway.core.policy import archive as archives
from gateway.core.policy import bundle as bundles
from gateway.core.policy import signature
from gateway.core.policy.bundle import Bundle
from gateway.core.policy.signature import Verification

LONG_POLL_TYPE = "application/vnd.openpolicyagent.bundles"
"""The content type by which a server says that it holds requests until there is something new."""
RETRY_S = 0.5
"""The first pause after a failure; each further one doubles it, up to `max_delay_s`."""


class Unreachable(PolicyFault):
    """The server gave no bundle. `status` is what it answered, None when it did not answer."""

    def __init__(self, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where bundles are served and how often to ask. In seconds."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Sent with every request: the gateway's credentials there."""
    min_delay_s: float = 60.0
    max_delay_s: float = 120.0
    long_polling_timeout_s: int | None = None
    timeout_s: float = 10.0
    """Deadline of one answer, beside what the server may hold it."""


@asynccontextmanager
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """The HTTP client for bundle servers: the system's certificate authorities, nothing from the environment."""
    context = ssl.create_default_context()
    async with httpx2.AsyncClient(verify=context, trust_env=False, timeout=None, follow_redirects=False) as http:
        yield http


class BundleServer:
    """The loader's `Source` over HTTP."""

    def __init__(self, config: ServerConfig, http: httpx2.AsyncClient, verification: Verification | None) -> None:
        """Without `verification` bundles are taken unsigned, and signed ones refused: nobody could say by whom."""
        self.label = config.url
        self.remote = True
        self._config = config
        self._http = http
        self._verification = verification
        self._etag = ""
        self._failures = 0
        self._long_polling = config.long_polling_timeout_s is not None
        self._answered_s = 0.0

    async def look(self) -> Bundle | None:
        """The server's bundle, verified; None when it is still the one that was seen last. Raises PolicyFault."""
        wait_s = self._config.long_polling_timeout_s if self._long_polling and self._etag else None
        began = trio.current_time()
        try:
            with trio.fail_after(self._config.timeout_s + (wait_s or 0)):
                archive = await self._get(wait_s)
        except trio.TooSlowError:
            raise self._failed("did not answer in time") from None
        except httpx2.HTTPError as fault:
            raise self._failed(f"could not be reached ({type(fault).__name__})") from fault
        self._failures = 0
        self._answered_s = trio.current_time() - began
        return None if archive is None else await trio.to_thread.run_sync(self.believed, archive)

    def believed(self, archive: bytes) -> Bundle:
        """The bundle in these bytes, once its signature was verified. Raises PolicyFault."""
        if self._verification is not None:  # First of all: what strangers send is parsed no further than that.
            signature.verify(archives.unpack(archive), self._verification)
            return bundles.read(archive)
        bundle = bundles.read(archive)
        check(bundle, None)
        return bundle

    def forget(self) -> None:
        """Ask for the whole bundle next time: what was sent last could not be used, through no fault of its own."""
        self._etag = ""

    def pause_s(self) -> float:
        """How long to wait before the next look: not at all while the server holds the request until there is news."""
        config = self._config
        if self._failures:
            most: float = min(config.max_delay_s, RETRY_S * 2.0 ** min(self._failures, 20))
            return random.uniform(most / 2, most)  # Jitter, so that all gateways do not come at once.
        if self._long_polling and self._answered_s > 1:
            return 0.0
        return random.uniform(config.min_delay_s, config.max_delay_s) if not self._long_polling else RETRY_S

    async def _get(self, wait_s: int | None) -> bytes | None:
        prefer = "modes=snapshot" if wait_s is None else f"modes=snapshot;wait={wait_s}"
        headers = {**self._config.headers, "prefer": prefer, "accept-encoding": "identity"}
        if self._etag:
            headers["if-none-match"] = self._etag
        async with self._http.stream("GET", self._config.url, headers=headers) as response:
            if response.status_code == 304 and self._etag:
                return None
            if response.status_code != 200:
                raise self._failed(f"answered with status {response.status_code}", response.status_code)
            data = await self._body(response)
        self._etag = response.headers.get("etag", "")
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._long_polling = self._config.long_polling_timeout_s is not None and kind == LONG_POLL_TYPE
        return data

    async def _body(self, response: httpx2.Response) -> bytes:
        """The body, bounded; raw, so that a compressed bomb stays as small as it was sent."""
        data = bytearray()
        try:
            async for chunk in response.aiter_raw():
                data += chunk
                if len(data) > bundles.ARCHIVE_MAX:
                    # The next read then fails and unwinds the library's generators; leaving the loop would not.
                    await response.aclose()
        except httpx2.HTTPError:
            if len(data) <= bundles.ARCHIVE_MAX:
                raise
        if len(data) > bundles.ARCHIVE_MAX:
            raise self._failed(f"sent more than the {bundles.ARCHIVE_MAX} bytes that a bundle may have")
        return bytes(data)

    def _failed(self, what: str, status: int | None = None) -> Unreachable:
        self._failures += 1
        self.forget()  # As OPA does: the next answer is a whole bundle again, and what became of it is told anew.
        return Unreachable(f"The bundle server at {self.label} {what}.", status=status)


def check(bundle: Bundle, verification: Verification | None) -> None:
    """Raise PolicyFault unless the bundle is signed as wanted: also when it is signed and nobody can say by whom."""
    if verification is not None:
        signature.verify(bundle.files, verification)
    elif bundle.is_signed:
        raise PolicyFault(
            "The bundle is signed, but there is no key to verify it with. Name one in [[policy.signing.key]], "
            "or build it without a signature."
        )
