"""GPIO lines: what the drivers rely on, on mock pins and on gpiozero's real lgpio pins over a made-up kernel."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.devices.bench import BenchFactory, VirtualClock

from retrowalk.config import Button, HcSr04
from retrowalk.core.samples import ButtonEdge, RangeSample, RangeStatus
from retrowalk.devices.button import ButtonDriver
from retrowalk.devices.lines import EDGES_KEPT, InputLine, OutputLine, PwmLine, TickClock
from retrowalk.devices.ultrasonic import Ultrasonic
from retrowalk.errors import DeviceError, StrictTwinError
from retrowalk.platform import MonotonicClock


def _ignore(_level):
    pass


@pytest.mark.slow
def test_handler_outlives_collection():
    """gpiozero holds a handler weakly; a line keeps hearing its edges all the same"""
    factory = BenchFactory(VirtualClock())
    line = InputLine(factory, 24, "down", lambda _level: None)
    gc.collect()
    factory.pin(24).drive(True)
    factory.pin(24).drive(False)
    assert [level for _, level in line.edges] == [True, False]


def test_handler_never_raises():
    """An error on the way of an edge is counted; the edge is kept and the factory's thread lives"""
    factory = BenchFactory(VirtualClock())

    def broken(_level):
        raise RuntimeError("nobody there")

    line = InputLine(factory, 24, "down", broken)
    factory.pin(24).drive(True)
    assert line.handler_errors == 1
    assert len(line.edges) == 1


def test_storm_of_edges_is_bounded():
    """A line that chatters keeps its newest edges and no more"""
    factory = BenchFactory(VirtualClock())
    line = InputLine(factory, 24, "down", _ignore)
    for i in range(10 * EDGES_KEPT):
        factory.pin(24).edge(float(i), i % 2)
    assert len(line.edges) == EDGES_KEPT
    assert line.edges[-1][0] == 10 * EDGES_KEPT - 1


def test_line_can_be_opened_again():
    """A line closed and opened again hears edges again"""
    factory = BenchFactory(VirtualClock())
    InputLine(factory, 24, "down", _ignore).close()
    line = InputLine(factory, 24, "down", _ignore)
    factory.pin(24).drive(True)
    assert len(line.edges) == 1


@pytest.mark.parametrize(
    "kind",
    [lambda f: InputLine(f, 5, "up", _ignore), lambda f: OutputLine(f, 5), lambda f: PwmLine(f, 5, 200.0)],
    ids=["in", "out", "pwm"],
)
def test_pin_that_is_not_there_is_a_device_error(kind):
    """Whatever a factory raises for a pin becomes a `DeviceError` that names it"""
    factory = BenchFactory(VirtualClock())
    factory.broken.add(5)
    with pytest.raises(DeviceError, match="GPIO5"):
        kind(factory)


def test_fixed_pull_is_a_device_error():
    """The pull of GPIO2 is fixed; asking for the other is an error that names it"""
    with pytest.raises(DeviceError, match="GPIO2"):
        InputLine(BenchFactory(VirtualClock()), 2, "down", _ignore)


def test_misuse_of_a_twin_is_not_hidden():
    """A twin's complaint about the driver is not taken for an absent device"""
    factory = BenchFactory(VirtualClock())
    line = OutputLine(factory, 5)

    def complain(_gpio):
        raise StrictTwinError("GPIO5 is an input")

    factory.used = complain  # type: ignore[method-assign]
    with pytest.raises(StrictTwinError):
        line.set(True)


def test_torn_mark_is_read_again():
    """When the machine is busy between the two clocks, the pair is read again and the tightest one kept"""
    clock = VirtualClock()
    factory = BenchFactory(clock, tick_origin=500.0)
    delays = iter([0.005, 0.0, 0.0, 0.0])
    now = clock.now

    def slow_now() -> float:
        session_s = now()
        clock.now_s += next(delays, 0.0)
        return session_s

    ticks = TickClock(factory, clock)
    clock.now = slow_now  # type: ignore[method-assign]
    assert ticks.mark() == pytest.approx(0.005)
    assert ticks.after_mark_s(500.006) == pytest.approx(0.001)


# --------------------------------------------------------------------------- gpiozero's lgpio pins, no hardware


class FakeKernel:
    """The lgpio functions that gpiozero's pins call; levels and flags as the kernel keeps them."""

    def __init__(self) -> None:
        self.flags: dict[int, int] = {}
        self.levels: dict[int, int] = {}
        self.alerts: set[int] = set()
        self.callbacks: dict[int, Callable[..., None]] = {}
        self.on_write: Callable[[int, int], None] = lambda _gpio, _level: None
        self.calls: list[tuple[object, ...]] = []
        """Levels written, and pulses asked for (GPIO, frequency in Hz, duty in per cent), in order."""
        self.no_pulses = False

    def claim_input(self, _handle: int, gpio: int, flags: int = 0) -> int:
        self.flags[gpio] = flags
        self.alerts.discard(gpio)
        return 0

    def claim_output(self, _handle: int, gpio: int, level: int = 0, flags: int = 0) -> int:
        self.flags[gpio] = flags | 2
        self.levels[gpio] = level
        return 0

    def claim_alert(self, _handle: int, gpio: int, _edges: int, flags: int = 0) -> int:
        self.flags[gpio] = flags
        self.alerts.add(gpio)
        return 0

    def write(self, _handle: int, gpio: int, level: int) -> int:
        assert self.flags[gpio] & 2, f"GPIO{gpio} is written as an input"
        self.levels[gpio] = int(level)
        self.calls.append((gpio, int(level)))
        self.on_write(gpio, int(level))
        return 0

    def pwm(self, _handle: int, gpio: int, frequency_hz: float, duty_percent: float) -> int:
        assert self.flags[gpio] & 2, f"GPIO{gpio} is pulsed as an input"
        assert frequency_hz == 0.0 or (0.1 <= frequency_hz <= 1e4 and 0 <= duty_percent <= 100)  # lgTxPwm's limits
        if self.no_pulses:
            raise OSError("bad PWM")
        self.calls.append((gpio, frequency_hz, duty_percent))
        return 10

    def callback(self, _handle: int, gpio: int, _edges: int, func: Callable[..., None]) -> Any:
        self.callbacks[gpio] = func
        kernel = self

        class Subscription:
            def cancel(self) -> None:
                kernel.callbacks.pop(gpio, None)

        return Subscription()

    def edge(self, gpio: int, level: int, tick_ns: int) -> None:
        """An edge, as lgpio's thread delivers it: only to a claimed alert with a callback."""
        if gpio in self.alerts and gpio in self.callbacks:
            self.callbacks[gpio](0, gpio, level, tick_ns)


@pytest.fixture
def lgpio_factory(tmp_path, monkeypatch):
    """gpiozero's own LGPIOFactory over `FakeKernel`: (factory, kernel)."""
    monkeypatch.chdir(tmp_path)  # lgpio makes a FIFO in the working directory when it is imported
    pytest.importorskip("lgpio")
    module = importlib.import_module("gpiozero.pins.lgpio")
    kernel = FakeKernel()
    for name, function in {
        "gpiochip_open": lambda _chip: 0,
        "gpiochip_close": lambda _handle: 0,
        "gpio_claim_input": kernel.claim_input,
        "gpio_claim_output": kernel.claim_output,
        "gpio_claim_alert": kernel.claim_alert,
        "gpio_free": lambda _handle, _gpio: 0,
        "gpio_get_mode": lambda _handle, gpio: kernel.flags.get(gpio, 0),
        "gpio_read": lambda _handle, gpio: kernel.levels.get(gpio, 0),
        "gpio_write": kernel.write,
        "tx_pwm": kernel.pwm,
        "callback": kernel.callback,
    }.items():
        monkeypatch.setattr(module.lgpio, name, function)
    monkeypatch.setattr(module.LGPIOFactory, "_get_revision", lambda _self: 0x902120)
    factory = module.LGPIOFactory(chip=0)
    yield factory, kernel
    factory.close()


def test_range_on_lgpio_pins_is_the_kernels(lgpio_factory):
    """Over gpiozero's lgpio pins, range and time are the kernel's; so they are for a driver that follows another"""
    factory, kernel = lgpio_factory
    clock = MonotonicClock()
    driver = Ultrasonic(HcSr04(), factory, clock)

    def answer(gpio: int, level: int) -> None:
        if gpio == 23 and not level:
            trigger_ns = round(factory.ticks() * 1e9)
            kernel.edge(24, 1, trigger_ns + 450_000)
            kernel.edge(24, 0, trigger_ns + 450_000 + 10_000_000)

    kernel.on_write = answer
    for closed in (True, False, True):
        now = clock.now()
        driver.poll(now)
        items, _ = driver.poll(now + 0.050)
        (sample,) = items
        assert isinstance(sample, RangeSample)
        assert sample.status is RangeStatus.VALID
        assert sample.range_m == pytest.approx(0.010 * 331.3 / 2, abs=1e-4)
        assert 0.005 <= sample.t_measured_s - now < 0.040
        if closed:
            driver.close()
            assert kernel.callbacks == {}
        driver = Ultrasonic(HcSr04(), factory, clock)


def test_button_on_lgpio_pins_is_told(lgpio_factory):
    """Over gpiozero's real lgpio pins a press is told with the kernel's stamp, and the pull-up is on"""
    factory, kernel = lgpio_factory
    clock = MonotonicClock()
    driver = ButtonDriver(Button(), factory, clock)
    kernel.levels[17] = 1
    now = clock.now()
    driver.poll(now)
    assert factory.pin(17).pull == "up"
    kernel.levels[17] = 0
    kernel.edge(17, 0, round(factory.ticks() * 1e9))
    assert driver.poll(now + 0.010)[0] == []
    (edge,) = driver.poll(now + 0.060)[0]
    assert isinstance(edge, ButtonEdge)
    assert edge.pressed
    assert edge.t_measured_s == pytest.approx(now + 0.010, abs=0.01)


def test_a_strength_on_lgpio_pins_begins_with_a_level(lgpio_factory):
    """The line is high before lgpio's slow pulses are asked for, full at first, then of their strength; low after"""
    factory, kernel = lgpio_factory
    line = PwmLine(factory, 27, 200.0)
    kernel.calls.clear()
    line.set(1.0, ready=True)
    assert kernel.calls == [(27, 1), (27, 200.0, 0), (27, 200.0, 100)]
    kernel.calls.clear()
    line.set(0.5)
    assert kernel.calls == [(27, 200.0, 50)]
    kernel.calls.clear()
    line.set(0.0)
    assert kernel.calls == [(27, 0, 0), (27, 0)]
    line.set(0.5)
    kernel.calls.clear()
    line.close()
    assert kernel.calls == [(27, 0, 0), (27, 0)]


def test_full_strength_on_lgpio_pins_needs_no_pulses(lgpio_factory):
    """What is at full strength all along, a warning, is a plain level: no thread of lgpio's is asked"""
    factory, kernel = lgpio_factory
    line = PwmLine(factory, 27, 200.0)
    kernel.calls.clear()
    line.set(1.0)
    line.set(0.0)
    assert kernel.calls == [(27, 1), (27, 0)]
    line.set(0.5)
    kernel.calls.clear()
    line.set(1.0)
    assert kernel.calls == [(27, 0, 0), (27, 1)]


def test_pulses_that_lgpio_refuses_leave_the_line_on(lgpio_factory):
    """A strength that cannot be had is full strength, and the line says why"""
    factory, kernel = lgpio_factory
    kernel.no_pulses = True
    line = PwmLine(factory, 27, 200.0)
    line.set(0.5)
    assert kernel.levels[27] == 1
    assert not line.pwm
    assert "bad PWM" in line.why_not
    line.set(0.0)
    assert kernel.levels[27] == 0


@pytest.mark.process
def test_a_dead_thread_of_lgpio_is_named_and_replaced(tmp_path):
    """An exception in one handler silences no other line; if lgpio's thread dies of somebody's, each line says so"""
    pytest.importorskip("lgpio")
    script = Path(__file__).with_name("edges_by_lgpio.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "LG_WD"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "told\n", done.stderr
