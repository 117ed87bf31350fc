"""Listening to what left the pretend card: is it the phrase that was wanted, all of it, and in time?

What was played is held against every phrase of a bank by normalised cross-correlation at 16 kHz: 1 is the same sound,
0 nothing in common.  Both whole energies stand below the line, so that a piece of a phrase, or a phrase and something
else, is not taken for the phrase.  Words are told by a recogniser of speech that is held to a closed list of sentences.
"""

from __future__ import annotations

import hashlib
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from tests.paced_card.card import PretendCard

from retrowalk import wire
from retrowalk.config import Config, Device, Voice
from retrowalk.core import alerts
from retrowalk.core.samples import VoicePhase
from retrowalk.platform import SocketMailbox
from retrowalk.voice import bank as voice_bank
from retrowalk.voice import builder, earcons
from retrowalk.voice.bank import Bank
from retrowalk.voice.mixer import FRAME_BYTES, GAP_FRAMES, RATE_HZ
from retrowalk.voice.render import RenderJob, render
from retrowalk.voice.texts import Texts

Wave = NDArray[np.float64]
Clip = tuple[str, str]

CORRELATION_MIN = 0.8
"""What is less like the wanted phrase is another one."""
ERROR_MAX_S = 0.030
"""Onset, begin of the words and end may be off by this."""
LISTEN_HZ = 16_000
LOUD = 64
"""Quieter samples are silence, as the card has it."""
AFTER_S = 0.16
"""Silence after a message; the card calls 0.1 s of it an end."""
PATIENCE_S = 15.0

_LOW_PASS = np.sinc(np.arange(-48, 49) / 3.0) * np.hamming(97)
_LOW_PASS /= _LOW_PASS.sum()
_FFT = 1 << 17
"""8 s at 16 kHz: what was heard and the longest phrase together, so that neither comes round to the other end."""


def to_16k(wave: Wave) -> Wave:
    """From 48 kHz."""
    return np.convolve(wave, _LOW_PASS, "same")[:: RATE_HZ // LISTEN_HZ]


def wave_of(pcm: bytes) -> Wave:
    """One channel of signed 16 bit, as numbers."""
    return np.frombuffer(pcm, "<i2").astype(np.float64)


# ------------------------------------------------------------------------------------------------ the voice


@dataclass(frozen=True)
class Played:
    """One message as it left the card: sound from its request until it was silent, and what was told of it (s)."""

    sound: Wave
    """Left channel, 48 kHz."""
    onset_s: float
    """When the first loud frame passed the card's play pointer; NaN: none did."""
    offset_s: float
    """When the last one did."""
    started_s: float
    """When the voice says it began."""
    ended_s: float
    """When the voice says it ended."""
    phase: VoicePhase
    """How the voice says it ended."""


class Speaker:
    """The voice process, as the command line starts it, on a pretend card; and the guard's end of its sockets.

    `cache` holds the bank, as `retrowalk/bank`.  For `with`: the process lives as long.
    """

    def __init__(self, language: str, cache: Path, card: PretendCard, folder: Path) -> None:
        self._card = card
        self._alert = 0
        settings = folder / "retrowalk.toml"
        settings.write_text(f'[device]\nlanguage = "{language}"\n[voice]\nsay_side = true\n' + _SIDED)
        self._mailbox = SocketMailbox(folder, "guard")
        self._messages: list[wire.LocalMessage] = []
        environment = {
            **os.environ,
            "ALSA_CONFIG_PATH": str(card.config),
            "XDG_CACHE_HOME": str(cache),
        }
        command = [sys.executable, "-m", "retrowalk", "voice", "--config", str(settings)]
        command += ["--run-dir", str(folder), "--state-dir", str(folder)]
        with open(folder / "voice.log", "w") as log:
            self._process = subprocess.Popen(command, env=environment, stderr=log)

    def __enter__(self) -> Speaker:
        end = time.monotonic() + PATIENCE_S
        while not any(isinstance(message, wire.VoiceBeat) and message.frames_played for message in self._messages):
            if time.monotonic() > end:
                raise TimeoutError("the voice does not play")
            self._listen(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        self._mailbox.close()

    def play(self, clip: Clip, earcon: str = "", *, cut_after_s: float = 0.0) -> Played:
        """Asks for a phrase and listens to its end; `cut_after_s` from its begin it is hushed."""
        self._alert += 1
        # Who does not listen for long has a socket full of signs of life, and what becomes of this finds no room in it.
        self._listen(0.02)
        self._messages.clear()
        heard_before = self._card.dump.stat().st_size
        counts = [len(self._card.entries(what)) for what in ("ONSETL", "OFFSETL")]
        request = wire.SpeakMessage(self._alert, *clip, earcon, "caution", 60, time.monotonic() + 2.0)
        self._mailbox.send("voice", wire.encode(request))
        started = self._until(VoicePhase.STARTED)
        if cut_after_s:
            self._listen(cut_after_s)
            self._mailbox.send("voice", wire.encode(wire.HushMessage(self._alert)))
        ended = self._until()
        self._listen(AFTER_S)
        onsets, offsets = (
            self._card.entries(what)[count:] for what, count in zip(("ONSETL", "OFFSETL"), counts, strict=True)
        )
        with open(self._card.dump, "rb") as dump:
            dump.seek(heard_before // FRAME_BYTES * FRAME_BYTES)
            data = dump.read()
        frames = np.frombuffer(data[: len(data) // FRAME_BYTES * FRAME_BYTES], "<i2")
        return Played(
            sound=frames[0::2].astype(np.float64),
            onset_s=onsets[0] if onsets else float("nan"),
            offset_s=offsets[-1] if offsets else float("nan"),
            started_s=started.mono_s,
            ended_s=ended.mono_s,
            phase=ended.phase,
        )

    def _until(self, *phases: VoicePhase) -> wire.ProgressMessage:
        """The message's begin, or with no phase named its end, whichever."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for message in self._messages:
                if isinstance(message, wire.ProgressMessage) and message.alert == self._alert:
                    ended = not phases and message.phase is not VoicePhase.STARTED
                    if ended or message.phase in phases:
                        return message
            self._listen(0.02)
        raise TimeoutError(f"nothing became of message {self._alert}")

    def _listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            select.select([self._mailbox], [], [], min(left, 0.1))
            while (data := self._mailbox.receive()) is not None:
                self._messages.append(wire.decode_local(data))
            self._mailbox.send("voice", wire.encode(wire.KeepAlive(time.monotonic(), "guarding")))


_SIDED = """
[[range_sensor]]
chip = "hc-sr04"
bearing_left_deg = 20.0
[[range_sensor]]
chip = "tf-luna"
[[range_sensor]]
chip = "tf-luna"
name = "drop"
role = "dropoff"
address = 0x11
"""


def earcon_of(phrase: str) -> str:
    """The earcon a phrase comes with, by the table of alerts."""
    plain = phrase.removesuffix("_left").removesuffix("_right")
    return next((row.earcon for row in alerts.ALERTS.values() if row.phrase == plain), "")


# ---------------------------------------------------------------------------------------------- the phrases


@dataclass(frozen=True)
class Verdict:
    """How what was played compares with what was wanted.  Errors in seconds, never negative; infinite: not there."""

    words: str
    correlation: float
    """With the wanted phrase (0 to 1)."""
    other: str
    """The words of the phrase that fits best of all others, and how well it fits."""
    other_correlation: float
    onset_error_s: float
    """Between what the voice reports and the first frame at the card's play pointer."""
    words_error_s: float
    """Between where the words should begin, after earcon and gap, and where they do."""
    end_error_s: float
    """Of the end: against the length of earcon, gap and clip, and against what the voice reports; the larger one."""
    identical: bool
    """Whether the frames are those of the bank, to the last bit."""

    @property
    def passed(self) -> bool:
        """The whole demand: right phrase, best of the bank, begin and end in time."""
        errors = (self.onset_error_s, self.words_error_s, self.end_error_s)
        right = self.correlation >= CORRELATION_MIN and self.correlation > self.other_correlation
        return right and max(errors) <= ERROR_MAX_S


class Phrasebook:
    """Every phrase of a bank, ready to be compared.  Phrases with the same words are one."""

    def __init__(self, bank: Bank, clips: Iterable[Clip], volume: float) -> None:
        self._clips: dict[str, Wave] = {}
        for clip in clips:
            pcm = bank.clip(*clip)
            if pcm is not None:
                self._clips.setdefault(bank.words(*clip), wave_of(pcm))
        self._bank = bank
        self._earcons = {name: wave_of(pcm) for name, pcm in earcons.synthesise(volume).items()}
        self.words = list(self._clips)
        spectra = []
        for wave in self._clips.values():
            listened = to_16k(wave)
            spectra.append(np.conj(np.fft.rfft(listened / np.linalg.norm(listened), _FFT)).astype(np.complex64))
        self._spectra = spectra
        self._longest = max(len(wave) for wave in self._clips.values()) * LISTEN_HZ // RATE_HZ + 1

    def correlations(self, sound: Wave) -> tuple[Wave, NDArray[np.int64]]:
        """How well each phrase fits a sound of 48 kHz (0 to 1), and where in it (48 kHz frames) it does best."""
        listened = to_16k(sound)
        energy = float(np.linalg.norm(listened))
        if energy == 0.0 or len(listened) + self._longest > _FFT:
            return np.zeros(len(self.words)), np.zeros(len(self.words), np.int64)
        spectrum = np.fft.rfft(listened / energy, _FFT).astype(np.complex64)
        best, where = [], []
        for phrase in self._spectra:
            curve = np.fft.irfft(spectrum * phrase, _FFT)
            at = int(np.argmax(curve))
            best.append(float(curve[at]))
            where.append((at if at < _FFT // 2 else at - _FFT) * RATE_HZ // LISTEN_HZ)
        return np.array(best), np.array(where)

    def judge(self, played: Played, clip: Clip, earcon: str = "") -> Verdict:
        """Holds what was played against the phrase that was wanted, with the earcon before it."""
        words = self._bank.words(*clip)
        wanted = self._clips[words]
        lead = np.concatenate([self._earcons[earcon], np.zeros(GAP_FRAMES)]) if earcon else np.zeros(0)
        expected = np.concatenate([lead, wanted])
        loud, expected_loud = _loud(played.sound), _loud(expected)
        if loud is None or expected_loud is None:
            never = float("inf")
            return Verdict(words, 0.0, "", 0.0, never, never, never, False)
        begin = loud[0] - expected_loud[0]  # of the message in what was recorded
        margin = GAP_FRAMES if earcon else 0
        spoken_at = max(0, begin + len(lead) - margin)
        spoken = played.sound[spoken_at : loud[1] + 1]
        fits, where = self.correlations(spoken) if len(spoken) else (np.zeros(len(self.words)), np.zeros(1, np.int64))
        mine = self.words.index(words)
        others = [number for number in np.argsort(fits)[::-1] if number != mine]
        length_s = (expected_loud[1] - expected_loud[0]) / RATE_HZ
        rest_s = (len(expected) - 1 - expected_loud[1]) / RATE_HZ
        ends = (played.offset_s - played.onset_s - length_s, played.ended_s - played.offset_s - rest_s)
        frames = played.sound[max(0, begin) : max(0, begin) + len(expected)]
        return Verdict(
            words=words,
            correlation=float(fits[mine]),
            other=self.words[others[0]] if others else "",
            other_correlation=float(fits[others[0]]) if others else 0.0,
            onset_error_s=_size(played.started_s - played.onset_s),
            words_error_s=abs(int(where[mine]) - (begin + len(lead) - spoken_at)) / RATE_HZ if len(spoken) else np.inf,
            end_error_s=max(map(_size, ends)),
            identical=bool(begin >= 0 and np.array_equal(frames, expected)),
        )


def _loud(wave: Wave) -> tuple[int, int] | None:
    found = np.flatnonzero(np.abs(wave) > LOUD)
    return (int(found[0]), int(found[-1])) if len(found) else None


def _size(error_s: float) -> float:
    return abs(error_s) if np.isfinite(error_s) else float("inf")


def spoiled(played: Played, how: str) -> Played:
    """What must not pass: `silence`, `noise` as long and loud, `cut` (the last third missing), `late` by 50 ms."""
    loud = _loud(played.sound)
    if loud is None:
        raise ValueError("there is nothing to be spoiled")
    first, last = loud
    sound = played.sound.copy()
    match how:
        case "silence":
            return replace(played, sound=sound * 0.0, onset_s=float("nan"), offset_s=float("nan"))
        case "noise":
            noise = np.random.default_rng(1).normal(0.0, float(sound[first:last].std()), last - first)
            sound[first:last] = noise
            return replace(played, sound=sound)
        case "cut":
            kept = first + (last - first) * 2 // 3
            sound[kept:] = 0.0
            return replace(played, sound=sound, offset_s=played.onset_s + (kept - first) / RATE_HZ)
        case "late":
            return replace(played, onset_s=played.onset_s + 0.05, offset_s=played.offset_s + 0.05)
    raise ValueError(how)


# -------------------------------------------------------------------------------------------------- the words

CURATED: tuple[Clip, ...] = (
    *(
        ("drop", ""),
        ("object", "0.5"),
        ("object", "1"),
        ("object", "2"),
        ("object", "3"),
        ("object", "5"),
    ),
    *(("behind_unknown", ""), ("approaching", ""), ("ground_lost", ""), ("slow_down", ""), ("clear", "")),
    *(("lean_back", ""), ("unsteady", ""), ("shuffling", ""), ("looking_back", ""), ("fall_question", "")),
    *(("fall_cancelled", ""), ("sos_hold", ""), ("all_clear_question", ""), ("caregiver_told", "")),
    *(("caregiver_not_reached", ""), ("sensor_lost", "rear"), ("sensor_lost", "drop"), ("sensor_lost", "imu")),
    *(("self_test", ""), ("checking", ""), ("guarding", ""), ("limited", "rear"), ("not_protecting", "unknown")),
    *(("not_worn", ""), ("quiet", ""), ("battery_low", "10"), ("battery_low", "20"), ("guard_silent", "")),
    *(("fault", "voice-frozen"), ("fault", "voice-gone"), ("fault", "voice-muted")),
)
"""Sentences that ask something of the walker and that the recogniser tells apart.  Words that stand alone it mostly
does not: of "one", "two", "four", "five", "ten", "good" and
in this voice "stop" it makes another word of the list."""

TOLD = ("en-us+f2", 130)
"""Voice and rate (words a minute) in which it tells them all; best of seven voices that were tried."""
STOP_TOLD = ("en-us+klatt4", 150)
"""Voice in which it tells "Stop"; of the curated phrases it misses one in this one."""

DECOYS = (
    *("yes", "no", "you", "go on", "go faster", "come back", "look up", "the way is open", "turn around"),
    *("all is well", "hello there", "two minutes", "good morning", "keep going", "nothing there", "step up"),
)
"""What nobody says: a closed list makes the recogniser choose, so it needs wrong answers to choose from."""


def plain(words: str) -> str:
    """Words as the recogniser writes them."""
    return " ".join(re.sub(r"[^a-z' ]", " ", words.lower()).split())


class Recogniser:
    """pocketsphinx, held to the curated sentences, all others of English that its dictionary knows, and decoys."""

    def __init__(self) -> None:
        import pocketsphinx

        # The mean of the whole utterance: a single word is too short for one that follows.
        self._decoder: Any = pocketsphinx.Decoder(cmn="batch", samprate=LISTEN_HZ, loglevel="FATAL")
        texts = Texts.load("en")
        sentences = {plain(texts.words(*clip)) for clip in alerts.clips(Config())} | set(DECOYS)
        known = sorted(s for s in sentences if all(self._decoder.lookup_word(word) for word in s.split()))
        self.sentences = len(known)
        grammar = "#JSGF V1.0; grammar closed; public <sentence> = " + " | ".join(known) + ";"
        self._decoder.add_jsgf_string("closed", grammar)
        self._decoder.activate_search("closed")

    def hear(self, sound: Wave) -> str:
        """The sentence that is heard in a sound of 48 kHz, or a piece of one; empty: none."""
        pause = np.zeros(RATE_HZ // 5)
        listened = to_16k(np.concatenate([pause, sound, pause]))
        self._decoder.start_utt()
        self._decoder.process_raw(listened.clip(-32768, 32767).astype("<i2").tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return str(found.hypstr) if found else ""


def words_of(played: Played) -> Wave:
    """What sounded of a message without earcon."""
    loud = _loud(played.sound)
    return played.sound[loud[0] : loud[1] + 1] if loud else np.zeros(0)


def render_some(clips: Sequence[Clip], directory: Path, voice: str, rate_wpm: int) -> Bank:
    """A bank of some phrases in English, in another voice; what is there already is kept.  Raises `BankError`."""
    config = Config(device=Device(language="en"), voice=Voice(espeak_voice=voice, rate_wpm=rate_wpm))
    texts = Texts.load("en")
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for phrase, value in clips:
        words = texts.words(phrase, value)
        rate = builder.STOP_RATE_WPM if phrase == "stop" else rate_wpm
        file = directory / voice_bank.file_name(words, voice, rate, config.voice.volume, builder.espeak_version())
        if not file.exists():
            new = file.with_suffix(".new")
            render(RenderJob(words, voice, rate, config.voice.volume, str(new), packed=True))
            new.replace(file)
        codes = file.read_bytes()
        entries.append(
            voice_bank.Entry(phrase, value, words, file.name, hashlib.sha256(codes).hexdigest(), 2 * len(codes))
        )
    manifest = voice_bank.Manifest(voice_bank.BANK_FORMAT, "en", voice, rate_wpm, "", "", entries)
    (directory / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return Bank.open(config, directory)


def cache_with(bank_directory: Path, folder: Path) -> Path:
    """A cache directory in which the voice process finds a bank."""
    (folder / "retrowalk").mkdir(parents=True)
    (folder / "retrowalk" / "bank").symlink_to(bank_directory)
    return folder


def must_fail(phrasebook: Phrasebook, played: Mapping[Clip, Played], earcon: Mapping[Clip, str]) -> dict[str, int]:
    """How many of what must fail passed all the same, by kind: another phrase wanted, and each of `spoiled`."""
    clips = list(played)
    passed = dict.fromkeys(("another", "silence", "noise", "cut", "late"), 0)
    for number, clip in enumerate(clips):
        other = clips[(number + 1) % len(clips)]
        passed["another"] += phrasebook.judge(played[clip], other, earcon[clip]).passed
        for how in ("silence", "noise", "cut", "late"):
            passed[how] += phrasebook.judge(spoiled(played[clip], how), clip, earcon[clip]).passed
    return passed
