"""The road from device to device in real time: real libasound on pretend cards, a real sound server, real children."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.paced_card import card as paced
from tests.paced_card.card import PretendCard
from tests.voice.helpers import noise
from tests.voice.pulse import Pulse
from tests.voice.real import Guard, Start

from retrowalk.core.samples import VoicePhase
from retrowalk.errors import SoundError
from retrowalk.voice import say, watch
from retrowalk.voice.alsa import AlsaSystem
from retrowalk.voice.aplay import AplaySound
from retrowalk.voice.bank import Bank
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ
from retrowalk.voice.watch import Element

pytestmark = pytest.mark.process

SILENCE = bytes(RATE_HZ * FRAME_BYTES)
NEXT_S = 0.6
"""From the fault to the next device that plays: 0.3 s of patience, and room for a machine that runs tests beside."""


@pytest.fixture
def hat(card: PretendCard, tmp_path: Path) -> PretendCard:
    """A second card, `hat`, beside the default one."""
    folder = tmp_path / "hat"
    folder.mkdir()
    second = PretendCard(folder, card.library)
    line = next(line for line in second.config.read_text().splitlines() if line.startswith("pcm.card0"))
    card.config.write_text(card.config.read_text() + line.replace("pcm.card0", "pcm.hat") + "\n")
    return second


def heard_on(guard: Guard, device: str, fault: str) -> bool:
    beat = guard.beat()
    return beat is not None and (beat.device, beat.fault) == (device, fault) and beat.output == "alsa"


def named(guard: Guard, fault: str) -> bool:
    """Whether the guard heard that nothing is heard, and why."""
    beat = guard.beat()
    return beat is not None and (beat.output, beat.fault) == ("", fault)


def warns(guard: Guard, card: PretendCard, alert: int = 9) -> None:
    """A warning is told to be heard, and did leave the card."""
    before = len(card.entries("ONSETL"))
    guard.speak(alert)
    guard.until(lambda: guard.phase(alert, VoicePhase.FINISHED))
    assert len(card.entries("ONSETL")) > before


# ------------------------------------------------------------------------------------ the next card


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        pytest.param("freeze", "frozen", id="frozen", marks=pytest.mark.slow),
        pytest.param("unplug", "no_device", id="unplugged"),
    ],
)
def test_the_next_card_plays_at_once_and_the_first_is_returned_to(
    start: Start, guard: Guard, noise_bank: Bank, card: PretendCard, hat: PretendCard, how: str, fault: str
):
    start(noise_bank.directory, "card0", "hat")
    guard.until(lambda: heard_on(guard, "card0", ""))
    began_s = time.monotonic()
    card.set(how)
    guard.until(lambda: heard_on(guard, "hat", fault))
    assert time.monotonic() - began_s < NEXT_S
    silent = [beat for beat in guard.beats()[1:] if not beat.output and beat.fault]
    assert {beat.fault for beat in silent} == {fault}, "before it plays the guard hears that nothing does"
    warns(guard, hat)
    if how == "freeze":
        card.set("ok")
        guard.until(lambda: heard_on(guard, "card0", ""))
        warns(guard, card, alert=10)


@pytest.mark.slow
def test_a_card_that_is_not_there_at_the_start_is_stood_in_for(
    start: Start, guard: Guard, noise_bank: Bank, card: PretendCard, hat: PretendCard
):
    card.set("unplug")
    start(noise_bank.directory, "card0", "hat")
    guard.until(lambda: heard_on(guard, "hat", "no_device"))
    warns(guard, hat)


@pytest.mark.slow
def test_a_device_that_plays_to_nowhere_is_left(start: Start, guard: Guard, noise_bank: Bank, card: PretendCard):
    """ALSA's `null` takes 3.5 s of sound in 4 ms and reports success."""
    card.config.write_text(card.config.read_text() + "pcm.void { type null }\n")
    start(noise_bank.directory, "void", "card0")
    guard.until(lambda: heard_on(guard, "card0", "null_sink"))
    warns(guard, card)


@pytest.mark.slow
def test_a_device_that_plays_to_nowhere_alone_is_named(start: Start, guard: Guard, noise_bank: Bank, card: PretendCard):
    card.config.write_text("pcm.!default { type null }\n")
    start(noise_bank.directory)
    guard.until(lambda: named(guard, "null_sink"))
    guard.heard.clear()
    guard.listen(1.0)
    assert named(guard, "null_sink")


# ------------------------------------------------------------------------------------ the card's mixer


@pytest.fixture
def mixer(card: PretendCard, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixer of `card0`, as a file: volume (0 to 100) and switch."""
    library = paced.build(tmp_path_factory.mktemp("mixer"), paced.MIXER_SOURCE)
    state = tmp_path / "mixer"
    state.write_text("80 1")
    card.config.write_text(
        f'{card.config.read_text()}ctl_type.paced {{ lib "{library}" }}\nctl.card0 {{ type paced file "{state}" }}\n'
    )
    return state


def condition_within(system: AlsaSystem, device: str, wanted: str, limit_s: float = 2.0) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if system.condition(device, time.monotonic()) == wanted:
            return True
        time.sleep(0.02)
    return False


def test_a_muted_card_is_known_and_again_when_it_is_not(card: PretendCard, mixer: Path):
    """Its switch off, or its volume at the floor; a look costs next to nothing in between."""
    system = AlsaSystem()
    sound = system.open("card0", 20)
    assert condition_within(system, "card0", "")
    time.sleep(0.1)
    for state, wanted in (("80 0", "muted"), ("80 1", ""), ("0 1", "muted"), ("30 1", "")):
        mixer.write_text(state)
        assert condition_within(system, "card0", wanted), state
    sound.close()


@pytest.mark.slow
def test_a_muted_card_is_left_for_one_that_is_not(
    start: Start, guard: Guard, noise_bank: Bank, card: PretendCard, hat: PretendCard, mixer: Path
):
    start(noise_bank.directory, "card0", "hat")
    guard.until(lambda: heard_on(guard, "card0", ""))
    began_s = time.monotonic()
    mixer.write_text("80 0")
    guard.until(lambda: heard_on(guard, "hat", "muted"))
    assert time.monotonic() - began_s < NEXT_S
    warns(guard, hat)
    mixer.write_text("80 1")
    guard.until(lambda: heard_on(guard, "card0", ""))


def test_a_card_without_a_mixer_is_not_muted(card: PretendCard):
    system = AlsaSystem()
    sound = system.open("card0", 20)
    for _ in range(10):
        assert system.condition("card0", time.monotonic()) == ""
        time.sleep(0.02)
    sound.close()


@pytest.mark.parametrize(
    ("elements", "wanted"),
    [
        pytest.param([], False, id="none"),
        pytest.param([("Master", True), ("Speaker", False)], True, id="master"),
        pytest.param([("PCM", False), ("Speaker", True), ("Headphone", False)], False, id="one way out is open"),
        pytest.param([("PCM", False), ("Speaker", True), ("Headphone", True)], True, id="every way out is shut"),
        pytest.param([("Speaker", False), ("Mic", True), ("Line In", True)], False, id="inputs do not matter"),
        pytest.param([("Headphone", True)], True, id="the only one"),
        pytest.param([("Mic", True)], False, id="only a microphone"),
    ],
)
def test_what_counts_as_muted(elements: list[tuple[str, bool]], wanted: bool):
    """What everything goes through, or every way out."""
    assert watch.muted([Element(name, silent) for name, silent in elements]) is wanted


# ------------------------------------------------------------------------------------ the sound server


@pytest.fixture
def pulse(tmp_path: Path, card: PretendCard) -> Iterator[Pulse]:
    server = Pulse(tmp_path / "pulse", card)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def served(start: Start, guard: Guard, noise_bank: Bank, pulse: Pulse) -> Pulse:
    """A voice process that plays through the server."""
    start(noise_bank.directory, "default", **pulse.environment)
    guard.until(lambda: heard_on(guard, "default", ""))
    return pulse


@pytest.mark.slow
def test_a_server_that_plays_to_nowhere_is_named(served: Pulse, guard: Guard, card: PretendCard):
    """The sink goes; the server plays on to `auto_null`, the pointer moves, and everybody reports success."""
    warns(guard, card)
    began_s = time.monotonic()
    served.lose_sink()
    guard.until(lambda: named(guard, "null_sink"))
    assert time.monotonic() - began_s < 2.0


@pytest.mark.slow
def test_a_muted_sink_is_named_and_forgiven(served: Pulse, guard: Guard):
    for mute, open_again in (
        (("set-sink-mute", "ear", "1"), ("set-sink-mute", "ear", "0")),
        (("set-sink-volume", "ear", "0%"), ("set-sink-volume", "ear", "70%")),
    ):
        served.ctl(*mute)
        guard.until(lambda: named(guard, "muted"))
        served.ctl(*open_again)
        guard.until(lambda: heard_on(guard, "default", ""))


@pytest.mark.slow
def test_a_server_that_dies_is_named(served: Pulse, guard: Guard):
    served.stop()
    guard.until(lambda: named(guard, "no_device"))


@pytest.mark.slow
def test_a_server_that_is_back_is_watched_again(served: Pulse, guard: Guard):
    """The watch of a server that died ends whole, so that the next one is asked."""
    served.stop()
    guard.until(lambda: named(guard, "no_device"))
    served.start()
    guard.until(lambda: heard_on(guard, "default", ""))
    served.ctl("set-sink-mute", "ear", "1")
    guard.until(lambda: named(guard, "muted"))


@pytest.mark.slow
def test_a_server_that_hangs_is_named_and_left(
    start: Start, guard: Guard, noise_bank: Bank, pulse: Pulse, card: PretendCard, tmp_path: Path
):
    """Stopped, it neither answers nor refuses: no call waits for it, and the next device plays."""
    folder = tmp_path / "hat"
    folder.mkdir()
    hat = PretendCard(folder, card.library)
    config = Path(pulse.environment["ALSA_CONFIG_PATH"])
    config.write_text(config.read_text() + hat.config.read_text().replace("pcm.card0", "pcm.hat").partition("pcm.!")[0])
    start(noise_bank.directory, "default", "hat", **pulse.environment)
    guard.until(lambda: heard_on(guard, "default", ""))
    began_s = time.monotonic()
    with pulse.stopped():
        guard.until(lambda: heard_on(guard, "hat", "frozen"))
        assert time.monotonic() - began_s < 1.0
        warns(guard, hat)
        guard.listen(6.0)
        assert guard.longest_silence_s() < 0.6


@pytest.mark.slow
def test_a_watch_that_cannot_ask_costs_nothing(
    start: Start, guard: Guard, noise_bank: Bank, pulse: Pulse, card: PretendCard, tmp_path: Path
):
    """Without `pactl` a server is believed, and a warning is heard."""
    tools = tmp_path / "tools"
    tools.mkdir()
    start(noise_bank.directory, "default", **{**pulse.environment, "PATH": str(tools)})
    guard.until(lambda: heard_on(guard, "default", ""))
    warns(guard, card)


@pytest.mark.slow
def test_nothing_of_the_watch_outlives_the_voice(start: Start, guard: Guard, noise_bank: Bank, pulse: Pulse):
    """Killed by force, too: its children end with it."""
    process = start(noise_bank.directory, "default", **pulse.environment)
    guard.until(lambda: heard_on(guard, "default", ""))
    guard.until(lambda: {_name(number) for number in _children(pulse)} == {"sh", "cat", "pactl"})
    children = _children(pulse)
    process.kill()
    process.wait(5.0)
    end = time.monotonic() + 5.0
    while any(_name(number) in ("sh", "cat", "pactl") for number in children):
        assert time.monotonic() < end
        time.sleep(0.05)


def _children(pulse: Pulse) -> list[int]:
    return [
        number
        for number in map(int, filter(str.isdigit, os.listdir("/proc")))
        if f"XDG_RUNTIME_DIR={pulse.folder}" in _environment(number) and _name(number) in ("sh", "cat", "pactl")
    ]


def _environment(number: int) -> list[str]:
    try:
        return Path(f"/proc/{number}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _name(number: int) -> str:
    try:
        text = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return ""
    return "" if text.rpartition(")")[2].split()[0] == "Z" else text[text.index("(") + 1 : text.rindex(")")]


LISTED = """Sink #1
\tState: RUNNING
\tName: {name}
\tDescription: {description}
\tMute: {mute}
\tVolume: front-left: 65536 / {percent}% / 0.00 dB,   front-right: 65536 / {percent}% / 0.00 dB
Sink Input #7
\tSink: 1
\tMute: {own}
\tVolume: front-left: 65536 / 100% / 0.00 dB
\tProperties:
\t\tapplication.process.id = "4711"
"""


@pytest.mark.parametrize(
    ("change", "nowhere", "muted"),
    [
        pytest.param({}, False, False, id="well"),
        pytest.param({"name": "auto_null", "description": "Dummy Output"}, True, False, id="auto_null"),
        pytest.param({"description": "Dummy Output"}, True, False, id="dummy"),
        pytest.param({"mute": "yes"}, False, True, id="sink muted"),
        pytest.param({"percent": "0"}, False, True, id="sink at 0 %"),
        pytest.param({"own": "yes"}, False, True, id="stream muted"),
    ],
)
def test_what_a_server_tells_is_understood(change: dict[str, str], nowhere: bool, muted: bool):
    well = {"name": "ear", "description": "Ear", "mute": "no", "percent": "80", "own": "no"}
    sink = watch.parse(LISTED.format(**{**well, **change}), frozenset({"4711"}))
    assert sink is not None
    assert (sink.nowhere, sink.muted) == (nowhere, muted)


def test_other_peoples_streams_do_not_matter():
    text = LISTED.format(name="auto_null", description="Dummy Output", mute="yes", percent="0", own="yes")
    assert watch.parse(text, frozenset({"1"})) is None


# ------------------------------------------------------------------------------------ the emergency road


def test_a_clip_leaves_the_card_through_aplay(card: PretendCard):
    """Whole, in order, and told to have been played no sooner than it was."""
    pcm = noise("aplay", 0.4)
    say.play_clip(AlsaSystem(), "aplay:default", pcm)
    played = np.frombuffer(card.dump.read_bytes(), "<i2")[0::2].tobytes()
    assert pcm in played


def feed(sound: AplaySound, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        room = sound.writable(0.0)
        if room > 0:
            sound.write(SILENCE[: room * FRAME_BYTES], 0.0)
        sound.played(0.0)
        sound.wait(0.01)
        time.sleep(0.005)


@pytest.mark.slow
def test_the_pointer_of_aplay_stands_still_with_the_card(card: PretendCard):
    """A child that hangs takes nothing more; it is killed, and nobody waits for it."""
    sound = AplaySound("default")
    feed(sound, 0.4)
    assert sound.played(0.0) > 0
    card.set("freeze")
    feed(sound, 0.2)
    stood = sound.played(0.0)
    feed(sound, 0.2)
    assert sound.played(0.0) == stood
    began_s = time.monotonic()
    sound.close()
    assert time.monotonic() - began_s < 0.1


@pytest.mark.parametrize(
    ("path", "device"),
    [pytest.param("nowhere", "default", id="not installed"), pytest.param("", "plughw:CARD=Ear", id="no such device")],
)
def test_an_aplay_that_cannot_play_raises(card: PretendCard, monkeypatch: pytest.MonkeyPatch, path: str, device: str):
    """Not silence that is reported as success."""
    if path:
        monkeypatch.setenv("PATH", path)

    def use() -> None:
        sound = AplaySound(device)
        try:
            feed(sound, 2.0)
        finally:
            sound.close()

    with pytest.raises(SoundError, match="aplay"):
        use()
