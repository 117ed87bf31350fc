"""The process that decides, for `voice.py`: asks one way to speak for sounds, and tells when it did.

`python speakers.py TASK` with a task in JSON: what to ask for (`steps`: `stop` from silence, `cut` over a long phrase,
`faulty` with a broken card), how (`subject`), and whether two threads compute meanwhile (`busy`).  It tells of each
step before and after, a line of JSON.  `python speakers.py spin` computes for ever.
"""

from __future__ import annotations

import json
import os
import random
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from retrowalk import wire
from retrowalk.core import alerts
from retrowalk.core.samples import VoicePhase
from retrowalk.platform import SocketMailbox

SUBJECTS = ("pyttsx3 say", "aplay for each clip", "sounddevice in-process", "retrowalk")
HANG_S = 10.0
LONG = ("drop_speed", "0.7")
"""A phrase of almost four seconds."""
LONG_WORDS = "Watching for steps, up to nought point seven metres a second, if you walk backward slowly"
RATE_HZ = 48_000
STOP_AFTER_S = 0.15
"""So much of a sound is enough to see that it has begun."""
SILENCE_S = 0.14
"""The card takes a sound for over after 0.1 s of silence."""


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
            samplerate=RATE_HZ, channels=2, dtype="int16", blocksize=480, latency="low", callback=self._fill
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
        while not self._audible() and time.monotonic() < until:
            self.pause(0.05)

    def _audible(self) -> bool:
        """Whether the voice says that it can be heard."""
        return self._beat is not None and bool(self._beat.output)

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
            if not self._audible():
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
    tell(what="ready")
    if task["busy"]:
        for _ in range(2):
            threading.Thread(target=spin, daemon=True).start()
    for step in task["steps"]:
        player.pause(SILENCE_S + draw.uniform(0.0, 0.05))
        long_s = time.monotonic()
        if step == "cut":
            player.long()
            player.pause(draw.uniform(0.25, 0.40))
        if step == "faulty":
            tell(what="break")
            sys.stdin.readline()
            player.pause(0.5)  # whoever watches has seen it
        asked_s = time.monotonic()
        tell(what="asks", step=step, long_s=long_s, t_s=asked_s)
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
        tell(what="done", step=step, long_s=long_s, t_s=asked_s, ok=claimed, error=error)
    player.pause(SILENCE_S + 0.1)
    if task["idle_s"]:
        # At the end: what is prepared in the pauses (the phrases are read one by one) is prepared.
        tell(what="rests")
        spent = time.process_time()
        player.pause(task["idle_s"])
        percent = (time.process_time() - spent) / task["idle_s"] * 100.0
        tell(what="rested", percent=percent, added_mb=pss_mb(os.getpid()) - before_mb)
    tell(what="end")


if __name__ == "__main__":
    if sys.argv[1] == "spin":
        spin()
    else:
        decide(json.loads(sys.argv[1]))
