"""What was measured: kept whole, the old with the new, laid over the settings, and never quietly ignored."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec import structs

from retrowalk import cli
from retrowalk.calibration import FILE_NAME, Measured, add, current, lay_over, read, undo
from retrowalk.config import Config, Walker
from retrowalk.core.hazards import human_stop_s
from retrowalk.errors import CalibrationError


def measured(day: int = 1, stop_s: float = 1.6, **changes: object) -> Measured:
    one = Measured(
        measured_at=f"2026-05-{day:02}T09:30:00Z", stops_s=[0.9, 1.0, 1.1, 1.2, 1.3], stop_s=stop_s, profile="older"
    )
    return structs.replace(one, **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


@pytest.fixture
def retrowalk():
    return lambda *arguments: CliRunner().invoke(cli.cli, [str(argument) for argument in arguments])


def test_the_newest_counts_and_the_old_ones_are_kept(file: Path) -> None:
    """A second measurement takes the place of the first, which stays in the list."""
    add(file, measured(1, 1.6))
    add(file, measured(2, 1.9))
    assert [one.stop_s for one in read(file)] == [1.9, 1.6]
    assert current(read(file)) == measured(2, 1.9)
    assert list(file.parent.iterdir()) == [file]


def test_undo_goes_back_one_by_one_to_what_was_assumed(file: Path) -> None:
    """And loses nothing; a new measurement counts again; more cannot be undone than was measured."""
    add(file, measured(1, 1.6))
    add(file, measured(2, 1.9))
    assert undo(file) == measured(1, 1.6)
    assert undo(file) is None
    assert [(one.stop_s, one.undone) for one in read(file)] == [(1.9, True), (1.6, True)]
    assert lay_over(Config(), file) == (Config(), "", "")
    with pytest.raises(CalibrationError, match="no measurement to undo"):
        undo(file)
    add(file, measured(3, 1.4))
    assert current(read(file)) == measured(3, 1.4)


def test_what_was_measured_takes_the_place_of_an_assumed_profile(file: Path) -> None:
    """Nothing else of the settings changes, and the log says what was laid over them."""
    add(file, measured(1, 1.62))
    config, note, damage = lay_over(Config(walker=Walker(profile="younger", reach_m=0.4)), file)
    assert human_stop_s(config.walker) == 1.62
    assert config.walker.reach_m == 0.4
    assert structs.replace(config, walker=Walker()) == Config()
    assert "1.62" in note
    assert "younger" in note
    assert damage == ""


def test_a_number_that_a_person_set_stands(file: Path) -> None:
    """profile = "measured" is a decision: the measurement waits until it is taken back, and the log says so."""
    add(file, measured(1, 1.62))
    own = Config(walker=Walker(profile="measured", measured_stop_s=2.4))
    config, note, damage = lay_over(own, file)
    assert (config, damage) == (own, "")
    assert "2.4" in note
    assert "stands" in note


def test_without_a_file_the_settings_hold(file: Path) -> None:
    """Nothing was measured, which is nothing to complain of."""
    assert lay_over(Config(), file) == (Config(), "", "")


GOOD = '{"measured_at": "2026-05-01T09:30:00Z", "stops_s": [1.0, 1.2], "stop_s": 1.5, "profile": "older"}'


def whole(one: str) -> bytes:
    return f'{{"version": 1, "measurements": [{one}]}}'.encode()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty, as a power cut leaves it"),
        pytest.param(whole(GOOD)[:-30], id="cut short"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
        pytest.param(whole(GOOD).replace(b"1.5", b"15"), id="beyond the range"),
        pytest.param(whole(GOOD).replace(b"1.5", b"1.1"), id="less than the slowest stop"),
        pytest.param(whole(GOOD).replace(b"older", b"oldar"), id="unknown profile"),
        pytest.param(whole(GOOD).replace(b"stop_s", b"stop_z"), id="unknown field"),
        pytest.param(whole(GOOD).replace(b": 1,", b": 2,"), id="of a later version"),
        pytest.param(b"[" * 5000, id="brackets without end"),
        pytest.param(b" " * 300_000, id="too long"),
    ],
)
def test_a_damaged_file_is_named_ignored_and_never_written_over(file: Path, content: bytes) -> None:
    """The settings hold, the file is named as the trouble, and it is left as it is."""
    assert read_whole(file) == 1.5
    file.write_bytes(content)
    config, note, damage = lay_over(Config(), file)
    assert (config, note) == (Config(), "")
    assert str(file) in damage
    assert "not used" in damage
    with pytest.raises(CalibrationError, match=FILE_NAME):
        add(file, measured())
    assert file.read_bytes() == content


def read_whole(file: Path) -> float:
    """What the unspoiled file says."""
    file.write_bytes(whole(GOOD))
    return read(file)[0].stop_s


def test_a_file_that_cannot_be_read_is_damage_too(file: Path) -> None:
    """Such as a folder of that name."""
    file.mkdir()
    assert "cannot be read" in lay_over(Config(), file)[2]


def test_a_card_that_is_full_keeps_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one is there whole or not at all."""
    add(file, measured(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        add(file, measured(2))
    assert read(file) == [measured(1)]
    assert list(file.parent.iterdir()) == [file]


def test_the_guard_may_read_what_another_user_measured(file: Path) -> None:
    """The command runs as root or as a person, the guard as a user of its own."""
    before = os.umask(0o077)
    try:
        add(file, measured())
    finally:
        os.umask(before)
    assert file.stat().st_mode & 0o777 == 0o644


# -------------------------------------------------------------------------------------------- where it is used


SETTINGS = '[[range_sensor]]\nchip = "hc-sr04"\n'


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "my.toml"
    file.write_text(SETTINGS)
    return file


def test_a_process_starts_with_what_was_measured(file: Path, settings: Path) -> None:
    """Guard, voice and courier resolve their settings in one place, where the measurement is laid over them."""
    add(file, measured(1, 1.62))
    found = cli._resolved(settings, file.parent)
    assert human_stop_s(found.config.walker) == 1.62
    assert "1.62" in found.note
    assert (found.problem, found.damage) == ("", "")


def test_the_copy_of_the_settings_stays_a_persons(file: Path, settings: Path) -> None:
    """What was measured never gets into the last good settings."""
    add(file, measured(1, 1.62))
    cli._resolved(settings, file.parent)
    assert (file.parent / cli.LAST_GOOD).read_text() == SETTINGS


def test_damage_is_told_beside_the_settings(file: Path, settings: Path) -> None:
    """A process goes on with its settings, and has something to say."""
    file.write_text("{")
    found = cli._resolved(settings, file.parent)
    assert human_stop_s(found.config.walker) == human_stop_s(Walker())
    assert FILE_NAME in found.damage


def test_list_shows_what_counts(file: Path, retrowalk) -> None:
    """Newest first, the undone as undone, and one that counts."""
    for day in (1, 2, 3):
        add(file, measured(day, 1.5 + day / 10))
    undo(file)
    shown: Result = retrowalk("calibrate", "list", "--state-dir", file.parent)
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()[1:]
    assert [line.split()[0][:10] for line in lines] == ["2026-05-03", "2026-05-02", "2026-05-01"]
    assert [line.split()[-1] for line in lines] == ["undone", "counts", "older"]
    assert "0.90 1.00 1.10 1.20 1.30" in lines[0]


def test_list_without_a_measurement_says_how_to_get_one(file: Path, retrowalk) -> None:
    """Not an empty table."""
    shown = retrowalk("calibrate", "list", "--state-dir", file.parent)
    assert shown.exit_code == 0
    assert "retrowalk calibrate stop" in shown.output


def test_undo_says_what_counts_now_and_when(file: Path, retrowalk) -> None:
    """The guard that runs goes on as it is until it starts anew, and a person is told how."""
    add(file, measured(1, 1.6))
    add(file, measured(2, 1.9))
    shown = retrowalk("calibrate", "stop", "--undo", "--state-dir", file.parent)
    assert shown.exit_code == 0, shown.output
    assert "1.6 s" in shown.output
    assert "systemctl restart retrowalk.target" in shown.output
    assert "assumed" in retrowalk("calibrate", "stop", "--undo", "--state-dir", file.parent).output
    third = retrowalk("calibrate", "stop", "--undo", "--state-dir", file.parent)
    assert third.exit_code == 1
    assert "no measurement to undo" in third.stderr


def test_nobody_walks_for_a_measurement_that_would_not_count(tmp_path: Path, retrowalk) -> None:
    """Settings with a number of their own: told before the first step."""
    settings = tmp_path / "own.toml"
    settings.write_text('[walker]\nprofile = "measured"\nmeasured_stop_s = 2.4\n')
    shown = retrowalk(
        *("calibrate", "stop", "--config", settings, "--run-dir", tmp_path / "run", "--state-dir", tmp_path)
    )
    assert shown.exit_code == 1
    assert "2.4" in shown.stderr
    assert "older" in shown.stderr


def test_a_run_directory_without_its_state_directory_is_refused(tmp_path: Path, retrowalk) -> None:
    """What is measured through one retrowalk must not be kept with another."""
    shown = retrowalk("calibrate", "stop", "--run-dir", tmp_path)
    assert shown.exit_code == 2
    assert "--state-dir" in shown.stderr
