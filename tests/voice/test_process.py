from __future__ import annotations

import hashlib
import os
from array import array
from pathlib import Path

import pytest
from tests.voice.helpers import ASKER, Bench, FakeMailbox, noise, write_bank

from retrowalk import wire
from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.core.samples import VoicePhase
from retrowalk.platform import Platform
from retrowalk.voice import earcons
from retrowalk.voice.bank import Bank, Builtin, text_clip_content, text_file_name
from retrowalk.voice.mixer import GAP_FRAMES, RATE_HZ
from retrowalk.voice.process import VoiceLoop

CONFIG = Config()
EARCONS = earcons.synthesise(CONFIG.voice.volume)
BUFFER_S = CONFIG.voice.buffer_ms / 1000


@pytest.fixture
def bench(noise_bank: Bank) -> Bench:
    """A voice that has been serving for a second."""
    ready = Bench(CONFIG, noise_bank)
    ready.run(1.0)
    return ready


def sound_of(bank: Bank, earcon: str, phrase: str, value: str = "") -> bytes:
    return EARCONS[earcon] + bytes(2 * GAP_FRAMES) + (bank.clip(phrase, value) or b"")


# --------------------------------------------------------------------------------------- being heard


def test_a_request_is_heard_within_one_buffer(bench: Bench, noise_bank: Bank):
    """Nothing but the frames already in the device stands before a warning."""
    bench.speak(1)
    bench.run(1.0)
    at = bench.heard.find(sound_of(noise_bank, "warning", "stop"))
    assert at >= 0
    assert 1.0 <= at / 2 / RATE_HZ <= 1.0 + BUFFER_S + 0.001


def test_progress_is_told_when_the_play_pointer_has_passed(bench: Bench, noise_bank: Bank):
    """STARTED and FINISHED carry the monotonic time at which the first and last frame left, to the millisecond."""
    bench.speak(7)
    bench.run(1.0)
    started, finished = bench.progress()
    assert (started.phase, finished.phase) == (VoicePhase.STARTED, VoicePhase.FINISHED)
    assert started.alert == finished.alert == 7
    assert started.words == "Stop"
    first = bench.heard.find(sound_of(noise_bank, "warning", "stop")) / 2 / RATE_HZ
    last = first + len(sound_of(noise_bank, "warning", "stop")) / 2 / RATE_HZ
    assert started.mono_s - bench.origin_mono_s == pytest.approx(first, abs=0.001)
    assert finished.mono_s - bench.origin_mono_s == pytest.approx(last, abs=0.001)


def test_started_is_not_told_before_it_is_heard(bench: Bench):
    """A frame in the device's buffer has not been heard: progress waits for the pointer, if need be for ever."""
    bench.sound.frozen = True
    bench.speak(1)
    bench.run(0.25)
    assert bench.progress() == []


def test_a_higher_rank_is_heard_within_one_buffer_of_its_request(bench: Bench):
    """It cuts what sounds, and the guard hears of both."""
    bench.speak(1, "object", "2", "caution", rank=60)
    bench.run(0.1)
    bench.speak(2)
    bench.run(1.0)
    assert bench.phases(1) == ["started", "cut"]
    assert bench.phases(2) == ["started", "finished"]
    (started,) = (p for p in bench.progress() if p.alert == 2 and p.phase is VoicePhase.STARTED)
    assert started.mono_s - bench.origin_mono_s - 1.1 <= BUFFER_S + 0.001


def test_deadlines_are_on_the_monotonic_clock(bench: Bench):
    """The guard's deadline, monotonic seconds, is judged on this process's own session clock."""
    bench.speak(1, within_s=-0.01)
    bench.run(0.1)
    assert bench.phases(1) == ["expired"]
    bench.speak(2, within_s=0.01)
    bench.run(1.0)
    assert bench.phases(2) == ["started", "finished"]


def test_hush_ends_an_alert(bench: Bench):
    bench.speak(1, "object", "2", "caution", rank=60)
    bench.run(0.05)
    bench.send(wire.HushMessage(1))
    bench.run(1.0)
    assert bench.phases(1) == ["started", "cut"]


def test_a_device_that_takes_fewer_frames_loses_none(bench: Bench, noise_bank: Bank):
    """A short write is continued where it ended."""
    bench.sound.take_at_most = 100
    bench.speak(1)
    bench.run(0.005)
    bench.sound.take_at_most = 1 << 30
    bench.run(1.0)
    assert sound_of(noise_bank, "warning", "stop") in bench.heard


def test_the_device_is_kept_open_and_fed_with_silence(bench: Bench):
    """It never runs dry and never closes: a sleeping amplifier would swallow the first word."""
    bench.run(5.0)
    assert len(bench.system.opened) == 1
    assert bench.heard == bytes(len(bench.heard))
    assert len(bench.heard) / 2 / RATE_HZ == pytest.approx(6.0, abs=2 * BUFFER_S)


def test_garbage_in_the_mailbox_is_ignored(bench: Bench):
    """A message that is no message, or not for the voice, harms nothing."""
    bench.mailbox.inbox.append(b"\xff{")
    bench.send(wire.StopMessage("person"))
    bench.speak(1)
    bench.run(1.0)
    assert bench.phases(1) == ["started", "finished"]


def test_a_flood_of_messages_does_not_stop_the_sound(bench: Bench):
    """However many messages wait, each poll takes some and feeds the device."""
    for _ in range(2000):
        bench.mailbox.inbox.append(wire.encode(wire.HushMessage(99)))
    bench.run(1.0)
    assert len(bench.heard) / 2 / RATE_HZ == pytest.approx(2.0, abs=2 * BUFFER_S)
    assert not bench.mailbox.inbox


def test_the_voice_needs_a_sound_system(noise_bank: Bank):
    with pytest.raises(ValueError, match="sound"):
        VoiceLoop(CONFIG, noise_bank, Platform(clock=Bench(CONFIG, None), mailbox=FakeMailbox()))


def test_a_message_wakes_whoever_polls(bench: Bench):
    """In virtual time the arrival of a message asks for a poll at once."""
    woken = []
    bench.loop.wake = lambda: woken.append(True)
    bench.mailbox.wake()
    assert woken


# ------------------------------------------------------------------------------------------ signs of life


def test_a_beat_comes_every_tenth_of_a_second(bench: Bench):
    """With the device, the play pointer that proves sound, and no fault."""
    count = len(bench.beats())
    bench.run(1.0)
    beats = bench.beats()[count:]
    assert len(beats) in (9, 10, 11)
    assert all(beat.fault == "" and beat.device == "default" for beat in beats)
    played = [beat.frames_played for beat in beats]
    assert played == sorted(set(played))
    assert played[-1] / RATE_HZ == pytest.approx(2.0, abs=0.15)


def test_deadlines_pass_in_a_frozen_device(bench: Bench):
    """What cannot be heard in time is told to have expired when it has, not when the device moves again."""
    bench.system.frozen.add("default")
    bench.speak(1, within_s=0.5)
    bench.run(0.6)
    assert bench.phases(1) == ["expired"]


def test_a_dead_guard_does_not_stop_the_voice(bench: Bench):
    """Nobody there to hear the beats: the sound goes on."""
    bench.mailbox.listening = False
    bench.run(2.0)
    assert len(bench.heard) / 2 / RATE_HZ == pytest.approx(3.0, abs=2 * BUFFER_S)


def test_evidence_is_frames_that_move_or_a_fault_that_was_reported(bench: Bench):
    """The service manager is fed by nothing else."""
    assert bench.loop.alive(bench.now_s)
    bench.run(5.0)
    assert bench.loop.alive(bench.now_s)
    assert not bench.loop.alive(bench.now_s + 1.5), "a loop that is not polled has no evidence"
    bench.system.frozen.add("default")
    bench.run(3.0)
    assert bench.loop.alive(bench.now_s), "a reported fault is the guard's business; a restart would not mend it"


# ------------------------------------------------------------------------------------------ a silent guard


def _heard_guard_silent(bench: Bench, bank: Bank) -> list[float]:
    """When "guard silent" began (seconds)."""
    clip = bank.clip("guard_silent", "")
    assert clip
    found = []
    at = bench.heard.find(clip)
    while at >= 0:
        found.append(at / 2 / RATE_HZ)
        at = bench.heard.find(clip, at + 1)
    return found


def test_a_guard_that_falls_silent_is_told_to_the_walker(bench: Bench, noise_bank: Bank):
    """0.6 s without a sign of life: the voice says so by itself, again each 5 s."""
    bench.guard_alive = False
    bench.run(12.0)
    heard = _heard_guard_silent(bench, noise_bank)
    assert len(heard) == 3
    assert 1.5 < heard[0] < 2.2
    assert heard[1] - heard[0] == pytest.approx(5.0, abs=0.1)


def test_a_guard_that_is_back_ends_it(bench: Bench, noise_bank: Bank):
    bench.guard_alive = False
    bench.run(2.0)
    bench.guard_alive = True
    bench.run(10.0)
    assert len(_heard_guard_silent(bench, noise_bank)) == 1


def test_what_is_said_of_a_silent_guard_is_said_to_its_end(bench: Bench, noise_bank: Bank):
    """A guard that is back in mid-sentence does not chop it: the walker has understood it, and it is not repeated."""
    bench.guard_alive = False
    bench.run(0.8)
    bench.guard_alive = True
    bench.run(10.0)
    assert len(_heard_guard_silent(bench, noise_bank)) == 1


def test_a_guard_that_said_it_stops_may_be_silent(bench: Bench, noise_bank: Bank):
    """A clean switch-off is not a failure."""
    bench.guard_state = "stopping"
    bench.run(0.5)
    bench.guard_alive = False
    bench.run(10.0)
    assert _heard_guard_silent(bench, noise_bank) == []


def test_a_guard_that_has_not_come_yet_is_not_missed(noise_bank: Bank):
    """At power-on the voice may be first."""
    bench = Bench(CONFIG, noise_bank)
    bench.guard_alive = False
    bench.run(10.0)
    assert _heard_guard_silent(bench, noise_bank) == []


def test_a_guard_that_never_comes_is_told(noise_bank: Bank):
    """Both may have died; the voice that is back alone says that nobody guards."""
    bench = Bench(CONFIG, noise_bank)
    bench.guard_alive = False
    bench.run(18.0)
    assert _heard_guard_silent(bench, noise_bank)


def test_a_pause_of_the_voice_itself_is_not_the_guards_silence(bench: Bench, noise_bank: Bank):
    """After this process was held up, it reads what has come before it judges."""
    bench.guard_alive = False
    bench.now_s += 2.0
    bench.send(wire.KeepAlive(bench.now_s, "guarding"))
    bench.run(0.3)
    assert _heard_guard_silent(bench, noise_bank) == []


def test_guard_silent_gives_way_to_a_warning_only(bench: Bench):
    """Its rank is between a warning and all else; the guard hears nothing of it."""
    bench.guard_alive = False
    bench.run(0.8)
    bench.speak(1, "fall_question", "", "countdown", rank=alerts.RANK_ALARM, within_s=0.1)
    bench.run(0.2)
    assert bench.phases(1) == ["expired"]
    bench.run(4.9)
    bench.speak(2, rank=alerts.RANK_WARNING)
    bench.run(0.05)
    assert bench.phases(2) == ["started"]
    assert {progress.alert for progress in bench.progress()} == {1, 2}


# --------------------------------------------------------------------------------------------- the phrases


def test_without_a_bank_it_still_warns(tmp_path: Path):
    """What ships with the program says "Stop"; the beat names the fault; other phrases keep their earcon."""
    bench = Bench(CONFIG, None, bank_dir=tmp_path)
    bench.run(0.5)
    bench.speak(1)
    bench.run(1.5)
    stop = Builtin(CONFIG.voice.volume).lookup("stop")
    assert stop is not None
    assert EARCONS["warning"] + bytes(2 * GAP_FRAMES) + stop.pcm in bench.heard
    bench.speak(2, "lean_back", "", "balance", rank=61)
    bench.run(1.0)
    assert bench.phases(2) == ["started", "unknown_phrase"]
    assert EARCONS["balance"] in bench.heard
    assert {beat.fault for beat in bench.beats()} == {"bank_missing"}


def test_without_a_bank_a_fault_is_named_in_general(tmp_path: Path):
    """Which part it is cannot be said, but that there is a fault can; the words told are those said."""
    bench = Bench(CONFIG, None, bank_dir=tmp_path)
    bench.run(0.5)
    bench.speak(1, "sensor_lost", "rear", "fault", rank=70)
    bench.run(2.0)
    assert bench.progress()[0].words == "Device fault."
    assert bench.phases(1) == ["started", "finished"]


@pytest.mark.slow
def test_a_bank_that_appears_is_taken_into_use(tmp_path: Path):
    """Within some seconds, without a restart."""
    bench = Bench(CONFIG, None, bank_dir=tmp_path / "bank")
    bench.run(1.0)
    bank = write_bank(CONFIG, tmp_path / "bank")
    bench.run(3.0)
    assert bench.beats()[-1].fault == ""
    bench.speak(1, "object", "2", "caution", rank=60)
    bench.run(1.0)
    assert sound_of(bank, "caution", "object", "2") in bench.heard


@pytest.mark.slow
def test_a_damaged_clip_is_found_before_it_is_needed(tmp_path: Path):
    """In silence every clip is read and checked; a damaged one is a named fault, and its earcon still sounds."""
    bank = write_bank(CONFIG, tmp_path)
    clip = tmp_path / bank.entry("object", "2").file
    content = bytearray(clip.read_bytes())
    content[100] ^= 1
    clip.write_bytes(content)
    bench = Bench(CONFIG, Bank.open(CONFIG, tmp_path))
    bench.run(25.0)
    assert bench.beats()[-1].fault == "bank_damaged"
    bench.speak(1, "object", "2", "caution", rank=60)
    bench.run(1.0)
    assert bench.phases(1) == ["started", "unknown_phrase"]
    assert EARCONS["caution"] in bench.heard


@pytest.mark.slow
def test_a_mended_bank_ends_the_fault(tmp_path: Path):
    bank = write_bank(CONFIG, tmp_path)
    (tmp_path / bank.entry("clear", "").file).unlink()
    bench = Bench(CONFIG, Bank.open(CONFIG, tmp_path))
    bench.run(25.0)
    assert bench.beats()[-1].fault == "bank_damaged"
    write_bank(CONFIG, tmp_path / "new")
    for file in (tmp_path / "new").iterdir():
        file.replace(tmp_path / file.name)
    bench.run(25.0)
    assert bench.beats()[-1].fault == ""


@pytest.mark.slow
def test_a_damaged_stop_is_said_by_the_one_that_ships_with_the_program(tmp_path: Path):
    bank = write_bank(CONFIG, tmp_path)
    (tmp_path / bank.entry("stop", "").file).write_bytes(b"")
    bench = Bench(CONFIG, Bank.open(CONFIG, tmp_path))
    bench.speak(1)
    bench.run(1.0)
    stop = Builtin(CONFIG.voice.volume).lookup("stop")
    assert stop is not None
    assert stop.pcm in bench.heard
    assert bench.phases(1) == ["started", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("note", "fault"),
    [
        pytest.param("espeak_missing\nespeak-ng is not installed\n", "espeak_missing", id="espeak missing"),
        pytest.param("bank_refused\nfour phrases are empty\n", "bank_refused", id="refused"),
        pytest.param("", "bank_refused", id="without a reason"),
    ],
)
def test_why_there_are_no_phrases_is_named(tmp_path: Path, note: str, fault: str):
    """Whoever failed to make them left a note; it is read within some seconds, and over when they are made."""
    bench = Bench(CONFIG, None, bank_dir=tmp_path)
    bench.run(1.0)
    assert bench.beats()[-1].fault == "bank_missing"
    (tmp_path / "refused").write_text(note)
    bench.run(2.5)
    assert bench.beats()[-1].fault == fault
    (tmp_path / "refused").unlink()
    write_bank(CONFIG, tmp_path)
    bench.run(2.5)
    assert bench.beats()[-1].fault == ""


@pytest.mark.slow
def test_a_note_beside_whole_phrases_is_no_fault(tmp_path: Path):
    """What is there can be said."""
    bank = write_bank(CONFIG, tmp_path)
    (tmp_path / "refused").write_text("bank_refused\n")
    bench = Bench(CONFIG, bank)
    bench.run(3.0)
    assert bench.beats()[-1].fault == ""


@pytest.mark.slow
def test_a_text_that_has_been_rendered_is_said(tmp_path: Path):
    """`retrowalk say`: below everything else, and the guard hears nothing of it."""
    bank = write_bank(CONFIG, tmp_path)
    pcm = noise("hello", 0.5)
    (tmp_path / "texts").mkdir()
    file = tmp_path / "texts" / text_file_name(CONFIG, "Hello")
    file.write_bytes(hashlib.sha256(pcm).digest() + pcm)
    bench = Bench(CONFIG, bank)
    bench.send(wire.SayMessage("Hello"))
    bench.run(2.0)
    assert pcm in bench.heard
    bench.send(wire.SayMessage("Hello"))
    bench.run(0.1)
    bench.speak(1, "clear", "good", rank=alerts.RANK_ADVISORY)
    bench.run(1.0)
    assert bench.heard.count(pcm) == 1
    assert {progress.alert for progress in bench.progress()} == {1}


def test_a_text_is_said_from_the_file_that_is_named(tmp_path: Path):
    """Who asks need not share the voice's bank or settings; and is told what became of it."""
    pcm = noise("hello", 0.5)
    file = tmp_path / "hello.sound"
    file.write_bytes(text_clip_content(pcm))
    bench = Bench(CONFIG, None)
    bench.send(wire.SayMessage("Hello", ASKER, str(file)))
    bench.run(2.0)
    assert pcm in bench.heard
    assert [told.phase for told in bench.mailbox.answered] == ["started", "finished"]


@pytest.mark.parametrize("kind", ["none", "damaged", "pipe", "directory"])
def test_what_is_no_sound_is_not_waited_for(tmp_path: Path, kind):
    """A file that cannot be read at once, or is not what it says, is told of and stops nothing."""
    file = tmp_path / "hello.sound"
    if kind == "damaged":
        file.write_bytes(text_clip_content(bytes(1000))[:-2])
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    bench = Bench(CONFIG, None)
    bench.send(wire.SayMessage("Hello", ASKER, str(file)))
    bench.run(0.5)
    assert not any(array("h", bench.heard))
    assert [told.phase for told in bench.mailbox.answered] == ["unknown_phrase"]


def test_a_text_that_has_not_been_rendered_is_not_said(bench: Bench):
    """Free text is looked up, never synthesised here; it is no fault."""
    bench.send(wire.SayMessage("Hello"))
    bench.run(1.0)
    assert not any(array("h", bench.heard))
    assert bench.beats()[-1].fault == ""
    assert bench.progress() == []
