"""The one table of faults: how each is detected, within how long, what the walker hears, and how it ends.

A fault is named as events name it: `part` and `fault` of `fault.raised`, `sensor` and `cause` of `sensor.lost`.  Range
sensors stand here under the names of the default device: `rear` (ultrasonic, either kind), `lidar`, `drop`, `tof`;
`named` finds the row of a sensor that is called something else.  Seconds count from the instant at which the part
begins to be wrong.  Tests hold the table to everything the program can report, to the words of every language and to
the limits in the code; docs/faults.md is made from it by script/faults-reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from retrowalk.config import RangeSensor, TfLuna, Vl53l1x
from retrowalk.core.alerts import COURIER_PARTS, VOICE_CAUSES


@dataclass(frozen=True, slots=True)
class Fault:
    """One row."""

    part: str
    fault: str
    detected: str
    """How, in words."""
    within_s: float
    """The device knows it within so long (seconds) of use of the part; 0: at the first look, as at the start."""
    said: tuple[str, ...]
    """Phrase and value as the arbiter asks for them, `sensor_lost:lidar`; one of these is heard.  Empty: see `felt`."""
    spoken_within_s: float
    """The first frame of its sound, or the first pulse of what is felt, comes within so long."""
    protects: str
    """What still protects the walker, in words."""
    state: tuple[str, ...]
    """Guard states it may bring; empty: it changes none.  Of several: the last is that of the only part of its kind."""
    caregiver: tuple[str, ...]
    """Types of the events that tell of it."""
    recovers: str
    """How it ends, and what is said then, in words."""
    felt: str = "fault"
    """Pattern of motor and buzzer that goes with it; empty: none."""
    over: tuple[str, ...] = ()
    """What is heard when it is over; empty: nothing."""
    only_told: str = ""
    """Why the walker is not to be troubled with it at all; empty: they hear or feel it."""


SENSOR_EVENTS = ("sensor.lost", "sensor.restored", "guard.changed")
FAULT_EVENTS = ("fault.raised", "fault.cleared")

_OTHERS = "the other sensors warn as before; the protected speed is that of what still works"
_NO_CLIP = "all range warnings, for a walker of unknown lean; falls and balance are not watched"
_NO_DROP = "everything behind at body height; steps down are not seen"
_ALL = "everything"
_BACK = "by itself, after {0} s of sense; it is said to work again"


def _sensor(
    part: str,
    fault: str,
    detected: str,
    within_s: float,
    spoken_within_s: float,
    *,
    steady_s: float = 0.5,
    proof: str = "",
) -> Fault:
    """A row of a sensor that is lost."""
    protects = {"imu": _NO_CLIP, "drop": _NO_DROP}.get(part, _OTHERS)
    alone = part not in ("imu", "drop")
    return Fault(
        part,
        fault,
        detected,
        within_s,
        (f"sensor_lost:{part}", *(("not_protecting:rear",) if alone else ())),
        spoken_within_s,
        protects,
        ("limited", "not_protecting") if alone else ("limited",),
        SENSOR_EVENTS,
        _BACK.format(f"{steady_s:g}") + proof,
        over=(f"sensor_back:{part}",),
    )


_HANGS = "its driver does not come back for 2 s, nor did it in the process before, which ended for it"
_LOST_S = 0.5
"""`freshness.lost_after_s`: silence, or nothing but useless answers."""
_SENSE_S = 2.0
"""`freshness.BACK_FROM_GARBAGE_S`."""


def _silent(part: str) -> tuple[Fault, ...]:
    """What can happen to every sensor."""
    return (
        _sensor(part, "silent", "no reading at all", _LOST_S, 1.0),
        _sensor(part, "crashed", "its driver raised what it must not; it is opened anew each second", _LOST_S, 1.0),
        # Its silence is heard as of any other sensor's, long before its driver is given up.
        _sensor(part, "hangs", "its driver does not come back, nor did it in the process before", _LOST_S, 1.0),
    )


def _on_bus(part: str) -> tuple[Fault, ...]:
    """What can happen to every chip on the I2C bus that is a sensor."""
    return (
        *_silent(part),
        _sensor(part, "absent", "no acknowledge, or the bus timed out, for 0.1 s", _LOST_S, 1.0),
        _sensor(part, "wrong_chip", "it says that it is another chip", _LOST_S, 1.0),
        _sensor(
            part, "garbage", "values no such chip gives, or settings it does not keep", 1.0, 1.0, steady_s=_SENSE_S
        ),
    )


def _tf_luna(part: str) -> tuple[Fault, ...]:
    return (
        *_on_bus(part),
        _sensor(part, "frozen", "its tick stands still for 0.3 s; of a rear one, nothing nears in steps", 3.0, 3.0),
        _sensor(part, "slow", "fewer than 60 % of the measurements come", 2.0, 2.0),
        _sensor(part, "delayed", "its measurements are more than 0.15 s old, three in a row", 1.0, 1.0),
        _sensor(part, "reset", "it started anew, and gives nothing useful since", _LOST_S, 1.0),
        _sensor(
            part,
            "untrusted",
            "nothing but answers that it doubts itself (the sun shines in, or what one leans on covers the lens)",
            _LOST_S,
            1.0,
            proof="; one that was covered must first see something more than 0.3 m away, if only a hand",
        ),
        _sensor(part, "rejected", "nothing but answers no target can give", _LOST_S, 1.0),
    )


_REAR = (
    *_silent("rear"),
    _sensor("rear", "absent", "no echo (no byte) at all, or its lines cannot be used", _LOST_S, 1.0),
    _sensor("rear", "no_echo", "pings go out and nothing comes back", _LOST_S, 1.0),
    _sensor("rear", "rejected", "nothing but answers no target can give", _LOST_S, 1.0),
    _sensor("rear", "stuck", "its echo line stays high; no ping is sent, no thread waits", _LOST_S, 1.0),
    _sensor(
        "rear", "garbage", "impossible pulses or frames; ranges that leap as no thing does", 1.5, 1.5, steady_s=2.0
    ),
    _sensor("rear", "slow", "fewer than a quarter of the pings answered (serial: long gaps)", 2.0, 2.0),
    _sensor("rear", "frozen", "the same range for 3 s of steps (serial: the same number)", 3.0, 3.0),
    _sensor(
        "rear", "blind", "serial: hears nothing, and has heard nothing for 30 s that would prove that it can", 1.5, 2.0
    ),
    _sensor("rear", "untrusted", "serial: nothing but answers that prove nothing", _LOST_S, 1.0),
)

_TOF = (
    *_on_bus("tof"),
    _sensor("tof", "frozen", "its stream count or its samples stand still", 3.0, 3.0),
    _sensor("tof", "slow", "fewer than half of its samples come", 2.0, 2.0),
    _sensor("tof", "broken", "it says itself that its laser has failed", 1.0, 1.0),
    _sensor("tof", "untrusted", "nothing but answers that it doubts itself (too light)", _LOST_S, 1.0),
    _sensor("tof", "rejected", "nothing but answers no target can give", _LOST_S, 1.0),
)

_IMU = (
    *_on_bus("imu"),
    _sensor("imu", "frozen", "the same bits for a second, or an empty FIFO for 0.3 s", 1.3, 3.0),
    _sensor("imu", "slow", "a rate 30 % off, or samples more than 0.15 s late", 2.0, 2.0),
)


def _part(
    part: str,
    fault: str,
    detected: str,
    within_s: float,
    spoken_within_s: float,
    protects: str = _ALL,
    recovers: str = "by itself; it is said to work again",
    *,
    value: str = "",
    state: tuple[str, ...] = (),
    over: str | None = None,
    felt: str = "fault",
) -> Fault:
    """A row of a part that is no sensor; `value` is what is said of it, if not the part's name."""
    over = part if over is None else over
    return Fault(
        part,
        fault,
        detected,
        within_s,
        (f"fault:{value or part}",),
        spoken_within_s,
        protects,
        state,
        (*FAULT_EVENTS, *(("guard.changed",) if state else ())),
        recovers,
        felt=felt,
        over=(f"fault_over:{over}",) if over else (),
    )


_BUZZ = "buzzer and vibration act in place of every sound"
_BATTERY = "everything; the charge is not known and not announced"
_NEXT = "by itself; until then the next device plays; what had happened is said, and that the voice works again"


def _voice(fault: str, detected: str, within_s: float, protects: str, recovers: str = _NEXT) -> Fault:
    """A row of the voice.  It cannot say that it is silent: that is felt and buzzed, and said once it can be heard."""
    value = VOICE_CAUSES.get(fault, "voice")
    return Fault(
        "voice",
        fault,
        detected,
        within_s,
        (f"fault:{value}", "voice_cause"),
        2.0,
        protects,
        ("limited", "not_protecting"),
        (*FAULT_EVENTS, "guard.changed"),
        recovers,
        over=(f"fault_over:{'microphone' if fault == 'microphone' else 'voice'}",),
    )


def _courier(
    fault: str, detected: str, within_s: float, recovers: str = "by itself; it is said to work again"
) -> Fault:
    part = COURIER_PARTS.get(fault, "courier")
    protects = "every warning as before; " + {
        "courier": "events wait, in the guard or on the disk, and go out later",
        "outbox": "the guard keeps what is not confirmed",
        "recording": "nothing of this walk can be looked at later",
        "state": "a power cut forgets baselines and totals, a restart does not",
    }.get(part, "")
    # The beat that tells of it comes once a second, and at once when something changes.
    return _part(part, fault, detected, within_s, within_s + 2.0, protects, recovers, felt="")


TABLE: tuple[Fault, ...] = (
    *_REAR,
    *_tf_luna("lidar"),
    *_tf_luna("drop"),
    *_TOF,
    *_IMU,
    _part(
        "clip",
        "slipped",
        "the trunk seems turned by more than 15 degrees while walking",
        3.0,
        3.5,
        "range warnings and falls as before; balance and steps down are judged with care",
        "when the clip sits right again, or its new seat is known; that is said",
        state=("limited",),
    ),
    Fault(
        "bus",
        "stuck",
        "a line of the I2C bus stays low after nine clocks (where nobody can look: all transfers time out for 0.3 s)",
        0.5,
        # Whoever is lost with it is named, the clip first; that the wires are to blame is for who mends it.
        ("sensor_lost:imu",),
        1.0,
        "ultrasonic warnings never pause; clip, lidars and battery gauge are lost, and named one after the other",
        ("limited", "not_protecting"),
        (*FAULT_EVENTS, *SENSOR_EVENTS),
        "nine clocks are tried each second; every chip is set up anew, and each is said to work again",
        over=("sensor_back:imu", "sensor_back:lidar", "sensor_back:drop", "sensor_back:tof"),
    ),
    Fault(
        "bus",
        "hangs",
        _HANGS,
        9.0,
        ("sensor_lost:imu", "sensor_lost:lidar", "sensor_lost:drop", "sensor_lost:tof"),
        1.0,
        "ultrasonic warnings never pause; what is read by the same thread is lost, each by its name",
        ("limited", "not_protecting"),
        (*FAULT_EVENTS, *SENSOR_EVENTS),
        "when the call comes back",
        over=("sensor_back:imu", "sensor_back:lidar", "sensor_back:drop", "sensor_back:tof"),
    ),
    Fault(
        "bus",
        "crashed",
        "the watch of the bus raised what it must not",
        0.2,
        (),
        0.0,
        "everything: the bus itself works; a chip that holds it would not be freed",
        (),
        FAULT_EVENTS,
        "it is begun anew each second",
        felt="",
        only_told="nothing is lost by it until a chip holds the bus, and that is named",
    ),
    _part(
        "thermometer",
        "absent",
        "no chip on its wire, or it does not answer, three times in a row",
        50.0,
        52.0,
        "everything; ranges are taken for those of cold air, and so a little near",
        felt="",
    ),
    _part("thermometer", "garbage", "its checksum does not fit, three times in a row", 50.0, 52.0, felt=""),
    _part("thermometer", "slow", "no answer within 5 s", 36.0, 38.0, felt=""),
    _part("thermometer", "crashed", "its driver raised what it must not", 31.0, 33.0, felt=""),
    _part("thermometer", "hangs", _HANGS, 31.0, 33.0, felt=""),
    # The gauge is read every 5 s.
    _part("battery", "absent", "no acknowledge in three tries, 1 s apart", 8.0, 8.5, _BATTERY),
    _part("battery", "wrong_chip", "it says that it is another chip", 8.0, 8.5, _BATTERY),
    _part("battery", "garbage", "a charge or voltage no cell has, or none for 6 s", 17.0, 17.5, _BATTERY),
    _part("battery", "crashed", "its driver raised what it must not", 6.0, 7.0, _BATTERY),
    _part("battery", "hangs", _HANGS, 8.0, 9.0, _BATTERY),
    Fault(
        "battery",
        "low",
        "the gauge says 20 % or less",
        5.0,
        ("battery_low:",),
        7.0,
        "everything, for the time that is said",
        (),
        ("battery.low",),
        "when it is charged; a later fall below 20 % is said anew",
        felt="",
    ),
    Fault(
        "battery",
        "empty",
        "the gauge says 10 % or less, or less than 10 min at this rate",
        5.0,
        ("battery_empty",),
        7.0,
        "everything, for 5 min at least: the walker is told to stop walking",
        (),
        ("battery.low",),
        "when it is charged",
    ),
    _part("power", "undervoltage", "the kernel's alarm of the 5 V line, looked at every 2 s", 2.0, 2.5, over="power"),
    _part("heat", "hot", "the processor has 78 C for 5 s", 7.0, 7.5),
    _part("pi", "crashed", "the driver of voltage and heat raised what it must not", 2.0, 3.0, felt=""),
    _part("pi", "hangs", _HANGS, 5.0, 6.0, felt=""),
    _part("memory", "low", "the kernel has less than 24 MB to give for 4 s", 6.0, 7.0),
    _part(
        "button", "absent", "its line cannot be used", 1.0, 1.5, "warnings; no call for help and no answer by button"
    ),
    _part("button", "garbage", "its line never settles", 2.0, 2.5, "warnings; the button is not to be relied on"),
    _part(
        "button", "stuck", "held for more than 10 s: a call for help by then", 10.0, 10.5, "warnings; SOS was called"
    ),
    _part("button", "crashed", "its driver raised what it must not", 0.5, 1.5, "warnings"),
    _part("button", "hangs", _HANGS, 3.0, 4.0, "warnings; no call for help and no answer by button"),
    _part("buzzer", "absent", "its line cannot be used", 0.5, 1.0, "voice and vibration"),
    _part("vibration", "absent", "its line cannot be used", 0.5, 1.0, "voice and buzzer", state=("not_protecting",)),
    _part("vibration-right", "absent", "its line cannot be used", 0.5, 1.0, "the other motor, voice and buzzer"),
    _part(
        "touch", "no_pwm", "the pins know no strength", 0.5, 1.5, "everything, at full strength only", over="", felt=""
    ),
    _part("led", "absent", "its line cannot be used", 1.0, 1.5, felt=""),
    _part("led", "crashed", "its driver raised what it must not", 1.0, 2.0, felt=""),
    _part("led", "hangs", _HANGS, 3.0, 4.0, felt=""),
    _voice("silent", "no sign of life for 0.3 s: killed, or hung", 0.4, f"{_BUZZ}; it is started again in 1 s"),
    _voice("no_device", "the sound device is gone", 1.0, f"the next device within 1 s; if there is none, {_BUZZ}"),
    _voice("frozen", "the play pointer stands still for 0.25 s", 1.0, f"the next device; if there is none, {_BUZZ}"),
    _voice("muted", "its mixer says that it is muted or at zero", 2.0, f"another device; if there is none, {_BUZZ}"),
    _voice("null_sink", "frames go faster than time", 2.0, f"another device; if there is none, {_BUZZ}"),
    _voice(
        "unheard", "the microphone has heard two messages in a row not", 5.0, "voice, buzzer and vibration together"
    ),
    _voice("slow", "sound is heard more than 0.16 s late", 5.0, "calm words; buzzer and vibration for every warning"),
    _voice("clipped", "words lose their beginning", 5.0, "calm words; buzzer and vibration for every warning"),
    _voice("bank_missing", "no phrases at the start", 1.0, "tones, vibration, and the few words that ship as sound"),
    _voice(
        "bank_damaged", "the checksum of a phrase does not fit", 1.0, "tones, vibration and the words that are whole"
    ),
    _voice("bank_refused", "new phrases could not be made", 60.0, "tones, vibration and the words that there are"),
    _voice("espeak_missing", "no program to make phrases", 60.0, "tones, vibration and the words that there are"),
    _voice("microphone", "the microphone is silent, stands still or is gone", 5.0, "everything; sound is not verified"),
    Fault(
        "guard",
        "silent",
        "the voice has had no sign of life of the guard for 0.6 s: dead, or hung",
        0.6,
        ("guard_silent",),
        1.0,
        "nothing, and that is said and the guarding tick stops; it guards again within 5 s",
        (),
        ("guard.changed",),
        "systemd starts it again; its state is restored, a running countdown goes on, and the restart is said",
        felt="",
        over=("restarted",),
    ),
    Fault(
        "guard",
        "restarted",
        "it finds the state of an earlier life",
        0.0,
        ("restarted",),
        1.5,
        "everything again, without a new check when it guarded ten minutes ago or less",
        (),
        ("guard.changed",),
        "it has; restarts are counted in the heartbeat",
        felt="",
    ),
    Fault(
        "guard",
        "paused",
        "more than 0.4 s between two of its own looks at the clock",
        0.4,
        ("guard_silent",),
        1.0,
        "nothing meanwhile, and that was said; no sensor is blamed for it",
        (),
        FAULT_EVENTS,
        "it is over when it is noticed",
        felt="",
    ),
    _part(
        "guard",
        "starved",
        "its main loop is more than 0.1 s late five times in 10 s",
        10.0,
        11.0,
        "every warning, late by as much; the walker is told to go slowly",
        "after 20 s in time; it is said",
        value="late",
        state=("limited",),
        over="late",
    ),
    _part(
        "guard",
        "state_not_kept",
        "the run directory refuses the state, or a write into it does not come back for 2 s",
        3.0,
        4.0,
        "everything, until a restart, which would begin from nothing",
    ),
    _part("config", "rejected", "a value is refused at the start", 0.0, 5.0, "the last good settings"),
    _part(
        "config",
        "unusable",
        "the file is refused and no good one is known",
        0.0,
        5.0,
        "the default settings warn, and are not to be relied on",
        "after it was corrected, at the next start",
        state=("not_protecting",),
    ),
    _courier("gone", "it takes no messages for 0.9 s", 2.0),
    _courier("silent", "no sign of life for 3 s", 4.0),
    _courier("broker", "no connection for 10 s, or the broker refuses or does not answer", 11.0),
    _courier("hub", "the hub has kept silent about what the broker took for it", 40.0),
    _courier("outbox", "the disk refuses the file of events (full, read-only, failing), or it was damaged", 3.0),
    _courier("recording", "the disk refuses the recording (full, read-only, failing), or would forget it", 8.0),
    _courier("state", "the disk refuses the copy of the state, or would forget it", 8.0),
    Fault(
        "courier",
        "outbox_damaged",
        "the file of events does not check",
        0.0,
        ("fault:outbox",),
        5.0,
        "every warning as before; a new file is begun, the old one is kept aside and its events are taken from it",
        (),
        ("fault.raised",),
        "it has; helpers are told what is missing",
        felt="",
        over=("fault_over:outbox",),
    ),
    Fault(
        "courier",
        "outbox_full",
        "more events wait than there is room for",
        0.0,
        ("fault:courier",),
        15.0,
        "every warning as before; unimportant events are given up first, a fall last",
        (),
        ("fault.raised",),
        "when the link is back; how many were given up is told",
        felt="",
    ),
    Fault(
        "clock",
        "jumped",
        "the wall clock and the monotonic one differ by 2 s more or less than a second before",
        1.2,
        (),
        0.0,
        "everything: nothing is decided or measured by the wall clock",
        (),
        ("clock.changed",),
        "it is over when it is noticed; labels from then on are right by the new time",
        felt="",
        only_told="no warning, duration or total depends on it, and a Pi sets its clock at every start",
    ),
)
"""All of them, part by part."""

_ROWS = {(row.part, row.fault): row for row in TABLE}


def find(part: str, fault: str) -> Fault:
    """The row of a fault.  Raises `KeyError` for one that is not in the table."""
    return _ROWS[part, fault]


def kind(sensor: RangeSensor) -> str:
    """Under which part the faults of a configured range sensor stand, whatever it is called."""
    match sensor:
        case TfLuna(role="dropoff"):
            return "drop"
        case TfLuna():
            return "lidar"
        case Vl53l1x():
            return "tof"
        case _:
            return "rear"


def named(sensor: RangeSensor, fault: str) -> Fault:
    """The row of a fault of a range sensor that may be called otherwise than in the table; `said` has its own name."""
    row = find(kind(sensor), fault)

    def rename(keys: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            key.replace(f":{row.part}", f":{sensor.name}") if key.startswith("sensor_") else key for key in keys
        )

    return replace(row, part=sensor.name, said=rename(row.said), over=rename(row.over))
