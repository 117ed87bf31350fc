"""A module that hangs until its power is cut, with a switch in its supply and without one."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import pytest
from tests.sim.helpers import Rig

from retrowalk.config import HcSr04
from retrowalk.core.samples import HealthReport, RangeSample, RangeStatus
from retrowalk.devices.turns import Turns
from retrowalk.devices.ultrasonic import POWER_AFTER_S, POWER_OFF_S, Ultrasonic
from retrowalk.sim.pins import HcSr04Twin
from retrowalk.sim.world import Place

SWITCH = 5
LEAVES_S, RETURNS_S = 3.0, 5.0


def walk(
    power_pin: int,
    faults: tuple[str, ...] = (),
    until_s: float = 20.0,
    no_target: float | Literal["stuck"] = 0.038,
) -> tuple[Rig, Ultrasonic]:
    """A wall that is gone from second 3 to 5: a module that hangs when it hears nothing hangs then."""
    rig = Rig(faults=faults)
    HcSr04Twin(rig.board, rig.scheduler, rig.world, power_line=power_pin, faults=rig.faults, no_target=no_target)
    rig.world.at(0.0, Place("wall", 1.5))
    rig.world.at(LEAVES_S, Place("wall", 30.0))
    rig.world.at(RETURNS_S, Place("wall", 1.5))
    rig.scheduler.run_until(0.1)  # the wall stands
    driver = Ultrasonic(HcSr04(power_pin=power_pin), rig.pins, rig.clock)
    rig.run(driver)
    rig.scheduler.run_until(until_s)
    return rig, driver


def reports(rig: Rig) -> list[tuple[float, str, bool]]:
    return [(r.t_received_s, r.fault, r.active) for r in rig.items if isinstance(r, HealthReport)]


def valid_after(rig: Rig, t_s: float) -> list[RangeSample]:
    samples = [s for s in rig.items if isinstance(s, RangeSample) and s.t_received_s > t_s]
    return [s for s in samples if s.status is RangeStatus.VALID]


def test_a_hung_module_comes_back_by_itself():
    """It is named as without a switch, and ranges come again within 12 s of the wall's return, by nobody's hand"""
    rig, driver = walk(SWITCH, no_target="stuck")
    (named_s, fault, active), *_ = reports(rig)
    assert (fault, active) == ("stuck", True)
    assert LEAVES_S < named_s < LEAVES_S + 1.0
    back = valid_after(rig, RETURNS_S)
    assert back[0].t_received_s < RETURNS_S + 12.0
    assert reports(rig)[-1][2] is False
    assert driver.counts["power_cycle"] >= 1


def test_without_a_switch_it_hangs_for_good():
    """... as before: it stays named, and nothing is believed"""
    rig, driver = walk(-1, no_target="stuck")
    assert valid_after(rig, LEAVES_S + 0.5) == []
    assert [active for _, _, active in reports(rig)] == [True]
    assert driver.counts["power_cycle"] == 0


def test_the_loss_is_named_at_the_same_instant_with_and_without_a_switch():
    """The switch waits until the loss has been named"""
    assert reports(walk(SWITCH, no_target="stuck")[0])[0] == reports(walk(-1, no_target="stuck")[0])[0]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["absent", "stuck"])
def test_what_no_power_cycle_mends_is_tried_ever_more_seldom(fault):
    """A line that is held high is tried 1 s after its loss, an unplugged module after 10, and both ever more seldom"""
    rig = Rig(faults=[f"rear:{'off' if fault == 'absent' else fault}@2-60"])
    after_s = POWER_AFTER_S[fault]
    HcSr04Twin(rig.board, rig.scheduler, rig.world, power_line=SWITCH, faults=rig.faults)
    offs: list[float] = []
    ons: list[float] = []
    rig.board.watch(SWITCH, lambda value, t_s: (ons if value else offs).append(t_s))
    rig.world.at(0.0, Place("wall", 1.5))
    rig.run(Ultrasonic(HcSr04(power_pin=SWITCH), rig.pins, rig.clock))
    rig.scheduler.run_until(59.0)
    assert offs[0] == pytest.approx(2.0 + after_s[0], abs=0.3)
    waits = [off - on for off, on in zip(offs[1:], ons, strict=False)]
    assert waits[0] == pytest.approx(after_s[1], abs=0.4)
    assert waits[1] == pytest.approx(after_s[2], abs=0.4)
    assert all(on - off == pytest.approx(POWER_OFF_S, abs=0.02) for off, on in zip(offs, ons, strict=False))
    # Mended, it is heard at once.
    rig.scheduler.run_until(120.0)
    assert valid_after(rig, 60.0)


def test_a_module_without_power_is_dead():
    """The twin is strict: off, it neither answers nor holds its line, and it starts for a moment"""
    rig = Rig()
    twin = HcSr04Twin(rig.board, rig.scheduler, rig.world, power_line=SWITCH, no_target="stuck")
    switch, trigger = rig.pins.pin(SWITCH), rig.pins.pin(23)
    switch.output_with_state(1)
    trigger.output_with_state(0)

    def ping() -> None:
        trigger.state = 1
        rig.clock.pause(12e-6)
        trigger.state = 0

    ping()
    rig.scheduler.run_until(1.0)
    assert rig.board.levels == {24: True}
    switch.state = 0
    assert rig.board.levels == {24: False}
    ping()
    rig.scheduler.run_until(2.0)
    assert (twin.pings, rig.board.levels[24]) == (1, False)
    switch.state = 1
    ping()  # too early
    rig.scheduler.run_until(3.0)
    assert twin.pings == 1
    ping()
    assert twin.pings == 2


@pytest.mark.parametrize("returns_s", [4.0, 4.37, 5.1, 6.8, 8.3, 9.9])
def test_a_sound_module_that_says_nothing_when_nothing_is_there_is_left_on(returns_s):
    """... so a wall that comes into view is seen as soon as with no switch"""
    seen = {}
    for power_pin in (-1, SWITCH):
        rig = Rig()
        HcSr04Twin(rig.board, rig.scheduler, rig.world, power_line=power_pin, no_target="none")
        rig.world.at(0.0, Place("wall", 1.5))
        rig.world.at(LEAVES_S, Place("wall", 30.0))
        rig.world.at(returns_s, Place("wall", 1.5))
        rig.run(Ultrasonic(HcSr04(power_pin=power_pin), rig.pins, rig.clock))
        rig.scheduler.run_until(12.0)
        seen[power_pin] = valid_after(rig, returns_s)[0].t_received_s
    assert seen[SWITCH] == seen[-1]


def test_a_switch_that_cannot_be_opened_costs_no_range():
    """The pin of the switch is somebody else's: the sensor is read all the same"""
    rig = Rig()
    HcSr04Twin(rig.board, rig.scheduler, rig.world)
    rig.world.at(0.0, Place("wall", 1.5))
    pin = rig.pins.pin

    def refuses(number: int) -> Any:
        if number == SWITCH:
            raise OSError("busy")
        return pin(number)

    rig.pins.pin = refuses
    driver = Ultrasonic(HcSr04(power_pin=SWITCH), rig.pins, rig.clock)
    rig.run(driver)
    rig.scheduler.run_until(3.0)
    assert len(valid_after(rig, 0.5)) > 20
    assert driver.counts["no_switch"] == 1


def test_closed_it_leaves_the_module_its_power():
    """A guard that ends, even while the module is off, does not leave it without power: the board pulls the line up"""
    rig, driver = walk(SWITCH, no_target="stuck", until_s=LEAVES_S)
    while rig.board.outputs.get(SWITCH, 1.0) > 0.0:
        assert rig.clock.now() < RETURNS_S
        rig.scheduler.run_until(rig.clock.now() + 0.05)
    driver.close()
    assert rig.board.outputs[SWITCH] == 1.0


def test_another_sensor_keeps_its_turns():
    """Two modules: one hangs and is switched; the other has at least as many readings as before"""
    rig = Rig()
    HcSr04Twin(rig.board, rig.scheduler, rig.world, power_line=SWITCH, no_target="stuck")
    HcSr04Twin(rig.board, rig.scheduler, rig.world, trigger_line=13, echo_line=19, name="other")
    rig.world.at(0.0, Place("wall", 1.5))
    rig.world.at(LEAVES_S, Place("wall", 30.0))
    turns = Turns(rig.clock.origin_mono_s)
    rig.run(Ultrasonic(HcSr04(power_pin=SWITCH), rig.pins, rig.clock, turns))
    rig.run(Ultrasonic(HcSr04(name="other", trigger_pin=13, echo_pin=19), rig.pins, rig.clock, turns))
    rig.scheduler.run_until(20.0)
    times = [s.t_received_s for s in rig.items if isinstance(s, RangeSample) and s.sensor == "other"]
    before, after = sum(t < LEAVES_S for t in times) / LEAVES_S, sum(t > 6.0 for t in times) / 14.0
    assert after >= before
    assert max(b - a for a, b in itertools.pairwise(times)) < 0.35
