"""The roads to people: ntfy, webhooks, Apprise's services, and one HTTP request with its limits."""

from __future__ import annotations

import shutil
import time

import pytest
from tests.hub.ntfy_server import NtfyServer

from retrowalk.hub import ntfy, services, web, webhook
from retrowalk.hub.ntfy import Ntfy


@pytest.fixture(scope="module")
def server():
    with NtfyServer() as running:
        yield running


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ntfy://my-Topic", Ntfy("https://ntfy.sh", ("my-Topic",), "", True, None)),
        ("ntfys://ntfy.sh/topic", Ntfy("https://ntfy.sh", ("topic",), "", True, None)),
        ("ntfy://ntfy.sh/topic", Ntfy("https://ntfy.sh", ("topic",), "", True, None)),
        ("ntfy://home.lan:8080/a/b", Ntfy("http://home.lan:8080", ("a", "b"), "", True, None)),
        ("ntfys://u:p%40ss@home.lan/a", Ntfy("https://home.lan", ("a",), "Basic dTpwQHNz", True, None)),
        ("ntfys://tk_secret@home.lan/a", Ntfy("https://home.lan", ("a",), "Bearer tk_secret", True, None)),
        ("ntfys://home.lan/a?token=x&verify=no", Ntfy("https://home.lan", ("a",), "Bearer x", False, None)),
        ("ntfys://home.lan/a?priority=low", Ntfy("https://home.lan", ("a",), "", True, 2)),
    ],
)
def test_ntfy_addresses_are_read_as_apprise_writes_them(address, expected):
    """Whoever has an address that works in Apprise can use it here."""
    assert ntfy.read(address) == expected


@pytest.mark.parametrize(
    ("level", "asked", "expected"),
    [("high", 1, 5), ("high", None, 5), ("medium", None, 4), ("low", None, 3), ("low", 1, 1)],
)
def test_an_address_may_make_notes_quieter_but_no_alarm(level, asked, expected):
    """Quiet hours never apply to high priority."""
    to = Ntfy("https://x", ("t",), "", True, asked)
    assert ntfy.message(to, "t", "T", "B", level, "alarm", [], "")["priority"] == expected


@pytest.mark.parametrize(
    ("address", "url", "headers"),
    [
        ("json://host/path", "http://host/path", {}),
        ("jsons://host:8443/a/b", "https://host:8443/a/b", {}),
        ("json://u:p@host/", "http://host/", {"Authorization": "Basic dTpw"}),
        ("json://host/x?+X-Token=a%20b&-page=1", "http://host/x?page=1", {"X-Token": "a b"}),
    ],
)
def test_webhook_addresses_are_read_as_apprise_writes_them(address, url, headers):
    """Headers, parameters and users are where Apprise has them."""
    hook = webhook.read(address)
    assert hook is not None
    assert (hook.url, hook.headers) == (url, headers)


@pytest.mark.parametrize("address", ["json://host/?method=GET", "json://host/?:message=text"])
def test_unusual_webhooks_are_left_to_apprise(address):
    """Another method or renamed fields are sent as they are asked for."""
    assert webhook.read(address) is None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"ack": true, "by": "Anna"}', ("seen", "Anna")),
        (b'{"ack": true, "say": "coming"}', ("coming", "")),
        (b'{"over": true, "by": "Bert"}', ("over", "Bert")),
        (b'{"ack": "true"}', ("", "")),
        (b'{"ok": true}', ("", "")),
        (b"[" * 50_000, ("", "")),
        (b"[true]", ("", "")),
        (b"", ("", "")),
    ],
)
def test_only_a_plain_yes_in_a_response_is_an_answer(body, expected):
    """A server that answers something of its own has acknowledged nothing."""
    assert webhook.answer(web.Reply(200, {}, body)) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mood", "words"),
    [("hang", "no answer in time"), ("drip", "no answer in time"), ("reset", "not reached|broke off")],
)
def test_a_request_ends_in_time_whatever_the_server_does(mood, words):
    """A server that drips a byte now and then keeps every limit between two bytes; the whole has one, too."""
    with NtfyServer(mood=mood) as bad:
        began = time.monotonic()
        with pytest.raises(web.WebError, match=words):
            web.request("POST", f"http://127.0.0.1:{bad.port}/", b"{}", total_s=0.3)
        assert time.monotonic() - began < 1.5


def test_nobody_there_is_said_in_words():
    """No address and no traceback in it."""
    with pytest.raises(web.WebError, match=r"^not reached: connection refused$"):
        web.request("GET", "http://127.0.0.1:1/")


@pytest.mark.slow
def test_a_certificate_that_nobody_vouches_for_is_refused_unless_it_is_asked_for(tmp_path):
    """`verify=no` in the address is the owner's word for a server of their own; without it nothing is sent."""
    import ssl
    import subprocess

    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    files = [str(tmp_path / name) for name in ("key.pem", "cert.pem")]
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "2"]
    subprocess.run([*make, "-keyout", files[0], "-out", files[1]], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    with NtfyServer(tls=context) as server:
        to = ntfy.read(f"ntfys://127.0.0.1:{server.port}/family")
        with pytest.raises(web.WebError, match="its certificate is not to be trusted"):
            ntfy.publish(to, {"topic": "family", "message": "secret"})
        assert server.messages() == []
        to = ntfy.read(f"ntfys://127.0.0.1:{server.port}/family?verify=no")
        assert ntfy.publish(to, {"topic": "family", "message": "hello"}).status == 200


def test_a_publication_arrives_as_ntfy_wants_it(server):
    """Title, text, loudness and three buttons that post to the answer topic; umlauts too."""
    to = ntfy.read(server.address("shape"))
    buttons = [{"label": name, "body": f"body {name}"} for name in ("a", "b", "c", "d")]
    form = ntfy.message(to, "shape", "Stürz", "Bitte komm", "high", "alarm", buttons, "rw-answers-x")
    assert ntfy.publish(to, form).status == 200
    (message,) = server.messages("shape")
    assert (message["title"], message["message"], message["priority"]) == ("Stürz", "Bitte komm", 5)
    assert [action["label"] for action in message["actions"]] == ["a", "b", "c"]
    server.press(message, "a")
    assert server.messages("rw-answers-x")[0]["message"] == "body a"


def test_a_stream_goes_on_where_it_broke_off():
    """What was posted while the line was down comes when it is up again, once."""
    with NtfyServer() as server:
        heard, states = [], []
        stream = ntfy.Stream(
            ntfy.read(server.address()), "t", "all", lambda number, text: heard.append(text),
            lambda up, words: states.append(up), retry_s=0.05,
        )  # fmt: skip
        server.publish("t", {"message": "before"})
        stream.start()
        server.wait_for_stream()
        until(lambda: heard == ["before"])
        server.mood = "500"
        server.cut()
        until(lambda: states == [True, False])
        server.publish("t", {"message": "meanwhile"})
        server.mood = "well"
        until(lambda: heard == ["before", "meanwhile"])
        stream.stop()


@pytest.mark.slow
def test_a_stream_that_falls_silent_is_opened_again():
    """A line without a sign of life is dead, though nobody has said so."""
    with NtfyServer(keepalive_s=30.0) as server:
        heard: list[str] = []
        stream = ntfy.Stream(
            ntfy.read(server.address()), "t", "all", lambda number, text: heard.append(text), lambda up, words: None,
            silent_s=0.15, retry_s=0.05,
        )  # fmt: skip
        stream.start()
        until(lambda: sum(asked.method == "GET" for asked in server.asked) >= 3)
        stream.stop()


LOUD = {
    "pover://" + "u" * 30 + "@" + "t" * 30: ("priority", [0, 1, 1]),
    "gotify://host/" + "t" * 15: ("priority", [5, 8, 10]),
    "prowl://" + "a" * 40: ("priority", [0, 1, 2]),
    "join://" + "a" * 32 + "/dev": ("priority", [0, 1, 2]),
    "psafer://" + "a" * 20: ("priority", [0, 1, 2]),
    "opsgenie://" + "a" * 36: ("priority", [3, 4, 5]),
    "tgram://123456789:" + "a" * 35 + "/12345": ("silent", [True, False, False]),
    "nctalk://user:pw@host/room": ("silent", [True, False, False]),
    "bark://host/key": ("level", ["active", "timeSensitive", "critical"]),
    "signalgrid://" + "a" * 20 + "/" + "b" * 20: ("critical", [False, False, True]),
    "pagerduty://" + "a" * 32 + "@" + "b" * 20: ("severity", ["info", "warning", "critical"]),
    "lametric://" + "a" * 64 + "@192.168.1.5": ("priority", ["info", "warning", "critical"]),
    "smseagle://token@host/15551234567": ("priority", [0, 0, 1]),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Apprise's own imports
def test_loudness_is_said_in_words_that_each_service_knows():
    """Each service of the table takes each of its words as what is meant."""
    apprise = pytest.importorskip("apprise")
    tried = {address.partition(":")[0] for address in LOUD}
    assert all(set(schemes) & tried for schemes in services.LOUDNESS)
    for address, (option, expected) in LOUD.items():
        made = [
            apprise.Apprise.instantiate(services.with_loudness(address, level)) for level in ("low", "medium", "high")
        ]
        assert None not in made, address
        assert [getattr(one, option) for one in made] == expected, address
        assert {one.socket_read_timeout for one in made} == {8.0}


def test_an_address_that_says_how_loud_it_is_keeps_it():
    """What the owner writes holds, time limits too."""
    address = "pover://user@token?priority=emergency&rto=2"
    assert services.with_loudness(address, "low") == f"{address}&cto=4"


def test_complaints_of_a_service_carry_no_secret():
    """Every part of the address that could be one is gone from the words."""
    address = "mailto://anna:s3cret%21pw@mail.example.org:587/?to=kid@example.org&pass=hunter22"
    said = "Login of anna with s3cret!pw at mail.example.org:587 failed (hunter22), kid@example.org mailto://a...a"
    found = services.clean(said, address)
    for secret in ("anna", "s3cret", "mail.example", "hunter22", "kid@example.org", "://"):
        assert secret not in found
    assert "failed" in found


def until(condition, within_s=5.0):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
