"""`benchmarks/approach.py`: its models of other people's devices, its intervals, its worlds, its rows."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import gpiozero
import gpiozero.input_devices
import pytest
from tests.benchmarks.program import FOLDER, load

from retrowalk.sim.estimates import ESTIMATED, REFLECTANCE
from retrowalk.sim.noise import Scene, Target
from retrowalk.sim.pins import Board, HcSr04Twin, SimPinFactory
from retrowalk.sim.scheduler import Scheduler, VirtualClock

PROGRAM = FOLDER / "approach.py"


@pytest.fixture(scope="module")
def approach():
    """The program as a module, with the modules beside it."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(PROGRAM)
    finally:
        sys.path[:] = path


@pytest.fixture(scope="module")
def encounters(approach):
    return approach.encounters


@pytest.fixture(scope="module")
def peers(encounters):
    return encounters.peers


@pytest.fixture(scope="module")
def intervals(approach):
    return sys.modules["intervals"]


# ----------------------------------------------------------------------------- gpiozero's class, and what stands for it


class Room:
    """A wall at `range_m(t)`: all of the world there is."""

    def __init__(self, range_m, seed=1, kind="wall"):
        self.range_m, self.seed, self.kind, self.estimates = range_m, seed, kind, ESTIMATED

    def scene(self, t_s):
        return Scene((Target(self.kind, self.range_m(t_s)),), nose_down_deg=-5.0)


class VirtualWait:
    """A `threading.Event` whose waiting lets virtual time pass."""

    def __init__(self, scheduler):
        self._scheduler = scheduler
        self._set = False

    def is_set(self):
        return self._set

    def set(self):
        self._set = True

    def clear(self):
        self._set = False

    def wait(self, timeout=None):
        end_s = self._scheduler.clock.now() + timeout
        while not self._set and self._scheduler.next_due_s() <= end_s:
            self._scheduler.run_until(self._scheduler.next_due_s())
        if not self._set:
            self._scheduler.run_until(end_s)
        return self._set


class EndedError(Exception):
    """Enough has been measured."""


def real_readings(monkeypatch, room, until_s, no_target, max_distance=4.0):
    """What gpiozero's own code, unchanged, reads in virtual time: (when it was taken in, median of its queue)."""
    clock = VirtualClock()
    scheduler = Scheduler(clock)
    board = Board()
    factory = SimPinFactory(board, clock)
    HcSr04Twin(board, scheduler, room, trigger_line=23, echo_line=24, no_target=no_target)
    monkeypatch.setattr(gpiozero.threads.GPIOThread, "start", lambda self: None)
    monkeypatch.setattr(gpiozero.input_devices, "sleep", clock.pause)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sensor = gpiozero.DistanceSensor(echo=24, trigger=23, max_distance=max_distance, pin_factory=factory)
        queue = sensor._queue
        sensor._echo = VirtualWait(scheduler)
        queue.stopping = VirtualWait(scheduler)
        readings = []
        read = sensor._read

        def fired(_ticks, _active):
            readings.append((clock.now(), queue.average(queue.queue)))

        def limited():
            if clock.now() > until_s:
                raise EndedError
            return read()

        monkeypatch.setattr(sensor, "_fire_events", fired, raising=False)
        monkeypatch.setattr(sensor, "_read", limited, raising=False)
        with pytest.raises(EndedError):
            queue.fill()
    return readings


def modelled_readings(peers, room, until_s, no_target, max_distance=4.0):
    sensor = peers.DistanceSensor(peers.Module(room, no_target=no_target), 0.0, max_m=max_distance)
    readings = []
    while sensor.next_s <= until_s:
        told_s = sensor.sample()
        if sensor.value is not None:
            readings.append((told_s, sensor.value))
    return readings


@pytest.mark.parametrize(
    ("range_m", "no_target", "max_distance"),
    [
        pytest.param(lambda t: max(0.4, 3.6 - 0.7 * t), 0.038, 4.0, id="ramp"),
        pytest.param(lambda t: max(0.4, 3.6 - 1.2 * t), 0.038, 1.0, id="ramp, 1 m at most"),
        pytest.param(lambda t: 2.0 if t < 2.0 else 1.0, 0.038, 4.0, id="step"),
        pytest.param(lambda t: 3.9, 0.038, 4.0, id="often nothing"),
        pytest.param(lambda t: 4.2 - 0.5 * t, None, 4.0, id="lost pings without a pulse"),
    ],
)
def test_the_tutorials_sensor_is_gpiozeros(monkeypatch, peers, range_m, no_target, max_distance):
    """The model gives the very readings, at the very times, of the real class on mock pins with exact stamps"""
    twin_target = "none" if no_target is None else no_target
    real = real_readings(monkeypatch, Room(range_m), 6.0, twin_target, max_distance)
    model = modelled_readings(peers, Room(range_m), 6.0, no_target, max_distance)
    assert len(model) == len(real)
    assert [t for t, _ in model] == pytest.approx([t for t, _ in real], abs=1e-4)
    assert [v for _, v in model] == pytest.approx([v for _, v in real], abs=1e-5)


@pytest.mark.slow
def test_as_shipped_it_speaks_too_late(encounters):
    """A fixed threshold of 0.3 m under a median of nine lets every walker into the wall, at any speed of the range"""
    for index in range(0, 70, 7):
        outcome = encounters.lived(encounters.draw(3, "pooled", index), "tutorial")
        assert outcome.contact_s is not None


# ------------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        pytest.param(0, 10, 0.0, 0.2775, id="none"),
        pytest.param(5, 10, 0.2366, 0.7634, id="half"),
        pytest.param(81, 263, 0.2553, 0.3662, id="Newcombe 1998, first example"),
        pytest.param(1, 29, 0.0061, 0.1718, id="Newcombe 1998, last example"),
    ],
)
def test_shares_have_wilsons_interval(intervals, hits, n, low, high):
    """The published values"""
    assert intervals.wilson(hits, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        pytest.param(0, 0.0, 3.6889, id="0"),
        pytest.param(1, 0.0253, 5.5716, id="1"),
        pytest.param(5, 1.6235, 11.6683, id="5"),
        pytest.param(10, 4.7954, 18.3904, id="10"),
        pytest.param(50, 37.1110, 65.9183, id="50"),
    ],
)
def test_rates_have_garwoods_interval(intervals, count, low, high):
    """The published table of exact limits of a Poisson count"""
    assert intervals.poisson(count) == pytest.approx((low, high), abs=2e-3)


@pytest.mark.parametrize(
    ("n", "low", "high"),
    [pytest.param(10, 2, 9, id="10"), pytest.param(20, 6, 15, id="20"), pytest.param(100, 40, 61, id="100")],
)
def test_medians_have_the_interval_of_the_sign_test(intervals, n, low, high):
    """The published ranks between which a median lies with at least 95 %"""
    assert intervals.quantile_interval([float(i + 1) for i in range(n)], 0.5) == (low, high)


def test_a_quantile_of_few_is_bounded_by_the_outermost(intervals):
    """Nobody claims more of a 99th percentile than the largest of thirty values"""
    values = [float(i) for i in range(30)]
    assert intervals.quantile(values, 0.99) == 29.0
    assert intervals.quantile_interval(values, 0.99)[1] == 29.0


# ---------------------------------------------------------------------------------------------------------- worlds


def test_seven_kinds_come_equally_often_and_ages_too(encounters):
    """The headline weighs every kind and both ages alike, and its seed gives it again"""
    drawn = [encounters.draw(1, "pooled", i) for i in range(140)]
    assert {(e.kind, e.age): sum((o.kind, o.age) == (e.kind, e.age) for o in drawn) for e in drawn} == {
        (kind, age): 10 for kind in encounters.POOLED for age in encounters.AGES
    }
    assert drawn == [encounters.draw(1, "pooled", i) for i in range(140)]
    assert drawn != [encounters.draw(2, "pooled", i) for i in range(140)]
    assert {e.sim_kind for e in drawn if e.kind == "wall"} == set(encounters.WALLS)


def test_a_person_is_the_same_whatever_they_wear(encounters):
    """Peers are given the same world: who is told to stop takes as long, whoever tells them"""
    encounter = encounters.draw(1, "pooled", 0)
    outcomes = [encounters.lived(encounter, name) for name in ("tutorial 1.0 m", "parking beeper first beep")]
    assert outcomes[0].takes_s == outcomes[1].takes_s is not None
    assert outcomes[0].speed_m_s == outcomes[1].speed_m_s == encounters.protected_m_s("older")
    assert outcomes[0].truth_s == pytest.approx(outcomes[1].truth_s, abs=0.011)
    assert outcomes[0].decided_s > outcomes[1].decided_s


@pytest.mark.slow
def test_with_nothing_worn_every_walk_ends_in_a_contact(encounters):
    """Of each kind, kerb, child and bicycle included"""
    for index in range(len(encounters.KINDS)):
        outcome = encounters.lived(encounters.draw(1, "all", index), encounters.NOTHING)
        assert outcome.contact_s is not None
        assert outcome.cause == "never detected"


def test_what_is_assumed_moves_the_world(encounters):
    """A wall that is assumed to reflect less is one in the world of the encounter, else all is as estimated"""
    encounter = encounters.draw(1, "all", 0)
    assumed = encounters.Assumed(reflectances=0.7, target_losses=1.3, wall_margin=0.7)
    moved = encounters.world_of(encounter, 0.5, assumed).estimates
    assert moved.light.reflectance["wall"] == pytest.approx(0.7 * REFLECTANCE["wall"])
    assert moved.echo.target_loss_db["person_fleece"] == pytest.approx(1.3 * 21.0)
    assert moved.echo.wall_margin_db == pytest.approx(0.7 * 38.0)
    assert encounters.world_of(encounter, 0.5, encounters.Assumed()).estimates == ESTIMATED


@pytest.mark.slow
def test_ours_guards_from_the_first_step_and_stops_the_walker(encounters):
    """The real device, through its drivers: resumed before the walk begins, heard in time, and no contact"""
    encounters.prepare()
    outcome = encounters.lived(encounters.draw(1, "pooled", 0), encounters.OURS)
    assert outcome.guarding
    assert outcome.contact_s is None
    assert outcome.truth_s is not None
    assert abs(outcome.decided_s - outcome.truth_s) < 0.5
    assert 0.0 < outcome.sound_s - outcome.decided_s < 0.04
    assert outcome.cue_s > outcome.sound_s


# ------------------------------------------------------------------------------------------------------------ rows


def outcome(encounters, case, index, subject, *, contact=False, late_s=0.05):
    """A walk as it might have gone."""
    made = encounters.Outcome(encounters.draw(1, case, index), subject, 0.67, truth_s=6.0)
    made.appeared, made.followed = case == "appearing", subject in encounters.DEVICES
    if subject != encounters.NOTHING:
        made.decided_s, made.sound_s, made.room_s = 6.0 + late_s, 6.02 + late_s, 2.0
        made.cue_s, made.cue_room_s, made.takes_s = 6.1, 1.95, 1.0
    if contact:
        made.contact_s = 8.0
    return made


def counts(encounters, case, index, subject, *, warnings=0, **cautions):
    made = encounters.Counts(encounters.Stretch(case, index, 1), subject, 0.5, warnings)
    made.cautions.update(cautions)
    return made


@pytest.fixture
def results(approach, encounters):
    """A small run with known ends."""
    made = []
    for subject in encounters.SUBJECTS:
        peer = subject not in encounters.DEVICES
        made += [outcome(encounters, "pooled", i, subject, contact=peer or i == 3) for i in range(70)]
        made += [outcome(encounters, "all", i, subject, contact=peer or i < 4) for i in range(50)]
        made += [outcome(encounters, "appearing", i, subject, late_s=0.1) for i in range(10)]
        made += [outcome(encounters, kind, 0, subject, contact=peer) for kind in encounters.OTHERS]
        made += [counts(encounters, case, 0, subject, warnings=1, rear=1, unknown=2) for case in approach.RATES]
    for speed in approach.LADDER_M_S:
        case = f"shade {speed:g}"
        contacts = 1 if speed < 0.75 else 2
        made += [outcome(encounters, case, i, encounters.OURS, contact=i < contacts) for i in range(20)]
        made.append(counts(encounters, f"steady {speed:g}", 0, encounters.OURS, governor=1))
    return made


def row(rows, metric, case, subject="retrowalk"):
    (found,) = [r for r in rows if (r.metric, r.case, r.subject) == (metric, case, subject)]
    return found


def test_the_rows_are_those_that_were_asked_for(approach, encounters, results):
    """Every metric, case and goal, for every subject that has one"""
    rows = approach.rows_of(results)
    asked = {
        ("contacts_per_100", "pooled", "<= 2"),
        ("contacts_per_100", "older", "<= 5"),
        ("contacts_per_100", "kerb", None),
        ("contacts_per_100", "child", None),
        ("contacts_per_100", "bicycle", None),
        ("contacts_all_per_100", "pooled", "<= 10"),
        ("lead_time_s", "p5", None),
        ("lead_time_s", "p50", None),
        ("first_sound_ms", "p99 followed", "<= 300"),
        ("decision_ms", "p99 followed", "<= 130"),
        ("decision_ms", "p99 appearing", "<= 200"),
        ("protected_speed_m_s", "older shade jacket", ">= 0.6"),
        ("governor_per_h", "older shade jacket", "<= 2"),
        ("false_warnings_per_h", "asphalt", "<= 1"),
        ("false_cautions_per_h", "asphalt", "<= 4"),
        ("false_warnings_per_h", "gravel", "<= 2"),
        ("false_cautions_per_h", "gravel", "<= 8"),
        ("false_warnings_per_h", "companion 1.0", "<= 1"),
        ("false_cautions_per_h", "companion 1.5", "<= 4"),
        ("false_cautions_per_h", "followed", "<= 4"),
    }
    assert asked <= {(r.metric, r.case, r.goal) for r in rows if r.subject == "retrowalk"}
    assert row(rows, "decision_ms", "p99 appearing", "retrowalk one ultrasonic").goal == "<= 300"
    assert {r.subject for r in rows if r.metric == "contacts_per_100"} == set(encounters.SUBJECTS)
    assert any(r.metric == "contacts_cell_per_100" for r in rows)
    assert all(r.ci95 is not None for r in rows if r.unit in ("1/100", "1/h"))


def test_the_table_counts_what_it_says(approach, results):
    """Shares, rates and quantiles of a run that is known, with their causes"""
    rows = approach.rows_of(results)
    assert row(rows, "contacts_per_100", "pooled").value == pytest.approx(100 / 70, abs=0.001)
    assert row(rows, "contacts_per_100", "pooled").met is True
    assert row(rows, "contacts_all_per_100", "pooled").value == pytest.approx(400 / 35, abs=0.001)
    assert row(rows, "contacts_all_per_100", "pooled").met is False
    assert row(rows, "contacts_all_per_100", "every kind").value == 8.0
    assert row(rows, "contacts_all_per_100", "every kind").met is True
    assert row(rows, "contacts_per_100", "pooled", "tutorial").value == 100.0
    assert row(rows, "contact_causes", "protected car: other").value == 1
    assert row(rows, "decision_ms", "p99 followed").value == pytest.approx(50.0)
    assert row(rows, "decision_ms", "p99 appearing").value == pytest.approx(100.0)
    assert row(rows, "first_sound_ms", "p50 followed").value == pytest.approx(70.0)
    assert row(rows, "decision_ms", "pooled: never", "no device").value == 70
    assert row(rows, "false_warnings_per_h", "asphalt").value == 2.0
    assert row(rows, "false_cautions_per_h", "gravel").value == 6.0
    assert row(rows, "false_cautions_per_h", "gravel: unknown").value == 4.0
    assert row(rows, "protected_speed_m_s", "older shade jacket").value == 0.7
    assert row(rows, "governor_per_h", "older shade jacket").value == 2.0


@pytest.mark.parametrize(
    ("changed", "cause"),
    [
        pytest.param({"decided_s": None}, "never detected", id="nothing was said"),
        pytest.param({"decided_s": 8.1}, "never detected", id="said when it was over"),
        pytest.param({"cue_room_s": 1.5}, "detected late", id="no room left"),
        pytest.param({"takes_s": 2.2}, "person slower than 95 %", id="a slow person"),
        pytest.param({"governor_s": 5.0}, "governor had spoken", id="told to slow down"),
        pytest.param({}, "other", id="none of these"),
        pytest.param({"contact_s": None}, "none", id="no contact"),
    ],
)
def test_every_contact_has_a_cause(encounters, changed, cause):
    """Which of them it was follows from what was known when"""
    made = outcome(encounters, "pooled", 0, encounters.OURS, contact=True)
    for name, value in changed.items():
        setattr(made, name, value)
    assert made.cause == cause


def test_cautions_are_counted_as_they_are_heard(encounters):
    """Each clip once, by its part; a caution whose words were cut off is one; a warning that goes on is one"""
    made = encounters.Counts(encounters.Stretch("asphalt", 0, 1), "retrowalk", 1.0)
    heard = [(1.0, "fault"), (3.0, "caution"), (3.1, "object:2"), (5.0, "caution"), (9.0, "fault")]
    heard += [(9.2, "behind_unknown"), (20.0, "caution"), (20.1, "slow_down"), (30.0, "warning"), (31.2, "warning")]
    heard += [(40.0, "warning"), (40.2, "drop"), (50.0, "tick"), (60.0, "approaching")]
    encounters._count(made, heard)
    assert (made.warnings, made.drops) == (2, 1)
    assert made.cautions == {"rear": 2, "unknown": 1, "approaching": 1, "drop": 0, "governor": 1}


def test_json_is_one_object(approach, results, capsys):
    """Exactly one object, with the rows and their intervals"""
    from argparse import Namespace

    approach.run("approach", Namespace(seed=1, json=True), lambda _: approach.rows_of(results))
    told = json.loads(capsys.readouterr().out)
    assert (told["benchmark"], told["seed"]) == ("approach", 1)
    headline = next(r for r in told["rows"] if (r["metric"], r["subject"]) == ("contacts_per_100", "retrowalk"))
    assert headline["case"] == "pooled"
    assert headline["goal"] == "<= 2"
    assert headline["ci95"][0] < headline["value"] < headline["ci95"][1]


def test_the_page_of_sensitivity_has_every_constant(approach, encounters):
    """One line for each constant that is moved, down and up"""
    table = []
    for name in ("as assumed", *(f"{name} x {f:g}" for name in approach.MOVED for f in approach.FACTORS)):
        for who in ("pooled", "older"):
            some = [outcome(encounters, "pooled", i, encounters.OURS) for i in range(10)]
            table += approach.contacts("contacts_per_100", encounters.OURS, f"{who}, {name}", some)
    lines = approach.markdown(table).splitlines()
    assert len(lines) == 3 + len(approach.MOVED)
    assert all(line.count("|") == 6 for line in lines)


# ------------------------------------------------------------------------------------------------------ the program


def program(*arguments):
    return subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=True)


@pytest.mark.slow
@pytest.mark.process
def test_a_seed_gives_one_result_on_any_number_of_processes():
    """The same rows from one process and from two"""
    size = ("--walks", "2", "--minutes", "0", "--seed", "5", "--json")
    one, two = (json.loads(program(*size, "--jobs", jobs).stdout) for jobs in ("1", "2"))
    assert one["rows"] == two["rows"]
    assert {r["metric"] for r in one["rows"]} >= {"contacts_per_100", "decision_ms", "lead_time_s"}


@pytest.mark.slow
@pytest.mark.process
def test_a_walk_can_be_looked_at():
    """Over time: the truth, what the sensors said, what was heard"""
    told = program("--explain", "1/pooled/0").stdout
    assert "heard guarding" in told
    assert "lidar" in told
    assert len(told.splitlines()) > 50
