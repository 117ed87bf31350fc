"""Items: everything that enters the `Companion`, through its one door.

Every item carries `t_received_s`, session seconds, monotonic and never decreasing: it gives order, deadlines
and freshness.  Samples also carry `t_measured_s`, the moment the world was as the sample says (mid-flight of an
echo, the back-dated instant of a FIFO sample): it feeds filters and ages.  Body axes are forward, left, up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class RangeStatus(StrEnum):
    """What a range sensor said, besides a number."""

    VALID = "valid"
    """An echo: `range_m` holds."""
    NO_TARGET = "no_target"
    """The sensor's own "nothing seen" (a full-length pulse): alive, and nothing within its reach for hard targets."""
    NO_ECHO = "no_echo"
    """Nothing came back at all: says nothing about the path, and does not prove the sensor alive."""
    STUCK = "stuck"
    """A line does not move."""
    UNTRUSTED = "untrusted"
    """An answer that the sensor itself doubts (sun in view, too noisy, an aliased return): alive, and it proves neither
    object nor clear."""
    REJECTED = "rejected"
    """An answer no target can give (zero, too short, too long, not a number): counted and thrown away."""


@dataclass(frozen=True, slots=True)
class RangeSample:
    """One answer of a range sensor.  `range_m` is finite and positive if and only if status is VALID."""

    t_received_s: float
    t_measured_s: float
    sensor: str
    status: RangeStatus
    range_m: float | None = None
    strength: float | None = None
    """How strong the return was, in the sensor's own unit (TF-Luna: amplitude; VL53L1X: kcps); None: not told."""


@dataclass(frozen=True, slots=True)
class ImuSample:
    """One sample of the clip, in body axes (forward, left, up).

    `accel_m_s2` is specific force: (0, 0, +9.81) when upright and still.  `gyro_rad_s` is right-handed: leaning
    forward turns about +left.  `gap` is true when samples before it were lost: filters must not integrate across.
    """

    t_received_s: float
    t_measured_s: float
    accel_m_s2: tuple[float, float, float]
    gyro_rad_s: tuple[float, float, float]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class ButtonEdge:
    """The button went down or up (after debouncing)."""

    t_received_s: float
    t_measured_s: float
    pressed: bool


@dataclass(frozen=True, slots=True)
class BatterySample:
    """Charge of the battery, 0 to 100 %, and its voltage."""

    t_received_s: float
    t_measured_s: float
    charge_percent: float
    voltage_v: float
    current_a: float | None = None
    """Drawn from the battery; negative while it is charged.  None: not measured."""


@dataclass(frozen=True, slots=True)
class AirSample:
    """Temperature of the air around the walker, for the speed of sound."""

    t_received_s: float
    t_measured_s: float
    temperature_c: float


class VoicePhase(StrEnum):
    """What became of a request to speak."""

    STARTED = "started"
    """Its first frame has been played."""
    FINISHED = "finished"
    """Its last frame has been played."""
    CUT = "cut"
    """Something more urgent took its place."""
    EXPIRED = "expired"
    """It could not begin before its deadline, and was dropped: late information is never spoken."""
    UNKNOWN_PHRASE = "unknown_phrase"
    """The bank has no such phrase; its earcon, if any, was played."""


@dataclass(frozen=True, slots=True)
class VoiceProgress:
    """The voice tells what became of request number `alert`; `words` is what was said, in the walker's language."""

    t_received_s: float
    t_measured_s: float
    alert: int
    phase: VoicePhase
    words: str = ""


@dataclass(frozen=True, slots=True)
class VoiceHeartbeat:
    """Sign of life of the voice, at least every 0.1 s.

    `frames_played` is the play pointer since the device was opened: only its advance proves that sound leaves.
    `fault` is empty when all is well, else the gravest by name: `no_device`, `frozen`, `muted`, `null_sink`,
    `unheard` (the microphone hears nothing of it), `slow`, `clipped` (words lose their beginning), `bank_missing`,
    `bank_damaged`, `espeak_missing`, `bank_refused`, `microphone` (it is that one, and sound is only not verified).
    """

    t_received_s: float
    device: str
    frames_played: int
    underruns: int = 0
    fault: str = ""
    output: str = "alsa"
    """What carries the frames: `alsa`, `aplay` (a child process, the emergency road), `portaudio`; empty: nothing."""
    buffer_ms: int = 20
    """Sound kept in the device now; it grows by itself when the device runs dry."""
    proof: str = ""
    """`heard`: the microphone has heard the latest sound; `unheard`: it has not; empty: nobody listened."""
    delay_ms: int = 0
    """From handing a frame over to hearing it, as the microphone measured it, else as the device tells; 0: unknown."""


@dataclass(frozen=True, slots=True)
class CourierHeartbeat:
    """Sign of life of the courier, about once a second, and at once when something changes."""

    t_received_s: float
    connected: bool
    waiting: int
    """Events committed and not yet acknowledged."""
    recording: bool
    fault: str = ""
    hub: str = ""
    """`up`: a hub watches; `away`: one is known or required and is not there; empty: nobody expects one."""


@dataclass(frozen=True, slots=True)
class EventDelivered:
    """The broker (or the hub, where one is required) has taken every event of high priority up to `number`.

    The others may still wait: they are overtaken.  Numbers begin at 1 with each session; 0: what was open when an
    earlier session ended has been taken.
    """

    t_received_s: float
    number: int


@dataclass(frozen=True, slots=True)
class Command:
    """A validated command of the closed list, from the caregiver's side."""

    t_received_s: float
    id: str
    name: str
    args: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthReport:
    """The guard tells of a part that works or does not: driver errors, configuration, threads.

    `part` is a sensor's name, `button`, `buzzer`, `vibration`, `config`, `guard`...; `fault` a name of the
    fault table; `active` whether it holds now.
    """

    t_received_s: float
    part: str
    fault: str
    active: bool
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Usual:
    """How the wearer usually walks, as means over `learned_s` seconds of steady walking."""

    learned_s: float
    step_time_cv: float
    """Standard deviation of step times over their mean."""
    regularity: float
    """Autocorrelation of vertical acceleration at a step, up to 1."""
    vertical_rms_m_s2: float
    cadence_spm: float
    speed_m_s: float


@dataclass(frozen=True, slots=True)
class SavedState:
    """What must survive a restart.  Times are session seconds of the session that saved it."""

    t_saved_s: float
    guard_state: str
    guarding_since_s: float | None = None
    """When guarding last held (session seconds), None if never."""
    upright: tuple[float, float, float] | None = None
    """Unit vector of gravity's reaction when the wearer stands, in body axes."""
    fall_number: int = 0
    """Alert id of the latest fall, counting from 1."""
    countdown_left_s: float | None = None
    """Time left of a running fall countdown when saved."""
    open_alarm: str = ""
    """`fall`, `sos` or `fall sos` while confirmed and not called off."""
    steps: int = 0
    walked_s: float = 0.0
    walked_m: float = 0.0
    last_alert: int = 0
    """Highest alert number used, so that numbers are never used twice."""
    untold: bool = False
    """Whether an event of high priority had not been delivered yet."""
    speed_factor: float = 1.0
    """The wearer's speed over that of everybody with this bounce, as learned from what stands still ..."""
    speed_lessons: int = 0
    """... and how many lessons that rests on; 0: nothing was learned."""
    fall_ago_s: float | None = None
    """How long ago the latest fall was suspected, or the one who fell lay down again; None if never."""
    fall_reports: int = 0
    """How often it was told since then that nobody has got up."""
    fall_risen: str = ""
    """`upright` or `walking`, once that was told of the one who fell."""
    lain_s: float | None = None
    """How long the wearer has been lying; None: does not."""
    still_s: float | None = None
    """How long ago the last movement was noticed; None: none was."""
    left_in_peace: bool = False
    """Whether one who lies there was asked already, and has not been up since."""
    helper_saw: bool = False
    """Whether a person has answered the open alarm ..."""
    helper_by: str = ""
    """... and who, if they have a name."""
    accepted: bool = False
    """Whether the walker has accepted what the device cannot do."""
    sound_confirmed: bool = False
    """Whether the walker, or a microphone, has heard the device since it was put on."""
    restarts: int = 0
    """How often the guard was started anew since it was last switched off cleanly."""
    usual: Usual | None = None
    usual_forward: Usual | None = None
    """How the wearer usually walks backward (or which way is not known), and forward, as far as it was learned."""
    usual_lean_deg: float | None = None
    usual_lean_forward_deg: float | None = None
    """Mean trunk pitch in walking so, forward positive, since the clip was put on; None: not known."""


@dataclass(frozen=True, slots=True)
class Restored:
    """First item after a restart: the state that was saved, `elapsed_s` ago."""

    t_received_s: float
    state: SavedState
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The guard is to end: a clean switch-off, a service stop.  `reason` is `button`, `service` or `person`."""

    t_received_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class CueRequested:
    """A person who measures how the walker stops asks for one "Stop" without a reason; `by` names who asks."""

    t_received_s: float
    by: str


@dataclass(frozen=True, slots=True)
class FirstUse:
    """What the device remembers of its first use: whether somebody has accepted its limits; if not, they are said."""

    t_received_s: float
    accepted: bool


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed and nothing else has happened; fed when `Companion.deadline()` is reached."""

    t_received_s: float


Item = (
    RangeSample
    | ImuSample
    | ButtonEdge
    | BatterySample
    | AirSample
    | VoiceProgress
    | VoiceHeartbeat
    | CourierHeartbeat
    | EventDelivered
    | Command
    | HealthReport
    | Restored
    | StopRequested
    | CueRequested
    | FirstUse
    | Tick
)
