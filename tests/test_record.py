"""Labelled recordings: prompts that are heard, labels at the right moments, and a replay that knows nothing of them."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.system.sound import match, read_wav
from tests.voice.helpers import noise

from retrowalk import record
from retrowalk.config import Config
from retrowalk.control import Control
from retrowalk.core import samples as sm
from retrowalk.courier import recording
from retrowalk.errors import ConfigError
from retrowalk.record import DEFAULT, DONE, GO_ON, Prompt, Session
from retrowalk.replay import replay
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Action, HandBehind, Place, Press, Stand, Walk
from retrowalk.voice import bank as banks

STARTER = '[[range_sensor]]\nchip = "hc-sr04"\n[battery]\nchip = "none"\n'
PROMPTS = (
    Prompt("stand", "Stand still.", 2.0),
    Prompt("walk", "Walk back slowly.", 3.0),
    Prompt("stop", "Stop now.", 1.5, countdown=False),
)
WORDS_S = 1.5
"""How long each prompt's sound lasts here."""


def sound_of(text: str) -> bytes:
    return noise(("say", text), WORDS_S)


@pytest.fixture(scope="session")
def phrases(tmp_path_factory: pytest.TempPathFactory) -> banks.Bank:
    """The rendered phrases, and a sound of its own for each prompt."""
    banks.build(Config(), banks.default_directory())
    directory: Path = tmp_path_factory.mktemp("bank")
    for file in banks.default_directory().iterdir():
        if file.is_file():
            (directory / file.name).symlink_to(file)
    (directory / "texts").mkdir()
    for text in record.texts([*PROMPTS, *DEFAULT], by_button=True):
        content = hashlib.sha256(sound_of(text)).digest() + sound_of(text)
        (directory / "texts" / banks.text_file_name(Config(), text)).write_bytes(content)
    return banks.Bank.open(Config(), directory)


class Recorded:
    """A walk in virtual time that is being recorded with labels."""

    def __init__(self, phrases: banks.Bank, directory: Path, script: Sequence[tuple[float, Action]]) -> None:
        scenario = Scenario("record", 120.0, ((4.0, HandBehind()), *script), WALKER, (), {}, STARTER)
        self.out = directory
        self.walk = VirtualWalk(scenario.config, scenario, 1, phrases, wav=directory / "walk.wav")
        mailbox = self.walk.mail.open("record-1")
        self.control = Control(mailbox, self.walk.clock, lambda s: self.walk.run_until(self.walk.clock.now() + s))
        self.told: list[str] = []
        self.session = Session(self.control, self.tell)

    def tell(self, line: str) -> None:
        self.told.append(line)

    def read(self) -> recording.Recording:
        """The recording, after the walk."""
        self.walk.finish()
        return recording.read(self.walk.recordings()[-1])


Start = Callable[..., Recorded]


@pytest.fixture
def recorded(phrases: banks.Bank, tmp_path: Path) -> Iterator[Start]:
    made: list[Recorded] = []

    def start(script: Sequence[tuple[float, Action]] = ()) -> Recorded:
        made.append(Recorded(phrases, tmp_path, script))
        made[-1].walk.run_until(8.0)
        return made[-1]

    yield start
    for one in made:
        one.walk.close()


def spans(walked: recording.Recording) -> list[tuple[str, float, float]]:
    """Label, begin and end of every span, in order of their ends."""
    begun: dict[str, float] = {}
    found = []
    for label in walked.labels:
        if label.phase == "begin":
            begun[label.label] = label.t_s
        else:
            found.append((label.label, begun.pop(label.label), label.t_s))
    assert not begun
    return found


@pytest.mark.slow
def test_labels_hold_as_long_as_they_should(recorded: Start) -> None:
    """Each prompt's label lasts its seconds, one after the other, with the time for its words between."""
    device = recorded()
    device.session.run(PROMPTS)
    found = spans(device.read())
    assert [name for name, _, _ in found] == ["stand", "walk", "stop"]
    for (_, begin_s, end_s), prompt in zip(found, PROMPTS, strict=True):
        assert math.isclose(end_s - begin_s, prompt.seconds, abs_tol=0.05)
    assert all(later[1] - earlier[2] >= WORDS_S for earlier, later in itertools.pairwise(found))


@pytest.mark.slow
def test_a_label_begins_when_its_words_have_been_heard(recorded: Start) -> None:
    """The words of each prompt are in the walker's ear, and its label begins within 0.15 s of their end."""
    device = recorded()
    device.session.run(PROMPTS)
    found = spans(device.read())
    sound = read_wav(device.out / "walk.wav")
    for (_, begin_s, _), prompt in zip(found, PROMPTS, strict=True):
        said_s = next(
            t / 100
            for t in range(round(100 * (begin_s - WORDS_S)) - 15, round(100 * (begin_s - WORDS_S)) + 1)
            if match(sound, sound_of(record.words(prompt)), t / 100, 0.02) > 0.9
        )
        assert said_s + WORDS_S <= begin_s + 0.02


@pytest.mark.slow
def test_the_replay_knows_nothing_of_labels(recorded: Start) -> None:
    """The labelled recording replays identically, and its entries are numbered without a hole."""
    device = recorded()
    device.session.run(PROMPTS, label="anna")
    walked = device.read()
    assert walked.complete, walked.problem
    comparison = replay(walked)
    assert comparison.identical, comparison.difference
    assert not comparison.lost
    assert {entry.channel for entry in walked.entries}.isdisjoint({"/label"})


@pytest.mark.slow
def test_one_label_can_hold_for_everything(recorded: Start) -> None:
    """--label names the whole recording: it begins before the first and ends after the last."""
    device = recorded()
    device.session.run(PROMPTS, label="anna")
    found = {name: (begin_s, end_s) for name, begin_s, end_s in spans(device.read())}
    assert found["anna"][0] < found["stand"][0]
    assert found["anna"][1] > found["stop"][1]


@pytest.mark.slow
def test_labels_and_samples_share_one_clock(recorded: Start) -> None:
    """While the label says that somebody walks, the range falls; while they stand, it does not."""
    device = recorded([(10.0, Place("wall", 6.0))])
    walk = device.walk

    def tell(line: str) -> None:
        if "Walk back" in line:
            Walk(0.5).apply(walk.world, walk.clock.now())
        elif "Stop" in line:
            Stand().apply(walk.world, walk.clock.now())

    Session(device.control, tell).run(PROMPTS)
    walked = device.read()
    found = {name: (begin_s, end_s) for name, begin_s, end_s in spans(walked)}
    steps = {}
    for name in ("stand", "walk"):
        begin_s, end_s = found[name]
        turning = [
            math.hypot(*entry.value.accel_m_s2)
            for entry in walked.entries
            if isinstance(entry.value, sm.ImuSample) and begin_s <= entry.value.t_measured_s <= end_s
        ]
        assert len(turning) == pytest.approx(104 * (end_s - begin_s), rel=0.05)
        steps[name] = max(turning) - min(turning)
    assert steps["walk"] > 3 * steps["stand"]


@pytest.mark.slow
def test_a_warning_cuts_a_prompt_which_is_said_again(recorded: Start) -> None:
    """A warning in the middle of a prompt is heard at once; the prompt is said again, and then its label begins."""
    device = recorded([(8.5, Walk(0.5)), (11.6, Place("wall", 1.2))])
    device.walk.run_until(11.5)
    device.session.run([Prompt("stand", "Stand still.", 2.0)])
    stops = [heard.start_s for heard in device.walk.ear.heard if heard.key == "stop"]
    ((_, begin_s, _),) = spans(device.read())
    assert stops
    assert stops[0] < 12.6
    assert begin_s > stops[0] + WORDS_S
    assert device.session.done[0].heard


@pytest.mark.slow
def test_a_voice_that_is_gone_does_not_stop_a_recording(recorded: Start) -> None:
    """Nobody can hear the prompts: the labels hold all the same, and whoever watches is told."""
    device = recorded()
    device.walk.kill_voice()
    device.session.run(PROMPTS)
    assert [name for name, _, _ in spans(device.read())] == ["stand", "walk", "stop"]
    assert not any(done.heard for done in device.session.done)
    assert any("could not be said" in line for line in device.told)


@pytest.mark.slow
def test_each_part_can_wait_for_the_button(recorded: Start) -> None:
    """--by-button: the next prompt comes after a press."""
    device = recorded()
    pressed_s = []

    def tell(line: str) -> None:
        if "waiting for the button" in line:
            pressed_s.append(device.walk.clock.now() + 4.0)
            Press().plan(device.walk.world, pressed_s[-1])

    Session(device.control, tell).run(PROMPTS, by_button=True)
    found = spans(device.read())
    assert len(pressed_s) == 2
    assert [found[1][1] > pressed_s[0], found[2][1] > pressed_s[1]] == [True, True]
    assert found[0][2] < pressed_s[0]


@pytest.mark.slow
def test_ended_early_every_label_is_closed(recorded: Start) -> None:
    """Ctrl-C in the middle: what holds then ends there, nothing is left open, and no further prompt is said."""
    device = recorded()
    walk = device.walk

    def tell(line: str) -> None:
        if line.startswith("2 of 3"):
            walk.scheduler.at(walk.clock.now() + WORDS_S + 1.0, session.stop)

    session = Session(device.control, tell)
    session.run(PROMPTS, label="anna")
    found = spans(device.read())
    assert [name for name, _, _ in found] == ["stand", "walk", "anna"]
    assert found[1][2] - found[1][1] < 3.0


@pytest.mark.slow
def test_a_running_recording_can_be_taken_away_whole(recorded: Start, tmp_path: Path) -> None:
    """The file is finished, copied complete, and the recording goes on in the next part."""
    device = recorded()
    device.session.run(PROMPTS)
    kept = record.collect(device.control, tmp_path / "mine")
    walked = recording.read(kept)
    assert walked.complete, walked.problem
    assert len(walked.labels) == 6
    assert replay(walked).identical
    device.walk.run_until(device.walk.clock.now() + 2.0)
    device.walk.finish()
    whole = recording.read(device.walk.recordings())
    assert whole.complete, whole.problem
    assert len(whole.entries) > len(walked.entries)


def test_nothing_to_take_away_is_said_as_nothing(tmp_path: Path) -> None:
    """No courier answers: no files, and no error."""
    assert record.keep([], tmp_path / "none") == []


# ---------------------------------------------------------------------------------------------------------- scripts


def test_a_script_is_read(tmp_path: Path) -> None:
    """A TOML file of prompts."""
    file = tmp_path / "my.toml"
    file.write_text('[[prompt]]\nlabel = "sit"\nsay = "Sit down."\nseconds = 4\ncountdown = false\n')
    assert record.script(file) == (Prompt("sit", "Sit down.", 4.0, countdown=False),)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("prompt = 1", id="another form"),
        pytest.param('[[prompt]]\nlabel = "A B"\nsay = "x"\nseconds = 1\n', id="label with a space"),
        pytest.param('[[prompt]]\nlabel = "a"\nsay = ""\nseconds = 1\n', id="nothing to say"),
        pytest.param('[[prompt]]\nlabel = "a"\nsay = "x"\nseconds = 0.0\n', id="no time"),
        pytest.param('[[prompt]]\nlabel = "a"\nsay = "x"\nseconds = 1\nloud = 1\n', id="unknown key"),
        pytest.param("[[prompt", id="no TOML"),
    ],
)
def test_a_script_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    """With the file's name and the form it must have."""
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.toml.*\[\[prompt\]\]"):
        record.script(file)


def test_everything_is_rendered_before_the_beginning() -> None:
    """Each text once: prompts with their countdown, the goodbye, and the word about the button where it is used."""
    assert record.texts(PROMPTS, by_button=False)[-1] == DONE
    assert GO_ON in record.texts(PROMPTS, by_button=True)
    texts = record.texts(DEFAULT, by_button=False)
    assert len(set(texts)) == len(texts)
    assert all(record.words(prompt) in texts for prompt in DEFAULT)
