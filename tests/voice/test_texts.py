from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from typing import get_args

import msgspec
import numpy as np
import pytest
from tests.voice.helpers import SIDED

from retrowalk.config import Battery, Broker, Config, Device, HcSr04, Language, Vl53l1x
from retrowalk.core import alerts
from retrowalk.core.alerts import Alert
from retrowalk.core.events import Level
from retrowalk.errors import BankError
from retrowalk.voice import bank as voice_bank
from retrowalk.voice.bank import Bank, phrase_volume
from retrowalk.voice.earcons import synthesise
from retrowalk.voice.mixer import GAP_FRAMES, RATE_HZ
from retrowalk.voice.texts import Texts

LANGUAGES: tuple[Language, ...] = get_args(Language)
FITTINGS = (
    Config(),
    SIDED,
    Config(battery=Battery(chip="none")),
    Config(broker=Broker(host="")),
    Config(battery=Battery(chip="none"), broker=Broker(host="")),
    Config(range_sensor=(HcSr04(), Vl53l1x(name="tof"))),
)
"""Devices with more and with less on them: together they ask for all the words there are."""
CLIPS = list(dict.fromkeys(clip for config in FITTINGS for clip in alerts.clips(config)))

each_language = pytest.mark.parametrize("language", LANGUAGES)


def _clips_of(row: Alert) -> Iterator[tuple[str, str]]:
    return (
        (phrase, value)
        for phrase, value in IN_BANK
        if phrase.removesuffix("_left").removesuffix("_right") == row.phrase
    )


@pytest.mark.parametrize(
    ("language", "phrase", "value"),
    [pytest.param(language, *clip, id="-".join((language, *clip))) for language in LANGUAGES for clip in CLIPS],
)
def test_every_phrase_has_words(language, phrase, value):
    """Whatever can be asked for can be said, in words, with no blank left open."""
    words = Texts.load(language).words(phrase, value)
    assert words
    assert words[0].isupper()
    assert not set("{}_") & set(words)
    assert not any(letter.isdigit() for letter in words), "espeak would choose how to read a digit"


@each_language
def test_every_blank_names_a_table_that_has_all_its_values(language):
    """A blank is filled from a table; with the default configuration nothing is said as it stands in the code."""
    texts = Texts.load(language)
    for config in FITTINGS:
        for phrase, values in alerts.phrase_values(config).items():
            assert texts.phrases[phrase].count("{value}") == bool(values), phrase
            assert (phrase in texts.blanks) == bool(values), phrase
            for value in values:
                assert texts.tables[texts.blanks[phrase]].get(value, "").strip(), (phrase, value)


@each_language
def test_there_are_no_words_that_nothing_asks_for(language):
    """A phrase or a value that was removed from the table of alerts does not linger in the texts."""
    texts = Texts.load(language)
    assert set(texts.phrases) == set(alerts.phrase_values(SIDED))
    assert set(texts.blanks.values()) == set(texts.tables)
    asked: dict[str, set[str]] = {table: set() for table in texts.tables}
    for phrase, value in CLIPS:
        if value:
            asked[texts.blanks[phrase]].add(value)
    for table, values in asked.items():
        assert set(texts.tables[table]) == values, table


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_a_translation_has_words_of_its_own(language):
    """No phrase was left in English, and every table has the values of the English one, in their order."""
    english, texts = Texts.load("en"), Texts.load(language)
    assert list(texts.phrases) == list(english.phrases)
    assert texts.blanks == english.blanks
    assert {name: list(table) for name, table in texts.tables.items()} == {
        name: list(table) for name, table in english.tables.items()
    }
    kept = [clip for clip in CLIPS if texts.words(*clip) == english.words(*clip)]
    assert kept == []


@each_language
def test_what_means_the_same_to_a_walker_sounds_the_same_and_nothing_else_does(language):
    """Two causes, two distances or two states are never said in the same words, unless they ask the same of them."""
    texts = Texts.load(language)
    meant_alike = {"voice_cause", "fault_over", "sos_raised", "unheard", "drop_speed"}
    said: dict[str, tuple[str, str]] = {}
    for clip in CLIPS:
        if clip[0] not in meant_alike:
            words = texts.words(*clip)
            assert words not in said, (clip, said.get(words))
            said[words] = clip


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(Config(), id="default"),
        pytest.param(Config(range_sensor=SIDED.range_sensor), id="not asked for"),
        pytest.param(Config(voice=SIDED.voice), id="no bearing"),
    ],
)
def test_sides_have_words_only_where_they_are_said(config):
    """A bank holds left and right only if they are asked for and a sensor has a bearing."""
    assert not [phrase for phrase, _ in alerts.clips(config) if "left" in phrase]


def test_every_sided_row_has_words_for_both_sides():
    """What may be said with its side has the phrase for the left and for the right, with the same values."""
    values = alerts.phrase_values(SIDED)
    for row in alerts.ALERTS.values():
        if row.sided:
            assert values[f"{row.phrase}_left"] == values[f"{row.phrase}_right"] == values[row.phrase]


def test_a_sensor_with_a_name_of_its_own_is_said_by_that_name():
    """The maker's name of a sensor is said as it is, hyphens as spaces, in every phrase that names sensors."""
    config = Config(range_sensor=(HcSr04(name="left-heel"),))
    texts = Texts.load("en")
    assert texts.words("sensor_lost", "left-heel") == "Careful, left heel lost."
    assert texts.words("sensor_back", "left-heel") == "Left heel works again."
    assert ("sensor_back", "left-heel") in set(alerts.clips(config))


def test_a_language_without_words_is_refused_by_name():
    """Which languages there are is said where one is missing."""
    with pytest.raises(BankError, match=r"'xx'.*en"):
        Texts.load("xx")


def test_a_language_is_a_name_and_not_a_path():
    """A configuration cannot make the voice read another file."""
    with pytest.raises(BankError):
        Texts.load("../texts/en")


def test_a_phrase_without_words_is_refused():
    with pytest.raises(BankError, match="'sing'"):
        Texts.load("en").words("sing", "")


SPOKEN = [row for row in alerts.ALERTS.values() if row.phrase]
IN_BANK = list(alerts.clips(SIDED))


@pytest.fixture(scope="session", params=["en", *(pytest.param(name, marks=pytest.mark.slow) for name in LANGUAGES[1:])])
def spoken_bank(request: pytest.FixtureRequest, rendered_bank: Bank) -> Bank:
    """The real bank of each language, kept between runs as `rendered_bank` is."""
    if request.param == "en":
        return rendered_bank
    config = msgspec.structs.replace(SIDED, device=Device(language=request.param))
    return voice_bank.build(config, request.config.cache.mkdir(f"retrowalk-bank-{request.param}"))


@pytest.mark.process
@pytest.mark.parametrize("row", [pytest.param(row, id=f"{row.key}-{row.level.name.lower()}") for row in SPOKEN])
def test_every_phrase_can_be_spoken_in_time(spoken_bank: Bank, row):
    """A collision's warning takes at most 0.7 s, a drop's 1.4 s, a caution 2 s; a repeated one ends before that."""
    earcon_s = len(synthesise(0.9).get(row.earcon, b"")) / 2 / RATE_HZ
    for phrase, value in _clips_of(row):
        pcm = spoken_bank.clip(phrase, value)
        assert pcm is not None
        words_s = len(pcm) / 2 / RATE_HZ
        what = f"{spoken_bank.words(phrase, value)!r} takes {words_s:.2f} s"
        if row.key == "drop":
            assert words_s <= 1.4, what  # "Stop" is its first word; what follows says why nothing is behind
        elif row.level is Level.WARNING and row.rank >= alerts.RANK_BALANCE:
            assert words_s <= 0.7, what
        if row.level is Level.CAUTION:
            assert words_s <= 2.0, what
        if row.repeat_s:
            assert earcon_s + GAP_FRAMES / RATE_HZ + words_s < row.repeat_s, what


@pytest.mark.process
def test_the_last_seconds_of_a_countdown_can_be_said_one_by_one(spoken_bank: Bank):
    """Earcon and number of 5, 4, 3, 2, 1 together take less than the second they count."""
    earcon_s = len(synthesise(0.9)["countdown"]) / 2 / RATE_HZ
    for value in ("5", "4", "3", "2", "1"):
        pcm = spoken_bank.clip("countdown", value)
        assert pcm is not None
        assert earcon_s + GAP_FRAMES / RATE_HZ + len(pcm) / 2 / RATE_HZ < 0.95


@pytest.mark.process
def test_phrases_are_equally_loud_and_never_clipped(spoken_bank: Bank):
    """Words differ by less than 3 dB from each other at their level, and none is above it: panning has its room."""
    levels = []
    for phrase, value in IN_BANK:
        samples = np.frombuffer(spoken_bank.clip(phrase, value) or b"", "<i2").astype(float) / 32768
        assert np.abs(samples).max() <= phrase_volume(Config(), phrase), (phrase, value)
        blocks = samples[: len(samples) // 960 * 960].reshape(-1, 960)
        rms = np.sqrt((blocks**2).mean(axis=1))
        level = np.sqrt((rms[rms > 0.25 * rms.max()] ** 2).mean())
        levels.append(20 * np.log10(level / phrase_volume(Config(), phrase)))
    assert max(levels) - min(levels) < 3.0


def test_every_language_of_the_configuration_has_its_words():
    """What may be set can be spoken, and what can be spoken may be set."""
    files = {entry.name for entry in resources.files("retrowalk.voice").joinpath("texts").iterdir()}
    assert files == {f"{language}.toml" for language in get_args(Language)}
