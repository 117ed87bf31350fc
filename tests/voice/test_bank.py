from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from tests.voice.helpers import write_bank

from retrowalk.config import Config, Device, HcSr04, Language, Voice
from retrowalk.core import alerts
from retrowalk.errors import BankError
from retrowalk.voice import bank as voice_bank
from retrowalk.voice import builder, render, say
from retrowalk.voice.bank import Bank, Builtin, build
from retrowalk.voice.mixer import RATE_HZ, SAMPLE_BYTES
from retrowalk.voice.packing import PLAYED_BYTES, Packed
from retrowalk.voice.render import RenderJob
from retrowalk.voice.texts import Texts, espeak_voice

CONFIG = Config()
CLIPS = list(alerts.clips(CONFIG))


def with_voice(**changes: object) -> Config:
    return msgspec.structs.replace(CONFIG, voice=msgspec.structs.replace(CONFIG.voice, **changes))


# ---------------------------------------------------------------------------------------------- serving


@pytest.mark.slow
def test_a_bank_gives_every_clip_of_its_configuration(noise_bank: Bank):
    """Nothing is missing, and each clip is what its file holds."""
    assert noise_bank.missing() == ()
    for phrase, value in CLIPS:
        pcm = noise_bank.clip(phrase, value)
        assert pcm == Packed((noise_bank.directory / noise_bank.entry(phrase, value).file).read_bytes())[:]
        assert noise_bank.words(phrase, value)


def test_an_unknown_phrase_has_no_clip(noise_bank: Bank):
    assert noise_bank.clip("sing", "") is None
    assert noise_bank.clip("object", "17") is None


@pytest.mark.slow
def test_a_clip_that_was_served_needs_no_disk(tmp_path: Path):
    """Once loaded, a clip stays: not even a vanished card can take it away."""
    bank = write_bank(CONFIG, tmp_path)
    while bank.load_next():
        pass
    shutil.rmtree(tmp_path)
    assert all(bank.clip(*clip) for clip in CLIPS)


@pytest.mark.slow
def test_stop_is_in_memory_as_soon_as_the_bank_is_open(tmp_path: Path):
    """The most urgent words never wait for a read from the disk."""
    bank = write_bank(CONFIG, tmp_path)
    shutil.rmtree(tmp_path)
    assert bank.clip("stop", "")
    assert bank.clip("guard_silent", "")
    assert bank.clip("clear", "") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file.unlink(), id="gone"),
        pytest.param(lambda file: file.write_bytes(b""), id="empty"),
        pytest.param(lambda file: file.write_bytes(file.read_bytes()[:-100]), id="cut short"),
        pytest.param(lambda file: file.write_bytes(b"\x01" + file.read_bytes()[1:]), id="one byte changed"),
    ],
)
def test_a_damaged_clip_is_missing_and_never_played(tmp_path: Path, damage):
    """Wrong bytes could be a deafening noise, or another phrase."""
    bank = write_bank(CONFIG, tmp_path)
    damage(tmp_path / bank.entry("clear", "").file)
    assert bank.clip("clear", "") is None
    assert bank.missing() == (("clear", ""),)
    assert bank.clip("guarding", "")


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe", b'{"format": 99}'])
def test_a_directory_that_holds_no_bank_is_refused(tmp_path: Path, content: bytes | None):
    """The message says which file, and what to do."""
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BankError, match=r"manifest.json.*retrowalk voices build"):
        Bank.open(CONFIG, tmp_path)


@pytest.mark.slow
def test_a_bank_of_another_format_is_refused(tmp_path: Path):
    write_bank(CONFIG, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["format"] += 1
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BankError, match="format"):
        Bank.open(CONFIG, tmp_path)


@pytest.mark.slow
def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path):
    """Only files of the bank's own directory are read."""
    write_bank(CONFIG, tmp_path / "bank")
    manifest = json.loads((tmp_path / "bank" / "manifest.json").read_text())
    manifest["clips"][0]["file"] = "../elsewhere.pcm"
    (tmp_path / "bank" / "manifest.json").write_text(json.dumps(manifest))
    assert len(Bank.open(CONFIG, tmp_path / "bank").missing()) == 1


@pytest.mark.slow
def test_words_that_have_changed_are_not_said_in_the_old_way(tmp_path: Path):
    """A clip says what its manifest says; if the language now says it otherwise, the clip is missing."""
    write_bank(CONFIG, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["clips"][0]["words"] = "Halt"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert Bank.open(CONFIG, tmp_path).missing() == (("stop", ""),)


@pytest.mark.slow
def test_another_rate_or_voice_is_still_served(tmp_path: Path):
    """An older voice is better than none, until the bank has been made anew."""
    write_bank(CONFIG, tmp_path)
    assert Bank.open(with_voice(rate_wpm=120, espeak_voice="en-us"), tmp_path).missing() == ()


# ------------------------------------------------------------------------------------ shipped with the program


LANGUAGES = get_args(Language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_ships_with_the_program_is_small_and_can_be_heard(language):
    """In each language: stop, "guard silent", a general fault and why there are no words, loud, in < 400 kB."""
    folder = Path(voice_bank.__file__).parent / "builtin" / language
    assert sum(file.stat().st_size for file in folder.iterdir()) < 400_000
    builtin = Builtin(0.9, language)
    for phrase in ("stop", "drop", "guard_silent", "fault", "sensor_lost", "not_protecting"):
        clip = builtin.lookup(phrase)
        assert clip is not None
        assert clip.words
        assert max(array("h", clip.pcm)) > 10_000
    assert builtin.lookup("clear") is None


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("value", voice_bank.OWN_CAUSES)
def test_why_there_are_no_phrases_can_be_said_without_them(language, value):
    """The cause is named in words even when it is that there are no words."""
    clip = Builtin(0.9, language).lookup("fault", value)
    assert clip is not None
    assert clip.words == Texts.load(language).words("fault", value)
    assert max(array("h", clip.pcm)) > 10_000


def test_the_volume_holds_for_what_ships_with_the_program():
    loud, soft = Builtin(1.0).lookup("stop"), Builtin(0.5).lookup("stop")
    assert loud is not None
    assert soft is not None
    assert max(array("h", soft.pcm)) == pytest.approx(max(array("h", loud.pcm)) / 2, abs=1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_ships_with_the_program_says_the_words_of_the_texts(language):
    """Fails when the words change: `builder.write_builtin` renders them again."""
    builtin, texts = Builtin(0.9, language), Texts.load(language)
    wanted = {"fault": texts.device_fault, **{phrase: texts.words(phrase, "") for phrase in ("stop", "guard_silent")}}
    for phrase, words in wanted.items():
        clip = builtin.lookup(phrase)
        assert clip is not None
        assert clip.words == words


def test_another_language_is_spoken_by_a_voice_of_its_own():
    """German words are rendered by the German voice, unless a voice is set; neither passes for the other."""
    assert espeak_voice(CONFIG) == "en"
    german = msgspec.structs.replace(CONFIG, device=Device(language="de"))
    assert espeak_voice(german) == "de"
    other = msgspec.structs.replace(german, voice=Voice(espeak_voice="de+f2"))
    assert espeak_voice(other) == "de+f2"
    assert len({voice_bank.text_file_name(config, "Taxi") for config in (CONFIG, german, other)}) == 3


def test_a_bank_lives_in_the_cache_of_its_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert voice_bank.default_directory() == tmp_path / "retrowalk" / "bank"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert voice_bank.default_directory() == tmp_path / ".cache" / "retrowalk" / "bank"


# --------------------------------------------------------------------------------------------- building


class FakeRender:
    """Renders without espeak; `fail` is a text that cannot be rendered."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.jobs: dict[str, RenderJob] = {}
        self.fail = ""

    def __call__(self, job: RenderJob) -> None:
        if job.text == self.fail:
            raise BankError(f"phrase {job.text!r} could not be rendered")
        self.texts.append(job.text)
        self.jobs[job.text] = job
        Path(job.target).write_bytes(hashlib.sha256(job.text.encode()).digest() * 100)


@pytest.fixture
def renders(monkeypatch: pytest.MonkeyPatch) -> FakeRender:
    fake = FakeRender()
    monkeypatch.setattr(builder, "render", fake)
    monkeypatch.setattr(builder, "espeak_version", lambda: "1.51")
    return fake


WORDS = {Texts.load("en").words(*clip) for clip in CLIPS}


def test_build_renders_each_text_once_and_then_nothing(tmp_path: Path, renders: FakeRender):
    """The second build finds all in order."""
    assert build(CONFIG, tmp_path).missing() == ()
    assert sorted(renders.texts) == sorted(WORDS)
    renders.texts.clear()
    assert build(CONFIG, tmp_path).missing() == ()
    assert renders.texts == []


def test_build_mends_what_is_damaged_and_nothing_else(tmp_path: Path, renders: FakeRender):
    bank = build(CONFIG, tmp_path)
    (tmp_path / bank.entry("clear", "").file).unlink()
    (tmp_path / bank.entry("guarding", "").file).write_bytes(b"noise")
    renders.texts.clear()
    assert build(CONFIG, tmp_path).missing() == ()
    assert sorted(renders.texts) == ["Clear", "Guarding."]


def test_build_begins_anew_when_the_manifest_is_damaged(tmp_path: Path, renders: FakeRender):
    """Without its checksums no file can be trusted."""
    build(CONFIG, tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    renders.texts.clear()
    assert build(CONFIG, tmp_path).missing() == ()
    assert sorted(renders.texts) == sorted(WORDS)


@pytest.mark.parametrize(
    "changes", [{"rate_wpm": 150}, {"espeak_voice": "en-us"}, {"volume": 0.5}], ids=lambda change: next(iter(change))
)
def test_another_voice_rate_or_volume_is_rendered_anew(tmp_path: Path, renders: FakeRender, changes):
    """Each is part of a clip's sound; only "Stop" has a rate of its own."""
    build(CONFIG, tmp_path)
    renders.texts.clear()
    build(with_voice(**changes), tmp_path)
    expected = WORDS - {"Stop"} if "rate_wpm" in changes else WORDS
    assert sorted(renders.texts) == sorted(expected)


def test_another_espeak_is_rendered_anew(tmp_path: Path, renders: FakeRender, monkeypatch: pytest.MonkeyPatch):
    build(CONFIG, tmp_path)
    renders.texts.clear()
    monkeypatch.setattr(builder, "espeak_version", lambda: "1.52")
    build(CONFIG, tmp_path)
    assert len(renders.texts) == len(WORDS)


@pytest.mark.parametrize(
    ("espeak", "name"),
    [
        pytest.param("1.51", "bank_refused", id="what came was no good"),
        pytest.param("", "espeak_missing", id="no espeak"),
    ],
)
def test_a_refused_bank_says_why_until_there_is_one(tmp_path: Path, renders: FakeRender, monkeypatch, espeak, name):
    """The voice, which never renders, finds beside the clips what to tell the walker and the caregiver."""
    renders.fail = Texts.load("en").words("stop", "")
    monkeypatch.setattr(builder, "espeak_version", lambda: espeak)
    with pytest.raises(BankError):
        build(CONFIG, tmp_path)
    first, *rest = (tmp_path / "refused").read_text().splitlines()
    assert first == name
    assert any(rest)
    renders.fail = ""
    monkeypatch.setattr(builder, "espeak_version", lambda: "1.51")
    build(CONFIG, tmp_path)
    assert not (tmp_path / "refused").exists()


def test_an_older_bank_is_rendered_anew_and_leaves_nothing(tmp_path: Path, renders: FakeRender):
    """What another format left behind is neither taken for sound nor kept."""
    (tmp_path / "0123456789abcdef.pcm").write_bytes(bytes(1000))
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1}))
    assert build(CONFIG, tmp_path).missing() == ()
    assert not list(tmp_path.glob("*.pcm"))


def test_what_is_no_longer_needed_is_removed(tmp_path: Path, renders: FakeRender):
    """A bank does not grow with every change of the configuration; half-written files go, too."""
    build(CONFIG, tmp_path)
    (tmp_path / "abc.packed.77.tmp").write_bytes(b"left by a power cut")
    bank = build(with_voice(volume=0.5), tmp_path)
    assert {file.name for file in tmp_path.glob("*.packed*")} == {bank.entry(*clip).file for clip in CLIPS}


def test_configurations_with_other_sensors_share_a_bank(tmp_path: Path, renders: FakeRender):
    """A sensor that is taken out and comes back is not rendered again, and nobody's phrases go missing meanwhile."""
    one, other = (Config(range_sensor=(HcSr04(name=name),)) for name in ("rear", "left"))
    build(one, tmp_path)
    build(other, tmp_path)
    renders.texts.clear()
    assert Bank.open(one, tmp_path).missing() == ()
    assert build(one, tmp_path).missing() == ()
    assert build(other, tmp_path).missing() == ()
    assert renders.texts == []


def test_stop_is_fast_and_at_full_level(tmp_path: Path, renders: FakeRender):
    """200 words a minute whatever the configured rate; the rest a little lower than the warning."""
    build(with_voice(rate_wpm=140, volume=0.8), tmp_path)
    assert (renders.jobs["Stop"].rate_wpm, renders.jobs["Stop"].volume) == (200, 0.8)
    assert renders.jobs["Guarding."].rate_wpm == 140
    assert renders.jobs["Guarding."].volume < 0.8


def test_progress_counts_to_the_end(tmp_path: Path, renders: FakeRender):
    seen: list[tuple[int, int, str]] = []
    build(CONFIG, tmp_path, lambda *step: seen.append(step))
    assert [total for _, total, _ in seen] == [len(CLIPS)] * len(seen)
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][0] == len(CLIPS)


@pytest.mark.slow
def test_a_phrase_that_cannot_be_rendered_fails_loudly_and_costs_nothing_that_was_there(
    tmp_path: Path, renders: FakeRender
):
    """The error names it; the old clips go on being served."""
    build(CONFIG, tmp_path)
    renders.fail = "Guarding."
    with pytest.raises(BankError, match="Guarding"):
        build(with_voice(rate_wpm=140), tmp_path)
    assert Bank.open(with_voice(rate_wpm=140), tmp_path).missing() == ()
    renders.fail = ""
    assert build(with_voice(rate_wpm=140), tmp_path).missing() == ()


def test_without_espeak_the_build_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(builder, "espeak_version", lambda: "")
    with pytest.raises(BankError, match="apt install libespeak-ng1"):
        build(CONFIG, tmp_path)


@pytest.mark.slow
def test_free_texts_are_kept_but_not_for_ever(tmp_path: Path, renders: FakeRender):
    """The voice finds a rendered text by its words; the oldest of many go."""
    bank = write_bank(CONFIG, tmp_path)
    pcm = say.render_text(CONFIG, tmp_path, "Hello")
    assert bank.text_clip("Hello") == pcm
    assert bank.text_clip("Goodbye") is None
    say.render_text(CONFIG, tmp_path, "Hello")
    assert renders.texts == ["Hello"]
    for number in range(builder.KEPT_TEXTS + 5):
        say.render_text(CONFIG, tmp_path, f"Text {number}")
    assert len(list((tmp_path / "texts").iterdir())) == builder.KEPT_TEXTS


@pytest.mark.slow
def test_a_damaged_free_text_is_rendered_again(tmp_path: Path, renders: FakeRender):
    bank = write_bank(CONFIG, tmp_path)
    pcm = say.render_text(CONFIG, tmp_path, "Hello")
    (file,) = (tmp_path / "texts").iterdir()
    file.write_bytes(file.read_bytes()[:-2])
    assert bank.text_clip("Hello") is None
    assert say.render_text(CONFIG, tmp_path, "Hello") == pcm


def test_nothing_is_not_said(tmp_path: Path):
    with pytest.raises(BankError, match="nothing"):
        say.render_text(CONFIG, tmp_path, "  ")


# ------------------------------------------------------------------------------------ what breaks a build


BROKEN_ENGINE = """
import math, os, struct, sys, time, wave

sys.modules["__main__"].FILE_LIMIT_S = 0.1
MODE = os.environ["BREAK"]
MARKS = os.environ["MARKS"]

class Engine:
    def __init__(self):
        self.kept = {"voice": "gmw/en", "rate": 200, "voices": []}
        self.job = None
        # One file for each engine there was; the number of this one.
        while True:
            self.number = len(os.listdir(MARKS))
            try:
                os.close(os.open(f"{MARKS}/{self.number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                break
            except FileExistsError:
                pass
        with open(f"{MARKS}/{self.number}", "w") as mark:
            mark.write(str(os.getpid()))
    def setProperty(self, name, value):
        self.kept[name] = "gmw/" + value if name == "voice" else value
    def getProperty(self, name):
        return self.kept[name]
    def save_to_file(self, text, file):
        self.job = file
    def runAndWait(self):
        if self.job is None:
            return
        if MODE == "hang":
            time.sleep(600)
        if MODE == "crash":
            os.abort()
        if MODE == "nothing":
            return
        wrong = MODE == "wrong rate" or MODE == "wrong rate once" and self.number < 2
        seconds = 0.4 if wrong and self.number % 2 else 0.5
        frames = int(22050 * seconds)
        if MODE == "empty":
            frames = 0
        if MODE == "short":
            frames = 2000
        peak = 20 if MODE == "silence" else 12000
        with wave.open(self.job, "wb") as sound:
            sound.setnchannels(1); sound.setsampwidth(2); sound.setframerate(22050)
            sound.writeframes(b"".join(struct.pack("<h", int(peak * math.sin(i * 0.2))) for i in range(frames)))

def init(name):
    if MODE == "missing":
        raise RuntimeError("This means you probably do not have eSpeak")
    return Engine()
"""
"""A speech engine that fails as one likes; nobody waits long for its files."""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Has the children that render take `BROKEN_ENGINE` for pyttsx3; returns the folder with a file for each start."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "pyttsx3.py").write_text(BROKEN_ENGINE)
    marks = tmp_path / "marks"
    marks.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "engine"))
    monkeypatch.setenv("MARKS", str(marks))

    def begin(mode: str) -> Path:
        monkeypatch.setenv("BREAK", mode)
        return marks

    return begin


def alive(pid: int) -> bool:
    """Whether a process still runs; one that has ended and that nobody has asked about does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def stays(pid: int, *, within_s: float = 5.0) -> bool:
    """Whether a process that was killed is still there after a while: the kernel ends it when it gets round to it."""
    until_s = time.monotonic() + within_s
    while alive(pid):
        if time.monotonic() > until_s:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "message", "time_limit_s"),
    [
        pytest.param("silence", "rendered silence", 30.0, id="silence"),
        pytest.param("short", "rendered 2000 frames only", 30.0, id="next to nothing"),
        pytest.param("empty", "was not finished, or is empty", 30.0, id="an empty file"),
        pytest.param("nothing", "was not finished, or is empty", 30.0, id="no file"),
        pytest.param("wrong rate", "two renders differ in length", 30.0, id="another rate"),
        pytest.param("hang", "did not finish within 1 s", 1.0, id="it hangs"),
        pytest.param("crash", "espeak crashed, signal 6", 30.0, id="it crashes"),
    ],
)
def test_a_render_that_goes_wrong_is_tried_three_times_and_refused(
    tmp_path: Path, broken: Callable[[str], Path], mode, message, time_limit_s
):
    """Whatever the engine does: no file, an error that says what came, and no process of it left behind."""
    marks = broken(mode)
    target = tmp_path / "clip"
    with pytest.raises(BankError, match=message):
        render.render(RenderJob("Hello", "en", 160, 0.9, str(target), packed=True), time_limit_s=time_limit_s)
    assert not target.exists()
    started = [int(file.read_text() or "0") for file in marks.iterdir()]
    if mode != "hang":  # on a busy machine its time may be over before both have begun
        assert len(started) == 2 * render.ATTEMPTS
    assert started
    assert not [pid for pid in started if stays(pid)]


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which Linux has")
def test_a_sound_without_room_on_the_disk_says_what_to_do(broken: Callable[[str], Path]):
    """The renderer's own words reach the person: the disk is full, the voice is not at fault."""
    broken("good")
    with pytest.raises(BankError, match="No space left on device: make room"):
        render.render(RenderJob("Hello", "en", 160, 0.9, "/dev/full"))


@pytest.mark.process
@pytest.mark.slow
def test_a_wrong_render_is_mended_by_the_next(tmp_path: Path, broken: Callable[[str], Path]):
    """One render in a hundred has the wrong rate: the pair is thrown away, and the next one serves."""
    marks = broken("wrong rate once")
    target = tmp_path / "clip"
    render.render(RenderJob("Hello", "en", 160, 0.9, str(target), packed=True))
    assert len(list(marks.iterdir())) == 4
    assert target.stat().st_size == pytest.approx(0.5 * 24_000, rel=0.02)


@pytest.mark.process
@pytest.mark.slow
def test_without_espeak_whoever_asks_is_told_what_to_install(tmp_path: Path, broken: Callable[[str], Path]):
    """The list of voices and a free text, too, which nobody looks for espeak before."""
    broken("missing")
    with pytest.raises(BankError, match="apt install libespeak-ng1"):
        say.list_voices()
    with pytest.raises(BankError, match="apt install libespeak-ng1"):
        say.render_text(CONFIG, tmp_path, "Hello")


def slow_build(directory: Path) -> None:
    """For a process that is to be killed: a build that takes its time."""
    fake = FakeRender()

    def patient(job: RenderJob) -> None:
        time.sleep(0.02)
        fake(job)
        Path(job.target).write_bytes(Path(job.target).read_bytes()[: os.getpid() % 7])  # caught in mid-write, perhaps
        time.sleep(0.02)
        fake(job)

    patch = pytest.MonkeyPatch()
    patch.setattr(builder, "render", patient)
    patch.setattr(builder, "espeak_version", lambda: "1.51")
    build(CONFIG, directory)


@pytest.mark.process
@pytest.mark.parametrize("before", [False, True], ids=["from nothing", "over an older voice"])
def test_a_build_that_was_killed_is_taken_for_nothing(tmp_path: Path, renders: FakeRender, before):
    """kill -9 in mid-build: what was there is served; the next build renders anew whatever no manifest vouches for."""
    if before:
        build(with_voice(rate_wpm=120), tmp_path)
        renders.texts.clear()
    older = {file.name for file in tmp_path.glob("*.packed")}
    child = os.fork()
    if child == 0:
        try:
            slow_build(tmp_path)
        finally:
            os._exit(0)
    limit = time.monotonic() + 10.0
    while len({file.name for file in tmp_path.glob("*.packed")} - older) < 3:
        assert time.monotonic() < limit
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    if before:
        assert Bank.open(CONFIG, tmp_path).missing() == (), "the old voice goes on"
    else:
        with pytest.raises(BankError, match="voices build"):
            Bank.open(CONFIG, tmp_path)
    bank = build(CONFIG, tmp_path)
    assert bank.missing() == ()
    while bank.load_next():
        pass
    assert not bank.damaged
    new = WORDS - {"Stop"} if before else WORDS
    assert sorted(renders.texts) == sorted(new)
    assert {file.name for file in tmp_path.glob("*.packed*")} == {bank.entry(*clip).file for clip in CLIPS}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 80 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=80k", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.process
def test_a_full_disk_is_told_and_takes_nothing_away(small_disk: Path, renders: FakeRender):
    """No room for the phrases: an error, nothing half-written is served, and with room again all is made."""
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        build(CONFIG, small_disk)
    with pytest.raises(BankError):
        Bank.open(CONFIG, small_disk)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert build(CONFIG, small_disk).missing() == ()
    assert not (small_disk / "refused").exists()
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_bsize))
    with pytest.raises(OSError, match="No space left"):
        build(with_voice(rate_wpm=120), small_disk)
    assert Bank.open(with_voice(rate_wpm=120), small_disk).missing() == (), "the old voice goes on"


# ------------------------------------------------------------------------------------------ with real espeak


@pytest.mark.process
def test_the_real_bank_is_complete(rendered_bank: Bank):
    """Every phrase, rendered by espeak through pyttsx3 and verified; together less than 9 MB, all of it in memory."""
    assert rendered_bank.missing() == ()
    while rendered_bank.load_next():
        pass
    assert not rendered_bank.damaged
    clips = [rendered_bank.clip(*clip) or b"" for clip in CLIPS]
    assert min(map(len, clips)) > 0.2 * RATE_HZ * 2
    kept = {rendered_bank.entry(*clip).file: rendered_bank.entry(*clip).frames for clip in CLIPS}
    assert sum(kept.values()) * SAMPLE_BYTES // PLAYED_BYTES < 9_000_000
    assert sum((rendered_bank.directory / file).stat().st_size for file in kept) < 9_000_000


@pytest.mark.process
def test_two_renders_of_a_text_are_the_same_sound(rendered_bank: Bank, tmp_path: Path):
    """espeak is deterministic, so a bank can be made again: the same words have the same length."""
    entry = rendered_bank.entry("clear", "")
    render.render(
        RenderJob(
            entry.words, espeak_voice(CONFIG), 160, voice_bank.phrase_volume(CONFIG, "clear"), str(tmp_path / "a")
        )
    )
    assert (tmp_path / "a").stat().st_size // 2 == pytest.approx(entry.frames, rel=0.05)


@pytest.mark.process
@pytest.mark.parametrize(
    ("text", "voice", "time_limit_s", "message"),
    [
        pytest.param("Hello", "en", 0.05, "did not finish within 0.05 s", id="too slow"),
        pytest.param("Hello", "no-such-voice", 30.0, "no voice 'no-such-voice'", id="unknown voice"),
        pytest.param("Hello", "en+no-such-variant", 30.0, "no voice", id="unknown variant"),
        pytest.param(". .", "en", 30.0, "could not be rendered", id="nothing to hear"),
    ],
)
@pytest.mark.usefixtures("rendered_bank")
def test_a_render_that_fails_says_why(tmp_path: Path, text, voice, time_limit_s, message):
    """Three tries, then an error with text, voice and reason; no file is left."""
    with pytest.raises(BankError, match=message):
        render.render(RenderJob(text, voice, 160, 0.9, str(tmp_path / "a")), time_limit_s=time_limit_s)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
@pytest.mark.usefixtures("rendered_bank")
def test_espeaks_voices_are_listed():
    voices = say.list_voices()
    assert any(voice.id == "gmw/en" for voice in voices)
    assert all(voice.name for voice in voices)
