"""The real microphone code on a pretend card: real libasound, real time, no sound hardware."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.paced_card.card import MICROPHONE_DELAY_MS, PretendCard

from retrowalk.errors import SoundError
from retrowalk.voice.alsa import AlsaSystem
from retrowalk.voice.microphone import AlsaMicrophone, AlsaMicrophones

pytestmark = pytest.mark.process

PATIENCE_S = 5.0


@contextmanager
def opened(device: str = "microphone") -> Iterator[AlsaMicrophone]:
    microphone = AlsaMicrophones().open(device)
    try:
        yield microphone
    finally:
        microphone.close()


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def test_it_gives_samples_in_real_time(card: PretendCard):
    """A second gives a second of samples, at a multiple of 8 kHz, whoever reads how often."""
    with opened() as microphone:
        until(lambda: microphone.read(0.0))
        begun_s = time.monotonic()
        samples = 0
        while time.monotonic() - begun_s < 0.5:
            samples += len(microphone.read(0.0)) // 2
            time.sleep(0.03)
        seconds = time.monotonic() - begun_s
        assert microphone.rate_hz % 8_000 == 0
        assert samples / microphone.rate_hz == pytest.approx(seconds, abs=0.1)


def test_it_hears_what_the_card_plays(card: PretendCard):
    """A tone that leaves the card comes back, and not before it has left."""
    tone = array("h", [8000, 8000, -8000, -8000] * 2400).tobytes()
    with opened() as microphone:
        until(lambda: microphone.read(0.0))
        sound = AlsaSystem().open("default", 100)
        heard = array("h")
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 0.5:
            room = sound.writable(0.0)
            piece = tone[: room * 4]
            tone = tone[len(piece) :]
            sound.write(piece or bytes(room * 4), 0.0)
            heard.frombytes(microphone.read(0.0))
            time.sleep(0.005)
        sound.close()
        loud = [at for at, sample in enumerate(heard) if abs(sample) > 1000]
        assert loud
        onset_s = loud[0] / microphone.rate_hz
        assert MICROPHONE_DELAY_MS / 1000 * 0.5 < onset_s < 0.3


def test_a_microphone_that_is_not_there_is_named():
    """Opening returns at once; what is wrong and what to do comes with reading."""
    with opened("plughw:CARD=NoSuch") as microphone, pytest.raises(SoundError, match=r"voice\.microphone"):
        until(lambda: microphone.read(0.0))


def test_an_unplugged_microphone_is_an_error(card: PretendCard):
    with opened() as microphone:
        until(lambda: microphone.read(0.0))
        card.set_microphone("unplug")
        with pytest.raises(SoundError, match="plugged in"):
            until(lambda: microphone.read(0.0) and False)


def test_a_late_reader_is_told_of_the_loss(card: PretendCard):
    """What was not fetched in time does not join what follows: `lost` counts it, and reading goes on."""
    with opened() as microphone:
        until(lambda: microphone.read(0.0))
        time.sleep(1.5)
        until(lambda: microphone.read(0.0) or microphone.lost)
        assert microphone.lost == 1
        until(lambda: microphone.read(0.0))


def test_closing_while_it_is_being_opened_does_not_wait(card: PretendCard):
    begun_s = time.monotonic()
    AlsaMicrophones().open("microphone").close()
    assert time.monotonic() - begun_s < 1.0
