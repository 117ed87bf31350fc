"""`retrowalk notify-test`: one of each kind to everybody, marked as a test, and what became of it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from tests.hub.ntfy_server import NtfyServer

from retrowalk import cli
from retrowalk.hub.facts import Told
from retrowalk.hub.trial import KINDS


@pytest.fixture
def notify_test(tmp_path):
    file = tmp_path / "hub.toml"

    def run(settings, *more):
        file.write_text(settings)
        file.chmod(0o600)
        arguments = ["notify-test", "--config", str(file), "--state-dir", str(tmp_path / "state"), *more]
        return CliRunner().invoke(cli.cli, arguments)

    return run


def contact(name, *addresses, urgent=()):
    return f'[[contact]]\nname = "{name}"\nnotify = {json.dumps(addresses)}\nurgent = {json.dumps(urgent)}\n'


@pytest.mark.process
def test_everybody_gets_one_of_each_kind_marked_as_a_test(notify_test, tmp_path):
    """Nobody takes it for an alarm; urgent ways get one; nothing is kept; all is well."""
    with NtfyServer() as server:
        ran = notify_test(
            contact("Anna", server.address("anna"), urgent=[server.address("sms")])
            + contact("Bert", server.address("bert")),
            "--json",
        )
        assert ran.exit_code == 0, ran.output
        for topic, count in (("anna", len(KINDS)), ("bert", len(KINDS)), ("sms", 1)):
            messages = server.messages(topic)
            assert len(messages) == count
            assert all(message["title"].startswith("TEST: ") for message in messages)
            assert all("only a test" in message["message"] for message in messages)
    tried = json.loads(ran.stdout)["tried"]
    assert len(tried) == 2 * len(KINDS) + 1
    assert [one["kind"] for one in tried if one["scheme"] == "ntfy" and one["contact"] == "Bert"] == [
        kind[0] for kind in KINDS
    ]
    assert not (tmp_path / "state").exists()


@pytest.mark.process
@pytest.mark.slow
def test_an_address_that_takes_nothing_is_shown_with_its_reason(notify_test):
    """Whose telephone stays silent is seen before it matters: in the table, and by the exit status."""
    with NtfyServer() as server, NtfyServer(mood="500") as bad:
        ran = notify_test(
            contact("Anna", server.address()) + contact("Bert", bad.address(), "ntfy://127.0.0.1:1/5ecr3t")
        )
        assert ran.exit_code == 1
        lines = ran.stdout.splitlines()[-5:]
        assert any("Anna" in line and "9 of 9" in line for line in lines)
        assert any("Bert" in line and "0 of 9" in line and "in trouble (500)" in line for line in lines)
        assert "connection refused" in ran.output
        assert "5ecr3t" not in ran.output


@pytest.mark.process
@pytest.mark.slow
def test_one_contact_can_be_asked_for(notify_test):
    """Whoever changes their telephone need not wake the others."""
    with NtfyServer() as server:
        settings = contact("Anna", server.address("anna")) + contact("Bert", server.address("bert"))
        assert notify_test(settings, "--contact", "bert").exit_code == 0
        assert not server.messages("anna")
        assert len(server.messages("bert")) == len(KINDS)


@pytest.mark.parametrize(
    ("settings", "more", "words"),
    [
        ("[hub]\n", (), "nobody would be told of a fall"),
        (contact("Anna", "ntfy://a"), ("--contact", "Bert"), "Bert is no contact"),
        (contact("Anna", "a"), (), "must be an Apprise address"),
    ],
)
def test_what_cannot_be_tried_is_said_in_words(notify_test, settings, more, words):
    """A line that says what to do, and no traceback."""
    ran = notify_test(settings, *more)
    assert ran.exit_code != 0
    assert words in ran.output


def test_every_reason_to_tell_somebody_is_tried():
    """But for those whose words are as another's."""
    left_out = {Told.ESCALATED, Told.UPDATE, Told.REMINDER}
    assert {kind[3] for kind in KINDS} == set(Told) - left_out
