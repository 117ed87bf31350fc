"""From the first sample in the warning zone to the first frame of the warning: the whole chain.

Somebody walks backward to one of the seven things of `approach`, at 0.2 to 1.2 m/s, in a world drawn from a seed
(`encounters`), and wears the default set, guarding.  Sensors, drivers, guard, Companion, voice and mixer are the
device's own.

The zone is what the device's own rule (`core/hazards.py`, `collision_level`) calls a warning for this walker, given the
true closing speed instead of an estimate.  A walker's speed rises and falls with every step; so there are two zones:

- of the `step`: the true mean over the last 0.6 s, as in `approach`.  The goals are set for this one.
- of the `moment`: the greater of the walker's speed at that instant and of the mean over two steps, 1.2 s.  It is
  entered at the peak of a step, and no reading of the rule begins earlier.

Time begins, in one of two ways:

- `sample`: at the echo (`t_measured_s`, half way of its flight) of the first range sample of a rear sensor that lies in
  the zone.  A sample is of the thing when it differs from its true distance by no more than 0.3 m.
- `truth`: when the thing itself first lies in the zone, be it seen or not, so that a sensor's period, and whatever it
  does not see, count as well.

It ends with the first frame of the warning that passes the play pointer: of the warning that holds at the beginning, or
else of the first that comes afterwards.  Before it counts as negative.  Many warnings begin before the zone of the step
is reached, because the rule is asked at the peak of a step, too, and they can hide the others in a median: `late only`
has the same quantiles of those that came after.  Approaches in which the walker stopped so early that the zone was
never entered are in no quantile (`stopped_before`), and one that was entered without a warning counts as a minute
(`never`).

- `sound_ms`: `p50 sample step`, `p99 truth moment` and so on; each also `late only`; from the sample in the zone of the
  step also by kind, and at the speeds up to which this device protects such a walker (`protected speed`) or beyond it;
  and `appearing`: people, cars and walls that are suddenly there, within the zone, which must first be seen often
  enough to be believed.
- Its parts, of the zone of the step and of the approaches whose warning came after the first sample: `sample_ms` (truth
  to the echo of the first sample), `delivery_ms` (from that echo until the guard has the sample), `decision_ms` (from
  there to the decision), `voice_ms` (decision to first frame).  `voice_ms` is of all warnings that were heard.
- `by_sensor`: of a hundred first samples, how many came from which sensor.

Most approaches happen in virtual time: computing costs nothing in it.  Some happen along real time (`real quiet`,
`real busy`): guard, voice and courier are processes under their supervisor, the voice plays on the pretend card of
tests/paced_card, and the world is in this process, with thin sides in between that a device does not have.  Samples and
decisions are those of the recording that the courier wrote; the first frame is at the card's play pointer: by the
card's own log when the warning comes out of silence, and otherwise, when it cuts off words, by the pointer that the
voice read as it wrote (`onset_off_ms`: how far that was from the log where both are known).  `real quiet`: nothing else
is started; `real busy`: one more process computes without pause.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import encounters
from common import Row, arguments, run
from encounters import OURS, SETS_OFF_S, THING, Assumed, Encounter
from intervals import quantile, quantile_interval
from tests.paced_card.card import build
from voice_faults import START_S, Device

from retrowalk.core import events as ev
from retrowalk.core.events import Level
from retrowalk.core.hazards import STRIDE_S, collision_level, needed_m
from retrowalk.core.samples import Item, RangeSample, RangeStatus
from retrowalk.courier import recording
from retrowalk.sim.walker import Moment
from retrowalk.sim.world import Obstacle, Place, Remove, Stand, Walk, World
from retrowalk.voice import bank as banks

SPEAKERS = Path(__file__).with_name("speakers.py")
ZONES = ("step", "moment")
REAR = frozenset(sensor.name for sensor in encounters.DEVICES[OURS].range_sensor if sensor.role == "rear")
SPEEDS_M_S = (0.2, 1.2)
OF_THE_THING_M = 0.3
TRUTH_STEP_S = 0.005
SLICE_S = 0.1
STOOD_S = 0.5
LIMIT_S = 15.0
NEVER_MS = 60_000.0
REAL_AGE = "older"
APPROACHES_A_WALK = 30
FEW = 10
"""Fewer are not worth two walks: all of them are quiet."""
SETTLES_S = 5.0
REST_S = 3.0
"""Until the words are over and the path is clear again."""
WRITTEN_S = 4.0
"""Until the courier has written down what there was."""
SAME_SOUND_S = 0.03
QUANTILES = {"p50": 0.5, "p99": 0.99}
GOALS = {"p50": "<= 150", "p99": "<= 300"}


# ------------------------------------------------------------------------------------------------------ the measure


@dataclass
class Entry:
    """How the thing came into one zone, and what was said.  Times are session seconds, None: it did not happen."""

    truth_s: float | None = None
    """When the thing lay in the zone."""
    sample_s: float | None = None
    """When the first sample in the zone was measured."""
    delivered_s: float | None = None
    """When the guard had it."""
    sensor: str = ""
    decided_s: float | None = None
    sound_s: float | None = None
    """First frame."""

    def begin_s(self, begin: str) -> float | None:
        """When `sample` or `truth` was."""
        return self.sample_s if begin == "sample" else self.truth_s

    def sound_ms(self, begin: str) -> float | None:
        """From there to the first frame; a minute without one, None when the zone was not entered."""
        begin_s = self.begin_s(begin)
        if begin_s is None:
            return None
        return NEVER_MS if self.sound_s is None else (self.sound_s - begin_s) * 1000.0


@dataclass
class Approach:
    """What became of one, zone by zone."""

    encounter: Encounter
    entries: dict[str, Entry] = field(default_factory=lambda: {zone: Entry() for zone in ZONES})


class Remembered:
    """What was true of a walk in real time, for longer than the world itself remembers: `note` it as it happens."""

    def __init__(self) -> None:
        self._moments: list[Moment] = []
        self.thing: Obstacle | None = None
        """The one that is asked for."""

    def note(self, world: World, until_s: float) -> None:
        """Adds what has happened up to then."""
        while len(self._moments) * TRUTH_STEP_S < until_s:
            self._moments.append(world.moment(len(self._moments) * TRUTH_STEP_S))

    def moment(self, t_s: float) -> Moment:
        """The walker at `t_s`, to the nearest moment noted."""
        return self._moments[min(len(self._moments) - 1, max(0, round(t_s / TRUTH_STEP_S)))]


def gap_m(world: World | Remembered, t_s: float) -> float:
    """Distance from the sensor to the thing; infinite while it is not there."""
    if isinstance(world, Remembered):
        thing = world.thing
        there = thing is not None and thing.present(t_s)
        return thing.gap_m(t_s, world.moment(t_s).position_m) if thing is not None and there else math.inf
    return encounters.gap_m(world, t_s)


class Zone:
    """The warning zone by the truth."""

    def __init__(self, kind: str, world: World | Remembered, age: str) -> None:
        self._world = world
        self._kind = kind
        config = encounters.configured(OURS, age)
        self._walker, self._collision = config.walker, config.collision

    def holds(self, t_s: float, range_m: float) -> bool:
        """Whether something at `range_m` is in it at `t_s`."""
        return collision_level(range_m, self._speed_m_s(t_s), self._walker, self._collision) is Level.WARNING

    def _speed_m_s(self, t_s: float) -> float:
        if self._kind == "step":
            return self._mean_m_s(t_s, encounters.MEAN_S)
        return max(self._world.moment(t_s).speed_m_s, self._mean_m_s(t_s, STRIDE_S))

    def _mean_m_s(self, t_s: float, over_s: float) -> float:
        since_s = max(0.0, t_s - over_s)
        walked_m = self._world.moment(t_s).position_m - self._world.moment(since_s).position_m
        return walked_m / max(1e-9, t_s - since_s)


class Watch:
    """Sees truth and samples pass, and notes when each zone is entered first, after the walker has set off."""

    def __init__(self, world: World | Remembered, approach: Approach, from_s: float = SETS_OFF_S) -> None:
        self._world = world
        self._zones = [(Zone(kind, world, approach.encounter.age), entry) for kind, entry in approach.entries.items()]
        self._from_s = self._seen_s = from_s

    def take(self, items: Sequence[Item]) -> None:
        """What a driver hands the guard."""
        for item in items:
            if not isinstance(item, RangeSample) or item.status is not RangeStatus.VALID or item.range_m is None:
                continue
            t_s, range_m = item.t_measured_s, item.range_m
            if item.sensor not in REAR or t_s < self._from_s:
                continue
            if abs(range_m - gap_m(self._world, t_s)) > OF_THE_THING_M:
                continue
            for zone, entry in self._zones:
                if (entry.sample_s is None or t_s < entry.sample_s) and zone.holds(t_s, range_m):
                    entry.sample_s, entry.delivered_s, entry.sensor = t_s, item.t_received_s, item.sensor

    def advance(self, t_s: float) -> None:
        """The truth up to `t_s`."""
        while self._seen_s < t_s:
            range_m = gap_m(self._world, self._seen_s)
            for zone, entry in self._zones:
                if entry.truth_s is None and range_m < math.inf and zone.holds(self._seen_s, range_m):
                    entry.truth_s = self._seen_s
            self._seen_s += TRUTH_STEP_S


def warned(
    begin_s: float, raised: Sequence[tuple[float, str, bool]], sounds: Sequence[float]
) -> tuple[float | None, float | None]:
    """The decision that holds at `begin_s`, or else the first after it, and its first frame.

    `raised`: (when, hazard, whether it is a warning from then on) in order; `sounds`: first frames of warnings.
    """
    held: dict[str, float] = {}
    for t_s, hazard, holds in raised:
        if t_s > begin_s and held:
            break
        if holds:
            held.setdefault(hazard, t_s)
        else:
            held.pop(hazard, None)
        if held and t_s > begin_s:
            break
    decided_s = min(held.values(), default=None)
    if decided_s is None:
        return None, None
    return decided_s, next((t_s for t_s in sorted(sounds) if t_s >= decided_s), None)


def drawn(seed: int, case: str, index: int) -> Encounter:
    """Approach number `index`: `pooled` at any speed, begun a little outside the zone, or `appearing` within it."""
    encounter = encounters.draw(seed, case, index)
    of = random.Random(f"chain:{seed}:{case}:{index}")
    speed_m_s = of.uniform(*SPEEDS_M_S)
    config = encounters.configured(OURS, encounter.age)
    zone_m = needed_m(Level.WARNING, speed_m_s, config.walker, config.collision)
    behind_m = zone_m + of.uniform(0.3, 1.0) + of.uniform(0.0, 1.5) * speed_m_s
    return replace(encounter, speed_m_s=speed_m_s, behind_m=behind_m)


def walked(encounter: Encounter) -> Approach:
    """One approach in virtual time."""
    approach = Approach(encounter)
    assert encounter.speed_m_s is not None
    world = encounters.world_of(encounter, encounter.speed_m_s, Assumed())
    device = encounters.worn(OURS, encounter.age, world)
    watch = Watch(world, approach)
    hand_over = device.guard.take

    def take(items: Sequence[Item], now: float, step: str = "") -> None:
        watch.take(items)
        hand_over(items, now, step)

    device.guard.take = take  # type: ignore[method-assign]  # the guard's own door, and one who looks on
    try:
        _walk(world, approach, device.run_until, watch)
        device.take_events()
        raised = [
            (event.t_s, event.data["hazard"], event.data["level"] == "warning")
            for event in device.events
            if event.type in ("hazard.raised", "hazard.cleared")
        ]
        sounds = [heard.start_s for heard in device.ear.heard if heard.key == "warning"]
    finally:
        device.close()
    judge(approach, raised, sounds)
    return approach


def judge(approach: Approach, raised: Sequence[tuple[float, str, bool]], sounds: Sequence[float]) -> None:
    """Finds the warning of each zone."""
    for entry in approach.entries.values():
        begin_s = entry.sample_s if entry.sample_s is not None else entry.truth_s
        if begin_s is not None:
            entry.decided_s, entry.sound_s = warned(begin_s, raised, sounds)


def _walk(world: World, approach: Approach, run_until: Callable[[float], None], watch: Watch) -> None:
    """Lets the walk go on until the walker has stopped, touched it, or needed too long."""
    encounter = approach.encounter
    assert encounter.speed_m_s is not None
    begins_s = encounter.steps_in_s if encounter.inside is not None else SETS_OFF_S
    end_s = begins_s + (encounter.behind_m + 1.0) / encounter.speed_m_s + LIMIT_S
    stood_s, t_s = 0.0, 0.0
    while t_s < end_s and stood_s < STOOD_S:
        t_s = round(t_s + SLICE_S, 6)
        run_until(t_s)
        world.advance(t_s)
        watch.advance(t_s)
        if any(contact.name == THING for contact in world.contacts):
            end_s = min(end_s, t_s + 0.5)
        stood_s = stood_s + SLICE_S if t_s > begins_s + 1.0 and world.walker.standing else 0.0


# -------------------------------------------------------------------------------------------------- along real time


@dataclass
class Real:
    """Approaches in real processes, and how the two ways to know the first frame agree."""

    approaches: list[Approach] = field(default_factory=list)
    off_ms: list[float] = field(default_factory=list)


@contextmanager
def neighbour(busy: bool) -> Iterator[None]:
    """A process that computes without pause, or none."""
    process = subprocess.Popen([sys.executable, str(SPEAKERS), "spin"]) if busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def walked_really(encounters_: Sequence[Encounter], folder: Path, library: Path, *, busy: bool) -> Real:
    """Approaches one after the other, in one walk of real processes."""
    phrases = banks.build(encounters.configured(OURS, REAL_AGE), banks.default_directory()).directory
    found, truth = Real(), Remembered()
    spans: list[tuple[float, float, Obstacle]] = []
    with Device(folder, library, encounters_[0].seed, phrases) as device:
        assert device.config.walker == encounters.configured(OURS, REAL_AGE).walker

        def until(holds: Callable[[], object], within_s: float) -> bool:
            """As the device's, but the truth is noted."""

            def look() -> object:
                truth.note(device.world, device.now() - 0.1)
                return holds()

            return device.until(look, within_s)

        if not until(lambda: device.first.entries("START"), START_S):
            raise RuntimeError(f"the voice did not begin: {device.log()[-2000:]}")
        until(lambda: False, SETTLES_S)
        with neighbour(busy):
            for encounter in encounters_:
                assert encounter.speed_m_s is not None
                begin_s = device.now()
                device.does(Place(encounter.sim_kind, encounter.behind_m, name=THING))
                device.does(Walk(encounter.speed_m_s))
                until(lambda: not device.world.walker.standing, 3.0)
                until(
                    lambda: device.world.walker.standing or device.world.contacts,
                    (encounter.behind_m + 1.0) / encounter.speed_m_s + LIMIT_S,
                )
                until(lambda: False, 0.5)
                spans.append((begin_s, device.now(), device.world.obstacles[-1]))
                device.does(Remove(THING))
                device.does(Stand())
                until(lambda: False, REST_S)
        heard_s = [heard.start_s for heard in device.ear.heard if heard.key == "warning"]
        onsets_s = [t_s - device.origin_mono_s for t_s in device.first.entries("ONSETL")]
        until(lambda: False, WRITTEN_S)
    sounds = []
    for t_s in heard_s:
        logged_s = min(onsets_s, key=lambda onset_s: abs(onset_s - t_s), default=math.inf)
        same = abs(logged_s - t_s) <= SAME_SOUND_S
        sounds.append(logged_s if same else t_s)
        found.off_ms += [(t_s - logged_s) * 1000.0] if same else []
    entries = recording.read(sorted((folder / "state" / "recordings").glob("*.mcap"))).entries
    samples = [entry.value for entry in entries if isinstance(entry.value, RangeSample)]
    raised = [
        (entry.value.t_s, entry.value.hazard, entry.value.level == "warning")
        for entry in entries
        if isinstance(entry.value, ev.HazardRaised | ev.HazardCleared)
    ]
    for encounter, (begin_s, end_s, thing) in zip(encounters_, spans, strict=True):
        approach = Approach(encounter)
        truth.thing = thing
        watch = Watch(truth, approach, begin_s)
        watch.take([sample for sample in samples if begin_s <= sample.t_measured_s < end_s])
        watch.advance(end_s)
        judge(
            approach,
            [each for each in raised if begin_s <= each[0] < end_s],
            [t_s for t_s in sounds if begin_s <= t_s < end_s],
        )
        found.approaches.append(approach)
    return found


def drawn_really(seed: int, index: int) -> Encounter:
    """One approach of those; everybody is older, and stands where the last one ended."""
    of = random.Random(f"chain:{seed}:real:{index}")
    encounter = encounters.draw(seed, "pooled", index)
    config = encounters.configured(OURS, REAL_AGE)
    speed_m_s = of.uniform(*SPEEDS_M_S)
    zone_m = needed_m(Level.WARNING, speed_m_s, config.walker, config.collision)
    behind_m = zone_m + of.uniform(0.3, 0.6) + of.uniform(1.0, 2.0) * speed_m_s
    return replace(encounter, age=REAL_AGE, speed_m_s=speed_m_s, behind_m=behind_m, backdrop_m=None)


def real_rows(count: int, seed: int) -> list[Row]:
    """So many approaches along real time, half of them, unless they are few, beside a busy process."""
    rows: list[Row] = []
    off_ms: list[float] = []
    with tempfile.TemporaryDirectory(prefix="rw-") as temporary:
        library = build(Path(temporary))
        quiet = count if count < FEW else (count + 1) // 2
        for case, first, last in (("quiet", 0, quiet), ("busy", quiet, count)):
            approaches: list[Approach] = []
            for begin in range(first, last, APPROACHES_A_WALK):
                jobs = [drawn_really(seed, index) for index in range(begin, min(last, begin + APPROACHES_A_WALK))]
                real = walked_really(jobs, Path(temporary) / f"{case}{begin}", library, busy=case == "busy")
                approaches += real.approaches
                off_ms += real.off_ms
                print(f"chain: {len(approaches)} approaches, {case}, in real time", file=sys.stderr, flush=True)
            if approaches:
                rows += sound_rows(approaches, f" real {case}") + part_rows(approaches, f" real {case}")
    if off_ms:
        largest = max(off_ms, key=abs)
        rows.append(Row("onset_off_ms", OURS, "max real", round(largest, 1), "ms", len(off_ms)))
    return rows


# --------------------------------------------------------------------------------------------------------- the rows


def quantile_rows(case: str, values: Sequence[float], goals: bool = False, metric: str = "sound_ms") -> list[Row]:
    """p50 and p99 of some; no row of nothing."""
    rows = []
    for name, share in QUANTILES.items() if values else ():
        low, high = quantile_interval(values, share)
        goal = GOALS[name] if goals else None
        interval = (round(low, 1), round(high, 1))
        rows.append(
            Row(metric, OURS, f"{name} {case}", round(quantile(values, share), 1), "ms", len(values), interval, goal)
        )
    return rows


def sound_rows(approaches: Sequence[Approach], suffix: str = "") -> list[Row]:
    """From zone to sound, and whatever has no such time."""
    rows: list[Row] = []
    n = len(approaches)
    for zone in ZONES:
        entries = [approach.entries[zone] for approach in approaches]
        for begin in ("sample", "truth"):
            values = [v for entry in entries if (v := entry.sound_ms(begin)) is not None]
            rows += quantile_rows(f"{begin} {zone}{suffix}", values, zone == "step")
            rows += quantile_rows(f"{begin} {zone}, late only{suffix}", [v for v in values if v > 0.0], False)
        entered = [entry for entry in entries if entry.sample_s is not None or entry.truth_s is not None]
        never = sum(entry.sound_s is None for entry in entered)
        rows.append(Row("never", OURS, f"{zone}{suffix}", never, "walks", len(entered), goal="<= 0"))
        rows.append(Row("stopped_before", OURS, f"{zone}{suffix}", n - len(entered), "walks", n))
    return rows


def part_rows(approaches: Sequence[Approach], suffix: str = "") -> list[Row]:
    """Where the time goes."""
    entries = [approach.entries["step"] for approach in approaches]
    late = [e for e in entries if e.sound_s is not None and (e.sound_ms("sample") or 0.0) > 0.0]
    rows: list[Row] = []
    parts: dict[str, Callable[[Entry], float | None]] = {
        "sample_ms": lambda e: _between(e.truth_s, e.sample_s),
        "delivery_ms": lambda e: _between(e.sample_s, e.delivered_s),
        "decision_ms": lambda e: _between(e.delivered_s, e.decided_s),
    }
    for metric, part in parts.items():
        rows += quantile_rows(f"late only{suffix}", [v for e in late if (v := part(e)) is not None], False, metric)
    voice = [v for e in entries if (v := _between(e.decided_s, e.sound_s)) is not None]
    return rows + quantile_rows(f"all{suffix}", voice, False, "voice_ms")


def _between(from_s: float | None, to_s: float | None) -> float | None:
    return None if from_s is None or to_s is None else (to_s - from_s) * 1000.0


def _from_sample_ms(approaches: Sequence[Approach]) -> list[float]:
    return [v for a in approaches if (v := a.entries["step"].sound_ms("sample")) is not None]


def rows_of(pooled: Sequence[Approach], appearing: Sequence[Approach]) -> list[Row]:
    """The table."""
    rows = sound_rows(pooled) + part_rows(pooled)
    for kind in encounters.POOLED:
        rows += quantile_rows(f"sample step, {kind}", _from_sample_ms([a for a in pooled if a.encounter.kind == kind]))
    slow = [a for a in pooled if (a.encounter.speed_m_s or 0.0) <= encounters.protected_m_s(a.encounter.age)]
    rows += quantile_rows("sample step, protected speed", _from_sample_ms(slow))
    fast = [a for a in pooled if a not in slow]
    rows += quantile_rows("sample step, beyond it", _from_sample_ms(fast))
    sensors = Counter(entry.sensor for a in pooled if (entry := a.entries["step"]).sensor)
    count = sum(sensors.values())
    rows += [
        Row("by_sensor", OURS, name, round(100.0 * hits / count, 1), "1/100", count)
        for name, hits in sensors.most_common()
    ]
    if appearing:
        rows += sound_rows(appearing, " appearing") + part_rows(appearing, " appearing")
    return rows


def walked_all(jobs: Sequence[Encounter], processes: int) -> list[Approach]:
    """Every approach, in their order; tells on stderr how far it is."""
    encounters.prepare()
    results: list[Approach] = []
    if processes == 1:
        answers = map(walked, jobs)
        return [_told(results, answer, len(jobs)) for answer in answers]
    with multiprocessing.get_context("spawn").Pool(processes, encounters.begin_process) as pool:
        return [_told(results, answer, len(jobs)) for answer in pool.imap(walked, jobs, chunksize=4)]


def _told(results: list[Approach], answer: Approach, whole: int) -> Approach:
    results.append(answer)
    if len(results) % max(1, whole // 10) == 0:
        print(f"chain: {len(results)} of {whole} approaches", file=sys.stderr, flush=True)
    return answer


def measure(options: argparse.Namespace) -> list[Row]:
    """All of it."""
    size = (20, 3) if options.quick else (5000, 240) if options.full else (1000, 60)
    count = size[0] if options.approaches is None else options.approaches
    real = size[1] if options.real is None else options.real
    jobs = [drawn(options.seed, "pooled", index) for index in range(count)]
    jobs += [drawn(options.seed, "appearing", index) for index in range(count // 5)]
    rows: list[Row] = []
    if jobs:
        approaches = walked_all(jobs, options.processes)
        rows += rows_of(approaches[:count], approaches[count:])
    return rows + (real_rows(real, options.seed) if real else [])


if __name__ == "__main__":
    parser = arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument("--approaches", type=int, help="in virtual time (default 1000; --quick 20; --full 5000)")
    parser.add_argument("--real", type=int, help="approaches along real time (default 60; --quick 3; --full 240)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="for virtual time (default: all)")
    run("chain", parser.parse_args(), measure)
