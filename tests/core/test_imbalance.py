"""Balance that is going: who can lose it, how often it is told, which way it goes, and when it was a stumble."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.core.recorded import Recorded, gait_walks, sisfall, sisfall_names
from tests.core.synth import IMU_HZ, Array, G, Motion, motion, rotation, standing, walking

from retrowalk import models
from retrowalk.core import imbalance
from retrowalk.core.gait import Gait
from retrowalk.core.imbalance import Imbalance, Lost, Recovered, Toward
from retrowalk.core.posture import Posture, Vector
from retrowalk.core.samples import ImuSample
from retrowalk.models import Feature, Logistic

FOLDS = Path(__file__).parents[2] / "benchmarks" / "folds" / "balance_lost.json"
UP = (0.0, 0.0, 1.0)


def deciding(intercept: float, **weights: float) -> Logistic:
    """A model that decides above 0 by these features only: what is told is then not a matter of what was learned."""
    return Logistic(
        what="a test",
        trained_on="nobody",
        command="none",
        seed=1,
        threshold=0.5,
        intercept=intercept,
        features=tuple(
            Feature(name=name, unit=unit, meaning=text, mean=0.0, scale=1.0, weight=weights.get(name, 0.0))
            for name, (unit, text) in imbalance.MEANINGS.items()
        ),
    )


ALWAYS = deciding(10.0)


class Wearer:
    """Posture, gait and balance of somebody, fed as the core does."""

    def __init__(self, model: Logistic | None = None, *, upright: tuple[float, float, float] | None = UP) -> None:
        self.posture = Posture()
        if upright is not None:
            self.posture.set_upright(upright)
        self.gait = Gait()
        self.imbalance = Imbalance(model)
        self.told: list[tuple[float, Lost | Recovered]] = []

    def feed(self, samples: Iterable[ImuSample]) -> Wearer:
        """What is told stands in `told`, with its time."""
        for sample in samples:
            t, accel, gyro = sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s
            self.posture.update(t, accel, gyro, sample.gap)
            up = self.posture.up
            if up is None:
                continue
            vertical = accel[0] * up[0] + accel[1] * up[1] + accel[2] * up[2] - G
            self.gait.update(t, vertical, gyro[0])
            news = self.imbalance.update(t, accel, gyro, self.posture, self.gait)
            if news is not None:
                self.told.append((t, news))
        return self

    @property
    def lost_s(self) -> list[float]:
        """When balance was lost."""
        return [t for t, news in self.told if isinstance(news, Lost)]

    @property
    def recovered(self) -> list[tuple[float, Recovered]]:
        """When it was a stumble."""
        return [(t, news) for t, news in self.told if isinstance(news, Recovered)]


def tipping(
    toward: str, *, from_s: float = 12.0, contact_s: float = 0.7, turn_deg: float = 70.0, hz: float = IMU_HZ
) -> Motion:
    """Walks, then tips over in `contact_s` as a rod does, the ground giving way; cut at the ground."""
    walk = walking(from_s, bouts=[(3.0, from_s + 5.0)], turns=False, hz=hz)
    t = np.arange(0.0, contact_s, 1.0 / hz)
    part = (t / contact_s) ** 2
    angle = turn_deg * part
    flat = np.zeros_like(t)
    pitch = {"backward": -angle, "forward": angle}.get(toward, flat)
    roll = angle if toward == "side" else flat
    world = np.stack([flat, flat, -6.0 * part], axis=1)
    down = motion(t + from_s, pitch, roll, flat, world, noise=np.random.default_rng(1))
    return Motion(
        np.concatenate([walk.t_s, down.t_s]),
        np.concatenate([walk.accel_m_s2, down.accel_m_s2]),
        np.concatenate([walk.gyro_rad_s, down.gyro_rad_s]),
        np.concatenate([walk.pitch_deg, down.pitch_deg]),
        walk.step_times_s,
    )


def vector(v: Array) -> Vector:
    """Three plain floats."""
    return float(v[0]), float(v[1]), float(v[2])


def turned(samples: Iterable[ImuSample], clip: Array) -> Iterable[ImuSample]:
    """The same, felt by a clip that is worn askew."""
    for s in samples:
        yield replace(
            s, accel_m_s2=vector(clip @ np.array(s.accel_m_s2)), gyro_rad_s=vector(clip @ np.array(s.gyro_rad_s))
        )


# ---------------------------------------------------------------------------------------- who can lose balance


def test_who_has_not_walked_loses_no_balance():
    """Nothing is told of somebody who stands, whatever the weights say."""
    assert not Wearer(ALWAYS).feed(standing(10.0).samples()).told


def test_it_is_open_for_three_seconds_after_the_last_step():
    """Who sits down a while after walking moves as one who falls does."""
    wearer = Wearer(ALWAYS).feed(walking(25.0, bouts=[(3.0, 12.0)], turns=False).samples())
    assert wearer.lost_s[0] > 4.0
    assert wearer.lost_s[-1] < wearer.gait.last_step_s + imbalance.WALKED_S + 0.02


def test_balance_that_goes_on_being_lost_is_told_again_but_not_at_once():
    """Between two tellings lies most of a second."""
    lost_s = Wearer(ALWAYS).feed(walking(15.0, bouts=[(3.0, 15.0)]).samples()).lost_s
    gaps = np.diff(lost_s)
    assert len(gaps) > 5
    assert imbalance.AGAIN_S < gaps.min() <= gaps.max() < imbalance.AGAIN_S + 0.03


def test_it_is_looked_at_every_twentieth_of_a_second_and_faster():
    """From one set of features to the next pass two samples"""
    wearer = Wearer()
    signals = imbalance.Signals()
    at_s = []
    for sample in walking(4.0).samples():
        wearer.feed([sample])
        if signals.update(sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s, wearer.posture, wearer.gait):
            at_s.append(sample.t_measured_s)
    assert max(np.diff(at_s)) < 0.0201


@pytest.mark.parametrize("gap_s", [0.15, 2.0])
def test_after_a_gap_nothing_is_told_until_it_is_known_again_what_is_usual(gap_s):
    """The stride before is not there to compare with"""
    walk = list(walking(20.0, bouts=[(3.0, 20.0)]).samples())
    at = int(12.0 * IMU_HZ)
    wearer = Wearer(ALWAYS).feed(walk[:at])
    before = len(wearer.told)
    rest = [replace(s, t_received_s=s.t_received_s + gap_s, t_measured_s=s.t_measured_s + gap_s) for s in walk[at:]]
    wearer.feed(rest)
    assert rest[0].t_measured_s + imbalance.WARM_S - 0.02 < wearer.told[before][0] < rest[0].t_measured_s + 4.0


def test_a_clip_that_says_the_same_over_and_over_is_not_believed():
    """One that hangs in the midst of a movement would turn and turn"""
    walk = list(walking(12.0, bouts=[(3.0, 12.0)]).samples())
    wearer = Wearer(ALWAYS).feed(walk)
    last = walk[-1]
    for i in range(1, 250):
        t = last.t_measured_s + i / IMU_HZ
        wearer.feed([ImuSample(t, t, last.accel_m_s2, last.gyro_rad_s)])
    assert wearer.lost_s[-1] < last.t_measured_s + 0.1


def test_who_lies_has_no_balance_to_lose():
    """A body that is already down is the fall detector's matter"""
    wearer = Wearer(ALWAYS).feed(tipping("backward", turn_deg=90.0, contact_s=0.5).samples())
    assert wearer.told
    t0 = 12.5
    lying = [ImuSample(t0 + i / IMU_HZ, t0 + i / IMU_HZ, (G, 0.0, 0.01 * (i % 3)), (0.0, 0.0, 0.0)) for i in range(200)]
    assert wearer.feed(lying).lost_s[-1] < t0 + 0.1


# -------------------------------------------------------------------------------------------- what is learned


def test_weights_for_other_features_are_refused():
    """A file that was learned from other numbers would decide anything"""
    other = msgspec.structs.replace(ALWAYS, features=ALWAYS.features[1:])
    with pytest.raises(ValueError, match="other features"):
        Imbalance(other)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_steady_walk_is_no_loss(seed):
    """Steps, turns, starts and stops of somebody who is well"""
    assert not Wearer().feed(walking(45.0, seed=seed).samples()).told


@pytest.mark.parametrize("toward", list(Toward))
def test_tipping_over_is_told_before_contact_and_which_way(toward):
    """Like a rod that falls in 0.7 s"""
    ((first_s, lost), *_) = Wearer().feed(tipping(toward).samples()).told
    assert 12.0 < first_s < 12.6
    assert isinstance(lost, Lost)
    assert lost.direction is toward
    assert 0.9 < lost.chance <= 1.0


@pytest.mark.parametrize(
    ("pitch_deg", "roll_deg", "yaw_deg"),
    [
        pytest.param(20.0, 0.0, 0.0, id="pitched"),
        pytest.param(0.0, -20.0, 0.0, id="rolled"),
        pytest.param(0.0, 0.0, 25.0, id="yawed"),
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["upright known", "upright unknown"])
def test_a_clip_worn_askew_tells_as_well(pitch_deg, roll_deg, yaw_deg, known):
    """Before the wearer's own upright is known, and after"""
    clip = rotation(pitch_deg, roll_deg, yaw_deg).T
    wearer = Wearer(upright=vector(clip @ np.array(UP)) if known else None)
    wearer.feed(turned(tipping("backward").samples(), clip))
    assert wearer.lost_s
    assert 12.0 < wearer.lost_s[0] < 12.65


@pytest.mark.parametrize("hz", [96.0, 112.0])
def test_a_clip_that_samples_slower_or_faster_tells_as_well(hz):
    """Chips differ by some per cent"""
    lost_s = Wearer().feed(tipping("backward", hz=hz).samples()).lost_s
    assert lost_s
    assert 12.0 < lost_s[0] < 12.6


def test_no_movement_makes_a_feature_that_is_no_number():
    """Shocks at the end of the range, free fall, a clip that is thrown"""
    rng = np.random.default_rng(1)
    wearer, signals = Wearer(), imbalance.Signals()
    for i in range(1500):
        t = i / IMU_HZ
        size = 160.0 if i // 200 % 2 else 0.0
        accel, gyro = (vector(rng.uniform(-1.0, 1.0, 3) * k) for k in (size, 35.0))
        wearer.feed([ImuSample(t, t, accel, gyro)])
        values = signals.update(t, accel, gyro, wearer.posture, wearer.gait)
        assert values is None or all(map(math.isfinite, values))


# ---------------------------------------------------------------------------------------------------- stumbles


def stumbling(rest: Sequence[ImuSample] | None = None) -> list[ImuSample]:
    """Walks for 12 s, is thrown forward by 25 degrees and comes back within half a second."""
    walk = list(walking(25.0, bouts=[(3.0, 25.0)], turns=False).samples())
    t = np.arange(0.0, 0.5, 1.0 / IMU_HZ)
    flat = np.zeros_like(t)
    pitch = 25.0 * np.sin(np.pi * t / 0.5)
    thrown = motion(t + 12.0, pitch, flat, flat, np.stack([flat, flat, flat], axis=1)).samples()
    later = [s for s in walk if s.t_measured_s > 12.5] if rest is None else rest
    return [*(s for s in walk if s.t_measured_s < 12.0), *thrown, *later]


LEANT = deciding(-15.0, pitch=1.0)
"""Balance is lost beyond 15 degrees forward of the wearer's own mean."""


def test_a_stumble_is_told_two_seconds_after_it():
    """Words while somebody catches themselves would make it worse"""
    wearer = Wearer(LEANT).feed(stumbling())
    assert len(wearer.lost_s) == 1
    ((at_s, recovered),) = wearer.recovered
    assert recovered.lost_s == wearer.lost_s[0]
    assert 12.5 + imbalance.RECOVERED_S - 0.2 < at_s < 16.0


def test_a_suspected_fall_is_never_a_stumble_too():
    """Whichever comes first"""
    samples = stumbling()
    wearer = Wearer(LEANT).feed(s for s in samples if s.t_measured_s < 13.0)
    assert wearer.lost_s
    wearer.imbalance.fallen()
    assert not wearer.feed(s for s in samples if s.t_measured_s >= 13.0).recovered


def test_who_stays_on_the_ground_has_not_stumbled():
    """Lying is not standing"""
    times = (12.5 + i / IMU_HZ for i in range(2000))
    lying = [ImuSample(t, t, (-G, 0.0, 0.001 * (i % 2)), (0.0, 0.0, 0.0)) for i, t in enumerate(times)]
    wearer = Wearer(LEANT).feed([*tipping("forward", turn_deg=90.0, contact_s=0.5).samples(), *lying])
    assert wearer.lost_s
    assert not wearer.recovered


def test_who_sits_on_the_ground_after_a_shock_has_not_stumbled():
    """A fall that ends sitting, the trunk upright: without steps nobody says that all is well"""
    shock = [ImuSample(12.5 + i / IMU_HZ, 12.5 + i / IMU_HZ, (0.0, 0.0, 4.0 * G), (0.0, 0.0, 0.0)) for i in range(4)]
    rng = np.random.default_rng(1)
    sitting = [
        ImuSample(12.55 + i / IMU_HZ, 12.55 + i / IMU_HZ, (0.0, 0.0, G), vector(rng.normal(0.0, 0.01, 3)))
        for i in range(1800)
    ]
    wearer = Wearer(LEANT).feed(stumbling([*shock, *sitting]))
    assert wearer.lost_s
    assert not wearer.recovered


# ---------------------------------------------------------------------------------------------------- recorded


def unseen(trial: Recorded) -> Logistic:
    """Weights that were learned without this person."""
    subject = trial.name.split("_")[1]
    for fold in json.loads(FOLDS.read_text()):
        if subject in fold["subjects"]:
            return models.decoded(json.dumps(fold["model"]).encode())
    return models.shipped("balance_lost")


def standing_first(trial: Recorded) -> list[ImuSample]:
    """The first posture for three seconds, then the trial; times as received."""
    samples = list(trial.motion.samples())
    first = [
        replace(samples[i % 50], t_received_s=i / IMU_HZ - 3.0, t_measured_s=i / IMU_HZ - 3.0)
        for i in range(round(3.0 * IMU_HZ))
    ]
    return [*first, *samples]


@pytest.mark.slow
def test_recorded_falls_are_foreseen(recorded_data):
    """Of people who fall backward and forward in walking, by weights that have not seen them: most before the shock"""
    falls, _ = sisfall_names(recorded_data)
    names = {name for name in falls if name[:3] in ("F01", "F02") and name.endswith("R01")}
    foreseen = stumbles = 0
    trials = sisfall(recorded_data, names)
    for trial in trials:
        wearer = Wearer(unseen(trial)).feed(s for s in standing_first(trial) if s.t_measured_s < trial.impact_s + 6.0)
        foreseen += any(0.0 < trial.impact_s - at_s < 1.4 for at_s in wearer.lost_s)
        stumbles += any(at_s > trial.impact_s for at_s, _ in wearer.recovered)
    assert len(trials) >= 10
    assert foreseen >= 0.9 * len(trials)
    assert stumbles <= 0.1 * len(trials)  # the fall detector ends the rest: see `Imbalance.fallen`


@pytest.mark.slow
def test_recorded_walks_are_no_loss(recorded_data):
    """Ten people, sixty walks with turns, by weights that have not seen them"""
    lost = 0
    walks = gait_walks(recorded_data)
    groups = json.loads(FOLDS.read_text())
    rows = {row.split(",")[0]: row.split(",")[1] for row in _rows(recorded_data)}
    for walk in walks:
        fold = next((f for f in groups if f"gait_l5/{rows[walk.name]}" in f["subjects"]), None)
        model = models.decoded(json.dumps(fold["model"]).encode()) if fold else models.shipped("balance_lost")
        lost += len(Wearer(model).feed(walk.motion.samples()).lost_s)
    assert len(walks) >= 10
    assert lost <= 1


def _rows(data: Path) -> list[str]:
    return (data / "gait_l5" / "trials.csv").read_text(encoding="utf-8").splitlines()


@pytest.mark.slow
def test_recorded_stumbles_are_told_after_recovery(recorded_data):
    """Who stumbles and walks on hears of it then, and whose balance was not told hears nothing"""
    _, life = sisfall_names(recorded_data)
    names = {name for name in life if name.startswith("D18") and name.endswith(("R01", "R02"))}
    lost = recovered = 0
    for trial in sisfall(recorded_data, names):
        wearer = Wearer(unseen(trial)).feed(standing_first(trial))
        lost += bool(wearer.lost_s)
        recovered += bool(wearer.recovered)
        assert len(wearer.recovered) <= len(wearer.lost_s)
        assert all(at_s - told.lost_s > imbalance.RECOVERED_S for at_s, told in wearer.recovered)
    assert recovered >= 0.5 * lost > 0
