"""What the guard writes into the log of a walk: one line a fault, nothing of the walker, no secret."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from msgspec import structs

from retrowalk import logs
from retrowalk.config import Broker, Config, Helper
from retrowalk.core import events as ev
from retrowalk.core.events import GuardState
from retrowalk.guard.journal import HELD_MAX, Journal
from retrowalk.logs import Lines
from retrowalk.mqtt import PahoLink
from retrowalk.sim import scenarios
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice.bank import build, default_directory


class Taken:
    """Takes lines instead of the journal."""

    def __init__(self) -> None:
        self.lines: list[dict[str, str]] = []
        self.times: list[float] = []
        self.now: Callable[[], float] = lambda: 0.0

    def __call__(self, fields: Mapping[str, str]) -> bool:
        self.lines.append(dict(fields))
        self.times.append(self.now())
        return True

    def close(self) -> None:
        """Nothing to let go of."""

    def of(self, *events: str) -> list[str]:
        """Words of lines of these kinds."""
        return [line["MESSAGE"] for line in self.lines if line.get("RETROWALK_EVENT") in events]


@pytest.fixture
def taken() -> Iterator[Taken]:
    taken = Taken()
    lines = Lines(taken)
    logger = logging.getLogger("retrowalk")
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    yield taken
    logger.removeHandler(lines)
    logger.setLevel(before)
    lines.close()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param(
            [ev.SensorLost(t_s=3.0, sensor="rear", cause="silent"), ev.SensorRestored(t_s=15.34, sensor="rear")],
            ["rear: lost (silent): no edge on GPIO24", "rear: works again, after 12.3 s"],
            id="sensor",
        ),
        pytest.param(
            [
                ev.FaultRaised(t_s=1.0, part="power", fault="undervoltage", detail="4.6 V"),
                ev.FaultCleared(t_s=2.0, part="power", fault="undervoltage"),
            ],
            ["power: undervoltage: 4.6 V", "power: undervoltage is over, after 1.0 s"],
            id="fault",
        ),
        pytest.param(
            [ev.FaultCleared(t_s=2.0, part="power", fault="undervoltage")],
            ["power: undervoltage is over"],
            id="fault that began before this guard",
        ),
        pytest.param(
            [
                ev.GuardChanged(
                    t_s=1.0, state=GuardState.LIMITED, previous=GuardState.GUARDING, reasons=("rear", "drop")
                )
            ],
            ["now limited: rear, drop"],
            id="state",
        ),
    ],
)
def test_lines(events: list[ev.Event], expected: list[str], taken: Taken) -> None:
    """What begins and ends is one line each, with its cause and how long it lasted."""
    journal = Journal("s1", lambda part: "no edge on GPIO24")
    for event in events:
        journal.event(event)
    assert [line["MESSAGE"] for line in taken.lines] == expected
    assert {line["RETROWALK_SESSION"] for line in taken.lines} == {"s1"}
    assert [line["RETROWALK_EVENT"] for line in taken.lines] == [event.type for event in events]


@pytest.mark.parametrize(
    ("event", "priority"),
    [
        pytest.param(ev.SensorLost(t_s=1.0, sensor="rear", cause=""), "4", id="lost"),
        pytest.param(ev.SensorRestored(t_s=1.0, sensor="rear"), "6", id="restored"),
        pytest.param(
            ev.GuardChanged(t_s=1.0, state=GuardState.GUARDING, previous=GuardState.CHECKING), "6", id="guarding"
        ),
        pytest.param(
            ev.GuardChanged(t_s=1.0, state=GuardState.NOT_PROTECTING, previous=GuardState.GUARDING),
            "4",
            id="unprotected",
        ),
    ],
)
def test_priority(event: ev.Event, priority: str, taken: Taken) -> None:
    """What is wrong is a warning; that it is well again is not."""
    Journal("s1").event(event)
    assert [line["PRIORITY"] for line in taken.lines] == [priority]


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(ev.HazardRaised(t_s=1.0, hazard="collision", level="warning", range_m=1.0), id="hazard"),
        pytest.param(ev.FallConfirmed(t_s=1.0, fall=1), id="fall"),
        pytest.param(ev.SosRaised(t_s=1.0), id="call for help"),
        pytest.param(ev.WalkEnded(t_s=1.0, steps=100, duration_s=60.0), id="walk"),
    ],
)
def test_nothing_of_the_walker(event: ev.Event, taken: Taken) -> None:
    """How somebody walks, and that they fell, is not for the log."""
    Journal("s1").event(event)
    assert taken.lines == []


def test_sensor_that_comes_and_goes_fills_nothing() -> None:
    """A loose plug, an hour long, leaves some dozens of lines, and the number of those that were held back."""
    taken = Taken()
    seconds = [0.0]
    lines = Lines(taken, lambda: seconds[0])
    logger = logging.getLogger("retrowalk")
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        journal = Journal("s1")
        for second in range(0, 3600, 2):
            seconds[0] = float(second)
            journal.event(ev.SensorLost(t_s=float(second), sensor="rear", cause="silent"))
            journal.event(ev.SensorRestored(t_s=second + 1.0, sensor="rear"))
        lines.close()
    finally:
        logger.removeHandler(lines)
        logger.setLevel(before)
    assert len(taken.of("sensor.lost")) == 18
    assert len(taken.lines) < 60
    counts = [int(words.partition(" ")[0]) for words in taken.of("lines.repeated") if "lost" in words]
    assert sum(counts) + 18 == 1800


def test_faults_without_end_are_bounded() -> None:
    """Parts that nobody has heard of fill no memory."""
    journal = Journal("s1")
    for number in range(10 * HELD_MAX):
        journal.event(ev.FaultRaised(t_s=1.0, part=f"part-{number}", fault="off"))
    assert len(journal._began) == HELD_MAX


SECRETS = ("canary-password", "canary-user", "Canaria")


def walk(taken: Taken, tmp_path: Path, *faults: str, until_s: float = 25.0) -> None:
    """A walk in virtual time, with secrets in its settings and a broker's password in its file."""
    password = tmp_path / "password"
    password.write_text(SECRETS[0] + "\n")
    broker = Broker(password_file=str(password), username=SECRETS[1])
    config = structs.replace(Config(), broker=broker, helper=Helper(names=(SECRETS[2],)))
    bank = build(config, default_directory())
    device = VirtualWalk(config, scenarios.demo(1), 1, bank, faults=Faults(Fault.parse(fault) for fault in faults))
    taken.now = device.clock.now
    try:
        device.run_until(until_s)
    finally:
        device.close()


@pytest.mark.slow
def test_walk_in_order_is_quiet(taken: Taken, tmp_path: Path) -> None:
    """A walk without a fault leaves the lines of its start, and none while somebody walks."""
    walk(taken, tmp_path)
    assert taken.of("guard.changed") == ["now checking", "now guarding"]
    assert len(taken.lines) <= 6
    assert max(taken.times) < 10.0
    assert taken.of("sensor.lost", "fault.raised") == []


@pytest.mark.slow
def test_fault_is_one_line(taken: Taken, tmp_path: Path) -> None:
    """A sensor that is away for five seconds leaves a line that says so, and one when it is back; no secret in any."""
    walk(taken, tmp_path, "lidar:off@10-15", until_s=22.0)
    assert len(taken.of("sensor.lost")) == 1
    assert taken.of("sensor.lost")[0].startswith("lidar: lost")
    assert len(taken.of("sensor.restored")) == 1
    assert [secret for secret in SECRETS if secret in str(taken.lines)] == []


def test_password_is_hidden_from_the_moment_it_is_read(
    taken: Taken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a library says of a broker, the password is not in the line."""
    monkeypatch.setattr(logs, "_secrets", set())
    password = tmp_path / "password"
    password.write_text(SECRETS[0] + "\n")
    link = PahoLink(Broker(host="127.0.0.1", port=9, password_file=str(password)), "rw-0001")
    link.start("home/state", b"", ())
    link.stop()
    logging.getLogger("retrowalk.mqtt").warning("refused with %s", SECRETS[0])
    assert [line["MESSAGE"] for line in taken.lines if "refused with" in line["MESSAGE"]] == [
        "refused with (not shown)"
    ]
