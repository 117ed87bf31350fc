"""What comes and goes does not chatter, and is never silent either."""

from __future__ import annotations

import pytest

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core.companion import Companion
from retrowalk.core.samples import (
    CourierHeartbeat,
    HealthReport,
    ImuSample,
    RangeSample,
    RangeStatus,
    Tick,
    VoiceHeartbeat,
    VoicePhase,
    VoiceProgress,
)

EVERY_S = 0.05


class Street:
    """A default device of which everything lives, with a voice that says what it is asked for."""

    def __init__(self) -> None:
        self.companion = Companion(Config())
        self.now = 0.0
        self.said: list[tuple[float, str]] = []
        self.events: list[ev.Event] = []

    def feed(self, item: object) -> None:
        for output in self.companion.feed(item):  # type: ignore[arg-type]
            if isinstance(output, ev.Speak) and output.phrase:
                self.said.append((self.now, f"{output.phrase}:{output.value}"))
                for phase in (VoicePhase.STARTED, VoicePhase.FINISHED):
                    self.feed(VoiceProgress(self.now, self.now, output.alert, phase))
            elif isinstance(output, ev.Event):
                self.events.append(output)

    def step(self, *, lidar: bool = True) -> None:
        now = self.now = round(self.now + EVERY_S, 3)
        for name in ("rear", "lidar", "drop"):
            if lidar or name != "lidar":
                self.feed(RangeSample(now, now, name, RangeStatus.NO_TARGET))
        self.feed(ImuSample(now, now, (0.1, 0.0, 9.8), (0.0, 0.0, 0.0)))
        self.feed(VoiceHeartbeat(now, "default", round(now * 48000)))
        self.feed(CourierHeartbeat(now, True, 0, True))
        self.feed(Tick(now))

    def run(self, for_s: float) -> None:
        for _ in range(round(for_s / EVERY_S)):
            self.step()

    def words(self, *starts: str) -> list[str]:
        return [key for _, key in self.said if key.startswith(starts)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("battery", "absent"),
        pytest.param("power", "undervoltage", marks=pytest.mark.slow),
        pytest.param("guard", "starved", marks=pytest.mark.slow),
    ],
)
def test_a_part_that_comes_and_goes_is_one_fault(part, fault):
    """Twenty times in a minute: named three times at most in that minute, and once more when it is over for good."""
    street = Street()
    street.run(2.0)
    for _ in range(20):
        street.feed(HealthReport(street.now, part, fault, active=True))
        street.run(1.0)
        street.feed(HealthReport(street.now, part, fault, active=False))
        street.run(2.0)
    assert len(street.words("fault:")) <= 4  # the fourth: it has held for a minute
    assert len(street.words("fault_over:")) <= 2
    raised = [e for e in street.events if isinstance(e, ev.FaultRaised)]
    cleared = [e for e in street.events if isinstance(e, ev.FaultCleared)]
    assert len(raised) == 3
    assert len(cleared) == 2
    assert f"{part}:{fault}" in street.companion.troubles
    street.run(10.1)
    assert f"{part}:{fault}" not in street.companion.troubles
    assert street.words("fault", "fault_over")[-1].startswith("fault_over:")
    assert len([e for e in street.events if isinstance(e, ev.FaultCleared)]) == 3


@pytest.mark.slow
def test_a_fault_that_comes_again_and_stays_holds():
    """It had come and gone; now it stays: it is held, and said again within a minute."""
    street = Street()
    street.run(2.0)
    for _ in range(4):
        street.feed(HealthReport(street.now, "battery", "absent", active=True))
        street.run(1.0)
        street.feed(HealthReport(street.now, "battery", "absent", active=False))
        street.run(2.0)
    street.feed(HealthReport(street.now, "battery", "absent", active=True))
    before = len(street.words("fault:battery"))
    street.run(61.0)
    assert "battery:absent" in street.companion.troubles
    assert len(street.words("fault:battery")) >= before + 1


@pytest.mark.slow
def test_a_loose_plug_is_named_and_not_with_every_step():
    """A second of contact, a second without, for a minute: lost is said at once, and no more than each half minute."""
    street = Street()
    street.run(2.0)
    for beat in range(60):
        for _ in range(20):
            street.step(lidar=beat % 2 == 1)
    lost = [t for t, key in street.said if key == "sensor_lost:lidar"]
    assert lost[0] <= 3.0
    assert len(lost) <= 6
    assert len(street.words("sensor_back:lidar")) <= 3
    assert street.companion.snapshot().health["lidar"] == "lost"
    street.run(12.0)
    assert street.companion.snapshot().health["lidar"] == "ok"
    assert street.words("sensor")[-1] == "sensor_back:lidar"


@pytest.mark.slow
def test_a_sensor_that_is_lost_once_in_a_while_is_back_at_once():
    """Half a second of sense is enough for one that has been well for long."""
    street = Street()
    street.run(2.0)
    for _ in range(3):
        for _ in range(20):
            street.step(lidar=False)
        assert street.companion.snapshot().health["lidar"] == "lost"
        street.run(0.7)
        assert street.companion.snapshot().health["lidar"] == "ok"
        street.run(25.0)
