"""What the microphone tells: a played sound is found, its loss is told, surroundings set the loudness."""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable
from functools import lru_cache
from random import Random

import pytest
from tests.voice.helpers import noise

from retrowalk.core.events import Speak
from retrowalk.sim.microphone import SimHeadset, SimMicrophone, SimMicrophones
from retrowalk.voice import earcons, loudness
from retrowalk.voice.bluetooth import Awake, is_bluetooth
from retrowalk.voice.hearing import LAGS_PER_POLL, Hearing, probe
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ, Clip, Mixer
from retrowalk.voice.proof import Search

VOLUME = 0.5
POLL_S = 0.01
BUFFER_S = 0.02
QUIET = 0.0003
"""Root mean square of a quiet room, in full scales of the microphone."""


class Line:
    """Everything that is fed to it goes on to `listener`, and stops when it is `cut`."""

    def __init__(self, listener: SimMicrophone | SimHeadset) -> None:
        self.cut = False
        self._listener = listener

    def feed(self, pcm: bytes, t_s: float) -> None:
        if not self.cut:
            self._listener.feed(pcm, t_s)


@lru_cache(maxsize=64)
def _words(phrase: str) -> bytes:
    return noise(phrase, 0.6)


class Room:
    """A voice, a loudspeaker and a microphone in virtual time; the voice keeps 20 ms in its device."""

    def __init__(
        self,
        *,
        surroundings: Callable[[float], float] = lambda now: QUIET,
        coupling: float = 0.1,
        headset: bool = False,
        awake: bool = False,
        latency_s: float = 0.2,
        probes: bool = True,
    ) -> None:
        self.now = 0.0
        self.fault = ""
        self.microphone = SimMicrophone(
            surroundings=surroundings, coupling=coupling, fault=lambda now: self.fault, delay_s=0.003
        )
        self.headset = SimHeadset((self.microphone,), latency_s=latency_s)
        self.line = Line(self.headset if headset else self.microphone)
        sounds = earcons.synthesise(VOLUME)
        self.mixer = Mixer(self._words, {**sounds, "probe": probe(0.4 * VOLUME)}, headroom=1.0 / VOLUME)
        self.hearing = Hearing(
            SimMicrophones(self.microphone), "microphone", sounds["warning"], headroom=1.0 / VOLUME, buffer_s=BUFFER_S
        )
        self.hearing.output_changed(0.0)
        self._awake = Awake() if awake else None
        self._probes = probes
        self.played: list[bytes] = []

    def _words(self, phrase: str, value: str) -> Clip | None:
        return Clip(phrase, _words(phrase)) if phrase else None

    def say(self, earcon: str = "warning", phrase: str = "stop", level: str = "warning", rank: int = 100) -> None:
        request = Speak(
            t_s=self.now,
            alert=1,
            phrase=phrase,
            value="",
            earcon=earcon,
            level=level,
            rank=rank,
            deadline_s=self.now + 1.0,
        )
        self.mixer.speak(request, self.now)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / POLL_S)):
            silent = self.mixer.idle
            if silent and self._probes and self.hearing.wants_probe(self.now):
                self.say("probe", "", "", 1)
                silent = False
            pcm, _ = self.mixer.render(round(POLL_S * RATE_HZ), self.now)
            if silent and self._awake is not None:
                pcm = self._awake.silence(len(pcm) // FRAME_BYTES)
            self.played.append(pcm)
            self.hearing.rendered(pcm, self.now, silent=silent)
            self.line.feed(pcm, self.now + BUFFER_S)
            self.now += POLL_S
            self.hearing.poll(self.now)

    def say_and_listen(self, earcon: str = "warning", phrase: str = "stop") -> None:
        self.say(earcon, phrase)
        self.run(2.5)


def checked(**how: object) -> Room:
    """A room in which the self-test at the start is over."""
    room = Room(**how)  # type: ignore[arg-type]  # handed through
    room.run(7.5)
    return room


# ---------------------------------------------------------------------------------------------- heard, or not


def test_the_self_test_measures_the_way_to_the_ear():
    """Two sweeps at the start: heard, the time from handing over to hearing to 1.5 ms, nothing missing."""
    room = checked()
    assert (room.hearing.proof, room.hearing.fault) == ("heard", "")
    assert room.hearing.delay_s == pytest.approx(BUFFER_S + 0.003, abs=0.0015)
    assert room.hearing.missing_s == pytest.approx(0.0, abs=0.005)


def test_nothing_is_known_before_anything_has_sounded():
    room = Room(probes=False)
    room.run(3.0)
    assert (room.hearing.proof, room.hearing.fault, room.hearing.delay_s) == ("", "", None)
    assert room.hearing.gains.urgent == room.hearing.gains.calm == 1.0


@pytest.mark.parametrize(
    ("earcon", "phrase"),
    [
        pytest.param("warning", "stop", id="warning"),
        pytest.param("caution", "object", id="caution"),
        pytest.param("fault", "", id="an earcon alone"),
        pytest.param("", "coaching", id="words alone"),
    ],
)
def test_a_message_that_comes_back_is_heard(earcon: str, phrase: str):
    """Whatever it is made of, in surroundings 10 dB and more below it."""
    room = Room(probes=False, surroundings=lambda now: 0.003)
    room.run(1.5)
    room.say_and_listen(earcon, phrase)
    assert room.hearing.proof == "heard"


@pytest.mark.slow
def test_two_messages_in_a_row_that_do_not_come_back_are_a_fault():
    """One may be lost in a noise; the second is told, and one that is heard ends it."""
    room = checked()
    room.line.cut = True
    room.say_and_listen()
    assert (room.hearing.proof, room.hearing.fault) == ("unheard", "")
    room.say_and_listen()
    assert (room.hearing.proof, room.hearing.fault) == ("unheard", "unheard")
    room.line.cut = False
    room.run(1.5)
    room.say_and_listen()
    assert (room.hearing.proof, room.hearing.fault) == ("heard", "")


def test_a_loudspeaker_that_never_worked_is_found_by_the_self_test():
    """Before the first warning needs it."""
    room = Room()
    room.line.cut = True
    room.run(9.0)
    assert room.hearing.fault == "unheard"


@pytest.mark.slow
def test_a_sound_that_comes_back_is_noticed_without_a_message():
    """While nothing is heard, the self-test's sound is played twice a minute."""
    room = Room()
    room.line.cut = True
    room.run(9.0)
    room.line.cut = False
    room.run(35.0)
    assert (room.hearing.proof, room.hearing.fault) == ("heard", "")


@pytest.mark.slow
def test_what_is_drowned_is_not_held_against_the_loudspeaker():
    """In surroundings as loud as the message nobody can tell; no fault, and what was heard last stands."""
    loud = False
    room = checked(surroundings=lambda now: 0.3 if loud else QUIET)
    loud = True
    room.run(6.0)
    room.line.cut = True
    for _ in range(3):
        room.say_and_listen()
    assert (room.hearing.proof, room.hearing.fault) == ("heard", "")


@pytest.mark.slow
def test_a_hum_at_the_pitch_of_an_earcon_proves_nothing():
    """It was there before the message: neither heard nor unheard."""
    room = Room(probes=False)
    room.run(2.0)
    hum = array("h", [round(8000 * math.sin(2 * math.pi * 600 * i / RATE_HZ)) for i in range(480) for _ in (0, 1)])
    for _ in range(450):
        room.microphone.feed(hum.tobytes(), room.now)
        if _ == 150:
            room.line.cut = True
            room.say("caution", "")
        room.run(POLL_S)
    assert room.hearing.proof == ""


@pytest.mark.slow
def test_noise_alone_is_never_a_message():
    """A loudspeaker that is silent is not taken for heard, whatever is loud around: 20 messages in noise of its own."""
    room = Room(probes=False, surroundings=lambda now: 0.02)
    room.line.cut = True
    room.run(1.5)
    for number in range(20):
        room.say("warning", f"words {number}")
        room.run(2.3)
        assert room.hearing.proof != "heard"


@pytest.mark.slow
def test_a_tick_is_no_proof():
    """It is short and soft on purpose; that it is not heard is no fault."""
    room = checked()
    room.line.cut = True
    for _ in range(4):
        room.say("tick", "", "", 1)
        room.run(2.0)
    assert (room.hearing.proof, room.hearing.fault) == ("heard", "")


@pytest.mark.slow
def test_another_device_is_judged_anew():
    """Neither the delay nor the faults of the one that failed hold for the one that stands in."""
    room = Room()
    room.line.cut = True
    room.run(9.0)
    room.hearing.output_changed(room.now)
    assert (room.hearing.proof, room.hearing.fault) == ("", "")


# -------------------------------------------------------------------------------------------- the microphone


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["off", "deaf", "stuck"])
def test_a_microphone_that_fails_is_a_fault_of_its_own(fault: str):
    """It proves nothing of the loudspeaker, and the loudness is the configured one."""
    room = checked()
    assert room.hearing.gains.calm < 1.0
    room.fault = fault
    room.run(4.5)
    assert (room.hearing.proof, room.hearing.fault) == ("", "microphone")
    assert room.hearing.gains.calm == room.hearing.gains.urgent == 1.0
    for _ in range(2):
        room.say_and_listen()
    assert room.hearing.fault == "microphone"


@pytest.mark.slow
def test_a_microphone_that_is_back_is_used_again():
    room = checked()
    room.fault = "off"
    room.run(2.0)
    room.fault = ""
    room.run(7.0)
    room.say_and_listen()
    assert (room.hearing.proof, room.hearing.fault) == ("heard", "")


def test_a_microphone_that_is_not_there_at_the_start_is_named():
    room = Room()
    room.fault = "off"
    room.run(1.0)
    assert room.hearing.fault == "microphone"


# ------------------------------------------------------------------------------------------------ Bluetooth


@pytest.mark.slow
def test_a_headset_that_is_kept_awake_swallows_nothing():
    """Noise at -80 dBFS instead of zeros: after a minute of silence every word is whole."""
    room = checked(headset=True, awake=True, latency_s=0.04)
    swallowed = room.headset.swallowed
    room.run(20.0)
    room.say_and_listen()
    assert room.headset.swallowed == swallowed
    assert (room.hearing.proof, room.hearing.fault) == ("heard", "")


@pytest.mark.slow
def test_a_headset_that_is_slow_is_refused():
    """200 ms are too late for "Stop", however whole the word."""
    room = checked(headset=True, awake=True)
    assert (room.hearing.proof, room.hearing.fault) == ("heard", "slow")
    assert room.hearing.delay_s == pytest.approx(BUFFER_S + 0.203, abs=0.002)


@pytest.mark.slow
def test_a_headset_that_wakes_up_for_each_word_is_refused():
    """The first half second is swallowed each time, whether all of a short sound is gone or words lose their start."""
    room = checked(headset=True, latency_s=0.04)
    assert room.hearing.fault in ("unheard", "clipped")
    for _ in range(3):
        room.run(4.0)
        room.say("warning", "stop and look behind you")
        room.run(2.5)
    assert room.hearing.fault in ("unheard", "clipped")


@pytest.mark.parametrize(("wakes_in_s", "fault"), [(0.015, ""), (0.06, "clipped"), (0.12, "clipped")])
def test_a_beginning_that_is_missing_is_measured(wakes_in_s: float, fault: str):
    """More than 20 ms missing is a word that may be mistaken; the sweep of the self-test tells how much."""
    room = Room(headset=True, latency_s=0.02)
    room.headset.set_waking(wakes_in_s)
    room.run(7.5)
    assert room.hearing.fault == fault
    assert room.hearing.missing_s == pytest.approx(wakes_in_s, abs=0.015)


def test_silence_that_keeps_awake_is_not_heard_and_has_no_zeros():
    """At most 5 of 32768, whatever pieces it is asked for in."""
    awake = Awake()
    random = Random(1)
    frames = b"".join(awake.silence(random.randint(1, 960)) for _ in range(200))
    samples = array("h", frames)
    assert all(samples)
    assert max(map(abs, samples)) <= 5
    assert samples[0::2] == samples[1::2]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("bluealsa:DEV=00:11:22:33:44:55,PROFILE=a2dp",), True),
        (("default", "bluez_output.00_11_22_33_44_55.1"), True),
        (("default", "BlueALSA"), True),
        (("plughw:CARD=Device",), False),
        (("default", "alsa_output.usb-Generic_USB_Audio"), False),
    ],
)
def test_a_bluetooth_device_is_known_by_its_names(names: tuple[str, ...], expected: bool):
    assert is_bluetooth(*names) is expected


# ------------------------------------------------------------------------------------------------- loudness


def test_calm_sounds_are_softer_in_a_quiet_room_and_warnings_never_are():
    room = checked()
    assert room.hearing.gains.calm == pytest.approx(10 ** (loudness.CALM_LEAST_DB / 20))
    assert room.hearing.gains.urgent == 1.0


@pytest.mark.slow
def test_loud_surroundings_raise_everything_within_two_seconds_and_silence_lowers_slowly():
    """A lorry is followed at once; that it has gone is believed after a while."""
    level = QUIET
    room = checked(surroundings=lambda now: level)
    level = 0.03
    room.run(2.0)
    raised = room.hearing.gains
    assert raised.calm > 1.0
    assert raised.urgent > 1.0
    level = QUIET
    room.run(2.0)
    assert room.hearing.gains.urgent > 0.8 * raised.urgent
    room.run(60.0)
    assert room.hearing.gains.calm == pytest.approx(10 ** (loudness.CALM_LEAST_DB / 20), rel=0.02)


@pytest.mark.slow
def test_own_sound_is_not_taken_for_the_surroundings():
    """Speaking without a pause makes nothing louder."""
    room = checked()
    before = room.hearing.gains
    for _ in range(10):
        room.say("warning", "stop")
        room.run(0.9)
    assert room.hearing.gains.urgent == before.urgent
    assert room.hearing.gains.calm == pytest.approx(before.calm, rel=0.05)


@pytest.mark.parametrize("volume", [0.2, 0.5, 0.9, 1.0])
def test_warnings_stand_out_wherever_full_scale_allows(volume: float):
    """From 35 to 85 dB(A), 90 dB(A) at full scale: 15 dB over the surroundings, or full scale.

    Never below `voice.volume`, and never silent.
    """
    headroom_db = -20 * math.log10(volume)
    for surroundings_db in range(35, 86):
        warning_db = 90.0 - headroom_db
        found = loudness.gains(surroundings_db, warning_db, headroom_db)
        heard_db = warning_db + 20 * math.log10(found.urgent)
        assert heard_db <= 90.0 + 1e-9
        assert heard_db >= min(surroundings_db + 15.0, 90.0) - 1e-9
        assert found.urgent >= 1.0
        assert found.calm >= 10 ** (loudness.CALM_LEAST_DB / 20) - 1e-9


def test_louder_surroundings_never_make_a_sound_softer():
    """At any level and with any loudspeaker."""
    for warning_db in range(40, 100, 5):
        for headroom_db in (0.0, 6.0, 14.0):
            levels = [loudness.gains(level, warning_db, headroom_db) for level in range(120)]
            assert all(a.calm <= b.calm and a.urgent <= b.urgent for a, b in itertools.pairwise(levels))


def test_louder_input_never_lowers_the_level():
    """Two rooms, one at least as loud as the other at any time: so is what is made of them."""
    random = Random(4)
    for _ in range(50):
        soft, loud = loudness.Surroundings(), loudness.Surroundings()
        for _ in range(100):
            power = 10 ** random.uniform(0, 9)
            soft.feed(power)
            loud.feed(power * 10 ** random.choice((0, 0, random.uniform(0, 4))))
            if soft.level_db is not None:
                assert loud.level_db is not None
                assert loud.level_db >= soft.level_db - 1e-9


def test_a_door_that_slams_is_not_the_surroundings():
    """Two tenths of a second, however loud, change nothing."""
    level = loudness.Surroundings()
    for _ in range(50):
        level.feed(1e4)
    before = level.level_db
    for _ in range(2):
        level.feed(1e9)
    for _ in range(5):
        level.feed(1e4)
    assert level.level_db == pytest.approx(before)


# -------------------------------------------------------------------------------------------------- the cost


@pytest.mark.slow
def test_a_poll_is_spread_thin():
    """Whatever is looked for, no poll tries more than its share of delays: counted, because clocks of tests lie."""
    tried: list[int] = []
    go_on = Search.go_on

    def counting(self: Search, heard: array[int], most: int) -> int:
        tried.append(go_on(self, heard, most))
        return tried[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "go_on", counting)
        room = checked()
        room.line.cut = True
        room.say_and_listen()
    assert max(tried) <= LAGS_PER_POLL
    assert sum(tried) > 10 * LAGS_PER_POLL
