"""How soon it guards, and what memory it takes: imports, ready, guarding after a death, proportional memory.

`import_s`: what each process imports before it does anything, in a fresh interpreter, timed inside it (wall; the
interpreter's own start is the row `python`).  `ready_s`: from exec of the very command that a unit starts to its
READY=1, which a process sends when its loops have given evidence; no hardware, so drivers name their parts as absent.

`start_to_guarding_s`: real processes on simulated hardware; the guard is killed (kill -9) while it guards, and timed is
the way from exec of the next one to the first state `guarding` that a watcher receives.  This is a resumed start: a
fresh one needs the walker's hand and press, which no computer hastens.  Of a fresh start are told the first decision
(state `checking`) and the first sound in the walker's ear.  `death_to_guarding_s` is from the kill, with the pause of
1 s that the supervisor makes.

`zero2w_death_to_guarding_s` is an estimate: the pause that systemd makes (RestartSec=0.5), the processor time from exec
to READY=1 of the guard's own command times the ratio of one line (as in load.py), and the waiting in the shortest start
measured here, which is for sensors and does not scale.  A card that must be read again comes on top.

`pss_mb`: proportional set size (smaps_rollup) of guard, voice and courier after a minute of guarding, and of the hub
with its worker, which usually runs elsewhere.  The thin sides to the simulated hardware are counted in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run
from load import ZERO2W_LOOP_S, cpu_s, loop_s, pss_mb

from retrowalk import wire
from retrowalk.platform import SocketMailbox
from retrowalk.sim.realtime import RealWalk

SUBJECT = "retrowalk"
PAUSE_S = 0.5
"""RestartSec of the guard's unit."""
PROCESSES = ("guard", "voice", "courier")
IMPORTS = {
    "guard": "import retrowalk.guard.process",
    "voice": "import retrowalk.voice.process, retrowalk.voice.alsa, retrowalk.voice.microphone",
    "courier": "import retrowalk.courier.process, retrowalk.mqtt",
    "hub": "import retrowalk.hub.process, retrowalk.hub.notifier, retrowalk.mqtt",
    "command line": "import retrowalk.cli",
    "pins and bus, in a thread of the guard": "import gpiozero.pins.lgpio, smbus2",
}
"""What each imports; the last is not waited for by anything but the pins."""
GUARDS = ("guarding", "limited")
"""States in which rear hazards are warned of."""
LOOK_S = 0.01
APART_S = 5.5
"""Longer than a process must live not to have died young: the pause before its next start is the shortest again."""
LIMIT_S = 20.0


def imports(code: str, count: int) -> list[float]:
    """Seconds that these imports take in fresh interpreters."""
    program = f"import time; began = time.perf_counter(); {code}; print(time.perf_counter() - began)"
    return [float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(count)]


def bare(count: int) -> list[float]:
    """Seconds that an interpreter takes to start and to end."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        taken.append(time.perf_counter() - began)
    return taken


@contextlib.contextmanager
def _notified(directory: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = directory / "notify"
        path.unlink(missing_ok=True)
        manager.bind(str(path))
        yield manager, str(path)


def command(name: str, directory: Path) -> list[str]:
    """What a unit starts, with directories of our own."""
    line = [sys.executable, "-m", "retrowalk", name, "--config", str(directory / f"{name}.toml")]
    if name != "hub":
        line += ["--run-dir", str(directory)]
    return [*line, "--state-dir", str(directory / "state")]


def settings(name: str, directory: Path) -> None:
    """A broker where nobody listens; for the hub somebody to tell."""
    broker = '[broker]\nhost = "127.0.0.1"\nport = 9\n'
    contact = '[[contact]]\nname = "Anna"\nnotify = ["http://127.0.0.1:9/x"]\n' if name == "hub" else ""
    (directory / f"{name}.toml").write_text(broker + contact)
    (directory / "state").mkdir(exist_ok=True)


def ready(name: str, directory: Path, after_s: float = 0.0) -> tuple[float, float, float]:
    """Seconds from exec to READY=1, processor seconds until then, memory in MB so much later (0: not asked)."""
    settings(name, directory)
    with _notified(directory) as (manager, address):
        began = time.monotonic()
        process = subprocess.Popen(
            command(name, directory),
            env={**os.environ, "NOTIFY_SOCKET": address, "LG_WD": str(directory)},
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            manager.settimeout(LIMIT_S)
            while b"READY=1" not in manager.recv(4096):
                pass
            took_s, computed_s = time.monotonic() - began, cpu_s(process.pid)
            memory_mb = 0.0
            if after_s:
                time.sleep(after_s)
                memory_mb = sum(pss_mb(pid) for pid in family(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return took_s, computed_s, memory_mb


def family(pid: int) -> list[int]:
    """A process and its children."""
    found = [pid]
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in file.read_text().split():
            found += family(int(child))
    return found


class Watcher:
    """Somebody who looks at the guard of a walk in real time."""

    def __init__(self, walk: RealWalk) -> None:
        self.walk = walk
        self._mailbox = SocketMailbox(walk.run_dir, "bench")

    def close(self) -> None:
        """Takes the mailbox down."""
        self._mailbox.close()

    def until_state(self, states: Sequence[str], from_s: float) -> float:
        """Second of the walk at which the guard is first known to be in one of these states, not before `from_s`."""
        limit_s = self.walk.now() + LIMIT_S
        while self.walk.now() < limit_s:
            self._mailbox.send("guard", wire.encode(wire.Watch("bench")))
            select.select([self._mailbox.fileno()], [], [], LOOK_S)
            while (data := self._mailbox.receive()) is not None:
                message = wire.decode_local(data)
                if isinstance(message, wire.Status) and message.t_s >= from_s and message.guard_state in states:
                    return self.walk.now()
            self.walk.run_until(self.walk.now() + 0.003)
        raise RuntimeError(f"no state {'/'.join(states)} within {LIMIT_S:g} s: {self.walk.log('processes')[-600:]}")


def started_s(walk: RealWalk, name: str) -> float:
    """When the supervisor started a process last, in seconds of the walk."""
    return max(told.t_s for told in walk.events if told.name == name and told.what == "started")


def resumed(walk: RealWalk, watcher: Watcher) -> tuple[float, float]:
    """Kills the guard; seconds from exec, and from its death, to guarding."""
    killed_s = walk.now()
    walk.kill("guard")
    # A status that the dead guard had sent is older than the kill.
    guards_s = watcher.until_state(GUARDS, killed_s + 0.05)
    return guards_s - started_s(walk, "guard"), guards_s - killed_s


def fresh(walk: RealWalk, watcher: Watcher) -> tuple[float, float]:
    """From exec of the guard to its first decision, and to the first sound in the walker's ear."""
    decided_s = watcher.until_state(("checking", *GUARDS), 0.0)
    began_s = started_s(walk, "guard")
    limit_s = walk.now() + LIMIT_S
    while not walk.heard() and walk.now() < limit_s:
        walk.run_until(walk.now() + LOOK_S)
    return decided_s - began_s, walk.heard()[0].t_s - began_s


def walked(options: argparse.Namespace, directory: Path, guard_cpu_s: float) -> list[Row]:
    """All that a walk in real time shows."""
    guards_for_s = 5.0 if options.quick else 60.0
    kills = 2 if options.quick else 12 if options.full else 6
    until_s = 30.0 + guards_for_s + kills * (APART_S + 6.0)
    with RealWalk(options.seed, directory, scenario="hours", until_s=until_s, tick_s=LOOK_S) as walk:
        watcher = Watcher(walk)
        try:
            decided_s, heard_s = fresh(walk, watcher)
            began_s = watcher.until_state(GUARDS, 0.0)
            walk.run_until(began_s + guards_for_s)
            memory = {name: pss_mb(pid) for name, pid in walk.pids().items()}
            times = []
            for _ in range(kills):
                times.append(resumed(walk, watcher))
                walk.run_until(walk.now() + APART_S)
        finally:
            watcher.close()
    starts = [start for start, _ in times]
    deaths = [death for _, death in times]
    waits_s = max(0.0, min(starts) - guard_cpu_s)
    zero_s = zero2w_s(guard_cpu_s, waits_s, ZERO2W_LOOP_S / loop_s())
    return [
        Row("start_to_guarding_s", SUBJECT, "resumed, p50", statistics.median(starts), "s", kills),
        Row("start_to_guarding_s", SUBJECT, "resumed, largest", max(starts), "s", kills, goal="<= 3"),
        Row("death_to_guarding_s", SUBJECT, "kill -9, largest", max(deaths), "s", kills, goal="<= 5"),
        Row("zero2w_death_to_guarding_s", SUBJECT, "estimate", zero_s, "s", kills, goal="<= 5"),
        Row("start_to_checking_s", SUBJECT, "fresh, first decision", decided_s, "s", 1),
        Row("start_to_sound_s", SUBJECT, "fresh, first sound", heard_s, "s", 1),
        *memory_rows(memory, f"after {guards_for_s:g} s of guarding"),
    ]


def zero2w_s(computing_s: float, waiting_s: float, ratio: float) -> float:
    """From a death to guarding on a slower machine: the pause, the computing there, and waiting that stays as it is."""
    return PAUSE_S + computing_s * ratio + waiting_s


def memory_rows(memory: dict[str, float], when: str) -> list[Row]:
    """Each process, and what they take together."""
    rows = [Row("pss_mb", SUBJECT, f"{name}, {when}", value, "MB", 1) for name, value in memory.items()]
    rows.append(Row("pss_mb", SUBJECT, f"all, {when}", sum(memory.values()), "MB", 1, goal="<= 110"))
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    """All numbers."""
    count = 5 if options.quick else 20
    rows = [Row("start_s", "python", "interpreter, p50", statistics.median(bare(count)), "s", count)]
    for name, code in IMPORTS.items():
        goal = "<= 0.2" if name in (*PROCESSES, "hub") else None
        rows.append(
            Row("import_s", SUBJECT, f"{name}, p50", statistics.median(imports(code, count)), "s", count, goal=goal)
        )
    with tempfile.TemporaryDirectory(prefix="rw-") as temporary:
        directory = Path(temporary)
        times = 2 if options.quick else 5
        computed = {}
        for name in PROCESSES:
            taken = [ready(name, directory) for _ in range(times)]
            computed[name] = min(took[1] for took in taken)
            middle = statistics.median(took[0] for took in taken)
            rows.append(Row("ready_s", SUBJECT, f"{name}, p50", middle, "s", times))
            rows.append(Row("ready_cpu_s", SUBJECT, f"{name}, least", computed[name], "s", times))
        took_s, _, memory_mb = ready("hub", directory, 3.0 if options.quick else 20.0)
        rows.append(Row("ready_s", SUBJECT, "hub", took_s, "s", 1))
        rows.append(Row("pss_mb", SUBJECT, "hub and its worker", memory_mb, "MB", 1))
        rows += walked(options, directory / "walk", computed["guard"])
    return rows


if __name__ == "__main__":
    run("start", arguments(__doc__.splitlines()[0]).parse_args(), measure)
