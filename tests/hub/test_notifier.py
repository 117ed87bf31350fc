"""Notifier and worker as they run: a real process, a real server that speaks ntfy, and servers that behave badly."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tests.broker import free_port
from tests.hub.ntfy_server import NtfyServer

from retrowalk.hub import answers
from retrowalk.hub.facts import Alert, Kind, Notify, Stage, Told
from retrowalk.hub.notifier import Notifier
from retrowalk.hub.settings import Answers, Contact, Hub, HubConfig

pytestmark = pytest.mark.process


def alert(number=1):
    return Alert(
        number=number, device="home/rw-0001", kind=Kind.FALL, stage=Stage.OPEN, priority="high", event="e",
        event_type="fall.confirmed", session="s", opened_s=100.0, happened="2026-01-15T09:31:07Z", clock="ntp",
        historical=False,
    )  # fmt: skip


def notice(number=1, contact="Anna", *, why=Told.ALARM, of=1, lasts_s=60.0, priority="high"):
    return Notify(
        notice=number, alert=alert(of), contact=contact, why=why, priority=priority, urgent=False, now_s=100.0,
        void_s=100.0 + lasts_s,
    )  # fmt: skip


def contacts(**addresses):
    return tuple(Contact(name=name, notify=tuple(ways)) for name, ways in addresses.items())


@contextlib.contextmanager
def notifier(settings, directory, **more):
    made = Notifier(settings, directory, **more)
    try:
        yield made
    finally:
        made.close()


def collect(ask, enough, within_s=15.0):
    """Asks until there is enough; returns all there was."""
    found: list[Any] = []
    end = time.monotonic() + within_s
    while not enough(found):
        assert time.monotonic() < end, f"only {found}"
        time.sleep(0.01)
        found += ask()
    return found


def at_least(count):
    return lambda found: len(found) >= count


def test_an_alarm_arrives_and_its_button_answers(tmp_path):
    """From the notice to the phone, and from its button back: by the contact's name, with a word for the walker."""
    with NtfyServer() as server, notifier(HubConfig(contact=contacts(Anna=[server.address()])), tmp_path) as hub:
        hub.send(notice())
        (message,) = server.wait(1)
        assert (message["priority"], message["title"]) == (5, "FALL: rw-0001")
        assert collect(hub.results, at_least(1)) == [(1, True, "ntfy: taken")]
        server.wait_for_stream()
        server.press(message, "I am coming")
        assert collect(hub.answers, at_least(1)) == [("Anna", 1, False, "ntfy", "coming")]
        server.press(message, "I am coming")  # a second press changes nothing
        server.press(message, "It is over")
        assert collect(hub.answers, at_least(1)) == [("Anna", 1, True, "ntfy", "")]


@pytest.mark.slow
def test_an_answer_given_while_the_hub_was_away_counts_when_it_is_back(tmp_path):
    """The ntfy server keeps it; the hub hears it after its restart, with the same key and topic, and counts it once."""
    with NtfyServer() as server:
        config = HubConfig(contact=contacts(Anna=[server.address()]))
        with notifier(config, tmp_path) as hub:
            hub.send(notice())
            (message,) = server.wait(1)
            server.wait_for_stream()
        server.press(message, "Seen")
        with notifier(config, tmp_path) as hub:
            hub.now = lambda: 200.0
            assert collect(hub.answers, at_least(1)) == [("Anna", 1, False, "ntfy", "")]
            hub.answers()  # the engine has come again: the first is safe
            collect(lambda: json.loads((tmp_path / answers.FILE).read_text())["used"], at_least(1))
        with notifier(config, tmp_path) as hub:
            hub.now = lambda: 300.0
            server.press(message, "It is over")
            assert collect(hub.answers, at_least(1)) == [("Anna", 1, True, "ntfy", "")]


def test_nobody_else_can_answer(tmp_path):
    """Who finds the topic may post what they like: without the hub's signature it counts for nothing."""
    forged = answers.token(bytes(32), answers.Ticket(1, "Anna", "home/rw-0001", "fall", 100.0))
    with NtfyServer() as server, notifier(HubConfig(contact=contacts(Anna=[server.address()])), tmp_path) as hub:
        hub.send(notice())
        (message,) = server.wait(1)
        server.wait_for_stream()
        topic = message["actions"][0]["url"].rpartition("/")[2]
        for text in ["", "x" * 5000, "[" * 4000, '{"t": 1, "do": "seen"}', json.dumps({"t": forged, "do": "seen"})]:
            server.publish(topic, {"message": text})
        server.publish(topic, {"message": message["actions"][0]["body"].replace("seen", "silence")})
        server.press(message, "Seen")
        assert collect(hub.answers, at_least(1)) == [("Anna", 1, False, "ntfy", "")]


def test_a_webhook_answers_in_its_response(tmp_path):
    """A program of somebody's own acknowledges at once, by the name it gives."""
    with NtfyServer(mood="webhook", response={"ack": True, "by": "Bert"}) as server:
        config = HubConfig(contact=contacts(Anna=[f"json://127.0.0.1:{server.port}/hook?+X-Key=k"]))
        with notifier(config, tmp_path) as hub:
            hub.send(notice())
            assert collect(hub.answers, at_least(1)) == [("Bert", 1, False, "webhook", "")]
            (asked,) = server.asked
            form = asked.json()
            assert (asked.path, asked.headers["x-key"], form["alert"], form["type"]) == ("/hook", "k", 1, "failure")
            assert form["title"] == "FALL: rw-0001"


@pytest.mark.slow
def test_every_other_service_goes_through_apprise(tmp_path):
    """Gotify as one of them: loud as an alarm is, with a word on how to answer, and its refusal in plain words."""
    with NtfyServer() as server:
        config = HubConfig(contact=contacts(Anna=[f"gotify://127.0.0.1:{server.port}/5ecr3tT0ken"]))
        with notifier(config, tmp_path) as hub:
            hub.send(notice())
            server.wait(1, "message")
            assert collect(hub.results, at_least(1)) == [(1, True, "gotify: taken")]
            form = server.asked[0].json()
            assert (form["title"], form["priority"]) == ("FALL: rw-0001", 10)
            assert "To answer: retrowalk hub ack 1 --by 'Anna'" in form["message"]
            server.mood = "401"
            hub.send(notice(2, of=2))
            (refused,) = collect(hub.results, at_least(1))
            assert "401" in refused.detail
            assert "5ecr3t" not in refused.detail


@pytest.mark.slow
def test_a_link_answers_and_says_so(tmp_path):
    """Where answers.port is set, messages carry a link, and its page says whether the answer has arrived."""
    import urllib.request

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with NtfyServer(mood="webhook") as server:
        config = HubConfig(
            contact=contacts(Anna=[f"json://127.0.0.1:{server.port}/hook"]), answers=Answers(port=port, url=url)
        )
        with notifier(config, tmp_path) as hub:
            hub.send(notice())
            collect(hub.results, at_least(1))
            link = server.asked[0].json()["answer_url"]
            until_open(port)
            with urllib.request.urlopen(link, timeout=5.0) as page:
                assert b"Anna" in page.read()
            with urllib.request.urlopen(link, b"do=coming", timeout=5.0) as page:
                assert b"has arrived" in page.read()
            assert collect(hub.answers, at_least(1)) == [("Anna", 1, False, "link", "coming")]


@pytest.mark.slow
def test_an_address_that_hangs_holds_up_nobody(tmp_path):
    """The other addresses have it at once; the one that hangs is given up, and the worker with it, and tried again."""
    with NtfyServer() as good, NtfyServer(mood="hang") as bad:
        config = HubConfig(contact=contacts(Anna=[bad.address()], Bert=[good.address()]))
        with notifier(config, tmp_path, limit_s=1.0) as hub:
            hub.send(notice(1, "Anna"))
            collect(lambda: [1] * bool(bad.asked), at_least(1))
            first = hub.worker_pid
            began = time.monotonic()
            hub.send(notice(2, "Bert"))
            good.wait(1)
            assert time.monotonic() - began < 0.8
            results = collect(hub.results, at_least(2))
            assert set(results) == {(2, True, "ntfy: taken"), (1, False, "ntfy: no answer within 1 s")}
            bad.mood = "well"
            bad.wait(1)
            assert hub.worker_pid != first
            assert not exists(first)
            assert collect(hub.results, at_least(1)) == [(1, True, "ntfy: taken")]


@pytest.mark.slow
@pytest.mark.parametrize(("mood", "words"), [("500", "in trouble (500)"), ("429", "too many"), ("reset", "")])
def test_a_server_in_trouble_is_asked_again(tmp_path, mood, words):
    """First it is told that it did not go, then that it did."""
    with NtfyServer(mood=mood) as server:
        with notifier(HubConfig(contact=contacts(Anna=[server.address()])), tmp_path) as hub:
            hub.send(notice())
            (first,) = collect(hub.results, at_least(1))
            assert not first.ok
            assert words in first.detail
            server.mood = "well"
            server.wait(1)
            assert collect(hub.results, at_least(1)) == [(1, True, "ntfy: taken")]
            assert [attempt.ok for attempt in hub.attempts()][-1]


def test_a_worker_that_is_killed_in_the_middle_loses_nothing(tmp_path):
    """kill -9 while a message is under way: another worker sends it, within seconds."""
    with NtfyServer(mood="hang") as server:
        with notifier(HubConfig(contact=contacts(Anna=[server.address()])), tmp_path) as hub:
            hub.send(notice())
            collect(lambda: [1] * bool(server.asked), at_least(1))
            server.mood = "well"
            os.kill(hub.worker_pid, signal.SIGKILL)
            server.wait(1, within_s=8.0)
            assert collect(hub.results, at_least(1)) == [(1, True, "ntfy: taken")]


@pytest.mark.slow
def test_whatever_is_done_to_the_worker_every_message_arrives(tmp_path):
    """Killed and stopped again and again: each of a hundred messages is there, though some came twice."""
    with NtfyServer() as server:
        with notifier(HubConfig(contact=contacts(Anna=[server.address()])), tmp_path, limit_s=2.0) as hub:
            for number in range(1, 101):
                hub.send(notice(number, of=number, lasts_s=600.0))
                if number % 20 == 0 and hub.worker_pid:
                    os.kill(hub.worker_pid, signal.SIGKILL if number % 40 else signal.SIGSTOP)
                time.sleep(0.02)
            results = collect(hub.results, lambda found: sum(one.ok for one in found) >= 100, within_s=60.0)
            assert {one.notice for one in results if one.ok} == set(range(1, 101))
            assert len(server.messages()) >= 100


@pytest.mark.slow
def test_a_void_notice_is_not_sent_any_more(tmp_path):
    """The alert is over: the alarm that could not be sent does not come an hour later."""
    with NtfyServer(mood="500") as server:
        with notifier(HubConfig(contact=contacts(Anna=[server.address()])), tmp_path) as hub:
            hub.send(notice())
            collect(hub.results, at_least(1))
            hub.void(1)
            hub.send(notice(2, of=2))
            server.mood = "well"
            server.wait(1)
            time.sleep(1.2)
            assert len(server.messages()) == 1


@pytest.mark.slow
def test_an_unusable_address_is_named_without_its_secret(tmp_path, caplog):
    """By contact and kind; the others of the contact work."""
    with NtfyServer() as server, caplog.at_level(logging.DEBUG):
        config = HubConfig(contact=contacts(Anna=["tgram://5ecr3tT0ken/xyz", server.address()]))
        with notifier(config, tmp_path) as hub:
            collect(lambda: [1] * bool(hub.unusable), at_least(1))
            assert list(hub.unusable) == ["Anna: tgram"]
            assert "5ecr3t" not in str(hub.unusable)
            hub.send(notice())
            server.wait(1)
            results = collect(hub.results, at_least(1))
            assert results[0].ok
    assert "Anna (tgram) cannot be used" in caplog.text
    assert "5ecr3t" not in caplog.text


def test_no_secret_leaves_by_a_side_door(tmp_path, caplog):
    """Not by log, result, file, argument, environment or output of the worker: only to where it belongs."""
    secrets = ["tk_5ecr3t", "hush-hush-topic", "p4ssw0rd", "pingpingping"]
    with NtfyServer(mood="500") as server, caplog.at_level(logging.DEBUG):
        config = HubConfig(
            hub=Hub(alive_url=f"http://127.0.0.1:{server.port}/{secrets[3]}"),
            contact=contacts(
                Anna=[f"ntfy://{secrets[0]}@127.0.0.1:{server.port}/{secrets[1]}"],
                Bert=[f"json://user:{secrets[2]}@127.0.0.1:1/x", f"gotify://127.0.0.1:1/{secrets[1]}"],
            ),
        )
        with notifier(config, tmp_path) as hub:
            hub.send(notice(1, "Anna"))
            hub.send(notice(2, "Bert"))
            results = collect(hub.results, at_least(2))
            collect(lambda: [1] * any("pingping" in asked.path for asked in server.asked), at_least(1))
            process = Path("/proc") / str(hub.worker_pid)
            shown = [process.joinpath(name).read_bytes().decode(errors="replace") for name in ("cmdline", "environ")]
            said = [str(results), str(hub.attempts()), str(hub.answers()), caplog.text, *shown]
            said += [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
            said.append(repr(hub))
    key = json.loads((tmp_path / answers.FILE).read_text())["key"]
    assert key not in "".join(said[:-2])
    for secret in secrets:
        assert not any(secret in text for text in said), secret


@pytest.mark.slow
def test_somebody_hears_that_the_hub_is_alive_while_its_loop_is(tmp_path):
    """The address is asked while the main loop turns, and not when only the rest of the program lives."""
    with NtfyServer() as server:
        config = HubConfig(hub=Hub(alive_url=f"http://127.0.0.1:{server.port}/alive"))
        with notifier(config, tmp_path) as hub:
            time.sleep(0.5)
            assert not server.asked
            hub.results()  # the loop turns
            hub.void(1)
            collect(lambda: [1] * bool(server.asked), at_least(1))
            assert server.asked[0].path == "/alive"


def test_the_worker_ends_with_the_hub(tmp_path):
    """Nobody sends in the name of a hub that is gone."""
    with notifier(HubConfig(), tmp_path) as hub:
        collect(lambda: [1] * bool(hub.worker_pid), at_least(1))
        pid = hub.worker_pid
    assert not exists(pid)


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until_open(port):
    import socket

    def attempt():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return [1]
        return []

    collect(attempt, at_least(1))
