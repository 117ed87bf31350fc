"""What leaves the `Companion`: events (facts that go out) and requests (`Speak`, `Touch`) to its outputs.

Numbers are rounded where an event is made (1 mm, 0.01 m/s, 0.1 degree, 1 ms), so that machines with another
libm agree.  `type` is the dotted name used in topics, CloudEvents and recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import ClassVar

from retrowalk.core.samples import SavedState


class Level(IntEnum):
    """How urgent a hazard is, for the walker's ear (flight-deck order).  At WARNING the word is "Stop"."""

    NONE = 0
    ADVISORY = 1
    CAUTION = 2
    WARNING = 3


class Priority(StrEnum):
    """How urgent an event is, for the caregiver (IEC 60601-1-8 order)."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class GuardState(StrEnum):
    """What the walker may rely on."""

    NOT_WORN = "not_worn"
    CHECKING = "checking"
    GUARDING = "guarding"
    LIMITED = "limited"
    NOT_PROTECTING = "not_protecting"
    STOPPING = "stopping"


def ms(t_s: float) -> float:
    """A time as events carry it: whole milliseconds."""
    return round(t_s, 3)


def rounded(value: float | None, digits: int) -> float | None:
    """A number as events carry it; None stays None."""
    return None if value is None else round(value, digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A fact.  `t_s` is the session time of the item that led to it; `alert` numbers what is said about it."""

    type: ClassVar[str] = ""
    priority: ClassVar[Priority] = Priority.NONE
    t_s: float
    alert: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardChanged(Event):
    """The guard state changed, and why (`reasons` are names of faults or causes, sorted)."""

    type: ClassVar[str] = "guard.changed"
    priority: ClassVar[Priority] = Priority.LOW
    state: GuardState
    previous: GuardState
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HazardRaised(Event):
    """A hazard appeared or became more urgent, with the numbers that justify it."""

    type: ClassVar[str] = "hazard.raised"
    hazard: str
    level: str
    sensor: str = ""
    range_m: float | None = None
    closing_speed_m_s: float | None = None
    time_to_collision_s: float | None = None
    needed_m: float | None = None
    """Room the walker needs at this speed for this level."""
    trunk_pitch_deg: float | None = None
    bearing_left_deg: float | None = None
    """Where it is, from straight behind towards the walker's own left; None: the sensor looks straight back."""
    depth_m: float | None = None
    """Of a drop: how far down the ground behind it lies; None: it cannot be seen."""
    protected_speed_m_s: float | None = None
    """Of going too fast: up to where the working sensors protect."""
    measure: str = ""
    """Of unsteady walking: the name of the number that shows it, with its unit, e.g. `step_time_cv`."""
    value: float | None = None
    usual: float | None = None
    """That number, and what is usual for this wearer; None: not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HazardCleared(Event):
    """A hazard became less urgent (`level` is what remains, `none` when it is over)."""

    type: ClassVar[str] = "hazard.cleared"
    hazard: str
    level: str
    sensor: str = ""
    range_m: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSpoken(Event):
    """The first frame of an alert left the sound device.  `delay_s` counts from the request to that frame."""

    type: ClassVar[str] = "alert.spoken"
    phrase: str
    words: str
    level: str
    played_s: float
    delay_s: float
    because: str = ""
    """The numbers that justified it, for a person to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorLost(Event):
    """A sensor has been silent or useless for too long."""

    type: ClassVar[str] = "sensor.lost"
    priority: ClassVar[Priority] = Priority.MEDIUM
    sensor: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorRestored(Event):
    """A lost sensor works again."""

    type: ClassVar[str] = "sensor.restored"
    priority: ClassVar[Priority] = Priority.LOW
    sensor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRaised(Event):
    """A part that is not a sensor failed."""

    type: ClassVar[str] = "fault.raised"
    priority: ClassVar[Priority] = Priority.MEDIUM
    part: str
    fault: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultCleared(Event):
    """A failed part works again."""

    type: ClassVar[str] = "fault.cleared"
    priority: ClassVar[Priority] = Priority.LOW
    part: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceLost(Event):
    """Balance is going: there is a tone and a touch, and no words."""

    type: ClassVar[str] = "balance.lost"
    priority: ClassVar[Priority] = Priority.LOW
    direction: str
    """Where the trunk goes: `backward`, `forward` or `side`."""
    trunk_pitch_deg: float
    pitch_rate_deg_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceRecovered(Event):
    """Balance was going, and a step caught it: a near-fall, the `near_falls`-th since the start."""

    type: ClassVar[str] = "balance.recovered"
    priority: ClassVar[Priority] = Priority.LOW
    near_falls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FallSuspected(Event):
    """Impact, lying and stillness, or somebody has lain there for long: a countdown runs."""

    type: ClassVar[str] = "fall.suspected"
    priority: ClassVar[Priority] = Priority.MEDIUM
    fall: int
    impact_g: float
    """0: no shock was felt."""
    tilt_deg: float
    countdown_s: float
    lain_s: float | None = None
    """Where no shock was felt: how long the walker had lain there when asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FallConfirmed(Event):
    """Nobody cancelled the countdown."""

    type: ClassVar[str] = "fall.confirmed"
    priority: ClassVar[Priority] = Priority.HIGH
    fall: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FallCancelled(Event):
    """The countdown, or a confirmed fall, was called off: by `button` or because the walker `walked`."""

    type: ClassVar[str] = "fall.cancelled"
    priority: ClassVar[Priority] = Priority.HIGH
    fall: int
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FallLasted(Event):
    """After a confirmed fall nobody has been seen to get up: told after 1, 3, 5, 10 and 15 min, then every 10."""

    type: ClassVar[str] = "fall.lasted"
    priority: ClassVar[Priority] = Priority.HIGH
    fall: int
    since_s: float
    """Since the fall; where the walker had got up and lies again, since then."""
    posture: str
    """`lying`, `leaning` (propped up, or bent), `upright`, or `unknown`: the clip says nothing."""
    lain_s: float | None = None
    """How long the trunk has been lying; None: it does not lie, or that is not known."""
    moved_s: float | None = None
    """How long ago the last movement was noticed; None: none was noticed since the fall."""
    seen_by: str = ""
    """Who has answered, as far as the walker was told; empty: nobody has, or nobody with a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FallRisen(Event):
    """Whoever fell is upright again, or `walking`; the fall stays open until the walker calls it off."""

    type: ClassVar[str] = "fall.risen"
    priority: ClassVar[Priority] = Priority.MEDIUM
    fall: int
    since_s: float
    """As of `fall.lasted`."""
    walking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SosRaised(Event):
    """The walker held the button for help."""

    type: ClassVar[str] = "sos.raised"
    priority: ClassVar[Priority] = Priority.HIGH


@dataclass(frozen=True, slots=True, kw_only=True)
class SosCancelled(Event):
    """The walker called the SOS off."""

    type: ClassVar[str] = "sos.cancelled"
    priority: ClassVar[Priority] = Priority.HIGH
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkStarted(Event):
    """The walker started to walk."""

    type: ClassVar[str] = "walk.started"
    priority: ClassVar[Priority] = Priority.LOW


@dataclass(frozen=True, slots=True, kw_only=True)
class WalkEnded(Event):
    """The walk ended, with its totals."""

    type: ClassVar[str] = "walk.ended"
    priority: ClassVar[Priority] = Priority.LOW
    steps: int
    duration_s: float
    backward_s: int = 0
    """So long the strides told backward ..."""
    forward_s: int = 0
    """... and so long forward; the rest of the walking is not known."""
    near_falls: int = 0
    distance_m: float | None = None
    """Whichever way; None here and below: not known."""
    speed_m_s: float | None = None
    """Mean, pauses left out."""
    step_length_m: float | None = None
    """Mean."""
    cadence_spm: float | None = None
    """Mean steps a minute, pauses left out."""
    step_measured: bool = False
    """Whether distance, speed and step length follow the walker's own measured step (within some 10 %), and not what is
    usual (within some 25 %)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatteryLow(Event):
    """The battery fell below 20 % or 10 %."""

    type: ClassVar[str] = "battery.low"
    priority: ClassVar[Priority] = Priority.MEDIUM
    charge_percent: float
    minutes_left: int | None = None
    """How long it lasts at the rate of this walk; None: not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChanged(Event):
    """The wall clock was set; nothing is measured or decided by it, but labels before and after do not fit."""

    type: ClassVar[str] = "clock.changed"
    detail: str
    """By how much, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsAccepted(Event):
    """The walker has heard what the device cannot do, and pressed to accept it."""

    type: ClassVar[str] = "limits.accepted"
    priority: ClassVar[Priority] = Priority.LOW


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandReceived(Event):
    """A command arrived, and whether it was carried out."""

    type: ClassVar[str] = "command.received"
    name: str
    """As in `wire.COMMANDS`; `cue`: from somebody who measures how the walker stops; `several`: see `count`."""
    id: str
    by: str = ""
    """Who gave it, as they are called."""
    accepted: bool
    reason: str = ""
    """Why not; of one that was accepted, what is worth knowing."""
    what: str = ""
    """Of what it speaks: the event that was seen, the phrase to be said."""
    count: int = 1
    """Many that were refused in a short time are told together: so many."""


EVENT_CLASSES: tuple[type[Event], ...] = (
    GuardChanged,
    HazardRaised,
    HazardCleared,
    AlertSpoken,
    SensorLost,
    SensorRestored,
    FaultRaised,
    FaultCleared,
    BalanceLost,
    BalanceRecovered,
    FallSuspected,
    FallConfirmed,
    FallCancelled,
    FallLasted,
    FallRisen,
    SosRaised,
    SosCancelled,
    WalkStarted,
    WalkEnded,
    BatteryLow,
    ClockChanged,
    LimitsAccepted,
    CommandReceived,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speak:
    """Asks the voice for a sound: an earcon, then words.

    `alert` numbers the request, rising through the session.  `phrase` is an id of `core.alerts.PHRASES`, empty for an
    earcon alone; `value` fills its blank.  Higher `rank` cuts lower at once.  After `deadline_s` (session seconds) it
    must not begin any more.  `pan` is where it sounds from: -1 the walker's own left, 0 the middle, 1 the right.
    """

    t_s: float
    alert: int
    phrase: str
    value: str
    earcon: str
    level: str
    rank: int
    deadline_s: float
    pan: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hush:
    """Asks the voice to end alert `alert` (and drop it if it has not begun): it is no longer true."""

    t_s: float
    alert: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Touch:
    """Asks buzzer and vibration for a pattern of `core.alerts.HAPTICS`; `buzzer` tells whether the buzzer joins in.

    `side` is `left` or `right`, the walker's own, or empty: both.
    """

    t_s: float
    pattern: str
    buzzer: bool
    side: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSaved:
    """The state that must survive a restart, whenever it changes."""

    t_s: float
    state: SavedState


Output = Event | Speak | Hush | Touch | StateSaved
