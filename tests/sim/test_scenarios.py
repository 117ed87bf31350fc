"""Every scenario of the table, in virtual time: what it expects is met, and it knows when it is not."""

from __future__ import annotations

import pytest

from retrowalk.config import A02yyuw, Broker, Config, Fall, Recording
from retrowalk.sim import scenarios
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.scenarios import Evidence
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank


def walked(name: str, seed: int, *faults: str, phrases: bank.Bank | None = None) -> tuple[scenarios.Scenario, Evidence]:
    """A scenario and what its walk left behind; `phrases`: if not those of a device as it is delivered."""
    scenario = scenarios.SCENARIOS[name](seed)
    phrases = phrases or bank.build(Config(), bank.default_directory())
    broken = Faults([Fault.parse(text) for text in faults])
    walk = VirtualWalk(scenario.config, scenario, seed, phrases, faults=broken)
    try:
        walk.run_until(scenario.duration_s)
        return scenario, walk.finish()
    finally:
        walk.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.repeats) for seed in (2, 3))])
def test_a_fall_nobody_calls_off_reaches_the_caregiver(seed):
    """The short walk meets what it expects, with its own countdown of ten seconds"""
    scenario, evidence = walked("fall", seed)
    assert [met for met in scenarios.judge(scenario, evidence) if not met.met] == []


@pytest.mark.slow
def test_a_fall_that_nobody_notices_is_judged_so():
    """Without the clip no fall is seen, and the scenario says what is missing"""
    scenario, evidence = walked("fall", 1, "imu:off")
    missed = {met.text for met in scenarios.judge(scenario, evidence) if not met.met}
    assert "fall.confirmed after the countdown" in missed


@pytest.mark.slow
def test_a_device_out_of_the_box_tells_its_limits_and_takes_a_press():
    """Every sentence once, in order, then the press: accepted, told, and kept; nothing else is said in between."""
    scenario, evidence = walked("first use", 1)
    assert [met for met in scenarios.judge(scenario, evidence) if not met.met] == []


@pytest.mark.slow
def test_a_first_use_without_a_button_is_judged_so():
    """Where the button's line is dead nothing is accepted, and the scenario says so"""
    scenario, evidence = walked("first use", 1, "button:off")
    missed = {met.text for met in scenarios.judge(scenario, evidence) if not met.met}
    assert missed >= {'"Guarding" after the check', "the answer to the press", "limits.accepted"}


@pytest.fixture(scope="session")
def annas_bank(request: pytest.FixtureRequest) -> bank.Bank:
    """Phrases with a helper's name, kept between runs."""
    return bank.build(scenarios.answered(1).config, request.config.cache.mkdir("retrowalk-bank-anna"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_helper_is_heard_by_name(annas_bank, seed):
    """Nobody watches, and the walker hears that; then somebody does, has seen the fall, and says that they come."""
    scenario, evidence = walked("answered", seed, phrases=annas_bank)
    assert [met for met in scenarios.judge(scenario, evidence) if not met.met] == []


@pytest.mark.slow
def test_a_helper_whom_nobody_hears_is_judged_so(annas_bank):
    """With a voice that is gone the scenario says what was not heard."""
    scenario, evidence = walked("answered", 1, "voice:off@20-50", phrases=annas_bank)
    missed = {met.text for met in scenarios.judge(scenario, evidence) if not met.met}
    assert missed >= {'"Anna has seen it"', '"Anna says: I am coming"'}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.repeats)])
def test_a_flood_of_commands_is_heard_over_no_warning(seed):
    """The walker stops before the wall as ever, and nothing from afar is heard while a warning holds."""
    scenario, evidence = walked("flooded", seed)
    assert [met for met in scenarios.judge(scenario, evidence) if not met.met] == []


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_a_device_of_other_settings_is_worn_on_the_same_walk(name):
    """What the walk itself needs holds: its countdown, a recording, no stranger's broker; all else is the device's"""
    usual = scenarios.SCENARIOS[name](1)
    device = Config(
        range_sensor=(A02yyuw(),),
        fall=Fall(countdown_s=77.0, impact_g=3.0),
        broker=Broker(host="", tls=True),
        recording=Recording(enabled=False),
    )
    worn = usual.worn(device)
    own = usual.config.fall.countdown_s if usual.settings else 77.0
    helper = usual.config.helper
    assert worn.config == Config(range_sensor=(A02yyuw(),), fall=Fall(countdown_s=own, impact_g=3.0), helper=helper)
    assert worn.script == usual.script


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_a_scenario_carries_its_name_and_settings(name):
    """What the table calls a scenario is its name; its settings are a configuration that can be used"""
    scenario = scenarios.SCENARIOS[name](1)
    assert scenario.name == name
    assert isinstance(scenario.config, Config)
    assert all(0.0 <= t_s < scenario.duration_s for t_s, _ in scenario.script)
