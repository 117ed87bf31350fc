"""The light on simulated pins."""

from __future__ import annotations

import pytest
from tests.devices.bench import BenchFactory, Run, VirtualClock

from retrowalk.config import Led
from retrowalk.core.events import GuardState
from retrowalk.devices.led import LIGHTS, LedDriver
from retrowalk.guard.guard import LIGHTS as LIGHT_OF

PIN = 25


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.factory = BenchFactory(self.clock)
        self.driver = LedDriver(Led(), self.factory)
        self.run = Run(self.driver, self.clock)

    def show(self, t_s: float, light: str) -> None:
        self.clock.at(t_s, lambda: self.driver.show(light))

    @property
    def changes(self) -> list[object]:
        return [(pytest.approx(t_s, abs=1e-6), high) for t_s, gpio, high in self.factory.history if gpio == PIN]


def test_it_is_off_until_somebody_tells_it():
    """Nobody is told that a device guards before it does."""
    bench = Bench()
    bench.run.until(3.0)
    assert bench.changes == []


def test_steady_costs_nothing():
    """On at once, and nobody is woken for it again."""
    bench = Bench()
    bench.show(1.0, "steady")
    bench.run.until(100.0)
    assert bench.changes == [(1.0, True)]
    assert bench.run.polls <= 2


@pytest.mark.parametrize(("light", "half_s"), [("slow", 0.5), ("fast", 0.1)])
def test_it_blinks(light, half_s):
    """Half of the time on, beginning at once."""
    bench = Bench()
    bench.show(1.0, light)
    bench.run.until(1.0 + 3.5 * 2 * half_s - 0.01)
    assert bench.changes == [(1.0 + half_s * i, i % 2 == 0) for i in range(7)]


def test_the_same_light_again_changes_nothing():
    """Asked for once more, it keeps its beat."""
    bench = Bench()
    bench.show(1.0, "slow")
    bench.show(1.3, "slow")
    bench.run.until(1.9)
    assert bench.changes == [(1.0, True), (1.5, False)]


@pytest.mark.parametrize("light", ["steady", "slow", "fast"])
def test_it_goes_off(light):
    """Whatever it showed, `off` is dark at once and stays so."""
    bench = Bench()
    bench.show(1.0, light)
    bench.show(1.03, "off")
    bench.run.until(5.0)
    assert bench.changes == [(1.0, True), (1.03, False)]


def test_a_line_that_is_missing_is_named_and_tried_again():
    """Reported once as `led`, raising nothing; when it is there it shows what it should."""
    bench = Bench()
    bench.factory.broken.add(PIN)
    bench.show(1.0, "steady")
    bench.run.until(8.0)
    assert [(r.part, r.fault, r.active) for r in bench.run.items] == [("led", "absent", True)]
    bench.factory.broken.clear()
    bench.run.until(14.0)
    assert [(r.part, r.active) for r in bench.run.items] == [("led", True), ("led", False)]
    assert bench.factory.pin(PIN).state
    assert bench.run.errors == []


def test_close_is_dark():
    """A driver that ends leaves no light behind."""
    bench = Bench()
    bench.show(1.0, "steady")
    bench.run.until(2.0)
    bench.driver.close()
    assert not bench.factory.pin(PIN).state


def test_every_guard_state_has_a_light_of_its_meaning():
    """Steady means guarding and nothing else; what does not protect blinks fast; off is not worn, or over."""
    assert set(LIGHT_OF) == set(GuardState)
    assert set(LIGHT_OF.values()) == set(LIGHTS)
    assert [state for state, light in LIGHT_OF.items() if light == "steady"] == [GuardState.GUARDING]
    assert [state for state, light in LIGHT_OF.items() if light == "fast"] == [GuardState.NOT_PROTECTING]
