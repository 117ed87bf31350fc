"""Real lgpio and gpiozero without a kernel: edges come out of the FIFO that lgpio's own thread reads.

Run in an empty directory by `test_lines.py`, as a process of its own: it ends lgpio's thread.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpiozero.pins.lgpio as pins
import lgpio
import pytest

from retrowalk.config import Button, HcSr04
from retrowalk.core.samples import RangeSample, RangeStatus
from retrowalk.devices.button import ButtonDriver
from retrowalk.devices.lines import InputLine
from retrowalk.devices.ultrasonic import Ultrasonic
from retrowalk.errors import SensorError
from retrowalk.platform import LazyPins, MonotonicClock, real_pin_factory

RECORD = struct.Struct("QBBBBI")


class Kernel:
    """What gpiozero's pins call of lgpio, but for the callbacks: those are lgpio's."""

    def __init__(self) -> None:
        self.flags: dict[int, int] = {}
        self.told_by: dict[int, int] = {}
        self.on_write: Callable[[int, int], None] = lambda gpio, level: None
        for name in ("gpiochip_open", "gpiochip_close", "gpio_free"):
            setattr(lgpio, name, lambda *_: 0)
        lgpio.gpio_read = lambda _, gpio: int(gpio == 17)  # nobody presses the button
        lgpio.gpio_get_mode = lambda _, gpio: self.flags.get(gpio, 0)
        lgpio.gpio_claim_input = lambda _, gpio, flags=0: self._claim(gpio, flags)
        lgpio.gpio_claim_output = lambda _, gpio, level=0, flags=0: self._claim(gpio, flags | 2)
        lgpio.gpio_claim_alert = lambda _, gpio, edges, flags=0: self._claim(gpio, flags, lgpio._notify_thread._notify)
        lgpio.gpio_write = lambda _, gpio, level: self.on_write(gpio, int(level))
        pins.LGPIOFactory._get_revision = lambda _: 0x902120

    def _claim(self, gpio: int, flags: int, told_by: int = -1) -> int:
        self.flags[gpio], self.told_by[gpio] = flags, told_by
        return 0

    def edges(self, gpio: int, *edges: tuple[int, int]) -> None:
        """Edges (level, nanoseconds), as the kernel's thread in lgpio writes them."""
        with Path(f".lgd-nfy{self.told_by[gpio]}").open("wb", buffering=0) as fifo:
            for level, tick_ns in edges:
                fifo.write(RECORD.pack(tick_ns, 0, gpio, level, 0, 0))


def wait(until: Callable[[], object]) -> None:
    """Waits for another thread, two seconds at most."""
    limit_s = time.monotonic() + 2.0
    while not until():
        assert time.monotonic() < limit_s
        time.sleep(0.002)


def measured(driver: Ultrasonic, kernel: Kernel, clock: MonotonicClock) -> Any:
    """One ping, answered after 10 ms by something at 1.66 m."""
    levels = [0]

    def answer(gpio: int, level: int) -> None:
        was, levels[0] = levels[0], level
        if gpio == 23 and was and not level:
            now_ns = round(time.monotonic() * 1e9)
            kernel.edges(24, (1, now_ns + 450_000), (0, now_ns + 10_450_000))

    kernel.on_write = answer
    samples: list[Any] = []

    def look() -> bool:
        samples.extend(driver.poll(clock.now())[0])
        return bool(samples)

    wait(look)
    return samples[0]


def main() -> None:
    kernel = Kernel()
    factory = LazyPins(real_pin_factory)
    clock = MonotonicClock()

    # A handler of ours that fails costs nobody an edge.
    def fail(_: bool) -> None:
        raise RuntimeError("not ready")

    failing = InputLine(factory, 5, "down", fail)
    driver = Ultrasonic(HcSr04(), factory, clock)
    kernel.edges(5, (1, 1))
    wait(lambda: failing.handler_errors)
    sample = measured(driver, kernel, clock)
    assert isinstance(sample, RangeSample)
    assert sample.status is RangeStatus.VALID
    assert sample.range_m is not None
    assert abs(sample.range_m - 1.65) < 0.02

    # Somebody else's ends the thread.  Range sensor and button say so at the next look, and are told by another one.
    button = ButtonDriver(Button(), factory, clock)
    button.poll(clock.now())
    thread = lgpio._notify_thread
    kernel.told_by[6] = thread._notify
    lgpio.callback(0, 6, lgpio.BOTH_EDGES, lambda *_: fail(True))
    kernel.edges(6, (1, 1))
    wait(lambda: not thread.is_alive())
    with pytest.raises(SensorError, match=r"GPIO24.*has died"):
        driver.poll(clock.now() + 1.0)
    (report,) = button.poll(clock.now() + 1.0)[0]
    assert "has died" in report.detail  # type: ignore[union-attr]
    assert measured(driver, kernel, clock).status is RangeStatus.VALID
    (report,) = button.poll(clock.now() + 2.0)[0]
    assert not report.active  # type: ignore[union-attr]
    assert lgpio._notify_thread.is_alive()
    print("told")


if __name__ == "__main__":
    main()
