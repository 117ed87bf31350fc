"""Scripted walks: what happens when, what must be heard and published by when, and what must not.

A scenario is data.  Its actions move the simulated world; its expectations are judged on what the walker's ear took in
from the sound frames, on what a stranger's MQTT client received and on where the walker ended up: never on what the
program says of itself.
"""

from __future__ import annotations

import dataclasses
import random
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import structs

from retrowalk.config import Broker, Config, Recording, from_table, to_table
from retrowalk.core.alerts import INTRODUCTION
from retrowalk.core.falls import LOOK_UNTIL_S
from retrowalk.sim.broker import Hub, Outage
from retrowalk.sim.hours import rounds
from retrowalk.sim.walker import OLDER, Profile
from retrowalk.sim.world import Action, Fall, HandBehind, Lean, Place, Press, Remove, Stand, Walk


@dataclass(frozen=True, slots=True)
class Heard:
    """The ear recognised a clip: an earcon by its name, a phrase as `phrase` or `phrase:value`."""

    key: str
    start_s: float
    end_s: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Published:
    """A message a client of the broker received."""

    t_s: float
    topic: str
    payload: dict[str, Any]


@dataclass(slots=True)
class Evidence:
    """What a finished walk left behind, seen from outside."""

    heard: Sequence[Heard]
    published: Sequence[Published]
    felt: Sequence[tuple[float, str]]
    """When the walker felt `vibration` or heard the `buzzer` begin."""
    contacts: Sequence[float]
    """Times at which the walker touched an obstacle."""
    smallest_gap_m: float
    impact_s: float | None
    """When the body hit the ground."""
    waiting: int | None = None
    """Events the outbox still held at the end."""


@dataclass(frozen=True, slots=True)
class Met:
    """Judgement of one expectation."""

    text: str
    met: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A stretch of the walk, for the display."""

    from_s: float
    title: str


@dataclass(frozen=True, slots=True)
class Remote:
    """A command that somebody (`by`) sends to the device at `t_s`, with its own fields."""

    t_s: float
    name: str
    by: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scripted walk of `duration_s`, drawn from a seed."""

    name: str
    duration_s: float
    script: tuple[tuple[float, Action], ...]
    profile: Profile
    scenes: tuple[Scene, ...]
    marks: dict[str, float]
    """Instants the expectations speak of."""
    settings: str = ""
    """What the walk needs of the device's configuration (TOML), over whatever else it is configured with."""
    device: Config = field(default_factory=Config)
    """What it is configured with otherwise."""
    first_use: bool = False
    """Whether nobody has accepted yet what the device cannot do; else it was used, and switched off, before."""
    remote: tuple[Remote, ...] = ()
    """What is sent to the device, in virtual time."""
    hub: Hub | None = None
    """Who acknowledges its events, in virtual time; None: nobody, the broker is enough."""

    @property
    def config(self) -> Config:
        """The device's configuration.  Raises `ConfigError` where the walk's settings and the device's do not agree."""
        table = to_table(self.device)
        for name, values in tomllib.loads(self.settings).items():
            table[name] = {**table[name], **values} if isinstance(values, dict) else values
        return from_table(table, self.name)

    def worn(self, device: Config) -> Scenario:
        """The same walk with a device that is configured so, but for its broker and recording: those are the walk's."""
        device = structs.replace(device, broker=Broker(), recording=Recording())
        return dataclasses.replace(self, device=device)

    def scene(self, now: float) -> str:
        """Title of what is going on."""
        title = ""
        for scene in self.scenes:
            if scene.from_s <= now:
                title = scene.title
        return title


WALKER = dataclasses.replace(OLDER, stop_sigma=0.25)
"""An older walker on an ordinary day.  The slow tail of all older walkers is the approach benchmark's subject."""


def demo(seed: int) -> Scenario:
    """The 90-second walk: clear path, a wall, somebody stepping behind, leaning back, a fall and its alarm."""
    draw = random.Random(f"scenario:{seed}")
    speed = draw.uniform(0.42, 0.52)
    wall_m = draw.uniform(6.6, 7.2)
    hand_s = draw.uniform(4.0, 4.4)
    walk_s = draw.uniform(11.0, 11.5)
    away_s = walk_s + wall_m / speed + 3.0  # the walker has stopped by then, and walks forward again
    again_s = away_s + 5.5
    person_s = again_s + draw.uniform(3.0, 3.5)
    leaves_s = person_s + 4.0
    walks_s = leaves_s + 1.6  # the last "Stop" for the person has been heard by then
    lean_s = walks_s + draw.uniform(3.8, 4.2)
    fall_s = lean_s + 4.8
    script: tuple[tuple[float, Action], ...] = (
        (hand_s, HandBehind(for_s=1.2)),
        (walk_s, Place("wall", wall_m)),
        (walk_s, Walk(speed)),
        (away_s, Walk(-0.65)),
        (again_s - 1.0, Remove("wall")),
        (again_s - 1.0, Stand()),
        (again_s, Walk(speed)),
        (person_s, Place("person_jacket", 1.5, name="person")),
        (leaves_s, Remove("person")),
        (walks_s, Walk(speed)),
        (lean_s, Lean(-draw.uniform(9.5, 10.5), over_s=0.8, hold_s=3.0)),
        (fall_s - 0.4, Stand()),
        (fall_s, Fall()),
    )
    scenes = (
        Scene(0.0, "Standing still: a press answers what is heard"),
        Scene(hand_s - 0.5, "A hand is held behind, and taken away"),
        Scene(walk_s, "Walking backward, the path is clear"),
        Scene(walk_s + (wall_m - 3.2) / speed, "A wall comes nearer"),
        Scene(away_s, "Walking forward, away from the wall"),
        Scene(again_s, "Walking backward again"),
        Scene(person_s, "Somebody steps behind the walker"),
        Scene(leaves_s, "The person leaves, and the walk goes on"),
        Scene(lean_s, "Leaning back too far"),
        Scene(fall_s, "A fall, and nobody presses the button"),
        Scene(fall_s + 33.0, "The caregiver is alerted"),
    )
    marks = {
        "hand": hand_s,
        "walk": walk_s,
        "wall_near": walk_s + (wall_m - 1.6) / speed,
        "away": away_s,
        "again": again_s,
        "person": person_s,
        "leaves": leaves_s,
        "lean": lean_s,
        "fall": fall_s,
        "speed": speed,
    }
    settings = f"[fall]\ncountdown_s = {DEMO_COUNTDOWN_S}\n"
    return Scenario("demo", 90.0, script, WALKER, scenes, marks, settings)


def fall(seed: int) -> Scenario:
    """A walk of half a minute: a few steps towards a wall, and a fall that nobody calls off, with a short countdown."""
    draw = random.Random(f"fall:{seed}")
    hand_s = draw.uniform(3.8, 4.1)
    walk_s = draw.uniform(6.3, 6.5)
    stand_s = walk_s + 4.2
    fall_s = draw.uniform(12.4, 12.8)
    script: tuple[tuple[float, Action], ...] = (
        (0.0, Place("wall", 3.4)),
        (hand_s, HandBehind(for_s=1.0)),
        (walk_s, Walk(0.4)),
        (stand_s, Stand()),
        (fall_s, Fall()),
    )
    scenes = (
        Scene(0.0, "Standing still: the device checks itself"),
        Scene(hand_s, "A hand is held behind, and taken away"),
        Scene(walk_s, "Walking backward"),
        Scene(stand_s, "Standing still"),
        Scene(fall_s, "A fall, and nobody presses the button"),
    )
    marks = {"hand": hand_s, "walk": walk_s, "fall": fall_s}
    settings = f"[fall]\ncountdown_s = {FALL_COUNTDOWN_S}\n"
    return Scenario("fall", 30.0, script, WALKER, scenes, marks, settings)


def first_use(seed: int) -> Scenario:
    """A device out of the box: it guards, says what it cannot do, and the walker accepts that with a press."""
    draw = random.Random(f"first use:{seed}")
    hand_s = draw.uniform(3.8, 4.1)
    press_s = 55.0
    script: tuple[tuple[float, Action], ...] = (
        (hand_s, HandBehind(for_s=1.0)),
        (press_s, Press(0.2)),
    )
    scenes = (
        Scene(0.0, "Standing still: the device checks itself"),
        Scene(hand_s, "A hand is held behind, and taken away"),
        Scene(hand_s + 6.0, "It says what it cannot do, and what the button does"),
        Scene(press_s, "The walker presses: accepted"),
    )
    return Scenario("first use", 60.0, script, WALKER, scenes, {"hand": hand_s, "press": press_s}, first_use=True)


def answered(seed: int) -> Scenario:
    """Nobody watches when the walk begins; then somebody does, and answers a fall that nobody calls off."""
    draw = random.Random(f"answered:{seed}")
    hand_s = draw.uniform(3.8, 4.1)
    walk_s = draw.uniform(10.0, 10.2)
    stand_s = walk_s + 8.5
    back_s = stand_s + 0.5
    fall_s = back_s + draw.uniform(4.0, 4.4)
    seen_s = fall_s + FALL_COUNTDOWN_S + draw.uniform(6.5, 7.0)
    say_s = seen_s + draw.uniform(4.0, 5.0)
    script: tuple[tuple[float, Action], ...] = (
        (0.0, Place("wall", 7.0)),
        (hand_s, HandBehind(for_s=1.0)),
        (walk_s, Walk(0.4)),
        (stand_s, Stand()),
        (fall_s, Fall()),
    )
    scenes = (
        Scene(0.0, "Standing still: the device checks itself; the hub is away"),
        Scene(walk_s, "Walking backward, and nobody watches"),
        Scene(back_s, "The hub is back"),
        Scene(fall_s, "A fall, and nobody presses the button"),
        Scene(seen_s, "A helper answers"),
    )
    marks = {"hand": hand_s, "walk": walk_s, "back": back_s, "fall": fall_s, "seen": seen_s, "say": say_s}
    settings = f"[fall]\ncountdown_s = {FALL_COUNTDOWN_S}\n[helper]\nnames = [{ANNA!r}]\n"
    remote = (
        Remote(seen_s, "seen", ANNA.lower(), {"event": "any"}),
        Remote(say_s, "say", ANNA, {"phrase": "coming"}),
    )
    hub = Hub(outages=(Outage(0.0, back_s),))
    return Scenario("answered", 54.0, script, WALKER, scenes, marks, settings, remote=remote, hub=hub)


def flooded(seed: int) -> Scenario:
    """Somebody floods the device with commands while the walker comes to a wall, waits there, and walks away."""
    draw = random.Random(f"flooded:{seed}")
    speed = draw.uniform(0.42, 0.5)
    hand_s = draw.uniform(3.8, 4.1)
    walk_s = draw.uniform(10.0, 10.2)
    near_s = walk_s + (WALL_M - 1.6) / speed
    away_s = near_s + draw.uniform(5.0, 6.0)
    script: tuple[tuple[float, Action], ...] = (
        (0.0, Place("wall", WALL_M)),
        (hand_s, HandBehind(for_s=1.0)),
        (walk_s, Walk(speed)),
        (away_s, Walk(-0.65)),
        (away_s + 4.0, Stand()),
    )
    scenes = (
        Scene(0.0, "Standing still: the device checks itself"),
        Scene(walk_s, "Walking backward to a wall, in a flood of commands"),
        Scene(away_s, "Walking forward, away from the wall"),
    )
    names = ("say", "seen", "locate", "say", "mute", "resync")
    fields = {
        "say": {"phrase": "sit_down"},
        "seen": {"event": "any"},
        "resync": {"epoch": "none"},
    }
    count = round((away_s - walk_s) * FLOOD_HZ)
    remote = tuple(
        Remote(walk_s + i / FLOOD_HZ, (name := names[i % len(names)]), "Mallory", fields.get(name, {}))
        for i in range(count)
    )
    marks = {"hand": hand_s, "walk": walk_s, "wall_near": near_s, "away": away_s}
    return Scenario("flooded", away_s + 16.0, script, WALKER, scenes, marks, remote=remote)


ANNA = "Anna"
WALL_M = 5.0
FLOOD_HZ = 50.0
"""Commands a second of a flood."""
DEMO_COUNTDOWN_S = 30.0
"""What the 90 seconds have room for."""
FALL_COUNTDOWN_S = 10.0
"""The shortest that a configuration may ask for."""


RECORDED_FALL, RECORDED_LIFE = "recorded fall", "recorded life"
"""Names of a recorded person's walk (`recorded.scenario`) by its label: a fall, or any other activity."""


def hours(seed: int) -> Scenario:
    """A day and more of walks in rounds of ten minutes; whoever walks it ends it sooner."""
    duration_s = 26.0 * 3600.0
    script = rounds(seed, duration_s)
    return Scenario("hours", duration_s, script, WALKER, (Scene(0.0, "An ordinary day"),), {"hand": 4.0})


def judge(scenario: Scenario, evidence: Evidence) -> list[Met]:
    """Judges what a scenario expects."""
    return _JUDGES[scenario.name](scenario, evidence)


class _Findings:
    """Judgements, one after the other."""

    def __init__(self, evidence: Evidence) -> None:
        self.results: list[Met] = []
        self._evidence = evidence

    def add(self, text: str, met: bool, detail: str) -> None:
        self.results.append(Met(text, met, detail))

    def must_hear(self, text: str, keys: Iterable[str], from_s: float, by_s: float) -> Heard | None:
        keys = set(keys)
        found = next((h for h in self._evidence.heard if h.key in keys and from_s <= h.start_s <= by_s), None)
        detail = f"heard at {found.start_s:.2f} s" if found else f"not heard between {from_s:.1f} and {by_s:.1f} s"
        self.add(text, found is not None, detail)
        return found

    def must_not_hear(self, text: str, keys: tuple[str, ...], from_s: float, to_s: float) -> None:
        found = [h for h in self._evidence.heard if h.key.startswith(keys) and from_s <= h.start_s <= to_s]
        detail = ", ".join(f"{h.key} at {h.start_s:.2f} s" for h in found[:3]) or "nothing of the kind"
        self.add(text, not found, detail)

    def must_be_published(self, text: str, kind: str, from_s: float, by_s: float) -> None:
        found = [p for p in self._evidence.published if p.payload.get("type") == f"io.retrowalk.{kind}"]
        in_time = next((p for p in found if from_s <= p.t_s <= by_s), None)
        detail = f"received at {in_time.t_s:.2f} s" if in_time else f"{len(found)} received, none by {by_s:.1f} s"
        self.add(text, in_time is not None, detail)

    def must_not_be_published(self, text: str, unwanted: Callable[[dict[str, Any]], bool]) -> None:
        found = [p for p in self._evidence.published if unwanted(p.payload)]
        detail = ", ".join(f"{p.payload.get('eventtype')} at {p.t_s:.2f} s" for p in found[:3])
        self.add(text, not found, detail or "nothing of the kind")


def _judge_demo(scenario: Scenario, evidence: Evidence) -> list[Met]:
    marks = scenario.marks
    found = _Findings(evidence)
    _judge_check(scenario, found)
    found.must_hear("the guarding tick on the clear path", {"tick"}, marks["walk"], marks["wall_near"])
    found.must_not_hear(
        "no warning on the clear path", ("stop", "warning", "touching"), marks["walk"] - 1.0, marks["wall_near"] - 4.0
    )
    found.must_hear(
        "the warning of the wall, in time to stop",
        {"warning"},
        marks["wall_near"] - 3.0,
        marks["wall_near"] + 1.2,
    )
    found.must_hear('"Stop" for the wall', {"stop"}, marks["wall_near"] - 3.0, marks["wall_near"] + 1.4)
    found.must_hear("a warning within 0.6 s of the person", {"warning"}, marks["person"], marks["person"] + 0.6)
    found.must_hear("words about the lean", {"lean_back"}, marks["lean"], marks["lean"] + 5.0)
    touched = ", ".join(f"{t:.2f} s" for t in evidence.contacts[:3])
    found.add(
        "the walker touches nothing",
        not evidence.contacts,
        f"touched at {touched}" if touched else f"nearest {evidence.smallest_gap_m:.2f} m",
    )
    felt = [
        t
        for t, what in evidence.felt
        if what.startswith("vibration") and marks["wall_near"] - 3.0 <= t <= marks["away"]
    ]
    found.add("the warning is felt, too", bool(felt), f"{len(felt)} pulses")
    _judge_alarm(scenario, evidence, found, 6)
    return found.results


def _judge_check(scenario: Scenario, found: _Findings) -> None:
    """The question at the start, which the walker answers when it is heard, and what follows from that and the hand."""
    hand_s, walk_s = scenario.marks["hand"], scenario.marks["walk"]
    found.must_hear('"Press the button if you hear this"', {"self_test"}, 0.0, hand_s + 3.0)  # real processes come up
    found.must_hear('"Guarding" after press and hand, before the walk', {"guarding"}, hand_s, walk_s + 0.5)


def _judge_fall(scenario: Scenario, evidence: Evidence) -> list[Met]:
    found = _Findings(evidence)
    _judge_check(scenario, found)
    _judge_alarm(scenario, evidence, found, 4)
    return found.results


def _judge_hours(scenario: Scenario, evidence: Evidence) -> list[Met]:
    """What holds however much of it was walked."""
    found = _Findings(evidence)
    _judge_check(scenario, found)
    found.must_not_be_published("no fall is confirmed", lambda payload: payload.get("eventtype") == "fall.confirmed")
    return found.results


def _judge_first_use(scenario: Scenario, evidence: Evidence) -> list[Met]:
    marks = scenario.marks
    found = _Findings(evidence)
    found.must_hear('"Guarding" after the check', {"guarding"}, marks["hand"], marks["hand"] + 8.0)
    for sentence in INTRODUCTION:
        found.must_hear(f"the sentence {sentence!r}", {f"introduction:{sentence}"}, marks["hand"], marks["press"])
    said = [h.key.split(":")[1] for h in evidence.heard if h.key.startswith("introduction:") and h.complete]
    found.add("each once and in order", said == list(INTRODUCTION), ", ".join(said))
    found.must_hear("the answer to the press", {"accepted"}, marks["press"], marks["press"] + 2.0)
    found.must_be_published("limits.accepted", "limits.accepted", marks["press"], marks["press"] + 2.0)
    return found.results


def _judge_alarm(scenario: Scenario, evidence: Evidence, found: _Findings, counts: int) -> None:
    """The fall and what follows from it; at least so many numbers of the countdown are to be heard."""
    impact = evidence.impact_s
    if impact is None:
        found.add("the walker falls", False, "no impact")
        return
    countdown_s = scenario.config.fall.countdown_s
    asked = found.must_hear("the question within 5 s of the impact", {"fall_question"}, impact, impact + 5.0)
    said = [int(h.key.split(":")[1]) for h in evidence.heard if h.key.startswith("countdown:") and h.start_s > impact]
    falling = said == sorted(said, reverse=True) and len(set(said)) >= counts
    found.add("the countdown is heard, and falls", falling, f"{said}")
    start = asked.start_s if asked else impact + LOOK_UNTIL_S
    from_s, by_s = start + countdown_s - 2.0, start + countdown_s + 2.5
    found.must_be_published("fall.suspected reaches the caregiver's side", "fall.suspected", impact, impact + 5.0)
    found.must_be_published("fall.confirmed after the countdown", "fall.confirmed", from_s, by_s)
    found.must_hear('"Your helper has been told"', {"caregiver_told"}, from_s, scenario.duration_s)
    found.must_not_hear(
        "no sensor or part is called broken",
        ("sensor_lost:", "fault:", "not_protecting:", "guard_silent"),
        0.0,
        scenario.duration_s,
    )
    # Words that were cut off are not recognised; the caregiver's side hears of it all the same.
    found.must_not_be_published(
        "no sensor or part is reported broken",
        lambda payload: payload.get("eventtype") in ("sensor.lost", "fault.raised"),
    )
    if evidence.waiting is not None:
        found.add("no event is left waiting", evidence.waiting == 0, f"{evidence.waiting} waiting")


def _judge_answered(scenario: Scenario, evidence: Evidence) -> list[Met]:
    marks = scenario.marks
    found = _Findings(evidence)
    _judge_check(scenario, found)
    found.must_hear('"Nobody is watching" at the start of the walk', {"unwatched"}, marks["walk"], marks["back"])
    found.must_hear("that a helper watches again", {"watched"}, marks["back"], marks["back"] + 3.0)
    _judge_alarm(scenario, evidence, found, 4)
    seen = {f"caregiver_seen:{ANNA}", f"comfort_seen:{ANNA}"}  # the same words at their beginning
    found.must_hear('"Anna has seen it"', seen, marks["seen"], marks["seen"] + 3.0)
    found.must_hear('"Anna says: I am coming"', {f"say_coming:{ANNA}"}, marks["say"], marks["say"] + 4.0)
    return found.results


def _judge_flooded(scenario: Scenario, evidence: Evidence) -> list[Met]:
    marks = scenario.marks
    near_s, away_s = marks["wall_near"], marks["away"]
    found = _Findings(evidence)
    _judge_check(scenario, found)
    found.must_hear("the warning of the wall, in time to stop", {"warning"}, near_s - 3.0, near_s + 1.2)
    found.must_hear('"Stop" for the wall', {"stop"}, near_s - 3.0, near_s + 1.4)
    touched = ", ".join(f"{t:.2f} s" for t in evidence.contacts[:3])
    found.add("the walker touches nothing", not evidence.contacts, touched or f"{evidence.smallest_gap_m:.2f} m")
    warned = [h.start_s for h in evidence.heard if h.key in ("warning", "stop") and h.start_s <= away_s]
    afar = ("say_", "caregiver_seen", "looked_for", "here")
    found.must_not_hear(
        "nothing from afar from the first warning to the end of the last",
        afar,
        min(warned, default=0.0),
        max(warned, default=away_s) + 0.4,
    )
    said = [h.key for h in evidence.heard if h.key.startswith("say_")]
    found.add("words from afar are seldom", len(said) <= scenario.duration_s / 10.0, f"{len(said)} times")
    told = [p for p in evidence.published if p.payload.get("eventtype") == "command.received"]
    found.add("few events tell of the flood", 0 < len(told) <= 60, f"{len(told)} of {len(scenario.remote)} commands")
    found.must_not_be_published("nobody is called", lambda payload: payload.get("priority") == "high")
    return found.results


def _judge_recorded_fall(scenario: Scenario, evidence: Evidence) -> list[Met]:
    found = _Findings(evidence)
    found.must_be_published(
        "the fall is confirmed to the caregiver", "fall.confirmed", scenario.marks["trial"], scenario.duration_s
    )
    return found.results


def _judge_recorded_life(scenario: Scenario, evidence: Evidence) -> list[Met]:
    found = _Findings(evidence)
    found.must_not_be_published("no fall is confirmed", lambda payload: payload.get("eventtype") == "fall.confirmed")
    found.must_not_be_published("nobody is called", lambda payload: payload.get("priority") == "high")
    return found.results


SCENARIOS: dict[str, Callable[[int], Scenario]] = {
    "demo": demo,
    "fall": fall,
    "first use": first_use,
    "answered": answered,
    "flooded": flooded,
    "hours": hours,
}
"""Every scenario, by its name, drawn from a seed."""

_JUDGES: dict[str, Callable[[Scenario, Evidence], list[Met]]] = {
    "demo": _judge_demo,
    "fall": _judge_fall,
    "first use": _judge_first_use,
    "answered": _judge_answered,
    "flooded": _judge_flooded,
    "hours": _judge_hours,
    RECORDED_FALL: _judge_recorded_fall,
    RECORDED_LIFE: _judge_recorded_life,
}
