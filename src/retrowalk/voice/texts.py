"""The words of every phrase, in one language, from `texts/<language>.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retrowalk.errors import BankError


@dataclass(frozen=True, slots=True)
class Texts:
    """Phrases of one language, with tables of words for their blanks."""

    language: str
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
        tables = tomllib.loads(file.read_text("utf-8"))
        return cls(language, tables.pop("phrases"), tables.pop("blanks"), tables)

    def words(self, phrase: str, value: str) -> str:
        """What is said.  Raises `BankError` for a phrase that has no words."""
        try:
            pattern = self.phrases[phrase]
        except KeyError:
            raise BankError(f"phrase {phrase!r}: has no words in language {self.language!r}") from None
        table = self.tables[self.blanks[phrase]] if phrase in self.blanks else {}
        text = pattern.replace("{value}", table.get(value, value.replace("-", " ").replace("_", " ")))
        return ". ".join(sentence[:1].upper() + sentence[1:] for sentence in text.split(". "))
