"""A trunk that seems to lean far, and does not: the path behind is watched all the same."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.core.synth import Street, motion, rotation, walking
from tests.core.test_rear import Where, raised_s, street

from retrowalk.core.samples import ImuSample


class Clip:
    """What a clip has told."""

    def __init__(self, samples: list[ImuSample]) -> None:
        self._samples = samples

    def samples(self) -> list[ImuSample]:
        """All of it."""
        return self._samples


def wall(from_s: float, from_m: float = 4.0, speed_m_s: float = 0.6) -> Where:
    """Nothing; then a wall that the walker walks towards."""
    return lambda t: None if t < from_s else max(0.2, from_m - speed_m_s * (t - from_s))


def told(clip: list[ImuSample], where: Where, seconds: float, from_s: float) -> Street:
    """A walk with this clip."""
    return street(where, seconds, body=Clip(clip), there_from_s=from_s)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("askew_deg", [50.0, -50.0], ids=["forward", "back"])
def test_a_clip_worn_askew_takes_no_warning_away(askew_deg: float) -> None:
    """Whose upright was never learned, because the clip sits anyhow, is told "Stop" 1.8 m before a wall."""
    body = walking(50.0, bouts=[(33.0, 50.0)], turns=False, clip=rotation(askew_deg))
    found = told(list(body.samples()), wall(36.0), 42.0, 36.0)
    assert raised_s(found, "warning") < 36.0 + (4.0 - 1.75) / 0.6


@pytest.mark.slow
@pytest.mark.parametrize("slip_deg", [50.0, -60.0], ids=["forward", "back"])
def test_a_clip_that_slips_takes_no_warning_away(slip_deg: float) -> None:
    """Nobody walks bent over by 50 degrees: it is the clip that has slipped, and "Stop" is said as always."""
    straight, slipped = (
        list(walking(30.0, bouts=[(6.0, 30.0)], turns=False, clip=rotation(deg)).samples()) for deg in (0.0, slip_deg)
    )
    clip = [before if before.t_measured_s < 12.0 else after for before, after in zip(straight, slipped, strict=True)]
    assert raised_s(told(clip, wall(20.0), 26.0, 20.0), "warning") < 20.0 + (4.0 - 1.75) / 0.6


@pytest.mark.slow
def test_a_clip_that_has_slipped_costs_no_protected_speed() -> None:
    """The trunk is upright, whatever the clip says: the walker may soon go as fast as before."""
    straight, slipped = (
        list(walking(30.0, bouts=[(6.0, 30.0)], turns=False, clip=rotation(deg)).samples()) for deg in (0.0, 50.0)
    )
    clip = [before if before.t_measured_s < 12.0 else after for before, after in zip(straight, slipped, strict=True)]
    before, after = (told(c, wall(30.0), 30.0, 30.0).companion.snapshot() for c in (straight, clip))
    assert before.protected_speed_m_s == pytest.approx(0.58, abs=0.03)
    assert after.protected_speed_m_s == pytest.approx(before.protected_speed_m_s, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("rate_rad_s", [0.5, 1.9], ids=["slowly", "fast"])
def test_a_clip_that_hangs_in_a_turn_takes_no_warning_away(rate_rad_s: float) -> None:
    """Until it is named, a wall is warned of once, in time, and stays warned of."""
    clip = list(walking(20.0, bouts=[(6.0, 20.0)], turns=False).samples())
    at = next(i for i, sample in enumerate(clip) if sample.t_measured_s >= 10.6)
    hung = replace(clip[at], gyro_rad_s=(0.0, rate_rad_s, 0.0))
    clip[at:] = [replace(hung, t_received_s=s.t_received_s, t_measured_s=s.t_measured_s) for s in clip[at:]]
    found = told(clip, wall(9.0, 3.3), 13.0, 9.0)
    assert raised_s(found, "warning") < 9.0 + (3.3 - 1.7) / 0.6
    assert [event.t_s for event in found.events("hazard.cleared") if 11.0 < event.t_s < 13.0] == []


@pytest.mark.slow
def test_who_bends_down_hears_nothing_of_the_ground() -> None:
    """The beams of somebody who bends by 70 degrees meet the ground: it is no hazard, and no tick says it is clear."""
    t = np.arange(0.0, 40.0, 1.0 / 104.0)
    bent = 70.0 * np.clip((t - 10.0) / 0.8, 0.0, 1.0)
    still = np.zeros_like(t)
    body = motion(t, bent, still, still, np.zeros((len(t), 3)), noise=np.random.default_rng(3))

    def ground(t_s: float) -> float | None:
        return None if t_s < 10.5 else 0.9 + 0.02 * math.sin(t_s)

    found = told(list(body.samples()), ground, 40.0, 6.0)
    assert found.events("hazard.raised") == []
    assert [speak.t_s for speak in found.spoken() if speak.earcon == "tick" and speak.t_s > 11.0] == []
