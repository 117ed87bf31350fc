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
- `sounddevice in-process`: one stream kept open, fed by a callback that copies from memory: 20 ms, blocks of 10 ms,
  given the same word.  Smaller buffers ran dry, larger ones come later.

The one who decides is a process of its own, with the priority that the guard's service has (nothing where that is not
permitted).  `quiet`: it does nothing else.  `busy`: two of its Python threads compute without pause, and so does one
more process beside it.  The pauses between calls are random, so that every phase of a buffer is met.  A sound is ended
0.15 s after it was asked for; nobody waits for the end of a word, except for pyttsx3, which cannot be ended.

`cut_ms`: from the call to the last frame of a long phrase that is sounding when "Stop" is asked for.  `lost`: calls that
were followed by no sound.  `underruns`: how often the card ran dry.  `idle_core_percent` and `pss_mb`: processor of the
one that keeps the card fed while nothing is said, and memory: of the voice process whole, of the others what their
library adds to the process that decides.  Then what each says about a card that is unplugged or stands still:
`false_success` counts calls that ended without an error while nothing left the card, `hangs` those that had not ended
after 10 s and were killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from common import Row, arguments, run  # noqa: E402  # the path first
from tests.paced_card.card import PretendCard, build  # noqa: E402

from retrowalk import wire  # noqa: E402
from retrowalk.config import Broker, Config, to_toml  # noqa: E402
from retrowalk.core import alerts  # noqa: E402
from retrowalk.core.samples import VoicePhase  # noqa: E402
from retrowalk.platform import SocketMailbox  # noqa: E402
from retrowalk.voice import bank as banks  # noqa: E402

RETROWALK = "retrowalk"
SUBJECTS = ("pyttsx3 say", "aplay for each clip", "sounddevice in-process", RETROWALK)
UNCUTTABLE = "pyttsx3 say"
HANG_S = 10.0
LONG = ("drop_speed", "0.7")
"""A phrase of almost four seconds."""
LONG_WORDS = "Watching for steps, up to nought point seven metres a second, if you walk backward slowly"
RATE_HZ = 48_000
GUARD_NICE, VOICE_NICE = -10, -9
"""As in systemd/retrowalk-guard.service and systemd/retrowalk-voice.service."""
STOP_AFTER_S = 0.15
"""So much of a sound is enough to see that it has begun."""
SILENCE_S = 0.14
"""The card takes a sound for over after 0.1 s of silence."""
LOST_S = 2.0


# ------------------------------------------------------------------------------------- the process that decides


class Player:
    """A way to speak, in the process that decides.  `outcome` is what it says about the last call."""

    def stop_word(self) -> None:
        """Says "Stop" now."""
        raise NotImplementedError

    def long(self) -> None:
        """Begins a long phrase."""
        raise NotImplementedError

    def cut(self) -> None:
        """Says "Stop" over the long phrase."""
        self.stop_word()

    def quiet(self) -> None:
        """Ends what sounds."""

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def outcome(self, limit_s: float) -> bool | None:
        """Whether the last call counts as done (False: an error was reported; None: not known within the limit)."""
        return True


class Pyttsx3(Player):
    def __init__(self, _clips: Path, _run_dir: Path) -> None:
        import pyttsx3

        self._engine = pyttsx3.init()
        self._engine.setProperty("rate", 200)
        self._engine.say("ready")  # the first runAndWait of a process returns early
        self._engine.runAndWait()
        time.sleep(1.5)
        self._speaking: threading.Thread | None = None

    def stop_word(self) -> None:
        self._engine.say("Stop")
        self._engine.runAndWait()

    def long(self) -> None:
        def speak() -> None:
            self._engine.say(LONG_WORDS)
            self._engine.runAndWait()

        self._speaking = threading.Thread(target=speak, daemon=True)
        self._speaking.start()

    def cut(self) -> None:
        self._engine.stop()
        if self._speaking is not None:
            self._speaking.join()
        self.stop_word()


class Aplay(Player):
    def __init__(self, clips: Path, _run_dir: Path) -> None:
        self._clips = clips
        self._child: subprocess.Popen[bytes] | None = None

    def _play(self, name: str) -> None:
        self._child = subprocess.Popen(["aplay", "-q", str(self._clips / f"{name}.wav")], stderr=subprocess.DEVNULL)

    def stop_word(self) -> None:
        self._play("stop")

    def long(self) -> None:
        self._play("long")

    def cut(self) -> None:
        self.quiet()
        self.stop_word()

    def quiet(self) -> None:
        if self._child is not None:
            self._child.terminate()
            self._child.wait()

    def outcome(self, limit_s: float) -> bool | None:
        assert self._child is not None
        try:
            return self._child.wait(limit_s) == 0
        except subprocess.TimeoutExpired:
            return None


class SoundDevice(Player):
    def __init__(self, clips: Path, _run_dir: Path) -> None:
        import sounddevice

        self._clips = {name: (clips / f"{name}.pcm").read_bytes() for name in ("stop", "long")}
        self._now: tuple[bytes, int] = (b"", 0)
        self._stream = sounddevice.RawOutputStream(
            samplerate=RATE_HZ, channels=2, dtype="int16", blocksize=480, latency=0.02, callback=self._fill
        )
        self._stream.start()

    def _fill(self, out: Any, frames: int, _time: Any, _status: Any) -> None:
        pcm, at = self._now
        piece = pcm[at : at + frames * 4]
        out[: len(piece)] = piece
        out[len(piece) :] = bytes(len(out) - len(piece))
        if self._now[0] is pcm:
            self._now = (pcm, at + len(piece))

    def stop_word(self) -> None:
        self._now = (self._clips["stop"], 0)

    def long(self) -> None:
        self._now = (self._clips["long"], 0)

    def quiet(self) -> None:
        self._now = (b"", 0)

    def outcome(self, limit_s: float) -> bool | None:
        time.sleep(min(1.0, limit_s))
        return bool(self._stream.active)


class Guard(Player):
    """The guard's side of the sockets: what it sends, as it sends it, with its signs of life."""

    def __init__(self, _clips: Path, run_dir: Path) -> None:
        self._mailbox = SocketMailbox(run_dir, "guard")
        self._alert = 0
        self._alive_s = 0.0
        self._beat: wire.VoiceBeat | None = None
        self._phases: dict[int, set[VoicePhase]] = {}
        stop = next(row for row in alerts.ALERTS.values() if row.phrase == "stop")
        self._stop_rank, self._stop_earcon = stop.rank, stop.earcon
        until = time.monotonic() + HANG_S
        while (self._beat is None or not self._beat.output) and time.monotonic() < until:
            self.pause(0.05)

    def pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if now >= self._alive_s:
                self._alive_s = now + 0.1
                self._mailbox.send("voice", wire.encode(wire.KeepAlive(now, "guarding")))
            if now >= end:
                return
            select.select([self._mailbox], [], [], max(0.0, min(end, self._alive_s) - now))
            while (data := self._mailbox.receive()) is not None:
                message = wire.decode_local(data)
                if isinstance(message, wire.VoiceBeat):
                    self._beat = message
                elif isinstance(message, wire.ProgressMessage):
                    self._phases.setdefault(message.alert, set()).add(message.phase)

    def _speak(self, phrase: str, value: str, earcon: str, level: str, rank: int) -> None:
        self._alert += 1
        message = wire.SpeakMessage(self._alert, phrase, value, earcon, level, rank, time.monotonic() + 1.0)
        self._mailbox.send("voice", wire.encode(message))

    def stop_word(self) -> None:
        self._speak("stop", "", self._stop_earcon, "warning", self._stop_rank)

    def long(self) -> None:
        self._speak(*LONG, "", "advisory", alerts.RANK_ADVISORY)

    def quiet(self) -> None:
        self._mailbox.send("voice", wire.encode(wire.HushMessage(self._alert)))

    def outcome(self, limit_s: float) -> bool | None:
        end = time.monotonic() + limit_s
        self.pause(min(0.6, limit_s))
        while time.monotonic() < end:
            if VoicePhase.STARTED in self._phases.get(self._alert, ()):
                return True
            if self._beat is None or not self._beat.output:
                return False
            self.pause(0.1)
        return None


PLAYERS: dict[str, type[Any]] = dict(zip(SUBJECTS, (Pyttsx3, Aplay, SoundDevice, Guard), strict=True))


def pss_mb(pid: int) -> float:
    """Proportional set size in MB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024.0
    raise OSError(f"process {pid}: no Pss line")


def cpu_s(pid: int) -> float:
    """User and system time of a process and its dead children, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(each) for each in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def spin() -> None:
    """Computes for ever."""
    number = 0
    while True:
        number = (number * 31 + 7) % 1_000_003


def decide(task: dict[str, Any]) -> None:
    """The process that decides: does the steps of its task and tells of each, a line of JSON, before and after."""

    def tell(**what: Any) -> None:
        print(json.dumps(what), flush=True)

    draw = random.Random(task["seed"])
    before_mb = pss_mb(os.getpid())
    player: Player = PLAYERS[task["subject"]](Path(task["clips"]), Path(task["run_dir"]))
    player.pause(0.3)
    tell(what="ready", added_mb=pss_mb(os.getpid()) - before_mb)
    if task["idle_s"]:
        spent = time.process_time()
        player.pause(task["idle_s"])
        tell(what="idle", percent=(time.process_time() - spent) / task["idle_s"] * 100.0)
    if task["busy"]:
        for _ in range(2):
            threading.Thread(target=spin, daemon=True).start()
    for step in task["steps"]:
        player.pause(SILENCE_S + draw.uniform(0.0, 0.05))
        if step == "cut":
            player.long()
            player.pause(draw.uniform(0.25, 0.40))
        if step == "faulty":
            tell(what="break")
            sys.stdin.readline()
            player.pause(0.5)  # whoever watches has seen it
        asked_s = time.monotonic()
        tell(what="asks", step=step, t_s=asked_s)
        asked_s = time.monotonic()
        error = ""
        try:
            player.cut() if step == "cut" else player.stop_word()
        except Exception as raised:  # what it raises is what it says
            error = f"{type(raised).__name__}: {raised}"
        claimed: bool | None = not error
        if step == "faulty" and not error:
            claimed = player.outcome(HANG_S)
        else:
            player.pause(STOP_AFTER_S)
            player.quiet()
        tell(what="done", step=step, t_s=asked_s, ok=claimed, error=error)
    player.pause(SILENCE_S + 0.1)
    tell(what="end")


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
def voice_process(folder: Path, card: PretendCard) -> Iterator[int]:
    """The voice process as its service starts it; its process number."""
    settings = folder / "retrowalk.toml"
    # `to_toml` writes a broker that is checked when it is read.
    settings.write_text(to_toml(Config(broker=Broker(host="127.0.0.1"))), encoding="utf-8")
    command = [sys.executable, "-m", "retrowalk", "voice", "--config", str(settings)]
    environment = {
        **os.environ,
        "ALSA_CONFIG_PATH": str(card.config),
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
    for name, (phrase, value) in {"stop": ("stop", ""), "long": LONG}.items():
        mono = np.frombuffer(bank.clip(phrase, value) or b"", "<i2")
        pcm = np.repeat(mono, 2).tobytes()
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


def onset_s(log: list[Entry], from_s: float, until_s: float, other_than: int = 0) -> Entry | None:
    """The first sound that begins in a span."""
    for entry in log:
        if entry.what == "ONSETL" and from_s <= entry.t_s < until_s and entry.pid != other_than:
            return entry
    return None


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
    # The first 10 ms of the new sound may have the fading end of the old one mixed into them.
    probe = new[480:1920]
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
            busy = subprocess.Popen([sys.executable, str(Path(__file__).resolve()), "--spin"])
        try:
            if self.subject == RETROWALK:
                with voice_process(folder, card) as pid:
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
            [sys.executable, str(Path(__file__).resolve()), "--decide", json.dumps(task)],
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
                line = lines.next((idle_s if asks is None else 0.0) + (2.0 * HANG_S if not begun else HANG_S + 2.0))
                if line is None:
                    found.hangs += 1
                    break
                match line["what"]:
                    case "ready":
                        if idle_s:
                            found.pss_mb = pss_mb(voice) if voice else line["added_mb"]
                            voice_cpu_s = cpu_s(voice) if voice else 0.0
                    case "idle":
                        spent = (cpu_s(voice) - voice_cpu_s) / idle_s * 100.0 if voice else line["percent"]
                        found.idle_percent = spent
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
            found.lost += onset_s(log, hung["t_s"], hung["t_s"] + LOST_S) is None
        ends = [each["t_s"] for each in [*done, hung or {"t_s": float("inf")}][1:]]
        left, frames = np.zeros(0), list[int]()
        new: np.ndarray[Any, Any] | None = None
        if any(each["step"] == "cut" for each in done) and self.subject in (RETROWALK, "sounddevice in-process"):
            left = played(card)
            frames = onsets(left)
            new = self._new
        logged = [entry for entry in log if entry.what == "ONSETL"]
        for each, next_s in zip(done, ends, strict=False):
            asked_s, until_s = each["t_s"], min(each["t_s"] + LOST_S, next_s)
            if each["step"] == "faulty":
                found.asked += 1
                heard = onset_s(log, asked_s, float("inf")) is not None
                if each["ok"] is None:
                    found.hangs += 1
                elif each["ok"] and not heard:
                    found.false_success += 1
                continue
            if not done or (each["step"] == "stop" and any(d["step"] == "faulty" for d in done)):
                continue  # only there to see that it works
            found.asked += 1
            if each["step"] == "cut":
                cut_ms = self._cut_ms(log, logged, frames, left, new, asked_s)
                if cut_ms is not None:
                    found.cuts_ms.append(cut_ms)
                else:
                    found.lost += 1
                continue
            onset = onset_s(log, asked_s, until_s)
            if onset is not None:
                found.onsets_ms.append((onset.t_s - asked_s) * 1000.0)
            else:
                found.lost += 1
                found.false_success += bool(each["ok"])
        if new is None and any(each["step"] == "stop" for each in done) and self.subject not in ("pyttsx3 say",):
            left = played(card)
            frames = onsets(left)
            if frames:
                self._new = left[frames[0] : frames[0] + int(0.1 * RATE_HZ)].astype(np.int32)

    _new: np.ndarray[Any, Any] | None = None
    """How "Stop" begins when it leaves the card from silence."""

    def _cut_ms(
        self,
        log: list[Entry],
        logged: list[Entry],
        frames: list[int],
        left: np.ndarray[Any, Any],
        new: np.ndarray[Any, Any] | None,
        asked_s: float,
    ) -> float | None:
        """From the call to the last frame of the old sound; None: the new one did not come."""
        old = max((entry for entry in logged if entry.t_s < asked_s), key=lambda entry: entry.t_s, default=None)
        if old is None:
            return None
        if new is None:  # every sound has a process of its own
            if onset_s(log, asked_s, float("inf"), old.pid) is None:
                return None
            over = [e.t_s for e in log if e.what == "OFFSETL" and e.pid == old.pid and e.t_s > old.t_s]
            return max(0.0, (over[0] - asked_s) * 1000.0) if over else None
        if len(frames) != len(logged):
            return None  # it ran dry in between: what lies where is not known
        begin = frames[logged.index(old)]
        asked = begin + int((asked_s - old.t_s) * RATE_HZ)
        last = last_of_old(left, begin, asked, new)
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
            Bench(subject, folder / str(number), library, options.seed) for number, subject in enumerate(SUBJECTS)
        ]
        for case in ("quiet", "busy"):
            for bench in benches:
                ours = bench.subject == RETROWALK
                cuts = size.cuts if ours else size.unending if bench.subject == UNCUTTABLE else size.others_cuts
                stops = size.stops if ours else size.others
                idle_s = size.idle_s if case == "quiet" else 0.0
                rows += rows_of(bench.subject, case, bench.run(case, stops=stops, cuts=cuts, idle_s=idle_s))
        for state, case in (("unplug", "unplugged"), ("freeze", "frozen")):
            for bench in benches:
                found = bench.faults(state, size.faults)
                for metric, value in (("false_success", found.false_success), ("hangs", found.hangs)):
                    goal = "<= 0" if bench.subject == RETROWALK else None
                    rows.append(Row(metric, bench.subject, case, value, "calls", size.faults, goal=goal))
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--decide"]:
        decide(json.loads(sys.argv[2]))
    elif sys.argv[1:2] == ["--spin"]:
        spin()
    else:
        run("voice", arguments((__doc__ or "").partition("\n")[0]).parse_args(), measure)
