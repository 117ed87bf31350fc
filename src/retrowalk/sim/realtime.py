"""The demonstration along real time: three real processes, a real broker, and the world in a process of its own.

What the street's processes stand on is thin here: pins, bus and ear lead over a socket into the world's process, so
that each of the three can be killed without stopping the world.  The courier is the very command of a device.  A
stranger's MQTT client looks on.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from msgspec import structs
from paho.mqtt.enums import CallbackAPIVersion

from retrowalk import config as configuration
from retrowalk import wire
from retrowalk.config import Config, Voice
from retrowalk.core import alerts
from retrowalk.errors import LinkError, SimulationError, SoundError, WireError
from retrowalk.guard.state import StateFile, accepted_before
from retrowalk.platform import SocketMailbox, boot_id
from retrowalk.sim import scenarios
from retrowalk.sim.evidence import load, published
from retrowalk.sim.outcome import Frame, Message, Spoken
from retrowalk.sim.scenarios import Evidence
from retrowalk.sim.view import in_short
from retrowalk.supervise import Supervisor, end_with_parent
from retrowalk.voice.alsa import AlsaSystem
from retrowalk.voice.texts import Texts

FRAME_S = 0.1
WATCH_AGAIN_S = 2.0
START_LIMIT_S = 30.0
END_LIMIT_S = 12.0

EVIDENCE_FILE = "evidence.json"
HEARD_FILE = "heard.jsonl"
SOUND_FILE = "walk.wav"

_LEVELS = {row.phrase or row.earcon: row.level.name.lower() for row in alerts.ALERTS.values()}


class Broker:
    """A mosquitto of our own on a free port of this machine, with nothing kept."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise LinkError("mosquitto, the MQTT broker, is not installed: run script/setup, or apt install mosquitto")
        self.host = "127.0.0.1"
        self.port = _free_port()
        configuration = directory / "mosquitto.conf"
        # Started as root, mosquitto would become a user who may not read here.
        configuration.write_text(f"listener {self.port} {self.host}\nallow_anonymous true\nuser {getpass.getuser()}\n")
        with open(directory / "mosquitto.log", "wb") as log:
            self._process = subprocess.Popen(
                [program, "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=end_with_parent(os.getpid()),
            )
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), 0.2).close()
                return
            except OSError:
                time.sleep(0.02)
        self.close()
        raise LinkError(f"mosquitto did not start: {(directory / 'mosquitto.log').read_text()[-300:]}")

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(5.0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stranger:
    """A client that knows nothing of the device but the topic tree, as a caregiver's would."""

    def __init__(self, broker: Broker, origin_mono_s: float) -> None:
        self.messages: list[tuple[float, str, bytes]] = []
        self._origin_mono_s = origin_mono_s
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("retrowalk/#", qos=1)
        self._client.on_message = self._take
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def _take(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self.messages.append((time.monotonic() - self._origin_mono_s, message.topic, bytes(message.payload)))

    def close(self) -> None:
        """Disconnects."""
        self._client.disconnect()
        self._client.loop_stop()


class Told(NamedTuple):
    """What became of a process: the second of the walk, its name, and plain words."""

    t_s: float
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.t_s:.1f} s: {self.name} {self.what}"


class RealWalk:
    """One scripted walk in real time.  A context manager: everything it started ends with it.

    `scenario` is one of `scenarios.SCENARIOS`; `config`: the device worn on it (`Scenario.worn`); `until_s`: how
    long the world is to stand (the scenario's length and a little more by default).
    """

    def __init__(
        self,
        seed: int,
        out: Path,
        faults: Sequence[str] = (),
        *,
        scenario: str = "demo",
        config: Config | None = None,
        until_s: float | None = None,
        tick_s: float = FRAME_S,
    ) -> None:
        self.seed = seed
        self.out = out
        self.scenario = scenarios.SCENARIOS[scenario](seed).worn(config or Config())
        self._config = self.scenario.config
        self._faults = tuple(faults)
        self._until_s = (self.scenario.duration_s if until_s is None else until_s) + 30.0
        self._tick_s = tick_s
        self._directory = Path(tempfile.mkdtemp(prefix="rw-"))
        self.run_dir = self._directory / "run"
        self.state_dir = self._directory / "state"
        self.origin_mono_s = 0.0
        self.events: list[Told] = []
        """What the supervisor told."""
        self.status: wire.Status | None = None
        self._status_s = 0.0
        self._broker: Broker | None = None
        self._stranger: Stranger | None = None
        self._world: subprocess.Popen[bytes] | None = None
        self._world_killed = False
        self._supervisor: Supervisor | None = None
        self._mailbox: SocketMailbox | None = None
        self._watch_s = 0.0
        self._heard: list[Spoken] = []
        self._heard_at = 0
        self._texts = Texts.load(self._config.device.language)
        self._seen = 0
        self._messages: list[Message] = []
        self.sound = _sound_device(self._config.voice)
        """Name of the sound device that works; empty: there is none."""

    # -- beginning and end ------------------------------------------------------------------------------------

    def __enter__(self) -> RealWalk:
        try:
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _start(self) -> None:
        for directory in (self.run_dir, self.state_dir, self.out):
            directory.mkdir(parents=True, exist_ok=True)
        if not self.scenario.first_use:
            StateFile(self.run_dir).write(accepted_before(boot_id()))
        broker = self._broker = Broker(self._directory)
        settings = self._directory / "retrowalk.toml"
        ours = configuration.Broker(host=broker.host, port=broker.port)
        settings.write_text(configuration.to_toml(structs.replace(self._config, broker=ours)), encoding="utf-8")
        world = str(self._directory / "world")
        origin = self._directory / "origin"
        self._world = subprocess.Popen(
            [
                *(sys.executable, "-m", "retrowalk.sim.world_process"),
                *("--world", world, "--origin", str(origin)),
                *("--scenario", self.scenario.name, "--seed", str(self.seed)),
                *("--config", str(settings), "--out", str(self.out), "--until", repr(self._until_s)),
                *(argument for fault in self._faults for argument in ("--fault", fault)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log("world"),
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=end_with_parent(os.getpid()),
        )
        self._wait_for_world(Path(world))
        self.origin_mono_s = float(origin.read_text(encoding="ascii"))
        self._stranger = Stranger(broker, self.origin_mono_s)
        common = ["--world", world, "--origin", repr(self.origin_mono_s)]
        places = ["--config", str(settings), "--run-dir", str(self.run_dir), "--state-dir", str(self.state_dir)]
        thin = [sys.executable, "-m", "retrowalk.sim.process"]
        commands: dict[str, list[str]] = {
            "guard": [*thin, "guard", *places, *common],
            "voice": [*thin, "voice", *places, *common, "--sound", self.sound],
            "courier": [sys.executable, "-m", "retrowalk", "courier", *places],
        }
        log = shlex_redirect(self._directory / "processes.log")
        self._supervisor = Supervisor(
            {name: [*log, *command] for name, command in commands.items()},
            env={**os.environ, "LG_WD": str(self.run_dir)},
            on_event=lambda name, what: self.events.append(Told(self.now(), name, what)),
            notify_at=self.run_dir / "supervisor.sock",
        )
        self._mailbox = SocketMailbox(self.run_dir, "view")
        while self.now() < 0.0:
            time.sleep(max(0.0, min(0.02, -self.now())))

    def _wait_for_world(self, path: Path) -> None:
        until = time.monotonic() + START_LIMIT_S
        while not path.exists():
            if self._world is None or self._world.poll() is not None or time.monotonic() > until:
                raise SimulationError(f"the simulated world did not start: {self.log('world')[-600:]}")
            time.sleep(0.02)

    def _log(self, name: str) -> int:
        return os.open(self._directory / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def log(self, name: str) -> str:
        """What `world`, `processes` or `mosquitto` wrote."""
        try:
            return (self._directory / f"{name}.log").read_text(errors="replace")
        except OSError:
            return ""

    def _end(self) -> None:
        if self._supervisor is not None:
            self._supervisor.kill()
        if self._world is not None and self._world.poll() is None:
            self._world.kill()
            self._world.wait(5.0)
        if self._stranger is not None:
            self._stranger.close()
        if self._broker is not None:
            self._broker.close()
        if self._mailbox is not None:
            self._mailbox.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    # -- the walk -------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Second of the walk."""
        return time.monotonic() - self.origin_mono_s

    def pids(self) -> dict[str, int]:
        """Process numbers of the three, as far as they run."""
        assert self._supervisor is not None
        found = {name: self._supervisor.pid(name) for name in ("guard", "voice", "courier")}
        return {name: pid for name, pid in found.items() if pid is not None}

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Sends a signal to one of the three."""
        os.kill(self.pids()[name], number)

    def kill_world(self) -> None:
        """Ends the world's process at once, as if every wire were cut.  Such a walk cannot `finish`."""
        assert self._world is not None
        self._world.kill()
        self._world.wait()
        self._world_killed = True

    def run_until(self, t_s: float, on_frame: Callable[[Frame], None] | None = None) -> None:
        """Lets the walk go on to second `t_s`."""
        while self.now() < t_s:
            self._poll(min(self._tick_s, max(0.0, t_s - self.now())))
            if on_frame is not None:
                on_frame(self.frame())

    def _poll(self, wait_s: float) -> None:
        assert self._supervisor is not None
        assert self._mailbox is not None
        now = self.now()
        self._supervisor.poll(time.monotonic())
        if now >= self._watch_s:
            asked = self._mailbox.send("guard", wire.encode(wire.Watch("view")))
            self._watch_s = now + (WATCH_AGAIN_S if asked else 0.2)
        select.select([self._mailbox.fileno()], [], [], wait_s)
        while (data := self._mailbox.receive()) is not None:
            try:
                message = wire.decode_local(data)
            except WireError:
                continue
            if isinstance(message, wire.Status):
                self.status, self._status_s = message, self.now()
        if self._world is not None and self._world.poll() is not None and not self._world_killed:
            raise SimulationError(f"the simulated world ended: {self.log('world')[-600:]}")

    def frame(self) -> Frame:
        """What a display shows now."""
        now = self.now()
        notes = [str(told) for told in self.events[-2:]]
        if not self.sound:
            # A display shows two notes: this one stays.
            notes = [f"no sound device: keeping the sound in {self.out / SOUND_FILE}", *notes[-1:]]
        return Frame(
            t_s=now,
            title=self.scenario.scene(now),
            status=self.status if now - self._status_s < 1.0 else None,
            heard=self.heard(),
            published=self.messages(),
            notes=notes,
            sound=self.sound or str(self.out / SOUND_FILE),
            duration_s=self.scenario.duration_s,
        )

    def heard(self) -> list[Spoken]:
        """What the walker's ear took in so far: words, and sounds that come without words."""
        try:
            with open(self.out / HEARD_FILE, encoding="utf-8") as file:
                file.seek(self._heard_at)
                for line in file:
                    if not line.endswith("\n"):
                        break
                    self._heard_at += len(line.encode())
                    self._take_heard(json.loads(line))
        except OSError:
            pass
        return self._heard

    def _take_heard(self, entry: dict[str, Any]) -> None:
        key = str(entry["key"])
        phrase, _, value = key.partition(":")
        if key in alerts.EARCONS:
            if phrase in ("chime", "balance", "touching"):
                self._heard.append(Spoken(entry["t_s"], _LEVELS.get(phrase, ""), f"({phrase})"))
            return
        self._heard.append(Spoken(entry["t_s"], _LEVELS.get(phrase, ""), self._texts.words(phrase, value)))

    def messages(self) -> list[Message]:
        """Events that reached the stranger's client, in a few words each."""
        assert self._stranger is not None
        for t_s, topic, payload in self._stranger.messages[self._seen :]:
            self._seen += 1
            if "/event/" not in topic:
                continue
            try:
                event = json.loads(payload)
            except ValueError:
                continue
            kind = str(event.get("eventtype", ""))
            self._messages.append(Message(t_s, kind, in_short(kind, event.get("data", {}))))
        return self._messages

    # -- the end ----------------------------------------------------------------------------------------------

    def finish(self) -> Evidence:
        """Switches the device off as a person would, ends the world, and returns what the walk left behind.

        Afterwards `recordings` may be read.  Raises `SimulationError` when something does not end.
        """
        assert self._supervisor is not None
        assert self._world is not None
        assert self._stranger is not None
        self._supervisor.stop()
        until = time.monotonic() + END_LIMIT_S
        while not self._supervisor.finished and time.monotonic() < until:
            self._poll(0.05)
        self._world.send_signal(signal.SIGTERM)
        try:
            self._world.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise SimulationError("the simulated world does not end") from error
        evidence = load(self.out / EVIDENCE_FILE)
        evidence.published = published(self._stranger.messages)
        evidence.waiting = self._waiting()
        for file in (EVIDENCE_FILE, HEARD_FILE):
            (self.out / file).unlink(missing_ok=True)
        return evidence

    def _waiting(self) -> int | None:
        """Events left in the outbox, as its file says."""
        try:
            with contextlib.closing(sqlite3.connect(self.state_dir / "outbox.db")) as db:
                return int(db.execute("SELECT count(*) FROM outbox WHERE delivered IS NULL").fetchone()[0])
        except sqlite3.Error:
            return None

    def recordings(self) -> list[Path]:
        """The recording's files, oldest first."""
        return sorted((self.state_dir / "recordings").glob("*.mcap"))


def shlex_redirect(log: Path) -> list[str]:
    """A prefix that starts a program with its output appended to `log`: a live view owns the terminal."""
    return ["/bin/sh", "-c", 'exec "$@" >>"$0" 2>&1', str(log)]


def _sound_device(voice: Voice) -> str:
    """The configured sound device if it can be opened, else nothing."""
    try:
        AlsaSystem().open(voice.device, voice.buffer_ms).close()
    except SoundError:
        return ""
    return voice.device
