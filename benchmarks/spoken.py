"""Whether what leaves the sound card is the phrase that was meant, and whether its words can be told.

The voice process, as the command line starts it, plays phrases of a rendered bank on the pretend card, in real time,
each with the earcon of its alert.  What the card played is held against every phrase of the bank: the wanted one must
fit with at least 0.8 and better than any other, and onset, begin of the words and end must be within 30 ms of what the
voice reports and of the clip's length.  The same measure must refuse another phrase, silence, noise, a phrase cut by a
third, and one that is 50 ms late: how often it does not is reported.

Words are recognised by pocketsphinx, held to a closed list of every English sentence of the product and of decoys; in
the voice with which such recognisers agree best, and beside it in the product's own.  A recogniser is no listener: that
it misses a voice says little of people, that it tells a sentence from 170 others says that the words are there.

Default: one phrase of each kind, in English (about 4 minutes).  --full: every phrase of every language (about 20).

    python -m benchmarks.spoken --json
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
from benchmarks.common import Row, arguments, run
from tests.paced_card import card as paced
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
    Verdict,
    Wave,
    cache_with,
    earcon_of,
    must_fail,
    plain,
    render_some,
    wave_of,
    words_of,
)

from retrowalk.config import Device, Language
from retrowalk.core import alerts
from retrowalk.voice import bank as voice_bank
from retrowalk.voice import builder
from retrowalk.voice.bank import Bank
from retrowalk.voice.texts import Texts

QUICK = 14
"""Phrases of a quick run."""
SAMPLE_MIN = 66
"""Phrases of a run of the default size, at the least."""
OWN = ("en", 160)
"""The product's own."""


def measure(options: argparse.Namespace) -> list[Row]:
    """Every row."""
    folder = Path(tempfile.mkdtemp(prefix="rw-"))  # short: a socket's path may have 100 bytes
    try:
        library = paced.build(folder)
        rows = []
        for language in get_args(Language) if options.full else get_args(Language)[:1]:
            rows += _phrases(language, options, folder / language, library)
        return rows + _words(options, folder / "words", library)
    finally:
        shutil.rmtree(folder)


def _kept(name: str) -> Path:
    """Where a benchmark's bank is kept between runs, beside the person's own."""
    return voice_bank.default_directory().with_name(f"benchmark-{name}")


# ---------------------------------------------------------------------------------------------- the phrases


def _phrases(language: Language, options: argparse.Namespace, folder: Path, library: Path) -> list[Row]:
    config = msgspec.structs.replace(SIDED, device=Device(language=language))
    bank = voice_bank.build(config, _kept(language))
    book = Phrasebook(bank, alerts.clips(config), config.voice.volume)
    clips = _sample(list(_distinct(bank, alerts.clips(config))), options)
    earcon = {clip: earcon_of(clip[0]) for clip in clips}
    played = _play(language, bank, clips, earcon, folder, library)
    verdicts = [book.judge(played[clip], clip, earcon[clip]) for clip in clips]
    passed = must_fail(book, played, earcon)
    n = len(clips)
    wrong = [verdict for verdict in verdicts if not verdict.passed]
    own = [verdict.correlation for verdict in verdicts]

    def row(metric: str, case: str, value: float, unit: str, goal: str | None = None) -> Row:
        return Row(metric, "retrowalk", f"{case} {language}", round(value, 4), unit, n, goal=goal)

    rows = [
        row("phrases_wrong", "count", len(wrong), "1", "<= 0"),
        row("correlation", "min", min(own), "1", f">= {CORRELATION_MIN:g}"),
        row("correlation_with_another", "max", max(verdict.other_correlation for verdict in verdicts), "1"),
        row("not_best_of_bank", "count", sum(v.correlation <= v.other_correlation for v in verdicts), "1", "<= 0"),
        row("frames_not_identical", "count", sum(not verdict.identical for verdict in verdicts), "1"),
        # The card ran dry: the frames are the same, and the end comes later.  A matter of the machine's load.
        row("underruns", "count", len(paced.PretendCard(folder, library).entries("XRUN")), "1"),
    ]
    errors = {
        "onset_error_ms": [verdict.onset_error_s for verdict in verdicts],
        "words_error_ms": [verdict.words_error_s for verdict in verdicts],
        "end_error_ms": [verdict.end_error_s for verdict in verdicts],
    }
    for metric, values in errors.items():
        # A phrase that never came is infinitely late; JSON has no word for that.
        milliseconds = np.minimum(np.array(values) * 1000.0, 1e6)
        rows.append(row(metric, "p50", float(np.median(milliseconds)), "ms"))
        rows.append(row(metric, "max", float(milliseconds.max()), "ms", f"<= {ERROR_MAX_S * 1000:g}"))
    rows += [row("must_fail_passed", kind, count, "1", "<= 0") for kind, count in passed.items()]
    if not options.json:
        _tell(verdicts)
    return rows


def _distinct(bank: Bank, clips: Iterable[Clip]) -> Iterable[Clip]:
    """One clip for each words: the same words under another key are the same file."""
    seen = set()
    for clip in clips:
        words = bank.words(*clip)
        if words not in seen:
            seen.add(words)
            yield clip


def _sample(clips: list[Clip], options: argparse.Namespace) -> list[Clip]:
    """One of each phrase, others up to the size; in an order by chance."""
    chance = random.Random(options.seed)
    chance.shuffle(clips)
    if options.full:
        return clips
    if options.quick:
        return clips[:QUICK]
    first = list({phrase: (phrase, value) for phrase, value in clips}.values())
    others = [clip for clip in clips if clip not in first]
    return first + others[: max(0, SAMPLE_MIN - len(first))]


def _play(
    language: str, bank: Bank, clips: Iterable[Clip], earcon: dict[Clip, str], folder: Path, library: Path
) -> dict[Clip, Played]:
    folder.mkdir()
    cache = cache_with(bank.directory, folder / "cache")
    with Speaker(language, cache, paced.PretendCard(folder, library), folder) as speaker:
        return {clip: speaker.play(clip, earcon.get(clip, "")) for clip in clips}


def _tell(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        if not verdict.passed:
            print(f"  wrong: {verdict}")
    print(f"  the latest end: {max(verdicts, key=lambda verdict: verdict.end_error_s)}")


# ------------------------------------------------------------------------------------------------- the words


def _words(options: argparse.Namespace, folder: Path, library: Path) -> list[Row]:
    try:
        recogniser = Recogniser()
    except ImportError:
        print("no words are told: pip install --require-hashes -r requirements/words.txt", flush=True)
        return []
    folder.mkdir()
    clips = CURATED[:: len(CURATED) // QUICK] if options.quick else CURATED
    texts = Texts.load("en")
    wanted = {clip: plain(texts.words(*clip)) for clip in clips}
    rows = []
    for voice, rate_wpm in (TOLD, OWN):
        bank = render_some(CURATED, _kept(f"{voice}-{rate_wpm}"), voice, rate_wpm)
        files = {clip: wave_of(bank.clip(*clip) or b"") for clip in clips}
        judged = voice == TOLD[0]
        sounds = {"file": files}
        if judged:
            played = _play("en", bank, clips, {}, folder / "card", library)
            sounds["card"] = {clip: words_of(heard) for clip, heard in played.items()}
        for source, waves in sounds.items():
            missed = [clip for clip in clips if recogniser.hear(waves[clip]) != wanted[clip]]
            if missed and judged and not options.json:
                print(f"  not told from the {source}: {', '.join(texts.words(*clip) for clip in missed)}")
            case = f"{source} {voice} {rate_wpm} wpm"
            goal = "<= 0" if judged else None
            rows.append(Row("words_not_recognised", "retrowalk", case, len(missed), "1", len(clips), goal=goal))
        if judged:
            rows.append(_words_that_must_fail(recogniser, sounds["card"], wanted))
    return rows + [_stop(recogniser, *voice, goal) for voice, goal in ((STOP_TOLD, "<= 0"), (TOLD, None), (OWN, None))]


def _stop(recogniser: Recogniser, voice: str, rate_wpm: int, goal: str | None) -> Row:
    """Whether "Stop" is told, which is one word and so harder than a sentence."""
    bank = render_some([("stop", "")], _kept(f"stop-{voice}-{rate_wpm}"), voice, rate_wpm)
    missed = recogniser.hear(wave_of(bank.clip("stop", "") or b"")) != "stop"
    case = f"stop, file {voice} {builder.STOP_RATE_WPM} wpm"
    return Row("words_not_recognised", "retrowalk", case, int(missed), "1", 1, goal=goal)


def _words_that_must_fail(recogniser: Recogniser, sounds: dict[Clip, Wave], wanted: dict[Clip, str]) -> Row:
    """Another phrase, silence, noise, the first half of a phrase: none may be taken for the one that was wanted."""
    chance = np.random.default_rng(1)
    clips = list(sounds)
    passed = 0
    for number, clip in enumerate(clips):
        sound = sounds[clip]
        other = clips[(number + 1) % len(clips)]
        noise = chance.normal(0.0, float(sound.std()), len(sound))
        for wrong in (sounds[other], np.zeros_like(sound), noise, sound[: len(sound) // 2]):
            passed += recogniser.hear(wrong) == wanted[clip]
    return Row("words_must_fail_passed", "retrowalk", "card", passed, "1", 4 * len(clips), goal="<= 0")


if __name__ == "__main__":
    parser = arguments(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    run("spoken", parser.parse_args(), measure)
