"""Several ultrasonic sensors of one device: alone they would hear each other, with turns they do not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from tests.sim.helpers import Rig

from retrowalk.config import A02yyuw, HcSr04
from retrowalk.core.samples import RangeSample, RangeStatus
from retrowalk.core.tracker import AGREE_M
from retrowalk.devices.a02yyuw import A02yyuwDriver
from retrowalk.devices.turns import PING_PERIOD_S, YIELD_S, Turns
from retrowalk.devices.ultrasonic import DEAD_PERIOD_S, Ultrasonic
from retrowalk.sim.chips.a02yyuw import A02yyuwTwin
from retrowalk.sim.pins import HcSr04Twin, NoTarget
from retrowalk.sim.room import Room
from retrowalk.sim.serial import SimSerialPorts
from retrowalk.sim.world import Place

SENSORS = (
    HcSr04(name="rear", trigger_pin=23, echo_pin=24, temperature_c=15.0),
    HcSr04(name="left", trigger_pin=5, echo_pin=6, temperature_c=15.0),
    HcSr04(name="right", trigger_pin=13, echo_pin=19, temperature_c=15.0),
)
LOCK_S = 0.012
"""What gpiozero's lock leaves between the pings of two sensors."""


class Worn:
    """Sensors in one world, each with its twin, all in one room; `turns` False: each pings when it likes."""

    def __init__(
        self,
        *,
        wall_m: float | None = 1.5,
        count: int = 2,
        turns: bool = True,
        faults: Sequence[str] = (),
        no_target: NoTarget = 0.038,
    ) -> None:
        self.rig = rig = Rig(seed=3, faults=faults)
        room, shared = Room(3), Turns(0.0)
        if wall_m is not None:
            rig.world.at(0.0, Place("wall", wall_m))
        self.twins = []
        for number, config in enumerate(SENSORS[:count]):
            twin = HcSr04Twin(
                *(rig.board, rig.scheduler, rig.world),
                trigger_line=config.trigger_pin,
                echo_line=config.echo_pin,
                name=config.name,
                faults=rig.faults,
                room=room,
                no_target=no_target if number == 0 else 0.038,
            )
            self.twins.append(twin)
            driver = Ultrasonic(config, rig.pins, rig.clock, shared if turns else Turns(0.0))
            rig.scheduler.add(driver, rig.items.extend, first_due_s=number * LOCK_S)
        self.pings: list[float] = []
        for config in SENSORS[:count]:
            rig.board.watch(config.trigger_pin, self._triggered)

    def _triggered(self, value: float, t_s: float) -> None:
        if value:
            self.pings.append(t_s)

    def until(self, t_s: float) -> Worn:
        self.rig.scheduler.run_until(t_s)
        return self

    def samples(self, name: str, since_s: float = 0.0) -> list[RangeSample]:
        kept = (item for item in self.rig.items if isinstance(item, RangeSample))
        return [item for item in kept if item.sensor == name and item.t_received_s >= since_s]

    def too_near(self, name: str, wall_m: float) -> float:
        """Share of the ranges that say that something is nearer than the wall."""
        ranges = [s.range_m for s in self.samples(name) if s.range_m is not None]
        return sum(range_m < wall_m - 0.15 for range_m in ranges) / len(ranges)


@pytest.mark.parametrize(("wall_m", "least"), [(1.5, 0.25), (3.0, 0.80), (3.8, 0.60)])
def test_two_that_ping_12_ms_apart_read_wrong(wall_m, least):
    """The second hears the first one's echo for its own: most of its ranges are metres too near."""
    assert Worn(wall_m=wall_m, turns=False).until(15.0).too_near("left", wall_m) > least


@pytest.mark.parametrize("wall_m", [1.5, 3.0, 3.8])
def test_two_that_take_turns_read_right(wall_m):
    """With turns each reads as if it were alone: no more false near ranges than any ping has (1 in 100 at most)."""
    worn = Worn(wall_m=wall_m).until(15.0)
    assert worn.too_near("rear", wall_m) <= 0.01
    assert worn.too_near("left", wall_m) <= 0.01


@pytest.mark.parametrize("count", [2, 3])
def test_pings_are_60_ms_apart_and_jittered(count):
    """No ping of the device follows another within 60 ms, and the pauses differ; each sensor gets its share."""
    worn = Worn(count=count).until(10.0)
    pauses = [b - a for a, b in pairwise(worn.pings)]
    assert min(pauses) >= PING_PERIOD_S - 1e-9
    assert max(pauses) <= 0.0705
    assert len({round(pause, 4) for pause in pauses}) >= 8
    for config in SENSORS[:count]:
        assert len(worn.samples(config.name)) >= 145 // count


def test_one_alone_keeps_its_period():
    """A single sensor pings every 60 to 70 ms."""
    worn = Worn(count=1).until(10.0)
    assert all(PING_PERIOD_S - 1e-9 <= b - a <= 0.0702 for a, b in pairwise(worn.pings))


@pytest.mark.parametrize(
    ("fault", "least_hz"),
    [
        pytest.param("rear:stuck@2", 13.0, id="stuck"),
        pytest.param("rear:off@2", 12.0, id="no power"),
        pytest.param("rear:garbage@2", 7.4, id="garbage"),
        pytest.param("rear:slow@2", 7.4, id="slow"),
        pytest.param("rear:intermittent@2", 7.4, id="loose wire"),
        pytest.param("rear:delayed@2", 7.4, id="delayed"),
    ],
)
def test_one_that_fails_takes_nothing_from_the_other(fault, least_hz):
    """Stuck, dead or slow: the other goes on at its rate, or at nearly that of one alone, and reads right."""
    worn = Worn(faults=[fault]).until(12.0)
    assert len(worn.samples("left", 4.0)) / 8.0 >= least_hz
    assert worn.too_near("left", 1.5) <= 0.01


def test_one_that_cannot_be_opened_takes_nothing_from_the_other():
    """A line that another program holds: the other pings as if it were alone."""
    worn = Worn()
    pin = worn.rig.pins.pin

    def refused(number):
        if number == SENSORS[0].trigger_pin:
            raise OSError("GPIO busy")
        return pin(number)

    worn.rig.pins.pin = refused
    worn.until(10.0)
    assert len(worn.rig.errors) >= 18
    assert len(worn.samples("left")) >= 145


def test_a_long_pulse_is_not_waited_for():
    """A clone that holds its line for 200 ms when it sees nothing: the other pings two or three times meanwhile."""
    worn = Worn(wall_m=None, no_target=0.200).until(10.0)
    assert len(worn.samples("rear")) <= 50
    assert len(worn.samples("left")) >= 95


def test_a_dead_one_is_found_again():
    """Plugged in again, it answers within half a second, and has its share back."""
    worn = Worn(faults=["rear:off@2-6"]).until(12.0)
    back = [s.t_received_s for s in worn.samples("rear", 6.0) if s.status is RangeStatus.VALID]
    assert back[0] <= 6.0 + DEAD_PERIOD_S + 0.1
    assert len(worn.samples("rear", 7.0)) / 5.0 >= 7.0


def test_on_a_busy_processor_nobody_starves():
    """Asked ever so late, but in the same order, they still take turns."""
    turns, now, began = Turns(0.0), 0.0, []
    for _ in range(100):
        for name in ("first", "second"):
            if turns.due_s(name, now) <= now:
                turns.began(name, now)
                began.append(name)
        now += PING_PERIOD_S + 0.020
    assert abs(began.count("first") - began.count("second")) <= 1


def test_whoever_does_not_take_its_turn_is_passed_over():
    """One that asked and then never comes back costs the other a few milliseconds a ping."""
    turns = Turns(0.0)
    turns.began("first", 0.0)
    free_s = turns.due_s("second", 0.010)  # it asks, and is never heard of again
    assert turns.due_s("first", free_s) == pytest.approx(free_s + YIELD_S)
    assert turns.due_s("first", free_s + YIELD_S) <= free_s + YIELD_S


@pytest.mark.slow
def test_beside_a_sealed_sensor_false_echoes_do_not_agree():
    """An A02YYUW pings when it likes: the other hears it, but pings with jitter, so what is false jumps about.

    One range in six is false; not one in a hundred agrees with the one before it, as a track wants it.
    """
    rig, room = Rig(seed=2), Room(2)
    rig.world.at(0.0, Place("wall", 3.0))
    HcSr04Twin(rig.board, rig.scheduler, rig.world, room=room)
    sealed = A02yyuwTwin(rig.world, name="sealed", room=room)
    rig.run(Ultrasonic(HcSr04(temperature_c=15.0), rig.pins, rig.clock))
    rig.run(A02yyuwDriver(A02yyuw(name="sealed"), SimSerialPorts(rig.clock, {"/dev/serial0": sealed}), rig.clock))
    rig.scheduler.run_until(60.0)
    samples = [s for s in rig.items if isinstance(s, RangeSample) and s.sensor == "rear"]
    ranges = [sample.range_m for sample in samples if sample.range_m is not None]
    false = [range_m < 2.7 for range_m in ranges]
    agree = [a and b and abs(r - s) <= AGREE_M for (a, r), (b, s) in pairwise(zip(false, ranges, strict=True))]
    assert sum(false) > 0.10 * len(ranges)
    assert sum(agree) < 0.01 * len(ranges)
