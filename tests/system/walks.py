"""Real walks for the tests of processes, and what may be asked of a finished one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.courier import recording
from retrowalk.courier.outbox import event_id
from retrowalk.courier.recording import Recording
from retrowalk.sim.realtime import RealWalk, Told
from retrowalk.sim.scenarios import Evidence, Heard, Published, Scenario

OWNER = "home/rw-0001"
"""Site and device of the default configuration."""


@dataclass(frozen=True)
class Finished:
    """A walk that is over.  Times are seconds of the walk."""

    scenario: Scenario
    evidence: Evidence
    told: list[Told]
    """What became of the processes."""
    recordings: list[Recording]
    """One for each session of the guard, in order."""
    origin_mono_s: float

    def heard(self, *starts: str, from_s: float = 0.0, until_s: float = 1e9) -> list[Heard]:
        """Clips whose key begins so, and that begin in this time."""
        return [h for h in self.evidence.heard if h.key.startswith(starts) and from_s <= h.start_s <= until_s]

    def felt(self, from_s: float, until_s: float) -> list[str]:
        """What the walker felt begin in that time."""
        return [what for t_s, what in self.evidence.felt if from_s <= t_s <= until_s]

    def published(self, kind: str = "") -> list[Published]:
        """Events that the stranger's client received, duplicates included."""
        events = [p for p in self.evidence.published if "/event/" in p.topic]
        return [p for p in events if not kind or p.payload["eventtype"] == kind]

    def happened(self, kind: str, **data: str) -> list[float]:
        """When events of a type, with these data, happened: each once, as the stranger can tell."""
        found = {p.payload["id"]: p.payload for p in self.published(kind)}.values()
        return [
            payload["monoms"] / 1000 - self.origin_mono_s
            for payload in found
            if all(payload["data"][name] == value for name, value in data.items())
        ]

    def retained(self, leaf: str) -> list[Published]:
        """Messages of a retained topic of the device."""
        return [p for p in self.evidence.published if p.topic.endswith(f"/{leaf}")]

    def started(self, name: str) -> list[float]:
        """When a process was started."""
        return [told.t_s for told in self.told if told.name == name and told.what == "started"]

    def said(self) -> Iterator[tuple[str, ev.Event]]:
        """Every event of the recordings, with its session."""
        for recorded in self.recordings:
            for entry in recorded.entries:
                if isinstance(entry.value, ev.Event):
                    yield recorded.session.session, entry.value

    def missing(self) -> list[str]:
        """Events that did not reach the stranger's client; empty when all did.

        In two ways: what the recordings hold, and the numbers that the events of a session must have.
        """
        received = {p.payload["id"]: p.payload for p in self.published()}
        arrived = Counter((p["session"], p["eventtype"], p["monoms"]) for p in received.values())
        said = Counter(
            (session, event.type, round(1000 * round(self.origin_mono_s + event.t_s, 3)))
            for session, event in self.said()
        )
        lost = [f"{kind} of {session}" for session, kind, _ in (said - arrived).elements()]
        for session in {recorded.session.session for recorded in self.recordings}:
            count = sum(payload["session"] == session for payload in received.values())
            numbers = range(1, count + 1)
            lost += [f"number {n} of {session}" for n in numbers if event_id(OWNER, session, n) not in received]
        return lost


def walk(
    directory: Path,
    seed: int,
    happens: Callable[[RealWalk], None] | None = None,
    *,
    scenario: str = "fall",
    config: Config | None = None,
    beyond_s: float = 0.0,
    until_s: float | None = None,
) -> Finished:
    """Walks a scenario to its end; `happens` may let it go on up to there and do something to it.

    `config`: of the device, if not the default one.  `beyond_s`: so long after its end, for what is said only when
    nothing more urgent is left to say.  `until_s`: where it ends, if not with the scenario.
    """
    with RealWalk(seed, directory, scenario=scenario, config=config, until_s=until_s) as real:
        if happens is not None:
            happens(real)
        real.run_until((real.scenario.duration_s if until_s is None else until_s) + beyond_s)
        evidence = real.finish()
        sessions: dict[str, list[Path]] = {}
        for path in real.recordings():
            sessions.setdefault(path.stem.split("_")[1], []).append(path)
        recordings = [recording.read(parts) for parts in sessions.values()]
        return Finished(real.scenario, evidence, real.events, recordings, real.origin_mono_s)
