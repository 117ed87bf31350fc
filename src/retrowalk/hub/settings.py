"""The hub's own settings: one TOML file (`/etc/retrowalk/hub.toml`), documented as the device's is.

It may hold addresses that are secrets (a topic, a token): it is readable by the hub's user only, and none of them goes
into a log or a message.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from retrowalk.config import Broker, Language, Name, Section, SpokenName, Text

Address = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9+.-]{1,30}://[^\x00-\x20\x7f]{1,500}\Z",
        description='must be an Apprise address such as "ntfys://ntfy.sh/my-secret-topic"',
    ),
]


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
    alive_url: Text = ""
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
    url: Text = ""
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
