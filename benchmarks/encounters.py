"""Walks backward towards something, in worlds drawn from a seed: what is drawn, how it is lived through, what came out.

One walk is an `Encounter`: a person, a place, the weather, and one thing behind.  `lived` lets a subject wear its
device through it: ours with its real drivers, guard, Companion, voice and mixer on simulated hardware in virtual time
(`sim.virtual.WornAlone`, resumed as after a restart, so that it guards when the walk begins), the others as `peers`.
Every subject has the same world, the same person and the same draws.

People (human-factors reference 2.2; every number an assumption): an older one takes 1.05 s from cue to standstill
(lognormal, sigma 0.35), a younger one 0.75 s (0.30), as stopping distance over speed; the foot reaches 0.30 m behind
the sensor.  Each walk has a person of its own: the time to stop, how far the trunk sways (2 to 4.5 degrees each way at
every step on asphalt, 3 to 6 on gravel and grass), how evenly the steps come (4 to 7 %).

They stop for a warning's tone or word or its vibration once it is understood (`sim.ear`: three fifths of a clip), for
"Someone is coming" and for "Stop, step down"; they slow down when told to.  Whoever has stopped with nothing in reach
(more than a metre beyond what they need) looks behind, and after 3 s goes on.

A contact is a foot or a body that touches.  Of a bicycle, which goes round whoever stands still and cannot foresee who
does not, it is being passed while still walking.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import random
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from msgspec import structs

import peers
from retrowalk import wire
from retrowalk.config import Config, HcSr04, Walker
from retrowalk.core.air import AirSpeed
from retrowalk.core.alerts import sensor_names
from retrowalk.core.freshness import Freshness
from retrowalk.core.governor import protected_speed_m_s
from retrowalk.core.reach import Reach
from retrowalk.core.samples import SavedState
from retrowalk.guard.state import Kept
from retrowalk.sim.ear import RATE_HZ, UNDERSTOOD_SHARE
from retrowalk.sim.estimates import Estimates, current
from retrowalk.sim.virtual import WornAlone
from retrowalk.sim.walker import OLDER, YOUNGER, Profile
from retrowalk.sim.world import NO_SUN_DEG, Action, Kerb, Place, Stand, Walk, WalkAlong, World
from retrowalk.voice import bank

OURS, ALONE, NOTHING = "retrowalk", "retrowalk one ultrasonic", "no device"
DEVICES = {OURS: Config(), ALONE: Config(range_sensor=(HcSr04(),))}
SUBJECTS = (NOTHING, *peers.PEERS, ALONE, OURS)

AGES = ("older", "younger")
PEOPLE = {"older": OLDER, "younger": YOUNGER}
POOLED = ("wall", "pole", "hedge", "car", "person in fleece", "person in jacket", "chain-link")
OTHERS = ("child", "bicycle", "kerb")
KINDS = (*POOLED, *OTHERS)
_SIM = {
    "pole": "pole_90mm",
    "person in fleece": "person_fleece",
    "person in jacket": "person_jacket",
    "chain-link": "chain_link",
}
WALLS = ("wall", "wall", "wall_tilted_10", "wall_tilted_20")
SETS_OFF_S = 2.5
"""By then the device has said what it says after a restart."""
STEPS_IN_S = (6.0, 6.5)
"""What steps in behind the walker does so between these."""
CHILD_AT_M = 1.5
THING = "thing"
ALARMS = ("warning", "approaching")
STOPS_FOR = OLDER.stops_for | {"approaching", "drop"}
LOOKED_S = 3.0
BEYOND_M = 1.0
NEAR_M = 0.3
SLICE_S = 0.1
MEAN_S = 0.6
"""The true closing speed is its mean over so long: a step."""
HUMAN_P95_S = {"older": 1.87, "younger": 1.23}
SYSTEM_S, FLOOR_M, MARGIN_M = 0.30, 0.50, 0.50


@dataclass(frozen=True)
class Assumed:
    """Factors on what is assumed of people and targets."""

    stop_median: float = 1.0
    stop_sigma: float = 1.0
    reach: float = 1.0
    wall_margin: float = 1.0
    target_losses: float = 1.0
    reflectances: float = 1.0


@dataclass(frozen=True)
class Encounter:
    """One walk, before it happens."""

    case: str
    index: int
    seed: int
    kind: str
    sim_kind: str
    age: str
    speed_m_s: float | None
    """None: the protected speed of this walker with the default set."""
    behind_m: float
    """Where the thing is when the walker sets off, beyond what a faster walker needs more."""
    nears_m_s: float = 0.0
    steps_in_s: float = STEPS_IN_S[0]
    inside: float | None = None
    """It steps in at this share of the room that a warning asks for."""
    ground: str = "asphalt"
    temperature_c: float = 15.0
    wind_m_s: float = 1.0
    sun_deg: float = NO_SUN_DEG
    sway_deg: float = 3.0
    step_time_cv: float = 0.05
    backdrop_m: float | None = None
    """A hedge so far behind a fence that can be looked through."""

    @property
    def name(self) -> str:
        """Draws it again."""
        return f"{self.seed}/{self.case}/{self.index}"


@dataclass
class Outcome:
    """What came of it.  Times are session seconds, None where something did not happen."""

    encounter: Encounter
    subject: str
    speed_m_s: float
    contact_s: float | None = None
    truth_s: float | None = None
    """When room and closing speed first satisfied the warning rule, or the thing appeared where they did."""
    appeared: bool = False
    followed: bool = False
    """Whether the device was following it then: what it held nearest was no more than `NEAR_M` from the thing."""
    decided_s: float | None = None
    sound_s: float | None = None
    """First sound of the first warning."""
    room_s: float | None = None
    """Time left at that sound until the foot would be there."""
    room_m: float | None = None
    cue_s: float | None = None
    """When the walker had understood it."""
    cue_room_s: float | None = None
    """Time left at the cue until the foot would be there, at the pace of the walk."""
    takes_s: float | None = None
    governor_s: float | None = None
    gap_m: float = math.inf
    """Smallest distance from the foot."""
    guarding: bool = True
    ended_s: float = 0.0
    heard: list[tuple[float, str]] = field(default_factory=list)

    @property
    def cause(self) -> str:
        """Why there was a contact."""
        needs_s = HUMAN_P95_S[self.encounter.age]
        if self.contact_s is None:
            return "none"
        if self.decided_s is None or self.decided_s > self.contact_s:
            return "never detected"
        if self.governor_s is not None and self.governor_s < self.decided_s:
            return "governor had spoken"
        if self.cue_room_s is None or self.cue_room_s < needs_s:
            return "detected late"
        if self.takes_s is not None and self.takes_s > needs_s:
            return "person slower than 95 %"
        return "other"


# --------------------------------------------------------------------------------------------------------- drawing


def draw(seed: int, case: str, index: int) -> Encounter:
    """Encounter number `index` of a case.

    The case names what is drawn: `child`, `bicycle` and `kerb` themselves, `pooled` the seven kinds, all of them at the
    protected speed; `all` every kind at any speed; `appearing` something inside the warning zone, without a sun behind;
    `shade v` an older walker at v m/s and a person in a jacket; `kerb v m/s` a kerb at that speed.
    """
    of = random.Random(f"approach:{seed}:{case}:{index}")
    ladder = case.startswith("shade")
    at_m_s = next((float(word) for word in case.split() if word[:1].isdigit()), None)
    if case == "pooled":
        kind = POOLED[index % len(POOLED)]
    elif case == "all":
        kind = KINDS[index % len(KINDS)]
    elif ladder:
        kind = "person in jacket"
    elif case == "appearing":
        kind = ("person in jacket", "person in fleece", "car", "wall")[index % 4]
    else:
        kind = case.split()[0]
    group = index // (len(KINDS) if case == "all" else len(POOLED) if case == "pooled" else 1)
    age = "older" if ladder else AGES[group % 2]
    wall = of.choice(WALLS)
    sim_kind = wall if kind == "wall" and case != "appearing" else _SIM.get(kind, kind)
    any_speed_m_s = of.uniform(0.3, 1.2)
    speed_m_s = any_speed_m_s if case == "all" else at_m_s
    ground = of.choice(("asphalt", "gravel", "grass"))
    temperature_c = of.uniform(-10.0, 35.0)
    wind_m_s = of.uniform(8.0, 12.0) if of.random() < 0.15 else of.uniform(0.0, 6.0)
    sun = of.random()
    shaded = ladder or case == "appearing"  # how long a lidar takes is asked of one that sees
    sun_deg = of.uniform(3.0, 12.0) if sun < 0.15 and not shaded else NO_SUN_DEG
    sway_deg = of.uniform(2.0, 4.5) if ground == "asphalt" else of.uniform(3.0, 6.0)
    cv = of.uniform(0.04, 0.07)
    behind_m = 3.5 + of.uniform(0.0, 1.0)
    nears_m_s = of.uniform(3.0, 6.0)
    inside = of.uniform(0.65, 0.95)
    backdrop = of.random() < 0.5, of.uniform(1.5, 6.0)
    steps_in_s = of.uniform(*STEPS_IN_S)
    if kind == "bicycle":
        behind_m = 25.0 + of.uniform(0.0, 10.0)
    return Encounter(
        case=case,
        index=index,
        seed=seed,
        kind=kind,
        sim_kind=sim_kind,
        age=age,
        speed_m_s=speed_m_s,
        behind_m=behind_m,
        nears_m_s=nears_m_s if kind == "bicycle" else 0.0,
        steps_in_s=steps_in_s,
        inside=inside if case == "appearing" else None,
        ground=ground,
        temperature_c=temperature_c,
        wind_m_s=wind_m_s,
        sun_deg=sun_deg,
        sway_deg=sway_deg,
        step_time_cv=cv,
        backdrop_m=backdrop[1] if kind == "chain-link" and backdrop[0] else None,
    )


@cache
def protected_m_s(age: str, subject: str = OURS) -> float:
    """Up to which speed this subject's device, healthy, protects such a walker; peers are asked to do as well."""
    config = configured(subject if subject in DEVICES else OURS, age)
    freshness = Freshness(config.freshness, sensor_names(config))
    freshness.begin(0.0)
    for name in sensor_names(config):
        freshness.heard(name, 0.0)
    reach_m = Reach(config, freshness, AirSpeed(config.range_sensor)).reach_m(0.0)
    return protected_speed_m_s(reach_m, config.walker, config.collision)


def needed_m(age: str, closing_m_s: float) -> float:
    """Room in which 95 of 100 such walkers stop, the device's own time included (human-factors reference 2.2)."""
    return max(FLOOR_M, MARGIN_M + closing_m_s * (SYSTEM_S + HUMAN_P95_S[age]))


# ---------------------------------------------------------------------------------------------------------- worlds


def profile(encounter: Encounter, assumed: Assumed) -> Profile:
    """The person."""
    of = PEOPLE[encounter.age]
    return dataclasses.replace(
        of,
        stop_median_s=of.stop_median_s * assumed.stop_median,
        stop_sigma=of.stop_sigma * assumed.stop_sigma,
        reach_m=of.reach_m * assumed.reach,
        sway_deg=encounter.sway_deg,
        step_time_cv=encounter.step_time_cv,
        stops_for=STOPS_FOR,
    )


def world_of(encounter: Encounter, speed_m_s: float, assumed: Assumed) -> World:
    """The world of an encounter, with its thing on its way."""
    world = World(
        zlib.crc32(encounter.name.encode()),
        profile=profile(encounter, assumed),
        ground=encounter.ground,
        temperature_c=encounter.temperature_c,
        wind_m_s=encounter.wind_m_s,
        sun_deg=encounter.sun_deg,
        estimates=assuming(assumed),
    )
    world.run([(SETS_OFF_S, Walk(speed_m_s)), *_thing(encounter, speed_m_s)])
    return world


def _thing(encounter: Encounter, speed_m_s: float) -> Iterator[tuple[float, Action]]:
    kind, behind_m = encounter.sim_kind, encounter.behind_m + 1.5 * speed_m_s
    if encounter.inside is not None:
        yield encounter.steps_in_s, Place(kind, encounter.inside * needed_m(encounter.age, speed_m_s), name=THING)
    elif encounter.kind == "child":
        yield encounter.steps_in_s, Place(kind, CHILD_AT_M, name=THING)
    elif encounter.kind == "kerb":
        yield 0.0, Kerb(behind_m, name=THING)
    elif encounter.kind == "bicycle":
        yield SETS_OFF_S, Place(kind, encounter.behind_m, name=THING, nears_m_s=encounter.nears_m_s)
    else:
        yield 0.0, Place(kind, behind_m, name=THING)
    if encounter.backdrop_m is not None:
        yield 0.0, Place("hedge", behind_m + encounter.backdrop_m, name="backdrop")


def gap_m(world: World, t_s: float) -> float:
    """Distance from the sensor to the thing; infinite while it is not there."""
    position_m = world.moment(t_s).position_m
    for obstacle in world.obstacles:
        if obstacle.name == THING and obstacle.present(t_s):
            return obstacle.gap_m(t_s, position_m)
    for edge in world.terrain.edges:
        if edge.name == THING:
            return edge.position_m - position_m
    return math.inf


def closing_m_s(world: World, encounter: Encounter, t_s: float) -> float:
    """How fast the thing truly nears: the mean over a step."""
    since_s = max(0.0, t_s - MEAN_S)
    if t_s <= since_s:
        return encounter.nears_m_s
    walked_m = world.moment(t_s).position_m - world.moment(since_s).position_m
    return walked_m / (t_s - since_s) + encounter.nears_m_s


def assuming(assumed: Assumed) -> Estimates:
    """The numbers of the simulation, moved by these factors."""
    base = current()
    echo = dataclasses.replace(
        base.echo,
        wall_margin_db=base.echo.wall_margin_db * assumed.wall_margin,
        target_loss_db={name: loss * assumed.target_losses for name, loss in base.echo.target_loss_db.items()},
    )
    reflectance = {name: min(0.95, share * assumed.reflectances) for name, share in base.light.reflectance.items()}
    return dataclasses.replace(base, echo=echo, light=dataclasses.replace(base.light, reflectance=reflectance))


# --------------------------------------------------------------------------------------------------------- devices


@cache
def configured(subject: str, age: str) -> Config:
    """A device as its walker has set it up: for this age, and otherwise as shipped."""
    return structs.replace(DEVICES[subject], walker=Walker(profile=age))  # type: ignore[arg-type]


@cache
def phrases(subject: str) -> bank.Bank:
    """Its phrases, made once."""
    return bank.Bank.open(DEVICES[subject], bank.default_directory())


def prepare() -> None:
    """Makes the phrases that are missing; once, before others need them."""
    for config in DEVICES.values():
        bank.build(config, bank.default_directory())


def begin_process() -> None:
    """Makes a process that lives through many walks a tenth faster."""
    for subject in DEVICES:
        phrases(subject)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@cache
def word_s() -> float:
    """After how much of "Stop" it is understood."""
    pcm = phrases(OURS).clip("stop", "")
    assert pcm is not None
    return len(pcm) / 4 / RATE_HZ * UNDERSTOOD_SHARE


def worn(subject: str, age: str, world: World, *, records: bool = False) -> WornAlone:
    """Our device on this walker, guarding: as after a restart in the middle of a walk."""
    pitch = math.radians(world.walker.upright_deg)
    state = SavedState(
        0.0, "guarding", 0.0, (-math.sin(pitch), 0.0, math.cos(pitch)), accepted=True, sound_confirmed=True
    )
    kept = Kept(1, "before", "simulated", 0.0, 0.0, state, [])
    return WornAlone(configured(subject, age), world, phrases(subject), kept, keep_records=records)


# ---------------------------------------------------------------------------------------------------------- living


@dataclass
class Trace:
    """What a person who wants to know why may look at."""

    truth: list[tuple[float, float, float]] = field(default_factory=list)
    """(session second, distance of the thing from the sensor, the walker's speed)."""
    records: list[wire.Record] = field(default_factory=list)
    """What the guard would have written down."""
    heard: list[tuple[float, str]] = field(default_factory=list)
    felt: list[tuple[float, str]] = field(default_factory=list)


def lived(encounter: Encounter, subject: str, assumed: Assumed | None = None, trace: Trace | None = None) -> Outcome:
    """One subject's walk through it."""
    assumed = assumed or Assumed()
    speed_m_s = encounter.speed_m_s or protected_m_s(encounter.age, subject)
    world = world_of(encounter, speed_m_s, assumed)
    outcome = Outcome(encounter, subject, speed_m_s)
    if subject in DEVICES:
        device = worn(subject, encounter.age, world, records=trace is not None)
        try:
            seen = device.guard.companion.snapshot
            _live(world, outcome, _watched(world, device.run_until, trace), follows=lambda: seen().range_m)
            _read_ours(world, outcome, device)
            _keep(trace, world, device)
        finally:
            device.close()
    elif subject == NOTHING:
        _live(world, outcome, lambda _: None)
    else:
        _live_with_peer(world, outcome, peers.PEERS[subject](world, word_s()))
    return outcome


def _watched(world: World, run_until: Any, trace: Trace | None) -> Any:
    if trace is None:
        return run_until

    def run_and_note(t_s: float) -> None:
        run_until(t_s)
        trace.truth.append((t_s, gap_m(world, t_s), world.moment(t_s).speed_m_s))

    return run_and_note


def _keep(trace: Trace | None, world: World, device: WornAlone) -> None:
    if trace is not None:
        device.guard.poll(device.clock.now() + 1.0)  # what it holds back for half a second
        device.take_events()
        trace.records = device.records
        trace.heard = [(heard.start_s, heard.key) for heard in device.ear.heard]
        trace.felt = world.felt


def _live_with_peer(world: World, outcome: Outcome, peer: peers.Peer) -> None:
    cues: list[peers.Cue] = []

    def run_until(t_s: float) -> None:
        for cue in peer.run_until(t_s):
            if not cues:
                outcome.decided_s = cue.decided_s
            cues.append(cue)
            world.hear("stop", cue.understood_s)

    _live(world, outcome, run_until, sound=lambda: cues[0].sound_s if cues else None)


def _live(world: World, outcome: Outcome, run_until: Any, *, sound: Any = None, follows: Any = None) -> None:
    """Lets time pass until it is decided."""
    encounter, walker = outcome.encounter, world.walker
    reach_m = walker.profile.reach_m
    limit_s = SETS_OFF_S + (encounter.behind_m + 2.0) / (outcome.speed_m_s + encounter.nears_m_s) + 12.0
    still_since_s: float | None = None
    t_s, end_s = 0.0, limit_s
    there = followed = False
    while t_s < end_s:
        before_s, t_s = t_s, round(t_s + SLICE_S, 6)
        run_until(t_s)
        world.advance(t_s)
        gap = gap_m(world, t_s)
        outcome.gap_m = min(outcome.gap_m, gap - reach_m)
        if outcome.truth_s is None and t_s > SETS_OFF_S and gap < math.inf:
            _look_for_truth(world, outcome, before_s, t_s, appeared=not there and encounter.kind != "bicycle")
            outcome.followed = followed
        there = there or gap < math.inf
        if follows is not None and outcome.truth_s is None:
            held_m = follows()
            followed = held_m is not None and abs(held_m - gap) <= NEAR_M
        if outcome.contact_s is None:
            outcome.contact_s = _contact(world, outcome, gap, t_s)
            if outcome.contact_s is not None:
                end_s = min(end_s, t_s + 0.2)
        if t_s < SETS_OFF_S + 1.0 or not walker.standing or outcome.contact_s is not None:
            still_since_s = None
        elif still_since_s is None:
            still_since_s = t_s
        elif encounter.kind == "bicycle":
            if gap <= reach_m:
                break
        elif gap - reach_m <= needed_m(encounter.age, outcome.speed_m_s) + BEYOND_M:
            if t_s - still_since_s > 0.4:
                break
        elif t_s - still_since_s > LOOKED_S:
            end_s = min(end_s + t_s - still_since_s + 2.0, 60.0)
            walker.walk(outcome.speed_m_s)
    outcome.ended_s = t_s
    if walker.stops:
        outcome.cue_s, outcome.takes_s = walker.stops[-1]
    if sound is not None:
        outcome.sound_s = sound()
        _measure_room(world, outcome)


def _contact(world: World, outcome: Outcome, gap: float, t_s: float) -> float | None:
    if outcome.encounter.kind == "bicycle":
        passing = gap <= world.walker.profile.reach_m and world.walker.speed_m_s > 0.05
        return t_s if passing else None
    return next((contact.t_s for contact in world.contacts if contact.name == THING), None)


def _look_for_truth(world: World, outcome: Outcome, from_s: float, to_s: float, *, appeared: bool) -> None:
    encounter = outcome.encounter
    if gap_m(world, to_s) > needed_m(encounter.age, closing_m_s(world, encounter, to_s)):
        return
    steps = round((to_s - from_s) / 0.005)
    for step in range(steps + 1):
        t_s = from_s + step * 0.005
        if gap_m(world, t_s) <= needed_m(encounter.age, closing_m_s(world, encounter, t_s)):
            outcome.truth_s, outcome.appeared = t_s, appeared
            return


def _measure_room(world: World, outcome: Outcome) -> None:
    """Room at the first sound and at the cue.  The world remembers five seconds."""
    encounter, reach_m = outcome.encounter, world.walker.profile.reach_m
    now = outcome.ended_s

    def room(t_s: float | None) -> tuple[float, float] | None:
        if t_s is None or not now - 5.0 < t_s <= now:
            return None
        room_m = gap_m(world, t_s) - reach_m
        return room_m, room_m / max(0.05, closing_m_s(world, encounter, t_s))

    at_sound, at_cue = room(outcome.sound_s), room(outcome.cue_s)
    if at_sound is not None:
        outcome.room_m, outcome.room_s = at_sound
    if at_cue is not None:
        outcome.cue_room_s = at_cue[0] / (outcome.speed_m_s + encounter.nears_m_s)


def _read_ours(world: World, outcome: Outcome, device: WornAlone) -> None:
    device.take_events()
    outcome.decided_s = _decision(device, outcome.truth_s)
    changes = [event for event in device.events if event.type == "guard.changed" and event.t_s < SETS_OFF_S]
    states = [event.data["state"] for event in changes]
    # With the sun in the lidar it says so and guards with what is left.
    outcome.guarding = bool(states) and states[-1] in ("guarding", "limited")
    outcome.heard = [(heard.start_s, heard.key) for heard in device.ear.heard]
    for start_s, key in outcome.heard:
        since_s = outcome.decided_s
        if key in ALARMS and since_s is not None and start_s > since_s - 0.02 and outcome.sound_s is None:
            outcome.sound_s = start_s
        if key == "slow_down" and outcome.governor_s is None:
            outcome.governor_s = start_s
    _measure_room(world, outcome)


def _decision(device: WornAlone, truth_s: float | None) -> float | None:
    """When the warning was decided that held at the truth, or else the first one after it; without a truth the last.

    One that came and went before is none.
    """
    held: dict[str, float] = {}
    last: float | None = None
    for event in device.events:
        if event.t_s < SETS_OFF_S or event.type not in ("hazard.raised", "hazard.cleared"):
            continue
        if truth_s is not None and event.t_s > truth_s and held:
            break
        hazard = event.data["hazard"]
        if event.type == "hazard.raised" and (event.data["level"] == "warning" or hazard == "approaching"):
            held[hazard] = last = event.t_s
            if truth_s is not None and event.t_s >= truth_s:
                break
        elif event.type == "hazard.cleared":
            held.pop(hazard, None)
    return min(held.values()) if truth_s is not None and held else last if truth_s is None else None


# -------------------------------------------------------------------------------------------- walks with nothing behind

GROUNDS = ("asphalt", "gravel", "grass")
COMPANIONS = ("companion 1.0", "companion 1.5", "followed")
STRETCH_S = 100.0
GRAVEL_SWAY_DEG = 10.0
PARTS = ("rear", "unknown", "approaching", "drop", "governor")
"""Of the cautions, by what is heard."""
_PHRASES = {
    "object": "rear",
    "behind_unknown": "unknown",
    "approaching": "approaching",
    "ground_lost": "drop",
    "slow_down": "governor",
}
_EPISODE_S = 3.0
_WORDS_AFTER_S = 1.2


@dataclass(frozen=True)
class Stretch:
    """A hundred seconds of walking with nothing in the way: whatever is said of it is false.

    `case`: a ground; `gravel` with a trunk that swings 10 degrees each way (from 0.6 m/s on: whoever walks more slowly
    sways less), `gravel 5` with one of 5; `asphalt sun` with a low sun behind; a companion behind at 1.0 or 1.5 m;
    `followed`, walking forward; `steady v`, an older walker in the shade at v m/s without a pause.
    """

    case: str
    index: int
    seed: int

    @property
    def name(self) -> str:
        """Draws it again."""
        return f"{self.seed}/{self.case}/{self.index}"


@dataclass
class Counts:
    """What was heard in a stretch."""

    stretch: Stretch
    subject: str
    hours: float
    warnings: int = 0
    drops: int = 0
    """So many of the warnings were of a drop."""
    cautions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PARTS, 0))


def _legs(of: random.Random, steady_m_s: float | None, followed: bool) -> Iterator[tuple[float, float]]:
    """(from when, speed)."""
    t_s = SETS_OFF_S
    while t_s < STRETCH_S:
        speed_m_s = steady_m_s or (-of.uniform(0.7, 1.2) if followed else of.uniform(0.3, 0.65))
        yield t_s, speed_m_s
        t_s += of.uniform(10.0, 25.0)
        if steady_m_s is None and of.random() < 0.3:
            yield t_s, 0.0
            t_s += of.uniform(2.0, 5.0)


def strolled(stretch: Stretch, subject: str, trace: Trace | None = None) -> Counts:
    """One subject's walk through it."""
    of = random.Random(f"approach:{stretch.name}")
    case = stretch.case
    steady_m_s = float(case.split()[1]) if case.startswith("steady") else None
    ground = next((ground for ground in GROUNDS if case.startswith(ground)), "asphalt")
    legs = list(_legs(of, steady_m_s, case == "followed"))
    if case == "gravel":
        sway_deg = GRAVEL_SWAY_DEG
    elif case == "gravel 5":
        sway_deg = 5.0
    else:
        sway_deg = of.uniform(2.0, 4.5) if ground == "asphalt" else of.uniform(3.0, 6.0)
    age = "older" if steady_m_s else AGES[stretch.index % 2]
    encounter = Encounter(
        case,
        stretch.index,
        stretch.seed,
        "nothing",
        "",
        age,
        None,
        0.0,
        ground=ground,
        temperature_c=of.uniform(-10.0, 35.0),
        wind_m_s=of.uniform(8.0, 12.0) if of.random() < 0.15 else of.uniform(0.0, 6.0),
        sun_deg=of.uniform(3.0, 12.0) if case.endswith("sun") else NO_SUN_DEG,
        sway_deg=sway_deg,
        step_time_cv=of.uniform(0.04, 0.07),
    )
    world = World(
        zlib.crc32(stretch.name.encode()),
        profile=profile(encounter, Assumed()),
        ground=ground,
        temperature_c=encounter.temperature_c,
        wind_m_s=encounter.wind_m_s,
        sun_deg=encounter.sun_deg,
    )
    if case in COMPANIONS:
        distance_m = float(case.split()[1]) if case != "followed" else of.uniform(1.0, 2.0)
        kind = of.choice(("person_jacket", "person_fleece"))
        world.at(0.0, WalkAlong(kind, distance_m, sways_m=of.uniform(0.03, 0.05), sways_hz=of.uniform(1.4, 2.0)))
    world.run([(t_s, Walk(speed) if speed else Stand()) for t_s, speed in legs])
    counts = Counts(stretch, subject, (STRETCH_S - SETS_OFF_S) / 3600.0)
    if subject in DEVICES:
        device = worn(subject, age, world, records=trace is not None)
        try:
            _stroll(world, legs, _watched(world, device.run_until, trace))
            _keep(trace, world, device)
            _count(counts, [(heard.start_s, heard.key) for heard in device.ear.heard])
        finally:
            device.close()
    else:
        peer = peers.PEERS[subject](world, word_s())

        def run_until(t_s: float) -> None:
            for cue in peer.run_until(t_s):
                counts.warnings += 1
                world.hear("stop", cue.understood_s)

        _stroll(world, legs, run_until)
    return counts


def _stroll(world: World, legs: Sequence[tuple[float, float]], run_until: Any) -> None:
    still_s = 0.0
    for number in range(round(STRETCH_S / 0.25)):
        t_s = (number + 1) * 0.25
        run_until(t_s)
        world.advance(t_s)
        wanted_m_s = next((speed for from_s, speed in reversed(legs) if from_s <= t_s), 0.0)
        still_s = still_s + 0.25 if wanted_m_s and world.walker.standing else 0.0
        if still_s > LOOKED_S:
            # Stopped for nothing: looks behind, and goes on.
            world.walker.walk(wanted_m_s)
            still_s = 0.0


def _count(counts: Counts, heard: Sequence[tuple[float, str]]) -> None:
    """Warnings by episodes, cautions by clips."""
    latest_s = -math.inf
    for number, (t_s, key) in enumerate(heard):
        if t_s < SETS_OFF_S:
            continue
        name = key.split(":")[0]
        if name == "warning":
            if t_s - latest_s > _EPISODE_S:
                counts.warnings += 1
                counts.drops += any(later == "drop" and at_s < t_s + _WORDS_AFTER_S for at_s, later in heard[number:])
            latest_s = t_s
        elif name in _PHRASES:
            counts.cautions[_PHRASES[name]] += 1
        elif name == "caution" and not any(
            later.split(":")[0] in _PHRASES and at_s < t_s + _WORDS_AFTER_S for at_s, later in heard[number + 1 :]
        ):
            counts.cautions["rear"] += 1  # its words were cut off
