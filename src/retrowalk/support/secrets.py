"""What must not leave the device: passwords, tokens, addresses of people, and their names.

Three nets, each behind the other.  Settings are shown by their schema: a secret is replaced, a name of a person is, and
so is every text whose key nobody knows.  Each secret that could be read anywhere is blotted out wherever else it turns
up.  And what has the form of a secret (`password=...`, `scheme://user:password@host`, a mail address) goes as well.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Struct

from retrowalk import config
from retrowalk.config import SpokenName
from retrowalk.errors import ConfigError
from retrowalk.hub.web import secret_pieces

BLOT = "(not shown)"
PERSON = "(a name)"
MIN_CHARACTERS = 4
"""What is shorter would blot out half of a text, and protects nothing."""

USUAL_NAMES = {"Helper", "Walker"}
"""What stands in the settings where nobody is named."""

SECRET_NAME = re.compile(
    r"pass|secret|token|psk|credential|auth|api.?key|priv.*key|wep.?key|ssid|webhook|cookie|bearer|pin.?code",
    re.IGNORECASE,
)
"""Names (of keys, variables) behind which a secret may stand."""

FILES = re.compile(r"_file$")
"""The name of a file that holds a secret is none."""

_WORDS = r"pass(?:word|wd|phrase|wort)?|secret|(?:access|auth|api)?_?token|psk|api[_-]?key|credentials?|ssid"
_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    # key = value, "key": "value", --key value
    (re.compile(rf"(?i)((?:{_WORDS})[\"']?\s*[=:]\s*)(\"[^\"\n]*\"|'[^'\n]*'|[^\s,;\"']+)"), rf"\1{BLOT}"),
    (re.compile(rf"(?i)(--?(?:{_WORDS})\s+)\S+"), rf"\1{BLOT}"),
    (re.compile(r"(?i)\b(authorization\s*[:=]\s*|bearer\s+|basic\s+(?=[a-z0-9+/=]{8}))[^\n,;\"']+"), rf"\1{BLOT}"),
    # Addresses: of the web only who is asked is shown, of every other kind nothing.
    (re.compile(r"(?i)\b(https?|mqtts?|wss?)://(?:[^\s/@\"']*@)?([^\s/?#\"']+)[^\s\"'<>)]*"), rf"\1://\2/{BLOT}"),
    (re.compile(r"(?i)\b(?!https?:|mqtts?:|wss?:)([a-z][a-z0-9+.-]{1,30})://[^\s\"'<>)]+"), rf"\1://{BLOT}"),
    (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+"), "(an address)"),
    (re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL), BLOT),
)


class Hidden:
    """Blots out what is known to be secret, and what looks like it."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._names: set[str] = set()

    def add(self, secrets: Iterable[str]) -> None:
        """From now on none of these is shown, as it is, nor as it stands in an address or in JSON."""
        for secret in secrets:
            whole = secret.strip()
            self._known |= secret_pieces(whole) if "://" in whole else set()
            for form in (whole, urllib.parse.quote(whole, safe=""), msgspec.json.encode(whole).decode()[1:-1]):
                if len(form) >= MIN_CHARACTERS:
                    self._known.add(form)

    def add_person(self, name: str) -> None:
        """From now on this name is not shown where it stands as a word of its own."""
        if len(name) > 1 and name not in USUAL_NAMES:
            self._names.add(name)

    def clean(self, text: str) -> str:
        """The text without them."""
        for secret in sorted(self._known, key=len, reverse=True):
            text = text.replace(secret, BLOT)
        for name in sorted(self._names, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", PERSON, text)
        for form, instead in _FORMS:
            text = form.sub(instead, text)
        return text


# ------------------------------------------------------------------------------------------------------------- settings


def settings_text(text: bytes, root: type[Struct], hidden: Hidden) -> str:
    """A settings file as it may be shown; every secret in it is added to `hidden`.

    `root` is its schema.  Comments are left out: nobody knows what stands in them.  A file that is no TOML is shown
    line by line, and of it only what a known, plain key says.
    """
    try:
        table = config.table_of(text, "settings")
    except ConfigError as error:
        return _broken(text.decode(errors="replace"), root, str(error), hidden)
    return to_toml(_tables(table, root, hidden))


def to_toml(table: dict[str, Any]) -> str:
    """Tables as text, in the form of a settings file."""
    lines: list[str] = []
    for name, value in table.items():
        many = isinstance(value, list) and bool(value) and isinstance(value[0], dict)
        if isinstance(value, dict) or many:
            each: list[dict[str, Any]] = value if isinstance(value, list) else [value]
            for one in each:
                lines.append(f"[[{name}]]" if many else f"[{name}]")
                lines += [f"{key} = {msgspec.json.encode(item).decode()}" for key, item in one.items()]
        else:
            lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    return "\n".join(lines) + "\n"


def _tables(table: dict[str, Any], root: type[Struct], hidden: Hidden) -> dict[str, Any]:
    kinds: dict[str, list[Any]] = {}
    for name, kind in config.sections(root):
        kinds.setdefault(name, []).append(kind)
    shown: dict[str, Any] = {}
    for name, value in table.items():
        known = kinds.get(name, [])
        if isinstance(value, dict):
            shown[name] = _table(value, known, hidden)
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            shown[name] = [_table(one, known, hidden) for one in value]
        else:
            shown[name] = _value(name, value, None, hidden)
    return shown


def _table(table: dict[str, Any], kinds: list[Any], hidden: Hidden) -> dict[str, Any]:
    fields = {field.name: field.type for kind in kinds for field in msgspec.structs.fields(kind)}
    fields.update({kind.__struct_config__.tag_field: str for kind in kinds if kind.__struct_config__.tag_field})
    return {key: _value(key, value, fields.get(key), hidden) for key, value in table.items()}


def _value(key: str, value: Any, kind: Any, hidden: Hidden) -> Any:
    """A value as it may be shown; `kind` None: nobody knows the key."""
    if isinstance(value, bool) or (isinstance(value, int | float) and not SECRET_NAME.search(key)):
        return value
    inner = _inner(kind)
    secret = kind is None or config.is_secret(kind) or config.is_secret(inner)
    if not secret and SECRET_NAME.search(key) and not FILES.search(key):
        secret = True
    if isinstance(value, list) and kind is not None:
        return [_value(key, one, inner if inner is not None else kind, hidden) for one in value]
    if secret:
        hidden.add(_texts(value))
        return BLOT
    if SpokenName in (kind, inner):
        if isinstance(value, str):
            hidden.add_person(value)
        return PERSON
    return value if isinstance(value, str) else BLOT


def _inner(kind: Any) -> Any:
    """Of a list, what stands in it."""
    plain = get_args(kind)[0] if get_args(kind) and get_origin(kind) is not tuple and kind is not None else kind
    for candidate in (kind, plain):
        if get_origin(candidate) is tuple:
            return get_args(candidate)[0]
    return None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [str(value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _broken(text: str, root: type[Struct], why: str, hidden: Hidden) -> str:
    plain: set[str] = set()
    for _, kind in config.sections(root):
        for field in msgspec.structs.fields(kind):
            inner = _inner(field.type)
            person = SpokenName in (field.type, inner)
            if not person and not config.is_secret(field.type) and not config.is_secret(inner):
                plain.add(field.name)
    lines = [f"# {hidden.clean(why)}", "# Its lines, as far as they may be shown:"]
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        if re.fullmatch(r"\[{1,2}[a-z_]{1,40}\]{1,2}", bare):
            lines.append(bare)
            continue
        key, equals, value = (part.strip() for part in bare.partition("="))
        if equals and key in plain and re.fullmatch(r'(true|false|[-+0-9.ex]{1,20}|"[^"\\]{0,100}")(\s*#.*)?', value):
            lines.append(f"{key} = {value.partition('#')[0].strip()}")
            continue
        if SECRET_NAME.search(key):
            hidden.add([value])
        hidden.add(match[2] for match in re.finditer(r"([\"'])(.{4,}?)\1", value))
        shown = key if re.fullmatch(r"[A-Za-z_]{1,40}", key) else "?"
        lines.append(f"# line {number}: {shown} = {BLOT}" if equals else f"# line {number}: {BLOT}")
    return "\n".join(lines) + "\n"
