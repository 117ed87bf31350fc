"""Tickets: who may answer, for how long, and how often it counts."""

from __future__ import annotations

import json

import pytest

from retrowalk.hub.answers import COMING, DEEDS, FILE, OVER, SEEN, TEST, VALID_S, Book, Ticket, name, read, token, words

KEY = bytes(range(32))
TICKET = Ticket(7, "Änne", "home/rw-0001", "fall", 100.0)


def test_a_token_carries_its_ticket():
    """What was signed is what is read, umlauts included; it can stand in an address."""
    text = token(KEY, TICKET)
    assert read(KEY, text) == TICKET
    assert all(c.isascii() and (c.isalnum() or c in "-_.") for c in text)


@pytest.mark.parametrize("place", ["first", "middle", "last", "cut", "longer", "other key", "no mac", "spelling"])
def test_a_token_that_was_touched_counts_for_nothing(place):
    """One letter more, less or other: not signed."""
    text = token(KEY, TICKET)
    other = {
        "first": "X" + text[1:],
        "middle": text[:20] + ("A" if text[20] != "A" else "B") + text[21:],
        "last": text[:-2] + ("A" if text[-2] != "A" else "B") + text[-1],
        "cut": text[:-1],
        "longer": text + "A",
        "other key": token(bytes(32), TICKET),
        "no mac": text.partition(".")[0],
        "spelling": text + "!!!!",
    }[place]
    assert read(KEY, other) is None


@pytest.mark.parametrize("text", ["", ".", "a.b", "ü.ü", "A" * 5000, "\x00", "....", "W10.W10"])
def test_nonsense_is_no_token(text):
    """Whatever stands on the topic or in the path, reading it never raises."""
    assert read(KEY, text) is None


def test_each_answer_counts_once():
    """A replayed one changes nothing, another answer on the same ticket does."""
    book, text = Book(KEY, "topic-topic-topic"), token(KEY, TICKET)
    assert book.take(text, SEEN, 101.0) == TICKET
    assert book.take(text, SEEN, 102.0) == "has counted already"
    assert book.take(text, OVER, 103.0) == TICKET


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [
        pytest.param(100.0 + VALID_S, TICKET, id="within a day"),
        pytest.param(101.0 + VALID_S, "has expired", id="a day later"),
        pytest.param(70.0, TICKET, id="a little ahead"),
        pytest.param(0.0, "has expired", id="of an earlier life of the hub"),
    ],
)
def test_a_ticket_counts_for_a_day_of_hub_time(now_s, expected):
    """Hub time, which no clock that is set moves."""
    assert Book(KEY, "topic-topic-topic").take(token(KEY, TICKET), SEEN, now_s) == expected


def test_a_test_does_nothing_as_often_as_it_comes():
    """Whoever tries the buttons of a test may press them twice."""
    book, text = Book(KEY, "topic-topic-topic"), token(KEY, TICKET._replace(kind=TEST))
    assert book.take(text, SEEN, 101.0) == book.take(text, SEEN, 102.0)


def test_key_topic_and_what_counted_survive_a_restart(tmp_path):
    """Buttons sent before a restart work after it, and what was safe does not count again; what was not, does."""
    book = Book.open(tmp_path)
    texts = [token(book.key, TICKET._replace(alert=number)) for number in (1, 2)]
    for text in texts:
        book.take(text, COMING, 101.0)
    book.settle(1)
    after = Book.open(tmp_path)
    assert (after.key, after.topic) == (book.key, book.topic)
    assert after.take(texts[0], COMING, 102.0) == "has counted already"
    assert after.take(texts[1], COMING, 102.0) == TICKET._replace(alert=2)


def test_the_file_is_its_owners_alone(tmp_path):
    """The key is nobody else's business, also when somebody has opened the file to all."""
    Book.open(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / FILE).chmod(0o644)
    Book.open(tmp_path)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"key": "00", "topic": "t" * 20}).encode(),
        json.dumps({"key": "00" * 32, "topic": "t" * 20, "used": [1]}).encode(),
        json.dumps({"key": "x" * 64, "topic": "t" * 20}).encode(),
    ],
    ids=["empty", "no key", "list", "null", "not text", "deep", "short key", "strange marks", "not a key"],
)
def test_a_damaged_file_is_put_aside(tmp_path, content):
    """The hub starts all the same, with buttons of its own, and the old file can be looked at."""
    (tmp_path / FILE).write_bytes(content)
    book = Book.open(tmp_path)
    assert len(book.key) == 32
    assert (tmp_path / f"{FILE}.damaged").read_bytes() == content
    assert Book.open(tmp_path).key == book.key


def test_a_borrowed_book_is_never_written(tmp_path):
    """A test that is sent by another user leaves no file that the hub could not read."""
    assert Book.borrowed(tmp_path).topic
    assert not list(tmp_path.iterdir())
    own = Book.open(tmp_path)
    assert Book.borrowed(tmp_path).key == own.key


def test_a_foreign_name_is_one_printable_line():
    """What a webhook says as its name is spoken and shown."""
    assert name("  Anna\n\x1b[31m  B ") == "Anna [31m B"
    assert len(name("x" * 1000)) == 40


def test_every_language_has_the_same_words():
    """A blank that one language fills and the other does not would fail at the worst moment."""
    english, german = words("en"), words("de")
    assert {part: set(table) for part, table in english.items()} == {part: set(table) for part, table in german.items()}
    assert set(english["button"]) == set(DEEDS)
    for part, table in english.items():
        for key, text in table.items():
            blanks = sorted(bit.partition("}")[0] for bit in text.split("{")[1:])
            assert blanks == sorted(bit.partition("}")[0] for bit in german[part][key].split("{")[1:]), key
