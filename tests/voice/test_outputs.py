"""The road of the sound from device to device, in virtual time, as the guard hears of it."""

from __future__ import annotations

import gc

import msgspec
import pytest
from tests.voice.helpers import Bench

from retrowalk import wire
from retrowalk.config import Config
from retrowalk.core.samples import VoicePhase
from retrowalk.voice import earcons
from retrowalk.voice.bank import Bank
from retrowalk.voice.mixer import GAP_FRAMES, RATE_HZ

EAR = "plughw:CARD=Ear"
HAT = "plughw:CARD=Hat"
CONFIG = Config()
EARCONS = earcons.synthesise(CONFIG.voice.volume)
BUZZ_S = 0.5
"""Buzzer and vibration are to act within this time; the guard needs next to nothing of it."""


def with_devices(device: str, *others: str) -> Config:
    return msgspec.structs.replace(
        CONFIG, voice=msgspec.structs.replace(CONFIG.voice, device=device, other_devices=others)
    )


@pytest.fixture
def bench(noise_bank: Bank) -> Bench:
    """A voice with one device that has been serving for a second."""
    ready = Bench(CONFIG, noise_bank)
    ready.run(1.0)
    return ready


@pytest.fixture
def three(noise_bank: Bank) -> Bench:
    """A voice with two named devices, and `default` behind them."""
    ready = Bench(with_devices(EAR, HAT), noise_bank)
    ready.run(1.0)
    return ready


def beat(bench: Bench) -> wire.VoiceBeat:
    return bench.beats()[-1]


def road(bench: Bench) -> list[str]:
    """The devices that were opened, in order."""
    return [sound.name for sound in bench.system.opened]


def plays(bench: Bench, bank: Bank, alert: int = 77) -> bool:
    """Whether a warning leaves the device that is open now."""
    bench.speak(alert)
    bench.run(1.0)
    stop = EARCONS["warning"] + bytes(2 * GAP_FRAMES) + (bank.clip("stop", "") or b"?")
    return stop in bench.heard and bench.phases(alert) == ["started", "finished"]


def break_it(bench: Bench, device: str, how: str) -> None:
    if how == "unplugged":
        bench.system.gone.add(device)
    else:
        {
            "frozen": bench.system.frozen,
            "swallowing": bench.system.swallowing,
            "muted": bench.system.muted,
        }[how].add(device)


def mend(bench: Bench, device: str) -> None:
    system = bench.system
    for broken in (system.gone, system.frozen, system.swallowing, system.muted, system.absent):
        broken.discard(device)


HOW = [
    pytest.param("unplugged", "no_device", 0.05, id="unplugged"),
    pytest.param("frozen", "frozen", 0.35, id="frozen"),
    pytest.param("swallowing", "null_sink", 0.55, id="null"),
    pytest.param("muted", "muted", 0.30, id="muted"),
]

# ------------------------------------------------------------------------------------ one device alone


@pytest.mark.parametrize(("how", "name", "limit_s"), HOW)
def test_a_device_that_is_not_heard_is_named_in_time(bench: Bench, how: str, name: str, limit_s: float):
    """Its beat says that nothing is heard (no output) and why, at once when it is known, not at the next beat."""
    began_s = bench.now_s
    break_it(bench, "default", how)
    while beat(bench).output and bench.now_s < began_s + 2.0:
        bench.run(0.001)
    assert bench.now_s - began_s <= limit_s
    assert (beat(bench).fault, beat(bench).device, beat(bench).output) == (name, "default", "")


@pytest.mark.parametrize(("how", "name", "limit_s"), HOW)
def test_it_stays_named_for_as_long_as_it_lasts(bench: Bench, how: str, name: str, limit_s: float):
    """Whatever is tried meanwhile: no beat of a device nobody hears says otherwise."""
    break_it(bench, "default", how)
    bench.run(limit_s)
    count = len(bench.beats())
    bench.run(20.0)
    assert {(beat.fault, beat.output) for beat in bench.beats()[count:]} == {(name, "")}


@pytest.mark.parametrize(("how", "name", "limit_s"), HOW)
def test_a_device_that_works_again_is_heard_within_two_seconds(
    bench: Bench, noise_bank: Bank, how: str, name: str, limit_s: float
):
    break_it(bench, "default", how)
    bench.run(7.3)
    mend(bench, "default")
    bench.run(2.1)
    assert (beat(bench).fault, beat(bench).output) == ("", "alsa")
    assert plays(bench, noise_bank)


def test_a_moment_of_standing_still_is_no_fault(bench: Bench):
    """0.25 s: the same stream goes on, and nothing was named."""
    bench.sound.frozen = True
    bench.run(0.25)
    bench.sound.frozen = False
    bench.run(1.0)
    assert road(bench) == ["default"]
    assert {beat.fault for beat in bench.beats()} == {""}


def test_a_device_that_starts_slowly_is_waited_for(noise_bank: Bank):
    """A radio link needs most of a second; nothing is said to be heard before it is, and no words are lost."""
    bench = Bench(with_devices(EAR, HAT), noise_bank)
    bench.system.frozen = {EAR}
    bench.speak(1, within_s=2.0)
    bench.run(0.9)
    assert {beat.output for beat in bench.beats()} == {""}
    bench.system.frozen = set()
    bench.run(2.0)
    assert road(bench) == [EAR]
    assert bench.phases(1) == ["started", "finished"]


def test_a_stream_that_stands_still_is_opened_anew_at_once(bench: Bench, noise_bank: Bank):
    """Often the stream is stuck and not the device."""
    bench.sound.frozen = True
    bench.run(0.35)
    assert road(bench) == ["default", "default"]
    assert "frozen" in {beat.fault for beat in bench.beats()}
    assert (beat(bench).fault, beat(bench).output) == ("", "alsa")
    assert plays(bench, noise_bank)


@pytest.mark.parametrize("how", ["unplugged", "frozen"])
def test_what_the_device_held_is_told_as_cut(bench: Bench, how: str):
    """The core judges it anew; nobody waits for an end that cannot come."""
    bench.speak(1, "object", "2", "caution", rank=60)
    bench.run(0.05)
    break_it(bench, "default", how)
    bench.run(0.5)
    assert bench.phases(1) == ["started", "cut"]


def test_without_a_device_requests_are_still_answered(noise_bank: Bank):
    """They expire at their deadline, and the guard knows to use buzzer and vibration alone."""
    bench = Bench(CONFIG, noise_bank)
    bench.system.absent = {"default"}
    bench.run(1.0)
    bench.speak(1, within_s=0.5)
    bench.run(1.0)
    assert bench.phases(1) == ["expired"]
    assert {beat.fault for beat in bench.beats()} == {"no_device"}


# ------------------------------------------------------------------------------------ the next device


@pytest.mark.parametrize(("how", "name", "limit_s"), HOW)
def test_the_next_device_plays_within_a_tenth_of_a_second(
    three: Bench, noise_bank: Bank, how: str, name: str, limit_s: float
):
    """Its beats name what happened to the configured one for as long as it stands in."""
    break_it(three, EAR, how)
    three.run(limit_s + 0.1)
    assert (beat(three).device, beat(three).output, beat(three).fault) == (HAT, "alsa", name)
    assert plays(three, noise_bank)
    three.run(3.0)
    assert (beat(three).device, beat(three).fault) == (HAT, name)


@pytest.mark.parametrize(("how", "name", "limit_s"), HOW)
def test_before_a_stand_in_plays_the_guard_hears_that_nothing_does(three: Bench, how: str, name: str, limit_s: float):
    """However quick the change: buzzer and vibration tell of it, because some of what was said is missing."""
    break_it(three, EAR, how)
    three.run(limit_s + 0.1)
    silent = [beat for beat in three.beats()[1:] if beat.output == "" and beat.fault]
    assert silent
    assert {beat.fault for beat in silent} == {name}


def test_the_road_ends_at_the_default_device(three: Bench, noise_bank: Bank):
    """One after the other, in the order of the settings."""
    three.system.gone.update({EAR, HAT})
    three.run(0.1)
    assert beat(three).device == "default"
    assert plays(three, noise_bank)


def test_a_device_that_failed_just_now_comes_last(three: Bench):
    """Ear fails, then hat: the default device is next, not ear again."""
    three.system.frozen.add(EAR)
    three.run(0.5)
    three.system.frozen.discard(EAR)
    three.system.frozen.add(HAT)
    three.run(0.45)
    assert road(three) == [EAR, HAT, "default"]


def test_a_stand_in_that_is_muted_too_is_left(three: Bench):
    """Nor is it called heard for the moment in which it was open."""
    three.system.muted = {EAR, HAT}
    three.run(1.0)
    assert (beat(three).device, beat(three).output, beat(three).fault) == ("default", "alsa", "muted")
    assert not [beat for beat in three.beats() if beat.device == HAT and beat.output]


def test_where_all_are_muted_nothing_is_heard(three: Bench):
    """The last one stays open; no beat claims an output."""
    three.system.muted = {EAR, HAT, "default"}
    three.run(1.0)
    count = len(three.beats())
    three.run(20.0)
    assert {(beat.output, beat.fault) for beat in three.beats()[count:]} == {("", "muted")}
    assert len(road(three)) < 20, "no device is opened again and again"


def test_a_chain_of_dead_devices_is_left_in_one_step(three: Bench):
    """All gone between two polls: the guard hears of it at once."""
    three.system.gone = {EAR, HAT, "default"}
    three.run(0.02)
    assert (beat(three).output, beat(three).fault) == ("", "no_device")


# ------------------------------------------------------------------------------------ the emergency road


def test_aplay_plays_when_no_device_can_be_opened(three: Bench, noise_bank: Bank):
    """A child process; the beat says so, and names the device that it plays on."""
    three.system.aplay = True
    three.system.gone = {EAR, HAT, "default"}
    three.run(0.2)
    assert (beat(three).device, beat(three).output, beat(three).fault) == (EAR, "aplay", "no_device")
    assert plays(three, noise_bank)


def test_aplay_is_not_tried_while_a_device_works(three: Bench):
    three.system.aplay = True
    three.system.frozen = {EAR}
    three.run(30.0)
    assert not [name for name in road(three) if name.startswith("aplay")]


def test_an_aplay_that_does_not_play_either_is_left(bench: Bench):
    """And is not started again and again."""
    bench.system.aplay = True
    bench.system.frozen = {"default", "aplay:default"}
    bench.run(12.0)
    assert (beat(bench).output, beat(bench).fault) == ("", "frozen")
    assert 1 <= road(bench).count("aplay:default") <= 2


def test_from_aplay_the_way_leads_back(bench: Bench, noise_bank: Bank):
    """In silence, to the device itself, once that can be opened."""
    bench.system.aplay = True
    bench.system.gone = {"default"}
    bench.run(2.0)
    assert beat(bench).output == "aplay"
    mend(bench, "default")
    bench.run(6.0)
    assert (beat(bench).output, beat(bench).fault) == ("alsa", "")
    assert plays(bench, noise_bank)


# ------------------------------------------------------------------------------------ the way back


@pytest.mark.parametrize(("how", "name", "limit_s"), HOW)
def test_the_configured_device_is_returned_to(three: Bench, noise_bank: Bank, how: str, name: str, limit_s: float):
    """Within some seconds of its being well, and the fault is over with it."""
    break_it(three, EAR, how)
    three.run(2.0)
    mend(three, EAR)
    three.run(6.5)
    assert (beat(three).device, beat(three).output, beat(three).fault) == (EAR, "alsa", "")
    assert plays(three, noise_bank)


@pytest.mark.parametrize("how", ["unplugged", "frozen", "swallowing", "muted"])
def test_a_device_that_is_still_broken_is_not_returned_to(three: Bench, how: str):
    """It must play silence at the pace of time before it is believed: the stand-in plays on without a gap."""
    break_it(three, EAR, how)
    three.run(1.0)
    stand_in = three.sound
    assert stand_in.name == HAT
    three.run(20.0)
    assert beat(three).device == HAT
    assert len(stand_in.heard) / 4 / RATE_HZ > 19.5
    assert not stand_in.closed


def test_nobody_is_interrupted_by_the_return(three: Bench):
    """While something sounds the stand-in keeps it."""
    three.system.gone = {EAR}
    three.run(0.5)
    mend(three, EAR)
    for alert in range(100, 180):
        three.speak(alert, "object", "2", "caution", rank=60)
        three.run(0.12)
    assert three.progress()
    assert not [p for p in three.progress() if p.phase is VoicePhase.CUT]
    three.run(7.0)
    assert beat(three).device == EAR


# ------------------------------------------------------------------------------------ the buffer


def run_dry(bench: Bench) -> None:
    bench.sound.underruns += 1
    bench.run(0.05)


def test_a_device_that_runs_dry_twice_in_a_minute_keeps_more(bench: Bench):
    """20, 40, 60 ms and no more, told at once, without a gap."""
    bench.run(5.0)
    run_dry(bench)
    assert beat(bench).buffer_ms == 20
    bench.run(50.0)
    run_dry(bench)
    assert beat(bench).buffer_ms == 40
    kept = []
    for _ in range(6):
        run_dry(bench)
        kept.append(beat(bench).buffer_ms)
    assert kept == [40, 60, 60, 60, 60, 60]
    assert road(bench) == ["default"]
    bench.run(1.0)
    assert bench.sound.buffer_frames == 60 * RATE_HZ // 1000


def test_running_dry_while_the_device_starts_changes_nothing(bench: Bench):
    """A program that begins is busier than it ever will be."""
    for _ in range(4):
        run_dry(bench)
    bench.run(10.0)
    assert beat(bench).buffer_ms == 20


@pytest.mark.slow
def test_running_dry_once_a_minute_changes_nothing(bench: Bench):
    for _ in range(4):
        run_dry(bench)
        bench.run(61.0)
    assert beat(bench).buffer_ms == 20


def test_it_never_keeps_less_again_until_it_is_opened_anew(bench: Bench):
    bench.run(5.0)
    for _ in range(2):
        run_dry(bench)
    bench.run(200.0)
    assert beat(bench).buffer_ms == 40
    bench.system.gone = {"default"}
    bench.run(0.1)
    bench.system.gone = set()
    bench.run(1.2)
    assert beat(bench).buffer_ms == 20


# ------------------------------------------------------------------------------------ the delay beyond


def test_a_device_that_plays_late_is_named(bench: Bench):
    """As it reports itself (a radio link, a slow server); it goes on playing what is calm."""
    bench.sound.beyond_s = 0.2
    bench.run(0.4)
    assert beat(bench).fault == ""
    bench.run(0.2)
    assert (beat(bench).fault, beat(bench).output) == ("slow", "alsa")
    bench.sound.beyond_s = 0.01
    bench.run(2.1)
    assert beat(bench).fault == ""


def test_a_server_that_adds_a_little_is_not_slow(bench: Bench):
    bench.sound.beyond_s = 0.055
    bench.run(5.0)
    assert {beat.fault for beat in bench.beats()} == {""}


# ------------------------------------------------------------------------------------ the loop itself


@pytest.mark.slow
def test_the_loop_makes_no_garbage_that_must_be_searched_for(bench: Bench):
    """Counting references frees all of it: no collection is needed in the middle of a warning."""
    bench.run(2.0)
    gc.collect()
    gc.disable()
    try:
        for alert in range(100, 200):
            bench.speak(alert, "object", "2", "caution", rank=60 + alert % 3)
            bench.run(0.2)
        bench.mailbox.sent.clear()
        assert gc.collect() == 0
    finally:
        gc.enable()
