"""The real sound path on a pretend card: real libasound, real time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from tests.paced_card.card import PretendCard
from tests.stalls import Stalls
from tests.voice.helpers import noise

from retrowalk.errors import SoundError
from retrowalk.voice import say
from retrowalk.voice.alsa import AlsaSound, AlsaSystem
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ

pytestmark = pytest.mark.process

SILENCE = bytes(RATE_HZ * FRAME_BYTES)


@pytest.fixture
def sound(card: PretendCard) -> Iterator[AlsaSound]:
    """The default device, open with 20 ms of buffer."""
    opened = AlsaSystem().open("default", 20)
    assert isinstance(opened, AlsaSound)
    yield opened
    card.set("ok")
    opened.close()


def feed(sound: AlsaSound, seconds: float) -> None:
    """Keeps the device full for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        room = sound.writable(0.0)
        if room > 0:
            sound.write(SILENCE[: room * FRAME_BYTES], 0.0)
        sound.wait(0.01)


def test_it_plays_in_real_time(sound: AlsaSound):
    """The play pointer follows the card's clock, and never runs ahead of what was written."""
    for _ in range(5):
        with Stalls() as stalls:
            feed(sound, 0.1)
            began, first, dry = time.monotonic(), sound.played(0.0), sound.underruns
            feed(sound, 0.5)
            seconds, frames = time.monotonic() - began, sound.played(0.0) - first
        if stalls.worst_s < 0.005:  # a quarter of the buffer; else it may have run dry because nothing ran
            break
    assert frames / RATE_HZ == pytest.approx(seconds, abs=0.03)
    assert sound.underruns == dry


def test_no_more_than_the_buffer_is_taken(sound: AlsaSound):
    """20 ms asked for, 20 ms kept: what is queued is what a warning waits for.  And no call waits."""
    assert sound.buffer_frames == RATE_HZ * 20 // 1000
    began = time.monotonic()
    assert sound.writable(0.0) == sound.buffer_frames
    assert sound.write(SILENCE, 0.0) <= sound.buffer_frames + RATE_HZ * 5 // 1000
    assert time.monotonic() - began < 0.02


def test_after_running_dry_it_goes_on(sound: AlsaSound):
    """A stall of this process costs a gap, not the device, and is counted."""
    feed(sound, 0.1)
    time.sleep(0.1)
    feed(sound, 0.1)
    before = sound.played(0.0)
    feed(sound, 0.1)
    assert sound.underruns == 1
    assert sound.played(0.0) > before


def test_a_frozen_card_shows_in_the_pointer_alone(sound: AlsaSound, card: PretendCard):
    """No error comes, no call hangs; the pointer stands still, and moves again with the card."""
    feed(sound, 0.1)
    card.set("freeze")
    feed(sound, 0.05)
    frozen = sound.played(0.0)
    began = time.monotonic()
    feed(sound, 0.2)
    assert time.monotonic() - began < 0.4
    assert sound.played(0.0) == frozen
    card.set("ok")
    feed(sound, 0.1)
    assert sound.played(0.0) > frozen


def test_an_unplugged_card_raises(sound: AlsaSound, card: PretendCard):
    """The message names the device and says what to do."""
    feed(sound, 0.1)
    card.set("unplug")
    with pytest.raises(SoundError, match=r"'default'.*No such device.*aplay -L"):
        feed(sound, 0.3)


def test_a_closed_device_takes_nothing(card: PretendCard):
    opened = AlsaSystem().open("default", 20)
    opened.close()
    opened.close()
    with pytest.raises(SoundError, match="closed"):
        opened.writable(0.0)


def test_closing_does_not_wait_for_the_sound(sound: AlsaSound):
    """Also on a device that will never play what it holds."""
    feed(sound, 0.05)
    began = time.monotonic()
    sound.close()
    assert time.monotonic() - began < 0.1


@pytest.mark.usefixtures("card")
def test_an_absent_device_is_refused_by_name(capfd: pytest.CaptureFixture[str]):
    """With ALSA's reason and what to do; libasound's own chatter is not heard."""
    with pytest.raises(SoundError, match=r"'plughw:CARD=Ear'.*aplay -L.*voice.device"):
        AlsaSystem().open("plughw:CARD=Ear", 20)
    assert capfd.readouterr().err == ""


def test_a_device_that_cannot_play_16_bit_stereo_is_refused(card: PretendCard):
    """What it does not take is named, and a way round."""
    law = "pcm.law { type mulaw slave { pcm card0 format MU_LAW } }\n"  # the card knows no mu-law
    card.config.write_text(card.config.read_text() + law)
    with pytest.raises(SoundError, match=r"'law' does not take .*; try 'plug:law'"):
        AlsaSystem().open("law", 20)


def test_a_clip_is_played_to_its_end(card: PretendCard):
    """For `retrowalk say` without a guard: what leaves the card is the clip."""
    pcm = noise("say", 0.4)
    began = time.monotonic()
    say.play_clip(AlsaSystem(), "default", pcm)
    assert 0.4 <= time.monotonic() - began < 0.8
    played = np.frombuffer(card.dump.read_bytes(), "<i2")[0::2]
    assert pcm in played.tobytes()


def test_a_clip_on_a_card_that_stops_is_an_error(card: PretendCard):
    """Not a hang: aplay was seen to hang for ten minutes here."""
    card.set("freeze")
    with pytest.raises(SoundError, match="stopped"):
        say.play_clip(AlsaSystem(), "default", noise("say", 0.4))
