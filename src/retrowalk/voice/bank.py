"""The phrase bank: every phrase as sound, rendered once, verified, kept on disk, held in memory while it serves.

`build` makes or mends a bank; `Bank.open` reads one without espeak.  A bank is a directory with one file a clip
(packed, see `packing`, at its final level) and `manifest.json` with the SHA-256 of each.

A clip is read into memory whole and checked before it is first played.  Not mapped: a mapped page may have to come
back from a slow card in the middle of a warning, and a damaged one ends the process.
"""

from __future__ import annotations

import hashlib
import os
import stat
from array import array
from collections.abc import Callable
from pathlib import Path

import msgspec

from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.errors import BankError
from retrowalk.voice.mixer import Clip
from retrowalk.voice.packing import Packed
from retrowalk.voice.texts import Texts, espeak_voice

BANK_FORMAT = 2
"""Changes whenever the same words would give other sound or other files: old clips are then rendered again."""

REFUSED = "refused"
"""File beside the clips while they could not be rendered: `espeak_missing` or `bank_refused`, then what happened."""

TEXT_CLIP_MAX_BYTES = 8_000_000
"""A longer free text (more than 80 s) is not read: the voice holds it in memory."""

PACKED = ".packed"
"""How the name of a packed clip's file ends."""

CALM_LEVEL = 0.8
"""Level of all but the most urgent phrases, as a part of the configured volume."""

OWN_PHRASES = ("stop", "guard_silent")
"""Loaded when a bank is opened: these cannot wait even for a read from the disk."""

OWN_CAUSES = ("voice-bank", "voice-espeak")
"""Values of `fault` that must be said when the bank cannot say them: that it is missing or damaged itself."""

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


def default_directory() -> Path:
    """Where a person's bank lives: `$XDG_CACHE_HOME/retrowalk/bank`, else `~/.cache/retrowalk/bank`."""
    cache_home = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache_home) if cache_home else Path.home() / ".cache") / "retrowalk" / "bank"


def build(config: Config, directory: str | Path, progress: Progress | None = None) -> Bank:
    """Renders what is missing or damaged, and nothing else; returns the open bank.

    Several processes may call it at once: one renders, the others wait.  Raises `BankError` when a phrase cannot be
    rendered (what was rendered is kept), `OSError` when the directory cannot be written.
    """
    # Here, so that the voice process, which never renders, does not carry in memory what rendering needs.
    from retrowalk.voice import builder

    builder.build(config, Path(directory), progress or (lambda done, total, words: None))
    return Bank.open(config, directory)


def complete(config: Config, directory: str | Path) -> bool:
    """Whether every phrase of a configuration is there, in a bank that can be used."""
    try:
        return not Bank.open(config, directory).missing()
    except (BankError, OSError):
        return False


def phrase_volume(config: Config, phrase: str) -> float:
    """Level of a phrase (0 to 1): the whole configured volume for what cannot wait, a little lower for the rest."""
    ranks = [row.rank for row in alerts.ALERTS.values() if row.phrase == phrase]
    urgent = phrase == "guard_silent" or max(ranks, default=0) >= alerts.RANK_ALARM
    return config.voice.volume * (1.0 if urgent else CALM_LEVEL)


def file_name(*parts: str | int | float) -> str:
    """Name of a clip's file: a hash of everything its sound depends on."""
    key = "\0".join(str(part) for part in (BANK_FORMAT, *parts))
    return hashlib.sha256(key.encode()).hexdigest()[:24] + PACKED


def text_file_name(config: Config, text: str) -> str:
    """Name of the file of a free text.  Can be told without espeak, because the voice process looks for it."""
    name = file_name(text, espeak_voice(config), config.voice.rate_wpm, config.voice.volume)
    return name.removesuffix(PACKED) + ".say"


def read_manifest(file: Path) -> Manifest:
    """Reads a manifest.  Raises `BankError` if there is none or it cannot be used."""
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
        if manifest.format != BANK_FORMAT:
            raise BankError(f"{file}: format {manifest.format}, expected {BANK_FORMAT}")
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, BankError) as error:
        raise BankError(f"phrase bank {file}: {error}: make it with `retrowalk voices build`") from error
    return manifest


def text_clip_content(pcm: bytes) -> bytes:
    """What a file of a free text holds: the SHA-256 of its sound, and the sound."""
    return hashlib.sha256(pcm).digest() + pcm


def read_text_clip(file: Path) -> bytes | None:
    """The sound of a free text, or None if the file is missing, damaged or too long."""
    try:
        # Opened only if it can be read at once: the voice does not wait at a pipe.
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > TEXT_CLIP_MAX_BYTES:
            return None
        content = file.read_bytes()
    except OSError:
        return None
    digest, pcm = content[:32], content[32:]
    return pcm if pcm and hashlib.sha256(pcm).digest() == digest else None


# ---------------------------------------------------------------------------------------------- serving


class Bank:
    """An open bank.  Looking up a clip that is loaded touches nothing but memory."""

    def __init__(self, config: Config, directory: Path, entries: dict[tuple[str, str], Entry], texts: Texts) -> None:
        self.directory = directory
        self._config = config
        self._entries = entries
        self._texts = texts
        self._clips: dict[tuple[str, str], Clip] = {}
        self._files: dict[str, Packed] = {}
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
        manifest = read_manifest(directory / "manifest.json")
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

    def entry(self, phrase: str, value: str) -> Entry:
        """What the manifest says of a clip.  Raises `KeyError` if it has none."""
        return self._entries[phrase, value]

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
        return read_text_clip(self.directory / "texts" / text_file_name(self._config, text))

    def _load(self, key: tuple[str, str]) -> Clip | None:
        entry = self._entries[key]
        sound = self._files.get(entry.file)
        if sound is None:
            try:
                content = (self.directory / entry.file).read_bytes()
            except OSError:
                content = b""
            if not content or hashlib.sha256(content).hexdigest() != entry.sha256:
                self.damaged.add(key)
                return None
            sound = self._files[entry.file] = Packed(content)
        clip = self._clips[key] = Clip(entry.words, sound)
        return clip


# ------------------------------------------------------------------------------------- what ships with it


class BuiltinWords(msgspec.Struct, frozen=True):
    """A clip that ships with the program."""

    file: str
    words: str
    phrases: list[str]
    """Phrases it stands in for, or `phrase:value` for one value alone."""


class Builtin:
    """A few words that ship with the program, in each language, so that a device without a bank still warns.

    `volume` is `config.voice.volume`, `language` `config.device.language`.
    """

    def __init__(self, volume: float, language: str = "en") -> None:
        self._volume = volume
        self._folder = Path(__file__).parent / "builtin" / language
        index = msgspec.json.decode((self._folder / "words.json").read_bytes(), type=list[BuiltinWords])
        self._words = {phrase: entry for entry in index for phrase in entry.phrases}
        self._clips: dict[str, Clip] = {}

    def lookup(self, phrase: str, value: str = "") -> Clip | None:
        """The clip that stands in for a phrase, if there is one.  Read when first asked for."""
        entry = self._words.get(f"{phrase}:{value}") or self._words.get(phrase)
        if entry is None:
            return None
        clip = self._clips.get(entry.file)
        if clip is None:
            content = (self._folder / entry.file).read_bytes()
            samples = array("h", Packed(content)[:] if entry.file.endswith(PACKED) else content)
            pcm = array("h", (round(sample * self._volume) for sample in samples)).tobytes()
            clip = self._clips[entry.file] = Clip(entry.words, pcm)
        return clip
