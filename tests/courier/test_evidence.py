"""What the courier knows of its own threads: the one that syncs recordings, and the broker link's."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace

import pytest

from retrowalk.config import Broker
from retrowalk.courier.process import SYNC_LATE_S, _Syncer
from retrowalk.mqtt import HANGS_S, PahoLink
from retrowalk.sim.scheduler import VirtualClock


@pytest.fixture
def stuck_card(monkeypatch):
    """A card that answers nothing until it is let go; says when it was asked."""
    asked, go_on = threading.Event(), threading.Event()

    def fdatasync(descriptor):
        asked.set()
        go_on.wait()

    monkeypatch.setattr("retrowalk.courier.process.os.fdatasync", fdatasync)
    yield SimpleNamespace(asked=asked, go_on=go_on)
    go_on.set()


def test_a_card_that_hangs_is_a_fault_of_the_recording(tmp_path, stuck_card):
    """Half a minute is borne; after it nothing more is asked of the card, and no file more is kept open for it."""
    clock = VirtualClock()
    with open(tmp_path / "walk", "wb") as file, _Syncer(clock) as syncer:
        syncer.sync(file.fileno())
        assert stuck_card.asked.wait(10.0)
        clock.reach(SYNC_LATE_S)
        syncer.sync(file.fileno())
        clock.reach(SYNC_LATE_S + 0.1)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(TimeoutError, match="30 s"):
                syncer.sync(file.fileno())
        assert len(os.listdir("/proc/self/fd")) == before
        stuck_card.go_on.set()


def link_with(turns: int) -> PahoLink:
    link = PahoLink(Broker(host="127.0.0.1"), "test")
    link._client = SimpleNamespace(turns=turns, disconnect=lambda: None)  # type: ignore[assignment]
    return link


def test_a_link_whose_thread_turns_is_alive():
    """However long it has been so."""
    link = link_with(0)
    for now in range(1000):
        link._client = SimpleNamespace(turns=now)  # type: ignore[assignment]
        assert link.alive(float(now))


def test_a_link_whose_thread_hangs_is_not():
    """A name server may take two minutes; three are a thread that never comes back."""
    link = link_with(7)
    assert all(link.alive(now) for now in (10.0, 60.0, 9.9 + HANGS_S))
    assert not link.alive(10.0 + HANGS_S)


def test_without_a_thread_nothing_hangs():
    """Between two attempts there is none, for as long as a file is missing."""
    link = PahoLink(Broker(host="127.0.0.1"), "test")
    assert all(link.alive(now) for now in (0.0, HANGS_S, 10.0 * HANGS_S))
