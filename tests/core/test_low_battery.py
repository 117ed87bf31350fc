"""A battery that runs out: each warning once, however its reading wavers, and how long is left."""

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
            if isinstance(output, Speak) and output.phrase.startswith("battery"):
                words.append(output.value or "stop")
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
        pytest.param([30, 20, 15, 10, 9, 5, 0], ["20", "stop", "10", "stop", "10"], id="all the way down"),
        pytest.param([8, 8, 7], ["stop", "10"], id="nearly empty at the start: not both"),
        pytest.param([60, 9], ["stop", "10"], id="past both at once"),
        pytest.param([20, 22, 19.9, 24.9, 18], ["20"], id="wavering by less than 5"),
        pytest.param([20, 25.5, 20], ["20", "20"], id="charged a little, down again"),
        pytest.param(
            [9, 16, 17, 9], ["stop", "10", "stop", "10"], id="charged from 10 to below 20: 20 is not said again"
        ),
        pytest.param([9, 60, 20, 10], ["stop", "10", "20", "stop", "10"], id="charged and used"),
    ],
)
def test_each_warning_comes_once(charges, expected):
    """20, 10 and 5 percent are said when they are reached, and again only when it was charged meanwhile."""
    words, events = said(charges)
    assert words == expected
    assert len(events) == len(expected) - expected.count("stop")


@pytest.mark.parametrize("spread", [0.5, 1.5, 2.4])
@pytest.mark.parametrize("seed", range(3))
def test_noise_around_a_limit_is_one_warning(seed, spread):
    """An hour of falling charge with noise: 20 once, 10 once, each with the time that is left, rounded down."""
    random = Random(seed)
    charges = [35.0 - 27.0 * i / 720 + random.uniform(-spread, spread) for i in range(720)]
    words, _ = said(charges)
    assert [word for word in words if word != "stop"] in (["m40", "m15"], ["m40", "m20"], ["m30", "m15"])
    assert words.count("stop") == 1


def fed(charges: Sequence[float], every_s: float = 5.0, from_s: float = 1.0) -> Companion:
    """A companion that has been told these charges."""
    companion = Companion(Config())
    for i, charge in enumerate(charges):
        companion.feed(BatterySample(from_s + i * every_s, from_s + i * every_s, charge, 3.7))
    return companion


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("per_hour", [12.0, 30.0, 90.0])
def test_the_time_left_is_that_of_the_measured_rate(per_hour, spread):
    """After half an hour of noisy readings the time left is right within a fifth (a pack of 40 min to 8 h)."""
    random = Random(1)
    charges = [95.0 - per_hour * i * 5.0 / 3600.0 + random.uniform(-spread, spread) for i in range(360)]
    left = fed(charges).battery_minutes_left
    assert left == pytest.approx((95.0 - per_hour / 2.0 - 2.0) / per_hour * 60.0, rel=0.2)


@pytest.mark.parametrize(
    "charges",
    [
        pytest.param([80.0 - i * 0.01 for i in range(100)], id="eight minutes"),
        pytest.param([80.0] * 400, id="it does not fall"),
        pytest.param([80.0 - i * 0.02 for i in range(200)] + [95.0] * 60, id="it was charged"),
    ],
)
def test_without_a_rate_no_time_is_told(charges):
    """Nobody is told a time that rests on nothing."""
    assert fed(charges).battery_minutes_left is None


def test_a_small_pack_tells_to_stop_before_ten_percent():
    """Where 10 % would last for three minutes, "stop walking" comes with five minutes left at least."""
    companion = Companion(Config())
    per_s = 100.0 / 1800.0
    for i in range(360):
        now = 1.0 + 5.0 * i
        companion.feed(VoiceHeartbeat(now, "ear", 1 + i))
        charge = 100.0 - per_s * now
        outputs = companion.feed(BatterySample(now, now, charge, 3.7))
        if any(isinstance(output, Speak) and output.phrase == "battery_empty" for output in outputs):
            assert 5.0 <= charge / per_s / 60.0 <= 13.0
            return
    pytest.fail("it was never said")


@pytest.mark.parametrize(("part", "fault"), [("power", "undervoltage"), ("heat", "hot"), ("battery", "absent")])
def test_trouble_with_power_and_heat_is_said(part, fault):
    """A fault of these parts is asked for by its name, and its end, too."""
    companion = Companion(Config())
    companion.feed(VoiceHeartbeat(0.0, "ear", 1))
    begun = companion.feed(HealthReport(0.1, part, fault, active=True))
    over = companion.feed(HealthReport(0.2, part, fault, active=False))
    assert [(o.phrase, o.value) for o in begun if isinstance(o, Speak)] == [("fault", part)]
    assert [(o.phrase, o.value) for o in over if isinstance(o, Speak)] == [("fault_over", part)]
