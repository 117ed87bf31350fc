"""How far behind the truth a range is: our ultrasonic driver beside gpiozero's `DistanceSensor`, on one kind of pins.

Every subject has the same simulated HC-SR04 (`sim.pins.HcSr04Twin`, without noise, so that what is measured is lag) at
the same mock pins (`sim.pins.SimPinFactory`, a `MockFactory`), whose edges carry their exact time as lgpio's do.  All
of it runs in real time, because `DistanceSensor` sleeps and waits in threads of its own; ours is polled by the guard's
own `StepThread`.  Each subject has a process of its own: `DistanceSensor` takes a lock that all of its kind share.
A reader looks every 2 ms (steps) or 10 ms (ramps), whenever the subject has measured last.

Two readings of ours are reported, because two things are asked of them:

- `sample`: the range of the driver's latest `RangeSample`, held until the next.  It tells how good the driver is.
- `track`: the `RangeTracker` on these samples, extrapolated to the moment of reading.  A warning acts on this one.

The goals are the driver's, so `sample` carries them; on an approach, which is what people do, `track` does as well.
The track's step lag, without a goal, is that of three pings: its gate believes a jump only when three echoes agree, so
that no stray echo cries "Stop".  No person moves in steps; on an approach nothing has to be believed anew, and the
track is what makes up for the age of the sample.

- `step_lag_s`: from a sudden change of the true range until the reading has come within 5 cm of it, to stay there.
- `ramp_error_m`: reading minus truth at the moment of reading, on an approach down to 0.5 m, once its speed has been
  constant for 0.4 s; "setting off" is what comes before: 0.6 s of speeding up from rest, and those 0.4 s.  `mean` is
  signed (positive: too far, the dangerous side); `p95` and `max` are of its size.  `ramp_lag_s` is that mean over the
  speed.  "lost" pings have no pulse at all.  The p95 of a held sample has no goal: at 1.2 m/s a range that is taken
  every 65 ms is 8 cm old before the next one comes, however good the driver is.
- `rate_hz`: readings a second that the subject accepted.
- `rest_error_m`: reading minus truth at rest as shipped, with the air warmer or colder than the subject takes it for.
- `loss_named_s`: from unplugging at 1.00 m until it is named; of ours by the driver's `HealthReport` and by the
  Companion's `sensor.lost`, of gpiozero by a reading that changes or a warning on stderr.  What is never named is
  given with the time of waiting as its value, and the case says so.  (Python prints a warning once in a process.)

"busy" has a thread of pure Python working beside the subject in its process.  Not measured: real pins, whose stamps
jitter by some 30 us (5 mm), and a Pi's slower wake-ups.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import multiprocessing
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run
from gpiozero import DistanceSensor

from retrowalk.config import Config, HcSr04
from retrowalk.core.companion import Companion
from retrowalk.core.events import SensorLost
from retrowalk.core.samples import HealthReport, Item, RangeSample, RangeStatus, Tick
from retrowalk.core.tracker import RangeTracker
from retrowalk.devices.ultrasonic import Ultrasonic
from retrowalk.guard.process import Inbox, StepThread
from retrowalk.platform import MonotonicClock
from retrowalk.sim.estimates import current
from retrowalk.sim.noise import Echo, Scene, speed_of_sound_m_s
from retrowalk.sim.pins import RISE_AFTER_S, Board, HcSr04Twin, SimPinFactory

STEPS_M = ((2.0, 1.0), (3.0, 0.5), (1.0, 0.5))
SETTLED_M = 0.05
SPEEDS_M_S = (1.2, 0.7)
RATES_AT_M = (0.3, 1.0, 2.0, 3.0, 3.9)
REST_AIR_C = (0.0, 20.0, 35.0)
REST_AT_M = 2.0

SAMPLE, TRACK = "sample", "track"
"""What is read of ours."""

FILL_S = 0.95
"""Nine pings at 3.6 m, the longest queue: after so long at one range, every subject has settled."""
WATCH_STEP_S = 0.7
RAMP_FROM_M, RAMP_TO_M, SPEED_UP_S = 3.6, 0.5, 0.6
STEADY_AFTER_S = 0.4
"""After so long at constant speed even a median of nine lags by all of its lag."""
UNPLUGGED_AT_M = 1.0
CHANGED_M = 0.2
"""A reading that differs by more from the last one before the loss is taken as telling of it."""

GOALS = {"step_lag_s": "<= 0.08", "ramp_error_m": "<= 0.05", "loss_named_s": "<= 1"}
GOAL_SPEED_M_S = 1.2
OURS = "retrowalk"


# ------------------------------------------------------------------------------------------- what is asked of a subject


class Subject(Protocol):
    """A range sensor with its driver, as its user sees it."""

    name: str
    accepted: int
    """Readings it has taken so far."""

    def read(self, now: float) -> dict[str, float | None]:
        """Each of its readings by name (metres; None: it gives none now)."""

    def forget(self) -> None:
        """From now on it is listened to for anything that tells of a loss."""

    def named_s(self) -> dict[str, float | None]:
        """When it told of a loss, by way of telling (session seconds; None: not yet)."""


class Stage(Protocol):
    """Time that passes: real, or a test's."""

    def now(self) -> float:
        """Session seconds."""

    def wait_until(self, t_s: float) -> None:
        """Returns at session second `t_s`, or a little later."""


@dataclass
class Room:
    """What the module looks at: all of the world that this benchmark has."""

    range_m: Callable[[float], float] = lambda _t_s: 1.0
    """True range by session second."""
    air_c: float = 20.0
    lost_share: float = 0.0
    """Share of the pings that get no pulse."""
    plugged: bool = True
    random: Random = field(default_factory=lambda: Random(1))

    def stand(self, range_m: float) -> None:
        """Something stands there from now on."""
        self.range_m = lambda _t_s: range_m

    def flight_s(self, t_s: float) -> float | None:
        """Time of flight of a ping sent at `t_s`: to where the target is at mid-flight, and back."""
        lost = self.random.random() < self.lost_share
        if lost or not self.plugged:
            return None
        speed_m_s = speed_of_sound_m_s(self.air_c)
        sent_s = t_s + RISE_AFTER_S
        return 2.0 * self.range_m(sent_s + self.range_m(sent_s) / speed_m_s) / speed_m_s


Watched = list[tuple[float, dict[str, float | None]]]


def watch(subject: Subject, stage: Stage, until_s: float, every_s: float) -> Watched:
    """Reads the subject again and again until then: (session second, readings)."""
    seen: Watched = []
    next_s = stage.now()
    while next_s < until_s:
        stage.wait_until(next_s)
        now = stage.now()
        seen.append((now, subject.read(now)))
        next_s = max(next_s + every_s, now)
    stage.wait_until(until_s)
    return seen


# -------------------------------------------------------------------------------------------------------- judgement


def step_lag_s(readings: Iterable[tuple[float, float | None]], step_s: float, target_m: float) -> float | None:
    """From the step until the reading is within 5 cm of the new range for good; None: it never was, or always."""
    came_s: float | None = None
    outside = False
    for t_s, reading_m in readings:
        if reading_m is None or abs(reading_m - target_m) > SETTLED_M:
            came_s, outside = None, True
        elif came_s is None:
            came_s = t_s
    # One that stood there before the step has shown nothing.
    return came_s - step_s if came_s is not None and outside else None


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def goal_of(subject: str, metric: str) -> str | None:
    """The goal of a metric: ours has one."""
    return GOALS[metric] if subject == OURS else None


def _case(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def step_rows(subject: str, lags: dict[str, list[float | None]], what: str, goal: str | None) -> list[Row]:
    """Rows of one kind of step.  A step that was never followed counts as the whole time of watching."""
    rows = []
    for reading, values in lags.items():
        asked = None if reading == TRACK else goal
        never = sum(value is None for value in values)
        told = [WATCH_STEP_S if value is None else value for value in values]
        case = _case(reading, what, f"({never} never followed)" if never else "")
        for name, value in (
            ("mean", sum(told) / len(told)),
            ("p95", quantile(told, 0.95)),
            ("max", max(told)),
        ):
            rows.append(Row("step_lag_s", subject, _case(name, case), value, "s", len(told), goal=asked))
    return rows


def ramp_rows(subject: str, errors: dict[str, list[float]], what: str, goal: str | None) -> list[Row]:
    """Rows of the approaches of one kind.  Who gives no reading at all is as wrong as the whole way is long."""
    rows = []
    for reading, values in errors.items():
        if not values:
            case = _case("no reading at all", reading, what)
            rows.append(Row("ramp_error_m", subject, case, RAMP_FROM_M - RAMP_TO_M, "m", 0, goal=goal))
            continue
        mean, sizes = sum(values) / len(values), [abs(value) for value in values]
        n = len(values)
        rows.append(Row("ramp_error_m", subject, _case("mean", reading, what), mean, "m", n, goal=goal))
        asked = None if reading == SAMPLE else goal
        rows.append(
            Row("ramp_error_m", subject, _case("p95", reading, what), quantile(sizes, 0.95), "m", n, goal=asked)
        )
        rows.append(Row("ramp_error_m", subject, _case("max", reading, what), max(sizes), "m", n))
    return rows


def loss_rows(subject: str, told: dict[str, list[float | None]], waited_s: float) -> list[Row]:
    """Rows of the losses, by way of telling.  What was never told has the time of waiting as its value."""
    rows = []
    goal = goal_of(subject, "loss_named_s")
    for way, values in told.items():
        named = [value for value in values if value is not None]
        never = len(values) - len(named)
        if not named:
            case = f"never named within {waited_s:g} s ({way})"
            rows.append(Row("loss_named_s", subject, case, waited_s, "s", len(values), goal=goal))
            continue
        if never:
            case = f"max ({way}), never within {waited_s:g} s in {never} of {len(values)}"
            rows.append(Row("loss_named_s", subject, case, waited_s, "s", len(values), goal=goal))
        else:
            rows.append(Row("loss_named_s", subject, f"max ({way})", max(named), "s", len(named), goal=goal))
        case = f"mean of those named ({way})" if never else f"mean ({way})"
        rows.append(Row("loss_named_s", subject, case, sum(named) / len(named), "s", len(named)))
    return rows


# -------------------------------------------------------------------------------------------------------- measuring


def measure_steps(
    subject: Subject, stage: Stage, room: Room, far_m: float, near_m: float, trials: int, random: Random
) -> dict[str, list[float | None]]:
    """Lags of steps from far to near, by reading; when a step comes has nothing to do with when a ping does."""
    lags: dict[str, list[float | None]] = {}
    for _ in range(trials):
        room.stand(far_m)
        watch(subject, stage, stage.now() + FILL_S + random.uniform(0.0, 0.1), 0.01)
        room.stand(near_m)
        step_s = stage.now()
        seen = watch(subject, stage, step_s + WATCH_STEP_S, 0.002)
        for reading in seen[0][1]:
            values = [(t_s, readings[reading]) for t_s, readings in seen]
            lags.setdefault(reading, []).append(step_lag_s(values, step_s, near_m))
    return lags


def approach(start_s: float, speed_m_s: float) -> tuple[Callable[[float], float], float, float]:
    """Truth of an approach that begins at `start_s`, when its speed is constant, and when it ends."""
    sped_up_m = speed_m_s * SPEED_UP_S / 2.0
    steady_s = start_s + SPEED_UP_S
    end_s = steady_s + (RAMP_FROM_M - sped_up_m - RAMP_TO_M) / speed_m_s

    def range_m(t_s: float) -> float:
        if t_s < steady_s:
            return RAMP_FROM_M - speed_m_s * max(0.0, t_s - start_s) ** 2 / (2.0 * SPEED_UP_S)
        return RAMP_FROM_M - sped_up_m - speed_m_s * (min(t_s, end_s) - steady_s)

    return range_m, steady_s, end_s


def measure_ramps(
    subject: Subject, stage: Stage, room: Room, speed_m_s: float, lost_share: float, runs: int, random: Random
) -> list[Row]:
    """Errors on approaches, by reading.  Pings are lost from the moment of setting off."""
    setting_off: dict[str, list[float]] = {}
    steady: dict[str, list[float]] = {}
    for _ in range(runs):
        room.stand(RAMP_FROM_M)
        start_s = stage.now() + FILL_S + random.uniform(0.0, 0.1)
        watch(subject, stage, start_s, 0.01)
        room.range_m, constant_s, end_s = approach(start_s, speed_m_s)
        room.lost_share = lost_share
        seen = watch(subject, stage, end_s, 0.01)
        room.lost_share = 0.0
        for t_s, readings in seen:
            for reading, value in readings.items():
                errors = setting_off if t_s < constant_s + STEADY_AFTER_S else steady
                kept = errors.setdefault(reading, [])
                if value is not None and t_s <= end_s:
                    kept.append(value - room.range_m(t_s))
    what = f"{speed_m_s:g} m/s"
    if lost_share:
        return ramp_rows(subject.name, steady, f"{what}, {lost_share:.0%} lost", None)
    goal = goal_of(subject.name, "ramp_error_m") if speed_m_s == GOAL_SPEED_M_S else None
    rows = ramp_rows(subject.name, steady, what, goal) + ramp_rows(
        subject.name, setting_off, f"{what}, setting off", None
    )
    for reading, values in steady.items():
        if values:
            lag_s = sum(values) / len(values) / speed_m_s
            rows.append(Row("ramp_lag_s", subject.name, _case("mean", reading, what), lag_s, "s", len(values)))
    return rows


def measure_rates(subject: Subject, stage: Stage, room: Room, seconds: float) -> list[Row]:
    """Accepted readings a second at several ranges."""
    rows = []
    for range_m in RATES_AT_M:
        room.stand(range_m)
        watch(subject, stage, stage.now() + 0.3, 0.01)
        began, began_s = subject.accepted, stage.now()
        watch(subject, stage, began_s + seconds, 0.01)
        count = subject.accepted - began
        rate = count / (stage.now() - began_s)
        rows.append(Row("rate_hz", subject.name, f"mean {range_m:g} m", rate, "Hz", count))
    return rows


def measure_rest(subject: Subject, stage: Stage, room: Room) -> list[Row]:
    """Error at rest in air of several temperatures."""
    rows = []
    room.stand(REST_AT_M)
    for room.air_c in REST_AIR_C:
        watch(subject, stage, stage.now() + FILL_S, 0.01)
        for reading, value in subject.read(stage.now()).items():
            if value is not None:
                case = _case("last", reading, f"{REST_AT_M:g} m, air {room.air_c:g} C, as shipped")
                rows.append(Row("rest_error_m", subject.name, case, value - REST_AT_M, "m", 1))
    return rows


def measure_losses(
    subject: Subject, stage: Stage, room: Room, trials: int, wait_s: float, random: Random
) -> dict[str, list[float | None]]:
    """From unplugging until it is told, by way of telling; waits no longer than `wait_s` each time."""
    told: dict[str, list[float | None]] = {}
    room.stand(UNPLUGGED_AT_M)
    for _ in range(trials):
        room.plugged = True
        watch(subject, stage, stage.now() + 1.6 + random.uniform(0.0, 0.1), 0.01)
        subject.forget()
        room.plugged = False
        lost_s = stage.now()
        while stage.now() < lost_s + wait_s and None in subject.named_s().values():
            watch(subject, stage, min(stage.now() + 0.02, lost_s + wait_s), 0.005)
        for way, at_s in subject.named_s().items():
            told.setdefault(way, []).append(None if at_s is None else at_s - lost_s)
    room.plugged = True
    return told


# ---------------------------------------------------------------------------------------- real time, real subjects


class RealStage:
    """Real time, and how late this machine wakes up who sleeps."""

    def __init__(self) -> None:
        self.clock = MonotonicClock()
        self.late_s: list[float] = []

    def now(self) -> float:
        return self.clock.now()

    def wait_until(self, t_s: float) -> None:
        left_s = t_s - self.clock.now()
        if left_s > 0.0:
            time.sleep(left_s)
            self.late_s.append(self.clock.now() - t_s)


class RealScheduler(threading.Thread):
    """What a twin needs of `sim.scheduler.Scheduler`, along real time: calls at their time, from one thread."""

    def __init__(self, clock: MonotonicClock) -> None:
        super().__init__(name="module", daemon=True)
        self.clock = clock
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._news = threading.Condition()

    def at(self, t_s: float, call: Callable[[], None], _name: str = "") -> None:
        with self._news:
            heapq.heappush(self._due, (t_s, next(self._order), call))
            self._news.notify()

    def run(self) -> None:
        while True:
            with self._news:
                while not self._due or self._due[0][0] > self.clock.now():
                    self._news.wait(self._due[0][0] - self.clock.now() if self._due else None)
                call = heapq.heappop(self._due)[2]
            call()


class _Echoes:
    """The room as the module's model of echoes: exact."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def ping(self, t_s: float, _scene: Scene) -> Echo:
        return Echo(self._room.flight_s(t_s), 0.0, 0.0, "wall")


class _NoWorld:
    """What the module asks of a world."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.estimates = current()

    def scene(self, _t_s: float) -> Scene:
        return Scene(())


class Pins:
    """A module at two lines in real time, and the pin factory for its driver."""

    def __init__(self, room: Room, stage: RealStage, seed: int) -> None:
        sensor = HcSr04()
        scheduler = RealScheduler(stage.clock)
        board = Board()
        self.clock = stage.clock
        self.factory = SimPinFactory(board, stage.clock)
        self.trigger, self.echo = sensor.trigger_pin, sensor.echo_pin
        twin: Any = HcSr04Twin  # the room stands for a world, the real clock for a scheduler
        twin(
            board,
            scheduler,
            _NoWorld(seed),
            trigger_line=self.trigger,
            echo_line=self.echo,
            model=_Echoes(room),
            no_target="none",
        )
        scheduler.start()


class Retrowalk:
    """Our driver in the guard's thread, the tracker, and the Companion, fed as the guard's main loop does."""

    name = OURS

    def __init__(self, pins: Pins, sensor: HcSr04) -> None:
        self.accepted = 0
        self._sensor = sensor
        config = Config(range_sensor=(sensor,))
        self._companion = Companion(config)
        self._track = RangeTracker(config.tracker)
        self._range_m: float | None = None
        self._health_s: float | None = None
        self._event_s: float | None = None
        self._inbox = Inbox()
        driver = Ultrasonic(sensor, pins.factory, pins.clock)
        self._thread = StepThread([driver], pins.clock, self._inbox)
        self._driver = driver
        self._clock = pins.clock
        self._thread.start()

    def close(self) -> None:
        self._thread.stop()
        self._thread.join(1.0)
        self._driver.close()

    def read(self, now: float) -> dict[str, float | None]:
        guard: Any = self  # takes what a guard would
        self._inbox.drain(guard)
        due_s = self._companion.deadline()
        if due_s is not None and now >= due_s:
            self._feed(Tick(now))
        return {SAMPLE: self._range_m, TRACK: self._track.range_m(now) if self._track.alive else None}

    def take(self, items: Sequence[Item], _now: float, _step: str) -> None:
        """What the thread has brought."""
        for item in items:
            if isinstance(item, RangeSample) and item.status is RangeStatus.VALID and item.range_m is not None:
                self.accepted += 1
                self._range_m = item.range_m
                self._track.update(item.t_measured_s, item.range_m)
            elif isinstance(item, HealthReport) and item.active and self._health_s is None:
                self._health_s = self._clock.now()
            self._feed(item)

    def step_failed(self, _step: str, error: Exception, _now: float) -> None:
        raise error

    def _feed(self, item: Item) -> None:
        for output in self._companion.feed(item):
            if isinstance(output, SensorLost) and output.sensor == self._sensor.name and self._event_s is None:
                self._event_s = self._clock.now()

    def forget(self) -> None:
        self._health_s = self._event_s = None

    def named_s(self) -> dict[str, float | None]:
        return {"HealthReport": self._health_s, "sensor.lost": self._event_s}


class Gpiozero:
    """gpiozero's `DistanceSensor`, with nothing changed but the number of its reads counted.

    `max_distance` is 4 m, as ours: with its default of 1 m every reading here would be 1.  Warnings are seen as Python
    shows them by default.
    """

    def __init__(self, pins: Pins, queue_len: int) -> None:
        self.name = "gpiozero DistanceSensor" + (f" queue_len {queue_len}" if queue_len != 9 else "")
        self.accepted = 0
        self._clock = pins.clock
        self._warned_s: float | None = None
        self._changed_s: float | None = None
        self._before_m: float | None = None
        warnings.showwarning = self._warned
        self._sensor = DistanceSensor(
            echo=pins.echo,
            trigger=pins.trigger,
            queue_len=queue_len,
            max_distance=4.0,
            pin_factory=pins.factory,
        )
        self._read = self._sensor._read
        self._sensor._read = self._counted
        self._last_m = float(self._sensor.distance)  # waits for a full queue
        self.forget()

    def close(self) -> None:
        self._sensor.close()

    def _counted(self) -> float | None:
        value: float | None = self._read()
        self.accepted += value is not None
        return value

    def _warned(self, *_warning: Any, **_named: Any) -> None:
        if self._warned_s is None:
            self._warned_s = self._clock.now()

    def read(self, now: float) -> dict[str, float | None]:
        self._last_m = float(self._sensor.distance)
        if self._changed_s is None and self._before_m is not None and abs(self._last_m - self._before_m) > CHANGED_M:
            self._changed_s = now
        return {"": self._last_m}

    def forget(self) -> None:
        self._warned_s = self._changed_s = None
        self._before_m = self._last_m

    def named_s(self) -> dict[str, float | None]:
        return {"its reading": self._changed_s, "a warning on stderr": self._warned_s}


def build(key: str, pins: Pins, *, as_shipped: bool = False) -> Retrowalk | Gpiozero:
    """A subject at these pins.  All know the air to be of 20 C, as gpiozero's constant has it, unless as shipped."""
    if key == OURS:
        return Retrowalk(pins, HcSr04() if as_shipped else HcSr04(temperature_c=20.0))
    return Gpiozero(pins, int(key))


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    steps: int
    ramps: int
    rate_s: float
    losses: int
    peer_losses: int
    peer_wait_s: float
    busy_steps: int
    lost_shares: tuple[float, ...] = (0.0, 0.1, 0.3)


PLANS = {
    "quick": Plan(
        steps=3,
        ramps=1,
        rate_s=1.0,
        losses=2,
        peer_losses=2,
        peer_wait_s=2.0,
        busy_steps=2,
        lost_shares=(0.0, 0.3),
    ),
    "": Plan(steps=12, ramps=4, rate_s=4.0, losses=8, peer_losses=2, peer_wait_s=8.0, busy_steps=10),
    "full": Plan(steps=60, ramps=20, rate_s=10.0, losses=40, peer_losses=2, peer_wait_s=60.0, busy_steps=40),
}
OUR_WAIT_S = 3.0


def calm(key: str, plan: Plan, seed: int) -> tuple[list[Row], list[float]]:
    """Everything but the busy case, for one subject, in a process of its own; also how late it was woken."""
    random = Random(f"{seed}:ranging")
    stage = RealStage()
    rows: list[Row] = []
    default = key in (OURS, "9")  # a shorter queue changes neither of the next two
    if default:
        room = Room()
        subject = build(key, Pins(room, stage, seed), as_shipped=True)
        rows += measure_rest(subject, stage, room)
        subject.close()
    room = Room(random=Random(f"{seed}:lost"))
    subject = build(key, Pins(room, stage, seed))
    name = subject.name
    if default:  # first of all, as long as no lost ping has used up the one warning
        trials, wait_s = (plan.losses, OUR_WAIT_S) if key == OURS else (plan.peer_losses, plan.peer_wait_s)
        rows += loss_rows(name, measure_losses(subject, stage, room, trials, wait_s, random), wait_s)
    for far_m, near_m in STEPS_M:
        lags = measure_steps(subject, stage, room, far_m, near_m, plan.steps, random)
        rows += step_rows(name, lags, f"{far_m:g} to {near_m:g} m", goal_of(name, "step_lag_s"))
    for speed_m_s in SPEEDS_M_S:
        for lost_share in plan.lost_shares if speed_m_s == GOAL_SPEED_M_S else (0.0,):
            rows += measure_ramps(subject, stage, room, speed_m_s, lost_share, plan.ramps, random)
    rows += measure_rates(subject, stage, room, plan.rate_s)
    subject.close()
    return rows, stage.late_s


def busy(key: str, plan: Plan, seed: int) -> list[Row]:
    """Steps with a thread of pure Python working in the same process."""

    def work() -> None:
        while True:
            sum(range(1000))

    stage = RealStage()
    room = Room()
    subject = build(key, Pins(room, stage, seed))
    threading.Thread(target=work, name="busy", daemon=True).start()
    far_m, near_m = STEPS_M[0]
    lags = measure_steps(subject, stage, room, far_m, near_m, plan.busy_steps, Random(f"{seed}:busy"))
    # No goal: the guard has no such thread; this is for comparison.
    rows = step_rows(subject.name, lags, f"{far_m:g} to {near_m:g} m, busy", None)
    began, began_s = subject.accepted, stage.now()
    watch(subject, stage, began_s + plan.rate_s, 0.01)
    count = subject.accepted - began
    case = f"mean {near_m:g} m, busy"
    rows.append(Row("rate_hz", subject.name, case, count / (stage.now() - began_s), "Hz", count))
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    """All subjects side by side, which are idle nearly all the time; the busy ones after them, one to a core."""
    plan = PLANS["quick" if options.quick else "full" if options.full else ""]
    rows = [Row("load_average", "this machine", "1 min before", os.getloadavg()[0], "", 1)]
    late_s: list[float] = []
    keys = (OURS, "9", "3", "1")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(keys), mp_context=context) as pool:
        for subject_rows, subject_late_s in pool.map(calm, keys, [plan] * 4, [options.seed] * 4):
            rows += subject_rows
            late_s += subject_late_s
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        for subject_rows in pool.map(busy, keys[:2], [plan] * 2, [options.seed] * 2):
            rows += subject_rows
    for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
        case = f"{name} of a sleeping reader"
        rows.append(Row("woken_late_ms", "this machine", case, quantile(late_s, share) * 1e3, "ms", len(late_s)))
    return sorted(rows, key=lambda row: row.metric)


if __name__ == "__main__":
    run("ranging", arguments(__doc__.splitlines()[0]).parse_args(), measure)
