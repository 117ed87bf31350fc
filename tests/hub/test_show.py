"""What the command line shows of a hub: words, and nothing that a terminal would obey."""

from __future__ import annotations

import io
import json

import pytest
from click.testing import CliRunner
from rich.console import Console
from tests.hub.helpers import Ward, event

from retrowalk.cli import cli
from retrowalk.core.alerts import LIMITS
from retrowalk.hub import show
from retrowalk.hub.settings import HubConfig
from retrowalk.hub.view import View
from retrowalk.voice.texts import Texts


def printed(what: object) -> str:
    """As on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(what)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        pytest.param(0.4, "0 s", id="now"),
        pytest.param(119.0, "119 s", id="seconds"),
        pytest.param(600.0, "10 min", id="minutes"),
        pytest.param(7200.0, "2 h", id="hours"),
        pytest.param(200_000.0, "2 days", id="days"),
    ],
)
def test_how_long_ago(seconds, words):
    """A time that has passed is told in the unit that people would use."""
    assert show.ago(seconds) == words


@pytest.mark.parametrize(
    ("text", "wall_s"),
    [
        pytest.param("90s", 910.0, id="seconds"),
        pytest.param("2m", 880.0, id="minutes"),
        pytest.param("1970-01-01T00:10:00+00:00", 600.0, id="date"),
    ],
)
def test_since_when(text, wall_s):
    """A length of time and a date say since when."""
    assert show.since(text, 1000.0) == wall_s


@pytest.mark.parametrize("text", ["yesterday", "5", "-3h", "9999999999d", ""])
def test_since_something_else_is_refused(text):
    """Anything else is refused with examples."""
    with pytest.raises(ValueError, match="must be as 90s"):
        show.since(text, 1000.0)


def test_a_device_is_shown_with_what_is_wrong(tmp_path):
    """A device that is overdue, low, without a clock and with gaps is shown so in 80 columns."""
    ward = Ward(tmp_path)
    ward.state("walking")
    ward.send(event(1))
    ward.beat(seq_head=1)
    ward.run(1.0)
    ward.beat(seq_head=8, seq_low=4, battery_percent=7.4, clock="unset", outbox_depth=5, faults=["broker"])
    ward.run(2.0)
    view = View(tmp_path / "hub.db")
    text = printed(show.status(view.hub(running=True, wall_s=ward.clock.wall_s() + 70.0)))
    view.close()
    row = next(line for line in text.splitlines() if line.startswith("home/rw-0001  "))
    assert row.split() == ["home/rw-0001", "walking", "72", "s", "ago", "7", "%", "5", "2", "not", "set"]
    assert "home/rw-0001 has trouble with: broker" in text
    assert "2 events missing, asked for" in text


@pytest.mark.parametrize(
    ("guard", "reasons", "line"),
    [
        pytest.param("guarding", [], "", id="guarding"),
        pytest.param("limited", ["drop", "inexact"], "warns in part only: kerbs not seen, clip inexact.", id="limited"),
        pytest.param("not_protecting", ["rear"], "does not protect: no rear sensor.", id="not protecting"),
        pytest.param("limited", ["later"], "warns in part only: later.", id="of a later version"),
        pytest.param("not_worn", ["still"], "is not worn.", id="not worn"),
        pytest.param("silent", [], "does not watch over the walk: its guard does not answer.", id="silent"),
    ],
)
def test_what_the_walker_may_rely_on_is_shown(tmp_path, guard, reasons, line):
    """Whoever looks sees whether the device protects, and why it does no more, in words."""
    ward = Ward(tmp_path)
    ward.state("walking")
    ward.beat(guard_state=guard, reasons=reasons)
    ward.run(1.0)
    view = View(tmp_path / "hub.db")
    text = printed(show.status(view.hub(running=True, wall_s=ward.clock.wall_s() + 5.0)))
    view.close()
    assert [row for row in text.splitlines() if row.startswith("home/rw-0001 ") and "walking" not in row] == (
        [f"home/rw-0001 {line}"] if line else []
    )


def test_the_reasons_are_those_the_walker_hears():
    """Both sides speak of one thing in one way."""
    assert dict(Texts.load("en").tables["limits"]) == show.REASONS
    assert set(show.REASONS) == set(LIMITS)


def test_what_a_device_writes_moves_no_terminal(tmp_path):
    """Control characters in names, types and data of an event are shown as such, not obeyed."""
    ward = Ward(tmp_path)
    evil = "\x1b[2J\x1b]0;x\x07[bold]\u202e"
    ward.send(event(1) | {"eventtype": f"x{evil}", "priority": evil, "data": {evil: evil}})
    ward.run(1.0)
    (seen,) = View(tmp_path / "hub.db").events()
    text = printed(show.event(seen))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "[bold]" in text


def test_events_are_found_by_what_they_are(tmp_path):
    """Events can be asked for by device, by type or its beginning, and as JSON."""
    ward = Ward(tmp_path)
    ward.send(event(1), event(2, "fall.suspected"), event(3, "fall.confirmed"))
    ward.run(1.0)
    found = CliRunner().invoke(cli, ["hub", "--state-dir", str(tmp_path), "events", "--type", "fall", "--json"])
    assert [json.loads(line)["type"] for line in found.output.splitlines()] == ["fall.suspected", "fall.confirmed"]
    found = CliRunner().invoke(cli, ["hub", "--state-dir", str(tmp_path), "events", "--device", "rw-0002"])
    assert (found.exit_code, found.output) == (0, "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["status"], "no hub has kept anything in", id="no store"),
        pytest.param(["ack", "x", "--by", "Anna"], "must be the number of an alert", id="no number"),
        pytest.param(["ack", "1", "--by", " "], "must be a name", id="no name"),
        pytest.param(["ack", "1"], "--by", id="nobody"),
        pytest.param(["say", "rw-0001", "shout", "--by", "Anna"], "must be one of", id="no such sentence"),
        pytest.param(["events", "--since", "noon"], "must be as 90s", id="no time"),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, words, says):
    """What cannot be done is said plainly, with a status that is not 0."""
    found = CliRunner().invoke(cli, ["hub", "--state-dir", str(tmp_path), *words])
    assert found.exit_code != 0
    assert says in found.output
    assert "Traceback" not in found.output


def test_a_lost_connection_is_shown_with_its_time(tmp_path):
    """Whoever looks sees at once that the connection of a device broke off, and when."""
    ward = Ward(tmp_path)
    ward.beat()
    ward.state("walking")
    ward.run(1.0)
    ward.state("lost")
    ward.run(1.0)
    view = View(tmp_path / "hub.db")
    (device,) = view.hub(running=True, wall_s=ward.clock.wall_s()).devices
    assert device.state_at == pytest.approx(ward.clock.wall_s() - 1.0, abs=0.5)
    shown = printed(show.status(view.hub(running=True, wall_s=ward.clock.wall_s())))
    assert "connection lost" in shown
    assert f"home/rw-0001 lost its connection at {show.moment(device.state_at)}." in shown
    (seen,) = view.events()
    assert "connection.lost" in show.event(seen).plain


def test_a_hub_that_tells_nobody_says_so(tmp_path):
    """Settings as they come name no contact: whoever looks at such a hub must not take it for ready."""
    ward = Ward(tmp_path, settings=HubConfig())
    ward.run(1.0)
    now = View(tmp_path / "hub.db").hub(running=True, wall_s=ward.clock.wall_s())
    assert "Nobody is told of anything" in printed(show.status(now))
    ward = Ward(tmp_path / "other")
    ward.run(1.0)
    now = View(tmp_path / "other" / "hub.db").hub(running=True, wall_s=ward.clock.wall_s())
    assert "Nobody" not in printed(show.status(now))
