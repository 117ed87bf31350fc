"""The doctor through a guard that runs: what it sees, what it may try, and that no warning suffers from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.doctor.clinic import STARTER, Clinic, settings
from tests.voice.helpers import noise

from retrowalk.config import Config, HcSr04, load
from retrowalk.control import Control
from retrowalk.core import events as ev
from retrowalk.core.alerts import introduction
from retrowalk.courier import recording
from retrowalk.doctor.examine import ASK, HELLO, NO_PRESS, OFFER, THANKS, examine
from retrowalk.doctor.report import Check, Report, State
from retrowalk.replay import replay
from retrowalk.sim.faults import Fault as Broken
from retrowalk.sim.faults import Faults
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Action, Fall, HandBehind, Place, Press, Walk
from retrowalk.voice import bank as banks
from retrowalk.voice.texts import Texts

ONE_SENSOR = Config(range_sensor=(HcSr04(),))
TABLE = [Texts.load("en").words("introduction", value) for value in introduction(ONE_SENSOR)[:-1]]
TEXTS = (HELLO, ASK, THANKS, NO_PRESS, OFFER, *TABLE)
WELL = ((4.0, HandBehind()),)


@pytest.fixture(scope="session")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> banks.Bank:
    """The rendered phrases, and a sound of its own for each thing the doctor says."""
    banks.build(Config(), banks.default_directory())
    config = Config()
    directory: Path = tmp_path_factory.mktemp("bank")
    for file in banks.default_directory().iterdir():
        if file.is_file():
            (directory / file.name).symlink_to(file)
    (directory / "texts").mkdir()
    for text in TEXTS:
        pcm = noise(("say", text), 1.0)
        (directory / "texts" / banks.text_file_name(config, text)).write_bytes(hashlib.sha256(pcm).digest() + pcm)
    return banks.Bank.open(config, directory)


class Guarded:
    """A walk in virtual time with a doctor beside it."""

    def __init__(
        self,
        phrases: banks.Bank,
        directory: Path,
        script: Sequence[tuple[float, Action]],
        faults: Sequence[str] = (),
        text: str = STARTER,
    ) -> None:
        scenario = Scenario("doctor", 60.0, tuple(script), WALKER, (), {}, text)
        broken = Faults(Broken.parse(text) for text in faults)
        self.walk = VirtualWalk(scenario.config, scenario, 1, phrases, faults=broken)
        self.file = settings(directory, text)
        mailbox = self.walk.mail.open("doctor-1")
        self.control = Control(mailbox, self.walk.clock, lambda s: self.walk.run_until(self.walk.clock.now() + s))
        self.clinic = Clinic(load(self.file), control=self.control)
        self.clinic.ground.platform.bus = self.walk.hardware.bus
        self.notes: list[tuple[float, str]] = []

    def visit(self, at_s: float, *, hands_on: bool = True, answer_s: float = 0.5) -> Report:
        self.walk.run_until(at_s)
        self.control.wait(answer_s)
        assert self.control.examined is not None
        return examine(self.file, self.clinic.ground, hands_on=hands_on, tell=self._note)

    def _note(self, words: str) -> None:
        self.notes.append((self.walk.clock.now(), words))

    def press_when_asked(self, after_s: float, *, again: bool = False) -> None:
        """The walker presses so long after being asked; `again`: also to hear what the button does."""
        tell = self._note

        def note(words: str) -> None:
            tell(words)
            if words.startswith("press") or (again and words.endswith(OFFER)):
                Press().plan(self.walk.world, self.walk.clock.now() + after_s)

        self._note = note  # type: ignore[method-assign]  # the walker listens to what is being done


Start = Callable[..., Guarded]


@pytest.fixture
def guarded(phrases: banks.Bank, tmp_path: Path) -> Iterator[Start]:
    made: list[Guarded] = []

    def start(
        script: Sequence[tuple[float, Action]] = WELL, faults: Sequence[str] = (), text: str = STARTER
    ) -> Guarded:
        made.append(Guarded(phrases, tmp_path, script, faults, text))
        return made[-1]

    yield start
    for one in made:
        one.walk.close()


def line(report: Report, check: str) -> Check:
    return next(c for c in report.checks if c.id == check)


@pytest.mark.slow
def test_a_device_that_guards_well_is_well(guarded: Start) -> None:
    """Every sensor is seen through the guard, the words are played to their end, signal felt, press noticed."""
    device = guarded()
    device.press_when_asked(2.0)
    report = device.visit(10.0)
    assert [c for c in report.checks if c.state is not State.OK] == []
    assert {"sensors.rear", "sensors.imu", "sound.voice", "messages.courier", "bus.scan", "person.press"} <= {
        c.id for c in report.checks
    }
    assert "read by the guard" in line(report, "bus.scan").detail


@pytest.mark.slow
def test_what_the_button_does_is_said_beside_a_guard_that_answers_the_press(guarded: Start) -> None:
    """The guard answers each press with how things are; what that cuts is said again, so that every row is heard."""
    device = guarded()
    device.press_when_asked(3.0, again=True)
    report = device.visit(10.0)
    assert line(report, "person.button").state is State.OK
    assert [words.removeprefix("saying: ") for _, words in device.notes if words.removeprefix("saying: ") in TABLE] == [
        *TABLE[5:],
        *TABLE[:5],
    ]


@pytest.mark.slow
@pytest.mark.parametrize("at_s", [11.0, 11.6, 12.0, 14.0])
def test_a_gauge_is_heard_of_whenever_the_question_comes(guarded: Start, at_s: float) -> None:
    """It is read every five seconds: nobody calls it missing who asks right after a reading."""
    text = STARTER.replace('chip = "none"', 'chip = "max17048"')
    report = guarded(text=text).visit(at_s, hands_on=False, answer_s=0.1)
    told = line(report, "sensors.battery")
    assert told.state is State.OK, told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "check", "words", "mend"),
    [
        pytest.param("rear:off", "sensors.rear", "GPIO24", "5 V", id="no power"),
        pytest.param("rear:stuck", "sensors.rear", "stays high", "power away", id="echo stuck"),
        pytest.param("imu:off", "sensors.imu", "does not answer", "GPIO2", id="clip off"),
        pytest.param("imu:wrong", "sensors.imu", "WHO_AM_I", "exchange", id="another chip"),
        pytest.param("bus:stuck", "bus.scan", "times out", "Unplug", id="bus held low"),
        pytest.param("button:stuck", "sensors.button", "held down", "short", id="button held"),
        pytest.param("voice:stuck", "sound.voice", "frozen", "sound device", id="sound stands still"),
    ],
)
def test_what_is_wrong_is_named_through_the_guard(
    guarded: Start, fault: str, check: str, words: str, mend: str
) -> None:
    """A fault that began long before the question is told with the driver's own words, and what mends it."""
    report = guarded(faults=[fault]).visit(8.0, hands_on=False)
    told = line(report, check)
    assert told.state is State.BAD
    assert words in told.detail
    assert mend in told.mend


@pytest.mark.slow
def test_a_dead_voice_is_named(guarded: Start) -> None:
    """No sign of life for seconds."""
    device = guarded()
    device.walk.run_until(6.0)
    device.walk.kill_voice()
    assert line(device.visit(7.0, hands_on=False), "sound.voice").state is State.BAD


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param([*WELL, (8.0, Fall())], "a fall or a call for help is open", id="alarm open"),
        pytest.param([*WELL, (8.0, Walk(0.5))], "somebody is walking", id="walking"),
        pytest.param(
            [*WELL, (17.5, Place("person_jacket", 3.0, nears_m_s=0.5))],
            "something to warn of",
            id="somebody comes near",
        ),
    ],
)
def test_nothing_is_tried_while_it_matters(guarded: Start, script: list[tuple[float, Action]], words: str) -> None:
    """During an alarm, a walk or a warning nothing is said, switched or asked: a press would call an alarm off."""
    device = guarded(script)
    report = device.visit(13.0)
    told = line(report, "person.tried")
    assert told.state is State.LOOK
    assert words in told.detail
    assert not [c for c in report.checks if c.id in ("person.press", "person.touch", "sound.speech")]
    assert not [words for _, words in device.notes if "press" in words or "saying" in words]


@pytest.mark.slow
def test_the_guard_itself_refuses_a_signal_in_an_alarm(guarded: Start) -> None:
    """Not only the doctor is careful: the guard lets no test reach motor and buzzer then."""
    device = guarded([*WELL, (8.0, Fall())])
    device.walk.run_until(14.0)
    assert device.control.touch("caution", buzzer=True) == "alarm"


@pytest.mark.slow
def test_a_visit_leaves_no_trace_in_what_is_replayed(guarded: Start, tmp_path: Path) -> None:
    """Words and signal of the doctor are nobody's decision: the recording replays identically."""
    device = guarded()
    device.press_when_asked(1.0)
    device.visit(10.0)
    device.walk.finish()
    device.walk.keep_recording(tmp_path / "walk.mcap")
    comparison = replay(recording.read(tmp_path / "walk.mcap"))
    assert comparison.identical, comparison.difference
    assert comparison.items > 500


@pytest.mark.slow
def test_a_warning_is_as_soon_with_a_doctor_as_without(guarded: Start, tmp_path: Path) -> None:
    """Looked at all the way, a walk towards a wall has the same warnings, none later."""
    script = [*WELL, (8.0, Walk(0.5)), (8.0, Place("wall", 4.0))]
    spoken = []
    for with_doctor in (False, True):
        device = guarded(script)
        if with_doctor:
            device.visit(7.0)
        device.walk.run_until(24.0)
        device.walk.finish()
        walked = recording.read(device.walk.recordings()[-1])
        spoken.append(
            [
                (entry.value.played_s, entry.value.phrase)
                for entry in walked.entries
                if isinstance(entry.value, ev.AlertSpoken) and entry.value.level == "warning"
            ]
        )
    assert spoken[0]
    assert [phrase for _, phrase in spoken[0]] == [phrase for _, phrase in spoken[1]]
    later_s = [with_s - without_s for (without_s, _), (with_s, _) in zip(*spoken, strict=True)]
    assert later_s[0] <= 0.02, later_s
    assert max(later_s) <= 0.1, later_s


@pytest.mark.slow
def test_a_warning_cuts_the_doctors_words(guarded: Start) -> None:
    """Something is there while the doctor speaks: "Stop" is heard at once, and the doctor is told that it was cut."""
    device = guarded([*WELL, (8.0, Walk(0.5)), (10.4, Place("wall", 1.2))])
    device.walk.run_until(10.3)
    assert device.control.say(HELLO, 10.0) == "cut"
    device.walk.run_until(12.0)
    stops = [heard.start_s for heard in device.walk.ear.heard if heard.key == "stop"]
    assert stops
    assert stops[0] < 11.4
