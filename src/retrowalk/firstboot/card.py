"""What a maker may write into `retrowalk.toml` on the card's boot partition, and what becomes of it on the device.

Pure: bytes and tables in, texts out.  The file holds what only this door has (`wifi`, `wearer`, `contact`, `hub`,
`setup`, the broker's password) and any setting of /etc/retrowalk/retrowalk.toml, which is laid over what is there.
No value of it goes into a finding, because a password may stand anywhere in a file that is not in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from retrowalk import config
from retrowalk.config import Broker, Config, Name, Rule, Section, SpokenName
from retrowalk.errors import ConfigError, Finding
from retrowalk.firstboot import wifi
from retrowalk.hub import settings as hub_settings
from retrowalk.hub.settings import Contact

Secret = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]{0,200}\Z",
        description="must be text on one line, at most 200 characters",
        extra={"secret": True},
    ),
]
PASSWORD_FILE = "/etc/retrowalk/broker.password"
HUB_PASSWORD_FILE = "/etc/retrowalk/hub-broker.password"
HEADER = """\
# The settings of this device, written by retrowalk from the retrowalk.toml of the card's boot partition.
# What is not here has its default.  Every setting is explained in retrowalk's own systemd/{name}.
"""


class Wifi(Section, frozen=True, kw_only=True):
    """The network that the Pi joins."""

    name: Annotated[str, Meta(pattern=r"^[^\x00]{0,32}\Z", description="must be a name of at most 32 bytes")] = ""
    password: Secret = ""
    country: Annotated[
        str, Meta(pattern=r"^([A-Z]{2})?\Z", description='must be two capital letters, such as "DE"')
    ] = ""
    hidden: bool = False
    security: Literal["wpa2", "wpa3", "none"] = "wpa2"


class CardBroker(Broker, frozen=True, kw_only=True):
    """As the device's, and the password itself."""

    password: Secret = ""


class Wearer(Section, frozen=True, kw_only=True):
    """Who wears the device, as the messages of a hub on this Pi call them."""

    name: SpokenName | Literal[""] = ""


class CardHub(Section, frozen=True, kw_only=True):
    """The hub's own login at the broker, where a hub runs on this Pi and the broker wants one."""

    username: Name | Literal[""] = ""
    password: Secret = ""


class Setup(Section, frozen=True, kw_only=True):
    """How this file is taken."""

    start_over: bool = False


class Card(Config, frozen=True, kw_only=True):
    """The whole file.  Fields that are not named in it are not touched on the device."""

    wifi: Wifi = Wifi()
    broker: CardBroker = CardBroker()
    wearer: Wearer = Wearer()
    contact: tuple[Contact, ...] = ()
    hub: CardHub = CardHub()
    setup: Setup = Setup()


ONLY_HERE = ("wifi", "wearer", "contact", "hub", "setup")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the device gets, each a whole file; None: it stays as it is."""

    device: str
    """/etc/retrowalk/retrowalk.toml."""
    hub: str | None
    connection: str | None
    """NetworkManager's file of the network."""
    country: str
    """Two capital letters; empty: as it is."""
    broker_password: str | None
    hub_password: str | None
    secrets: tuple[str, ...]
    """What must not be seen anywhere."""


def plan(card: bytes, device: bytes | None, hub: bytes | None, network: bytes | None, *, file: str) -> Plan:
    """What to write for a card file that is called `file`, on a device with these files (None: it has none).

    Raises `ConfigError` with every finding, none of which holds a value that could be a secret.
    """
    try:
        table = config.table_of(card, file)
        read = config.checked(Card, table, file, _rules)
        merged = _device_table(table, read, device)
        settings = config.from_table(merged, file)
        hub_text = _hub_text(table, read, settings, hub, file)
        if _password_missing(read.wifi, network):
            raise ConfigError([Finding(file, "wifi.password", "", "is missing, and the device does not know it yet")])
    except ConfigError as error:
        raise ConfigError([_without_value(finding) for finding in error.findings]) from None
    net = read.wifi
    made = None
    if net.name and (net.password or net.security == "none"):
        made = wifi.connection(net.name, net.password, security=net.security, hidden=net.hidden)
    addresses = [address for one in read.contact for address in (*one.notify, *one.urgent)]
    return Plan(
        device=_device_text(table, device, merged),
        hub=hub_text,
        connection=made,
        country=net.country if net.name else "",
        broker_password=read.broker.password or None,
        hub_password=read.hub.password or None,
        secrets=tuple(filter(None, (net.password, read.broker.password, read.hub.password, *addresses))),
    )


def taken(card: bytes) -> bytes:
    """What is left on the card of a file that was taken: the same, every secret emptied, its comments too.

    Values of keys that hold secrets are emptied by the table that was read, not by the look of a line.
    """
    table = config.table_of(card, "")
    for section, field in (("wifi", "password"), ("broker", "password"), ("hub", "password")):
        if isinstance(table.get(section), dict) and field in table[section]:
            table[section][field] = ""
    table.pop("contact", None)
    head = (
        "# retrowalk has taken these settings.  Passwords and people to be told are on the device only, not here.\n"
        "# To change something: write a new file retrowalk.toml beside this one with what changes, and start the Pi.\n"
    )
    return (head + toml(table)).encode()


# --------------------------------------------------------------------------------------------------- the device's file


def _device_table(table: Mapping[str, Any], read: Card, device: bytes | None) -> dict[str, Any]:
    old: dict[str, Any] = {}
    if device is not None and not read.setup.start_over:
        try:
            old = config.table_of(device, "/etc/retrowalk/retrowalk.toml")
            config.from_table(old, "/etc/retrowalk/retrowalk.toml")
        except ConfigError as error:
            hint = Finding("setup", "start_over", "", "true, written here, begins again from the defaults")
            raise ConfigError([*error.findings, hint]) from None
    merged = {name: dict(value) if isinstance(value, dict) else value for name, value in old.items()}
    for name, value in table.items():
        if name in ONLY_HERE:
            continue
        if not isinstance(value, dict):
            merged[name] = value  # a list of sensors stands for the whole list
            continue
        merged.setdefault(name, {}).update({key: item for key, item in value.items() if key != "password"})
    if read.broker.password:
        merged.setdefault("broker", {})["password_file"] = PASSWORD_FILE
    return merged


def _device_text(table: Mapping[str, Any], device: bytes | None, merged: dict[str, Any]) -> str:
    """The merged settings, in the words of the file that is there where single lines of it can be exchanged."""
    if device is not None:
        try:
            text = device.removeprefix(wifi.BOM).decode()
            edited = _edited(text, merged)
            if config.table_of(edited.encode(), "") == merged:
                return edited
        except (ConfigError, UnicodeDecodeError):
            pass
    return HEADER.format(name="retrowalk.toml") + toml(merged)


def _edited(text: str, merged: Mapping[str, Any]) -> str:
    """The text with the value of each plain setting that differs exchanged in its line; comments stay."""
    lines, section = [], ""
    for line in text.splitlines():
        head = re.fullmatch(r"\s*\[([a-z_]+)\]\s*(#.*)?", line)
        if line.lstrip().startswith("["):
            section = head[1] if head else ""
        setting = re.fullmatch(r"([a-z0-9_]+) *= *(.*)", line)
        if setting and section and setting[1] in merged.get(section, {}):
            value = merged[section][setting[1]]
            try:
                same = config.table_of(f"x = {setting[2]}".encode(), "")["x"] == value
            except ConfigError:
                same = True  # a value of several lines: what it is, the caller's comparison tells
            lines.append(line if same else f"{setting[1]} = {_value(value)}")
        else:
            lines.append(line)
    return "\n".join(lines) + "\n"


# --------------------------------------------------------------------------------------------------------- the hub's


def _hub_text(table: Mapping[str, Any], read: Card, device: Config, hub: bytes | None, file: str) -> str | None:
    """The settings of a hub on this Pi; None where the card says nothing of it."""
    if not read.contact and not read.wearer.name and not read.hub.password:
        return None
    old: dict[str, Any] = {}
    if hub is not None and not read.setup.start_over:
        old = config.table_of(hub, "/etc/retrowalk/hub.toml")
    own = dict(old.get("hub", {}))
    sites = list(own.get("sites", []))
    own["sites"] = sites if device.device.site in sites else [*sites, device.device.site]
    own.setdefault("language", device.device.language)
    broker = dict(old.get("broker", {}))
    broker |= {key: value for key, value in msgspec.to_builtins(device.broker).items() if key in _OF_BOTH}
    if read.hub.username:
        broker["username"] = read.hub.username
    if read.hub.password:
        broker["password_file"] = HUB_PASSWORD_FILE
    made: dict[str, Any] = {**old, "hub": own, "broker": broker}
    if "contact" in table:
        made["contact"] = table["contact"]
    if read.wearer.name:
        address = f"{device.device.site}/{device.device.name}"
        others = [one for one in old.get("walker", []) if one.get("device") != address]
        made["walker"] = [*others, {"device": address, "name": read.wearer.name}]
    text = HEADER.format(name="hub.toml") + toml(made)
    hub_settings.parse(text.encode(), file)
    return text


_OF_BOTH = ("host", "port", "tls", "ca_file")


# -------------------------------------------------------------------------------------------------------------- rules


def _rules(card: Card) -> Iterator[Rule]:
    """The rules between values of the card that it breaks."""
    net = card.wifi
    if len(net.name.encode()) > 32:
        yield Rule(("wifi.name",), "", "must be a name of at most 32 bytes (an umlaut counts two)")
    if net.name and not net.country:
        yield Rule(("wifi.country", "wifi.name"), "", 'is missing: two capital letters, such as "DE"')
    if net.password and not net.name:
        yield Rule(("wifi.name", "wifi.password"), "", "is missing: the password belongs to a network")
    length = len(net.password.encode())
    hexadecimal = re.fullmatch(r"[0-9a-fA-F]{64}", net.password)
    if net.password and net.security == "wpa2" and not 8 <= length <= 63 and not hexadecimal:
        yield Rule(("wifi.password",), "", "must have 8 to 63 characters (an umlaut counts two)")
    if net.password and net.security == "none":
        yield Rule(("wifi.security", "wifi.password"), "", "is none, but there is a password")
    if card.broker.password and card.broker.password_file:
        yield Rule(("broker.password_file", "broker.password"), "", "is made from broker.password: leave it out")
    if card.contact and card.broker.password and not (card.hub.username and card.hub.password):
        words = "is missing: the hub that tells these contacts needs a login of its own at that broker"
        yield Rule(("hub.username", "hub.password"), "", words)


def _password_missing(net: Wifi, network: bytes | None) -> bool:
    if not net.name or net.password or net.security == "none":
        return False
    return network is None or wifi.identity(net.name).encode() not in network


def _without_value(finding: Finding) -> Finding:
    """A number may be shown; anything else might be a password in a wrong place."""
    shown = finding.value if re.fullmatch(r"-?[0-9.]{1,8}|true|false|", finding.value) else "(not shown)"
    return Finding(finding.file, finding.key, shown, finding.rule)


# --------------------------------------------------------------------------------------------------------------- TOML


def toml(table: Mapping[str, Any]) -> str:
    """Tables, and lists of tables, of plain values as TOML."""
    lines: list[str] = []
    for name, value in table.items():
        many = isinstance(value, list)
        for one in value if many else [value]:
            lines += ["", f"[[{name}]]" if many else f"[{name}]"]
            lines += [f"{key} = {_value(item)}" for key, item in one.items()]
    return "\n".join([*lines, ""])


def _value(item: Any) -> str:
    # A text, number, truth value or list of them in JSON is TOML, too.
    return msgspec.json.encode(item).decode()
