"""Losing balance, through the whole Companion: on made-up motion and on recorded people."""

from __future__ import annotations

import numpy as np
import pytest
from tests.core.recorded import gait_walks, levelled, sisfall, sisfall_names
from tests.core.synth import (
    Motion,
    Street,
    fall,
    heartbeats,
    merged,
    ranges,
    settled,
    steady,
    walking,
)


def wear(body: Motion) -> Street:
    """A guarding device on this body (from 6 s on), nothing behind."""
    end = 6.0 + float(body.t_s[-1])
    life = merged(body.shifted(6.0).samples(), ranges(steady(6.0, end, None), latency_s=0.0), heartbeats(6.0, end))
    return Street(voice=True).run(settled()).run(life)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [60.0, pytest.param(300.0, marks=pytest.mark.slow)])
def test_walking_is_no_loss_of_balance(seconds):
    """Minutes of stepping, stopping and turning: balance is never called lost, nor steps unsteady."""
    street = wear(walking(seconds, seed=21, bias_deg_s=(0.0, 1.0, 0.0)))
    assert not street.events("balance.lost")
    assert {e.hazard for e in street.events("hazard.raised")} <= {"too_fast"}


def test_tipping_over_is_felt_before_the_ground():
    """A backward fall while walking: tone and buzzer begin before the body lands, and the fall's own alarm follows."""
    items = [*walking(9.0, bouts=[(1.0, 9.0)]).shifted(6.0).samples(), *fall(15.0)]
    street = Street(voice=True).run(settled())
    street.run(merged(items, ranges(steady(6.0, 20.0, None), latency_s=0.0), heartbeats(6.0, 20.0)))
    lost = street.first("balance.lost")
    assert 15.0 < lost.t_s < 15.6
    assert any(t.pattern == "balance" and t.buzzer and t.t_s == lost.t_s for t in street.touches())
    assert street.first("fall.suspected") is not None


# --------------------------------------------------------------------------------------------- recorded


@pytest.mark.slow
def test_recorded_walking_is_rarely_a_loss(recorded_data):
    """29 minutes of ten healthy people walking and turning: at most two false losses of balance."""
    lost: list[str] = []
    for walk in gait_walks(recorded_data):
        street = Street().run(settled()).run(walk.motion.shifted(6.0).samples())
        lost += [walk.name for _ in street.events("balance.lost")]
    print(f"\nfalse losses of balance: {lost}")
    assert len(lost) <= 2


@pytest.mark.slow
def test_recorded_backward_slips_are_seen_coming(recorded_data):
    """Two dozen backward slips while walking (SisFall F02): most are called before the shock."""
    falls, _ = sisfall_names(recorded_data)
    trials = sisfall(recorded_data, {name for name in falls if name.startswith("F02") and name[-2:] in ("01", "03")})
    leads = []
    for trial in trials:
        body = trial.motion
        accel, gyro = levelled(body.accel_m_s2[:104], body.accel_m_s2, body.gyro_rad_s)
        # From 4 s before the shock on: what came before is walking.
        rows = body.t_s > trial.impact_s - 4.0
        part = Motion(body.t_s[rows], accel[rows], gyro[rows], body.pitch_deg[rows], body.step_times_s)
        street = Street().run(settled()).run(part.shifted(6.0 - float(part.t_s[0])).samples())
        shock_s = 6.0 + trial.impact_s - float(part.t_s[0])
        leads += [shock_s - e.t_s for e in street.events("balance.lost") if 0.0 < shock_s - e.t_s < 1.5][:1]
    share = len(leads) / len(trials)
    print(f"\n{len(trials)} backward slips: {share:.2f} called before the shock, median {np.median(leads):.2f} s ahead")
    assert share >= 0.8
    assert np.median(leads) >= 0.15
