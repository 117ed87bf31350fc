"""The drivers on the strict twins: set-up by the rules, truth within the sensors' noise, every fault named in time."""

from __future__ import annotations

import math
from statistics import mean, median
from typing import Any

import pytest

from retrowalk.config import Button, Buzzer, HcSr04, Imu, Vibration
from retrowalk.core.events import Touch
from retrowalk.core.samples import ButtonEdge, HealthReport, ImuSample, RangeSample, RangeStatus
from retrowalk.devices.button import ButtonDriver
from retrowalk.devices.lines import InputLine
from retrowalk.devices.lsm6dsox import Lsm6dsox
from retrowalk.devices.touch import TouchDriver
from retrowalk.devices.ultrasonic import Ultrasonic
from retrowalk.sim.chips.lsm6dsox import Lsm6dsoxTwin
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.i2c import SimBus
from retrowalk.sim.pins import Board, ButtonTwin, HcSr04Twin, SimPinFactory, TouchTwin
from retrowalk.sim.scheduler import Scheduler, VirtualClock
from retrowalk.sim.world import Obstacle, World


class Device:
    """All drivers on all twins, with a wall 1.5 m behind somebody who stands still."""

    def __init__(self, *faults: Fault, no_target=0.038, clock_error=0.015, wall_m=1.5) -> None:
        self.clock = VirtualClock()
        self.errors: list[tuple[float, str, str]] = []
        self.items: dict[str, list[Any]] = {}
        scheduler = self.scheduler = Scheduler(
            self.clock, lambda step, error: self.errors.append((self.clock.now(), step.name, error.fault))
        )
        world = self.world = World(7, temperature_c=0.0)
        if math.isfinite(wall_m):
            world.place(Obstacle("wall", "wall", wall_m))
        broken = Faults(faults)
        board = Board()
        factory = SimPinFactory(board, self.clock)
        self.echo = HcSr04Twin(board, scheduler, world, no_target=no_target, faults=broken)
        ButtonTwin(board, scheduler, world, faults=broken)
        TouchTwin(board, world, line=27, what="vibration")
        TouchTwin(board, world, line=22, what="buzzer")
        self.chip = Lsm6dsoxTwin(world.imu, seed=7, clock_error=clock_error, faults=broken)
        bus = SimBus(self.clock, {0x6A: self.chip}, broken)
        self.touch = TouchDriver(Buzzer(), Vibration(), factory, self.clock)
        for step in (
            Ultrasonic(HcSr04(), factory, self.clock),
            Lsm6dsox(Imu(), bus, self.clock),
            ButtonDriver(Button(), factory, self.clock),
            self.touch,
        ):
            scheduler.add(step, self.items.setdefault(step.name, []).extend)

    def until(self, t_s) -> Device:
        self.scheduler.run_until(t_s)
        return self

    def of(self, part, kind, since_s=0.0) -> list[Any]:
        return [item for item in self.items[part] if isinstance(item, kind) and item.t_received_s >= since_s]

    def named(self, part) -> list[tuple[float, str]]:
        """When each fault of `part` was named, by an error or a report."""
        errors = [(t_s, fault) for t_s, name, fault in self.errors if name == part]
        reports = [(r.t_received_s, r.fault) for r in self.of(part, HealthReport) if r.active]
        return sorted(errors + reports)


def test_nothing_is_named_while_all_is_well():
    """Ten seconds of standing: full rates, no error, no report"""
    device = Device().until(10.0)
    assert device.errors == []
    assert all(device.of(part, HealthReport) == [] for part in device.items)
    assert len(device.of("rear", RangeSample)) > 140
    assert len(device.of("imu", ImuSample)) == pytest.approx(9.85 * 104 * 1.015, rel=0.01)
    assert not any(sample.gap for sample in device.of("imu", ImuSample))
    assert device.echo.ignored == 0


def test_range_is_the_worlds():
    """The median range is the wall's, within the module's noise"""
    device = Device().until(10.0)
    ranges = [s.range_m for s in device.of("rear", RangeSample) if s.status is RangeStatus.VALID]
    assert median(ranges) == pytest.approx(device.world.gap_m(10.0), abs=0.02)


@pytest.mark.parametrize("no_target", [0.036, 0.038, 0.060, 0.110, 0.200])
def test_clear_path_is_no_target(no_target):
    """On a clear path every make of module says "no target" at least three times a second"""
    device = Device(no_target=no_target, wall_m=math.inf).until(5.0)
    samples = device.of("rear", RangeSample)
    assert sum(sample.status is RangeStatus.NO_TARGET for sample in samples) > 0.8 * len(samples)
    assert len(samples) > 15
    assert device.of("rear", HealthReport) == []


def test_module_that_locks_up_is_stuck():
    """A module that hangs high when it hears nothing is named"""
    device = Device(no_target="stuck", wall_m=math.inf).until(3.0)
    assert device.named("rear")[0][1] == "stuck"
    assert device.named("rear")[0][0] < 1.0


@pytest.mark.parametrize("clock_error", [-0.03, 0.0, 0.03])
def test_imu_is_upright_and_in_time(clock_error):
    """Standing still reads one g up; with the chip's clock 3 % off, samples keep its pace and are none of the future"""
    device = Device(clock_error=clock_error).until(20.0)
    samples = device.of("imu", ImuSample, 10.0)
    norm = [math.dist(sample.accel_m_s2, (0.0, 0.0, 0.0)) for sample in samples]
    assert mean(norm) == pytest.approx(9.80665, abs=0.1)
    pace_s = (samples[-1].t_measured_s - samples[0].t_measured_s) / (len(samples) - 1)
    assert pace_s * 104 * (1 + clock_error) == pytest.approx(1.0, abs=0.002)
    assert all(0.0 <= sample.t_received_s - sample.t_measured_s < 0.065 for sample in samples)


def test_brown_out_of_the_chip_is_mended():
    """After a brown-out of the chip samples go on within half a second, with a gap and no error"""
    device = Device().until(3.0)
    device.chip.power_cycle(3.0)
    device.until(6.0)
    after = device.of("imu", ImuSample, 3.06)
    assert after[0].gap
    assert after[0].t_received_s < 3.6
    assert device.named("imu") == []


@pytest.mark.parametrize(
    ("part", "kind", "names", "within_s"),
    [
        pytest.param("rear", "off", {"absent"}, 0.8, id="rear off"),
        pytest.param("rear", "stuck", {"stuck"}, 0.8, id="rear stuck"),
        pytest.param("rear", "slow", {"slow"}, 2.0, id="rear slow"),
        pytest.param("rear", "delayed", {"absent", "garbage", "stuck"}, 1.0, id="rear delayed"),
        pytest.param("imu", "off", {"absent"}, 0.3, id="imu off"),
        pytest.param("imu", "stuck", {"frozen"}, 1.2, id="imu frozen"),
        pytest.param("imu", "garbage", {"garbage", "wrong_chip"}, 0.5, id="imu garbage"),
        pytest.param("imu", "slow", {"slow"}, 1.7, id="imu slow"),
        pytest.param("imu", "intermittent", {"absent"}, 3.0, id="imu loose wire"),
        pytest.param("button", "garbage", {"garbage"}, 1.2, id="button chatters"),
    ],
)
def test_fault_is_named_in_time_and_the_others_go_on(part, kind, names, within_s):
    """A part that breaks at 5 s is named in time, the other parts are not, and it works again when mended"""
    device = Device(Fault(part, kind, 5.0, 10.0)).until(10.0)
    named = device.named(part)
    assert named, "never named"
    assert named[0][1] in names
    assert 5.0 < named[0][0] <= 5.0 + within_s
    assert all(device.named(other) == [] for other in device.items if other != part)
    device.until(14.0)
    reports = device.of(part, HealthReport)
    assert not reports or not reports[-1].active
    if part == "rear":
        assert sum(s.status is RangeStatus.VALID for s in device.of("rear", RangeSample, 12.0)) > 20
    if part == "imu":
        assert len(device.of("imu", ImuSample, 12.0)) > 190


@pytest.mark.parametrize("part", ["rear", "imu"])
def test_absent_at_start_works_when_it_comes(part):
    """A part that is absent at start is named at once, and works once it is there"""
    device = Device(Fault(part, "off", 0.0, 4.0)).until(8.0)
    assert device.named(part)[0][1] == "absent"
    assert device.named(part)[0][0] < 0.9
    kind = ImuSample if part == "imu" else RangeSample
    assert len(device.of(part, kind, 5.0)) > 30


def test_wrong_chip_is_named():
    """Another chip at the address is named as such"""
    device = Device(Fault("imu", "wrong")).until(1.0)
    assert {fault for _, fault in device.named("imu")} == {"wrong_chip"}


def test_press_with_bounces_is_one_press():
    """A press of the world's bouncing switch is one edge down and one up, told within 50 ms"""
    device = Device()
    for number in range(10):
        device.world.add_press(1.0 + number, 0.2)
    device.until(12.0)
    edges = device.of("button", ButtonEdge)
    assert [edge.pressed for edge in edges] == [True, False] * 10
    for number, (down, up) in enumerate(zip(edges[::2], edges[1::2], strict=True)):
        assert 1.0 + number <= down.t_measured_s <= 1.0 + number + 0.003
        assert 1.2 + number <= up.t_measured_s <= 1.2 + number + 0.003
        assert down.t_received_s <= 1.05 + number


def test_line_of_a_driver_that_never_closed_is_heard():
    """A line that its last owner has left without closing hears edges for the next"""
    clock, board = VirtualClock(), Board()
    factory = SimPinFactory(board, clock)
    lines = [InputLine(factory, 24, "down", lambda _level: None) for _ in range(2)]
    board.drive(24, True, 0.0)
    assert len(lines[1].edges) == 1


def test_warning_is_felt_at_once():
    """A warning is felt in the very moment it is asked for, four pulses on the motor and on the buzzer"""
    device = Device().until(1.0)
    device.touch.touch(Touch(t_s=1.0, pattern="warning", buzzer=True))
    device.until(3.0)
    for what in ("vibration", "buzzer"):
        times = [t_s for t_s, felt in device.world.felt if felt == what]
        assert times == pytest.approx([1.0, 1.18, 1.36, 1.54])
