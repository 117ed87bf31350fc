"""What the microphone tells the voice: how loud the surroundings are, and whether its own sound is really heard.  Pure.

Every message is looked for in what comes back (`proof`).  From that: `proof` for the guard, the time from handing
over to hearing, whether the beginning is missing, and how loud a warning arrives, from which the gains follow
(`loudness`).  Everything is done in small pieces: a poll stays far below the 10 ms between two of them.

A microphone that is silent, stands still or is gone proves nothing either way.  It is a fault of its own, and the
gains go back to the configured volume.
"""

from __future__ import annotations

import logging
import math
from array import array
from dataclasses import dataclass
from enum import Enum

from retrowalk.errors import SoundError
from retrowalk.platform import Microphone, MicrophoneSystem
from retrowalk.voice import loudness, mixer, proof
from retrowalk.voice.proof import RATE_HZ, Search, Template

log = logging.getLogger("retrowalk.voice")

READ_S = 0.04
"""The microphone is read so often, and at every poll while a sound is looked for."""
REOPEN_S = 5.0
SILENT_AFTER_S = 1.0
"""A microphone that gives nothing for so long has stopped."""
FLAT_AFTER_S = 3.0
"""One that gives the same number for so long hears nothing: a real one has noise of its own."""

KEEP_S = 1.0
"""What was heard last is kept for so long, for the control before a sound."""
CONTROL_S = 0.75
"""A control begins so long before a sound."""
EARLY_S = 0.02
"""Clocks may disagree by so much."""
LATEST_S = 0.65
"""A sound that is not heard within this after it was handed over is not heard."""
HEAD_S = 0.4
"""So much of a message is looked for."""
TAIL_S = (0.5, 0.9)
"""If that is not found, so much of the rest: a headset that wakes up swallows half a second."""
ENDED_S = 0.15
"""A message is over when there has been silence for so long; pauses within one are shorter."""
ECHO_S = 0.4
"""Own sound may be in the room for so long after it was handed over and arrived."""
SURE = 0.45
"""A score with which the search may end early, or without a control."""
LAGS_PER_POLL = 240
SETTLED_LAGS = round(0.12 * RATE_HZ)
"""A find is settled when no better one followed for so long: the second pulse of a pair is like the first."""
GIVE_UP_S = 3.0
"""An output or a microphone that has stopped is not waited for any longer."""

SOFT_POWER_DB = -21.0
"""A message this far below a warning at the configured volume need not be heard."""
DROWNED_DB = 3.0
"""One that should arrive with less than this over the surroundings need not be heard, either."""
COUPLINGS = 5
"""Messages of which the middle one tells how loud we arrive."""

IN_A_ROW = 2
"""One message may be lost in a noise; a fault is told from the second in a row."""
CLIPPED_S = 0.020
"""A sound that lacks more of its beginning lacks the consonant that tells two words apart."""
SLOW_S = 0.100
"""From handing over to hearing, beyond what the device's buffer holds."""
SLOW_OVER_S = 0.080

PROBE_AFTER_S = 1.0
PROBES = 2
PROBE_AGAIN_S = 4.0
"""Between two probes: long enough for a headset to fall asleep that would."""
PROBE_UNHEARD_S = 30.0
"""While nothing is heard, a probe is played so often, so that the fault ends when its cause has."""


def probe(level: float) -> bytes:
    """The sound of the self-test: a rising sweep of a quarter of a second, like itself at one delay only.

    48 kHz, one channel, signed 16 bit.  `level` is its peak, 0 to 1.
    """
    seconds, from_hz, to_hz = 0.25, 600.0, 1800.0
    count = round(seconds * mixer.RATE_HZ)
    ramp = round(0.004 * mixer.RATE_HZ)
    samples = array("h", bytes(2 * count))
    for i in range(count):
        t = i / mixer.RATE_HZ
        phase = 2.0 * math.pi * (from_hz + (to_hz - from_hz) * t / (2.0 * seconds)) * t
        edge = min(1.0, (i + 1) / ramp, (count - i) / ramp)
        samples[i] = round(32767.0 * level * edge * math.sin(phase + 0.3))
    return samples.tobytes()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one message."""

    heard: bool | None
    """None: nobody can tell; it was short or soft, the surroundings drowned it, or a hum sounds like it."""
    score: float
    delay_s: float | None = None
    """From handing over to hearing; None where the sound does not tell it exactly."""
    missing_s: float | None = None
    """How much of its beginning was not heard; None where the sound does not tell."""


class _State(Enum):
    PLAYING = "playing"
    CONTROL = "control"
    SEARCH = "search"
    TAIL = "tail"


class _Watch:
    """One message that is looked for."""

    def __init__(self, first_s: float, quiet_from_s: float) -> None:
        self.first_s = first_s
        """Session second at which its first frame that is not zero was handed over."""
        self.quiet_from_s = quiet_from_s
        """What was heard from here to `first_s` is without sound of our own."""
        self.sums: array[int] = array("i")
        """It, at `RATE_HZ`."""
        self.rest: array[int] = array("h")
        self.ended = False
        self.state = _State.PLAYING
        self.template: Template | None = None
        self.search: Search | None = None
        self.control: float | None = None
        self.head: Template | None = None
        """The template of its beginning, when its rest is looked for."""

    def add(self, pcm: bytes) -> None:
        """Takes frames (two channels, 48 kHz)."""
        factor = mixer.RATE_HZ // RATE_HZ * 2
        self.rest.frombytes(pcm)
        whole = len(self.rest) // factor * factor
        self.sums.extend(proof.decimated(self.rest[:whole], factor))
        del self.rest[:whole]

    @property
    def seconds(self) -> float:
        return len(self.sums) / RATE_HZ


class Hearing:
    """Tell it what is rendered (`rendered`), poll it, and ask what it knows.

    `warning_pcm` is a warning's earcon at the configured volume (48 kHz, one channel), `headroom` what it may be
    multiplied by.  `buffer_s` is what the output device keeps: no delay counts that lies within.
    """

    def __init__(
        self,
        system: MicrophoneSystem,
        device: str,
        warning_pcm: bytes,
        *,
        headroom: float = 1.0,
        buffer_s: float = 0.02,
    ) -> None:
        self.buffer_s = buffer_s
        self._system = system
        self._device = device
        self._headroom_db = 20.0 * math.log10(max(1.0, headroom))
        mono = array("h", warning_pcm)
        both = array("h", bytes(4 * len(mono)))
        both[0::2] = both[1::2] = mono
        sums = proof.decimated(both, mixer.RATE_HZ // RATE_HZ * 2)
        self._warning_power = Template.of(proof.band(sums)).power()

        self._microphone: Microphone | None = None
        self._open_s = 0.0
        self._complaint = ""
        self._read_s = 0.0
        self._lost = 0
        self._came_s = 0.0
        self._flat_s = 0.0
        self._flat = 0
        self._alive = False

        self._raw: array[int] = array("h")
        self._sums: array[int] = array("i")  # what `band` still needs
        self._heard: array[int] = array("i")
        self._base = 0  # place of the first sample kept
        self._block_at = 0  # place up to which the surroundings' level was taken
        self._anchor_s: float | None = None  # session second of place 0
        self._anchored_s = 0.0

        self._surroundings = loudness.Surroundings()
        self._couplings: list[float] = []
        self._gains = loudness.Gains()

        self._watch: _Watch | None = None
        self._sounded_s = -math.inf
        self._verdict: Verdict | None = None
        self._unheard = self._clipped = self._whole = self._slow = self._quick = 0
        self._is_clipped = self._is_slow = False
        self._delays: list[float] = []
        self._probes = 0
        self._probe_s = math.inf

    # --------------------------------------------------------------------------------------- what it knows

    @property
    def fault(self) -> str:
        """`unheard`, `clipped`, `slow`; `microphone` if that is silent, stuck or gone; empty: none."""
        if not self._alive:
            return "microphone" if self._complaint else ""
        if self._unheard >= IN_A_ROW:
            return "unheard"
        if self._is_clipped:
            return "clipped"
        return "slow" if self._is_slow else ""

    @property
    def proof(self) -> str:
        """`heard` or `unheard`: the latest message of which anybody could tell; empty: nobody listens."""
        if not self._alive or self._verdict is None:
            return ""
        return "heard" if self._verdict.heard else "unheard"

    @property
    def delay_s(self) -> float | None:
        """From handing over a frame to hearing it: the middle of the latest measurements."""
        return sorted(self._delays)[len(self._delays) // 2] if self._delays else None

    @property
    def missing_s(self) -> float | None:
        """How much of the beginning the latest message lacked, of which that could be told."""
        return self._verdict.missing_s if self._verdict is not None else None

    @property
    def gains(self) -> loudness.Gains:
        """What messages that begin now are multiplied by."""
        return self._gains

    @property
    def margin_db(self) -> float | None:
        """How far a warning at the configured volume stands over the surroundings; None: not known yet."""
        level_db, arrives_db = self._surroundings.level_db, self._warning_arrives_db()
        return None if level_db is None or arrives_db is None else arrives_db - level_db

    def wants_probe(self, now: float) -> bool:
        """Whether the self-test's sound should be played now; asked while nothing sounds.  Playing it is `rendered`."""
        if not self._alive or self._watch is not None or now < self._probe_s:
            return False
        if self._unheard:
            self._probe_s = now + (PROBE_UNHEARD_S if self._unheard >= IN_A_ROW else PROBE_AGAIN_S)
            return True
        # One late or clipped message is a doubt, and not every message can tell: the sweep can.
        doubted = (self._slow and not self._is_slow) or (self._clipped and not self._is_clipped)
        if self._probes >= PROBES and not doubted:
            return False
        self._probes += 1
        self._probe_s = now + PROBE_AGAIN_S
        return True

    # ------------------------------------------------------------------------------------------ the output

    def output_changed(self, now: float) -> None:
        """Another output device was opened: what was known of the old one does not hold."""
        self._watch = None
        self._verdict = None
        self._unheard = self._clipped = self._whole = self._slow = self._quick = 0
        self._is_clipped = self._is_slow = False
        self._delays.clear()
        self._couplings.clear()
        self._gains = loudness.Gains()
        self._probes = 0
        self._probe_s = now + PROBE_AFTER_S

    def rendered(self, pcm: bytes, now: float, *, silent: bool) -> None:
        """Takes frames as they are handed over (48 kHz, two channels).  `silent`: there is no message in them."""
        watch = self._watch
        if not silent:
            if watch is None and self._alive and now - self._sounded_s > ENDED_S:
                bare = pcm.lstrip(b"\0")
                if not bare:
                    return  # a message's leading silence
                frames = (len(pcm) - len(bare)) // mixer.FRAME_BYTES
                pcm = pcm[frames * mixer.FRAME_BYTES :]
                arrives_s = (self.delay_s or 0.0) + ECHO_S
                watch = self._watch = _Watch(now + frames / mixer.RATE_HZ, self._sounded_s + arrives_s)
            self._sounded_s = now + len(pcm) / mixer.FRAME_BYTES / mixer.RATE_HZ
        if watch is None or watch.ended:
            return
        watch.add(pcm)
        watch.ended = watch.seconds >= TAIL_S[1] or (silent and now - self._sounded_s > ENDED_S)

    # --------------------------------------------------------------------------------------- the microphone

    def poll(self, now: float) -> None:
        """Reads what came, and goes on with what is being looked for."""
        watch = self._watch
        if now >= self._read_s or watch is not None:
            self._read_s = now + READ_S
            self._read(now)
        if watch is not None and self._watch is watch:
            self._go_on(watch, now)

    def close(self) -> None:
        """Releases the microphone."""
        if self._microphone is not None:
            self._microphone.close()
            self._microphone = None

    def _read(self, now: float) -> None:
        if self._microphone is None:
            if now < self._open_s:
                return
            self._open_s = now + REOPEN_S
            self._microphone = self._system.open(self._device)
            self._came_s = now
            self._forget()
        microphone = self._microphone
        try:
            pcm = microphone.read(now)
        except SoundError as error:
            self._give_up(str(error), now)
            return
        if microphone.lost != self._lost:
            self._lost = microphone.lost
            self._forget()
        if not pcm:
            if now - self._came_s > (SILENT_AFTER_S if microphone.rate_hz else REOPEN_S):
                self._give_up(f"microphone {microphone.name}: nothing has come from it for a while", now)
            return
        self._came_s = now
        self._take(pcm, microphone.rate_hz // RATE_HZ, now)
        self._judge_microphone(pcm, now)

    def _give_up(self, why: str, now: float) -> None:
        if why != self._complaint:
            self._complaint = why
            log.error("%s", why)
        self.close()
        self._open_s = now + REOPEN_S
        self._deaf()

    def _deaf(self) -> None:
        self._alive = False
        self._watch = None
        self._verdict = None
        self._unheard = 0
        self._gains = loudness.Gains()
        self._surroundings = loudness.Surroundings()

    def _judge_microphone(self, pcm: bytes, now: float) -> None:
        if pcm != pcm[:2] * (len(pcm) // 2):
            self._flat_s = now
            if not self._alive:
                log.info("microphone %s hears", self._device)
                self._alive = True
                self._complaint = ""
                self._probe_s = max(now + PROBE_AFTER_S, min(self._probe_s, now + PROBE_AGAIN_S))
        elif self._alive and now - self._flat_s > FLAT_AFTER_S:
            self._complaint = f"microphone {self._device}: gives the same number all the time"
            log.error("%s", self._complaint)
            self._deaf()

    def _forget(self) -> None:
        """What was heard cannot be joined to what comes."""
        self._watch = None
        self._raw = array("h")
        self._sums = array("i")
        self._heard = array("i")
        self._base = self._block_at = 0
        self._anchor_s = None

    def _take(self, pcm: bytes, factor: int, now: float) -> None:
        self._raw.frombytes(pcm)
        whole = len(self._raw) // factor * factor
        self._sums.extend(proof.decimated(self._raw[:whole], factor))
        del self._raw[:whole]
        if len(self._sums) > proof.SETTLE:
            self._heard.extend(proof.band(self._sums))
            del self._sums[: -proof.SETTLE]
        # The sample that came soonest after it was measured tells when they were; clocks of cards drift.
        end = self._base + len(self._heard)
        anchor_s = now - end / RATE_HZ
        if self._anchor_s is None:
            self._anchor_s = anchor_s
        self._anchor_s = min(self._anchor_s + 2e-4 * (now - self._anchored_s), anchor_s)
        self._anchored_s = now
        if self._alive:
            self._level()
        if self._watch is None and len(self._heard) > 2 * KEEP_S * RATE_HZ:
            drop = len(self._heard) - round(KEEP_S * RATE_HZ)
            del self._heard[:drop]
            self._base += drop

    def _level(self) -> None:
        """Takes the surroundings' level where there was no sound of our own."""
        assert self._anchor_s is not None  # set where samples come in
        block = round(loudness.BLOCK_S * RATE_HZ)
        end = self._base + len(self._heard)
        self._block_at = max(self._block_at, self._base)
        took = False
        while self._block_at + block <= end:
            at = self._block_at
            self._block_at += block
            if self._anchor_s + at / RATE_HZ < self._sounded_s + (self.delay_s or 0.0) + ECHO_S:
                continue
            piece = self._heard[at - self._base : at - self._base + block]
            self._surroundings.feed(proof.power(piece))
            took = True
        if took:
            level_db, arrives_db = self._surroundings.level_db, self._warning_arrives_db()
            if level_db is not None and arrives_db is not None:
                self._gains = loudness.gains(level_db, arrives_db, self._headroom_db)

    def _warning_arrives_db(self) -> float | None:
        if not self._couplings:
            return None
        coupling = sorted(self._couplings)[len(self._couplings) // 2]
        return 10.0 * math.log10(max(1.0, self._warning_power * coupling))

    # ----------------------------------------------------------------------------------- looking for a message

    def _place(self, t_s: float) -> int:
        """Where in `_heard` session second `t_s` is."""
        assert self._anchor_s is not None  # there is no watch without it
        return round((t_s - self._anchor_s) * RATE_HZ) - self._base

    def _go_on(self, watch: _Watch, now: float) -> None:
        if self._anchor_s is None:
            return
        match watch.state:
            case _State.PLAYING:
                self._begin(watch, now)
            case _State.CONTROL:
                self._look_before(watch)
            case _:
                self._look(watch, now)

    def _begin(self, watch: _Watch, now: float) -> None:
        if watch.seconds < HEAD_S and not watch.ended:
            if now - watch.first_s > GIVE_UP_S:
                self._watch = None  # the output has stopped
            return
        template = Template.of(proof.band(watch.sums[: round(HEAD_S * RATE_HZ)]))
        if not template.tells:
            self._watch = None
            return
        watch.template = template
        length = len(template.samples)
        first = max(0, self._place(max(watch.first_s - CONTROL_S, watch.quiet_from_s)))
        last = self._place(watch.first_s) - length
        if last - first > length // 2:
            watch.search = Search(template, first, last)
            watch.state = _State.CONTROL
        else:
            self._begin_search(watch, template, _State.SEARCH, 0.0)

    def _begin_search(self, watch: _Watch, template: Template, state: _State, offset_s: float) -> None:
        first = self._place(watch.first_s + offset_s - EARLY_S)
        last = self._place(watch.first_s + offset_s + LATEST_S)
        watch.template = template
        watch.search = Search(template, max(0, first), last)
        watch.state = state

    def _look_before(self, watch: _Watch) -> None:
        assert watch.search is not None  # made before this state
        assert watch.template is not None  # as well
        if watch.search.go_on(self._heard, LAGS_PER_POLL) == 0 or watch.search.over:
            watch.control = watch.search.best
            self._begin_search(watch, watch.template, _State.SEARCH, 0.0)

    def _look(self, watch: _Watch, now: float) -> None:
        search, template = watch.search, watch.template
        assert search is not None  # made before this state
        assert template is not None  # as well
        tried = search.go_on(self._heard, LAGS_PER_POLL)
        least = template.found if watch.control is not None else SURE
        found = search.best >= max(least, (watch.control or 0.0) * proof.ABOVE_CONTROL)
        if found and (search.over or search.passed >= SETTLED_LAGS):
            self._conclude(watch, template, search)
        elif search.over or (not tried and now - watch.first_s > GIVE_UP_S):
            # A hum at the pitch of an earcon hides it: nobody can tell.
            hidden = (watch.control or 0.0) * proof.ABOVE_CONTROL >= proof.FOUND
            if watch.state is _State.SEARCH and not hidden:
                if not watch.ended and now - watch.first_s < GIVE_UP_S:
                    return
                tail = Template.of(proof.band(watch.sums[round(TAIL_S[0] * RATE_HZ) : round(TAIL_S[1] * RATE_HZ)]))
                # Only a long one: the ends of short words were taken for heard when somebody spoke with their voice.
                if tail.counted >= proof.COUNT_MIN:
                    watch.head = template
                    self._begin_search(watch, tail, _State.TAIL, TAIL_S[0])
                    return
            self._miss(watch, template, search.best, hidden=hidden)

    def _conclude(self, watch: _Watch, template: Template, search: Search) -> None:
        self._watch = None
        at = search.at
        arrived = proof.counted_power(template, self._heard, at)
        level_db = self._surroundings.level_db
        arrived -= 10.0 ** (level_db / 10.0) if level_db is not None else 0.0
        if arrived > 0.0 and watch.state is _State.SEARCH:
            self._couplings.append(arrived / template.power())
            del self._couplings[:-COUPLINGS]
        delay_s = missing_s = None
        if watch.state is _State.TAIL:
            missing_s = TAIL_S[0]
        if template.sharp():
            offset_s = TAIL_S[0] if watch.state is _State.TAIL else 0.0
            delay_s = (at - self._place(watch.first_s + offset_s)) / RATE_HZ
            if missing_s is None:
                missing_s = proof.missing_s(template, self._heard, at)
        self._judge(Verdict(True, search.best, delay_s, missing_s))

    def _miss(self, watch: _Watch, template: Template, best: float, *, hidden: bool) -> None:
        self._watch = None
        sent_power = (watch.head or template).power()
        level_db, arrives_db = self._surroundings.level_db, self._warning_arrives_db()
        below_warning_db = 10.0 * math.log10(max(sent_power, 1e-9) / self._warning_power)
        if arrives_db is not None and level_db is not None:
            hidden = hidden or arrives_db + below_warning_db - level_db < DROWNED_DB
        else:
            hidden = hidden or below_warning_db < SOFT_POWER_DB
        self._judge(Verdict(None if hidden else False, best))

    def _judge(self, verdict: Verdict) -> None:
        log.debug("%s", verdict)
        if verdict.heard is None:
            return
        self._verdict = verdict
        if not verdict.heard:
            self._unheard += 1
            return
        self._unheard = 0
        if verdict.delay_s is not None:
            self._delays.append(verdict.delay_s)
            del self._delays[:-COUPLINGS]
            beyond_s = verdict.delay_s - self.buffer_s
            self._slow = self._slow + 1 if beyond_s > SLOW_S else 0
            self._quick = self._quick + 1 if beyond_s < SLOW_OVER_S else 0
            self._is_slow = (self._is_slow or self._slow >= IN_A_ROW) and self._quick < IN_A_ROW
        if verdict.missing_s is not None:
            clipped = verdict.missing_s > CLIPPED_S
            self._clipped = self._clipped + 1 if clipped else 0
            self._whole = 0 if clipped else self._whole + 1
            self._is_clipped = (self._is_clipped or self._clipped >= IN_A_ROW) and self._whole < IN_A_ROW
