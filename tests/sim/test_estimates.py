"""The numbers of the simulated world: a file of measured ones replaces them, and none hides where no file reaches."""

from __future__ import annotations

import ast
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from tests.sim.helpers import Rig

from retrowalk.errors import ConfigError
from retrowalk.sim import estimates
from retrowalk.sim.estimates import ESTIMATED, Estimates, each, read
from retrowalk.sim.noise import EchoModel, Scene, Target
from retrowalk.sim.world import Walk, World

SIM = Path(__file__).resolve().parent.parent.parent / "src" / "retrowalk" / "sim"

MEASURED = """
[echo]
wall_margin_db = 31.5
false_near_m = [0.3, 2.5]
[echo.target_loss_db]
rod_25mm = 27.0
[sealed_echo]
half_beam_deg = 22.0
[module]
no_target_s = "none"
[light.ground_reflectance]
grass = 0.55
[body]
sway = 1.8
[imu]
accel_noise_m_s2 = 0.02

[[measured]]
parameter = "echo.wall_margin_db"
value = 31.5
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "world.toml"
    file.write_text(text)
    return file


def test_file_replaces_what_it_names_and_nothing_else(tmp_path):
    """A number of the file takes the place of its estimate; every other one stays"""
    before, after = dict(each(ESTIMATED)), dict(each(read(written(tmp_path, MEASURED))))
    assert {name: value for name, value in after.items() if value != before[name]} == {
        "echo.wall_margin_db": 31.5,
        "echo.false_near_m": (0.3, 2.5),
        "echo.target_loss_db.rod_25mm": 27.0,
        "sealed_echo.half_beam_deg": 22.0,
        "module.no_target_s": "none",
        "light.ground_reflectance.grass": 0.55,
        "body.sway": 1.8,
        "imu.accel_noise_m_s2": 0.02,
    }
    assert after.keys() == before.keys()


def test_every_number_can_be_replaced():
    """Written out whole and read again, the estimates are themselves"""
    assert estimates.from_table(asdict(ESTIMATED), "all") == ESTIMATED


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("[ekko]\nsigma_m = 1.0", ["ekko", "unknown"], id="unknown table"),
        pytest.param("[echo]\nsigma = 1.0", ["echo.sigma", "unknown"], id="unknown name"),
        pytest.param(
            "[echo.target_loss_db]\ncow = 1.0", ["echo.target_loss_db.cow", "person_fleece"], id="unknown kind"
        ),
        pytest.param("[echo.target_loss_db]\ncar = 1e9", ["target_loss_db.car = 1000000000.0"], id="loss too great"),
        pytest.param("[echo]\nbad_p = 1.5", ["echo.bad_p = 1.5", "1.0"], id="chance above one"),
        pytest.param("[echo]\nsigma_m = -0.1", ["echo.sigma_m = -0.1", "0.0"], id="negative"),
        pytest.param('[echo]\nsigma_m = "small"', ["echo.sigma_m = small", "float"], id="words"),
        pytest.param("[echo]\nsigma_m = nan", ["echo.sigma_m = nan"], id="not a number"),
        pytest.param("[echo]\nfalse_near_m = [3.0, 0.2]", ["echo.false_near_m", "above"], id="wrong way round"),
        pytest.param("[echo]\nfalse_near_m = [3.0]", ["echo.false_near_m", "length 2"], id="half a pair"),
        pytest.param("[echo]\ntarget_loss_db = 3.0", ["echo.target_loss_db", "table"], id="number for a table"),
        pytest.param('[module]\nno_target_s = "never"', ["module.no_target_s = never"], id="unknown word"),
        pytest.param("[echo\n", ["TOML"], id="no TOML"),
    ],
)
def test_bad_file_is_refused_by_name(tmp_path, text, named):
    """What is wrong is named with its value and the rule"""
    with pytest.raises(ConfigError) as raised:
        read(written(tmp_path, text))
    assert all(word in str(raised.value) for word in ["world.toml", *named])


def test_world_is_made_with_the_file_of_the_variable(tmp_path, monkeypatch):
    """RETROWALK_WORLD reaches echoes, ground, body and chip of a new world; one that is given numbers keeps those"""
    monkeypatch.setenv(estimates.VARIABLE, str(written(tmp_path, MEASURED)))
    rig = Rig()
    assert rig.world.estimates.echo.wall_margin_db == 31.5
    assert World(1, estimates=ESTIMATED).estimates == ESTIMATED
    monkeypatch.delenv(estimates.VARIABLE)
    assert World(1).estimates is ESTIMATED


def test_measured_world_is_another_world(tmp_path):
    """A walker who sways more does; a rod that reflects less is missed more often"""
    found = read(written(tmp_path, MEASURED))

    def sway_deg(world: World) -> float:
        world.at(0.0, Walk(0.8))
        pitch = [world.moment(t / 50).pitch_deg for t in range(100, 500)]
        return max(pitch) - min(pitch)

    assert sway_deg(World(1, estimates=found)) > 1.4 * sway_deg(World(1))
    scene = Scene([Target("rod_25mm", 1.0)], nose_down_deg=-10.0)
    heard = []
    for one in (ESTIMATED, found):
        model = EchoModel(1, parameters=one.echo)
        heard.append(sum(model.ping(t / 16, scene).source == "rod_25mm" for t in range(400)))
    assert heard[1] < 0.7 * heard[0]


# ---------------------------------------------------------------------------------------------- none is forgotten

FIXED: dict[str, dict[str, str]] = {
    "noise.py": {
        "ISO 9613-1: physics": "ABSORPTION_DB_M",
        "size of the thing itself: a rod of 25 mm has 25 mm": "WIDTH_M WIDE_M",
    },
    "light.py": {
        "the maker's manual": "SPOT_HALF_DEG AMPLITUDE_MIN SUN_AMPLITUDE SIGMA_M ACCURACY_M ACCURACY_SHARE BLIND_M",
        "the scale that reflectance is measured on, from the maker's reach": "AMPLITUDE_AT_1_M AMPLITUDE_MAX",
        "how the device is built": "DROPOFF_UP_DEG",
        "how the spot is computed": "SPOT_RAYS NOTHING",
        "when a lean is a fall: the walker's model, and nobody falls on a bench": "FALLING_DEG",
    },
    "tof.py": {
        "the VL53L1X is in neither build; what it reflects off is measured with the lidar": "MODES WHITE DARK_REACH_M"
        " SUN_KCPS SUN_REACH_M LIMIT_M PHASE_M FIELD_DEG SPADS TARGET_RATE_KCPS SIGNAL_AT_REACH_KCPS DARK_COUNT_KCPS"
        " GROUND_COVER SUN_WITHIN_DEG SUN_SEEN_KCPS SUN_ELSEWHERE_KCPS SIGMA_BEST_MM SIGMA_WORST_MM SEEN_SLOPE_DB"
        " CONTACT_M MERGED_M VALID SIGMA SIGNAL PHASE WRAP CLIPPED MERGED VCSEL",
        "size of the thing itself": "HEIGHT_M WIDTH_M",
    },
    "terrain.py": {
        "a definition": "DROP_M",
        "how the ground is computed": "FOOT_M ROUGH_CELL_M ROUGH_CELLS",
    },
    "walker.py": {
        "physics": "G_M_S2 TWO_PI DEG",
        "filmed and recorded people: the shape of the movement; its size is BodyParameters": "LATE_2 LATE_3 LATE_7"
        " LATE_PITCH LATE_FORWARD",
        "recorded falls, and nobody falls on a bench": "TIP_S LYING_DEG IMPACT_S",
        "human-factors reference; retrowalk calibrate measures a walker": "REACH_M OLDER YOUNGER",
    },
    "world.py": {
        "how time passes": "STEP_S KEPT_STEPS",
        "what counts as a contact": "BODY_M BODY_HALF_M PARTED_M",
        "what a scenario does unless it says otherwise": "HAND_M NO_SUN_DEG SHADE_KCPS",
    },
    "pins.py": {
        "limits of lgpio": "PWM_MIN_HZ PWM_MAX_HZ",
        "the maker's": "TRIGGER_MIN_S",
        "cancels: a range is from rise to fall": "RISE_AFTER_S",
        "measured with lgpio (reference 1.2)": "DELIVERY_S",
        "no number, but a sign": "RELEASED",
        "less than the driver waits, so that it changes nothing": "STARTS_S",
    },
    "room.py": {
        "two ultrasonic modules are in neither build (reference 5.1)": "FADES_S BOUNCES DEAF_S LISTENS_S",
    },
    "chips/a02yyuw.py": {
        "the maker's": "BAUD BYTE_S PERIOD_S SLOW_EVERY FILTERED RANGE_MIN_M",
        "a fault's size": "LATE_S",
        "how it is computed": "LOOK_BACK_S",
        "each has been described, and all are nothing to the driver": "_NOTHING_MM",
    },
    "chips/ds18b20.py": {
        "the kernel's and the maker's": "DEVICES NAME FILES MEASURES_S POWER_ON",
        "a fault's size": "SLOW_S",
        "optional part; air enters the range by 0.2 % a degree": "LAG_S SUN_C",
    },
    "chips/ina219.py": {"the maker's registers": "*"},
    "chips/registers.py": {"words": "R RW W"},
    "chips/inertial.py": {
        "physics": "G_M_S2",
        "shown, used by nothing": "TEMPERATURE_C",
        "a fault's size": "PACE DELAYED_S",
    },
    "chips/lsm6dsox.py": {"the maker's registers": "*"},
    "chips/max17048.py": {"the maker's registers": "*"},
    "chips/mpu6050.py": {"the maker's registers; in neither build": "*"},
    "chips/tfluna.py": {
        "the maker's registers": "REGISTERS ULTRA_LOW_POWER SAVE REBOOT SLAVE_ADDR MODE TRIGGER ENABLE FPS LOW_POWER"
        " FACTORY_RESET AMP_THR DUMMY_DIST MIN_DIST MAX_DIST SIGNATURE CONTINUOUS TRIGGERED RAW_HZ FRAME_RATES_HZ"
        " SETTLE_S SAVE_S",
        "how it is computed": "LOOKS _DATA _NO_FRAME",
        "one read in ten thousand (reference 5.4); the driver throws a torn one away, so no bench sees it": "TEAR_P",
        "at switching on only": "BOOT_S TRIGGERED_S",
        "a fault's size": "TEAR_FAULT_P DELAY_S SLOW",
    },
    "chips/vl53l1x.py": {"the maker's registers; in neither build": "*"},
}
"""Every other constant of the world model, by why no bench replaces it."""


def constants(file: str) -> set[str]:
    """Names in capitals that a module gives a value at its top."""
    found: set[str] = set()
    for node in ast.parse((SIM / file).read_text(encoding="utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            found |= {name.id for name in names if isinstance(name, ast.Name) and name.id.isupper()}
    return found


FILES = [
    *("noise.py", "light.py", "tof.py", "terrain.py", "walker.py", "world.py", "pins.py", "room.py"),
    *sorted(f"chips/{path.name}" for path in (SIM / "chips").glob("*.py")),
]


@pytest.mark.parametrize("file", FILES)
def test_every_constant_of_the_world_has_its_reason(file):
    """A number that stands outside the estimates says why no measurement replaces it"""
    there, listed = constants(file), set(" ".join(FIXED.get(file, {}).values()).split())
    assert there == listed or (listed == {"*"} and bool(there))


@pytest.mark.parametrize("file", FILES)
def test_nothing_marked_as_an_estimate_stands_outside(file):
    """Words that call a number an estimate stand beside an estimate, or beside one of the few that are listed"""
    allowed = {
        "walker.py": {"LATE_PITCH, LATE_FORWARD", "slows_to", "answers_after_s", "self.bounciness"},
        "chips/ds18b20.py": {"LAG_S", "SUN_C"},
    }
    lines = (SIM / file).read_text(encoding="utf-8").splitlines()
    marked = [number for number, line in enumerate(lines) if "[A]" in line or "estimate)" in line]
    for number in marked:
        assert any(name in "\n".join(lines[max(0, number - 2) : number + 1]) for name in allowed.get(file, ())), lines[
            number
        ]


@pytest.mark.parametrize("name", sorted({name.partition(".")[2].split(".")[0] for name, _ in each(Estimates())}))
def test_every_estimate_is_used(name):
    """A number that moves nothing would be measured for nothing"""
    sources = [path.read_text(encoding="utf-8") for path in SIM.rglob("*.py") if path.name != "estimates.py"]
    assert any(f".{name}" in source for source in sources)


@pytest.mark.parametrize("part", [part.name for part in fields(Estimates)])
def test_every_part_reaches_the_world(part):
    """Each group of numbers is taken from the world, by whoever it is for"""
    sources = [path.read_text(encoding="utf-8") for path in SIM.rglob("*.py") if path.name != "estimates.py"]
    assert any(f"estimates.{part}" in source for source in sources)
