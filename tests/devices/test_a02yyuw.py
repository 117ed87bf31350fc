"""The A02YYUW driver on a serial line of the bench: frames, the time they tell, what is said of what is not one."""

from __future__ import annotations

import errno
import os
import threading
import time
import tty
from collections.abc import Callable, Iterable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.bench import Run, VirtualClock

from retrowalk.config import A02yyuw
from retrowalk.core.samples import HealthReport, Item, RangeSample, RangeStatus
from retrowalk.devices.a02yyuw import COLD, FAR_MAX_MM, MEASURING_S, A02yyuwDriver, split
from retrowalk.errors import SensorError
from retrowalk.platform import MonotonicClock, PySerialPorts

BYTE_S = 10 / 9600
VALID, NO_TARGET = RangeStatus.VALID, RangeStatus.NO_TARGET
UNTRUSTED, REJECTED = RangeStatus.UNTRUSTED, RangeStatus.REJECTED


def frame(number: int) -> bytes:
    head = bytes((0xFF, number >> 8, number & 0xFF))
    return head + bytes((sum(head) & 0xFF,))


class Line:
    """A serial line: bytes become readable when it has carried them.  `SerialPorts` and `SerialPort` in one."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.carried: list[tuple[float, int]] = []
        self.opens: list[tuple[str, int]] = []
        self.error: OSError | None = None
        """What opening and reading raise."""
        self.slack_s = 0.0
        """A USB adapter hands bytes over this much later, all at once."""

    def send(self, begins_s: float, data: bytes) -> None:
        for index, byte in enumerate(data, 1):
            self.carried.append((begins_s + index * BYTE_S, byte))

    def open(self, port: str, baud: int) -> Line:
        self._fail()
        self.opens.append((port, baud))
        self.carried = [(t, byte) for t, byte in self.carried if t > self.clock.now()]
        return self

    def read(self) -> bytes:
        self._fail()
        now = self.clock.now()
        ends = [t for t, _ in self.carried]
        count = sum(t + self.slack_s <= now for t in ends)
        data = bytes(byte for _, byte in self.carried[:count])
        del self.carried[:count]
        return data

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error

    def write(self, data: bytes) -> None:
        raise AssertionError("its RX is on ground")

    def close(self) -> None:
        pass


def _millimetres(items: Iterable[Item]) -> list[int]:
    ranges = [item.range_m for item in items if isinstance(item, RangeSample)]
    return [round(range_m / COLD * 1000.0) for range_m in ranges if range_m is not None]


class Bench:
    """The driver on a line that a module fills: `answer(i)` is what its i-th frame looks like."""

    def __init__(self, config: A02yyuw | None = None, period_s: float = 0.1, first_s: float = 0.033) -> None:
        self.clock = VirtualClock()
        self.line = Line(self.clock)
        self.driver = A02yyuwDriver(config or A02yyuw(), self.line, self.clock)
        self.run = Run(self.driver, self.clock)
        self.period_s = period_s
        self.ends: list[float] = []
        """When each frame was all on the line."""
        self._next_s = first_s
        self._count = 0

    def until(self, end_s: float, answer: Callable[[int], bytes] = lambda i: frame(1500 + i % 7)) -> Bench:
        """The module sends up to `end_s`."""
        while self._next_s < end_s:
            data = answer(self._count)
            self.line.send(self._next_s, data)
            self.ends.append(self._next_s + len(data) * BYTE_S)
            self._count += 1
            self._next_s += self.period_s
        self.run.until(end_s)
        return self

    def silent(self, end_s: float) -> Bench:
        """Nothing comes up to `end_s`."""
        self._next_s += self.period_s * max(0.0, round((end_s - self._next_s) / self.period_s))
        self.run.until(end_s)
        return self

    def samples(self, since_s: float = 0.0) -> list[RangeSample]:
        return self.run.of(RangeSample, since_s)

    def statuses(self, since_s: float = 0.0) -> set[RangeStatus]:
        return {sample.status for sample in self.samples(since_s)}

    def faults(self, since_s: float = 0.0) -> list[tuple[str, bool]]:
        return [(report.fault, report.active) for report in self.run.of(HealthReport, since_s)]

    def named_s(self, fault: str) -> float:
        """When a fault was reported first."""
        named: list[float] = [r.t_received_s for r in self.run.of(HealthReport) if r.fault == fault and r.active]
        return named[0]

    def millimetres(self) -> list[int]:
        """Numbers that were believed, as the module sent them."""
        return _millimetres(self.samples())


# ------------------------------------------------------------------------------------------------- frames


def test_a_frame_is_a_range():
    """The maker's example: 0xFF 0x07 0xA1 0xA7 is 1953 mm, read as in air of 0 degrees."""
    assert frame(1953) == bytes((0xFF, 0x07, 0xA1, 0xA7))
    sample = Bench().until(0.3, lambda i: frame(1953)).samples()[0]
    assert (sample.sensor, sample.status) == ("rear", VALID)
    assert sample.range_m == pytest.approx(1.953 * COLD)


def test_the_port_is_opened_as_the_module_speaks():
    """9600 baud on the configured port; nothing is ever written to it."""
    bench = Bench(A02yyuw(port="/dev/ttyUSB0")).until(1.0)
    assert bench.line.opens == [("/dev/ttyUSB0", 9600)]


@pytest.mark.parametrize(
    ("data", "numbers"),
    [
        pytest.param(frame(1500), [1500], id="one"),
        pytest.param(frame(1500) + frame(1400), [1500, 1400], id="two"),
        pytest.param(frame(511), [511], id="0xFF low and in the sum"),
        pytest.param(b"\xff" + frame(511), [511], id="0xFF before a frame full of them"),
        pytest.param(b"\x07" + frame(1500), [1500], id="an added byte"),
        pytest.param(frame(1500)[1:], [], id="a lost header"),
        pytest.param(frame(1500)[1:] + frame(1400), [1400], id="a lost header, then a frame"),
        pytest.param(frame(1500)[:3], [], id="not all of it yet"),
        pytest.param(frame(1500) + frame(1400)[:2], [1500], id="one and a half"),
        pytest.param(frame(1500)[:2] + frame(1400), [1400], id="torn, then a frame"),
        pytest.param(frame(1500)[:3] + b"\x00" + frame(1400), [1400], id="a wrong sum"),
        pytest.param(frame(30000), [], id="a number no module gives"),
        pytest.param(frame(0xFFFD), [0xFFFD], id="the code for nothing"),
        pytest.param(bytes(40), [], id="zeros"),
        pytest.param(b"\xff" * 40, [], id="ones"),
    ],
)
def test_frames_are_found_among_bytes(data, numbers):
    """A header may stand anywhere; what decides is the sum, the number, and where the bytes end."""
    assert [number for number, _ in split(data)[0]] == numbers


@settings(max_examples=300, deadline=None)
def in_order(found: list[int], numbers: list[int]) -> int:
    """How many of those found are of the numbers, in their order (the longest common subsequence)."""
    if not found or not numbers:
        return 0
    if found[0] == numbers[0]:
        return 1 + in_order(found[1:], numbers[1:])
    return max(in_order(found[1:], numbers), in_order(found, numbers[1:]))


@given(
    st.lists(st.integers(30, FAR_MAX_MM), min_size=2, max_size=5),
    st.integers(0, 30),
    st.sampled_from(["lost", "added"]),
    st.integers(0, 255),
)
def test_one_bad_byte_costs_one_frame_and_invents_none(numbers, where, what, byte):
    """Frames that were read late, in one piece, with a byte lost or added: the others are found, none is made up."""
    data = b"".join(map(frame, numbers))
    where %= len(data)
    damaged = data[:where] + (b"" if what == "lost" else bytes((byte,))) + data[where + (what == "lost") :]
    found = [number for number, _ in split(damaged)[0]]
    # Two frames that stand together and differ in one byte can look like a third, shifted by it.
    assert len(found) - in_order(found, numbers) <= 1
    assert len(found) >= len(numbers) - 3


def test_noise_is_no_range():
    """Ten minutes of random bytes at the line's full speed give no more than a handful of frames by chance."""
    random = Random(5)
    found = sum(len(split(random.randbytes(96))[0]) for _ in range(6000))
    assert found <= 3


# ------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(30, VALID, id="the nearest"),
        pytest.param(4500, VALID, id="the farthest"),
        pytest.param(29, REJECTED, id="nearer than it can"),
        pytest.param(5500, NO_TARGET, id="from beyond its range"),
        pytest.param(0, NO_TARGET, id="nothing heard"),
        pytest.param(0xFFFD, NO_TARGET, id="code for nothing"),
        pytest.param(0xFFFE, UNTRUSTED, id="code for another module"),
        pytest.param(0x7FFF, REJECTED, id="no number of its"),
    ],
)
def test_what_a_number_means(number, status):
    """After an echo from farther than 0.3 m, each number has its meaning."""
    bench = Bench().until(1.0).until(1.2, lambda i: frame(number))
    assert [sample.status for sample in bench.samples(1.0)][-1] is status
    assert all((sample.range_m is not None) == (sample.status is VALID) for sample in bench.samples())


def test_a_shorter_belief_makes_far_echoes_no_target():
    """What is farther than `range_max_m` is not measured, but heard."""
    assert Bench(A02yyuw(range_max_m=1.0, clear_range_m=1.0)).until(1.0).statuses() == {NO_TARGET}


def test_nothing_heard_is_no_target_for_half_a_minute_only():
    """Who has heard no echo for 30 s may be covered: unknown, not clear."""
    bench = Bench().until(1.0).until(33.0, lambda i: frame(0))
    assert bench.statuses(2.0) == {NO_TARGET, UNTRUSTED}
    last_clear = max(s.t_received_s for s in bench.samples() if s.status is NO_TARGET)
    assert last_clear == pytest.approx(31.0, abs=0.3)
    assert bench.faults(2.0) == [("blind", True)]


def test_nothing_heard_after_something_near_is_unknown():
    """What has come as near as 0.1 m may touch the membrane now; a farther echo ends the doubt."""
    bench = Bench().until(1.0, lambda i: frame(1000 - 90 * i)).until(2.0, lambda i: frame(0))
    assert bench.statuses(1.1) == {UNTRUSTED}
    bench.until(2.1, lambda i: frame(2000)).until(3.0, lambda i: frame(0))
    assert bench.statuses(2.2) == {NO_TARGET}


def test_one_near_echo_is_no_reason_for_doubt():
    """Wind makes single near echoes."""
    bench = Bench().until(1.0).until(1.1, lambda i: frame(150)).until(2.0, lambda i: frame(0))
    assert bench.statuses(1.2) == {NO_TARGET}


def test_a_module_just_switched_on_may_hear_nothing():
    """In the open it has no echo to show yet: it is given half a minute."""
    assert Bench().until(5.0, lambda i: frame(0)).statuses() == {NO_TARGET}


# ------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("period_s", [0.092, 0.1, 0.1037])
@pytest.mark.parametrize("slack_s", [0.0, 0.0035, 0.016])
def test_a_range_has_the_time_of_its_ping(period_s, slack_s):
    """Whatever the module's rate and the adapter's habit, the time told is that of the frame less 104 ms, to 5 ms."""
    bench = Bench(period_s=period_s)
    bench.line.slack_s = slack_s
    bench.until(20.0)
    samples = bench.samples(2.0)
    errors = []
    for sample in samples:
        ends = [end_s for end_s in bench.ends if end_s <= sample.t_received_s]
        errors.append(sample.t_measured_s - (ends[-1] - 4 * BYTE_S - MEASURING_S) - slack_s)
    assert len(samples) == pytest.approx(18.0 / period_s, abs=2)
    assert max(map(abs, errors)) <= 0.005
    assert all(a.t_measured_s < b.t_measured_s <= b.t_received_s for a, b in pairwise(samples))


def test_a_reading_is_fresh():
    """From the last bit to the sample it takes 6 ms at most, and the line is looked at 14 times a second at most."""
    bench = Bench(period_s=0.0985).until(5.0)
    before = bench.run.polls
    bench.until(25.0)
    ages = [s.t_received_s - max(e for e in bench.ends if e <= s.t_received_s) for s in bench.samples(5.0)]
    assert max(ages) <= 0.006
    assert (bench.run.polls - before) / 20.0 <= 14.0


def test_frames_read_late_keep_their_distance():
    """A guard that was held up for 0.45 s finds four or five frames: each has its own time, none is lost."""
    bench = Bench().until(3.0)
    for i in range(9):
        bench.line.send(3.033 + i * 0.1, frame(1500 - 20 * i))
    bench.clock.now_s = 3.46
    bench.run.until(3.8)
    samples = bench.samples(3.4)
    late = [sample for sample in samples if sample.t_received_s < 3.47]
    assert len(late) >= 4
    assert _millimetres(samples) == sorted(_millimetres(samples), reverse=True)
    assert all(b.t_measured_s - a.t_measured_s == pytest.approx(0.1, abs=0.006) for a, b in pairwise(samples))


def test_bytes_after_a_frame_tell_its_age():
    """When the next frame has begun already, the one before it ended a whole pause earlier."""
    bench = Bench()
    bench.line.send(0.50, frame(1000))
    bench.line.send(0.60, frame(1010))
    bench.run.until(0.1)
    bench.clock.now_s = 0.6 + 2.5 * BYTE_S
    items, _ = bench.driver.poll(bench.clock.now())
    (sample,) = (item for item in items if isinstance(item, RangeSample))
    assert sample.t_measured_s <= 0.50 - MEASURING_S + 0.030


# ------------------------------------------------------------------------------------------------- faults


def _random_bytes(seed: int) -> Callable[[int], bytes]:
    random = Random(seed)
    return lambda i: random.randbytes(random.randint(2, 9))


def _damaged(i: int) -> bytes:
    data = bytearray(frame(1500 + i % 7))
    data[1 + i % 3] ^= 0x10
    return bytes(data)


FAULTS = [
    # what is sent from 5 s on, fault, named within, statuses meanwhile (after a second)
    pytest.param(None, "absent", 0.8, set(), id="silent"),
    pytest.param(_random_bytes(1), "garbage", 0.8, set(), id="bytes without meaning"),
    pytest.param(_damaged, "garbage", 0.8, set(), id="every sum wrong"),
    pytest.param(lambda i: bytes(4), "garbage", 0.8, set(), id="line low"),
    pytest.param(
        lambda i: _damaged(i) if i % 5 < 3 else frame(1500 + i), "garbage", 2.5, {UNTRUSTED}, id="three of five damaged"
    ),
    pytest.param(lambda i: frame(1500), "frozen", 5.2, None, id="the same millimetre"),
    pytest.param(lambda i: frame(30 + i % 4), "frozen", 3.2, None, id="something on the membrane"),
    pytest.param(lambda i: frame(0xFFFE), "blind", 0.9, {UNTRUSTED}, id="another module all the time"),
    pytest.param(
        lambda i: frame(1500 + i % 7) + frame(1500 + i % 5), "garbage", 2.2, {UNTRUSTED}, id="twice as many as possible"
    ),
]


@pytest.mark.parametrize(("answer", "fault", "within_s", "statuses"), FAULTS)
def test_a_fault_is_named_once_and_ends(answer, fault, within_s, statuses):
    """Each is reported in time and once, vouches for nothing meanwhile, and is over when the module is well."""
    bench = Bench().until(5.0)
    if answer is None:
        bench.silent(15.0)
    else:
        bench.until(15.0, answer)
    assert bench.faults() == [(fault, True)]
    assert bench.named_s(fault) - 5.0 <= within_s
    if statuses is not None:
        assert bench.statuses(5.0 + within_s + 0.2) - {UNTRUSTED} == statuses - {UNTRUSTED}
    assert VALID not in bench.statuses(bench.named_s(fault) + 0.2)
    bench.until(20.0)
    assert bench.faults() == [(fault, True), (fault, False)]
    assert bench.statuses(18.0) == {VALID}


def test_a_module_that_filters_is_slow():
    """RX not on ground: three frames a second are named within 2 s, and give no range to rely on."""
    bench = Bench().until(5.0)
    bench.period_s = 0.3
    bench.until(10.0)
    assert bench.faults() == [("slow", True)]
    assert bench.named_s("slow") - 5.0 <= 2.0
    assert bench.statuses(bench.named_s("slow") + 0.1) == {UNTRUSTED}
    bench.period_s = 0.1
    assert bench.until(12.0).faults() == [("slow", True), ("slow", False)]


def test_one_damaged_frame_in_three_is_borne():
    """Two of three frames are enough: no fault, no wrong range, a count of what was lost."""
    bench = Bench().until(20.0, lambda i: _damaged(i) if i % 3 == 0 else frame(1500 + i % 7))
    assert bench.faults() == []
    assert bench.statuses() == {VALID}
    assert set(bench.millimetres()) <= set(range(1500, 1507))
    assert bench.driver.counts["lost_byte"] > 0


def test_a_person_who_stands_is_not_frozen():
    """A wall that is a millimetre nearer or farther now and then is a wall."""
    assert Bench().until(60.0, lambda i: frame(1500 + (i // 30) % 2)).faults() == []


def test_a_cut_frame_does_not_spoil_the_next():
    """A wire that breaks in the middle of a frame leaves bytes that belong to nothing."""
    bench = Bench().until(1.0).until(1.1, lambda i: frame(1500)[:2]).until(2.0)
    assert bench.faults() == []
    assert len(bench.samples(1.15)) == pytest.approx(9, abs=1)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        pytest.param(OSError(errno.ENOENT, "x"), "enable_uart", id="no such port"),
        pytest.param(OSError(errno.EACCES, "x"), "dialout", id="not allowed"),
        pytest.param(OSError(errno.EBUSY, "x"), "console", id="in use"),
        pytest.param(OSError("could not open port"), "could not open port", id="without a number"),
    ],
)
def test_a_port_that_cannot_be_opened_is_named(error, says):
    """The error says what to do, and the port is tried again twice a second."""
    bench = Bench()
    bench.line.error = error
    bench.run.until(2.0)
    assert {failed.fault for _, failed in bench.run.errors} == {"absent"}
    assert says in bench.run.errors[0][1].detail
    assert len(bench.run.errors) == pytest.approx(5, abs=1)


def test_an_adapter_that_is_pulled_out_and_put_back_is_used_again():
    """Reading fails, the port is opened anew until it is there; then ranges come as before."""
    bench = Bench().until(3.0)
    bench.line.error = OSError(errno.EIO, "Input/output error")
    bench.silent(5.0)
    assert isinstance(bench.run.errors[0][1], SensorError)
    assert bench.run.errors[0][0] - 3.0 <= 0.15
    bench.line.error = None
    bench.until(8.0)
    assert len(bench.line.opens) == 2
    assert len(bench.samples(6.0)) == pytest.approx(20, abs=1)
    assert bench.faults() == []


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["good", "damaged", "cut", "noise", "nothing", "zero"]), min_size=20, max_size=120))
def test_it_is_never_silent_unnoticed(kinds):
    """Whatever comes over the line, there is a sample in any 0.8 s, or a fault is active by then."""
    random = Random(7)
    made = {
        "good": lambda i: frame(1500 + i % 7),
        "damaged": _damaged,
        "cut": lambda i: frame(1500)[: i % 4],
        "noise": lambda i: random.randbytes(i % 9),
        "nothing": lambda i: b"",
        "zero": lambda i: frame(0),
    }
    bench = Bench().until(1.0)
    end_s = 1.0 + len(kinds) * 0.1
    bench.until(end_s, lambda i: made[kinds[(i - 10) % len(kinds)]](i))
    signs = sorted(sample.t_received_s for sample in bench.samples())
    reports = bench.run.of(HealthReport)
    for a, b in pairwise([*signs, end_s]):
        if b - a > 0.8:
            assert [r for r in reports if r.t_received_s <= a + 0.8][-1].active, (a, b)


# ------------------------------------------------------------------------------------------------- a real port


class _Pty:
    """The master of a pseudo-terminal, and a module that writes to it in real time."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        self.name = os.ttyname(slave)
        self._slave = slave
        self._stop = threading.Event()
        self._writer: threading.Thread | None = None

    def send(self, frames: Iterable[bytes]) -> None:
        def write() -> None:
            for data in frames:
                if self._stop.is_set():
                    return
                os.write(self.master, data)
                time.sleep(0.1)

        self._writer = threading.Thread(target=write, name="module")
        self._writer.start()

    def unplug(self) -> None:
        self._stop.set()
        if self._writer is not None:
            self._writer.join()
        for fd in (self.master, self._slave):
            try:
                os.close(fd)
            except OSError:
                pass


@pytest.fixture
def pty():
    made = _Pty()
    yield made
    made.unplug()


@pytest.mark.process
def test_a_real_port_gives_ranges_until_it_is_unplugged(pty):
    """Through pyserial and the kernel's terminal: 0xFF is not eaten, ranges come, the end of the wire is named."""
    clock = MonotonicClock()
    driver = A02yyuwDriver(A02yyuw(port=pty.name), PySerialPorts(), clock)
    items = list(driver.poll(clock.now())[0])
    pty.send([frame(511), frame(0xFFFE), frame(1293), *[frame(1500 + i) for i in range(30)]])
    until = clock.now() + 1.2
    while clock.now() < until:
        got, due = driver.poll(clock.now())
        items += got
        time.sleep(max(0.0, due - clock.now()))
    ranges = _millimetres(items)
    assert ranges[:3] == [511, 1293, 1500]
    assert len(ranges) >= 8
    pty.unplug()
    with pytest.raises(SensorError, match="absent"):
        driver.poll(clock.now())
    with pytest.raises(SensorError, match="enable_uart"):
        driver.poll(clock.now())


@pytest.mark.process
def test_a_real_port_is_opened_for_one_alone(pty):
    """A second program that wants the same port is told that it is in use."""
    first = PySerialPorts().open(pty.name, 9600)
    try:
        driver = A02yyuwDriver(A02yyuw(port=pty.name), PySerialPorts(), MonotonicClock())
        with pytest.raises(SensorError, match="console"):
            driver.poll(0.0)
    finally:
        first.close()


@pytest.mark.process
def test_a_real_port_speaks_9600_baud_and_forgets_what_came_before(pty):
    """The terminal is set to 9600, 8N1, raw; bytes from before the opening are thrown away."""
    import termios

    os.write(pty.master, frame(700))
    port = PySerialPorts().open(pty.name, 9600)
    try:
        attributes = termios.tcgetattr(pty.master)
        assert attributes[4] == attributes[5] == termios.B9600
        assert attributes[2] & termios.CSIZE == termios.CS8
        assert not attributes[2] & (termios.PARENB | termios.CSTOPB)
        os.write(pty.master, frame(1500))
        data, until = b"", time.monotonic() + 2.0
        while len(data) < 4 and time.monotonic() < until:
            data += port.read()
            time.sleep(0.01)
        assert data == frame(1500)
    finally:
        port.close()
