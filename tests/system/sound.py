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


PIECE_S = 0.2
GAP_S = 0.6
"""A computer that is busy may run dry in the midst of a clip: its pieces come later by as much."""


def match_pieces(sound: Any, clip: bytes, t_s: float, within_s: float) -> float:
    """As `match`, of a clip that may have been held up on the way: the worst of its pieces, each in its order."""
    wanted = np.frombuffer(clip, dtype="<i2").astype(float)
    length = round(PIECE_S * RATE_HZ)
    loud = np.sqrt(np.mean(wanted**2))
    worst, late_s = 1.0, 0.0
    for begin in range(0, len(wanted) - length + 1, length):
        piece = wanted[begin : begin + length]
        if np.sqrt(np.mean(piece**2)) < 0.2 * loud:
            continue  # a pause between words is found anywhere
        from_s = t_s + begin / RATE_HZ + late_s - within_s
        start = max(0, round(from_s * RATE_HZ))
        window = sound[start : start + length + round((2 * within_s + GAP_S - late_s) * RATE_HZ)]
        if len(window) < length:
            return 0.0
        size = 1 << (len(window) + length).bit_length()
        product = np.fft.irfft(np.fft.rfft(window, size) * np.conj(np.fft.rfft(piece, size)), size)
        product = product[: len(window) - length + 1]
        energy = np.concatenate(([0.0], np.cumsum(window**2)))
        energy = energy[length:] - energy[:-length]
        found = product / np.sqrt(np.maximum(energy, 1.0)) / np.linalg.norm(piece)
        offset = int(np.argmax(found))
        # A piece that was itself cut in two is found by its larger part.
        worst = min(worst, max(float(found[offset]), 0.0))
        late_s = max(late_s, min(GAP_S, late_s + offset / RATE_HZ - within_s))
    return worst
