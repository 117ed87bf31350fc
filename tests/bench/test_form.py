"""The form: what stands in it is what was measured, and what cannot be is refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import structs

from retrowalk.bench import fit, form, limits, take
from retrowalk.bench.form import EchoRun, Form, KerbRun, LidarRun, Module, StillRun, WalkRun
from retrowalk.errors import ConfigError
from retrowalk.sim.estimates import ESTIMATED, each

EMPTY = Path(__file__).resolve().parent.parent.parent / "hardware" / "bench" / "form.toml"


def test_empty_form_measures_nothing():
    """The form as it lies in the repository is in order, tells no number, and no test is passed or failed"""
    found = form.read(EMPTY)
    assert found.empty
    assert fit.measured(found) == []
    assert {verdict.passed for verdict in limits.check(found)} == {None}


@pytest.mark.parametrize(
    ("table", "run"),
    [("echo", EchoRun), ("lidar", LidarRun), ("walk", WalkRun), ("kerb", KerbRun), ("still", StillRun)],
)
def test_form_explains_every_field(table, run):
    """Each field of each table stands in it, with a comment; and it is in order once the comment signs are gone"""
    text = EMPTY.read_text(encoding="utf-8")
    block = text.partition(f"# [[{table}]]\n")[2].partition("\n\n")[0]
    assert re.findall(r"^# (\w+) = ", block, re.MULTILINE) == [
        *(name for name in run.__struct_fields__ if name != "note"),
        "note",
    ]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        pytest.param("[[echo]\n", ["TOML"], id="no TOML"),
        pytest.param("[ekko]\n", ["ekko"], id="unknown table"),
        pytest.param("[[echo]]\npongs = 3\n", ["echo[0]", "pongs"], id="unknown field"),
        pytest.param('[[echo]]\npings = "many"\n', ["echo[0].pings = many", "int"], id="words"),
        pytest.param("[[echo]]\npings = -3\n", ["echo[0].pings = -3", "0"], id="negative"),
        pytest.param('[[echo]]\ntarget = "cow"\ndistance_m = 1.0', ["echo[0].target = cow", "wall"], id="unknown kind"),
        pytest.param('[[echo]]\ntarget = "wall"\n', ["echo[0].distance_m = 0.0", "0.2"], id="no distance"),
        pytest.param('[[echo]]\nground = "grass"\n', ["echo[0].height_m", "height"], id="no height"),
        pytest.param("[[echo]]\npings = 3\nhits = 4", ["echo[0].pings = 3", "4"], id="more hits than pings"),
        pytest.param(
            '[[echo]]\npings = 5\nhits = 4\nsequence = "3h2."',
            ["echo[0].hits = 4", "sequence has 3"],
            id="not the sequence",
        ),
        pytest.param('[[echo]]\nsequence = "3h2x"', ["echo[0].sequence = 3h2x", "letters"], id="no sequence"),
        pytest.param(
            '[[lidar]]\ntarget = "wall"\nground = "grass"\ndistance_m = 1.0', ["lidar[0].target"], id="two things"
        ),
        pytest.param("[[lidar]]\nsun_deg = 3.0\nframes = 3\nblinded = 4", ["lidar[0].blinded = 4", "3"], id="too many"),
        pytest.param("[[still]]\ngyro_bias_deg_s = [1.0]", ["still[0].gyro_bias_deg_s", "length"], id="one axis"),
        pytest.param('[[walk]]\nground = "sand"', ["walk[0].ground = sand", "gravel"], id="unknown ground"),
        pytest.param("[[kerb]]\napproaches = 3\nnamed = 4", ["kerb[0].named = 4", "3"], id="named too often"),
        pytest.param(
            '[[other]]\nparameter = "echo.x"\nvalue = 1', ["other[0].parameter = echo.x"], id="unknown number"
        ),
        pytest.param(
            '[[other]]\nparameter = "echo.bad_p"\nvalue = 2.0', ["other[0].value = 2.0", "1.0"], id="chance above one"
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, text, named):
    """Field, value and rule are named"""
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        form.read(file)
    assert all(word in str(raised.value) for word in ["mine.toml", *named])


def test_all_that_is_wrong_is_named_at_once(tmp_path):
    """Nobody mends a form one message at a time"""
    file = tmp_path / "mine.toml"
    file.write_text('[[echo]]\ntarget = "cow"\ndistance_m = 1.0\n[[kerb]]\nnamed = 1\n')
    with pytest.raises(ConfigError) as raised:
        form.read(file)
    assert len(raised.value.findings) == 2


def test_run_is_added_at_the_end_and_nothing_else_changes(tmp_path):
    """The words of a person stay; what was added is read again as it was"""
    file = tmp_path / "mine.toml"
    file.write_text(EMPTY.read_text(encoding="utf-8"))
    runs = [
        EchoRun(target="wall", distance_m=2.0, pings=3, hits=2, sequence="2h.", median_m=2.01),
        EchoRun(wind=True, note='gusts, "strong"'),
    ]
    for run in runs:
        form.add(file, "echo", run)
    form.add(file, "still", StillRun(samples=300, gyro_bias_deg_s=[0.1, -0.2, 0.3]))
    assert file.read_text(encoding="utf-8").startswith(EMPTY.read_text(encoding="utf-8").rstrip())
    found = form.read(file)
    assert found.echo == runs
    assert found.still[0].gyro_bias_deg_s == [0.1, -0.2, 0.3]


def test_run_that_cannot_be_leaves_the_form_alone(tmp_path):
    """Nothing is half done"""
    file = tmp_path / "mine.toml"
    file.write_text("# mine\n")
    with pytest.raises(ConfigError):
        form.add(file, "echo", EchoRun(pings=1, hits=2))
    assert file.read_text() == "# mine\n"


def test_pings_are_packed_and_unpacked():
    """Equal ones in a row as a number"""
    assert form.packed("hhh..lhn") == "3h2.lhn"
    assert form.symbols("3h2.lhn") == [("h", 3), (".", 2), ("l", 1), ("h", 1), ("n", 1)]


@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [
        pytest.param("echo", {"pings": "3"}, ["pings = 3", "target"], id="what is measured cannot be said"),
        pytest.param("echo", {"distance_m": "far"}, ["distance_m = far", "float"], id="no number"),
        pytest.param("echo", {"target": "cow", "distance_m": "1"}, ["target = cow"], id="unknown kind"),
        pytest.param("walk", {"ground": "sand"}, ["ground = sand"], id="unknown ground"),
    ],
)
def test_what_is_said_wrongly_is_named(kind, given, named):
    """Before anybody measures"""
    with pytest.raises(ConfigError) as raised:
        take.like(kind, given)
    assert all(word in str(raised.value) for word in named)


def test_what_is_said_is_understood():
    """Words become the form's own types"""
    assert take.like("echo", {"target": "wall", "distance_m": "2", "wet": "true"}) == EchoRun(
        target="wall", distance_m=2.0, wet=True
    )


# ------------------------------------------------------------------------------------------- what measures which

TARGETS = [f"target_loss_db.{kind}" for kind in ESTIMATED.echo.target_loss_db if kind != "wall"]
FITTED = {
    *(
        *("wall_margin_db", "slope_db", "half_beam_deg", "sigma_m", "stamp_outlier_p", "missed_silent_p"),
        *("false_near_p", "false_near_wind_p", "ground_spread", "rain_db", "droplet_p", "bad_p", "good_p", "bad_db"),
    ),
    *TARGETS,
    *(f"ground_clutter.{ground}" for ground in ESTIMATED.echo.ground_clutter),
}
REST = {
    "module.no_target_s",
    *("light.sigma_scale", "light.sun_within_deg", "light.wet", "light.rain_passes"),
    *("light.yaw_sway_deg", "light.yaw_sway_hz", "light.amplitude_noise", "light.amplitude_noise_share"),
    *(f"light.reflectance.{kind}" for kind in ESTIMATED.light.reflectance if kind not in fit.MIXED),
    *(f"light.ground_reflectance.{ground}" for ground in ESTIMATED.light.ground_reflectance),
    *(f"ground.rough_m.{ground}" for ground in ESTIMATED.ground.rough_m),
    *("body.sway", "body.step_rate", "body.bounce", "body.roll", "body.yaw"),
    *("imu.accel_noise_m_s2", "imu.gyro_noise_rad_s", "imu.gyro_bias_rad_s", "imu.clock_error"),
}
BY_DEFINITION = {"echo.target_loss_db.wall", "sealed_echo.target_loss_db.wall"}
"""What the others are measured against."""


@pytest.mark.parametrize("name", [name for name, _ in each(ESTIMATED)])
def test_every_estimate_is_measured_or_says_why_not(name):
    """Each number of the world has its bench test, or a reason; never both"""
    part, _, rest = name.partition(".")
    measured = rest in FITTED if part in ("echo", "sealed_echo") else name in REST
    assert measured + bool(fit.why_it_stays(name)) + (name in BY_DEFINITION) == 1


@pytest.mark.parametrize("name", fit.STAYS)
def test_every_reason_is_of_a_number(name):
    """No reason outlives its number"""
    assert name in dict(each(ESTIMATED))


@pytest.mark.parametrize("name", [name for name, _ in each(ESTIMATED)])
def test_every_estimate_can_be_written_in_by_hand(name):
    """[[other]] takes each of them, as the world's file does"""
    value = dict(each(ESTIMATED))[name]
    given = list(value) if isinstance(value, tuple) else value
    (found,) = fit.measured(Form(other=[form.Other(parameter=name, value=given)]))
    assert dict(each(fit.table([found])))[name] == value


@pytest.mark.parametrize(
    ("module", "value"),
    [
        pytest.param(Module(no_target_ms=110.0), 0.110, id="a clone"),
        pytest.param(Module(no_pulse=True), "none", id="no pulse"),
        pytest.param(Module(hangs=True, no_target_ms=38.0), "stuck", id="hangs"),
    ],
)
def test_module_without_a_target(module, value):
    """What it does with nothing before it is what the simulated one does"""
    (found,) = fit.measured(Form(module=module))
    assert fit.table([found]).module.no_target_s == value


# --------------------------------------------------------------------------------------------------- pass limits


def verdict(found: Form, test: str) -> bool | None:
    (one,) = [one for one in limits.check(found) if one.test == test]
    return one.passed


def through(amplitude: float) -> list[LidarRun]:
    """A board at 1 m, bare and through the window."""
    board = LidarRun(target="wall", distance_m=1.0, frames=9, amplitude=900.0)
    return [board, structs.replace(board, window="clean", amplitude=amplitude)]


@pytest.mark.parametrize(
    ("test", "good", "bad"),
    [
        pytest.param(
            "board at 2 m",
            Form(echo=[EchoRun(target="wall", distance_m=2.0, pings=100, hits=97)]),
            Form(echo=[EchoRun(target="wall", distance_m=2.0, pings=100, hits=90)]),
            id="board",
        ),
        pytest.param(
            "range of the board",
            Form(echo=[EchoRun(target="wall", distance_m=2.0, pings=9, hits=9, median_m=2.03)]),
            Form(echo=[EchoRun(target="wall", distance_m=2.0, pings=9, hits=9, median_m=1.93)]),
            id="range",
        ),
        pytest.param(
            "empty field, motor on",
            Form(echo=[EchoRun(switched="motor", pings=900, nearer=2)]),
            Form(echo=[EchoRun(switched="motor", pings=900, nearer=20)]),
            id="motor",
        ),
        pytest.param(
            "module without a target", Form(module=Module(no_pulse=True)), Form(module=Module(hangs=True)), id="hang"
        ),
        pytest.param("window", Form(lidar=through(800.0)), Form(lidar=through(600.0)), id="window"),
        pytest.param(
            "sun beside the beam",
            Form(lidar=[LidarRun(sun_deg=20.0, frames=99, blinded=1)]),
            Form(lidar=[LidarRun(sun_deg=20.0, frames=99, blinded=50)]),
            id="sun",
        ),
        pytest.param(
            "kerb on grass",
            Form(kerb=[KerbRun(ground="grass", approaches=20, named=19)]),
            Form(kerb=[KerbRun(ground="grass", approaches=20, named=18)]),
            id="kerb",
        ),
        pytest.param("sway", Form(walk=[WalkRun(pitch_deg=5.0)]), Form(walk=[WalkRun(pitch_deg=9.0)]), id="sway"),
        pytest.param(
            "clip's bias",
            Form(still=[StillRun(gyro_bias_deg_s=[0.1, -4.0, 0.0])]),
            Form(still=[StillRun(gyro_bias_deg_s=[0.1, -6.0, 0.0])]),
            id="bias",
        ),
    ],
)
def test_limit_passes_what_is_good_and_not_what_is_bad(test, good, bad):
    """On both sides of its limit; and one that was not done is neither"""
    assert (verdict(good, test), verdict(bad, test)) == (True, False)
