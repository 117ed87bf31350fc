"""The simulated A02YYUW: bytes in their time, and what the driver makes of each fault."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from itertools import pairwise

import pytest
from tests.sim.helpers import Rig

from retrowalk.config import A02yyuw
from retrowalk.core.samples import HealthReport, RangeSample, RangeStatus
from retrowalk.devices.a02yyuw import COLD, A02yyuwDriver
from retrowalk.errors import StrictTwinError
from retrowalk.sim.chips.a02yyuw import BYTE_S, A02yyuwTwin, frame
from retrowalk.sim.estimates import SealedParameters
from retrowalk.sim.faults import KINDS
from retrowalk.sim.serial import SimSerialPorts
from retrowalk.sim.world import Place, Walk

PORT = "/dev/serial0"
VALID = RangeStatus.VALID


class Module:
    """A twin in a world, read by hand or by the driver."""

    def __init__(self, faults: Sequence[str] = (), wall_m: float | None = 2.0, seed: int = 1, **options) -> None:
        self.rig = Rig(seed, faults)
        if wall_m is not None:
            self.rig.world.at(0.0, Place("wall", wall_m))
        self.twin = A02yyuwTwin(self.rig.world, faults=self.rig.faults, **options)
        self.ports = SimSerialPorts(self.rig.clock, {PORT: self.twin})

    def drive(self, until_s: float) -> Module:
        self.driver = A02yyuwDriver(A02yyuw(), self.ports, self.rig.clock)
        self.rig.run(self.driver)
        self.rig.scheduler.run_until(until_s)
        return self

    def bytes(self, until_s: float, step_s: float = 0.0005) -> list[tuple[float, int]]:
        """Each byte with the look at which it was there."""
        found = []
        for i in range(round(until_s / step_s)):
            now = i * step_s
            found += [(now, byte) for byte in self.twin.sent(now)]
        return found

    def samples(self, from_s: float = 0.0, to_s: float = 1e9) -> list[RangeSample]:
        return [i for i in self.rig.items if isinstance(i, RangeSample) and from_s <= i.t_received_s < to_s]

    def faults(self) -> list[tuple[float, str, bool]]:
        return [(i.t_received_s, i.fault, i.active) for i in self.rig.items if isinstance(i, HealthReport)]


# ------------------------------------------------------------------------------------------------- the line


def test_bytes_come_one_by_one_in_their_time():
    """Four bytes, 1.04 ms each, then silence until 100 ms after the last frame began."""
    times = [t for t, _ in Module().bytes(2.0)]
    gaps = [b - a for a, b in pairwise(times)]
    within = [gap for gap in gaps if gap < 0.01]
    between = [gap for gap in gaps if gap >= 0.01]
    assert len(within) == 3 * (len(between) + 1)
    assert all(gap == pytest.approx(BYTE_S, abs=0.0006) for gap in within)
    assert all(0.092 <= gap <= 0.099 for gap in between)


def test_a_frame_carries_the_range():
    """Header, millimetres, sum; a wall at 2 m in air of 15 degrees is there within the noise."""
    data = bytes(byte for _, byte in Module(wall_m=2.0).bytes(1.0))[:4]
    assert data == frame(data[1] << 8 | data[2])
    assert data[1] << 8 | data[2] == pytest.approx(2000 * 343.2 / 340.3, abs=25)


def test_a_reading_is_as_old_as_its_ping():
    """What is sent is what was there 60 ms before the frame began: the module measures first."""
    module = Module(wall_m=3.0)
    module.rig.world.at(0.0, Walk(1.0))
    first_s = module.bytes(2.0)[0][0] - BYTE_S
    assert module.twin.pinged[0][0] == pytest.approx(first_s - SealedParameters().answer_s, abs=0.002)


@pytest.mark.parametrize(
    ("convention", "number"), [pytest.param("zero", 0), pytest.param("far", 5500), pytest.param("code", 0xFFFD)]
)
def test_an_empty_path_is_answered_as_modules_do(convention, number):
    """Three conventions are known for "nothing heard"."""
    module = Module(wall_m=None, no_target=convention)
    module.bytes(5.0)
    numbers = [sent for _, sent in module.twin.pinged]
    assert numbers.count(number) >= 40


def test_who_opens_late_misses_what_was_sent():
    """Bytes from before the port was opened are gone; a frame may begin in the middle."""
    module = Module()
    first_s = module.bytes(0.4)[-1][0]
    module.twin.opened(first_s + 0.2)
    assert module.twin.sent(first_s + 0.2) == b""
    assert module.twin.sent(first_s + 0.4)


def test_nothing_can_be_written_to_it():
    """Its RX is on ground; a driver that writes would put it into its filtering mode."""
    with pytest.raises(StrictTwinError, match="RX"):
        Module().twin.receive(b"\x55", 1.0)


def test_a_wrong_speed_is_a_mistake():
    """Opened at another baud rate it raises instead of giving noise."""
    with pytest.raises(StrictTwinError, match="9600"):
        Module().ports.open(PORT, 115200)


def test_a_port_is_for_one():
    """The second to open it is refused, as pyserial's exclusive mode does."""
    module = Module()
    module.ports.open(PORT, 9600)
    with pytest.raises(OSError) as refused:
        module.ports.open(PORT, 9600)
    assert refused.value.errno == errno.EBUSY


def test_equal_seeds_give_equal_bytes():
    """However often it is looked at, a module sends the same."""
    assert Module(seed=4).bytes(3.0, 0.0005) != Module(seed=5).bytes(3.0, 0.0005)
    often = [byte for _, byte in Module(seed=4).bytes(3.0, 0.0005)]
    seldom = [byte for _, byte in Module(seed=4).bytes(3.0, 0.3)]
    assert often[: len(seldom)] == seldom


def test_the_line_is_read_after_a_long_while():
    """A driver that was away for a minute finds the line as it is, not a minute of old bytes."""
    module = Module()
    assert 0 < len(module.twin.sent(60.0)) <= 4 * 50


# ------------------------------------------------------------------------------------------------- the driver


def test_a_wall_is_measured(monkeypatch):
    """Ten readings a second, within 2 cm of the truth but for the cold that is assumed; looked at 15 times a second."""
    looks: list[float] = []
    sent = A02yyuwTwin.sent

    def looked(twin: A02yyuwTwin, now: float) -> bytes:
        looks.append(now)
        return sent(twin, now)

    monkeypatch.setattr(A02yyuwTwin, "sent", looked)
    module = Module(wall_m=2.0).drive(20.0)
    ranges = sorted(s.range_m for s in module.samples(1.0) if s.range_m is not None)
    assert len(ranges) / 19.0 >= 9.0
    assert ranges[len(ranges) // 2] == pytest.approx(2.0 * 343.2 / 340.3 * COLD, abs=0.02)
    assert len(looks) / 20.0 <= 15.0
    assert module.faults() == []


def test_time_is_told_on_the_safe_side():
    """A reading is called up to 45 ms older than it is, never newer: what nears is taken for nearer."""
    module = Module().drive(5.0)
    pings = [ping_s for ping_s, _ in module.twin.pinged]
    for sample in module.samples(1.0):
        errors = [sample.t_measured_s - ping_s for ping_s in pings]
        assert any(-0.045 <= error_s <= 0.0 for error_s in errors)


BEGIN_S, END_S = 10.0, 18.0

FAULTS = [
    # kind, fault that is named (empty: none), within, whether readings go on meanwhile
    pytest.param("off", "absent", 0.75, False, id="no power"),
    pytest.param("stuck", "frozen", 5.3, True, id="one reading for ever"),
    pytest.param("wrong", "frozen", 5.3, True, id="always 1.00 m"),
    pytest.param("garbage", "garbage", 0.8, False, id="bytes without meaning"),
    pytest.param("checksum", "", 0.0, True, id="every third frame damaged"),
    pytest.param("framing", "garbage", 3.0, True, id="bytes lost and added"),
    pytest.param("slow", "slow", 1.6, True, id="it filters"),
    pytest.param("delayed", "", 0.0, True, id="late by 0.25 s"),
    pytest.param("intermittent", "absent", 1.5, True, id="a loose wire"),
    pytest.param("unplugged", "", 0.0, False, id="the adapter pulled out"),
]


@pytest.mark.parametrize(("kind", "fault", "within_s", "goes_on"), FAULTS)
def test_a_fault_of_the_module_is_named_in_time(kind, fault, within_s, goes_on):
    """What is wrong is named once it begins, over once it ends, and no wrong range is vouched for."""
    module = Module([f"rear:{kind}@{BEGIN_S:g}-{END_S:g}"]).drive(25.0)
    begun = [(t, name) for t, name, active in module.faults() if active]
    assert {name for _, name in begun} == ({fault} if fault else set())
    if fault:
        assert begun[0][0] - BEGIN_S <= within_s
        assert not module.faults()[-1][2]
        assert module.faults()[-1][0] <= END_S + 2.5
    assert bool(module.samples(BEGIN_S + 1.0, END_S)) == goes_on
    assert [s for s in module.samples(21.0) if s.status is VALID]
    if kind not in ("stuck", "wrong"):  # their numbers are good ones until they are found out
        ranges = [s.range_m for s in module.samples(BEGIN_S, END_S) if s.range_m is not None]
        # Ground and second echoes are the module's own, with or without a fault.
        assert sum(abs(range_m - 1.95) > 0.1 for range_m in ranges) <= 0.1 * len(ranges)


def test_every_fault_of_a_serial_module_has_a_row():
    """The table above knows all kinds of part `rear`, but for those of edges."""
    assert {row.values[0] for row in FAULTS} == set(KINDS["rear"]) - {"bursts"}


def test_an_unplugged_adapter_raises_at_once_and_comes_back():
    """The runner hears of it with the first look, and again with each try; readings come back with it."""
    module = Module(["rear:unplugged@10-15"]).drive(20.0)
    times = [t for t, _ in module.rig.errors]
    assert times[0] - 10.0 <= 0.15
    assert max(times) <= 15.0
    assert module.samples(15.6)[0].t_received_s <= 15.8


def test_a_silent_port_is_a_missing_module():
    """A Pi's port without a module opens and says nothing: absent, within 0.8 s."""
    rig = Rig()
    rig.run(A02yyuwDriver(A02yyuw(), SimSerialPorts(rig.clock, {}), rig.clock))
    rig.scheduler.run_until(3.0)
    (report,) = (item for item in rig.items if isinstance(item, HealthReport))
    assert (report.part, report.fault, report.active) == ("rear", "absent", True)
    assert report.t_received_s <= 0.8
