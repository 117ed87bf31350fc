"""The words of messages: each reason has some in every language, and they say who, what, when and what to do."""

from __future__ import annotations

import datetime
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import retrowalk.hub
from retrowalk.hub.facts import Alert, Kind, Notify, Stage, Told
from retrowalk.hub.words import Message, message, shown

LANGUAGES = ("en", "de")
WALL_S = 1_768_469_667.0  # 2026-01-15 09:34:27 UTC, at hub time 300
TYPES = {Kind.FALL: "fall.confirmed", Kind.SOS: "sos.raised", Kind.SILENT: "", Kind.EVENT: "gas.smelt"}
CASES = [
    *((kind, why) for kind in TYPES for why in Told if why not in (Told.NOTE, Told.TEST)),
    (Kind.NOTE, Told.NOTE),
    *((kind, Told.TEST) for kind in Kind),
]


def notice(kind: Kind = Kind.FALL, why: Told = Told.ALARM, **changes: Any) -> Notify:
    """A message at hub time 300 about an alert of 09:31, which was opened at 100."""
    alert = Alert(
        number=7,
        device="home/rw-0001",
        kind=kind,
        stage=Stage.OPEN,
        priority="high",
        event="01JD-secret-id",
        event_type=TYPES.get(kind, "battery.low"),
        session="20260115-x",
        opened_s=100.0,
        happened="2026-01-15T09:31:07.412Z",
        clock="ntp",
        historical=False,
        told=("Anna", "Ben"),
        answered_by="Ben",
        answered_s=200.0,
        ended_s=280.0,
        ended="button",
    )
    fields: dict[str, Any] = {"contact": "Anna"}
    fields |= {name: changes.pop(name) for name in ("heard_s", "battery_percent", "contact") if name in changes}
    return Notify(
        notice=1,
        alert=replace(alert, **changes),
        why=why,
        priority="high",
        urgent=False,
        now_s=300.0,
        void_s=400.0,
        **fields,
    )


def written(asked: Notify, language: str = "en", walker: str = "Marta") -> Message:
    return message(asked, wall_s=WALL_S, language=language, walker=walker, zone=datetime.UTC)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(("kind", "why"), [pytest.param(*case, id=" ".join(case)) for case in CASES])
def test_each_reason_has_words(kind, why, language):
    """A title for a lock screen that names the walker, a body without blanks, ids or other inner names"""
    title, body = written(notice(kind, why, battery_percent=34.0), language)
    assert "Marta" in title
    assert 5 < len(title) <= 60
    assert 10 < len(body) <= 400
    assert not re.search(r"[{}]|None|01JD|20260115|home/|  ", title + body)


def test_both_languages_have_the_same_words():
    """Each table of one stands in the other, with the same blanks"""
    folder = Path(retrowalk.hub.__file__).parent / "texts"

    def flat(table: dict[str, Any], name: str = "") -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for key, value in table.items():
            if isinstance(value, dict):
                found |= flat(value, f"{name}{key}.")
            else:
                found[f"{name}{key}"] = set(re.findall(r"{(\w+)}", value))
        return found

    english, german = (flat(tomllib.loads((folder / f"{name}.toml").read_text("utf-8"))) for name in LANGUAGES)
    assert english.keys() == german.keys()
    assert {key for key in english if english[key] != german[key]} == set()


def test_an_alarm_says_what_when_and_what_to_do():
    """In English, whole"""
    title, body = written(notice(heard_s=290.0, battery_percent=34.4))
    assert title == "FALL: Marta"
    assert body == (
        "Marta has fallen, and nobody has called it off. At 09:31. Battery 34 %. "
        "Call or go there. Answer this message, so that the others need not come, too."
    )


def test_an_alarm_in_german():
    """In German, whole"""
    title, body = written(notice(heard_s=290.0), "de")
    assert title == "STURZ: Marta"
    assert body == (
        "Marta ist gestürzt, es gab keine Entwarnung. Um 09:31. "
        "Anrufen oder hingehen. Diese Nachricht beantworten, damit nicht auch die anderen kommen."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({}, "At 09:31.", id="known"),
        pytest.param({"historical": True, "happened": "2026-01-15T06:02:00Z"},
                     "Delayed: happened at 06:02, heard of at 09:31.", id="delayed"),
        pytest.param({"historical": True, "happened": "2026-01-13T06:02:00Z"},
                     "Delayed: happened at 06:02 on 2026-01-13, heard of at 09:31.", id="days ago"),
        pytest.param({"clock": "unset"}, "At 09:31, or less than ten minutes before (the device's clock is not set).",
                     id="clock not set"),
        pytest.param({"clock": "unset", "historical": True}, "when it happened is not known (clock not set)",
                     id="clock not set, long ago"),
        pytest.param({"clock": "unset", "happened": "1970-01-01T00:02:00Z", "happened_s": 60.0},
                     "At 09:30.", id="reckoned by the hub"),
        pytest.param({"clock": "unset", "historical": True, "happened_s": -3600.0},
                     "Delayed: happened at 08:29, heard of at 09:31.", id="reckoned, delayed"),
        pytest.param({"happened": "2036-01-15T09:31:07Z", "happened_s": 60.0}, "At 09:30.", id="reckoned, clock wrong"),
        pytest.param({"happened": "2036-01-15T09:31:07Z"}, "(the device's clock is wrong)", id="ten years ahead"),
        pytest.param({"happened": "1999-01-15T09:31:07Z"}, "(the device's clock is wrong)", id="long ago, and live"),
        pytest.param({"happened": "2036-01-15T09:31:07Z", "historical": True},
                     "is not known (the device's clock is wrong)", id="ten years ahead, long ago"),
        pytest.param({"happened": "yesterday", "historical": True}, "is not known", id="no time"),
        pytest.param({"happened": "2026-01-15T09:31:07", "historical": True}, "is not known", id="no zone"),
        pytest.param({"heard_s": 60.0}, "The device was last heard at 09:30, 4 min ago.", id="silent since"),
    ],
)  # fmt: skip
def test_when_it_happened_is_said_as_far_as_it_is_known(changes, said):
    """A Pi has no clock of its own: a time that cannot be right is not told as one"""
    assert said in written(notice(**changes)).body


@pytest.mark.parametrize(
    ("type", "data", "title"),
    [
        pytest.param("fall.lasted", {"posture": "lying"}, "Marta: still lies there", id="lies"),
        pytest.param("fall.lasted", {"posture": "upright"}, "Marta: upright, does not move", id="slumped"),
        pytest.param("fall.lasted", {"posture": "unknown"}, "Marta: has not got up", id="not known"),
        pytest.param("fall.lasted", {"posture": ["{}"]}, "Marta: has not got up", id="nonsense"),
        pytest.param("fall.risen", {"walking": True}, "Marta: walks again", id="walks"),
        pytest.param("fall.risen", {"walking": False}, "Marta: upright again", id="upright"),
        pytest.param("moon.rose", {}, "Marta: has reported again", id="unknown"),
    ],
)
def test_news_stand_in_the_title(type, data, title):
    """A glance at the lock screen tells what has changed"""
    assert written(notice(why=Told.UPDATE, event_type=type, data=data)).title == title


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        pytest.param("button", "Marta has called it off by the button.", id="button"),
        pytest.param("walked", "Marta walks on, the alarm was called off.", id="walked"),
        pytest.param("Ben", "Ben has said that it is over.", id="a person"),
        pytest.param("device", "The device says that it is over.", id="device"),
        pytest.param("{who}", "The device says that it is over.", id="nonsense"),
    ],
)
def test_the_all_clear_says_why(ended, said):
    """Who ended it decides whether somebody still goes there"""
    assert written(notice(why=Told.ALL_CLEAR, ended=ended)).body == f"{said} At 09:31. It lasted 3 min."


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        pytest.param("", "Nothing has been heard of the device of Marta.", id="not known"),
        pytest.param("lost", "The connection of the device of Marta broke off.", id="lost"),
        pytest.param("guard", "does not watch over the walk", id="guard"),
        pytest.param("link", "This hub is cut off from its broker", id="the hub itself"),
        pytest.param(["x"], "Nothing has been heard", id="nonsense"),
    ],
)
def test_a_silence_says_its_cause_and_since_when(cause, said):
    """Last heard, and how long ago"""
    title, body = written(notice(Kind.SILENT, data={"cause": cause}, heard_s=120.0))
    assert title == "NO SIGNAL for 3 min: Marta"
    assert said in body
    assert "Last heard at 09:31, 3 min ago." in body


@pytest.mark.parametrize(
    ("type", "data", "title"),
    [
        pytest.param("battery.low", {"charge_percent": 19.6}, "Marta: battery 20 %", id="battery"),
        pytest.param("sensor.lost", {"sensor": "imu", "cause": "absent"},
                     "Marta: the clip at the back does not work", id="sensor"),
        pytest.param("fault.raised", {"part": "left <b>motor", "fault": "stuck"},
                     "Marta: left <b>motor does not work", id="part without words"),
        pytest.param("balance.lost", {"count": 3, "within_s": 1800.0}, "Marta: lost balance 3 times", id="balance"),
        pytest.param("events.missed", {"count": 12}, "Marta: 12 messages lost", id="missed"),
        pytest.param("events.dropped", {"count": 5}, "Marta: 5 messages given up", id="dropped"),
        pytest.param("battery.low", {"charge_percent": "lots"}, "Marta: battery ? %", id="nonsense"),
        pytest.param("{who.__class__}\n", {}, "Marta: who.__class__", id="hostile"),
    ],
)  # fmt: skip
def test_a_note_says_what_it_is(type, data, title):
    """In the title already"""
    assert written(notice(Kind.NOTE, Told.NOTE, event_type=type, data=data)).title == title


@pytest.mark.parametrize(
    ("type", "data", "title", "body"),
    [
        pytest.param("hub.back", {"away_s": 7200.0}, "The hub: was away", "away for 2 h 0 min", id="back"),
        pytest.param("store.damaged", {"rows": 12}, "The hub: its memory was damaged", "(12 entries)", id="damaged"),
        pytest.param("event.unread", {"type": "x", "of": "home/y"}, "The hub: could not read a message", "(x, home/y)",
                     id="unread"),
    ],
)  # fmt: skip
def test_the_hub_speaks_of_itself(type, data, title, body):
    """What concerns no walker is not said of one"""
    found = written(notice(Kind.NOTE, Told.NOTE, device="home/hub", event_type=type, data=data), walker="")
    assert found.title == title
    assert body in found.body


def test_a_reminder_is_worded_for_who_reads_it():
    """Whoever answered is spoken to; others hear who it was"""
    to_ben = written(notice(why=Told.REMINDER, contact="Ben")).body
    to_anna = written(notice(why=Told.REMINDER, contact="Anna")).body
    assert "You answered at 09:32" in to_ben
    assert "Ben answered at 09:32" in to_anna


def test_without_a_name_the_device_is_named():
    """Its own name, without the site"""
    assert written(notice(), walker="").title == "FALL: rw-0001"


def test_what_a_device_writes_is_shown_short_and_plain():
    """No control characters, no braces, no page of text"""
    assert shown("a\x1b[31m{b}\n" + "c" * 100) == "a[31mb" + "c" * 33 + "…"


def test_a_language_without_words_is_refused():
    """Nor is a path one"""
    for language in ("fr", "../en"):
        with pytest.raises(KeyError):
            written(notice(), language)
