"""What is told of an HTTP request once it is answered: which part of the gateway it was for, never its path or query.

A path can hold the id of an approval, and a query anything at all. So a request is for one of a few named surfaces or,
below `/mcp/`, for one of the upstreams that are there; any other is nobody's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container

from gateway.web.app import Answered
from gateway.web.endpoint import PREFIX

SURFACES = {"": "pages", "healthz": "health", "readyz": "health", ".well-known": "metadata", "oauth": "tokens"}
"""By the first part of the path; all that is not here is pages."""
METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})

logger = logging.getLogger("phigate.access")


class Access:
    """Counts answers and, where it is wanted, writes a line for each."""

    def __init__(self, doors: Container[str], count: Callable[[str, int], None], *, log: bool) -> None:
        """`count` is told the surface and the status of each answer."""
        self._doors = doors
        self._count = count
        self._log = log

    def note(self, answered: Answered) -> None:
        """A request was answered."""
        surface, upstream = self._of(answered.path)
        self._count(surface, answered.status)
        if self._log:
            method = answered.method if answered.method in METHODS else "(other)"
            place = f"{surface} {upstream}" if upstream else surface
            seconds = round(answered.seconds, 6)
            fields = {"method": method, "for": surface, "status": answered.status, "seconds": seconds}
            fields |= {"upstream": upstream} if upstream else {}
            text = "%s %s %d %.1f ms"
            logger.info(text, method, place, answered.status, answered.seconds * 1e3, extra={"fields": fields})

    def _of(self, path: str) -> tuple[str, str]:
        if path.startswith(PREFIX):
            name = path.removeprefix(PREFIX)
            return "mcp", name if name in self._doors else "(unknown)"
        return SURFACES.get(path.split("/", 2)[1] if path.startswith("/") else "", "pages"), ""
