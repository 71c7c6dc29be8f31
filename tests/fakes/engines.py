"""What is left of policy engines, each of which can be freed by the thread that made it alone."""

from __future__ import annotations

import gc
from collections.abc import Callable

from gateway.pdp.engine import load


def engines_left(work: Callable[[], object]) -> list[str]:
    """What the collector, which runs on whichever thread has just made enough rubbish, would find after `work` of that
    which holds engines."""
    made = load((), {})
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        work()
        gc.collect()
        return [repr(each) for each in gc.garbage if any(type(held) is type(made) for held in gc.get_referents(each))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()  # Here, where they were made.
        gc.enable()
