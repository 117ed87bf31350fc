"""A PulseAudio server of a test's own, which plays on the pretend card."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.paced_card.card import PretendCard, skip_or_fail

PATIENCE_S = 10.0
SINK = "ear"

ASOUNDRC = "pcm.!default { type pulse }\nctl.!default { type pulse }\npcm.pulse { type pulse }\n"


@dataclass
class Pulse:
    """The server; `environment` is what its clients need."""

    folder: Path
    card: PretendCard
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and waits until it answers.  Skips the test where PulseAudio is not installed."""
        for program in ("pulseaudio", "pactl"):
            if shutil.which(program) is None:
                skip_or_fail(f"{program} is needed: sudo apt install pulseaudio pulseaudio-utils libasound2-plugins")
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "asoundrc"
        config.write_text("</usr/share/alsa/alsa.conf>\n" + ASOUNDRC)
        # Its threads of real time are killed after 200 ms without a pause, which a machine that stands still makes up.
        settings = self.folder / "daemon.conf"
        settings.write_text("rlimit-rttime = -1\n")
        self.environment = {
            **os.environ,
            "HOME": str(self.folder),
            "PULSE_CONFIG": str(settings),
            "XDG_RUNTIME_DIR": str(self.folder),
            "PULSE_RUNTIME_PATH": str(self.folder / "pulse"),
            "PULSE_SERVER": f"unix:{self.folder / 'pulse' / 'native'}",
            "ALSA_CONFIG_PATH": str(config),
        }
        command = [
            "pulseaudio",
            "-n",
            "--daemonize=no",
            "--use-pid-file=no",
            "--exit-idle-time=-1",
            "--disable-shm=yes",
        ]
        # Not the server's own null sink: that plays two seconds ahead, and then takes nothing for as long.
        sink = (
            f"module-alsa-sink sink_name={SINK} device=card0 mmap=0 tsched=0 fragments=4 fragment_size=960 rate=48000"
        )
        modules = (
            f"module-native-protocol-unix socket={self.folder / 'pulse' / 'native'} auth-anonymous=1",
            "module-always-sink",
            "module-rescue-streams",
            sink,
        )
        command += [part for module in modules for part in ("-L", module)]
        self._process = subprocess.Popen(
            command,
            env={**self.environment, "ALSA_CONFIG_PATH": str(self.card.config)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + PATIENCE_S
        while subprocess.run(
            ["pactl", "info"], env=self.environment, capture_output=True, check=False, timeout=PATIENCE_S
        ).returncode:
            assert time.monotonic() < end, "PulseAudio does not answer"
            time.sleep(0.05)
        self.ctl("set-default-sink", SINK)

    def ctl(self, *words: str) -> str:
        """`pactl` with these words; its output."""
        done = subprocess.run(
            ["pactl", *words], env=self.environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S
        )
        return done.stdout

    def lose_sink(self) -> None:
        """The sink goes, as when a headset is unplugged: the server moves its streams to a stand-in for none."""
        for line in self.ctl("list", "short", "modules").splitlines():
            number, name, *_ = line.split("\t")
            if name == "module-alsa-sink" and f"sink_name={SINK}" in line:
                self.ctl("unload-module", number)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The server hangs for a while."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
