"""A battery that runs out: each warning once, however its reading wavers."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from retrowalk.config import Config
from retrowalk.core.companion import Companion
from retrowalk.core.events import BatteryLow, Speak
from retrowalk.core.samples import BatterySample, HealthReport, VoiceHeartbeat, VoicePhase, VoiceProgress


def said(charges: Sequence[float], every_s: float = 5.0) -> tuple[list[str], list[int]]:
    """What is said of these charges by a voice that says all it is asked for, and the charges of the events."""
    companion = Companion(Config())
    words: list[str] = []
    events: list[int] = []
    outputs = list(companion.feed(VoiceHeartbeat(0.0, "ear", 1)))
    for i, charge in enumerate(charges):
        now = 1.0 + i * every_s
        outputs += companion.feed(VoiceHeartbeat(now, "ear", 2 + i))
        outputs += companion.feed(BatterySample(now, now, charge, 3.7))
        for output in outputs:
            if isinstance(output, Speak) and output.phrase == "battery_low":
                words.append(output.value)
                for phase in (VoicePhase.STARTED, VoicePhase.FINISHED):
                    companion.feed(VoiceProgress(now, now, output.alert, phase))
            elif isinstance(output, BatteryLow):
                events.append(round(output.charge_percent))
        outputs = []
    return words, events


@pytest.mark.parametrize(
    ("charges", "expected"),
    [
        pytest.param([30, 25, 20.1], [], id="not yet"),
        pytest.param([30, 20, 19, 18], ["20"], id="20"),
        pytest.param([30, 20, 15, 10, 9, 5, 0], ["20", "10"], id="all the way down"),
        pytest.param([8, 8, 7], ["10"], id="nearly empty at the start: not both"),
        pytest.param([60, 9], ["10"], id="past both at once"),
        pytest.param([20, 22, 19.9, 24.9, 18], ["20"], id="wavering by less than 5"),
        pytest.param([20, 25.5, 20], ["20", "20"], id="charged a little, down again"),
        pytest.param([9, 16, 17, 9], ["10", "10"], id="charged from 10 to below 20: 20 is not said again"),
        pytest.param([9, 60, 20, 10], ["10", "20", "10"], id="charged and used"),
    ],
)
def test_each_warning_comes_once(charges, expected):
    """20 and 10 percent are said when they are reached, and again only when it was charged meanwhile."""
    words, events = said(charges)
    assert words == expected
    assert len(events) == len(expected)


@pytest.mark.parametrize("spread", [0.5, 1.5, 2.4])
@pytest.mark.parametrize("seed", range(3))
def test_noise_around_a_limit_is_one_warning(seed, spread):
    """An hour of falling charge with noise: 20 once, 10 once."""
    random = Random(seed)
    charges = [30.0 - 25.0 * i / 720 + random.uniform(-spread, spread) for i in range(720)]
    assert said(charges)[0] == ["20", "10"]


@pytest.mark.parametrize(("part", "fault"), [("power", "undervoltage"), ("heat", "hot"), ("battery", "absent")])
def test_trouble_with_power_and_heat_is_said(part, fault):
    """A fault of these parts is asked for by its name, and its end, too."""
    companion = Companion(Config())
    companion.feed(VoiceHeartbeat(0.0, "ear", 1))
    begun = companion.feed(HealthReport(0.1, part, fault, active=True))
    over = companion.feed(HealthReport(0.2, part, fault, active=False))
    assert [(o.phrase, o.value) for o in begun if isinstance(o, Speak)] == [("fault", part)]
    assert [(o.phrase, o.value) for o in over if isinstance(o, Speak)] == [("fault_over", part)]
