"""What leaves the card is the phrase that was meant: rendered phrases, played by the process of the command line."""

from __future__ import annotations

import importlib.util
import itertools
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.paced_card import card as paced
from tests.paced_card.card import PretendCard
from tests.stalls import undisturbed
from tests.voice.helpers import SIDED
from tests.voice.listening import (
    CORRELATION_MIN,
    CURATED,
    ERROR_MAX_S,
    STOP_TOLD,
    TOLD,
    Clip,
    Phrasebook,
    Played,
    Recogniser,
    Speaker,
    cache_with,
    earcon_of,
    must_fail,
    plain,
    render_some,
    wave_of,
    words_of,
)

from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.core.samples import VoicePhase
from retrowalk.voice.bank import Bank
from retrowalk.voice.texts import Texts

pytestmark = [pytest.mark.process, pytest.mark.slow]  # half a minute of sound, in real time

PHRASES: tuple[Clip, ...] = (
    *(("stop", ""), ("drop", ""), ("object", "0.5"), ("object", "2"), ("object_left", "1"), ("slow_down", "")),
    *(("clear", ""), ("countdown", "5"), ("sensor_lost", "rear"), ("fault", "voice-gone"), ("guarding", "")),
    ("fall_confirmed", ""),
)
"""Urgent ones and calm ones, with every kind of earcon and without, and pairs that differ in one word."""


@pytest.fixture(scope="module")
def book(rendered_bank: Bank) -> Phrasebook:
    return Phrasebook(rendered_bank, alerts.clips(SIDED), SIDED.voice.volume)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A short path: a socket's may not be longer than 100 bytes."""
    made = Path(tempfile.mkdtemp(prefix="rw-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def speaker(folder: Path, rendered_bank: Bank, card_library: Path) -> Iterator[Speaker]:
    card = PretendCard(folder, card_library)
    with Speaker("en", cache_with(rendered_bank.directory, folder / "cache"), card, folder) as speaker:
        yield speaker


def played_alone(speaker: Speaker, clip: Clip) -> Played:
    """A phrase with its sound.  Of a machine that stood still meanwhile it is asked for again: no time told then is the
    voice's own.
    """
    return undisturbed(lambda: speaker.play(clip, earcon_of(clip[0])), limit_s=ERROR_MAX_S / 2, times=5)


@pytest.fixture(scope="module")
def played(speaker: Speaker) -> dict[Clip, Played]:
    return {clip: played_alone(speaker, clip) for clip in PHRASES}


def test_what_leaves_the_card_is_the_phrase_that_was_asked_for(played: dict[Clip, Played], book: Phrasebook):
    """It fits the wanted phrase, no other of the whole bank fits as well, and it begins and ends when it should."""
    for clip in PHRASES:
        assert played[clip].phase is VoicePhase.FINISHED
        verdict = book.judge(played[clip], clip, earcon_of(clip[0]))
        assert verdict.correlation >= CORRELATION_MIN, verdict
        assert verdict.correlation > verdict.other_correlation, verdict
        assert verdict.onset_error_s <= ERROR_MAX_S, verdict
        assert verdict.words_error_s <= ERROR_MAX_S, verdict
        assert verdict.end_error_s <= ERROR_MAX_S, verdict


def test_what_is_not_the_phrase_does_not_pass_for_it(played: dict[Clip, Played], book: Phrasebook):
    """The measure can fail: another phrase, silence, noise as loud and long, a last third missing, 50 ms too late."""
    earcon = {clip: earcon_of(clip[0]) for clip in PHRASES}
    assert set(must_fail(book, played, earcon).values()) == {0}


def test_a_phrase_that_was_really_cut_does_not_pass(speaker: Speaker, book: Phrasebook):
    """Hushed in the middle of its words, the voice says so, and the measure sees it by itself."""
    cut = speaker.play(("object", "3"), "caution", cut_after_s=0.6)
    assert cut.phase is VoicePhase.CUT
    verdict = book.judge(cut, ("object", "3"), "caution")
    assert not verdict.passed
    assert verdict.end_error_s > ERROR_MAX_S


# ------------------------------------------------------------------------------------------------ the words


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    if importlib.util.find_spec("pocketsphinx") is None:
        if platform.machine().startswith("armv"):
            pytest.skip("pocketsphinx has no ready-made package for a 32-bit Pi")
        paced.skip_or_fail("words are told by pocketsphinx: pip install --require-hashes -r requirements/words.txt")
    return Recogniser()


@pytest.fixture(scope="module")
def told_bank(request: pytest.FixtureRequest, rendered_bank: Bank) -> Bank:
    """The curated phrases in the voice that the recogniser tells best; kept between runs."""
    folder: Path = request.config.cache.mkdir("retrowalk-bank-told")
    return render_some(CURATED, folder / f"{os.environ.get('PYTEST_XDIST_WORKER', 'one')}", *TOLD)


def test_a_stranger_tells_the_words_of_every_curated_phrase(recogniser: Recogniser, told_bank: Bank):
    """A recogniser of speech, held to some 170 sentences, hears the one that was meant."""
    texts = Texts.load("en")
    told = {clip: recogniser.hear(wave_of(told_bank.clip(*clip) or b"")) for clip in CURATED}
    assert told == {clip: plain(texts.words(*clip)) for clip in CURATED}


def test_a_stranger_tells_stop(recogniser: Recogniser, told_bank: Bank):
    """The one word that matters most, in a voice in which the recogniser tells it from "slow" and "step up"."""
    bank = render_some([("stop", "")], told_bank.directory.with_name("stop"), *STOP_TOLD)
    assert recogniser.hear(wave_of(bank.clip("stop", "") or b"")) == "stop"


def test_a_stranger_tells_words_that_left_the_card(recogniser: Recogniser, told_bank: Bank, card_library: Path):
    """The same after the way through the voice process and the card."""
    clips = CURATED[::5]
    folder = Path(tempfile.mkdtemp(prefix="rw-"))
    try:
        with Speaker(
            "en", cache_with(told_bank.directory, folder / "cache"), PretendCard(folder, card_library), folder
        ) as speaker:
            told = {clip: recogniser.hear(words_of(speaker.play(clip))) for clip in clips}
    finally:
        shutil.rmtree(folder)
    texts = Texts.load("en")
    assert told == {clip: plain(texts.words(*clip)) for clip in clips}


def test_a_stranger_is_not_told_what_to_hear(recogniser: Recogniser, told_bank: Bank):
    """The closed list does not make an answer right: another phrase, silence, noise and half a phrase are not told."""
    texts = Texts.load("en")
    chance = np.random.default_rng(1)
    for clip, other in itertools.pairwise(CURATED[::4]):
        sound = wave_of(told_bank.clip(*clip) or b"")
        noise = chance.normal(0.0, float(sound.std()), len(sound))
        for wrong in (
            wave_of(told_bank.clip(*other) or b""),
            np.zeros_like(sound),
            noise,
            sound[: len(sound) // 2],
        ):
            assert recogniser.hear(wrong) != plain(texts.words(*clip)), clip


def test_curated_phrases_are_phrases_of_the_product():
    """None of them has gone since."""
    assert set(CURATED) <= set(alerts.clips(Config()))
