"""What `./install` and the Debian package share: versions beside one another, one link, and the way back."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
FILES = {
    "retrowalk/__init__.py": "",
    "retrowalk/cli.py": "def main():\n    print('retrowalk, version {version}')\n",
    "retrowalk/errors.py": "class RetrowalkError(Exception): pass\n",
    "retrowalk/config.py": """
from pathlib import Path
from retrowalk.errors import RetrowalkError
def load(path):
    if "old_knob" in Path(path).read_text() and "{version}" != "1.0":
        raise RetrowalkError("old_knob is unknown")
""",
}


def wheel(folder: Path, name: str, files: dict[str, str], *, spoilt: str = "") -> None:
    """Writes a wheel whose list of hashes is right, but for the file `spoilt`."""
    folder.mkdir(parents=True, exist_ok=True)
    record = f"{name}-1.dist-info/RECORD"
    lines = []
    with zipfile.ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as out:
        for file, text in files.items():
            hashed = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{file},sha256={hashed},{len(text)}")
            out.writestr(file, text + "#" if file == spoilt else text)
        out.writestr(record, "\n".join([*lines, f"{record},,"]))


class Systemd:
    """Stands in for systemd's own programs: which services run, and with which version they do not come up."""

    def __init__(self, opt: Path) -> None:
        self.opt = opt
        self.running = False
        self.broken = ""
        self.asked: list[str] = []

    def run(self, *command: str | Path, **_: object) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        self.asked.append(" ".join(words))
        status = 0
        if words[:2] in (["systemctl", "restart"], ["systemctl", "start"]) and words[2] == "retrowalk.target":
            self.running = not (self.broken and self.broken in os.readlink(self.opt / "current"))
        if words[:2] == ["systemctl", "is-active"]:
            status = 0 if self.running and "hub" not in words[-1] else 3
        return subprocess.CompletedProcess(words, status, "", "")


@pytest.fixture
def deploy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """packaging/deploy.py, with nothing to load but what the made-up versions hold."""
    spec = importlib.util.spec_from_file_location("deploy", ROOT / "packaging" / "deploy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "deploy", module)  # its dataclasses look there
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOADED", ())
    monkeypatch.setattr(module, "STAYS_UP_S", 0.0)
    return module


@pytest.fixture
def places(tmp_path, deploy):
    return deploy.Places(tmp_path / "root")


@pytest.fixture
def systemd(deploy, places, monkeypatch) -> Systemd:
    """A system whose systemd runs, and that has nothing to do with this machine's."""
    fake = Systemd(places.opt)
    real = deploy.run

    def run(*command, **more):
        word = str(command[0])
        if word in ("systemctl", "udevadm", "modprobe") or word.startswith("systemd-"):
            return fake.run(*command)
        return subprocess.CompletedProcess([], 0, "", "") if "compileall" in command else real(*command, **more)

    monkeypatch.setattr(deploy, "run", run)
    monkeypatch.setattr(deploy.Places, "runs_systemd", True)
    return fake


@pytest.fixture
def payload(tmp_path: Path) -> Callable[..., Path]:
    """Makes the payload of a version."""

    def make(version: str, files: dict[str, str] | None = None, spoilt: str = "", settings: str = "") -> Path:
        to = tmp_path / f"payload-{version}"
        print_ = hashlib.sha256(version.encode()).hexdigest()
        subprocess.run(["sh", ROOT / "packaging/payload", to, print_, "base"], check=True)
        (to / "VERSION").write_text(version)
        if settings:
            (to / "system/retrowalk.toml").write_text(settings)
        own = {name: text.replace("{version}", version) for name, text in {**FILES, **(files or {})}.items()}
        wheel(to / "wheels/any", "retrowalk", own, spoilt=spoilt)
        wheel(to / "wheels" / TAG, "lgpio", {"lgpio.py": ""})
        return to

    return make


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with what is in it, every link with where it leads."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_symlink():
            found[name] = f"-> {os.readlink(file)}"
        elif file.is_file() and "__pycache__" not in name:
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found


def said_version(places):
    program = places.opt / "bin/retrowalk"
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([program, "--version"], env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def test_first_installation(deploy, places, systemd, payload):
    """A first installation can be run from where the units look, enables them, and starts them"""
    deploy.install(payload("1.0"), places, deploy.Options())
    assert said_version(places) == "1.0"
    assert (places.root / "etc/systemd/system/retrowalk-guard.service").exists()
    assert (places.root / "etc/udev/rules.d/60-retrowalk.rules").exists()
    assert any("enable" in asked and "retrowalk.target" in asked for asked in systemd.asked)
    assert systemd.running


def test_tries_a_version_as_it_will_be_started(deploy, places, systemd, payload, tmp_path, monkeypatch):
    """What whoever installs has set for Python of their own has no part in whether a version is used"""
    other = tmp_path / "other/retrowalk/__init__.py"
    other.parent.mkdir(parents=True)
    other.write_text("raise ImportError('another one')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    deploy.install(payload("1.0"), places, deploy.Options())
    assert said_version(places) == "1.0"


def test_second_run_changes_nothing(deploy, places, systemd, payload):
    """The same version again leaves every file as it is, restarts nothing, and says that nothing was changed"""
    made = payload("1.0")
    deploy.install(made, places, deploy.Options())
    before, systemd.asked = tree(places.root), []
    assert deploy.install(made, places, deploy.Options()) is False
    assert tree(places.root) == before
    assert not [asked for asked in systemd.asked if "restart" in asked or "enable" in asked]


def test_repairs_what_somebody_changed(deploy, places, systemd, payload):
    """A unit that was edited or lost is put in place again"""
    made = payload("1.0")
    deploy.install(made, places, deploy.Options())
    unit = places.root / "etc/systemd/system/retrowalk-guard.service"
    unit.unlink()
    assert deploy.install(made, places, deploy.Options()) is True
    assert unit.read_bytes() == (made / "system/retrowalk-guard.service").read_bytes()


def test_upgrade_keeps_what_belongs_to_the_walker(deploy, places, systemd, payload):
    """An upgrade changes neither edited settings nor recordings, outbox and calibration"""
    deploy.install(payload("1.0"), places, deploy.Options())
    settings = places.settings / "retrowalk.toml"
    settings.write_text("# mine\n")
    kept = places.root / "var/lib/retrowalk"
    (kept / "recordings").mkdir(parents=True)
    (kept / "recordings/walk.mcap").write_text("a walk")
    (kept / "outbox.db").write_text("a fall")
    before = tree(kept)
    deploy.install(payload("1.1", settings="# new\n"), places, deploy.Options())
    assert said_version(places) == "1.1"
    assert settings.read_text() == "# mine\n"
    assert tree(kept) == before


def test_settings_that_nobody_edited_follow_the_program(deploy, places, systemd, payload):
    """Settings that are still those of the old version become those of the new one"""
    deploy.install(payload("1.0", settings="# one\n"), places, deploy.Options())
    deploy.install(payload("1.1", settings="# two\n"), places, deploy.Options())
    assert (places.settings / "retrowalk.toml").read_text() == "# two\n"


def test_keeps_one_version_to_go_back_to(deploy, places, systemd, payload):
    """After three versions the last two are there"""
    for version in ("1.0", "1.1", "1.2"):
        deploy.install(payload(version), places, deploy.Options())
    assert sorted(folder.name.partition("-")[0] for folder in places.versions.iterdir()) == ["1.1", "1.2"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"files": {"retrowalk/cli.py": "raise OSError('no such chip')\n"}}, "no such chip", id="no start"),
        pytest.param(
            {"files": {"retrowalk/cli.py": "def main(): print('0.9')\n"}}, "does not start", id="other number"
        ),
        pytest.param({"files": {"retrowalk/errors.py": "import nowhere\n"}}, "does not load", id="does not load"),
        pytest.param({"spoilt": "retrowalk/config.py"}, "damaged: retrowalk/config.py", id="damaged"),
        pytest.param({"files": {"../evil.py": ""}}, "would leave its folder", id="path that leaves"),
        pytest.param({"files": {"/evil.py": ""}}, "would leave its folder", id="absolute path"),
    ],
)
def test_a_version_that_does_not_work_is_not_used(changes, reason, deploy, places, systemd, payload):
    """A broken new version is named as such, and all is as it was: program, units, settings, services"""
    deploy.install(payload("1.0"), places, deploy.Options())
    before, systemd.asked = tree(places.root), []
    with pytest.raises(deploy.DeployError, match=reason):
        deploy.install(payload("1.1", **changes), places, deploy.Options())
    assert tree(places.root) == before
    assert said_version(places) == "1.0"
    assert not [asked for asked in systemd.asked if "restart" in asked]


def test_a_version_that_refuses_the_settings_is_not_used(deploy, places, systemd, payload):
    """Settings that the old version takes and the new one does not keep the old one in use"""
    deploy.install(payload("1.0"), places, deploy.Options())
    (places.settings / "retrowalk.toml").write_text("old_knob = 1\n")
    with pytest.raises(deploy.DeployError, match="old_knob is unknown"):
        deploy.install(payload("1.1"), places, deploy.Options())
    assert said_version(places) == "1.0"


def test_goes_back_when_the_guard_does_not_come_up(deploy, places, systemd, payload):
    """A guard that ran before and does not with the new version: link, units, settings go back, and it runs again"""
    deploy.install(payload("1.0", settings="# one\n"), places, deploy.Options())
    before = tree(places.root)
    made = payload("1.1", settings="# two\n")
    (made / "system/retrowalk-guard.service").write_text("[Service]\n")
    (made / "system/retrowalk-new.service").write_text("[Service]\n")
    systemd.broken = "1.1"
    with pytest.raises(deploy.DeployError, match=r"(?s)guard.* did not come up.*old version, 1\.0.* is in use"):
        deploy.install(made, places, deploy.Options(up_within_s=0.0))
    assert tree(places.root) == before
    assert systemd.running


def test_a_guard_that_did_not_run_before_keeps_no_upgrade_back(deploy, places, systemd, payload):
    """Where the guard did not run with the old version either, the new one is put into use"""
    systemd.broken = "1."
    deploy.install(payload("1.0"), places, deploy.Options(up_within_s=0.0))
    deploy.install(payload("1.1"), places, deploy.Options(up_within_s=0.0))
    assert said_version(places) == "1.1"


def test_a_version_cut_off_is_made_anew(deploy, places, systemd, payload):
    """What a power cut left of a version is not taken for one"""
    made = payload("1.0")
    half = places.versions / deploy.name_of(made)
    (half / "bin").mkdir(parents=True)
    (half / "bin/retrowalk").write_text("")
    deploy.install(made, places, deploy.Options())
    assert said_version(places) == "1.0"


def test_an_environment_of_an_older_set_up_makes_way(deploy, places, systemd, payload):
    """An environment that lies in /opt/retrowalk itself is replaced"""
    (places.opt / "bin").mkdir(parents=True)
    (places.opt / "pyvenv.cfg").write_text("")
    deploy.install(payload("1.0"), places, deploy.Options())
    assert said_version(places) == "1.0"
    assert not (places.opt / "pyvenv.cfg").exists()


def test_a_package_without_this_python_is_refused(deploy, places, systemd, payload):
    """Without packages for this Python nothing is installed, and the ones it has are named"""
    made = payload("1.0")
    (made / "wheels" / TAG).rename(made / "wheels/cp39")
    with pytest.raises(deploy.DeployError, match="only for cp39"):
        deploy.install(made, places, deploy.Options())
    assert places.used() is None


def test_lines_for_the_pi_come_once(deploy, places, systemd, payload):
    """config.txt of a Pi gets retrowalk's lines once, and loses them with it; nothing else in it changes"""
    config = places.boot_config
    config.parent.mkdir(parents=True)
    config.write_text("[pi4]\narm_boost=1\n")
    made = payload("1.0")
    for _ in range(2):
        deploy.install(made, places, deploy.Options())
        assert config.read_text().count("dtparam=i2c_arm_baudrate=400000") == 1
    deploy.remove(places, purge=False)
    assert config.read_text() == "[pi4]\narm_boost=1\n"


@pytest.mark.parametrize("purge", [pytest.param(False, id="remove"), pytest.param(True, id="purge")])
def test_removal(purge, deploy, places, systemd, payload):
    """Removal takes the program and all its files; settings and recordings go with a purge alone"""
    deploy.install(payload("1.0"), places, deploy.Options())
    kept = places.root / "var/lib/retrowalk/outbox.db"
    kept.parent.mkdir(parents=True)
    kept.write_text("a fall")
    deploy.remove(places, purge=purge)
    left = [name for name in tree(places.root) if "retrowalk" in name]
    assert left == ([] if purge else ["etc/retrowalk/retrowalk.toml", "var/lib/retrowalk/outbox.db"])
    assert "systemctl stop retrowalk.target" in systemd.asked


def test_hub_alone_brings_nothing_of_the_walker(deploy, places, systemd, payload):
    """On a machine that nobody wears, only the hub's service, user and settings are put in place"""
    made = payload("1.0")
    (made / "hub").touch()
    deploy.install(made, places, deploy.Options(device=False))
    units = {file.name for file in (places.root / "etc/systemd/system").iterdir()}
    assert units == {"retrowalk-hub.service"}
    assert [file.name for file in places.settings.iterdir()] == ["hub.toml"]
    assert not any("enable" in asked for asked in systemd.asked)


def test_says_whether_a_version_is_there(deploy, places, systemd, payload, capsys):
    """`has` knows the version in use by what it was made from"""
    made = payload("1.0")
    root = ["--root", str(places.root)]
    print_ = (made / "FINGERPRINT").read_text().strip()
    assert deploy.main([*root, "has", print_]) == 1
    deploy.install(made, places, deploy.Options())
    capsys.readouterr()
    assert deploy.main([*root, "has", print_]) == 0
    assert Path(capsys.readouterr().out.strip()) == places.used() / "payload"
    assert deploy.main([*root, "has", "0" * 64]) == 1


def test_fingerprint_knows_the_sources(tmp_path):
    """What a version is made from has another number when a source changes, and for the hub"""
    for name in ("pyproject.toml", "requirements", "systemd", "firmware", "packaging"):
        (tmp_path / name).symlink_to(ROOT / name)
    os.unlink(tmp_path / "packaging")
    (tmp_path / "packaging").mkdir()
    (tmp_path / "packaging/fingerprint").write_bytes((ROOT / "packaging/fingerprint").read_bytes())
    source = tmp_path / "src/retrowalk/core.py"
    source.parent.mkdir(parents=True)
    source.write_text("REACH_M = 4.0\n")

    def number(side: str) -> str:
        script = ["sh", tmp_path / "packaging/fingerprint", side]
        return subprocess.run(script, check=True, capture_output=True, text=True).stdout

    first, hub = number("base"), number("hub")
    source.write_text("REACH_M = 5.0\n")
    assert len({first, hub, number("base")}) == 3
