"""Sound that is verified by hearing it: the real voice process, a pretend card and a pretend microphone beside it."""

from __future__ import annotations

import os
import time

import pytest
from tests.paced_card.card import PretendCard
from tests.voice.real import Guard, Start

from retrowalk.core.samples import VoicePhase
from retrowalk.voice.bank import Bank

pytestmark = pytest.mark.process


def proof(guard: Guard) -> str:
    beat = guard.beat()
    return beat.proof if beat is not None else ""


def processor_s(pid: int) -> float:
    """Processor time a process has used, seconds."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_leaves_the_card_and_comes_back_is_proved(start: Start, guard: Guard, card: PretendCard, noise_bank: Bank):
    """The self-test at the start, without anybody asking; then a warning is as quick as ever."""
    start(noise_bank.directory, MICROPHONE="microphone")
    guard.until(lambda: proof(guard) == "heard")
    assert guard.fault() == ""
    asked_s = guard.speak(1)
    guard.until(lambda: guard.phase(1, VoicePhase.FINISHED))
    started = guard.phase(1, VoicePhase.STARTED)
    assert started is not None
    assert started.mono_s - asked_s < 0.060


@pytest.mark.slow
def test_a_loudspeaker_that_is_silent_is_named_though_the_pointer_moves(
    start: Start, guard: Guard, card: PretendCard, noise_bank: Bank
):
    """Nothing but the microphone can know; once it is heard again, all is well."""
    card.set_microphone("away")
    start(noise_bank.directory, MICROPHONE="microphone")
    guard.until(lambda: guard.fault() == "unheard")
    assert proof(guard) == "unheard"
    card.set_microphone("ok")
    alert = 0

    def heard() -> bool:
        nonlocal alert
        if alert == 0 or guard.phase(alert, VoicePhase.FINISHED):
            guard.listen(1.0)
            alert += 1
            guard.speak(alert)
        return guard.fault() == ""

    guard.until(heard)
    assert proof(guard) == "heard"


@pytest.mark.slow
@pytest.mark.parametrize("state", ["unplug", "deaf", "freeze"])
def test_a_microphone_that_fails_leaves_the_voice_as_it_is(
    state: str, start: Start, guard: Guard, card: PretendCard, noise_bank: Bank
):
    """It is named, nothing is proved any more, and warnings are played as before."""
    start(noise_bank.directory, MICROPHONE="microphone")
    guard.until(lambda: proof(guard) == "heard")
    card.set_microphone(state)
    guard.until(lambda: guard.fault() == "microphone")
    assert proof(guard) == ""
    guard.speak(1)
    guard.until(lambda: guard.phase(1, VoicePhase.FINISHED))


@pytest.mark.slow
def test_listening_costs_little(start: Start, guard: Guard, card: PretendCard, noise_bank: Bank):
    """In silence, all day long: a few parts in a hundred of a core at the most.  The benchmark has the strict limit."""
    process = start(noise_bank.directory, MICROPHONE="microphone")
    guard.until(lambda: proof(guard) == "heard")
    guard.listen(5.0)
    begun_s, begun = time.monotonic(), processor_s(process.pid)
    guard.listen(8.0)
    share = (processor_s(process.pid) - begun) / (time.monotonic() - begun_s)
    print(f"idle with a microphone: {100 * share:.2f} % of a core")
    assert share < 0.06
