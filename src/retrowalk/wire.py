"""The one schema: items, events and commands as JSON; messages between the processes; event types; topics.

Local messages travel as single datagrams of JSON, told apart by `kind`.  Times in local messages are
CLOCK_MONOTONIC seconds (`mono_s`), because each process has a session of its own; the guard turns them into its
session seconds.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from enum import IntEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.errors import WireError

SCHEMA_VERSION = 1

EVENT_TYPES: dict[str, type[ev.Event]] = {kind.type: kind for kind in ev.EVENT_CLASSES}
"""Every event type, by its dotted name."""

ITEM_CHANNELS: dict[type, str] = {
    sm.RangeSample: "/item/range",
    sm.ImuSample: "/item/imu",
    sm.ButtonEdge: "/item/button",
    sm.BatterySample: "/item/battery",
    sm.AirSample: "/item/air",
    sm.VoiceProgress: "/item/voice_progress",
    sm.VoiceHeartbeat: "/item/voice_heartbeat",
    sm.CourierHeartbeat: "/item/courier_heartbeat",
    sm.EventDelivered: "/item/event_delivered",
    sm.Command: "/item/command",
    sm.HealthReport: "/item/health",
    sm.Restored: "/item/restored",
    sm.StopRequested: "/item/stop_requested",
    sm.CueRequested: "/item/cue_requested",
    sm.FirstUse: "/item/first_use",
    sm.Tick: "/item/tick",
}
"""Recording channel of each kind of item."""

OUTPUT_CHANNELS: dict[type, str] = {
    **{kind: f"/event/{kind.type}" for kind in ev.EVENT_CLASSES},
    ev.Speak: "/request/speak",
    ev.Hush: "/request/hush",
    ev.Touch: "/request/touch",
    ev.StateSaved: "/state/saved",
}
"""Recording channel of each kind of output."""

SESSION_CHANNEL = "/session"
"""First message of a recording: `Session`."""

STATUS_CHANNEL = "/status"
"""`StatusRecord`, for viewers only: no part of the numbered order, and left out when a recording is read back."""

LABEL_CHANNEL = "/label"
"""`LabelRecord`: what a person says was going on.  No part of the numbered order either; read back apart from it."""

CHANNEL_TYPES: dict[str, type] = {channel: kind for kind, channel in {**ITEM_CHANNELS, **OUTPUT_CHANNELS}.items()}

_encoder = msgspec.json.Encoder()
_decoders: dict[type, msgspec.json.Decoder[Any]] = {}
_sparse: dict[type, bool] = {}
"""Whether a value of this type can have fields that are None."""


def encode(value: Any) -> bytes:
    """JSON of an item, an output or a local message.  Floats keep every digit, so they read back exactly equal."""
    return _encoder.encode(value)


def encode_entry(value: Any) -> bytes:
    """JSON of an item or output for a recording: as `encode`, but fields that are None are left out.

    Viewers of recordings plot a field of one type, and refuse a whole channel whose schema says "a number or null".
    """
    kind = type(value)
    sparse = _sparse.get(kind)
    if sparse is None:
        sparse = _sparse[kind] = _may_hold_none(kind)
    return encode(_without_none(msgspec.to_builtins(value)) if sparse else value)


def _may_hold_none(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) and any(map(_admits_none, typing.get_type_hints(kind).values()))


def _admits_none(hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return types.NoneType in typing.get_args(hint)
    return isinstance(hint, type) and _may_hold_none(hint)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_none(content) for name, content in value.items() if content is not None}
    return value


def decode(data: bytes, kind: type) -> Any:
    """Reads JSON back as `kind`.  Raises `WireError` if it does not fit."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(kind)
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise WireError(f"{kind.__name__}: {error}") from error


def event_data(event: ev.Event) -> dict[str, Any]:
    """The fields of an event that are its own: without time and alert number."""
    return {
        field.name: msgspec.to_builtins(getattr(event, field.name))
        for field in dataclasses.fields(event)
        if field.name not in ("t_s", "alert")
    }


def event_line(event: ev.Event) -> bytes:
    """One line of `events.jsonl`: t, type, data, alert number."""
    return encode({"t": event.t_s, "type": event.type, "alert": event.alert, "data": event_data(event)}) + b"\n"


# ------------------------------------------------------------------------------- messages between processes


class SpeakMessage(Struct, frozen=True, tag_field="kind", tag="speak"):
    """guard -> voice: a `Speak` request, its deadline as monotonic seconds."""

    alert: int
    phrase: str
    value: str
    earcon: str
    level: str
    rank: int
    deadline_mono_s: float
    pan: float = 0.0


class HushMessage(Struct, frozen=True, tag_field="kind", tag="hush"):
    """guard -> voice: end this alert."""

    alert: int


class KeepAlive(Struct, frozen=True, tag_field="kind", tag="keepalive"):
    """guard -> voice every 0.1 s, -> courier every second, while the main loop decides: the guard lives; its state."""

    mono_s: float
    guard_state: str
    battery_percent: float | None = None
    """To the courier; None: not known."""
    battery_minutes: float | None = None
    """To the courier: how long it lasts at the rate of this walk; None: not known."""
    faults: list[str] = []
    """To the courier: what is broken now, as `part:fault`."""
    restarts: int = 0
    """To the courier: how often the guard was started anew since it was last switched off cleanly."""
    reasons: list[str] = []
    """To the courier: why the guard state is what it is (`alerts.LIMITS`); empty: nothing is the matter."""


class SayMessage(Struct, frozen=True, tag_field="kind", tag="say"):
    """person -> guard -> voice: free text for a test (`retrowalk say`), at the lowest rank.

    `reply_to`: a mailbox that the voice tells what became of it (`ProgressMessage`); empty: nobody asks.
    `sound`: the file that holds it (see `voice.bank.text_clip_content`); empty: it lies in the voice's own bank.
    """

    text: str
    reply_to: str = ""
    sound: str = ""


class ProgressMessage(Struct, frozen=True, tag_field="kind", tag="progress"):
    """voice -> guard: what became of a request."""

    alert: int
    phase: sm.VoicePhase
    mono_s: float
    words: str = ""


class VoiceBeat(Struct, frozen=True, tag_field="kind", tag="voice_beat"):
    """voice -> guard, every 0.1 s, written by the loop that moves the frames."""

    device: str
    frames_played: int
    underruns: int
    fault: str = ""
    output: str = "alsa"
    buffer_ms: int = 20
    proof: str = ""
    delay_ms: int = 0


class EventMessage(Struct, frozen=True, tag_field="kind", tag="event"):
    """guard -> courier: an event to be committed.  `number` rises within (`session`), `mono_s` is when it happened."""

    session: str
    number: int
    type: str
    priority: str
    t_s: float
    mono_s: float
    alert: int | None
    data: dict[str, Any]


class CommittedMessage(Struct, frozen=True, tag_field="kind", tag="committed"):
    """courier -> guard: events of `session` up to `number` are on disk; the guard may forget them."""

    session: str
    number: int


class DeliveredMessage(Struct, frozen=True, tag_field="kind", tag="delivered"):
    """courier -> guard: the broker (or hub) has taken the events of `session` up to `number`."""

    session: str
    number: int
    high: int = 0
    """Those of high priority up to here: they overtake the others."""


class CourierBeat(Struct, frozen=True, tag_field="kind", tag="courier_beat"):
    """courier -> guard, each second and on change."""

    connected: bool
    waiting: int
    recording: bool
    fault: str = ""
    hub: str = ""
    """`up`: a hub watches; `away`: one is known or required and is not there; empty: nobody expects one."""


class CommandMessage(Struct, frozen=True, tag_field="kind", tag="command"):
    """courier -> guard: a validated command."""

    id: str
    name: str
    args: dict[str, str]


class Record(Struct, frozen=True, array_like=True):
    """One entry of a recording: order number, channel, log and publish time (ns of the session), JSON."""

    sequence: int
    channel: str
    log_ns: int
    publish_ns: int
    data: msgspec.Raw


class RecordsMessage(Struct, frozen=True, tag_field="kind", tag="records"):
    """guard -> courier: a batch for the recording.  `session` names the recording."""

    session: str
    records: list[Record]


class StateMessage(Struct, frozen=True, tag_field="kind", tag="state"):
    """guard -> courier: the state file's content, to be kept on disk for power cuts (opaque bytes, base64)."""

    content: bytes


class StateRequest(Struct, frozen=True, tag_field="kind", tag="state_request"):
    """guard -> courier after a boot: asks for the copy on disk; answered by `StateMessage` (empty if none)."""


class Session(Struct, frozen=True, tag_field="kind", tag="session"):
    """guard -> courier: a session begins; also the first message of its recording."""

    session: str
    schema_version: int
    program_version: str
    started_wall: str
    boot_id: str
    config: dict[str, Any]


class Watch(Struct, frozen=True, tag_field="kind", tag="watch"):
    """person -> guard: send `Status` to the mailbox `reply_to` for the next 5 s, five times a second."""

    reply_to: str


class Status(Struct, frozen=True, tag_field="kind", tag="status"):
    """guard -> whoever watches: what a display shows.  None: not known."""

    t_s: float
    guard_state: str
    reasons: list[str]
    path: str
    range_m: float | None
    closing_speed_m_s: float | None
    time_to_collision_s: float | None
    hazard_level: str
    trunk_pitch_deg: float | None
    cadence_spm: float | None
    steps: int
    countdown_s: float | None
    health: dict[str, str]
    saying: str
    last_events: list[str]
    own_speed_m_s: float | None = None
    """How fast the walker walks, either way, by the clip; None: stands, or not known."""
    protected_speed_m_s: float | None = None
    """How fast they may walk backward, for the rear sensors as they are now."""
    walked_m: float = 0.0
    """How far, as long as the steps are counted."""
    step_length_m: float | None = None
    """Of the last steps; None: not known."""
    activity: str = "unknown"
    """`walking`, `standing`, `sitting`, `lying` or `unknown`."""
    way: str = "unknown"
    """Which way the strides go: `forward`, `backward` or `unknown`."""


class GuardCode(IntEnum):
    """The guard state as a number, for plots: the higher, the more the walker may rely on."""

    NOT_WORN = 0
    STOPPING = 1
    NOT_PROTECTING = 2
    CHECKING = 3
    LIMITED = 4
    GUARDING = 5


class StatusRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the `Companion` made of its items, five times a second in a recording, so that a viewer can plot it.

    Words come with a number (`_code`), because plots know no words.  What is not known is left out.
    """

    t_s: float
    guard_state: ev.GuardState
    guard_state_code: GuardCode
    path: str
    """What is known of the path behind: `clear`, `object`, `unknown`, `broken`, `starting`."""
    hazard_level: str
    hazard_level_code: ev.Level
    steps: int
    range_m: float | None = None
    """Tracked, of the most urgent sensor; `/item/range/...` holds what each sensor said."""
    closing_speed_m_s: float | None = None
    time_to_collision_s: float | None = None
    trunk_pitch_deg: float | None = None
    cadence_spm: float | None = None
    own_speed_m_s: float | None = None
    """Walking speed, either way, by the clip."""
    protected_speed_m_s: float | None = None
    """Up to which the rear sensors protect, as they are now."""
    walked_m: float | None = None
    """As long as the steps are counted."""
    step_length_m: float | None = None
    """Of the last steps."""
    activity: str = "unknown"
    """`walking`, `standing`, `sitting`, `lying` or `unknown`."""
    way: str = "unknown"
    """Which way the strides go: `forward`, `backward` or `unknown`."""
    countdown_s: float | None = None


class Examine(Struct, frozen=True, tag_field="kind", tag="examine"):
    """person -> guard: answer with `Examined`, then send a copy of what is recorded for the next 5 s to `reply_to`.

    The copy comes as `RecordsMessage`.  Asked again in time, it goes on.
    """

    reply_to: str


class ActiveFault(Struct, frozen=True):
    """A fault that a driver, or the guard itself, has reported and not yet called over."""

    part: str
    fault: str
    detail: str
    since_s: float


class Examined(Struct, frozen=True, tag_field="kind", tag="examined"):
    """guard -> whoever examines: who answers, and what it knows from before the question.

    `busy`: why nothing may be tried out now (`alarm`, `hazard`, `walking`); empty: it may.
    """

    session: str
    program_version: str
    t_s: float
    guard_state: str
    faults: list[ActiveFault]
    button_pressed: bool
    busy: str
    reasons: list[str] = []
    """Why the guard state is what it is (`alerts.LIMITS`)."""


class TouchTest(Struct, frozen=True, tag_field="kind", tag="touch_test"):
    """person -> guard: let a pattern of `core.alerts.HAPTICS` be felt, if nothing else needs motor and buzzer now."""

    reply_to: str
    pattern: str
    buzzer: bool
    side: str = ""
    """`left` or `right`; empty: both."""


class TouchTested(Struct, frozen=True, tag_field="kind", tag="touch_tested"):
    """guard -> whoever asked for a `TouchTest`.  `refused` as `Examined.busy`; empty: it is felt now."""

    refused: str


class CueTest(Struct, frozen=True, tag_field="kind", tag="cue_test"):
    """person -> guard: say "Stop" once as a warning does, to measure how the walker stops; answered by `CueTested`."""

    reply_to: str


class CueTested(Struct, frozen=True, tag_field="kind", tag="cue_tested"):
    """guard -> whoever asked for a `CueTest`.

    `refused`: why it is not said (`alarm`, `hazard`, `not_guarding`, `standing`, `voice`); empty: it is asked of the
    voice as number `alert`.
    """

    refused: str
    alert: int


class LabelMessage(Struct, frozen=True, tag_field="kind", tag="label"):
    """person -> guard: keep a label in the recording; it holds from `mono_s` on."""

    label: str
    phase: Literal["begin", "end"]
    mono_s: float
    words: str = ""


class LabelRecord(Struct, frozen=True, kw_only=True):
    """A label in a recording: at session second `t_s` something began or ended, as a person has said."""

    t_s: float
    label: str
    phase: Literal["begin", "end"]
    words: str
    """What the walker was asked to do, in words."""


class NextPart(Struct, frozen=True, tag_field="kind", tag="next_part"):
    """person -> courier: finish the recording's file, go on in a new one, and answer `reply_to` with `Parts`."""

    reply_to: str


class Parts(Struct, frozen=True, tag_field="kind", tag="parts"):
    """courier -> whoever asked for the `NextPart`: the finished files of the session that is recorded, in order."""

    files: list[str]


class StopMessage(Struct, frozen=True, tag_field="kind", tag="stop"):
    """person -> guard: end cleanly."""

    reason: str


LocalMessage = (
    SpeakMessage
    | HushMessage
    | KeepAlive
    | SayMessage
    | ProgressMessage
    | VoiceBeat
    | EventMessage
    | CommittedMessage
    | DeliveredMessage
    | CourierBeat
    | CommandMessage
    | RecordsMessage
    | StateMessage
    | StateRequest
    | Session
    | Watch
    | Status
    | Examine
    | Examined
    | TouchTest
    | TouchTested
    | CueTest
    | CueTested
    | LabelMessage
    | NextPart
    | Parts
    | StopMessage
)

_local_decoder: msgspec.json.Decoder[LocalMessage] = msgspec.json.Decoder(LocalMessage)


def decode_local(data: bytes) -> LocalMessage:
    """Reads a local message.  Raises `WireError` if it is not one."""
    try:
        return _local_decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise WireError(f"local message: {error}") from error


# ------------------------------------------------------------------------------ messages over the broker
#
# What a stranger's program may rely on.  Within version 1 fields are only added.  Readers ignore what they do not know.

Id = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z", description="1 to 64 letters, digits, hyphens, underscores")
]
Person = Annotated[str, Meta(max_length=40, description="who did it, as people call them")]


def topic_root(site: str, device: str) -> str:
    """`retrowalk/v1/<site>/<device>`."""
    return f"retrowalk/v{SCHEMA_VERSION}/{site}/{device}"


def hub_topic(site: str) -> str:
    """Where the hub of a site tells whether it is there (`HubState`, retained)."""
    return topic_root(site, "hub") + "/state"


TRIED = "doctor.tried"
"""Below `event/`, with nothing in it: `retrowalk doctor` tries whether the broker takes events.  It is none."""


class CloudEvent(Struct, frozen=True, kw_only=True):
    """`event/<type>` (QoS 1, not retained): something happened.  A CloudEvent 1.0 in structured JSON.

    `(source, epoch, seq)` names it for ever: whoever stores it by that recognises duplicates and sees gaps.
    """

    specversion: str = "1.0"
    id: Annotated[str, Meta(min_length=1, max_length=64)]
    """The same however often it is sent."""
    source: Annotated[str, Meta(max_length=100)]
    """`retrowalk:<site>/<device>`."""
    type: Annotated[str, Meta(max_length=100)]
    """`io.retrowalk.` and the dotted type."""
    time: Annotated[str, Meta(max_length=40)]
    """When it happened, RFC 3339 in UTC, as far as known: see `clock`."""
    datacontenttype: str = "application/json"
    priority: Annotated[str, Meta(max_length=20)]
    """For the caregiver: `none`, `low`, `medium`, `high`."""
    eventtype: Annotated[str, Meta(max_length=80)]
    """The dotted type."""
    epoch: Annotated[str, Meta(min_length=1, max_length=64)]
    """Name of the outbox file that numbered it; a new one begins when a file was lost or damaged."""
    seq: Annotated[int, Meta(ge=1, lt=2**62)]
    """Its number there, from 1; never used twice."""
    bootid: Annotated[str, Meta(max_length=64)]
    """Boot of the device in which it happened."""
    monoms: int
    """Monotonic time of that boot, ms: orders events however wrong the clock is."""
    clock: Annotated[str, Meta(max_length=20)]
    """What `time` is worth: `ntp`, `rtc` (a battery clock) or `unset`."""
    session: Annotated[str, Meta(max_length=100)]
    """Life of the guard in which it happened."""
    historical: bool = False
    """It happened long before it was sent."""
    data: dict[str, Any]
    """The event's own fields."""


class DeviceState(Struct, frozen=True, kw_only=True):
    """`state` (QoS 1, retained): whether the device is there.  `lost` is the broker's own word (its will).

    A `lost` with another `conn` than the device's latest belongs to an old connection and says nothing.
    """

    state: Annotated[str, Meta(max_length=20)]
    """`ready`, `walking`, `disconnected` (switched off, all is well) or `lost`."""
    conn: Annotated[str, Meta(max_length=64)]
    """Name of the connection."""
    boot: Annotated[str, Meta(max_length=64)]


class Heartbeat(Struct, frozen=True, kw_only=True):
    """`heartbeat` (QoS 0, every 15 s while walking, else every 60 s): the device is alive, and how."""

    conn: Annotated[str, Meta(max_length=64)]
    state: Annotated[str, Meta(max_length=20)] = ""
    """As in `state`: `ready` or `walking`."""
    boot: Annotated[str, Meta(max_length=64)]
    time: Annotated[str, Meta(max_length=40)]
    monoms: int
    clock: Annotated[str, Meta(max_length=20)]
    epoch: Annotated[str, Meta(max_length=64)]
    seq_head: int | None = None
    """The highest number used in this epoch."""
    seq_low: int | None = None
    """The lowest number that still waits; what is lower and has not come, will not come.  None: none waits."""
    outbox_depth: int | None = None
    """Events that wait to be delivered."""
    dropped: int = 0
    """Events given up in this epoch because there were too many, never of medium or high priority."""
    battery_percent: float | None = None
    """None: not known."""
    battery_minutes: int | None = None
    """How long it lasts at the rate of this walk; None: not known."""
    guard_state: Annotated[str, Meta(max_length=40)] = ""
    """What the walker may rely on; `silent`: the guard says nothing."""
    reasons: list[Annotated[str, Meta(max_length=40)]] = []
    """Why it is not simply guarding: `rear`, `unchecked`, `battery` ..., as in `guard.changed`."""
    restarts: int = 0
    """How often the guard was started anew since the device was last switched off cleanly."""
    faults: list[Annotated[str, Meta(max_length=80)]] = []
    """What is wrong now: of the way of messages by its name, of every other part as `part:fault`."""


class OpenAlert(Struct, frozen=True, kw_only=True):
    """`alert` (QoS 1, retained): the gravest alert that is open, for whoever looks later; `{}`: none."""

    type: Annotated[str, Meta(max_length=80)] = ""
    priority: Annotated[str, Meta(max_length=20)] = ""
    id: Annotated[str, Meta(max_length=64)] = ""
    """Of the event that opened it."""
    session: Annotated[str, Meta(max_length=100)] = ""
    alert: int | None = None
    data: dict[str, Any] = {}


class HubState(Struct, frozen=True, kw_only=True):
    """`<site>/hub/state` (QoS 1, retained): whether anybody watches.  `lost` is the broker's own word (its will)."""

    state: Annotated[str, Meta(max_length=20)]
    """`up`, `down` (switched off) or `lost`."""
    conn: Annotated[str, Meta(max_length=64)]


class HubAck(Struct, frozen=True):
    """`cmd/ack` (QoS 1, retained): the hub has stored every event of `epoch` up to `seq`, and those of `beyond`."""

    epoch: Annotated[str, Meta(max_length=64)]
    seq: Annotated[int, Meta(ge=0, lt=2**62)]
    beyond: Annotated[list[Annotated[int, Meta(ge=1, lt=2**62)]], Meta(max_length=100)] = []
    """Of high priority first: what overtook the rest is known to have come."""


class RemoteCommand(Struct, frozen=True, kw_only=True):
    """What every command to a device carries (QoS 1, not retained, with a message expiry of `ttl_s`)."""

    id: Id
    """Of this command; a second one of the same id is ignored."""
    by: Person = ""
    issued_ms: Annotated[int, Meta(ge=0, lt=2**53)]
    """When it was given, Unix time in ms.  A device whose clock is right ignores it `ttl_s` later."""
    ttl_s: Annotated[int, Meta(ge=1, le=300)] = 60


class SeenCommand(RemoteCommand, frozen=True, kw_only=True):
    """`cmd/seen`: a person has seen the event `event`; the walker is told so."""

    event: Id


class SayCommand(RemoteCommand, frozen=True, kw_only=True):
    """`cmd/say`: a sentence of the closed list (`core.alerts.REMOTE_PHRASES`) for the walker."""

    phrase: Annotated[str, Meta(pattern=r"^[a-z_]{1,32}\Z", description="id of a phrase")]


class LocateCommand(RemoteCommand, frozen=True, kw_only=True):
    """`cmd/locate`: makes the device heard, so that whoever is near finds the walker."""


class ResyncCommand(RemoteCommand, frozen=True, kw_only=True):
    """`cmd/resync`: the events `first` to `last` of `epoch` have not come; the device sends what it has of them."""

    epoch: Annotated[str, Meta(max_length=64)]
    first: Annotated[int, Meta(ge=1, lt=2**62)]
    last: Annotated[int, Meta(ge=1, lt=2**62)]


COMMANDS: dict[str, type[HubAck | RemoteCommand]] = {
    "ack": HubAck,
    "seen": SeenCommand,
    "say": SayCommand,
    "locate": LocateCommand,
    "resync": ResyncCommand,
}
"""Everything that may be sent to a device, by the last level of its topic.  None silences a warning, switches the
detection of falls off or calls off an alarm."""
