from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.paced_card import card as paced
from tests.voice.helpers import SIDED, write_bank
from tests.voice.real import MAIN, PATIENCE_S, Guard, Start

from retrowalk.config import Config
from retrowalk.voice import bank as voice_bank
from retrowalk.voice import builder
from retrowalk.voice.bank import Bank


@pytest.fixture(scope="session")
def noise_bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """A bank of noise for the default configuration: instant, and no espeak needed."""
    return write_bank(Config(), tmp_path_factory.mktemp("noise-bank"))


@pytest.fixture(scope="session")
def rendered_bank(request: pytest.FixtureRequest) -> Bank:
    """The real bank, with every phrase there is, kept between runs beside pytest's own memory.

    It verifies itself, so keeping it hides nothing: what no longer fits is rendered again.
    """
    if not builder.espeak_version():
        paced.skip_or_fail("the phrases cannot be rendered without espeak-ng: sudo apt install libespeak-ng1")
    folder: Path = request.config.cache.mkdir("retrowalk-bank")
    return voice_bank.build(SIDED, folder)


@pytest.fixture(scope="session")
def card_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paced.build(tmp_path_factory.mktemp("paced"))


@pytest.fixture
def card(tmp_path: Path, card_library: Path, monkeypatch: pytest.MonkeyPatch) -> paced.PretendCard:
    """A pretend sound card that is ALSA's default device in this process and its children."""
    folder = tmp_path / "card"
    folder.mkdir()
    pretend = paced.PretendCard(folder, card_library)
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(pretend.config))
    return pretend


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: a socket's may not be longer than 100 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="rw-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def guard(run_dir: Path) -> Iterator[Guard]:
    guard = Guard(run_dir)
    yield guard
    guard.mailbox.close()


@pytest.fixture
def start(run_dir: Path, card: paced.PretendCard) -> Iterator[Start]:
    """Starts the voice process with a bank, on `default` or the devices named; ends it after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(bank_dir: Path, *devices: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(MAIN), str(run_dir), str(bank_dir), *devices]
        process = subprocess.Popen(command, env={**os.environ, **environment})
        started.append(process)
        return process

    yield begin
    card.set("ok")
    for process in started:
        process.kill()
        process.wait(PATIENCE_S)
