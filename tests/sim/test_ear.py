from __future__ import annotations

import random
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.helpers import stereo, tone

from retrowalk.core.alerts import EARCONS
from retrowalk.core.events import Speak
from retrowalk.sim.ear import Ear, Heard
from retrowalk.voice import earcons
from retrowalk.voice.mixer import FADE_FRAMES, Clip, Mixer

RATE = 48_000


def speech(seed: int, seconds: float) -> array[int]:
    """Something like words: voiced syllables of a glottal buzz through moving resonances, with breath and pauses."""
    rng = random.Random(seed)
    out: array[int] = array("h")
    low, high = [0.0, 0.0], [0.0, 0.0]
    while len(out) < seconds * RATE:
        length = int(rng.uniform(0.06, 0.2) * RATE)
        voiced = rng.random() < 0.75
        period = RATE // rng.randint(90, 180)
        first, second = rng.uniform(0.03, 0.10), rng.uniform(0.12, 0.30)
        for i in range(length):
            source = (4000.0 if i % period == 0 else 0.0) if voiced else rng.uniform(-300.0, 300.0)
            envelope = min(1.0, i / 400, (length - i) / 400)
            low = [source * envelope + (2 - first) * 0.985 * low[0] - 0.97 * low[1], low[0]]
            high = [source * envelope + (2 - second) * 0.975 * high[0] - 0.95 * high[1], high[0]]
            out.append(max(-30000, min(30000, int(low[0] + 0.5 * high[0]))))
        if rng.random() < 0.3:
            out.extend([0] * rng.randint(200, 3000))
    return out


BANK: dict[str, array[int]] = {name: array("h", pcm) for name, pcm in earcons.synthesise(0.9).items()}
BANK.update({f"word:{n}": speech(n, 0.4 + 0.15 * n) for n in range(8)})
PREFIX = speech(100, 0.6)
BANK["object:1"] = PREFIX + speech(101, 0.4)
BANK["object:2"] = PREFIX + speech(102, 0.5)
BANK["object"] = array("h", PREFIX)


def listen(frames: array[int], portion=480, start_s: float = 0.0, bank=None) -> Ear:
    """An ear that has been fed everything, in portions of so many frames."""
    known = BANK if bank is None else bank
    ear = Ear((key, samples.tobytes()) for key, samples in known.items())
    data = stereo(frames)
    at = 0
    while at < len(data):
        count = 4 * (portion() if callable(portion) else portion)
        ear.feed(data[at : at + count], start_s + at / 4 / RATE)
        at += count
    return ear


def silence(seconds: float) -> array[int]:
    return array("h", bytes(2 * round(seconds * RATE)))


def at_gain(samples: array[int], gain: float) -> array[int]:
    return array("h", [round(sample * gain) for sample in samples])


def first_sound(samples: array[int]) -> int:
    return next(i for i, sample in enumerate(samples) if sample)


@pytest.fixture(scope="module", params=[1.0, 0.6, 0.2], ids=lambda gain: f"gain {gain}")
def whole_bank(request):
    """Every clip once, with pauses, at one volume: where each began, and what was heard."""
    rng = random.Random(int(request.param * 10))
    stream, starts = silence(0.1), {}
    keys = sorted(BANK)
    rng.shuffle(keys)
    for key in keys:
        starts[key] = (len(stream) + first_sound(BANK[key])) / RATE
        stream += at_gain(BANK[key], request.param)
        stream += silence(rng.choice((0.025, 0.12, 0.5)))
    return keys, starts, listen(stream + silence(0.3), lambda: rng.randint(100, 900)).heard


@pytest.mark.slow
def test_every_clip_is_recognised_at_any_volume(whole_bank):
    """Each clip once, complete, in order, and nothing else."""
    keys, _, heard = whole_bank
    assert [h.key for h in heard] == keys
    assert all(h.complete for h in heard)


def test_the_time_of_a_clip_is_that_of_its_first_sample(whole_bank):
    """`start_s` is exact; the clip is understood after its start and not after its end."""
    _, starts, heard = whole_bank
    for h in heard:
        assert h.start_s == pytest.approx(starts[h.key], abs=0.0005)
        assert h.start_s < h.understood_s <= h.end_s + 1e-9
        assert h.understood_s - h.start_s >= 0.59 * (h.end_s - h.start_s)


@pytest.mark.parametrize("first", sorted(BANK))
@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_warning_that_cuts_in_is_recognised(first, share):
    """Under the fading rest of whatever was cut, the warning is heard from its start."""
    cut = int(len(BANK[first]) * share)
    warning = array("h", BANK["warning"])
    rest = BANK[first][cut : cut + FADE_FRAMES]
    for i, sample in enumerate(rest):
        warning[i] = max(-32768, min(32767, warning[i] + sample * (len(rest) - i) // len(rest)))
    stream = silence(0.1) + BANK[first][:cut] + warning + silence(0.2)
    heard = listen(stream).heard
    last = heard[-1]
    assert (last.key, last.complete) == ("warning", True)
    assert last.start_s == pytest.approx(0.1 + cut / RATE, abs=0.005)
    others = heard[:-1]
    assert all(not h.complete for h in others if h.key == first)
    assert {h.key for h in others} <= {first, "object"}


@pytest.mark.parametrize("key", ["word:3", "word:5", "touching", "fault"])
@pytest.mark.parametrize(
    ("share", "understood"),
    [pytest.param(0.4, False, id="too early"), pytest.param(0.75, True, id="late enough")],
)
def test_a_cut_clip_is_understood_after_sixty_percent(key, share, understood):
    """Cut at 40 % nothing was said; at 75 % it was understood, and is not complete."""
    cut = int(len(BANK[key]) * share)
    heard = [h for h in listen(silence(0.1) + BANK[key][:cut] + silence(0.5)).heard if h.key == key]
    assert [h.complete for h in heard] == [False] * understood


def test_clips_that_begin_alike_are_told_apart():
    """Words are not understood while they could still go on as others: "object, one" and "object, two"."""
    for key, other in (("object:1", "object:2"), ("object:2", "object:1")):
        heard = listen(silence(0.1) + BANK[key] + silence(0.5)).heard
        assert key in [h.key for h in heard]
        assert other not in [h.key for h in heard]
        found = next(h for h in heard if h.key == key)
        assert found.understood_s > 0.1 + len(PREFIX) / RATE


def test_a_clip_that_is_the_start_of_another_is_heard_when_it_ends():
    """The longer one has not been said, so it was the shorter one."""
    heard = listen(silence(0.1) + BANK["object"] + silence(0.5)).heard
    assert [h.key for h in heard] == ["object"]


def test_equal_sounds_are_one_with_two_names():
    """When two phrases have the same words, the ear says that it may have been either."""
    bank = {"fall_confirmed": BANK["word:1"], "sos_raised": BANK["word:1"]}
    (heard,) = listen(BANK["word:1"] + silence(0.2), bank=bank).heard
    assert {heard.key, *heard.also} == set(bank)


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param(silence(2.0), id="silence"),
        pytest.param(array("h", [random.Random(1).randint(-9000, 9000) for _ in range(RATE)]), id="noise"),
        pytest.param(tone(440.0, 1.0), id="another tone"),
        pytest.param(speech(77, 1.5), id="unknown words"),
        pytest.param(at_gain(BANK["warning"], 0.004) + silence(0.1), id="far too soft"),
        pytest.param(array("h", list(reversed(BANK["word:4"]))), id="backward"),
    ],
)
def test_what_is_not_known_is_not_heard(frames):
    """Silence, noise and other sounds give nothing."""
    assert listen(silence(0.05) + frames + silence(0.1)).heard == []


def test_the_same_warning_again_is_heard_again():
    """Every repetition counts."""
    stream = silence(0.1)
    for _ in range(5):
        stream += BANK["warning"] + silence(0.025) + BANK["word:0"] + silence(0.4)
    assert [h.key for h in listen(stream).heard] == ["warning", "word:0"] * 5


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(
    keys=st.lists(st.sampled_from(sorted(BANK)), min_size=1, max_size=4),
    portions=st.lists(st.integers(1, 3000), min_size=1, max_size=20),
)
def test_how_the_frames_are_cut_changes_nothing(keys, portions):
    """Fed in any portions, the same is heard at the same times."""
    stream = silence(0.05)
    for key in keys:
        stream += BANK[key] + silence(0.12)
    stream += silence(0.2)
    number = 0

    def portion():
        nonlocal number
        number += 1
        return portions[number % len(portions)]

    cut, plain = listen(stream, portion).heard, listen(stream).heard
    assert [h.key for h in cut] == [h.key for h in plain] == keys
    for one, other in zip(cut, plain, strict=True):
        assert (one.start_s, one.end_s) == pytest.approx((other.start_s, other.end_s), abs=1e-6)


def test_a_pause_of_the_device_moves_the_times():
    """Times are those at which frames left, not counted from the beginning."""
    ear = Ear((key, samples.tobytes()) for key, samples in BANK.items())
    ear.feed(stereo(silence(0.1)), 0.0)
    ear.feed(stereo(BANK["caution"] + silence(0.1)), 7.0)
    ear.feed(stereo(BANK["warning"] + silence(0.1)), 60.0)
    assert [h.key for h in ear.heard] == ["caution", "warning"]
    assert [h.start_s for h in ear.heard] == pytest.approx([7.0, 60.0], abs=0.001)


def test_who_listens_is_told_as_soon_as_it_is_understood():
    """The walker need not wait for the end of a word."""
    told: list[Heard] = []
    ear = Ear([("word:7", BANK["word:7"].tobytes())], told.append)
    data = stereo(BANK["word:7"])
    at = 0
    while at < len(data) and not told:
        ear.feed(data[at : at + 1920], at / 4 / RATE)
        at += 1920
    assert [h.key for h in told] == ["word:7"]
    assert not told[0].complete
    assert at / len(data) < 0.65


def test_one_ear_is_enough():
    """A sound in the right channel only is heard, too."""
    right: array[int] = array("h", bytes(4 * len(BANK["warning"])))
    right[1::2] = BANK["warning"]
    ear = Ear([("warning", BANK["warning"].tobytes())])
    ear.feed(right.tobytes() + bytes(4 * 9600), 0.0)
    assert [h.key for h in ear.heard] == ["warning"]


@pytest.mark.parametrize(
    "pcm",
    [
        pytest.param(bytes(9600), id="silent"),
        pytest.param(array("h", [500] * 30).tobytes(), id="a click"),
        pytest.param(array("h", [3, -3] * 5000).tobytes(), id="a whisper"),
    ],
)
def test_a_clip_nobody_could_recognise_is_refused(pcm):
    """Better an error at the start than a walk in which it is never heard."""
    with pytest.raises(ValueError, match="clip 'x'"):
        Ear([("x", pcm)])


def test_the_bank_of_this_test_has_every_earcon():
    """New earcons are tested, too."""
    assert set(EARCONS) <= set(BANK)


@pytest.mark.parametrize("pan", [-1.0, -0.5, 0.5, 1.0])
@pytest.mark.parametrize("key", ["warning", "word:3"])
def test_a_panned_clip_is_recognised(key, pan):
    """A clip that the mixer puts to one side, as far as it can, is understood as one in the middle is."""

    def heard(pan: float) -> list[Heard]:
        mixer = Mixer(lambda phrase, value: Clip(phrase, BANK[key].tobytes()), {}, headroom=1 / 0.9)
        request = Speak(t_s=0.0, alert=1, phrase=key, value="", earcon="", level="", rank=1, deadline_s=9.0, pan=pan)
        mixer.speak(request, 0.0)
        ear = Ear((name, samples.tobytes()) for name, samples in BANK.items())
        for block in range(120):
            ear.feed(mixer.render(480, 0.0)[0], 0.01 * block)
        return ear.heard

    assert [h.key for h in heard(pan)] == [key]
    assert heard(pan) == heard(0.0)
