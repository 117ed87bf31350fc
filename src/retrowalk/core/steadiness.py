"""Is the wearer about to become unsteady?  Calm words before balance is lost, from how they walk compared with usual.

Five things are watched, the most urgent first: leaning back, unsteady steps, hurrying, shuffling, looking back.  Each
is judged against the wearer's own walking, forward and backward apart: an absolute lean cries wolf, because the
trunks of healthy elders pitch by 6.7 +- 2.2 degrees while they walk, and a backward fall begins at 9.9 +- 2.5; and
personal limits tell impaired balance better than those of a group.  Until enough has been seen of the wearer,
published limits hold, drawn wider; where there is none, nothing is said.

`update` takes what others have found out, some times a second (`EVERY_S`); it never sees a sample.  Nothing is
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
from retrowalk.core.habits import EVERY_S, LEARN_S, Aside, Habits, Lean, Own, Seen
from retrowalk.core.samples import Usual

GAP_S = 1.0
"""Without an update for longer, what was seen before says nothing about now."""

BEGINNING_S = 3.0
"""The first seconds of a bout are speeding up ..."""
STOPPING = 1.4
"""... and who has not stepped for so many step times is stopping."""
STEP_S = 0.6
"""Time of a step while the cadence is not known."""
SETTLES_S = 1.0
AFTER_TURN_S = 3.0
"""So long after turning aside, and after a turn, the trunk and the filter that follows it come back from it."""
PAUSE_S = 2.0
"""What was so before and after a longer pause in which it could not be judged was not so all the time ..."""
LAPSES_S = 5.0
"""... and what could not be judged for so long does not hold any more."""

STEADY_S = 5.0
"""What teaches lies so far into a bout."""

LEAN_FROZEN_S = 60.0
"""A lean that lasts longer is how this wearer walks today."""
LEAN_UNKNOWN_DEG = 10.0
"""Lean from upright that is worth a word before the wearer's own is known: backward falls begin at 9.9 +- 2.5.  (What
leans by 12 from one stride to the next and stays so is a clip that has slipped.)"""
LEAN_UNKNOWN_AFTER_S = 30.0
"""Upright itself is not believed so soon after the clip began to speak: its bias is being found."""
LEAN_DRIFT_HOLD_S = 2.5
"""... and must last for so long."""

UNSTEADY_USUAL = 1.4
"""Nobody is unsteady who varies by less than so many times what is usual for them ..."""
UNSTEADY_ALWAYS = 0.20
"""... but beyond this everybody is."""
UNSTEADY_UNKNOWN_CV = 0.14
"""Before the wearer's own is known, less is not believed: frail people have this on very uneven ground."""
UNSTEADY_STRONG = 1.4
"""More than so many times the limit (14 % of 10 %) needs less time to be believed."""
UNSTEADY_OVER = 0.85
"""It is over below this share of the limit."""
UNSTEADY_SPEED = 0.75
"""Who walks at less than this share of their speed is compared with nobody: all are less even when slow."""
IRREGULAR_USUAL = 0.75
"""Regularity below this share of the wearer's own is uneven walking."""

SHUFFLE_BOUNCE = 0.7
"""A shuffler's back bounces by less than this share of what is usual ..."""
SHUFFLE_CADENCE = 1.1
"""... at more than this share of the usual cadence.  The slow bounce less, too, but not at quicker steps."""

HURRY_WITHIN_S = 5.0
"""Hurrying is being so much faster than so long ago ..."""
HURRY_LEAST = (0.14, 0.0)
"""... by no less than this, in speed (which errs by 0.1) and cadence ..."""
HURRY_SLOWER = 0.9
"""... while the speed has not fallen below this share: quicker steps that get nowhere are shuffling ..."""
HURRY_USUAL = 1.15
"""... and faster than usual by this share: getting going again is none."""
HURRY_UNKNOWN = 1.5
"""Before the usual is known, what counts is so many times larger ..."""
HURRY_LEARN_S = 20.0
"""... and the usual is what has been seen of it, after so much walking."""
HURRY_SMOOTH_S = 1.0
"""Time constant of the speed that is compared."""
HURRY_OVER = 0.5
"""It is over when this share of the gain is left ..."""
HURRY_LASTS_S = 20.0
"""... or after so long: a pace that is kept is a pace."""
HURRY_MEASURES = ("speed_m_s", "cadence_spm")

LOOK_AFTER_S = 60.0
"""After a bend, or a turn, looks are told from bends again once so much was walked straight on."""

LONGEST_GAPS = 8
"""What goes on in spite of being said waits twice as long each time, up to so many gaps ..."""
FORGET_S = 120.0
"""... until it has not been so for this long."""


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
        Rule("lean_back", LEAN_DRIFT_HOLD_S, knobs.lean_hold_s, 1.0),
        Rule("unsteady", 3.0, 2.0, 4.0),
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
        self._judges = (self._lean_back, self._unsteady, self._hurrying, self._shuffling)
        self._t = -math.inf
        self._since_s = -math.inf
        """Since when there has been no gap."""
        self._turning_s = -math.inf
        self._aside = Aside()
        self._said_s = -math.inf
        self.backward, self.forward = Habits(), Habits()
        """How the wearer walks; which way is not known counts as before, and as backward at first."""
        self._way = self.backward
        self._hurry = Hurry(knobs.hurry_share)

    @property
    def own(self) -> Own:
        """What is usual the way the wearer walks now."""
        return self._way.own

    @property
    def lean(self) -> Lean:
        """How the trunk leans the way the wearer walks now."""
        return self._way.lean

    # -- judging ----------------------------------------------------------------------------------------------

    def update(self, t_s: float, seen: Seen) -> list[Change]:
        """Takes what is known at `t_s`; returns what has changed (mostly nothing)."""
        dt = t_s - self._t
        self._t = t_s
        if not 0.0 < dt <= GAP_S:
            self._since_s = t_s
        way = self._way if seen.forward is None else self.forward if seen.forward else self.backward
        if not 0.0 < dt <= GAP_S or way is not self._way:
            self.lean.forget_moment()
            self._hurry = Hurry(self._knobs.hurry_share)
            self._way = way
            dt = EVERY_S
        self._aside.update(t_s, dt, seen)
        self._turning_s = t_s if seen.turning else self._turning_s
        bout_s = t_s - seen.bout_started_s if seen.walking and seen.bout_started_s is not None else -math.inf
        step_s = 60.0 / seen.cadence_spm if seen.cadence_spm else STEP_S
        stopping = t_s - seen.last_step_s > STOPPING * step_s
        straight = t_s - self._turning_s > SETTLES_S and t_s - seen.turned_s > AFTER_TURN_S
        even = straight and not stopping and bout_s > BEGINNING_S
        learns = not self._leaning_lately(t_s)
        if even and seen.pitch_deg is not None:
            self.lean.update(t_s, seen.pitch_deg, seen.pitch_rate_deg_s, step_s, learns=learns)
        else:
            self.lean.forget_moment(learns=learns)
        if even and bout_s > STEADY_S:
            self._hurry.update(t_s, dt, seen.speed_m_s, seen.cadence_spm)
            self.own.learn(dt, seen)
        else:
            self._hurry.forget_moment()
        changes: list[Change] = []
        findings = [judge(t_s, seen) if even else None for judge in self._judges]
        findings.append(self._looking_back(t_s, seen) if bout_s > BEGINNING_S else None)
        for watch, finding in zip(self._watches, findings, strict=True):
            news = watch.update(t_s, finding, walking=seen.walking)
            if news is not None:
                changes.append(Change(watch.rule.hazard, news, finding))
        return changes

    def _leaning_lately(self, t_s: float) -> bool:
        watch = self._by_hazard["lean_back"]
        return watch.raised and t_s - watch.raised_s < LEAN_FROZEN_S

    def _lean_back(self, t_s: float, seen: Seen) -> Finding | None:
        lean, knobs = self.lean, self._knobs
        capture = lean.capture_deg
        if capture is None:
            return None
        usual = lean.usual_deg
        if usual is None:
            if t_s - self._since_s < LEAN_UNKNOWN_AFTER_S:
                return None
            back = -capture
            over = back < 0.5 * LEAN_UNKNOWN_DEG
            return Finding(back > LEAN_UNKNOWN_DEG, over, "capture_pitch_deg", capture, None, strong=True)
        back = usual - capture
        drifted = 0.0 if lean.drifting_deg is None else usual - lean.drifting_deg
        tipping, drifting = back > knobs.lean_caution_deg, drifted > knobs.lean_drift_deg
        over = back < 0.5 * knobs.lean_caution_deg and drifted < 0.5 * knobs.lean_drift_deg
        if drifting and not tipping and lean.drifting_deg is not None:
            return Finding(True, over, "trunk_pitch_deg", lean.drifting_deg, usual)
        return Finding(tipping, over, "capture_pitch_deg", capture, usual, strong=tipping)

    def _unsteady(self, t_s: float, seen: Seen) -> Finding | None:
        cv, own = seen.step_time_cv, self.own.known
        usual = own.step_time_cv if own else None
        slow = own is not None and (seen.speed_m_s or 0.0) < UNSTEADY_SPEED * own.speed_m_s
        if slow:
            limit = UNSTEADY_ALWAYS
        else:
            least = self._knobs.unsteady_cv if own else max(self._knobs.unsteady_cv, UNSTEADY_UNKNOWN_CV)
            limit = max(least, min(UNSTEADY_ALWAYS, UNSTEADY_USUAL * self.own.mean_cv))
        if cv is not None and cv > limit:
            return Finding(True, False, "step_time_cv", cv, usual, strong=cv > UNSTEADY_STRONG * limit)
        lowest = 0.0 if own is None or slow or seen.regularity is None else IRREGULAR_USUAL * own.regularity
        # Of who limps, strides are regular and steps are not; nobody is told of a limp.
        best = max(seen.regularity or 0.0, seen.stride_regularity or 0.0)
        if own is not None and best < lowest:
            return Finding(True, False, "regularity", best, own.regularity)
        if cv is None:
            return None
        over = cv < UNSTEADY_OVER * limit and best * UNSTEADY_OVER >= lowest
        return Finding(False, over, "step_time_cv", cv, usual)

    def _hurrying(self, t_s: float, seen: Seen) -> Finding | None:
        return self._hurry.judge(t_s, self.own.known, raised=self._by_hazard["hurrying"].raised)

    def _shuffling(self, t_s: float, seen: Seen) -> Finding | None:
        own, bounce, cadence = self.own.known, seen.vertical_rms_m_s2, seen.cadence_spm
        if own is None or bounce is None or cadence is None:
            return None
        flat, quick = bounce / own.vertical_rms_m_s2, cadence / own.cadence_spm
        bad = flat < SHUFFLE_BOUNCE and quick > SHUFFLE_CADENCE
        over = flat > 0.5 * (1.0 + SHUFFLE_BOUNCE) or quick < 1.0
        return Finding(bad, over, "vertical_rms_m_s2", bounce, own.vertical_rms_m_s2)

    def _looking_back(self, t_s: float, seen: Seen) -> Finding | None:
        aside, limit = self._aside.deg, self._knobs.look_back_deg
        if aside is None or self._aside.straight_s < LOOK_AFTER_S or self._way is self.forward:
            return None  # who walks forward and looks aside sees where they go
        return Finding(abs(aside) > limit, abs(aside) < 0.5 * limit, "yaw_deg", aside, None)

    def forget_lean(self) -> None:
        """The trunk may stand in the clip in another way from now on."""
        self.backward.lean = Lean()
        self.forward.lean = Lean()

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
            if t_s - self._judged_s > PAUSE_S:
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


class Hurry:
    """Whether the wearer becomes faster, in speed or in cadence, than a moment ago and than usual."""

    __slots__ = ("_from", "_mean", "_past", "_share", "_smooth", "_walked_s")

    def __init__(self, share: float) -> None:
        self._share = share
        self._walked_s = 0.0
        self._mean = [0.0, 0.0]
        """Speed and cadence in this session: what is usual until more is known."""
        self._smooth = [0.0, 0.0]
        self._past: deque[tuple[float, float, float]] = deque()
        """Time, speed and cadence of the last seconds of even walking."""
        self._from: tuple[int, float, float] | None = None
        """Which of them rose, how much it was before, and when it did."""

    def forget_moment(self) -> None:
        """What was a moment ago says nothing about now."""
        self._past.clear()

    def update(self, t_s: float, dt_s: float, speed_m_s: float | None, cadence_spm: float | None) -> None:
        """Takes what is seen in even walking."""
        if speed_m_s is None or cadence_spm is None:
            self.forget_moment()
            return
        self._walked_s = min(LEARN_S, self._walked_s + dt_s)
        share = min(1.0, dt_s / HURRY_SMOOTH_S) if self._past else 1.0
        for i, value in enumerate((speed_m_s, cadence_spm)):
            self._smooth[i] += share * (value - self._smooth[i])
            self._mean[i] += dt_s / self._walked_s * (value - self._mean[i])
        past = self._past
        past.append((t_s, self._smooth[0], self._smooth[1]))
        while len(past) > 1 and past[1][0] <= t_s - HURRY_WITHIN_S:
            past.popleft()

    def judge(self, t_s: float, own: Usual | None, *, raised: bool) -> Finding | None:
        """What is to be said of it; `own` is what is usual, as far as it is known."""
        if not self._past:
            return None
        if self._from is not None:
            which, before, since_s = self._from
            now = self._smooth[which]
            over = now < before * (1.0 + HURRY_OVER * self._share) or t_s - since_s > HURRY_LASTS_S
            if over and not raised:
                self._from = None
            return Finding(not over, over, HURRY_MEASURES[which], now, before)
        if self._walked_s < HURRY_LEARN_S or self._past[0][0] > t_s - HURRY_WITHIN_S:
            return None
        wider = 1.0 if own else HURRY_UNKNOWN
        usual = (own.speed_m_s, own.cadence_spm) if own else self._mean
        slower = self._smooth[0] < HURRY_SLOWER * self._past[0][1]
        for i, now in enumerate(self._smooth):
            before = self._past[0][i + 1]
            if slower:
                break
            gained = max(self._share * before, HURRY_LEAST[i]) * wider
            if now > before + gained and now > HURRY_USUAL * usual[i]:
                self._from = (i, before, t_s)
                return Finding(True, False, HURRY_MEASURES[i], now, before)
        return Finding(False, True, HURRY_MEASURES[0], self._smooth[0], None)
