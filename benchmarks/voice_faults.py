"""A voice that falls silent: how soon it is felt, and whether the cause is named to walker and caregiver.

The whole device in real processes (guard, voice and courier, kept running by their supervisor) in a simulated world,
with a real broker, a client that knows only the topics, and two pretend sound cards (tests/paced_card): the configured
one, and another that is `default`.  The configured card or the voice breaks while nothing is said, in the middle of
words, or in the middle of a warning, and is repaired after 3 s or 8:

- `freeze`: its play pointer stands still, without an error;  `unplug`: it is gone
- `both frozen`, `both gone`: and so is the other one; nothing can be heard until the repair
- `open failure`: the voice dies, and the card is gone when it is back
- `null sink`: the voice dies, and ALSA's `null` is in the card's place when it is back
- `killed`, `stopped`: the voice process gets SIGKILL, SIGSTOP
- `espeak missing`: the voice dies, and finds no phrases when it is back, because none could be rendered
- `bank damaged`: the voice dies, and finds every phrase damaged when it is back

Whatever the voice finds when it is back lasts 8 s.  What the program brings along has no words for the cause of the
last two; "Device fault" does not count as such.

`touch_ms`: from the moment it stopped to the first rise of the buzzer's or a motor's pin, by the pins' own record
(goal 500).  `silent`: repetitions without any in 3 s.  `cause_not_named`: the walker's ear did not hear the cause from
either card within 20 s of the repair.  `caregiver_not_told`: the client did not get the fault by its name in that time.
Repetitions, by fault: 10 (half an hour), `--quick` 1 of two faults, `--full` 100 (five hours).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec import structs

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from common import Row, arguments, run  # noqa: E402  # the path first
from tests.paced_card.card import PretendCard, build  # noqa: E402

from retrowalk import config as configuration  # noqa: E402
from retrowalk.config import Config  # noqa: E402
from retrowalk.core.alerts import VOICE_CAUSES  # noqa: E402
from retrowalk.core.events import GuardState  # noqa: E402
from retrowalk.core.samples import SavedState  # noqa: E402
from retrowalk.guard.state import Kept, StateFile  # noqa: E402
from retrowalk.platform import boot_id  # noqa: E402
from retrowalk.sim.ear import Ear  # noqa: E402
from retrowalk.sim.faults import Faults  # noqa: E402
from retrowalk.sim.hardware import Hardware  # noqa: E402
from retrowalk.sim.realtime import Broker, Stranger, shlex_redirect  # noqa: E402
from retrowalk.sim.remote import WorldServer  # noqa: E402
from retrowalk.sim.scenarios import WALKER  # noqa: E402
from retrowalk.sim.scheduler import Scheduler, VirtualClock  # noqa: E402
from retrowalk.sim.virtual import clips  # noqa: E402
from retrowalk.sim.world import Action, Place, Press, Remove, Stand, Walk, World  # noqa: E402
from retrowalk.supervise import Supervisor  # noqa: E402
from retrowalk.voice import bank as banks  # noqa: E402

SUBJECT = "retrowalk"
NAMES = {
    "freeze": "frozen",
    "unplug": "no_device",
    "both frozen": "frozen",
    "both gone": "no_device",
    "open failure": "no_device",
    "null sink": "null_sink",
    "killed": "silent",
    "stopped": "silent",
    "espeak missing": "espeak_missing",
    "bank damaged": "bank_damaged",
}
"""Every fault, and what it is called in `fault.raised`."""
FOUND_LATER = ("open failure", "null sink", "espeak missing", "bank damaged")
"""What the voice meets only when it is back: the repair must not come before that."""
LATE_REPAIR_S = 8.0
MOMENTS = ("idle", "words", "warning")
DEVICE = "first"
REPAIR_S = 3.0
NAMED_S = 20.0
OVER_S = 40.0
START_S = 20.0
WALL_M = 2.6
REPETITIONS_A_WALK = 24


class Device:
    """A worn device in real processes, and its world in this one.  A context manager."""

    def __init__(self, folder: Path, library: Path, seed: int, phrases: Path) -> None:
        self._folder = folder
        self._seed = seed
        for name in ("run", "state", "first", "second"):
            (folder / name).mkdir(parents=True)
        self.bank_dir = folder / "cache" / "retrowalk" / "bank"
        shutil.copytree(phrases, self.bank_dir)
        self._phrases = phrases
        self._library = library
        self.first = PretendCard(folder / "first", library)
        self.second = PretendCard(folder / "second", library)
        self._asoundrc = folder / "asoundrc"
        self.fit("card0")
        voice = structs.replace(Config().voice, device=DEVICE)
        self.config = structs.replace(Config(), voice=voice)

    def fit(self, what: str) -> None:
        """Puts the first card, or `null`, in the place of the configured device."""
        cards = [("card0", self.first), ("card1", self.second)]
        text = f'pcm_type.paced {{ lib "{self._library}" }}\n'
        for name, card in cards:
            text += f'pcm.{name} {{ type paced dump "{card.dump}" log "{card.log}" ctl "{card.folder / "ctl"}" }}\n'
        slave = "{ type null }" if what == "null" else f'"{what}"'
        text += f"pcm.{DEVICE} {{ type plug slave.pcm {slave} }}\npcm.!default {{ type plug slave.pcm card1 }}\n"
        new = self._asoundrc.with_suffix(".new")
        new.write_text(text)
        new.rename(self._asoundrc)

    def __enter__(self) -> Device:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        folder = self._folder
        broker = Broker(folder)
        stack.callback(broker.close)
        config = structs.replace(self.config, broker=configuration.Broker(host=broker.host, port=broker.port))
        settings = folder / "retrowalk.toml"
        settings.write_text(configuration.to_toml(config), encoding="utf-8")
        self.origin_mono_s = time.monotonic()
        self.stranger = Stranger(broker, self.origin_mono_s)
        stack.callback(self.stranger.close)

        self.world = World(self._seed, profile=WALKER)
        pitch = math.radians(self.world.walker.upright_deg)
        upright = (-math.sin(pitch), 0.0, math.cos(pitch))
        # It was guarding a moment ago: it resumes without the hand check.
        state = SavedState(0.0, GuardState.GUARDING.value, 0.0, upright, accepted=True, sound_confirmed=True)
        StateFile(folder / "run").write(Kept(1, "before", boot_id(), self.origin_mono_s, time.time(), state, []))
        scheduler = Scheduler(VirtualClock(origin_mono_s=self.origin_mono_s))
        hardware = Hardware(config, scheduler, self.world, Faults())
        bank = banks.Bank.open(config, self._phrases)
        self.ear = Ear(clips(bank, config), on_heard=lambda heard: self.world.hear(heard.key, heard.understood_s))
        world = folder / "world"
        self._server = WorldServer(
            self.world, scheduler, hardware, (self.ear,), world, origin_mono_s=self.origin_mono_s
        )
        stack.callback(self._server.close)

        places = ["--config", str(settings), "--run-dir", str(folder / "run"), "--state-dir", str(folder / "state")]
        thin = [sys.executable, "-m", "retrowalk.sim.process"]
        common = ["--world", str(world), "--origin", repr(self.origin_mono_s)]
        commands = {
            "guard": [*thin, "guard", *places, *common],
            "voice": [*thin, "voice", *places, *common, "--sound", DEVICE],
            "courier": [sys.executable, "-m", "retrowalk", "courier", *places],
        }
        log = shlex_redirect(folder / "processes.log")
        self._supervisor = Supervisor(
            {name: [*log, *command] for name, command in commands.items()},
            env={
                **os.environ,
                "LG_WD": str(folder / "run"),
                "ALSA_CONFIG_PATH": str(self._asoundrc),
                "XDG_CACHE_HOME": str(folder / "cache"),
            },
        )
        stack.callback(self._supervisor.kill)

    # -- time -----------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Second of the walk."""
        return time.monotonic() - self.origin_mono_s

    def until(self, holds: Callable[[], object], within_s: float) -> bool:
        """Lets the walk go on until something holds; whether it did."""
        end_s = self.now() + within_s
        while self.now() < end_s:
            if holds():
                return True
            self._supervisor.poll(time.monotonic())
            self._server.poll(self.now() + 0.02)
        return bool(holds())

    def go(self, seconds: float) -> None:
        """Lets the walk go on."""
        self.until(lambda: False, seconds)

    def does(self, action: Action) -> None:
        """Lets the walker, or the world, do something now."""
        self.world.at(self.now(), action)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends the voice a signal."""
        pid = self._supervisor.pid("voice")
        if pid is not None:
            os.kill(pid, number)

    # -- what is seen from outside ----------------------------------------------------------------------------

    def felt(self, from_s: float) -> list[float]:
        """When a motor or the buzzer began, from then on."""
        return [t_s for t_s, _ in self.world.felt if t_s >= from_s]

    def heard(self, *keys: str, from_s: float) -> bool:
        """Whether the ear has understood one of these clips that began after that."""
        return any(
            heard.start_s >= from_s and not {heard.key, *heard.also}.isdisjoint(keys) for heard in self.ear.heard
        )

    def told(self, kind: str, fault: str, from_s: float) -> bool:
        """Whether the client has received an event about this fault of the voice after that."""
        for t_s, topic, payload in self.stranger.messages:
            if t_s < from_s or not topic.endswith(f"/event/{kind}"):
                continue
            data = json.loads(payload).get("data", {})
            if data.get("part") == "voice" and data.get("fault") == fault:
                return True
        return False

    def log(self) -> str:
        """What the processes wrote."""
        with contextlib.suppress(OSError):
            return (self._folder / "processes.log").read_text(errors="replace")
        return ""


# ------------------------------------------------------------------------------------------------- repetitions


@dataclass(frozen=True)
class Case:
    """What became of one repetition.  `touch_ms` None: nothing was felt."""

    fault: str
    moment: str
    touch_ms: float | None
    named: bool
    told: bool
    over: bool


def break_it(device: Device, fault: str, draw: random.Random) -> float:
    """Breaks the voice; returns when, as second of the walk."""
    stopped_s = device.now()
    match fault:
        case "freeze":
            device.first.set("freeze")
        case "unplug":
            device.first.set("unplug")
        case "both frozen" | "both gone":
            for card in (device.first, device.second):
                card.set("freeze" if fault == "both frozen" else "unplug")
        case "open failure":
            device.first.set("unplug")
            device.kill()
        case "null sink":
            device.fit("null")
            device.kill()
        case "killed":
            device.kill()
        case "stopped":
            device.kill(signal.SIGSTOP)
        case "espeak missing":
            (device.bank_dir / "refused").write_text("espeak_missing\nespeak-ng is not installed\n")
            (device.bank_dir / "manifest.json").rename(device.bank_dir / "manifest.away")
            device.kill()
        case "bank damaged":
            clips_there = [
                each
                for each in device.bank_dir.iterdir()
                if each.is_file() and each.suffix != ".json" and each.stat().st_size
            ]
            assert clips_there, f"{device.bank_dir}: there is nothing to damage"
            for file in sorted(clips_there):
                damaged = bytearray(file.read_bytes())
                damaged[draw.randrange(len(damaged))] ^= 0x40
                file.write_bytes(damaged)
            stopped_s = device.now()  # that took a while; the voice has served up to here
            device.kill()
        case _:
            raise ValueError(fault)
    return stopped_s


def repair(device: Device, fault: str, phrases: Path) -> None:
    """Puts everything right again."""
    device.first.set("ok")
    device.second.set("ok")
    if fault == "null sink":
        device.fit("card0")
    elif fault == "stopped":
        device.kill(signal.SIGCONT)
    elif fault == "espeak missing":
        (device.bank_dir / "manifest.away").rename(device.bank_dir / "manifest.json")
        (device.bank_dir / "refused").unlink()
    elif fault == "bank damaged":
        # The manifest last: by it the voice sees that there is another bank.
        for file in sorted(phrases.iterdir(), key=lambda file: file.name == "manifest.json"):
            if file.is_file():
                shutil.copy(file, device.bank_dir / file.name)


def lead_to(device: Device, moment: str, draw: random.Random) -> bool:
    """Lets the walk come to the moment at which the voice is to break; whether it came."""
    began_s = device.now()
    sounds = len(device.first.entries("ONSETL"))
    if moment == "idle":
        device.go(draw.uniform(0.5, 2.0))
        return True
    if moment == "words":
        device.does(Press())
        came = device.until(lambda: len(device.first.entries("ONSETL")) > sounds, 5.0)
        device.go(draw.uniform(0.3, 1.2))
        return came
    device.does(Place("wall", WALL_M))
    device.does(Walk(0.5))
    came = device.until(lambda: device.felt(began_s), 12.0)
    device.go(draw.uniform(0.0, 0.8))
    return came


def repetition(device: Device, fault: str, moment: str, draw: random.Random, phrases: Path) -> Case:
    """Breaks the voice once, repairs it, and looks for all that must follow."""
    lead_to(device, moment, draw)
    name = NAMES[fault]
    stopped_s = break_it(device, fault, draw)
    device.go(REPAIR_S)
    felt = [t_s for t_s in device.felt(stopped_s) if t_s < stopped_s + REPAIR_S]
    # Whoever is about to be hit hears "Stop"; the cause comes when that is over.
    device.does(Remove("wall"))
    device.does(Stand())
    if fault in FOUND_LATER:
        device.go(LATE_REPAIR_S - REPAIR_S)
    repair(device, fault, phrases)
    key = f"fault:{VOICE_CAUSES[name]}"
    named = device.until(lambda: device.heard(key, from_s=stopped_s), NAMED_S)
    told = device.until(lambda: device.told("fault.raised", name, stopped_s), 2.0)
    over = device.until(lambda: device.told("fault.cleared", name, stopped_s), OVER_S)
    device.go(6.0)  # a fault that comes again at once would not be told anew
    return Case(fault, moment, (felt[0] - stopped_s) * 1000.0 if felt else None, named, told, over)


def measure(options: argparse.Namespace) -> list[Row]:
    """All faults, in turn, in one walk after the other."""
    count = 1 if options.quick else 100 if options.full else 10
    phrases = banks.build(Config(), banks.default_directory()).directory
    draw = random.Random(options.seed)
    faults = ("freeze", "killed") if options.quick else tuple(NAMES)
    wanted = [
        (fault, MOMENTS[(number + position) % len(MOMENTS)])
        for number in range(count)
        for position, fault in enumerate(faults)
    ]
    cases: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="rw-") as temporary:
        library = build(Path(temporary))
        for begin in range(0, len(wanted), REPETITIONS_A_WALK):
            with Device(Path(temporary) / str(begin), library, options.seed + begin, phrases) as device:
                begun = device.until(lambda: device.first.entries("START"), START_S)
                device.go(4.0)
                if not begun:
                    raise RuntimeError(f"the voice did not begin: {device.log()[-2000:]}")
                for fault, moment in wanted[begin : begin + REPETITIONS_A_WALK]:
                    case = repetition(device, fault, moment, draw, phrases)
                    cases.append(case)
                    if not options.json:
                        print(f"  {case}", flush=True)
            shutil.rmtree(Path(temporary) / str(begin), ignore_errors=True)
    return rows_of(cases)


def rows_of(cases: list[Case]) -> list[Row]:
    """The rows, by fault and of all."""
    rows = []
    for fault in (*dict.fromkeys(case.fault for case in cases), "all"):
        mine = [case for case in cases if fault in (case.fault, "all")]
        n = len(mine)
        felt = [case.touch_ms for case in mine if case.touch_ms is not None]
        for statistic, percent in (("p50", 50.0), ("p99", 99.0), ("max", 100.0)):
            if felt:
                value = float(np.percentile(felt, percent, method="inverted_cdf"))
                goal = "<= 500" if statistic == "max" else None
                rows.append(Row("touch_ms", SUBJECT, f"{statistic} {fault}", value, "ms", len(felt), goal=goal))
        for metric, wrong in (
            ("silent", sum(case.touch_ms is None for case in mine)),
            ("cause_not_named", sum(not case.named for case in mine)),
            ("caregiver_not_told", sum(not case.told for case in mine)),
            ("not_over", sum(not case.over for case in mine)),
        ):
            rows.append(Row(metric, SUBJECT, fault, wrong, f"of {n}", n, goal="<= 0"))
    return rows


if __name__ == "__main__":
    run("voice_faults", arguments((__doc__ or "").partition("\n")[0]).parse_args(), measure)
