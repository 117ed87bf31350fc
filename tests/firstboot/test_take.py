"""Settings on their way from the boot partition into the device: what is written where, by whom it can be read, and
what a power cut leaves.  All in folders of the test, as an ordinary user.
"""

from __future__ import annotations

import builtins
import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from retrowalk import cli, config, logs
from retrowalk.firstboot import card, take, wifi

ROOT = Path(__file__).resolve().parents[2]
SECRETS = ("wifi-geheim-8", "broker-geheim-8", "hub-geheim-8", "topic-geheim-8")
CARD = """\
[wifi]
name = "Müller"
password = "wifi-geheim-8"
country = "DE"
[device]
name = "rw-0042"
[broker]
host = "broker.example"
password = "broker-geheim-8"
[hub]
username = "hub"
password = "hub-geheim-8"
[wearer]
name = "Opa"
[[contact]]
name = "Anna"
notify = ["ntfys://ntfy.sh/topic-geheim-8"]
"""
CMDLINE = "console=tty1 root=PARTUUID=12345678-02 rootfstype=ext4 rootwait cfg80211.ieee80211_regdom=GB quiet\n"
STATE = "[main]\nNetworkingEnabled=true\nWirelessEnabled=false\n"


class Device:
    """A boot partition and a system, as folders."""

    def __init__(self, folder: Path) -> None:
        self.boot, self.root = folder / "boot", folder / "root"
        for path in ("etc/retrowalk", Path(wifi.CONNECTION).parent, Path(wifi.STATE).parent):
            (self.root / path).mkdir(parents=True)
        self.boot.mkdir()
        (self.boot / "cmdline.txt").write_text(CMDLINE)
        (self.root / wifi.STATE).write_text(STATE)
        for name in ("retrowalk.toml", "hub.toml"):
            (self.root / "etc/retrowalk" / name).write_bytes((ROOT / "systemd" / name).read_bytes())

    def put(self, text: str | bytes = CARD, name: str = "retrowalk.toml") -> None:
        (self.boot / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    def take(self, *, forgets: bool = False) -> take.Outcome:
        return take.take(self.boot, self.root, forgets=forgets)

    def files(self) -> dict[str, bytes]:
        both = [*self.boot.rglob("*"), *self.root.rglob("*")]
        return {str(path.relative_to(self.boot.parent)): path.read_bytes() for path in both if path.is_file()}

    def etc(self, name: str) -> Path:
        return self.root / "etc/retrowalk" / name


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is to outlive the test, and hundreds of files are written"""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    yield Device(tmp_path)
    logs._secrets.difference_update(SECRETS)


def test_everything_goes_where_it_belongs(device):
    """Settings, contacts, network and passwords reach the files that the programs read"""
    device.put()
    assert device.take() == take.Outcome(frozenset({"device", "hub", "wifi"}))
    assert config.load(device.etc("retrowalk.toml")).device.name == "rw-0042"
    assert device.etc("broker.password").read_text() == "broker-geheim-8"
    assert device.etc("hub-broker.password").read_text() == "hub-geheim-8"
    assert "topic-geheim-8" in device.etc("hub.toml").read_text()
    assert wifi.key("wifi-geheim-8", "Müller") in (device.root / wifi.CONNECTION).read_text()
    assert "WirelessEnabled=true" in (device.root / wifi.STATE).read_text()


def test_no_secret_is_left_on_the_card(device):
    """After the taking nothing on the boot partition holds a secret"""
    device.put()
    device.take()
    left = {path.name: path.read_text() for path in device.boot.iterdir()}
    assert left.keys() == {"cmdline.txt", "cmdline.before-retrowalk.txt", take.TAKEN}
    assert not any(secret in text for secret in SECRETS for text in left.values())


def test_old_blocks_are_overwritten(device, monkeypatch):
    """The card's file is overwritten in place before it is deleted"""
    device.put()
    inode = (device.boot / "retrowalk.toml").stat().st_ino
    seen: dict[str, object] = {}
    unlink = Path.unlink

    def look(path: Path, missing_ok: bool = False) -> None:
        if path.name == take.ASIDE:
            seen.update(inode=path.stat().st_ino, content=path.read_bytes())
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", look)
    device.take()
    assert seen == {"inode": inode, "content": b" " * len(CARD.encode())}


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        pytest.param("etc/retrowalk/retrowalk.toml", 0o644, id="settings, without secrets"),
        pytest.param("etc/retrowalk/hub.toml", 0o640, id="addresses"),
        pytest.param("etc/retrowalk/broker.password", 0o640, id="password of the broker"),
        pytest.param("etc/retrowalk/hub-broker.password", 0o640, id="the hub's"),
        pytest.param(wifi.CONNECTION, 0o600, id="network"),
    ],
)
def test_who_may_read(device, path, mode):
    """What holds a secret can be read by root and the one service that needs it; nothing readable by all holds one"""
    device.put()
    device.take()
    file = device.root / path
    assert file.stat().st_mode & 0o777 == mode
    if mode & 0o004:
        assert not any(secret in file.read_text() for secret in SECRETS)


def test_country_of_the_radio(device):
    """The kernel's command line has the country once, on its one line, and a copy of the first one is kept"""
    device.put()
    device.take()
    line = (device.boot / "cmdline.txt").read_text()
    assert line.split() == [*CMDLINE.replace("cfg80211.ieee80211_regdom=GB ", "").split(), take.COUNTRY + "DE"]
    assert line.count("\n") == 1
    assert (device.boot / "cmdline.before-retrowalk.txt").read_text() == CMDLINE


def test_nothing_to_do(device):
    """Without a file on the card nothing is written"""
    before = device.files()
    assert device.take() == take.Outcome()
    assert device.files() == before


def test_second_time_is_no_change(device):
    """The same settings again change nothing that runs"""
    device.put()
    device.take()
    device.put()
    assert device.take() == take.Outcome()


def test_other_network_only(device):
    """A new card file with a network leaves everything else as it is"""
    device.put()
    device.take()
    before = device.files()
    device.put('[wifi]\nname = "Garden"\npassword = "12345678"\ncountry = "DE"\n')
    assert device.take().changed == {"wifi"}
    after = device.files()
    differs = {name for name in after if after[name] != before.get(name)}
    assert differs == {f"root/{wifi.CONNECTION}", f"boot/{take.TAKEN}"}


def test_name_with_a_hidden_end(device):
    """A file that the editor called retrowalk.toml.txt is taken like the right one"""
    device.put(name="retrowalk.toml.txt")
    assert not device.take().problem
    assert not (device.boot / "retrowalk.toml.txt").exists()


def test_two_files(device):
    """Of two files none is taken, and the reason is said"""
    device.put()
    device.put(name="retrowalk.toml.txt")
    assert "retrowalk.toml.txt" in device.take().problem


BROKEN = CARD.replace('[device]\nname = "rw-0042"', '[device]\nname = "UPPER"\nwifi_password = "wifi-geheim-8"')


def test_mistake_leaves_everything(device):
    """A mistake changes nothing on the device, leaves the card's file, and says why beside it"""
    device.put(BROKEN)
    before = device.files()
    outcome = device.take()
    after = device.files()
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {f"boot/{take.PROBLEM}", f"root/etc/retrowalk/{take.NOT_TAKEN}"}
    for said in (outcome.problem, *(after[name].decode() for name in after.keys() - before.keys())):
        assert "device.name" in said
        assert "device.wifi_password" in said
        assert not any(secret in said for secret in SECRETS)


def test_mistake_is_news_once(device):
    """What runs is restarted when a mistake is found, not at each later start"""
    device.put(BROKEN)
    assert device.take().changed == {"device"}
    assert device.take().changed == frozenset()


@pytest.mark.parametrize("mend", ["right", "gone"])
def test_mended(device, mend):
    """A card that is right, or has no file any more, ends the complaint"""
    device.put(BROKEN)
    device.take()
    if mend == "right":
        device.put()
    else:
        (device.boot / "retrowalk.toml").unlink()
    assert "device" in device.take().changed
    assert not device.etc(take.NOT_TAKEN).exists()


def test_the_guard_hears_of_it(device, tmp_path):
    """A refused card is a problem of the settings for every process, and the settings from before are in force"""
    device.put('[walker]\nprofile = "fast"\n')
    device.take()
    found = cli._resolved(device.etc("retrowalk.toml"), tmp_path)
    assert "walker.profile" in found.problem
    assert not found.unusable
    assert found.config == config.Config()


def test_a_root_that_forgets(device):
    """Nothing is taken off the card by a system that would have forgotten it at the next start"""
    device.put()
    assert "forgets" in device.take(forgets=True).problem
    assert (device.boot / "retrowalk.toml").read_text() == CARD
    assert not device.etc("broker.password").exists()


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_plain_files_are_read(device, tmp_path, kind):
    """A link, a folder or a pipe in the place of the file is refused, and followed nowhere"""
    secret = tmp_path / "shadow"
    secret.write_text('[device]\nname = "rw-9"\n')
    file = device.boot / "retrowalk.toml"
    {"link": lambda: file.symlink_to(secret), "folder": file.mkdir, "pipe": lambda: os.mkfifo(file)}[kind]()
    assert device.take().problem
    assert config.load(device.etc("retrowalk.toml")) == config.Config()
    assert secret.read_text() == '[device]\nname = "rw-9"\n'


def test_link_set_aside_is_not_overwritten(device, tmp_path):
    """A link under the name of the file to be overwritten is deleted, not followed"""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (device.boot / take.ASIDE).symlink_to(victim)
    device.take()
    assert victim.read_text() == "precious"
    assert not os.path.lexists(device.boot / take.ASIDE)


def test_log_holds_no_secret(device, caplog):
    """Neither success nor failure writes a secret to the log"""
    with caplog.at_level(logging.DEBUG):
        for text in (BROKEN, CARD):
            device.put(text)
            take.run(device.boot, device.root)
    assert "device.name" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS)


@pytest.mark.parametrize(("text", "status"), [pytest.param(CARD, 0, id="taken"), pytest.param(BROKEN, 1, id="refused")])
def test_command(device, text, status):
    """`retrowalk first-boot` says what it took, or every finding, and no value"""
    device.put(text)
    done = CliRunner().invoke(cli.cli, ["first-boot", "--boot", str(device.boot), "--root", str(device.root)])
    assert done.exit_code == status
    assert ("wifi" in done.output) or ("device.name" in done.output)
    assert not any(secret in done.output for secret in SECRETS)


def test_what_runs_takes_it_up():
    """A change restarts the services that read it, waits for nothing, and an unchanged device is left alone"""
    commands = take.follow_up(take.Outcome(frozenset({"device", "hub"})))
    assert [command[2] for command in commands] == ["try-restart", "enable", "restart"]
    assert all(command[1] == "--no-block" for command in commands)
    assert take.follow_up(take.Outcome(frozenset({"wifi"}))) == ()


def test_radio_is_switched_on(tmp_path):
    """The kernel's event for all radios of Wi-Fi, unblocked, goes to the switch; a Pi without one is no error"""
    switch = tmp_path / "rfkill"
    switch.touch()
    take.unblock_wifi(str(switch))
    assert switch.read_bytes() == b"\0\0\0\0\x01\x03\0\0"
    take.unblock_wifi(str(tmp_path / "none"))


# ------------------------------------------------------------------------------------------------------- power cuts


class PowerCut(BaseException):
    """The power goes."""


CALLS = ("open", "write", "fsync", "replace", "unlink", "fchmod", "fchown")


@contextmanager
def power_cut(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[list[str]]:
    """Before the call to the system with that number, what changes anything ends; yields the calls that were made."""
    made: list[str] = []

    def cut(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if len(made) >= after:
                raise PowerCut
            made.append(name)
            return real(*arguments, **named)

        return call

    def opened(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        handle = real_open(file, mode, *arguments, **named)
        if "w" in mode:
            if len(made) >= after:  # emptied, and nothing written yet
                handle.close()
                raise PowerCut
            made.append("open for writing")
        return handle

    real_open = io.open
    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, cut(name, getattr(os, name)))
        for module in (io, builtins):
            patch.setattr(module, "open", opened)
        yield made


def undisturbed(folder: Path) -> dict[str, bytes]:
    device = Device(folder)
    device.put()
    device.take()
    return device.files()


@pytest.mark.slow
def test_power_cut_at_every_call(tmp_path, monkeypatch):
    """Whatever the instant of the cut, every file is whole, and the next start ends as if nothing had been"""
    expected = undisturbed(tmp_path / "reference")
    before = Device(tmp_path / "before").files()
    cuts = 0
    while True:
        device = Device(tmp_path / f"cut-{cuts}")
        device.put()
        try:
            with power_cut(monkeypatch, cuts) as made:
                device.take()
            break
        except PowerCut:
            pass
        for name, content in device.files().items():
            hidden = Path(name).name.startswith(".")
            plain = name.startswith("root/") or name == "boot/cmdline.txt"
            assert hidden or not plain or content in (before.get(name), expected.get(name)), (cuts, name)
        device.take()
        left = {name: content for name, content in device.files().items() if not Path(name).name.startswith(".")}
        assert left == expected, cuts
        cuts += 1
    assert cuts > 30
    assert {"replace", "unlink", "fsync", "write"} <= set(made)


@pytest.mark.slow
def test_cut_leaves_no_secret_in_a_hidden_file_of_the_card(tmp_path, monkeypatch):
    """What a cut leaves half written on the card never held a secret, as it is written without them"""
    cuts = 0
    while True:
        device = Device(tmp_path / f"cut-{cuts}")
        device.put()
        try:
            with power_cut(monkeypatch, cuts):
                device.take()
            break
        except PowerCut:
            hidden = [path for path in device.boot.iterdir() if path.name.startswith(".")]
            assert not any(secret in path.read_text() for path in hidden for secret in SECRETS)
        cuts += 1


@pytest.mark.parametrize("error", [28, 30, 5], ids=["full", "read-only", "failing"])
def test_card_that_takes_nothing(device, monkeypatch, error):
    """A system that cannot be written leaves the card's file where it is, and says so"""
    device.put()

    def refuse(source: str, target: Path) -> None:
        raise OSError(error, os.strerror(error), str(target))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(OSError, match=os.strerror(error)):
            device.take()
    assert (device.boot / "retrowalk.toml").read_text() == CARD
    assert device.take().changed >= {"device", "wifi"}


def test_defaults_of_the_program():
    """The name that the command line looks for is the one that is written"""
    assert cli.NOT_TAKEN == take.NOT_TAKEN
    assert cli.CONFIG_FILE.parent == Path("/", take.ETC)
    assert Path(card.PASSWORD_FILE).parent == Path(card.HUB_PASSWORD_FILE).parent == cli.CONFIG_FILE.parent
