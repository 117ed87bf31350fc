"""A Wi-Fi network as NetworkManager keeps it.

Standard library only, and no import of retrowalk: the set-up of a new card runs a copy of this file as a program, to
bring the network up before retrowalk is installed (`firmware/boot/setup`).

Sources: NetworkManager's nm-settings-keyfile(5), IEEE 802.11 annex J.4 (passphrase to key), and the state file that
Raspberry Pi OS ships with Wi-Fi switched off until a country is known (pi-gen, stage2/02-net-tweaks).
"""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
import uuid
from pathlib import Path

CONNECTION = "etc/NetworkManager/system-connections/retrowalk-wifi.nmconnection"
STATE = "var/lib/NetworkManager/NetworkManager.state"
CARD_MAX_BYTES = 65536
BOM = b"\xef\xbb\xbf"


def key(password: str, name: str) -> str:
    """The 64 hexadecimal digits that a WPA2 password and a network's name make; 64 digits are such a key already."""
    if len(password) == 64:
        return password.lower()
    return hashlib.pbkdf2_hmac("sha1", password.encode(), name.encode(), 4096, 32).hex()


def identity(name: str) -> str:
    """By which a network of that name is known in NetworkManager's file."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"wifi.retrowalk.{name.encode().hex()}"))


def connection(name: str, password: str, *, security: str = "wpa2", hidden: bool = False) -> str:
    """NetworkManager's file for a network; `security` is wpa2, wpa3 or none.

    The name stands there as its bytes, so that no sign in it means anything.  Of a WPA2 password only the key made of
    it is kept, which opens this network and tells nobody a password used elsewhere; WPA3 needs the password itself.
    """
    lines = ["[connection]", "id=retrowalk-wifi", f"uuid={identity(name)}", "type=wifi", "autoconnect-retries=0", ""]
    lines += ["[wifi]", "mode=infrastructure", f"ssid={''.join(f'{byte};' for byte in name.encode())}"]
    lines += ["hidden=true"] if hidden else []
    # A radio that sleeps answers late, and the caregiver's message waits.
    lines += ["powersave=2", ""]
    if security == "wpa2":
        lines += ["[wifi-security]", "key-mgmt=wpa-psk", f"psk={key(password, name)}", ""]
    elif security == "wpa3":
        lines += ["[wifi-security]", "key-mgmt=sae", f"psk={_escaped(password)}", ""]
    lines += ["[ipv4]", "method=auto", "", "[ipv6]", "method=auto", ""]
    return "\n".join(lines)


def switched_on(state: str) -> str:
    """NetworkManager's state file with Wi-Fi on; as it was where nothing speaks against it."""
    return state.replace("WirelessEnabled=false", "WirelessEnabled=true")


def _escaped(value: str) -> str:
    """A value of a key file (GLib): a backslash doubled, and spaces at the beginning kept."""
    text = value.replace("\\", "\\\\")
    bare = text.lstrip(" ")
    return "\\s" * (len(text) - len(bare)) + bare


def _put(file: Path, text: str) -> None:
    """Writes a file that is root's alone, whole or not at all."""
    temporary = file.with_name(f".{file.name}-new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(temporary, file)


def main(arguments: list[str]) -> int:
    """`wifi.py CARD-FILE ROOT`: brings the network of the card's settings into NetworkManager's folder below ROOT.

    Prints its country where it did so, and nothing where the card names no network.  What is wrong is one line on
    stderr that shows no value; the whole examination is left to `retrowalk first-boot`.
    """
    card, root = Path(arguments[0]), Path(arguments[1])
    try:
        handle = os.open(card, os.O_RDONLY | os.O_NOFOLLOW)
        with open(handle, "rb") as opened:
            text = opened.read(CARD_MAX_BYTES + 1)
        if len(text) > CARD_MAX_BYTES:
            raise ValueError("is too long")
        wifi = tomllib.loads(text.removeprefix(BOM).decode()).get("wifi", {})
        name, password, country = (str(wifi.get(field, "")) for field in ("name", "password", "country"))
        security = str(wifi.get("security", "wpa2"))
        if not name:
            return 0
        if not 1 <= len(name.encode()) <= 32 or security not in ("wpa2", "wpa3", "none"):
            raise ValueError("name or security cannot be used")
        if (security != "none" and not 8 <= len(password.encode()) <= 64) or "\n" in password:
            raise ValueError("the password must have 8 to 63 signs")
        if not (len(country) == 2 and country.isascii() and country.isupper()):
            raise ValueError("country must be two capital letters")
        made = connection(name, password, security=security, hidden=wifi.get("hidden") is True)
        _put(root / CONNECTION, made)
    except (OSError, ValueError, AttributeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        print(f"{card.name}: [wifi]: {said}", file=sys.stderr)
        return 1
    print(country)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
