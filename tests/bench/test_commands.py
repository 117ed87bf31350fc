"""`retrowalk bench` as a person uses it: what is measured, what passes, what the world becomes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from retrowalk import cli
from retrowalk.bench import take
from retrowalk.bench.form import EchoRun
from retrowalk.config import Config
from retrowalk.control import Control
from retrowalk.sim import demo as demonstration
from retrowalk.sim import estimates
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Place
from retrowalk.voice import bank as banks

MEASURED = """
[[echo]]
pings = 1000
nearer = 9
[[echo]]
ground = "grass"
height_m = 0.8
pings = 1000
hits = 480
"""


@pytest.fixture
def retrowalk():
    return lambda *arguments: CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


@pytest.fixture
def form(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(MEASURED)
    return file


def test_import_writes_what_a_world_is_made_with(retrowalk, form, tmp_path):
    """The table shows estimate and measured; the file has these numbers, and all else is named as an estimate"""
    out = tmp_path / "world.toml"
    ran = retrowalk("bench", "import", form, "--out", out)
    assert ran.exit_code == 0
    assert "outside" in next(line for line in ran.output.splitlines() if line.startswith("echo.ground_clutter.grass"))
    assert "2 measured" in ran.output
    assert "echo.hedge_spread_db: from ping to ping" in ran.output
    found = estimates.read(out)
    assert found.echo.ground_clutter["grass"] == pytest.approx(0.48, abs=0.001)
    assert found.echo.false_near_p == pytest.approx(0.0095, abs=0.0001)
    assert found == dataclasses.replace(estimates.ESTIMATED, echo=found.echo)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[[echo]]\npings = 3\nhits = 4\n", ["mine.toml", "echo[0].pings = 3"], id="what cannot be"),
        pytest.param("", ["mine.toml", "nothing that tells a number"], id="nothing measured"),
    ],
)
def test_import_that_cannot_be_leaves_nothing(retrowalk, form, tmp_path, text, words):
    """No file half done, no old one touched; one plain line"""
    form.write_text(text)
    out = tmp_path / "world.toml"
    out.write_text("# before\n")
    ran = retrowalk("bench", "import", form, "--out", out)
    assert ran.exit_code == 1
    assert all(word in ran.output for word in words)
    assert "Traceback" not in ran.output
    assert out.read_text() == "# before\n"


@pytest.mark.parametrize(("nearer", "status", "word"), [(1, 0, "passed"), (9, 1, "FAILED")])
def test_check_ends_with_its_verdict(retrowalk, form, nearer, status, word):
    """One that failed is the exit status; those that were not done are counted"""
    form.write_text(f"[[echo]]\npings = 1000\nnearer = {nearer}\n")
    ran = retrowalk("bench", "check", form)
    assert ran.exit_code == status
    assert word in next(line for line in ran.output.splitlines() if "empty field  " in line)
    assert "not done." in ran.output


@pytest.mark.parametrize(
    ("said", "words"),
    [
        pytest.param(["target=cow", "distance_m=1"], "target = cow", id="unknown target"),
        pytest.param(["distance_m"], "FIELD=VALUE", id="no value"),
        pytest.param(
            ["target=wall", "distance_m=1", "--spots", "3"], "--spots is for the lidar", id="spots of a board"
        ),
    ],
)
def test_take_refuses_before_anybody_measures(retrowalk, form, said, words):
    """What was said wrongly is named, and the form stays as it is"""
    ran = retrowalk("bench", "take", "echo", form, *said)
    assert ran.exit_code != 0
    assert words in ran.output
    assert form.read_text() == MEASURED


def test_demo_is_given_the_measured_world(retrowalk, monkeypatch, tmp_path):
    """--world reaches whatever makes a world, and one that is wrong is refused first"""
    monkeypatch.setenv(estimates.VARIABLE, "")  # so that it is put back afterwards
    monkeypatch.setattr(cli, "_build_bank", lambda *args, **kwargs: None)
    seen: list[float] = []

    class EnoughError(Exception):
        pass

    def run_fast(*_: object) -> None:
        seen.append(estimates.current().echo.wall_margin_db)
        raise EnoughError

    monkeypatch.setattr(demonstration, "run_fast", run_fast)
    world = tmp_path / "world.toml"
    world.write_text("[echo]\nwall_margin_db = 31.0\n")
    retrowalk("demo", "--fast", "--world", world)
    assert seen == [31.0]
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("[echo]\nwall_margin = 31.0\n")
    ran = retrowalk("demo", "--fast", "--world", wrong)
    assert "echo.wall_margin: unknown" in ran.output
    assert seen == [31.0]


@pytest.mark.slow
def test_run_is_taken_through_the_guard_that_guards() -> None:
    """A guard that runs tells what it is fed: a board at 2 m, every ping of it, in order"""
    settings = '[[range_sensor]]\nchip = "hc-sr04"\n[battery]\nchip = "none"\n'
    phrases = banks.build(Config(), banks.default_directory())
    scenario = Scenario("bench", 60.0, ((0.0, Place("wall", 2.0)),), WALKER, (), {}, settings)
    walk = VirtualWalk(scenario.config, scenario, 1, phrases)
    try:
        mailbox = walk.mail.open("bench-1")
        control = Control(mailbox, walk.clock, lambda s: walk.run_until(walk.clock.now() + s))
        walk.run_until(5.0)
        items = take.collect(control, 20.0)
        wanted = take.like("echo", {"target": "wall", "distance_m": "2", "temperature_c": "15"})
        run = take.run_of(scenario.config, "echo", items, wanted)
        assert isinstance(run, EchoRun)
        assert run.pings == pytest.approx(20.0 * 15.4, rel=0.05)
        assert run.hits > 0.9 * run.pings
        assert run.median_m == pytest.approx(2.0, abs=0.02)
    finally:
        walk.close()
