from __future__ import annotations

import wave

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrowalk.errors import SoundError
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.scheduler import VirtualClock
from retrowalk.sim.sound import SimSoundSystem, WalkWav

RATE = 48_000


class Taken:
    """Keeps what leaves the device."""

    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []

    def feed(self, pcm: bytes, t_s: float) -> None:
        self.pieces.append((t_s, pcm))

    @property
    def pcm(self) -> bytes:
        return b"".join(pcm for _, pcm in self.pieces)


def frames(count: int, value: int = 1) -> bytes:
    return value.to_bytes(2, "little") * 2 * count


def device(*faults, buffer_ms=20, start_s=0.0):
    clock, taken = VirtualClock(start_s), Taken()
    system = SimSoundSystem(clock, (taken,), faults=Faults(Fault.parse(text) for text in faults))
    return clock, taken, system, system.open("default", buffer_ms)


def test_frames_leave_as_time_passes():
    """After 5 ms, 240 frames have left; the buffer holds the rest."""
    clock, taken, _, sound = device()
    assert sound.writable(0.0) == 960
    assert sound.write(frames(2000), 0.0) == 960
    clock.reach(0.005)
    assert sound.played(0.005) == 240
    assert sound.writable(0.005) == 240
    assert taken.pcm == frames(240)


def test_a_device_that_runs_dry_waits_and_counts_it():
    """The pointer stands until more comes; what comes then leaves at once."""
    _, taken, _, sound = device()
    sound.write(frames(480), 0.0)
    assert sound.played(1.0) == 480
    assert sound.played(2.0) == 480
    assert sound.underruns == 1
    sound.write(frames(480, 2), 3.0)
    assert sound.played(3.005) == 720
    assert [t for t, _ in taken.pieces] == pytest.approx([0.0, 3.0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1500), st.floats(0.0, 0.03)), max_size=40))
def test_every_frame_leaves_once_and_in_order(writes):
    """Whatever is written when, it comes out whole, at times that follow each other."""
    clock, taken, system, sound = device()
    given_frames, now = b"", 0.0
    for number, (count, wait_s) in enumerate(writes):
        pcm = frames(count, number + 1)
        given_frames += pcm[: 4 * sound.write(pcm, now)]
        now += wait_s
        clock.reach(now)
        assert sound.played(now) == len(taken.pcm) // 4
    system.advance(now + 1.0)
    assert taken.pcm == given_frames
    ends = [t + len(pcm) / 4 / RATE for t, pcm in taken.pieces]
    assert all(start >= end - 1e-9 for end, (start, _) in zip(ends, taken.pieces[1:], strict=False))


def test_a_muted_device_plays_zeros():
    """It takes frames and its pointer moves: only an ear knows."""
    _, taken, _, sound = device("voice:muted@1-2")
    for tenth in range(30):
        sound.write(frames(960), tenth / 10)
        sound.played(tenth / 10 + 0.05)
    loud = [t for t, pcm in taken.pieces if any(pcm)]
    assert {int(t) for t in loud} == {0, 2}
    assert sound.played(3.5) == 30 * 960


def test_a_device_that_plays_to_nowhere_takes_everything_at_once():
    """Its pointer runs away, and no ear hears any of it; before and after it plays."""
    _, taken, _, sound = device("voice:null@1-2")
    for step in range(300):
        sound.write(frames(sound.writable(step / 100)), step / 100)
    assert sound.played(3.0) > 3.5 * RATE
    assert not [t for t, _ in taken.pieces if 1.0 <= t < 1.98]
    assert max(t for t, _ in taken.pieces) > 2.9


def test_only_a_muted_device_is_known_to_be_mute():
    """As on the street: the mixer tells of that, and the pointer of the rest."""
    _, _, system, _ = device("voice:muted@1-2", "voice:stuck@2-3", "voice:null@3-4")
    assert [system.condition("default", t) for t in (0.5, 1.5, 2.5, 3.5)] == ["", "muted", "", ""]


def test_there_is_no_child_that_plays():
    """The emergency road does not lead round a simulated device."""
    _, _, system, _ = device()
    with pytest.raises(SoundError):
        system.open("aplay:default", 20)


def test_more_can_be_kept_without_a_gap():
    """The room grows at once; nothing that is in the device is lost."""
    _, taken, system, sound = device()
    sound.write(frames(960), 0.0)
    sound.keep(40)
    assert sound.writable(0.0) == 960
    sound.write(frames(960, 2), 0.0)
    system.advance(0.04)
    assert taken.pcm == frames(960) + frames(960, 2)


def test_a_frozen_device_stands_still_and_goes_on():
    """Its pointer does not move while it is frozen, and nothing is lost."""
    _, taken, _, sound = device("voice:stuck@0.005-1")
    sound.write(frames(960), 0.0)
    stood = sound.played(0.004)
    assert [sound.played(t) for t in (0.1, 0.5, 0.9)] == [stood] * 3
    assert sound.writable(0.95) == stood
    sound.played(1.0)
    assert sound.played(1.1) == 960
    assert taken.pcm == frames(960)


def test_an_unplugged_device_says_so():
    """Every call raises, opening too, until it is back."""
    clock, _, system, sound = device("voice:off@1-2")
    clock.reach(1.0)
    for use in (sound.writable, sound.played, lambda now: sound.write(frames(1), now)):
        with pytest.raises(SoundError, match="default"):
            use(1.0)
    with pytest.raises(SoundError, match="plugged in"):
        system.open("default", 20)
    clock.reach(2.0)
    assert system.open("default", 20).writable(2.0) == 960


def test_a_device_that_does_not_exist_cannot_be_opened():
    """Names can be limited, for a device that is missing while another is there."""
    system = SimSoundSystem(VirtualClock(), names=frozenset({"default"}))
    with pytest.raises(SoundError, match="headset"):
        system.open("headset", 20)
    assert system.open("default", 20).name == "default"


def read(path) -> tuple[int, bytes]:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 2, 2)
        return file.getnframes(), file.readframes(file.getnframes())


def test_the_file_has_each_sound_at_its_time(tmp_path):
    """Second 0 of the file is second 0 of the session; silence where nothing sounded."""
    wav = WalkWav(tmp_path / "walk.wav")
    wav.feed(frames(100), 0.5)
    wav.feed(frames(100, 2), 0.5 + 100 / RATE)
    wav.feed(frames(50, 3), 1.0)
    wav.close(1.5)
    count, pcm = read(tmp_path / "walk.wav")
    assert count == 72_000
    assert pcm[24_000 * 4 : 24_200 * 4] == frames(100) + frames(100, 2)
    assert pcm[48_000 * 4 : 48_050 * 4] == frames(50, 3)
    assert pcm.count(0) == len(pcm) - 2 * 250


@pytest.mark.parametrize(
    ("join_s", "expected"), [pytest.param(0.0, 480 + 96, id="exact"), pytest.param(0.01, 480, id="joined")]
)
def test_small_disagreements_of_clocks_can_be_joined(tmp_path, join_s, expected):
    """In real time a start 2 ms late follows on; in virtual time it stays where it is."""
    wav = WalkWav(tmp_path / "walk.wav", join_s=join_s)
    wav.feed(frames(480), 0.0)
    wav.feed(frames(10, 2), 0.012)
    wav.close()
    _, pcm = read(tmp_path / "walk.wav")
    assert pcm.index(frames(10, 2)) == 4 * expected


def test_sound_that_overlaps_is_not_written_twice(tmp_path):
    """A device that was opened again cannot sound in the past."""
    wav = WalkWav(tmp_path / "walk.wav")
    wav.feed(frames(480), 0.0)
    wav.feed(frames(480, 2), 0.005)
    wav.close()
    count, pcm = read(tmp_path / "walk.wav")
    assert count == 720
    assert pcm == frames(480) + frames(240, 2)


def test_a_file_cut_short_still_has_its_sound(tmp_path):
    """Without its end the header promises more than there is; the frames are all there."""
    wav = WalkWav(tmp_path / "walk.wav")
    wav.feed(frames(RATE), 0.0)
    size = (tmp_path / "walk.wav").stat().st_size
    wav.close()
    assert size >= RATE * 4 * 0.9
