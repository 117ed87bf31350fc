"""The examination: looks at everything, then speaks, buzzes, vibrates and asks for a press.

Through the guard that runs, if one does: it holds the pins, sends a copy of what its drivers say, and lets nothing be
tried while it has something to warn of.  Else with drivers of our own, the same that a walk uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from retrowalk import __version__
from retrowalk.calibration import FILE_NAME, lay
from retrowalk.config import Config, load
from retrowalk.control import Control
from retrowalk.core.alerts import BUTTON, introduction
from retrowalk.core.events import Touch
from retrowalk.core.hazards import human_stop_s
from retrowalk.core.samples import ButtonEdge, CourierHeartbeat, Item, VoiceHeartbeat
from retrowalk.devices import battery
from retrowalk.devices.lines import InputLine
from retrowalk.doctor import computer
from retrowalk.doctor.broker import look_at_broker, look_at_hub
from retrowalk.doctor.bus import Scan, scan
from retrowalk.doctor.ground import Ground, pause
from retrowalk.doctor.report import Check, Report, State, report
from retrowalk.doctor.sensors import Observation, look_at_sensors
from retrowalk.errors import BankError, ConfigError, DeviceError, SensorError, SoundError
from retrowalk.guard.process import build_steps
from retrowalk.platform import LazyBus, Step
from retrowalk.voice.texts import Texts, why

OK, LOOK, BAD = State.OK, State.LOOK, State.BAD

WATCH_S = 4.0
BATTERY_WATCH_S = battery.POLL_S + 0.6
"""Through a guard that runs, a battery's chip is heard of when its next reading is due."""
PRESS_S = 10.0
SAY_S = 15.0
OFFER_S = 6.0
TRIES = 4
"""A guard that runs answers a press, too; what it cuts off is said again."""

HELLO = "This is retrowalk's doctor. You will now feel and hear a short signal."
ASK = "If you heard me and felt the signal, press the button once."
THANKS = "Thank you. The button works."
NO_PRESS = "I noticed no press."
OFFER = "To hear what the button does, press it again."
TEXTS = (HELLO, ASK, THANKS, NO_PRESS, OFFER)
PATTERN = "caution"

BUSY = {
    "alarm": "a fall or a call for help is open",
    "hazard": "it has something to warn of: step away from walls, and hold still",
    "walking": "somebody is walking with it",
}

ASKED = frozenset({"unchecked", "unheard"})
"""Reasons that only say that nobody has shown a hand, or pressed: whoever examines it has not put it on."""

VOICE_MEND = {
    "no_device": "See sound card; a stand-in may be speaking",
    "frozen": "Unplug the sound device and plug it in again; see the kernel's log: dmesg",
    "bank_missing": "retrowalk voices build",
    "bank_damaged": "retrowalk voices build",
    "muted": "alsamixer: raise the volume and switch M off; with a sound server: pactl set-sink-mute @DEFAULT_SINK@ 0",
    "null_sink": "Plug the sound device in; the sound server plays to nobody",
    "unheard": "The microphone hears nothing of it: see the loudspeaker's plug and volume, and the microphone",
    "slow": "Use a wired device for warnings; Bluetooth is fit for calm words only",
    "clipped": "Use a wired device for warnings; this one swallows the beginning of words",
    "microphone": "See voice.microphone; arecord -L lists them, alsamixer -V capture has its volume",
}


class Patient(Protocol):
    """A device that is looked at: through its guard, or by ourselves."""

    seen: Observation

    def watch(self, seconds: float) -> None:
        """Lets its sensors speak for so long."""

    def busy(self) -> str:
        """Why nothing may be tried now (a key of `BUSY`); empty: it may."""

    def say(self, text: str, pcm: bytes) -> str:
        """Says a text to its end; returns what went wrong, empty for nothing."""

    def touch(self, *, buzzer: bool, side: str) -> str:
        """Lets the signal be felt, on a side or (empty) on both; returns what went wrong, empty for nothing."""

    def wait_for_press(self, seconds: float) -> bool:
        """Whether the button has been let go since the signal, or since it was last asked, or is within so long."""

    def close(self) -> None:
        """Lets go of it."""


# ------------------------------------------------------------------------------------------------ two ways


class Guarded:
    """A device whose guard runs."""

    def __init__(self, control: Control) -> None:
        self.seen = Observation(through_guard=True)
        self._control = control
        examined = control.examined
        assert examined is not None  # `connect` has its answer
        self.seen.faults = {(fault.part, fault.fault): fault.detail for fault in examined.faults}
        self.seen.pressed = examined.button_pressed

    def watch(self, seconds: float) -> None:
        self._control.wait(seconds)
        self.seen.take(self._control.items())
        self.seen.seconds += seconds

    def busy(self) -> str:
        self._control.wait(2.5)  # a fresh answer
        return self._control.examined.busy if self._control.examined is not None else ""

    def say(self, text: str, pcm: bytes) -> str:
        became = self._control.say(text, SAY_S)
        beats = [item for item in self.seen.items if isinstance(item, VoiceHeartbeat)]
        if became != "finished" and beats and beats[-1].fault in ("no_device", "frozen"):
            return "the voice has nothing to play on"
        return {
            "finished": "",
            "cut": "it was cut off by something more urgent",
            "expired": "something more urgent was being said",
            "unknown_phrase": "the voice does not find the text: run this as the service's user, or with sudo",
            "": "the voice did not answer",
        }.get(became, became)

    def touch(self, *, buzzer: bool, side: str) -> str:
        refused = self._control.touch(PATTERN, buzzer=buzzer, side=side)
        if refused is None:
            return "the guard did not answer"
        self._control.wait(0.6)
        self._control.items()  # a press counts from here on
        return BUSY.get(refused, refused)

    def wait_for_press(self, seconds: float) -> bool:
        until = self._control.now() + seconds
        while True:
            items = self._control.items()
            if any(isinstance(item, ButtonEdge) and not item.pressed for item in items):
                return True
            if self._control.now() >= until:
                return False
            self._control.wait(0.1)

    def close(self) -> None:
        self._control.close()


class Alone:
    """A device that nobody uses: its drivers run here."""

    def __init__(self, config: Config, ground: Ground) -> None:
        self.seen = Observation()
        self._ground = ground
        self._device = config.voice.device
        steps, self._touch = build_steps(config, ground.platform)
        self._raised: set[str] = set()
        self._released = False

        ground.runner.start(steps, self._take, self._failed)

    def _take(self, step: Step, items: Sequence[Item]) -> None:
        if step.name in self._raised:
            self._raised.discard(step.name)
            self.seen.works(step.name)
        self.seen.take(items)
        if any(isinstance(item, ButtonEdge) and not item.pressed for item in items):
            self._released = True

    def _failed(self, step: Step, error: SensorError) -> None:
        self._raised.add(step.name)
        self.seen.failed(step.name, error.fault, error.detail)

    def watch(self, seconds: float) -> None:
        self._ground.runner.wait(seconds)
        self.seen.seconds += seconds

    def busy(self) -> str:
        return ""

    def say(self, text: str, pcm: bytes) -> str:
        try:
            self._ground.play(self._device, pcm)
        except SoundError as error:
            return str(error)
        return ""

    def touch(self, *, buzzer: bool, side: str) -> str:
        self._touch.touch(Touch(t_s=self._ground.platform.clock.now(), pattern=PATTERN, buzzer=buzzer, side=side))
        self._ground.runner.wait(0.8)
        self._released = False  # a press counts from here on
        return ""

    def wait_for_press(self, seconds: float) -> bool:
        until = self._ground.platform.clock.now() + seconds
        while not self._released and self._ground.platform.clock.now() < until:
            self._ground.runner.wait(0.1)
        released, self._released = self._released, False
        return released

    def close(self) -> None:
        self._ground.runner.stop()


# -------------------------------------------------------------------------------------------- the examination


def examine(
    config_file: Path | None,
    ground: Ground,
    *,
    hands_on: bool = True,
    sound: bool = True,
    tell: Callable[[str], None] = lambda words: None,
) -> Report:
    """Looks at everything and returns what was found.  `config_file` None: the documented defaults.

    `hands_on`: also speak, buzz, vibrate and ask for a press; `sound` False: of these only what makes no noise.
    `tell` is called with what is being done, for a person at a terminal.
    """
    checks: list[Check] = []
    machine = ground.machine
    config, usable = _settings(config_file, checks)
    if usable:
        checks.append(_stop(config, Path(ground.state_dir) / FILE_NAME))
    tell("looking at the computer")
    control, hangs = None, ""
    try:
        control = ground.connect()
    except DeviceError as error:
        hangs = str(error)
    # Two guards at one bus would spoil each other's chips: where one may run, no device is opened.
    taken = control is None and (bool(hangs) or "active" in computer.services(machine))
    try:
        checks += computer.look_at_board(machine)
        checks += computer.look_at_services(machine, running=control is not None, hangs=hangs)
        checks += computer.look_at_clock(machine)
        checks += computer.look_at_disk(machine, ground.state_dir)
        checks += computer.look_at_readonly_root(machine, ground.state_dir)
        checks.append(_phrases(config, ground))
        if config.broker.host:
            tell(f"asking the broker, {config.broker.host}")
        trial = ground.try_broker(config.broker, config.device.site, config.device.name)
        checks.append(look_at_broker(config.broker, trial))
        hub = look_at_hub(config.broker, trial)
        checks += [hub] if hub else []
        if control is None and not computer.board(machine):
            checks += computer.look_at_cards(machine, config)
            return report(checks)  # nothing of a device is here: no need to say it of each part
        if control is None and not taken:
            checks += computer.look_at_rights(machine, config)
            checks += computer.look_at_lgpio_directory(machine)
        if computer.board(machine):
            checks += computer.look_at_gpio_chip(machine)
            checks += computer.look_at_bus_speed(machine)
            checks += computer.look_at_cards(machine, config)
        if taken or (not usable and control is None):
            return report(checks)  # not ours; or with which pins?
        checks += _device(config, ground, control, hands_on=hands_on, sound=sound, tell=tell)
    finally:
        if control is not None:
            control.close()
    return report(checks)


def _settings(file: Path | None, checks: list[Check]) -> tuple[Config, bool]:
    if file is None:
        mend = "Give yours with --config FILE; systemd/retrowalk.toml of the project is one to begin with"
        checks.append(Check("settings.file", LOOK, "settings", "No settings file: these are the defaults.", mend))
        return Config(), True
    try:
        config = load(file)
    except ConfigError as error:
        for finding in error.findings:
            what = f"{finding.key} = {finding.value}" if finding.value else finding.key
            checks.append(
                Check(f"settings.{finding.key}", BAD, finding.key, f"{what}: {finding.rule}.", f"Correct it in {file}")
            )
        return Config(), False
    except OSError as error:
        mend = "Give your settings with --config FILE"
        checks.append(Check("settings.file", BAD, "settings", f"{file}: {error.strerror or error}.", mend))
        return Config(), False
    sensors = ", ".join(sensor.name for sensor in config.range_sensor)
    checks.append(Check("settings.file", OK, "settings", f"{file} is in order; range sensors: {sensors}."))
    return config, True


def _stop(config: Config, file: Path) -> Check:
    """How long the walker is given to stop, and who says so."""
    try:
        file.stat()
    except PermissionError:
        detail = f"What was measured of the walker's stops, if anything, lies in {file}, which you may not read."
        return Check("settings.stop", OK, "stopping", detail, "sudo retrowalk doctor")
    except OSError:
        pass  # there is none
    laid = lay(config, file)
    shown = f"The walker is given {human_stop_s(laid.config.walker):g} s to stop"
    if laid.damage:
        mend = "retrowalk calibrate stop: it is put aside, and measured anew"
        return Check("settings.stop", LOOK, "stopping", f"{shown}: {laid.damage}.", mend)
    if laid.stop:
        return Check("settings.stop", OK, "stopping", f"{shown}: {laid.stop}.")
    if config.walker.profile == "measured":
        return Check("settings.stop", OK, "stopping", f"{shown}, by the settings.")
    mend = "When there is time: retrowalk calibrate stop"
    return Check("settings.stop", OK, "stopping", f"{shown}, as assumed ({config.walker.profile}).", mend)


def _phrases(config: Config, ground: Ground) -> Check:
    try:
        missing = ground.missing_phrases(config)
    except (BankError, OSError):
        detail = "The spoken phrases are not made yet: only a few words can be said."
        return Check("sound.phrases", LOOK, "phrases", detail, "retrowalk voices build")
    if missing:
        detail = f"{missing} spoken phrases are missing or damaged."
        return Check("sound.phrases", LOOK, "phrases", detail, "retrowalk voices build")
    return Check("sound.phrases", OK, "phrases", "Every phrase is there.")


def _device(
    config: Config,
    ground: Ground,
    control: Control | None,
    *,
    hands_on: bool,
    sound: bool,
    tell: Callable[[str], None],
) -> Iterator[Check]:
    patient: Patient
    found: Scan | None
    if control is not None:
        tell("asking the guard that runs")
        patient = Guarded(control)
        patient.watch(WATCH_S if config.battery.chip == "none" else BATTERY_WATCH_S)
        healthy = _read_well(config, patient.seen)
        found = _scan(config, ground, healthy)
        yield from _version(control)
        yield from _guard(control)
        yield from _voice(patient.seen)
        yield from _courier(patient.seen)
    else:
        tell("looking at pins and bus")
        levels = list(_levels(config, ground))
        yield from levels
        if any("busy" in check.detail.lower() for check in levels):
            return  # somebody else has the pins, and perhaps the chips
        healthy = {}
        found = _scan(config, ground, healthy)
        tell("listening to the sensors")
        patient = Alone(config, ground)
        patient.watch(WATCH_S)
        if patient.seen.pressed:
            patient.watch(1.0)  # let go meanwhile?
    try:
        if found is not None:
            yield from _bus(config, found, healthy)
        yield from look_at_sensors(config, patient.seen, found)
        yield from _reported(patient.seen)
        if hands_on:
            yield from _hands_on(config, ground, patient, sound=sound, tell=tell)
    finally:
        if control is None:
            patient.close()


def _levels(config: Config, ground: Ground) -> Iterator[Check]:
    """The idle levels of the inputs, before any driver touches them."""
    shown, wrong, problem = [], [], ""
    for name, pin, idle in computer.configured_lines(config):
        try:
            line = InputLine(ground.platform.pin_factory, pin, "up" if idle == "high" else "down", lambda _level: None)
            level = "high" if line.level() else "low"
            line.close()
        except DeviceError as error:
            problem = str(error)
            continue
        shown.append(f"{name} (GPIO{pin}) {level}")
        if level != idle:
            wrong.append(f"GPIO{pin}, {name}, is {level} and must be {idle} at rest")
    if problem:
        mend = "See permissions and lgpio; or another program holds the pins: sudo gpioinfo"
        yield Check("pins.levels", BAD, "levels", f"{problem}.", mend)
    elif wrong:
        mend = "Pull the wire off the pin: if the level changes, look at the part; if not, for a short"
        yield Check("pins.levels", BAD, "levels", f"{'; '.join(wrong)}.", mend)
    else:
        yield Check("pins.levels", OK, "levels", f"{', '.join(shown)}.")


def _read_well(config: Config, seen: Observation) -> dict[int, str]:
    """Addresses of the chips that the guard reads without a fault, with their names."""
    return {address: name for name, address, _, _ in computer.configured_chips(config) if seen.of(name) is None}


def _scan(config: Config, ground: Ground, leave: Mapping[int, str]) -> Scan | None:
    """Looks along the bus; chips that a guard reads well are left to it."""
    bus = ground.platform.bus
    if bus is None:
        return None
    expected = {address: kind for _, address, kind, _ in computer.configured_chips(config)}
    return scan(bus, expected, leave, pause if isinstance(bus, LazyBus) else lambda: None)


def _bus(config: Config, found: Scan, healthy: Mapping[int, str]) -> Iterator[Check]:
    """What the look along the bus gave; `healthy`: chips that a guard reads."""
    chips = computer.configured_chips(config)
    if found.stuck:
        detail = "Every transfer times out: SDA (GPIO2) or SCL (GPIO3) is held low."
        mend = "Unplug the chips one after another until it is free; that one, its cable or its 3.3 V is the cause"
        yield Check("bus.scan", BAD, "bus scan", detail, mend)
        return
    if found.problem and not found.answers:
        if len(healthy) == len(chips):
            detail = f"The guard reads every chip of the settings; the rest was not looked at: {found.problem}."
            yield Check("bus.scan", OK, "bus scan", detail)
        else:
            detail = f"Nobody can be asked: {found.problem}."
            mend = f"Is I2C on (dtparam=i2c_arm=on in {computer.CONFIG_TXT}), and are you in group i2c?"
            yield Check("bus.scan", LOOK, "bus scan", detail, mend)
        return
    mine = {address: name for name, address, _, _ in chips}
    lines = []
    for name, address, kind, _ in chips:
        answer = found.at(address)
        if address in healthy:
            lines.append(f"0x{address:02X} {kind} ({name}, read by the guard)")
        elif answer is not None:
            lines.append(f"{answer} ({name})")
    strangers = [answer for answer in found.answers if answer.address not in mine]
    missing = [
        f"0x{address:02X} {kind} ({name})"
        for name, address, kind, _ in chips
        if address in found.asked and found.at(address) is None
    ]
    shown = ", ".join([*lines, *(f"{answer} (not in the settings)" for answer in strangers)]) or "nothing"
    if missing:
        detail = f"No answer from {', '.join(missing)}. There is: {shown}."
        yield Check("bus.scan", LOOK, "bus scan", detail, "See the sensors below")
    elif strangers:
        mend = "Nothing, if it belongs there; else set it up in the settings"
        yield Check("bus.scan", OK, "bus scan", f"{shown}.", mend)
    else:
        yield Check("bus.scan", OK, "bus scan", f"{shown}.")


def _version(control: Control) -> Iterator[Check]:
    running = control.examined.program_version if control.examined is not None else __version__
    if running != __version__:
        detail = f"The guard that runs is version {running}, this is {__version__}."
        yield Check("retrowalk.upgrade", LOOK, "upgrade", detail, "sudo systemctl restart retrowalk.target")


def _guard(control: Control) -> Iterator[Check]:
    """What the walker may rely on now, and why it is no more."""
    if control.examined is None:
        return
    guard_state, reasons = control.examined.guard_state, control.examined.reasons
    words = why(reasons)
    mend = "A press tells the walker, too; docs/check.md has every reason"
    match guard_state:
        case "not_protecting":
            yield Check("retrowalk.guard", BAD, "guard", f"It does not protect: {words}.", mend)
        case "limited" if set(reasons) - ASKED:
            yield Check("retrowalk.guard", LOOK, "guard", f"It warns in part only: {words}.", mend)
        case "limited":
            yield Check("retrowalk.guard", OK, "guard", f"It guards: {words}.")
        case "checking":
            yield Check("retrowalk.guard", OK, "guard", "It waits for the hand behind, and for a press.")
        case _:
            yield Check("retrowalk.guard", OK, "guard", f"It is {guard_state.replace('_', ' ')}.")


def _voice(seen: Observation) -> Iterator[Check]:
    beats = [item for item in seen.items if isinstance(item, VoiceHeartbeat)]
    if not beats:
        mend = "journalctl -b -u retrowalk-voice   says why"
        yield Check("sound.voice", BAD, "voice", "The voice does not answer: buzzer and vibration stand in.", mend)
    elif beats[-1].fault:
        mend = VOICE_MEND.get(beats[-1].fault, "")
        state = BAD if beats[-1].fault in ("no_device", "frozen") else LOOK
        fault = beats[-1].fault.replace("_", " ")
        delay = f", heard after {beats[-1].delay_ms} ms" if beats[-1].delay_ms else ""
        yield Check("sound.voice", state, "voice", f"The voice reports: {fault} ({beats[-1].device}{delay}).", mend)
    else:
        beat = beats[-1]
        heard = "; the microphone hears it" if beat.proof == "heard" else ""
        delay = f", {beat.delay_ms} ms after it was asked for" if beat.delay_ms else ""
        detail = f"The voice plays on {beat.device}, {beat.underruns} times out of frames{heard}{delay}."
        yield Check("sound.voice", OK, "voice", detail)


def _courier(seen: Observation) -> Iterator[Check]:
    beats = [item for item in seen.items if isinstance(item, CourierHeartbeat)]
    if not beats:
        mend = "journalctl -b -u retrowalk-courier   says why"
        yield Check("messages.courier", LOOK, "courier", "It does not answer: no messages, no recording.", mend)
        return
    beat = beats[-1]
    link = "connected" if beat.connected else "not connected"
    shown = f"{link}, {beat.waiting} messages waiting, {'recording' if beat.recording else 'not recording'}"
    if beat.fault:
        mend = "See broker and disk; journalctl -b -u retrowalk-courier   says more"
        yield Check("messages.courier", LOOK, "courier", f"It reports: {beat.fault} ({shown}).", mend)
    else:
        yield Check("messages.courier", OK, "courier", f"{shown[0].upper()}{shown[1:]}.")


_OWN = ("config", "guard", "recording")


def _reported(seen: Observation) -> Iterator[Check]:
    """What the guard says of itself."""
    mends = {
        "config": "Correct the settings file, then: sudo systemctl restart retrowalk.target",
        "guard": "df -h /run: its state cannot be kept there",
    }
    for (part, fault), detail in seen.faults.items():
        if part not in _OWN:
            continue
        state = BAD if fault == "unusable" else LOOK
        words = f"{fault.replace('_', ' ')}{f': {detail}' if detail else ''}."
        yield Check(f"retrowalk.{part}", state, part, f"{words[0].upper()}{words[1:]}", mends.get(part, ""))


def _hands_on(
    config: Config, ground: Ground, patient: Patient, *, sound: bool, tell: Callable[[str], None]
) -> Iterator[Check]:
    busy = patient.busy()
    if busy:
        detail = f"Voice, signal and button were not tried: {BUSY.get(busy, busy)}."
        yield Check("person.tried", LOOK, "not tried", detail, "Ask again when it is over")
        return
    clips: dict[str, bytes] = {}
    if sound:
        tell("preparing what I shall say")
        try:
            clips = {text: ground.render(config, text) for text in TEXTS}
        except (BankError, OSError) as error:
            mend = "sudo apt install espeak-ng; and a directory for phrases that you may write"
            yield Check("sound.speech", LOOK, "speech", f"Nothing could be rendered: {error}.", mend)
    if clips:
        tell(f"saying: {HELLO}")
        problem = patient.say(HELLO, clips[HELLO])
        if problem:
            mend = "See sound card and voice; loudness: alsamixer"
            yield Check("sound.speech", LOOK, "speech", f"{problem[0].upper()}{problem[1:]}.", mend)
        else:
            yield Check("sound.speech", OK, "speech", "A sentence was played to its end.")
    with_buzzer = sound
    tell("a signal of vibration and buzzer" if with_buzzer else "a signal of vibration")
    two = config.vibration.right_pin >= 0
    if two:
        tell("first on the left, then on the right")
    problem = patient.touch(buzzer=with_buzzer, side="left" if two else "")
    if two:
        problem = problem or patient.touch(buzzer=False, side="right")
    dead = [part for part in ("vibration", "vibration-right", "buzzer") if patient.seen.of(part) is not None]
    if dead:
        problem = f"{' and '.join(dead)} cannot be switched"
    outputs = [config.vibration.pin] + [config.vibration.right_pin] * two + [config.buzzer.pin] * with_buzzer
    pins = " and ".join(f"GPIO{pin}" for pin in outputs)
    if problem:
        yield Check("person.touch", LOOK, "signal", f"{problem[0].upper()}{problem[1:]}.", "See buzzer and vibration")
    else:
        mend = f"Felt or heard nothing? Check its transistor at {pins}, its diode, 5 V and ground"
        yield Check("person.touch", OK, "signal", f"{pins} were switched; only you know what came of it.", mend)
    if patient.seen.of("touch") is not None:
        # Nobody knows before something weaker than full was to be felt.
        detail = (
            "These pins know no strength: every vibration is at full power, and a soft tap is as hard as a warning."
        )
        yield Check("person.strength", LOOK, "strength", detail, "Use the pins of lgpio: script/setup installs it")
    tell(f"press the button once, within {PRESS_S:.0f} s")
    if clips:
        patient.say(ASK, clips[ASK])
    pressed = patient.wait_for_press(PRESS_S)
    if clips:
        answer = THANKS if pressed else NO_PRESS
        _insist(patient, answer, clips[answer])
    if pressed:
        yield Check("person.press", OK, "press", f"The button was pressed and let go (GPIO{config.button.pin}).")
        if clips:
            yield from _explain(config, ground, patient, clips[OFFER], tell)
    else:
        mend = (
            f"If you did press: check its wires to GPIO{config.button.pin} and ground. If you heard nothing: see sound"
        )
        yield Check("person.press", LOOK, "press", f"No press within {PRESS_S:.0f} s.", mend)


def _explain(
    config: Config, ground: Ground, patient: Patient, offer: bytes, tell: Callable[[str], None]
) -> Iterator[Check]:
    """Somebody is there: what the button does and what the device cannot do, as at its first use, if they want it."""
    tell(f"saying: {OFFER}")
    _insist(patient, OFFER, offer)
    if not patient.wait_for_press(OFFER_S):
        return
    texts = Texts.load(config.device.language)
    sentences = introduction(config)
    words = [texts.words("introduction", value) for value in (*BUTTON, *sentences) if value != sentences[-1]]
    problem = ""
    for sentence in dict.fromkeys(words):  # the button first, it was asked for
        tell(f"saying: {sentence}")
        try:
            problem = problem or _insist(patient, sentence, ground.render(config, sentence))
        except (BankError, OSError) as error:
            problem = problem or f"nothing could be rendered: {error}"
    if problem:
        detail = f"What the button does could not be said: {problem}."
        yield Check("person.button", LOOK, "button", detail, "See sound; the README has the button's table")
    else:
        yield Check("person.button", OK, "button", "What it does was said, and what the device cannot do.")


def _insist(patient: Patient, text: str, pcm: bytes) -> str:
    """Says a text, and again if something more urgent has cut it; returns what went wrong."""
    problem = ""
    for _ in range(TRIES):
        problem = patient.say(text, pcm)
        if "more urgent" not in problem:
            break
    return problem
