"""Real processes in real time: the demo as a user runs it, and deaths at any moment of a walk.

The moments are drawn from a seed; another seed, other moments: `SEED`.  A walk that several tests look at is walked
once.  What the walker heard and felt is judged by the world's ear and skin, what the caregiver got by a client that
knows only the topics; the limits are those that the walker was promised, and where only this machine's speed matters,
generous.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.broker import Heard as Message
from tests.broker import Mosquitto, Stranger
from tests.system.sound import match, match_pieces, read_wav
from tests.system.walks import Finished, walk

from retrowalk.cli import LAST_GOOD
from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.courier import recording
from retrowalk.courier.recording import Recording
from retrowalk.replay import replay
from retrowalk.sim.realtime import RealWalk
from retrowalk.sim.report import said
from retrowalk.sim.scenarios import FALL_COUNTDOWN_S
from retrowalk.voice import bank as banks

pytestmark = pytest.mark.process

SEED = int(os.environ.get("RETROWALK_TEST_SEED", "1"))

SILENT_S = 1.5
"""After the guard's death its silence is heard within this."""
BACK_S = 5.0
"""A process that died serves again within this."""
FELT_S = 0.5
"""After the voice's death buzzer and vibration begin within this (0.3 s without a sign of life, and the next look)."""
START_S = 10.0
"""A loose bound on what takes 0.3 s here: from the guard's start to its first decision."""
ANSWER_S = 20.0


@pytest.fixture(scope="module")
def phrases() -> banks.Bank:
    """The rendered phrases (script/setup has rendered them; else they are now)."""
    return banks.build(Config(), banks.default_directory())


# ------------------------------------------------------------------------------------------------------- the demo


@dataclass(frozen=True)
class Demo:
    """The demo as a user ran it."""

    status: int
    output: str
    out: Path
    recorded: Recording


@pytest.fixture(scope="module")
def demo(phrases: banks.Bank, tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """`retrowalk demo` in real time, its output in a file and not on a terminal."""
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "retrowalk", "demo", "--seed", str(SEED), "--out", str(out)]
    ran = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150.0, text=True
    )
    assert (out / "walk.mcap").exists(), ran.stdout[-2000:]
    return Demo(ran.returncode, ran.stdout, out, recording.read(out / "walk.mcap"))


def test_the_demo_goes_as_it_should(demo: Demo) -> None:
    """Every expectation is met, the status is 0, the files are there, and nothing else is left in the directory."""
    assert demo.status == 0, demo.output[-3000:]
    assert "NOT MET" not in demo.output
    files = {path.name: path.stat().st_size for path in demo.out.iterdir()}
    assert set(files) == {"walk.wav", "walk.mcap", "events.jsonl", "transcript.txt"}
    assert all(files.values()), files


def test_the_demo_shows_that_the_caregiver_was_alerted(demo: Demo) -> None:
    """A client that knows only the topics received the fall, and the display says so."""
    assert [line for line in demo.output.splitlines() if "sent" in line and "fall.confirmed" in line]


def test_the_demos_recording_replays_identically(demo: Demo) -> None:
    """`retrowalk replay` finds the same events, byte for byte, in a walk that real threads and sockets made."""
    command = [sys.executable, "-m", "retrowalk", "replay", str(demo.out / "walk.mcap")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60.0)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr
    assert ran.stdout.startswith("identical: ")


def test_what_the_demo_said_is_in_its_sound(demo: Demo, phrases: banks.Bank) -> None:
    """Every transcript line that was not cut is found in walk.wav, within 50 ms of its time.

    On a machine that is busy the sound runs dry now and then: then it is found in pieces.
    """
    sound = read_wav(demo.out / "walk.wav")
    clips = {phrases.words(phrase, value): (phrase, value) for phrase, value in alerts.clips(Config())}
    lines = [line for line in said(demo.recorded) if "[cut" not in line.words and not line.words.startswith("(")]
    assert len(lines) >= 15
    for line in lines:
        clip = phrases.clip(*clips[line.words]) or b""
        if match(sound, clip, line.t_s, 0.05) <= 0.95:
            assert match_pieces(sound, clip, line.t_s, 0.05) > 0.5, line


def test_a_warning_is_heard_soon_after_the_echo(
    demo: Demo, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first sample of the warning zone to the first frame of the warning: reported, and within a second."""
    spoken = {e.value.alert: e.value for e in demo.recorded.entries if isinstance(e.value, ev.AlertSpoken)}
    samples = [e.value for e in demo.recorded.entries if isinstance(e.value, sm.RangeSample)]
    delays_s = []
    for entry in demo.recorded.entries:
        raised = entry.value
        if not isinstance(raised, ev.HazardRaised) or raised.level != "warning" or raised.needed_m is None:
            continue
        before = [s for s in samples if s.sensor == raised.sensor and s.t_received_s <= raised.t_s + 0.001]
        zone = [s for s in before if s.t_received_s > raised.t_s - 2.0]
        first = None
        for sample in reversed(zone):  # back to where it was last seen outside the zone
            if sample.range_m is not None and sample.range_m > raised.needed_m:
                break
            first = sample if sample.range_m is not None else first
        # The tracker may be ahead of the samples: then it is the one that made it decide.
        delays_s.append(spoken[raised.alert].played_s - (first or zone[-1]).t_measured_s)
    with capsys.disabled():
        print(f"\n  echo to sound of the demo's warnings: {[round(delay_s * 1000) for delay_s in delays_s]} ms")
    record_property("echo_to_sound_ms", [round(delay_s * 1000) for delay_s in delays_s])
    assert delays_s
    assert all(0.0 < delay_s < 1.0 for delay_s in delays_s)


# ---------------------------------------------------------------------------------------------- the guard is killed


@dataclass(frozen=True)
class Killed:
    """A walk in which something was killed, at these seconds."""

    walk: Finished
    at_s: tuple[float, ...]


def kills(directory: Path, name: str, *moments: tuple[float, float]) -> Killed:
    """A walk in which `name` is killed at a moment drawn from each of these spans."""
    draw = random.Random(f"{name}:{SEED}")
    at_s = []

    def happens(real: RealWalk) -> None:
        for from_s, until_s in moments:
            real.run_until(draw.uniform(from_s, until_s))
            at_s.append(real.now())
            real.kill(name)

    # A fault that is over is told after the alarm, and what the alarm has to say takes until its very end.
    return Killed(walk(directory, SEED, happens, beyond_s=8.0), tuple(at_s))


@pytest.fixture(scope="module")
def guard_killed(phrases: banks.Bank, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """The guard is killed while it guards, and again while it counts down after the fall."""
    return kills(tmp_path_factory.mktemp("guard"), "guard", (6.6, 9.0), (16.0, 25.0))


def test_a_dead_guard_is_heard(guard_killed: Killed) -> None:
    """Each time: the voice says by itself, at once, that nobody guards, in words that only a "Stop" may cut."""
    for killed_s in guard_killed.at_s:
        tones = guard_killed.walk.heard("fault", from_s=killed_s, until_s=killed_s + SILENT_S)
        words = guard_killed.walk.heard("guard_silent", from_s=killed_s, until_s=killed_s + SILENT_S)
        stops = guard_killed.walk.heard("warning", from_s=killed_s, until_s=killed_s + BACK_S)
        assert tones, killed_s
        assert words or stops, killed_s
    assert guard_killed.walk.heard("guard_silent")


def test_a_dead_guard_is_back_and_says_so(guard_killed: Killed) -> None:
    """Each time: a new session decides within five seconds of the death, and the walker hears "I had to restart"."""
    sessions = [recorded.entries[0].log_ns / 1e9 for recorded in guard_killed.walk.recordings]
    assert len(sessions) == 1 + len(guard_killed.at_s)
    for killed_s, back_s in zip(guard_killed.at_s, sessions[1:], strict=True):
        assert killed_s < back_s < killed_s + BACK_S
    assert guard_killed.walk.heard("restarted", from_s=guard_killed.at_s[0], until_s=guard_killed.at_s[1])
    assert guard_killed.walk.heard("restarted", from_s=guard_killed.at_s[1])


def test_a_guard_that_is_back_guards_without_the_hand_check(guard_killed: Killed) -> None:
    """Each time: it guards again within five seconds of the death, and asks for no hand."""
    for killed_s in guard_killed.at_s:
        guarding = [t_s for t_s in guard_killed.walk.happened("guard.changed", state="guarding") if t_s > killed_s]
        assert guarding, killed_s
        assert min(guarding) < killed_s + BACK_S
    assert not guard_killed.walk.heard("checking", from_s=guard_killed.at_s[0])


def test_the_countdown_goes_on_while_the_guard_is_dead(guard_killed: Killed) -> None:
    """The time without a guard counts: the fall is confirmed once, when it would have been, or when it is back."""
    suspected, confirmed = guard_killed.walk.happened("fall.suspected"), guard_killed.walk.happened("fall.confirmed")
    assert len(suspected) == len(confirmed) == 1
    back_s = guard_killed.walk.recordings[-1].entries[0].log_ns / 1e9
    assert confirmed[0] == pytest.approx(max(suspected[0] + FALL_COUNTDOWN_S, back_s), abs=0.1)
    received = [p.t_s for p in guard_killed.walk.published("fall.confirmed")]
    assert received[0] < confirmed[0] + 1.0
    assert guard_killed.walk.heard("caregiver_told", from_s=confirmed[0])


def test_a_dead_guard_loses_no_event(guard_killed: Killed) -> None:
    """Everything it had said arrives, from all of its lives."""
    assert guard_killed.walk.missing() == []


def test_recordings_of_a_dead_guard_replay_identically(guard_killed: Killed) -> None:
    """Each of its lives can be gone through again: up to its death, or from what it was restored to."""
    for recorded in guard_killed.walk.recordings:
        comparison = replay(recorded)
        assert comparison.identical, comparison.difference
        assert not comparison.lost


def test_a_guard_decides_soon_after_its_start(
    guard_killed: Killed, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """From the start of its process to its first decision, with nothing but the interpreter in memory: reported."""
    firsts = [recorded.entries[0].log_ns / 1e9 for recorded in guard_killed.walk.recordings]
    took_s = [first - begun for first, begun in zip(firsts, guard_killed.walk.started("guard"), strict=True)]
    with capsys.disabled():
        print(f"\n  guard's start to its first decision: {[round(t_s * 1000) for t_s in took_s]} ms")
    record_property("guard_start_ms", [round(t_s * 1000) for t_s in took_s])
    assert all(0.0 < t_s < START_S for t_s in took_s)


# ------------------------------------------------------------------------------------- the voice is frozen and killed


CAUSE = "fault:voice-restarted"


@dataclass(frozen=True)
class Voiceless:
    """A walk whose voice was frozen, went on, and was killed, at these seconds."""

    walk: Finished
    frozen_s: float
    thawed_s: float
    killed_s: float


@pytest.fixture(scope="module")
def voiceless(phrases: banks.Bank, tmp_path_factory: pytest.TempPathFactory) -> Voiceless:
    """The voice is frozen for two seconds, goes on, and is killed later."""
    draw = random.Random(f"voice:{SEED}")
    at_s: list[float] = []

    def happens(real: RealWalk) -> None:
        real.run_until(draw.uniform(6.6, 8.0))
        for number, wait_s in ((signal.SIGSTOP, 2.0), (signal.SIGCONT, draw.uniform(3.0, 15.0)), (signal.SIGKILL, 0.0)):
            at_s.append(real.now())
            real.kill("voice", number)
            real.run_until(real.now() + wait_s)

    # It may be killed in the last seconds of the walk, while the alarm has more to say than that the voice is back.
    return Voiceless(walk(tmp_path_factory.mktemp("voice"), SEED, happens, beyond_s=10.0), *at_s)


def test_a_frozen_voice_is_felt(voiceless: Voiceless) -> None:
    """Not dead, but it says nothing: buzzer and vibration begin within 0.6 s, and the fault is an event."""
    assert {"buzzer", "vibration"} <= set(voiceless.walk.felt(voiceless.frozen_s, voiceless.frozen_s + 0.6))
    raised = voiceless.walk.happened("fault.raised", part="voice")
    assert voiceless.frozen_s < raised[0] < voiceless.frozen_s + 0.6


def test_a_voice_that_goes_on_is_back(voiceless: Voiceless) -> None:
    """It speaks again, the fault is over, and nothing that it missed is said as if it were true now."""
    cleared = voiceless.walk.happened("fault.cleared", part="voice")
    assert voiceless.thawed_s < cleared[0] < voiceless.thawed_s + 1.0
    assert voiceless.walk.heard("", from_s=voiceless.thawed_s, until_s=voiceless.killed_s)
    assert {h.key for h in voiceless.walk.heard("fault:voice")} <= {CAUSE}
    assert not voiceless.walk.heard("guard_silent")
    assert len(voiceless.walk.started("voice")) == 2, "it was not started anew but for the kill"


def test_a_dead_voice_is_felt(voiceless: Voiceless) -> None:
    """Within half a second of its death buzzer and vibration take over."""
    assert voiceless.walk.felt(voiceless.killed_s, voiceless.killed_s + FELT_S)
    raised = [t_s for t_s in voiceless.walk.happened("fault.raised", part="voice") if t_s > voiceless.killed_s]
    assert raised[0] < voiceless.killed_s + FELT_S


def test_a_dead_voice_is_back_and_says_so(voiceless: Voiceless) -> None:
    """Within five seconds it serves again; why it was away and that it is back it says as soon as it may."""
    cleared = [t_s for t_s in voiceless.walk.happened("fault.cleared", part="voice") if t_s > voiceless.killed_s]
    assert cleared[0] < voiceless.killed_s + BACK_S
    assert voiceless.walk.heard(CAUSE, from_s=voiceless.killed_s)
    assert voiceless.walk.heard("fault_over:voice", from_s=voiceless.killed_s)


def test_a_dead_voice_stops_nothing_else(voiceless: Voiceless) -> None:
    """The guard lived on: one session, the fall confirmed once, in time; every event arrived."""
    assert len(voiceless.walk.recordings) == 1
    suspected, confirmed = voiceless.walk.happened("fall.suspected"), voiceless.walk.happened("fall.confirmed")
    assert len(suspected) == len(confirmed) == 1
    assert confirmed[0] == pytest.approx(suspected[0] + FALL_COUNTDOWN_S, abs=0.1)
    assert voiceless.walk.missing() == []
    assert replay(voiceless.walk.recordings[0]).identical


# -------------------------------------------------------------------------------------------- the courier is killed


@pytest.fixture(scope="module")
def courier_killed(phrases: banks.Bank, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """The courier is killed while the walker walks, and again at any moment of the alarm."""
    return kills(tmp_path_factory.mktemp("courier"), "courier", (6.6, 11.5), (16.0, 25.0))


def test_a_dead_courier_is_felt_and_heard(courier_killed: Killed) -> None:
    """Each time it is felt within two seconds, and heard where no alarm speaks; at last it is heard to work again."""
    walking_s, alarm_s = courier_killed.at_s
    for killed_s in courier_killed.at_s:
        assert courier_killed.walk.felt(killed_s, killed_s + 2.0), killed_s
    assert courier_killed.walk.heard("fault", from_s=walking_s, until_s=walking_s + 2.0)
    assert courier_killed.walk.heard("fault_over:courier", from_s=alarm_s)


def test_the_caregiver_is_told_of_a_dead_courier(courier_killed: Killed) -> None:
    """Each time the fault is told to have begun when it did, and to be over within five seconds."""
    raised = courier_killed.walk.happened("fault.raised", part="courier", fault="gone")
    cleared = courier_killed.walk.happened("fault.cleared", part="courier", fault="gone")
    for killed_s, begun_s, over_s in zip(courier_killed.at_s, raised, cleared, strict=True):
        assert killed_s < begun_s < killed_s + 2.0
        assert begun_s < over_s < killed_s + BACK_S


def test_a_dead_courier_loses_no_event(courier_killed: Killed) -> None:
    """Every event of the walk reaches the stranger, by its number and by the recording; nothing is left waiting."""
    assert courier_killed.walk.missing() == []
    assert courier_killed.walk.evidence.waiting == 0


def test_what_arrives_twice_can_be_recognised(courier_killed: Killed) -> None:
    """An event that is sent again has the same id, and says the same."""
    first: dict[str, object] = {}
    for event in courier_killed.walk.published():
        payload = event.payload
        same = first.setdefault(payload["id"], (payload["session"], payload["monoms"], payload["data"]))
        assert same == (payload["session"], payload["monoms"], payload["data"])


def test_the_alarm_comes_through_a_dead_courier(courier_killed: Killed) -> None:
    """The fall is confirmed once and in time, the open alert stands for late comers, the walker hears of the helper."""
    walked, killed_s = courier_killed.walk, courier_killed.at_s[-1]
    suspected, confirmed = walked.happened("fall.suspected"), walked.happened("fall.confirmed")
    assert len(suspected) == len(confirmed) == 1
    assert confirmed[0] == pytest.approx(suspected[0] + FALL_COUNTDOWN_S, abs=0.1)
    received_s = min(p.t_s for p in walked.published("fall.confirmed"))
    assert received_s < max(confirmed[0], killed_s + BACK_S) + 1.0
    assert walked.retained("alert")[-1].payload["type"] == "fall.confirmed"
    assert walked.heard("caregiver_told", from_s=confirmed[0])


def test_a_dead_courier_is_seen_from_outside(courier_killed: Killed) -> None:
    """Each time the broker tells of the loss at once, and the courier tells a state again; goodbye at the end."""
    states = [(p.t_s, p.payload["state"]) for p in courier_killed.walk.retained("state")]
    for killed_s in courier_killed.at_s:
        after = [(t_s, state) for t_s, state in states if t_s > killed_s]
        assert [state for t_s, state in states if t_s < killed_s][-1] in ("ready", "walking")
        assert after[0][1] == "lost"
        assert after[0][0] < killed_s + 1.0
        assert after[1][1] in ("ready", "walking")
        assert after[1][0] < killed_s + BACK_S
    assert states[-1][1] == "disconnected"


def test_what_a_dead_courier_recorded_can_be_replayed(courier_killed: Killed) -> None:
    """Up to its death nothing differs; what is missing is named, less than ten seconds each time."""
    comparison = replay(courier_killed.walk.recordings[0])
    assert comparison.identical, comparison.difference
    assert comparison.until_s > courier_killed.at_s[0] - 10.0
    assert len(comparison.lost) <= len(courier_killed.at_s)
    for hole in comparison.lost:
        assert hole.to_s is not None
        assert hole.to_s - hole.from_s < 10.0


# --------------------------------------------------------------------------------------------------- no world at all


def test_without_a_world_the_sensors_are_named_and_nothing_ends(phrases: banks.Bank, tmp_path: Path) -> None:
    """As if every wire were cut: both sensors are lost by name, nothing protects the walker, no process ends."""
    draw = random.Random(f"world:{SEED}")
    with RealWalk(SEED, tmp_path, scenario="fall") as real:
        real.run_until(draw.uniform(2.0, 5.0))
        pids, cut_s = real.pids(), real.now()
        real.kill_world()
        real.run_until(cut_s + 4.0)
        assert real.pids() == pids
        assert [told for told in real.events if told.what != "started"] == []
        messages = {(message.topic, message.summary): message.t_s for message in real.messages()}
        lost = {summary: t_s for (kind, summary), t_s in messages.items() if kind == "sensor.lost"}
        assert {name for name in ("rear", "imu") if any(name in summary for summary in lost)} == {"rear", "imu"}
        assert all(cut_s < t_s < cut_s + 2.0 for t_s in lost.values()), lost
        assert real.status is not None
        assert (real.status.guard_state, real.status.reasons) == ("not_protecting", ["rear"])


# ---------------------------------------------------------------------------------------- `retrowalk run`, no hardware


class Device:
    """`retrowalk run` on this machine, in directories of its own."""

    def __init__(self, directory: Path, settings: str) -> None:
        self.run_dir, self.state_dir = directory / "run", directory / "state"
        self.settings = directory / "settings.toml"
        self.settings.write_text(settings)
        self.output = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command: list[str | Path] = [sys.executable, "-m", "retrowalk", "run", "--config", self.settings]
        self._process = subprocess.Popen(
            [*command, "--run-dir", self.run_dir, "--state-dir", self.state_dir],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def runs(self) -> bool:
        """Whether it has not ended."""
        assert self._process is not None
        return self._process.poll() is None

    def until(self, words: str) -> None:
        """Waits until its output has these words."""
        assert self._process is not None
        assert self._process.stdout is not None
        limit = time.monotonic() + ANSWER_S
        while words not in self.output:
            left_s = max(0.0, limit - time.monotonic())
            assert select.select([self._process.stdout], [], [], left_s)[0], self.output
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, self.output
            self.output += data.decode()

    def end(self) -> tuple[int, float]:
        """SIGTERM, as a service manager does; status and seconds."""
        assert self._process is not None
        asked_s = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(ANSWER_S), time.monotonic() - asked_s

    def left(self) -> list[str]:
        """Command lines of processes that still run for it."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has just ended
            if str(self.run_dir) in arguments:
                found.append(arguments)
        return found

    def recorded(self) -> list[object]:
        """Everything in its recordings."""
        paths = sorted((self.state_dir / "recordings").glob("*.mcap"))
        return [entry.value for path in paths for entry in recording.read(path).entries]

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def device(tmp_path: Path, phrases: banks.Bank) -> Iterator[Callable[[str], Device]]:
    """Makes a device of these settings; it ends with the test."""
    made: list[Device] = []

    def make(settings: str) -> Device:
        made.append(Device(tmp_path, settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of the test's own."""
    with Mosquitto(tmp_path / "broker") as started:
        yield started


def settings(broker: Mosquitto, name: str = "rw-test") -> str:
    """The least that a device needs to reach the broker."""
    return f'[device]\nname = "{name}"\n[broker]\nhost = "{broker.host}"\nport = {broker.port}\n'


def wait_for_event(stranger: Stranger, kind: str, **data: object) -> None:
    """Until the stranger has received an event of a type with these data."""

    def received(heard: list[Message]) -> bool:
        events = [h.json() for h in heard if h.topic.endswith(f"/event/{kind}")]
        return any(all(event["data"].get(name) == value for name, value in data.items()) for event in events)

    stranger.wait(received, ANSWER_S)


def test_without_hardware_it_stays_and_says_that_it_does_not_protect(
    device: Callable[[str], Device], broker: Mosquitto
) -> None:
    """No pins, no bus, perhaps no sound: it does not end, tells the caregiver, and ends cleanly when asked."""
    it = device(settings(broker))
    with Stranger(broker, "retrowalk/#") as stranger:
        it.start()
        wait_for_event(stranger, "guard.changed", state="not_protecting")
        wait_for_event(stranger, "sensor.lost", sensor="rear")
        wait_for_event(stranger, "sensor.lost", sensor="imu")
        it.until("no rear sensor")
        assert it.runs(), it.output
        status, took_s = it.end()
        assert (status, it.left()) == (0, []), it.output
        assert took_s < 6.0
        stranger.wait(lambda heard: heard[-1].topic.endswith("/state") and heard[-1].json()["state"] == "disconnected")


def test_a_spoiled_configuration_runs_on_the_last_good_one(device: Callable[[str], Device], broker: Mosquitto) -> None:
    """The walker's own settings go on (its name, its broker), and the caregiver is told what is wrong."""
    it = device("[collision]\nwarning_floor = 1\n")
    it.state_dir.mkdir()
    (it.state_dir / LAST_GOOD).write_text(settings(broker, "rw-last-good"))
    with Stranger(broker, "retrowalk/v1/home/rw-last-good/#") as stranger:
        it.start()
        wait_for_event(stranger, "fault.raised", part="config", fault="rejected")
        wait_for_event(stranger, "guard.changed", state="not_protecting")
        it.until("collision.warning_floor")
        assert it.end()[0] == 0


def test_without_any_configuration_it_protects_nobody_and_says_so(device: Callable[[str], Device]) -> None:
    """Neither the file nor a last good one can be used: it runs, names the cause, and never pretends."""
    it = device("[collision]\nwarning_floor = 1\n")
    it.start()
    it.until("not protecting (settings are wrong")
    assert it.end()[0] == 0
    recorded = it.recorded()
    faults = [(e.part, e.fault) for e in recorded if isinstance(e, ev.FaultRaised)]
    states = [e for e in recorded if isinstance(e, ev.GuardChanged) and e.state == "not_protecting"]
    assert ("config", "unusable") in faults
    assert states
    assert all(state.reasons[0] == "config" for state in states)
