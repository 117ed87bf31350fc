"""Renders one text through pyttsx3 in a process of its own: `python -m retrowalk.voice.render`, a job on its input.

The only place that touches pyttsx3, and never on the way to a sound.  Measured of pyttsx3 2.99: about one save in
fifty is empty and one in a hundred has the wrong rate, without any error.  So each text is rendered twice, each time
by an espeak that has done nothing before, in the sequence that failed least, and the two must agree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
import wave
from array import array
from pathlib import Path
from typing import Any

import msgspec

from retrowalk.errors import BankError
from retrowalk.voice import packing, resample

FRAMES_MIN = 4000
"""A shorter file (0.18 s at espeak's 22050 Hz) holds no word."""
RMS_MIN = 0.01
"""A quieter file (-40 dBFS) holds no word; espeak speaks at -20 dBFS."""
LENGTH_TOLERANCE = 0.05
"""The wrong rate changes a length by a fifth; two good renders differ by less than a thousandth."""
TIME_LIMIT_S = 30.0
"""For both renders of a text.  0.4 s on a PC; a hung espeak is killed after it."""
ATTEMPTS = 3
ESPEAK_MISSING = "espeak-ng is missing, so phrases cannot be rendered: sudo apt install libespeak-ng1"
FILE_LIMIT_S = 5.0
"""How long a file may take to be finished after pyttsx3 has said that it is."""


class RenderJob(msgspec.Struct, frozen=True):
    """What to say, how, and where the finished sound goes: packed, or 48 kHz, one channel, signed 16 bit, no header."""

    text: str
    voice: str
    rate_wpm: int
    volume: float
    target: str
    packed: bool = False


class VoiceInfo(msgspec.Struct, frozen=True):
    """A voice of espeak: `id` is what `voice.espeak_voice` accepts."""

    id: str
    name: str
    languages: tuple[str, ...]


def render(job: RenderJob, *, time_limit_s: float = TIME_LIMIT_S) -> None:
    """Renders a job in child processes until one result holds.  Raises `BankError` after three that did not."""
    reasons: list[str] = []
    for _ in range(ATTEMPTS):
        try:
            _child([], msgspec.json.encode(job), time_limit_s)
        except BankError as error:
            reasons.append(str(error))
        else:
            return
    why = "; ".join(dict.fromkeys(reasons))
    raise BankError(f"phrase {job.text!r} could not be rendered with voice {job.voice!r}: {why}")


def list_voices() -> tuple[VoiceInfo, ...]:
    """Every voice espeak has.  Raises `BankError` if espeak cannot be asked."""
    return msgspec.json.decode(_child(["--voices"], b"", TIME_LIMIT_S), type=tuple[VoiceInfo, ...])


def _child(arguments: list[str], job: bytes, time_limit_s: float) -> bytes:
    # A session of its own, so that its own children end with it.
    process = subprocess.Popen(
        [sys.executable, "-m", "retrowalk.voice.render", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(job, timeout=time_limit_s)
    except subprocess.TimeoutExpired:
        raise BankError(f"espeak did not finish within {time_limit_s:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    if process.returncode != 0:
        lines = err.decode(errors="replace").strip().splitlines()
        raise BankError(lines[-1] if lines else f"the renderer ended with status {process.returncode}")
    return out


# ------------------------------------------------------------------------------------------- in the child


def _render_both(job: RenderJob) -> None:
    with tempfile.TemporaryDirectory(prefix="retrowalk-render-") as folder:
        files = [Path(folder) / "1.wav", Path(folder) / "2.wav"]
        # Forked before espeak is initialised, so each begins afresh; both at once, as they mostly sleep.
        children = [_fork_render(job, file) for file in files]
        statuses = [os.waitpid(child, 0)[1] for child in children]
        for status in statuses:
            if os.WIFSIGNALED(status):
                raise BankError(f"espeak crashed, signal {os.WTERMSIG(status)}")
        if any(statuses):
            sys.exit(1)  # they have said why
        (first, rate_hz), (second, _) = (_read_verified(file) for file in files)
        if abs(len(first) - len(second)) > LENGTH_TOLERANCE * len(first):
            raise BankError(f"two renders differ in length: {len(first)} and {len(second)} frames")
    clip = resample.level(resample.trim(first, rate_hz), rate_hz, job.volume)
    if job.packed:
        Path(job.target).write_bytes(packing.pack(resample.resample(clip, rate_hz, packing.RATE_HZ)))
    else:
        Path(job.target).write_bytes(resample.resample(clip, rate_hz).tobytes())


def _fork_render(job: RenderJob, file: Path) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)  # pyttsx3 prints "Audio saved", also when it saved nothing
        _save(job, file)
        status = 0
    except BaseException as error:
        os.write(2, f"{str(error) or repr(error)}\n".encode())
    finally:
        os._exit(status)  # espeak hangs now and then when it is taken down; there is nothing to take down


def _save(job: RenderJob, file: Path) -> None:
    """One render, in the order that failed least; the pauses let espeak's own thread come to rest."""
    engine = _engine()
    engine.runAndWait()
    time.sleep(0.05)
    engine.setProperty("voice", job.voice)
    engine.setProperty("rate", job.rate_wpm)
    time.sleep(0.1)
    if engine.getProperty("rate") != job.rate_wpm:
        raise BankError(f"espeak did not take rate {job.rate_wpm}")
    if not _is_voice(job.voice.lower(), engine.getProperty("voice"), engine):
        raise BankError(f"espeak has no voice {job.voice!r}: `retrowalk voices list` shows those it has")
    engine.save_to_file(job.text, str(file))
    engine.runAndWait()
    limit = time.monotonic() + FILE_LIMIT_S
    while not _finished(file):
        if time.monotonic() > limit:
            raise BankError("the sound file was not finished, or is empty")
        time.sleep(0.01)


def _engine() -> Any:
    import pyttsx3

    try:
        return pyttsx3.init("espeak")
    except (RuntimeError, OSError) as error:
        raise BankError(ESPEAK_MISSING) from error


def _is_voice(wanted: str, taken: str | None, engine: Any) -> bool:
    """Whether espeak took the voice asked for: it takes its default for a name it does not know, without a word."""
    if not taken:
        return False
    base, _, variant = taken.partition("+")
    wanted_base, _, wanted_variant = wanted.partition("+")
    if variant != wanted_variant:
        return False
    if wanted_base in (base, base.rpartition("/")[2]):
        return True
    voices = [voice for voice in engine.getProperty("voices") if voice.id == base]
    return any(wanted_base in (voice.name.lower(), *_languages(voice)) for voice in voices)


def _languages(voice: Any) -> tuple[str, ...]:
    return tuple(text.strip("\x00") for text in voice.languages or ())


def _finished(file: Path) -> bool:
    try:
        with wave.open(str(file)) as sound:
            frames: int = sound.getnframes()
    except (OSError, EOFError, wave.Error):
        return False
    return frames > 0 and file.stat().st_size >= 44 + 2 * frames


def _read_verified(file: Path) -> tuple[array[int], int]:
    with wave.open(str(file)) as sound:
        rate_hz = sound.getframerate()
        samples = array("h", sound.readframes(sound.getnframes()))
    if len(samples) <= FRAMES_MIN:
        raise BankError(f"rendered {len(samples)} frames only")
    if resample.rms(samples) < RMS_MIN:
        raise BankError("rendered silence")
    return samples, rate_hz


def _print_voices() -> None:
    voices = _engine().getProperty("voices")
    found = [VoiceInfo(voice.id, voice.name, _languages(voice)) for voice in voices]
    sys.stdout.buffer.write(msgspec.json.encode(found))
    sys.stdout.flush()
    os._exit(0)


def _main() -> int:
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        os.nice(10)  # a walk may be going on
    try:
        if sys.argv[1:] == ["--voices"]:
            _print_voices()
        _render_both(msgspec.json.decode(sys.stdin.buffer.read(), type=RenderJob))
    except (BankError, OSError, RuntimeError, ImportError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            print(f"{error.strerror}: make room, or choose another folder", file=sys.stderr)
        else:
            print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
