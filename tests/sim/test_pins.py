from __future__ import annotations

from collections import Counter

import pytest
from gpiozero import Button, OutputDevice, PWMOutputDevice
from gpiozero.pins.mock import MockFactory, MockPWMPin
from tests.sim.helpers import Rig

from retrowalk.config import Button as ButtonConfig
from retrowalk.config import HcSr04
from retrowalk.core.samples import ButtonEdge, HealthReport, RangeSample, RangeStatus
from retrowalk.devices.button import ButtonDriver
from retrowalk.devices.ultrasonic import Ultrasonic
from retrowalk.errors import StrictTwinError
from retrowalk.sim.noise import speed_of_sound_m_s
from retrowalk.sim.pins import RISE_AFTER_S, ButtonTwin, HcSr04Twin, TouchTwin
from retrowalk.sim.world import Place, Press, Remove, Walk

TRIGGER, ECHO = 23, 24


class Echoes:
    """An echo line with its edges kept, and a way to ping."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.edges: list[tuple[float, int]] = []
        self.echo = rig.pins.pin(ECHO)
        self.echo.input_with_pull("down")
        self.echo.when_changed = self._changed
        self.trigger = rig.pins.pin(TRIGGER)
        self.trigger.output_with_state(0)

    def _changed(self, ticks: float, state: int) -> None:
        self.edges.append((ticks, state))

    def ping(self, pulse_s: float = 12e-6) -> float:
        self.trigger.state = 1
        self.rig.clock.pause(pulse_s)
        self.trigger.state = 0
        return self.rig.clock.now()

    def widths(self) -> list[float]:
        pairs = zip(self.edges[::2], self.edges[1::2], strict=True)
        return [fall - rise for (rise, _), (fall, _) in pairs]


def bench(*faults, wall_m=None, **options):
    rig = Rig(faults=faults)
    twin = HcSr04Twin(rig.board, rig.scheduler, rig.world, faults=rig.faults, **options)
    if wall_m is not None:
        rig.world.at(0.0, Place("wall", wall_m))
    rig.world.at(0.0, Remove("nothing"))
    rig.scheduler.run_until(0.1)
    return rig, twin, Echoes(rig)


# ------------------------------------------------------------------------------------------ the echo module


def test_a_ping_gives_the_time_of_flight():
    """The echo rises 0.45 ms after the trigger and lasts as long as the sound travels."""
    rig, _, line = bench(wall_m=1.5)
    sent_s = line.ping()
    rig.scheduler.run_until(0.2)
    (rise, up), (fall, down) = line.edges
    assert (up, down) == (1, 0)
    assert rise - sent_s == pytest.approx(RISE_AFTER_S, abs=35e-6)
    assert (fall - rise) * speed_of_sound_m_s(15.0) / 2 == pytest.approx(1.5, abs=0.02)


def test_edges_are_told_after_they_happened():
    """As from a kernel: the stamp is exact, the call comes up to about a millisecond later."""
    rig, _, line = bench(wall_m=1.0)
    late: list[float] = []
    line._changed = lambda ticks, state: late.append(rig.clock.now() - ticks)
    line.echo.when_changed = line._changed
    for _ in range(50):
        line.ping()
        rig.scheduler.run_until(rig.clock.now() + 0.06)
    assert len(late) == 100
    assert min(late) > 0.0
    assert max(late) < 0.003


@pytest.mark.parametrize(
    ("pulse_s", "answered"), [pytest.param(5e-6, False, id="5 us"), pytest.param(10e-6, True, id="10 us")]
)
def test_the_trigger_must_last_ten_microseconds(pulse_s, answered):
    """A shorter one is no trigger."""
    rig, twin, line = bench(wall_m=1.0)
    line.ping(pulse_s)
    rig.scheduler.run_until(0.2)
    assert bool(line.edges) is answered
    assert twin.ignored == (not answered)


def test_a_trigger_while_busy_is_ignored():
    """The module hears only one echo at a time."""
    rig, twin, line = bench()
    line.ping()
    rig.scheduler.run_until(rig.clock.now() + 0.020)
    line.ping()
    rig.scheduler.run_until(1.0)
    assert len(line.edges) == 2
    assert (twin.pings, twin.ignored) == (1, 1)


@pytest.mark.parametrize("no_target", [0.036, 0.038, 0.060, 0.110, 0.200])
def test_nothing_in_view_gives_the_makers_own_pulse(no_target):
    """Each make has its own no-target pulse."""
    rig, _, line = bench(no_target=no_target)
    line.ping()
    rig.scheduler.run_until(1.0)
    assert line.widths() == pytest.approx([no_target], abs=40e-6)


def test_some_modules_say_nothing_when_nothing_is_there():
    """No pulse at all."""
    rig, _, line = bench(no_target="none")
    line.ping()
    rig.scheduler.run_until(1.0)
    assert line.edges == []


def test_some_modules_hang_until_power_is_cut():
    """The echo line stays high; a power cycle brings the module back."""
    rig, twin, line = bench(no_target="stuck")
    line.ping()
    rig.scheduler.run_until(5.0)
    assert [state for _, state in line.edges] == [1]
    twin.power_cycle()
    rig.world.at(rig.clock.now(), Place("wall", 1.0))
    rig.scheduler.run_until(5.1)
    line.ping()
    rig.scheduler.run_until(5.5)
    assert [state for _, state in line.edges] == [1, 0, 1, 0]


@pytest.mark.parametrize(
    ("fault", "statuses", "named"),
    [
        pytest.param("rear:off", {"no_echo"}, "absent", id="off"),
        pytest.param("rear:stuck", {"stuck"}, "stuck", id="stuck"),
        pytest.param("rear:slow", {"no_echo", "valid"}, None, id="slow"),
        pytest.param("rear:garbage", {"valid", "rejected", "no_target"}, None, id="garbage"),
        pytest.param("rear:delayed", {"no_echo", "rejected", "stuck", "valid"}, None, id="delayed"),
        pytest.param("rear:intermittent", {"no_echo", "valid"}, "absent", id="intermittent"),
    ],
)
def test_every_fault_of_the_module_shows_at_the_driver(fault, statuses, named):
    """From 2 s to 6 s the module is broken in its way; before and after it sees the wall."""
    rig = Rig(faults=[f"{fault}@2-6"])
    HcSr04Twin(rig.board, rig.scheduler, rig.world, faults=rig.faults)
    rig.world.at(0.0, Place("wall", 1.7))
    rig.run(Ultrasonic(HcSr04(temperature_c=15.0), rig.pins, rig.clock))
    rig.scheduler.run_until(10.0)
    samples = [item for item in rig.items if isinstance(item, RangeSample)]
    broken = {sample.status.value for sample in samples if 2.1 <= sample.t_received_s < 5.9}
    assert broken <= statuses
    assert broken != {"valid"}
    for start_s, end_s in ((0.2, 1.9), (6.6, 10.0)):
        good = [sample for sample in samples if start_s <= sample.t_received_s < end_s]
        assert all(sample.status is RangeStatus.VALID for sample in good)
        assert len(good) > 20
    if named:
        assert named in {item.fault for item in rig.items if isinstance(item, HealthReport) and item.active}


def test_a_wrong_module_is_wrong_in_good_order():
    """It answers 1.00 m, whatever is there."""
    rig = Rig(faults=["rear:wrong"])
    HcSr04Twin(rig.board, rig.scheduler, rig.world, faults=rig.faults)
    rig.run(Ultrasonic(HcSr04(temperature_c=15.0), rig.pins, rig.clock))
    rig.scheduler.run_until(3.0)
    ranges = [item.range_m for item in rig.items if isinstance(item, RangeSample)]
    assert ranges == pytest.approx([1.0] * len(ranges), abs=0.01)


def test_the_driver_follows_a_wall_through_pins_and_noise():
    """Backing towards a wall, the samples are the true gap at their measured time, within centimetres."""
    rig = Rig(seed=3)
    HcSr04Twin(rig.board, rig.scheduler, rig.world)
    rig.world.run([(0.0, Place("wall", 3.0)), (1.0, Walk(0.5))])
    rig.run(Ultrasonic(HcSr04(temperature_c=15.0), rig.pins, rig.clock))
    truth: dict[float, float] = {}
    for tenth in range(1, 45):
        rig.scheduler.run_until(tenth / 10)
        for item in rig.items:
            if isinstance(item, RangeSample) and item.t_measured_s not in truth:
                truth[item.t_measured_s] = rig.world.gap_m(item.t_measured_s)
    errors = [
        abs(item.range_m - truth[item.t_measured_s])
        for item in rig.items
        if isinstance(item, RangeSample) and item.range_m is not None
    ]
    assert len(errors) > 55
    assert sorted(errors)[int(0.9 * len(errors))] < 0.02


def test_equal_seeds_give_equal_samples():
    """The whole way from the world to the driver is the same, to the last bit."""

    def samples():
        rig = Rig(seed=5)
        HcSr04Twin(rig.board, rig.scheduler, rig.world)
        rig.world.run([(0.0, Place("person_fleece", 3.0)), (0.0, Walk(0.4))])
        rig.run(Ultrasonic(HcSr04(), rig.pins, rig.clock))
        rig.scheduler.run_until(5.0)
        return rig.items

    assert samples() == samples()


# ------------------------------------------------------------------------------------ button, motor, pins


def test_a_press_reaches_the_driver_once():
    """Bounce and all, one press is one edge down and one up, at its own times."""
    rig = Rig()
    ButtonTwin(rig.board, rig.scheduler, rig.world)
    rig.run(ButtonDriver(ButtonConfig(), rig.pins, rig.clock))
    rig.world.at(2.0, Press(hold_s=0.3, times=2, gap_s=0.4))
    rig.scheduler.run_until(1.0)
    rig.world.at(6.0, Press(hold_s=1.2))  # decided while the walk goes on
    rig.scheduler.run_until(9.0)
    edges = [(item.t_measured_s, item.pressed) for item in rig.items if isinstance(item, ButtonEdge)]
    assert [pressed for _, pressed in edges] == [True, False] * 3
    assert [t for t, _ in edges] == pytest.approx([2.0, 2.3, 2.7, 3.0, 6.0, 7.2], abs=0.0031)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [pytest.param("button:stuck@1-4", [True, False], id="stuck"), pytest.param("button:garbage@1-4", [], id="garbage")],
)
def test_a_broken_button_is_pressed_by_nobody(fault, expected):
    """Stuck, it is down for the fault's time; chattering, it never settles."""
    rig = Rig(faults=[fault])
    ButtonTwin(rig.board, rig.scheduler, rig.world, faults=rig.faults)
    rig.run(ButtonDriver(ButtonConfig(), rig.pins, rig.clock))
    rig.world.at(2.0, Press())
    rig.scheduler.run_until(6.0)
    assert [item.pressed for item in rig.items if isinstance(item, ButtonEdge)] == expected


def test_the_walker_feels_the_motor_and_hears_the_buzzer():
    """Outputs reach the walker with their times; a closed pin is off."""
    rig = Rig()
    TouchTwin(rig.board, rig.world, line=27, what="vibration")
    TouchTwin(rig.board, rig.world, line=22, what="buzzer")
    motor, buzzer = PWMOutputDevice(27, pin_factory=rig.pins), OutputDevice(22, pin_factory=rig.pins)
    rig.scheduler.at(1.0, lambda: setattr(motor, "value", 0.6))
    rig.scheduler.at(1.5, motor.off)
    rig.scheduler.at(2.0, buzzer.on)
    rig.scheduler.at(2.5, buzzer.close)
    rig.scheduler.at(3.0, motor.on)
    rig.scheduler.run_until(4.0)
    motor.close()
    assert rig.world.felt == [(1.0, "vibration"), (2.0, "buzzer"), (3.0, "vibration")]
    assert rig.board.outputs[22] == 0.0


@pytest.mark.parametrize(
    ("frequency_hz", "state", "words"),
    [
        pytest.param(None, 0.5, "without a frequency", id="strength without pulses"),
        pytest.param(20_000.0, 0.5, "20000.0 Hz", id="faster than lgpio"),
        pytest.param(0.01, 0.5, "0.01 Hz", id="slower than lgpio"),
        pytest.param(200.0, 1.5, "between 0 and 1", id="too much"),
    ],
)
def test_pulses_that_lgpio_does_not_have_are_refused(frequency_hz, state, words):
    """What a real pin would take for full on, or refuse, is a mistake in the driver, and named."""
    pin = Rig().pins.pin(27)
    pin.output_with_state(0)
    with pytest.raises(StrictTwinError, match=words):
        _pulse(pin, frequency_hz, state)


def _pulse(pin, frequency_hz, state):
    pin.frequency = frequency_hz
    pin.state = state


def test_strengths_are_those_of_gpiozeros_own_mock():
    """Frequency, state and the line as on gpiozero's `MockPWMPin`, step by step."""
    rig = Rig()
    ours, theirs = rig.pins.pin(27), MockFactory(pin_class=MockPWMPin).pin(27)
    steps: list[tuple[str, object]] = [
        *(("function", "output"), ("state", 1), ("frequency", 200.0), ("state", 1.0), ("state", 0.4), ("state", 0.9)),
        *(("frequency", None), ("state", 1), ("state", 0), ("frequency", 50.0), ("state", 0.2), ("frequency", None)),
    ]
    for name, value in steps:
        for pin in (ours, theirs):
            setattr(pin, name, value)
        assert (ours.state, ours.frequency) == (theirs.state, theirs.frequency), (name, value)
        assert rig.board.outputs.get(27, 0.0) == theirs.state


def test_gpiozero_devices_work_on_these_pins():
    """A plain gpiozero Button sees presses with their times."""
    rig = Rig()
    ButtonTwin(rig.board, rig.scheduler, rig.world)
    button = Button(17, pin_factory=rig.pins)
    counts: Counter[str] = Counter()
    button.when_pressed = lambda: counts.update(["pressed"])
    rig.scheduler.at(1.0, lambda: rig.board.drive(17, False, 1.0))
    rig.scheduler.run_until(2.0)
    assert button.is_pressed
    assert counts["pressed"] == 1
    button.close()


def test_an_undriven_input_follows_its_pull():
    """A line with nothing on it floats to where its resistor pulls it."""
    rig = Rig()
    pin = rig.pins.pin(5)
    states = []
    for pull in ("up", "down"):
        pin.input_with_pull(pull)
        states.append(bool(pin.state))
    assert states == [True, False]


def test_a_new_function_ends_edge_detection_as_on_lgpio():
    """A handler that was set before the function is forgotten by the kernel: a driver must set it again."""
    rig = Rig()
    pin = rig.pins.pin(5)
    seen: list[int] = []

    def handler(_ticks: float, state: int) -> None:
        seen.append(state)

    pin.input_with_pull("down")
    pin.when_changed = handler
    rig.board.drive(5, True, 0.0)
    pin.function = "input"
    rig.board.drive(5, False, 0.0)
    pin.when_changed = None
    pin.when_changed = handler
    rig.board.drive(5, True, 0.0)
    assert seen == [1, 1]
