"""The alert life cycle: who is told what and when, whatever order, delay or repetition things come in."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.hub.families import DEVICE, Family

from retrowalk.errors import WireError
from retrowalk.hub.alerts import Desk
from retrowalk.hub.facts import (
    Alert,
    Answered,
    Command,
    Delivered,
    EventCame,
    HeartbeatCame,
    Item,
    Kind,
    LinkCame,
    NoteCame,
    Notify,
    Stage,
    StateCame,
    Tick,
    Told,
    Void,
)
from retrowalk.hub.settings import Contact, Ladder, Silence
from retrowalk.hub.words import message

THREE = ("Anna", "Ben", "Cleo")


def last(family: Family) -> Alert:
    """The alert that changed last."""
    return next(one for _, one in reversed(family.outcomes) if isinstance(one, Alert))


def sos_cancelled(at: float) -> EventCame:
    """The second event of the device, with nothing that is due before it."""
    return EventCame(
        now_s=at,
        device=DEVICE,
        epoch="e1",
        seq=2,
        id="i2",
        type="sos.cancelled",
        priority="high",
        time="2026-01-15T09:31:07Z",
        clock="ntp",
        session="s1",
        data={"by": "button"},
    )


# -- the ladder -------------------------------------------------------------------------------------------------


def test_the_ladder_climbs_until_somebody_answers():
    """Contact 1 at once and each minute, contact 2 after two, contact 3 after four, everybody urgently after five"""
    family = Family(*THREE, alive=True)
    family.event(0, "fall.confirmed", fall=1)
    family.until(310)
    told = {name: [at for at, who, _ in family.told() if who == name] for name in THREE}
    assert told == {"Anna": [0, 60, 120, 180, 240, 300], "Ben": [120, 180, 240, 300], "Cleo": [240, 300]}
    assert [(n.contact, n.now_s) for n in family.notices() if n.urgent] == [(name, 300.0) for name in THREE]
    assert [why for _, who, why in family.told() if who == "Ben"][:2] == ["escalated", "repeat"]


def test_the_first_message_is_an_alarm_of_high_priority():
    """A confirmed fall reaches the first contact in the moment it comes"""
    family = Family(*THREE)
    alert, notice = family.event(0, "fall.confirmed", fall=1)
    assert isinstance(alert, Alert)
    assert isinstance(notice, Notify)
    assert (notice.contact, notice.why, notice.priority, notice.urgent) == ("Anna", Told.ALARM, "high", False)
    assert notice.alert == alert
    assert alert.told == ("Anna",)


def test_after_half_an_hour_it_goes_on_for_ever_each_five_minutes():
    """Nobody answers for a day: nobody is left alone, and nobody is told each minute for a day"""
    family = Family("Anna")
    family.event(0, "sos.raised")
    family.until(86400)
    times = [at for at, _, why in family.told() if why in ("alarm", "repeat")]
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[:30] == [60.0] * 30
    assert set(gaps[30:]) == {300.0}
    assert times[-1] > 86400 - 301


def test_urgent_ways_are_used_each_five_minutes():
    """A text message or a call comes after five minutes, and again each five"""
    family = Family("Anna")
    family.event(0, "sos.raised")
    family.until(1000)
    assert [n.now_s for n in family.notices() if n.urgent] == [300.0, 600.0, 900.0]


@pytest.mark.parametrize(
    ("ladder", "expected"),
    [
        pytest.param(Ladder(next_after_s=30.0), [0, 30, 60], id="quickly"),
        pytest.param(Ladder(next_after_s=1800.0, all_after_s=60.0), [0, 60, 60], id="all soon"),
        pytest.param(Ladder(repeat_s=50.0, next_after_s=90.0), [0, 90, 180], id="not on the minute"),
    ],
)
def test_the_ladder_follows_its_settings(ladder, expected):
    """Each contact's first message comes when the settings say"""
    family = Family(*THREE, ladder=ladder)
    family.event(0, "sos.raised")
    family.until(400)
    firsts = [min(at for at, who, _ in family.told() if who == name) for name in THREE]
    assert firsts == expected


def test_whoever_cannot_be_reached_is_not_waited_for():
    """Nothing reached the first: the second is told at once, the third two minutes after that; all are told on"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    family.unreached(family.notices()[0], 2.0)
    assert family.told()[-1] == (2.0, "Ben", "escalated")
    family.until(130)
    assert (120.0, "Cleo", "escalated") in family.told()
    assert (60.0, "Anna", "repeat") in family.told()


def test_a_message_that_fails_after_one_was_taken_hurries_nobody():
    """Somebody who was reached, and is not the second time, has had the news"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    family.taken(family.notices()[0])
    family.until(60)
    family.unreached(family.notices()[-1], 61.0)
    assert not [who for _, who, _ in family.told() if who == "Ben"]


def test_when_nobody_can_be_reached_everybody_is_tried_on():
    """All fail at once, and all are told again each minute"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    for _ in THREE:
        family.unreached(family.notices()[-1])
    assert [who for _, who, _ in family.told()] == list(THREE)
    family.until(60)
    assert [who for at, who, _ in family.told() if at == 60.0] == list(THREE)


def test_a_device_that_asks_all_day_does_not_tell_each_time():
    """Ten possible falls an hour are told; a real one always is"""
    family = Family("Anna")
    for number in range(1, 40):
        family.event(number * 20, "fall.suspected", fall=number, countdown_s=30)
        family.event(number * 20 + 10, "fall.cancelled", fall=number, by="button")
    assert [why for _, _, why in family.told()] == ["possible", "all_clear"] * 10
    family.event(900, "fall.suspected", fall=40, countdown_s=30)
    family.event(930, "fall.confirmed", fall=40)
    assert family.told(900) == [(930.0, "Anna", "alarm")]


def test_a_possible_fall_goes_to_the_first_who_can_be_reached():
    """The first contact cannot be: the next hears of the question, too"""
    family = Family(*THREE)
    family.event(0, "fall.suspected", fall=1, countdown_s=30)
    family.unreached(family.notices()[0], 1.0)
    assert family.told() == [(0.0, "Anna", "possible"), (1.0, "Ben", "possible")]


def test_a_hub_that_was_off_does_once_what_was_due():
    """After hours each contact hears one message, not fifty"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    assert family.feed(Tick(now_s=7200.0)) == ()
    family.until(7210)
    assert [(at, who) for at, who, _ in family.told(7000)] == [(7205.0, name) for name in THREE]
    assert 7205.0 < family.desk.deadline() <= 7505.0


def test_a_hub_that_was_off_hears_first_and_calls_then():
    """What was due in the hours without it is not told when the end of it waits at the broker"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    family.feed(LinkCame(now_s=7200.0, up=True))
    family.feed(sos_cancelled(7201.0))
    family.until(7300)
    assert family.told(1) == [(7201.0, "Anna", "all_clear")]


def test_without_contacts_alerts_are_kept_and_shown():
    """Nobody is configured: the alert is there, can be answered, and ends"""
    family = Family()
    family.event(0, "fall.confirmed", fall=1)
    family.until(4000)
    assert [alert.stage for alert in family.desk.alerts()] == [Stage.OPEN]
    family.answers(4000, "Dora")
    assert [alert.stage for alert in family.desk.alerts()] == [Stage.ANSWERED]
    family.event(4100, "fall.cancelled", fall=1, by="button")
    assert family.desk.alerts() == ()
    assert not family.notices()


# -- falls and calls for help -----------------------------------------------------------------------------------


def test_a_possible_fall_that_is_called_off_pages_nobody():
    """The first contact hears of the question and of its end, without haste"""
    family = Family(*THREE)
    family.event(0, "fall.suspected", fall=1, countdown_s=30)
    family.event(12, "fall.cancelled", fall=1, by="button")
    family.until(400)
    assert family.told() == [(0.0, "Anna", "possible"), (12.0, "Anna", "all_clear")]
    assert [notice.priority for notice in family.notices()] == ["medium", "low"]
    assert last(family).ended == "button"


def test_a_confirmed_fall_starts_the_ladder():
    """The question becomes an alarm, of the same alert"""
    family = Family(*THREE)
    family.event(0, "fall.suspected", fall=1, countdown_s=30)
    family.event(30, "fall.confirmed", fall=1)
    assert family.told()[-1] == (30.0, "Anna", "alarm")
    assert [alert.number for alert in family.desk.alerts()] == [1]
    assert last(family).event == "i1"


@pytest.mark.parametrize(
    ("countdown", "alarm_s"),
    [
        pytest.param(30, 50.0, id="as usual"),
        pytest.param(10.5, 30.5, id="short"),
        pytest.param("soon", 50.0, id="not a number"),
        pytest.param(math.nan, 50.0, id="no number"),
        pytest.param(-4, 25.0, id="negative"),
        pytest.param(1e9, 140.0, id="for ever"),
        pytest.param(True, 50.0, id="true"),
    ],
)
def test_a_countdown_without_an_outcome_becomes_an_alarm(countdown, alarm_s):
    """The link died in the countdown: 20 s after its end somebody is needed, whatever the event says of it"""
    family = Family(*THREE)
    family.event(0, "fall.suspected", fall=1, countdown_s=countdown)
    family.until(alarm_s + 1)
    assert [(at, why) for at, _, why in family.told()] == [(0.0, "possible"), (alarm_s, "alarm")]
    assert last(family).priority == "high"


def test_a_countdown_of_a_device_that_is_gone_is_not_waited_for():
    """The broker has given the connection up: nothing more can come, the alarm is due with the end of the countdown"""
    family = Family(*THREE)
    family.state(0, "walking")
    family.event(1, "fall.suspected", fall=1, countdown_s=30)
    family.state(14, "lost")
    family.until(32)
    assert family.told()[-1] == (31.0, "Anna", "alarm")


def test_everybody_who_was_told_hears_the_all_clear():
    """Two of three were told; these two hear the end, and nobody hears more after it"""
    family = Family(*THREE)
    family.event(0, "fall.confirmed", fall=1)
    family.until(130)
    family.event(131, "fall.cancelled", fall=1, by="button")
    family.until(1000)
    assert family.told(131) == [(131.0, "Anna", "all_clear"), (131.0, "Ben", "all_clear")]


def test_what_was_not_sent_when_it_ends_is_not_sent_any_more():
    """The alarm that has not been taken is void; the one that has is not"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    family.until(120)
    notices = {(notice.contact, notice.now_s): notice for notice in family.notices()}
    family.taken(notices["Anna", 120.0])
    out = family.event(125, "sos.cancelled", by="button")
    assert [one.notice for one in out if isinstance(one, Void)] == [notices["Ben", 120.0].notice]


def test_the_end_of_an_older_fall_does_not_end_a_newer_one():
    """High priority goes first: the cancellation of fall 1 comes after the confirmation of fall 2"""
    family = Family(*THREE)
    family.event(0, "fall.confirmed", 9, fall=2)
    family.event(1, "fall.cancelled", 5, fall=1, by="button")
    assert [alert.stage for alert in family.desk.alerts()] == [Stage.OPEN]


def test_what_is_over_before_it_comes_is_written_down_and_pages_nobody():
    """Out of a full outbox the end comes first: the alert is over at birth"""
    family = Family(*THREE)
    family.event(0, "fall.cancelled", 8, fall=1, by="walked")
    out = family.event(1, "fall.suspected", 7, fall=1, countdown_s=30)
    (alert,) = out
    assert isinstance(alert, Alert)
    assert (alert.stage, alert.ended, alert.told) == (Stage.OVER, "walked", ())
    assert family.event(2, "fall.suspected", 6, fall=1) == ()
    family.until(200)
    assert not family.notices()


def test_a_backlog_whose_end_follows_pages_nobody():
    """Hours later: confirmed, cancelled, and then the question. All clear would alarm people, too"""
    family = Family(*THREE)
    family.backlog(
        100,
        (2, "fall.confirmed", {"fall": 1}),
        (9, "fall.cancelled", {"fall": 1, "by": "button"}),
        (1, "fall.suspected", {"fall": 1, "countdown_s": 30}),
    )
    family.until(500)
    assert not family.notices()
    assert len({one.number for _, one in family.outcomes if isinstance(one, Alert)}) == 1


def test_a_backlog_without_an_end_pages_after_some_seconds():
    """A fall of hours ago that is open still pages, and says that it is late"""
    family = Family(*THREE)
    family.backlog(100, (2, "fall.confirmed", {"fall": 1}), (1, "fall.suspected", {"fall": 1, "countdown_s": 30}))
    family.until(106)
    assert family.told() == [(105.0, "Anna", "alarm")]
    assert last(family).historical


def test_a_gap_that_is_filled_late_pages_nobody_when_its_end_follows():
    """A hub asks for what it has missed minute by minute: a fall of hours ago and its end may come in two answers"""
    family = Family(*THREE)
    family.event(0, "walk.started", 50, priority="high")
    family.answers(1, "Anna", over=True)
    family.backlog(100, (20, "fall.confirmed", {"fall": 1}))
    family.backlog(165, (21, "fall.cancelled", {"fall": 1, "by": "button"}))
    family.backlog(170, (22, "sos.raised", {}))
    family.until(265)
    assert family.told(2) == [(260.0, "Anna", "alarm")]


def test_the_same_event_in_two_epochs_is_one():
    """The guard hands an event over again to an outbox that was begun anew"""
    family = Family(*THREE)
    family.event(0, "sos.raised", 41, id="same")
    family.event(10, "sos.cancelled", 42, by="button")
    assert family.event(20, "sos.raised", 1, id="same", epoch="e2") == ()
    assert family.desk.alerts() == ()


def test_a_new_epoch_is_newer_than_every_number_of_the_old():
    """After the outbox was lost its numbers begin with 1, and a call for help is still ended by what follows it"""
    family = Family(*THREE)
    family.event(0, "sos.raised", 41)
    family.event(10, "sos.cancelled", 1, by="button", epoch="e2", id="other")
    assert family.desk.alerts() == ()


def test_a_guard_that_restarts_in_the_countdown_makes_one_alert():
    """The session changes between the question and the alarm, the fall goes on"""
    family = Family(*THREE)
    family.event(0, "fall.suspected", fall=3, countdown_s=30)
    family.event(40, "fall.confirmed", fall=3, session="s2")
    assert [alert.number for alert in family.desk.alerts()] == [1]
    assert last(family).session == "s1"


def test_a_fall_and_a_call_for_help_are_two_alerts():
    """Each ends for itself"""
    family = Family(*THREE)
    family.event(0, "fall.confirmed", fall=1)
    family.event(5, "sos.raised")
    family.event(9, "fall.cancelled", fall=1, by="button")
    assert [alert.kind for alert in family.desk.alerts()] == [Kind.SOS]


def test_getting_up_is_news_and_no_end():
    """Whoever was told hears that the walker is up; the ladder goes on until a person answers or the walker ends it"""
    family = Family(*THREE)
    family.event(0, "fall.confirmed", fall=1)
    family.event(20, "fall.risen", fall=1, since_s=20, walking=False)
    family.until(61)
    assert family.told()[-2:] == [(20.0, "Anna", "update"), (60.0, "Anna", "repeat")]


def test_news_of_an_answered_fall_go_to_whoever_answered():
    """That nobody has got up yet concerns the one who is on the way"""
    family = Family(*THREE, alive=True)
    family.event(0, "fall.confirmed", fall=1)
    family.until(121)
    family.answers(122, "Ben")
    family.event(180, "fall.lasted", fall=1, since_s=180, posture="lying")
    assert family.told(180) == [(180.0, "Ben", "update")]


def test_news_do_not_come_more_often_than_each_minute():
    """Of five in ten seconds the first is told at once, and the latest a minute later"""
    family = Family("Anna", alive=True)
    family.event(0, "fall.confirmed", fall=1)
    family.answers(1, "Anna")
    for second in range(10, 20, 2):
        family.event(second, "fall.lasted", fall=1, since_s=second, posture="lying")
    family.until(200)
    updates = [notice for notice in family.notices() if notice.why is Told.UPDATE]
    assert [notice.now_s for notice in updates] == [10.0, 70.0]
    assert updates[-1].alert.data["since_s"] == 18


def test_calling_for_help_again_reaches_everybody_who_was_told():
    """Somebody has answered, and the walker calls once more: that is loud"""
    family = Family(*THREE, alive=True)
    family.event(0, "sos.raised")
    family.until(121)
    family.answers(122, "Ben")
    family.event(200, "sos.raised")
    assert [(n.contact, n.why, n.priority) for n in family.notices(200)] == [
        ("Anna", Told.UPDATE, "high"),
        ("Ben", Told.UPDATE, "high"),
    ]


def test_another_fall_after_an_answer_is_another_alert():
    """Its end was lost on the way: who was told of the first hears the end of the second"""
    family = Family("Anna", "Ben")
    family.event(0, "fall.confirmed", fall=1)
    family.until(121)
    family.answers(122, "Ben")
    family.event(500, "fall.suspected", fall=2, countdown_s=30)
    assert family.told(500) == [(500.0, "Anna", "possible")]
    family.event(510, "fall.cancelled", fall=2, by="button")
    assert family.told(510) == [(510.0, "Anna", "all_clear"), (510.0, "Ben", "all_clear")]


# -- people -----------------------------------------------------------------------------------------------------


def test_an_answer_stops_the_ladder_and_is_told():
    """Who was told hears who looks after it, the device too, and there is no repetition"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    family.until(125)
    out = family.answers(130, "ben")
    assert [one for one in out if isinstance(one, Command)] == [
        Command(device=DEVICE, name="seen", by="Ben", args={"event": "i1"})
    ]
    family.walks(140, 1000)
    assert family.told(130) == [(130.0, "Anna", "answered")]
    assert (last(family).stage, last(family).answered_by) == (Stage.ANSWERED, "Ben")


def test_whoever_answered_is_reminded_while_it_is_not_over():
    """Fifteen minutes after the answer, and again each fifteen"""
    family = Family(*THREE, alive=True)
    family.event(0, "sos.raised")
    family.answers(10, "Anna")
    family.walks(15, 3000)
    assert [told for told in family.told() if told[2] == "reminder"] == [
        (910.0, "Anna", "reminder"),
        (1810.0, "Anna", "reminder"),
        (2710.0, "Anna", "reminder"),
    ]


def test_who_is_no_contact_may_answer_and_those_told_are_reminded():
    """A neighbour looks after it; nobody can remind them"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    family.until(121)
    family.answers(122, "Mrs Neighbour")
    assert family.told(122) == [(122.0, "Anna", "answered"), (122.0, "Ben", "answered")]
    family.walks(130, 1100)
    assert [told[1:] for told in family.told(1000)] == [("Anna", "reminder"), ("Ben", "reminder")]


def test_who_answers_later_takes_it_over():
    """The one before hears it, and the later one is reminded; the same person twice changes nothing"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    family.until(241)
    family.answers(242, "Ben")
    assert family.answers(250, "Ben") == ()
    family.answers(260, "Cleo")
    assert family.told(260) == [(260.0, "Ben", "answered")]
    assert last(family).answered_by == "Cleo"


@pytest.mark.parametrize("by", ["", "   ", "\n\t"])
def test_an_answer_without_a_name_is_none(by):
    """Somebody must have it in hand, not nobody"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    assert family.answers(5, by) == ()
    assert [alert.stage for alert in family.desk.alerts()] == [Stage.OPEN]


def test_an_answer_for_an_unknown_alert_changes_nothing():
    """Nor does one for an alert that is over, or for nothing at all"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    assert family.answers(5, "Anna", 77) == ()
    family.event(6, "sos.cancelled", by="button")
    assert family.answers(7, "Anna", 1) == ()
    assert family.feed(Answered(now_s=8.0, by="Anna", alert=0)) == ()


def test_a_person_can_call_it_over():
    """With their name; everybody who was told hears it, and the device that it was seen"""
    family = Family(*THREE)
    family.event(0, "sos.raised")
    out = family.answers(5, "Anna", 1, over=True)
    assert [type(one) for one in out] == [Void, Alert, Notify, Command]
    assert (last(family).stage, last(family).ended) == (Stage.OVER, "Anna")
    assert family.told(5) == [(5.0, "Anna", "all_clear")]


def test_an_answer_to_a_question_does_not_answer_the_alarm():
    """Somebody has seen that the device asks; when it alarms, somebody must answer that"""
    family = Family(*THREE)
    family.event(0, "fall.suspected", fall=1, countdown_s=30)
    out = family.answers(5, "Anna")
    assert any(isinstance(one, Command) for one in out)
    family.event(30, "fall.confirmed", fall=1)
    assert family.told(30) == [(30.0, "Anna", "alarm")]
    assert last(family).answered_by == ""


def test_a_fall_called_over_that_the_device_holds_open_stays_with_that_person():
    """Reported again it is theirs: they hear it, the others do not, and not each time"""
    family = Family(*THREE)
    family.event(0, "fall.confirmed", fall=1)
    family.until(130)
    family.answers(131, "Anna", over=True)
    family.event(300, "fall.lasted", fall=1, since_s=300, posture="lying")
    assert family.told(300) == [(300.0, "Anna", "update")]
    assert (last(family).stage, last(family).answered_by) == (Stage.ANSWERED, "Anna")
    family.answers(310, "Anna", over=True)
    family.event(600, "fall.lasted", fall=1, since_s=600, posture="lying")
    assert family.desk.alerts() == ()


def test_who_gets_up_and_falls_again_after_it_was_called_over_is_a_new_alarm():
    """The device reports a lie that began after a person said that it was over"""
    family = Family(*THREE)
    family.event(0, "fall.confirmed", fall=1)
    family.answers(60, "Anna", over=True)
    family.event(400, "fall.risen", fall=1, since_s=400, walking=True)
    family.event(900, "fall.lasted", fall=1, since_s=60, posture="lying")
    assert family.told(400) == [(900.0, "Anna", "alarm")]


def test_a_question_called_over_and_then_confirmed_is_an_alarm():
    """Whoever called it over knew only of the question"""
    family = Family(*THREE)
    family.event(0, "fall.suspected", fall=1, countdown_s=30)
    family.answers(5, "Anna", over=True)
    family.event(30, "fall.confirmed", fall=1)
    assert family.told(30) == [(30.0, "Anna", "alarm")]


def test_the_next_fall_is_an_alarm_whatever_was_called_over():
    """The device forgot its number, and counts from 1 again"""
    family = Family(*THREE)
    family.event(0, "fall.confirmed", fall=1)
    family.answers(60, "Anna", over=True)
    family.event(400, "fall.suspected", fall=1, countdown_s=30)
    family.event(430, "fall.confirmed", fall=1)
    assert family.told(400) == [(400.0, "Anna", "possible"), (430.0, "Anna", "alarm")]


# -- silence ----------------------------------------------------------------------------------------------------


def test_a_silent_device_is_noticed_and_then_paged_for():
    """60 s: the first contact hears it in passing; 180 s: the ladder"""
    family = Family(*THREE)
    family.walks(0, 60)
    family.until(400)
    assert family.told()[:3] == [(120.0, "Anna", "possible"), (240.0, "Anna", "alarm"), (300.0, "Anna", "repeat")]
    assert [notice.priority for notice in family.notices()[:2]] == ["low", "high"]
    assert last(family).kind is Kind.SILENT


@pytest.mark.parametrize(
    ("state", "guard", "first_s"),
    [
        pytest.param("ready", "not_worn", None, id="on the table"),
        pytest.param("sleeping", "", None, id="unknown word"),
        pytest.param("ready", "guarding", 150.0, id="guards somebody who stands"),
        pytest.param("walking", "limited", 60.0, id="walks"),
    ],
)
def test_only_who_should_speak_is_silent(state, guard, first_s):
    """A device that rests speaks each 60 s at most, and one that is not worn may be silent for ever"""
    family = Family(*THREE)
    family.beat(0, state, guard=guard)
    family.until(5000)
    assert (family.told()[0][0] if family.told() else None) == first_s


def test_a_device_that_was_switched_off_is_not_silent():
    """It has said goodbye"""
    family = Family(*THREE)
    family.walks(0, 60)
    family.state(70, "disconnected")
    family.until(5000)
    assert not family.told()


def test_the_brokers_word_alone_alarms_nobody():
    """A link that flaps all day is lost and found again without a message"""
    family = Family(*THREE)
    for start in range(0, 3600, 60):
        conn = f"c{start}"
        family.state(start, "walking", conn)
        family.beat(start + 1, conn=conn)
        family.state(start + 20, "lost", conn)
    assert not family.told()


def test_a_late_word_about_an_old_connection_changes_nothing():
    """The will of the connection before comes after the new one has spoken"""
    family = Family(*THREE)
    family.state(0, "walking", "old")
    family.state(20, "walking", "new")
    family.event(21, "fall.suspected", fall=1, countdown_s=30)
    family.state(25, "lost", "old")
    family.until(52)
    assert family.told() == [(21.0, "Anna", "possible")]


def test_a_state_that_the_broker_tells_again_is_no_sign_of_life():
    """The hub has come back to the broker, and hears what was kept there"""
    family = Family(*THREE)
    family.state(0, "walking")
    family.state(50, "walking")
    family.until(61)
    assert family.told() == [(60.0, "Anna", "possible")]


def test_a_device_that_speaks_again_ends_its_silence():
    """Who was told of it hears so: at once after a notice, and after half a minute of speaking after a page"""
    family = Family(*THREE)
    family.walks(0, 0)
    family.beat(90)
    assert family.told() == [(60.0, "Anna", "possible"), (90.0, "Anna", "all_clear")]
    family.until(280)
    family.walks(290, 340)
    assert family.told(91) == [(270.0, "Anna", "alarm"), (320.0, "Anna", "all_clear")]
    assert last(family).ended == "heard"


def test_while_it_speaks_again_nobody_further_is_called():
    """The ladder rests in the half minute in which the device shows that it is back, and goes on if it is not"""
    family = Family(*THREE)
    family.beat(0)
    family.until(181)
    family.beat(235)
    family.until(400)
    assert family.told(182) == [
        (295.0, "Anna", "repeat"),
        (300.0, "Ben", "escalated"),
        (355.0, "Anna", "repeat"),
        (360.0, "Ben", "repeat"),
    ]


def test_a_link_that_flaps_for_an_hour_pages_at_most_twice():
    """Silent for 200 s, there for 45 s, again and again: the second page stays open until it has spoken for long"""
    family = Family("Anna")
    for start in range(0, 3600, 245):
        family.walks(start, start + 45)
        family.answers(start + 241, "Anna")
    whys = [why for _, _, why in family.told()]
    assert whys.count("alarm") <= 2
    assert whys.count("possible") <= 4
    assert whys.count("repeat") == 0


def test_short_silences_are_told_each_quarter_of_an_hour_at_most():
    """Silent for 70 s every two minutes"""
    family = Family("Anna")
    for start in range(0, 3600, 120):
        family.walks(start, start + 50)
    times = [at for at, _, why in family.told() if why == "possible"]
    assert 2 <= len(times) <= 4
    assert min(after - before for before, after in pairwise(times)) >= 900


def test_silence_of_the_hub_is_not_the_devices():
    """The hub was off for two hours: nobody is called before the device could have been heard"""
    family = Family(*THREE)
    family.walks(0, 30)
    family.feed(LinkCame(now_s=7200.0, up=True))
    family.walks(7210, 7500)
    assert not family.told()


def test_a_hub_that_could_not_run_does_not_call_at_once():
    """A computer that slept notices it by its clock, and gives the device the time it had left"""
    family = Family(*THREE)
    family.beat(0)
    assert family.feed(Tick(now_s=7200.0)) == ()
    family.until(7261)
    assert family.told() == [(7260.0, "Anna", "possible")]


def test_a_hub_that_is_cut_off_for_long_calls_somebody():
    """Nothing can be heard of somebody who walks: that is no better than a silent device"""
    family = Family(*THREE)
    family.walks(0, 30)
    family.link(31, up=False)
    family.until(212)
    assert family.told() == [(211.0, "Anna", "alarm")]
    assert last(family).data["cause"] == "link"


def test_a_hub_whose_own_link_flaps_still_notices_a_silent_device():
    """Only the time in which it could hear counts, and that counts in full"""
    family = Family(*THREE)
    family.beat(0)
    for start in range(10, 400, 20):
        family.link(start, up=False)
        family.link(start + 10, up=True)
    assert family.told()[0] == (110.0, "Anna", "possible")


def test_a_guard_that_is_dead_is_silent_though_the_device_speaks():
    """The courier's heartbeats say so: nobody watches over the walk"""
    family = Family(*THREE)
    family.beat(0)
    for at in range(15, 301, 15):
        family.beat(at, guard="silent")
    assert [why for _, _, why in family.told()][:2] == ["possible", "alarm"]
    assert last(family).data["cause"] == "guard"


def test_a_silent_device_with_a_fall_is_news_of_the_fall():
    """The ladder runs already: a second one would only confuse"""
    family = Family(*THREE)
    family.beat(0)
    family.event(10, "fall.confirmed", fall=1)
    family.answers(20, "Anna")
    family.until(600)
    assert family.told(21) == [(70.0, "Anna", "update")]
    assert [alert.kind for alert in family.desk.alerts()] == [Kind.FALL]


def test_a_silence_that_a_person_called_over_comes_back_only_after_a_sign_of_life():
    """They know why; the next silence is another"""
    family = Family("Anna")
    family.beat(0)
    family.answers(185, "Anna", over=True)
    family.until(2000)
    assert family.told(186) == []
    family.beat(2000)
    family.until(2061)
    assert family.told(2001) == [(2060.0, "Anna", "possible")]


# -- notes and the unknown --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "said", "told"),
    [
        pytest.param("battery.low", {"charge_percent": 19}, True, id="battery"),
        pytest.param("sensor.lost", {"sensor": "rear", "cause": "absent"}, True, id="sensor"),
        pytest.param("moon.rose", {"priority": "medium"}, True, id="unknown, medium"),
        pytest.param("moon.rose", {"priority": "critical!"}, True, id="unknown priority"),
        pytest.param("moon.rose", {"priority": "low"}, False, id="unknown, low"),
        pytest.param("walk.started", {}, False, id="a walk"),
    ],
)
def test_what_is_worth_knowing_is_noted_to_the_first_contact(type, said, told):
    """Once, without a ladder, and nothing stays open"""
    family = Family(*THREE)
    family.event(0, type, **said)
    family.until(600)
    assert family.told() == ([(0.0, "Anna", "note")] if told else [])
    assert family.desk.alerts() == ()


def test_a_note_that_does_not_arrive_goes_to_the_next():
    """Nobody runs for it, and somebody should know it"""
    family = Family(*THREE)
    family.event(0, "battery.low", charge_percent=19)
    family.unreached(family.notices()[-1])
    assert family.told() == [(0.0, "Anna", "note"), (0.0, "Ben", "note")]


def test_the_same_note_comes_once_an_hour_with_what_was_left_out():
    """A loose plug loses its sensor every minute"""
    family = Family("Anna")
    for at in range(0, 3700, 60):
        family.event(at, "sensor.lost", sensor="rear", cause="absent")
    assert [at for at, _, _ in family.told()] == [0.0, 3600.0]
    assert family.notices()[-1].alert.data["more"] == 59


def test_a_device_has_so_many_notes_an_hour_and_no_more():
    """However many parts it names"""
    family = Family("Anna")
    for number in range(50):
        family.event(number, "sensor.lost", sensor=f"s{number}", cause="absent")
    assert len(family.told()) == 6


def test_a_battery_that_is_almost_empty_is_another_note():
    """20 % and 10 % are told both"""
    family = Family("Anna")
    family.event(0, "battery.low", charge_percent=19.7)
    family.event(60, "battery.low", charge_percent=9.8)
    assert len(family.told()) == 2


@pytest.mark.parametrize(
    ("times", "told"),
    [
        pytest.param([0, 600, 1200], 1, id="thrice"),
        pytest.param([0, 1000, 1900], 0, id="not within half an hour"),
        pytest.param([0, 5], 0, id="twice"),
    ],
)
def test_losing_balance_again_and_again_is_noted(times, told):
    """Three times within half an hour"""
    family = Family("Anna")
    for at in times:
        family.event(at, "balance.lost", direction="backward")
        family.event(at + 2, "balance.recovered", near_falls=1)
    assert len(family.told()) == told


def test_what_the_hub_notices_itself_is_noted():
    """It was away, or something is lost for good"""
    family = Family("Anna")
    family.noted(0, "events.missed", count=3)
    assert [(n.why, n.alert.event_type, n.alert.data) for n in family.notices()] == [
        (Told.NOTE, "events.missed", {"count": 3})
    ]


def test_an_unknown_event_of_high_priority_calls_people():
    """The hub knows nothing of it; somebody looks, and says when it is over"""
    family = Family(*THREE)
    family.event(0, "gas.smelt", ppm=40)
    family.event(10, "gas.smelt", ppm=80)
    family.event(20, "fire.seen")
    assert [(alert.kind, alert.event_type) for alert in family.desk.alerts()] == [
        (Kind.EVENT, "gas.smelt"),
        (Kind.EVENT, "fire.seen"),
    ]
    assert [told for told in family.told() if told[0] < 50] == [(0.0, "Anna", "alarm"), (20.0, "Anna", "alarm")]
    family.answers(30, "Anna", over=True)
    assert family.desk.alerts() == ()


def test_a_flood_of_unknown_alarms_is_bounded():
    """A hundred types make eight alerts"""
    family = Family("Anna")
    for number in range(100):
        family.event(0, f"x.{number}")
    assert len(family.desk.alerts()) == 8


def test_a_damaged_state_is_refused_by_name():
    """What is not a desk's state raises, and changes nothing"""
    desk = Desk([], Ladder(), Silence())
    with pytest.raises(WireError, match="state of the desk"):
        desk.restore({"devices": 7})


def test_two_contacts_of_one_name_are_one():
    """The first stands"""
    desk = Desk([Contact(name=name) for name in ("Anna", "Ben", "anna")], Ladder(), Silence())
    family = Family("Anna", "Ben")
    family.desk = desk
    family.event(0, "sos.raised")
    family.until(125)
    assert {who for _, who, _ in family.told()} == {"Anna", "Ben"}


# -- whatever comes ---------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["Anna", "Ben", "Cleo", "Neighbour"])
TYPES = ["fall.suspected", "fall.confirmed", "fall.cancelled", "fall.lasted", "fall.risen", "sos.raised",
         "sos.cancelled", "battery.low", "balance.lost", "gas.smelt"]  # fmt: skip


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    """What may come to a hub in any order, with times that go on by a second or by hours."""
    now = 0.0
    made: list[Item] = []
    for number in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from([0.0, 0.5, 4.0, 15.0, 29.0, 61.0, 130.0, 600.0, 4000.0]))
        device = draw(st.sampled_from(["home/a", "home/b"]))
        match draw(st.integers(0, 9)):
            case 0 | 1 | 2 | 3:
                kind = draw(st.sampled_from(TYPES))
                medium = ("fall.suspected", "fall.risen", "battery.low")
                data = {
                    "fall": draw(st.integers(1, 2)),
                    "countdown_s": 30.0,
                    "since_s": draw(st.sampled_from([5, 300])),
                }
                made.append(
                    EventCame(
                        now_s=now,
                        device=device,
                        epoch=draw(st.sampled_from(["e1", "e2"])),
                        seq=draw(st.integers(1, 40)),
                        id=f"i{number}",
                        type=kind,
                        priority="medium" if kind in medium else "high",
                        time="2026-01-15T09:31:07Z",
                        clock="ntp",
                        session="s",
                        historical=draw(st.booleans()),
                        data=data,
                    )
                )
            case 4:
                word = draw(st.sampled_from(["walking", "ready", "lost", "disconnected"]))
                made.append(StateCame(now_s=now, device=device, state=word, conn=draw(st.sampled_from(["c", "d"]))))
            case 5 | 6:
                guard = draw(st.sampled_from(["guarding", "not_worn", "silent"]))
                made.append(HeartbeatCame(now_s=now, device=device, conn="c", state="walking", guard_state=guard))
            case 7:
                by, alert, over = draw(NAMES), draw(st.integers(0, 4)), draw(st.booleans())
                made.append(Answered(now_s=now, by=by, alert=alert, device=device, over=over))
            case 8:
                made.append(Delivered(now_s=now, notice=draw(st.integers(1, 12)), ok=draw(st.booleans())))
            case _:
                up = draw(st.booleans())
                made.append(LinkCame(now_s=now, up=up))
                made.append(NoteCame(now_s=now, device=device, type="hub.back"))
    return made


def played(made: list[Item], contacts: tuple[str, ...], *, cut: bool = False) -> Family:
    """The items, everything that is due in between, and an hour more."""
    family = Family(*contacts, cut=cut)
    for item in made:
        # Now and then the hub is off for hours, and does not do what is due in between.
        if item.now_s - family.now < 1000:
            family.until(item.now_s)
        family.feed(item)
    family.until(family.now + 3600)
    return family


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(items())
def test_a_desk_put_away_anywhere_goes_on_as_if_it_had_not_been(made):
    """Its state goes through JSON after every item, and the outcomes are the same"""
    assert played(made, THREE, cut=True).outcomes == played(made, THREE).outcomes


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(items(), st.integers(0, 3))
def test_whatever_comes_the_rules_hold_at_length(made, contacts):
    """As the quick test below, with a hundred times the tries"""
    hold(made, contacts)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(items(), st.integers(0, 3))
def test_whatever_comes_the_rules_hold(made, contacts):
    """All-clear only to who was told and to all of them; no page after an answer; an open alert is always due"""
    hold(made, contacts)


def hold(made: list[Item], contacts: int) -> None:
    family = Family(*THREE[:contacts])
    told: dict[int, set[str]] = {}
    stage: dict[int, Stage] = {}
    cleared: dict[int, set[str]] = {}
    asked: dict[int, Alert] = {}
    number = 0
    for item in [*made, Tick(now_s=made[-1].now_s + 5000)]:
        out = family.feed(item)
        for one in out:
            match one:
                case Alert():
                    assert stage.get(one.number) is not Stage.OVER or one.kind is Kind.NOTE
                    stage[one.number], asked[one.number] = one.stage, one
                case Notify():
                    assert one.notice == number + 1
                    assert one.void_s > one.now_s
                    number = one.notice
                    assert one.alert == asked[one.alert.number]
                    if one.why is Told.ALL_CLEAR:
                        assert one.contact in told.get(one.alert.number, set()) | earlier(asked, told, one.alert)
                        cleared.setdefault(one.alert.number, set()).add(one.contact)
                    else:
                        told.setdefault(one.alert.number, set()).add(one.contact)
                        assert one.contact in one.alert.told
                    if one.why in (Told.ALARM, Told.REPEAT, Told.ESCALATED):
                        assert one.alert.stage is Stage.OPEN
                        assert one.priority == "high"
                case _:
                    pass
        if isinstance(item, EventCame) and item.priority != "low" and item.type == "gas.smelt":
            assert any(alert.kind is Kind.EVENT and alert.device == item.device for alert in family.desk.alerts())
        opened = [alert for alert in family.desk.alerts() if alert.stage is Stage.OPEN]
        if opened and contacts:
            assert family.desk.deadline() < math.inf
        kinds = [(alert.device, alert.kind) for alert in family.desk.alerts() if alert.kind is not Kind.EVENT]
        assert len(kinds) == len(set(kinds))
    for alert in asked.values():
        if alert.stage is Stage.OVER and alert.kind is not Kind.NOTE and alert.ended != "another fall":
            assert told.get(alert.number, set()) <= cleared.get(alert.number, set())


def earlier(asked: dict[int, Alert], told: dict[int, set[str]], alert: Alert) -> set[str]:
    """Who was told of falls that this one has taken the place of."""
    before = [one.number for one in asked.values() if one.device == alert.device and one.ended == "another fall"]
    return set().union(*(told.get(number, set()) for number in before))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=60)
    | st.integers()
    | st.sampled_from([10**400, -(10**30), 1e308, -0.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
FIELDS = st.sampled_from(["fall", "countdown_s", "since_s", "posture", "walking", "by", "charge_percent", "sensor",
                          "part", "cause", "fault", "count", "within_s", "away_s", "of", "type", "rows"])  # fmt: skip


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*TYPES, "hub.back", "sensor.lost", "\x00{who}", ""]),
            st.sampled_from(["none", "low", "medium", "high", "", "☠"]),
            st.dictionaries(FIELDS, JSON, max_size=4),
            st.text(max_size=30),
        ),
        max_size=6,
    )
)
def test_whatever_a_device_writes_is_taken_and_can_be_told(said):
    """Fields of any type and size: nothing raises, the state stays JSON, and every message has words"""
    family = Family(*THREE, cut=True)
    for place, (kind, priority, data, time) in enumerate(said):
        now = place * 40.0
        item = EventCame(
            now_s=now,
            device="home/a",
            epoch="e",
            seq=place + 1,
            id=f"i{place}",
            type=kind,
            priority=priority,
            time=time,
            clock=time[:5],
            session=time,
            historical=place % 2 == 1,
            data=data,
        )
        family.feed(item)
        family.feed(NoteCame(now_s=now, device="home/hub", type=kind, data=data))
    for notice in family.notices():
        for language in ("en", "de"):
            title, body = message(notice, wall_s=1.77e9, language=language)
            assert title
            assert len(title) <= 130
            assert body.isprintable()


def test_the_state_is_plain_json():
    """No infinity, no numbers as names that would come back as text"""
    family = Family(*THREE)
    family.beat(0)
    family.event(5, "fall.suspected", fall=1, countdown_s=30)
    family.event(6, "gas.smelt")
    state = family.desk.state()
    assert json.loads(json.dumps(state, allow_nan=False)).keys() == state.keys()


def test_a_fall_is_told_however_many_outboxes_a_device_has_lost():
    """On a card that keeps nothing each start begins a new outbox: what one of them ended says nothing of the next"""
    family = Family(*THREE)
    for number in range(300):
        at, epoch = 100.0 * number, f"e{number}"
        family.event(at, "fall.suspected", 50, epoch=epoch, id=f"s{number}")
        family.event(at + 1, "fall.cancelled", 51, epoch=epoch, id=f"c{number}", by="button")
    at = 30_100.0
    family.event(at, "fall.confirmed", 7, epoch="e300", id="last")
    family.until(at + 1)
    assert family.told(at) == [(at, "Anna", "alarm")]
