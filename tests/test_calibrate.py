"""Measuring how a walker stops: spoken, by button, five real cues, void attempts, and nothing kept when it is ended."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from tests.voice.helpers import noise

from retrowalk import calibration
from retrowalk.calibrate import stop as calibrate
from retrowalk.calibrate.dialogue import ENDED, SAVED, in_words
from retrowalk.calibrate.stop import AGAIN, INTRO, READY, Session
from retrowalk.calibration import FILE_NAME, Measured
from retrowalk.config import Config, TfLuna
from retrowalk.control import Control
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.core.stopping import STOPS, Attempt, allowed_s
from retrowalk.courier import recording
from retrowalk.errors import StartError
from retrowalk.record import SAY_S
from retrowalk.replay import replay
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.walker import Profile
from retrowalk.sim.world import Action, HandBehind, Place, Press, Stand, Walk
from retrowalk.voice import bank as banks

STARTER = '[[range_sensor]]\nchip = "hc-sr04"\n[battery]\nchip = "none"\n'
WORDS_S = 0.6
"""How long each sentence's sound lasts here."""
AT = "2026-05-01T09:30:00Z"


@pytest.fixture(scope="session")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> banks.Bank:
    """The rendered phrases, and room for the sounds of what the calibration says."""
    banks.build(Config(), banks.default_directory())
    directory: Path = tmp_path_factory.mktemp("bank")
    for file in banks.default_directory().iterdir():
        if file.is_file():
            (directory / file.name).symlink_to(file)
    (directory / "texts").mkdir()
    return banks.Bank.open(Config(), directory)


Answer = Callable[["Measuring", str], None]
"""What the walker does on hearing a line."""


class Measuring:
    """A walker in virtual time with a calibration beside the guard: of the stops, if no other is made."""

    def __init__(
        self,
        phrases: banks.Bank,
        directory: Path,
        answer: Answer,
        script: Sequence[tuple[float, Action]] = ((4.0, HandBehind()),),
    ):
        scenario = Scenario("calibrate", 600.0, tuple(script), WALKER, (), {}, STARTER)
        self.walk = VirtualWalk(scenario.config, scenario, 3, phrases)
        self.file = directory / FILE_NAME
        self._texts = phrases.directory / "texts"
        self._answer = answer
        mailbox = self.walk.mail.open("calibrate-1")
        self.control = Control(mailbox, self.walk.clock, lambda s: self.walk.run_until(self.walk.clock.now() + s))
        self.told: list[str] = []
        chance = random.Random(5)
        self.session = Session(self.control, self.render, self.tell, chance.uniform)
        self.walk.run_until(8.0)

    @property
    def now(self) -> float:
        return self.walk.clock.now()

    def do(self, after_s: float, action: Action) -> None:
        self.walk.world.at(self.now + after_s, action)

    def go(self, after_s: float = 1.0, speed_m_s: float = 0.5) -> None:
        """Presses, and walks backward."""
        self.do(after_s, Press())
        self.do(after_s + 1.0, Walk(speed_m_s))

    def measure(self) -> Measured | None:
        return calibrate.measure(self.session, self.walk.config, self.file, AT)

    @property
    def drawn_s(self) -> list[float]:
        """The walker's own times, as distance over speed."""
        return [takes_s for _, takes_s in self.walk.world.walker.stops]

    def read(self) -> recording.Recording:
        self.walk.finish()
        return recording.read(self.walk.recordings()[-1])

    def render(self, text: str) -> None:
        pcm = noise(("say", text), WORDS_S)
        file = self._texts / banks.text_file_name(Config(), text)
        if not file.exists():
            file.write_bytes(hashlib.sha256(pcm).digest() + pcm)

    def tell(self, line: str) -> None:
        self.told.append(line)
        self._answer(self, line)


def obedient(it: Measuring, line: str) -> None:
    """Does what is asked; "Stop" is obeyed because it is heard."""
    if line == READY:
        it.go()


Start = Callable[..., Measuring]


@pytest.fixture
def measuring(phrases: banks.Bank, tmp_path: Path) -> Iterator[Start]:
    made: list[Measuring] = []

    def start(answer: Answer = obedient, script: Sequence[tuple[float, Action]] = ((4.0, HandBehind()),)) -> Measuring:
        made.append(Measuring(phrases, tmp_path, answer, script))
        return made[-1]

    yield start
    for one in made:
        one.walk.close()


@pytest.fixture(scope="module")
def whole(phrases: banks.Bank, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Measuring, Measured]]:
    """A calibration from beginning to end, by a walker who does as told."""
    it = Measuring(phrases, tmp_path_factory.mktemp("whole"), obedient, ((4.0, HandBehind()),))
    measured = it.measure()
    assert measured is not None
    yield it, measured
    it.walk.close()


Whole = tuple[Measuring, Measured]


@pytest.mark.slow
def test_five_stops_are_measured_and_kept(whole: Whole) -> None:
    """Each of the five fits what the walker took, the time allowed covers them all, and it is kept."""
    it, measured = whole
    assert len(measured.stops_s) == STOPS == len(it.drawn_s)
    for stop_s, drawn_s in zip(measured.stops_s, it.drawn_s, strict=True):
        # Heard, understood, then braking evenly: of that, distance over speed counts half.
        assert drawn_s < stop_s < 1.3 * drawn_s + 0.4
    assert measured.stop_s == round(allowed_s(measured.stops_s, "older"), 2)
    assert measured.stop_s >= max(measured.stops_s)
    assert calibration.read(it.file) == [measured]


@pytest.mark.slow
def test_the_walker_hears_what_to_do_and_what_came_of_it(whole: Whole) -> None:
    """What is going to happen, each walk, each time, how many are left, and what it is good for."""
    it, measured = whole
    assert tuple(it.told[: len(INTRO)]) == INTRO
    assert sum(line == READY for line in it.told) == STOPS
    said = [line for line in it.told if " seconds. " in line and "more" in line]
    assert [line.split()[-2] for line in said] == ["Four", "Three", "Two", "One"]
    assert it.told[-1] == SAVED
    assert in_words(measured.stop_s) in it.told[-2]
    assert not [line for line in it.told if "could not be said" in line]


@pytest.mark.slow
def test_the_cue_is_a_warning_to_ear_and_skin(whole: Whole) -> None:
    """Tone and word of a warning, vibration and buzzer, at each cue, and none besides."""
    it, _ = whole
    heard = it.walk.ear.heard
    tones = [h.start_s for h in heard if h.key == "warning"]
    words = [h for h in heard if h.key == "stop"]
    assert len(tones) == len(words) == STOPS
    assert all(h.complete for h in words)
    for cue_s in tones:
        assert {what for t_s, what in it.walk.world.felt if abs(t_s - cue_s) < 0.2} == {"vibration", "buzzer"}


def test_the_cue_comes_at_another_moment_each_time(whole: Whole) -> None:
    """Counted from the press, no two come alike, and none before the walk has been steady for 3 s."""
    it, _ = whole
    stops = it.walk.world.walker.stops
    pressed_s = [t for t, closed in it.walk.world.button_edges if closed]
    after_s = [cue_s - max(t for t in pressed_s if t < cue_s) for cue_s, _ in stops]
    assert len({round(after, 2) for after in after_s}) == STOPS
    assert all(1.0 + 3.0 + 1.0 < after < 15.0 for after in after_s)


@pytest.mark.slow
def test_the_recording_has_the_cues_and_replays(whole: Whole) -> None:
    """Each cue is an item with its answer, each attempt has its label, and a replay says the same."""
    it, measured = whole
    walked = it.read()
    assert walked.complete, walked.problem
    asked = [entry.value for entry in walked.entries if isinstance(entry.value, sm.CueRequested)]
    answers = [entry.value for entry in walked.entries if isinstance(entry.value, ev.CommandReceived)]
    assert len(asked) == len(answers) == STOPS
    assert all(answer.accepted and answer.name == "cue" for answer in answers)
    assert [label.phase for label in walked.labels] == ["begin", "end"] * STOPS
    comparison = replay(walked)
    assert comparison.identical, comparison.difference


def test_no_sentence_is_longer_than_it_is_waited_for() -> None:
    """At the rate of the voice: what takes too long counts as not said, and what follows it would be lost."""
    longest = [*INTRO, READY, *AGAIN.values(), calibrate.result(1.9, 0.79), calibrate.said_of(1.9, 4)]
    words_a_second = Config().voice.rate_wpm / 60.0
    assert all(len(text.split()) / words_a_second < 0.75 * SAY_S for text in longest)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(2.0, "two", id="whole"),
        pytest.param(1.46, "one point five", id="rounded"),
        pytest.param(0.96, "one", id="up to the next"),
        pytest.param(0.84, "zero point eight", id="below one"),
    ],
)
def test_a_time_is_said_in_words(value: float, words: str) -> None:
    """To one decimal place."""
    assert in_words(value) == words


def test_the_speed_that_is_promised_is_rounded_down() -> None:
    """0.79 m/s is no 0.8."""
    assert "zero point seven metres a second" in calibrate.result(1.9, 0.79)


class Measured5:
    """A session that has measured five stops."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def run(self) -> list[float]:
        """The stops, in seconds."""
        return [1.4, 1.5, 1.6, 1.5, 1.7]

    def say(self, text: str) -> None:
        """Notes it."""
        self.said.append(text)


def test_no_more_speed_is_promised_than_the_set_protects(tmp_path: Path) -> None:
    """A lidar that sees 2.5 m sees thin things to 1.75 m: who needs 2.5 s to stop is promised 0.4 m/s, and not 0.7."""
    session = Measured5()
    config = Config(range_sensor=(TfLuna(),))
    measured = calibrate.measure(cast(Session, session), config, tmp_path / FILE_NAME, AT)
    assert measured is not None
    assert measured.stop_s == pytest.approx(2.5, abs=0.1)
    assert session.said[0].endswith("You are protected up to zero point four metres a second.")


# ------------------------------------------------------------------------------------------ what does not count


def once(answer: Answer) -> Answer:
    """Does this the first time, and ends the calibration the second time by holding the button."""

    def act(it: Measuring, line: str) -> None:
        if line == READY:
            if sum(told == READY for told in it.told) == 1:
                answer(it, line)
            else:
                it.do(1.0, Press(2.0))

    return act


def stands_early(it: Measuring, line: str) -> None:
    it.go()
    it.do(5.0, Stand())


def comes_to_a_wall(it: Measuring, line: str) -> None:
    it.go()
    it.do(5.0, Place("wall", 1.2))


def presses_only(it: Measuring, line: str) -> None:
    it.do(1.0, Press())


def walks_on(it: Measuring, line: str) -> None:
    it.walk.world.walker.profile = DEAF
    it.go()
    it.do(20.0, Stand())


DEAF = Profile(stops_for=frozenset(), stops_for_touch=False)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        pytest.param(stands_early, "not_walking", id="stands before the cue", marks=pytest.mark.slow),
        pytest.param(presses_only, "no_walk", id="does not walk", marks=pytest.mark.slow),
        pytest.param(walks_on, "no_standstill", id="does not stop", marks=pytest.mark.slow),
    ],
)
def test_an_attempt_that_does_not_count_is_said_and_tried_again(measuring: Start, answer: Answer, cause: str) -> None:
    """With its reason; and whoever holds the button then ends it without any change."""
    it = measuring(once(answer))
    assert it.measure() is None
    (became,) = it.session.attempts
    assert cause == (became.void if isinstance(became, Attempt) else became)
    assert it.told.index(AGAIN[cause]) < it.told.index(ENDED)
    assert not it.file.exists()


@pytest.mark.slow
def test_a_real_warning_is_given_as_ever(measuring: Start) -> None:
    """Nothing of a calibration holds it up: "Stop" is heard, nothing is touched; no cue comes, and it counts not."""
    it = measuring(once(comes_to_a_wall))
    assert it.measure() is None
    assert it.session.attempts == ["disturbed"]
    assert [h.key for h in it.walk.ear.heard if h.key == "stop"]
    assert not it.walk.world.contacts
    assert not [e for e in it.read().entries if isinstance(e.value, sm.CueRequested)]


@pytest.mark.slow
def test_with_too_little_room_there_is_no_cue(measuring: Start) -> None:
    """Something is behind, though not yet near: the guard has its own to say, and refuses."""

    def answer(it: Measuring, line: str) -> None:
        it.go(speed_m_s=0.6)
        it.do(5.5, Place("wall", 3.4))

    it = measuring(once(answer))
    assert it.measure() is None
    assert it.session.attempts[0] in ("hazard", "disturbed")
    assert not [e for e in it.read().entries if isinstance(e.value, ev.CommandReceived) and e.value.accepted]


@pytest.mark.slow
def test_ctrl_c_ends_it_at_any_moment(measuring: Start) -> None:
    """While walking: it says so, and nothing is kept."""

    def answer(it: Measuring, line: str) -> None:
        if line == READY:
            it.go()
            it.walk.scheduler.at(it.now + 4.0, it.session.stop)

    it = measuring(answer)
    assert it.measure() is None
    assert it.told[-1] == ENDED
    assert not it.file.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "named"),
    [
        pytest.param(
            sm.HealthReport(8.0, "config", "rejected", True, "calibration.json: is damaged"), "config", id="file"
        ),
        pytest.param(sm.HealthReport(8.0, "buzzer", "absent", True), "buzzer", id="buzzer"),
    ],
)
def test_nobody_walks_beside_a_guard_that_has_a_fault_to_tell(
    measuring: Start, trouble: sm.HealthReport, named: str
) -> None:
    """It would refuse every cue: the fault is named before the first step."""
    it = measuring()
    it.walk.guard.take([trouble], it.now)
    with pytest.raises(StartError, match=named):
        it.measure()
    assert READY not in it.told
