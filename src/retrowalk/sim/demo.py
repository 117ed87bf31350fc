"""The demonstration: the scripted walk in virtual time (`run_fast`), or along real time with real processes.

`run_recorded` has the clip worn by a recorded person instead, in virtual time.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retrowalk.config import Config
from retrowalk.courier import recording
from retrowalk.errors import ConfigError, Finding, RecordingError
from retrowalk.sim import recorded, report, scenarios
from retrowalk.sim.evidence import outcome
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.hardware import parts
from retrowalk.sim.outcome import Frame, Message, Outcome, Spoken
from retrowalk.sim.realtime import RealWalk
from retrowalk.sim.scenarios import Evidence, Scenario
from retrowalk.sim.view import in_short
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank

CHUNK_S = 1.0
"""Progress is told this often (of the walk's time)."""


def run_fast(
    seed: int,
    out: Path | None,
    faults: Sequence[str] = (),
    progress: Callable[[float, float], None] | None = None,
    config: Config | None = None,
) -> Outcome:
    """Runs the demo in virtual time and leaves its files in `out` (None: in a new directory, see the outcome).

    `faults` are such as "rear:off@20-30".  `progress(done_s, total_s)` is called along the walk.  `config` is the
    device worn on it (`Scenario.worn`).  Raises `ConfigError` for a fault that this device cannot have and
    `BankError` when the phrases have not been rendered.
    """
    scenario = scenarios.demo(seed).worn(config or Config())
    with results(out) as out:
        evidence, _ = _walk(scenario, seed, out, faults, progress)
        return conclude(scenario, evidence, out)


def run_recorded(
    seed: int,
    out: Path | None,
    file: Path,
    trial_id: str,
    faults: Sequence[str] = (),
    progress: Callable[[float, float], None] | None = None,
    config: Config | None = None,
) -> Outcome:
    """Has the clip worn by a recorded person (`recorded.read`), and judges whether a fall was told as one.

    In virtual time; `seed` draws the noise of the sensors.  The outcome carries what was said and sent, too.  Leaves
    its files and raises as `run_fast`; raises `RecordingError` and `OSError` for a trial that cannot be read.
    """
    config = config or Config()
    trial = recorded.read(file, trial_id)
    scenario = recorded.scenario(trial, config.fall.countdown_s).worn(config)
    with results(out) as out:
        evidence, steps = _walk(scenario, seed, out, faults, progress)
        outcome = conclude(scenario, evidence, out)
        said = report.said(recording.read(out / report.RECORDING_FILE))
    events = [p for p in evidence.published if "/event/" in p.topic]

    def when(kind: str) -> str:
        times = [f"at {p.t_s:.1f} s" for p in events if p.payload.get("eventtype") == kind]
        return ", ".join(times) or "no"

    summary = {
        "trial": f"{trial.trial_id}, {trial.activity}",
        "played": f"from {scenario.marks['trial']:.1f} to {scenario.marks['end']:.1f} s",
        "label": "a fall" if trial.is_fall else "not a fall",
        "fall suspected": when("fall.suspected"),
        "fall confirmed": when("fall.confirmed"),
        "steps counted": steps,
        **outcome.summary,
    }
    return dataclasses.replace(
        outcome,
        summary=summary,
        heard=[Spoken(line.t_s, line.level, line.words) for line in said if line.words != "(tick)"],
        published=[Message(p.t_s, kind := p.payload["eventtype"], in_short(kind, p.payload["data"])) for p in events],
    )


def _broken(texts: Sequence[str], config: Config) -> Faults:
    """The faults that a person asked for.  Raises `ConfigError` for one that this device cannot have."""
    found = Faults([Fault.parse(text) for text in texts])
    there = parts(config)
    for fault in found.all:
        if fault.part not in there:
            rule = f"this device has no {fault.part}; it has {', '.join(there)}"
            raise ConfigError([Finding("command line", "fault", repr(str(fault)), rule)])
    return found


def _walk(
    scenario: Scenario,
    seed: int,
    out: Path,
    faults: Sequence[str],
    progress: Callable[[float, float], None] | None,
) -> tuple[Evidence, int]:
    """One walk in virtual time, with its sound and recording in `out`: what it left behind, and the steps counted."""
    config = scenario.config
    broken = _broken(faults, config)
    phrases = bank.Bank.open(config, bank.default_directory())
    walk = VirtualWalk(config, scenario, seed, phrases, wav=out / report.SOUND_FILE, faults=broken)
    try:
        t_s = 0.0
        while t_s < scenario.duration_s:
            t_s = min(t_s + CHUNK_S, scenario.duration_s)
            walk.run_until(t_s)
            if progress is not None:
                progress(t_s, scenario.duration_s)
        steps = walk.guard.companion.snapshot().steps
        evidence = walk.finish()
        walk.keep_recording(out / report.RECORDING_FILE)
    finally:
        walk.close()
    return evidence, steps


def run_realtime(
    seed: int,
    out: Path | None,
    faults: Sequence[str] = (),
    on_frame: Callable[[Frame], None] | None = None,
    config: Config | None = None,
) -> Outcome:
    """Runs the demo along real time: three real processes, a real broker; leaves its files in `out`.

    `on_frame` gets a picture of the walk ten times a second; `config` is as for `run_fast`.  Raises as
    `run_fast`, and `LinkError` when there is no broker to start, `SimulationError` when the world cannot be started.
    """
    _broken(faults, config or Config())
    bank.Bank.open(config or Config(), bank.default_directory())
    with results(out) as out:
        with RealWalk(seed, out, faults, config=config) as walk:
            walk.run_until(walk.scenario.duration_s, on_frame)
            evidence = walk.finish()
            recordings = walk.recordings()
            if not recordings:
                raise RecordingError(f"the walk was not recorded: {walk.log('processes')[-600:]}")
            shutil.copyfile(recordings[-1], out / report.RECORDING_FILE)
        return conclude(walk.scenario, evidence, out)


@contextmanager
def results(out: Path | None) -> Iterator[Path]:
    """The directory for a walk's files: `out`, made if need be, or a new one that goes when the walk is broken off."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        yield out
        return
    made = Path(tempfile.mkdtemp(prefix="retrowalk-demo-"))
    try:
        yield made
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def conclude(scenario: Scenario, evidence: Evidence, out: Path) -> Outcome:
    """Writes events and transcript from the recording in `out`, and judges the walk."""
    recorded = recording.read(out / report.RECORDING_FILE)
    report.write_outputs(recorded, out)
    summary: dict[str, Any] = {
        "seconds of the walk": round(scenario.duration_s, 1),
        "items recorded": len(recorded.entries),
        "things heard": len(evidence.heard),
        "messages at the broker": len(evidence.published),
    }
    return outcome(scenario, evidence, out, summary)
