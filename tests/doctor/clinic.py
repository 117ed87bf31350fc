"""A healthy device in virtual time, on a computer that is all pretence, so that one thing at a time can be wrong."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retrowalk.config import Broker, Config
from retrowalk.control import Control
from retrowalk.doctor.broker import Trial
from retrowalk.doctor.ground import Failed, Ground, Nowhere, Take
from retrowalk.doctor.machine import Person, Space
from retrowalk.errors import DeviceError, SoundError
from retrowalk.platform import Platform, Step
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.hardware import Hardware
from retrowalk.sim.i2c import Chip, SimBus
from retrowalk.sim.scheduler import Scheduler, VirtualClock
from retrowalk.sim.world import Press, World

PI = "Raspberry Pi Zero 2 W Rev 1.0"
CARDS = """ 0 [Headphones     ]: bcm2835_headpho - bcm2835 Headphones
                      bcm2835 Headphones
 1 [vc4hdmi        ]: vc4-hdmi - vc4-hdmi
                      vc4-hdmi
"""
SPEED = "/sys/class/i2c-adapter/i2c-1/of_node/clock-frequency"
SYNCHRONISED = "/run/systemd/timesync/synchronized"


@dataclass
class PretendMachine:
    """A Raspberry Pi in good order; what is to be wrong is changed in its fields."""

    files: dict[str, bytes] = field(
        default_factory=lambda: {
            "/proc/device-tree/model": PI.encode() + b"\0",
            "/etc/os-release": b'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
            "/proc/sys/kernel/osrelease": b"6.12.34+rpt-rpi-v8\n",
            SPEED: (400_000).to_bytes(4, "big"),
            "/proc/asound/cards": CARDS.encode(),
            SYNCHRONISED: b"",
            "/dev/gpiochip0": b"",
            "/dev/i2c-1": b"",
            "/dev/snd/pcmC0D0p": b"",
        }
    )
    labels: dict[str, str] = field(default_factory=lambda: {"/dev/gpiochip0": "pinctrl-bcm2835"})
    closed: set[str] = field(default_factory=set)
    """Paths that may not be used."""
    groups: frozenset[str] = frozenset({"walker", "gpio", "i2c", "audio"})
    member_of: frozenset[str] = frozenset({"gpio", "i2c", "audio"})
    room: Space = field(default_factory=lambda: Space(20_000_000_000, 30_000_000_000))
    lgpio_problem: str = ""
    services: str = "inactive\ninactive\ninactive\n"
    versions: dict[str, str] = field(default_factory=dict)
    wall: float = 1_790_000_000.0

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return self.files[path]

    def names(self, directory: str) -> Sequence[str]:
        start = f"{directory}/"
        return sorted({path[len(start) :].partition("/")[0] for path in self.files if path.startswith(start)})

    def exists(self, path: str) -> bool:
        return path in self.files

    def may_use(self, path: str) -> bool:
        return path not in self.closed

    def space(self, directory: str) -> Space:
        return self.room if directory == "/state" else Space(1_000_000_000, 1_000_000_000, self.lgpio_problem)

    def person(self) -> Person:
        return Person("walker", self.groups, self.member_of)

    def gpio_label(self, path: str) -> str:
        return self.labels[path]

    def run(self, *command: str) -> str:
        return self.services

    def version(self, package: str) -> str:
        return self.versions.get(package, "2.0")

    def wall_s(self) -> float:
        return self.wall


class VirtualRunner:
    """Lets the very steps run in virtual time."""

    def __init__(self, clock: VirtualClock) -> None:
        self.scheduler = Scheduler(clock)
        self._steps: list[Step] = []

    def start(self, steps: Sequence[Step], take: Take, failed: Failed) -> None:
        self.scheduler.on_error = failed
        self._steps = list(steps)
        for step in steps:
            self.scheduler.add(step, self._sink(step, take))

    def wait(self, seconds: float) -> None:
        self.scheduler.run_until(self.scheduler.clock.now() + seconds)

    def stop(self) -> None:
        for step in self._steps:
            self.scheduler.remove(step)
            step.close()

    def _sink(self, step: Step, take: Take) -> Callable[..., None]:
        return lambda items: take(step, items)


class Stranger:
    """A part on the bus that has nothing to do with retrowalk."""

    part = "stranger"
    address = 0

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        return b"\x00" * read


class Clinic:
    """A device to be examined; `ground` is what the doctor gets."""

    def __init__(
        self,
        config: Config | None = None,
        *,
        faults: Sequence[str] = (),
        machine: PretendMachine | None = None,
        press_s: float | None = None,
        press_again_s: float | None = None,
        chips: Callable[[dict[int, Chip]], dict[int, Chip]] = lambda chips: chips,
        trial: Trial | None = None,
        missing: int = 0,
        no_card: str = "",
        control: Control | None = None,
        hangs: str = "",
    ) -> None:
        self.config = config or Config()
        self.machine = machine or PretendMachine()
        self.clock = VirtualClock()
        self.runner = VirtualRunner(self.clock)
        self.world = World(1)
        broken = Faults(Fault.parse(fault) for fault in faults)
        hardware = Hardware(self.config, self.runner.scheduler, self.world, broken)
        self.board = hardware.board
        self.bus = bus = SimBus(self.clock, chips(hardware.chips), broken)
        self.played: list[str] = []
        self.asked_for: list[str] = []
        self._no_card = no_card
        self._press_s, self._press_again_s = press_s, press_again_s
        self._control = control
        self._hangs = hangs
        self.ground = Ground(
            machine=self.machine,
            platform=Platform(
                self.clock,
                Nowhere(),
                pin_factory=hardware.pin_factory,
                bus=bus,
                serial=hardware.serial,
                host=hardware.host,
            ),
            runner=self.runner,
            connect=self._connect,
            try_broker=lambda broker, _site, device: self._try(broker, device, trial),
            render=lambda config, text: text.encode(),
            play=self._play,
            missing_phrases=lambda config: missing,
            state_dir="/state",
        )

    def _connect(self) -> Control | None:
        if self._hangs:
            raise DeviceError(self._hangs)
        return self._control

    def _try(self, broker: Broker, device: str, trial: Trial | None) -> Trial:
        self.asked_for.append(device)
        return trial or Trial()

    def _play(self, device: str, pcm: bytes) -> None:
        if self._no_card:
            raise SoundError(f"sound device {device!r} cannot be opened: {self._no_card}")
        self.played.append(pcm.decode())
        if self._press_s is not None and "press" in pcm.decode():
            Press(0.2).plan(self.world, self.clock.now() + self._press_s)
            self._press_s, self._press_again_s = self._press_again_s, None
        self.runner.wait(1.0)


STARTER = """
[[range_sensor]]
chip = "hc-sr04"
[battery]
chip = "none"
"""


def settings(directory: Path, text: str = "") -> Path:
    """A settings file with these lines, for the fewest parts that make a device unless `text` names others."""
    file = directory / "retrowalk.toml"
    file.write_text(text + ("" if "range_sensor" in text else STARTER))
    return file
