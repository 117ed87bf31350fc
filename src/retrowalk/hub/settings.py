"""The hub's own settings: one TOML file (`/etc/retrowalk/hub.toml`), documented as the device's is.

It may hold addresses that are secrets (a topic, a token): it is readable by the hub's user only, and none of them goes
into a log or a message.  `load` reads it and reports *all* findings at once.
"""

from __future__ import annotations

import os
import stat
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from retrowalk import config
from retrowalk.config import Broker, Language, Name, Rule, Section, SpokenName, Text

Address = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9+.-]{1,30}://[^\x00-\x20\x7f]{1,500}\Z",
        description='must be an Apprise address such as "ntfys://ntfy.sh/my-secret-topic"',
        extra={"secret": True},
    ),
]
WebAddress = Annotated[
    str,
    Meta(
        pattern=r"^(https?://[^\x00-\x20\x7f/?#]{1,253}(/[^\x00-\x20\x7f]{0,300})?)?\Z",
        description='must begin with "https://" or "http://", or be empty',
    ),
]
SecretWebAddress = Annotated[WebAddress, Meta(extra={"secret": True})]


class Hub(Section, frozen=True, kw_only=True):
    """What this hub watches over."""

    name: Name = "hub"
    """Name of the hub on the broker (a to z, 0 to 9, hyphen; 1 to 32 characters)."""
    sites: Annotated[
        tuple[Name, ...], Meta(min_length=1, max_length=32, description="must be a list of 1 to 32 names of sites")
    ] = ("home",)
    """Families or wards whose devices it hears (`device.site` of each)."""
    language: Language = "en"
    """Language of the messages: en (English) or de (German)."""
    keep_days: Annotated[int, Meta(ge=7, le=3650)] = 400
    """Events of low priority are deleted after so many days (7 to 3650); alerts and their answers stay."""
    keep_mb: Annotated[int, Meta(ge=50, le=100000)] = 1000
    """Beyond so much (50 to 100000 MB) events are deleted sooner, the oldest and least important first; falls and calls
    for help stay."""
    alive_url: SecretWebAddress = ""
    """Address of a service that calls somebody when the hub itself falls silent (as healthchecks.io); asked for each
    minute.  Empty: none."""


class Walker(Section, frozen=True, kw_only=True):
    """Who wears a device, so that messages speak of a person."""

    device: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9-]{1,32}/[a-z0-9-]{1,32}\Z", description='must be site and name, as "home/rw-0001"'),
    ] = "home/rw-0001"
    """Site and name of the device."""
    name: SpokenName = "Walker"
    """As the contacts call them.  A device that nobody is named for is called by its own name."""


class Contact(Section, frozen=True, kw_only=True):
    """A person who is told, in the order in which they stand here."""

    name: SpokenName = "Helper"
    """As people, and the walker, call them."""
    notify: Annotated[tuple[Address, ...], Meta(max_length=8, description="must be a list of up to 8 addresses")] = ()
    """Ways to reach them at once, as Apprise writes them: ntfy, Telegram, Pushover, mail, webhook (json://) ..."""
    urgent: Annotated[tuple[Address, ...], Meta(max_length=8, description="must be a list of up to 8 addresses")] = ()
    """Further ways when nobody has answered for long: text message, call."""


class Ladder(Section, frozen=True, kw_only=True):
    """Who is told when, until a person answers."""

    repeat_s: Annotated[float, Meta(ge=20.0, le=600.0)] = 60.0
    """Everybody who was told is told again this often (20 to 600 s)."""
    next_after_s: Annotated[float, Meta(ge=30.0, le=1800.0)] = 120.0
    """The second contact is told so long after the first (30 to 1800 s)."""
    all_after_s: Annotated[float, Meta(ge=60.0, le=3600.0)] = 300.0
    """All contacts, by their urgent ways too, so long after the first (60 to 3600 s)."""
    remind_after_s: Annotated[float, Meta(ge=60.0, le=7200.0)] = 900.0
    """Whoever answered is reminded when it is not over so long after (60 to 7200 s), and again each time."""


class Silence(Section, frozen=True, kw_only=True):
    """When a device that should speak, and does not, is an alert."""

    notice_after_s: Annotated[float, Meta(ge=30.0, le=600.0)] = 60.0
    """A device whose walker walks is noticed as silent after this (30 to 600 s)."""
    page_after_s: Annotated[float, Meta(ge=60.0, le=3600.0)] = 180.0
    """After this somebody is called (60 to 3600 s)."""


class Answers(Section, frozen=True, kw_only=True):
    """How answers come back beside those through ntfy, which need nothing here."""

    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Port on which answers by link and webhook are heard (1 to 65535); 0: nothing listens."""
    address: Text = "127.0.0.1"
    """Address to listen at; behind a proxy with TLS leave it."""
    url: WebAddress = ""
    """How contacts reach that port from outside ("https://hub.example.org"); empty: messages carry no link."""


class HubConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of it.  `HubConfig()` is the documented default."""

    hub: Hub = Hub()
    broker: Broker = Broker()
    walker: tuple[Walker, ...] = ()
    contact: tuple[Contact, ...] = ()
    ladder: Ladder = Ladder()
    silence: Silence = Silence()
    answers: Answers = Answers()


# ---------------------------------------------------------------------------------------------- reading


def load(path: str | Path) -> HubConfig:
    """Reads and checks a hub's settings.

    Raises `ConfigError` with every finding, as `config.load` does, and `OSError` if it cannot be read.
    """
    return parse(config.read(path), str(path))


def parse(text: bytes, file: str) -> HubConfig:
    """As `load`, from the bytes of a file that is called `file` in the findings."""
    return config.checked(HubConfig, config.table_of(text, file), file, _rules)


def exposed(path: str | Path, settings: HubConfig) -> str:
    """A warning, and its mend, when others than its owner and group may read addresses; else empty."""
    secret = settings.hub.alive_url or any(contact.notify or contact.urgent for contact in settings.contact)
    mode = os.stat(path).st_mode
    if not secret or not mode & (stat.S_IROTH | stat.S_IWOTH):
        return ""
    return f"{path} holds addresses and can be read by every user of this computer: sudo chmod o= {path}"


def _rules(settings: HubConfig) -> Iterator[Rule]:
    """The rules between values that `settings` breaks."""
    ladder, silence, answers = settings.ladder, settings.silence, settings.answers
    if ladder.all_after_s < ladder.next_after_s:
        keys = ("ladder.all_after_s", "ladder.next_after_s")
        yield Rule(keys, f"{ladder.all_after_s}", f"must not be below next_after_s ({ladder.next_after_s})")
    if silence.page_after_s <= silence.notice_after_s:
        keys = ("silence.page_after_s", "silence.notice_after_s")
        yield Rule(keys, f"{silence.page_after_s}", f"must be above notice_after_s ({silence.notice_after_s})")
    yield from _once("contact", "name", [contact.name.casefold() for contact in settings.contact])
    yield from _once("walker", "device", [walker.device for walker in settings.walker])
    for index, contact in enumerate(settings.contact):
        if not contact.notify and not contact.urgent:
            yield Rule((f"contact[{index}].notify",), "[]", f"has no address to tell {contact.name} by")
    if settings.contact and all(contact.urgent and not contact.notify for contact in settings.contact):
        name, late_s = settings.contact[0].name, ladder.all_after_s
        yield Rule(("contact[0].notify",), "[]", f"nobody is told in the first {late_s:g} s: give {name} an address")
    for index, site in enumerate(settings.hub.sites):
        if site in settings.hub.sites[:index]:
            yield Rule(("hub.sites",), f'"{site}"', "stands there twice")
    if answers.url and not answers.port:
        yield Rule(("answers.url", "answers.port"), f'"{answers.url}"', "needs answers.port, on which it is answered")
    try:
        port = urllib.parse.urlsplit(answers.url).port
    except ValueError:
        port = 0
    if port == 0:
        yield Rule(("answers.url",), f'"{answers.url}"', "has no port that can be")


def _once(table: str, key: str, values: list[str]) -> Iterator[Rule]:
    first: dict[str, str] = {}
    for index, value in enumerate(values):
        name = f"{table}[{index}].{key}"
        if value in first:
            yield Rule((name, first[value]), f'"{value}"', f"is already the {key} of {first[value][: -len(key) - 1]}")
        first.setdefault(value, name)
