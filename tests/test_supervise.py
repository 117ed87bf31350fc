"""The supervisor: what it starts again and when, who is asked to end first, and that nobody is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from retrowalk.supervise import END_S, GOODBYE_S, RESTART_MAX_S, RESTART_S, YOUNG_S, Supervisor, in_words

PATIENCE_S = 10.0
LIMIT_S = 5.0
"""Of the watchdog in these tests, on their own clock."""
FEEDS = (
    sys.executable,
    "-c",
    "import time\nfrom retrowalk.platform import notify\nwhile True:\n notify('WATCHDOG=1')\n time.sleep(0.02)",
)
"""A process that says all the time that all is well."""

STAYS = ("sleep", "60")
FAILS = ("sh", "-c", "exit 3")
FOREVER = "while :; do sleep 0.02; done"


@pytest.mark.parametrize(
    ("returncode", "words"),
    [
        pytest.param(0, "ended with status 0", id="by itself"),
        pytest.param(3, "ended with status 3", id="with a status"),
        pytest.param(-signal.SIGKILL, "was killed (SIGKILL)", id="kill -9"),
        pytest.param(-signal.SIGSEGV, "crashed (SIGSEGV)", id="crash"),
        pytest.param(-signal.SIGTERM, "was asked to end (SIGTERM)", id="asked"),
        pytest.param(-signal.SIGUSR1, "was ended (SIGUSR1)", id="another signal"),
        pytest.param(-200, "was ended by signal 200", id="a signal nobody knows"),
    ],
)
def test_endings_are_told_in_plain_words(returncode, words):
    """How a process ended is told with the name of the signal"""
    assert in_words(returncode) == words


class Watched:
    """A supervisor under a clock of the test's own, and what it told."""

    def __init__(self, commands, notify_at=None):
        self.told: list[tuple[str, str]] = []
        self.now = 100.0
        self.supervisor = Supervisor(
            commands,
            on_event=lambda name, what: self.told.append((name, what)),
            notify_at=notify_at,
            watchdog_s={"voice": LIMIT_S},
        )

    def pass_time(self, seconds):
        self.now += seconds
        self.supervisor.poll(self.now)

    def until(self, condition):
        """Polls, without letting the supervisor's time pass, until something real has happened."""
        limit = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < limit, self.told
            self.supervisor.poll(self.now)
            time.sleep(0.005)

    def has_told(self, name, what):
        return lambda: any(who == name and what in text for who, text in self.told)


@pytest.fixture
def watched():
    made = []

    def make(notify_at=None, **commands):
        made.append(Watched(commands, notify_at))
        made[-1].supervisor.poll(made[-1].now)
        return made[-1]

    yield make
    for one in made:
        one.supervisor.kill()


@pytest.mark.process
def test_dead_process_is_started_again_after_a_second(watched):
    """A killed voice is back after one second, not sooner, and the others do not notice"""
    it = watched(guard=STAYS, voice=STAYS)
    guard, voice = it.supervisor.pid("guard"), it.supervisor.pid("voice")
    os.kill(voice, signal.SIGKILL)
    it.until(it.has_told("voice", "was killed (SIGKILL)"))
    it.pass_time(RESTART_S - 0.01)
    assert it.supervisor.pid("voice") is None
    it.pass_time(0.02)
    assert it.supervisor.pid("voice") not in (None, voice)
    assert it.supervisor.pid("guard") == guard


@pytest.mark.process
def test_process_that_dies_young_is_started_ever_more_rarely(watched):
    """Dying within 5 s again and again doubles the pause, up to 10 s"""
    it = watched(guard=STAYS, voice=FAILS)
    pauses = []
    for count in range(1, 7):
        it.until(lambda count=count: sum("ended with status 3" in what for _, what in it.told) == count)
        pauses.append(float(it.told[-1][1].split(" in ")[1].removesuffix(" s")))
        it.pass_time(pauses[-1] + 0.01)
    assert pauses == [1.0, 2.0, 4.0, 8.0, RESTART_MAX_S, RESTART_MAX_S]


@pytest.mark.process
def test_long_life_makes_the_pause_short_again(watched):
    """A process that has lived for 5 s is started again after one second, however often it died before"""
    it = watched(guard=STAYS, voice=STAYS)
    for _ in range(3):
        os.kill(it.supervisor.pid("voice"), signal.SIGKILL)
        it.until(lambda: it.supervisor.pid("voice") is None)
        it.pass_time(RESTART_MAX_S)
    it.pass_time(YOUNG_S)
    os.kill(it.supervisor.pid("voice"), signal.SIGKILL)
    it.until(lambda: it.supervisor.pid("voice") is None)
    assert it.told[-1] == ("voice", "was killed (SIGKILL); starting it again in 1 s")


@pytest.mark.process
def test_voice_that_ends_by_itself_is_started_again(watched):
    """Nobody but the guard may end the whole: a voice that ends with status 0 comes back"""
    it = watched(guard=STAYS, voice=("true",))
    it.until(it.has_told("voice", "ended with status 0; starting it again in 1 s"))
    assert not it.supervisor.finished


@pytest.mark.process
def test_guard_says_goodbye_while_the_others_still_serve_it(watched, tmp_path):
    """Asked to stop, the guard ends first; only then are voice and courier asked"""
    log = tmp_path / "log"
    gate = tmp_path / "gate"
    log.touch()
    guard = f"trap 'while [ ! -e {gate} ]; do sleep 0.01; done; echo guard >>{log}; exit 0' TERM; "
    other = f"trap 'echo other >>{log}; exit 0' TERM; "
    ready = f"touch {tmp_path}/ready-$$; {FOREVER}"
    serving = ("sh", "-c", other + ready)
    it = watched(guard=("sh", "-c", guard + ready), voice=serving, courier=serving)
    it.until(lambda: len(list(tmp_path.glob("ready-*"))) == 3)
    it.supervisor.stop()
    for _ in range(20):
        it.pass_time(0.01)
        time.sleep(0.01)
    assert log.read_text() == ""
    gate.touch()
    it.until(lambda: it.supervisor.finished)
    assert log.read_text().split() == ["guard", "other", "other"]
    assert it.supervisor.status == 0


@pytest.mark.process
def test_hung_guard_is_killed_and_the_others_end(watched, tmp_path):
    """A guard that does not answer is killed after 5 s, a voice after 3 s more; the status tells of it"""
    deaf = ("sh", "-c", f"trap '' TERM; touch {tmp_path}/ready-$$; {FOREVER}")
    it = watched(guard=deaf, voice=deaf)
    it.until(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    it.supervisor.stop()
    it.pass_time(0.0)
    it.pass_time(GOODBYE_S - 0.01)
    assert it.supervisor.pid("guard") is not None
    it.pass_time(0.02)
    assert it.supervisor.pid("guard") is None
    assert not it.supervisor.finished
    it.pass_time(END_S + 0.01)
    assert it.supervisor.finished
    assert it.supervisor.status == 1
    assert ("guard", "did not end within 5 s and was killed") in it.told


@pytest.mark.process
def test_everything_ends_with_the_guard(watched):
    """A guard that ends with status 0 (the walker switched it off) takes the others along"""
    it = watched(guard=("sh", "-c", "exit 0"), voice=STAYS, courier=STAYS)
    it.until(lambda: it.supervisor.finished)
    assert it.supervisor.status == 0
    assert ("guard", "ended by itself") in it.told


@pytest.mark.process
def test_program_that_is_not_there_is_told_and_tried_again(watched):
    """A command that cannot be started is a failure like any other"""
    it = watched(guard=STAYS, voice=("/nowhere/retrowalk",))
    assert ("voice", "cannot be started: No such file or directory; starting it again in 1 s") in it.told
    it.pass_time(RESTART_S)
    assert it.told[-1][1].endswith("in 2 s")


@pytest.mark.process
def test_ctrl_c_does_not_reach_the_processes(watched):
    """Each process has a group of its own, so that a terminal's Ctrl-C cannot silence the voice before the goodbye"""
    it = watched(guard=STAYS, voice=STAYS)
    groups = {os.getpgid(it.supervisor.pid(name)) for name in ("guard", "voice")}
    assert groups == {it.supervisor.pid("guard"), it.supervisor.pid("voice")}


SUPERVISE = """
import sys
from retrowalk.supervise import Supervisor
command = [sys.executable, "-c", "import os, time; os.write(1, b'%d\\\\n' % os.getpid()); time.sleep(60)"]
Supervisor({"guard": command, "voice": command, "courier": command}).run()
"""


@pytest.mark.process
def test_nobody_is_left_behind_when_the_supervisor_is_killed():
    """kill -9 of the supervisor ends its processes, too"""
    with subprocess.Popen([sys.executable, "-c", SUPERVISE], stdout=subprocess.PIPE, text=True) as supervisor:
        try:
            assert supervisor.stdout is not None
            pids = [int(supervisor.stdout.readline()) for _ in range(3)]
        finally:
            supervisor.kill()
    limit = time.monotonic() + PATIENCE_S
    while any(_runs(pid) for pid in pids):
        assert time.monotonic() < limit, "a process outlived its supervisor"
        time.sleep(0.01)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"  # whoever adopted it has not looked yet
    except FileNotFoundError:
        return False


@pytest.mark.process
def test_who_hangs_is_killed_and_started_again(watched, tmp_path):
    """A process that was well and is stopped dead is ended by its number, without waiting for it"""
    device = watched(tmp_path / "signs", guard=STAYS, voice=FEEDS)
    child = device.supervisor._children[1]
    device.until(lambda: child.fed_s is not None)
    os.kill(device.supervisor.pid("voice"), signal.SIGSTOP)
    time.sleep(0.1)
    device.pass_time(0.1)  # what was said before it was stopped
    device.pass_time(LIMIT_S + 0.1)
    assert device.has_told("voice", "hangs")()
    device.until(device.has_told("voice", "SIGKILL"))
    device.pass_time(RESTART_S)
    device.until(lambda: child.fed_s is not None)
    assert [what for name, what in device.told if name == "guard"] == ["started"]


@pytest.mark.process
def test_who_feeds_the_watchdog_lives(watched, tmp_path):
    """Signs of life that go on keep a process, for however long"""
    device = watched(tmp_path / "signs", guard=STAYS, voice=FEEDS)
    child = device.supervisor._children[1]
    for _ in range(5):
        child.fed_s = None
        device.until(lambda: child.fed_s is not None)
        device.pass_time(LIMIT_S - 0.1)
    assert not device.has_told("voice", "hangs")()


@pytest.mark.process
def test_nobody_is_well_in_the_name_of_another(watched, tmp_path):
    """The kernel tells who speaks: a stranger cannot keep a hung process alive"""
    device = watched(tmp_path / "signs", guard=STAYS, voice=STAYS)
    stranger = subprocess.Popen(FEEDS, env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "signs")})
    try:
        time.sleep(0.3)
        device.pass_time(0.1)
        assert device.supervisor._children[1].fed_s is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.process
def test_signs_of_life_are_for_this_user_alone(watched, tmp_path):
    """Nobody else may write to the socket"""
    watched(tmp_path / "signs", guard=STAYS)
    assert (tmp_path / "signs").stat().st_mode & 0o777 == 0o600
