from __future__ import annotations

import dataclasses
import itertools
import math
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.voice.helpers import left, noise

from retrowalk.core.events import Speak
from retrowalk.core.samples import VoicePhase
from retrowalk.voice.earcons import synthesise
from retrowalk.voice.mixer import (
    FADE_FRAMES,
    FAR_MIN,
    FRAME_BYTES,
    GAP_FRAMES,
    RATE_HZ,
    REST_FRAMES,
    UNITY,
    Clip,
    Mixer,
    Progress,
    pan_gains,
)

STARTED, FINISHED, CUT = VoicePhase.STARTED, VoicePhase.FINISHED, VoicePhase.CUT
EXPIRED, UNKNOWN = VoicePhase.EXPIRED, VoicePhase.UNKNOWN_PHRASE
ENDS = {FINISHED, CUT, EXPIRED, UNKNOWN}

EARCONS = {"beep": noise("beep", 0.015), "low": noise("low", 0.02)}
CLIPS = {
    name: Clip(name.title(), noise(name, seconds)) for name, seconds in (("stop", 0.03), ("wall", 0.08), ("hm", 0.01))
}


def mixer() -> Mixer:
    return Mixer(lambda phrase, value: CLIPS.get(phrase), EARCONS)


def request(alert: int, phrase: str = "wall", earcon: str = "", rank: int = 10, deadline_s: float = 100.0) -> Speak:
    return Speak(
        t_s=0.0, alert=alert, phrase=phrase, value="", earcon=earcon, level="", rank=rank, deadline_s=deadline_s
    )


class Run:
    """Renders block after block; `now_s` follows the frames."""

    def __init__(self) -> None:
        self.mixer = mixer()
        self.pcm = b""
        self.told: list[Progress] = []
        self.frames = 0

    @property
    def now_s(self) -> float:
        return self.frames / RATE_HZ

    def speak(self, *requests: Speak) -> Run:
        for each in requests:
            self.mixer.speak(each, self.now_s)
        return self

    def hush(self, alert: int) -> Run:
        self.mixer.hush(alert, self.now_s)
        return self

    def render(self, frames: int, block: int = 480) -> Run:
        while frames > 0:
            size = min(block, frames)
            pcm, progress = self.mixer.render(size, self.now_s)
            assert len(pcm) == size * FRAME_BYTES
            self.told += [Progress(p.alert, p.phase, self.frames + p.frame, p.words) for p in progress]
            self.pcm += pcm
            self.frames += size
            frames -= size
        return self

    @property
    def mono(self) -> bytes:
        return left(self.pcm)

    def phases(self, alert: int) -> list[VoicePhase]:
        return [progress.phase for progress in self.told if progress.alert == alert]

    def frame_of(self, alert: int, phase: VoicePhase) -> int:
        (frame,) = (p.frame for p in self.told if p.alert == alert and p.phase is phase)
        return frame


def frames_of(pcm: bytes) -> int:
    return len(pcm) // 2


# ---------------------------------------------------------------------------------------------- one message


def test_an_earcon_then_a_gap_then_the_words():
    """What is heard is the earcon and the clip, byte for byte, 25 ms apart, on both channels."""
    run = Run().speak(request(1, "wall", "beep")).render(12_000)
    expected = EARCONS["beep"] + bytes(2 * GAP_FRAMES) + CLIPS["wall"].pcm
    assert run.mono == expected + bytes(2 * 12_000 - len(expected))
    assert array("h", run.pcm)[0::2] == array("h", run.pcm)[1::2]


@pytest.mark.parametrize("block", [1, 7, 240, 480, 960, 5000])
def test_the_size_of_blocks_changes_nothing(block):
    """Devices ask for any number of frames; sound and progress are the same."""
    run = Run().speak(request(1, "wall", "beep"), request(2, "stop", "", rank=5)).render(16_000, block)
    whole = Run().speak(request(1, "wall", "beep"), request(2, "stop", "", rank=5)).render(16_000, 16_000)
    assert run.pcm == whole.pcm
    assert run.told == whole.told


def test_progress_tells_first_and_last_frame():
    """STARTED at the first frame, FINISHED at the frame after the last, with the words."""
    run = Run().render(100).speak(request(1, "stop", "beep")).render(9_000)
    length = frames_of(EARCONS["beep"]) + GAP_FRAMES + frames_of(CLIPS["stop"].pcm)
    assert run.told == [Progress(1, STARTED, 100, "Stop"), Progress(1, FINISHED, 100 + length, "Stop")]


def test_started_is_the_first_frame_that_is_not_zero():
    """Silence at the start of an earcon's ramp does not count as heard."""
    run = Run()
    run.mixer = Mixer(lambda phrase, value: None, {"soft": bytes(2 * 30) + noise("soft", 0.01)})
    run.speak(request(1, "", "soft")).render(2_000, 20)
    assert run.told[0] == Progress(1, STARTED, 30)


def test_silence_is_exact_and_shared():
    """Nothing to say costs nothing: the same block of zeros each time."""
    quiet = mixer()
    first, _ = quiet.render(480, 0.0)
    assert first == bytes(480 * FRAME_BYTES)
    assert quiet.render(480, 0.01)[0] is first
    assert quiet.idle


def test_without_frames_only_deadlines_pass():
    """A device that takes nothing starts nothing, and what waits still expires."""
    run = Run()
    run.mixer.speak(request(1, deadline_s=0.5), 0.0)
    assert run.mixer.render(0, 0.4) == (b"", [])
    assert run.mixer.render(0, 0.6) == (b"", [Progress(1, EXPIRED, 0)])


# -------------------------------------------------------------------------------------------------- ranks


def test_a_higher_rank_cuts_at_once_under_a_fade():
    """The new earcon begins with the next block; of the old sound 4 ms fade under it, then nothing is left."""
    run = Run().speak(request(1, "wall", rank=10)).render(960)
    run.speak(request(2, "stop", "beep", rank=20)).render(4_000)
    assert run.frame_of(1, CUT) == run.frame_of(2, STARTED) == 960
    heard, beep, wall = (array("h", pcm) for pcm in (run.mono, EARCONS["beep"], CLIPS["wall"].pcm))
    assert heard[960] == pytest.approx(beep[0] + wall[960], abs=100)
    assert heard[960 + FADE_FRAMES : 960 + len(beep)] == beep[FADE_FRAMES:]
    assert run.phases(1) == [STARTED, CUT]


def test_the_fade_is_as_exact_in_small_blocks():
    """A fade that spans several blocks is the same sound."""

    def heard(block: int) -> bytes:
        run = Run().speak(request(1, "wall", rank=10)).render(960, block)
        return run.speak(request(2, "stop", "beep", rank=20)).render(4_000, block).pcm

    assert heard(48) == heard(480)


def test_what_was_cut_is_not_resumed():
    """By then it may no longer be true; whoever knows says it again."""
    run = Run().speak(request(1, "wall", rank=10)).render(480)
    run.speak(request(2, "stop", rank=20)).render(30_000)
    length = frames_of(CLIPS["stop"].pcm)
    assert run.mono[2 * (480 + length) :] == bytes(2 * (30_000 - length))
    assert run.phases(1) == [STARTED, CUT]


def test_stop_is_not_interrupted_by_another_stop():
    """An equal rank waits for its turn; the first is heard whole."""
    run = Run().speak(request(1, "stop", "beep", rank=100)).render(480)
    run.speak(request(2, "stop", "beep", rank=100)).render(30_000)
    once = EARCONS["beep"] + bytes(2 * GAP_FRAMES) + CLIPS["stop"].pcm
    assert run.mono.startswith(once + bytes(2 * REST_FRAMES) + once)
    assert run.phases(1) == run.phases(2) == [STARTED, FINISHED]


def test_an_equal_rank_replaces_what_waits():
    """The newest of a rank is the truest; the older one is told to have expired."""
    run = Run().speak(request(1, rank=10)).render(480)
    run.speak(request(2, rank=10), request(3, "stop", rank=10)).render(30_000)
    assert run.phases(1) == [STARTED, FINISHED]
    assert run.phases(2) == [EXPIRED]
    assert run.phases(3) == [STARTED, FINISHED]


def test_a_lower_rank_waits_for_the_higher():
    run = Run().speak(request(1, "hm", rank=5), request(2, "stop", rank=9)).render(30_000)
    assert run.frame_of(1, STARTED) > run.frame_of(2, FINISHED)


def test_two_messages_are_not_heard_as_one():
    """After words there is a rest of 120 ms before the next message of the same or a lower rank."""
    run = Run().speak(request(1, "hm", rank=5), request(2, "stop", rank=9)).render(30_000)
    assert run.frame_of(1, STARTED) - run.frame_of(2, FINISHED) == REST_FRAMES


def test_a_higher_rank_does_not_respect_the_rest():
    run = Run().speak(request(1, "hm", rank=5)).render(frames_of(CLIPS["hm"].pcm) + 480)
    run.speak(request(2, "stop", rank=9)).render(960)
    assert run.frame_of(2, STARTED) == frames_of(CLIPS["hm"].pcm) + 480
    assert run.phases(1) == [STARTED, FINISHED]


TOUCHING = synthesise(1.0)["touching"]


def touching(repeat_s: float, until_s: float) -> Run:
    """The tone is asked for again each `repeat_s`, and what it leaves is rendered up to `until_s`."""
    run = Run()
    run.mixer = Mixer(lambda phrase, value: CLIPS.get(phrase), {"touching": TOUCHING})
    for number in range(1, 1 + math.ceil(until_s / repeat_s)):
        run.speak(request(number, "", "touching", rank=98, deadline_s=run.now_s + 1.0))
        run.render(min(round(repeat_s * RATE_HZ), round(until_s * RATE_HZ) - run.frames))
    return run


def test_touching_is_one_tone():
    """Asked for each 0.6 s it sounds on without a seam: after its first ramp no wave differs from the one before."""
    samples = array("h", touching(0.6, 6.0).mono)
    period = RATE_HZ // 1000
    steady = samples[FADE_FRAMES + period :]
    assert steady[period:] == steady[:-period]
    assert max(steady) > 10_000


def test_each_request_for_a_tone_that_goes_on_is_told_of():
    """What sounded has started and finished, where the next one begins; what was overtaken has expired."""
    run = touching(0.6, 6.0)
    for number in range(1, 10):
        assert run.phases(number) in ([STARTED, FINISHED], [EXPIRED])
    heard = [number for number in range(1, 10) if EXPIRED not in run.phases(number)]
    for one, other in itertools.pairwise(heard):
        assert run.frame_of(one, FINISHED) == run.frame_of(other, STARTED)


def test_a_tone_that_is_asked_for_no_more_ends_softly():
    """It ramps down as it was made to, and nothing follows."""
    run = touching(0.6, 0.6).render(RATE_HZ)
    assert run.mono.startswith(TOUCHING)
    assert not any(run.mono[len(TOUCHING) :])


@pytest.mark.parametrize("at_s", [0.4, 0.788, 0.792, 0.796], ids=str)
def test_a_word_cuts_a_tone_that_goes_on_without_a_click(at_s):
    """Wherever in the tone "Stop" comes, the tone fades over 4 ms: no step larger than its own waves."""
    run = Run()
    run.mixer = Mixer(lambda phrase, value: CLIPS.get(phrase), {"touching": TOUCHING, "still": bytes(2000)})
    run.speak(request(1, "", "touching", rank=98)).render(480)
    run.speak(request(2, "", "touching", rank=98)).render(round(at_s * RATE_HZ) - 480, block=96)
    run.speak(request(3, "", "still", rank=100)).render(960)
    samples = array("h", run.mono)
    steepest = max(abs(b - a) for a, b in itertools.pairwise(samples[: RATE_HZ // 10]))
    assert max(abs(b - a) for a, b in itertools.pairwise(samples)) <= 1.1 * steepest


def test_a_tone_from_another_side_begins_anew():
    """What goes on must also come from the same side."""
    run = Run()
    run.mixer = Mixer(lambda phrase, value: None, {"touching": TOUCHING})
    run.speak(request(1, "", "touching", rank=98)).render(480)
    run.speak(dataclasses.replace(request(2, "", "touching", rank=98), pan=0.5)).render(RATE_HZ)
    assert run.mono.startswith(TOUCHING)
    assert run.phases(1) == [STARTED, FINISHED]


# --------------------------------------------------------------------------------------- deadlines and hush


def test_nothing_begins_after_its_deadline():
    """What had to wait too long is dropped: late information is never spoken."""
    run = Run().speak(request(1, "wall", rank=20), request(2, "stop", rank=10, deadline_s=0.05)).render(30_000)
    assert run.phases(2) == [EXPIRED]
    assert CLIPS["stop"].pcm not in run.mono


def test_a_request_that_comes_late_expires_at_once():
    run = Run().render(48_000).speak(request(1, deadline_s=0.5)).render(480)
    assert run.phases(1) == [EXPIRED]
    assert run.mono == bytes(len(run.mono))


def test_hush_ends_what_sounds_softly():
    """What is no longer true falls silent within 4 ms."""
    run = Run().speak(request(1)).render(960).hush(1).render(2_000)
    assert run.phases(1) == [STARTED, CUT]
    assert any(array("h", run.mono)[960:1100])
    assert not any(array("h", run.mono)[960 + FADE_FRAMES :])


def test_hush_drops_what_waits():
    run = Run().speak(request(1, rank=10)).render(480).speak(request(2, rank=10)).hush(2).render(20_000)
    assert run.phases(2) == [EXPIRED]
    assert run.phases(1) == [STARTED, FINISHED]


def test_hush_of_a_stranger_does_nothing():
    run = Run().speak(request(1)).render(480).hush(7).render(20_000)
    assert run.phases(1) == [STARTED, FINISHED]


def test_a_lost_device_cuts_what_sounded_and_keeps_what_waits():
    """The frames are gone with the device; what has not begun may still begin on the next one."""
    run = Run().speak(request(1, rank=10), request(2, "stop", rank=5)).render(480)
    run.mixer.drop(run.now_s)
    run.render(9_000)
    assert run.phases(1) == [STARTED, CUT]
    assert run.phases(2) == [STARTED, FINISHED]
    assert run.mono[2 * 480 :].startswith(CLIPS["stop"].pcm)


# ------------------------------------------------------------------------------------------ unknown phrases


def test_without_words_the_earcon_still_sounds():
    """A phrase that the bank lacks is told when its earcon has ended."""
    run = Run().speak(request(1, "missing", "beep")).render(2_000)
    assert run.mono.startswith(EARCONS["beep"])
    assert run.told == [Progress(1, STARTED, 0), Progress(1, UNKNOWN, frames_of(EARCONS["beep"]))]


def test_without_words_and_earcon_it_is_told_and_the_next_goes_on():
    run = Run().speak(request(1, "missing", "unheard of", rank=20), request(2, "stop", rank=10)).render(9_000)
    assert run.phases(1) == [UNKNOWN]
    assert run.mono.startswith(CLIPS["stop"].pcm)


def test_an_earcon_alone_finishes():
    run = Run().speak(request(1, "", "beep")).render(2_000)
    assert run.told == [Progress(1, STARTED, 0), Progress(1, FINISHED, frames_of(EARCONS["beep"]))]


# ---------------------------------------------------------------------------------------------- properties

speaks = st.builds(
    lambda phrase, earcon, rank, deadline_s: ("speak", phrase, earcon, rank, deadline_s),
    st.sampled_from(["stop", "wall", "hm", "", "missing"]),
    st.sampled_from(["beep", "low", ""]),
    st.integers(0, 4),
    st.floats(-0.05, 0.5),
)
hushes = st.tuples(st.just("hush"), st.integers(0, 12))
renders = st.tuples(st.just("render"), st.integers(0, 3_000))
actions = st.lists(st.one_of(speaks, renders, hushes), max_size=40)


def play(todo: list[Any], run: Run) -> int:
    """Carries out a list of actions; returns how many requests were made."""
    alert = 0
    for action, *what in todo:
        if action == "speak":
            phrase, earcon, rank, within_s = what
            run.speak(request(alert, phrase, earcon, rank, run.now_s + within_s))
            alert += 1
        elif action == "hush":
            run.hush(what[0])
        else:
            run.render(what[0], 700)
    return alert


@pytest.mark.slow
@given(actions)
def test_blocks_always_have_the_length_asked_for(todo):
    """Whatever is asked, exactly so many frames come (`Run` checks each block), alike on both channels."""
    run = Run()
    play(todo, run)
    assert len(run.pcm) == run.frames * FRAME_BYTES
    assert array("h", run.pcm)[0::2] == array("h", run.pcm)[1::2]


@pytest.mark.slow
@given(actions)
def test_equal_requests_give_equal_sound(todo):
    """There is no clock, chance or memory of other runs in it."""
    first, second = Run(), Run()
    play(todo, first)
    play(todo, second)
    assert (first.pcm, first.told) == (second.pcm, second.told)


@pytest.mark.slow
@given(actions)
def test_every_request_comes_to_exactly_one_end(todo):
    """Nobody waits for an answer that does not come, and nothing is told twice or out of order."""
    run = Run()
    count = play(todo, run)
    run.render(60_000, 4_000)
    for alert in range(count):
        phases = run.phases(alert)
        assert phases[-1] in ENDS
        assert phases[:-1] in ([], [STARTED])
    assert run.mixer.idle


@pytest.mark.slow
@given(actions)
def test_nothing_ever_begins_late(todo):
    """No request is heard whose deadline had passed when its block was rendered."""
    run = Run()
    deadlines: dict[int, float] = {}
    begun: dict[int, float] = {}
    for action, *what in todo:
        if action == "speak":
            deadlines[len(deadlines)] = run.now_s + what[3]
        play_one = [(action, *what)]
        if action == "speak":
            run.speak(request(len(deadlines) - 1, what[0], what[1], what[2], deadlines[len(deadlines) - 1]))
        elif action == "hush":
            play(play_one, run)
        else:
            asked_s = run.now_s
            run.render(what[0], 4_000)
            for progress in run.told:
                if progress.phase is STARTED:
                    begun.setdefault(progress.alert, asked_s)
    for alert, asked_s in begun.items():
        assert asked_s <= deadlines[alert]


@pytest.mark.slow
@given(actions, st.integers(1, 2_000))
def test_a_higher_rank_always_starts_in_the_very_next_block(todo, frames):
    """Whatever sounds, waits, fades or rests: the most urgent begins with the next frame, its earcon unharmed."""
    run = Run()
    play(todo, run)
    at = run.frames
    run.speak(request(99, "stop", "beep", rank=1000)).render(frames, frames)
    assert run.frame_of(99, STARTED) == at
    run.render(20_000)
    whole = EARCONS["beep"] + bytes(2 * GAP_FRAMES) + CLIPS["stop"].pcm
    assert run.mono[2 * (at + FADE_FRAMES) : 2 * at + len(whole)] == whole[2 * FADE_FRAMES :]
    assert run.phases(99) == [STARTED, FINISHED]


@pytest.mark.slow
@given(actions)
def test_what_is_heard_whole_is_heard_exactly(todo):
    """Between STARTED and FINISHED, what left is the earcon, the gap and the clip, but for a fade of 4 ms over it."""
    run = Run()
    asked = [what for action, *what in todo if action == "speak"]
    play(todo, run)
    run.render(60_000, 4_000)
    for progress in [told for told in run.told if told.phase is FINISHED]:
        phrase, earcon, *_ = asked[progress.alert]
        words = CLIPS[phrase].pcm if phrase else b""
        beep = EARCONS.get(earcon, b"")
        whole = beep + (bytes(2 * GAP_FRAMES) if beep and words else b"") + words
        start = run.frame_of(progress.alert, STARTED)
        assert progress.frame - start == frames_of(whole)
        assert run.mono[2 * (start + FADE_FRAMES) : 2 * progress.frame] == whole[2 * FADE_FRAMES :]


@pytest.mark.slow
@given(actions, st.integers(1, 900), st.integers(1, 900))
def test_splitting_blocks_changes_nothing(todo, one, other):
    """Between two requests, it does not matter in how many blocks the frames were asked for."""

    def heard(block: int) -> tuple[bytes, list[Progress]]:
        run = Run()
        alert = 0
        for action, *what in todo:
            if action == "speak":
                # No deadline: those are judged when a block is asked for.
                run.speak(request(alert, what[0], what[1], what[2]))
                alert += 1
            elif action == "hush":
                run.hush(what[0])
            else:
                run.render(what[0], block)
        return run.pcm, run.told

    assert heard(one) == heard(other)


# -------------------------------------------------------------------------------------------------- left and right


def panned(alert: int, pan: float, phrase: str = "wall", rank: int = 10) -> Speak:
    return dataclasses.replace(request(alert, phrase, rank=rank), pan=pan)


def levels(pcm: bytes) -> tuple[float, float]:
    """RMS of both channels."""
    sound = array("h", pcm)
    return math.sqrt(sum(s * s for s in sound[0::2])), math.sqrt(sum(s * s for s in sound[1::2]))


@pytest.mark.parametrize("pan", [-1.0, -0.67, -0.1, 0.1, 0.67, 1.0])
def test_a_side_is_louder_and_the_other_never_silent(pan):
    """The walker's own left is the left channel; the far ear keeps a third at the least; nothing is clipped."""
    run = Run()
    run.mixer = Mixer(lambda phrase, value: CLIPS.get(phrase), EARCONS, headroom=1 / 0.9)
    run.speak(panned(1, pan)).render(5000)
    left_level, right_level = levels(run.pcm)
    near, far = (left_level, right_level) if pan < 0 else (right_level, left_level)
    (middle, _) = levels(Run().speak(request(1)).render(5000).pcm)
    assert middle <= near * 1.0001 <= middle / 0.9 * 1.01
    assert FAR_MIN * 0.99 <= far / middle < 1.0
    assert -2.5 <= 10 * math.log10((near**2 + far**2) / (2 * middle**2)) <= 0.05


def test_with_room_above_a_side_is_as_loud_as_the_middle():
    """Both ears together get the power they get in the middle, up to where the far ear's floor begins."""
    for pan in (-0.65, -0.3, 0.3, 0.65):
        left_gain, right_gain = (gain / UNITY for gain in pan_gains(pan, 2.0) or (0, 0))
        assert left_gain**2 + right_gain**2 == pytest.approx(2.0, abs=0.01)
        assert (left_gain > right_gain) == (pan < 0)


@pytest.mark.slow
@given(pan=st.floats(-1.0, 1.0), block=st.integers(1, 700))
def test_both_sides_are_the_clip(pan, block):
    """Whatever the blocks, each channel is the clip at one gain to the sample; in the middle it is the clip itself."""
    run = Run().speak(panned(1, pan)).render(4200, block)
    clip = array("h", CLIPS["wall"].pcm)
    gains = pan_gains(pan) or (UNITY, UNITY)
    for channel, gain in enumerate(gains):
        heard = array("h", run.pcm)[channel::2][: len(clip)]
        assert heard == array("h", [sample * gain >> 15 for sample in clip])


@pytest.mark.parametrize(
    ("level", "rank", "gain"),
    [
        pytest.param("", 0, 0.5, id="tick"),
        pytest.param("advisory", 20, 0.5, id="advisory"),
        pytest.param("caution", 60, 1.2, id="caution"),
        pytest.param("warning", 100, 1.2, id="warning"),
        pytest.param("advisory", 83, 1.2, id="a call for help"),
    ],
)
@pytest.mark.parametrize("pan", [0.0, -1.0])
def test_a_message_has_the_loudness_of_its_kind_from_beginning_to_end(level, rank, gain, pan):
    """Calm and urgent messages follow the surroundings apart; a change in the middle of one waits for the next."""
    run = Run()
    run.mixer = Mixer(lambda phrase, value: CLIPS.get(phrase), EARCONS, headroom=4.0)
    run.mixer.calm, run.mixer.urgent = 0.5, 1.2
    run.speak(dataclasses.replace(request(1, "hm", rank=rank), level=level, pan=pan)).render(100)
    run.mixer.calm = run.mixer.urgent = 1.0
    run.render(RATE_HZ // 100 - 100)
    gains = pan_gains(pan, 4.0) or (UNITY, UNITY)
    sent = array("h", CLIPS["hm"].pcm)
    for channel in (0, 1):
        heard = array("h", run.pcm)[channel::2]
        expected = [sample * gain * gains[channel] / UNITY for sample in sent]
        assert list(heard) == pytest.approx(expected, abs=2)


def test_no_loudness_leads_beyond_full_scale():
    """The headroom limits both ears, panned or not."""
    for pan in (0.0, -1.0, 0.4):
        assert max(pan_gains(pan, 1.25, 9.0) or (0, 0)) == round(1.25 * UNITY)


def test_a_panned_sound_fades_on_its_side_under_one_in_the_middle():
    """What is cut fades where it was; what cuts it is whole on both sides once that is over."""
    run = Run().speak(panned(1, -1.0)).render(960).speak(request(2, "stop", rank=20)).render(1440)
    sound, stop = array("h", run.pcm), array("h", CLIPS["stop"].pcm)
    wall = array("h", CLIPS["wall"].pcm)
    for channel, gain in enumerate(pan_gains(-1.0) or ()):
        fade = [(wall[960 + i] * gain >> 15) * (FADE_FRAMES - i) // FADE_FRAMES for i in range(FADE_FRAMES)]
        heard = sound[channel::2][960:]
        assert list(heard[:FADE_FRAMES]) == [a + b for a, b in zip(fade, stop, strict=False)]
        assert heard[FADE_FRAMES:1440] == stop[FADE_FRAMES:1440]


def test_a_clip_of_another_volume_is_clipped_rather_than_fatal():
    """A bank made at full volume served at a low one: the near ear saturates, and the voice goes on."""
    loud = Clip("Loud", array("h", [32767, -32768] * 400).tobytes())
    run = Run()
    run.mixer = Mixer(lambda phrase, value: loud, {}, headroom=2.0)
    run.speak(panned(1, -1.0)).render(800)
    assert array("h", run.pcm)[0::2] == array("h", loud.pcm)
