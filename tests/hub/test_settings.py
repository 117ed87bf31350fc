"""A hub's settings: everything that is wrong is said at once, and no address is shown."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from retrowalk.errors import ConfigError
from retrowalk.hub import settings

SECRET = "tk_5ecr3t"


def findings(text):
    with pytest.raises(ConfigError) as caught:
        settings.parse(text.encode(), "hub.toml")
    return [(finding.key, finding.rule) for finding in caught.value.findings], str(caught.value)


def test_the_default_file_can_be_read():
    """What the project ships is in order, and says what the code says."""
    file = Path(__file__).parents[2] / "systemd" / "hub.toml"
    read = settings.load(file)
    assert read.ladder == settings.Ladder()
    assert set(tomllib.loads(file.read_text())) <= set(settings.HubConfig.__struct_fields__)


def test_contacts_stand_in_their_order():
    """The ladder climbs as the file is written."""
    read = settings.parse(
        b'[[contact]]\nname="Anna"\nnotify=["ntfy://a"]\n[[contact]]\nname="Bert"\nurgent=["ntfy://b"]', "hub.toml"
    )
    assert [(contact.name, contact.notify, contact.urgent) for contact in read.contact] == [
        ("Anna", ("ntfy://a",), ()),
        ("Bert", (), ("ntfy://b",)),
    ]


@pytest.mark.parametrize(
    ("text", "key", "rule"),
    [
        ("[ladder]\nnext_after_s=120\nall_after_s=60", "ladder.all_after_s", "must not be below next_after_s (120)"),
        ("[silence]\nnotice_after_s=200", "silence.page_after_s", "must be above notice_after_s (200)"),
        (
            '[[contact]]\nname="Anna"\nnotify=["ntfy://a"]\n[[contact]]\nname="anna"\nnotify=["ntfy://b"]',
            "contact[1].name",
            "is already the name of contact[0]",
        ),
        ('[[contact]]\nname="Anna"', "contact[0].notify", "has no address to tell Anna by"),
        (
            '[[contact]]\nname="Anna"\nurgent=["sms://a"]',
            "contact[0].notify",
            "nobody is told in the first 300 s: give Anna an address",
        ),
        (
            '[[contact]]\nname="Anna"\nnotify=["ntfy://a", 5]',
            "contact[0].notify[1]",
            "must be an Apprise address such as",
        ),
        ('[[contact]]\nname="Anna"\nnotify="ntfy://a"', "contact[0].notify", "must be a list of up to 8 addresses"),
        ('[contact]\nname="Anna"', "contact", "must be tables, [[contact]]"),
        ('[answers]\nurl="https://hub.example.org"', "answers.url", "needs answers.port, on which it is answered"),
        ('[answers]\nport=8080\nurl="hub.example.org"', "answers.url", 'must begin with "https://" or "http://"'),
        ('[answers]\nport=8080\nurl="https://x:99999"', "answers.url", "has no port that can be"),
        ('[hub]\nsites=["home","home"]', "hub.sites", "stands there twice"),
        ('[hub]\nalive_url="hc-ping.com/x"', "hub.alive_url", 'must begin with "https://" or "http://"'),
        ('[contacts]\nname="Anna"', "contacts", "is not known; known here: hub, broker"),
    ],
)
def test_each_rule_is_named_with_its_key(text, key, rule):
    """Whoever reads it knows where to look and what to write."""
    found, _ = findings(text)
    assert len(found) == 1
    assert found[0][0] == key
    assert found[0][1].replace(".0)", ")").startswith(rule)


@pytest.mark.parametrize(
    "text",
    [
        f'[[contact]]\nname="Anna"\nnotify="ntfys://{SECRET}@host/x"',
        f'[[contact]]\nname="Anna"\nnotfy=["ntfys://{SECRET}@host/x"]\nnotify=["ntfy://a"]',
        f'[[contact]]\nname="Anna"\nnotify=["{SECRET}"]',
        f'[[contact]]\nname="Anna"\nnotify=["ntfy://{SECRET} x", "ntfy://b"]',
        f'[[contacts]]\nname="Anna"\nnotify=["ntfys://{SECRET}@host/x"]',
        f'contact="ntfys://{SECRET}@host/x"',
        f'contact=["ntfys://{SECRET}@host/x"]',
        f'[hub]\nalive_url="{SECRET}"',
        f'[hub]\nalive_uri="{SECRET}"',
        f'notify="ntfys://{SECRET}@host/x"',
        f'[[contact]]\nnotify=["ntfys://{SECRET}@host/x"',
    ],
)
def test_no_finding_shows_what_may_be_secret(text):
    """Findings go into logs and screenshots: a mistake in a line does not publish the line."""
    found, words = findings(text)
    assert found
    assert SECRET not in words


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_file_that_everybody_can_read_is_named_with_its_mend(tmp_path, mode, warned):
    """Whoever knows a topic can read along, and answer."""
    file = tmp_path / "hub.toml"
    file.write_text('[[contact]]\nname="Anna"\nnotify=["ntfy://a"]')
    file.chmod(mode)
    warning = settings.exposed(file, settings.load(file))
    assert (f"chmod o= {file}" in warning) == warned


def test_a_file_without_addresses_may_be_read_by_everybody(tmp_path):
    """Where there is no secret there is no warning."""
    file = tmp_path / "hub.toml"
    file.write_text("[hub]\nkeep_days=30")
    assert settings.exposed(file, settings.load(file)) == ""
