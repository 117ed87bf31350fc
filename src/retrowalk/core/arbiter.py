"""What to say now: turns what holds and what happened into `Speak` and `Touch`, by the one alert table.

It decides *when* something is asked for (first time, repeats, next half metre, again after it was cut, never again
when it no longer holds); which of two requests sounds is the voice's matter, by rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from retrowalk.core.alerts import (
    ALERTS,
    HAPTICS,
    HAZARDS,
    RANK_BALANCE,
    RANK_FAULT,
    STANDING,
    Alert,
    lasts_s,
    stage,
    told_by_touch,
)
from retrowalk.core.events import AlertSpoken, Hush, Level, Output, Speak, Touch, ms
from retrowalk.core.samples import VoicePhase, VoiceProgress

AGAIN_S = 0.5
"""What was cut is asked for again this much later, if it still holds."""
INSIST_S = 10.0
"""What is said once is tried for this long, when something more urgent cuts it."""
ANSWER_S = 1.5
"""The voice tells what became of a request within its deadline and this."""
SAME_HOLD_S = 0.5
SAME_NEWS_S = 1.0
"""What flaps is asked for once in this time: news that comes again sooner waits, and is dropped if taken back."""
SOON_S = 1.5
"""What is said again within this time leaves no room for anything less urgent."""
THERE_S = 0.3
"""A voice that has just come up answers within this time what it was there to take."""
SOUNDS_S = 5.0
"""Nothing that was asked for and has not been answered sounds longer than this."""
REMEMBERED = 64
"""Requests whose progress is still expected."""
PAN_FULL_DEG = 30.0
"""What is so far to one side, or further, is heard from that side as much as anything is."""
SIDE_DEG = 5.0
"""What is less to one side has none: it is felt on both, and no word is said of it."""

CALM = ("good", "nudge", "tick")
"""Patterns that ask for nothing."""


@dataclass(slots=True)
class _Saying:
    """Something that holds, or is to be said once."""

    slot: str
    alert: Alert
    value: str
    because: str
    once: bool
    until_s: float
    bearing_left_deg: float | None = None
    """Where what it tells of is, towards the walker's own left; None: nobody knows, or it has no place."""
    number: int = 0
    said_s: float = -math.inf
    said: tuple[str, str] = ("", "")
    """Phrase and value of the latest request."""
    due_s: float = math.inf
    started: bool = False
    """Whether the latest request has begun to sound."""
    heard: bool = False
    told: bool = False
    """Whether any request with this value has begun to sound."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that the voice will report on."""

    saying: _Saying
    asked_s: float
    because: str
    phrase: str


class Arbiter:
    """Keeps what holds by key.  `out` collects the requests and events; the Companion empties it.

    What has a bearing is heard and felt from its side; with `say_side` its side is also said, where there are words.
    `by_touch` is for who hears badly: then all that is said is felt as well, and what was felt counts as told while
    there is no voice.
    """

    def __init__(self, out: list[Output], *, say_side: bool = False, by_touch: bool = False) -> None:
        self._out = out
        self._say_side = say_side
        self.by_touch = by_touch
        """Whether the walker hears badly, and is told by touch."""
        self._sayings: dict[str, _Saying] = {}
        self._asked: dict[int, _Asked] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        """When each was asked for last, and by which number."""
        self._cautioned_s: dict[int, float] = {}
        """When something more than an advisory was asked for last, by its rank."""
        self.last_number = 0
        self.quiet_until_s = -math.inf
        """Coaching and cautions are quiet until then (the walker asked for it)."""
        self.voice_lost = False
        """While it holds, buzzer and vibration stand in for every sound."""
        self.voice_doubted = False
        """While it holds they do so as well, and all is said as ever: a microphone does not hear it."""
        self.voice_refused = False
        """While it holds they stand in for what warns: the voice is heard too late, or without its beginning."""
        self.coming: tuple[int, float] = (0, math.inf)
        """Rank and second of what is sure to be said next (a number of the countdown)."""
        self.saying = ""
        """Phrase that sounds now, for a display."""
        self._begun_s: dict[str, float] = {}
        """By key: when it began to sound, the latest time ..."""
        self._ended_s: dict[str, float] = {}
        """... and when it had been said to its end."""
        self._hazard_s = -math.inf
        """When something about a hazard was last asked for, or one was last over."""
        self._voice_came_s = -math.inf
        self._recheck_s = math.inf
        self._felt: tuple[str, int, float] = ("", 0, -math.inf)
        """Pattern that is felt, its rank, and when it ends."""
        self._felt_of: _Saying | None = None
        """What it tells, where touch alone tells it."""

    # -- asking -------------------------------------------------------------------------------------------

    def hold(
        self,
        now: float,
        key: str,
        level: Level,
        value: str = "",
        because: str = "",
        name: str = "",
        bearing_left_deg: float | None = None,
    ) -> int:
        """`key` holds at `level`: says so now if that is news; returns the number of its latest request.

        `name` tells several holders of one key apart (two lost sensors).
        """
        alert = ALERTS[key, level]
        slot = f"{key}:{name}" if name else key
        saying = self._sayings.get(slot)
        if saying is None or saying.alert is not alert:
            more_urgent = saying is None or alert.level > saying.alert.level
            fresh = _Saying(slot, alert, value, because, False, math.inf, bearing_left_deg)
            if saying is not None and not more_urgent:
                # A milder level waits its turn: raise at once, lower slowly.
                fresh.said_s = saying.said_s
                fresh.number = saying.number
            self._sayings[slot] = saying = fresh
            if more_urgent:
                self._ask_unless_just_asked(now, saying, SAME_HOLD_S)
            else:
                saying.due_s = max(now, saying.said_s + max(1.0, alert.repeat_s)) if alert.repeat_s else math.inf
            return saying.number
        saying.told = saying.told and value == saying.value
        saying.value = value
        saying.because = because
        saying.bearing_left_deg = bearing_left_deg
        if alert.on_change and self._words(saying) != saying.said and saying.due_s == math.inf:
            saying.due_s = max(now, saying.said_s + alert.repeat_s)
        return saying.number

    def holds(self, key: str, name: str = "") -> bool:
        """Whether `key` holds."""
        return (f"{key}:{name}" if name else key) in self._sayings

    def told(self, key: str, name: str = "") -> bool:
        """Whether what holds has begun to sound, as it is now."""
        saying = self._sayings.get(f"{key}:{name}" if name else key)
        return saying is not None and saying.told

    def begun_s(self, key: str) -> float:
        """When `key` began to sound, the latest time (`math.inf`: it has not)."""
        return self._begun_s.get(key, math.inf)

    def ended_s(self, key: str) -> float:
        """When `key` had been said to its end, the latest time (`-math.inf`: never)."""
        return self._ended_s.get(key, -math.inf)

    def forget_begun(self, key: str) -> None:
        """What was heard of `key` up to now does not count any more."""
        self._begun_s.pop(key, None)

    @property
    def holding(self) -> bool:
        """Whether anything holds: a hazard, a fault, something lost."""
        return any(not saying.once for saying in self._sayings.values())

    def release(self, now: float, key: str, name: str = "", *, hush: bool = False) -> None:
        """`key` no longer holds: what waits to be said of it is dropped; `hush` also cuts off what is being said."""
        saying = self._sayings.pop(f"{key}:{name}" if name else key, None)
        if saying is not None and _hazardous(saying.alert):
            self._hazard_s = now
        if saying is not None and (hush or not saying.started) and saying.number in self._asked:
            self._out.append(Hush(t_s=ms(now), alert=saying.number))

    def announce(
        self,
        now: float,
        key: str,
        value: str = "",
        because: str = "",
        *,
        insist: bool = True,
        bearing_left_deg: float | None = None,
    ) -> int:
        """Says something once; `insist`: tries again for a while if something more urgent cuts it."""
        slot = f"once:{key}:{value}"
        waiting = self._sayings.get(slot)
        if waiting is not None and now < waiting.said_s + SAME_NEWS_S:
            waiting.until_s = now + INSIST_S
            return waiting.number
        saying = _Saying(slot, _ROW_OF[key], value, because, True, now + INSIST_S, bearing_left_deg)
        if insist:
            self._sayings[slot] = saying
        self._ask_unless_just_asked(now, saying, SAME_NEWS_S)
        return saying.number

    def retract(self, key: str, value: str = "") -> None:
        """What was announced is no longer true: if it has not been heard, it is not tried again.

        Without a value, of all values.
        """
        if value:
            self._sayings.pop(f"once:{key}:{value}", None)
            return
        for slot in [slot for slot in self._sayings if slot.startswith(f"once:{key}:")]:
            del self._sayings[slot]

    def free(self, now: float, rank: int, rest_s: float) -> bool:
        """Whether the ear is free for something of this rank that can wait.

        It is while no hazard is there, nor was within `rest_s`; while nothing of a higher rank sounds or is about to,
        nor has cautioned or warned within `rest_s`; and never without a voice: a touch and a buzz tell nobody how to
        walk.
        """
        deaf = (self.voice_lost or self.voice_doubted) and not self.by_touch
        return not deaf and self.calm(now, rank, rest_s)

    def calm(self, now: float, rank: int, rest_s: float) -> bool:
        """As `free`, whether or not there is a voice."""
        coming, at_s = self.coming
        return not (
            now < self._hazard_s + rest_s
            or any(_standing(saying.alert) for saying in self._sayings.values())
            or (coming > rank and at_s < now + SOON_S)
            or any(other > rank and now < said_s + rest_s for other, said_s in self._cautioned_s.items())
            or any(saying.alert.rank > rank and saying.due_s < now + SOON_S for saying in self._sayings.values())
            or any(asked.saying.alert.rank > rank and now < asked.asked_s + SOUNDS_S for asked in self._asked.values())
        )

    def _ask_unless_just_asked(self, now: float, saying: _Saying, gap_s: float) -> None:
        asked_s, number = self._latest.get(f"{saying.slot}:{saying.alert.level}", (-math.inf, 0))
        if now >= asked_s + gap_s:
            self._ask(now, saying)
        else:
            saying.number = number
            saying.said_s = asked_s
            saying.due_s = asked_s + gap_s

    def _ask(self, now: float, saying: _Saying) -> None:
        alert = saying.alert
        if saying.once:
            # A voice that never answers (it was just being started) is asked again.
            saying.due_s = now + alert.deadline_s + ANSWER_S
        else:
            saying.due_s = now + alert.repeat_s if alert.repeat_s and not alert.on_change else math.inf
        saying.said_s = now
        phrase, value = saying.said = self._words(saying)
        saying.started = saying.heard = False
        self.last_number += 1
        saying.number = self.last_number
        self._latest[f"{saying.slot}:{alert.level}"] = (now, saying.number)
        if alert.level > Level.ADVISORY:
            self._cautioned_s[alert.rank] = now
        if _hazardous(alert):
            self._hazard_s = now
        if alert.mutable and now < self.quiet_until_s:
            return
        audible = not (self.voice_lost or (self.voice_refused and alert.rank >= RANK_BALANCE))
        if audible:
            self._asked[saying.number] = _Asked(saying, now, saying.because, phrase)
            if len(self._asked) > REMEMBERED:
                del self._asked[next(iter(self._asked))]
            self._out.append(
                Speak(
                    t_s=ms(now),
                    alert=saying.number,
                    phrase=phrase,
                    value=value,
                    earcon=stage(alert, alert.earcon, value),
                    level=alert.level.name.lower(),
                    rank=alert.rank,
                    deadline_s=ms(now + alert.deadline_s),
                    pan=pan(saying.bearing_left_deg),
                )
            )
        pattern = alert.haptic
        buzzer = alert.buzzer
        if self.by_touch:
            pattern = told_by_touch(alert)
        elif (self.voice_doubted or not audible) and alert.earcon != "tick" and (pattern or alert.earcon):
            # Nothing may be heard of it from the speaker: everything that matters is felt, and buzzes.
            pattern = pattern or (alert.earcon if alert.earcon in HAPTICS else "caution")
            buzzer = True
        if not pattern:
            return
        pattern = stage(alert, pattern, value)
        running, _, free_s = self._felt
        felt = self._feel(now, alert.rank, pattern, buzzer, side(saying.bearing_left_deg))
        if self.by_touch:
            cut = felt and now < free_s and pattern != running
            self._told_by_touch(saying, felt=felt, audible=audible, cut=cut, free_s=free_s)

    def _told_by_touch(self, saying: _Saying, *, felt: bool, audible: bool, cut: bool, free_s: float) -> None:
        """Without a voice nobody reports what became of a request: what was felt to its end has been told.

        `cut`: it takes the place of what would have been felt until `free_s`.
        """
        if cut and self._felt_of is not None and self._felt_of is not saying:
            self._felt_of.heard = False
            self._felt_of.due_s = min(self._felt_of.due_s, self._felt[2])
        if felt:
            self._felt_of = None if audible else saying
            saying.heard = saying.heard or not audible
        elif not audible and saying.once:
            saying.due_s = free_s

    def _words(self, saying: _Saying) -> tuple[str, str]:
        """Phrase and value that tell of it now."""
        alert = saying.alert
        where = side(saying.bearing_left_deg) if self._say_side and alert.sided else ""
        return f"{alert.phrase}_{where}" if where else alert.phrase, saying.value

    def _feel(self, now: float, rank: int, pattern: str, buzzer: bool, side: str) -> bool:
        """Asks for a pattern, unless a more urgent one is being felt: the newest one takes the place of what runs.

        What says that all is well is never more urgent than what says "take care", whatever their words rank.

        Returns whether it is felt.
        """
        running, running_rank, until_s = self._felt
        if now < until_s:
            calmer = running in CALM and pattern not in CALM
            if rank < running_rank and pattern != running and not calmer:
                return False
            rank = max(rank, running_rank)
        self._felt = (pattern, rank, now + lasts_s(pattern))
        self._out.append(Touch(t_s=ms(now), pattern=pattern, buzzer=buzzer, side=side))
        return True

    # -- time ---------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When something is due to be said again."""
        return min(self._recheck_s, min((saying.due_s for saying in self._sayings.values()), default=math.inf))

    def advance(self, now: float) -> None:
        """Says what is due."""
        if now >= self._recheck_s:
            self._recheck_s = math.inf
            for asked in self._asked.values():
                if asked.asked_s <= self._voice_came_s and not asked.saying.started:
                    asked.saying.due_s = now
        due = [(-s.alert.rank, key) for key, s in self._sayings.items() if s.due_s <= now]
        for _, key in sorted(due):
            saying = self._sayings[key]
            if saying.once and (now >= saying.until_s or saying.heard):
                del self._sayings[key]
            elif not saying.heard and saying.said_s > -math.inf and self._outranked(now, saying):
                saying.due_s = now + AGAIN_S  # it was cut, and would be cut again
                if saying.alert.rank < self.coming[0] and self.coming[1] < math.inf:
                    saying.until_s += AGAIN_S  # a countdown is no reason to give up
            elif saying.alert.on_change and self._words(saying) == saying.said and saying.heard:
                saying.due_s = math.inf
            else:
                self._ask(now, saying)

    def _outranked(self, now: float, saying: _Saying) -> bool:
        """Whether something more urgent is sounding, waits for its answer, or is about to be said (again)."""
        if not saying.alert.phrase:
            return False  # a sound alone fills whatever pause there is, and may be cut anywhere
        rank, at_s = self.coming
        return (rank > saying.alert.rank and at_s < now + SOON_S) or any(
            other.alert.rank > saying.alert.rank
            and not other.once
            and (
                other.due_s < now + SOON_S
                or (not other.heard and now < other.said_s + other.alert.deadline_s + ANSWER_S)
            )
            for other in self._sayings.values()
        )

    # -- what became of it --------------------------------------------------------------------------------

    def progress(self, item: VoiceProgress) -> None:
        """Takes the voice's report on a request."""
        asked = self._asked.get(item.alert)
        if asked is None:
            return
        saying, alert = asked.saying, asked.saying.alert
        current = saying.number == item.alert
        if item.phase is VoicePhase.STARTED:
            self.saying = item.words or alert.earcon
            saying.started = saying.started or current
            saying.told = saying.told or (current and (asked.phrase, saying.value) == saying.said)
            self._begun_s[alert.key] = item.t_measured_s
            if saying.once and current:
                saying.due_s = saying.until_s
            if alert.earcon != "tick":
                self._out.append(
                    AlertSpoken(
                        t_s=ms(item.t_received_s),
                        alert=item.alert,
                        phrase=asked.phrase or alert.earcon,
                        words=item.words,
                        level=alert.level.name.lower(),
                        played_s=ms(item.t_measured_s),
                        delay_s=ms(item.t_measured_s - asked.asked_s),
                        because=asked.because,
                    )
                )
            return
        del self._asked[item.alert]
        self.saying = ""
        if item.phase in (VoicePhase.FINISHED, VoicePhase.UNKNOWN_PHRASE):
            self._ended_s[alert.key] = item.t_received_s
            if current:
                saying.heard = True
                self._forget_once(saying)
        elif current and saying.due_s > item.t_received_s + AGAIN_S and alert.rank > 0:
            # Cut or too late.  It is never resumed; if it is still true it is said again from its beginning.
            saying.due_s = item.t_received_s + AGAIN_S

    def _forget_once(self, saying: _Saying) -> None:
        if saying.once:
            for key, other in list(self._sayings.items()):
                if other is saying:
                    del self._sayings[key]

    def voice_there(self, now: float) -> None:
        """The voice gives its first sign of life: what was asked before it was there is asked again, if unanswered."""
        self._voice_came_s = now
        self._recheck_s = now + THERE_S

    def lose_voice(self, now: float) -> bool:
        """Nothing can be heard from now on; returns whether a warning holds, which is felt anew at once."""
        self.voice_lost = True
        warns = False
        for saying in self._sayings.values():
            if not saying.once and saying.alert.rank >= RANK_BALANCE:
                saying.due_s = now
                warns = True
        return warns

    def voice_back(self, now: float) -> None:
        """The voice works again: what holds is said again, and what was urgent and has not been heard."""
        self.voice_lost = False
        self._asked.clear()
        for saying in self._sayings.values():
            if saying.once:
                again = saying.alert.rank >= RANK_FAULT and now >= saying.said_s + SAME_NEWS_S
            else:
                again = saying.alert.level > Level.ADVISORY
            if again:
                saying.due_s = now


_ROW_OF: dict[str, Alert] = {}
for _row in ALERTS.values():
    _ROW_OF.setdefault(_row.key, _row)


def _hazardous(alert: Alert) -> bool:
    """Whether it tells of a hazard; that something is far behind is none."""
    return alert.key in HAZARDS and alert.level > Level.ADVISORY


def _standing(alert: Alert) -> bool:
    """Whether it tells of something that is there all the time while it holds."""
    return alert.key in STANDING and alert.level > Level.ADVISORY


def pan(bearing_left_deg: float | None) -> float:
    """Where something sounds from: -1 the walker's own left, 0 the middle (also where nobody knows), 1 the right."""
    if not bearing_left_deg:
        return 0.0
    return round(max(-1.0, min(1.0, -bearing_left_deg / PAN_FULL_DEG)), 2)


def side(bearing_left_deg: float | None) -> str:
    """The walker's own side something is on, `left` or `right`; empty: neither."""
    if bearing_left_deg is None or abs(bearing_left_deg) < SIDE_DEG:
        return ""
    return "left" if bearing_left_deg > 0.0 else "right"
