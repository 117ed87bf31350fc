"""What the doctor learns of a real broker: whether it takes events, keeps messages, and has a hub behind it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.broker import Mosquitto, Stranger

from retrowalk import wire
from retrowalk.config import Broker
from retrowalk.doctor.broker import Trial, look_at_broker, look_at_hub, try_broker
from retrowalk.doctor.report import State

HUB = "retrowalk/v1/home/hub/state"


def tried(broker: Mosquitto, **settings: object) -> tuple[Broker, Trial]:
    found = Broker(host=broker.host, port=broker.port, username="rw-0001", **settings)  # type: ignore[arg-type]
    return found, try_broker(found, "home", "rw-0001")


@pytest.mark.process
def test_a_broker_that_refuses_events_is_named(tmp_path: Path) -> None:
    """Let in, and not allowed to write: the doctor says that nobody hears of a fall, and what to do at the broker."""
    rules = "pattern write retrowalk/v1/home/%u/state\n"
    with Mosquitto(tmp_path / "broker", acl=rules) as broker:
        settings, trial = tried(broker)
    check = look_at_broker(settings, trial)
    assert (trial.takes, check.state) == (False, State.LOOK)
    assert "refuses its events" in check.detail
    assert "event/#" in check.mend


@pytest.mark.process
@pytest.mark.slow
def test_a_broker_that_keeps_nothing_is_named(tmp_path: Path) -> None:
    """A broker without retained messages is told apart from a good one"""
    with Mosquitto(tmp_path / "broker", extra="retain_available false") as broker:
        settings, trial = tried(broker)
    assert not trial.keeps
    assert "keeps no messages" in look_at_broker(settings, trial).detail


@pytest.mark.process
@pytest.mark.parametrize(
    "word", ["up", pytest.param("down", marks=pytest.mark.slow), pytest.param("lost", marks=pytest.mark.slow)]
)
def test_the_hub_is_seen(tmp_path: Path, word: str) -> None:
    """What a hub has said of itself, or the broker in its name, is what the doctor shows"""
    with Mosquitto(tmp_path / "broker") as broker, Stranger(broker, "none") as hub:
        hub.publish(HUB, wire.encode(wire.HubState(state=word, conn="c")), retain=True)
        settings, trial = tried(broker)
    check = look_at_hub(settings, trial)
    assert trial.hub == word
    assert check is not None
    assert check.state is (State.OK if word == "up" else State.LOOK)


@pytest.mark.process
@pytest.mark.slow
def test_the_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    """What is tried is one empty message that nobody keeps"""
    with Mosquitto(tmp_path / "broker") as broker, Stranger(broker, "retrowalk/v1/#") as listener:
        tried(broker)
        (message,) = listener.wait(lambda heard: bool(heard))
        assert (message.topic, message.payload) == ("retrowalk/v1/home/rw-0001/event/doctor.tried", b"")
        with Stranger(broker, "retrowalk/v1/#", client_id="later") as later:
            later.publish("retrowalk/v1/end", b"end")
            assert [message.payload for message in later.wait(lambda heard: bool(heard))] == [b"end"]


@pytest.mark.parametrize(
    ("hub", "trial", "expected"),
    [
        pytest.param("auto", Trial(), None, id="none was ever there, nobody expects one"),
        pytest.param("required", Trial(), State.LOOK, id="none is there, and one is required"),
        pytest.param("auto", Trial("reach", "refused"), None, id="the broker is the trouble"),
        pytest.param("none", Trial(hub="up"), State.OK, id="one is there"),
    ],
)
def test_when_a_hub_is_spoken_of(hub: str, trial: Trial, expected: State | None) -> None:
    """A hub that nobody expects is no finding"""
    check = look_at_hub(Broker(hub=hub), trial)  # type: ignore[arg-type]
    assert (check.state if check else None) is expected


def test_an_old_broker_is_told_apart() -> None:
    """A broker of MQTT 3.1.1 cannot say that it refuses, and the doctor says so"""
    check = look_at_broker(Broker(), Trial(old=True))
    assert check.state is State.LOOK
    assert "3.1.1" in check.detail
