"""Whether a bundle may decide: asked in a child process that can be killed, because regorus cannot be interrupted."""

from __future__ import annotations

from gateway.core.policy.bundle import Bundle
from gateway.pdp.engine import Pdp


def admit(bundle: Bundle) -> None:
    """Return when `bundle` may decide. Raises PolicyFault with the reasons when it may not."""
    Pdp(bundle)
