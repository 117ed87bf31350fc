"""A "Stop" that warns of nothing, to measure a stop: for somebody who walks, is guarded, and needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.core.synth import Street, heartbeats, merged, press, ranges, settled, steady, walking

from retrowalk.core.events import Speak
from retrowalk.core.samples import CueRequested, Item, RangeSample, VoiceHeartbeat

CUE_S = 14.0


def walk(until_s: float = CUE_S) -> list[Item]:
    """Checked and guarding at 6 s, walking from 8 s on, nothing behind."""
    moving = [s for s in walking(until_s, bouts=[(8.0, until_s)], seed=5).samples() if s.t_received_s > 6.0]
    clear = ranges(steady(6.0, until_s, None), latency_s=0.0)
    return merged(settled(), moving, clear, heartbeats(6.0, until_s))


def asked(items: Iterable[Item]) -> tuple[Street, bool, str]:
    """Asks for a cue after these items: the device, whether it was given, and why not."""
    street = Street(voice=True).run(items)
    street.run([CueRequested(CUE_S, "test")])
    answer = street.first("command.received", name="cue")
    assert answer.id == "test"
    return street, answer.accepted, answer.reason


def test_who_walks_guarded_gets_the_cue() -> None:
    """Tone, word, vibration and buzzer of a warning, at once, and once only."""
    street, accepted, reason = asked(walk())
    assert (accepted, reason) == (True, "")
    spoken = street.spoken("stop")
    assert [(s.t_s, s.earcon, s.level) for s in spoken] == [(CUE_S, "warning", "warning")]
    assert street.first("command.received").alert == spoken[0].alert
    assert [(t.pattern, t.buzzer) for t in street.touches() if t.t_s == CUE_S] == [("warning", True)]
    street.run([], until_s=CUE_S + 0.4)
    assert len(street.spoken("stop")) == 1


def without(items: Iterable[Item], kind: type, from_s: float) -> list[Item]:
    return [item for item in items if not (isinstance(item, kind) and item.t_received_s > from_s)]


def near(until_s: float = CUE_S) -> list[Item]:
    """Something comes nearer while the walker walks."""
    closing = ranges([(t, 3.0 - 0.5 * (t - 11.0)) for t, _ in steady(11.0, until_s, 1.0)], latency_s=0.0)
    return merged(without(walk(), RangeSample, 11.0), closing)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        pytest.param(settled(seconds=CUE_S), "standing", id="stands"),
        pytest.param(near(), "hazard", id="something is behind"),
        pytest.param(without(walk(), RangeSample, 11.0), "hazard", id="a sensor is lost"),
        pytest.param(merged(walk(), press(10.0, 3.5)), "alarm", id="help was called"),
        pytest.param(without(walk(), VoiceHeartbeat, 12.0), "voice", id="nobody can hear it"),
        pytest.param(without(walk(), RangeSample, 0.5), "hazard", id="never guarded"),
    ],
)
def test_everybody_else_is_refused_with_a_reason(items: list[Item], reason: str) -> None:
    """And nothing is said that has no reason."""
    street, accepted, why = asked(items)
    assert (accepted, why) == (False, reason)
    assert not [s for s in street.outputs if isinstance(s, Speak) and s.phrase == "stop" and s.t_s == CUE_S]


def test_a_device_that_is_not_checked_yet_refuses() -> None:
    """While it asks for the hand, nobody is measured."""
    moving = list(walking(CUE_S, bouts=[(2.0, CUE_S)], seed=5).samples())
    clear = ranges(steady(0.0, CUE_S, None), latency_s=0.0)
    _, accepted, why = asked(merged(moving, clear, heartbeats(0.0, CUE_S)))
    assert (accepted, why) == (False, "not_guarding")


def test_a_real_warning_cuts_the_cue() -> None:
    """What is behind a tenth of a second later is warned of at once, by a more urgent request."""
    street, _, _ = asked(walk())
    close = [(CUE_S + 0.1 + 0.06 * n, 0.6 - 0.03 * n) for n in range(12)]
    street.run(merged(ranges(close, latency_s=0.0), heartbeats(CUE_S + 0.05, CUE_S + 1.0)))
    cue, *real = street.spoken("stop")
    assert real
    assert real[0].rank > cue.rank
    assert real[0].t_s < CUE_S + 0.6
