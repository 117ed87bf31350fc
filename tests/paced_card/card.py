"""A pretend sound card that plays in real time: ALSA's own `null` and `file` play 3.5 s of sound in 4 ms.

Its play pointer follows the monotonic clock; it logs when each sound begins and ends, keeps what was played, and can
be frozen or unplugged.  A pretend microphone hears what the card plays.  Built with gcc from `pcm_paced.c`, so a test
that needs it is skipped where that cannot be done, except in continuous integration, where it fails.
"""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MICROPHONE_DELAY_MS = 60
"""The pretend microphone hears what the card plays so much later."""
SOURCE = Path(__file__).with_name("pcm_paced.c")
MIXER_SOURCE = Path(__file__).with_name("ctl_paced.c")


def skip_or_fail(reason: str) -> None:
    """Skips a test for want of a tool; fails it where every tool must be there (CI=true)."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def build(folder: Path, source: Path = SOURCE) -> Path:
    """Builds a plug-in; returns its file."""
    if shutil.which("gcc") is None:
        skip_or_fail("the pretend sound card needs gcc: sudo apt install gcc")
    library = folder / f"libasound_module_{source.stem}.so"
    command = ["gcc", "-O2", "-shared", "-fPIC", "-DPIC", "-o", str(library), str(source), "-lasound", "-lpthread"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        if ctypes.util.find_library("asound") is None or "alsa/asoundlib.h" in result.stderr:
            skip_or_fail("the pretend sound card needs ALSA's headers: sudo apt install libasound2-dev")
        pytest.fail(result.stderr)
    return library


@dataclass(frozen=True)
class PretendCard:
    """A card in a folder of its own.  Point ALSA_CONFIG_PATH at `config`, then open `default` or `card0`."""

    folder: Path
    library: Path

    def __post_init__(self) -> None:
        self.config.write_text(
            f'pcm_type.paced {{ lib "{self.library}" }}\n'
            f'pcm.card0 {{ type paced dump "{self.dump}" log "{self.log}" ctl "{self.folder / "ctl"}" }}\n'
            f'pcm.ear0 {{ type paced loop "{self.dump}" ctl "{self.folder / "ear"}" '
            f"delay {MICROPHONE_DELAY_MS} gain 30 }}\n"
            "pcm.microphone { type plug slave.pcm ear0 }\n"
            "pcm.!default { type plug slave.pcm card0 }\n"
        )
        self.set("ok")
        self.set_microphone("ok")

    @property
    def config(self) -> Path:
        return self.folder / "asoundrc"

    @property
    def dump(self) -> Path:
        """What was played: 48 kHz, two channels, signed 16 bit."""
        return self.folder / "dump.raw"

    @property
    def log(self) -> Path:
        return self.folder / "card.log"

    def set(self, state: str) -> None:
        """`ok`, `freeze` (its pointer stands still, without an error) or `unplug`."""
        self._control("ctl", state)

    def set_microphone(self, state: str) -> None:
        """`ok`, `away` (does not hear the card), `deaf` (gives zeros), `freeze` (gives nothing any more), `unplug`."""
        self._control("ear", state)

    def _control(self, file: str, state: str) -> None:
        new = self.folder / f"{file}.new"
        new.write_text(state)
        new.rename(self.folder / file)

    def entries(self, what: str) -> list[float]:
        """CLOCK_MONOTONIC of each log entry of a kind: ONSETL, OFFSETL (left channel), OPEN, XRUN, ..."""
        if not self.log.exists():
            return []
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [float(line[1]) for line in lines if line[0] == what]
