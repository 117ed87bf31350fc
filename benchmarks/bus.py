"""What the chips cost on the I2C bus: time on the wires per second of walk, and the longest single transaction.

Every byte of every transaction of a simulated walk is counted as it would travel at 400 kHz: nine bits a byte, the
address before each direction, start, repeated start and stop (`sim.i2c.transfer_s`).  Gaps that an adapter leaves
between bytes and clock stretching are not in it.  The default set carries the goals; other chips stand beside it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run

from retrowalk.config import Config, Imu, Vl53l1x
from retrowalk.sim import scenarios
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice.bank import Bank, default_directory

SUBJECT = "retrowalk"


def names(config: Config) -> dict[int, str]:
    """What is at each address."""
    found = {config.imu.bus_address: config.imu.chip}
    for sensor in config.range_sensor:
        address = getattr(sensor, "address", None)
        if address is not None:
            found[address] = f"{sensor.__struct_config__.tag} {sensor.name}"
    if config.battery.chip != "none":
        found[config.battery.bus_address] = config.battery.chip
    return found


def walk(config: Config, subject: str, seed: int, seconds: float, *, goals: bool) -> list[Row]:
    """The rows of one set of chips."""
    walked = VirtualWalk(config, scenarios.demo(seed), seed, Bank.open(config, default_directory()))
    try:
        walked.run_until(seconds)
        busy, longest = walked.hardware.bus.busy_s, walked.hardware.bus.longest_s
    finally:
        walked.close()
    n = round(seconds)
    rows = [
        Row("bus_busy_percent", subject, name, 100.0 * busy.get(address, 0.0) / seconds, "%", n)
        for address, name in names(config).items()
    ]
    everything, worst = 100.0 * sum(busy.values()) / seconds, 1e3 * max(longest.values())
    rows.append(Row("bus_busy_percent", subject, "mean, all", everything, "%", n, goal="<= 15" if goals else None))
    rows.append(Row("longest_transfer_ms", subject, "max", worst, "ms", n, goal="<= 5" if goals else None))
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    """The default set, then the same with the other clip, and with a time-of-flight sensor beside it."""
    seconds = 20.0 if options.quick else 600.0 if options.full else 90.0
    default = Config()
    rows = walk(default, SUBJECT, options.seed, seconds, goals=True)
    other_clip = Config(imu=Imu(chip="mpu6050"))
    rows += walk(other_clip, f"{SUBJECT} with mpu6050", options.seed, seconds, goals=False)
    more = Config(range_sensor=(*default.range_sensor, Vl53l1x()))
    rows += walk(more, f"{SUBJECT} with vl53l1x", options.seed, seconds, goals=False)
    return rows


if __name__ == "__main__":
    run("bus", arguments(__doc__.splitlines()[0]).parse_args(), measure)
