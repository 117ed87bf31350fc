"""The service files: what systemd itself says of them, and the promises they must keep.

Run without systemd as first process: what is read here is not the same as a Pi that boots.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import get_args

import click
import msgspec
import pytest

from retrowalk import cli
from retrowalk.config import SERIAL_PINS, A02yyuw, Config, HcSr04
from retrowalk.devices.pi_health import HWMON, THERMAL
from retrowalk.firstboot import take, wifi
from retrowalk.guard.guard import GOODBYE_S
from retrowalk.hub.settings import HubConfig
from retrowalk.platform import SocketMailbox

ROOT = Path(__file__).resolve().parent.parent
SYSTEMD = ROOT / "systemd"
PROCESSES = ("guard", "voice", "courier")
UNITS = (*PROCESSES, "bank", "poweroff")
"""Of a device."""
ALL_UNITS = (*UNITS, "hub", "firstboot")
PROGRAM = "/opt/retrowalk/bin/retrowalk"
CONFIG = "/etc/retrowalk/retrowalk.toml"
HUB_FILE = SYSTEMD / "hub.toml"


def settings(file: Path) -> dict[str, list[str]]:
    """Every setting of a unit file as `Section.Key`, with its values in order."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def unit(name: str) -> dict[str, list[str]]:
    return settings(SYSTEMD / f"retrowalk-{name}.service")


def words(name: str, *keys: str) -> set[str]:
    """All words of these settings of a unit."""
    return {word for key in keys for value in unit(name).get(key, []) for word in value.split()}


def seconds(name: str, key: str) -> float:
    (value,) = unit(name)[f"Service.{key}"]
    return float(value)


def tool(name: str) -> str:
    """The path of one of systemd's tools; the test is left out without it, except where everything must be tested."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is missing: apt-get install systemd"
        if os.environ.get("CI", "").lower() in ("1", "true", "yes"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def said(*command: str | Path) -> str:
    """What a command that must succeed writes, both outputs together."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# ------------------------------------------------------------------------------------ what systemd says


@pytest.mark.process
def test_systemd_finds_nothing_wrong(tmp_path):
    """systemd-analyze verify is quiet about the target and all units"""
    analyze = tool("systemd-analyze")
    for file in [path for path in SYSTEMD.iterdir() if path.suffix in (".service", ".target", ".path")]:
        # Nothing is installed here, so another program stands in for retrowalk.
        text = file.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true")
        (tmp_path / file.name).write_text(text, encoding="utf-8")
    files = sorted(tmp_path.iterdir())
    assert len(files) == len(ALL_UNITS) + 2
    assert said(analyze, "verify", "--man=no", *files) == ""


@pytest.mark.process
def test_verify_would_notice(tmp_path):
    """The check above is not quiet about a misspelt setting"""
    analyze = tool("systemd-analyze")
    broken = tmp_path / "retrowalk-guard.service"
    text = (SYSTEMD / broken.name).read_text(encoding="utf-8").replace(PROGRAM, "/bin/true")
    broken.write_text(text.replace("WatchdogSec=", "WachdogSec="), encoding="utf-8")
    assert "WachdogSec" in said(analyze, "verify", "--man=no", broken)


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "limit"),
    [
        # What is left: the host's root directory and local sockets for all, devices and their groups for two, ...
        pytest.param("guard", 1.0, id="guard"),
        pytest.param("voice", 1.0, id="voice"),
        # ... the network, with a broker that may be anywhere, for one.
        pytest.param("courier", 1.5, id="courier"),
        pytest.param("hub", 1.5, id="hub"),
        pytest.param("bank", 1.0, id="bank"),
        pytest.param("poweroff", 1.0, id="poweroff"),
        # ... root's files and the power to give them to a group for one, which reaches no network.
        pytest.param("firstboot", 1.5, id="firstboot"),
    ],
)
def test_exposure(name, limit):
    """systemd's own score of what a unit could do to the machine stays low (0 is best, 10 worst)"""
    analyze = tool("systemd-analyze")
    report = said(analyze, "security", "--offline=true", "--no-pager", SYSTEMD / f"retrowalk-{name}.service")
    score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", report)
    assert score, report
    assert float(score[1]) <= limit, report


@pytest.mark.process
def test_user_and_folders_can_be_made(tmp_path):
    """sysusers and tmpfiles make the user, the groups and the folders with their modes"""
    sysusers, tmpfiles = tool("systemd-sysusers"), tool("systemd-tmpfiles")
    etc = tmp_path / "etc"
    etc.mkdir()
    said(sysusers, f"--root={tmp_path}", SYSTEMD / "sysusers.d" / "retrowalk.conf")
    passwd, group = etc / "passwd", etc / "group"
    assert re.search(r"^retrowalk:x:\d+:\d+:retrowalk:/var/lib/retrowalk:/usr/sbin/nologin$", passwd.read_text(), re.M)
    groups = {line.split(":")[0]: line.rpartition(":")[2] for line in group.read_text().splitlines()}
    assert groups == {"gpio": "", "i2c": "", "audio": "", "dialout": "", "retrowalk": ""}  # nobody is a member

    # Only root may give folders away, so the new user is whoever runs the test.
    me, mine = str(os.getuid()), str(os.getgid())
    passwd.write_text(re.sub(r":x:\d+:\d+:", f":x:{me}:{mine}:", passwd.read_text()))
    group.write_text(re.sub(r"^retrowalk:x:\d+", f"retrowalk:x:{mine}", group.read_text(), flags=re.M))
    said(tmpfiles, f"--root={tmp_path}", "--create", SYSTEMD / "tmpfiles.d" / "retrowalk.conf")
    modes = {folder: (tmp_path / folder).stat().st_mode & 0o7777 for folder in ("run/retrowalk", "var/lib/retrowalk")}
    assert modes == {"run/retrowalk": 0o750, "var/lib/retrowalk": 0o750}
    assert (etc / "retrowalk").stat().st_mode & 0o7777 == 0o755


@pytest.mark.process
def test_user_and_folders_of_the_hub_can_be_made(tmp_path):
    """sysusers and tmpfiles make the hub's own user and its folder, and keep its settings from other people"""
    sysusers, tmpfiles = tool("systemd-sysusers"), tool("systemd-tmpfiles")
    secrets = tmp_path / "etc" / "retrowalk" / "hub.toml"
    secrets.parent.mkdir(parents=True)
    secrets.write_bytes(HUB_FILE.read_bytes())
    secrets.chmod(0o644)
    said(sysusers, f"--root={tmp_path}", SYSTEMD / "sysusers.d" / "retrowalk-hub.conf")
    passwd, group = tmp_path / "etc" / "passwd", tmp_path / "etc" / "group"
    assert re.search(r"^retrowalk-hub:x:\d+:\d+:.*:/var/lib/retrowalk-hub:/usr/sbin/nologin$", passwd.read_text(), re.M)
    assert [line.split(":")[0] for line in group.read_text().splitlines()] == ["retrowalk-hub"]

    # Only root may give folders away, so the new user is whoever runs the test.
    me, mine = str(os.getuid()), str(os.getgid())
    passwd.write_text(re.sub(r":x:\d+:\d+:", f":x:{me}:{mine}:", passwd.read_text()) + f"root:x:{me}:{mine}::/:\n")
    group.write_text(re.sub(r":x:\d+", f":x:{mine}", group.read_text()))
    said(tmpfiles, f"--root={tmp_path}", "--create", SYSTEMD / "tmpfiles.d" / "retrowalk-hub.conf")
    assert (tmp_path / "var" / "lib" / "retrowalk-hub").stat().st_mode & 0o7777 == 0o750
    assert secrets.stat().st_mode & 0o7777 == 0o640


@pytest.mark.process
def test_udev_rules_are_well_formed():
    """udevadm finds nothing wrong with the rules, where it is new enough to look"""
    udevadm = shutil.which("udevadm")
    if udevadm is None:
        pytest.skip("udevadm is missing: apt-get install udev")
    asked = subprocess.run([udevadm, "verify", "--help"], capture_output=True, timeout=60, check=False)
    if asked.returncode != 0:
        pytest.skip("udevadm verify came with systemd 254")
    said(udevadm, "verify", "--resolve-names=never", SYSTEMD / "udev" / "rules.d" / "60-retrowalk.rules")


# ------------------------------------------------------------------------------------------- promises


def test_target_brings_everything():
    """Enabling retrowalk.target is all that is needed at power-on"""
    target = settings(SYSTEMD / "retrowalk.target")
    assert {word for value in target["Unit.Wants"] for word in value.split()} == {
        "retrowalk-poweroff.path",
        *(f"retrowalk-{name}.service" for name in (*PROCESSES, "bank")),
    }
    assert target["Install.WantedBy"] == ["multi-user.target"]
    assert not {"Unit.Requires", "Unit.After"} & set(target)


@pytest.mark.parametrize("name", [*PROCESSES, "bank"])
def test_target_does_not_wait_for_work(name):
    """A target is reached when all that it wants is: one that works until it ends (oneshot) would hold it up"""
    (kind,) = unit(name)["Service.Type"]
    assert kind == ("exec" if name == "bank" else "notify")


@pytest.mark.parametrize("name", [*PROCESSES, "bank"])
def test_target_restarts_everything(name):
    """Restarting the target restarts each unit, so that one command applies a changed configuration"""
    assert unit(name)["Unit.PartOf"] == ["retrowalk.target"]


@pytest.mark.parametrize("name", PROCESSES)
def test_process_is_kept_alive(name):
    """Each process says when it serves, is watched, and is started again for ever after half a second"""
    expected = {
        "Service.Type": "notify",
        "Service.NotifyAccess": "main",
        "Service.ExecStart": f"{PROGRAM} {name} --config {CONFIG}",
        "Service.Restart": "always",
        "Service.RestartSec": "0.5",
        "Unit.StartLimitIntervalSec": "0",
    }
    assert {key: unit(name)[key] for key in expected} == {key: [value] for key, value in expected.items()}


@pytest.mark.parametrize("name", [*PROCESSES, "bank"])
def test_program_takes_the_command_line(name):
    """What a unit starts is a command that exists, with options it knows"""
    (line,) = unit(name)["Service.ExecStart"]
    program, *arguments = shlex.split(line)
    assert program == PROGRAM
    command: click.Command = cli.cli
    while isinstance(command, click.Group):
        _, found, arguments = command.resolve_command(click.Context(command), arguments)
        assert found is not None
        command = found
    with command.make_context(name, arguments) as context:
        assert context.params["config_file"] == Path(CONFIG)


def test_program_and_units_mean_the_same_places():
    """The directories the program takes by default are those the units make"""
    assert Path(CONFIG) == cli.CONFIG_FILE
    assert Path("/run", *unit("guard")["Service.RuntimeDirectory"]) == cli.RUN_DIR
    assert Path("/var/lib", *unit("courier")["Service.StateDirectory"]) == cli.STATE_DIR


def test_guard_is_back_soon():
    """A guard that hangs is noticed within 2 to 5 s and ended within 1 s more"""
    assert 2 <= seconds("guard", "WatchdogSec") <= 5
    assert seconds("guard", "TimeoutAbortSec") <= 1


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.parametrize("key", ["Requires", "Requisite", "BindsTo", "Upholds", "JoinsNamespaceOf", "After"])
def test_nobody_waits_for_another(name, key):
    """No unit needs another, the right time or a network that is up; only the courier is ordered after what it uses"""
    allowed = {"network.target", "mosquitto.service"} if (name, key) == ("courier", "After") else set()
    assert words(name, f"Unit.{key}") == allowed


@pytest.mark.parametrize(
    ("name", "devices", "groups"),
    [
        pytest.param(
            "guard",
            {"char-gpiochip", "char-i2c", "/dev/gpiomem", "char-ttyAMA", "/dev/ttyS0", "char-ttyUSB"},
            {"gpio", "i2c", "dialout"},
            id="guard: pins, I2C and serial ports",
        ),
        pytest.param("voice", {"char-alsa"}, {"audio"}, id="voice: sound"),
        pytest.param("courier", set(), set(), id="courier: none"),
        pytest.param("bank", set(), set(), id="bank: none"),
        pytest.param("poweroff", set(), set(), id="poweroff: none"),
    ],
)
def test_devices(name, devices, groups):
    """A process has the devices it owns, and the groups they belong to, and no others"""
    assert unit(name)["Service.DevicePolicy"] == ["closed"]
    assert words(name, "Service.DeviceAllow") - {"rw"} == devices
    assert words(name, "Service.SupplementaryGroups") == groups
    # PrivateDevices=yes hides the devices of DeviceAllow=, too.
    assert unit(name).get("Service.PrivateDevices", ["no"]) == (["no"] if devices else ["yes"])


@pytest.mark.parametrize(
    ("name", "families"),
    [
        pytest.param("guard", {"AF_UNIX"}, id="guard: local sockets"),
        pytest.param("voice", {"AF_UNIX"}, id="voice: local sockets"),
        pytest.param("courier", {"AF_UNIX", "AF_INET", "AF_INET6"}, id="courier: the broker"),
        pytest.param("bank", {"AF_UNIX"}, id="bank: local sockets"),
        pytest.param("poweroff", {"none"}, id="poweroff: nothing"),
    ],
)
def test_network(name, families):
    """Only the courier reaches a network"""
    assert words(name, "Service.RestrictAddressFamilies") == families
    assert unit(name).get("Service.PrivateNetwork", ["no"]) == (["no"] if name == "courier" else ["yes"])


@pytest.mark.parametrize("name", UNITS)
def test_one_user(name):
    """All run as the one user that sysusers makes"""
    assert unit(name)["Service.User"] == unit(name)["Service.Group"] == ["retrowalk"]


@pytest.mark.parametrize("name", PROCESSES)
def test_run_directory_survives_restarts(name):
    """Sockets and the guard's state are in one directory that stays when a process is started again"""
    run = {key: unit(name)[f"Service.RuntimeDirectory{key}"] for key in ("", "Mode", "Preserve")}
    assert run == {"": ["retrowalk"], "Mode": ["0750"], "Preserve": ["yes"]}


def test_who_may_write_to_the_card():
    """Courier and bank keep things on disk; guard and voice cannot"""
    assert [name for name in UNITS if "Service.StateDirectory" in unit(name)] == ["courier", "bank"]
    assert {
        name: words(name, "Service.ReadWritePaths") for name in UNITS if "Service.ReadWritePaths" in unit(name)
    } == {"poweroff": {"/run/retrowalk"}}
    assert all(unit(name)["Service.ProtectSystem"] == ["strict"] for name in UNITS)


def test_switching_off():
    """The file the guard leaves starts a unit that removes it and has systemd switch the Pi off, whatever happens"""
    (watched,) = settings(SYSTEMD / "retrowalk-poweroff.path")["Path.PathExists"]
    switch = unit("poweroff")
    assert watched == "/run/retrowalk/power-off"
    assert switch["Service.ExecStart"] == [f"/bin/rm -f {watched}"]
    assert switch["Unit.SuccessAction"] == switch["Unit.FailureAction"] == ["poweroff"]


def goodbye(name: str, run_dir: Path) -> list[str]:
    """What systemd runs before it ends a process, as it hands it to the shell."""
    (line,) = unit(name)["Service.ExecStop"]
    shell, option, script = shlex.split(
        line.removeprefix("-").replace("$$", "$").replace("/run/retrowalk", str(run_dir))
    )
    return [shell, option, script]


@pytest.mark.process
@pytest.mark.parametrize("name", ["voice", "courier"])
def test_guard_speaks_last(name, tmp_path):
    """Voice and courier end after the guard has taken its socket away, so that its goodbye is heard and sent"""
    mailbox = SocketMailbox(tmp_path, "guard")
    waiting = subprocess.Popen(goodbye(name, tmp_path), env={**os.environ, "MAINPID": "1"})
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.4)
        mailbox.close()
        assert waiting.wait(10) == 0
    finally:
        waiting.kill()
        waiting.wait()


@pytest.mark.process
@pytest.mark.parametrize("name", ["voice", "courier"])
def test_dead_process_waits_for_nothing(name, tmp_path):
    """A process that was killed is started again without waiting for the guard, which lives on"""
    mailbox = SocketMailbox(tmp_path, "guard")
    try:
        environment = {key: value for key, value in os.environ.items() if key != "MAINPID"}
        subprocess.run(goodbye(name, tmp_path), env=environment, timeout=3, check=False)
    finally:
        mailbox.close()


@pytest.mark.parametrize("name", ["voice", "courier"])
def test_goodbye_has_time(name):
    """The guard's goodbye fits into its own time to stop, and that into the time the others wait"""
    assert GOODBYE_S + 1 <= 6 < seconds(name, "TimeoutStopSec")
    assert seconds("guard", "TimeoutStopSec") > GOODBYE_S + 1
    assert "-lt 60" in unit(name)["Service.ExecStop"][0]  # tenths of a second


def test_lgpio_finds_a_place_for_its_fifo():
    """The guard's working directory can be written to, or lgpio fails when it is imported"""
    assert unit("guard")["Service.WorkingDirectory"] == ["/run/retrowalk"]
    assert "LG_WD=/run/retrowalk" in unit("guard")["Service.Environment"]


def test_gpiozero_can_tell_the_pi():
    """/proc/cpuinfo is not hidden from the guard"""
    assert unit("guard")["Service.ProcSubset"] == ["all"]


def test_voice_and_bank_mean_the_same_phrases():
    """The voice reads the phrases where retrowalk-bank puts them"""
    assert unit("voice")["Service.Environment"][-1] == unit("bank")["Service.Environment"][-1]


@pytest.mark.parametrize("key", ["CPUWeight", "Nice", "IOSchedulingPriority", "OOMScoreAdjust"])
def test_guard_comes_first(key):
    """Processor, card and memory go to the guard, then to the voice, then to what is slow"""
    order = [float(unit(name).get(f"Service.{key}", ["0"])[0]) for name in PROCESSES]
    assert order == sorted(order, reverse=key == "CPUWeight")
    assert len(set(order)) == len(order)


def test_sandbox_is_the_same_everywhere():
    """The common part of the sandbox does not drift apart"""
    parts = set()
    for name in ALL_UNITS:
        text = (SYSTEMD / f"retrowalk-{name}.service").read_text(encoding="utf-8")
        parts.add(text.partition("# --- the sandbox")[2].partition("# --- only here")[0].strip())
    assert len(parts) == 1
    assert "MemoryDenyWriteExecute=yes" in parts.pop()


def test_render_may_be_nice():
    """The processes that render lower their priority, which the common sandbox forbids: the bank's unit allows it"""
    filters = unit("bank")["Service.SystemCallFilter"]
    assert filters.index("setpriority") > filters.index("~@privileged @resources")  # the later line counts


@pytest.mark.parametrize("port", sorted(SERIAL_PINS))
def test_the_pi_s_own_serial_ports_are_let_in(port):
    """Whichever name the configuration gives the port at GPIO 14 and 15, the sandbox has the device it means"""
    allowed = words("guard", "Service.DeviceAllow")
    meant = {"/dev/serial0": {"char-ttyAMA", "/dev/ttyS0"}, "/dev/ttyAMA0": {"char-ttyAMA"}}.get(port, {port})
    assert meant <= allowed


def test_no_text_console_is_let_in():
    """char-ttyS stands for a number that the virtual consoles share"""
    assert not {"char-ttyS", "char-tty", "char-*"} & words("guard", "Service.DeviceAllow")


@pytest.mark.parametrize("file", [HWMON, THERMAL])
def test_health_of_the_pi_can_be_read(file):
    """The files of voltage and heat are below /sys, which the sandbox makes read-only and does not hide"""
    assert file.startswith("/sys/")
    assert unit("guard")["Service.ProtectKernelTunables"] == ["yes"]
    assert not any("/sys" in path for path in words("guard", "Service.InaccessiblePaths"))


def test_every_group_has_its_devices():
    """The groups of the guard own its devices by udev, also where the distribution has no such rule"""
    rules = (SYSTEMD / "udev" / "rules.d" / "60-retrowalk.rules").read_text(encoding="utf-8")
    assert set(re.findall(r'GROUP="(\w+)", MODE="0660"', rules)) == words("guard", "Service.SupplementaryGroups")


# --------------------------------------------------------------------------------------------- the hub


def test_hub_stands_by_itself():
    """The hub is no part of a device's target and needs nothing of it: it may run on another machine"""
    target = settings(SYSTEMD / "retrowalk.target")
    assert "retrowalk-hub.service" not in " ".join(target["Unit.Wants"])
    assert unit("hub")["Install.WantedBy"] == ["multi-user.target"]
    assert not {f"Unit.{key}" for key in ("PartOf", "Requires", "Requisite", "BindsTo", "Wants")} & set(unit("hub"))
    assert words("hub", "Unit.After") == {"network.target", "mosquitto.service"}


def test_hub_is_kept_alive():
    """The hub says when it serves, is watched, and is started again for ever after a second"""
    expected = {
        "Service.Type": "notify",
        "Service.Restart": "always",
        "Service.RestartSec": "1",
        "Service.WatchdogSec": "30",
        "Unit.StartLimitIntervalSec": "0",
    }
    assert {key: unit("hub")[key] for key in expected} == {key: [value] for key, value in expected.items()}


def test_program_takes_the_command_line_of_the_hub():
    """What the hub's unit starts is a command that exists; settings and folder are those it takes by itself"""
    (line,) = unit("hub")["Service.ExecStart"]
    program, name, *arguments = shlex.split(line)
    assert (program, name) == (PROGRAM, "hub")
    command = cli.cli.commands["hub"]
    with command.make_context(name, arguments) as context:
        given = context.params
    assert (given["config_file"], given["state_dir"]) == (cli.HUB_CONFIG_FILE, cli.HUB_STATE_DIR)
    assert Path("/var/lib", *unit("hub")["Service.StateDirectory"]) == cli.HUB_STATE_DIR


def test_hub_has_a_network_and_nothing_else():
    """The hub has no device, no group but its own, a user of its own and one folder to write to"""
    hub = unit("hub")
    assert hub["Service.User"] == hub["Service.Group"] == ["retrowalk-hub"]
    assert (hub["Service.DevicePolicy"], hub["Service.PrivateDevices"]) == (["closed"], ["yes"])
    assert not {"Service.DeviceAllow", "Service.SupplementaryGroups", "Service.ReadWritePaths"} & set(hub)
    assert hub["Service.ProtectSystem"] == ["strict"]
    assert (hub["Service.StateDirectory"], hub["Service.StateDirectoryMode"]) == (["retrowalk-hub"], ["0750"])
    assert words("hub", "Service.RestrictAddressFamilies") == {"AF_UNIX", "AF_INET", "AF_INET6"}


def test_documented_settings_of_the_hub_are_its_defaults():
    """systemd/hub.toml is read as the hub's settings, and they are the defaults"""
    table = tomllib.loads(HUB_FILE.read_text(encoding="utf-8"))
    assert msgspec.convert(table, HubConfig) == HubConfig()


def test_tables_without_a_default_can_be_switched_on():
    """Uncommented, the tables of contacts and walkers are settings that are in order, and every setting is listed"""
    text = re.sub(r"(?m)^#(?=[a-z_]+ = |\[)", "", HUB_FILE.read_text(encoding="utf-8"))
    table = tomllib.loads(text)
    found = msgspec.convert(table, HubConfig)
    assert len(found.contact) == 1
    assert found.contact[0].notify
    for name, kind in ((field.name, field.type) for field in msgspec.structs.fields(HubConfig)):
        (kind, *_) = get_args(kind) or (kind,)
        listed = table[name][0] if isinstance(table[name], list) else table[name]
        left_out = {"hub"} if name == "broker" else set()  # a device's
        assert {field.name for field in msgspec.structs.fields(kind)} == set(listed) | left_out


# -------------------------------------------------------------------------- settings from the boot partition


def test_guard_waits_for_no_settings():
    """The settings of the card are taken beside the guard, not before it, and only where there are some"""
    firstboot = unit("firstboot")
    assert words("firstboot", "Unit.Before") == {"NetworkManager.service"}
    assert not {f"Unit.{key}" for key in ("After", "Requires", "BindsTo", "Wants", "PartOf")} & set(firstboot)
    watched = {path.removeprefix("|") for path in firstboot["Unit.ConditionPathExists"]}
    assert all(path.startswith("|") for path in firstboot["Unit.ConditionPathExists"])  # any of them, not all
    boot = {f"/boot/firmware/{name}" for name in (*take.NAMES, take.ASIDE)}
    assert watched == boot | {f"/{take.ETC}/{take.NOT_TAKEN}"}


def test_root_can_do_little():
    """The one service that is root has the power to give files to a group, a radio's switch, and no network"""
    firstboot = unit("firstboot")
    assert words("firstboot", "Service.CapabilityBoundingSet") == {"CAP_CHOWN"}
    assert words("firstboot", "Service.DeviceAllow") == {take.RFKILL, "rw"}
    assert words("firstboot", "Service.RestrictAddressFamilies") == {"AF_UNIX"}
    assert (firstboot["Service.PrivateNetwork"], firstboot["Service.ProtectSystem"]) == (["yes"], ["strict"])
    assert firstboot["Service.DevicePolicy"] == ["closed"]


def test_root_may_write_what_it_writes():
    """Each folder that settings go to is one that the sandbox leaves writable"""
    allowed = {Path(path.removeprefix("-")) for path in words("firstboot", "Service.ReadWritePaths")}
    meant = {Path("/", take.ETC), Path("/", wifi.CONNECTION).parent, Path("/", wifi.STATE).parent}
    assert allowed == meant | {Path("/boot/firmware")}


def test_program_takes_the_command_line_of_the_first_boot():
    """What the unit starts is a command that exists, for the partition that it waits for"""
    (line,) = unit("firstboot")["Service.ExecStart"]
    program, name, *arguments = shlex.split(line)
    assert program == PROGRAM
    with cli.cli.commands[name].make_context(name, arguments) as context:
        assert (context.params["boot"], context.params["root"]) == (Path("/boot/firmware"), Path("/"))
    assert unit("firstboot")["Unit.RequiresMountsFor"] == ["/boot/firmware"]


# ------------------------------------------------------------------------------------------- boot files


def boot_lines() -> list[str]:
    lines = (ROOT / "firmware" / "boot" / "config.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_boot_file_is_for_every_pi():
    """Appended to a file that ends in a section for one model, the lines still hold for all"""
    assert boot_lines()[0] == "[all]"
    assert sum(line.startswith("[") for line in boot_lines()) == 1


def test_boot_file_has_bus_and_watchdog():
    """I2C runs at 400 kHz, and the hardware watchdog that systemd feeds is on"""
    assert {"dtparam=i2c_arm=on", "dtparam=i2c_arm_baudrate=400000", "dtparam=watchdog=on"} <= set(boot_lines())
    manager = settings(SYSTEMD / "system.conf.d" / "50-retrowalk.conf")
    (limit,) = manager["Manager.RuntimeWatchdogSec"]
    assert float(limit.removesuffix("s")) <= 15  # what the Pi's timer can count to
    assert (SYSTEMD / "modules-load.d" / "retrowalk.conf").read_text(encoding="utf-8").splitlines()[-1] == "i2c-dev"


def test_boot_file_has_the_serial_port():
    """The port of a sealed ultrasonic sensor is on, and who reads on is told to take the console off it"""
    assert "enable_uart=1" in boot_lines()
    text = (ROOT / "firmware" / "boot" / "config.txt").read_text(encoding="utf-8")
    assert "do_serial_cons 1" in text
    assert A02yyuw().port in text


def test_boot_file_and_default_pins_agree():
    """From power-on the pins of the default configuration are quiet: outputs low, the button not pressed"""
    states = {
        int(pin): state
        for line in boot_lines()
        if line.startswith("gpio=")
        for pins, state in [line.removeprefix("gpio=").split("=")]
        for pin in pins.split(",")
    }
    default = Config()
    rear = next(sensor for sensor in default.range_sensor if isinstance(sensor, HcSr04))
    assert states == {
        rear.trigger_pin: "op,dl",
        default.buzzer.pin: "op,dl",
        default.vibration.pin: "op,dl",
        rear.echo_pin: "ip,pd",
        default.button.pin: "ip,pu",
    }


@pytest.mark.parametrize("name", ["guard", "voice", "courier", "hub", "bank", "poweroff", "firstboot"])
def test_one_service_cannot_fill_the_journal(name):
    """Each unit has a limit of lines that an honest process never reaches"""
    unit = (SYSTEMD / f"retrowalk-{name}.service").read_text()
    interval = re.search(r"^LogRateLimitIntervalSec=(\d+)s$", unit, re.M)
    burst = re.search(r"^LogRateLimitBurst=(\d+)$", unit, re.M)
    assert interval is not None
    assert burst is not None
    assert 50 <= int(burst[1]) / int(interval[1]) * 60 <= 300


@pytest.mark.parametrize("name", ["guard", "voice", "courier", "hub", "bank", "firstboot"])
def test_sandbox_leads_to_the_journal(name):
    """Whoever writes lines may reach the journal's socket, a local one in /run, which no sandbox hides"""
    unit = (SYSTEMD / f"retrowalk-{name}.service").read_text()
    families = re.findall(r"^RestrictAddressFamilies=(.*)$", unit, re.M)
    assert "AF_UNIX" in families[-1].split()
    assert not re.search(r"^(RootDirectory|RootImage|TemporaryFileSystem|InaccessiblePaths)=.*/run", unit, re.M)


def test_journal_is_bounded_and_kept():
    """The journal stays over a restart, within a size that leaves a card its room"""
    text = (SYSTEMD / "journald.conf.d" / "50-retrowalk.conf").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert settings["Storage"] == "persistent"
    assert int(settings["SystemMaxUse"].removesuffix("M")) <= 64
    assert int(settings["RuntimeMaxUse"].removesuffix("M")) <= 16
    assert settings["ForwardToSyslog"] == "no"
    assert settings["SyncIntervalSec"] == "1m", "what came before the power went is on the card"
