"""Measuring a walker's steps: spoken, by button, twice if they like, and nothing kept that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner, Result
from msgspec import structs
from tests.core.synth import walking
from tests.core.test_walked import mirrored
from tests.test_calibrate import Measuring, phrases  # noqa: F401 - a fixture

from retrowalk import calibration, cli, control, record, wire
from retrowalk.calibrate import gait
from retrowalk.calibrate.dialogue import ENDED, SAVED, counted
from retrowalk.calibrate.gait import AGAIN, AGREED, DIFFER, KEPT_ONE, OFFER, Session, ready, said_of
from retrowalk.calibration import FILE_NAME, MeasuredGait
from retrowalk.config import Config, Walker
from retrowalk.control import Control
from retrowalk.core import events as ev
from retrowalk.core.samples import ButtonEdge, ImuSample, Item
from retrowalk.core.walked import OwnStep
from retrowalk.errors import StartError
from retrowalk.record import SAY_S
from retrowalk.sim.world import Press, Stand, Walk
from retrowalk.voice import bank as banks
from retrowalk.voice import say

AT = "2026-05-01T09:30:00Z"
WORDS_S = 1.0
"""How long each sentence lasts here."""


@dataclass(frozen=True)
class Way:
    """What the walker does on being asked: after 1 s a press, 2 s later so many steps, then a press."""

    steps: int = 20
    step_hz: float = 1.7
    bounce_m_s2: float = 1.8
    forward: bool = False
    second_press: bool = True
    holds: bool = False
    """Holds the button instead of all that."""
    warned: bool = False
    """Is told to stop in between."""


class Guard:
    """The running guard as a calibration sees it: the clip and the button of somebody who does as scripted."""

    def __init__(self, ways: list[Way | None], state: str = "guarding") -> None:
        self._t = 100.0
        self._ways = ways
        self._samples: Iterator[ImuSample] = self._standing()
        self._next: ImuSample = next(self._samples)
        self._edges: list[ButtonEdge] = []
        self._items: list[Item] = []
        self._warn_s: float | None = None
        self._events: list[ev.Event] = []
        self.labels: list[str] = []
        self.closed = False
        self.examined = wire.Examined("s", "1", 0.0, state, [], False, "")

    def now(self) -> float:
        return self._t

    def wait(self, seconds: float) -> None:
        """Time passes; what the clip and the button said meanwhile is there."""
        self._t += seconds
        while self._next.t_measured_s <= self._t:
            self._items.append(self._next)
            self._next = next(self._samples, self._next)
            if self._items[-1] is self._next:  # the script is over: stands on
                self._samples = self._standing()
                self._next = next(self._samples)
        while self._edges and self._edges[0].t_measured_s <= self._t:
            self._items.append(self._edges.pop(0))
        if self._warn_s is not None and self._t >= self._warn_s:
            self._warn_s = None
            self._events.append(ev.HazardRaised(t_s=self._t, hazard="collision", level="warning"))

    def items(self) -> list[Item]:
        found, self._items = self._items, []
        return found

    def events(self) -> list[ev.Event]:
        found, self._events = self._events, []
        return found

    def say(self, text: str, limit_s: float) -> str:
        """It lasts a second; the walker then does what comes next."""
        self.wait(WORDS_S)
        if text in (OFFER, ready(10)) and self._ways:
            way = self._ways.pop(0)
            if way is not None:
                self._walk(way)
        return "finished"

    def label(self, label: str, phase: str, words: str = "") -> float:
        self.labels.append(f"{label} {phase}")
        return self._t

    def close(self) -> None:
        self.closed = True

    def _standing(self) -> Iterator[ImuSample]:
        at = self._next.t_measured_s + 0.01 if hasattr(self, "_next") else self._t
        return walking(300.0, bouts=(), turns=False).shifted(at).samples()

    def _walk(self, way: Way) -> None:
        press_s = self._t + 1.0
        if way.holds:
            self._press(press_s, 2.0)
            return
        ends_s = 5.0 + way.steps / way.step_hz
        motion = walking(
            ends_s + 4.0, bouts=((5.0, ends_s),), turns=False, step_hz=way.step_hz, vertical_m_s2=way.bounce_m_s2
        ).shifted(self._next.t_measured_s)
        self._samples = motion.samples() if way.forward else mirrored(motion)
        self._next = next(self._samples)
        self._press(press_s, 0.2)
        if way.second_press:
            self._press(self._t + ends_s + 1.5, 0.2)
        self._warn_s = self._t + 0.5 * (5.0 + ends_s) if way.warned else None

    def _press(self, at_s: float, held_s: float) -> None:
        for t, pressed in ((at_s, True), (at_s + held_s, False)):
            self._edges.append(ButtonEdge(t, t, pressed))


class Measured:
    """A calibration with such a guard."""

    def __init__(self, file: Path, *ways: Way | None, steps: int = 0, state: str = "guarding") -> None:
        self.guard = Guard(list(ways), state)
        self.told: list[str] = []
        self.session = Session(
            cast(Control, self.guard), lambda text: None, self.told.append, distance_m=10, steps=steps
        )
        self.file = file
        self.kept = gait.measure(self.session, file, AT)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.mark.slow
def test_one_way_is_enough(file: Path) -> None:
    """Its steps are counted, said and kept; who does not press for a second way within a minute keeps it."""
    it = Measured(file, Way(), None)
    assert it.kept is not None
    (steps,) = it.kept.steps
    assert steps == pytest.approx(20, abs=1)
    assert it.kept.step_length_m == pytest.approx(10.0 / steps, abs=0.001)
    assert it.kept.distance_m == 10.0
    assert calibration.read_gait(file) == [it.kept]
    assert [it.told[i] for i in (-3, -2, -1)] == [OFFER, KEPT_ONE, SAVED]
    assert it.guard.labels == ["calibrate_gait begin", "calibrate_gait end"]


@pytest.mark.slow
def test_two_ways_that_agree_are_averaged(file: Path) -> None:
    """20 and 21 steps: the mean of both."""
    it = Measured(file, Way(20), Way(21))
    assert it.kept is not None
    assert len(it.kept.steps) == 2
    assert it.kept.step_length_m == pytest.approx(sum(10.0 / n for n in it.kept.steps) / 2.0, abs=0.001)
    assert AGREED in it.told


@pytest.mark.slow
def test_a_third_way_decides_between_two_that_differ(file: Path) -> None:
    """20 and 26 steps over the same ten metres cannot both be; the third, of 20, agrees with the first."""
    it = Measured(file, Way(20), Way(26), Way(20))
    assert it.kept is not None
    assert it.told.index(DIFFER) < it.told.index(AGREED)
    assert all(steps == pytest.approx(20, abs=1) for steps in it.kept.steps)


@pytest.mark.slow
def test_nothing_is_kept_of_two_ways_that_differ(file: Path) -> None:
    """When nobody presses any more, it is over without any change."""
    it = Measured(file, Way(20), Way(26), None)
    assert it.kept is None
    assert it.told[-1] == ENDED
    assert not file.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "steps", "cause"),
    [
        pytest.param(Way(10), 0, "too_long", id="a metre a step"),
        pytest.param(Way(3), 0, "no_steps", id="three steps"),
        pytest.param(Way(0, second_press=False), 0, "no_walk", id="presses and stands", marks=pytest.mark.slow),
        pytest.param(Way(forward=True), 0, "forward", id="forward"),
        pytest.param(Way(second_press=False), 0, "too_late", id="never presses again", marks=pytest.mark.slow),
        pytest.param(Way(warned=True), 0, "disturbed", id="is warned"),
        pytest.param(Way(), 27, "miscounted", id="somebody counted 27"),
    ],
)
def test_what_does_not_count_is_said_and_done_again(file: Path, way: Way, steps: int, cause: str) -> None:
    """With its reason; and whoever holds the button then ends it without any change."""
    it = Measured(file, way, Way(holds=True), steps=steps)
    assert it.kept is None
    assert it.session.attempts == [cause]
    assert it.told.index(AGAIN[cause]) < it.told.index(ENDED)
    assert not file.exists()


@pytest.mark.slow
def test_nobody_walks_who_is_not_guarded(file: Path) -> None:
    """It is told before the first step."""
    with pytest.raises(StartError, match="does not guard"):
        Measured(file, state="not_protecting")


@pytest.mark.slow
def test_what_was_measured_is_laid_over_the_settings(file: Path) -> None:
    """And undone on its own: the measured stop stays."""
    it = Measured(file, Way(), None)
    assert it.kept is not None
    calibration.add(file, stop := calibration.Measured(measured_at=AT, stops_s=[1.0, 1.2], stop_s=1.5, profile="older"))
    laid = calibration.lay(Config(), file)
    assert laid.config.walker.step_length_m == it.kept.step_length_m
    assert laid.config.walker.step_time_s == it.kept.step_time_s
    assert laid.config.walker.speed_factor == it.kept.speed_factor
    assert laid.config.walker.measured_stop_s == 1.5
    assert str(it.kept.step_length_m) in laid.gait
    assert calibration.undo_gait(file) is None
    assert calibration.lay(Config(), file).config.walker.step_length_m == 0.0
    assert calibration.read(file) == [stop]


def test_a_step_that_a_person_set_stands(file: Path) -> None:
    """Before any measurement, and the log says so."""
    calibration.add(file, ONE)
    config, note, damage = calibration.lay_over(Config(walker=Walker(step_length_m=0.33)), file)
    assert config.walker.step_length_m == 0.33
    assert "stands" in note
    assert damage == ""


ONE = MeasuredGait(
    measured_at=AT,
    distance_m=10.0,
    steps=[25],
    step_length_m=0.4,
    step_bounce_m_s2=2.0,
    step_time_s=0.55,
    speed_factor=0.9,
)


def test_steps_do_not_disturb_stops_in_the_file(file: Path) -> None:
    """Each kind has its newest and its undone ones."""
    calibration.add(file, ONE)
    calibration.add(file, structs.replace(ONE, steps=[24]))
    assert calibration.undo_gait(file) == ONE
    assert calibration.read(file) == []
    assert [one.undone for one in calibration.read_gait(file)] == [True, False]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        pytest.param(0, "zero", id="none"),
        pytest.param(13, "thirteen", id="a teen"),
        pytest.param(40, "forty", id="tens"),
        pytest.param(42, "forty-two", id="tens and ones"),
        pytest.param(105, "one hundred and five", id="beyond a hundred"),
    ],
)
def test_a_number_is_said_in_words(number: int, words: str) -> None:
    """As a person would."""
    assert counted(number) == words


def test_no_sentence_is_longer_than_it_is_waited_for() -> None:
    """At the rate of the voice: what takes too long counts as not said, and what follows it would be lost."""
    words_a_second = Config().voice.rate_wpm / 60.0
    longest = [*gait.texts(50), said_of(OwnStep(127, 0.77, 2.0, 0.5, 1.0))]
    assert all(len(text.split()) / words_a_second < 0.75 * SAY_S for text in longest)


# ----------------------------------------------------------------------------------------------- the command


@pytest.fixture
def retrowalk():
    return lambda *arguments: CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    settings = tmp_path / "my.toml"
    settings.write_text('[[range_sensor]]\nchip = "hc-sr04"\n')
    return settings


def test_the_command_measures_through_the_guard_that_runs(
    file: Path, settings: Path, retrowalk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Says what came of it, where it is kept, how to go back, and from when on it counts."""
    guard = Guard([Way(), None])
    monkeypatch.setattr(control, "connect", lambda directories, name, clock: guard)
    monkeypatch.setattr(say, "render_text", lambda config, directory, text: None)
    monkeypatch.setattr(record, "stop_on_signals", lambda stop: None)
    where = ("--run-dir", file.parent, "--state-dir", file.parent, "--config", settings)
    shown: Result = retrowalk("calibrate", "gait", *where, "--steps", 20)
    assert shown.exit_code == 0, shown.output
    (kept,) = calibration.read_gait(file)
    assert f"{kept.step_length_m:g} m a step" in shown.output
    assert "calibrate gait --undo" in shown.output
    assert "systemctl restart retrowalk.target" in shown.output
    assert guard.closed


def test_list_shows_steps_beside_stops(file: Path, retrowalk) -> None:
    """Each kind with what counts of it; either may be there alone."""
    calibration.add(file, ONE)
    alone = retrowalk("calibrate", "list", "--state-dir", file.parent)
    assert alone.exit_code == 0, alone.output
    assert "0.400 m" in alone.output
    calibration.add(file, calibration.Measured(measured_at=AT, stops_s=[1.0, 1.2], stop_s=1.5, profile="older"))
    both = retrowalk("calibrate", "list", "--state-dir", file.parent).output
    assert both.index("1.50 s") < both.index("0.400 m")
    assert both.count("counts") == 2


def test_undo_says_what_counts_now(file: Path, retrowalk) -> None:
    """The one before, then what is usual, then nothing is left to undo."""
    for length_m in (0.40, 0.44):
        calibration.add(file, structs.replace(ONE, step_length_m=length_m))
    outputs = [retrowalk("calibrate", "gait", "--undo", "--state-dir", file.parent) for _ in range(3)]
    assert "0.4 m" in outputs[0].output
    assert "usual" in outputs[1].output
    assert outputs[2].exit_code == 1
    assert "no measurement to undo" in outputs[2].stderr


def test_nobody_walks_for_a_measurement_that_would_not_count(tmp_path: Path, retrowalk) -> None:
    """Settings with a step of their own: told before the first one."""
    own = tmp_path / "own.toml"
    own.write_text("[walker]\nstep_length_m = 0.33\n")
    shown = retrowalk(*("calibrate", "gait", "--config", own, "--run-dir", tmp_path / "run", "--state-dir", tmp_path))
    assert shown.exit_code == 1
    assert "0.33" in shown.stderr


@pytest.mark.parametrize("metres", [4, 51])
def test_a_way_is_five_to_fifty_metres(metres: int, retrowalk) -> None:
    """Fewer steps tell too little; farther, somebody tires or turns."""
    assert retrowalk("calibrate", "gait", "--distance-m", metres).exit_code == 2


# --------------------------------------------------------------------------------------------- the whole device


def strides(speed_m_s: float, metres: float = 10.0) -> Callable[[Measuring, str], None]:
    """Walks so far each time, and does not press when a second way is offered."""

    def act(it: Measuring, line: str) -> None:
        if line == ready(10):
            it.do(1.0, Press())
            it.do(2.5, Walk(speed_m_s))
            it.do(2.5 + metres / speed_m_s, Stand())
            it.do(5.0 + metres / speed_m_s, Press())

    return act


@pytest.mark.slow
def test_the_simulated_walker_is_measured_through_the_guard_that_runs(
    phrases: banks.Bank,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Sensors, button, voice and control socket as on the device: steps within 10 %, all of it said."""
    it = Measuring(phrases, tmp_path, strides(0.6))
    try:
        session = Session(it.control, it.render, it.tell)
        kept = gait.measure(session, it.file, AT)
        assert kept is not None, session.attempts
        assert kept.step_length_m == pytest.approx(10.0 / kept.steps[0], abs=0.001)
        assert kept.step_length_m == pytest.approx(0.6 * kept.step_time_s, rel=0.1)
        assert not [line for line in it.told if "could not be said" in line]
    finally:
        it.walk.close()
