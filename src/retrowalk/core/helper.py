"""Whoever helps from afar, as the walker hears of them: what they have seen and say, and whether anybody watches.

What a command asks for never warns and never cuts a word that does: it is said when the ear is free, or it is not said
at all, and whoever asked is told which (`command.received`).  It never touches an alarm, a warning or the guard state.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core.alerts import HELPER, RANK_HELPER, REMOTE_PHRASES
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.care import Care
from retrowalk.core.events import GuardState, ms
from retrowalk.core.samples import Command, CourierHeartbeat

SAY_EVERY_S = 10.0
"""A helper's words are said once in this time."""
SAY_WITHIN_S = 15.0
"""Words that find no quiet moment in this time are not said: "I am coming" is no news later."""
TRY_AGAIN_S = 0.5
REST_S = 2.0
"""Quiet after a hazard, or after whatever cautions, before a helper is heard."""
LOCATE_S = 30.0
"""The device makes itself heard for so long ..."""
HERE_EVERY_S = 5.0
"""... this often."""
AWAY_S = 60.0
"""A hub that is away for so long, in mid-walk, is told: one that is started anew is back by then."""
SLACK_S = 5.0
"""When an event happened is known to the courier within this."""


class Helper:
    """Takes commands, and follows whether anybody watches.  Times are session seconds."""

    def __init__(self, config: Config, arbiter: Arbiter, care: Care, emit: Callable[[ev.Event], None]) -> None:
        self._expected = bool(config.broker.host)
        """Whether there should be somebody who watches."""
        self._arbiter = arbiter
        self._care = care
        self._emit = emit
        self._seen: Command | None = None
        """What somebody has seen while the walker is being asked: they hear it afterwards."""
        self._say: Command | None = None
        self._say_until_s = -math.inf
        self._try_s = math.inf
        self._said_s = -math.inf
        self._here_s = math.inf
        self._here_until_s = -math.inf
        self._located_s = -math.inf
        self._connected = False
        self._hub_away = False
        self._away_s = math.inf
        """Since when the hub is away in this walk."""
        self._judged = False
        """Whether it was looked at the beginning of this walk whether anybody watches."""
        self._told = False
        """Whether the walker was told in this walk that nobody does ..."""
        self._back_told = False
        """... and that somebody does again."""

    # -- commands ---------------------------------------------------------------------------------------------

    def command(self, now: float, item: Command, state: GuardState) -> None:
        """Takes a command of the closed list; whatever else comes is refused, and told as well."""
        match item.name:
            case "seen":
                self._answer(now, item, True, self._saw(now, item))
            case "say":
                reason = self._why_not(now, item, state)
                if reason:
                    self._answer(now, item, False, reason)
                else:
                    self._say, self._say_until_s, self._try_s = item, now + SAY_WITHIN_S, now
            case "locate" if state is GuardState.STOPPING:
                self._answer(now, item, False, "switching off")
            case "locate":
                self._here_s, self._here_until_s = now, now + LOCATE_S
                self._located_s = now
                self._answer(now, item, True, "heard; no position is known")
            case _:
                self._answer(now, item, False, "not on the list of commands")

    def _saw(self, now: float, item: Command) -> str:
        """Somebody has seen an event; returns what is worth knowing if the walker does not hear it."""
        alarm = self._care.alarm
        if not alarm.counting and not alarm.open:
            return "nothing is open"  # "Anna has seen it" would make them wonder what there is to be seen
        if _age_s(item) > now - self._care.opened_s + SLACK_S:
            return "of something earlier"  # who lies there would take it for an answer
        if alarm.counting:
            self._seen = item
            return "after the question"
        return self._care.seen(now, item.args.get("by", ""))

    def _why_not(self, now: float, item: Command, state: GuardState) -> str:
        """Why words are not said at all; empty: they are, as soon as the ear is free."""
        arbiter = self._arbiter
        if item.args.get("phrase") not in REMOTE_PHRASES:
            return "no such phrase"
        if state is GuardState.STOPPING:
            return "switching off"
        if state is GuardState.NOT_WORN and not self._care.alarm.open:
            return "not worn"
        if arbiter.voice_lost or arbiter.voice_doubted:
            return "cannot be heard"
        if now < arbiter.quiet_until_s and not self._care.alarm.open:
            return "the walker asked for quiet"
        if self._say is not None or now < self._said_s + SAY_EVERY_S:
            return "too soon after another"
        return ""

    def _answer(self, now: float, item: Command, accepted: bool, reason: str = "", number: int | None = None) -> None:
        """Tells what became of a command; `number` is of the alert that is said for it."""
        args = item.args
        self._emit(
            ev.CommandReceived(
                t_s=ms(now),
                alert=number,
                name=item.name[:32],
                id=item.id[:64],
                by=args.get("by", "")[:40],
                accepted=accepted,
                reason=reason,
                what=(args.get("event") or args.get("phrase") or "")[:64],
            )
        )

    def pressed(self) -> None:
        """The button: whoever is there has heard the device."""
        self._here_s = math.inf

    # -- whether anybody watches ------------------------------------------------------------------------------

    def heartbeat(self, item: CourierHeartbeat) -> None:
        """How the courier says that things stand."""
        self._connected = item.connected
        self._hub_away = item.hub == "away"

    def linked(self, faults: bool) -> bool:
        """Whether messages reach somebody who watches; `faults`: whether something is wrong with their way."""
        return self._connected and not self._hub_away and not faults

    def link_over(self) -> bool:
        """A fault of the link is over; returns whether the walker may be told that it works again.

        They may not while the hub is away: the link is there, and still nobody watches.
        """
        if self._hub_away:
            return False
        self._back_told = True
        return True

    # -- time -------------------------------------------------------------------------------------------------

    def advance(self, now: float, *, walks: bool, protecting: bool, faults: bool) -> None:
        """What time alone brings.  `walks`: a walk goes on; `protecting`: the guard protects somebody."""
        alarm = self._care.alarm
        if self._seen is not None and not alarm.counting:
            if alarm.open:
                self._care.seen(now, self._seen.args.get("by", ""))
            self._seen = None
        if self._say is not None and now >= self._try_s:
            self._try_to_say(now, self._say)
        if now >= self._here_s:
            self._here(now)
        if not walks:
            self._judged = self._told = self._back_told = False
            self._away_s = math.inf
        elif protecting and self._expected:
            self._watched(now, self.linked(faults))

    def deadline(self) -> float:
        """When `advance` has something to do if nothing else comes (`math.inf`: never)."""
        away = math.inf if self._told else self._away_s + AWAY_S
        return min(self._try_s, self._here_s, away)

    def _try_to_say(self, now: float, item: Command) -> None:
        arbiter = self._arbiter
        if not self._care.alarm.counting and arbiter.free(now, RANK_HELPER, REST_S):
            self._say, self._try_s, self._said_s = None, math.inf, now
            value = self._care.named(item.args.get("by", "")) or HELPER
            number = arbiter.announce(now, f"say_{item.args['phrase']}", value, because="a helper says it")
            self._answer(now, item, True, number=number)
        elif now >= self._say_until_s:
            self._say, self._try_s = None, math.inf
            self._answer(now, item, False, "no quiet moment")
        else:
            self._try_s = min(now + TRY_AGAIN_S, self._say_until_s)

    def _here(self, now: float) -> None:
        if self._care.alarm.counting:
            self._here_until_s = now + LOCATE_S  # what the walker is asked comes first
        if now >= self._here_until_s:
            self._here_s = math.inf
        elif self._care.alarm.counting or not self._arbiter.calm(now, RANK_HELPER, REST_S):
            self._here_s = now + 1.0
        else:
            # Why it calls is said until that was heard.
            key = "here" if self._arbiter.ended_s("looked_for") >= self._located_s else "looked_for"
            self._arbiter.announce(now, key, because="a helper asked for it", insist=False)
            self._here_s = now + HERE_EVERY_S

    def _watched(self, now: float, linked: bool) -> None:
        arbiter = self._arbiter
        if linked:
            self._away_s = math.inf
            arbiter.retract("unwatched")
            if self._told and not self._back_told:
                self._back_told = True
                arbiter.announce(now, "watched")
        else:
            if self._hub_away and self._connected:
                self._away_s = min(self._away_s, now)
            if not self._told and (not self._judged or now >= self._away_s + AWAY_S):
                self._told = True
                self._back_told = False
                arbiter.announce(now, "unwatched", because="the hub is away" if self._hub_away else "no link")
        self._judged = True


def _age_s(item: Command) -> float:
    """How long ago the event happened that was seen; 0: not known."""
    try:
        age_s = float(item.args.get("age_s", "0"))
    except ValueError:
        return 0.0
    return age_s if math.isfinite(age_s) else 0.0
