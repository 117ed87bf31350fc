"""The walker who hears badly: all that is said is felt, and vibration is what must not be lost."""

from __future__ import annotations

import pytest
from tests.core.synth import Street, heartbeats, merged, ranges, settled, steady, upright

from retrowalk.config import Config, HcSr04, Vibration, Walker
from retrowalk.core.alerts import (
    ALERT_BY_KEY,
    ALERTS,
    COUNTDOWNS,
    COUNTS,
    HAPTICS,
    RANK_COACHING,
    Alert,
    lasts_s,
    told_by_touch,
)
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import Output, Speak, Touch
from retrowalk.core.samples import HealthReport, Item, VoiceHeartbeat

BY_TOUCH = Config(range_sensor=(HcSr04(),), walker=Walker(hearing="touch"))
TWO_MOTORS = Config(range_sensor=(HcSr04(),), walker=Walker(hearing="touch"), vibration=Vibration(right_pin=26))
ROWS = [pytest.param(row, id=f"{row.key} {row.level.name.lower()}") for row in ALERTS.values()]


def asked(row: Alert, *, voice_lost: bool = False, value: str = "") -> list[Output]:
    """What asking for one alert leads to."""
    out: list[Output] = []
    arbiter = Arbiter(out, by_touch=True)
    arbiter.voice_lost = voice_lost
    if row.key == "rear":
        arbiter.hold(1.0, row.key, row.level, value=value)
    else:
        arbiter.announce(1.0, row.key, value)
    return out


@pytest.mark.parametrize("voice_lost", [False, True], ids=["with a voice", "without a voice"])
@pytest.mark.parametrize("row", ROWS)
def test_every_alert_is_felt(row: Alert, voice_lost: bool) -> None:
    """Its pattern, at once, whether or not it can be heard; the buzzer only where everybody hears it."""
    touches = [output for output in asked(row, voice_lost=voice_lost) if isinstance(output, Touch)]
    (touch,) = touches
    assert (touch.t_s, touch.buzzer) == (1.0, row.buzzer)
    assert touch.pattern in HAPTICS
    assert touch.pattern.startswith(told_by_touch(row))


@pytest.mark.parametrize("hearing", ["sound", "touch"])
def test_a_countdown_is_heard_and_felt_to_rise(hearing: str) -> None:
    """Earcon and pattern of each number are of the same stage, and the stages go from first to last."""
    row, stages = ALERT_BY_KEY["countdown"], []
    for value in COUNTS:
        out: list[Output] = []
        Arbiter(out, by_touch=hearing == "touch").announce(1.0, row.key, value)
        speak = next(output for output in out if isinstance(output, Speak))
        touch = next(output for output in out if isinstance(output, Touch))
        assert speak.earcon == touch.pattern
        stages.append(COUNTDOWNS.index(speak.earcon))
    assert stages == sorted(stages)
    assert set(stages) == set(range(len(COUNTDOWNS)))


def test_what_was_felt_is_not_told_again_without_a_voice() -> None:
    """News that nobody can say is felt once; to who hears it is buzzed until it can be said, or is old."""
    out: list[Output] = []
    arbiter = Arbiter(out, by_touch=True)
    arbiter.voice_lost = True
    arbiter.announce(1.0, "guarding")
    for tenth in range(10, 130):
        arbiter.advance(tenth / 10)
    assert [output.t_s for output in out if isinstance(output, Touch)] == [1.0]


def test_news_that_had_to_give_way_is_felt_afterwards() -> None:
    """A state that changes in the midst of a warning's pattern is felt when that is over."""
    out: list[Output] = []
    arbiter = Arbiter(out, by_touch=True)
    arbiter.voice_lost = True
    arbiter.announce(1.0, "cue")
    arbiter.announce(1.1, "guarding")
    assert [output.pattern for output in out if isinstance(output, Touch)] == ["warning"]
    for tenth in range(11, 130):
        arbiter.advance(tenth / 10)
    touches = [output for output in out if isinstance(output, Touch)]
    assert [touch.pattern for touch in touches] == ["warning", "good"]
    assert touches[1].t_s - touches[0].t_s == pytest.approx(lasts_s("warning"), abs=0.1)


def test_what_was_cut_off_is_felt_again() -> None:
    """A question in the midst of which a fault is told is asked again when that is over."""
    out: list[Output] = []
    arbiter = Arbiter(out, by_touch=True)
    arbiter.voice_lost = True
    arbiter.announce(1.0, "self_test")
    arbiter.announce(1.2, "fault", "led")
    arbiter.announce(1.2, "checking")
    for tenth in range(13, 130):
        arbiter.advance(tenth / 10)
    touches = [output for output in out if isinstance(output, Touch)]
    assert [touch.pattern for touch in touches] == ["countdown", "fault", "countdown", "caution"]
    assert touches[-1].t_s < 4.0


def test_words_on_how_to_walk_are_felt_without_a_voice() -> None:
    """Who is told by touch gets the nudge; to who hears, a nudge without its word would tell nothing."""
    free = []
    for by_touch in (True, False):
        arbiter = Arbiter([], by_touch=by_touch)
        arbiter.voice_lost = True
        free.append(arbiter.free(1.0, RANK_COACHING, 3.0))
    assert free == [True, False]


def guarding(config: Config, until_s: float, *more: Item, voice: str = "") -> Street:
    """A device that guards, then `more`; its voice has the fault `voice` all along, from the sixth second on."""
    beats = [
        VoiceHeartbeat(6.0 + i / 10, "speaker", 0 if voice else 4800 * (60 + i), 0, voice, "" if voice else "alsa")
        for i in range(round((until_s - 6.0) * 10))
    ]
    rear = ranges(steady(6.0, until_s, None), latency_s=0.0)
    alive = heartbeats(6.0, until_s, voice=False)
    life = merged(rear, upright(until_s - 6.0, 6.0), alive, beats, more)
    return Street(config, voice=not voice).run(settled(config)).run(life, until_s)


@pytest.mark.slow
def test_a_device_without_sound_does_not_shake_its_wearer_for_it() -> None:
    """That there is no voice is felt when it is found out, not every minute."""
    street = guarding(BY_TOUCH, 75.0, voice="no_device")
    assert street.companion.snapshot().guard_state == "guarding"
    told = [touch.t_s for touch in street.touches() if touch.pattern == "fault"]
    assert told
    assert told[-1] < 12.0


@pytest.mark.parametrize(
    ("config", "gone", "state"),
    [
        pytest.param(BY_TOUCH, ("vibration",), "not_protecting", id="the motor"),
        pytest.param(BY_TOUCH, ("buzzer",), "guarding", id="the buzzer"),
        pytest.param(TWO_MOTORS, ("vibration",), "guarding", id="one of two motors"),
        pytest.param(TWO_MOTORS, ("vibration", "vibration-right"), "not_protecting", id="both motors"),
    ],
)
def test_without_a_motor_nobody_is_told_by_touch(config: Config, gone: tuple[str, ...], state: str) -> None:
    """The last motor is to this walker what the voice is to others; it is named as the reason."""
    street = guarding(config, 9.0, *(HealthReport(7.0, part, "absent", active=True) for part in gone))
    assert street.companion.snapshot().guard_state == state
    if state == "not_protecting":
        assert street.companion.snapshot().reasons == ("vibration",)


def test_the_motor_limits_nobody_who_hears() -> None:
    """A walker who is told by sound is told that vibration does not work, and protected on."""
    config = Config(range_sensor=(HcSr04(),))
    street = guarding(config, 9.0, HealthReport(7.0, "vibration", "absent", active=True))
    assert street.companion.snapshot().guard_state == "guarding"


@pytest.mark.slow
@pytest.mark.parametrize(("part", "times"), [("led", 1), ("vibration", 2)])
def test_a_light_that_does_not_work_is_said_once(part: str, times: int) -> None:
    """It protects nobody; what does is named again each minute."""
    config = Config(range_sensor=(HcSr04(),))
    street = guarding(config, 68.0, HealthReport(7.0, part, "absent", active=True))
    said = [speak for speak in street.spoken("fault") if speak.value == part]
    assert len(said) == times
    assert street.companion.snapshot().guard_state == "guarding"
