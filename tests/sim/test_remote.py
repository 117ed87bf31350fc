"""The world behind sockets: real time, real threads, and a process that is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gpiozero import OutputDevice
from tests.sim.helpers import Rig
from tests.stalls import undisturbed

from retrowalk.config import Config, HcSr04, Imu
from retrowalk.core.samples import ImuSample, Item, RangeSample, RangeStatus
from retrowalk.devices.lsm6dsox import Lsm6dsox
from retrowalk.devices.ultrasonic import Ultrasonic
from retrowalk.errors import DeviceError, SoundError, StrictTwinError
from retrowalk.platform import MonotonicClock, Sound
from retrowalk.sim.hardware import Hardware
from retrowalk.sim.pins import ButtonTwin
from retrowalk.sim.remote import RemoteBus, RemotePinFactory, RemoteSoundSystem, WorldServer
from retrowalk.sim.world import Place, Press

pytestmark = pytest.mark.process

ADDRESS = 0x6A


class Taken:
    def __init__(self) -> None:
        self.pieces: list[tuple[float, bytes]] = []

    def feed(self, pcm: bytes, t_s: float) -> None:
        self.pieces.append((t_s, pcm))


class Running:
    """A world that is served by a thread."""

    def __init__(self, path: Path, *faults: str) -> None:
        self.rig = Rig(faults=faults)
        self.hardware = Hardware(Config(range_sensor=(HcSr04(),)), self.rig.scheduler, self.rig.world, self.rig.faults)
        (self.twin,) = self.hardware.rear
        self.taken = Taken()
        self.path = path
        self.server = WorldServer(
            self.rig.world,
            self.rig.scheduler,
            self.hardware,
            (self.taken,),
            path,
            faults=self.rig.faults,
        )
        self.clock = MonotonicClock(self.server.origin_mono_s)
        self._thread = threading.Thread(target=self.server.run, name="world")
        self._thread.start()

    def end(self) -> None:
        self.server.stop()
        self._thread.join(5.0)
        self.server.close()


@pytest.fixture
def world(tmp_path) -> Iterator[Running]:
    running = Running(tmp_path / "world")
    yield running
    running.end()


def until(condition: Callable[[], object], limit_s: float = 5.0) -> bool:
    """Waits for something to come true."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return bool(condition())


def poll(step: Ultrasonic | Lsm6dsox, clock: MonotonicClock, seconds: float) -> list[Item]:
    """Runs a step as its thread would."""
    woken = threading.Event()
    step.wake = woken.set
    items: list[Item] = []
    due = clock.now()
    end = due + seconds
    while clock.now() < end:
        woken.wait(max(0.0, min(due, end) - clock.now()))
        woken.clear()
        some, due = step.poll(clock.now())
        items += some
    return items


def test_pings_cross_to_the_world_and_back(world):
    """The driver reads a wall at 1.2 m; edges are stamped by the world, and soon there."""
    world.rig.world.at(0.0, Place("wall", 1.2))
    pins = RemotePinFactory(world.path, world.clock)
    driver = Ultrasonic(HcSr04(temperature_c=15.0), pins, world.clock)

    def measured() -> list[float]:
        samples = [item for item in poll(driver, world.clock, 1.5) if isinstance(item, RangeSample)]
        return [sample.range_m for sample in samples if sample.range_m is not None]

    ranges = undisturbed(measured, limit_s=0.03, times=5)  # an echo is 7 ms under way
    driver.close()
    pins.close()
    assert len(ranges) >= 15
    assert sorted(ranges)[len(ranges) // 2] == pytest.approx(1.2, abs=0.02)


def test_imu_samples_cross_the_bus(world):
    """The driver reads the FIFO at its rate."""
    bus = RemoteBus(world.path)
    items = poll(Lsm6dsox(Imu(), bus, world.clock), world.clock, 1.5)
    bus.close()
    samples = [item for item in items if isinstance(item, ImuSample)]
    assert 100 < len(samples) < 160
    assert samples[-1].accel_m_s2[2] == pytest.approx(9.8, abs=0.4)


def test_the_bus_passes_errors_on(world):
    """An absent chip is an OSError, a driver's mistake a StrictTwinError, as on the spot."""
    bus = RemoteBus(world.path)
    with pytest.raises(OSError, match="no chip") as absent:
        bus.transfer(0x29, b"\x00", 1)
    assert absent.value.errno == errno.EREMOTEIO
    with pytest.raises(StrictTwinError, match="0x05"):
        bus.transfer(ADDRESS, b"\x05", 1)
    assert bus.transfer(ADDRESS, b"\x0f", 1) == b"\x6c"
    bus.close()


def test_without_a_world_nothing_answers(tmp_path):
    """The bus does not acknowledge, inputs do not move, outputs go nowhere, sound plays all the same."""
    clock = MonotonicClock()
    bus = RemoteBus(tmp_path / "nobody")
    with pytest.raises(OSError, match="no world") as raised:
        bus.transfer(ADDRESS, b"\x0f", 1)
    assert raised.value.errno == errno.EREMOTEIO
    pins = RemotePinFactory(tmp_path / "nobody", clock)
    driver = Ultrasonic(HcSr04(), pins, clock)
    items = poll(driver, clock, 0.4)
    assert {item.status for item in items if isinstance(item, RangeSample)} == {RangeStatus.NO_ECHO}
    driver.close()
    pins.close()
    sound = RemoteSoundSystem(tmp_path / "nobody", clock).open("default", 20)
    assert sound.write(bytes(4 * 480), clock.now()) == 480
    assert until(lambda: sound.played(clock.now()) == 480)


def test_a_world_that_does_not_answer_costs_fifty_milliseconds(tmp_path):
    """A stopped world is a bus line held low: ETIMEDOUT, soon; late answers are not taken for new ones."""
    running = Running(tmp_path / "world")
    bus = RemoteBus(running.path)
    assert bus.transfer(ADDRESS, b"\x0f", 1) == b"\x6c"
    hold = threading.Event()

    def stop_the_world() -> None:
        hold.wait(2.0)

    running.rig.scheduler.at(running.server.now(), stop_the_world, "hold")
    time.sleep(0.05)
    start = time.monotonic()
    with pytest.raises(OSError, match="50 ms") as raised:
        bus.transfer(ADDRESS, b"\x10", 1)
    assert raised.value.errno == errno.ETIMEDOUT
    assert time.monotonic() - start < 0.5
    hold.set()
    assert until(lambda: _reads(bus) == b"\x6c")
    bus.close()
    running.end()


def _reads(bus: RemoteBus) -> bytes:
    try:
        return bus.transfer(ADDRESS, b"\x0f", 1)
    except OSError:
        return b""


def test_the_thin_sides_find_a_world_that_comes_back(tmp_path):
    """A world that is started anew is used again, by pins, bus and sound."""
    first = Running(tmp_path / "world")
    clock = first.clock
    pins, bus = RemotePinFactory(first.path, clock), RemoteBus(first.path)
    system = RemoteSoundSystem(first.path, clock)
    sound = system.open("default", 20)
    motor = OutputDevice(27, pin_factory=pins)
    assert _reads(bus) == b"\x6c"
    first.end()
    assert until(lambda: _reads(bus) == b"")
    motor.on()
    second = Running(tmp_path / "world")
    assert until(lambda: _reads(bus) == b"\x6c")
    assert until(lambda: second.rig.world.felt)  # an output that is on is on for the new world, too
    assert until(lambda: sound.write(bytes(4 * 100), clock.now()) and second.taken.pieces)
    motor.close()
    pins.close()
    bus.close()
    system.close()
    second.end()


def test_a_button_that_is_held_is_seen_by_who_comes_later(world):
    """A pin factory learns the levels of the lines when it connects."""
    world.hardware.board.drive(17, False, 0.0)
    pins = RemotePinFactory(world.path, world.clock)
    pin = pins.pin(17)
    pin.input_with_pull("up")
    assert not pin.state
    pins.close()


def test_a_press_crosses_with_its_exact_time(tmp_path):
    """The edge is stamped with the second the world gave it, whenever it arrives."""
    running = Running(tmp_path / "world")
    ButtonTwin(running.hardware.board, running.rig.scheduler, running.rig.world)
    pins = RemotePinFactory(running.path, running.clock)
    pin = pins.pin(17)
    edges: list[tuple[float, int]] = []

    def changed(ticks: float, state: int) -> None:
        edges.append((ticks, state))

    pin.input_with_pull("up")
    pin.when_changed = changed
    press_s = running.server.now() + 0.3
    running.rig.world.at(press_s, Press(hold_s=0.1))
    assert until(lambda: edges and edges[-1][1] == 1 and edges[-1][0] > press_s + running.clock.origin_mono_s + 0.09)
    assert edges[0][1] == 0
    assert edges[0][0] - running.clock.origin_mono_s == pytest.approx(press_s, abs=1e-6)
    pins.close()
    running.end()


GUARD = """
import sys, time
from gpiozero import OutputDevice
from retrowalk.platform import MonotonicClock
from retrowalk.sim.hardware import Hardware
from retrowalk.sim.remote import RemotePinFactory, RemoteSoundSystem
clock = MonotonicClock(float(sys.argv[2]))
motor = OutputDevice(27, pin_factory=RemotePinFactory(sys.argv[1], clock))
motor.on()
sound = RemoteSoundSystem(sys.argv[1], clock).open("default", 20)
while True:
    sound.write(b"\\1\\0\\1\\0" * sound.writable(clock.now()), clock.now())
    print("sounding", flush=True)
    time.sleep(0.01)
"""


def test_the_world_outlives_a_process_that_is_killed(world):
    """kill -9: its lines fall, its sound ends, the world goes on and serves the next one."""
    for expected in (1, 2):
        child = subprocess.Popen(
            [sys.executable, "-c", GUARD, str(world.path), repr(world.server.origin_mono_s)], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        assert until(lambda: world.hardware.board.outputs.get(27) == 1.0)
        assert until(lambda: len(world.taken.pieces) > 5)
        os.kill(child.pid, signal.SIGKILL)
        child.wait(5.0)
        child.stdout.close()
        assert until(lambda: world.hardware.board.outputs.get(27) == 0.0)
        assert len(world.rig.world.felt) == expected
        world.taken.pieces.clear()
    bus = RemoteBus(world.path)
    assert _reads(bus) == b"\x6c"
    bus.close()


def test_the_world_hears_what_is_written_when_it_leaves(world):
    """Frames arrive whole, with times that follow each other, paced by the clock."""
    system = RemoteSoundSystem(world.path, world.clock)
    sound = system.open("default", 20)
    written = b""
    for number in range(40):
        pcm = number.to_bytes(2, "little") * 2 * sound.writable(world.clock.now())
        written += pcm[: 4 * sound.write(pcm, world.clock.now())]
        time.sleep(0.008)
    assert until(lambda: sound.played(world.clock.now()) == len(written) // 4)
    assert until(lambda: b"".join(pcm for _, pcm in world.taken.pieces) == written)
    assert world.taken.pieces[-1][0] < world.clock.now()
    system.close()


class Card:
    """A real sound device, as far as a test can have one: it plays at once."""

    def __init__(self) -> None:
        self.name, self.output, self.underruns, self.beyond_s, self.pcm = "card", "alsa", 0, 0.0, b""

    def open(self, device: str, buffer_ms: int) -> Sound:
        return self

    def condition(self, device: str, now: float) -> str:
        return ""

    def keep(self, buffer_ms: int) -> None: ...

    def writable(self, now: float) -> int:
        return 480

    def write(self, pcm: bytes, now: float) -> int:
        self.pcm += pcm
        return len(pcm) // 4

    def played(self, now: float) -> int:
        return len(self.pcm) // 4

    def wait(self, timeout_s: float) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("fault", "person", "ear"),
    [pytest.param("", True, True, id="sound"), pytest.param("voice:muted", False, False, id="muted")],
)
def test_a_person_and_the_world_hear_the_same(tmp_path, fault, person, ear):
    """With a real device inside, speech is heard by both; muted, by neither."""
    running = Running(tmp_path / "world", *([fault] if fault else []))
    card = Card()
    system = RemoteSoundSystem(running.path, running.clock, card)
    sound = system.open("default", 20)
    for _ in range(5):
        assert sound.write(b"\1\0\1\0" * 480, running.clock.now()) == 480
    assert until(lambda: sum(len(pcm) for _, pcm in running.taken.pieces) == 5 * 1920)
    assert any(card.pcm) is person
    assert any(any(pcm) for _, pcm in running.taken.pieces) is ear
    system.close()
    running.end()


def test_a_device_that_plays_to_nowhere_is_heard_by_nobody(tmp_path):
    """Its pointer runs with what is written; neither the person nor the world gets a frame."""
    running = Running(tmp_path / "world", "voice:null")
    card = Card()
    system = RemoteSoundSystem(running.path, running.clock, card)
    sound = system.open("default", 20)
    assert until(lambda: sound.writable(running.clock.now()) == 960)
    assert sound.write(b"\1\0\1\0" * 960, running.clock.now()) == 960
    assert sound.played(running.clock.now()) == 960
    assert card.pcm == b""
    assert not running.taken.pieces
    system.close()
    running.end()


def test_a_fault_of_the_voice_reaches_its_device(tmp_path):
    """Unplugged by the scenario: the device raises, cannot be opened, and comes back."""
    running = Running(tmp_path / "world", "voice:off@0.3-0.8")
    system = RemoteSoundSystem(running.path, running.clock)
    sound = system.open("default", 20)

    def gone() -> bool:
        try:
            sound.writable(running.clock.now())
        except SoundError:
            return True
        return False

    def opens() -> bool:
        try:
            system.open("default", 20).close()
        except SoundError:
            return False
        return True

    assert until(gone)
    assert not opens()
    assert until(opens)
    system.close()
    running.end()


def test_a_path_that_is_too_long_is_refused(tmp_path):
    """With a sentence, not with the kernel's."""
    rig = Rig()
    hardware = Hardware(Config(), rig.scheduler, rig.world, rig.faults)
    with pytest.raises(DeviceError, match="too long"):
        WorldServer(rig.world, rig.scheduler, hardware, (), tmp_path / ("x" * 120))
