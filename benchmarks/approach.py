"""Walking backward towards something: who stops short of it with our device, with what people build, with nothing.

A walker in the loop, in virtual time, through the real drivers; the worlds, the people and what counts as a contact are
in `encounters`, what is assumed of the others in `peers`.  A seed gives the same numbers on any number of processes.

- `contacts_per_100`: at exactly the protected speed of this walker with a healthy default set (`retrowalk one
  ultrasonic`: with its own).  `pooled`: wall (square or tilted 10 or 20 degrees), pole, hedge, car, person in fleece,
  person in jacket, chain-link, equally often; then each of them; `older` and `younger`; child, bicycle and kerb.
- `contacts_all_per_100`: from 0.3 to 1.2 m/s, protected or not; the walker obeys "Slow down".  `pooled`: the same seven
  kinds; `every kind`: child, bicycle and kerb as well, a tenth each.  `contacts_cell_per_100`: by speed, age and kind.
- `contact_causes`: contacts of `pooled` (and of the others) by kind and cause.  `never detected`; `detected late`: the
  cue left less room than 95 of 100 such people need; `person slower than 95 %`: it left that room, and this person took
  longer; `governor had spoken` before; `other`.
- `lead_time_s`: from the first sound of the warning until the foot would be there: of `pooled`; of child, bicycle and
  kerb; `kerb 0.6 m/s`: of a kerb at that speed.
- `decision_ms`: from the truth to the decision to warn.  The truth: the first instant at which room and closing speed
  (the mean over a step) satisfy the warning rule, or the thing appears where they do; warned before counts as negative.
  `followed`: walks of `pooled` in which the device followed the thing just before; `pooled`: all of them; `appearing`:
  people, cars and walls (a door) that are suddenly there, inside the warning zone, with no sun behind.  `never`: in so
  many walks no decision was made.
- `first_sound_ms`: from the truth to the first sound of the warning, in the same walks.
- `protected_speed_m_s`: the highest speed of a ladder up to which at least 95 % of older walkers stop short of a person
  in a jacket, in the shade, at every speed, and the governor speaks no more than twice an hour.  `governor_per_h`: at
  the speeds up to it, walking steadily.
- `false_warnings_per_h`, `false_cautions_per_h`: of walks with nothing in the way (`encounters.Stretch`), with a
  companion behind, and followed while walking forward.  A warning is an episode; a caution is every clip of level
  caution of the rear channel that is heard, "Look behind you, I cannot" included; their parts have cases of their own.
  `gravel` has a trunk that swings 10 degrees each way at every step; `gravel 5` half of it; `asphalt sun` a low sun
  straight behind, which blinds the lidar: what is said of that is true.

Intervals are 95 %: Wilson's for shares, Garwood's for rates (whose `n` is minutes walked), order statistics for
quantiles.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import encounters
from common import Row, arguments, run
from encounters import (
    ALONE,
    KINDS,
    OTHERS,
    OURS,
    PARTS,
    POOLED,
    STRETCH_S,
    SUBJECTS,
    Assumed,
    Counts,
    Encounter,
    Outcome,
    Stretch,
)
from intervals import poisson, quantile, quantile_interval, wilson

from retrowalk import wire

KERB_CASE = "kerb 0.6 m/s"
TUTORIALS = ("tutorial", "tutorial 1.0 m")
LADDER_M_S = (0.5, 0.6, 0.7, 0.8, 0.9)
STOP_SHORT = 0.95
GOVERNOR_PER_H = 2.0
BANDS_M_S = ((0.3, 0.6), (0.6, 0.9), (0.9, 1.2))
FALSE_GOALS = {
    "asphalt": (1, 4),
    "companion 1.0": (1, 4),
    "companion 1.5": (1, 4),
    "followed": (1, 4),
    "gravel": (2, 8),
}
RATES = ("asphalt", "gravel", "grass", "companion 1.0", "companion 1.5", "followed")
SIDE_RATES = ("gravel 5", "asphalt sun")
SIDE_SHARE = 0.25
"""These, steady walking, and what `retrowalk one ultrasonic` says of nothing, are walked a quarter as long."""


@dataclass(frozen=True)
class Size:
    """How much is walked."""

    walks: int
    """Encounters of `pooled`; the others follow from it."""
    minutes: float
    """Of each rate."""
    ladder_m_s: tuple[float, ...] = LADDER_M_S

    def encounters(self, seed: int) -> list[Encounter]:
        """Everything that every subject walks into."""
        counts = {"pooled": self.walks, "all": self.walks, "appearing": self.walks // 2}
        counts |= dict.fromkeys(OTHERS, max(1, self.walks // 5))
        return [encounters.draw(seed, case, i) for case, count in counts.items() for i in range(count)]

    def ladder(self, seed: int) -> list[Encounter]:
        """Older walkers, a person in a jacket, speed by speed."""
        count = max(1, self.walks // 7)
        return [encounters.draw(seed, f"shade {v:g}", i) for v in self.ladder_m_s for i in range(count)]

    def stretches(self, seed: int, cases: Iterable[str], share: float = 1.0) -> list[Stretch]:
        """So many minutes of each case."""
        count = math.ceil(self.minutes * share * 60.0 / STRETCH_S)
        return [Stretch(case, i, seed) for case in cases for i in range(count)]


SIZES = {"quick": Size(14, 5.0, (0.6, 0.7, 0.8)), "default": Size(350, 30.0), "full": Size(1400, 600.0)}

Job = tuple[Encounter | Stretch, str, Assumed]
Result = Outcome | Counts


def jobs_of(size: Size, seed: int) -> list[Job]:
    """All of it, for every subject."""
    assumed = Assumed()
    jobs: list[Job] = []
    for subject in SUBJECTS:
        jobs += [(encounter, subject, assumed) for encounter in size.encounters(seed)]
        if subject == OURS:
            jobs += [(encounter, subject, assumed) for encounter in size.ladder(seed)]
            kerbs = [encounters.draw(seed, KERB_CASE, i) for i in range(max(1, size.walks // 5))]
            jobs += [(encounter, subject, assumed) for encounter in kerbs]
            steady = [f"steady {v:g}" for v in size.ladder_m_s]
            jobs += [(s, subject, assumed) for s in size.stretches(seed, (*SIDE_RATES, *steady), SIDE_SHARE)]
        if subject != encounters.NOTHING:
            share = SIDE_SHARE if subject == ALONE else 1.0
            cases = RATES[:2] if subject == ALONE else RATES
            jobs += [(s, subject, assumed) for s in size.stretches(seed, cases, share)]
    return jobs


def done(job: Job) -> Result:
    """One job, in any process."""
    what, subject, assumed = job
    if isinstance(what, Encounter):
        return encounters.lived(what, subject, assumed)
    return encounters.strolled(what, subject)


def _lasts(job: Job) -> float:
    """About how long it takes, as seconds of a device's walking."""
    what, subject, _ = job
    share = 1.0 if subject in encounters.DEVICES else 0.04
    return share * (9.0 if isinstance(what, Encounter) else STRETCH_S)


def _numbered(job: tuple[int, Job]) -> tuple[int, Result]:
    return job[0], done(job[1])


def done_all(jobs: Sequence[Job], processes: int, title: str = "approach") -> list[Result]:
    """Every job, in their order; tells on stderr how far it is."""
    encounters.prepare()
    results: dict[int, Result] = {}
    # The long ones first, so that no process ends up alone with one.
    order = sorted(enumerate(jobs), key=lambda job: -_lasts(job[1]))
    whole = sum(map(_lasts, jobs))
    done_s, told = 0.0, 0

    def take(answers: Iterable[tuple[int, Result]]) -> None:
        nonlocal done_s, told
        for number, result in answers:
            results[number] = result
            done_s += _lasts(jobs[number])
            if done_s * 10.0 / whole >= told + 1:
                told = int(done_s * 10.0 / whole)
                print(f"{title}: {10 * told} %, {len(results)} of {len(jobs)} walks", file=sys.stderr, flush=True)

    if processes == 1:
        take(map(_numbered, order))
    else:
        with multiprocessing.get_context("spawn").Pool(processes, encounters.begin_process) as pool:
            take(pool.imap_unordered(_numbered, order, chunksize=4))
    return [results[number] for number in range(len(jobs))]


# --------------------------------------------------------------------------------------------------------- rows


def contacts(metric: str, subject: str, case: str, outcomes: Sequence[Outcome], goal: str | None = None) -> list[Row]:
    """Contacts of a hundred; no row of nothing."""
    n = len(outcomes)
    if not n:
        return []
    hits = sum(o.contact_s is not None for o in outcomes)
    low, high = wilson(hits, n)
    interval = (round(100.0 * low, 2), round(100.0 * high, 2))
    return [Row(metric, subject, case, round(100.0 * hits / n, 3), "1/100", n, interval, goal)]


def quantiles(
    metric: str, subject: str, cases: dict[str, float], values: Sequence[float], unit: str, goal: str | None = None
) -> list[Row]:
    """Quantiles by case; no row of nothing."""
    if not values:
        return []
    rows = []
    for case, share in cases.items():
        low, high = quantile_interval(values, share)
        value = quantile(values, share)
        rows.append(
            Row(metric, subject, case, round(value, 3), unit, len(values), (round(low, 3), round(high, 3)), goal)
        )
    return rows


def rate(metric: str, subject: str, case: str, count: int, hours: float, goal: str | None = None) -> Row:
    """Events an hour; n is the minutes walked."""
    low, high = poisson(count)
    interval = (round(low / hours, 2), round(high / hours, 2))
    return Row(metric, subject, case, round(count / hours, 3), "1/h", round(60.0 * hours), interval, goal)


def rows_of(results: Sequence[Result]) -> list[Row]:
    """The table."""
    outcomes: dict[str, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    counts: dict[str, dict[str, list[Counts]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if isinstance(result, Outcome):
            outcomes[result.subject][result.encounter.case].append(result)
        else:
            counts[result.subject][result.stretch.case].append(result)
    table: list[Row] = []
    for subject in SUBJECTS:
        of = outcomes[subject]
        ours = subject == OURS
        table += pooled_rows(subject, of["pooled"], "<= 2" if ours else None)
        for case in (*OTHERS, KERB_CASE):
            table += contacts("contacts_per_100", subject, case, of[case])
        goal = None
        if ours:
            reference = contacts("", "", "", [o for o in outcomes["tutorial"]["all"] if o.encounter.kind in POOLED])
            goal = f"<= {reference[0].value / 10.0:.4g}" if reference else None
        seven = [o for o in of["all"] if o.encounter.kind in POOLED]
        table += contacts("contacts_all_per_100", subject, "pooled", seven, goal)
        table += contacts("contacts_all_per_100", subject, "every kind", of["all"], goal)
        if subject in (OURS, *TUTORIALS[:1]):
            table += cell_rows(subject, of["all"])
        every = [o for case in ("pooled", *OTHERS, "all") for o in of[case]]
        if subject in (OURS, ALONE):
            table += cause_rows(subject, every)
        table += time_rows(subject, of)
        table += rate_rows(subject, counts[subject])
    table += ladder_rows(outcomes[OURS], counts[OURS])
    return table


def pooled_rows(subject: str, outcomes: Sequence[Outcome], goal: str | None) -> list[Row]:
    """The headline, and what it is made of."""
    table = contacts("contacts_per_100", subject, "pooled", outcomes, goal)
    for kind in POOLED:
        table += contacts("contacts_per_100", subject, kind, [o for o in outcomes if o.encounter.kind == kind])
    for age in encounters.AGES:
        some = [o for o in outcomes if o.encounter.age == age]
        at_most = "<= 5" if age == "older" and subject in encounters.DEVICES else None
        table += contacts("contacts_per_100", subject, age, some, at_most)
    sunny = [o for o in outcomes if o.encounter.sun_deg > 0.0]
    return table + contacts("contacts_per_100", subject, "sun behind", sunny)


def cell_rows(subject: str, outcomes: Sequence[Outcome]) -> list[Row]:
    """By speed, age and kind."""
    table = []
    for low, high in BANDS_M_S:
        for age in encounters.AGES:
            for kind in KINDS:
                some = [
                    o
                    for o in outcomes
                    if low <= o.speed_m_s < high and (o.encounter.age, o.encounter.kind) == (age, kind)
                ]
                table += contacts("contacts_cell_per_100", subject, f"{low:g} to {high:g} m/s {age} {kind}", some)
    return table


def cause_rows(subject: str, outcomes: Sequence[Outcome]) -> list[Row]:
    """Contacts by kind and cause, at protected speed and at any."""
    table = []
    for which in ("protected", "all"):
        some = [o for o in outcomes if (o.encounter.case == "all") is (which == "all")]
        n = Counter(o.encounter.kind for o in some)
        causes = Counter((o.encounter.kind, o.cause) for o in some if o.contact_s is not None)
        for kind in KINDS:
            for (of, cause), count in sorted(causes.items()):
                if of == kind:
                    table.append(Row("contact_causes", subject, f"{which} {kind}: {cause}", count, "contacts", n[kind]))
    return table


def time_rows(subject: str, of: dict[str, list[Outcome]]) -> list[Row]:
    """When it was known, and heard."""
    pooled = of["pooled"]
    rooms = [o.room_s for o in pooled if o.room_s is not None]
    table = quantiles("lead_time_s", subject, {"p5": 0.05, "p50": 0.5}, rooms, "s")
    for case in (*OTHERS, KERB_CASE):
        rooms = [o.room_s for o in of[case] if o.room_s is not None]
        goal = ">= 1.4" if case == KERB_CASE else None
        table += quantiles("lead_time_s", subject, {f"p5 {case}": 0.05}, rooms, "s", goal)
        table += quantiles("lead_time_s", subject, {f"p50 {case}": 0.5}, rooms, "s")
    goals = {(OURS, "followed"): "<= 130", (OURS, "appearing"): "<= 200", (ALONE, "appearing"): "<= 300"}
    for name, outcomes in (
        ("followed", [o for o in pooled if o.followed]),
        ("pooled", pooled),
        ("appearing", [o for o in of["appearing"] if o.appeared]),
    ):
        true = [o for o in outcomes if o.truth_s is not None]
        late = [1e3 * (o.decided_s - o.truth_s) for o in true if o.decided_s is not None and o.truth_s is not None]
        table += quantiles("decision_ms", subject, {f"p99 {name}": 0.99}, late, "ms", goals.get((subject, name)))
        table += quantiles("decision_ms", subject, {f"p50 {name}": 0.5}, late, "ms")
        if len(late) < len(true):
            table.append(Row("decision_ms", subject, f"{name}: never", len(true) - len(late), "walks", len(true)))
        late = [1e3 * (o.sound_s - o.truth_s) for o in true if o.sound_s is not None and o.truth_s is not None]
        promised = subject == OURS and name != "pooled"
        for case, share, limit in (("p50", 0.5, "<= 150"), ("p99", 0.99, "<= 300")):
            goal = limit if promised else None
            table += quantiles("first_sound_ms", subject, {f"{case} {name}": share}, late, "ms", goal)
    return table


def rate_rows(subject: str, counts: dict[str, list[Counts]]) -> list[Row]:
    """What is said of nothing."""
    table = []
    for case in (*RATES, *SIDE_RATES):
        some = counts.get(case, [])
        if not some:
            continue
        hours = sum(c.hours for c in some)
        warnings, cautions = FALSE_GOALS.get(case, (None, None)) if subject == OURS else (None, None)
        table.append(
            rate(
                "false_warnings_per_h",
                subject,
                case,
                sum(c.warnings for c in some),
                hours,
                None if warnings is None else f"<= {warnings}",
            )
        )
        if subject not in encounters.DEVICES:
            continue
        drops = sum(c.drops for c in some)
        if drops:
            table.append(rate("false_warnings_per_h", subject, f"{case}: drop", drops, hours))
        parts = {part: sum(c.cautions[part] for c in some) for part in PARTS}
        goal = None if cautions is None else f"<= {cautions}"
        table.append(rate("false_cautions_per_h", subject, case, sum(parts.values()), hours, goal))
        table += [
            rate("false_cautions_per_h", subject, f"{case}: {part}", count, hours)
            for part, count in parts.items()
            if count
        ]
        table.append(rate("governor_per_h", subject, case, parts["governor"], hours))
    return table


def ladder_rows(outcomes: dict[str, list[Outcome]], counts: dict[str, list[Counts]]) -> list[Row]:
    """The protected speed, by what it protects."""
    table: list[Row] = []
    protected, spoken, hours, n = 0.0, 0, 0.0, 0
    holds = True
    for speed in LADDER_M_S:
        some = outcomes.get(f"shade {speed:g}", [])
        steady = counts.get(f"steady {speed:g}", [])
        if not some or not steady:
            continue
        table += contacts("contacts_per_100", OURS, f"older shade jacket {speed:g} m/s", some)
        said, walked = sum(c.cautions["governor"] for c in steady), sum(c.hours for c in steady)
        table.append(rate("governor_per_h", OURS, f"older shade {speed:g} m/s", said, walked))
        short = sum(o.contact_s is None for o in some) / len(some)
        holds = holds and short >= STOP_SHORT and said / walked <= GOVERNOR_PER_H
        if holds:
            protected, spoken, hours, n = speed, spoken + said, hours + walked, n + len(some)
    case = "older shade jacket"
    table.append(Row("protected_speed_m_s", OURS, case, protected, "m/s", n, None, ">= 0.6"))
    if hours:
        table.append(rate("governor_per_h", OURS, case, spoken, hours, f"<= {GOVERNOR_PER_H:g}"))
    return table


# ------------------------------------------------------------------------------------------------------ explaining


def explain(name: str, subject: str) -> None:
    """Prints one walk of ours over time: what was true, what the sensors said, what was followed, what was heard.

    `name` is that of an encounter or a stretch, as printed: `seed/case/index`.
    """
    seed, _, rest = name.partition("/")
    case, _, index = rest.rpartition("/")
    trace = encounters.Trace()
    encounters.prepare()
    if case in (*RATES, *SIDE_RATES) or case.startswith("steady"):
        print(encounters.strolled(Stretch(case, int(index), int(seed)), subject, trace))
    else:
        encounter = encounters.draw(int(seed), case, int(index))
        outcome = encounters.lived(encounter, subject, trace=trace)
        print(f"{encounter}\n{outcome}\n{outcome.cause}")
    notes: list[tuple[float, str]] = [(t_s, f"heard {key}") for t_s, key in trace.heard]
    notes += [(t_s, f"felt {what}") for t_s, what in trace.felt]
    statuses: list[tuple[float, str]] = []
    for record in trace.records:
        t_s, data = record.log_ns / 1e9, json.loads(bytes(record.data))
        if record.channel.startswith("/item/range/"):
            sensor = record.channel.rsplit("/", 1)[1]
            said = f"{data['range_m']:.2f}" if data["status"] == "valid" else data["status"]
            notes.append((t_s, f"{sensor} {said}"))
        elif record.channel == wire.STATUS_CHANNEL:
            range_m, closing = data.get("range_m"), data.get("closing_speed_m_s")
            seen = "" if range_m is None else f"{range_m:.2f} m {'' if closing is None else format(closing, '+.2f')}"
            statuses.append((t_s, f"{data['path']} {data['hazard_level']} {seen}"))
        elif record.channel.startswith("/event/") and record.channel != "/event/alert.spoken":
            told = {
                key: value for key, value in data.items() if key not in ("t_s", "alert") and value not in ("", None)
            }
            notes.append((t_s, f"** {record.channel[7:]} {told}"))
    print(f"{'t':>6} {'gap':>6} {'v':>5}  {'device':<28} what came in, what was heard")
    before_s = -1.0
    for t_s, gap, speed in trace.truth:
        said = [text for at_s, text in sorted(notes) if before_s < at_s <= t_s]
        before_s = t_s
        status = next((text for at_s, text in reversed(statuses) if at_s <= t_s), "")
        print(f"{t_s:6.2f} {gap:6.2f} {speed:5.2f}  {status:<28} {', '.join(said)}")


# ------------------------------------------------------------------------------------------------------ sensitivity

MOVED = {
    "time to stop, median": "stop_median",
    "time to stop, sigma": "stop_sigma",
    "reach of the foot": "reach",
    "echo margin of a wall, dB": "wall_margin",
    "echo losses of targets, dB": "target_losses",
    "reflectances": "reflectances",
}
FACTORS = (0.7, 1.3)


def sensitivity(options: argparse.Namespace) -> list[Row]:
    """The headline of ours with what is assumed of people and targets moved by 30 %, one at a time.

    The device keeps its own assumptions: it is the world that is not as expected.
    """
    moved = {"as assumed": Assumed()}
    moved |= {f"{name} x {f:g}": Assumed(**{key: f}) for name, key in MOVED.items() for f in FACTORS}
    walks = [encounters.draw(options.seed, "pooled", i) for i in range(size_of(options).walks)]
    jobs: list[Job] = [(walk, OURS, assumed) for assumed in moved.values() for walk in walks]
    results = done_all(jobs, options.jobs, "sensitivity")
    table: list[Row] = []
    for number, name in enumerate(moved):
        some = [r for r in results[number * len(walks) : (number + 1) * len(walks)] if isinstance(r, Outcome)]
        table += contacts("contacts_per_100", OURS, f"pooled, {name}", some)
        older = [o for o in some if o.encounter.age == "older"]
        table += contacts("contacts_per_100", OURS, f"older, {name}", older)
    return table


def markdown(table: Sequence[Row]) -> str:
    """The page for RESULTS.md."""
    by_case = {row.case: row for row in table}

    def shown(case: str) -> str:
        row = by_case[case]
        assert row.ci95 is not None
        return f"{row.value:.1f} ({row.ci95[0]:.1f} to {row.ci95[1]:.1f})"

    lines = ["| assumed | all walkers, x 0.7 | x 1.3 | older, x 0.7 | x 1.3 |", "|---|---|---|---|---|"]
    lines.append(f"| as assumed | {shown('pooled, as assumed')} | | {shown('older, as assumed')} | |")
    for name in MOVED:
        cells = [shown(f"{who}, {name} x {factor:g}") for who in ("pooled", "older") for factor in FACTORS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------- run


def size_of(options: argparse.Namespace) -> Size:
    """What was asked for."""
    size = SIZES["quick" if options.quick else "full" if options.full else "default"]
    minutes = size.minutes if options.minutes is None else options.minutes
    return replace(size, walks=options.walks or size.walks, minutes=minutes)


def measure(options: argparse.Namespace) -> list[Row]:
    """Walks, and tells on stderr what went wrong."""
    size = size_of(options)
    results = done_all(jobs_of(size, options.seed), options.jobs)
    unready = [r.encounter.name for r in results if isinstance(r, Outcome) and not r.guarding]
    if unready:
        print(f"approach: not guarding at the start: {', '.join(unready)}", file=sys.stderr)
    for result in results:
        if isinstance(result, Outcome) and result.subject == OURS and result.contact_s is not None:
            of = result.encounter
            if of.case == "pooled":
                print(f"approach: contact {of.name} {of.kind}: {result.cause}", file=sys.stderr)
    return rows_of(results)


def main() -> Any:
    """The program."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument(
        "--walks", type=int, default=0, help="encounters of the headline (default 350, quick 14, full 1400)"
    )
    parser.add_argument("--minutes", type=float, default=None, help="of each rate (30; quick 5, full 600)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--sensitivity", action="store_true", help="the headline with what is assumed moved by 30 %%")
    parser.add_argument("--explain", metavar="SEED/CASE/INDEX", help="print one walk of ours over time, and end")
    parser.add_argument("--subject", choices=(ALONE, OURS), default=OURS, help="whose walk --explain prints")
    options = parser.parse_args()
    if options.explain:
        explain(options.explain, options.subject)
    elif options.sensitivity and not options.json:
        print(markdown(sensitivity(options)))
    elif options.sensitivity:
        run("approach", options, sensitivity)
    else:
        run("approach", options, measure)


if __name__ == "__main__":
    main()
