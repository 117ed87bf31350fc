"""The limits at first use, and the answer to a press: what is said, when, and what a press means."""

from __future__ import annotations

import pytest
from tests.core.synth import (
    LYING_ON_BACK,
    ONE_SENSOR,
    Street,
    approach,
    fall,
    heartbeats,
    merged,
    posed,
    press,
    ranges,
    settled,
    steady,
    upright,
)
from tests.core.test_care import UP, still

from retrowalk.config import Battery, Broker, Config, HcSr04
from retrowalk.core.alerts import ALERTS, INTRODUCTION, RANK_INTRODUCTION, arounds, introduction
from retrowalk.core.events import StateSaved
from retrowalk.core.samples import (
    BatterySample,
    CourierHeartbeat,
    FirstUse,
    HealthReport,
    Item,
    Restored,
    SavedState,
    VoicePhase,
    VoiceProgress,
)

BEGUN_S = 6.0
SAID_S = 26.0
"""By then every sentence has been said, if nothing cuts one."""


def quiet_life(until_s: float, start_s: float = 6.0) -> list[Item]:
    """Stands; nothing behind, nothing wrong."""
    rear = ranges(steady(start_s, until_s, None, hz=5.0), latency_s=0.0)
    return merged(rear, still(start_s, until_s, UP), heartbeats(start_s, until_s))


def out_of_the_box(*items: list[Item], until_s: float = 40.0, life: list[Item] | None = None) -> Street:
    """A device that nobody has accepted yet passes its check and guards; then `life` (nothing happens), and `items`."""
    street = Street(voice=True).run([FirstUse(0.0, accepted=False), *settled()])
    return street.run(merged(quiet_life(until_s) if life is None else life, *items), until_s)


def sentences(street: Street) -> list[str]:
    """What was said of the limits, as it began to sound."""
    return [speak.value for _, speak in street.heard if speak.phrase == "introduction"]


def saved(street: Street) -> SavedState:
    return [o for o in street.outputs if isinstance(o, StateSaved)][-1].state


@pytest.mark.slow
def test_the_limits_are_said_once_it_guards():
    """After "Guarding.", every sentence once and in order, the question last; and not again."""
    street = out_of_the_box(until_s=60.0)
    assert sentences(street) == list(introduction(ONE_SENSOR))
    guarding = [t for t, speak in street.heard if speak.phrase == "guarding"]
    assert min(t for t, speak in street.heard if speak.phrase == "introduction") > guarding[0]


def test_without_a_sensor_that_looks_down_it_does_not_speak_of_late_but_of_never():
    """Who has no drop-off lidar is not told that walking slowly helps; who has one is."""
    assert introduction(Config()) == INTRODUCTION
    assert "steps" in INTRODUCTION
    assert introduction(ONE_SENSOR) == tuple("no-steps" if value == "steps" else value for value in INTRODUCTION)
    assert "no-steps" in sentences(out_of_the_box(until_s=60.0))


def test_a_press_accepts_and_is_kept():
    """A press after the question: thanked for, told, kept; and it is no question how things are."""
    street = out_of_the_box(press(SAID_S))
    accepted = street.first("limits.accepted")
    assert accepted.t_s == pytest.approx(SAID_S + 0.6, abs=0.05)
    assert street.spoken("accepted")[0].alert == accepted.alert
    assert not street.spoken("around")
    assert saved(street).accepted


def test_what_was_accepted_is_not_said_again():
    """After any restart, also one long after, and after a clean switch-off."""
    for state in ("guarding", "stopping"):
        kept = SavedState(0.0, state, accepted=True)
        street = Street(voice=True).run([Restored(0.0, kept, 1e6), *settled()[1:]])
        street.run(quiet_life(20.0), 20.0)
        assert not sentences(street)
        assert saved(street).accepted


def test_a_copy_that_comes_late_ends_it():
    """The card knows that somebody has accepted: nothing is said."""
    street = out_of_the_box([FirstUse(6.5, accepted=True)])
    assert not sentences(street)
    assert saved(street).accepted


def test_without_a_press_it_guards_all_the_same_and_says_it_again():
    """Nobody presses: it guards and warns; at the next start it begins anew."""
    near = merged(
        ranges([*steady(6.0, 30.0, None), *approach(30.0, 3.0, 0.6, 0.8)], latency_s=0.0),
        still(6.0, 35.0, UP),
        heartbeats(6.0, 35.0),
    )
    street = out_of_the_box(life=near, until_s=35.0)
    assert street.spoken("stop")
    assert street.first("limits.accepted") is None
    assert not saved(street).accepted


@pytest.mark.slow
@pytest.mark.parametrize(
    "button",
    [
        pytest.param([press(SAID_S), press(SAID_S + 0.3)], id="twice"),
        pytest.param([press(SAID_S, 1.5)], id="held"),
        pytest.param([press(SAID_S, 3.5)], id="held for help"),
        pytest.param([press(BEGUN_S + 6.0)], id="before the question"),
        pytest.param([press(SAID_S + 31.0)], id="long after the question"),
    ],
)
def test_nothing_else_accepts(button):
    """Only a single press, and only as an answer."""
    assert out_of_the_box(*button, until_s=62.0).first("limits.accepted") is None


@pytest.mark.slow
def test_a_press_that_calls_off_a_fall_accepts_nothing():
    """It has another meaning then."""
    motion: list[Item] = [
        *still(6.0, SAID_S - 1.0, UP),
        *fall(SAID_S - 1.0, lying_s=3.0),
        *posed(6.0, SAID_S + 3.0, LYING_ON_BACK),
    ]
    rear = ranges(steady(6.0, SAID_S + 8.0, None), latency_s=0.0)
    life = merged(rear, motion, heartbeats(6.0, SAID_S + 8.0))
    street = out_of_the_box(press(SAID_S + 4.0), life=life, until_s=SAID_S + 8.0)
    assert street.first("fall.cancelled") is not None
    assert street.first("limits.accepted") is None


@pytest.mark.slow
def test_a_warning_cuts_it_and_it_goes_on_where_it_was():
    """The word "Stop" sounds at once in the middle of a sentence, and that sentence is said again, later."""
    near = merged(
        ranges([*steady(6.0, 10.5, None), *approach(10.5, 2.2, 0.8, 0.9), *steady(12.2, 50.0, 3.5)], latency_s=0.0),
        still(6.0, 50.0, UP),
        heartbeats(6.0, 50.0),
    )
    street = out_of_the_box(life=near, until_s=50.0)
    asked = {speak.alert: speak.t_s for speak in street.spoken("stop")}
    begun = {speak.alert: t for t, speak in street.heard if speak.phrase == "stop"}
    assert asked
    assert all(begun[alert] == pytest.approx(t, abs=0.001) for alert, t in asked.items() if alert in begun)
    heard = sentences(street)
    assert list(dict.fromkeys(heard)) == list(introduction(ONE_SENSOR))


def test_nothing_is_less_urgent_than_the_limits():
    """Whatever else has words cuts them."""
    assert all(row.rank > RANK_INTRODUCTION for row in ALERTS.values() if row.phrase not in ("", "introduction"))


@pytest.mark.slow
def test_a_voice_without_the_words_asks_for_nothing():
    """With phrases that were made before, the limits cannot be heard: a press accepts nothing."""
    street = Street().run([FirstUse(0.0, accepted=False), *settled()])
    street.run(quiet_life(9.0), 9.0)
    (asked,) = street.spoken("introduction")
    street.run([VoiceProgress(9.1, 9.1, asked.alert, VoicePhase.UNKNOWN_PHRASE), *quiet_life(40.0, 9.2)], 40.0)
    assert len(street.spoken("introduction")) == 1


# ------------------------------------------------------------------------------------------- how am I doing

BATTERY = BatterySample(6.1, 6.1, 74.0, 3.9)


@pytest.mark.parametrize(
    ("items", "config", "answer"),
    [
        pytest.param([BATTERY], Config(), ["guarding", "around linked-good"], id="all is well"),
        pytest.param(
            [BatterySample(6.1, 6.1, 40.0, 3.7)], Config(), ["guarding", "around linked-half"], id="half empty"
        ),
        pytest.param(
            [HealthReport(6.2, "battery", "absent", active=True), BATTERY],
            Config(),
            ["guarding", "around linked-unknown"],
            id="gauge broken",
        ),
        pytest.param(
            [BATTERY, CourierHeartbeat(9.95, connected=False, waiting=3, recording=True)],
            Config(),
            ["guarding", "around away-good"],
            id="no link",
        ),
        pytest.param([BATTERY], Config(broker=Broker(host="")), ["guarding", "around none-good"], id="no helper"),
        pytest.param([], Config(battery=Battery(chip="none")), ["guarding", "around linked"], id="no gauge"),
    ],
)
def test_a_press_is_answered_with_what_protects_who_is_reached_and_the_battery(items, config, answer):
    """In this order, by the numbers that hold now; each is a phrase that the bank has."""
    device = Config(range_sensor=(HcSr04(),), broker=config.broker, battery=config.battery)
    street = Street(device, voice=True).run(settled())
    before = [item for item in quiet_life(16.0) if not isinstance(item, CourierHeartbeat) or item.t_received_s < 9.9]
    street.run(merged(before, sorted(items, key=lambda item: item.t_received_s), press(10.0)), 16.0)
    said = [f"{s.phrase} {s.value}".strip() for _, s in street.heard if s.t_s >= 10.2 and s.phrase]
    assert said[: len(answer)] == answer
    assert answer[-1].split()[1] in arounds(device)


def test_a_press_is_answered_within_a_second_of_its_meaning():
    """The meaning is clear 0.45 s after the release; the answer sounds at once, and its end follows it."""
    street = Street(voice=True).run(settled()).run(merged(quiet_life(16.0), [BATTERY], press(10.0)), 16.0)
    begun = {speak.phrase: t for t, speak in street.heard if t >= 10.0 and speak.phrase}
    assert begun["guarding"] == pytest.approx(10.6, abs=0.01)
    assert begun["guarding"] < begun["around"] < 13.0


def test_the_second_thing_that_is_missing_is_named_too():
    """Two limits: both are said, then the rest of the answer."""
    two = Config(range_sensor=(HcSr04(), HcSr04(name="left", trigger_pin=5, echo_pin=6)))
    hand = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None)]
    life = merged(
        ranges([*hand, *steady(6.0, 22.0, None)], latency_s=0.0),
        ranges(hand, sensor="left", latency_s=0.0),
        upright(6.0),
        heartbeats(0.0, 22.0),
        press(14.0),
    )
    street = Street(two, voice=True).run(life, 22.0)
    said = [f"{speak.phrase} {speak.value}" for t, speak in street.heard if t >= 14.2 and speak.phrase]
    assert said == ["limited imu", "also rear", "around linked-unknown"]
