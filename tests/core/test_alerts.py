"""The one alert table, tested as a table."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

import retrowalk.core.companion as companion_module
from retrowalk.config import Config, HcSr04
from retrowalk.core.alarm import ASK_S
from retrowalk.core.alerts import (
    ALERT_BY_KEY,
    ALERTS,
    COUNTDOWNS,
    COUNTS,
    DISTANCES_M,
    EARCONS,
    FAULT_PARTS,
    HAPTICS,
    KINDS,
    LIMITS,
    REMOTE_PHRASES,
    Alert,
    clips,
    distance_value,
    lasts_s,
    phrase_values,
    sensor_names,
    stage,
    told_by_touch,
)
from retrowalk.core.events import GuardState, Level

ROWS = [pytest.param(row, id=f"{row.key} {row.level.name.lower()}") for row in ALERTS.values()]
PHRASES = phrase_values(Config())
SOURCE = "".join(
    file.read_text(encoding="utf-8")
    for file in sorted(Path(companion_module.__file__).parent.glob("*.py"))
    if file.name != "alerts.py"
)

HAZARDS = {
    ("rear", Level.ADVISORY),
    ("rear", Level.CAUTION),
    ("rear", Level.WARNING),
    ("touching", Level.WARNING),
    ("unknown", Level.CAUTION),
    ("lean_back", Level.CAUTION),
    ("balance_lost", Level.WARNING),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_whole(row: Alert):
    """Something to hear; known earcon, haptic and phrase; times that make sense."""
    assert row.phrase or row.earcon
    assert row.earcon in ("", *EARCONS)
    assert row.haptic == "" or row.haptic in HAPTICS
    assert row.phrase == "" or row.phrase in PHRASES
    assert 0.0 < row.deadline_s <= 10.0
    assert row.repeat_s == 0.0 or row.repeat_s >= 0.5
    assert not row.buzzer or row.haptic
    assert row.level is not Level.NONE


@pytest.mark.parametrize(("key", "level"), sorted(HAZARDS))
def test_every_hazard_and_level_has_a_row(key, level):
    """Whatever the Companion can raise is heard."""
    assert (key, level) in ALERTS


def test_every_guard_state_has_a_row():
    """Each state the device can be in is said when it is entered."""
    assert {state.value for state in GuardState} <= set(ALERT_BY_KEY)


def test_every_key_the_companion_uses_has_a_row():
    """No alert is asked for that the table does not know (read off the source: strings given to the arbiter)."""
    used = set(re.findall(r'\.(?:hold|announce|release|retract)\(\s*(?:now|self\._now)?,?\s*"(\w+)"', SOURCE))
    assert len(used) > 20
    assert used <= {key for key, _ in ALERTS}


def test_every_row_is_used():
    """No orphan: each key is asked for somewhere (states by their value)."""
    used = set(re.findall(r'"(\w+)"', SOURCE)) | {state.value for state in GuardState}
    used |= {f"say_{name}" for name in REMOTE_PHRASES}
    assert {key for key, _ in ALERTS} <= used


def test_every_phrase_is_used():
    """Each phrase the bank renders belongs to a row; `guard_silent` is the voice's own."""
    assert set(PHRASES) - {row.phrase for row in ALERTS.values()} == {"guard_silent"}


def test_every_earcon_and_haptic_is_used():
    """No sound and no pattern without a meaning."""
    rows = [(row, value) for row in ALERTS.values() for value in (COUNTS if row.rises else ("",))]
    assert {stage(row, row.earcon, value) for row, value in rows if row.earcon} == set(EARCONS)
    assert {stage(row, told_by_touch(row), value) for row, value in rows} == set(HAPTICS)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_can_be_told_by_touch(row: Alert):
    """Who does not hear feels each alert, what everybody feels as everybody does, and is warned by what warns alone."""
    pattern = told_by_touch(row)
    assert pattern in HAPTICS
    assert row.haptic in ("", pattern)
    assert (pattern in KINDS["quick"]) == (
        row.level is Level.WARNING and row.earcon in ("warning", "touching", "balance")
    )
    if row.earcon == "fault":
        assert pattern == "fault"


def test_few_kinds_of_patterns_have_to_be_told_apart():
    """At most six; every pattern is of one of them."""
    assert len(KINDS) <= 6
    assert sorted(pattern for kind in KINDS.values() for pattern in kind) == sorted(HAPTICS)


def _rhythm(pattern: str) -> tuple[int, float]:
    """How many bursts, and how long the longest is."""
    bursts = HAPTICS[pattern]
    return len(bursts), max(on_s for on_s, _, _ in bursts)


@pytest.mark.parametrize("one", sorted(HAPTICS))
def test_kinds_differ_in_number_or_length_of_bursts(one):
    """Strength alone tells no two kinds apart: there is another count, or bursts at least twice as long."""
    kind = next(kind for kind in KINDS.values() if one in kind)
    for other in set(HAPTICS) - set(kind):
        (count, long_s), (other_count, other_long_s) = _rhythm(one), _rhythm(other)
        ratio = max(long_s, other_long_s) / min(long_s, other_long_s)
        # Three short bursts and more are one flutter; two are told from one.
        assert min(count, 3) != min(other_count, 3) or ratio >= 1.5 or _grows(one) != _grows(other), (one, other)


def _grows(pattern: str) -> bool:
    bursts = HAPTICS[pattern]
    return any(b[0] > a[0] for a, b in itertools.pairwise(bursts))


def test_a_countdown_grows_stronger():
    """From each stage to the next, and within each, the later burst is the stronger one; numbers never go back."""
    strengths = [[burst[2] for burst in HAPTICS[name]] for name in COUNTDOWNS]
    assert all(first < second for first, second in strengths)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(strengths))
    row = ALERT_BY_KEY["countdown"]
    stages = [COUNTDOWNS.index(stage(row, row.earcon, value)) for value in COUNTS]
    assert stages == sorted(stages)
    assert (stages[0], stages[-1]) == (0, len(COUNTDOWNS) - 1)
    assert all(lasts_s(name) < 1.0 for name in COUNTDOWNS)


def rank(key: str, level: Level | None = None) -> int:
    return ALERTS[key, level].rank if level is not None else ALERT_BY_KEY[key].rank


ORDER = [
    ("rear", Level.WARNING),
    ("touching", None),
    ("balance_lost", None),
    ("fall", None),
    ("sensor_lost", None),
    ("lean_back", None),
    ("rear", Level.CAUTION),
    ("guarding", None),
    ("clear", None),
    ("rear", Level.ADVISORY),
    ("tick", None),
]


def test_ranks_follow_danger():
    """Warning, balance, alarm, fault, caution, state, coaching, advisory, tick: each cuts what comes after it."""
    ranks = [rank(key, level) for key, level in ORDER]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(ranks)


def test_nothing_outranks_stop():
    """The word "Stop" cuts everything."""
    stop = rank("rear", Level.WARNING)
    assert all(row.rank < stop for key, row in ALERTS.items() if key != ("rear", Level.WARNING))


def test_a_cue_that_warns_of_nothing_is_a_warning_that_anything_real_cuts():
    """It is heard and felt as the warning is; whatever warns, alarms or names a fault is more urgent."""
    cue, stop = ALERT_BY_KEY["cue"], ALERTS["rear", Level.WARNING]
    assert (cue.level, cue.phrase, cue.earcon) == (stop.level, stop.phrase, stop.earcon)
    assert (cue.haptic, cue.buzzer, cue.deadline_s) == (stop.haptic, stop.buzzer, stop.deadline_s)
    real = [row for row in ALERTS.values() if row is not cue and row.level >= Level.CAUTION]
    assert all(row.rank > cue.rank for row in real)


@pytest.mark.parametrize("row", ROWS)
def test_quiet_never_covers_what_matters(row: Alert):
    """Warnings, faults, alarms and guard states ignore the 60 s of quiet."""
    if row.level is Level.WARNING or (row.earcon in ("fault", "countdown") and row.key != "battery_low"):
        assert not row.mutable
    if row.key in {state.value for state in GuardState} - {"stopping"}:
        assert not row.mutable


@pytest.mark.parametrize("row", [row for row in ALERTS.values() if row.level is Level.WARNING], ids=lambda row: row.key)
def test_a_warning_is_felt_too(row: Alert):
    """Whoever cannot hear feels every warning."""
    assert row.haptic


@pytest.mark.parametrize(
    "row",
    [row for row in ALERTS.values() if row.key in ("rear", "touching", "balance_lost")],
    ids=lambda row: f"{row.key} {row.level.name.lower()}",
)
def test_what_needs_the_body_at_once_begins_with_a_sound(row: Alert):
    """A tone first, words after it: and not later than the moment allows."""
    assert row.earcon
    assert row.deadline_s <= 1.0


@pytest.mark.parametrize("pattern", sorted(HAPTICS))
def test_haptic_patterns_are_short(pattern):
    """A pattern ends within 2 s, so that the next one is felt as news; on times can be felt."""
    assert lasts_s(pattern) <= 2.0
    assert all(on_s >= 0.05 and 0.0 < strength <= 1.0 for on_s, _, strength in HAPTICS[pattern])


def test_haptic_patterns_differ():
    """No two mean different things and feel the same."""
    assert len(set(HAPTICS.values())) == len(HAPTICS)


@pytest.mark.parametrize(
    ("range_m", "said"),
    [
        pytest.param(0.1, "0.5", id="nearer than the nearest"),
        pytest.param(0.99, "0.5", id="rounded towards nearer"),
        pytest.param(1.0, "1", id="exact"),
        pytest.param(2.74, "2.5", id="half metres"),
        pytest.param(3.9, "3", id="metres beyond three"),
        pytest.param(99.0, "5", id="farther than the farthest"),
    ],
)
def test_distances_are_said_on_the_safe_side(range_m, said):
    """The distance said is never more than there is, but for the last half metre."""
    assert distance_value(range_m) == said


def test_values_of_blanks():
    """Numbers rise or fall as they are said; parts and limits are words the texts know."""
    assert [float(v) for v in DISTANCES_M] == sorted(float(v) for v in DISTANCES_M)
    assert [int(v) for v in COUNTS] == sorted((int(v) for v in COUNTS), reverse=True)
    assert PHRASES["fault"] == PHRASES["fault_over"] == FAULT_PARTS
    assert PHRASES["limited"] == PHRASES["not_protecting"] == LIMITS
    assert ASK_S == 5.0


def test_clips_are_every_phrase_with_every_value_once():
    """What the bank must hold, for a configuration with two sensors."""
    config = Config(range_sensor=(HcSr04(), HcSr04(name="left", trigger_pin=5, echo_pin=6)))
    assert sensor_names(config) == ("rear", "left", "imu")
    every = list(clips(config))
    assert len(every) == len(set(every))
    assert ("sensor_lost", "left") in every
    assert ("object", "1.5") in every
    assert ("stop", "") in every
