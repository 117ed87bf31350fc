"""What holds of the Companion whatever comes through its door."""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.streams import streams

from retrowalk import wire
from retrowalk.config import Config
from retrowalk.core.companion import Companion
from retrowalk.core.events import Output, Speak, StateSaved
from retrowalk.core.samples import Item, RangeSample, Restored, SavedState, Tick

FEW = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def play(items: Iterable[Item], extra_ticks: Iterable[float] = (), config: Config | None = None) -> list[Output]:
    """Feeds items, a tick at every deadline, and ticks nobody asked for; checks that deadlines move on."""
    companion = Companion(config or Config())
    outputs: list[Output] = []
    extra = sorted(extra_ticks)
    now = None
    for item in items:
        while now is not None:
            due = companion.deadline()
            times_s = [] if due is None else [max(now, due)]
            if extra:
                times_s.append(max(now, extra[0]))
            if not times_s or min(times_s) >= item.t_received_s:
                break
            now = min(times_s)
            if extra and extra[0] <= now:
                extra.pop(0)
            outputs.extend(companion.feed(Tick(now)))
            after = companion.deadline()
            assert after is None or after > now, f"a tick at {now} left the deadline at {after}"
        now = item.t_received_s
        outputs.extend(companion.feed(item))
    return outputs


def events(outputs: Iterable[Output]) -> list[Output]:
    return [o for o in outputs if not isinstance(o, StateSaved)]


@pytest.mark.slow
@FEW
@given(streams())
def test_whatever_comes_is_answered_in_order_and_fits_the_wire(items):
    """Never raises; times never fall, alert numbers rise, everything reads back from JSON as it was."""
    outputs = play(items)
    last_t, last_alert = float("-inf"), 0
    for output in outputs:
        kind = type(output)
        assert wire.decode(wire.encode(output), kind) == output
        assert output.t_s >= last_t
        last_t = output.t_s
        if isinstance(output, Speak):
            assert output.alert > last_alert
            last_alert = output.alert
            assert output.deadline_s > output.t_s
    for item in items[:50]:
        assert wire.decode(wire.encode(item), type(item)) == item


@FEW
@given(streams(max_pieces=6))
def test_equal_items_give_equal_outputs(items):
    """A recording replays to the same events, byte for byte."""
    first = [wire.encode(o) for o in play(items)]
    assert first == [wire.encode(o) for o in play(items)]


@pytest.mark.slow
@FEW
@given(streams(max_pieces=6), st.lists(st.floats(0.0, 60.0), max_size=30))
def test_ticks_nobody_asked_for_change_nothing(items, extra):
    """Time that is told more often than asked for leads to the same facts at the same times."""
    start = items[0].t_received_s
    assert events(play(items)) == events(play(items, [start + t for t in extra]))


@pytest.mark.slow
@FEW
@given(streams(max_pieces=6))
def test_a_recording_replays_without_its_deadlines(items):
    """The guard records the ticks it fed; replay feeds the recorded items alone and gives the same."""
    companion = Companion(Config())
    recorded: list[Item] = []
    outputs: list[Output] = []
    for item in items:
        due = companion.deadline()
        while recorded and due is not None and due < item.t_received_s:
            tick = Tick(max(due, recorded[-1].t_received_s))
            recorded.append(tick)
            outputs.extend(companion.feed(tick))
            due = companion.deadline()
        recorded.append(item)
        outputs.extend(companion.feed(item))
    again = Companion(Config())
    assert [o for item in recorded for o in again.feed(item)] == outputs


@pytest.mark.slow
@FEW
@given(streams(max_pieces=6), st.lists(st.integers(0, 3000), max_size=40))
def test_the_same_samples_in_other_batches_change_nothing(items, cuts):
    """After each batch the guard asks whether something is due; where the cuts fall makes no difference."""

    def batches(ends: set[int]) -> list[Output]:
        companion = Companion(Config())
        outputs: list[Output] = []
        for i, item in enumerate(items):
            outputs.extend(companion.feed(item))
            if i in ends:
                outputs.extend(companion.feed(Tick(item.t_received_s)))
                companion.snapshot()  # looking changes nothing
        return events(outputs)

    assert batches(set()) == batches({cut % len(items) for cut in cuts})


@pytest.mark.slow
@FEW
@given(streams(max_pieces=5))
def test_no_flood(items):
    """No input makes the device ask for more than a person could sort: at most 40 requests in any second."""
    asked = [o.t_s for o in play(items) if isinstance(o, Speak)]
    for i, t in enumerate(asked):
        assert bisect.bisect_right(asked, t + 1.0) - i <= 40


def test_a_sensor_nobody_configured_is_ignored():
    """A sample of an unknown sensor neither raises nor counts as a sign of life."""
    companion = Companion(Config())
    companion.feed(Tick(0.0))
    from retrowalk.core.samples import RangeStatus

    assert companion.feed(RangeSample(0.1, 0.1, "nobody", RangeStatus.VALID, 0.2)) == ()


@pytest.mark.parametrize(
    ("guard_state", "elapsed_s", "restarted", "resumed"),
    [
        pytest.param("guarding", 3.0, True, True, id="killed while guarding"),
        pytest.param("limited", 599.0, True, True, id="killed ten minutes ago"),
        pytest.param("guarding", 3600.0, True, False, id="power cut an hour ago"),
        pytest.param("stopping", 3.0, False, False, id="switched off cleanly"),
    ],
)
def test_what_a_start_takes_over(guard_state, elapsed_s, restarted, resumed):
    """A death is told and, soon after guarding, gone on from; a clean switch-off is followed by a first start."""
    state = SavedState(t_saved_s=90.0, guard_state=guard_state, guarding_since_s=9.0, upright=(0.0, 0.0, 1.0), steps=40)
    companion = Companion(Config())
    outputs = companion.feed(Restored(0.0, state, elapsed_s))
    said = [output.phrase for output in outputs if isinstance(output, Speak)]
    assert ("restarted" in said) == restarted
    assert companion.snapshot().steps == (40 if resumed else 0)
    assert (companion._body.posture.upright is not None) == resumed  # where the clip sits is asked again, or not
