"""The hub's own time, over restarts and wrong clocks."""

from __future__ import annotations

import math

import pytest

from retrowalk.hub.times import LEAP_MAX_S, Anchor, HubTime, timestamp


class Clocks:
    def __init__(self, boottime_s: float, wall_s: float) -> None:
        self.boottime_s, self.wall_s = boottime_s, wall_s

    def hub(self, boot: str, kept: Anchor | None) -> HubTime:
        return HubTime(boot, kept, boottime=lambda: self.boottime_s, wall=lambda: self.wall_s)


KEPT = Anchor(hub_s=1000.0, boot="b1", boottime_s=50.0, wall_s=1_800_000_000.0)


@pytest.mark.parametrize(
    ("boot", "boottime_s", "wall_s", "passed_s"),
    [
        pytest.param("b1", 80.0, 1_800_000_030.0, 30.0, id="same boot"),
        pytest.param("b1", 80.0, 1_000_000_000.0, 30.0, id="same boot, clock set back by years"),
        pytest.param("b2", 5.0, 1_800_000_600.0, 600.0, id="another boot"),
        pytest.param("b2", 5.0, 1_700_000_000.0, 0.0, id="another boot, clock not set"),
        pytest.param("b2", 5.0, 2_100_000_000.0, LEAP_MAX_S, id="another boot, clock years ahead"),
    ],
)
def test_a_restart_counts_what_passed(boot, boottime_s, wall_s, passed_s):
    """Within a boot its own clock counts, between boots the wall clock within bounds; never back."""
    assert Clocks(boottime_s, wall_s).hub(boot, KEPT).now() == pytest.approx(1000.0 + passed_s)


def test_a_clock_that_is_set_moves_nothing():
    """Hub time follows the time since the boot, wherever the wall clock goes."""
    clocks = Clocks(10.0, 1_800_000_000.0)
    hub = clocks.hub("b1", None)
    assert hub.now() == 0.0
    for wall_s in (0.0, 4_000_000_000.0):
        clocks.wall_s = wall_s
        clocks.boottime_s += 5.0
        hub.now()
    assert hub.now() == 10.0


def test_time_never_goes_back():
    """Not even a clock that does so takes hub time back."""
    clocks = Clocks(10.0, 1_800_000_000.0)
    hub = clocks.hub("b1", None)
    clocks.boottime_s = 20.0
    assert hub.now() == 10.0
    clocks.boottime_s = 3.0
    assert hub.now() == 10.0


@pytest.mark.parametrize("wall_s", [math.nan, math.inf, -1e18, 1e18])
def test_a_timestamp_is_always_one(wall_s):
    """A clock may show anything."""
    assert timestamp(wall_s).endswith("Z")
