"""The page behind a link: who may see it, what answers, and what it lets nobody do."""

from __future__ import annotations

import http.client
import socket

import pytest

from retrowalk.hub import answers, links
from retrowalk.hub.answers import Ticket

KEY = bytes(range(32))
TICKET = Ticket(7, "Anna", "home/rw-0001", "fall", 100.0)
TOKEN = answers.token(KEY, TICKET)


class Page:
    """A server and what it was answered."""

    def __init__(self, language="en"):
        self.taken: list[tuple[str, str, str]] = []
        self.problem = ""
        self.server = links.Server("127.0.0.1", 0, KEY, language, self.take)

    def take(self, token, deed, by):
        self.taken.append((token, deed, by))
        return self.problem

    def ask(self, method, path, body=None, kind="application/x-www-form-urlencoded", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=5.0)
        try:
            connection.request(method, path, body, {"Content-Type": kind, **headers} if body is not None else headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode(), dict(reply.getheaders())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def running():
    made = Page()
    yield made
    made.server.stop()


@pytest.fixture
def page(running):
    running.taken.clear()
    running.problem = ""
    running.server.bucket.fill()
    return running


def test_a_look_is_no_answer(page):
    """Programs that show a preview of a link fetch it: that says nothing of the person."""
    for method in ("GET", "HEAD"):
        status, text, headers = page.ask(method, f"/a/{TOKEN}")
        assert status == 200
    status, text, headers = page.ask("GET", f"/a/{TOKEN}?do=seen")
    assert "I am coming" in text
    assert page.taken == []
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "<script" not in text


@pytest.mark.parametrize("deed", answers.DEEDS)
def test_a_button_answers(page, deed):
    """Each button of the page is an answer of the contact it was sent to."""
    status, text, _ = page.ask("POST", f"/a/{TOKEN}", f"do={deed}")
    assert (status, page.taken) == (200, [(TOKEN, deed, "")])
    assert "Thank you, Anna" in text


def test_a_program_answers_in_json(page):
    """A webhook's program may answer later, in the form of its response."""
    status, text, _ = page.ask("POST", f"/a/{TOKEN}", '{"ack": true, "by": "Bert"}', "application/json")
    assert (status, text) == (200, '{"ok": true, "detail": ""}')
    page.ask("POST", f"/a/{TOKEN}", '{"do": "over"}', "application/json")
    assert [taken[1:] for taken in page.taken] == [("seen", "Bert"), ("over", "")]


@pytest.mark.parametrize(
    ("problem", "status", "words"),
    [
        ("has counted already", 200, "has arrived already"),
        ("has expired", 410, "has expired"),
        ("was not heard", 503, "could not be passed on"),
    ],
)
def test_nobody_is_thanked_for_what_did_not_arrive(page, problem, status, words):
    """The page says noted only when the hub has it."""
    page.problem = problem
    found, text, _ = page.ask("POST", f"/a/{TOKEN}", "do=seen")
    assert (found, words in text) == (status, True)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/a/",
        "/a",
        "/favicon.ico",
        f"/a/{TOKEN}x",
        f"/b/{TOKEN}",
        f"/{TOKEN}",
        "/a/../etc/passwd",
        "/a/" + "x" * 3000,
    ],
    ids=["root", "empty", "a", "icon", "touched", "elsewhere", "bare", "up", "long"],
)
def test_everything_else_is_not_there(page, path):
    """No directory, no other route, no hint of what would be right."""
    for method in ("GET", "POST"):
        status, text, _ = page.ask(method, path, "do=seen" if method == "POST" else None)
        assert (status, text) == (404, "nothing here\n")
    assert page.taken == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("do=everything", "application/x-www-form-urlencoded", 400),
        ("", "application/x-www-form-urlencoded", 400),
        ("a=1&" * 100, "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        ("{", "application/json", 400),
        ("[" * 1000, "application/json", 400),
        ("x" * 1025, "application/x-www-form-urlencoded", 413),
    ],
    ids=["unknown", "empty", "many fields", "not text", "half", "deep", "long"],
)
def test_a_strange_body_is_no_answer(page, body, kind, status):
    """It is refused, and nothing follows of it."""
    assert page.ask("POST", f"/a/{TOKEN}", body, kind)[0] == status
    assert page.taken == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(page, method):
    """Looking and answering is all there is."""
    assert page.ask(method, f"/a/{TOKEN}")[0] == 501


def test_a_flood_is_turned_away(page):
    """Whoever tries tokens by the thousand gets few answers."""
    found = [page.ask("GET", "/a/x")[0] for _ in range(60)]
    assert found.count(404) >= links.BURST
    assert found.count(429) >= 20


def test_who_connects_and_says_nothing_takes_no_place_from_others(page):
    """Idle connections are bounded; a flood of them ends at the door, and does not pile up threads."""
    idle = [socket.create_connection(("127.0.0.1", page.server.port)) for _ in range(links.CONNECTIONS_MAX - 1)]
    try:
        assert page.ask("GET", f"/a/{TOKEN}")[0] == 200
    finally:
        for sock in idle:
            sock.close()


def test_names_are_text_and_never_markup():
    """A device or a contact may be called anything; the page shows it as it is written."""
    ticket = Ticket(1, "<script>alert(1)</script>", 'home/"><img src=x>', "fall", 0.0)
    for language in ("en", "de"):
        for text in (links.page(ticket, language), links.thanks(ticket, language, "")):
            assert "<script" not in text
            assert "<img" not in text
