"""Measures over families whose links flap whether everybody is told exactly when the rules say, and nobody else.

Each family has 0 to 5 contacts, of whom some cannot be reached and some answer after a while, and a walker who falls,
calls for help, and loses the network for seconds or for hours.  What the device sends goes the way that its outbox
gives it (kept while there is no network, highest priority first, `historical` after ten minutes), the broker's `lost`
comes 15 s after the link has gone, also when a new connection stands by then.

The hub's `Desk` hears all that.  What it should say is worked out a second time, from the written rules alone and with
the whole day known: by `expected`, which shares no code with the desk, has no state that goes on from item to item, and
knows neither outcomes nor deadlines.  Both lists must agree in contact, reason, loudness, ways and time.

That the comparison can fail is shown in the same run: desks with one broken rule each must be told apart (`caught`).

    python benchmarks/ladder.py [--families 500] [--seed 1]
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run

from retrowalk.hub import alerts, case, silence
from retrowalk.hub.facts import Answered, Delivered, EventCame, HeartbeatCame, Item, Notify, StateCame, Tick
from retrowalk.hub.settings import Contact, Ladder, Silence

NAMES = ("Anna", "Ben", "Cleo", "Dora", "Emil")
DEVICE = "home/rw-0001"
DAY_S = 5 * 3600.0
SURE_S = 0.05
"""Two times that differ by less are the same."""
FAILS_AFTER_S = 1.5
"""So soon after a message it is known that no service took it."""
WILL_S = 15.0
PUT_AWAY_EACH = 137
"""After so many items the desk goes through JSON, as in a hub that is started anew."""
HISTORICAL_S = 600.0

# ------------------------------------------------------------------------------------------------- a family's day


class Fact(NamedTuple):
    """Something that happens on the device."""

    at: float
    type: str
    priority: str
    data: dict[str, Any]


class Sent(NamedTuple):
    """A message to a person: what is compared."""

    at: float
    contact: str
    kind: str
    why: str
    priority: str
    urgent: bool


@dataclass
class Habits:
    """What a person does with a message."""

    name: str
    reached: bool
    answers_after_s: float | None


@dataclass
class Family:
    """One family and its day."""

    people: list[Habits]
    facts: list[Fact]
    down: list[tuple[float, float]]
    states: list[tuple[float, str]]
    """The word the device would say from then on."""
    chance: random.Random
    neighbour_s: float | None
    """Somebody who is no contact answers an alarm so long after it began."""
    items: list[Item] = field(default_factory=list)

    def up(self, at: float) -> bool:
        return not any(begin <= at < end for begin, end in self.down)

    def word(self, at: float) -> str:
        return [word for since, word in self.states if since <= at][-1]


def family(seed: int) -> Family:
    """A family, by its number."""
    chance = random.Random(seed)
    people = [
        Habits(name, chance.random() < 0.8, chance.uniform(20, 700) if chance.random() < 0.5 else None)
        for name in NAMES[: chance.choice([0, 1, 1, 2, 2, 3, 3, 4, 5])]
    ]
    for one in people:
        if not one.reached:
            one.answers_after_s = None
    facts: list[Fact] = []
    states, flaps = [(0.0, "walking")], list[tuple[float, float]]()
    at, number = chance.uniform(300, 3000), 0
    while at < DAY_S - 2000 and number < 4:
        number += 1
        at = _fall(chance, facts, states, flaps, at, number) + chance.uniform(900, 4000)
    at = chance.uniform(200, 9000)
    while at < DAY_S - 1000 and chance.random() < 0.7:
        facts.append(Fact(at, "sos.raised", "high", {}))
        at += chance.uniform(3, 2500)
        facts.append(Fact(at, "sos.cancelled", "high", {"by": "button"}))
        at += chance.uniform(100, 5000)
    down, at = [], chance.uniform(20, 4000)
    while at < DAY_S - 3000:
        low, high = chance.choice([(3, 14), (16, 55), (65, 170), (65, 170), (190, 1500), (1500, 3600)])
        end = at + chance.uniform(low, high)
        down.append((at, end))
        at = end + chance.uniform(*chance.choice([(5, 25), (35, 90), (300, 4000)]))
    # A flap beside a longer cut, not within one.
    down = sorted([*down, *(f for f in flaps if all(f[1] + 20 < begin or end + 20 < f[0] for begin, end in down))])
    facts = [fact for fact in sorted(facts, key=lambda fact: fact.at) if fact.at < DAY_S]
    neighbour_s = chance.uniform(100, 900) if chance.random() < 0.15 else None
    made = Family(people, facts, down, sorted(states), chance, neighbour_s)
    made.items = arrivals(made)
    return made


def _fall(
    chance: random.Random,
    facts: list[Fact],
    states: list[tuple[float, str]],
    flaps: list[tuple[float, float]],
    at: float,
    number: int,
) -> float:
    """A fall and what becomes of it; returns when it is over."""
    facts.append(Fact(at, "fall.suspected", "medium", {"fall": number, "countdown_s": 30.0}))
    if chance.random() < 0.35:
        end = at + chance.uniform(2, 29)
        facts.append(Fact(end, "fall.cancelled", "high", {"fall": number, "by": "walked"}))
        return end
    if chance.random() < 0.25:
        # The guard has lost the countdown: nothing more comes of it, while the link may flap for a few seconds.
        if chance.random() < 0.6:
            cut = at + chance.uniform(11, 14.9)
            flaps.append((cut, cut + chance.uniform(3, 8)))
        end = at + chance.uniform(60, 1500)
        facts.append(Fact(end, "fall.cancelled", "high", {"fall": number, "by": "button"}))
        return end
    facts.append(Fact(at + 30, "fall.confirmed", "high", {"fall": number}))
    lies_s = chance.choice([chance.uniform(3, 200), chance.uniform(200, 3000)])
    rises_s = at + 30 + lies_s * chance.uniform(0.2, 0.95)
    facts.extend(
        Fact(at + since, "fall.lasted", "high", {"fall": number, "since_s": since, "posture": "lying"})
        for since in (60.0, 180.0, 300.0, 600.0, 900.0, 1500.0, 2100.0, 2700.0)
        if at + since < rises_s
    )
    end = at + 30 + lies_s
    if rises_s < end - 8:
        facts.append(Fact(rises_s, "fall.risen", "medium", {"fall": number, "since_s": 1.0, "walking": False}))
    if at + 180 < end:
        states.append((at + 180, "ready"))  # nobody walks there any more
        states.append((end + 20, "walking"))
    facts.append(Fact(end, "fall.cancelled", "high", {"fall": number, "by": "button"}))
    return end


def arrivals(day: Family) -> list[Item]:
    """What reaches the hub, in order."""
    made: list[tuple[float, int, Item]] = []

    def put(item: Item) -> None:
        made.append((item.now_s, len(made), item))

    edges = [0.0] + [end for _, end in day.down]
    cuts = [begin for begin, _ in day.down] + [DAY_S]
    waiting = list(enumerate(day.facts, start=1))
    for life, (begin, end) in enumerate(zip(edges, cuts, strict=True)):
        conn = f"c{life}"
        put(StateCame(now_s=begin, device=DEVICE, state=day.word(begin), conn=conn))
        for since, word in day.states:
            if begin < since < end:
                put(StateCame(now_s=since, device=DEVICE, state=word, conn=conn))
        at = begin
        while at < end:
            word = day.word(at)
            put(HeartbeatCame(now_s=at, device=DEVICE, conn=conn, state=word, guard_state="guarding"))
            at += 15.0 if word == "walking" else 60.0
        old = sorted(
            ((seq, fact) for seq, fact in waiting if fact.at < begin), key=lambda one: (one[1].priority != "high", one)
        )
        for place, (seq, fact) in enumerate(old):
            put(_event(seq, fact, begin + 0.01 * (place + 1), begin - fact.at > HISTORICAL_S))
        for seq, fact in waiting:
            if begin <= fact.at < end:
                # After what had waited: one at a time.
                put(_event(seq, fact, max(fact.at, begin + 0.01 * (len(old) + 1)), False))
        waiting = [(seq, fact) for seq, fact in waiting if fact.at >= end]
        if end < DAY_S:
            put(StateCame(now_s=end + WILL_S, device=DEVICE, state="lost", conn=conn))
    return [item for _, _, item in sorted(made, key=lambda one: one[:2])]


def _event(seq: int, fact: Fact, at: float, historical: bool) -> EventCame:
    return EventCame(
        now_s=at,
        device=DEVICE,
        epoch="e",
        seq=seq,
        id=f"i{seq}",
        type=fact.type,
        priority=fact.priority,
        time="2026-01-15T09:31:07Z",
        clock="ntp",
        session="s",
        historical=historical,
        data=fact.data,
    )


# ------------------------------------------------------------------------------------------------------ the oracle
#
# The rules, as they are written for people:
#
#  1 A possible fall is told to the first contact at once; if the message fails, to the next one.
#  2 A confirmed fall, a call for help: contact 1 at once, contact 2 after 2 min, the next each 2 min later, everybody
#    after 5 min by the urgent ways, too, and by these again each 5 min; each is told again each minute, and each 5 min
#    after half an hour.  Who cannot be reached is not waited for.
#  3 A countdown that brings neither end nor confirmation is an alarm 20 s after it; at once after it when the device is
#    known to have lost its connection.
#  4 What happened more than ten minutes ago is told 5 s later, if it is not over by then.
#  5 The first named person who answers ends the ladder; the others who were told hear who it is.  A later one takes it
#    over, and the one before hears that.  Each 15 min whoever has it is reminded, or everybody who was told, if that is
#    no contact.
#  6 When it is over, everybody who was told hears so.
#  7 News: that somebody got up, to all who were told; that they still lie (or a confirmation), to whoever has it.  At
#    most each minute.  Nothing of what happened before what is known already.
#  8 Silence of a device that walks (rests): after 60 (150) s a word to the first contact, each 15 min at most; after
#    180 (240) s the ladder.  While a fall or a call for help is open: news of that instead.  Over when it has spoken
#    for 30 s, or 300 s when the last such alarm ended less than 30 min before; at once, if nobody was called.  While
#    it speaks the ladder rests; what it left out is told when it goes on.


@dataclass
class Trouble:
    """An alarm as the oracle sees it."""

    kind: str
    possible_s: float | None = None
    page_s: float | None = None
    end_s: float = math.inf
    rests: list[tuple[float, float]] = field(default_factory=list)
    news: list[tuple[float, str]] = field(default_factory=list)
    """When, and for whom: `all`, `one` (whoever has it)."""
    answers: list[tuple[float, str]] = field(default_factory=list)
    told: dict[str, float] = field(default_factory=dict)
    """Since when each has known of it."""
    notice: bool = True

    def open_at(self, at: float) -> bool:
        return self.page_s is not None and self.page_s <= at < self.end_s


Answers = list[tuple[float, str, str]]
"""When who answers an alert of which kind."""


def expected(day: Family) -> tuple[list[Sent], Answers]:
    """All messages of the day by the rules, and the answers that follow from them."""
    sent: list[Sent] = []
    answers: Answers = []
    troubles = [*_falls(day), *_calls(day)]
    for trouble in troubles:
        _people(day, trouble, answers)
    silences = _silences(day, troubles, answers)
    for trouble in [*troubles, *silences]:
        sent += _messages(day, trouble)
    return sorted(one for one in sent if one.at <= DAY_S), sorted(answers)


def _events(day: Family, *types: str) -> list[EventCame]:
    return [item for item in day.items if isinstance(item, EventCame) and item.type in types]


def _lost_at(day: Family, at: float) -> bool:
    """Whether the hub knows that the connection is gone: 15 s after a cut that still lasts."""
    return any(begin + WILL_S <= at < end for begin, end in day.down)


def _falls(day: Family) -> Iterator[Trouble]:
    for number in sorted({fact.data["fall"] for fact in day.facts if "fall" in fact.data}):
        came = [item for item in day.items if isinstance(item, EventCame) and item.data.get("fall") == number]
        end_s = min([item.now_s for item in came if item.type == "fall.cancelled"], default=math.inf)
        before = [item for item in came if item.now_s < end_s]
        if not before:
            continue
        trouble = Trouble("fall", end_s=end_s)
        asked = [item for item in before if item.type == "fall.suspected"]
        sure = [item for item in before if item.type in ("fall.confirmed", "fall.lasted", "fall.risen")]
        sure_s = sure[0].now_s if sure else math.inf
        page_s = sure_s + (5.0 if sure and sure[0].historical else 0.0)
        if asked and asked[0].now_s < sure_s:
            first = asked[0]
            possible_s = first.now_s + (5.0 if first.historical else 0.0)
            trouble.possible_s = possible_s if possible_s < min(sure_s, end_s) else None
            ended_s = first.now_s + 30.0
            # Lost at the end of the countdown, or from a moment of the 20 s after it on.
            gone = [begin + WILL_S for begin, end in day.down if ended_s < begin + WILL_S < min(ended_s + 20.0, end)]
            alone_s = ended_s if _lost_at(day, ended_s) else min([*gone, ended_s + 20.0])
            if alone_s < sure_s:
                page_s = alone_s
        trouble.page_s = page_s if page_s < end_s else None
        newest = 0
        for item in before:
            if item.seq > newest and trouble.page_s is not None and item.now_s > trouble.page_s:
                if item.type == "fall.risen":
                    trouble.news.append((item.now_s, "all"))
                elif item.type in ("fall.lasted", "fall.confirmed"):
                    trouble.news.append((item.now_s, "one"))
            newest = max(newest, item.seq)
        yield trouble


def _calls(day: Family) -> Iterator[Trouble]:
    raised = _events(day, "sos.raised")
    ends = _events(day, "sos.cancelled")
    for item in raised:
        end_s = min([end.now_s for end in ends if end.seq > item.seq], default=math.inf)
        page_s = item.now_s + (5.0 if item.historical else 0.0)
        if page_s < end_s:
            yield Trouble("sos", page_s=page_s, end_s=end_s)


def _first_told(day: Family, trouble: Trouble) -> dict[str, float]:
    """When each contact would first hear of the alarm, if nobody answered, and of what was only possible."""
    known: dict[str, float] = {}
    """Since when it is known that somebody cannot be reached."""
    until_s = min(trouble.end_s, math.inf if trouble.page_s is None else trouble.page_s)
    at = trouble.possible_s
    for person in day.people:
        if at is None or at >= until_s:
            break
        trouble.told[person.name] = at
        if person.reached:
            break
        at += FAILS_AFTER_S
        if at < until_s:
            known[person.name] = at
    if trouble.page_s is None:
        return {}
    firsts: dict[str, float] = {}
    for place, person in enumerate(day.people):
        before = [one.name for one in day.people[:place]]
        moments = sorted({trouble.page_s, *(max(known[name], trouble.page_s) for name in before if name in known)})
        due = min(
            max(moment, _on_ladder(trouble.page_s, sum(known.get(name, math.inf) > moment for name in before)))
            for moment in moments
        )
        at = _awake(trouble, due)
        firsts[person.name] = at
        if not person.reached:
            known[person.name] = min(known.get(person.name, math.inf), at + FAILS_AFTER_S)
    return firsts


def _on_ladder(page_s: float, waited_for: int) -> float:
    return page_s + min(120.0 * waited_for, 300.0)


def _awake(trouble: Trouble, at: float) -> float:
    """`at`, or the end of the rest in which it falls."""
    return next((end for begin, end in trouble.rests if begin <= at < end), at)


def _people(day: Family, trouble: Trouble, answers: Answers) -> None:
    """Who answers when."""
    firsts = _first_told(day, trouble)
    if trouble.page_s is None:
        return
    delays = {person.name: person.answers_after_s for person in day.people}
    offers = [(at + delay, name) for name, at in firsts.items() if (delay := delays[name]) is not None]
    if day.neighbour_s is not None:
        offers.append((trouble.page_s + day.neighbour_s, "Mrs Neighbour"))
    offers = sorted(offer for offer in offers if offer[0] < min(trouble.end_s, DAY_S))
    if not offers:
        return
    # Who has not been told before the first answer is not told any more, and does not answer.
    first = offers[0]
    trouble.answers = [first] + [
        (at, name) for at, name in offers[1:] if firsts.get(name, math.inf) < first[0] and at - first[0] > 1.0
    ]
    answers += [(at, name, trouble.kind) for at, name in trouble.answers]


def _silences(day: Family, troubles: list[Trouble], answers: Answers) -> list[Trouble]:
    """The silences, from when the device was heard and what it had said then."""
    heard: list[tuple[float, float, float]] = []
    word, conn, lost = "", "", False
    for item in day.items:
        if isinstance(item, StateCame):
            if item.state == "lost":
                lost = lost or item.conn == conn
                continue
            if (item.state, item.conn) == (word, conn) and not lost:
                continue
            word, conn, lost = item.state, item.conn, False
        elif isinstance(item, HeartbeatCame):
            word, conn, lost = item.state, item.conn, False
        heard.append((item.now_s, 60.0, 180.0) if word == "walking" else (item.now_s, 150.0, 240.0))
    found: list[Trouble] = []
    now: Trouble | None = None
    back_s: float | None = None
    noticed_s = ended_s = -math.inf
    steady_s = 30.0
    for (at, notice_s, page_s), after in zip(heard, [*(one[0] for one in heard[1:]), math.inf], strict=True):
        if now is not None:
            if now.page_s is None:
                now.end_s = at
            else:
                if back_s is None:
                    back_s = at
                elif at - back_s >= steady_s:
                    now.end_s = ended_s = at
            if now.end_s < math.inf:
                if back_s is not None and now.page_s is not None:
                    now.rests.append((back_s, math.inf))
                now, back_s = None, None
        silent_s = at + notice_s
        if silent_s >= after:
            continue
        if now is not None:
            # It spoke for a while, and is silent again: the ladder goes on.
            if back_s is not None:
                now.rests.append((back_s, silent_s))
                back_s = None
            continue
        open_ones = [trouble for trouble in troubles if trouble.open_at(silent_s)]
        for trouble in open_ones:
            trouble.news.append((silent_s, "all"))
        if open_ones:
            continue  # while the device is silent nothing can end it: no person calls it over here
        now = Trouble("silent", possible_s=silent_s, notice=silent_s - noticed_s >= 900.0)
        if now.notice:
            noticed_s = silent_s
        else:
            now.possible_s = None
        if at + page_s < after:
            now.page_s = at + page_s
            steady_s = 300.0 if now.page_s - ended_s < 1800.0 else 30.0
        found.append(now)
    for trouble in found:
        _people(day, trouble, answers)
    return found


def _messages(day: Family, trouble: Trouble) -> list[Sent]:
    """Everything that is said of one alarm."""
    sent: list[Sent] = []
    contacts = [person.name for person in day.people]
    kind, page_s, end_s = trouble.kind, trouble.page_s, trouble.end_s

    def say(at: float, to: list[str], why: str, priority: str, urgent: bool = False) -> None:
        sent.extend(Sent(at, name, kind, why, priority, urgent) for name in to if name in contacts)

    firsts = _first_told(day, trouble)
    for name, at in trouble.told.items():
        say(at, [name], "possible", "low" if kind == "silent" else "medium")
    stop_s = min(end_s, trouble.answers[0][0] if trouble.answers else math.inf, DAY_S)
    for place, name in enumerate(contacts):
        if page_s is None or firsts[name] >= stop_s:
            continue
        trouble.told[name] = min(trouble.told.get(name, math.inf), firsts[name])
        for at, urgent, first in _turns(trouble, firsts[name], page_s, stop_s):
            say(at, [name], ("alarm" if place == 0 else "escalated") if first else "repeat", "high", urgent)
    told = trouble.told
    has = ""
    for place, (at, by) in enumerate(trouble.answers):
        knew = [name for name in contacts if told.get(name, math.inf) < at and name != by]
        say(at, knew if place == 0 else [has], "answered", "medium")
        has = by
        next_s = trouble.answers[place + 1][0] if place + 1 < len(trouble.answers) else math.inf
        due = at + 900.0
        while due < min(next_s, end_s, DAY_S):
            say(due, [by] if by in contacts else knew, "reminder", "medium")
            due += 900.0
    for at, to in _news(trouble, contacts):
        say(at, to, "update", "medium")
    if end_s < DAY_S:
        say(end_s, [name for name in contacts if told.get(name, math.inf) < end_s], "all_clear",
            "low" if page_s is None else "medium")  # fmt: skip
    return sent


def _turns(trouble: Trouble, first_s: float, page_s: float, stop_s: float) -> Iterator[tuple[float, bool, bool]]:
    """When a contact is told of the alarm, whether by the urgent ways, and whether for the first time."""
    at = base = first_s
    for offset in (0.0, 120.0, 240.0, 300.0):
        if 0.0 <= at - page_s - offset < 10.0:
            base = page_s + offset  # a moment late: the minutes count from the alarm all the same
    first, urgent_s = True, -math.inf
    while at < stop_s:
        urgent = at > page_s + 299.0 and base - urgent_s > 299.0
        yield at, urgent, first
        first = False
        if urgent:
            urgent_s = base
        due = base + (60.0 if base - page_s < 1799.0 else 300.0)
        if urgent_s == -math.inf and due > page_s + 299.0:
            due = page_s + 300.0
        at = _awake(trouble, due)
        base = due if at - due < 10.0 else at


def _news(trouble: Trouble, contacts: list[str]) -> Iterator[tuple[float, list[str]]]:
    """News, at most each minute: who is told is who knew of it, or had it, when they came."""
    last_s = -math.inf
    waits_s, waits_for = math.inf, list[str]()
    for at, whom in [*sorted(trouble.news), (math.inf, "all")]:
        if waits_s <= at and waits_s < min(trouble.end_s, DAY_S):
            yield waits_s, waits_for
            last_s, waits_s, waits_for = waits_s, math.inf, []
        knew = [name for name in contacts if trouble.told.get(name, math.inf) < at]
        has = [name for when, name in trouble.answers if when < at][-1:]
        to = knew if whom == "all" else [] if not has else has if has[0] in contacts else knew
        if at >= min(trouble.end_s, DAY_S) or not to:
            continue
        waits_s = min(waits_s, max(at, last_s + 60.0))
        waits_for = list(dict.fromkeys([*waits_for, *to]))


# ---------------------------------------------------------------------------------------------------- the desk


@dataclass
class Cost:
    """What the desk costs."""

    items: int = 0
    seconds: float = 0.0
    state_bytes: int = 0
    put_away_us: list[float] = field(default_factory=list)


def heard_from(day: Family, answers: Answers, cost: Cost | None = None) -> list[Sent]:
    """What the desk says on that day; now and then the hub is started anew, and goes on from what it has kept."""
    cost = cost or Cost()
    contacts = [Contact(name=person.name) for person in day.people]
    desk = alerts.Desk(contacts, Ladder(), Silence())
    reached = {person.name: person.reached for person in day.people}
    queue: list[tuple[float, int, Item | tuple[str, str]]] = []
    for place, came in enumerate(day.items):
        heapq.heappush(queue, (came.now_s, place, came))
    for at, by, kind in answers:
        heapq.heappush(queue, (at, len(queue), (by, kind)))
    heapq.heappush(queue, (DAY_S, len(queue), Tick(now_s=DAY_S)))
    number = len(queue)
    sent: list[Sent] = []
    while queue:
        due = desk.deadline()
        if due < queue[0][0]:
            item: Item = Tick(now_s=due)
        else:
            at, _, what = heapq.heappop(queue)
            if isinstance(what, tuple):
                by, kind = what
                alert = next((one.number for one in desk.alerts() if one.kind == kind), 10**9)
                item = Answered(now_s=at, by=by, alert=alert)
            else:
                item = what
        if item.now_s > DAY_S:
            break
        began = time.perf_counter()
        outcomes = desk.feed(item)
        cost.seconds += time.perf_counter() - began
        cost.items += 1
        if cost.items % PUT_AWAY_EACH == 0:
            began = time.perf_counter()
            kept = json.dumps(desk.state(), allow_nan=False)
            cost.put_away_us.append((time.perf_counter() - began) * 1e6)
            cost.state_bytes = max(cost.state_bytes, len(kept))
            desk = alerts.Desk(contacts, Ladder(), Silence())
            desk.restore(json.loads(kept))
        for one in outcomes:
            if isinstance(one, Notify):
                sent.append(Sent(item.now_s, one.contact, one.alert.kind, one.why, one.priority, one.urgent))
                number += 1
                ok = reached[one.contact]
                result = Delivered(now_s=item.now_s + (0.5 if ok else FAILS_AFTER_S), notice=one.notice, ok=ok)
                heapq.heappush(queue, (result.now_s, number, result))
    return sorted(sent)


@dataclass
class Verdict:
    """How far two days agree."""

    expected: int = 0
    sent: int = 0
    missing: int = 0
    extra: int = 0
    late: int = 0
    worst_s: float = 0.0
    first: str = ""

    def wrong(self) -> int:
        return self.missing + self.extra + self.late


def compared(rules: list[Sent], desk: list[Sent]) -> Verdict:
    """Each message of the rules with the nearest equal one of the desk; nothing is used twice."""
    verdict = Verdict(len(rules), len(desk))
    left: dict[tuple[Any, ...], list[float]] = {}
    for one in desk:
        left.setdefault(one[1:], []).append(one.at)
    unmatched: list[Sent] = []
    for one in rules:
        times = left.get(one[1:], [])
        near = min(times, key=lambda at: abs(at - one.at), default=math.inf)
        if abs(near - one.at) <= SURE_S:
            times.remove(near)
            verdict.worst_s = max(verdict.worst_s, abs(near - one.at))
        else:
            unmatched.append(one)
    for one in unmatched:
        times = left.get(one[1:], [])
        near = min(times, key=lambda at: abs(at - one.at), default=math.inf)
        verdict.first = verdict.first or f"not told: {one}"
        if abs(near - one.at) <= 30.0:
            times.remove(near)
            verdict.late += 1
        else:
            verdict.missing += 1
    verdict.extra = sum(len(times) for times in left.values())
    if verdict.extra and not verdict.first:
        verdict.first = "told beside the rules: " + next(f"{key} at {times}" for key, times in left.items() if times)
    return verdict


# ------------------------------------------------------------------------------------------------ broken desks


def _broken(target: object, name: str, value: object) -> Callable[[], Any]:
    return lambda: mock.patch.object(target, name, value)


def _forgetful_end(self: case.Case, now: float, why: str, names: Any) -> None:
    told = self.alert.told[:1]
    self.alert = replace(self.alert, told=told)
    _END(self, now, why, names)


def _deaf_answer(self: case.Case, now: float, by: str, names: Any, ladder: Ladder) -> bool:
    begins_s, stage = self.begins_s, self.alert.stage
    new = _ANSWER(self, now, by, names, ladder)
    self.begins_s = begins_s
    self.alert = replace(self.alert, stage=stage)
    return new


def _any_will(self: silence.Life, item: StateCame) -> bool:
    if item.state == "lost":
        self.lost_s = item.now_s
        return False
    return _STATE(self, item)


def _never_fails(self: case.Case, notice: int, ok: bool) -> None:
    _DELIVERED(self, notice, True)


_END, _ANSWER, _DELIVERED = case.Case.end, case.Case.answer, case.Case.delivered
_STATE = silence.Life.state_came

BROKEN: dict[str, Callable[[], Any]] = {
    "all-clear only to the first": _broken(case.Case, "end", _forgetful_end),
    "an answer does not stop it": _broken(case.Case, "answer", _deaf_answer),
    "waits for who cannot be reached": _broken(case.Case, "delivered", _never_fails),
    "tires after 20 minutes": _broken(case, "SLOW_AFTER_S", 1200.0),
    "urgent ways only once": _broken(case, "SLOW_S", 1e9),
    "no patience with the past": _broken(alerts, "SETTLE_S", 0.0),
    "forgets the countdown": _broken(alerts, "ANSWER_S", 1e9),
    "believes late wills": _broken(silence.Life, "state_came", _any_will),
    "one sign of life is enough": _broken(alerts, "STEADY_S", 0.0),
    "flapping is not noticed": _broken(alerts, "STEADY_AGAIN_S", 30.0),
    "silence told each time": _broken(alerts, "NOTICE_EVERY_S", 0.0),
    "news told each time": _broken(case, "UPDATE_EVERY_S", 0.0),
}
"""Desks with one broken rule each."""


@contextmanager
def broken(name: str) -> Iterator[None]:
    with BROKEN[name]():
        yield


def measure(options: argparse.Namespace) -> list[Row]:
    families = options.families or (60 if options.quick else 5000 if options.full else 500)
    total, messages, wrong_families = Verdict(), Counter[str](), 0
    days, cost = [], Cost()
    for number in range(families):
        day = family(options.seed * 1_000_003 + number)
        rules, answers = expected(day)
        if number < 120:
            days.append((day, rules, answers))
        found = compared(rules, heard_from(day, answers, cost))
        messages.update(one.why for one in rules)
        wrong_families += found.wrong() > 0
        for name in ("expected", "sent", "missing", "extra", "late"):
            setattr(total, name, getattr(total, name) + getattr(found, name))
        total.worst_s = max(total.worst_s, found.worst_s)
        if found.first and not options.json:
            print(f"family {number}: {found.first}", file=sys.stderr)
    rows = [
        Row("notices_expected", "retrowalk", f"total {families} families", total.expected, "messages", families),
        Row("notices_sent", "retrowalk", f"total {families} families", total.sent, "messages", families),
        *(Row("notices_expected", "retrowalk", f"total {why}", count, "messages", families)
          for why, count in sorted(messages.items())),
        Row("notices_missing", "retrowalk", "total", total.missing, "messages", total.expected, goal="<= 0"),
        Row("notices_extra", "retrowalk", "total", total.extra, "messages", total.sent, goal="<= 0"),
        Row("notices_late", "retrowalk", "total", total.late, "messages", total.expected, goal="<= 0"),
        Row("families_wrong", "retrowalk", "total", wrong_families, "families", families, goal="<= 0"),
        Row("time_error_ms", "retrowalk", "max", total.worst_s * 1000, "ms", total.expected),
        Row("feed_us", "retrowalk", "mean an item", cost.seconds / cost.items * 1e6, "us", cost.items),
        Row("state_us", "retrowalk", "mean to JSON", sum(cost.put_away_us) / len(cost.put_away_us), "us",
            len(cost.put_away_us)),
        Row("state_bytes", "retrowalk", "max one device", cost.state_bytes, "bytes", len(cost.put_away_us)),
    ]  # fmt: skip
    caught = 0
    for name in BROKEN:
        with broken(name):
            wrong = sum(compared(rules, heard_from(day, answers)).wrong() for day, rules, answers in days)
        rows.append(Row("deviations_found", f"a desk: {name}", "total", wrong, "messages", len(days)))
        caught += wrong > 0
    rows.append(
        Row("broken_desks_caught", "retrowalk", "total", caught, "desks", len(BROKEN), goal=f">= {len(BROKEN)}")
    )
    return rows


if __name__ == "__main__":
    parser = arguments("Escalation over simulated families, against the written rules.")
    parser.add_argument("--families", type=int, default=0, help="how many (default 500)")
    run("ladder", parser.parse_args(), measure)
