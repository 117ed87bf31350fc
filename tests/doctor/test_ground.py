"""What the doctor really asks: a broker, this computer, steps along real time."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.broker import Mosquitto, free_port

from retrowalk.config import Broker
from retrowalk.core.samples import Item, Tick
from retrowalk.doctor.broker import Trial, look_at_broker, try_broker
from retrowalk.doctor.ground import Loop
from retrowalk.doctor.machine import ThisMachine, text
from retrowalk.doctor.report import State
from retrowalk.errors import SensorError
from retrowalk.platform import MonotonicClock, Step, no_wake

# --------------------------------------------------------------------------------------------------------- broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that lets nobody in without a password."""
    passwords = tmp_path / "passwords"
    program = "mosquitto_passwd"
    made = subprocess.run([program, "-b", "-c", str(passwords), "rw-0001", "right"], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr
    passwords.chmod(0o600)
    with Mosquitto(tmp_path / "broker", anonymous=False, extra=f"password_file {passwords}") as running:
        yield running


def password(tmp_path: Path, word: str) -> str:
    file = tmp_path / "password"
    file.write_text(f"{word}\n")
    return str(file)


@pytest.mark.process
def test_a_broker_that_takes_us(broker: Mosquitto, tmp_path: Path) -> None:
    """Name of the device and the right password: accepted."""
    settings = Broker(host=broker.host, port=broker.port, password_file=password(tmp_path, "right"))
    assert try_broker(settings, "home", "rw-0001") == Trial(takes=True)
    assert look_at_broker(settings, Trial()).state is State.OK


@pytest.mark.process
@pytest.mark.parametrize("word", ["wrong", ""])
def test_a_wrong_password_is_told_apart_from_no_broker(broker: Mosquitto, tmp_path: Path, word: str) -> None:
    """It answers and refuses."""
    settings = Broker(host=broker.host, port=broker.port, password_file=password(tmp_path, word))
    trial = try_broker(settings, "home", "rw-0001")
    assert trial.failed == "login"
    assert "password" in look_at_broker(settings, trial).mend


@pytest.mark.process
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # paho leaves this socket to the collector
def test_a_broker_without_encryption_where_it_is_asked_for(broker: Mosquitto) -> None:
    """TLS towards a plain port fails, and is called so."""
    settings = Broker(host=broker.host, port=broker.port, tls=True)
    trial = try_broker(settings, "home", "rw-0001")
    assert trial.failed in ("tls", "reach")
    assert look_at_broker(settings, trial).state is State.LOOK


@pytest.mark.process
def test_no_broker_there() -> None:
    """Nobody listens at the port."""
    trial = try_broker(Broker(host="127.0.0.1", port=free_port()), "home", "rw-0001")
    assert trial.failed == "reach"
    assert "refused" in trial.detail


@pytest.mark.process
def test_something_else_at_the_port() -> None:
    """A service that closes every connection is not called a broker."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def close_all() -> None:
            connection, _ = server.accept()
            connection.close()

        threading.Thread(target=close_all, daemon=True).start()
        trial = try_broker(Broker(host="127.0.0.1", port=server.getsockname()[1]), "home", "rw-0001")
    assert trial.failed in ("login", "reach")


def test_a_name_that_does_not_exist() -> None:
    """`.invalid` is never a host."""
    assert try_broker(Broker(host="retrowalk.invalid"), "home", "rw-0001").failed == "name"


def test_a_password_file_that_is_not_there(tmp_path: Path) -> None:
    """It is named before anything is asked."""
    trial = try_broker(Broker(password_file=str(tmp_path / "none")), "home", "rw-0001")
    assert trial == Trial("file", "No such file or directory")


# ------------------------------------------------------------------------------------------------- this computer


def test_this_machine_answers(tmp_path: Path) -> None:
    """Whatever it is, each question has an answer of the right kind."""
    machine = ThisMachine()
    assert text(machine, "/proc/sys/kernel/osrelease")
    assert text(machine, "/proc/none") == ""
    assert machine.names("/none") == ()
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert machine.names(str(tmp_path)) == ["a", "b"]
    space = machine.space(str(tmp_path / "not" / "yet"))
    assert 0 < space.free_bytes <= space.total_bytes
    assert space.problem == ""
    assert machine.person().name
    assert machine.version("gpiozero")
    assert machine.version("no-such-package") == ""
    assert machine.run("echo", "well").strip() == "well"
    assert not machine.exists(str(tmp_path / "c"))
    assert machine.may_use(str(tmp_path / "a"))
    with pytest.raises(OSError, match="No such file"):
        machine.run("no-such-command-of-retrowalk")
    with pytest.raises(OSError, match="No such file"):
        machine.gpio_label("/dev/gpiochip99")


class Stepping:
    """A step that is due every 20 ms, and raises in between."""

    name = "stepping"
    retry_s = 0.01
    shares = ""

    def __init__(self) -> None:
        self.wake = no_wake
        self.polled = 0
        self.closed = False

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        self.polled += 1
        if self.polled % 2 == 0:
            raise SensorError("absent", "not there")
        return [Tick(now)], now + 0.02

    def close(self) -> None:
        self.closed = True


@pytest.mark.process
def test_steps_run_while_it_waits_and_not_longer() -> None:
    """The real runner polls what is due, reports what raises, wakes at once, and closes at the end."""
    taken: list[Item] = []
    failed: list[SensorError] = []
    step = Stepping()
    loop = Loop(MonotonicClock())
    steps: list[Step] = [step]
    loop.start(steps, lambda _step, items: taken.extend(items), lambda _step, error: failed.append(error))
    loop.wait(0.3)
    assert 5 <= len(taken) <= 20
    assert failed
    count = step.polled
    step.wake()
    loop.wait(0.0)
    assert step.polled == count + 1
    loop.stop()
    assert step.closed


@pytest.mark.process
def test_on_a_machine_that_is_no_pi_it_says_so() -> None:
    """One page, one JSON object, no traceback, and the status that says: not ready."""
    command = [sys.executable, "-m", "retrowalk", "doctor", "--json"]
    if text(ThisMachine(), "/proc/device-tree/model").startswith("Raspberry Pi"):
        pytest.skip("this is a Raspberry Pi")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60.0, stdin=subprocess.DEVNULL)
    assert ran.returncode == 2, ran.stderr
    told = json.loads(ran.stdout)
    assert told["ok"] is False
    board = next(check for check in told["checks"] if check["id"] == "computer.board")
    assert "not a Raspberry Pi" in board["detail"]
    assert not [check for check in told["checks"] if check["id"].startswith(("sensors.", "bus.", "pins."))]
