"""The voice process: takes requests from the guard, keeps the sound device fed, tells what was really heard.

`VoiceLoop` is a step; the same code runs in virtual time.  It trusts nothing but the play pointer: progress is told
when a frame has left the device, and a pointer that stands still is a fault even when the device reports none.  When
the guard falls silent it says so by itself, because silence must never mean two things.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import math
import select
import signal
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from retrowalk import __version__, logs, wire
from retrowalk.config import Config
from retrowalk.core import alerts
from retrowalk.core.events import Speak
from retrowalk.core.samples import Item, VoicePhase
from retrowalk.errors import BankError, SoundError, WireError
from retrowalk.logs import about
from retrowalk.platform import Platform, Sound, no_wake, notify
from retrowalk.voice import earcons
from retrowalk.voice.bank import OWN_CAUSES, OWN_PHRASES, Bank, Builtin, read_text_clip
from retrowalk.voice.bluetooth import Awake, may_sleep
from retrowalk.voice.hearing import Hearing, probe
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ, Clip, Mixer, Progress
from retrowalk.voice.outputs import Outputs

log = logging.getLogger("retrowalk.voice")

BEAT_S = 0.1
"""Sign of life to the guard, and at once when what it says changes; the guard takes over with buzzer and vibration
after 0.3 s without one."""
RETRY_S = 1.0
GUARD_SILENT_AFTER_S = 0.6
"""Six missed signs of life of the guard."""
GUARD_START_S = 15.0
"""The guard may come so much later than this process."""
GUARD_SILENT_REPEAT_S = 5.0
BANK_LOOK_S = 2.0
"""A bank that is made or mended while this process serves is taken into use within this time."""
BANK_LOAD_S = 0.1
"""In silence, one more clip is read and checked this often, so that damage is known before the clip is needed."""
EVIDENCE_S = 1.0
"""The service manager is told that all is well only with evidence younger than this."""
MESSAGES_PER_POLL = 64

COLLECT_S = 30.0
"""Garbage is collected this often, in silence only."""
DEVICES_PER_POLL = 4
"""So many devices that fail as soon as they are opened are left behind in one step."""
REFUSED = ("espeak_missing", "bank_refused")
"""What the first line of `refused` in the bank's directory may say: why there are no phrases."""

_OWN_GUARD_SILENT = -1
_OWN_SAY = -2
_OWN_PROBE = -3
"""Alert numbers of what this process says by itself; the guard hears nothing about them."""
_SAY = "retrowalk say"
_PROBE = "probe"
"""Earcon of the self-test that the microphone listens for."""
PROBE_LEVEL = 0.4
"""Its peak, as a part of the configured volume: as loud as what is told in a good mood."""
NOT_AS_MEANT = ("unheard", "slow", "clipped")
"""What a microphone may find of a device that plays; graver than why that one is a stand-in."""


class VoiceLoop:
    """The voice as a step: `poll` receives, mixes, feeds the device, reports.

    `bank` None: serves with what ships with the program and reports `bank_missing`; a bank that appears in
    `bank_dir` later is taken into use.  Needs `platform.sound`, `platform.mailbox` and `platform.clock`.

    The beat says what is heard: `output` is empty when nothing is, and `fault` names why, or why a stand-in plays.
    Faults, the gravest first: `no_device`, `frozen`, `muted`, `null_sink`, `slow` (see `Outputs`), `bank_missing`,
    `bank_damaged`, or in their place why the bank is not there: `espeak_missing`, `bank_refused`.  With
    `platform.microphone` and `voice.microphone`, `unheard`, `slow` and `clipped` stand before all others while frames
    leave, and `microphone` behind all (see `Hearing`).
    """

    name = "voice"
    retry_s = RETRY_S

    def __init__(self, config: Config, bank: Bank | None, platform: Platform, *, bank_dir: Path | None = None) -> None:
        if platform.sound is None:
            raise ValueError("platform.sound: the voice needs a sound system")
        self.wake: Callable[[], None] = no_wake
        self._config = config.voice
        self._whole_config = config
        self._clock = platform.clock
        self._mailbox = platform.mailbox
        self._mailbox.wake = lambda: self.wake()
        volume = config.voice.volume
        sounds = earcons.synthesise(volume)
        self._hearing: Hearing | None = None
        if platform.microphone is not None and config.voice.microphone:
            sounds[_PROBE] = probe(PROBE_LEVEL * volume)
            self._hearing = Hearing(
                platform.microphone, config.voice.microphone, sounds["warning"], headroom=1.0 / volume
            )
        self._mixer = Mixer(self._lookup, sounds, headroom=1.0 / volume)
        self._awake: Awake | None = None
        self._builtin = Builtin(config.voice.volume, config.device.language)
        for phrase in OWN_PHRASES:
            if bank is None or bank.lookup(phrase, "") is None:
                self._builtin.lookup(phrase)  # read now, not in the middle of a warning
        if bank is None or bank.missing():
            for value in OWN_CAUSES:
                self._builtin.lookup("fault", value)
        self._said: Clip | None = None
        self._said_for = ""

        self._bank = bank
        self._bank_dir = bank.directory if bank_dir is None and bank is not None else bank_dir
        self._bank_seen = self._bank_stamp()
        self._bank_look_s = 0.0
        self._bank_load_s = 0.0
        self._bank_incomplete = bool(bank and bank.missing())
        self._refused = self._read_refused()

        self._outputs = Outputs(platform.sound, config.voice, self._exchanged)
        self._unwritten = b""
        self._rendered = 0  # frames since the device was opened
        self._pending: deque[tuple[int, Progress]] = deque()  # (play pointer at which it has happened, what)

        self._told: tuple[str, str, str, int, str] | None = None
        self._beat_s = 0.0
        self._reported_s = -math.inf
        self._guard_heard_s: float | None = None
        self._guard_state = ""
        self._guard_silent_s: float | None = None  # when it is said next; None while the guard lives

    # ------------------------------------------------------------------------------------------ the step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        """Does what is due; wants to be called again when half of the device's buffer has been played."""
        self._receive(now)
        self._watch_guard(now)
        self._tend_bank(now)
        self._outputs.tend(now, quiet=self.quiet)
        for _ in range(DEVICES_PER_POLL):
            sound = self._outputs.sound
            if sound is None:
                break
            try:
                self._feed(sound, now)
                self._outputs.watch(now)
            except SoundError as error:
                self._outputs.fail(error, now)
                continue
            if self._outputs.sound is sound:
                break
        if self._outputs.sound is None:
            _, progress = self._mixer.render(0, now)
            for happened in progress:
                self._tell(happened, now)
        else:
            self._tell_played(now)
        if self._hearing is not None:
            self._listen(self._hearing, now)
        if now >= self._beat_s or self._told != self._to_tell():
            self._beat(now)
        if self._outputs.sound is None:
            return (), self._beat_s
        return (), min(self._beat_s, now + self._outputs.buffer_ms / 2000.0)

    def close(self) -> None:
        """Lets go of the sound device and the mailbox."""
        self._outputs.close()
        if self._hearing is not None:
            self._hearing.close()
        self._mailbox.close()

    @property
    def quiet(self) -> bool:
        """Whether nothing sounds, waits, or is still in the device."""
        return self._mixer.idle and not self._pending

    @property
    def fault(self) -> str:
        """The gravest fault, by name; empty when all is well."""
        heard = self._hearing.fault if self._hearing is not None else ""
        if heard in NOT_AS_MEANT and self._outputs.output:
            return heard
        if self._outputs.fault:
            return self._outputs.fault
        if self._bank is None:
            return self._refused or "bank_missing"
        if self._bank_incomplete or self._bank.damaged:
            return self._refused or "bank_damaged"
        return heard if heard not in NOT_AS_MEANT else ""

    def alive(self, now: float) -> bool:
        """Whether frames left the device, or a fault was reported, within the last second."""
        return now - max(self._reported_s, self._outputs.advanced_s) <= EVIDENCE_S

    # ---------------------------------------------------------------------------------------- messages

    def _receive(self, now: float) -> None:
        for _ in range(MESSAGES_PER_POLL):
            data = self._mailbox.receive()
            if data is None:
                return
            try:
                message = wire.decode_local(data)
            except WireError as error:
                log.warning("ignored: %s", error)
                continue
            match message:
                case wire.SpeakMessage():
                    self._speak(message, now)
                case wire.HushMessage(alert):
                    self._mixer.hush(alert, now)
                case wire.KeepAlive(_, guard_state):
                    self._guard_heard_s = now
                    self._guard_state = guard_state
                case wire.SayMessage():
                    self._say(message, now)
                case _:
                    log.warning("ignored: a %s is not for the voice", type(message).__name__)

    def _speak(self, message: wire.SpeakMessage, now: float) -> None:
        self._mixer.speak(
            Speak(
                t_s=now,
                alert=message.alert,
                phrase=message.phrase,
                value=message.value,
                earcon=message.earcon,
                level=message.level,
                rank=message.rank,
                deadline_s=message.deadline_mono_s - self._clock.origin_mono_s,
                pan=message.pan,
            ),
            now,
        )

    def _say(self, message: wire.SayMessage, now: float) -> None:
        if message.sound:
            pcm = read_text_clip(Path(message.sound))
        else:
            pcm = self._bank.text_clip(message.text) if self._bank is not None else None
        self._said_for = message.reply_to
        if pcm is None:
            log.info("a text of %d characters is not said: it has not been rendered", len(message.text))
            self._tell(Progress(_OWN_SAY, VoicePhase.UNKNOWN_PHRASE, 0, message.text), now)
            return
        self._said = Clip(message.text, pcm)
        self._speak_own(_OWN_SAY, _SAY, "", "advisory", alerts.RANK_TICK, 5.0, now)

    def _speak_own(
        self, alert: int, phrase: str, earcon: str, level: str, rank: int, within_s: float, now: float
    ) -> None:
        request = Speak(
            t_s=now,
            alert=alert,
            phrase=phrase,
            value="",
            earcon=earcon,
            level=level,
            rank=rank,
            deadline_s=now + within_s,
        )
        self._mixer.speak(request, now)

    def _watch_guard(self, now: float) -> None:
        if self._guard_heard_s is None:
            # At power-on the guard takes a while; if it never comes, that too must be heard.
            self._guard_heard_s = now + GUARD_START_S
        silent = now - self._guard_heard_s > GUARD_SILENT_AFTER_S and self._guard_state != "stopping"
        if not silent:
            if self._guard_silent_s is not None:
                self._guard_silent_s = None
                # What has begun is said to its end: a guard is back after a second and a half, in mid-sentence.
                if self._mixer.sounding != _OWN_GUARD_SILENT:
                    self._mixer.hush(_OWN_GUARD_SILENT, now)
            return
        if self._guard_silent_s is None:
            silent_s = now - self._guard_heard_s
            log.error("the guard has been silent for %.1f s", silent_s, extra=about("process.silent", part="guard"))
            self._guard_silent_s = now
        if now >= self._guard_silent_s:
            self._guard_silent_s = now + GUARD_SILENT_REPEAT_S
            rank = alerts.RANK_WARNING - 1
            self._speak_own(_OWN_GUARD_SILENT, "guard_silent", "fault", "caution", rank, 2.0, now)

    # --------------------------------------------------------------------------------------- the phrases

    def _lookup(self, phrase: str, value: str) -> Clip | None:
        if phrase == _SAY:
            return self._said
        clip = self._bank.lookup(phrase, value) if self._bank is not None else None
        return clip or self._builtin.lookup(phrase, value)

    def _tend_bank(self, now: float) -> None:
        if now >= self._bank_look_s:
            self._bank_look_s = now + BANK_LOOK_S
            self._refused = self._read_refused()
            stamp = self._bank_stamp()
            if self._bank_dir is not None and stamp != self._bank_seen:
                self._bank_seen = stamp
                self._take_bank(self._bank_dir)
        if self._bank is not None and now >= self._bank_load_s and self._mixer.idle:
            self._bank_load_s = now + BANK_LOAD_S
            self._bank.load_next()

    def _bank_stamp(self) -> tuple[int, int] | None:
        if self._bank_dir is None:
            return None
        try:
            status = (self._bank_dir / "manifest.json").stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _read_refused(self) -> str:
        """Why the phrases could not be made, if they could not."""
        if self._bank_dir is None:
            return ""
        try:
            first, *_ = (self._bank_dir / "refused").read_text(errors="replace").splitlines() or [""]
        except OSError:
            return ""
        return first.strip() if first.strip() in REFUSED else REFUSED[-1]

    def _take_bank(self, directory: Path) -> None:
        try:
            bank = Bank.open(self._whole_config, directory)
        except (BankError, OSError) as error:
            log.warning("%s", error)
            return
        self._bank = bank
        self._bank_incomplete = bool(bank.missing())
        log.info("phrase bank %s taken into use", directory)

    # ---------------------------------------------------------------------------------------- the device

    def _feed(self, sound: Sound, now: float) -> None:
        room = sound.writable(now)
        if room > 0 and self._unwritten:
            taken = sound.write(self._unwritten, now)
            self._unwritten = self._unwritten[taken * FRAME_BYTES :]
            room -= taken
        wanted = room if room > 0 and not self._unwritten else 0
        silent = self._mixer.idle or not self._outputs.moving
        # Also for no frames: deadlines pass in a frozen device, too.
        pcm, progress = self._mixer.render(wanted if self._outputs.moving else 0, now)
        if not self._outputs.moving:
            pcm = bytes(wanted * FRAME_BYTES)
        for happened in progress:
            self._expect(happened, now)
        if wanted:
            if silent and self._awake is not None:
                pcm = self._awake.silence(wanted)
            if self._hearing is not None:
                self._hearing.rendered(pcm, now, silent=silent)
            self._rendered += wanted
            taken = sound.write(pcm, now)
            if taken < wanted:
                self._unwritten = pcm[taken * FRAME_BYTES :]

    def _exchanged(self, now: float, written: int) -> None:
        """What was in the device is lost.  Whoever asked for it is told that it was cut, and judges anew."""
        for _, happened in self._pending:
            if happened.phase is VoicePhase.FINISHED:
                self._tell(Progress(happened.alert, VoicePhase.CUT, 0, happened.words), now)
            elif happened.phase is not VoicePhase.STARTED:
                self._tell(happened, now)
        self._pending.clear()
        self._unwritten = b""
        self._rendered = written
        self._mixer.drop(now)
        self._awake = Awake() if may_sleep(self._outputs.device, self._outputs.described) else None
        if self._hearing is not None:
            self._hearing.output_changed(now)

    def _listen(self, hearing: Hearing, now: float) -> None:
        """Lets the microphone verify what was played, and set how loud the next message is."""
        hearing.buffer_s = self._outputs.buffer_ms / 1000.0
        hearing.poll(now)
        self._mixer.calm, self._mixer.urgent = hearing.gains.calm, hearing.gains.urgent
        if self._outputs.output and self.quiet and hearing.wants_probe(now):
            self._speak_own(_OWN_PROBE, "", _PROBE, "caution", alerts.RANK_TICK - 1, 0.5, now)

    # ------------------------------------------------------------------------------------------ reports

    def _expect(self, happened: Progress, now: float) -> None:
        if happened.phase is VoicePhase.EXPIRED:
            self._tell(happened, now)
            return
        # A first frame has been heard when the pointer is behind it; an end is reached when it stands there.
        first = 1 if happened.phase is VoicePhase.STARTED else 0
        self._pending.append((self._rendered + happened.frame + first, happened))

    def _tell(self, happened: Progress, at_s: float) -> None:
        to = "guard" if happened.alert >= 0 else self._said_for if happened.alert == _OWN_SAY else ""
        if not to:
            return
        mono_s = self._clock.origin_mono_s + at_s
        message = wire.ProgressMessage(happened.alert, happened.phase, mono_s, happened.words)
        self._mailbox.send(to, wire.encode(message))

    def _tell_played(self, now: float) -> None:
        played = self._outputs.played
        while self._pending and self._pending[0][0] <= played:
            due, happened = self._pending.popleft()
            self._tell(happened, now - (played - due) / RATE_HZ)

    def _to_tell(self) -> tuple[str, str, str, int, str]:
        """What the guard is told at once when it changes."""
        outputs = self._outputs
        proof = self._hearing.proof if self._hearing is not None else ""
        return outputs.device, self.fault, outputs.output, outputs.buffer_ms, proof

    def _delay_ms(self) -> int:
        delay_s = self._hearing.delay_s if self._hearing is not None else None
        if delay_s is None:
            sound = self._outputs.sound
            delay_s = self._outputs.buffer_ms / 1000.0 + sound.beyond_s if sound is not None and sound.beyond_s else 0.0
        return round(1000.0 * delay_s)

    def _beat(self, now: float) -> None:
        self._beat_s = now + BEAT_S
        outputs = self._outputs
        self._told = self._to_tell()
        device, fault, output, buffer_ms, proof = self._told
        if not output and fault:
            self._reported_s = now  # the service manager need not act: the guard does
        played = outputs.played if outputs.sound is not None else 0
        beat = wire.VoiceBeat(device, played, outputs.underruns, fault, output, buffer_ms, proof, self._delay_ms())
        self._mailbox.send("guard", wire.encode(beat))


# ------------------------------------------------------------------------------------------ the process


def open_bank(config: Config, bank_dir: Path) -> Bank | None:
    """The bank, or None (and a line in the log) if there is none."""
    try:
        return Bank.open(config, bank_dir)
    except (BankError, OSError) as error:
        log.error("%s", error)
        return None


def give_back() -> None:
    """Gives the system what starting up and reading clips left behind in the allocator; glibc only."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def run(config: Config, platform: Platform, bank_dir: str | Path) -> None:
    """The voice process: serves until SIGTERM or SIGINT.  Starts without a bank, and never waits for one."""
    bank_dir = Path(bank_dir)
    loop = VoiceLoop(config, open_bank(config, bank_dir), platform, bank_dir=bank_dir)
    stopping = False

    def stop(_signal: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # What is here stays.  The loop makes next to no garbage that counting references does not free, so it is collected
    # in silence, never in the middle of a warning.
    gc.collect()
    gc.freeze()
    gc.disable()
    collect_s = platform.clock.now() + COLLECT_S
    ready = False
    fed_s = -1.0
    try:
        while not stopping:
            now = platform.clock.now()
            _, due = loop.poll(now)
            if not ready and loop.alive(now):
                notify("READY=1")
                log.info("started: version %s", __version__, extra=about("process.started"))
                ready = True
            if ready and now - fed_s >= EVIDENCE_S / 2 and loop.alive(now):
                logs.poll()
                notify("WATCHDOG=1")
                fed_s = now
            if now >= collect_s and loop.quiet:
                collect_s = now + COLLECT_S
                gc.collect()
                give_back()
            # A signal that comes between the test above and here is seen after one timeout, 0.1 s at most.
            select.select([platform.mailbox.fileno()], [], [], max(0.0, due - platform.clock.now()))
    finally:
        notify("STOPPING=1")
        loop.close()
