"""What a microphone proves: sounds that were played are heard, sounds that were not are not, and warnings stand out.

    python benchmarks/hearing.py [--quick | --full] [--seed N] [--json]

Messages of the device (earcon and words, as rendered here) go through a model of a small loudspeaker in a room: a
high-pass at 500 Hz, a resonance at 900 Hz, and an echo that dies away with 60 ms and is half as strong as the direct
sound.  Around them: white noise, noise of traffic (pink), somebody who speaks, four who do, a melody.  What the voice
has for that, `retrowalk.voice.hearing`, hears it as a microphone of 16 kHz gives it, 10 ms at a time, and nothing
else.  `+10 dB` is the level of the message over the surroundings in the band of `proof.band`, over the message's
whole length; `loudspeaker dead` is the same surroundings without the message.

Sounds of less than an eighth of a second (ticks, chimes, the rattle of balance) prove nothing and are left out.
Nobody else's program is compared: none was found that verifies speech output through a microphone on such a computer.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from array import array
from pathlib import Path

import numpy as np
from common import Row, arguments, run
from numpy.typing import NDArray

from retrowalk.config import Config, Voice
from retrowalk.voice import bank, builder, earcons, hearing, loudness, proof
from retrowalk.voice.hearing import Hearing
from retrowalk.voice.mixer import RATE_HZ

Samples = NDArray[np.float64]

VOLUME = 0.9
MICROPHONE_HZ = 16_000
POLL_S = 0.01
BUFFER_S = 0.02
BEGIN_S = 1.0
"""A message begins so long after the microphone does."""
SECONDS = 3.2
DELAY_S = (0.002, 0.045)
"""The way from the device to the microphone: anything between."""
PEAK = 3000.0
"""Of a message at the microphone, of 32768."""

MESSAGES = (
    ("warning", "Stop"),
    ("caution", "Object, two metres"),
    ("fault", "Sensor fault"),
    ("", "Slow down, the path is not clear"),
    ("countdown", ""),
    ("probe", ""),
)
SENTENCES = (
    "we went down to the river yesterday and it was quite cold but the children loved it",
    "have you seen my keys anywhere, I was sure they were on the table",
    "stop it right now please, slow down and come over here",
    "obstacle course training begins at seven in the morning",
)
VOICES = ("en", "en-us+f2", "en+m3", "en-gb-x-rp")


class Played:
    """A microphone that gives what is put in, 16 kHz."""

    def __init__(self, samples: Samples) -> None:
        self.name = "benchmark"
        self.rate_hz = MICROPHONE_HZ
        self.lost = 0
        self._pcm = np.clip(np.round(samples), -32768, 32767).astype("<i2").tobytes()
        self._at = 0

    def open(self, device: str) -> Played:
        return self

    def read(self, now: float) -> bytes:
        end = int(now * MICROPHONE_HZ) * 2
        begin, self._at = self._at, end
        return self._pcm[begin:end]

    def close(self) -> None:
        pass


def rendered(folder: Path, voice: str, text: str, rate_wpm: int = 160) -> Samples:
    """A text as the phrases are rendered, 48 kHz, without silence before it."""
    config = Config(voice=Voice(espeak_voice=voice, rate_wpm=rate_wpm, volume=VOLUME))
    pcm = bank.read_text_clip(builder.render_text(config, folder, text))
    assert pcm is not None
    return np.frombuffer(pcm, "<i2").astype(float)


class Surroundings:
    """Noises of every kind, 48 kHz, as long as asked for."""

    KINDS = ("white", "traffic", "one speaks", "four speak", "melody")

    def __init__(self, random: np.random.Generator, speech: Samples) -> None:
        self._random = random
        self._speech = speech

    def make(self, kind: str, count: int) -> Samples:
        random = self._random
        match kind:
            case "white":
                return random.standard_normal(count)
            case "traffic":
                return pink(random, count)
            case "one speaks":
                return self._spoken(count)
            case "four speak":
                return np.asarray(np.sum([self._spoken(count) for _ in range(4)], axis=0))
            case _:
                return self._melody(count)

    def _spoken(self, count: int) -> Samples:
        begin = int(self._random.integers(0, len(self._speech) - count))
        return np.asarray(self._speech[begin : begin + count])

    def _melody(self, count: int) -> Samples:
        sound = 0.001 * self._random.standard_normal(count)
        at = 0
        while at < count:
            length = int(self._random.uniform(0.1, 0.4) * RATE_HZ)
            pitch_hz = 440.0 * 2.0 ** (int(self._random.integers(-12, 20)) / 12.0)
            t = np.arange(length) / RATE_HZ
            note = sum(np.sin(2.0 * np.pi * pitch_hz * part * t) / part for part in (1, 2, 3))
            end = min(count, at + length)
            sound[at:end] += (note * np.exp(-3.0 * t / t[-1]))[: end - at]
            at += int(length * self._random.uniform(0.3, 1.0))
        return sound


def pink(random: np.random.Generator, count: int) -> Samples:
    spectrum = np.fft.rfft(random.standard_normal(count))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(1.0, np.arange(len(spectrum)))), count)


def through_room(random: np.random.Generator, sound: Samples) -> Samples:
    """What a small loudspeaker in a room makes of it."""
    count = len(sound) + RATE_HZ // 2
    s = 1j * np.maximum(np.fft.rfftfreq(count, 1.0 / RATE_HZ), 1e-6)
    high, body = s / 500.0, s / 900.0
    shape = high**2 / (high**2 + 1.414 * high + 1.0) * (1.0 + body / 2.0 / (body**2 + body + 1.0))
    echo = random.standard_normal(RATE_HZ // 4) * np.exp(-np.arange(RATE_HZ // 4) / (0.06 * RATE_HZ))
    echo *= 0.5 / np.sqrt(np.sum(echo**2))
    echo[0] += 1.0
    return np.fft.irfft(np.fft.rfft(sound, count) * shape * np.fft.rfft(echo, count), count)


def in_band(sound: Samples) -> float:
    """Root mean square in the band that is listened to."""
    values = array("h", np.clip(np.round(sound), -32768, 32767).astype(np.int16).tobytes())
    return float(np.sqrt(proof.power(proof.band(proof.decimated(values, RATE_HZ // proof.RATE_HZ)))))


def messages(folder: Path) -> dict[str, Samples]:
    sounds = {**earcons.synthesise(VOLUME), "probe": hearing.probe(0.4 * VOLUME)}
    made = {}
    for earcon, words in MESSAGES:
        parts = [np.frombuffer(sounds[earcon], "<i2").astype(float)] if earcon else []
        if words:
            parts += [np.zeros(round(0.025 * RATE_HZ) if earcon else 0), rendered(folder, "en", words)]
        made[f"{earcon} {words}".strip()] = np.concatenate(parts)
    return made


def listen(message: Samples, heard: Samples, warning: bytes, spent_ms: list[float] | None = None) -> Hearing:
    """Plays a message while this is heard (48 kHz), and returns what the microphone made of it.

    `spent_ms` takes the processor time of every poll.
    """
    spectrum = np.fft.rfft(heard)
    kept = len(heard) * MICROPHONE_HZ // RATE_HZ
    at_16_khz = np.fft.irfft(spectrum[: kept // 2 + 1], kept) * kept / len(heard)
    listener = Hearing(Played(at_16_khz), "benchmark", warning, headroom=1.0 / VOLUME, buffer_s=BUFFER_S)
    listener.output_changed(0.0)
    stereo = np.repeat(np.clip(np.round(message), -32768, 32767).astype("<i2"), 2).tobytes()
    block = round(POLL_S * RATE_HZ) * 4
    now, at = 0.0, 0
    while now < SECONDS - POLL_S:
        playing = now >= BEGIN_S - 1e-9 and at < len(stereo)
        piece = stereo[at : at + block].ljust(block, b"\0") if playing else bytes(block)
        at += block if playing else 0
        listener.rendered(piece, now, silent=not playing)
        now += POLL_S
        begun_s = time.thread_time()
        listener.poll(now)
        if spent_ms is not None:
            spent_ms.append(1000.0 * (time.thread_time() - begun_s))
        if at and listener.proof:
            break
    return listener


def trial(
    random: np.random.Generator, message: Samples, noise: Samples, over_db: float | None, missing_s: float = 0.0
) -> tuple[Samples, float]:
    """What arrives, 48 kHz, and the delay it has; `over_db` None: the message does not arrive."""
    way_s = float(random.uniform(*DELAY_S))
    whole = through_room(random, message)
    gain = PEAK / np.max(np.abs(whole))
    level = in_band(whole[: len(message)] * gain)
    heard = noise * (level * 10.0 ** (-(over_db if over_db is not None else 10.0) / 20.0) / in_band(noise))
    if over_db is not None:
        if missing_s:
            cut = message.copy()
            cut[: round(missing_s * RATE_HZ)] = 0.0
            whole = through_room(random, cut)
        begin = round((BEGIN_S + BUFFER_S + way_s) * RATE_HZ)
        end = min(len(heard), begin + len(whole))
        heard[begin:end] += gain * whole[: end - begin]
    return heard, BUFFER_S + way_s


def measure(options: argparse.Namespace) -> list[Row]:
    each = 12 if options.quick else 2000 if options.full else 200
    random = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        own = messages(Path(folder))
        spoken = [rendered(Path(folder), voice, text, 150) for text in SENTENCES for voice in VOICES]
    around = Surroundings(random, np.concatenate(spoken))
    warning = earcons.synthesise(VOLUME)["warning"]
    count = round(SECONDS * RATE_HZ)
    names = list(own)
    found: dict[str, list[str]] = {"+10 dB": [], "0 dB": [], "loudspeaker dead": []}
    errors_ms: list[float] = []
    rows = []
    for kind in around.KINDS:
        for case, over_db in (("+10 dB", 10.0), ("0 dB", 0.0), ("loudspeaker dead", None)):
            proofs = []
            for number in range(each):
                name = names[number % len(names)]
                # Noise of full scale would be clipped before it is scaled.
                noise = around.make(kind, count)
                noise *= 3000.0 / np.std(noise)
                heard, delay_s = trial(random, own[name], noise, over_db)
                listener = listen(own[name], heard, warning)
                proofs.append(listener.proof)
                if over_db == 10.0 and name == "probe" and listener.delay_s is not None:
                    errors_ms.append(1000.0 * abs(listener.delay_s - delay_s))
            found[case] += proofs
            rows.append(_share(case, kind, proofs))
    goals = {"+10 dB": ">= 0.99", "0 dB": None, "loudspeaker dead": "<= 0.001"}
    for case, proofs in found.items():
        rows.append(_share(case, "all surroundings", proofs, goals[case]))
    rows.append(
        Row("delay_error_ms", "retrowalk", "p95 +10 dB", float(np.percentile(errors_ms, 95)), "ms", len(errors_ms))
    )
    rows += _beginnings(random, around, own["probe"], warning, each // 4)
    rows += _margins(random)
    rows.append(_poll_cost(random, around, own["warning Stop"], warning))
    return rows


def _share(case: str, kind: str, proofs: list[str], goal: str | None = None) -> Row:
    metric = "false_heard" if case == "loudspeaker dead" else "heard"
    share = proofs.count("heard") / len(proofs)
    half = 1.96 * np.sqrt(max(share * (1 - share), 1 / len(proofs)) / len(proofs))
    ci95 = (round(max(0.0, share - half), 5), round(min(1.0, share + half), 5))
    return Row(metric, "retrowalk", f"{case}, {kind}", share, "share", len(proofs), ci95=ci95, goal=goal)


def _beginnings(
    random: np.random.Generator, around: Surroundings, message: Samples, warning: bytes, each: int
) -> list[Row]:
    """How well the self-test's sound tells that the beginning is missing; 20 ms is the limit."""
    rows = []
    for missing_ms, clipped in ((0, False), (10, False), (40, True), (100, True)):
        right = told = 0
        for number in range(each):
            noise = around.make(around.KINDS[number % len(around.KINDS)], round(SECONDS * RATE_HZ))
            noise *= 3000.0 / np.std(noise)
            heard, _ = trial(random, message, noise, 10.0, missing_ms / 1000.0)
            missing_s = listen(message, heard, warning).missing_s
            if missing_s is not None:
                told += 1
                right += (missing_s > hearing.CLIPPED_S) == clipped
        share = right / told if told else 0.0
        rows.append(Row("clipping_told_right", "retrowalk", f"{missing_ms} ms missing, +10 dB", share, "share", told))
    return rows


def a_weighted_db(sound: Samples) -> float:
    """Level with the A curve of IEC 61672, in decibels of the square of a count."""
    f2 = np.fft.rfftfreq(len(sound), 1.0 / RATE_HZ) ** 2
    curve = 12194.0**2 * f2**2
    curve /= (f2 + 20.6**2) * np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2)) * (f2 + 12194.0**2)
    power = np.sum(np.abs(np.fft.rfft(sound) * curve * 1.2589) ** 2) * 2.0 / len(sound) ** 2
    return float(10.0 * np.log10(power))


def _margins(random: np.random.Generator) -> list[Row]:
    """Warning over traffic, both as dB(A), for a maker who has set 90 dB(A) at full scale and `volume` to 0.5."""
    volume = 0.5
    headroom_db = -20.0 * np.log10(volume)
    pulse = np.frombuffer(earcons.synthesise(volume)["warning"], "<i2").astype(float)
    loud = pulse[np.abs(pulse) > 0]
    scale = 10.0 ** ((90.0 - headroom_db - a_weighted_db(loud)) / 20.0)  # of decibels, not of samples
    arrives = array("h", np.round(loud * 0.1).astype(np.int16).tobytes())
    warning_db = 10.0 * np.log10(proof.power(proof.band(proof.decimated(arrives, RATE_HZ // proof.RATE_HZ))))
    rows = []
    for level_db in range(35, 90, 5):
        noise = pink(random, 2 * RATE_HZ)
        noise *= 10.0 ** ((level_db - a_weighted_db(noise)) / 20.0) / scale * 0.1
        follow = loudness.Surroundings()
        block = round(loudness.BLOCK_S * RATE_HZ)
        for at in range(0, len(noise) - block + 1, block):
            # In sixteenths of a count: the softest surroundings are below the steps of the samples.
            values = array("i", np.round(16.0 * noise[at : at + block]).astype(np.int32).tobytes())
            follow.feed(proof.power(proof.band(proof.decimated(values, RATE_HZ // proof.RATE_HZ))) / 256.0)
        assert follow.level_db is not None
        gains = loudness.gains(follow.level_db, warning_db, headroom_db)
        margin_db = 90.0 - headroom_db + 20.0 * np.log10(gains.urgent) - level_db
        goal = ">= 15" if level_db <= 75 else None
        case = f"traffic {level_db} dB(A)"
        rows.append(
            Row("warning_over_surroundings_db", "retrowalk", case, round(float(margin_db), 2), "dB", 1, goal=goal)
        )
    return rows


def _poll_cost(random: np.random.Generator, around: Surroundings, message: Samples, warning: bytes) -> Row:
    """The longest polls while a message is looked for that is not there, which is the most work."""
    spent: list[float] = []
    for _ in range(10):
        noise = around.make("traffic", round(SECONDS * RATE_HZ))
        heard, _ = trial(random, message, noise * 3000.0 / np.std(noise), None)
        listen(message, heard, warning, spent)
    return Row(
        "poll_ms", "retrowalk", "p99 while listening", float(np.percentile(spent, 99)), "ms", len(spent), goal="<= 5"
    )


if __name__ == "__main__":
    run("hearing", arguments("What a microphone proves of the sound.").parse_args(), measure)
