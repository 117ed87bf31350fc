"""The voice process for tests, as the command line starts it: python voice_main.py RUN_DIR BANK_DIR."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from retrowalk.config import Config
from retrowalk.platform import MonotonicClock, Platform, SocketMailbox
from retrowalk.voice.alsa import AlsaSystem
from retrowalk.voice.process import run

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    platform = Platform(clock=MonotonicClock(), mailbox=SocketMailbox(sys.argv[1], "voice"), sound=AlsaSystem())
    run(Config(), platform, Path(sys.argv[2]))
