"""The voice process for tests, as the command line starts it: python voice_main.py RUN_DIR BANK_DIR [DEVICE...].

The first device is the configured one, the others come after it.  The environment's MICROPHONE is the microphone.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from retrowalk.config import Config, Voice
from retrowalk.platform import MonotonicClock, Platform, SocketMailbox
from retrowalk.voice.alsa import AlsaSystem
from retrowalk.voice.microphone import AlsaMicrophones
from retrowalk.voice.process import run

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    platform = Platform(
        clock=MonotonicClock(),
        mailbox=SocketMailbox(sys.argv[1], "voice"),
        sound=AlsaSystem(),
        microphone=AlsaMicrophones(),
    )
    device, *others = sys.argv[3:] or ["default"]
    config = Config(
        voice=Voice(device=device, other_devices=tuple(others), microphone=os.environ.get("MICROPHONE", ""))
    )
    run(config, platform, Path(sys.argv[2]))
