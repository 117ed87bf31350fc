"""When the service manager is told that all is well with the guard, and what becomes of a driver that hangs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from retrowalk.guard.evidence import FILE, FIRST_LATE_S, FORGIVEN_S, HANGS, STEP_LATE_S, Evidence, HangError, Look

LOOK_S = 0.5


@dataclass
class Thread:
    """A thread of steps as it is seen from outside; by default one that has come back and is punctual."""

    steps: tuple[str, ...]
    due_s: float = 0.0
    polls: str = ""
    answered: bool = True
    lives: bool = True
    punctual: bool = True

    def is_alive(self) -> bool:
        return self.lives


def looks(evidence: Evidence, threads: list[Thread], from_s: float, until_s: float) -> Look:
    """Looks every half second; threads that are punctual are due just now."""
    now = from_s
    while True:
        for thread in threads:
            if thread.punctual:
                thread.due_s = now
        look = evidence.look(now)
        now += LOOK_S
        if now > until_s:
            return look


def hung(*steps: str, at_s: float = 10.0, answered: bool = True) -> Thread:
    """Its first step has not come back since `at_s`."""
    return Thread(steps, due_s=at_s, polls=steps[0], answered=answered, punctual=False)


def begun(run_dir, *threads: Thread, now: float = 0.0, vital: tuple[str, ...] = ("touch",)) -> Evidence:
    return Evidence(threads, run_dir, vital, now)


def test_all_is_well_while_every_driver_is_asked(tmp_path):
    """Threads that poll when they wanted to are evidence."""
    threads = [Thread(("rear",)), Thread(("lidar", "imu"))]
    assert looks(begun(tmp_path, *threads), threads, 0.0, 60.0) == Look(well=True, ready=True)


def test_not_ready_before_every_driver_has_answered(tmp_path):
    """One step that has not come back from its first call keeps the guard from being called ready."""
    threads = [Thread(("rear",)), hung("button", at_s=0.0, answered=False)]
    evidence = begun(tmp_path, *threads)
    assert looks(evidence, threads, 0.0, FIRST_LATE_S - 1.0) == Look(well=False, ready=False)
    threads[1] = Thread(("button",))
    evidence._threads = threads
    assert looks(evidence, threads, FIRST_LATE_S, FIRST_LATE_S) == Look(well=True, ready=True)


def test_libraries_may_take_their_time_at_the_start(tmp_path):
    """A first call of 14 s (a slow card, a slow processor) ends nothing."""
    threads = [hung("rear", at_s=0.0, answered=False)]
    looks(begun(tmp_path, *threads), threads, 0.0, FIRST_LATE_S - 1.0)
    assert not (tmp_path / FILE).exists()


def test_a_driver_that_hangs_ends_the_process_once(tmp_path):
    """The first time the guard ends, within half a second of the limit, and notes for whom."""
    threads = [Thread(("rear",)), hung("lidar", "imu")]
    evidence = begun(tmp_path, *threads)
    looks(evidence, threads, 10.0, 10.0 + STEP_LATE_S - LOOK_S)
    with pytest.raises(HangError, match="lidar"):
        looks(evidence, threads, 10.0 + STEP_LATE_S, 10.5 + STEP_LATE_S)
    assert (tmp_path / FILE).read_text() == "lidar"


def again(tmp_path, *threads: Thread, **options) -> Evidence:
    """The guard after one that ended because of the lidar."""
    (tmp_path / FILE).write_text("lidar")
    return begun(tmp_path, *threads, **options)


def test_a_driver_that_hangs_again_is_left_behind(tmp_path):
    """It is named, with those that wait behind it; the guard lives on and all is well with it."""
    threads = [Thread(("rear",)), hung("lidar", "imu")]
    look = looks(again(tmp_path, *threads), threads, 10.0, 40.0)
    assert look.well
    assert [(name, error.fault) for name, error in look.failed] == [("lidar", HANGS), ("imu", HANGS)]


def test_a_guard_whose_driver_hangs_from_the_start_becomes_ready(tmp_path):
    """Else the service manager would end it again and again, with all that still protects."""
    threads = [Thread(("rear",)), hung("lidar", at_s=0.0, answered=False)]
    look = looks(again(tmp_path, *threads), threads, 0.0, FIRST_LATE_S + 2.0)
    assert (look.well, look.ready) == (True, True)


def test_another_driver_may_hang_once_as_well(tmp_path):
    """Who is blamed is the one that hung, not everybody."""
    threads = [hung("button")]
    with pytest.raises(HangError, match="button"):
        looks(again(tmp_path, *threads), threads, 10.0, 20.0)
    assert (tmp_path / FILE).read_text().split() == ["button", "lidar"]


def test_buzzer_and_motor_are_never_left_behind(tmp_path):
    """Without them the guard ends each time."""
    threads = [hung("touch")]
    (tmp_path / FILE).write_text("touch")
    with pytest.raises(HangError, match="touch"):
        looks(begun(tmp_path, *threads), threads, 10.0, 20.0)


def test_a_driver_that_comes_back_is_named_no_longer(tmp_path):
    """What hung for a while is well when it is polled again."""
    threads = [hung("lidar")]
    evidence = again(tmp_path, *threads)
    assert looks(evidence, threads, 10.0, 20.0).failed
    threads[0].punctual, threads[0].polls = True, ""
    assert looks(evidence, threads, 20.5, 20.5) == Look(well=True, ready=True)


def test_a_minute_without_trouble_is_forgiveness(tmp_path):
    """After it, a driver that hangs may be cured by a new start again."""
    threads = [Thread(("lidar",))]
    looks(again(tmp_path, *threads), threads, 0.0, FORGIVEN_S + 1.0)
    assert not (tmp_path / FILE).exists()


def test_a_process_that_stood_still_blames_nobody(tmp_path):
    """At the first look after a pause of the whole process every driver is late, and none of them hangs."""
    threads = [Thread(("lidar",), polls="lidar")]
    evidence = begun(tmp_path, *threads)
    looks(evidence, threads, 0.0, 10.0)
    assert evidence.look(15.0) == Look(well=False, ready=True)
    assert looks(evidence, threads, 15.5, 15.5).well


def test_a_thread_that_does_not_run_is_no_sign_of_life(tmp_path):
    """Late without being in a driver: the processor is not given to it, and the service manager must act."""
    threads = [Thread(("lidar",), due_s=10.0, punctual=False)]
    assert looks(begun(tmp_path, *threads), threads, 10.0, 30.0) == Look(well=False, ready=True)


def test_a_thread_that_ended_ends_the_process(tmp_path):
    """Whatever it read is not read any more."""
    threads = [Thread(("lidar",), lives=False)]
    with pytest.raises(HangError, match="died"):
        looks(begun(tmp_path, *threads), threads, 0.0, 1.0)


@pytest.mark.parametrize("content", [pytest.param(b"\xff\xfe", id="no text"), pytest.param(b"", id="empty")])
def test_a_spoiled_note_is_no_note(tmp_path, content):
    """The guard starts whatever is in the file."""
    (tmp_path / FILE).write_bytes(content)
    threads = [Thread(("lidar",))]
    assert looks(begun(tmp_path, *threads), threads, 0.0, 1.0).well
