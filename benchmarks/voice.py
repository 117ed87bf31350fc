"""Heard in time: from the call that decides to the first frame at the card's play pointer, beside other ways to speak.

Everybody says "Stop" on the same pretend card (tests/paced_card), whose play pointer follows the monotonic clock and
which logs the instant at which the first frame above 64 of 32768 passes that pointer.  What lies behind a real play
pointer (converter, amplifier, radio) is in nobody's figures.

The subjects, each as its own documentation has it, at the best it can do:

- `retrowalk`: the voice process, started by the command that its service has, asked by the guard's messages over the
  guard's socket.  It plays its warning: two pulses, then the word.
- `pyttsx3 say`: `say`, then `runAndWait`, on one engine that has spoken before.  Cut as documented: `stop` from another
  thread, then `say`.
- `aplay for each clip`: a child process for each sound, given the rendered and trimmed word.  Cut by ending it.
- `sounddevice in-process`: one stream kept open, fed by a callback that copies from memory, given the
  same word: latency "low" in blocks of 10 ms, which makes the card's buffer 20 ms, as ours.  Of ten settings tried it
  came soonest without running dry; with blocks of its own choice (5 ms) "low" ran dry twelve times in 8 s.

The one who decides is a process of its own, with the priority that the guard's service has (nothing where that is not
permitted).  `quiet`: it does nothing else.  `busy`: two of its Python threads compute without pause, and so does one
more process beside it.  The pauses between calls are random, so that every phase of a buffer is met.  A sound is ended
0.15 s after it was asked for; nobody waits for the end of a word, except for pyttsx3, which cannot be ended.

`cut_ms`: from the call to the last frame of a long phrase that is sounding when "Stop" is asked for.  `lost`: calls
that were followed by no sound.  `underruns`: how often the card ran dry.  `idle_core_percent` and `pss_mb`: processor
of the one that keeps the card fed while nothing is said, and memory: of the voice process whole, of the others what
their library adds to the process that decides.  Then what each says about a card that is unplugged or stands still:
`false_success` counts calls that ended without an error while nothing left the card, `hangs` those that had not ended
after 10 s and were killed.

sounddevice comes from requirements/voice-peers.txt, and PortAudio from the Debian package libportaudio2; without them
its rows are missing, and a line says so.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes.util
import importlib.util
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from common import Row, arguments, run  # noqa: E402  # the path first
from speakers import HANG_S, LONG, RATE_HZ, SUBJECTS, cpu_s, pss_mb  # noqa: E402
from tests.paced_card.card import PretendCard, build  # noqa: E402

from retrowalk.config import Broker, Config, to_toml  # noqa: E402
from retrowalk.voice import bank as banks  # noqa: E402

RETROWALK = SUBJECTS[-1]
UNCUTTABLE = SUBJECTS[0]
SPEAKERS = Path(__file__).with_name("speakers.py")
GUARD_NICE, VOICE_NICE = -10, -9
"""As in systemd/retrowalk-guard.service and systemd/retrowalk-voice.service."""
LOST_S = 2.0
NEW_S = 0.1
"""So much of "Stop" tells where it begins: its first pulse to the end."""


# --------------------------------------------------------------------------------------------------- the measure


@dataclass
class Run:
    """What one subject did in one case."""

    onsets_ms: list[float] = field(default_factory=list)
    cuts_ms: list[float] = field(default_factory=list)
    asked: int = 0
    lost: int = 0
    false_success: int = 0
    hangs: int = 0
    underruns: int = 0
    idle_percent: float | None = None
    pss_mb: float | None = None


class Lines:
    """The lines a child prints, each waited for with a limit."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._file = process.stdout.fileno()
        self._rest = b""

    def next(self, limit_s: float) -> dict[str, Any] | None:
        """The next line; None when none comes in time.  Raises `EOFError` when there will be none."""
        end = time.monotonic() + limit_s
        while b"\n" not in self._rest:
            readable, _, _ = select.select([self._file], [], [], max(0.0, end - time.monotonic()))
            if not readable:
                return None
            data = os.read(self._file, 65536)
            if not data:
                raise EOFError
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        found: dict[str, Any] = json.loads(line)
        return found


def nice(value: int) -> Any:
    """For `preexec_fn`: the priority of a service, where that is permitted."""

    def apply() -> None:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, value)

    return apply


@contextlib.contextmanager
def voice_process(folder: Path, card: PretendCard, cache: Path) -> Iterator[int]:
    """The voice process as its service starts it; its process number."""
    settings = folder / "retrowalk.toml"
    # `to_toml` writes a broker that is checked when it is read.
    settings.write_text(to_toml(Config(broker=Broker(host="127.0.0.1"))), encoding="utf-8")
    command = [sys.executable, "-m", "retrowalk", "voice", "--config", str(settings)]
    environment = {
        **os.environ,
        "ALSA_CONFIG_PATH": str(card.config),
        "XDG_CACHE_HOME": str(cache),
        "RUNTIME_DIRECTORY": str(folder / "run"),
        "STATE_DIRECTORY": str(folder / "state"),
    }
    with open(folder / "voice.log", "ab") as log:
        process = subprocess.Popen(command, env=environment, stderr=log, preexec_fn=nice(VOICE_NICE))
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def clips(folder: Path) -> Path:
    """The rendered words, trimmed, as files for those who play files: 48 kHz, two channels."""
    config = Config()
    bank = banks.build(config, banks.default_directory())
    folder.mkdir(exist_ok=True)
    # A copy for the voice process: whoever renders phrases meanwhile does not change what is measured.
    shutil.copytree(bank.directory, folder.parent / "cache" / "retrowalk" / "bank")
    for name, (phrase, value) in {"stop": ("stop", ""), "long": LONG}.items():
        mono = np.frombuffer(bank.clip(phrase, value) or b"", "<i2")
        # The long phrase on the left and "Stop" on the right: so the card's log tells the two apart.
        stereo = np.zeros((len(mono), 2), "<i2")
        stereo[:, int(name == "stop")] = mono
        pcm = stereo.tobytes()
        (folder / f"{name}.pcm").write_bytes(pcm)
        with wave.open(str(folder / f"{name}.wav"), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(RATE_HZ)
            file.writeframes(pcm)
    return folder


@dataclass(frozen=True)
class Entry:
    """A line of the card's log."""

    what: str
    t_s: float
    pid: int


def entries(card: PretendCard) -> list[Entry]:
    """The card's log."""
    if not card.log.exists():
        return []
    found = []
    for line in card.log.read_text().splitlines():
        words = line.split()
        found.append(Entry(words[0], float(words[1]), int(words[2]) if words[2].isdigit() else 0))
    return found


def onset(log: list[Entry], from_s: float, until_s: float, channels: str = "LR") -> Entry | None:
    """The first sound that begins in a span, on one of these channels."""
    kinds = {f"ONSET{channel}" for channel in channels}
    found = [entry for entry in log if entry.what in kinds and from_s <= entry.t_s < until_s]
    return min(found, key=lambda entry: entry.t_s, default=None)


def played(card: PretendCard) -> np.ndarray[Any, Any]:
    """The left channel of all frames that passed the pointer, in order."""
    return np.fromfile(card.dump, "<i2")[0::2]


def onsets(left: np.ndarray[Any, Any]) -> list[int]:
    """Frames at which a sound begins, by the card's own rule: above 64, after 0.1 s below it."""
    loud = np.flatnonzero(np.abs(left.astype(np.int32)) > 64)
    if not len(loud):
        return []
    gaps = np.flatnonzero(np.diff(loud) > RATE_HZ // 10 + 1)
    return [int(loud[0]), *(int(loud[gap + 1]) for gap in gaps)]


def last_of_old(left: np.ndarray[Any, Any], begin: int, asked: int, new: np.ndarray[Any, Any]) -> int | None:
    """The last frame of the sound that began at frame `begin`, when `new` was asked for at frame `asked`.

    What has left the card, less the new sound where that lies in it, is the rest of the old one.  None: the new sound
    is not there.
    """
    # The first 10 ms of the new sound may have the fading end of the old one mixed into them.  A tone is like itself a
    # period later: only with its end in sight its place is certain.
    probe = new[480:]
    window = left[asked : asked + RATE_HZ // 2]
    if len(window) <= len(probe):
        return None
    for at in np.flatnonzero(window[: len(window) - len(probe)] == probe[0]):
        if np.array_equal(window[at : at + len(probe)], probe):
            start = asked + int(at) - 480
            break
    else:
        return None
    rest = left[begin : start + len(new)].astype(np.int32)
    rest[start - begin :] -= new[: len(rest) - (start - begin)]
    loud = np.flatnonzero(np.abs(rest) > 64)
    return begin + int(loud[-1]) if len(loud) else None


class Bench:
    """One subject on a card of its own."""

    def __init__(self, subject: str, folder: Path, library: Path, seed: int) -> None:
        self.subject = subject
        self._folder = folder
        self._library = library
        self._seed = seed
        self._cases = 0

    def run(self, case: str, *, stops: int, cuts: int, idle_s: float) -> Run:
        """Times `stops` calls from silence and `cuts` over a long phrase; `case` is `quiet` or `busy`."""
        found = Run()
        if stops or idle_s:
            self._times(found, case, ["stop"] * stops, idle_s)
        left = cuts
        while left > 0:  # who hangs is killed and begins anew
            left -= self._times(found, case, ["cut"] * left, 0.0)
        return found

    def faults(self, state: str, n: int) -> Run:
        """Asks for "Stop" while the card is broken (`unplug`, `freeze`)."""
        found = Run()
        for _ in range(n):
            with self._begun("quiet") as (card, voice):
                self._follow(found, card, voice, "quiet", ["stop", "faulty"], 0.0, state)
        return found

    @contextlib.contextmanager
    def _begun(self, case: str) -> Iterator[tuple[PretendCard, int]]:
        self._cases += 1
        folder = self._folder / str(self._cases)
        (folder / "run").mkdir(parents=True)
        card = PretendCard(folder, self._library)
        busy = None
        if case == "busy":
            busy = subprocess.Popen([sys.executable, str(SPEAKERS), "spin"])
        try:
            if self.subject == RETROWALK:
                with voice_process(folder, card, self._folder.parent / "cache") as pid:
                    yield card, pid
            else:
                yield card, 0
        finally:
            if busy is not None:
                busy.kill()
                busy.wait()
            shutil.rmtree(folder)

    def _times(self, found: Run, case: str, steps: list[str], idle_s: float) -> int:
        with self._begun(case) as (card, voice):
            return self._follow(found, card, voice, case, steps, idle_s, "")

    def _follow(
        self, found: Run, card: PretendCard, voice: int, case: str, steps: list[str], idle_s: float, state: str
    ) -> int:
        """Starts the process that decides and follows it; returns how many of the steps were begun."""
        task = {
            "subject": self.subject,
            "clips": str(self._folder.parent / "clips"),
            "run_dir": str(card.folder / "run"),
            "seed": f"{self._seed}:{case}:{self._cases}",
            "busy": case == "busy",
            "idle_s": idle_s,
            "steps": steps,
        }
        decider = subprocess.Popen(
            [sys.executable, str(SPEAKERS), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "ALSA_CONFIG_PATH": str(card.config)},
            preexec_fn=nice(GUARD_NICE),
            start_new_session=True,  # what it leaves behind ends with it
        )
        done: list[dict[str, Any]] = []
        asks: dict[str, Any] | None = None
        begun = 0
        voice_cpu_s = 0.0
        try:
            assert decider.stdin is not None
            lines = Lines(decider)
            while True:
                line = lines.next(idle_s + 2.0 * HANG_S if asks is None else HANG_S + 2.0)
                if line is None:
                    found.hangs += 1
                    break
                match line["what"]:
                    case "rests":
                        voice_cpu_s = cpu_s(voice) if voice else 0.0
                    case "rested":
                        spent = (cpu_s(voice) - voice_cpu_s) / idle_s * 100.0 if voice else line["percent"]
                        found.idle_percent = spent
                        found.pss_mb = pss_mb(voice) if voice else max(0.0, line["added_mb"])
                    case "break":
                        card.set(state)
                        decider.stdin.write(b"\n")
                        decider.stdin.flush()
                    case "asks":
                        asks = line
                        begun += 1
                    case "done":
                        asks = None
                        done.append(line)
                    case "end":
                        break
        except EOFError:
            raise RuntimeError(f"{self.subject}: the process that decides ended by itself") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(decider.pid, signal.SIGKILL)
            decider.wait()
        self._judge(found, card, done, asks)
        return begun

    def _judge(self, found: Run, card: PretendCard, done: list[dict[str, Any]], hung: dict[str, Any] | None) -> None:
        log = entries(card)
        found.underruns += sum(entry.what == "XRUN" for entry in log)
        if hung is not None and hung["step"] != "faulty":
            found.asked += 1
            found.lost += onset(log, hung["t_s"], hung["t_s"] + LOST_S, "R" if hung["step"] == "cut" else "LR") is None
        ends = [each["long_s"] for each in [*done, hung or {"long_s": float("inf")}][1:]]
        left, frames = np.zeros(0, "<i2"), list[int]()
        if self.subject == RETROWALK:
            left = played(card)
            frames = onsets(left)
            if self._new is None and frames:
                self._new = left[frames[0] : frames[0] + int(NEW_S * RATE_HZ)].astype(np.int32)
        for each, next_s in zip(done, ends, strict=False):
            asked_s, until_s = each["t_s"], min(each["t_s"] + LOST_S, next_s)
            if each["step"] == "faulty":
                found.asked += 1
                if each["ok"] is None:
                    found.hangs += 1
                elif each["ok"] and onset(log, asked_s, float("inf")) is None:
                    found.false_success += 1
            elif any(other["step"] == "faulty" for other in done):
                continue  # only there to see that it works
            elif each["step"] == "cut":
                found.asked += 1
                if onset(log, each["long_s"], asked_s, "L") is None:
                    cut_ms = None  # what was to be cut did not come
                elif self.subject == RETROWALK:
                    cut_ms = self._cut_ms(log, frames, left, asked_s)
                else:
                    cut_ms = self._cut_by_channel_ms(log, asked_s, until_s)
                if cut_ms is None:
                    found.lost += 1
                else:
                    found.cuts_ms.append(cut_ms)
            else:
                found.asked += 1
                begun = onset(log, asked_s, until_s)
                if begun is not None:
                    found.onsets_ms.append((begun.t_s - asked_s) * 1000.0)
                else:
                    found.lost += 1
                    found.false_success += bool(each["ok"])

    _new: np.ndarray[Any, Any] | None = None
    """How "Stop" begins when it leaves the card from silence."""

    @staticmethod
    def _cut_by_channel_ms(log: list[Entry], asked_s: float, until_s: float) -> float | None:
        """From the call to the last frame on the left, where the old sound is; None: the new one did not come."""
        if onset(log, asked_s, until_s, "R") is None:
            return None
        over = [entry.t_s for entry in log if entry.what == "OFFSETL" and asked_s - 1.0 < entry.t_s < until_s]
        return max(0.0, (max(over) - asked_s) * 1000.0) if over else None

    def _cut_ms(self, log: list[Entry], frames: list[int], left: np.ndarray[Any, Any], asked_s: float) -> float | None:
        """From the call to the last frame of the old sound, both being on both channels; None: the new did not come.

        Also none when the card ran dry before: what lies where is not known then.
        """
        logged = [entry for entry in log if entry.what == "ONSETL"]
        old = max((entry for entry in logged if entry.t_s < asked_s), key=lambda entry: entry.t_s, default=None)
        if old is None or len(frames) != len(logged) or self._new is None:
            return None
        begin = frames[logged.index(old)]
        asked = begin + int((asked_s - old.t_s) * RATE_HZ)
        last = last_of_old(left, begin, asked, self._new)
        return None if last is None else (last - asked) / RATE_HZ * 1000.0


# ------------------------------------------------------------------------------------------------------ the rows


def percentile(values: list[float], percent: float) -> float:
    """Nearest rank, so that it is a value that was measured."""
    return float(np.percentile(values, percent, method="inverted_cdf"))


def rows_of(subject: str, case: str, found: Run) -> list[Row]:
    """The rows of one subject in one case."""
    ours = subject == RETROWALK
    rows = []
    for metric, values, goals in (
        ("onset_ms", found.onsets_ms, {"p50": "<= 25", "p99": "<= 40"}),
        ("cut_ms", found.cuts_ms, {"p99": "<= 40"}),
    ):
        for name, percent in (("p50", 50.0), ("p99", 99.0)):
            if values:
                goal = goals.get(name) if ours else None
                value = percentile(values, percent)
                rows.append(Row(metric, subject, f"{name} {case}", value, "ms", len(values), goal=goal))
    zero = "<= 0" if ours else None
    rows.append(Row("lost", subject, case, found.lost, "calls", found.asked, goal=zero))
    rows.append(Row("underruns", subject, case, found.underruns, "", found.asked, goal=zero))
    rows.append(Row("false_success", subject, case, found.false_success, "calls", found.asked, goal=zero))
    rows.append(Row("hangs", subject, case, found.hangs, "calls", found.asked, goal=zero))
    if found.idle_percent is not None:
        goal = "<= 2" if ours else None
        rows.append(Row("idle_core_percent", subject, case, found.idle_percent, "%", 1, goal=goal))
    if found.pss_mb is not None:
        rows.append(Row("pss_mb", subject, case, found.pss_mb, "MB", 1, goal="<= 25" if ours else None))
    return rows


@dataclass(frozen=True)
class Size:
    """How many calls, of us and of the others."""

    stops: int
    cuts: int
    others: int
    others_cuts: int
    unending: int
    """Cuts of the one that cannot be cut: each may cost 10 s."""
    faults: int
    idle_s: float


QUICK = Size(stops=20, cuts=10, others=6, others_cuts=4, unending=1, faults=1, idle_s=5.0)
DEFAULT = Size(stops=200, cuts=200, others=200, others_cuts=60, unending=3, faults=3, idle_s=20.0)
FULL = Size(stops=400, cuts=400, others=400, others_cuts=200, unending=10, faults=10, idle_s=30.0)
"""The default takes a quarter of an hour: 200 calls each are what a p99 needs."""


def installed(subject: str) -> bool:
    """Whether the subject can be measured here; says so on stderr if not."""
    if not subject.startswith("sounddevice"):
        return True
    if importlib.util.find_spec("sounddevice") and ctypes.util.find_library("portaudio"):
        return True
    print(f"{subject}: not measured: requirements/voice-peers.txt and libportaudio2 are missing", file=sys.stderr)
    return False


def measure(options: argparse.Namespace) -> list[Row]:
    """Every subject in both cases, one after the other, and with a broken card."""
    size = QUICK if options.quick else FULL if options.full else DEFAULT
    rows: list[Row] = []
    # A short path: that of a socket may not be longer than 100 bytes.
    with tempfile.TemporaryDirectory(prefix="rw-") as temporary:
        folder = Path(temporary)
        library = build(folder)
        clips(folder / "clips")
        benches = [
            Bench(subject, folder / str(number), library, options.seed)
            for number, subject in enumerate(SUBJECTS)
            if installed(subject)
        ]
        for case in ("quiet", "busy"):
            for bench in benches:
                ours = bench.subject == RETROWALK
                cuts = size.cuts if ours else 0 if bench.subject == UNCUTTABLE else size.others_cuts
                stops = size.stops if ours else size.others
                idle_s = size.idle_s if case == "quiet" else 0.0
                rows += rows_of(bench.subject, case, bench.run(case, stops=stops, cuts=cuts, idle_s=idle_s))
        # What takes seconds to end is not timed to the millisecond: all at once.
        with ThreadPoolExecutor() as pool:
            uncut = pool.submit(
                Bench(UNCUTTABLE, folder / "uncut", library, options.seed).run,
                "quiet",
                stops=0,
                cuts=size.unending,
                idle_s=0.0,
            )
            broken = {
                (bench.subject, case): pool.submit(
                    Bench(bench.subject, folder / f"{state}{number}", library, options.seed).faults, state, size.faults
                )
                for state, case in (("unplug", "unplugged"), ("freeze", "frozen"))
                for number, bench in enumerate(benches)
            }
            rows += rows_of(UNCUTTABLE, "cut while it speaks", uncut.result())
            for (subject, case), future in broken.items():
                found = future.result()
                for metric, value in (("false_success", found.false_success), ("hangs", found.hangs)):
                    goal = "<= 0" if subject == RETROWALK else None
                    rows.append(Row(metric, subject, case, value, "calls", size.faults, goal=goal))
    return rows


if __name__ == "__main__":
    run("voice", arguments((__doc__ or "").partition("\n")[0]).parse_args(), measure)
