"""What the whole device costs: processor and memory of its three processes, on a real-time simulated walk.

The guard, the voice and the courier run as they do on the street, against a real broker; the world runs in a process
of its own that is not counted.  Seconds of processor are summed over user and system time of the three processes and
their children.  A Pi Zero 2 W is not here: its share is this machine's, scaled by the ratio of one line
(`for i in range(10_000_000): s += i * i`), taken as 13.5 s there (15 times the 0.90 s of the reference machine: an
assumption, to be replaced by running the same line on one).

On a virtual machine a process that merely wakes up and sleeps again is charged far more than on bare metal.  How much
is measured here, too, with a process that does nothing else; `zero2w_core_percent` is given plainly scaled (that is
the figure the goal speaks of), without that cost, and as a lower bound: what the three compute in virtual time, where
nothing wakes up at all.  The truth on a Pi lies between the last two.

Not measurable here: GPIO interrupts and the kernel's share of them, I2C transfers on real hardware, the sound driver,
the radio, an SD card, thermal throttling, what a wake-up costs on a Pi.  The thin sides that lead to the simulated
hardware (a thread and a few sockets) are counted in, though a device has none.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run

from retrowalk.config import Config, from_table
from retrowalk.core.companion import Companion
from retrowalk.core.samples import ImuSample
from retrowalk.courier import recording
from retrowalk.sim import scenarios
from retrowalk.sim.demo import run_fast
from retrowalk.sim.realtime import RealWalk
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice.bank import Bank, default_directory

ZERO2W_LOOP_S = 13.5
LOOPS = 10_000_000
SUBJECT = "retrowalk"


def loop_s() -> float:
    """The ratio line as a program of its own, best of three."""
    code = (
        "import time; t = time.perf_counter(); s = 0\n"
        f"for i in range({LOOPS}): s += i * i\n"
        "print(time.perf_counter() - t)"
    )
    return min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(3))


def wake_s() -> float:
    """Processor time that this machine charges for waking up a process that does nothing, in seconds."""
    code = (
        "import select, time; c = time.process_time()\n"
        "for _ in range(300): select.select([], [], [], 0.015)\n"
        "print((time.process_time() - c) / 300)"
    )
    return min(float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(2))


def wakes(pid: int) -> int:
    """How often the threads of a process have gone to sleep."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                count += int(line.split()[1])
    return count


def cpu_s(pid: int) -> float:
    """User and system time of a process and its dead children, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def pss_mb(pid: int) -> float:
    """Proportional set size in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024.0
    raise OSError(f"process {pid}: no Pss line")


def import_s() -> float:
    """Importing what the guard needs, best of five fresh interpreters, above an empty one."""

    def best(code: str) -> float:
        times = []
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times.append(time.perf_counter() - started)
        return min(times)

    return max(0.0, best("import retrowalk.guard.process") - best("pass"))


def us_per_imu_sample(directory: Path, seed: int) -> tuple[float, int]:
    """The Companion's time for an IMU sample of a recorded walk, mean over the walk."""
    run_fast(seed, directory, (), lambda done, total: None)
    recorded = recording.read(directory / "walk.mcap")
    items = [entry.value for entry in recorded.entries if entry.channel.startswith("/item/")]
    companion = Companion(from_table(recorded.session.config))
    spent, count = 0.0, 0
    for item in items:
        started = time.perf_counter()
        companion.feed(item)
        if isinstance(item, ImuSample):
            spent += time.perf_counter() - started
            count += 1
    return spent / count * 1e6, count


def computing_share(seed: int) -> float:
    """Processor time per second of walk that the three processes compute, in one process in virtual time.

    No thread, no wake-up, no cold cache, no system call of the kernel's: a lower bound.  What belongs to the simulated
    chips and to the ear is taken off.
    """
    config = Config()
    walk = VirtualWalk(config, scenarios.demo(seed), seed, Bank.open(config, default_directory()))
    walk.sound.listeners.clear()
    spent = [0.0]

    def timed(call: Callable[..., Any], sign: float) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments, **named)
            finally:
                spent[0] += sign * (time.perf_counter() - started)

        return wrapped

    for step in (*walk.steps(), walk.guard, walk.voice, walk.courier):
        step.poll = timed(step.poll, 1.0)  # type: ignore[method-assign]
    walk.guard.take = timed(walk.guard.take, 1.0)  # type: ignore[method-assign]
    walk.hardware.bus.transfer = timed(walk.hardware.bus.transfer, -1.0)  # type: ignore[method-assign]
    try:
        walk.run_until(60.0)
    finally:
        walk.close()
    return spent[0] / 60.0


def measure(options: argparse.Namespace) -> list[Row]:
    """Runs the walk and takes the numbers."""
    seconds = 30.0 if options.quick else 600.0 if options.full else 150.0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        sample_us, samples = us_per_imu_sample(Path(temporary) / "fast", options.seed)
        ratio = ZERO2W_LOOP_S / loop_s()
        with RealWalk(options.seed, Path(temporary) / "real", (), until_s=seconds + 20.0) as walk:
            walk.run_until(10.0)
            pids = walk.pids()
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            slept = sum(wakes(pid) for pid in pids.values())
            began = time.monotonic()
            walk.run_until(10.0 + seconds)
            elapsed = time.monotonic() - began
            spent = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
            woken = (sum(wakes(pid) for pid in pids.values()) - slept) / elapsed
            memory = {name: pss_mb(pid) for name, pid in pids.items()}
    total = sum(spent.values())
    for name in spent:
        hourly = spent[name] / elapsed * 3600
        rows.append(Row("cpu_s_per_walk_h", SUBJECT, f"mean {name}", hourly, "s/h", int(elapsed)))
        rows.append(Row("pss_mb", SUBJECT, name, memory[name], "MB", 1))
    rows.append(Row("cpu_s_per_walk_h", SUBJECT, "mean", total / elapsed * 3600, "s/h", int(elapsed)))
    rows.append(Row("pss_mb", SUBJECT, "all", sum(memory.values()), "MB", 1, goal="<= 110"))
    rows.append(Row("us_per_imu_sample", SUBJECT, "mean", sample_us, "us", samples))
    share = total / elapsed * ratio * 100
    each = wake_s()
    rows.append(Row("wakes_per_s", SUBJECT, "mean", woken, "1/s", int(elapsed)))
    rows.append(Row("us_per_wake", "this machine", "an idle process", each * 1e6, "us", 300))
    rows.append(Row("zero2w_core_percent", SUBJECT, f"mean (ratio {ratio:.1f})", share, "%", 1, goal="<= 25"))
    bare = max(0.0, total / elapsed - woken * each) * ratio * 100
    rows.append(Row("zero2w_core_percent", SUBJECT, "mean without this machine's wake-ups", bare, "%", 1))
    bound = computing_share(options.seed) * ratio * 100
    rows.append(Row("zero2w_core_percent", SUBJECT, "mean computing only (lower bound)", bound, "%", 60))
    rows.append(Row("import_s", SUBJECT, "best of 5", import_s(), "s", 5, goal="<= 0.2"))
    return rows


if __name__ == "__main__":
    run("load", arguments(__doc__.splitlines()[0]).parse_args(), measure)
