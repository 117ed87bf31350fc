"""The words of every phrase, in one language, from `texts/<language>.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from retrowalk.config import Config
from retrowalk.errors import BankError


@dataclass(frozen=True, slots=True)
class Texts:
    """Phrases of one language, with tables of words for their blanks."""

    language: str
    espeak_voice: str
    """Voice of espeak that speaks this language, where the configuration names none."""
    device_fault: str
    """What ships as sound for a device without phrases, and stands for every fault."""
    phrases: Mapping[str, str]
    blanks: Mapping[str, str]
    """Name of the table that fills the blank of a phrase."""
    tables: Mapping[str, Mapping[str, str]]

    @classmethod
    def load(cls, language: str) -> Texts:
        """Reads a language.  Raises `BankError` if the program has no such language."""
        folder = Path(__file__).parent / "texts"
        file = folder / f"{language}.toml"
        if not language.isalpha() or not file.is_file():
            known = sorted(entry.stem for entry in folder.glob("*.toml"))
            raise BankError(f"device.language = {language!r}: there are words in {', '.join(known)} only")
        return _read(file)

    def words(self, phrase: str, value: str) -> str:
        """What is said.  Raises `BankError` for a phrase that has no words."""
        try:
            pattern = self.phrases[phrase]
        except KeyError:
            raise BankError(f"phrase {phrase!r}: has no words in language {self.language!r}") from None
        table = self.tables[self.blanks[phrase]] if phrase in self.blanks else {}
        text = pattern.replace("{value}", table.get(value, value.replace("-", " ").replace("_", " ")))
        return ". ".join(sentence[:1].upper() + sentence[1:] for sentence in text.split(". "))


def why(reasons: Iterable[str]) -> str:
    """The reasons of a guard state in words, for a display, which is in English: "path not seen, clip slipped"."""
    known = Texts.load("en").tables["limits"]
    return ", ".join(known.get(reason, reason.replace("_", " ")) for reason in reasons)


def espeak_voice(config: Config) -> str:
    """The voice of espeak that speaks: the one that is set, else the language's own.  Reads the words once at most.

    Raises `BankError` if the program has no such language.
    """
    return config.voice.espeak_voice or Texts.load(config.device.language).espeak_voice


# Read once in a process: the voice asks for it between two blocks of sound.
@cache
def _read(file: Path) -> Texts:
    tables = tomllib.loads(file.read_text("utf-8"))
    voice, builtin = tables.pop("voice"), tables.pop("builtin")
    return Texts(file.stem, voice["espeak"], builtin["fault"], tables.pop("phrases"), tables.pop("blanks"), tables)
