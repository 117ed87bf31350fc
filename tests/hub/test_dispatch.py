"""What is sent by which address, and when again: in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrowalk.hub.dispatch import AGAIN_S, Dispatch, Way
from retrowalk.hub.facts import Alert, Kind, Notify, Stage, Told

NTFY, MAIL, OTHER = Way(0, "ntfy"), Way(1, "mailto"), Way(2, "ntfy")


def notice(number=1, *, priority="high", contact="Anna", alert=1):
    about = Alert(
        number=alert, device="home/rw-0001", kind=Kind.FALL, stage=Stage.OPEN, priority=priority, event="e",
        event_type="fall.confirmed", session="s", opened_s=0.0, happened="", clock="ntp", historical=False,
    )  # fmt: skip
    return Notify(
        notice=number, alert=about, contact=contact, why=Told.ALARM, priority=priority, urgent=False, now_s=0.0,
        void_s=60.0,
    )  # fmt: skip


def begun(dispatch, now):
    """Jobs that begin now, by notice and address."""
    return {(start.notice.notice, start.place): start.job for start in dispatch.due(now)}


def test_an_alarm_goes_to_every_address_at_once():
    """Nobody waits for the second address until the first has failed."""
    dispatch = Dispatch()
    dispatch.send(notice(), (NTFY, MAIL), 60.0)
    assert set(begun(dispatch, 0.0)) == {(1, 0), (1, 1)}


def test_a_note_goes_to_the_first_address_that_takes_it():
    """What is only good to know does not come by three ways."""
    dispatch = Dispatch()
    dispatch.send(notice(priority="low"), (NTFY, MAIL, OTHER), 60.0)
    (first,) = begun(dispatch, 0.0).values()
    dispatch.done(first, False, "no", 0.1, 0.1)
    ((_, place),) = started = begun(dispatch, 0.1)
    assert place == MAIL.place
    dispatch.done(started[1, MAIL.place], True, "", 0.1, 0.2)
    assert dispatch.results == [(1, True, "mailto: taken")]
    assert dispatch.idle


def test_one_address_that_takes_it_is_enough():
    """A notice is taken when one address takes it; the others of an alarm are tried on."""
    dispatch = Dispatch()
    dispatch.send(notice(), (NTFY, MAIL), 60.0)
    jobs = begun(dispatch, 0.0)
    dispatch.done(jobs[1, 1], False, "not reached", 0.1, 0.1)
    dispatch.done(jobs[1, 0], True, "", 0.1, 0.1)
    assert dispatch.results == [(1, True, "ntfy: taken")]
    assert set(begun(dispatch, 0.1 + AGAIN_S[0])) == {(1, 1)}


def test_failure_is_told_after_the_first_round_and_success_may_follow():
    """The ladder hears at once that somebody cannot be reached; it is tried on all the same."""
    dispatch = Dispatch()
    dispatch.send(notice(), (NTFY,), 60.0)
    dispatch.done(begun(dispatch, 0.0)[1, 0], False, "not reached", 0.1, 0.1)
    assert dispatch.results == [(1, False, "ntfy: not reached")]
    dispatch.done(begun(dispatch, 2.0)[1, 0], True, "", 0.1, 2.1)
    assert dispatch.results[1:] == [(1, True, "ntfy: taken")]


def test_pauses_grow_until_the_notice_is_void():
    """A server in trouble is asked ever more seldom, and not at all for what nobody needs any more."""
    dispatch, times = Dispatch(), []
    dispatch.send(notice(), (NTFY,), 60.0)
    now = 0.0
    while not dispatch.idle:
        for job in begun(dispatch, now).values():
            times.append(now)
            dispatch.done(job, False, "no", 0.0, now)
        if not dispatch.idle:
            assert dispatch.deadline() > now
            now = dispatch.deadline()
    assert times == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    assert now == 60.0


def test_a_server_that_asks_for_patience_gets_it():
    """Too many messages: not before the time that the server names."""
    dispatch = Dispatch()
    dispatch.send(notice(), (NTFY,), 600.0)
    dispatch.done(begun(dispatch, 0.0)[1, 0], False, "too many messages (429)", 0.0, 0.0, again_s=40.0)
    assert not begun(dispatch, 39.0)
    assert begun(dispatch, 40.0)


def test_an_address_gets_one_message_at_a_time_the_oldest_first():
    """A contact reads the alarm before the all-clear."""
    dispatch = Dispatch()
    dispatch.send(notice(2, alert=2), (NTFY,), 60.0)
    dispatch.send(notice(1, alert=1), (NTFY,), 60.0)
    first = begun(dispatch, 0.0)
    assert set(first) == {(1, 0)}
    dispatch.done(first[1, 0], True, "", 0.1, 0.1)
    assert set(begun(dispatch, 0.1)) == {(2, 0)}


def test_a_later_message_makes_an_older_one_about_the_same_alert_superfluous():
    """After the repetition has gone, the alarm that failed before is not sent as well."""
    dispatch = Dispatch()
    dispatch.send(notice(1), (NTFY,), 600.0)
    dispatch.done(begun(dispatch, 0.0)[1, 0], False, "no", 0.1, 0.0, again_s=30.0)
    dispatch.send(notice(2), (NTFY,), 600.0)
    jobs = begun(dispatch, 1.0)
    assert set(jobs) == {(1, 0)}  # there is news: the older one has its turn first
    dispatch.done(jobs[1, 0], False, "no", 0.1, 1.0)
    dispatch.done(begun(dispatch, 1.1)[2, 0], True, "", 0.1, 1.2)
    assert dispatch.idle


def test_what_a_dead_worker_had_is_sent_again_at_once_and_then_later():
    """At least once; but a message that ends every worker does not do so without a pause."""
    dispatch = Dispatch()
    dispatch.send(notice(), (NTFY,), 60.0)
    dispatch.lost(begun(dispatch, 0.0).values(), 0.5)
    again = begun(dispatch, 0.5)
    assert set(again) == {(1, 0)}
    dispatch.lost(again.values(), 0.6)
    assert not begun(dispatch, 0.6)
    assert begun(dispatch, 3.0)


def test_a_void_notice_is_not_sent_but_what_flies_still_counts():
    """What is under way cannot be called back, and its result is told."""
    dispatch = Dispatch()
    dispatch.send(notice(1), (NTFY,), 60.0)
    dispatch.send(notice(2, alert=2), (NTFY,), 60.0)
    jobs = begun(dispatch, 0.0)
    dispatch.void(1)
    dispatch.void(2)
    dispatch.done(jobs[1, 0], True, "", 0.1, 0.1)
    assert dispatch.results == [(1, True, "ntfy: taken")]
    assert not begun(dispatch, 5.0)
    assert dispatch.idle


@pytest.mark.parametrize(
    ("ways", "gone", "words"),
    [
        pytest.param((), False, "no address to reach them by", id="no address"),
        pytest.param((NTFY,), True, "ntfy: names no topic", id="an address that cannot be used"),
    ],
)
def test_a_contact_who_cannot_be_reached_is_told_of_at_once(ways, gone, words):
    """Then the next contact hears without delay."""
    dispatch = Dispatch()
    dispatch.send(notice(), ways, 60.0)
    for job in begun(dispatch, 0.0).values():
        dispatch.done(job, False, "names no topic", 0.0, 0.0, gone=gone)
    assert dispatch.results == [(1, False, words)]
    assert dispatch.idle


def test_a_trial_asks_every_address_once():
    """notify-test shows what each address does, not what the others make up for."""
    dispatch = Dispatch(trial=True)
    dispatch.send(notice(priority="low"), (NTFY, MAIL), 60.0)
    jobs = begun(dispatch, 0.0)
    assert len(jobs) == 2
    dispatch.done(jobs[1, 0], True, "", 0.1, 0.1)
    dispatch.done(jobs[1, 1], False, "no", 0.1, 0.1)
    assert dispatch.idle
    assert len(dispatch.attempts) == 2


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["send", "void", "ok", "fail", "lose", "wait"]),
        st.integers(1, 6),
        st.sampled_from(["low", "medium", "high"]),
        st.floats(0.0, 20.0),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_whatever_happens_every_notice_ends_and_is_told_of(actions):
    """No notice is forgotten: when all is over, each that was not called off has been told of, and nothing flies."""
    dispatch, now, sent, voided = Dispatch(), 0.0, set(), set()
    jobs: list[int] = []
    for what, number, priority, more in actions:
        if what == "send" and number not in sent:
            sent.add(number)
            dispatch.send(notice(number, priority=priority, alert=number % 2), (NTFY, MAIL), now + 30.0)
        elif what == "void":
            voided.add(number)
            dispatch.void(number)
        elif what in ("ok", "fail") and jobs:
            dispatch.done(jobs.pop(0), what == "ok", what, 0.1, now)
        elif what == "lose":
            dispatch.lost(jobs, now)
            jobs = []
        elif what == "wait":
            now += more
        starts = dispatch.due(now)
        jobs += [start.job for start in starts]
        places = [start.place for start in starts]
        assert len(places) == len(set(places))
    for _ in range(200):
        for job in jobs:
            dispatch.done(job, False, "no", 0.1, now)
        now += 1.0
        jobs = [start.job for start in dispatch.due(now)]
    assert dispatch.idle
    assert sent - voided <= {result.notice for result in dispatch.results}
    first_ok = [result.notice for result in dispatch.results if result.ok]
    assert len(first_ok) == len(set(first_ok))


def test_an_alarm_waits_for_no_note():
    """After a day without a network a hundred notes wait; a fall is the next message by every address."""
    dispatch = Dispatch()
    for number in range(1, 101):
        dispatch.send(notice(number, priority="low" if number % 2 else "medium", alert=number), (NTFY,), 86400.0)
    ((first, _),) = started = begun(dispatch, 0.0)
    dispatch.send(notice(101, alert=101), (NTFY,), 60.0)
    dispatch.done(started[first, 0], False, "no answer in time", 12.0, 12.0)
    assert set(begun(dispatch, 12.0)) == {(101, 0)}


def test_a_notice_whose_worker_dies_when_its_time_is_over_has_failed():
    """Nobody waits for what became of it: it is told as not taken, and is not sent again."""
    dispatch = Dispatch()
    dispatch.send(notice(), (NTFY,), 60.0)
    jobs = begun(dispatch, 59.0)
    assert dispatch.due(60.0) == []
    dispatch.lost(jobs.values(), 61.0)
    assert [(result.notice, result.ok) for result in dispatch.results] == [(1, False)]
    assert dispatch.idle
