"""Silence is never unnoticed: every sensor and process that stops is named in time, and said to be back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.synth import Street, heartbeats, merged, ranges, settled, steady, upright

from retrowalk.config import Config, HcSr04
from retrowalk.config import Freshness as Knobs
from retrowalk.core.freshness import Freshness
from retrowalk.core.samples import HealthReport, Item, RangeSample, RangeStatus, VoiceHeartbeat

TWO = Config(
    range_sensor=(HcSr04(), HcSr04(name="rear-left", trigger_pin=5, echo_pin=6)),
)
START_S, STOP_S, BACK_S, END_S = 6.0, 8.0, 12.0, 16.0
SAMPLES = {"rear", "rear-left", "imu"}

FEW = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def source(name: str, start_s: float, end_s: float) -> list[Item]:
    """Signs of life of one part."""
    if name == "imu":
        return list(upright(end_s - start_s, start_s))
    if name == "voice":
        return list(heartbeats(start_s, end_s, courier=False))
    if name == "courier":
        return list(heartbeats(start_s, end_s, voice=False))
    return list(ranges(steady(start_s, end_s, None), sensor=name, latency_s=0.0))


def life(stops: dict[str, float], back_s: float = BACK_S, end_s: float = END_S) -> Street:
    """Everything lives from 0 s on; each named part is silent from its time until `back_s`."""
    streams = []
    for name in ("rear", "rear-left", "imu", "voice", "courier"):
        if name in stops:
            streams.append(source(name, 0.0, stops[name]))
            streams.append(source(name, back_s, end_s))
        else:
            streams.append(source(name, 0.0, end_s))
    return Street(TWO, voice="voice" not in stops).run(merged(*streams), end_s)


@FEW
@given(st.dictionaries(st.sampled_from(sorted(SAMPLES)), st.floats(5.0, 9.0), min_size=1))
@pytest.mark.slow
def test_every_sensor_that_falls_silent_is_named_and_restored(stops):
    """Whichever sensors stop, and when: each is named aloud within 1.0 s of its last sample, and said to be back."""
    street = life(stops)
    for name in SAMPLES:
        lost = [e for e in street.events("sensor.lost") if e.sensor == name]
        if name not in stops:
            assert not lost
            continue
        last_s = max(i.t_received_s for i in source(name, 0.0, stops[name]))
        assert len(lost) == 1
        assert 0.499 <= lost[0].t_s - last_s <= 0.52
        named = [s for s in street.spoken("sensor_lost") if s.value == name]
        assert named[0].t_s - last_s <= 1.0
        assert named[0].alert == lost[0].alert
        back = [e for e in street.events("sensor.restored") if e.sensor == name]
        assert len(back) == 1
        assert BACK_S <= back[0].t_s <= BACK_S + 0.7
        assert [s for s in street.spoken("sensor_back") if s.value == name]


def test_several_lost_at_once_are_each_heard():
    """Three sensors fall silent together: the speaker says all three names within 3 s."""
    street = life(dict.fromkeys(SAMPLES, STOP_S))
    heard = {s.value: t for t, s in street.heard if s.phrase == "sensor_lost"}
    assert set(heard) == SAMPLES
    assert max(heard.values()) - STOP_S <= 3.5


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_sensor_absent_from_the_start_is_named_within_a_second(name):
    """What never speaks is named, too."""
    street = life({name: 0.0})
    assert [s.value for s in street.spoken("sensor_lost")] == [name]
    assert street.spoken("sensor_lost")[0].t_s <= 1.0


@pytest.mark.parametrize("status", [RangeStatus.NO_ECHO, RangeStatus.STUCK, RangeStatus.REJECTED])
def test_useless_answers_are_no_sign_of_life(status):
    """A sensor that answers without use is lost within 1 s, with the cause."""
    street = Street(voice=True).run(settled())
    bad = [RangeSample(6.0 + i / 15, 6.0 + i / 15, "rear", status) for i in range(45)]
    street.run(merged(bad, upright(3.0, 6.0), heartbeats(6.0, 9.0)))
    lost = street.first("sensor.lost", sensor="rear")
    assert lost.cause == status.value
    assert street.spoken("not_protecting")[0].value == "rear"
    assert street.spoken("not_protecting")[0].t_s <= 7.0


def test_a_driver_that_reports_why_is_quoted():
    """The cause a driver reported goes out with the loss."""
    street = Street(voice=True).run(settled())
    report = [HealthReport(6.01, "rear", "absent", True)]
    street.run(merged(report, upright(3.0, 6.0), heartbeats(6.0, 9.0)))
    assert street.first("sensor.lost").cause == "absent"


@pytest.mark.slow
def test_a_lost_sensor_is_said_again():
    """While it stays lost, the walker is reminded every 30 s; the only rear sensor by "not protecting" alone."""
    street = Street(voice=True).run(settled())
    street.run(merged(upright(70.0, 6.0), heartbeats(6.0, 76.0)))
    said = [s.t_s for s in street.spoken("not_protecting")]
    assert said[0] < 7.0
    assert [b - a for a, b in itertools.pairwise(said)] == pytest.approx([30.0] * (len(said) - 1), abs=1.0)
    assert len(said) >= 3
    assert street.first("guard.changed", state="not_protecting").reasons == ("rear",)
    assert not street.spoken("sensor_lost")
    assert not [s for s in street.spoken() if s.earcon == "tick" and s.t_s > 7.0]


def test_the_clip_lost_with_the_rear_sensor_is_named_next():
    """Everything unplugged at once: "no rear sensor" first, and the clip as soon as that has been said."""
    street = Street(voice=True).run(settled())
    street.run(heartbeats(6.0, 20.0))
    rear, clip = street.spoken("not_protecting")[0], street.spoken("sensor_lost")
    assert rear.t_s <= 7.0
    assert clip[-1].value == "imu"
    assert clip[-1].t_s <= rear.t_s + 3.0


def test_one_of_two_rear_sensors_lost_is_limited_not_blind():
    """After a check that both passed: the lost one is named, protection is limited, the other one guards on."""
    hand = [*steady(0.0, 1.0, 0.5), *steady(1.0, STOP_S, None)]
    wall = [(9.0 + i / 15, 2.4 - 0.6 * i / 15) for i in range(45)]
    street = Street(TWO, voice=True).run(
        merged(
            ranges([*hand, *steady(STOP_S, 9.0, None), *wall], latency_s=0.0),
            ranges(hand, sensor="rear-left", latency_s=0.0),
            upright(12.0),
            heartbeats(0.0, 12.0),
        )
    )
    assert street.first("guard.changed", state="guarding") is not None
    assert street.first("guard.changed", state="limited").reasons == ("rear",)
    assert street.spoken("sensor_lost")[0].value == "rear-left"
    assert street.first("guard.changed", state="not_protecting") is None
    assert street.first("hazard.raised", level="warning").sensor == "rear"


def test_a_silent_voice_is_felt():
    """No sign of life from the voice for 0.3 s: buzzer and vibration tell at once, and the fault is an event."""
    street = life({"voice": STOP_S})
    fault = street.first("fault.raised", part="voice", fault="silent")
    assert fault.t_s - STOP_S <= 0.31
    assert any(t.pattern == "fault" and t.buzzer and t.t_s == fault.t_s for t in street.touches())
    assert street.first("fault.cleared", part="voice").t_s == pytest.approx(BACK_S, abs=0.2)
    assert any(s.phrase == "fault_over" and s.value == "voice" for s in street.spoken())
    said = [(s.phrase, s.value) for s in street.spoken("fault")]
    assert said == [("fault", "voice-restarted")], "a voice that is only held up would say later that it does not work"


def test_while_the_voice_is_silent_a_warning_is_felt():
    """With the speaker gone, the buzzer and the vibration carry the warning, and repeat it."""
    street = Street().run(settled())
    wall = [(7.5 + i / 15, 2.4 - 0.5 * i / 15) for i in range(45)]
    street.run(
        merged(
            ranges([*steady(6.0, 7.5, None), *wall], latency_s=0.0),
            upright(5.0, 6.0),
            heartbeats(6.0, 7.0, courier=False),
        )
    )
    raised = street.first("hazard.raised", level="warning").t_s
    warned = [t.t_s for t in street.touches() if t.pattern == "warning" and t.buzzer and t.t_s >= raised]
    assert warned[0] == raised
    assert len(warned) >= 2
    assert not [s for s in street.spoken() if s.t_s > 7.4]


@pytest.mark.parametrize("fault", ["no_device", "frozen"])
def test_a_voice_that_beats_but_cannot_be_heard_is_felt_too(fault):
    """A heartbeat with a play pointer that stands still is no sound."""
    street = Street().run(settled())
    beats = [VoiceHeartbeat(6.0 + i / 10, "speaker", 5, 0, fault) for i in range(30)]
    street.run(merged(beats, ranges(steady(6.0, 9.0, None), latency_s=0.0), upright(3.0, 6.0)))
    assert street.first("fault.raised", part="voice", fault=fault) is not None
    assert any(t.pattern == "fault" and t.buzzer for t in street.touches() if t.t_s < 6.5)


def test_a_voice_that_can_be_heard_again_says_so_at_once():
    """The sound device is plugged in again: "voice works again" is asked for with the first beat that says so."""
    street = Street().run(settled())
    gone = [VoiceHeartbeat(6.0 + i / 10, "speaker", 0, 0, "no_device") for i in range(20)]
    back = [VoiceHeartbeat(8.0 + i / 10, "speaker", 4800 * (i + 1)) for i in range(10)]
    street.run(merged(gone, back, ranges(steady(6.0, 9.0, None), latency_s=0.0), upright(3.0, 6.0)))
    assert "voice" not in [s.value for s in street.spoken("fault")]
    assert [(s.value, s.t_s) for s in street.spoken("fault_over")][:1] == [("voice", 8.0)]


def test_what_is_missing_at_the_start_is_said_when_the_voice_is_there():
    """The voice comes up after the guard: that nothing protects the walker is said then, not half a minute later."""
    street = Street().run(merged(upright(6.0), heartbeats(2.0, 6.0)), 6.0)
    asked = [s.t_s for s in street.spoken("not_protecting")]
    assert asked[0] < 1.0
    assert 2.0 < asked[1] < 2.5


def test_the_hand_of_the_check_is_no_obstacle():
    """A hand before a wall that is seen as soon as the hand is gone: "guarding" is said, and never "Stop"."""
    hand = [*steady(0.0, 4.0, 2.6), *steady(4.0, 5.0, 0.4), *steady(5.0, 12.0, 2.6)]
    street = Street(voice=True).run(merged(ranges(hand, latency_s=0.0), upright(12.0), heartbeats(0.0, 12.0)), 12.0)
    assert street.first("guard.changed", state="guarding") is not None
    assert not street.spoken("stop")
    assert not street.spoken("object")


def test_a_silent_courier_is_named_once_gone_for_its_limit():
    """3 s without a sign of the courier: the walker hears that messages are down, and hears when they are back."""
    street = life({"courier": 5.0})
    fault = street.first("fault.raised", part="courier")
    assert 7.0 <= fault.t_s <= 8.1
    assert [s.value for s in street.spoken("fault")] == ["courier"]
    assert [s.value for s in street.spoken("fault_over")] == ["courier"]


def test_a_loose_plug_is_lost_until_it_answers_steadily():
    """A single answer now and then does not bring a lost sensor back."""
    street = Street(voice=True).run(settled())
    now_and_then = [RangeSample(t, t, "rear", RangeStatus.NO_TARGET) for t in (7.5, 8.4, 9.3)]
    street.run(merged(now_and_then, upright(4.0, 6.0), heartbeats(6.0, 10.0)))
    assert len(street.events("sensor.lost")) == 1
    assert not street.events("sensor.restored")


@given(st.lists(st.tuples(st.sampled_from(["rear", "imu", "voice"]), st.floats(0.0, 1.0)), max_size=40))
def test_deadline_is_when_the_next_part_is_lost(signs):
    """At the deadline somebody is lost, and not before."""
    fresh = Freshness(Knobs(), ("rear", "imu"))
    fresh.begin(0.0)
    t = 0.0
    for name, gap in signs:
        t += gap
        due = fresh.deadline()
        if due <= t:
            assert not fresh.newly_lost(due - 1e-6)
            assert fresh.newly_lost(due)
            assert fresh.deadline() > due
            fresh.newly_lost(t)
        fresh.heard(name, t)
