"""A fall, or a call for help: the question, the countdown, who was told, the long lie, the all-clear.

`Alarm` (core/alarm.py) holds what is open; here stands what is said and sent about it.  A confirmed fall stays open
until the walker calls it off with two presses: somebody who walks again may have been hurt all the same, so the
caregiver hears that they are up, and the walker how to say that they are well.  Until then it is told again and again
that nobody has got up (`fall.lasted`), and the walker is told, too, whether somebody knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core.alarm import ASK_S, Alarm, Open
from retrowalk.core.alerts import HELPER
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import Level, ms, rounded
from retrowalk.core.falls import Fallen
from retrowalk.core.lying import Lying
from retrowalk.core.samples import EventDelivered, SavedState

ASK_AGAIN_AFTER_S = 600.0
"""A fall countdown that was cut off longer ago than this begins anew, with its question."""
NOT_REACHED_AFTER_S = 30.0
EARLIER = 0
"""Number that stands for the events of the session before this one."""
REPORTS_S = (60.0, 180.0, 300.0, 600.0, 900.0)
"""That nobody gets up is told so long after the fall ..."""
REPORT_EVERY_S = 600.0
"""... and then this often.  Each time costs somebody else's attention; what they need is to know that it goes on."""
UP_S = 5.0
"""Upright for so long: got up, and not turned over."""
DOWN_AGAIN_S = 60.0
"""Who had got up and has lain for so long again is reported anew."""
MOVES_S = 60.0
"""Who is upright and has not moved for so long (slumped on a bench) is still reported."""
SETTLES_S = 3.0
"""After a restart the clip tells within this time how the walker lies."""


def report_after_s(told: int) -> float:
    """When a fall that was reported `told` times is due to be reported again, seconds after it."""
    over = told - len(REPORTS_S)
    return REPORTS_S[told] if over < 0 else REPORTS_S[-1] + (over + 1) * REPORT_EVERY_S


def reports_by(elapsed_s: float) -> int:
    """How many reports were due by `elapsed_s` after a fall."""
    if elapsed_s < REPORTS_S[-1]:
        return sum(due_s <= elapsed_s for due_s in REPORTS_S)
    return len(REPORTS_S) + int((elapsed_s - REPORTS_S[-1]) // REPORT_EVERY_S)


class Care:
    """Asks after a fall, counts down, calls, and takes the all-clear.  Times are session seconds."""

    def __init__(self, config: Config, arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self._knobs = config.fall
        self._arbiter = arbiter
        self._emit = emit
        self.alarm = Alarm()
        self.lying = Lying()
        self.suspected_s = -math.inf
        """When a fall was last suspected."""
        self._down_s = -math.inf
        """Since when somebody is down: the fall, or when they lay down again."""
        self._reports = 0
        """How often it was told since then that nobody has got up."""
        self._risen = ""
        """`upright` or `walking`, once that was told."""
        self._settles_s = -math.inf
        self._left_in_peace = False
        """Asked already why they lie there: not again before they have been up."""
        self._events_sent = 0
        self._told: dict[int, float] = {}
        """Events of high priority that wait for the broker, by their number, and since when."""
        self._told_reports: set[int] = set()
        """Which of them are reports that the fall goes on."""
        self._not_reached = False
        self._names = {name.casefold(): name for name in reversed(config.helper.names)}
        self.opened_s = -math.inf
        """When began what the walker is asked about, or what is open; `-math.inf`: not known any more."""
        self._seen_by: str | None = None
        """Who has answered the open alarm, the latest one; None: nobody, empty: somebody without a name."""
        self._seen_said: set[str] = set()
        """Of whom the walker was told so."""

    # -- a fall ---------------------------------------------------------------------------------------------

    def suspect(self, now: float, fallen: Fallen) -> None:
        """A fall is suspected: asks, unless somebody is being asked or called already."""
        if self.alarm.counting or Open.FALL in self.alarm.open:
            return
        because = f"impact {fallen.impact_g:.1f} g, tilted {fallen.tilt_deg:.0f} degrees, still"
        self._ask(now, self._arbiter.announce(now, "fall", because=because), fallen.impact_g, fallen.tilt_deg, None)

    def _ask(self, now: float, number: int, impact_g: float, tilt_deg: float, lain_s: float | None) -> None:
        """A question has been asked, as alert `number`: the countdown begins."""
        alarm, seconds = self.alarm, self._knobs.countdown_s
        self.suspected_s = self._down_s = now
        if not alarm.open:
            self.opened_s = now
        alarm.fall += 1
        alarm.start(now, seconds)
        self._emit(
            ev.FallSuspected(
                t_s=ms(now),
                alert=number,
                fall=alarm.fall,
                impact_g=round(impact_g, 1),
                tilt_deg=round(tilt_deg, 1),
                countdown_s=seconds,
                lain_s=rounded(lain_s, 0),
            )
        )

    def stepped(self, now: float) -> None:
        """The wearer has taken a step with the trunk upright: got up."""
        alarm = self.alarm
        self._left_in_peace = False
        alarm.upright_steps += 1
        if alarm.upright_steps < self._knobs.recovered_steps:
            return
        if alarm.counting:
            self._cancel_fall(now, "walked")
        elif Open.FALL in alarm.open and self._risen != "walking":
            self._got_up(now, "walking", self._arbiter.announce(now, "say_well", because="walking again"))

    def watch(self, now: float, lean_deg: float, motion_s: float, last_step_s: float, *, guarded: bool) -> bool:
        """How the trunk is, some times a second; returns whether `advance` has something to do at once.

        `lean_deg` from upright; `motion_s`, `last_step_s`: when the clip last moved, and felt a step.  `guarded`: worn,
        and by somebody who is protected; a device on a table lies there for good reason.
        """
        alarm, lying = self.alarm, self.lying
        lay = lying.since_s
        lying.update(now, lean_deg, motion_s, last_step_s)
        if lying.since_s is not None and lay is None:
            alarm.upright_steps = 0
        if alarm.counting:
            return False
        if Open.FALL in alarm.open:
            return self._watch_down(now)
        if not guarded or self._left_in_peace or not lying.worrying(now):
            return False
        self._left_in_peace = True
        lain_s = lying.lain_s(now)
        because = f"lies for {lain_s:.0f} s, without a shock"
        self._ask(now, self._arbiter.announce(now, "lying", because=because), 0.0, lean_deg, lain_s)
        return True

    def _watch_down(self, now: float) -> bool:
        """Whether somebody who fell is up, or down again."""
        lying = self.lying
        if not self._risen:
            if lying.upright_s(now) < UP_S:
                return False
            self._got_up(now, "upright", None)
            return True
        lain_s = lying.lain_s(now)
        if lain_s is None or lain_s < DOWN_AGAIN_S:
            return False
        self._risen = ""
        self._down_s = now - lain_s
        self._reports = 0
        return True

    def _got_up(self, now: float, risen: str, number: int | None) -> None:
        self._risen = risen
        since_s = round(now - self._down_s, 0)
        walking = risen == "walking"
        self._emit(ev.FallRisen(t_s=ms(now), alert=number, fall=self.alarm.fall, since_s=since_s, walking=walking))

    def click(self, now: float, down_s: float) -> bool:
        """A press that began at `down_s` was released; returns whether an alarm took it."""
        alarm = self.alarm
        self.lying.moved_s = now
        if alarm.counting:
            started = alarm.countdown_started_s
            if started is not None and down_s > started:
                self._cancel_fall(now, "button")
                alarm.asked_s = -math.inf
            return True
        if not alarm.open:
            return False
        if down_s - alarm.asked_s <= ASK_S and down_s > alarm.asked_s:
            self._all_clear(now)
        else:
            alarm.asked_s = now
            self._arbiter.announce(now, "all_clear_question")
        return True

    def sos(self, now: float) -> None:
        """The button was held for help."""
        if not self.alarm.open and not self.alarm.counting:
            self.opened_s = now
        self._open(Open.SOS)
        number = self._arbiter.announce(now, "sos", because="the button was held")
        self._emit(ev.SosRaised(t_s=ms(now), alert=number))

    def advance(self, now: float) -> None:
        """What time alone brings."""
        self._count_down(now)
        if now >= self._report_due_s():
            self._report(now)
        if not self._not_reached and self._told and now >= min(self._told.values()) + NOT_REACHED_AFTER_S:
            self._not_reached = True
            self._arbiter.hold(now, "caregiver_not_reached", Level.CAUTION)

    def deadline(self, now: float) -> float:
        """When `advance` has something to do if nothing else comes (`math.inf`: never)."""
        ends_s = self.alarm.countdown_ends_s
        due = min(self.alarm.next_count_s(now), ends_s if ends_s is not None else math.inf, self._report_due_s())
        if self._told and not self._not_reached:
            due = min(due, min(self._told.values()) + NOT_REACHED_AFTER_S)
        return due

    def _count_down(self, now: float) -> None:
        alarm = self.alarm
        if alarm.countdown_ends_s is None:
            return
        if now >= alarm.countdown_ends_s:
            alarm.stop()
            alarm.upright_steps = 0
            self._open(Open.FALL)
            self._risen = ""
            self._reports = reports_by(now - self._down_s)
            number = self._arbiter.announce(now, "fall_confirmed", because="the countdown ended")
            self._emit(ev.FallConfirmed(t_s=ms(now), alert=number, fall=alarm.fall))
            return
        value = alarm.count(now)
        if value:
            self._arbiter.announce(now, "countdown", value, because=f"{value} s left", insist=False)

    def _open(self, kind: Open) -> None:
        if not self.alarm.open:
            self._seen_by = None
            self._seen_said.clear()
        self.alarm.open.add(kind)

    # -- a long lie -----------------------------------------------------------------------------------------

    def _report_due_s(self) -> float:
        if Open.FALL not in self.alarm.open:
            return math.inf
        return max(self._down_s + report_after_s(self._reports), self._settles_s)

    def _report(self, now: float) -> None:
        """Tells that the fall goes on, and the walker what became of the call; nothing of somebody who is about."""
        since_s, lying = now - self._down_s, self.lying
        self._reports = max(self._reports + 1, reports_by(since_s))
        still_s = lying.still_s(now)
        if self._risen and still_s is not None and still_s < MOVES_S and lying.posture(now) != "unknown":
            return
        because = f"down for {since_s:.0f} s"
        if self._seen_by is not None:
            number = self._arbiter.announce(now, "comfort_seen", self.named(self._seen_by) or HELPER, because=because)
        else:
            number = self._arbiter.announce(now, "comfort", "trying" if self._told else "told", because=because)
        self._emit(
            ev.FallLasted(
                t_s=ms(now),
                alert=number,
                fall=self.alarm.fall,
                since_s=round(since_s, 0),
                posture=lying.posture(now),
                lain_s=rounded(lying.lain_s(now), 0),
                moved_s=rounded(still_s, 0),
                seen_by=self._seen_by or "",
            )
        )

    # -- its end --------------------------------------------------------------------------------------------

    def _cancel_fall(self, now: float, by: str) -> None:
        alarm = self.alarm
        alarm.stop()
        alarm.open.discard(Open.FALL)
        number = self._arbiter.announce(now, "fall_cancelled", because=f"by {by}")
        self._emit(ev.FallCancelled(t_s=ms(now), alert=number, fall=alarm.fall, by=by))

    def _all_clear(self, now: float) -> None:
        alarm = self.alarm
        alarm.asked_s = -math.inf
        if Open.FALL in alarm.open:
            self._cancel_fall(now, "button")
        if Open.SOS in alarm.open:
            alarm.open.discard(Open.SOS)
            number = self._arbiter.announce(now, "sos_cancelled")
            self._emit(ev.SosCancelled(t_s=ms(now), alert=number, by="button"))

    def recovered(self, now: float, near_falls: int) -> None:
        """Balance was going, and a step has caught it: the `near_falls`-th time since the start.

        To be called two seconds after it: before, nobody listens.
        """
        number = None
        if not self.alarm.counting and not self.alarm.open:
            number = self._arbiter.announce(now, "stumbled", because=f"near-fall {near_falls}", insist=False)
        self._emit(ev.BalanceRecovered(t_s=ms(now), alert=number, near_falls=near_falls))

    # -- whether somebody knows -----------------------------------------------------------------------------

    def sent(self, now: float, event: ev.Event) -> None:
        """An event leaves the core, in this order."""
        self._events_sent += 1
        if event.priority is ev.Priority.HIGH:
            self._told[self._events_sent] = now
            if type(event) is ev.FallLasted:
                self._told_reports.add(self._events_sent)

    def delivered(self, now: float, item: EventDelivered) -> None:
        """The broker has taken an event."""
        told = [number for number in self._told if EARLIER < number <= item.number or number == item.number]
        # Of the reports the walker hears only when nobody could be reached in between.
        news = self._not_reached or any(number not in self._told_reports for number in told)
        for number in told:
            del self._told[number]
            self._told_reports.discard(number)
        if told and news and self.alarm.open:
            self._arbiter.announce(now, "caregiver_told")
        if told and self._not_reached and not self._told:
            self._not_reached = False
            self._arbiter.release(now, "caregiver_not_reached")

    def seen(self, now: float, by: str) -> str:
        """A person has answered the open alarm; the walker hears it once of each.

        Returns what is worth knowing if it is not said.
        """
        self._seen_by = by[:40]
        value = self.named(by) or HELPER
        if value in self._seen_said:
            return "said before"
        self._seen_said.add(value)
        self._arbiter.announce(now, "caregiver_seen", value, because="a helper has answered")
        return ""

    def named(self, by: str) -> str:
        """How a helper is called aloud; empty: by no name that can be said."""
        return self._names.get(by.casefold(), "")

    @property
    def untold(self) -> bool:
        """Whether an event of high priority waits for the broker."""
        return bool(self._told)

    # -- what survives --------------------------------------------------------------------------------------

    @property
    def what(self) -> tuple[object, ...]:
        """What must be saved when it changes."""
        alarm = self.alarm
        lies = self.lying.since_s is not None
        return (
            alarm.fall,
            alarm.countdown_ends_s,
            frozenset(alarm.open),
            self._reports,
            self._risen,
            self._seen_by,
            lies,
        )

    def saved(self, now: float, state: SavedState) -> SavedState:
        """`state` with what an alarm needs to go on."""
        alarm, lying = self.alarm, self.lying
        return replace(
            state,
            fall_number=alarm.fall,
            countdown_left_s=rounded(alarm.left_s(now), 3),
            open_alarm=" ".join(sorted(alarm.open)),
            fall_ago_s=rounded(now - self._down_s if self._down_s > -math.inf else None, 1),
            fall_reports=self._reports,
            fall_risen=self._risen,
            lain_s=rounded(lying.lain_s(now), 1),
            still_s=rounded(lying.still_s(now), 1),
            left_in_peace=self._left_in_peace,
            helper_saw=self._seen_by is not None,
            helper_by=self._seen_by or "",
        )

    def restored(self, now: float, state: SavedState, elapsed_s: float) -> None:
        """Goes on where an earlier life ended, `elapsed_s` ago."""
        alarm = self.alarm
        alarm.fall = state.fall_number
        alarm.open = {kind for kind in Open if kind.value in state.open_alarm.split()}
        if state.untold and alarm.open:
            self._told[EARLIER] = now  # whoever waits for help still wants to know whether it was called
        self._settles_s = now + SETTLES_S
        self._reports = max(0, state.fall_reports)
        self._risen = state.fall_risen
        self._seen_by = state.helper_by if state.helper_saw else None
        self._left_in_peace = state.left_in_peace
        if elapsed_s <= ASK_AGAIN_AFTER_S:
            self.lying.restored(now, _later(state.lain_s, elapsed_s), _later(state.still_s, elapsed_s))
        if self._seen_by is not None:
            self._seen_said.add(self.named(self._seen_by) or HELPER)
        if state.fall_ago_s is not None:
            self.suspected_s = self._down_s = now - max(0.0, state.fall_ago_s) - elapsed_s
        else:
            self._down_s = now  # for an alarm that an earlier version saved, without this
        left = state.countdown_left_s
        if left is None:
            return
        if elapsed_s <= ASK_AGAIN_AFTER_S:
            alarm.start(now, max(0.0, left - elapsed_s))
        else:
            # Who lay there long ago may be up and about, or not: ask anew rather than alarm or forget.
            self._down_s = now
            alarm.start(now, self._knobs.countdown_s)
            self._arbiter.announce(now, "fall", because="a countdown was cut off long ago")
        self.suspected_s = now


def _later(ago_s: float | None, elapsed_s: float) -> float | None:
    return None if ago_s is None else max(0.0, ago_s) + elapsed_s
