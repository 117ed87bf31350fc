"""Quiet when safe: nobody is coached near a hazard, and a minute of quiet never covers what matters."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.synth import Street, approach, heartbeats, merged, press, ranges, settled, steady, upright
from tests.core.test_coaching import DT_S, WALKS_S, Does, worn

from retrowalk.core.alerts import ALERT_BY_KEY, ALERTS, HAZARDS, STANDING, Alert
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.coaching import REST_S
from retrowalk.core.companion import QUIET_S
from retrowalk.core.events import Level, Output, Speak
from retrowalk.core.samples import VoicePhase, VoiceProgress

COACHING = ("lean_back", "unsteady", "hurrying", "shuffling", "looking_back")
DANGERS = sorted((key, level) for key, level in ALERTS if key in HAZARDS and level > Level.ADVISORY)
PHRASES = {ALERTS[danger].phrase or ALERTS[danger].earcon for danger in DANGERS}
"""What is heard of a hazard."""

moment = st.tuples(
    st.sampled_from([0.05, 0.3, 0.9, 1.5, 2.9, 3.1, 6.0]),
    st.one_of(
        st.tuples(st.just("hold"), st.sampled_from(DANGERS)),
        st.tuples(st.just("release"), st.sampled_from(DANGERS)),
        st.tuples(st.just("coach"), st.sampled_from(COACHING)),
        st.tuples(st.just("voice"), st.sampled_from(VoicePhase)),
    ),
)


@pytest.mark.slow
@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(moment, max_size=40))
def test_nobody_is_coached_within_three_seconds_of_a_hazard(moments):
    """Whatever comes and goes: coaching is asked for neither while something is there nor within 3 s of any word of it.

    Whether it may be is asked as coaching itself asks.
    """
    out: list[Output] = []
    arbiter = Arbiter(out)
    now = 0.0
    there: set[str] = set()
    last_s = -60.0
    """When a hazard was last told of, or was last there."""
    for gap_s, (what, which) in moments:
        now += gap_s
        while arbiter.deadline() <= now:
            at_s = arbiter.deadline()
            arbiter.advance(at_s)
        if there & STANDING:
            last_s = now
        if what == "hold":
            key, level = which
            arbiter.hold(now, key, level)
            there.add(key)
        elif what == "release":
            arbiter.release(now, which[0])
            if which[0] in there:
                there.discard(which[0])
                last_s = now
        elif what == "voice":
            asked = [o for o in out if isinstance(o, Speak)]
            if asked:
                arbiter.progress(VoiceProgress(now, now, asked[-1].alert, which))
        told = [o.t_s for o in out if isinstance(o, Speak) and (o.phrase or o.earcon) in PHRASES]
        last_s = max([last_s, *told])
        if what == "coach" and arbiter.free(now, ALERT_BY_KEY[which].rank, REST_S):
            assert now >= last_s + REST_S - 1e-6
            arbiter.announce(now, which, insist=False)


def encounters(seed: int) -> tuple[dict[float, Does], list[tuple[float, float | None]]]:
    """A minute's walk of somebody who leans, with things that come near now and then."""
    draw = random.Random(f"quiet:{seed}")
    script: dict[float, Does] = {
        draw.uniform(30.0, 34.0): lambda walker, _: walker.step_unevenly(0.3),
        draw.uniform(38.0, 44.0): lambda walker, t: walker.lean(t, -8.0, hold_s=12.0),
    }
    seen: list[tuple[float, float | None]] = []
    t = 6.0
    while t < 70.0:
        free_s, near_s = draw.uniform(2.0, 12.0), draw.uniform(0.5, 3.0)
        seen += [*steady(t, t + free_s, None), *steady(t + free_s, t + free_s + near_s, draw.uniform(0.5, 1.9))]
        t += free_s + near_s
    return script, seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 9))])
def test_a_walk_with_things_near_is_not_coached_beside_them(seed):
    """In the whole core: every word of coaching is 3 s and more after every word about a hazard."""
    script, seen = encounters(seed)
    street = worn(script, 70.0, more=ranges(seen, latency_s=0.0))
    told = [speak.t_s for speak in street.spoken() if (speak.phrase or speak.earcon) in PHRASES]
    coached = [speak for speak in street.spoken() if speak.phrase in COACHING]
    assert told
    assert coached
    for speak in coached:
        assert not [t for t in told if 0.0 <= speak.t_s - t < REST_S - 1e-6], speak
    assert WALKS_S > DT_S


# ------------------------------------------------------------------------------------- the minute of quiet

MUTED = {
    ("rear", Level.ADVISORY),
    ("rear", Level.CAUTION),
    ("clear", Level.ADVISORY),
    ("stumbled", Level.ADVISORY),
    ("sensor_back", Level.ADVISORY),
    ("fault_over", Level.ADVISORY),
    ("introduction", Level.ADVISORY),
    *((key, ALERT_BY_KEY[key].level) for key in COACHING),
}
"""All that a walker who asked for quiet does not hear for a minute: coaching, cautions of what is behind, good news."""
ROWS = [pytest.param(row, id=f"{row.key} {row.level.name.lower()}") for row in ALERTS.values()]


@pytest.mark.parametrize("row", ROWS)
def test_quiet_covers_nothing_that_matters(row: Alert):
    """Every row: it is muted if it is coaching, a caution of something far enough, or good news; else never."""
    out: list[Output] = []
    arbiter = Arbiter(out)
    arbiter.quiet_until_s = QUIET_S
    arbiter.hold(QUIET_S - 1.0, row.key, row.level)
    assert bool(out) == ((row.key, row.level) not in MUTED)
    if (row.key, row.level) in MUTED:
        assert row.level < Level.WARNING
        assert row.earcon != "fault"
        assert row.key not in ("drop", "unknown", "not_protecting", "limited", "ground", "approaching", "governor")


@pytest.mark.parametrize("row", ROWS)
def test_quiet_ends_after_a_minute(row: Alert):
    """From then on every row is heard."""
    out: list[Output] = []
    arbiter = Arbiter(out)
    arbiter.quiet_until_s = QUIET_S
    arbiter.hold(QUIET_S, row.key, row.level)
    assert out


@pytest.mark.slow
def test_a_double_press_is_quiet_for_a_minute_and_no_longer():
    """However often it is asked for, quiet ends 60 s after the last time; "Stop" is said in it."""
    near, far = approach(60.0, 2.4, 0.5, 1.3), approach(110.0, 2.4, 0.5, 1.3)
    seen = [*steady(6.0, 60.0, None), *near, *steady(63.0, 66.0, 0.6), *steady(66.0, 110.0, None), *far]
    around = [*ranges(seen, latency_s=0.0)]
    life = merged(around, upright(107.0, 6.0), heartbeats(6.0, 113.0))
    pressed = [press(t) for down_s in (10.0, 40.0) for t in (down_s, down_s + 0.3)]
    usual = Street(voice=True).run(settled()).run(life, 113.0)
    quiet = Street(voice=True).run(settled()).run(merged(life, *pressed), 113.0)
    assert [speak for speak in usual.spoken("object") if speak.t_s < 100.0]
    assert not [speak for speak in quiet.spoken("object") if speak.t_s < 100.0]
    assert [speak for speak in quiet.spoken("object") if speak.t_s >= 110.0]
    assert [speak for speak in quiet.spoken("stop") if speak.t_s < 100.0]
    assert QUIET_S == 60.0
