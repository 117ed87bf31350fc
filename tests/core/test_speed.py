"""How long one sample takes, printed; nothing is asserted but that the path is walked (`-rP` shows it)."""

from __future__ import annotations

import random
import time

import pytest
from tests.core.synth import merged, ranges, settled, steady, walking

from retrowalk.config import Config
from retrowalk.core.companion import Companion
from retrowalk.core.samples import ImuSample, Item, RangeSample


@pytest.mark.slow
def test_time_per_sample():
    """Prints microseconds per item through `Companion.feed`: the best of three rounds of 20 s of walking."""
    walk = list(walking(20.0, bouts=[(0.5, 19.5)]).shifted(6.0).samples())
    noisy = list(ranges(steady(6.0, 26.0, 3.0), rng=random.Random(1), sigma_m=0.01, outliers=0.03, dropouts=0.05))
    streams: dict[str, list[Item]] = {
        "ImuSample": list(walk),
        "RangeSample": list(noisy),
        "both": merged(walk, noisy),
    }
    print()
    for name, items in streams.items():
        rounds = []
        for _ in range(3):
            companion = Companion(Config())
            for item in settled():
                companion.feed(item)
            start = time.perf_counter()
            for item in items:
                companion.feed(item)
            rounds.append((time.perf_counter() - start) / len(items) * 1e6)
        print(f"{name}: {min(rounds):.1f} us per item")
    assert all(isinstance(item, (ImuSample, RangeSample)) for item in streams["both"])
