"""`kill -9` under load: the short form of `make soak`."""

from __future__ import annotations

import random

from benchmarks import soak


async def test_killed_again_and_again_under_load_nothing_is_lost_doubled_or_made_up(tmp_path):
    seed = random.randrange(2**32)
    run, told = await soak.soak(tmp_path, seconds=15, seed=seed, say=print)
    print(f"seed {seed}: {run.progress}; {told.kinds}")
    # It was a test of something: exchanges were cut in the middle, calls were held and granted, streams relayed.
    assert told.kinds["exchange.unknown"]
    assert told.spent
    assert run.seen.ahead
    assert len(run.seen.replies) > 50
    assert run.seen.unrecorded <= len(run.seen.replies) / 20
