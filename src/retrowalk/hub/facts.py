"""What goes into the hub's `Desk` (items) and what comes out (outcomes).

`now_s` is the hub's own time (`hub.times`): it never goes back, survives a restart, and no clock that is set moves it.
Unix times (`_wall_s`) are for people to read and decide nothing.  A device is named `<site>/<device>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What an alert is about."""

    FALL = "fall"
    SOS = "sos"
    SILENT = "silent"
    """The device is expected to speak and does not."""
    EVENT = "event"
    """An event of high priority that this hub knows nothing of: somebody looks at it."""
    NOTE = "note"
    """Something to know, not to run for: told once, to the first contact."""


class Stage(StrEnum):
    """How far an alert has come."""

    POSSIBLE = "possible"
    """A countdown runs on the device, or the device has been silent for a short while."""
    OPEN = "open"
    """Somebody is needed: the ladder runs."""
    ANSWERED = "answered"
    """A named person has acknowledged it; it is not over."""
    OVER = "over"


class Told(StrEnum):
    """Why a contact is told something."""

    POSSIBLE = "possible"
    ALARM = "alarm"
    REPEAT = "repeat"
    ESCALATED = "escalated"
    """The first message to somebody further up the ladder."""
    UPDATE = "update"
    """Something about it has changed: still lying, got up."""
    ANSWERED = "answered"
    """Somebody else has it in hand."""
    REMINDER = "reminder"
    """Answered long ago, and still not over."""
    ALL_CLEAR = "all_clear"
    NOTE = "note"
    TEST = "test"


# ---------------------------------------------------------------------------------------------------- items


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCame:
    """An event has been stored, for the first time."""

    now_s: float
    device: str
    epoch: str
    seq: int
    id: str
    type: str
    """The dotted type; whatever the device wrote."""
    priority: str
    """`none`, `low`, `medium`, `high`, or whatever the device wrote."""
    time: str
    """When it happened, RFC 3339, as far as the device knew."""
    clock: str
    session: str
    historical: bool = False
    happened_s: float | None = None
    """Hub time at which it happened, by the hub's own reckoning; None: not known."""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCame:
    """The device, or the broker in its name (`lost`), has said how it is."""

    now_s: float
    device: str
    state: str
    conn: str
    boot: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatCame:
    """A sign of life."""

    now_s: float
    device: str
    conn: str
    state: str
    battery_percent: float | None = None
    guard_state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A person has answered.  `alert` 0: every open one of `device`."""

    now_s: float
    by: str
    alert: int
    device: str = ""
    over: bool = False
    """They also say that it is over."""
    via: str = ""
    """How: `ntfy`, `webhook`, `link`, `command line`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of a `Notify`: one of its contact's services took it (`ok`), or none did.

    That none did is told after the first round, so that the next contact hears at once; it is tried on, and `ok` may
    still follow.
    """

    now_s: float
    notice: int
    ok: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkCame:
    """The hub's own connection to the broker has come (`up`) or gone: a device cannot be heard without.

    Fed on each change, and at the start of the hub before anything that has arrived.
    """

    now_s: float
    up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteCame:
    """Something that the hub itself has noticed about a device, for the first contact to know."""

    now_s: float
    device: str
    type: str
    """`hub.back` (`away_s`), `events.missed` (`count`: will never come), `events.dropped` (`count`), or another."""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time has passed."""

    now_s: float


Item = EventCame | StateCame | HeartbeatCame | Answered | Delivered | LinkCame | NoteCame | Tick


# ------------------------------------------------------------------------------------------------- outcomes


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert as it is now.  Every change of it is an outcome."""

    number: int
    """From 1, never used twice by a hub."""
    device: str
    kind: Kind
    stage: Stage
    priority: str
    """`none`, `low`, `medium` or `high`."""
    event: str
    """Id of the event that opened it; empty for `silent`."""
    event_type: str
    """Of the event that `data` is of."""
    session: str
    opened_s: float
    """Hub time."""
    happened: str
    """RFC 3339, as the device told."""
    happened_s: float | None = None
    """Hub time, as the hub reckons; None: not known."""
    clock: str
    historical: bool
    answered_by: str = ""
    answered_s: float | None = None
    ended_s: float | None = None
    ended: str = ""
    """Why it is over: `button`, `walked`, `heard` (it speaks again), a person's name ..."""
    told: tuple[str, ...] = ()
    """Names of the contacts who know of it."""
    data: dict[str, Any] = field(default_factory=dict)
    """Of the event that opened it, or that changed it last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Tell one contact.  It is tried until it is taken or `void_s` has passed, and kept through restarts."""

    notice: int
    """From 1, never used twice by a hub."""
    alert: Alert
    contact: str
    why: Told
    priority: str
    """How loud: `low`, `medium` or `high`."""
    urgent: bool
    """Also by the contact's urgent ways (text message, call)."""
    now_s: float
    void_s: float
    """Later it is no longer worth sending: the next repetition has come, or the alert is over."""
    heard_s: float | None = None
    """When the device was last heard (hub time); None: never."""
    battery_percent: float | None = None
    """As the device last told; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Void:
    """A `Notify` that has not been sent must not be any more."""

    notice: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Tell the device: `seen` with `event`."""

    device: str
    name: str
    by: str
    args: dict[str, Any] = field(default_factory=dict)


Outcome = Alert | Notify | Void | Command
