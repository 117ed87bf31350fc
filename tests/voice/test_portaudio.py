"""Both roads to a sound device on a pretend card, in real time: what the voice relies on holds for each of them.

ALSA's own tests are in test_alsa.py; here it shows that the same is asked of both.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest
from tests.paced_card.card import PretendCard, skip_or_fail
from tests.voice.helpers import noise

from retrowalk.errors import SoundError
from retrowalk.platform import Sound, SoundSystem
from retrowalk.voice import portaudio, say, system
from retrowalk.voice.alsa import AlsaSystem
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ
from retrowalk.voice.portaudio import PortAudioSystem

pytestmark = pytest.mark.process

SILENCE = bytes(RATE_HZ * FRAME_BYTES)
LOUD = np.full(RATE_HZ, 8000, "<i2").tobytes()
MOST_BEYOND_S = 0.060
"""What a road may keep beside its buffer before a warning counts as late."""


@pytest.fixture(params=[pytest.param("alsa", marks=pytest.mark.slow), "portaudio"])
def road(request: pytest.FixtureRequest) -> SoundSystem:
    """A sound system."""
    if request.param == "alsa":
        return AlsaSystem()
    try:
        portaudio._library()
    except SoundError as error:
        skip_or_fail(str(error))
    return PortAudioSystem()


@pytest.fixture
def sound(road: SoundSystem, card: PretendCard) -> Iterator[Sound]:
    """The default device, open with 20 ms of buffer."""
    opened = road.open("default", 20)
    yield opened
    card.set("ok")
    opened.close()


def feed(sound: Sound, seconds: float, pcm: bytes = SILENCE) -> bytes:
    """Keeps the device full for a while; returns what is left of `pcm`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        room = sound.writable(0.0)
        if room > 0:
            pcm = pcm[sound.write(pcm[: room * FRAME_BYTES], 0.0) * FRAME_BYTES :] or SILENCE
        sound.wait(0.01)
    return pcm


@pytest.mark.slow
def test_it_plays_in_real_time(sound: Sound):
    """The play pointer follows the card's clock"""
    feed(sound, 0.1)
    began, first = time.monotonic(), sound.played(0.0)
    feed(sound, 0.4)
    seconds = time.monotonic() - began
    assert (sound.played(0.0) - first) / RATE_HZ == pytest.approx(seconds, abs=0.03)
    assert sound.underruns == 0


@pytest.mark.slow
def test_the_pointer_never_runs_ahead_or_back(sound: Sound):
    """What has not been written has not been heard, and what was heard stays so"""
    written, last = 0, 0
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        room = sound.writable(0.0)
        written += sound.write(SILENCE[: room * FRAME_BYTES], 0.0) if room else 0
        for _ in range(20):
            played = sound.played(0.0)
            assert last <= played <= written
            last = played
        sound.wait(0.005)
    assert last > 0


def test_it_says_when_a_sound_is_heard(sound: Sound, card: PretendCard):
    """The pointer passes the first frame of a sound when that leaves the card: progress is told by it"""
    written, at, passed_s = 0, 0, 0.0
    began = time.monotonic()
    while not passed_s:
        room = sound.writable(0.0)
        loud = time.monotonic() > began + 0.15
        if room > 0:
            at = at or (written if loud else 0)
            written += sound.write((LOUD if loud else SILENCE)[: room * FRAME_BYTES], 0.0)
        if at and sound.played(0.0) > at:
            passed_s = time.monotonic()
        assert time.monotonic() < began + 1.0
        time.sleep(0.001)
    feed(sound, 0.1)
    (onset_s,) = card.entries("ONSETL")
    assert passed_s == pytest.approx(onset_s, abs=0.02)


def test_no_more_than_the_buffer_is_taken(sound: Sound):
    """20 ms asked for, 20 ms taken at once: what is queued is what a warning waits for.  And no call waits"""
    began = time.monotonic()
    assert sound.writable(0.0) <= RATE_HZ * 20 // 1000
    assert sound.write(SILENCE, 0.0) <= RATE_HZ * 25 // 1000
    assert time.monotonic() - began < 0.02
    feed(sound, 0.2)
    sound.played(0.0)
    assert sound.beyond_s < MOST_BEYOND_S


@pytest.mark.slow
def test_it_keeps_more_when_it_is_asked(sound: Sound):
    """A device that ran dry keeps 60 ms from then on, without being opened again"""
    feed(sound, 0.1)
    sound.keep(60)
    feed(sound, 0.1)
    time.sleep(0.045)
    feed(sound, 0.1)
    assert sound.underruns == 0


@pytest.mark.slow
def test_after_running_dry_it_goes_on(sound: Sound):
    """A stall of this process costs a gap, not the device, and is counted once"""
    feed(sound, 0.1)
    time.sleep(0.15)
    feed(sound, 0.1)
    before = sound.played(0.0)
    feed(sound, 0.1)
    assert sound.underruns == 1
    assert sound.played(0.0) > before


def test_a_frozen_card_shows_in_the_pointer_alone(sound: Sound, card: PretendCard):
    """No error comes, no call hangs; the pointer stands still, and moves again with the card"""
    feed(sound, 0.1)
    card.set("freeze")
    feed(sound, 0.1)
    frozen = sound.played(0.0)
    began = time.monotonic()
    feed(sound, 0.2)
    assert time.monotonic() - began < 0.4
    assert sound.played(0.0) == frozen
    card.set("ok")
    feed(sound, 0.1)
    assert sound.played(0.0) > frozen


def test_an_unplugged_card_raises(sound: Sound, card: PretendCard):
    """The message names the device and says how to list those that are there"""
    feed(sound, 0.1)
    card.set("unplug")
    with pytest.raises(SoundError, match=r"'default'.*is it plugged in\? `(aplay -L|python -m sounddevice)` lists"):
        feed(sound, 0.3)


@pytest.mark.slow
def test_a_card_that_was_unplugged_is_opened_again(road: SoundSystem, card: PretendCard):
    """Plugged in again it plays, in the same process"""
    first = road.open("default", 20)
    card.set("unplug")
    with pytest.raises(SoundError):
        feed(first, 0.3)
    first.close()
    card.set("ok")
    second = road.open("default", 20)
    feed(second, 0.2)
    assert second.played(0.0) > RATE_HZ // 20
    second.close()


@pytest.mark.slow
def test_two_devices_play_beside_each_other(road: SoundSystem, card: PretendCard):
    """The one that failed is tried in silence while a stand-in plays, which must not end for it"""
    first = road.open("default", 20)
    feed(first, 0.1)
    with pytest.raises(SoundError):
        road.open("nowhere", 20)
    second = road.open("card0", 20)
    before = first.played(0.0), second.played(0.0)
    for _ in range(20):
        feed(first, 0.005)
        feed(second, 0.005)
    assert first.played(0.0) > before[0]
    assert second.played(0.0) > before[1]
    first.close()
    second.close()


def test_a_closed_device_takes_nothing(road: SoundSystem, card: PretendCard):
    """Closed twice is closed; used afterwards it says so"""
    opened = road.open("default", 20)
    opened.close()
    opened.close()
    with pytest.raises(SoundError, match="closed"):
        opened.writable(0.0)


def test_closing_does_not_wait_for_the_sound(sound: Sound, card: PretendCard):
    """Also on a device that will never play what it holds"""
    feed(sound, 0.05)
    card.set("freeze")
    began = time.monotonic()
    sound.close()
    assert time.monotonic() - began < 0.2


@pytest.mark.usefixtures("card")
def test_an_absent_device_is_refused_by_name(road: SoundSystem):
    """With the reason, and which setting names the one to use"""
    with pytest.raises(SoundError, match=r"'plughw:CARD=Ear'.*voice.device"):
        road.open("plughw:CARD=Ear", 20)


def test_a_clip_leaves_the_card_whole(road: SoundSystem, card: PretendCard):
    """Not a frame is lost, doubled or changed on the way"""
    pcm = noise("say", 0.4)
    began = time.monotonic()
    say.play_clip(road, "default", pcm)
    assert 0.4 <= time.monotonic() - began < 0.9
    played = np.frombuffer(card.dump.read_bytes(), "<i2")[0::2]
    assert pcm in played.tobytes()


def test_without_libasound_it_is_portaudio(monkeypatch: pytest.MonkeyPatch):
    """The road is chosen by what can be loaded, and by nothing else"""
    assert isinstance(system.sound_system(), AlsaSystem)

    def refuse() -> None:
        raise SoundError("libasound.so.2 cannot be loaded")

    monkeypatch.setattr(system, "_library", refuse)
    assert isinstance(system.sound_system(), PortAudioSystem)


def test_with_neither_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    """A machine without both can be mended by whoever reads it"""
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(
        SoundError, match=r"neither ALSA nor PortAudio.*apt install alsa-utils.*pip install sounddevice"
    ):
        PortAudioSystem().open("default", 20)
