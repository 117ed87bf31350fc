"""A voice that is not heard: felt at once, named when it can be heard again, told once; a slow one must not warn."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.core.synth import Street, approach, heartbeats, merged, ranges, settled, steady, upright

from retrowalk.config import Config, HcSr04, Walker
from retrowalk.core.alerts import ALERTS, FAULT_PARTS, RANK_BALANCE, VOICE_CAUSES, Alert
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import Output, Speak, Touch
from retrowalk.core.samples import HealthReport, Item, VoiceHeartbeat
from retrowalk.core.voice_watch import REFUSED, SAME_FAULT_S, STEADY_S

CONFIGURED = Config().voice.device
NOT_HEARD = ("no_device", "frozen", "muted", "null_sink")
BEGUN_S = 6.0


def beats(
    start_s: float,
    end_s: float,
    fault: str = "",
    *,
    output: str = "alsa",
    device: str = CONFIGURED,
    delay_ms: int = 0,
) -> list[Item]:
    """Signs of life of a voice; frames leave as long as something carries them."""
    at = [start_s + i / 10.0 for i in range(round((end_s - start_s) * 10.0))]
    frames = [int(t * 48000) if output else 0 for t in at]
    return [
        VoiceHeartbeat(t, device, played, fault=fault, output=output, delay_ms=delay_ms)
        for t, played in zip(at, frames, strict=True)
    ]


def life(*voice: Sequence[Item], until_s: float, near: bool = False, config: Config | None = None) -> Street:
    """A checked device at whose voice something happens; `near`: a wall comes near from 8 s on."""
    wall = [*steady(BEGUN_S, 8.0, None), *approach(8.0, 2.2, 0.6, 0.9)]
    rear = [*wall, *steady(wall[-1][0] + 0.07, until_s, 0.9)] if near else steady(BEGUN_S, until_s, None)
    street = Street(config, voice=True).run(settled(config))
    alive = heartbeats(BEGUN_S, until_s, voice=False)
    walk = merged(ranges(rear, latency_s=0.0), upright(until_s - BEGUN_S, BEGUN_S), alive, *voice)
    return street.run(walk, until_s)


def named(street: Street) -> list[tuple[str, float]]:
    """What was said to be wrong with the voice, and when it began to sound."""
    return [(speak.value, t) for t, speak in street.heard if speak.phrase == "fault"]


@pytest.mark.parametrize("fault", NOT_HEARD)
def test_a_voice_that_is_not_heard_is_felt_with_the_item_that_says_so(fault):
    """Buzzer and vibration, the fault by name to the caregiver, and limited protection: all in the same instant."""
    street = life(beats(6.0, 8.0), beats(8.0, 9.0, fault, output=""), until_s=9.0)
    touch = next(t for t in street.touches() if t.t_s >= 8.0)
    assert (touch.t_s, touch.pattern, touch.buzzer) == (8.0, "fault", True)
    raised = street.first("fault.raised", part="voice")
    assert (raised.t_s, raised.fault, raised.detail) == (8.0, fault, CONFIGURED)
    assert street.first("guard.changed", state="limited").reasons == ("voice",)
    assert not [speak for speak in street.spoken() if speak.t_s >= 8.0], "nothing is asked of who would say it later"


@pytest.mark.parametrize("fault", NOT_HEARD)
def test_a_device_that_failed_is_felt_though_another_one_plays_at_once(fault):
    """The first thing that is heard of it is that another device plays: what was being said was lost all the same."""
    street = life(beats(6.0, 8.0), beats(8.0, 9.0, fault, device="default-2"), until_s=9.0)
    assert [t.t_s for t in street.touches() if t.t_s >= 8.0][:1] == [8.0]


@pytest.mark.parametrize("fault", NOT_HEARD)
def test_why_nothing_was_heard_is_said_once_it_is_heard_again(fault):
    """Within 2 s of the first sign that it works, by the cause's own words; then that it works, and "Guarding"."""
    street = life(beats(6.0, 8.0), beats(8.0, 10.0, fault, output=""), beats(10.0, 18.0), until_s=18.0)
    ((value, t),) = named(street)
    assert value == VOICE_CAUSES[fault]
    assert 10.0 <= t <= 12.0
    said = [speak.phrase for t, speak in street.heard if t >= 10.0 and speak.phrase]
    assert said.index("fault") < said.index("fault_over")
    assert street.first("fault.cleared", part="voice").t_s == 10.0
    assert [e.state.value for e in street.events("guard.changed")][-2:] == ["limited", "guarding"]


@pytest.mark.parametrize("fault", NOT_HEARD)
def test_a_stand_in_says_why_it_plays(fault):
    """Another device plays while the configured one does not: the cause is said on it, and the voice is not lost."""
    gone = beats(8.0, 8.2, fault, output="")
    street = life(beats(6.0, 8.0), gone, beats(8.2, 16.0, fault, device="spare"), until_s=16.0)
    assert named(street)[0][0] == VOICE_CAUSES[fault]
    assert 8.2 <= named(street)[0][1] <= 10.2
    assert not street.events("fault.cleared")
    assert street.companion.snapshot().guard_state == "guarding"


def test_a_voice_that_was_killed_says_that_it_had_to_restart():
    """No sign of life: told as such, and said by the voice that comes after it, whatever it lacks for a moment."""
    street = life(beats(6.0, 8.0), beats(9.5, 9.6, output=""), beats(9.6, 14.0), until_s=14.0)
    assert street.first("fault.raised", part="voice").fault == "silent"
    ((value, t),) = named(street)
    assert value == "voice-restarted"
    assert 9.5 <= t <= 11.5


def test_of_several_causes_the_one_that_lasted_is_said():
    """It stood still, then its device was gone for long: that is what the walker hears."""
    frozen = beats(8.0, 8.5, "frozen", output="")
    gone = beats(8.5, 12.0, "no_device", output="")
    street = life(beats(6.0, 8.0), frozen, gone, beats(12.0, 16.0), until_s=16.0)
    assert [value for value, _ in named(street)] == ["voice-gone"]
    assert [e.fault for e in street.events("fault.raised")] == ["frozen", "no_device"]


@pytest.mark.slow
def test_a_fault_that_comes_and_goes_is_told_once():
    """A hundred times in twenty seconds: told once, said to its end once it stays, no "Guarding" in between."""
    flaps: list[Item] = []
    for i in range(100):
        t = 8.0 + i * 0.2
        flaps += [*beats(t, t + 0.1, "no_device", output=""), *beats(t + 0.1, t + 0.2)]
    street = life(beats(6.0, 8.0), flaps, beats(28.0, 32.0), until_s=32.0)
    assert len(street.events("fault.raised")) == len(street.events("fault.cleared")) == 1
    assert [value for value, _ in named(street)] == ["voice-gone"] * len(named(street))
    assert len(named(street)) < 25, "no more than once a second"
    assert named(street)[-1][1] >= 27.0
    assert [e.state.value for e in street.events("guard.changed")][-2:] == ["limited", "guarding"]
    assert street.events("guard.changed")[-1].t_s == pytest.approx(27.9 + STEADY_S, abs=0.2)


def test_a_fault_that_comes_back_to_stay_is_told_again():
    """Soon after it was over, and for longer than two seconds: that is news."""
    street = life(
        *(beats(6.0, 8.0), beats(8.0, 9.0, "frozen", output=""), beats(9.0, 9.5)),
        beats(9.5, 14.0, "frozen", output=""),
        until_s=14.0,
    )
    assert [e.t_s for e in street.events("fault.raised")] == [8.0, pytest.approx(11.5, abs=0.1)]
    assert SAME_FAULT_S > 1.0


def test_a_device_that_is_being_opened_frightens_nobody():
    """For a moment nothing carries the frames and nothing is wrong; if that goes on, the device is gone."""
    short = life(beats(6.0, 8.0), beats(8.0, 9.0, output=""), beats(9.0, 10.0), until_s=10.0)
    assert not short.events("fault.raised")
    assert not [touch for touch in short.touches() if touch.t_s >= 8.0]
    long = life(beats(6.0, 8.0), beats(8.0, 10.0, output=""), until_s=10.0)
    assert long.first("fault.raised", part="voice", fault="no_device").t_s <= 9.4


def test_a_voice_that_a_microphone_does_not_hear_goes_on_and_is_felt_too():
    """It may be the microphone: what is said is still said, and everything is felt and buzzes as well."""
    street = life(beats(6.0, 6.2), beats(6.2, 12.0, "unheard"), until_s=12.0, near=True)
    assert next(t for t in street.touches() if t.t_s >= 6.2).t_s == 6.2
    cautions = [speak.t_s for speak in street.spoken("object")]
    assert cautions
    assert [t for t in street.touches() if t.t_s in cautions and t.buzzer]
    assert street.spoken("stop")
    assert street.first("guard.changed", state="limited").reasons == ("voice",)


# ------------------------------------------------------------------------------------ too slow, or clipped


@pytest.mark.parametrize("fault", REFUSED)
def test_a_slow_voice_warns_by_buzzer_and_vibration(fault):
    """A wall: "Object" is still said, "Stop" is not; buzzer and vibration give the warning, and repeat it."""
    street = life(beats(6.0, 7.0), beats(7.0, 14.0, fault), until_s=14.0, near=True)
    assert named(street)[0][0] == VOICE_CAUSES[fault]
    assert street.first("guard.changed", state="limited").reasons == ("voice",)
    assert street.first("fault.raised", part="voice").fault == fault
    raised = street.first("hazard.raised", hazard="rear", level="warning").t_s
    warned = [t.t_s for t in street.touches() if t.pattern == "warning" and t.buzzer]
    assert warned[0] == raised
    assert len(warned) >= 2
    assert street.spoken("object")
    assert not street.spoken("stop")


def test_a_stand_in_that_is_late_is_refused_though_another_fault_is_named():
    """The configured device is gone, and the one that plays is heard after 0.25 s: "Stop" is felt and buzzes."""
    late = beats(7.0, 14.0, "no_device", device="headset", delay_ms=250)
    street = life(beats(6.0, 7.0), late, until_s=14.0, near=True)
    assert street.spoken("object")
    assert not street.spoken("stop")
    assert [touch for touch in street.touches() if touch.pattern == "warning" and touch.buzzer]
    assert street.companion.snapshot().reasons == ("voice",)


def test_a_voice_in_time_again_says_stop():
    """The fault is over: the next warning has its word."""
    street = life(beats(6.0, 7.0, "slow"), beats(7.0, 14.0), until_s=14.0, near=True)
    assert street.spoken("stop")


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row.key} {row.level.name.lower()}") for row in ALERTS.values()]
)
def test_what_a_refused_voice_is_asked_for(row: Alert):
    """What needs the body at once buzzes and is felt, without a word; everything else is said."""
    out: list[Output] = []
    arbiter = Arbiter(out)
    arbiter.voice_refused = True
    arbiter.hold(1.0, row.key, row.level)
    spoken = [o for o in out if isinstance(o, Speak)]
    touched = [o for o in out if isinstance(o, Touch)]
    if row.rank >= RANK_BALANCE:
        assert not spoken
        assert [touch.buzzer for touch in touched] == [True]
    else:
        assert len(spoken) == 1


def test_everything_that_warns_of_a_collision_a_drop_or_a_loss_of_balance_is_refused_a_slow_voice():
    """The line between calm and urgent words lies below these."""
    refused = {row.key for row in ALERTS.values() if row.rank >= RANK_BALANCE}
    assert refused == {"rear", "touching", "drop", "balance_lost"}


# ------------------------------------------------------------------------------------ told by touch

BY_TOUCH = Config(range_sensor=(HcSr04(),), walker=Walker(hearing="touch"))


def test_who_is_told_by_touch_loses_nothing_with_the_voice():
    """The loss is told to the caregiver and felt; protection is whole."""
    street = life(beats(6.0, 8.0), beats(8.0, 12.0, "no_device", output=""), until_s=12.0, config=BY_TOUCH)
    assert street.first("fault.raised", part="voice") is not None
    assert street.companion.snapshot().guard_state == "guarding"


def test_who_is_told_by_touch_has_no_protection_without_it():
    """The motor is what the voice is to others."""
    broken = [HealthReport(8.0, "vibration", "absent", True)]
    street = life(beats(6.0, 10.0), broken, until_s=10.0, config=BY_TOUCH)
    assert street.first("guard.changed", state="not_protecting").reasons == ("vibration",)


def test_a_microphone_that_works_again_is_called_so():
    """Its fault is its own: the voice was heard all the time."""
    street = life(beats(6.0, 7.0), beats(7.0, 9.0, "microphone"), beats(9.0, 12.0), until_s=12.0)
    assert [value for value, _ in named(street)] == ["microphone"]
    assert [speak.value for speak in street.spoken("fault_over")] == ["microphone"]
    assert street.companion.snapshot().guard_state == "guarding"
    assert not street.events("guard.changed")[3:]


@pytest.mark.parametrize("fault", sorted(VOICE_CAUSES))
def test_every_fault_of_the_voice_has_words(fault):
    """Each name that the voice may report is said as something of its own."""
    assert VOICE_CAUSES[fault] in FAULT_PARTS
    assert VOICE_CAUSES[fault] != "voice"
