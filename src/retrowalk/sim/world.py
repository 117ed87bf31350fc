"""The simulated world: a path behind a walker, what stands on it, the weather, and what happened.

It moves in fixed steps of 5 ms and only when somebody looks, so what it does depends on its seed and its commands and
never on who looked when.  A scenario is a list of (time, action): `world.at(12.0, Walk(0.6))`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from retrowalk.sim import terrain
from retrowalk.sim.estimates import GROUND_CLUTTER, TARGET_LOSS_DB, Estimates, current
from retrowalk.sim.noise import WIDE_M, WIDTH_M, Scene, Target, stream
from retrowalk.sim.walker import OLDER, Moment, Profile, Walker

STEP_S = 0.005
KEPT_STEPS = 1024
"""The last five seconds can be looked back at: longer than any FIFO."""

BODY_M = 0.02
"""Nearer than this the body itself is touched, whoever moves."""
BODY_HALF_M = 0.25
"""Half the width of a body with its arms: what is further to the side is walked past."""
PARTED_M = 0.10
"""Two contacts with one thing are told apart when the gap has been this much wider between them."""

HAND_M = 0.40

NO_SUN_DEG = -90.0
SHADE_KCPS = 8.0

Felt = tuple[float, float, float, float, float, float]
"""Specific force (m/s2) and angular rate (rad/s) at the clip: forward, left, up of each."""


@dataclass(frozen=True, slots=True)
class Mount:
    """How a range sensor is worn."""

    height_m: float = 0.9
    up_deg: float = 5.0
    """Upward tilt of its axis when the wearer stands upright (5 to 10 degrees keep the ground out of the beam)."""


@dataclass(slots=True)
class Obstacle:
    """Something on the path at `position_m`, present from `from_s` up to `to_s`.

    `nears_m_s` is its own speed towards the walker.  One that is `carried` keeps its distance from the sensor; one that
    walks along by itself does so in steps of its own: `sways_m` either way, `sways_hz` times a second.  Its middle is
    `left_m` to the walker's own left of the path's line; how wide it is goes by its kind.
    """

    name: str
    kind: str
    position_m: float
    nears_m_s: float = 0.0
    from_s: float = 0.0
    to_s: float = math.inf
    carried: bool = False
    sways_m: float = 0.0
    sways_hz: float = 0.0
    left_m: float = 0.0

    @property
    def in_the_way(self) -> bool:
        """Whether a walker who keeps to the path's line meets it."""
        return abs(self.left_m) <= WIDTH_M.get(self.kind, WIDE_M) / 2.0 + BODY_HALF_M

    def present(self, t_s: float) -> bool:
        return self.from_s <= t_s < self.to_s

    def gap_m(self, t_s: float, sensor_m: float) -> float:
        """Distance from the sensor."""
        if self.carried:
            return self.position_m + self.sways_m * math.sin(2.0 * math.pi * self.sways_hz * t_s)
        return self.position_m - self.nears_m_s * (t_s - self.from_s) - sensor_m


@dataclass(frozen=True, slots=True)
class Contact:
    """The walker touched something."""

    t_s: float
    name: str
    speed_m_s: float


class World:
    """Everything outside the device.  Equal seeds and commands give equal worlds.

    Methods that take a time may look ahead by a step (5 ms); looking back is possible for five seconds.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        profile: Profile = OLDER,
        ground: str = "asphalt",
        temperature_c: float = 15.0,
        wind_m_s: float = 1.0,
        rain: bool = False,
        sun_deg: float = NO_SUN_DEG,
        ambient_kcps: float = SHADE_KCPS,
        mount: Mount | None = None,
        upright_deg: float | None = None,
        estimates: Estimates | None = None,
    ) -> None:
        self.seed = seed
        self.estimates = estimates or current()
        """The numbers of everything in it that senses, reflects and sways."""
        self.walker = Walker(seed, profile, upright_deg=upright_deg, body=self.estimates.body)
        self.mount = mount or Mount()
        self.ground = ground
        self.temperature_c = temperature_c
        self.wind_m_s = wind_m_s
        self.rain = rain
        self.sun_deg = sun_deg
        """How high a sun stands that is straight behind the walker; `NO_SUN_DEG`: it is elsewhere, or hidden."""
        self.ambient_kcps = ambient_kcps
        """Daylight from behind as a time-of-flight sensor counts it, kcps/SPAD: 0.1 in a room at night, 8 in deep shade
        or at dusk, 200 at a window under a bright sky, thousands in the sun."""
        self.terrain = terrain.Terrain(seed, self.estimates.ground)
        self.obstacles: list[Obstacle] = []
        self.contacts: list[Contact] = []
        self.wearer: Callable[[float], Felt] | None = None
        """Somebody else who wears the clip, by what it feels at a session second; None: the simulated walker."""
        self.smallest_gap_m: dict[str, float] = {}
        """Smallest distance between the sensor and each obstacle while it was there."""
        self.felt: list[tuple[float, str]] = []
        """When `vibration`, `vibration-right` or `buzzer` began."""
        self.heard: list[tuple[float, str]] = []
        """When the walker understood which clip."""
        self.button_edges: list[tuple[float, bool]] = []
        """(time, closed) of every contact of the button's switch to come or gone, bounces included, in order."""
        self.on_button: list[Callable[[], None]] = []
        """Called when edges have been added."""
        self._buttons = stream(seed, "button")
        self._touching: set[str] = set()
        self._pulses: dict[str, tuple[float, int]] = {}
        """By motor: when its latest pulse began, and how many short ones came before it."""
        self._agenda: list[tuple[float, int, Action]] = []
        self._order = 0
        self._steps = 0
        self._ring: list[Moment] = [self.walker.moment(0.0, STEP_S)] * KEPT_STEPS
        self._latest, self._latest_s = self._ring[0], math.nan

    # ------------------------------------------------------------------------------------------- commands

    def at(self, t_s: float, action: Action) -> None:
        """Does `action` at session second `t_s`; a moment that has passed means the next step."""
        planned = getattr(action, "plan", None)
        if planned is not None:
            planned(self, t_s)
            return
        self._order += 1
        heapq.heappush(self._agenda, (t_s, self._order, action))

    def run(self, script: Sequence[tuple[float, Action]]) -> None:
        """Takes a whole scenario."""
        for t_s, action in script:
            self.at(t_s, action)

    def place(self, obstacle: Obstacle) -> None:
        """Puts something on the path; one of the same name is replaced.  Raises `ValueError` for an unknown kind."""
        _check_kind(obstacle.kind)
        self.remove(obstacle.name)
        self.obstacles.append(obstacle)

    def remove(self, name: str) -> None:
        """Takes an obstacle away, if it is there."""
        self.obstacles = [obstacle for obstacle in self.obstacles if obstacle.name != name]
        self._touching.discard(name)

    def shape(self, name: str, behind_m: float, shape: terrain.Shape) -> None:
        """Gives the ground a shape that begins `behind_m` behind the sensor."""
        self.terrain.add(name, self.walker.position_m + behind_m, shape)

    # ------------------------------------------------------------------------------------------- time

    def advance(self, now: float) -> None:
        """Lets the world happen up to the step that holds `now`."""
        target = math.ceil(now / STEP_S - 1e-6)
        while self._steps < target:
            self._steps += 1
            t = self._steps * STEP_S
            agenda = self._agenda
            while agenda and agenda[0][0] <= t + 1e-9:
                heapq.heappop(agenda)[2].apply(self, t)
            moment = self.walker.moment(t, STEP_S)
            self._ring[self._steps % KEPT_STEPS] = moment
            if self.obstacles:
                self._look_for_contact(t, moment)
            if self.terrain.edges:
                self._look_for_edges(t, moment)

    def _look_for_contact(self, t: float, moment: Moment) -> None:
        reach_m = self.walker.profile.reach_m
        for obstacle in self.obstacles:
            if obstacle.carried or not obstacle.present(t) or not obstacle.in_the_way:
                continue
            gap_m = obstacle.gap_m(t, moment.position_m)
            name = obstacle.name
            if gap_m < self.smallest_gap_m.get(name, math.inf):
                self.smallest_gap_m[name] = gap_m
            touching = gap_m <= BODY_M or (gap_m <= reach_m and moment.speed_m_s > 0.05)
            if touching and not self.walker.lying:
                if name not in self._touching:
                    self._touching.add(name)
                    self.contacts.append(Contact(t, name, moment.speed_m_s))
                    if moment.speed_m_s > 0.0:
                        self.walker.bump(t)
            elif gap_m > reach_m + PARTED_M:
                self._touching.discard(name)

    def _look_for_edges(self, t: float, moment: Moment) -> None:
        """A foot that steps backward over an edge is a contact; what lies before it now can be met again."""
        foot_m = moment.position_m + self.walker.profile.reach_m
        for edge in self.terrain.edges:
            name = edge.name
            gap_m = edge.position_m - moment.position_m
            if gap_m < self.smallest_gap_m.get(name, math.inf):
                self.smallest_gap_m[name] = gap_m
            if foot_m >= edge.position_m:
                if name not in self._touching and not self.walker.lying:
                    self._touching.add(name)
                    if moment.speed_m_s > 0.0:
                        self.contacts.append(Contact(t, name, moment.speed_m_s))
                        self.walker.bump(t)
            elif foot_m < edge.position_m - PARTED_M:
                self._touching.discard(name)

    # ------------------------------------------------------------------------------------------- senses

    def moment(self, t_s: float) -> Moment:
        """The walker at `t_s`, between two steps by proportion.  Raises `ValueError` for more than 5 s ago."""
        if t_s != self._latest_s:  # who asks for a scene asks for the moment, too
            earlier, later, share = self._around(t_s)
            self._latest = Moment(*[a + (b - a) * share for a, b in zip(earlier, later, strict=True)])
            self._latest_s = t_s
        return self._latest

    def _around(self, t_s: float) -> tuple[Moment, Moment, float]:
        """The steps before and after `t_s`, and how far between them it lies (0 to 1)."""
        at = max(0.0, t_s / STEP_S)
        index = int(at)
        if index >= self._steps:
            self.advance(t_s + STEP_S)
        if index <= self._steps - KEPT_STEPS:
            raise ValueError(f"{t_s:.3f} s: the world remembers only {KEPT_STEPS * STEP_S:.0f} s")
        return self._ring[index % KEPT_STEPS], self._ring[(index + 1) % KEPT_STEPS], at - index

    def imu(self, t_s: float) -> Felt:
        """What the clip feels.

        Raises `ValueError` for more than 5 s ago; before second 0 the walker stands as at second 0.
        """
        if self.wearer is not None:
            return self.wearer(t_s)
        a, b, s = self._around(t_s)
        r = 1.0 - s
        return (
            r * a[0] + s * b[0],
            r * a[1] + s * b[1],
            r * a[2] + s * b[2],
            r * a[3] + s * b[3],
            r * a[4] + s * b[4],
            r * a[5] + s * b[5],
        )

    def scene(self, t_s: float) -> Scene:
        """What the rear range sensor looks at."""
        moment = self.moment(t_s)
        targets = []
        for obstacle in self.obstacles:
            if obstacle.present(t_s):
                gap_m = obstacle.gap_m(t_s, moment.position_m)
                nears_m_s = 0.0 if obstacle.carried else moment.speed_m_s + obstacle.nears_m_s
                if gap_m > 0.0:
                    targets.append(Target(obstacle.kind, gap_m, nears_m_s, obstacle.left_m))
        targets.sort(key=lambda target: target.range_m)
        lean_deg = moment.pitch_deg - self.walker.upright_deg
        return Scene(
            targets,
            nose_down_deg=-lean_deg - self.mount.up_deg,
            mount_height_m=self.mount.height_m,
            ground=self.ground,
            temperature_c=self.temperature_c,
            wind_m_s=self.wind_m_s,
            rain=self.rain,
            covered=self.walker.lying,
        )

    def gap_m(self, t_s: float) -> float:
        """Distance from the rear sensor to the nearest obstacle at `t_s`; infinite on a clear path."""
        position_m = self.moment(t_s).position_m
        gaps = [obstacle.gap_m(t_s, position_m) for obstacle in self.obstacles if obstacle.present(t_s)]
        return min(gaps, default=math.inf)

    # --------------------------------------------------------------------------------- what reaches the walker

    def hear(self, key: str, understood_s: float) -> None:
        """The walker's ear has understood the clip `key`: some make the walker stop, some are answered by a press."""
        self.heard.append((understood_s, key))
        profile = self.walker.profile
        if key in profile.stops_for:
            self.at(understood_s, _Warned())
        elif key in profile.slows_for:
            self.at(understood_s + profile.reaction_s, _Slowed())
        elif key in profile.answers and not self.walker.lying:
            self.at(understood_s + profile.answers_after_s, Press())

    def feel(self, what: str, on: bool, t_s: float) -> None:
        """A motor or the buzzer goes on or off; two short pulses of a motor are felt as a warning."""
        if on:
            self.felt.append((t_s, what))
        if what == "buzzer":
            return
        began_s, pulses = self._pulses.get(what, (-math.inf, 0))
        if on:
            self._pulses[what] = t_s, 0 if t_s - began_s > 0.3 else pulses
        elif what in self._pulses:
            pulses = pulses + 1 if 0.09 <= t_s - began_s <= 0.16 else 0
            self._pulses[what] = began_s, pulses
            if pulses == 2 and self.walker.profile.stops_for_touch:
                self.at(t_s, _Warned())

    def add_press(self, t_s: float, hold_s: float) -> None:
        """The button goes down at `t_s` and up after `hold_s`, each with 1 to 3 ms of bounce."""
        edges = [*self._bouncing(t_s, True), *self._bouncing(t_s + hold_s, False)]
        self.button_edges = sorted([*self.button_edges, *edges])
        for told in self.on_button:
            told()

    def _bouncing(self, t_s: float, closed: bool) -> list[tuple[float, bool]]:
        draw = self._buttons
        edges = [(t_s, closed)]
        lasts_s = draw.uniform(0.001, 0.003)
        times = sorted(draw.uniform(0.0001, lasts_s) for _ in range(2 * draw.randint(0, 3)))
        for number, after_s in enumerate(times):
            edges.append((t_s + after_s, closed if number % 2 else not closed))
        return edges


# ------------------------------------------------------------------------------------------------- actions


def _check_kind(kind: str) -> None:
    """Raises `ValueError` for an obstacle that no echo is known of."""
    if kind not in TARGET_LOSS_DB:
        raise ValueError(f"obstacle kind {kind!r}: must be one of {', '.join(sorted(TARGET_LOSS_DB))}")


class Action(Protocol):
    """What a scenario can do to the world."""

    def apply(self, world: World, t_s: float) -> None:
        """Does it; `t_s` is the step at which it takes effect."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Walk backward (positive) or forward (negative), m/s."""

    speed_m_s: float

    def apply(self, world: World, t_s: float) -> None:
        world.walker.walk(self.speed_m_s)


@dataclass(frozen=True, slots=True)
class Stand:
    """Stop walking, unhurried."""

    def apply(self, world: World, t_s: float) -> None:
        world.walker.walk(0.0)


@dataclass(frozen=True, slots=True)
class Lean:
    """Lean by `degrees` (backward negative) within `over_s`, and stay so for `hold_s`."""

    degrees: float
    over_s: float = 0.8
    hold_s: float = math.inf

    def apply(self, world: World, t_s: float) -> None:
        world.walker.lean(t_s, self.degrees, self.over_s, self.hold_s)


@dataclass(frozen=True, slots=True)
class LookBack:
    """Turn the trunk aside by `degrees` (left positive) within `over_s`, walk on, and look ahead after `hold_s`."""

    degrees: float = 40.0
    over_s: float = 0.6
    hold_s: float = 4.0

    def apply(self, world: World, t_s: float) -> None:
        world.walker.look(t_s, self.degrees, self.over_s, self.hold_s)


@dataclass(frozen=True, slots=True)
class StepUnevenly:
    """Step times vary by this share from now on (a standard deviation over the mean)."""

    step_time_cv: float

    def apply(self, world: World, t_s: float) -> None:
        world.walker.step_unevenly(self.step_time_cv)


@dataclass(frozen=True, slots=True)
class Shuffle:
    """Lift the feet by this share of what is usual from now on, in steps so many times as quick; (1, 1): as usual."""

    lift: float = 0.5
    quick: float = 1.25

    def apply(self, world: World, t_s: float) -> None:
        world.walker.shuffle(self.lift, self.quick)


@dataclass(frozen=True, slots=True)
class Fall:
    """Fall backward."""

    def apply(self, world: World, t_s: float) -> None:
        world.walker.fall(t_s)


@dataclass(frozen=True, slots=True)
class GetUp:
    """Get up after a fall, and stand."""

    over_s: float = 6.0

    def apply(self, world: World, t_s: float) -> None:
        world.walker.get_up(t_s, self.over_s)


@dataclass(frozen=True, slots=True)
class HandBehind:
    """Hold a hand in front of the sensor: the walker's check of the device."""

    for_s: float = 1.0
    range_m: float = HAND_M

    def apply(self, world: World, t_s: float) -> None:
        world.place(Obstacle("hand", "hand", self.range_m, from_s=t_s, to_s=t_s + self.for_s, carried=True))


@dataclass(frozen=True, slots=True)
class Place:
    """Put something `behind_m` behind the sensor, for `for_s`; `nears_m_s` is its own speed towards the walker.

    `left_m` is how far its middle is to the walker's own left.
    """

    kind: str
    behind_m: float
    name: str = ""
    nears_m_s: float = 0.0
    for_s: float = math.inf
    left_m: float = 0.0

    def __post_init__(self) -> None:
        # Not only when it takes place: that is in the middle of a driver's work, which would take it for a broken pin.
        _check_kind(self.kind)

    def apply(self, world: World, t_s: float) -> None:
        position_m = world.walker.position_m + self.behind_m
        name = self.name or self.kind
        world.place(Obstacle(name, self.kind, position_m, self.nears_m_s, t_s, t_s + self.for_s, left_m=self.left_m))


@dataclass(frozen=True, slots=True)
class WalkAlong:
    """Somebody walks along `behind_m` behind the sensor, in steps of their own, for `for_s`."""

    kind: str
    behind_m: float
    sways_m: float = 0.04
    sways_hz: float = 1.7
    name: str = "companion"
    for_s: float = math.inf

    def __post_init__(self) -> None:
        _check_kind(self.kind)

    def apply(self, world: World, t_s: float) -> None:
        world.place(
            Obstacle(
                self.name,
                self.kind,
                self.behind_m,
                from_s=t_s,
                to_s=t_s + self.for_s,
                carried=True,
                sways_m=self.sways_m,
                sways_hz=self.sways_hz,
            )
        )


@dataclass(frozen=True, slots=True)
class Kerb:
    """A kerb `behind_m` behind the sensor: the street behind it lies lower (with a negative depth: higher)."""

    behind_m: float
    depth_m: float = 0.12
    name: str = "kerb"

    def apply(self, world: World, t_s: float) -> None:
        world.shape(self.name, self.behind_m, terrain.kerb(self.depth_m))


@dataclass(frozen=True, slots=True)
class Stairs:
    """Stairs down that begin `behind_m` behind the sensor; one step alone is a step down."""

    behind_m: float
    steps: int = 8
    rise_m: float = 0.17
    tread_m: float = 0.29
    name: str = "stairs"

    def apply(self, world: World, t_s: float) -> None:
        world.shape(self.name, self.behind_m, terrain.stairs(self.steps, self.rise_m, self.tread_m))


@dataclass(frozen=True, slots=True)
class Hole:
    """A hole that begins `behind_m` behind the sensor; nothing comes back from the bottom of a shaft of 20 m."""

    behind_m: float
    length_m: float = 0.6
    depth_m: float = 0.4
    name: str = "hole"

    def apply(self, world: World, t_s: float) -> None:
        world.shape(self.name, self.behind_m, terrain.hole(self.length_m, self.depth_m))


@dataclass(frozen=True, slots=True)
class Slope:
    """From `behind_m` behind the sensor the ground falls backward by `percent` (negative: it rises)."""

    behind_m: float
    percent: float
    length_m: float

    def apply(self, world: World, t_s: float) -> None:
        world.shape("slope", self.behind_m, terrain.slope(self.percent, self.length_m))


@dataclass(frozen=True, slots=True)
class Remove:
    """Take an obstacle away."""

    name: str

    def apply(self, world: World, t_s: float) -> None:
        world.remove(self.name)


@dataclass(frozen=True, slots=True)
class Ground:
    """Walk onto other ground: asphalt, gravel, grass or leaves."""

    kind: str

    def __post_init__(self) -> None:
        if self.kind not in GROUND_CLUTTER:
            raise ValueError(f"ground {self.kind!r}: must be one of {', '.join(GROUND_CLUTTER)}")

    def apply(self, world: World, t_s: float) -> None:
        world.ground = self.kind


@dataclass(frozen=True, slots=True)
class Weather:
    """Other weather; None leaves a value as it is."""

    temperature_c: float | None = None
    wind_m_s: float | None = None
    rain: bool | None = None
    sun_deg: float | None = None
    """How high the sun stands straight behind the walker; -90 for no sun there."""
    ambient_kcps: float | None = None
    """Daylight from behind, kcps/SPAD (see `World.ambient_kcps`)."""

    def apply(self, world: World, t_s: float) -> None:
        for name in ("temperature_c", "wind_m_s", "rain", "sun_deg", "ambient_kcps"):
            value: Any = getattr(self, name)
            if value is not None:
                setattr(world, name, value)


@dataclass(frozen=True, slots=True)
class Wear:
    """Have the clip worn by somebody else from the beginning, such as a recorded person (`recorded.Playback`).

    The simulated walker goes on carrying the rest of the device.
    """

    wearer: Callable[[float], Felt]

    def plan(self, world: World, t_s: float) -> None:
        world.wearer = self.wearer

    def apply(self, world: World, t_s: float) -> None:
        self.plan(world, t_s)


@dataclass(frozen=True, slots=True)
class Press:
    """Press the button `times` times, each for `hold_s`, `gap_s` apart.  Its edges are exact, and known ahead."""

    hold_s: float = 0.2
    times: int = 1
    gap_s: float = 0.2

    def plan(self, world: World, t_s: float) -> None:
        for number in range(self.times):
            world.add_press(t_s + number * (self.hold_s + self.gap_s), self.hold_s)

    def apply(self, world: World, t_s: float) -> None:
        self.plan(world, t_s)


@dataclass(frozen=True, slots=True)
class _Warned:
    def apply(self, world: World, t_s: float) -> None:
        world.walker.warned(t_s)


@dataclass(frozen=True, slots=True)
class _Slowed:
    def apply(self, world: World, t_s: float) -> None:
        world.walker.slowed()
