"""The phrase bank: every phrase as sound, rendered once, verified, kept on disk, held in memory while it serves.

`build` makes or mends a bank; `Bank.open` reads one without espeak.  A bank is a directory with one file a clip
(48 kHz, one channel, signed 16 bit, no header, at its final level) and `manifest.json` with the SHA-256 of each.
Files appear under temporary names and are renamed, so a bank is never half written.

A clip is read into memory whole and checked before it is first played.  Not mapped: a mapped page may have to come
back from a slow card in the middle of a warning, and a damaged one ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from importlib import metadata, resources
from pathlib import Path

import msgspec

from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.errors import BankError
from retrowalk.voice.mixer import SAMPLE_BYTES, Clip
from retrowalk.voice.render import RenderJob, render
from retrowalk.voice.texts import Texts

BANK_FORMAT = 1
"""Changes whenever the same words would give other sound or other files: old clips are then rendered again."""

STOP_RATE_WPM = 200
""""Stop" is said faster than the rest: 0.41 s instead of 0.50 s, and just as clear."""

CALM_LEVEL = 0.8
"""Level of all but the most urgent phrases, as a part of the configured volume."""

KEPT_TEXTS = 50
"""Free texts (`retrowalk say`) kept beside the phrases; the oldest go first."""

OWN_PHRASES = ("stop", "guard_silent")
"""Loaded when a bank is opened: these cannot wait even for a read from the disk."""

Progress = Callable[[int, int, str], None]
"""Called with clips done, clips in all, and the words of the latest."""


class Entry(msgspec.Struct, frozen=True):
    """A clip of the manifest."""

    phrase: str
    value: str
    words: str
    file: str
    sha256: str
    frames: int


class Manifest(msgspec.Struct, frozen=True):
    """What `manifest.json` holds."""

    format: int
    language: str
    voice: str
    rate_wpm: int
    pyttsx3: str
    espeak_ng: str
    clips: list[Entry]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A clip a configuration asks for."""

    phrase: str
    value: str
    words: str
    rate_wpm: int
    volume: float
    file: str


def default_directory() -> Path:
    """Where a person's bank lives: `$XDG_CACHE_HOME/retrowalk/bank`, else `~/.cache/retrowalk/bank`."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "retrowalk" / "bank"


# ---------------------------------------------------------------------------------------------- building


def build(config: Config, directory: str | Path, progress: Progress | None = None) -> Bank:
    """Renders what is missing or damaged, and nothing else; returns the open bank.

    Several processes may call it at once: one renders, the others wait.  Raises `BankError` when a phrase cannot be
    rendered (what was rendered is kept), `OSError` when the directory cannot be written.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    with _locked(directory):
        _build(config, directory, progress or (lambda done, total, words: None))
    return Bank.open(config, directory)


def _build(config: Config, directory: Path, progress: Progress) -> None:
    versions = (metadata.version("pyttsx3"), espeak_version())
    wanted = _wanted(config, versions)
    old = _read_manifest(directory / "manifest.json", needed=False)
    hashes = {entry.file: entry.sha256 for entry in old.clips} if old else {}
    good: dict[str, str] = {}
    for clip in wanted:
        if clip.file not in good and clip.file in hashes and _hash_of(directory / clip.file) == hashes[clip.file]:
            good[clip.file] = hashes[clip.file]

    lacking = {clip.file: clip for clip in wanted if clip.file not in good}
    done = sum(clip.file in good for clip in wanted)
    if not lacking and old is not None and old.clips == _entries(wanted, good, directory):
        progress(len(wanted), len(wanted), "")
        return
    try:
        if lacking:
            if not versions[1]:
                raise BankError("espeak-ng is missing, so phrases cannot be rendered: sudo apt install libespeak-ng1")
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
    finally:
        manifest = Manifest(
            BANK_FORMAT,
            config.device.language,
            config.voice.espeak_voice,
            config.voice.rate_wpm,
            *versions,
            _entries(wanted, good, directory),
        )
        write_atomically(directory / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest)))
        for file in directory.glob("*.pcm*"):
            if file.name not in good:
                file.unlink(missing_ok=True)


def _wanted(config: Config, versions: tuple[str, str]) -> list[_Wanted]:
    texts = Texts.load(config.device.language)
    wanted = []
    for phrase, value in alerts.clips(config):
        words = texts.words(phrase, value)
        rate_wpm = STOP_RATE_WPM if phrase == "stop" else config.voice.rate_wpm
        volume = phrase_volume(config, phrase)
        file = _file_name(words, config.voice.espeak_voice, rate_wpm, volume, *versions)
        wanted.append(_Wanted(phrase, value, words, rate_wpm, volume, file))
    return wanted


def phrase_volume(config: Config, phrase: str) -> float:
    """Level of a phrase (0 to 1): the whole configured volume for what cannot wait, a little lower for the rest."""
    ranks = [row.rank for row in alerts.ALERTS.values() if row.phrase == phrase]
    urgent = phrase == "guard_silent" or max(ranks, default=0) >= alerts.RANK_ALARM
    return config.voice.volume * (1.0 if urgent else CALM_LEVEL)


def _file_name(*parts: str | int | float) -> str:
    key = "\0".join(str(part) for part in (BANK_FORMAT, *parts))
    return hashlib.sha256(key.encode()).hexdigest()[:24] + ".pcm"


def _entries(wanted: list[_Wanted], good: dict[str, str], directory: Path) -> list[Entry]:
    return [
        Entry(
            clip.phrase,
            clip.value,
            clip.words,
            clip.file,
            good[clip.file],
            (directory / clip.file).stat().st_size // SAMPLE_BYTES,
        )
        for clip in wanted
        if clip.file in good
    ]


def _render_clip(clip: _Wanted, config: Config, directory: Path) -> str:
    temporary = directory / f"{clip.file}.{os.getpid()}.tmp"
    try:
        render(RenderJob(clip.words, config.voice.espeak_voice, clip.rate_wpm, clip.volume, str(temporary)))
        _sync(temporary)
        temporary.replace(directory / clip.file)
    finally:
        temporary.unlink(missing_ok=True)
    return _hash_of(directory / clip.file)


def render_text(config: Config, directory: str | Path, text: str) -> Path:
    """Renders free text for a test and keeps it, so that the voice can say it; returns the file.

    The file begins with the 32 bytes of its SHA-256.  Raises `BankError` if it cannot be rendered.
    """
    folder = Path(directory) / "texts"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _text_file_name(config, text)
    if _read_text_clip(file) is None:
        temporary = folder / f"{file.name}.{os.getpid()}.tmp"
        volume = config.voice.volume * CALM_LEVEL
        try:
            render(RenderJob(text, config.voice.espeak_voice, config.voice.rate_wpm, volume, str(temporary)))
            pcm = temporary.read_bytes()
        finally:
            temporary.unlink(missing_ok=True)
        write_atomically(file, hashlib.sha256(pcm).digest() + pcm)
        for old in sorted(folder.glob("*.say"), key=lambda kept: kept.stat().st_mtime)[:-KEPT_TEXTS]:
            old.unlink(missing_ok=True)
    return file


def _text_file_name(config: Config, text: str) -> str:
    name = _file_name(text, config.voice.espeak_voice, config.voice.rate_wpm, config.voice.volume)
    return name.removesuffix(".pcm") + ".say"


def _read_text_clip(file: Path) -> bytes | None:
    try:
        content = file.read_bytes()
    except OSError:
        return None
    digest, pcm = content[:32], content[32:]
    return pcm if pcm and hashlib.sha256(pcm).digest() == digest else None


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


# --------------------------------------------------------------------------------------------- on the disk


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


def _read_manifest(file: Path, *, needed: bool = True) -> Manifest | None:
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
        if manifest.format != BANK_FORMAT:
            raise BankError(f"{file}: format {manifest.format}, expected {BANK_FORMAT}")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, BankError) as error:
        if needed:
            raise BankError(f"phrase bank {file}: {error}: make it with `retrowalk voices build`") from error
        return None
    return manifest


# ---------------------------------------------------------------------------------------------- serving


class Bank:
    """An open bank.  Looking up a clip that is loaded touches nothing but memory."""

    def __init__(self, config: Config, directory: Path, entries: dict[tuple[str, str], Entry], texts: Texts) -> None:
        self.directory = directory
        self._config = config
        self._entries = entries
        self._texts = texts
        self._clips: dict[tuple[str, str], Clip] = {}
        self._files: dict[str, bytes] = {}
        self._unread = list(entries)
        self.damaged: set[tuple[str, str]] = set()
        """Clips whose file turned out unreadable or changed."""

    @classmethod
    def open(cls, config: Config, directory: str | Path) -> Bank:
        """Opens a bank made by `build`.  Raises `BankError` if there is none.

        Clips whose words are no longer those of the configuration's language are left out (see `missing`); another
        rate, voice or volume is still served, because any voice is better than none.
        """
        directory = Path(directory)
        manifest = _read_manifest(directory / "manifest.json")
        assert manifest is not None
        texts = Texts.load(config.device.language)
        listed = {(entry.phrase, entry.value): entry for entry in manifest.clips}
        entries = {
            key: listed[key]
            for key in alerts.clips(config)
            if key in listed
            and listed[key].words == texts.words(*key)
            and Path(listed[key].file).name == listed[key].file
        }
        bank = cls(config, directory, entries, texts)
        for phrase in OWN_PHRASES:
            bank.clip(phrase, "")
        return bank

    def clip(self, phrase: str, value: str) -> bytes | None:
        """The sound of a phrase (48 kHz, one channel, signed 16 bit), or None if the bank has no good one.

        Read and checked when first asked for.
        """
        found = self.lookup(phrase, value)
        return found.pcm if found else None

    def lookup(self, phrase: str, value: str) -> Clip | None:
        """As `clip`, with its words."""
        key = (phrase, value)
        found = self._clips.get(key)
        if found is None and key in self._entries and key not in self.damaged:
            found = self._load(key)
        return found

    def words(self, phrase: str, value: str) -> str:
        """What is said for a phrase.  Raises `BankError` for a phrase that has no words."""
        return self._texts.words(phrase, value)

    def missing(self) -> tuple[tuple[str, str], ...]:
        """Every (phrase, value) that can be asked for and is not there in good order, as far as is known."""
        return tuple(key for key in alerts.clips(self._config) if key not in self._entries or key in self.damaged)

    def load_next(self) -> bool:
        """Reads and checks one clip that nobody has asked for yet; returns whether there are more."""
        while self._unread:
            key = self._unread.pop()
            if key not in self._clips and key not in self.damaged:
                self._load(key)
                break
        return bool(self._unread)

    def text_clip(self, text: str) -> bytes | None:
        """The sound of a free text that `render_text` has rendered, or None.  Reads from the disk."""
        return _read_text_clip(self.directory / "texts" / _text_file_name(self._config, text))

    def _load(self, key: tuple[str, str]) -> Clip | None:
        entry = self._entries[key]
        pcm = self._files.get(entry.file)
        if pcm is None:
            try:
                pcm = (self.directory / entry.file).read_bytes()
            except OSError:
                pcm = b""
            if not pcm or hashlib.sha256(pcm).hexdigest() != entry.sha256:
                self.damaged.add(key)
                return None
            self._files[entry.file] = pcm
        clip = self._clips[key] = Clip(entry.words, pcm)
        return clip


# ------------------------------------------------------------------------------------- what ships with it


class BuiltinWords(msgspec.Struct, frozen=True):
    """A clip that ships with the program."""

    file: str
    words: str
    phrases: list[str]
    """Phrases it stands in for."""


class Builtin:
    """A few words that ship with the program, in English, so that a device without a bank still warns.

    `volume` is `config.voice.volume`.
    """

    def __init__(self, volume: float) -> None:
        self._volume = volume
        self._folder = resources.files(__package__) / "builtin"
        index = msgspec.json.decode((self._folder / "words.json").read_bytes(), type=list[BuiltinWords])
        self._words = {phrase: entry for entry in index for phrase in entry.phrases}
        self._clips: dict[str, Clip] = {}
        for phrase in OWN_PHRASES:
            self.lookup(phrase)

    def lookup(self, phrase: str) -> Clip | None:
        """The clip that stands in for a phrase, if there is one."""
        entry = self._words.get(phrase)
        if entry is None:
            return None
        clip = self._clips.get(entry.file)
        if clip is None:
            samples = array("h", (self._folder / entry.file).read_bytes())
            pcm = array("h", [round(sample * self._volume) for sample in samples]).tobytes()
            clip = self._clips[entry.file] = Clip(entry.words, pcm)
        return clip


def write_builtin(directory: Path) -> None:
    """Renders the clips that ship with the program, at full level; for maintainers, after the words have changed."""
    texts = Texts.load("en")
    stands_in = ["fault", "sensor_lost", "behind_unknown", "limited", "not_protecting", "restarted"]
    entries = [
        BuiltinWords("stop.pcm", texts.words("stop", ""), ["stop"]),
        BuiltinWords("guard_silent.pcm", texts.words("guard_silent", ""), ["guard_silent"]),
        BuiltinWords("fault.pcm", "Device fault.", stands_in),
    ]
    for entry in entries:
        rate_wpm = STOP_RATE_WPM if entry.file == "stop.pcm" else Config().voice.rate_wpm
        render(RenderJob(entry.words, "en", rate_wpm, 1.0, str(directory / entry.file)))
    write_atomically(directory / "words.json", msgspec.json.format(msgspec.json.encode(entries)) + b"\n")
