"""One alert with the people it concerns: who is told when, who has answered, who must hear that it is over.

Times are hub time.  The ladder, from the moment at which somebody is needed:

- the first contact at once; each further one `next_after_s` after the one before, at the latest `all_after_s` after
  the first; whoever was told again each `repeat_s`, and each 300 s after half an hour, until a named person answers;
- a contact of whom it is known that nothing reached them is not waited for: the next is told at once.  They are still
  told in their turn;
- `all_after_s` after the first everybody is told by their urgent ways, too, and by these again each 300 s;
- what fell due while the hub could not tell anybody is told once, not once for each time that was missed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from msgspec import Struct, field

from retrowalk.hub.facts import Alert, Kind, Stage, Told
from retrowalk.hub.settings import Ladder

SLOW_AFTER_S = 1800.0
"""Nobody has answered for half an hour: from here on everybody is told less often, ..."""
SLOW_S = 300.0
"""... this often; by their urgent ways they are never told more often than this."""
UPDATE_EVERY_S = 60.0
"""News of one alert are told no more often, but a call for help at once after what was less."""
POSSIBLE_VOID_S = 600.0
UPDATE_VOID_S = 900.0
END_VOID_S = 86400.0
"""That it is over, or answered, is worth hearing for a day."""
LATE_S = 10.0
"""What is done later than this after it was due counts from when it is done; what is less late keeps to the minute."""
NEAR_S = 1.0
"""Moments of a ladder that are nearer than this are one."""


class Step(Struct):
    """Where a contact stands on the ladder."""

    next_s: float
    """When they are told again."""
    urgent_s: float | None = None
    """When they were told by their urgent ways."""


class Notice(Struct):
    """A message that was handed over to be sent."""

    contact: str
    why: Told
    void_s: float
    taken: bool = False


class Say(NamedTuple):
    """A message to hand over."""

    contact: str
    why: Told
    priority: str
    urgent: bool
    void_s: float


class Case(Struct, kw_only=True):
    """An alert that is not over, and how far its ladder has come."""

    alert: Alert
    order: tuple[int, int] = (0, 0)
    """Epoch and number of its latest event: what is lower happened before."""
    fall: int | None = None
    """The device's number of the fall."""
    confirmed: bool = False
    """The device, not this hub, has said that it is more than possible."""
    begins_s: float | None = None
    """When the first contact is told; None: nobody is."""
    counted_s: float | None = None
    """When the countdown on the device is over."""
    held: bool = False
    """Its ladder rests: what it is about seems to be over."""
    steps: dict[str, Step] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """Contacts whom nothing has reached."""
    reached: list[str] = field(default_factory=list)
    owed: tuple[str, ...] = ()
    """Who was told of an earlier alert that this one has taken the place of."""
    remind_s: float | None = None
    updated_s: float | None = None
    updated_high: bool = False
    update_s: float | None = None
    """When news are told ..."""
    update_to: tuple[str, ...] = ()
    update_priority: str = "medium"
    notices: dict[int, Notice] = field(default_factory=dict)
    changed: bool = True
    """The alert is not as it was told last."""
    paged: bool = False
    """Somebody was needed at some time."""
    says: list[Say] = field(default_factory=list)
    voids: list[int] = field(default_factory=list)

    @property
    def stage(self) -> Stage:
        return self.alert.stage

    def becomes(self, **changes: Any) -> None:
        """Changes the alert."""
        self.alert = replace(self.alert, **changes)
        self.changed = True

    # -- time -----------------------------------------------------------------------------------------------

    def deadline(self, names: Sequence[str], ladder: Ladder) -> float:
        """When `advance` has something to do (`math.inf`: never)."""
        due = self.update_s if self.update_s is not None else math.inf
        if self.remind_s is not None:
            due = min(due, self.remind_s)
        if self.begins_s is None or self.held:
            return due
        if self.stage is Stage.POSSIBLE and self._possible(names):
            return min(due, self.begins_s)
        if self.stage is Stage.OPEN:
            return min([due, *(self._due(place, names, ladder) for place in range(len(names)))])
        return due

    def advance(self, now: float, names: Sequence[str], ladder: Ladder) -> None:
        """Tells everybody whose turn it is."""
        if self.begins_s is not None and not self.held:
            if self.stage is Stage.POSSIBLE and now >= self.begins_s:
                self.tell(self._possible(names), Told.POSSIBLE, self._loud, now + POSSIBLE_VOID_S)
            elif self.stage is Stage.OPEN:
                self._climb(now, names, ladder)
        if self.remind_s is not None and now >= self.remind_s:
            self.remind_s += ladder.remind_after_s
            if now >= self.remind_s:
                self.remind_s = now + ladder.remind_after_s
            self.tell(self.answerer(names), Told.REMINDER, "medium", self.remind_s)
        if self.update_s is not None and now >= self.update_s:
            self.update_s, self.updated_s, self.updated_high = None, now, self.update_priority == "high"
            to = [name for name in self.update_to if name in names]
            self.tell(to, Told.UPDATE, self.update_priority, now + UPDATE_VOID_S)

    @property
    def _loud(self) -> str:
        return "low" if self.alert.kind is Kind.SILENT else "medium"

    def _possible(self, names: Sequence[str]) -> list[str]:
        """Who must hear of what is only possible: the first who can be reached."""
        return [name for name in names if name not in self.failed][:1] if not self._told_possible(names) else []

    def _told_possible(self, names: Sequence[str]) -> bool:
        return any(name in self.alert.told for name in names if name not in self.failed)

    def _due(self, place: int, names: Sequence[str], ladder: Ladder) -> float:
        assert self.begins_s is not None
        all_s = self.begins_s + ladder.all_after_s
        step = self.steps.get(names[place])
        if step is None:
            waited_for = sum(name not in self.failed for name in names[:place])
            return min(self.begins_s + ladder.next_after_s * waited_for, all_s)
        return all_s if step.urgent_s is None and step.next_s > all_s - NEAR_S else step.next_s

    def _climb(self, now: float, names: Sequence[str], ladder: Ladder) -> None:
        begins_s = self.begins_s
        assert begins_s is not None
        for place, name in enumerate(names):
            due = self._due(place, names, ladder)
            if now < due:
                continue
            at = since(due, now)
            step = self.steps.get(name)
            told = Told.REPEAT if step else Told.ALARM if place == 0 else Told.ESCALATED
            urgent_s = step.urgent_s if step else None
            urgent = now > begins_s + ladder.all_after_s - NEAR_S and (
                urgent_s is None or at - urgent_s > SLOW_S - NEAR_S
            )
            every_s = ladder.repeat_s if at - begins_s < SLOW_AFTER_S - NEAR_S else max(ladder.repeat_s, SLOW_S)
            self.steps[name] = Step(at + every_s, at if urgent else urgent_s)
            self.tell([name], told, "high", at + every_s, urgent=urgent)

    # -- what becomes of it ---------------------------------------------------------------------------------

    def page(self, begins_s: float) -> None:
        """Somebody is needed from `begins_s` on."""
        self.becomes(stage=Stage.OPEN, priority="high", answered_by="", answered_s=None)
        self._void((Told.POSSIBLE,))
        self.begins_s, self.paged, self.counted_s = begins_s, True, None

    def news(self, now: float, to: Sequence[str], priority: str = "medium") -> None:
        """Something has changed that `to` should hear, as soon as they may hear news again."""
        if not to:
            return
        high = priority == "high"
        rest_s = self.updated_s + UPDATE_EVERY_S if self.updated_s is not None and high <= self.updated_high else now
        if self.update_s is None:
            self.update_s, self.update_to, self.update_priority = max(now, rest_s), tuple(to), priority
            return
        self.update_s = min(self.update_s, max(now, rest_s))
        self.update_to = tuple(dict.fromkeys((*self.update_to, *to)))
        if high:
            self.update_priority = priority

    def answer(self, now: float, by: str, names: Sequence[str], ladder: Ladder) -> bool:
        """A person has it in hand; returns whether that is new."""
        before = self.alert.answered_by
        if same_person(before, by):
            return False
        if self.alert.kind is Kind.FALL and self.stage is Stage.POSSIBLE:
            # Seen; but what they have seen is a question.  Once it is an alarm, somebody must answer that.
            self.becomes(answered_by=by, answered_s=now)
            return True
        self._void((Told.POSSIBLE, Told.ALARM, Told.REPEAT, Told.ESCALATED, Told.REMINDER))
        others = [before] if self.stage is Stage.ANSWERED else list(self.alert.told)
        self.becomes(stage=Stage.ANSWERED, answered_by=by, answered_s=now)
        self.begins_s, self.remind_s = None, now + ladder.remind_after_s
        to = [name for name in names if name in others and not same_person(name, by)]
        self.tell(to, Told.ANSWERED, "medium", now + END_VOID_S)
        return True

    def answerer(self, names: Sequence[str]) -> list[str]:
        """Whoever has it in hand; everybody who was told, where that is nobody who can be told."""
        by = [name for name in names if same_person(name, self.alert.answered_by)]
        return by or [name for name in names if name in self.alert.told]

    def end(self, now: float, why: str, names: Sequence[str]) -> None:
        """It is over; everybody who was told hears it."""
        self._void(tuple(Told))
        told = {*self.alert.told, *self.owed}
        self.becomes(stage=Stage.OVER, ended_s=now, ended=why)
        self.begins_s = self.remind_s = self.update_s = None
        to = [name for name in names if name in told]
        self.tell(to, Told.ALL_CLEAR, "medium" if self.paged else "low", now + END_VOID_S)

    def delivered(self, notice: int, ok: bool) -> None:
        """What became of a message."""
        found = self.notices[notice]
        found.taken = found.taken or ok
        known = self.reached if ok else self.failed
        if found.contact not in known and found.contact not in self.reached:
            known.append(found.contact)

    # -- telling --------------------------------------------------------------------------------------------

    def tell(self, to: Sequence[str], why: Told, priority: str, void_s: float, *, urgent: bool = False) -> None:
        self.says += [Say(name, why, priority, urgent, void_s) for name in to]
        if why is not Told.ALL_CLEAR and any(name not in self.alert.told for name in to):
            self.becomes(told=tuple(dict.fromkeys((*self.alert.told, *to))))

    def _void(self, whys: Sequence[Told]) -> None:
        """What has not been sent of these is no longer true."""
        gone = [number for number, notice in self.notices.items() if notice.why in whys]
        self.voids += [number for number in gone if not self.notices[number].taken]
        for number in gone:
            del self.notices[number]


def same_person(one: str, other: str) -> bool:
    """Whether two names mean one person."""
    return one.casefold() == other.casefold()


def since(due_s: float, now: float) -> float:
    """From when on the time counts of what was due at `due_s` and is done `now`."""
    return due_s if now - due_s < LATE_S else now
