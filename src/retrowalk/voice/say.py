"""For the command line: espeak's voices, free text, and a clip played without a guard."""

from __future__ import annotations

import time
from array import array
from pathlib import Path

from retrowalk.config import Config
from retrowalk.errors import BankError, SoundError
from retrowalk.platform import SoundSystem
from retrowalk.voice import builder
from retrowalk.voice.bank import read_text_clip
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ, SAMPLE_BYTES
from retrowalk.voice.render import VoiceInfo, list_voices

__all__ = ["VoiceInfo", "list_voices", "play_clip", "render_text"]


def duration_s(pcm: bytes) -> float:
    """How long a clip lasts."""
    return len(pcm) / (SAMPLE_BYTES * RATE_HZ)


STALL_S = 1.0
"""A device that takes no frame for longer has stopped."""


def render_text(config: Config, directory: str | Path, text: str) -> bytes:
    """Renders free text and keeps it in the bank's directory, where the voice process finds it; returns its sound.

    48 kHz, one channel, signed 16 bit.  Raises `BankError` if it cannot be rendered.
    """
    if not text.strip():
        raise BankError("there is nothing to say")
    pcm = read_text_clip(builder.render_text(config, directory, text))
    if pcm is None:
        raise BankError(f"text {text!r}: its sound cannot be read back from {directory}")
    return pcm


def play_clip(system: SoundSystem, device: str, pcm: bytes) -> None:
    """Plays a clip to its end; for a person at a terminal, not for a walk.  Raises `SoundError`."""
    stereo = array("h", bytes(2 * len(pcm)))
    stereo[0::2] = stereo[1::2] = array("h", pcm)
    # Frames are handed over until all of them have been played; silence follows the clip, so that the device goes on.
    left = stereo.tobytes()
    frames = len(left) // FRAME_BYTES
    sound = system.open(device, 100)
    try:
        advanced_s, seen = time.monotonic(), 0
        while True:
            now = time.monotonic()
            room = sound.writable(now)
            if room > 0:
                block = left[: room * FRAME_BYTES]
                taken = sound.write(block + bytes(room * FRAME_BYTES - len(block)), now)
                left = left[taken * FRAME_BYTES :]
            played = sound.played(now)
            if played >= frames:
                return
            if played > seen:
                advanced_s, seen = now, played
            elif now - advanced_s > STALL_S:
                raise SoundError(f"sound device {device!r}: has stopped after {played / RATE_HZ:.2f} s of sound")
            sound.wait(0.05)
    finally:
        sound.close()
