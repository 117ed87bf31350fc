"""What is to be sent by which address, and when again: pure, time as an argument.

A notice goes to every address of its contact at once; one of low priority to the first that takes it.  Each address
has one message in flight at a time, the loudest first and of these the oldest, so that a contact reads things in
their order and an alarm waits for no note; one that waits to be tried again does not hold up the next.  What was not
taken is tried again, ever later, until the notice is void.  A message that went by an address makes older ones about
the same alert superfluous there.

At least once: a message whose worker died may have gone already, and is sent again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from retrowalk.hub.facts import Notify

AGAIN_S = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
"""Pauses before the next attempts; the last one goes on."""

_ORDER = {"high": 0, "medium": 1, "low": 2}

NO_WAY = "no address to reach them by"


class Result(NamedTuple):
    """What became of a notice, as the hub's engine takes it."""

    notice: int
    ok: bool
    detail: str


class Attempt(NamedTuple):
    """One message by one address."""

    notice: int
    contact: str
    scheme: str
    """Kind of the address: all of it that is no secret."""
    ok: bool
    detail: str
    took_s: float


class Start(NamedTuple):
    """Send this now."""

    job: int
    notice: Notify
    place: int
    """Of the address."""


class Way(NamedTuple):
    """An address of a contact."""

    place: int
    scheme: str


@dataclass(slots=True)
class _Try:
    way: Way
    tries: int = 0
    losses: int = 0
    again_at: float = -math.inf
    job: int = 0
    over: bool = False
    said: str = ""


@dataclass(slots=True)
class _Errand:
    notice: Notify
    void_at: float
    tries: list[_Try]
    ok: bool = False
    told: bool = False
    details: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return all(one.over for one in self.tries)


class Dispatch:
    """The errands of a hub.  `trial`: every address is tried, once."""

    def __init__(self, *, trial: bool = False) -> None:
        self._trial = trial
        self.results: list[Result] = []
        self.attempts: list[Attempt] = []
        self._errands: dict[int, _Errand] = {}
        self._flying: dict[int, tuple[_Errand, _Try]] = {}
        self._jobs = 0

    def send(self, notice: Notify, ways: Sequence[Way], void_at: float) -> None:
        """Takes a notice on.  A second one of the same number changes nothing."""
        if notice.notice in self._errands:
            return
        if not ways:
            self.results.append(Result(notice.notice, False, NO_WAY))
            return
        errand = _Errand(notice, void_at, [_Try(way) for way in ways])
        self._errands[notice.notice] = errand
        # There is news: what has failed by these addresses is worth another try before it, in its turn.
        places = {way.place for way in ways}
        for other in self._errands.values():
            for one in other.tries:
                if one.way.place in places and one.tries:
                    one.again_at = -math.inf

    def void(self, number: int) -> None:
        """A notice is not sent any more.  What is in flight cannot be called back."""
        errand = self._errands.get(number)
        if errand is not None:
            for one in errand.tries:
                one.over = one.over or not one.job
            self._tidy(errand)

    def due(self, now: float) -> list[Start]:
        """What is to be sent now."""
        for errand in list(self._errands.values()):
            if now >= errand.void_at:
                if not errand.told and not any(one.job for one in errand.tries):
                    self._tell(errand, False, "; ".join(one.said for one in errand.tries if one.said) or "void")
                self.void(errand.notice.notice)
        busy = {one.way.place for _, one in self._flying.values()}
        starts = []
        # What may wait, waits: after a day without a network a hundred notes must not keep a fall from the line.
        for errand in sorted(self._errands.values(), key=self._place):
            for one in self._ready(errand, now):
                if one.way.place not in busy:
                    busy.add(one.way.place)
                    self._jobs += 1
                    one.job = self._jobs
                    self._flying[one.job] = (errand, one)
                    starts.append(Start(one.job, errand.notice, one.way.place))
        return starts

    def _place(self, errand: _Errand) -> tuple[int, int]:
        return 0 if self._trial else _ORDER.get(errand.notice.priority, 0), errand.notice.notice

    def _ready(self, errand: _Errand, now: float) -> Iterable[_Try]:
        for one in errand.tries:
            if not one.over and not one.job and one.again_at <= now:
                yield one
            if errand.notice.priority == "low" and not self._trial and not one.over and (one.job or not one.tries):
                return  # the next address only when this one did not take it

    def deadline(self) -> float:
        """When to call `due` again, if nothing else happens."""
        times = [errand.void_at for errand in self._errands.values()]
        times += [
            one.again_at for errand in self._errands.values() for one in errand.tries if not one.over and not one.job
        ]
        return min((at for at in times if at > -math.inf), default=math.inf)

    def done(
        self, job: int, ok: bool, detail: str, took_s: float, now: float, *, again_s: float = 0.0, gone: bool = False
    ) -> None:
        """What became of a job.  `again_s`: not to be tried sooner; `gone`: nor ever."""
        if job not in self._flying:
            return
        errand, one = self._flying.pop(job)
        notice = errand.notice
        one.job, one.tries, one.said = 0, one.tries + 1, f"{one.way.scheme}: {'taken' if ok else detail}"
        self.attempts.append(Attempt(notice.notice, notice.contact, one.way.scheme, ok, detail, took_s))
        if ok:
            one.over = True
            self._supersede(errand, one)
            if not errand.ok:
                errand.ok = True
                self._tell(errand, True, one.said)
            if notice.priority == "low" and not self._trial:
                for other in errand.tries:
                    other.over = other.over or not other.job
        else:
            one.over = gone or self._trial or now >= errand.void_at
            one.again_at = now + max(again_s, AGAIN_S[min(one.tries, len(AGAIN_S)) - 1])
        if not errand.told and all(other.tries or other.over for other in errand.tries):
            self._tell(errand, False, "; ".join(other.said for other in errand.tries if other.said))
        self._tidy(errand)

    def lost(self, jobs: Iterable[int], now: float) -> None:
        """The worker that had these is gone: they are sent again, at once unless that happened to them before."""
        for job in jobs:
            if job in self._flying:
                errand, one = self._flying.pop(job)
                one.job, one.losses = 0, one.losses + 1
                one.again_at = now + (0.0 if one.losses == 1 else AGAIN_S[min(one.losses, len(AGAIN_S)) - 1])
                if now >= errand.void_at:
                    one.over = True
                    if not errand.told and errand.over:
                        self._tell(errand, False, "the process that sends has ended")
                    self._tidy(errand)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing flies."""
        return not self._errands

    def _supersede(self, errand: _Errand, taken: _Try) -> None:
        for number, other in list(self._errands.items()):
            same = other.notice.alert.number == errand.notice.alert.number
            if number < errand.notice.notice and same and other.notice.contact == errand.notice.contact:
                for one in other.tries:
                    if one.way.place == taken.way.place and not one.job:
                        one.over = True
                if not other.told and other.over:
                    self._tell(other, False, "a later message went")
                self._tidy(other)

    def _tell(self, errand: _Errand, ok: bool, detail: str) -> None:
        errand.told = True
        self.results.append(Result(errand.notice.notice, ok, detail[:300]))

    def _tidy(self, errand: _Errand) -> None:
        if errand.over and not any(one.job for one in errand.tries):
            self._errands.pop(errand.notice.notice, None)
