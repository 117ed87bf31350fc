"""Makes and mends phrase banks.  Never in the voice process: what it needs is slow and large."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import get_args

import msgspec

from retrowalk.config import Config, Language
from retrowalk.core import alerts
from retrowalk.errors import BankError
from retrowalk.voice import bank, packing
from retrowalk.voice.mixer import SAMPLE_BYTES
from retrowalk.voice.render import ESPEAK_MISSING, RenderJob, render
from retrowalk.voice.texts import Texts, espeak_voice

STOP_RATE_WPM = 200
""""Stop" is said faster than the rest: 0.41 s instead of 0.50 s, and just as clear."""

KEPT_TEXTS = 50
"""Free texts (`retrowalk say`) kept beside the phrases; the oldest go first ..."""
KEPT_TEXTS_BYTES = 50_000_000
"""... and sooner when they are long ones."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A clip a configuration asks for."""

    phrase: str
    value: str
    words: str
    rate_wpm: int
    volume: float
    file: str


def build(config: Config, directory: Path, progress: bank.Progress) -> None:
    """As `bank.build`, without opening the result."""
    directory.mkdir(parents=True, exist_ok=True)
    refused = directory / bank.REFUSED
    with _locked(directory):
        try:
            _build(config, directory, progress)
        except (BankError, OSError) as error:
            # For the voice, which can then tell the walker and the caregiver why there are no words.
            name = "bank_refused" if espeak_version() else "espeak_missing"
            with contextlib.suppress(OSError):  # a full disk may have no room even for this
                write_atomically(refused, f"{name}\n{error}\n".encode())
            raise
        refused.unlink(missing_ok=True)


def _build(config: Config, directory: Path, progress: bank.Progress) -> None:
    versions = (metadata.version("pyttsx3"), espeak_version())
    wanted = _wanted(config, versions)
    for left in directory.glob("*.tmp"):  # of a build that was cut off: this one alone holds the lock
        left.unlink(missing_ok=True)
    try:
        old = bank.read_manifest(directory / "manifest.json")
    except BankError:
        old = None
    hashes = {entry.file: entry.sha256 for entry in old.clips} if old else {}
    good: dict[str, str] = {}
    for clip in wanted:
        if clip.file not in good and clip.file in hashes and _hash_of(directory / clip.file) == hashes[clip.file]:
            good[clip.file] = hashes[clip.file]

    lacking = {clip.file: clip for clip in wanted if clip.file not in good}
    done = sum(clip.file in good for clip in wanted)
    entries = _entries(wanted, good, directory)
    if not lacking and old is not None and all(entry in old.clips for entry in entries):
        progress(len(wanted), len(wanted), "")
        return
    clips = {(entry.phrase, entry.value): entry for entry in old.clips} if old else {}
    spare = {key: entry for key, entry in clips.items() if _still_right(entry, config, versions, directory)}
    try:
        if lacking:
            if not versions[1]:
                raise BankError(ESPEAK_MISSING)
            # Two for each core, because a render mostly waits for espeak to come to rest.
            with ThreadPoolExecutor(2 * (os.cpu_count() or 1), "render") as pool:
                futures = {pool.submit(_render_clip, clip, config, directory): clip for clip in lacking.values()}
                try:
                    for future in as_completed(futures):
                        clip = futures[future]
                        good[clip.file] = future.result()
                        done += sum(other.file == clip.file for other in wanted)
                        progress(done, len(wanted), clip.words)
                finally:
                    pool.shutdown(cancel_futures=True)
        clips = spare
    finally:
        # After a failure, what was there before stays beside what is new: an old voice is better than none.
        clips.update({(entry.phrase, entry.value): entry for entry in _entries(wanted, good, directory)})
        manifest = bank.Manifest(
            bank.BANK_FORMAT,
            config.device.language,
            espeak_voice(config),
            config.voice.rate_wpm,
            *versions,
            list(clips.values()),
        )
        write_atomically(directory / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest)))
        kept = {entry.file for entry in manifest.clips}
        for file in (*directory.glob(f"*{bank.PACKED}*"), *directory.glob("*.pcm")):  # .pcm: of an older program
            if file.name not in kept:
                file.unlink(missing_ok=True)


def _wanted(config: Config, versions: tuple[str, str]) -> list[_Wanted]:
    texts = Texts.load(config.device.language)
    wanted = []
    for phrase, value in alerts.clips(config):
        words = texts.words(phrase, value)
        rate_wpm = STOP_RATE_WPM if phrase == "stop" else config.voice.rate_wpm
        volume = bank.phrase_volume(config, phrase)
        file = bank.file_name(words, espeak_voice(config), rate_wpm, volume, *versions)
        wanted.append(_Wanted(phrase, value, words, rate_wpm, volume, file))
    return wanted


def _still_right(entry: bank.Entry, config: Config, versions: tuple[str, str], directory: Path) -> bool:
    """Whether a clip that may not be asked for now would sound the same: a sensor that is unplugged comes back, and
    two configurations that differ in their sensors can share a bank.
    """
    rate_wpm = STOP_RATE_WPM if entry.phrase == "stop" else config.voice.rate_wpm
    volume = bank.phrase_volume(config, entry.phrase)
    file = bank.file_name(entry.words, espeak_voice(config), rate_wpm, volume, *versions)
    return entry.file == file and _hash_of(directory / file) == entry.sha256


def _entries(wanted: list[_Wanted], good: dict[str, str], directory: Path) -> list[bank.Entry]:
    return [
        bank.Entry(
            clip.phrase,
            clip.value,
            clip.words,
            clip.file,
            good[clip.file],
            (directory / clip.file).stat().st_size * packing.PLAYED_BYTES // SAMPLE_BYTES,
        )
        for clip in wanted
        if clip.file in good
    ]


def _render_clip(clip: _Wanted, config: Config, directory: Path) -> str:
    temporary = directory / f"{clip.file}.{os.getpid()}.tmp"
    try:
        render(RenderJob(clip.words, espeak_voice(config), clip.rate_wpm, clip.volume, str(temporary), packed=True))
        _sync(temporary)
        temporary.replace(directory / clip.file)
    finally:
        temporary.unlink(missing_ok=True)
    return _hash_of(directory / clip.file)


@cache
def espeak_version() -> str:
    """Version of the espeak-ng library, empty if there is none."""
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
        library.espeak_Info.restype = ctypes.c_char_p
        version: bytes = library.espeak_Info(None)
    except (OSError, AttributeError):
        return ""
    return version.decode(errors="replace")


def render_text(config: Config, directory: str | Path, text: str) -> Path:
    """Renders free text for a test and keeps it, so that the voice can say it; returns the file.

    The file begins with the 32 bytes of its SHA-256.  Raises `BankError` if it cannot be rendered.
    """
    folder = Path(directory) / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / bank.text_file_name(config, text)
    if bank.read_text_clip(file) is None:
        temporary = folder / f"{file.name}.{os.getpid()}.tmp"
        volume = config.voice.volume * bank.CALM_LEVEL
        try:
            render(RenderJob(text, espeak_voice(config), config.voice.rate_wpm, volume, str(temporary)))
            pcm = temporary.read_bytes()
        finally:
            temporary.unlink(missing_ok=True)
        write_atomically(file, bank.text_clip_content(pcm))
        taken = 0
        kept = sorted(folder.glob("*.say"), key=lambda text: text.stat().st_mtime, reverse=True)
        for count, old in enumerate(kept, 1):
            taken += old.stat().st_size
            if count > KEPT_TEXTS or (taken > KEPT_TEXTS_BYTES and old != file):
                old.unlink(missing_ok=True)
    return file


def write_builtin(directory: Path) -> None:
    """Renders the clips that ship with the program, at full level, in each language's own folder.

    For maintainers, after the words have changed.
    """
    stands_in = ["fault", "sensor_lost", "behind_unknown", "limited", "not_protecting", "restarted"]
    for language in get_args(Language):
        texts = Texts.load(language)
        entries = [
            bank.BuiltinWords("stop.pcm", texts.words("stop", ""), ["stop", "drop"]),
            bank.BuiltinWords("guard_silent.pcm", texts.words("guard_silent", ""), ["guard_silent"]),
            bank.BuiltinWords("fault.pcm", texts.device_fault, stands_in),
            # Why there are no other words.
            *(
                bank.BuiltinWords(f"{value}{bank.PACKED}", texts.words("fault", value), [f"fault:{value}"])
                for value in bank.OWN_CAUSES
            ),
        ]
        folder = directory / language
        folder.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            rate_wpm = STOP_RATE_WPM if entry.file == "stop.pcm" else Config().voice.rate_wpm
            packed = entry.file.endswith(bank.PACKED)
            render(RenderJob(entry.words, texts.espeak_voice, rate_wpm, 1.0, str(folder / entry.file), packed=packed))
        write_atomically(folder / "words.json", msgspec.json.format(msgspec.json.encode(entries)) + b"\n")


def write_atomically(file: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a power cut."""
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        _sync(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(file.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    with open(directory / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _hash_of(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
