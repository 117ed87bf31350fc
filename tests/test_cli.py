"""The command line as a person meets it: help, plain errors, exit statuses, and the three processes together."""

from __future__ import annotations

import dataclasses
import errno
import io
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from rich.console import Console

from retrowalk import cli, wire
from retrowalk.config import A02yyuw, Config
from retrowalk.core import samples as sm
from retrowalk.errors import BankError
from retrowalk.platform import SocketMailbox
from retrowalk.sim import demo as demonstration
from retrowalk.sim.outcome import Expectation, Message, Outcome, Spoken
from retrowalk.voice import builder
from retrowalk.voice.bank import read_text_clip

DEFAULT_FILE = Path(__file__).resolve().parent.parent / "systemd" / "retrowalk.toml"
PATIENCE_S = 20.0
PEOPLES = (
    *("run", "demo", "replay", "say", "doctor", "support", "record", "calibrate", "bench"),
    *("set-lidar-address", "voices"),
)
BENCH = ("bench take", "bench check", "bench import")
PROCESSES = ("guard", "voice", "courier")


@pytest.fixture
def retrowalk():
    return lambda *arguments: CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


# ---------------------------------------------------------------------------------------------------------- help


def test_help_shows_what_people_use(retrowalk):
    """The commands for people are listed, each with a line; what systemd starts is not"""
    shown = retrowalk("--help").output
    listed = [line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line.startswith("  ")]
    assert tuple(listed[: len(PEOPLES)]) == PEOPLES
    assert not set(PROCESSES) & set(listed)
    assert "not a certified safety device" in " ".join(shown.split())


def test_settings_that_are_not_there_are_a_mistyped_name(retrowalk, tmp_path):
    """A person who starts it with a file that is not there is told so, and nothing is started with other settings"""
    ran = retrowalk("run", "--config", tmp_path / "nope.toml", "--run-dir", tmp_path / "run", "--state-dir", tmp_path)
    assert ran.exit_code == 2
    assert "nope.toml is not there" in ran.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((*name.split(),), id=name)
        for name in (*PEOPLES[:-1], "voices build", "calibrate stop", "calibrate gait", "calibrate list", *BENCH)
    ],
)
def test_help_of_a_command_has_an_example(retrowalk, command):
    """Each command shows how it is used"""
    shown = retrowalk(*command, "--help")
    assert shown.exit_code == 0
    assert f"  retrowalk {' '.join(command)} " in shown.output.partition("Example")[2] + " "


@pytest.mark.parametrize("name", PROCESSES)
def test_processes_can_be_started_by_name(retrowalk, name):
    """The hidden commands are there, with the directories that systemd gives"""
    shown = retrowalk(name, "--help").output
    assert all(option in shown for option in ("--config", "--run-dir", "--state-dir"))


def test_help_loads_nothing_slow():
    """The command line is read before anything else is loaded: --help must answer at once on the smallest Pi"""
    code = "import sys, retrowalk.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    slow = {"msgspec", "rich", "gpiozero", "lgpio", "smbus2", "paho", "mcap", "sqlite3", "asyncio", "pyttsx3", "numpy"}
    assert not slow & {name.partition(".")[0] for name in loaded}


# --------------------------------------------------------------------------------------------------- plain errors


def test_run_without_settings_says_what_to_do(retrowalk, monkeypatch, tmp_path):
    """No settings given and none on the device: a usage error that names a file to begin with"""
    monkeypatch.setattr(cli, "CONFIG_FILE", tmp_path / "retrowalk.toml")
    shown = retrowalk("run")
    assert shown.exit_code == 2
    assert "--config FILE" in shown.stderr
    assert "systemd/retrowalk.toml" in shown.stderr


def test_bad_settings_are_listed_without_a_traceback(retrowalk, tmp_path):
    """Every finding is shown, with file, key, value and rule"""
    file = tmp_path / "bad.toml"
    file.write_text("[collision]\ncaution_ahead_s = 99.0\n[voice]\nvolume = 0\n")
    shown = retrowalk("voices", "build", "--config", file, "--dir", tmp_path / "bank")
    assert shown.exit_code == 1
    assert f"{file}: collision.caution_ahead_s = 99.0" in shown.stderr
    assert f"{file}: voice.volume = 0" in shown.stderr
    assert "Traceback" not in shown.output


def test_missing_settings_file_is_one_plain_line(retrowalk, tmp_path):
    """A file that is not there is named"""
    shown = retrowalk("voices", "build", "--config", tmp_path / "none.toml")
    assert shown.exit_code == 1
    assert shown.stderr == f"Error: {tmp_path}/none.toml: No such file or directory\n"


# ---------------------------------------------------------------------------------------------------------- voices


@pytest.mark.parametrize(
    ("espeak", "told"),
    [
        pytest.param("", "sudo apt install libespeak-ng1", id="no espeak"),
        pytest.param("1.51", "'Stop' could not be rendered: rendered silence", id="what came was no good"),
    ],
)
def test_phrases_that_are_refused_end_in_one_plain_line(retrowalk, monkeypatch, tmp_path, espeak, told):
    """Exit status 1 and the cause on the error output; the voice finds the same beside the clips"""

    def refuse(job):
        raise BankError(f"phrase {job.text!r} could not be rendered: rendered silence")

    monkeypatch.setattr(builder, "render", lambda job: refuse(job) if job.text == "Stop" else write_clip(job))
    monkeypatch.setattr(builder, "espeak_version", lambda: espeak)
    shown = retrowalk("voices", "build", "--config", DEFAULT_FILE, "--dir", tmp_path)
    assert shown.exit_code == 1
    (line,) = shown.stderr.splitlines()
    assert line.startswith("Error: ")
    assert told in line
    assert told in (tmp_path / "refused").read_text()


def write_clip(job):
    Path(job.target).write_bytes(job.text.encode() * 100)


def test_progress_keeps_its_bar_and_its_time_on_a_narrow_terminal():
    """At 80 columns the longest phrase takes no room from either, and the line does not wrap"""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, legacy_windows=False, color_system="standard")
    long = "Walk slowly. Walking fast, you hear of steps down too late, and then it goes on."
    with cli._bar(console, "spoken phrases") as advance:
        advance(12, 163, long)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", shown) if "Walk slowly" in line]
    assert lines
    for line in lines:
        assert len(line) <= 80
        assert line.count("\u2501") + line.count("\u2578") + line.count("\u257a") == 20
        assert " -:--:-- " in line
        assert "\u2026" in line


# ------------------------------------------------------------------------------------------------------------ demo


def outcome(out, *met):
    expectations = [Expectation(f"expectation {i}", ok, f"{i}.00 m") for i, ok in enumerate(met)]
    return Outcome(all(met), expectations, out, {"steps": 41})


@pytest.mark.parametrize(
    ("met", "status", "words"),
    [
        pytest.param((True, True), 0, "all 2 expectations met", id="all met"),
        pytest.param((True, False), 1, "1 of 2 expectations not met", id="one missed"),
    ],
)
def test_demo_ends_with_its_verdict(retrowalk, monkeypatch, tmp_path, met, status, words):
    """The table of expectations, where the files are, and an exit status that a script can use"""
    (tmp_path / "walk.wav").touch()
    monkeypatch.setattr(cli, "_build_bank", lambda *args, **kwargs: None)
    monkeypatch.setattr(demonstration, "run_fast", lambda seed, out, *_: outcome(out, *met))
    shown = retrowalk("demo", "--fast", "--out", tmp_path)
    assert shown.exit_code == status, shown.output
    assert words in shown.output
    assert shown.output.count("NOT MET") == met.count(False)
    assert f"in {tmp_path}: walk.wav" in shown.output


def test_demo_passes_on_what_it_was_asked_for(retrowalk, monkeypatch, tmp_path):
    """Seed, faults, directory and settings reach the walk, and its progress is shown"""
    asked = []

    def run_fast(seed, out, faults, progress, config):
        asked.append((seed, out, list(faults), config))
        progress(45.0, 90.0)
        return outcome(out, True)

    monkeypatch.setattr(cli, "_build_bank", lambda *args, **kwargs: None)
    monkeypatch.setattr(demonstration, "run_fast", run_fast)
    out = tmp_path / "new"
    settings = tmp_path / "sealed.toml"
    settings.write_text('[[range_sensor]]\nchip = "a02yyuw"\n')
    faults = ("--fault", "rear:off@20-30", "--fault", "voice:muted")
    shown = retrowalk("demo", "--fast", "--seed", 7, "--out", out, "--config", settings, *faults)
    assert asked == [(7, out, ["rear:off@20-30", "voice:muted"], Config(range_sensor=(A02yyuw(),)))]
    assert out.is_dir()
    assert "walking: 50 %" in shown.stderr


def test_demo_names_a_fault_that_does_not_exist(retrowalk, monkeypatch):
    """A wrong --fault is one plain line"""
    monkeypatch.setattr(cli, "_build_bank", lambda *args, **kwargs: None)
    shown = retrowalk("demo", "--fast", "--fault", "engine:off")
    assert shown.exit_code == 1
    assert "engine" in shown.stderr
    assert "Traceback" not in shown.output


def test_demo_names_a_fault_of_a_part_that_this_device_lacks(retrowalk, monkeypatch):
    """Nothing that was asked for passes unnoticed, as if the device had borne it"""
    monkeypatch.setattr(cli, "_build_bank", lambda *args, **kwargs: None)
    shown = retrowalk("demo", "--fast", "--fault", "tof:off")
    assert shown.exit_code == 1
    assert "this device has no tof; it has rear, lidar, drop, imu, bus, battery, pi, voice, button" in shown.stderr


def test_demo_with_settings_that_are_wrong_names_the_mistake(retrowalk, tmp_path):
    """The mistake is one plain line, before any phrase is made"""
    settings = tmp_path / "wrong.toml"
    settings.write_text("[fall]\ncountdown_s = 5\n")
    shown = retrowalk("demo", "--fast", "--config", settings)
    assert shown.exit_code == 1
    assert shown.stderr == f"Error: {settings}: fall.countdown_s = 5: must be 10 to 120 (s)\n"


def test_demo_on_a_full_disk_says_so(retrowalk, monkeypatch, tmp_path):
    """No room for the sound file: one plain line that says what to do"""

    def run_fast(*_):
        raise OSError(errno.ENOSPC, "No space left on device")  # a write to an open file has no name to tell

    monkeypatch.setattr(cli, "_build_bank", lambda *args, **kwargs: None)
    monkeypatch.setattr(demonstration, "run_fast", run_fast)
    shown = retrowalk("demo", "--fast", "--out", tmp_path)
    assert shown.exit_code == 1
    assert shown.stderr.endswith("Error: No space left on device: make room, or choose another folder.\n")


@pytest.fixture
def recording_file(tmp_path):
    """A recording of people with a list of 30 trials, and nothing else in it."""
    trials = "".join(f"D{number:02}_SA01_R01,SA01.npz\n" for number in range(1, 31))
    (tmp_path / "trials.csv").write_text("trial_id,file\n" + trials)
    with zipfile.ZipFile(tmp_path / "SA01.npz", "w"):
        pass
    return tmp_path / "SA01.npz"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("--fast", "--imu-recording", "SA01.npz"), "Which of the 30 trials of SA01.npz?", id="no trial"),
        pytest.param(
            ("--fast", "--imu-recording", "SA01.npz"), "such as D01_SA01_R01, D04_SA01_R01,", id="some trials"
        ),
        pytest.param(("--imu-recording", "SA01.npz", "--trial", "D01_SA01_R01"), "give --fast as well", id="not fast"),
        pytest.param(("--fast", "--trial", "D01_SA01_R01"), "--imu-recording FILE.npz", id="no recording"),
    ],
)
def test_demo_of_a_recording_says_what_is_missing(retrowalk, monkeypatch, recording_file, arguments, words):
    """A recorded person needs a file, a trial of it, and virtual time: what is missing is a usage error"""
    monkeypatch.chdir(recording_file.parent)
    shown = retrowalk("demo", *arguments)
    assert shown.exit_code == 2
    assert words in shown.stderr
    assert "Traceback" not in shown.output


def test_demo_names_the_trials_near_a_misspelt_one(retrowalk, monkeypatch, recording_file, tmp_path):
    """A trial that is not there: one plain line with others like it, and no directory"""
    monkeypatch.setattr(cli, "_build_bank", lambda *args, **kwargs: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shown = retrowalk("demo", "--fast", "--imu-recording", recording_file, "--trial", "D31_SA01_R01")
    assert shown.exit_code == 1
    assert shown.stderr.startswith(f"Error: {recording_file}: there is no trial D31_SA01_R01; near it: D")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["SA01.npz", "trials.csv"]


@pytest.mark.parametrize(("met", "status"), [(True, 0), (False, 1)], ids=["as labelled", "not as labelled"])
def test_demo_of_a_recording_tells_what_was_said_and_sent(retrowalk, monkeypatch, recording_file, met, status):
    """What was asked for reaches the walk; what was said and sent is shown; the label decides the exit status"""
    asked = []

    def run_recorded(seed, out, file, trial, faults, progress, config):
        asked.append((seed, out, file, trial, list(faults)))
        told = outcome(recording_file.parent, met)
        return dataclasses.replace(
            told,
            heard=[Spoken(12.9, "warning", "Did you fall?")],
            published=[Message(12.6, "fall.suspected", "fall 1")],
        )

    monkeypatch.setattr(cli, "_build_bank", lambda *args, **kwargs: None)
    monkeypatch.setattr(demonstration, "run_recorded", run_recorded)
    shown = retrowalk("demo", "--fast", "--seed", 3, "--imu-recording", recording_file, "--trial", "D01_SA01_R01")
    assert shown.exit_code == status
    assert asked == [(3, None, recording_file, "D01_SA01_R01", [])]
    assert "said:\n    12.9 s  warning          Did you fall?" in shown.stdout
    assert "sent to the caregiver:\n    12.6 s  fall.suspected   fall 1" in shown.stdout
    assert "steps: 41" in shown.stdout


@pytest.mark.parametrize("asked", [True, False], ids=["its own directory", "the directory asked for"])
def test_demo_broken_off_leaves_no_directory_of_its_own(monkeypatch, tmp_path, asked):
    """Ctrl-C takes away the directory that nobody has been told of, and never the one that was asked for"""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    out = None if asked else tmp_path / "mine"

    def broken_off():
        with demonstration.results(out) as made:
            (made / "walk.wav").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert list(tmp_path.iterdir()) == ([] if asked else [out])


# ------------------------------------------------------------------------------------------------------------- say


class Answering:
    """A guard and its voice that answer; `became` is what becomes of a text, `None`: no answer."""

    def __init__(self, run_dir, became):
        self.said = []
        self.sounds = []
        self._became = became
        self._mailbox = SocketMailbox(run_dir, "guard")
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="guard")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()
        self._mailbox.close()

    def _serve(self):
        while not self._ends.is_set():
            select.select([self._mailbox.fileno()], [], [], 0.02)
            while (data := self._mailbox.receive()) is not None:
                self._answer(wire.decode_local(data))

    def _answer(self, message):
        match message:
            case wire.Examine():
                beat = sm.VoiceHeartbeat(
                    1.0, "plughw:CARD=Ear", 100, fault="" if self._became == "finished" else "muted"
                )
                channel = wire.ITEM_CHANNELS[sm.VoiceHeartbeat]
                record = wire.Record(1, channel, 0, 0, msgspec.Raw(wire.encode(beat)))
                answer = wire.Examined("s", "1", 1.0, "guarding", [], False, "")
                self._mailbox.send(message.reply_to, wire.encode(answer))
                self._mailbox.send(message.reply_to, wire.encode(wire.RecordsMessage("s", [record])))
            case wire.SayMessage():
                self.said.append(message.text)
                self.sounds.append(read_text_clip(Path(message.sound)))
                if self._became is not None:
                    told = wire.ProgressMessage(-2, sm.VoicePhase(self._became), 1.0, message.text)
                    self._mailbox.send(message.reply_to, wire.encode(told))


@pytest.fixture
def rendered(monkeypatch):
    """Renders without espeak."""
    monkeypatch.setattr("retrowalk.voice.say.render_text", lambda config, directory, text: bytes(range(256)) * 10)
    monkeypatch.setattr(cli, "SAY_BEGINS_S", 0.1)
    monkeypatch.setattr(cli, "SAY_ANSWERS_S", 0.1)
    return bytes(range(256)) * 10


def test_say_goes_through_the_running_guard(retrowalk, tmp_path, rendered):
    """While retrowalk runs it is handed the sound itself, wherever its phrases are, and tells where it was said"""
    with Answering(tmp_path, "finished") as guard:
        shown = retrowalk("say", "Hello", "--run-dir", tmp_path, "--config", DEFAULT_FILE)
    assert shown.exit_code == 0, shown.output
    assert shown.output == "said on plughw:CARD=Ear\n"
    assert (guard.said, guard.sounds) == (["Hello"], [rendered])
    assert list(tmp_path.iterdir()) == [], "its own mailbox and the sound are taken away"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("became", "asked", "told"),
    [
        pytest.param("cut", 1, "more urgent", id="cut off"),
        pytest.param("expired", 4, "not said: there was no pause", id="no pause"),
        pytest.param("unknown_phrase", 1, "could not read its sound", id="not found"),
        pytest.param(None, 1, "the voice did not answer", id="no voice"),
    ],
)
def test_say_tells_why_it_was_not_said(retrowalk, tmp_path, rendered, became, asked, told):
    """What was not said to its end is an error of one line, with what the voice complains of"""
    with Answering(tmp_path, became) as guard:
        shown = retrowalk("say", "Hello", "--run-dir", tmp_path, "--config", DEFAULT_FILE)
    assert shown.exit_code == 1
    assert told in shown.stderr
    assert "The voice reports: muted." in shown.stderr
    assert len(guard.said) == asked


@pytest.mark.parametrize("text", ["", "  "], ids=["empty", "blank"])
def test_say_asks_for_words(retrowalk, text):
    """Nothing to say is a mistake on the command line"""
    shown = retrowalk("say", text)
    assert shown.exit_code == 2
    assert "There is nothing to say" in shown.stderr


def test_say_in_a_strange_run_directory_says_what_to_do(retrowalk, tmp_path, rendered, monkeypatch):
    """A retrowalk of somebody else is not spoken over on its own device: the person is told how to ask it"""
    guard = SocketMailbox(tmp_path, "guard")
    try:

        def forbidden(*_):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr("retrowalk.control.SocketMailbox", forbidden)
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
        monkeypatch.setattr("retrowalk.cli._run_dirs", lambda run_dir: [tmp_path])
        shown = retrowalk("say", "Hello", "--config", DEFAULT_FILE)
    finally:
        guard.close()
    assert shown.exit_code == 1
    assert f"retrowalk runs in {tmp_path}, which is not yours: sudo retrowalk say" in shown.stderr


@pytest.mark.slow
def test_say_without_a_sound_device_says_what_to_do(retrowalk, tmp_path):
    """Nothing runs, and the sound device is not there: one plain line that names it"""
    file = tmp_path / "settings.toml"
    file.write_text('[voice]\ndevice = "plughw:CARD=Nowhere"\n')
    shown = retrowalk("say", "Hello", "--run-dir", tmp_path, "--dir", tmp_path / "bank", "--config", file)
    assert shown.exit_code == 1
    assert "plughw:CARD=Nowhere" in shown.stderr
    assert len(shown.stderr.splitlines()) == 1


# --------------------------------------------------------------------------------------------- the three processes


class Running:
    """`retrowalk run` in a directory of its own."""

    def __init__(self, directory, config):
        where = ["--config", config, "--run-dir", directory / "run", "--state-dir", directory / "state"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "retrowalk", "run", *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Phrases are made in a cache of its own; that is not what these tests are about, and ends with the run.
            env={**os.environ, "XDG_CACHE_HOME": str(directory), "PYTHONUNBUFFERED": "1"},
        )
        self.lines = []
        self._rest = b""

    def until(self, words):
        """Reads on until a line has these words, and returns it."""
        assert self.process.stdout is not None
        limit = time.monotonic() + PATIENCE_S
        while True:
            for line in self.lines:
                if words in line:
                    return line
            assert select.select([self.process.stdout], [], [], max(0.0, limit - time.monotonic()))[0], self.lines
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.lines
            *whole, self._rest = (self._rest + data).split(b"\n")
            self.lines += [line.decode() for line in whole]

    def pid(self, name):
        """Process number of a part, None while it is not there."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                arguments = (process / "cmdline").read_text().split("\0")
            except OSError:
                continue  # it has just ended
            if parent == self.process.pid and arguments[2:4] == ["retrowalk", name]:
                return int(process.name)
        return None


@pytest.fixture
def running(tmp_path):
    started = []

    def start(config):
        started.append(Running(tmp_path, config))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        assert one.process.stdout is not None
        one.process.stdout.close()


@pytest.mark.process
def test_run_comes_up_says_what_is_missing_and_ends_cleanly(running, tmp_path):
    """On a machine without any of the hardware the guard is up within seconds, protects nobody and says so"""
    it = running(DEFAULT_FILE)
    it.until("not protecting")
    it.process.send_signal(signal.SIGINT)
    it.until("stopping")
    it.until("courier  ended")
    assert it.process.wait(PATIENCE_S) == 0
    assert not list(tmp_path.rglob("*.sock"))


@pytest.mark.process
def test_run_goes_on_with_bad_settings(running, tmp_path):
    """Every finding is printed, then it runs all the same and does not protect"""
    bad = tmp_path / "bad.toml"
    bad.write_text("[collision]\ncaution_ahead_s = 99.0\nwarning_floor = 1\n")
    it = running(bad)
    it.until("collision.caution_ahead_s = 99.0")
    it.until("collision.warning_floor = 1")
    it.until("retrowalk protects nobody until this is mended")
    assert "settings are wrong" in it.until("not protecting (")


@pytest.mark.process
@pytest.mark.parametrize("name", PROCESSES)
def test_killed_process_is_back(running, name):
    """kill -9 of any of the three: it is named, it is back, and the others are the same as before"""
    it = running(DEFAULT_FILE)
    it.until("not protecting")
    before = {part: it.pid(part) for part in PROCESSES}
    os.kill(before[name], signal.SIGKILL)
    it.until(f"{name:8} was killed (SIGKILL); starting it again in 1 s")
    limit = time.monotonic() + PATIENCE_S
    while it.pid(name) in (None, before[name]):
        assert time.monotonic() < limit
        time.sleep(0.05)
    after = {part: it.pid(part) for part in PROCESSES}
    assert {part for part in PROCESSES if after[part] != before[part]} == {name}
