"""The one alert table: for every hazard and level, what is heard and felt, how long, and what it may interrupt.

The words live in `voice/texts/<language>.toml`; the sounds of the earcons in `voice/earcons.py`.  To add an alert,
add a row here and its words there; tests hold the three together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from retrowalk.config import Config
from retrowalk.core.events import Level


@dataclass(frozen=True, slots=True)
class Alert:
    """One row: what the walker hears and feels of a `key` at a `level`."""

    key: str
    level: Level
    phrase: str = ""
    """Id of the words (a key of `PHRASES`), empty for an earcon alone."""
    earcon: str = ""
    """Sound before the words (one of `EARCONS`), so that the ear is alerted within 25 ms."""
    haptic: str = ""
    """Pattern of the vibration motor (a key of `HAPTICS`)."""
    touch: str = ""
    """What is felt in place of `haptic`, where that is empty, by who is told by touch; empty: as the earcon says."""
    buzzer: bool = False
    """Whether the buzzer joins the vibration."""
    rises: bool = False
    """Whether earcon and pattern rise as the seconds that are its value run out (`stage`)."""
    rank: int = 0
    """Higher cuts lower at once; equal replaces what is waiting, never what is sounding."""
    deadline_s: float = 1.0
    """It must begin within this time of its request, or not at all: late information is never spoken."""
    repeat_s: float = 0.0
    """While it stays true it is said again this often; 0: once."""
    on_change: bool = False
    """Said again only when its value has changed (the next half metre), and not sooner than `repeat_s`."""
    mutable: bool = True
    """Whether the walker's 60 s of quiet applies."""
    sided: bool = False
    """Whether there are words for a side, too: the phrase with `_left` and `_right`, said with `voice.say_side`."""


COUNTDOWNS = ("countdown", "countdown_2", "countdown_3", "countdown_4", "countdown_5")
"""Earcons, and patterns, of a countdown: each higher and louder, or stronger, than the one before."""

EARCONS = ("chime", "caution", "warning", "touching", "balance", "fault", *COUNTDOWNS, "good", "tick")
"""Every earcon.  Energy between 500 and 2000 Hz, for older ears."""


def _countdown(first: float, second: float) -> tuple[tuple[float, float, float], ...]:
    return ((0.20, 0.10, first), (0.40, 0.10, second))


HAPTICS: dict[str, tuple[tuple[float, float, float], ...]] = {
    # (on, off) in seconds, and the strength of the burst, 0 to 1.  Shorter bursts feel more urgent; few, distinct
    # patterns are told apart, so these are of six kinds.  One: quick bursts, stop and catch yourself.
    "warning": ((0.12, 0.06, 1.0),) * 4,
    "balance": ((0.06, 0.04, 1.0),) * 6,
    # Two: a firm one, take care.
    "caution": ((0.25, 0.10, 0.8),),
    # Three: two long ones, something does not protect.
    "fault": ((0.60, 0.20, 0.9), (0.60, 0.20, 0.9)),
    # Four: short and long, and it grows: somebody is asked, or help is called.
    "countdown": _countdown(0.3, 0.5),
    "countdown_2": _countdown(0.4, 0.6),
    "countdown_3": _countdown(0.5, 0.7),
    "countdown_4": _countdown(0.6, 0.85),
    "countdown_5": _countdown(0.7, 1.0),
    # Five: two taps, it is well.
    "good": ((0.08, 0.10, 0.7), (0.08, 0.10, 0.7)),
    # Six: one tap, it watches (short), or something is far behind, or how you walk (longer).  A motor that is shaken
    # awake with full power for 20 ms and then let go is felt so little that nobody tires of it.
    "nudge": ((0.10, 0.10, 0.5),),
    "tick": ((0.05, 0.10, 0.3),),
}
"""Patterns of the motor, and of the buzzer, which knows no strength."""

KINDS: dict[str, tuple[str, ...]] = {
    "quick": ("warning", "balance"),
    "firm": ("caution",),
    "long": ("fault",),
    "growing": COUNTDOWNS,
    "two taps": ("good",),
    "one tap": ("nudge", "tick"),
}
"""The patterns by what has to be told apart; within a kind they ask for the same."""

_STAGES = {"25": 0, "20": 0, "15": 1, "10": 1, "5": 2, "4": 2, "3": 3, "2": 3, "1": 4}
"""How far a countdown has risen at each number that is said."""

_TOUCH_OF_EARCON = {"chime": "nudge", "touching": "warning"}
"""Patterns of the earcons that have none of their own name."""


def stage(alert: Alert, name: str, value: str) -> str:
    """The earcon or pattern `name` of a row, risen as far as `value` (seconds left) says."""
    return COUNTDOWNS[_STAGES.get(value, 0)] if alert.rises and name == COUNTDOWNS[0] else name


def told_by_touch(alert: Alert) -> str:
    """The pattern that tells a row to a walker who hears badly: every row has one."""
    return alert.haptic or alert.touch or _TOUCH_OF_EARCON.get(alert.earcon, alert.earcon) or "nudge"


def lasts_s(pattern: str) -> float:
    """How long a pattern is felt; a name nobody knows is felt as the warning."""
    return sum(on_s + off_s for on_s, off_s, _ in HAPTICS.get(pattern, HAPTICS["warning"]))


# Ranks.  Warning of a collision outranks everything; a fault outranks chat, because silence must not mean two things.
RANK_WARNING = 100
RANK_BALANCE = 95
RANK_ALARM = 80
RANK_FAULT = 70
RANK_CAUTION = 60
RANK_STATE = 50
RANK_HELPER = 46
"""What a helper has the device say."""
RANK_COACHING = 30
RANK_ADVISORY = 20
RANK_INTRODUCTION = 10
RANK_TICK = 0

REMOTE_PHRASES = (
    *("coming", "help_is_coming", "calling", "call_me"),
    *("stay_there", "sit_down", "come_home", "well_done"),
)
"""What a helper may have said to the walker from afar; their words are the phrases `say_...`, with who says it."""

_ROWS = (
    Alert("rear", Level.ADVISORY, earcon="chime", rank=RANK_ADVISORY, deadline_s=0.5),
    Alert(
        "rear",
        Level.CAUTION,
        phrase="object",
        earcon="caution",
        haptic="caution",
        rank=RANK_CAUTION,
        deadline_s=0.7,
        repeat_s=2.1,
        on_change=True,
        sided=True,
    ),
    Alert(
        "rear",
        Level.WARNING,
        phrase="stop",
        earcon="warning",
        haptic="warning",
        buzzer=True,
        rank=RANK_WARNING,
        deadline_s=0.5,
        repeat_s=1.2,
        mutable=False,
    ),
    Alert(
        "touching",
        Level.WARNING,
        earcon="touching",
        haptic="warning",
        buzzer=True,
        rank=RANK_WARNING - 2,  # it fills the pauses between two "Stop", and never cuts the word
        deadline_s=1.0,  # the word and the rest after it take 0.8 s
        repeat_s=0.6,
        mutable=False,
    ),
    Alert(
        "unknown",
        Level.CAUTION,
        phrase="behind_unknown",
        earcon="fault",
        haptic="fault",
        rank=RANK_FAULT - 2,  # a lost sensor that is named explains it
        deadline_s=2.0,
        repeat_s=15.0,
        mutable=False,
    ),
    Alert(
        "approaching",
        Level.CAUTION,
        phrase="approaching",
        earcon="caution",
        haptic="caution",
        rank=RANK_CAUTION + 2,
        deadline_s=0.7,
        mutable=False,
    ),
    Alert(
        "drop",
        Level.WARNING,
        phrase="drop",
        earcon="warning",
        haptic="warning",
        buzzer=True,
        rank=RANK_WARNING - 1,
        deadline_s=0.5,
        repeat_s=2.0,
        mutable=False,
    ),
    Alert(
        "ground",
        Level.CAUTION,
        phrase="ground_lost",
        earcon="caution",
        haptic="caution",
        rank=RANK_FAULT - 3,
        deadline_s=2.0,  # when it is said again is the ground's own matter
        mutable=False,
    ),
    Alert(
        "governor",
        Level.CAUTION,
        phrase="slow_down",
        earcon="caution",
        haptic="caution",
        rank=RANK_CAUTION - 1,
        deadline_s=1.5,
        mutable=False,  # it tells where the protection ends
    ),
    # As the warning in everything the walker hears and feels; but it warns of nothing, so all that does cuts it.
    Alert(
        "cue",
        Level.WARNING,
        phrase="stop",
        earcon="warning",
        haptic="warning",
        buzzer=True,
        rank=RANK_STATE + 5,
        deadline_s=0.5,
        mutable=False,
    ),
    # It follows "Guarding.", and would take its place in the queue at its rank.
    Alert(
        "drop_speed",
        Level.ADVISORY,
        phrase="drop_speed",
        rank=RANK_STATE - 1,
        deadline_s=6.0,
        mutable=False,
        touch="tick",
    ),
    Alert("clear", Level.ADVISORY, phrase="clear", earcon="good", rank=RANK_COACHING, deadline_s=1.0),
    # Calm words about how the walker walks: no tone that alarms, a touch that can be missed.
    Alert("lean_back", Level.CAUTION, phrase="lean_back", haptic="nudge", rank=RANK_CAUTION + 1, deadline_s=1.0),
    Alert("unsteady", Level.CAUTION, phrase="unsteady", haptic="nudge", rank=RANK_CAUTION - 2, deadline_s=1.0),
    Alert("hurrying", Level.ADVISORY, phrase="hurrying", haptic="nudge", rank=RANK_COACHING + 3, deadline_s=1.0),
    Alert("shuffling", Level.ADVISORY, phrase="shuffling", haptic="nudge", rank=RANK_COACHING + 2, deadline_s=1.0),
    Alert(
        "looking_back", Level.ADVISORY, phrase="looking_back", haptic="nudge", rank=RANK_COACHING + 1, deadline_s=1.0
    ),
    Alert(
        "balance_lost",
        Level.WARNING,
        earcon="balance",
        haptic="balance",
        buzzer=True,
        rank=RANK_BALANCE,
        deadline_s=0.2,
        mutable=False,
    ),
    # Two seconds after it was caught: before, the walker has other things to do than to listen.
    Alert("stumbled", Level.ADVISORY, phrase="stumbled", rank=RANK_COACHING + 5, deadline_s=3.0),
    Alert(
        "fall",
        Level.WARNING,
        phrase="fall_question",
        earcon="countdown",
        haptic="countdown",
        buzzer=True,
        rank=RANK_ALARM,
        deadline_s=5.0,
        mutable=False,
    ),
    Alert(
        "lying",
        Level.WARNING,
        phrase="lying_question",
        earcon="countdown",
        haptic="countdown",
        buzzer=True,
        rank=RANK_ALARM,
        deadline_s=5.0,
        mutable=False,
    ),
    Alert(
        "countdown",
        Level.WARNING,
        phrase="countdown",
        earcon="countdown",
        haptic="countdown",
        buzzer=True,
        rank=RANK_ALARM,
        deadline_s=0.9,
        mutable=False,
        rises=True,
    ),
    Alert(
        "fall_confirmed",
        Level.WARNING,
        phrase="fall_confirmed",
        earcon="countdown",
        haptic="countdown",
        rank=RANK_ALARM + 2,
        deadline_s=5.0,
        mutable=False,
    ),
    Alert(
        "fall_cancelled",
        Level.ADVISORY,
        phrase="fall_cancelled",
        earcon="good",
        haptic="good",
        rank=RANK_ALARM + 3,
        deadline_s=3.0,
        mutable=False,
    ),
    Alert(
        "sos_hold",
        Level.ADVISORY,
        phrase="sos_hold",
        rank=RANK_ALARM + 3,
        deadline_s=1.0,
        mutable=False,
        touch="caution",
    ),
    Alert(
        "sos",
        Level.WARNING,
        phrase="sos_raised",
        earcon="countdown",
        haptic="countdown",
        rank=RANK_ALARM + 3,
        deadline_s=3.0,
        mutable=False,
    ),
    Alert(
        "sos_cancelled",
        Level.ADVISORY,
        phrase="sos_cancelled",
        earcon="good",
        haptic="good",
        rank=RANK_ALARM + 3,
        deadline_s=3.0,
        mutable=False,
    ),
    Alert(
        "all_clear_question",
        Level.ADVISORY,
        phrase="all_clear_question",
        rank=RANK_ALARM + 3,
        deadline_s=2.0,
        mutable=False,
        touch="countdown",
    ),
    Alert(
        "say_well",
        Level.ADVISORY,
        phrase="say_well",
        rank=RANK_ALARM + 3,
        deadline_s=5.0,
        mutable=False,
        touch="caution",
    ),
    # Whoever lies there is told at long intervals what became of the call; it cuts nothing that warns or names a fault.
    Alert(
        "comfort", Level.ADVISORY, phrase="comfort", earcon="good", rank=RANK_STATE + 6, deadline_s=10.0, mutable=False
    ),
    Alert(
        "comfort_seen",
        Level.ADVISORY,
        phrase="comfort_seen",
        earcon="good",
        rank=RANK_STATE + 6,
        deadline_s=10.0,
        mutable=False,
    ),
    Alert(
        "caregiver_told",
        Level.ADVISORY,
        phrase="caregiver_told",
        earcon="good",
        rank=RANK_ALARM + 1,
        deadline_s=10.0,
        mutable=False,
    ),
    # Whoever has got hold of the broker can ask for this, so it cuts nothing that warns or names a fault.
    Alert(
        "caregiver_seen",
        Level.ADVISORY,
        phrase="caregiver_seen",
        earcon="good",
        rank=RANK_STATE + 7,
        deadline_s=10.0,
        mutable=False,
    ),
    # A helper's words, from afar: whatever the device itself has to say goes first.
    *(
        Alert(
            f"say_{name}",
            Level.ADVISORY,
            phrase=f"say_{name}",
            rank=RANK_HELPER,
            deadline_s=3.0,
            mutable=False,
            touch="nudge",
        )
        for name in REMOTE_PHRASES
    ),
    Alert("looked_for", Level.ADVISORY, phrase="looked_for", rank=RANK_HELPER - 1, deadline_s=3.0, mutable=False),
    Alert("here", Level.ADVISORY, phrase="here", earcon="good", rank=RANK_HELPER - 1, deadline_s=1.0, mutable=False),
    # Nothing endangers the walker in this; they are to know it, and need not hear it at once.
    Alert("unwatched", Level.ADVISORY, phrase="unwatched", rank=RANK_HELPER - 2, deadline_s=10.0, mutable=False),
    Alert(
        "watched", Level.ADVISORY, phrase="watched", earcon="good", rank=RANK_HELPER - 2, deadline_s=10.0, mutable=False
    ),
    Alert(
        "caregiver_not_reached",
        Level.CAUTION,
        phrase="caregiver_not_reached",
        earcon="fault",
        haptic="fault",
        rank=RANK_ALARM + 1,
        deadline_s=10.0,
        repeat_s=60.0,
        mutable=False,
    ),
    Alert(
        "sensor_lost",
        Level.CAUTION,
        phrase="sensor_lost",
        earcon="fault",
        haptic="fault",
        buzzer=True,
        rank=RANK_FAULT + 1,  # of a held bus the sensors are named before the gauge
        deadline_s=2.0,
        repeat_s=30.0,
        mutable=False,
    ),
    Alert("sensor_back", Level.ADVISORY, phrase="sensor_back", earcon="good", rank=RANK_STATE, deadline_s=5.0),
    Alert(
        "fault",
        Level.CAUTION,
        phrase="fault",
        earcon="fault",
        haptic="fault",
        buzzer=True,
        rank=RANK_FAULT,
        deadline_s=5.0,
        repeat_s=60.0,
        mutable=False,
    ),
    # Why nothing was heard, once something is: before all else that has waited, but for what warns and what calls help.
    Alert(
        "voice_cause", Level.CAUTION, phrase="fault", earcon="fault", rank=RANK_FAULT + 3, deadline_s=5.0, mutable=False
    ),
    Alert("fault_over", Level.ADVISORY, phrase="fault_over", earcon="good", rank=RANK_STATE, deadline_s=5.0),
    # Asked before the hand is, so it comes first where both wait; the answer is thanked for after whatever sounds.
    Alert(
        "self_test",
        Level.ADVISORY,
        phrase="self_test",
        earcon="chime",
        touch="countdown",
        rank=RANK_STATE + 3,
        deadline_s=5.0,
        mutable=False,
    ),
    Alert(
        "heard",
        Level.ADVISORY,
        phrase="heard",
        earcon="good",
        haptic="good",
        rank=RANK_STATE - 3,
        deadline_s=4.0,
        mutable=False,
    ),
    # "Limited", but felt as well: whoever did not answer may not hear this either.
    Alert(
        "unheard",
        Level.CAUTION,
        phrase="limited",
        earcon="fault",
        haptic="fault",
        rank=RANK_FAULT - 1,
        deadline_s=5.0,
        mutable=False,
    ),
    Alert(
        "checking", Level.ADVISORY, phrase="checking", rank=RANK_STATE, deadline_s=5.0, mutable=False, touch="caution"
    ),
    Alert(
        "stand_still",
        Level.ADVISORY,
        phrase="stand_still",
        rank=RANK_STATE,
        deadline_s=5.0,
        mutable=False,
        touch="caution",
    ),
    Alert(
        "hand_missed",
        Level.ADVISORY,
        phrase="hand_missed",
        earcon="fault",
        rank=RANK_STATE + 1,
        deadline_s=10.0,
        mutable=False,
    ),
    Alert("guarding", Level.ADVISORY, phrase="guarding", earcon="good", rank=RANK_STATE, deadline_s=5.0, mutable=False),
    Alert(
        "limited",
        Level.CAUTION,
        phrase="limited",
        earcon="fault",
        rank=RANK_FAULT - 1,
        deadline_s=5.0,
        mutable=False,
    ),
    Alert(
        "not_protecting",
        Level.CAUTION,
        phrase="not_protecting",
        earcon="fault",
        haptic="fault",
        buzzer=True,
        rank=RANK_FAULT + 2,
        deadline_s=5.0,
        repeat_s=30.0,
        mutable=False,
    ),
    Alert("not_worn", Level.ADVISORY, phrase="not_worn", rank=RANK_STATE, deadline_s=5.0, mutable=False),
    Alert(
        "stopping",
        Level.ADVISORY,
        phrase="stopping",
        rank=RANK_FAULT + 5,  # no fault cuts the goodbye: what it would tell of protects nobody any more
        deadline_s=3.0,
        mutable=False,
        touch="fault",
    ),
    Alert(
        "switch_off_question",
        Level.ADVISORY,
        phrase="switch_off_question",
        rank=RANK_STATE,
        deadline_s=2.0,
        mutable=False,
        touch="countdown",
    ),
    Alert(
        "restarted", Level.CAUTION, phrase="restarted", earcon="fault", rank=RANK_FAULT, deadline_s=5.0, mutable=False
    ),
    Alert("quiet", Level.ADVISORY, phrase="quiet", rank=RANK_STATE, deadline_s=2.0, mutable=False, touch="good"),
    # The answer to "how am I doing" is the guard state, with its first reason, and then these, one after the other.
    Alert("also", Level.ADVISORY, phrase="also", rank=RANK_STATE + 2, deadline_s=6.0, mutable=False, touch="fault"),
    Alert("around", Level.ADVISORY, phrase="around", rank=RANK_STATE - 2, deadline_s=10.0, mutable=False, touch="tick"),
    Alert("introduction", Level.ADVISORY, phrase="introduction", rank=RANK_INTRODUCTION, deadline_s=2.0, touch="tick"),
    Alert("accepted", Level.ADVISORY, phrase="accepted", earcon="good", rank=RANK_STATE, deadline_s=2.0, mutable=False),
    Alert(
        "battery_low",
        Level.CAUTION,
        phrase="battery_low",
        earcon="fault",
        rank=RANK_FAULT - 4,  # it says how long, after "stop walking"
        deadline_s=10.0,
        mutable=False,
    ),
    Alert(
        "battery_empty",
        Level.CAUTION,
        phrase="battery_empty",
        earcon="fault",
        haptic="fault",
        rank=RANK_FAULT,
        deadline_s=10.0,
        mutable=False,
    ),
    Alert("tick", Level.ADVISORY, earcon="tick", rank=RANK_TICK, deadline_s=0.5, mutable=False),
)

ALERTS: dict[tuple[str, Level], Alert] = {(row.key, row.level): row for row in _ROWS}
"""The table, by key and level."""

ALERT_BY_KEY: dict[str, Alert] = {row.key: row for row in _ROWS if row.key != "rear"}
"""The rows of keys that have one level only."""

HAZARDS = frozenset({"rear", "touching", "unknown", "approaching", "drop", "ground", "governor", "balance_lost"})
"""Keys of what endangers the walker (of `rear` what is more than an advisory): nobody is coached within 3 s of it."""

STANDING = frozenset({"rear", "touching", "approaching", "drop"})
"""Those that are a hazard for as long as they hold, and not only when they are said."""

DISTANCES_M = ("0.5", "1", "1.5", "2", "2.5", "3", "4", "5")
"""Distances that can be said: half metres to 3 m, then metres; rounded towards nearer."""

DROP_SPEEDS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8")
"""Speeds, m/s, up to which drops are announced in time, that can be said; rounded down."""

COUNTS = ("25", "20", "15", "10", "5", "4", "3", "2", "1")
"""Seconds left that the fall countdown says."""

INTRODUCTION = ("aid", "cyclists", "cloth", "steps", "falls", "press", "fine", "hold", "twice", "accept")
"""Sentences that are said at first use, in this order; the last one asks for a press.  See `introduction`."""

BUTTON = ("press", "fine", "hold", "twice")
"""Those that tell what the button does."""

HELPERS = ("linked", "away", "none")
"""Whether messages get out: there is a connection, there is none, none is configured."""

CHARGES = ("good", "half", "low", "unknown")
"""How much the battery has left: more than half, more than a fifth, less, not known."""

MINUTES = ("m5", "m10", "m15", "m20", "m30", "m40", "m60", "m90", "m120")
"""Times for which the battery lasts that can be said, in minutes; rounded down."""

COMFORTS = ("told", "trying")
"""What may have become of a call for help that nobody has answered yet, for the one who lies there."""

HELPER = "helper"
"""A helper without a name of `config.Helper.names`."""

FAULT_PARTS = (
    *("voice", "courier", "guard", "button", "buzzer", "vibration", "vibration-right", "config", "recording"),
    *("battery", "power", "heat", "clip", "led"),
    *("voice-frozen", "voice-gone", "voice-muted", "voice-nowhere", "voice-unheard", "voice-slow", "voice-clipped"),
    *("voice-restarted", "voice-bank", "voice-espeak", "microphone"),
    *("outbox", "state"),
    *("thermometer", "pi", "memory", "late", "touch"),
)
"""Parts that are not sensors and can fail; the words are in the texts' `parts` table."""

VOICE_CAUSES = {
    "no_device": "voice-gone",
    "frozen": "voice-frozen",
    "muted": "voice-muted",
    "null_sink": "voice-nowhere",
    "unheard": "voice-unheard",
    "slow": "voice-slow",
    "clipped": "voice-clipped",
    "silent": "voice-restarted",
    "bank_missing": "voice-bank",
    "bank_damaged": "voice-bank",
    "bank_refused": "voice-bank",
    "espeak_missing": "voice-espeak",
    "microphone": "microphone",
}
"""What is said of each fault of the voice, by the fault's name; of any other, "voice"."""

COURIER_PARTS = {"broker": "courier", "outbox": "outbox", "recording": "recording", "state": "state"}
"""Which part each fault of the courier is a fault of; of any other, the courier itself."""

LIMITS = (
    "unchecked",
    "imu",
    "clip",
    "rear",
    "unknown",
    "drop",
    "ground",
    "voice",
    "vibration",
    "config",
    "unheard",
    "late",
    "inexact",
    "battery",
)
"""Causes of limited or missing protection that can be said."""


def distance_value(range_m: float) -> str:
    """The sayable distance for a range: rounded towards nearer, at least "0.5"."""
    said = DISTANCES_M[0]
    for value in DISTANCES_M:
        if float(value) <= range_m + 1e-9:
            said = value
    return said


def charge_value(percent: int | None, minutes: float | None) -> str:
    """How a charge is said: by the minutes it lasts, rounded down (at least five), else by a limit in per cent."""
    if minutes is None:
        return str(percent)
    return max(
        (value for value in MINUTES if float(value[1:]) <= minutes), key=lambda v: int(v[1:]), default=MINUTES[0]
    )


def sensor_names(config: Config) -> tuple[str, ...]:
    """Names of all sensors of a configuration, as alerts and freshness use them; the clip is `imu`."""
    return (*(sensor.name for sensor in config.range_sensor), "imu")


def introduction(config: Config) -> tuple[str, ...]:
    """What this device says at first use: without a sensor that looks down it sees no steps, however slow one walks."""
    drops = any(sensor.role == "dropoff" for sensor in config.range_sensor)
    return tuple("no-steps" if value == "steps" and not drops else value for value in INTRODUCTION)


def arounds(config: Config) -> tuple[str, ...]:
    """What can be said of link and battery, `linked-good` and so on; without a battery's chip, of the link alone."""
    helpers = HELPERS[:2] if config.broker.host else HELPERS[2:]
    if config.battery.chip == "none":
        return helpers
    return tuple(f"{helper}-{charge}" for helper in helpers for charge in CHARGES)


def helpers(config: Config) -> tuple[str, ...]:
    """Who can be said to have seen or said something: by name, or "your helper"."""
    return tuple(dict.fromkeys((HELPER, *config.helper.names)))


def phrase_values(config: Config) -> dict[str, tuple[str, ...]]:
    """Every phrase id with the values its blank can take (an empty tuple: it has no blank)."""
    sensors = sensor_names(config)
    sided = config.voice.say_side and any(sensor.bearing_left_deg for sensor in config.range_sensor)
    sides = {"object_left": DISTANCES_M, "object_right": DISTANCES_M} if sided else {}
    return {
        "stop": (),
        "object": DISTANCES_M,
        **sides,
        "behind_unknown": (),
        "approaching": (),
        "drop": (),
        "ground_lost": (),
        "slow_down": (),
        "drop_speed": DROP_SPEEDS,
        "clear": (),
        "lean_back": (),
        "unsteady": (),
        "hurrying": (),
        "shuffling": (),
        "looking_back": (),
        "stumbled": (),
        "fall_question": (),
        "lying_question": (),
        "countdown": COUNTS,
        "fall_confirmed": (),
        "fall_cancelled": (),
        "sos_hold": (),
        "sos_raised": (),
        "sos_cancelled": (),
        "all_clear_question": (),
        "say_well": (),
        "comfort": COMFORTS,
        "comfort_seen": helpers(config),
        "caregiver_told": (),
        "caregiver_seen": helpers(config),
        "caregiver_not_reached": (),
        **{f"say_{name}": helpers(config) for name in REMOTE_PHRASES},
        "looked_for": (),
        "here": (),
        "unwatched": (),
        "watched": (),
        "sensor_lost": sensors,
        "sensor_back": sensors,
        "fault": FAULT_PARTS,
        "fault_over": FAULT_PARTS,
        "self_test": (),
        "heard": (),
        "checking": (),
        "stand_still": (),
        "hand_missed": tuple(sensor.name for sensor in config.range_sensor if sensor.role == "rear"),
        "guarding": (),
        "limited": LIMITS,
        "not_protecting": LIMITS,
        "not_worn": (),
        "stopping": (),
        "switch_off_question": (),
        "restarted": (),
        "quiet": (),
        "also": LIMITS,
        "around": arounds(config),
        "introduction": introduction(config),
        "accepted": (),
        "battery_low": ("30", "20", "10", *MINUTES),
        "battery_empty": (),
        # Said by the voice process on its own, when the guard has gone silent.
        "guard_silent": (),
    }


def clips(config: Config) -> Iterator[tuple[str, str]]:
    """Every (phrase, value) that can ever be asked for: what the bank must hold."""
    for phrase, values in phrase_values(config).items():
        if values:
            for value in values:
                yield phrase, value
        else:
            yield phrase, ""
