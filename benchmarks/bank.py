"""How long the phrases take to render, how large they are, and how many come out wrong, with the machine busy.

The whole bank is rendered again and again into fresh directories, by the very builder that `script/setup` runs, while
another process keeps a core busy.  The other renders judge a file, not the builder's own check: it is *wrong* when it
is missing, silent or more than 8 % longer or shorter than the median rendering of the same words (the wrong rate makes
a fifth, another state of espeak 3 %), and *unlike* when it differs by more than 2 % in length or correlates by less
than 0.8 with that rendering.

Beside it, in the same run and under the same load, pyttsx3 as its tutorials save files: one engine that saves phrase
after phrase, and one engine that is given three phrases and told to run once.  Their files are wrong by the same rule,
held against our rendering of the same words in the same voice and rate, without the silence before and after.

    python benchmarks/bank.py [--quick | --full]

Three renders by default, twenty with --full, three of every eighth phrase with --quick.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from array import array
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run
from intervals import wilson

from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.errors import BankError
from retrowalk.voice import bank as voice_bank
from retrowalk.voice import packing, resample
from retrowalk.voice.texts import espeak_voice

WRONG_LENGTH = 0.08
UNLIKE_LENGTH = 0.02
LIKENESS_MIN = 0.8
SHIFT_MAX = 480
"""Samples at 24 kHz (20 ms) by which two renders may be trimmed differently."""

PEER = """
import sys, pyttsx3
mode, folder, voice, rate, *texts = sys.argv[1:]
engine = pyttsx3.init()
engine.setProperty("voice", voice)
engine.setProperty("rate", int(rate))
for number, text in enumerate(texts):
    engine.save_to_file(text, f"{folder}/{number}.wav")
    if mode == "each":
        engine.runAndWait()
engine.runAndWait()
"""


def _spin() -> None:
    while True:
        pass


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Greatest normalised correlation of two sounds over shifts of up to `SHIFT_MAX` samples."""
    size = 1 << (len(one) + len(other)).bit_length()
    product = np.fft.irfft(np.fft.rfft(one, size) * np.conj(np.fft.rfft(other, size)), size)
    near = np.concatenate([product[: SHIFT_MAX + 1], product[-SHIFT_MAX:]])
    power = float(np.sqrt(np.dot(one, one) * np.dot(other, other)))
    return float(near.max()) / power if power else 0.0


def wrong(sound: np.ndarray | None, model: np.ndarray) -> bool:
    """Nothing, or something else than the words at this rate."""
    return sound is None or not sound.any() or abs(len(sound) - len(model)) > WRONG_LENGTH * len(model)


def unlike(sound: np.ndarray | None, model: np.ndarray) -> bool:
    """Not the very sound that the other renders have."""
    if sound is None or abs(len(sound) - len(model)) > UNLIKE_LENGTH * len(model):
        return True
    return likeness(sound, model) < LIKENESS_MIN


def rendered(config: Config, folder: Path) -> dict[str, np.ndarray]:
    """Every rendering of a bank by its words and file: samples at 24 kHz."""
    manifest = voice_bank.read_manifest(folder / "manifest.json")
    return {
        f"{entry.words}|{entry.file}": np.array(packing.unpack((folder / entry.file).read_bytes()), float)
        for entry in manifest.clips
    }


def peer_files(mode: str, texts: list[str], config: Config, *, limit_s: float = 60.0) -> tuple[list[Path], bool, Path]:
    """What pyttsx3 left behind, and whether it had to be killed."""
    folder = Path(tempfile.mkdtemp(prefix="retrowalk-peer-"))
    command = [sys.executable, "-c", PEER, mode, str(folder), espeak_voice(config), str(config.voice.rate_wpm), *texts]
    try:
        subprocess.run(command, timeout=limit_s, capture_output=True, check=False)
        hung = False
    except subprocess.TimeoutExpired:
        hung = True
    return [folder / f"{number}.wav" for number in range(len(texts))], hung, folder


def read_trimmed(file: Path) -> np.ndarray | None:
    try:
        with wave.open(str(file)) as sound:
            samples = array("h", sound.readframes(sound.getnframes()))
            rate_hz = sound.getframerate()
    except (OSError, EOFError, wave.Error):
        return None
    cut = resample.trim(samples, rate_hz)
    return np.array(resample.resample(cut, rate_hz, packing.RATE_HZ), float) if cut else None


def measure(options: argparse.Namespace) -> list[Row]:
    renders = 20 if options.full else 3
    config = Config()
    if options.quick:
        _few_phrases()
    busy = multiprocessing.Process(target=_spin, daemon=True)
    busy.start()
    try:
        return _measure(options, config, renders)
    finally:
        busy.kill()


def _few_phrases() -> None:
    """Every eighth phrase only, for a look."""
    every = alerts.clips
    alerts.clips = lambda config: tuple(every(config))[::8]


def _measure(options: argparse.Namespace, config: Config, renders: int) -> list[Row]:
    took, sizes, sounds = [], [], []
    failed = 0
    for number in range(renders):
        with tempfile.TemporaryDirectory(prefix="retrowalk-bank-") as name:
            folder = Path(name)
            started = time.monotonic()
            try:
                voice_bank.build(config, folder)
            except BankError as error:
                print(f"render {number + 1}: refused: {error}", file=sys.stderr)
                failed += 1
                continue
            took.append(time.monotonic() - started)
            sounds.append(rendered(config, folder))
            sizes.append(sum(file.stat().st_size for file in folder.iterdir()) / 1e6)
        print(f"render {number + 1} of {renders}: {took[-1]:.0f} s", file=sys.stderr, flush=True)
    keys = sorted(set().union(*sounds))
    models = {}
    for key in keys:
        of_key = sorted((sound[key] for sound in sounds if key in sound), key=len)
        models[key] = of_key[len(of_key) // 2]
    bad = sum(wrong(sound.get(key), models[key]) for sound in sounds for key in keys)
    odd = sum(unlike(sound.get(key), models[key]) for sound in sounds for key in keys)
    files = len(sounds) * len(keys)
    rows = [
        Row("render_s", "retrowalk", "median busy", statistics.median(took), "s", len(took)),
        Row("size_mb", "retrowalk", "bank", statistics.median(sizes), "MB", len(sizes)),
        Row("phrases", "retrowalk", "bank", len(keys), "files", 1),
        Row("refused", "retrowalk", "builds", failed, "builds", renders, goal="<= 0"),
        Row("wrong_files", "retrowalk", "busy", bad, "files", files, ci95=_many(bad, files), goal="<= 0"),
        Row("unlike_files", "retrowalk", "busy", odd, "files", files, ci95=_many(odd, files), goal="<= 0"),
    ]

    texts = sorted({key.partition("|")[0]: key for key in keys if key.partition("|")[0] != "Stop"}.items())
    texts = texts[:: max(1, len(texts) // 20)] if options.quick else texts
    by_text = {text: models[key] for text, key in texts}
    for subject, mode, batch in (("pyttsx3, one engine", "each", 6), ("pyttsx3, queued", "queued", 3)):
        rows += _peer(subject, mode, batch, list(by_text), by_text, config, 1 if options.quick else 3)
    return rows


def _peer(
    subject: str,
    mode: str,
    batch: int,
    texts: list[str],
    models: dict[str, np.ndarray],
    config: Config,
    rounds: int,
) -> list[Row]:
    bad = files = hangs = 0
    started = time.monotonic()
    for _ in range(rounds):
        for first in range(0, len(texts), batch):
            some = texts[first : first + batch]
            paths, hung, folder = peer_files(mode, some, config)
            hangs += hung
            for text, path in zip(some, paths, strict=True):
                files += 1
                bad += wrong(read_trimmed(path), models[text])
                path.unlink(missing_ok=True)
            os.rmdir(folder)
    seconds = (time.monotonic() - started) / rounds
    return [
        Row("render_s", subject, "mean busy", seconds, "s", rounds),
        Row("wrong_files", subject, "busy", bad, "files", files, ci95=_many(bad, files)),
        Row("hangs", subject, "busy", hangs, "runs", files // batch),
    ]


def _many(bad: int, files: int) -> tuple[float, float]:
    """Files of this many that may be wrong, 95 of 100."""
    low, high = wilson(bad, files)
    return round(low * files, 2), round(high * files, 2)


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    run("bank", parser.parse_args(), measure)
