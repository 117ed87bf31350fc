"""Recorded people: read without NumPy, turned into body axes, and worn by the whole device."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

from retrowalk.config import Config, Imu
from retrowalk.core.samples import ImuSample
from retrowalk.courier import recording
from retrowalk.errors import RecordingError
from retrowalk.sim import recorded
from retrowalk.sim.demo import run_recorded
from retrowalk.sim.recorded import Playback, Trial, read, trial_ids
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank as banks

G = 9.80665
HZ = 200.0
ACC_SCALE, GYR_SCALE = 32 / 8192 * G, math.radians(4000 / 65536)
UPRIGHT = (0.0, -G, 0.0)
ON_THE_BACK = (0.0, 0.0, G)
"""What a sensor at the belt buckle reads: x to the right, y down, z forward."""
CHIPS = get_args(get_type_hints(Imu)["chip"])


def still(accel: tuple[float, float, float], seconds: float) -> Any:
    """Rows of acceleration and rate of somebody who does not move."""
    return np.tile((*accel, 0.0, 0.0, 0.0), (round(seconds * HZ), 1))


def write_list(folder: Path, rows: list[dict[str, Any]]) -> None:
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def sisfall(folder: Path, trials: dict[str, Any], falls: tuple[str, ...] = ()) -> Path:
    """A subject's file as SisFall has it, of rows (m/s2, rad/s) by trial, and the list beside it."""
    rows = np.concatenate(list(trials.values()))
    acc = np.clip(np.round(rows[:, :3].T / ACC_SCALE), -32768, 32767).astype(np.int16)
    gyr = np.clip(np.round(rows[:, 3:].T / GYR_SCALE), -32768, 32767).astype(np.int16)
    start = np.cumsum([0, *map(len, trials.values())])
    activity = np.array(["D01"] * len(trials))
    np.savez_compressed(
        folder / "SA01.npz",
        acc_i16=acc,
        gyr_i16=gyr,
        acc_scale=ACC_SCALE,
        gyr_scale=GYR_SCALE,
        fs_hz=HZ,
        trial_start=start,
        activity=activity,
    )
    listed = [
        {"trial_id": name, "activity": "Standing", "is_fall": int(name in falls), "file": "SA01.npz", "trial_index": i}
        for i, name in enumerate(trials)
    ]
    write_list(folder, [*listed, {**listed[0], "trial_id": "D01_SA03_R01", "file": "SA03.npz"}])
    return folder / "SA01.npz"


# ------------------------------------------------------------------------------------------------------- axes


@pytest.mark.parametrize(
    ("buckle", "body"),
    [
        pytest.param((*UPRIGHT, 0, 0, 0), (0, 0, G, 0, 0, 0), id="standing"),
        pytest.param((*ON_THE_BACK, 0, 0, 0), (G, 0, 0, 0, 0, 0), id="on the back"),
        pytest.param((G, 0, 0, 0, 0, 0), (0, -G, 0, 0, 0, 0), id="on the left side"),
        pytest.param((*UPRIGHT, -1, 0, 0), (0, 0, G, 0, 1, 0), id="bending forward"),
        pytest.param((*UPRIGHT, 0, -1, 0), (0, 0, G, 0, 0, 1), id="turning to the left"),
        pytest.param((*UPRIGHT, 0, 0, 1), (0, 0, G, 1, 0, 0), id="leaning to the right"),
    ],
)
def test_the_buckle_becomes_forward_left_up(tmp_path, buckle, body):
    """What the belt buckle felt is what a clip on the back feels, in body axes"""
    trial = read(sisfall(tmp_path, {"D01_SA01_R01": np.tile(buckle, (400, 1))}), "D01_SA01_R01")
    assert trial.felt[200] == pytest.approx(body, abs=0.03)
    assert trial.duration_s == pytest.approx(399 / HZ)
    assert not trial.is_fall


def test_each_trial_of_a_file_is_its_own(tmp_path):
    """A trial begins where the one before it ends, and has its own label"""
    file = sisfall(tmp_path, {"A": still(UPRIGHT, 1.0), "B": still(ON_THE_BACK, 2.0)}, falls=("B",))
    assert trial_ids(file) == ["A", "B"]
    a, b = read(file, "A"), read(file, "B")
    assert (len(a.felt), len(b.felt)) == (200, 400)
    assert (a.is_fall, b.is_fall) == (False, True)
    assert b.felt[0][0] == pytest.approx(G, abs=0.03)


def tilted_gait(folder: Path) -> Path:
    """gait_l5: the box hangs tilted, x roughly up."""
    acc = np.tile(np.array([[8.0], [0.0], [5.6719]]), (1, 300))
    np.savez(
        folder / "gait_l5.npz",
        P01_T01_acc_i16=np.round(acc / 0.004).astype(np.int16),
        P01_T01_gyr_i16=np.zeros((3, 300), np.int16),
        acc_scale=0.004,
        gyr_scale=0.001,
    )
    write_list(folder, [{"trial_id": "P01_T01", "activity": "Walk", "fs_hz": 100, "file": "gait_l5.npz"}])
    return folder / "gait_l5.npz"


def uneven_umafall(folder: Path) -> Path:
    """umafall_waist: an axis of its own, sampled unevenly at about 20 Hz."""
    times = np.cumsum(np.random.default_rng(1).uniform(0.03, 0.07, 100)).astype(np.float32)
    acc = np.tile(np.array([0.0, G, 0.0], np.float32), (100, 1))
    arrays: dict[str, Any] = {
        "U01_Walk_1_t": times,
        "U01_Walk_1_acc": acc,
        "U01_Walk_1_gyr": np.zeros((100, 3), np.float32),
    }
    np.savez(folder / "umafall_waist.npz", **arrays)
    write_list(folder, [{"trial_id": "U01_Walk_1", "activity": "Walk", "file": "umafall_waist.npz"}])
    return folder / "umafall_waist.npz"


def mocap(folder: Path) -> Path:
    """backward_mocap: body axes already; the list has no file names."""
    acc = np.tile(np.array([0.0, 0.0, G], np.float32), (300, 1))
    arrays: dict[str, Any] = {"back_001__acc_back": acc, "back_001__gyr": np.zeros((300, 3), np.float32)}
    np.savez(folder / "backward_mocap.npz", **arrays, fs_hz=100.0)
    write_list(folder, [{"trial": "back_001", "direction": "backward"}])
    return folder / "backward_mocap.npz"


@pytest.mark.parametrize("make", [tilted_gait, uneven_umafall, mocap], ids=lambda make: make.__name__)
def test_other_sets_stand_upright_too(tmp_path, make):
    """Whatever axes and times a set has, who stands feels gravity upward, 100 times a second"""
    file = make(tmp_path)
    (name,) = trial_ids(file)
    trial = read(file, name)
    assert trial.rate_hz == 100.0
    assert trial.felt[0] == pytest.approx((0, 0, G, 0, 0, 0), abs=0.02)
    assert trial.felt[-1] == pytest.approx(trial.felt[0], abs=0.02)


# ------------------------------------------------------------------------------------------------------- time


def test_first_posture_trial_last_posture():
    """The mean of the first second stands for 3 s, the trial follows in its own time, the last second's mean stays"""
    ramp = tuple((0.01 * i, 0.0, G, 0.0, 0.0, 0.0) for i in range(401))
    play = Playback(Trial("ramp", "", False, HZ, ramp))
    assert (play.begins_s, play.ends_s) == (3.0, 5.0)
    assert play(0.0)[0] == play(2.999)[0] == pytest.approx(0.01 * 99.5)
    assert play(3.0)[0] == pytest.approx(0.0)
    assert play(4.0025)[0] == pytest.approx(2.005)
    assert play(5.1)[0] == play(500.0)[0] == pytest.approx(0.01 * 300.5)


@pytest.mark.parametrize(
    ("rate", "held"), [pytest.param(0.05, 0.05, id="offset of the sensor"), pytest.param(0.5, 0.0, id="turning")]
)
def test_a_posture_does_not_turn(rate, held):
    """A gyroscope's own offset goes on, so that nothing changes; a turn does not"""
    play = Playback(Trial("turn", "", False, HZ, ((0.0, 0.0, G, 0.0, rate, 0.0),) * 400))
    assert play(0.0)[4] == pytest.approx(held)
    assert play(100.0)[4] == pytest.approx(held)


@pytest.mark.parametrize(
    ("hz", "least", "most"),
    [
        pytest.param(2.0, 0.99, 1.01, id="steps"),
        pytest.param(20.0, 0.95, 1.05, id="heel strikes"),
        pytest.param(90.0, 0.0, 0.05, id="what would come back as 14 Hz"),
    ],
)
def test_what_a_chip_filters_is_gone(tmp_path, hz, least, most):
    """Movement stays as it is; what a sample rate of 104 Hz cannot hold is taken away first"""
    rows = still(UPRIGHT, 4.0)
    rows[:, 2] = 5.0 * np.sin(2 * np.pi * hz * np.arange(len(rows)) / HZ + 0.3)
    trial = read(sisfall(tmp_path, {"A": rows}), "A")
    size = math.sqrt(2.0) * float(np.std([row[0] for row in trial.felt[100:700]])) / 5.0
    assert least <= size <= most


# ----------------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<i2", ">i2", "<i4", "<f4", ">f8"])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, kind, order):
    """Any byte order, number type and memory order gives the same trial"""
    file = sisfall(tmp_path, {"A": still(UPRIGHT, 1.0), "B": still(ON_THE_BACK, 1.0)})
    with np.load(file) as npz:
        arrays = dict(npz)
    arrays["acc_i16"] = np.asarray(arrays["acc_i16"].astype(kind), order=order)
    plain = read(file, "B")
    np.savez(file, **arrays)
    assert read(file, "B") == plain


@pytest.mark.slow
def test_numpy_is_not_needed(tmp_path):
    """A device has no NumPy: a trial is read without it"""
    file = sisfall(tmp_path, {"A": still(UPRIGHT, 1.0)})
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from pathlib import Path; from retrowalk.sim.recorded import read\n"
        "print(len(read(Path(sys.argv[1]), 'A').felt))"
    )
    done = subprocess.run([sys.executable, "-c", code, file], capture_output=True, text=True, check=True)
    assert done.stdout == "200\n"


# ----------------------------------------------------------------------------------------------------- errors


def without(name: str) -> Any:
    def spoil(file: Path) -> None:
        with np.load(file) as npz:
            arrays = {key: npz[key] for key in npz if key != name}
        np.savez(file, **arrays)

    return spoil


def replaced(name: str, data: bytes) -> Any:
    def spoil(file: Path) -> None:
        with zipfile.ZipFile(file) as old:
            kept = {member: old.read(member) for member in old.namelist()}
        with zipfile.ZipFile(file, "w") as new:
            for member, content in {**kept, f"{name}.npy": data}.items():
                new.writestr(member, content)

    return spoil


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def no_list(file: Path) -> None:
    file.with_name("trials.csv").unlink()


def other_list(file: Path) -> None:
    file.with_name("trials.csv").write_text("name,value\na,1\n")


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:500])


def bit_flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[90] ^= 0xFF  # within the first array, acc_i16
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "trial", "words"),
    [
        pytest.param(None, "D01_SA01_R2", "no trial D01_SA01_R2; near it: D01_SA01_R0", id="misspelt trial"),
        pytest.param(None, "D01_SA03_R01", "is in SA03.npz, not in this file", id="trial of another file"),
        pytest.param(no_list, "D01_SA01_R01", "trials.csv: is not there; the list of trials must", id="no list"),
        pytest.param(other_list, "D01_SA01_R01", "no column trial_id", id="another list"),
        pytest.param(cut_short, "D01_SA01_R01", "is not an .npz file; files of SisFall", id="cut short"),
        pytest.param(bit_flipped, "D01_SA01_R01", "acc_i16 cannot be unpacked", id="damaged"),
        pytest.param(without("trial_start"), "D01_SA01_R01", "holds nothing called D01_SA01_R01", id="foreign"),
        pytest.param(without("gyr_i16"), "D01_SA01_R01", "gyr_i16 is not there", id="no rotation"),
        pytest.param(
            replaced("gyr_i16", npy(np.zeros((3, 5), np.int16))), "D01_SA01_R01", "gyr_i16 holds 5 samples", id="short"
        ),
        pytest.param(
            replaced("acc_i16", npy(np.zeros((4, 900), np.int16))), "D01_SA01_R01", "not three channels", id="four axes"
        ),
        pytest.param(replaced("acc_scale", npy(np.array([1, 2]))), "D01_SA01_R01", "is not one number", id="scales"),
        pytest.param(replaced("acc_scale", npy(np.array(math.nan))), "D01_SA01_R01", "no numbers", id="not a number"),
        pytest.param(replaced("fs_hz", npy(np.array(0.0))), "D01_SA01_R01", "is no trial", id="no rate"),
        pytest.param(replaced("fs_hz", npy(np.array("fast"))), "D01_SA01_R01", "not an array of numbers", id="text"),
        pytest.param(replaced("fs_hz", b"\x93NUMPY\x01\x00"), "D01_SA01_R01", "fs_hz is not an array", id="no header"),
        pytest.param(
            replaced("fs_hz", npy(np.array(200.0))[:-3]), "D01_SA01_R01", "fs_hz is cut short", id="array cut short"
        ),
        pytest.param(
            replaced("fs_hz", b"\x93NUMPY\x01\x00\x08\x00[[[[[[[["), "D01_SA01_R01", "array of numbers", id="garbage"
        ),
        pytest.param(
            replaced("trial_start", npy(np.array([0, 5]))), "D01_SA01_R02", "the file holds 1 trials", id="index"
        ),
    ],
)
def test_what_cannot_be_played_is_named(tmp_path, spoil, trial, words):
    """The file, what is wrong with it, and what would do"""
    file = sisfall(tmp_path, {"D01_SA01_R01": still(UPRIGHT, 1.0), "D01_SA01_R02": still(UPRIGHT, 1.0)})
    if spoil is not None:
        spoil(file)
    with pytest.raises(RecordingError) as raised:
        read(file, trial)
    assert words in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_the_wrist_is_refused(tmp_path):
    """A set worn at the wrist says nothing of the trunk"""
    np.savez(tmp_path / "weda_fall.npz", D01_U01_R01_t_acc=np.zeros(3))
    write_list(tmp_path, [{"trial_id": "D01_U01_R01", "file": "weda_fall.npz"}])
    with pytest.raises(RecordingError, match="was worn at the wrist"):
        read(tmp_path / "weda_fall.npz", "D01_U01_R01")


# ------------------------------------------------------------------------------------------------- the device


@pytest.fixture(scope="session")
def phrases() -> banks.Bank:
    """The rendered phrases (script/setup has rendered them; else they are now)."""
    return banks.build(Config(), banks.default_directory())


def fall() -> Any:
    """Standing, a shock of 6 g, lying on the back."""
    return np.concatenate([still(UPRIGHT, 3.0), 6.0 * still(UPRIGHT, 0.1), still(ON_THE_BACK, 4.0)])


@pytest.mark.slow
@pytest.mark.parametrize("chip", CHIPS)
def test_the_clip_is_worn_by_the_recorded_person(tmp_path, phrases, chip):
    """Through any chip: upright while the first posture stands, the shock cut off at the chip's range, then lying"""
    rows = np.concatenate([still(UPRIGHT, 2.0), 40.0 * still(UPRIGHT, 0.1), still(ON_THE_BACK, 2.0)])
    trial = Trial(
        "made", "", True, HZ, tuple((z, -x, -y, wz, -wx, -wy) for x, y, z, wx, wy, wz in rows.astype(float).tolist())
    )
    scenario = recorded.scenario(trial, 30.0)
    walk = VirtualWalk(Config(imu=Imu(chip=chip)), scenario, 1, phrases)
    try:
        walk.run_until(8.0)
        walk.finish()
        entries = recording.read(walk.recordings()[-1]).entries
    finally:
        walk.close()
    samples = [entry.value for entry in entries if isinstance(entry.value, ImuSample)]
    standing = np.mean([s.accel_m_s2 for s in samples if 1.0 < s.t_measured_s < 4.9], axis=0)
    lying = np.mean([s.accel_m_s2 for s in samples if 5.5 < s.t_measured_s < 8.0], axis=0)
    assert standing == pytest.approx((0, 0, G), abs=0.1)
    assert lying == pytest.approx((G, 0, 0), abs=0.1)
    assert max(s.accel_m_s2[2] for s in samples) == pytest.approx(16.0 * G, rel=0.01)
    shock_s = [s.t_measured_s for s in samples if s.accel_m_s2[2] > 100.0]
    assert (min(shock_s), max(shock_s)) == pytest.approx((5.0, 5.1), abs=0.03)


@pytest.mark.parametrize(
    ("rows", "labelled", "met"),
    [
        pytest.param(fall(), True, True, id="fall, told", marks=pytest.mark.slow),
        pytest.param(still(UPRIGHT, 5.0), False, True, id="standing, left alone", marks=pytest.mark.slow),
        pytest.param(still(UPRIGHT, 5.0), True, False, id="fall, missed", marks=pytest.mark.slow),
        pytest.param(fall(), False, False, id="false alarm", marks=pytest.mark.slow),
    ],
)
def test_the_label_is_the_verdict(tmp_path, phrases, rows, labelled, met):
    """A fall must reach the caregiver, and nothing else may; the walk waits until the countdown is over"""
    file = sisfall(tmp_path, {"A": rows}, falls=("A",) if labelled else ())
    outcome = run_recorded(1, tmp_path / "out", file, "A")
    assert outcome.ok is met
    confirmed = len(rows) > 1000  # the rows of the fall
    assert ("fall.confirmed" in {message.topic for message in outcome.published}) is confirmed
    assert ("Calling for help." in {said.words for said in outcome.heard}) is confirmed
    assert (outcome.summary["fall confirmed"] != "no") is confirmed
    assert {p.name for p in outcome.out.iterdir()} == {"walk.wav", "walk.mcap", "events.jsonl", "transcript.txt"}


@pytest.mark.slow
def test_one_seed_gives_one_result(tmp_path, phrases):
    """Two runs of a trial with one seed leave the same events and samples; another seed draws other noise"""
    file = sisfall(tmp_path, {"A": fall()}, falls=("A",))
    events, samples = [], []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_recorded(seed, tmp_path / name, file, "A")
        events.append((tmp_path / name / "events.jsonl").read_bytes())
        entries = recording.read(tmp_path / name / "walk.mcap").entries
        samples.append([entry.value for entry in entries if isinstance(entry.value, ImuSample)])
    assert events[0] == events[1]
    assert samples[0] == samples[1] != samples[2]


# --------------------------------------------------------------------------------------------- recorded people


@pytest.mark.parametrize(
    "trial",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("F02_SA01_R01", "F09_SA19_R02", "D04_SA05_R01")),
        *(pytest.param(name, marks=pytest.mark.repeats) for name in ("F05_SA11_R01", "D01_SA01_R01")),
    ],
)
def test_real_people(recorded_data, phrases, tmp_path, trial):
    """A backward slip, a trip while jogging, a fall from a chair are told; walking and jogging are not"""
    outcome = run_recorded(1, tmp_path, recorded_data / "sisfall" / f"{trial[4:8]}.npz", trial)
    assert outcome.ok, outcome.expectations
    kinds = [json.loads(line)["type"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert ("fall.suspected" in kinds) is (trial[0] == "F")


@pytest.mark.slow
def test_steps_of_a_real_walk(recorded_data, phrases, tmp_path):
    """Ten metres, a turn and ten metres: 39 labelled steps, counted to within three through the whole device"""
    outcome = run_recorded(1, tmp_path, recorded_data / "gait_l5" / "gait_l5.npz", "P13_T01")
    assert outcome.ok
    assert outcome.summary["steps counted"] == pytest.approx(39, abs=3)
