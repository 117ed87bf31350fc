"""The live view: fits the smallest terminal, uses a larger one, and has a plain fallback."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import pytest
from rich.console import Console, ConsoleDimensions

from retrowalk import wire
from retrowalk.config import Config
from retrowalk.sim.outcome import Frame, Message, Spoken
from retrowalk.sim.view import picture, render, show

HEALTH = {"rear": "ok", "imu": "ok", "voice": "ok", "courier": "ok"}


def status(**fields):
    values = {
        "t_s": 23.4,
        "guard_state": "guarding",
        "reasons": [],
        "path": "object",
        "range_m": 1.62,
        "closing_speed_m_s": 0.52,
        "time_to_collision_s": 3.1,
        "hazard_level": "caution",
        "trunk_pitch_deg": -3.2,
        "cadence_spm": 92.0,
        "steps": 41,
        "countdown_s": None,
        "health": HEALTH,
        "saying": "Object, one and a half",
        "last_events": [],
        "own_speed_m_s": 0.52,
        "protected_speed_m_s": 0.68,
    }
    return wire.Status(**{**values, **fields})


def frame(shown, **fields):
    values = {
        "t_s": 23.4,
        "title": "A wall comes nearer",
        "heard": [Spoken(float(i), "caution", f"Object, number {i}, at quite some distance behind") for i in range(40)],
        "published": [Message(float(i), "retrowalk/v1/home/rw-0001/event/hazard.raised", "x" * 60) for i in range(40)],
        "notes": [],
        "sound": "walk.wav",
        "duration_s": 90.0,
    }
    return Frame(status=shown, **{**values, **fields})


NOTHING = status(
    range_m=None,
    closing_speed_m_s=None,
    time_to_collision_s=None,
    trunk_pitch_deg=None,
    cadence_spm=None,
    own_speed_m_s=None,
    path="unknown",
    saying="",
)
LOST = status(
    guard_state="not_protecting",
    reasons=["config", "rear", "voice"],
    health=dict.fromkeys(HEALTH, "lost") | {"dropoff-left": "degraded", "dropoff-right": "starting"},
)
FRAMES = [
    pytest.param(frame(status()), id="object behind"),
    pytest.param(frame(None), id="guard does not answer"),
    pytest.param(frame(NOTHING, heard=[], published=[], duration_s=0.0), id="nothing known yet"),
    pytest.param(frame(status(saying="Did you fall? Press the button if you are fine.", countdown_s=29.0)), id="fall"),
    pytest.param(
        frame(LOST, notes=["no sound device: keeping the sound in /a/long/name/" + "x" * 80] * 3), id="broken"
    ),
    pytest.param(frame(status(range_m=0.05, closing_speed_m_s=9.0, saying="tick")), id="far beyond the bar"),
    pytest.param(frame(status(closing_speed_m_s=-0.5)), id="walking away"),
]


def drawn(shown, columns, lines):
    console = Console(file=io.StringIO(), width=columns, height=lines, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(render(shown, Config(), ConsoleDimensions(columns, lines)))
    return captured.get().splitlines()


@pytest.mark.parametrize("shown", FRAMES)
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 30), (200, 60)])
def test_fits_the_terminal(shown, columns, lines):
    """Whatever there is to show, it fits, and nothing makes the picture jump: always the same number of lines"""
    text = drawn(shown, columns, lines)
    assert len(text) == lines
    assert max(map(len, text)) <= columns


def test_shows_what_matters():
    """Range, room needed, speeds, time to collision, posture, cadence, state, health and what is being said"""
    text = "\n".join(drawn(frame(status()), 80, 24))
    for words in (
        "1.62 m",
        "closing speed +0.52 m/s",
        "time to collision 3.1 s",
        "room needed: ",
        "-3.2° backward",
        "92 steps/min",
        "0.52 of 0.68 m/s",
        "guarding",
        "rear ok",
        "courier ok",
        "O B J E C T ,   O N E   A N D   A   H A L F",
        "A wall comes nearer",
        "23.4 of 90 s",
        "hazard.raised",
    ):
        assert words in text, words


FULL = ("rear", "lidar", "drop", "tof", "imu", "voice", "courier")


@pytest.mark.parametrize(
    ("failed", "shown"),
    [
        pytest.param((), FULL, id="all well"),
        *(pytest.param((name,), FULL, id=f"{name} lost") for name in FULL),
        pytest.param(("lidar", "drop", "tof", "imu"), FULL[:6], id="bus held"),
        pytest.param(FULL[1:], FULL[1:5], id="nearly all"),
    ],
)
def test_the_health_of_every_part_has_room(failed, shown):
    """On the smallest terminal each part of a full set can be read; where not all have room, those that fail come"""
    health = dict.fromkeys(FULL, "ok") | dict.fromkeys(failed, "lost")
    text = "".join(drawn(frame(status(health=health)), 80, 24))
    assert [name for name in shown if f"{name} {health[name]}" not in text] == []


@pytest.mark.parametrize("path", ["starting", "object", "clear", "unknown", "broken"])
def test_path_is_spelt_out(path):
    """Without a range the bar ends in what is known of the path, whole, in the smallest terminal too"""
    bar = next(line for line in drawn(frame(status(range_m=None, path=path)), 80, 24) if "you " in line)
    assert f" {path} " in bar


def test_terminal_that_cannot_draw_gets_lines(monkeypatch):
    """On TERM=dumb a live view would show nothing at all"""
    monkeypatch.setenv("TERM", "dumb")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with show(console) as on_frame:
        on_frame(frame(status(), notes=["no sound device"]))
    assert isinstance(console.file, io.StringIO)
    assert "no sound device" in console.file.getvalue()


def test_shows_the_latest_and_uses_the_room():
    """The newest of what was heard is always there; a larger terminal shows more of it"""
    small, large = ("\n".join(drawn(frame(status()), *size)) for size in ((80, 24), (120, 50)))
    assert "39.0  caution" in small
    assert "39.0  caution" in large
    assert small.count("caution   Object") < large.count("caution   Object")


def test_without_a_terminal_it_writes_lines():
    """At most one line a second about the walk; everything said, sent and noted once"""
    console = Console(file=io.StringIO(), width=80)
    with show(console) as on_frame:
        for tenth in range(30):
            t_s = tenth / 10.0
            heard = [Spoken(1.0, "caution", "Object, one metre")] if t_s >= 1.0 else []
            published = [Message(2.0, "retrowalk/v1/home/rw-0001/event/hazard.raised", "rear")] if t_s >= 2.0 else []
            on_frame(frame(status(), t_s=t_s, heard=heard, published=published, notes=["no sound device"]))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert sum("closing" in line for line in lines) == 3
    assert sum("says  caution   Object, one metre" in line for line in lines) == 1
    assert sum("sent" in line for line in lines) == 1
    assert sum("no sound device" in line for line in lines) == 1
    assert sum("-- A wall comes nearer" in line for line in lines) == 1


def test_picture_stands_alone(tmp_path):
    """The picture for the README is well-formed and fetches nothing from the network"""
    file = tmp_path / "terminal.svg"
    picture(frame(status()), file)
    root = ET.parse(file).getroot()
    assert root.tag.endswith("svg")
    text = file.read_text()
    assert "font-face" not in text
    assert "url(http" not in text
