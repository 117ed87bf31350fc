"""What a maker may write on the card, and what the device makes of it."""

from __future__ import annotations

import configparser
import tomllib
from pathlib import Path

import pytest

from retrowalk import config
from retrowalk.errors import ConfigError
from retrowalk.firstboot import card, wifi
from retrowalk.hub import settings as hub_settings

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = (ROOT / "systemd" / "retrowalk.toml").read_bytes()
HUB_DEFAULTS = (ROOT / "systemd" / "hub.toml").read_bytes()
WIFI = b'[wifi]\nname = "Home"\npassword = "correct horse"\ncountry = "DE"\n'


def plan(text, device=DEFAULTS, hub=HUB_DEFAULTS, network=None):
    return card.plan(text if isinstance(text, bytes) else text.encode(), device, hub, network, file="retrowalk.toml")


def test_the_template_is_in_order():
    """The file that makers fill in can be taken as it is, and changes nothing but a network"""
    made = plan((ROOT / "firmware" / "boot" / "retrowalk.toml").read_bytes())
    assert config.parse(made.device.encode(), "") == config.Config()
    assert (made.hub, made.connection, made.broker_password) == (None, None, None)


def test_the_template_can_be_filled_in():
    """Every line of the template that is commented out is a setting that is known"""
    text = (ROOT / "firmware" / "boot" / "retrowalk.toml").read_text()
    lines = [line[1:] if line.startswith("#") and line[1:2] not in (" ", "") else line for line in text.splitlines()]
    text = "\n".join(lines).replace('name = ""\npassword = ""', 'name = "Home"\npassword = "correct horse"')
    table = tomllib.loads(text)
    assert {"wifi", "device", "walker", "broker", "wearer", "contact", "hub"} <= table.keys()
    made = plan(text)
    assert made.connection is not None
    assert made.hub is not None
    assert made.broker_password == table["broker"]["password"]


def test_comments_of_the_device_stay():
    """Where single lines can be exchanged, the device's file keeps its explanations"""
    made = plan('[walker]\nprofile = "younger"\n[device]\nname = "rw-0042"\n')
    assert config.parse(made.device.encode(), "").walker.profile == "younger"
    changed = [
        (old, new)
        for old, new in zip(DEFAULTS.decode().splitlines(), made.device.splitlines(), strict=True)
        if old != new
    ]
    assert changed == [('name = "rw-0001"', 'name = "rw-0042"'), ('profile = "older"', 'profile = "younger"')]


def test_what_the_card_does_not_name_stays():
    """A card with a new network leaves every setting of the device as it was"""
    own = b'[walker]\nprofile = "younger"\nreach_m = 0.25\n'
    assert plan(WIFI, device=own).device == own.decode()


def test_sensors_are_replaced_as_a_list():
    """A list of sensors on the card stands for all sensors of the device"""
    made = plan('[[range_sensor]]\nchip = "hc-sr04"\n')
    found = config.parse(made.device.encode(), "")
    assert [sensor.name for sensor in found.range_sensor] == ["rear"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda text: b"\xef\xbb\xbf" + text, id="byte order mark"),
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="line ends of Windows"),
        pytest.param(lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + b"\r\n", id="both"),
    ],
)
def test_editors_of_windows(change):
    """What a Windows editor does to a file changes nothing"""
    assert plan(change(WIFI)) == plan(WIFI)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("Zuhause", id="plain"),
        pytest.param("Müller & Söhne", id="umlauts"),
        pytest.param('a"b\\c', id="quote and backslash"),
        pytest.param("  spaces  ", id="spaces at its ends"),
        pytest.param("1;2;3", id="numbers with semicolons"),
        pytest.param("[wifi]#x=%y", id="signs of the key file"),
    ],
)
def test_any_name_of_a_network(name):
    """The name reaches NetworkManager byte by byte, whatever signs are in it"""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(wifi.connection(name, "correct horse"))
    assert bytes(int(byte) for byte in parser["wifi"]["ssid"].split(";") if byte).decode() == name


def test_key_is_the_standard_s():
    """Password and name make the key of IEEE 802.11's own test vectors"""
    assert wifi.key("password", "IEEE") == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"


@pytest.mark.parametrize("password", ["grün und weiß", 'quote" back\\slash', " begins with a space"])
def test_password_of_wpa2_is_not_kept(password):
    """Of a WPA2 password only the key is written"""
    made = wifi.connection("Home", password)
    assert password not in made
    assert f"psk={wifi.key(password, 'Home')}" in made


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        pytest.param("a\\b", "psk=a\\\\b", id="backslash"),
        pytest.param("  ab", "psk=\\s\\sab", id="spaces"),
        pytest.param("grün;#", "psk=grün;#", id="others"),
    ],
)
def test_password_of_wpa3_is_escaped(password, expected):
    """WPA3 needs the password itself, written as key files want it"""
    assert expected in wifi.connection("Home", password, security="wpa3").splitlines()


def test_hidden_network():
    """A network that does not tell its name is asked for by it"""
    assert "hidden=true" in plan(WIFI + b"hidden = true\n").connection.splitlines()
    assert "hidden=true" not in plan(WIFI).connection


def test_known_network_needs_no_password_again():
    """A file whose password was emptied can be used again; for another network the password is missing"""
    known = plan(WIFI).connection.encode()
    again = WIFI.replace(b"correct horse", b"")
    assert plan(again, network=known).connection is None
    with pytest.raises(ConfigError, match=r"wifi\.password: is missing"):
        plan(again.replace(b"Home", b"Other"), network=known)


SECRET = "geheim-und-lang"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(f'[wifi]\nname = "Home"\npassword = "{SECRET}"\n', "wifi.country", id="no country"),
        pytest.param('[wifi]\nname = "Home"\ncountry = "DE"\n', "wifi.password", id="no password"),
        pytest.param('[wifi]\nname = "H"\npassword = "kurz"\ncountry = "DE"\n', "8 to 63", id="short password"),
        pytest.param(
            '[wifi]\nname = "' + "ü" * 17 + '"\npassword = "12345678"\ncountry = "DE"\n', "32", id="long name"
        ),
        pytest.param(f'[wifi]\npasword = "{SECRET}"\n', "wifi.pasword", id="misspelt key"),
        pytest.param(f'[wlan]\npassword = "{SECRET}"\n', "wlan", id="misspelt table"),
        pytest.param(f'[device]\npassword = "{SECRET}"\n', "device.password", id="password in a wrong place"),
        pytest.param(f'[broker]\npasswort = "{SECRET}"\n', "broker.passwort", id="misspelt at the broker"),
        pytest.param(f'[broker]\nport = "{SECRET}"\n', "broker.port", id="a text for a number"),
        pytest.param(f'[wifi]\npassword = "{SECRET}\n', "is not TOML", id="quote left open"),
        pytest.param(f'[wifi]\npassword = "{SECRET}\\q"\n', "is not TOML", id="backslash in quotes"),
        pytest.param(f"[wifi]\npassword = {SECRET}\n", "is not TOML", id="no quotes"),
        pytest.param(f"[wifi]\nname = “Home”\npassword = “{SECRET}”\n", "is not TOML", id="quotes of a word processor"),
        pytest.param(f'password = "{SECRET}"\n'.encode("utf-16"), "is not UTF-8", id="UTF-16"),
        pytest.param('[wifi]\nname = "Müller"\n'.encode("latin-1"), "is not UTF-8", id="Latin 1"),
        pytest.param(b"\x00" * 100, "is not TOML", id="zeros after a power cut"),
        pytest.param(b"", "holds no setting", id="empty"),
        pytest.param(b"# " + b"x" * 300_000, "longer than", id="huge"),
        pytest.param('[walker]\nprofile = "old"\n', "walker.profile", id="a value that is not known"),
        pytest.param("[mount]\nheight_m = 9\n", "mount.height_m", id="a number out of range"),
        pytest.param(f'[[contact]]\nname = "Anna"\nnotify = ["{SECRET}"]\n', "contact", id="no address"),
        pytest.param(
            f'[broker]\npassword = "{SECRET}"\n[[contact]]\nname = "Anna"\nnotify = ["ntfys://ntfy.sh/{SECRET}"]\n',
            "hub.username",
            id="hub without a login",
        ),
        pytest.param(f'[broker]\npassword = "a\\n{SECRET}"\n', "broker.password", id="password of two lines"),
    ],
)
def test_what_is_wrong_is_named_and_not_shown(text, said):
    """Each mistake is named, and no finding holds what might be a secret"""
    with pytest.raises(ConfigError) as caught:
        plan(text)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_every_mistake_is_listed():
    """A maker learns of all mistakes at once"""
    with pytest.raises(ConfigError) as caught:
        plan('[wifi]\nname = "H"\nsecurity = "wep"\n[device]\nname = "UP"\n[broker]\nport = 0\n')
    assert {finding.key for finding in caught.value.findings} >= {"wifi.security", "device.name", "broker.port"}


def test_broken_settings_of_the_device_are_not_overlaid():
    """A device whose own file is spoiled refuses, and says how to begin again"""
    with pytest.raises(ConfigError, match="start_over"):
        plan('[device]\nname = "rw-2"\n', device=b"walker = [")
    made = plan('[device]\nname = "rw-2"\n[setup]\nstart_over = true\n', device=b"walker = [")
    assert config.parse(made.device.encode(), "").device.name == "rw-2"


def test_broker_password_goes_to_a_file():
    """The password itself is in no settings; the file that holds it is named there"""
    made = plan(f'[broker]\nhost = "b.example"\ntls = true\nport = 8883\npassword = "{SECRET}"\n')
    assert made.broker_password == SECRET
    assert SECRET not in made.device
    found = config.parse(made.device.encode(), "").broker
    assert (found.host, found.tls, found.password_file) == ("b.example", True, card.PASSWORD_FILE)


def test_contacts_make_a_hub():
    """People to be told, and who wears it, become the settings of a hub that hears this device"""
    made = plan(
        '[device]\nsite = "garden"\nname = "rw-7"\nlanguage = "de"\n[wearer]\nname = "Opa"\n'
        '[[contact]]\nname = "Jürgen"\nnotify = ["ntfys://ntfy.sh/long-and-secret"]\n'
    )
    found = hub_settings.parse(made.hub.encode(), "")
    assert found.contact[0].name == "Jürgen"
    assert [(one.device, one.name) for one in found.walker] == [("garden/rw-7", "Opa")]
    assert "garden" in found.hub.sites
    assert "ntfys://ntfy.sh/long-and-secret" in made.secrets
    assert "ntfys" not in made.device


def test_no_contacts_no_hub():
    """Where the card names nobody, a hub on this Pi is not touched"""
    assert plan(WIFI).hub is None


def test_what_is_left_on_the_card_holds_no_secret():
    """After the taking the card's copy says what was taken, without passwords, people and comments"""
    text = (
        f'# my router: {SECRET}1\n[wifi]\nname = "Home"\npassword = "{SECRET}2"\ncountry = "DE"\n'
        f'[broker]\npassword = "{SECRET}3"\n[hub]\nusername = "hub"\npassword = "{SECRET}4"\n'
        f'[[contact]]\nname = "Anna"\nnotify = ["ntfys://ntfy.sh/{SECRET}5"]\n'
    )
    left = card.taken(text.encode()).decode()
    assert SECRET not in left
    assert "Anna" not in left
    assert tomllib.loads(left)["wifi"] == {"name": "Home", "password": "", "country": "DE"}
