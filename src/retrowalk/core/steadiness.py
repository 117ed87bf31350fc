"""Is the wearer about to become unsteady?  Calm words before balance is lost, from how they walk compared with usual.

Five things are watched, the most urgent first: leaning back, unsteady steps, hurrying, shuffling, looking back.  Each
is judged against the wearer's own walking: an absolute lean cries wolf, because healthy trunks pitch by 6.7 +- 2.2
degrees while they walk (284 elders, 20 of them beyond the 9.9 degrees from which backward falls begin), and personal
limits tell impaired balance better than those of a group.  Until enough has been seen of the wearer, published limits
hold, drawn wider; where there is none, nothing is said.

`update` takes what others have found out, some ten times a second (`EVERY_S`); it never sees a sample.  Nothing is
judged in turns, in the first steps of a bout, or while coming to a stop: everybody leans back to brake.  What is
raised holds until it is clearly over.  `due` says which of what holds may be spoken of now: one message in
`message_gap_s` over all, and what goes on in spite of being said is said ever more seldom.

How often healthy people are told something, and how soon impaired ones: `benchmarks/steadiness.py`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from retrowalk.config import Balance as Knobs
from retrowalk.core.samples import Usual

EVERY_S = 0.1
"""`update` wants to be called so often."""
GAP_S = 1.0
"""Without an update for longer, what was seen before says nothing about now."""

BEGINNING_S = 3.0
"""The first seconds of a bout are speeding up ..."""
STOPPING = 1.4
"""... and who has not stepped for so many step times is stopping."""
STEP_S = 0.6
"""Time of a step while the cadence is not known."""
AFTER_TURN_S = 3.0
"""So long after a turn the trunk, and the filter that follows it, are still coming back from it."""
LAPSES_S = 5.0
"""What could not be judged for so long does not hold any more."""

LEARN_S = 120.0
"""The first two minutes of steady walking teach what is usual: the plain mean of them."""
FOLLOW_S = 600.0
"""From then on it follows with this time constant ..."""
PULL = 0.25
"""... nothing pulling harder than a value so much, as a share, above or below it ..."""
SESSION = 0.15
"""... and no further than by this share in one session: one bad walk changes little."""
STEADY_S = 5.0
"""What teaches lies so far into a bout."""
LEAST, MOST = 0.01, 300.0
"""No number that is usual for anybody lies beyond these."""

LEAN_LEARN_S = 15.0
"""The lean is known after so much walking: how the trunk stands in the clip differs each time it is put on ..."""
LEAN_FOLLOW_S = 60.0
"""... and it is followed with this time constant: what the orientation filter still drifts is no lean."""
LEAN_FROZEN_S = 60.0
"""A lean that lasts longer is how this wearer walks today."""
LEAN_UNKNOWN_DEG = 10.0
"""Lean from upright that is worth a word before the wearer's own is known: 9.9 degrees is where falls begin."""
DRIFT_S = 5.0
"""The drift is that of the mean over so long."""
OMEGA0_PER_S = 3.1
"""Inverted pendulum of a trunk 1 m above its pivot: sqrt(g / l)."""

UNSTEADY_UNKNOWN_CV = 0.14
"""Variation of step times before the wearer's own is known: that of frail people on very uneven ground."""
UNSTEADY_STRONG = 1.4
"""More than so many times the limit (14 % of 10 %) needs less time to be believed."""
UNSTEADY_USUAL = 1.4
"""Nobody is unsteady who varies by less than so many times what is usual for them."""
UNSTEADY_OVER = 0.85
"""It is over below this share of the limit."""
IRREGULAR = 0.5
"""Regularity below this is uneven walking ..."""
IRREGULAR_USUAL = 0.7
"""... if it is below this share of the wearer's own, too ..."""
IRREGULAR_SPEED = 0.75
"""... at no less than this share of their speed: everybody is less regular when slow."""

SHUFFLE_BOUNCE = 0.7
"""A shuffler's back bounces by less than this share of what is usual ..."""
SHUFFLE_CADENCE = 1.1
"""... at more than this share of the usual cadence.  The slow bounce less, too, but not at quicker steps."""

HURRY_WITHIN_S = 5.0
"""Hurrying is being so much faster than so long ago ..."""
HURRY_USUAL = 1.1
"""... and faster than usual by this share: getting going again is none."""
HURRY_UNKNOWN = 1.5
"""Before the usual is known, the share that counts is so many times larger."""
HURRY_OVER = 0.5
"""It is over when this share of the gain is left ..."""
HURRY_LASTS_S = 20.0
"""... or after so long: a pace that is kept is a pace."""
HURRY_BEGINNING_S = 8.0
"""In the first steps of a bout everybody becomes faster."""

LONGEST_GAPS = 8
"""What goes on in spite of being said waits twice as long each time, up to so many gaps ..."""
FORGET_S = 120.0
"""... until it has not been so for this long."""


class Seen(NamedTuple):
    """What is known of the wearer at a moment.  None: not known."""

    walking: bool
    pitch_deg: float | None = None
    """Trunk pitch from upright, forward positive, and its rate: means since the last update."""
    pitch_rate_deg_s: float = 0.0
    bout_started_s: float | None = None
    last_step_s: float = -math.inf
    cadence_spm: float | None = None
    speed_m_s: float | None = None
    step_time_cv: float | None = None
    """Standard deviation of step times over their mean."""
    regularity: float | None = None
    """Autocorrelation of vertical acceleration at a step, up to 1."""
    stride_regularity: float | None = None
    """... and at a stride: of who limps, the regular one."""
    vertical_rms_m_s2: float | None = None
    turning: bool = False
    yaw_held_deg: float = 0.0
    """How far the trunk is turned from where it usually points, left positive."""


class Finding(NamedTuple):
    """What was found of a hazard at a moment, with the number that justifies it."""

    bad: bool
    """It is so; with `strong` beyond doubt.  Neither bad nor over: as before."""
    over: bool
    measure: str
    """Name of the number, with its unit."""
    value: float
    usual: float | None
    """What is usual for this wearer; None: not known yet."""
    strong: bool = False


class Change(NamedTuple):
    """A hazard has appeared (`raised`), or is over."""

    hazard: str
    raised: bool
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """When a finding becomes a hazard."""

    hazard: str
    hold_s: float
    """It must be bad for so long ..."""
    hold_strong_s: float
    """... or strongly bad for so long ..."""
    clear_s: float
    """... and over for so long."""


def rules(knobs: Knobs) -> tuple[Rule, ...]:
    """The hazards, the most urgent first."""
    return (
        Rule("lean_back", knobs.lean_hold_s, knobs.lean_hold_s, 1.0),
        Rule("unsteady", 4.0, 2.0, 4.0),
        Rule("hurrying", 1.5, 1.5, 1.0),
        Rule("shuffling", 3.0, 3.0, 3.0),
        Rule("looking_back", knobs.look_back_s, knobs.look_back_s, 0.5),
    )


class Steadiness:
    """Feeds on `Seen` at measured times in session seconds; answers what has changed."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._watches = tuple(_Watch(rule) for rule in rules(knobs))
        self._by_hazard = {watch.rule.hazard: watch for watch in self._watches}
        self._judges = (self._lean_back, self._unsteady, self._hurrying, self._shuffling, self._looking_back)
        self._t = -math.inf
        self._turned_s = -math.inf
        self._said_s = -math.inf
        self.own = Own()
        self.lean = Lean()
        self._pace: deque[tuple[float, float | None, float | None]] = deque()
        """Cadence and speed of the last seconds."""
        self._hurried_from: tuple[str, float, float] | None = None
        """What was fast, how fast it was before, and since when it is."""

    # -- judging ----------------------------------------------------------------------------------------------

    def update(self, t_s: float, seen: Seen) -> list[Change]:
        """Takes what is known at `t_s`; returns what has changed (mostly nothing)."""
        dt = t_s - self._t
        self._t = t_s
        if not 0.0 < dt <= GAP_S:
            self._forget_moment()
            dt = EVERY_S
        if seen.turning:
            self._turned_s = t_s
        bout_s = t_s - seen.bout_started_s if seen.walking and seen.bout_started_s is not None else -math.inf
        step_s = 60.0 / seen.cadence_spm if seen.cadence_spm else STEP_S
        stopping = t_s - seen.last_step_s > STOPPING * step_s
        straight = t_s - self._turned_s > AFTER_TURN_S
        even = straight and not stopping and bout_s > BEGINNING_S
        self.lean.update(t_s, dt, seen, learns=even and not self._leaning_lately(t_s), step_s=step_s)
        if bout_s == -math.inf:
            self._pace.clear()
            self._hurried_from = None
        else:
            self._pace.append((t_s, seen.cadence_spm, seen.speed_m_s))
            while len(self._pace) > 1 and self._pace[1][0] <= t_s - HURRY_WITHIN_S:
                self._pace.popleft()
        if even and bout_s > STEADY_S:
            self.own.learn(dt, seen)
        if not even and not self._by_hazard["hurrying"].raised:
            self._hurried_from = None
        changes: list[Change] = []
        for watch, judge in zip(self._watches, self._judges, strict=True):
            finding = judge(t_s, seen, bout_s) if even else None
            news = watch.update(t_s, finding, walking=seen.walking)
            if news is not None:
                changes.append(Change(watch.rule.hazard, news, finding))
        return changes

    def _forget_moment(self) -> None:
        self.lean.forget_moment()
        self._pace.clear()
        self._hurried_from = None

    def _leaning_lately(self, t_s: float) -> bool:
        watch = self._by_hazard["lean_back"]
        return watch.raised and t_s - watch.raised_s < LEAN_FROZEN_S

    def _lean_back(self, t_s: float, seen: Seen, bout_s: float) -> Finding | None:
        lean, knobs = self.lean, self._knobs
        capture = lean.capture_deg
        if capture is None:
            return None
        usual = lean.usual_deg
        if usual is None:
            back = -capture
            over = back < 0.5 * LEAN_UNKNOWN_DEG
            return Finding(back > LEAN_UNKNOWN_DEG, over, "capture_pitch_deg", capture, None)
        back = usual - capture
        drifted = 0.0 if lean.drifting_deg is None else usual - lean.drifting_deg
        tipping, drifting = back > knobs.lean_caution_deg, drifted > knobs.lean_drift_deg
        over = back < 0.5 * knobs.lean_caution_deg and drifted < 0.5 * knobs.lean_drift_deg
        if drifting and not tipping and lean.drifting_deg is not None:
            return Finding(True, over, "trunk_pitch_deg", lean.drifting_deg, usual)
        return Finding(tipping, over, "capture_pitch_deg", capture, usual)

    def _unsteady(self, t_s: float, seen: Seen, bout_s: float) -> Finding | None:
        cv, own = seen.step_time_cv, self.own.known
        usual = own.step_time_cv if own else None
        least = self._knobs.unsteady_cv
        limit = max(least, UNSTEADY_UNKNOWN_CV if own is None else UNSTEADY_USUAL * own.step_time_cv)
        if cv is not None and cv > limit:
            return Finding(True, False, "step_time_cv", cv, usual, strong=cv > UNSTEADY_STRONG * limit)
        even, over = self._regular(seen, own)
        if not even and own is not None:
            return Finding(True, False, "regularity", seen.regularity or 0.0, own.regularity)
        if cv is None:
            return None
        return Finding(False, over and cv < UNSTEADY_OVER * limit, "step_time_cv", cv, usual)

    @staticmethod
    def _regular(seen: Seen, own: Usual | None) -> tuple[bool, bool]:
        """Whether steps are as regular as usual, and whether clearly so; true where it cannot be told."""
        if own is None or seen.regularity is None or (seen.speed_m_s or 0.0) < IRREGULAR_SPEED * own.speed_m_s:
            return True, True
        best = max(seen.regularity, seen.stride_regularity or 0.0)
        lowest = min(IRREGULAR, IRREGULAR_USUAL * own.regularity)
        return best >= lowest, best * UNSTEADY_OVER >= lowest

    def _hurrying(self, t_s: float, seen: Seen, bout_s: float) -> Finding | None:
        if self._hurried_from is not None:
            measure, slow, since_s = self._hurried_from
            now = (seen.speed_m_s if measure == "speed_m_s" else seen.cadence_spm) or 0.0
            over = now < slow * (1.0 + HURRY_OVER * self._knobs.hurry_share) or t_s - since_s > HURRY_LASTS_S
            if over and not self._by_hazard["hurrying"].raised:
                self._hurried_from = None
            return Finding(not over, over, measure, now, slow)
        if bout_s < HURRY_BEGINNING_S or self._pace[0][0] > t_s - HURRY_WITHIN_S:
            return None
        _, cadence_before, speed_before = self._pace[0]
        own = self.own.known
        share = self._knobs.hurry_share * (1.0 if own else HURRY_UNKNOWN)
        for measure, fast, before, usual in (
            ("speed_m_s", seen.speed_m_s, speed_before, own.speed_m_s if own else 0.0),
            ("cadence_spm", seen.cadence_spm, cadence_before, own.cadence_spm if own else 0.0),
        ):
            if fast and before and fast > (1.0 + share) * before and fast > HURRY_USUAL * usual:
                self._hurried_from = (measure, before, t_s)
                return Finding(True, False, measure, fast, before)
        return Finding(False, True, "speed_m_s", seen.speed_m_s or 0.0, None)

    def _shuffling(self, t_s: float, seen: Seen, bout_s: float) -> Finding | None:
        own, bounce, cadence = self.own.known, seen.vertical_rms_m_s2, seen.cadence_spm
        if own is None or bounce is None or cadence is None:
            return None
        flat, quick = bounce / own.vertical_rms_m_s2, cadence / own.cadence_spm
        bad = flat < SHUFFLE_BOUNCE and quick > SHUFFLE_CADENCE
        over = flat > 0.5 * (1.0 + SHUFFLE_BOUNCE) or quick < 1.0
        return Finding(bad, over, "vertical_rms_m_s2", bounce, own.vertical_rms_m_s2)

    def _looking_back(self, t_s: float, seen: Seen, bout_s: float) -> Finding | None:
        yaw = abs(seen.yaw_held_deg)
        limit = self._knobs.look_back_deg
        return Finding(yaw > limit, yaw < 0.5 * limit, "yaw_deg", seen.yaw_held_deg, None)

    # -- saying -----------------------------------------------------------------------------------------------

    def due(self, t_s: float) -> str | None:
        """The most urgent hazard that holds and may be spoken of at `t_s`; None: there is none."""
        if t_s < self._said_s + self._knobs.message_gap_s:
            return None
        for watch in self._watches:
            if watch.raised and t_s >= watch.said_s + watch.gaps * self._knobs.message_gap_s:
                return watch.rule.hazard
        return None

    def said(self, t_s: float, hazard: str) -> None:
        """It was said at `t_s`."""
        self._said_s = t_s
        watch = self._by_hazard[hazard]
        watch.gaps = min(LONGEST_GAPS, 2 * watch.gaps) if watch.said_s > -math.inf else 1
        watch.said_s = t_s

    def because(self, hazard: str) -> str:
        """The numbers of what holds, for a person to read."""
        finding = self._by_hazard[hazard].finding
        if finding is None:
            return ""
        usually = "" if finding.usual is None else f", usually {finding.usual:.2f}"
        return f"{finding.measure} {finding.value:.2f}{usually}"


class _Watch:
    """Whether a hazard holds."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.raised = False
        self.raised_s = -math.inf
        self.finding: Finding | None = None
        """The latest bad one."""
        self.said_s = -math.inf
        self.gaps = 1
        self._bad_since_s: float | None = None
        self._over_since_s: float | None = None
        self._judged_s = -math.inf

    def update(self, t_s: float, finding: Finding | None, *, walking: bool) -> bool | None:
        """Takes a finding (None: it cannot be judged); returns whether it holds if that has changed."""
        if finding is None:
            self._bad_since_s = self._over_since_s = None
            return self._end(t_s) if self.raised and (not walking or t_s - self._judged_s > LAPSES_S) else None
        self._judged_s = t_s
        if finding.bad:
            self.finding = finding
            self._over_since_s = None
            if self._bad_since_s is None:
                self._bad_since_s = t_s
            hold_s = self.rule.hold_strong_s if finding.strong else self.rule.hold_s
            if not self.raised and t_s - self._bad_since_s >= hold_s:
                self.raised, self.raised_s = True, t_s
                if t_s - self.said_s > FORGET_S:
                    self.gaps, self.said_s = 1, -math.inf
                return True
            return None
        self._bad_since_s = None
        if not self.raised or not finding.over:
            self._over_since_s = None
            return None
        if self._over_since_s is None:
            self._over_since_s = t_s
        return self._end(t_s) if t_s - self._over_since_s >= self.rule.clear_s else None

    def _end(self, t_s: float) -> bool:
        self.raised = False
        self._over_since_s = None
        return False


class Lean:
    """How the trunk leans in walking now, and how it does usually.  Degrees of pitch, forward positive."""

    __slots__ = ("_learned_s", "_mean_deg", "_sum", "_window", "capture_deg", "drifting_deg")

    def __init__(self) -> None:
        self._learned_s = 0.0
        self._mean_deg = 0.0
        self.forget_moment()

    def forget_moment(self) -> None:
        """What was before says nothing about now; what is usual stays."""
        self._window: deque[tuple[float, float, float]] = deque()
        self._sum = 0.0
        self.capture_deg: float | None = None
        """Where the trunk is going to be (pitch and rate / omega0), mean over two steps; None: not known."""
        self.drifting_deg: float | None = None
        """Mean pitch of the last seconds."""

    @property
    def usual_deg(self) -> float | None:
        """The wearer's mean pitch in walking since the clip was put on; None until it is known."""
        return self._mean_deg if self._learned_s >= LEAN_LEARN_S else None

    def restore(self, usual_deg: float) -> None:
        """Takes over what was known before a restart, of a clip that has not been taken off."""
        self._mean_deg, self._learned_s = usual_deg, LEAN_FOLLOW_S

    def update(self, t_s: float, dt_s: float, seen: Seen, *, learns: bool, step_s: float) -> None:
        """Takes what is seen; a step takes `step_s`."""
        pitch = seen.pitch_deg
        if pitch is None or not seen.walking:
            self.forget_moment()
            return
        window = self._window
        window.append((t_s, pitch, pitch + seen.pitch_rate_deg_s / OMEGA0_PER_S))
        self._sum += pitch
        while window[0][0] <= t_s - DRIFT_S:
            self._sum -= window.popleft()[1]
        self.drifting_deg = self._sum / len(window) if t_s - window[0][0] > 0.9 * DRIFT_S else None
        from_s, total, count = t_s - 2.0 * max(0.4, min(1.2, step_s)), 0.0, 0
        for at_s, _, capture in reversed(window):
            if at_s <= from_s:
                break
            total += capture
            count += 1
        self.capture_deg = total / count if window[0][0] <= from_s else None
        if learns:
            self._learned_s = min(LEAN_FOLLOW_S, self._learned_s + dt_s)
            self._mean_deg += dt_s / self._learned_s * (pitch - self._mean_deg)


class Own:
    """What is usual for this wearer: learned in walking, kept between walks, moved little by one of them."""

    __slots__ = ("_anchor", "_learned_s", "_values")

    def __init__(self) -> None:
        self._learned_s = 0.0
        self._values: list[float] = []
        """In the order of `Usual`."""
        self._anchor: list[float] = []
        """What was known when this session began, or when enough was."""

    def learn(self, dt_s: float, seen: Seen) -> None:
        """Takes `dt_s` of steady walking."""
        now = (seen.step_time_cv, seen.regularity, seen.vertical_rms_m_s2, seen.cadence_spm, seen.speed_m_s)
        values = [max(LEAST, value) for value in now if value is not None]
        if len(values) < len(now):
            return
        self._learned_s += dt_s
        if self._learned_s < LEARN_S:
            share, before = dt_s / self._learned_s, self._values or values
            self._values = [own + share * (value - own) for own, value in zip(before, values, strict=True)]
            return
        if not self._anchor:
            self._anchor = list(self._values)
        share = dt_s / FOLLOW_S
        for i, value in enumerate(values):
            own = self._values[i]
            self._values[i] = _within(own + share * (_within(value, own, PULL) - own), self._anchor[i], SESSION)

    @property
    def known(self) -> Usual | None:
        """What is usual; None until enough has been seen."""
        return Usual(self._learned_s, *self._values) if self._anchor else None

    @property
    def learned(self) -> Usual | None:
        """What has been learned up to now, to be kept; None: nothing."""
        return Usual(round(self._learned_s, 1), *(round(value, 4) for value in self._values)) if self._values else None

    def restore(self, learned: Usual) -> None:
        """Goes on from what was kept; numbers that nobody can have walked are not taken."""
        values = [
            learned.step_time_cv,
            learned.regularity,
            learned.vertical_rms_m_s2,
            learned.cadence_spm,
            learned.speed_m_s,
        ]
        if not learned.learned_s > 0.0 or not all(LEAST <= value <= MOST for value in values):
            return
        self._learned_s = learned.learned_s
        self._values = values
        self._anchor = list(values) if learned.learned_s >= LEARN_S else []


def _within(value: float, middle: float, share: float) -> float:
    return max(middle * (1.0 - share), min(middle * (1.0 + share), value))
