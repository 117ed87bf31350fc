"""A new card: what the laptop puts on it, and the two steps by which the Pi sets itself up.

The scripts run here on folders; what they call of the system (apt-get, nmcli, systemctl ...) are stand-ins that write
down how they were called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "firmware" / "boot"
PLAIN = "console=serial0,115200 console=tty1 root=PARTUUID=12345678-02 rootfstype=ext4 rootwait quiet"
HOOK = "systemd.run=/boot/firmware/retrowalk/begin"
AFTERWARDS = "systemd.run_success_action=reboot"
IMAGER = f"{PLAIN} systemd.run=/boot/firmware/firstrun.sh {AFTERWARDS} systemd.unit=kernel-command-line.target"
CLOUD = f"{PLAIN} ds=nocloud;i=rpi-imager-1759400000000"
CARD = '[wifi]\nname = "Müller"\npassword = "wifi-geheim-8"\ncountry = "DE"\n'

pytestmark = [pytest.mark.process, pytest.mark.together]


def run(*command, env=None, status=0):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=env, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def boot(tmp_path):
    folder = tmp_path / "boot firmware"  # a name with a space, as a laptop may show it
    folder.mkdir()
    (folder / "cmdline.txt").write_text(PLAIN + "\n")
    (folder / "config.txt").write_text("dtparam=audio=on\n[cm4]\notg_mode=1\n")
    return folder


@pytest.fixture
def package(tmp_path):
    file = tmp_path / "retrowalk_1.0_arm64.deb"
    file.write_bytes(b"!<arch>\n")
    return file


def prepare(boot, package, *more, status=0):
    return run(SCRIPTS / "prepare-card", "--package", package, *more, boot, status=status)


def words(boot):
    text = (boot / "cmdline.txt").read_text()
    assert text.count("\n") == 1
    return text.split()


@pytest.mark.parametrize("line", [pytest.param(PLAIN, id="as flashed"), pytest.param(CLOUD, id="Imager's cloud-init")])
def test_hook(boot, package, line):
    """The kernel's command line gets the hook once, keeps its words and is kept as a copy"""
    (boot / "cmdline.txt").write_text(line + "\n")
    for _ in range(2):
        prepare(boot, package)
    assert words(boot)[: len(line.split())] == line.split()
    assert words(boot).count(HOOK) == 1
    assert (boot / "cmdline.before-retrowalk.txt").read_text() == line + "\n"


def test_hook_beside_imagers(boot, package):
    """Beside the hook of Raspberry Pi Imager ours comes first, and how the start ends is Imager's affair"""
    (boot / "cmdline.txt").write_text(IMAGER + "\r\n")
    for _ in range(2):
        prepare(boot, package)
    found = words(boot)
    assert found.index(HOOK) < found.index("systemd.run=/boot/firmware/firstrun.sh")
    assert sorted(found) == sorted([*IMAGER.split(), HOOK])


def test_settings_filled_in_are_kept(boot, package):
    """A second run does not overwrite what the maker has filled in"""
    prepare(boot, package)
    assert (boot / "retrowalk.toml").read_bytes() == (SCRIPTS / "retrowalk.toml").read_bytes()
    (boot / "retrowalk.toml").write_text(CARD)
    prepare(boot, package)
    assert (boot / "retrowalk.toml").read_text() == CARD


def test_packages_for_a_pi_without_network(boot, package, tmp_path):
    """A folder of Debian packages goes along; without it the maker is told that a network is needed"""
    debs = tmp_path / "debs"
    debs.mkdir()
    (debs / "espeak-ng_1.51_arm64.deb").touch()
    assert "needs a network" in prepare(boot, package)
    assert "needs a network" not in prepare(boot, package, "--debs", debs)
    assert {file.name for file in (boot / "retrowalk/debs").iterdir()} == {package.name, "espeak-ng_1.51_arm64.deb"}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda boot: (boot / "cmdline.txt").unlink(), "not the boot partition", id="another partition"),
        pytest.param(lambda boot: (boot.parent / "retrowalk_1.0_arm64.deb").unlink(), "is not there", id="no package"),
    ],
)
def test_wrong_place(boot, package, spoil, said):
    """What is not a card, or nothing to put on it, is refused and nothing is written"""
    spoil(boot)
    before = {path.name for path in boot.iterdir()}
    assert said in prepare(boot, package, status=1)
    assert {path.name for path in boot.iterdir()} == before


def test_generator_of_systemd_runs_it(boot, package, tmp_path):
    """systemd itself makes a service of both hooks, ours first, and starts again when they are done"""
    generator = Path("/usr/lib/systemd/system-generators/systemd-run-generator")
    if not generator.exists():
        pytest.skip("systemd is missing: apt-get install systemd")
    (boot / "cmdline.txt").write_text(IMAGER + "\n")
    prepare(boot, package)
    folders = [tmp_path / name for name in ("normal", "early", "late")]
    for folder in folders:
        folder.mkdir()
    line = (boot / "cmdline.txt").read_text().strip()
    run(generator, *folders, env={**os.environ, "SYSTEMD_PROC_CMDLINE": line, "SYSTEMD_LOG_TARGET": "console"})
    (made,) = (file for folder in folders for file in folder.rglob("kernel-command-line.service"))
    lines = made.read_text().splitlines()
    assert [text for text in lines if text.startswith("ExecStart=")] == [
        "ExecStart=/boot/firmware/retrowalk/begin",
        "ExecStart=/boot/firmware/firstrun.sh",
    ]
    assert "SuccessAction=reboot" in lines


# -------------------------------------------------------------------------------------------------------- first step


def begin(boot, root):
    # FAT has no mode bits: there every file can be run.
    run("sh", boot / "retrowalk" / "begin", root)


@pytest.mark.parametrize("line", [PLAIN, IMAGER, CLOUD], ids=["as flashed", "Imager's first run", "cloud-init"])
def test_first_step(boot, package, tmp_path, line):
    """The first step puts the second one into the system and leaves the command line as it was before"""
    (boot / "cmdline.txt").write_text(line + "\n")
    prepare(boot, package)
    root = tmp_path / "root"
    begin(boot, root)
    assert words(boot) == line.split()
    assert (root / "etc/systemd/system/multi-user.target.wants/retrowalk-setup.service").resolve().exists()
    assert os.access(root / "usr/local/lib/retrowalk-setup/setup", os.X_OK)


def test_first_step_never_starts_for_ever(boot, package, tmp_path):
    """A system that takes nothing is told of on the card, and the hook goes all the same"""
    prepare(boot, package)
    root = tmp_path / "root"
    root.write_text("not a folder")
    begin(boot, root)
    assert words(boot) == PLAIN.split()
    assert "could not be set up" in (boot / "retrowalk-problem.txt").read_text()


# ------------------------------------------------------------------------------------------------------- second step


class Pi:
    """A system with stand-ins for its programs."""

    def __init__(self, boot: Path, folder: Path) -> None:
        self.boot, self.root, self.leds = boot, folder / "root", folder / "leds"
        self.calls = folder / "calls"
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("apt-get", "dpkg", "nmcli", "rfkill", "iw", "systemctl", "pinctrl", "sync"):
            self.program(name, "exit 0")
        led = self.leds / "ACT"
        led.mkdir(parents=True)
        for name in ("trigger", "delay_on", "delay_off"):
            (led / name).touch()
        (self.root / "etc/NetworkManager/system-connections").mkdir(parents=True)
        begin(boot, self.root)

    def program(self, name: str, does: str) -> None:
        file = self.bin / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>"{self.calls}"\n{does}\n')
        file.chmod(0o755)

    def set_up(self, status: int = 0) -> list[str]:
        env = {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "RETROWALK_SETUP_WAIT_S": "0",
            "RETROWALK_SETUP_TRIES": "2",
        }
        script = self.root / "usr/local/lib/retrowalk-setup/setup"
        run("sh", script, self.boot, self.root, self.leds, env=env, status=status)
        return self.calls.read_text().splitlines()

    def light(self) -> str:
        return (self.leds / "ACT" / "trigger").read_text().strip()


@pytest.fixture
def pi(boot, package, tmp_path):
    prepare(boot, package)
    (boot / "retrowalk.toml").write_text(CARD)
    return Pi(boot, tmp_path)


def test_set_up(pi):
    """Network, packages, services, and a start with them: nothing of the set-up is left but the settings"""
    calls = pi.set_up()
    order = ["iw reg set DE", "rfkill unblock wifi", "nmcli connection up id retrowalk-wifi"]
    assert [call for call in calls if call in order] == order
    (installed,) = (call for call in calls if call.startswith("apt-get"))
    assert " install " in installed
    assert "--no-download" not in installed  # Bookworm's apt refuses a .deb of one's own with it
    assert installed.endswith("retrowalk_1.0_arm64.deb")
    assert [call for call in calls if call.startswith("systemctl")] == [
        "systemctl enable retrowalk.target retrowalk-firstboot.service",
        "systemctl start retrowalk-firstboot.service",
        "systemctl --no-block reboot",
    ]
    assert not (pi.boot / "retrowalk").exists()
    assert not (pi.root / "usr/local/lib/retrowalk-setup").exists()
    assert (pi.boot / "retrowalk.toml").read_text() == CARD  # retrowalk itself takes it, with all it checks
    assert pi.light() == "timer"


def test_set_up_of_pins_and_console(pi):
    """I2C and watchdog are in config.txt once, and no console is on the sensors' serial port"""
    pi.set_up()
    config = (pi.boot / "config.txt").read_text()
    assert config.count("dtparam=i2c_arm=on\n") == 1
    assert config.count("dtparam=watchdog=on\n") == 1
    assert words(pi.boot) == PLAIN.split()[1:]


def test_packages_from_debian(pi):
    """What the card does not have is fetched"""
    pi.program("apt-get", f'grep -q "^apt-get.* update" "{pi.calls}" || exit 100')
    calls = [call for call in pi.set_up() if call.startswith("apt-get")]
    assert [" install " in call for call in calls] == [True, False, True]
    assert calls[1].endswith(" update")


def test_no_network(pi):
    """Without network it goes on trying, with light and beeps, and says on the card why; no password is shown"""
    pi.program("apt-get", "echo Temporary failure resolving >&2; exit 100")
    pi.program("nmcli", 'case "$*" in *" up "*) exit 4 ;; esac')
    calls = pi.set_up(status=1)
    assert sum(" update" in call for call in calls) == 2
    assert pi.light() == "heartbeat"
    assert "pinctrl set 22 op dh" in calls
    said = (pi.boot / "retrowalk-problem.txt").read_text()
    assert "The network of retrowalk.toml is not there" in said
    assert "Temporary failure resolving" in said
    assert "geheim" not in said
    assert (pi.boot / "retrowalk").exists()


def test_tries_again(pi):
    """What failed at first and works later ends well, and the complaint goes"""
    pi.program("apt-get", f'[ "$(grep -c ^apt-get "{pi.calls}")" -gt 2 ]')
    pi.set_up()
    assert not (pi.boot / "retrowalk-problem.txt").exists()


def test_network_file_is_root_s(pi):
    """The network's file can be read by root alone, and holds no password"""
    pi.set_up()
    file = pi.root / "etc/NetworkManager/system-connections/retrowalk-wifi.nmconnection"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "geheim" not in file.read_text()


# -------------------------------------------------------------------------------------------------------- config.txt


def test_config_is_edited_once(boot):
    """The lines go to the end, between markers, once; what others wrote stays; a copy of the first file is kept"""
    first = (boot / "config.txt").read_text()
    assert "changed" in run(SCRIPTS / "apply-config", boot / "config.txt")
    text = (boot / "config.txt").read_text()
    assert run(SCRIPTS / "apply-config", boot / "config.txt") == "unchanged\n"
    assert (boot / "config.txt").read_text() == text
    assert text.startswith(first)
    assert (SCRIPTS / "config.txt").read_text() in text
    assert (boot / "config.before-retrowalk.txt").read_text() == first


def test_config_is_brought_up_to_date(boot):
    """Lines of an older version between the markers are exchanged, lines behind them stay; --remove takes them out"""
    first = (boot / "config.txt").read_text()
    run(SCRIPTS / "apply-config", boot / "config.txt")
    file = boot / "config.txt"
    file.write_text(file.read_text().replace("dtparam=watchdog=on", "dtparam=old=on") + "[all]\nmine=1\n")
    assert run(SCRIPTS / "apply-config", file) == "changed\n"
    assert "old=on" not in file.read_text()
    assert "mine=1" in file.read_text()
    run(SCRIPTS / "apply-config", "--remove", file)
    assert file.read_text() == first + "[all]\nmine=1\n"


@pytest.mark.parametrize("script", ["prepare-card", "apply-config"])
def test_scripts_explain_themselves(script):
    """--help says how to use it; a misspelt option is refused"""
    assert run(SCRIPTS / script, "--help").startswith(f"usage: firmware/boot/{script}")
    run(SCRIPTS / script, "--hlep", status=2)


@pytest.mark.parametrize("script", ["prepare-card", "apply-config", "begin", "setup"])
def test_scripts_need_no_more_than_a_plain_shell(script):
    """The scripts are read by the shell that Debian starts them with, and by no other that happens to be there"""
    dash = shutil.which("dash")
    if dash is None:
        pytest.skip("dash is missing: apt-get install dash")
    assert (SCRIPTS / script).read_text().startswith("#!/bin/sh\n")
    assert run(dash, "-n", SCRIPTS / script) == ""


def test_page_for_makers_has_the_hook():
    """What makers without a checkout write into cmdline.txt is what prepare-card writes"""
    page = (ROOT / "docs" / "first-boot.md").read_text()
    script = (SCRIPTS / "prepare-card").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith(HOOK))
    assert line.removeprefix(HOOK).strip() in script


def test_page_for_makers_has_every_file():
    """The page names each file that prepare-card copies"""
    page = (ROOT / "docs" / "first-boot.md").read_text()
    for name in ("begin", "setup", "retrowalk-setup.service", "apply-config", "config.txt", "wifi.py"):
        assert f"`{name}`" in page
