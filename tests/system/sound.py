"""Finds clips in the sound of a walk."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 48_000


def read_wav(path: Path) -> Any:
    """The samples of one channel of `walk.wav`."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE_HZ, 2, 2)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")[::2].astype(float)


def match(sound: Any, clip: bytes, t_s: float, within_s: float) -> float:
    """How well (0 to 1) a clip is found to begin at second `t_s`, give or take `within_s`: the best correlation."""
    wanted = np.frombuffer(clip, dtype="<i2").astype(float)
    start = max(0, round((t_s - within_s) * RATE_HZ))
    window = sound[start : start + len(wanted) + round(2 * within_s * RATE_HZ)]
    size = 1 << (len(window) + len(wanted)).bit_length()
    product = np.fft.irfft(np.fft.rfft(window, size) * np.conj(np.fft.rfft(wanted, size)), size)
    offset = int(np.argmax(product[: len(window) - len(wanted) + 1]))
    piece = window[offset : offset + len(wanted)]
    return float(np.dot(piece, wanted) / np.linalg.norm(piece) / np.linalg.norm(wanted))
