"""The command line: what people use (`retrowalk run`, `demo`, `doctor` ...), and the three processes (hidden).

What a command needs is imported inside it, so that `--help` answers at once and a process loads only what is its own.
Errors that a person can do something about are one or two plain lines, and never a traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from retrowalk import __version__

if TYPE_CHECKING:
    from rich.console import Console

    from retrowalk.calibration import Measured, MeasuredGait
    from retrowalk.config import Config
    from retrowalk.control import Control
    from retrowalk.hub.view import View

CONFIG_FILE = Path("/etc/retrowalk/retrowalk.toml")
HUB_CONFIG_FILE = Path("/etc/retrowalk/hub.toml")
HUB_STATE_DIR = Path("/var/lib/retrowalk-hub")
RUN_DIR = Path("/run/retrowalk")
STATE_DIR = Path("/var/lib/retrowalk")
NOT_TAKEN = "not-taken.txt"
"""Beside the settings: why those of the card's boot partition were not taken over."""
LAST_GOOD = "last-good.toml"
"""Copy of the last configuration that was in order, in the state directory."""

OK, DIFFERENT, UNUSABLE = 0, 1, 2
"""Exit statuses; click uses 2 for a wrong command line, too."""

SAY_BEGINS_S, SAY_ANSWERS_S = 5.0, 3.0
"""A free text waits so long for a pause; so long after its end nobody answers any more."""
SAY_ATTEMPTS = 4
"""What retrowalk says at its start, with much to complain about, is over after so many waits."""

TRIALS_NAMED = 8
"""So many of a recording's trials are named to somebody who named none."""


class _Commands(click.Group):
    """Commands in the order in which they are defined; what retrowalk raises on purpose ends in plain words."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read our output has had enough; click ends quietly
        except Exception as error:
            from retrowalk import logs
            from retrowalk.errors import RetrowalkError

            if logs.to_journal() and isinstance(error, RetrowalkError | OSError):
                import logging

                before = logs.lost()
                logging.getLogger("retrowalk").error("%s", error, extra=logs.about("process.failed"))
                if logs.lost() == before:
                    sys.exit(DIFFERENT)
            if isinstance(error, RetrowalkError):
                raise click.ClickException(str(error)) from error
            if isinstance(error, OSError) and error.filename is not None:
                raise click.ClickException(f"{error.filename}: {error.strerror}") from error
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise click.ClickException(f"{error.strerror}: make room, or choose another folder.") from error
            raise


def _examples(*lines: str) -> str:
    """Examples beneath the help of a command; the backspace keeps click from joining the lines."""
    title = "Example:" if len(lines) == 1 else "Examples:"
    return "\n".join(["\b", title, *(f"  retrowalk {line}" for line in lines)])


def main() -> None:
    """What the `retrowalk` program runs."""
    cli(prog_name="retrowalk")


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="To see and hear it without any hardware: retrowalk demo.  Help for one command: retrowalk demo --help.",
)
@click.version_option(__version__, message="retrowalk %(version)s")
def cli() -> None:
    """Retrowalk warns people who walk backward.

    A small computer worn on the body watches the path behind and the walker's balance.  It speaks before a collision,
    and calls a helper after a fall.  It is an aid, not a certified safety device: it does not see everything.
    """


_path = click.Path(path_type=Path)
_file = click.Path(path_type=Path, dir_okay=False)


# --------------------------------------------------------------------------------------------------- for people


@cli.command(
    short_help="Start retrowalk on this device, in the foreground.",
    epilog=_examples("run --config my-settings.toml"),
)
@click.option("--config", "config_file", type=_file, metavar="FILE", help=f"Settings.  [default: {CONFIG_FILE}]")
@click.option("--run-dir", type=_path, metavar="DIR", help="Where the processes meet; in memory, not on a disk.")
@click.option("--state-dir", type=_path, metavar="DIR", help="Where messages and recordings of walks are kept.")
def run(config_file: Path | None, run_dir: Path | None, state_dir: Path | None) -> None:
    """Start retrowalk on this device, in the foreground.

    It speaks, and shows a line whenever something changes.  Ctrl-C switches it off; wait for its goodbye.
    On a device that starts by itself at power-on, systemd does this instead.
    """
    if config_file is None:
        if not CONFIG_FILE.exists():
            raise click.UsageError(
                f"{CONFIG_FILE} is not there: give your settings with --config FILE.\n"
                "systemd/retrowalk.toml of the project is a documented file to begin with."
            )
        config_file = CONFIG_FILE
    elif not config_file.exists():
        # A device goes on with its last good settings; a person at the keyboard has mistyped a name.
        raise click.UsageError(f"{config_file} is not there: check the name after --config.")
    run_dir = _own_directory(run_dir or _person_run_dir(), 0o700)
    state_dir = _own_directory(state_dir or _person_state_dir(), 0o755)
    found = _resolved(config_file, state_dir)
    if found.problem:
        click.echo(found.problem, err=True)
        going_on = "going on with the last good ones"
        if found.unusable:
            going_on = "retrowalk protects nobody until this is mended"
        click.echo(f"The settings in {config_file} cannot be used: {going_on}, and says so aloud.", err=True)
    if found.damage:
        click.echo(f"{found.damage}, and retrowalk says so aloud.", err=True)
    from retrowalk import foreground

    sys.exit(foreground.run(config_file.absolute(), found.config, run_dir, state_dir, click.echo))


@cli.command(
    short_help="See and hear a simulated walk; needs no hardware.",
    epilog=_examples(
        "demo",
        "demo --fast --out my-walk",
        "demo --fault rear:off@20-30",
        "demo --config my-settings.toml",
        "demo --fast --imu-recording sisfall/SA01.npz --trial F02_SA01_R01",
    ),
)
@click.option("--fast", is_flag=True, help="In a few seconds instead of 90, without sound and live view.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Another number, another walk.")
@click.option("--out", type=_path, metavar="DIR", help="Keep sound, recording, events and transcript here.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="PART:KIND@FROM-TO",
    help="Break a part for some seconds, such as rear:off@20-30.  May be given several times.",
)
@click.option("--config", "config_file", type=_file, metavar="FILE", help="Settings of another device to try.")
@click.option("--imu-recording", "recorded", type=_file, metavar="FILE.npz", help="A recorded person wears the clip.")
@click.option("--trial", metavar="ID", help="Which trial of that recording, by the trial_id of its trials.csv.")
@click.option("--world", "world_file", type=_file, metavar="FILE", help="Measured numbers of the world: bench import.")
def demo(
    fast: bool,
    seed: int,
    out: Path | None,
    faults: tuple[str, ...],
    config_file: Path | None,
    recorded: Path | None,
    trial: str | None,
    world_file: Path | None,
) -> None:
    """Show a simulated walk of 90 seconds; needs no hardware.

    The real programs run; only the sensors, the walker and the street are simulated.  The walker comes near a wall,
    somebody steps behind, the walker leans back too far, falls, and a helper is called.  At the end it says whether
    everything was heard that had to be heard, and nothing else.

    With --config a device of other sensors and settings is worn, and judged as the default one is.  Only broker,
    recording and the time to call off the scripted fall stay the demo's own.

    With --imu-recording the clip is worn by a person of a movement data set instead, with nothing behind and nobody at
    the button: it says what was heard and sent, and whether a fall was told as one, and nothing else was.

    With --world (or the variable RETROWALK_WORLD) echoes, light, ground and gait are as a bench has measured them,
    where it has; else they are estimates.
    """
    from retrowalk.config import Config, load
    from retrowalk.sim import estimates

    if world_file is not None:
        os.environ[estimates.VARIABLE] = str(world_file.absolute())  # the world may stand in a process of its own
    estimates.current()

    if recorded is not None or trial is not None:
        recorded, trial = _recorded_trial(fast, recorded, trial)
    config = load(config_file) if config_file is not None else Config()
    console = _console()
    _build_bank(config, None, _console(stderr=True), only_if_needed=True)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    if recorded is not None and trial is not None:
        from retrowalk.sim.demo import run_recorded

        with _bar(_console(stderr=True), "walking") as advance:
            outcome = run_recorded(
                seed, out, recorded, trial, list(faults), lambda t_s, end_s: advance(t_s, end_s, ""), config
            )
    elif fast:
        from retrowalk.sim.demo import run_fast

        with _bar(_console(stderr=True), "walking") as advance:
            outcome = run_fast(seed, out, list(faults), lambda t_s, end_s: advance(t_s, end_s, ""), config)
    else:
        from retrowalk.sim.demo import run_realtime
        from retrowalk.sim.view import show

        with show(console, config) as on_frame:
            outcome = run_realtime(seed, out, list(faults), on_frame, config)
    from retrowalk.sim.report import print_outcome

    print_outcome(console, outcome)
    sys.exit(OK if outcome.ok else DIFFERENT)


@cli.command(
    short_help="Go through a recorded walk again.",
    epilog=_examples("replay my-walk/walk.mcap", "replay my-walk/walk.mcap --with my-settings.toml"),
)
@click.argument("files", type=_path, nargs=-1, required=True, metavar="FILE.mcap...")
@click.option("--with", "other_file", type=_file, metavar="OTHER.toml", help="Settings to try on the recorded walk.")
def replay(files: tuple[Path, ...], other_file: Path | None) -> None:
    """Go through a recorded walk again, and see whether retrowalk says the same.

    With other settings (--with) it shows what they would have said on the same walk.  A long walk has several files:
    give all of them.

    The exit status is 0 when all is the same, 1 when something differs, 2 when the file cannot be used.
    """
    from retrowalk import replay as replaying
    from retrowalk.config import load
    from retrowalk.courier.recording import read
    from retrowalk.errors import RetrowalkError

    try:
        recording = read(files if len(files) > 1 else files[0])
        if other_file is not None:
            _print_other(replaying.with_other(recording, load(other_file)), other_file)
            sys.exit(OK)
        comparison = replaying.replay(recording)
    except (RetrowalkError, OSError) as error:
        named = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        click.echo(f"Error: {named}", err=True)
        sys.exit(UNUSABLE)
    for note in comparison.notes:
        click.echo(f"recording: {note}")
    for lost in comparison.lost:
        click.echo(f"lost: {lost}")
    if comparison.difference is not None:
        _print_difference(comparison.difference)
        sys.exit(DIFFERENT)
    if not comparison.items:
        click.echo("Error: nothing in this recording can be replayed.", err=True)
        sys.exit(UNUSABLE)
    as_far = "identical" if recording.complete else "identical as far as the recording goes"
    click.echo(f"{as_far}: {comparison.items} items, {comparison.outputs} outputs, {comparison.until_s:.1f} s")


@cli.command(
    short_help="Say something aloud, to hear whether the voice works.",
    epilog=_examples('say "Hello, I am your voice."'),
)
@click.argument("text")
@click.option("--config", "config_file", type=_file, metavar="FILE", help="Settings: which voice, which sound device.")
@click.option("--run-dir", type=_path, metavar="DIR", help="Of the running retrowalk.")
@click.option("--dir", "bank_dir", type=_path, metavar="DIR", help="Where the spoken phrases are kept.")
def say(text: str, config_file: Path | None, run_dir: Path | None, bank_dir: Path | None) -> None:
    """Say something aloud, to hear whether the voice works and how loud it is.

    A running retrowalk says it in a pause between its own messages; otherwise the sound device is used directly.
    """
    from retrowalk import control as controls
    from retrowalk.platform import MonotonicClock
    from retrowalk.voice.bank import default_directory
    from retrowalk.voice.say import play_clip, render_text

    if not text.strip():
        raise click.UsageError("There is nothing to say: give the words in quotation marks.")
    config = _configuration(config_file)
    pcm = render_text(config, bank_dir or default_directory(), text)
    for directory in _run_dirs(run_dir):
        line = controls.connect([directory], "say", MonotonicClock())
        if line is not None:
            try:
                _say_through(line, directory, text, pcm)
            finally:
                line.close()
            return
        if _runs_for_others(directory):
            raise click.ClickException(f"retrowalk runs in {directory}, which is not yours: sudo retrowalk say ...")
    from retrowalk.voice.alsa import AlsaSystem

    play_clip(AlsaSystem(), config.voice.device, pcm)
    click.echo(f"said on {config.voice.device}")


@cli.command(
    short_help="Find out what is wrong with this device, and what to do.",
    epilog=_examples("doctor", "doctor --quick", "doctor --config my-settings.toml --json"),
)
@click.option("--config", "config_file", type=_file, metavar="FILE", help=f"Settings.  [default: {CONFIG_FILE}]")
@click.option("--run-dir", type=_path, metavar="DIR", help="Of the running retrowalk.")
@click.option("--quick", is_flag=True, help="Only look: say nothing, switch nothing, ask nothing.")
@click.option("--no-sound", is_flag=True, help="Without voice and buzzer; the press is asked for on the screen.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of the page.")
def doctor(config_file: Path | None, run_dir: Path | None, quick: bool, no_sound: bool, as_json: bool) -> None:
    """Find out what is wrong with this device, and what to do.

    It looks at settings, computer, sensors, sound and messages, each by name; then it speaks, buzzes, vibrates and
    asks for a press of the button.  A running retrowalk is asked and goes on guarding; else the devices are used
    directly.

    The exit status is 0 when all is well, 1 when there is something to look at, 2 when it is not ready to walk.
    """
    from retrowalk.doctor.examine import examine
    from retrowalk.doctor.ground import street

    os.environ.setdefault("LG_WD", str(_own_directory(_person_run_dir(), 0o700)))  # lgpio leaves a FIFO there
    if config_file is None and CONFIG_FILE.exists():
        config_file = CONFIG_FILE
    state_dir = STATE_DIR if STATE_DIR.exists() else _person_state_dir()
    notes = _console(stderr=True)

    def tell(words: str) -> None:
        if not as_json:
            notes.print(f"... {words}", style="dim", highlight=False)

    ground = street(_run_dirs(run_dir), state_dir, _bank_dir(state_dir))
    found = examine(config_file, ground, hands_on=not quick, sound=not no_sound, tell=tell)
    if as_json:
        click.echo(found.json())
    else:
        from retrowalk.doctor.page import show

        show(_console(), found)
    sys.exit(found.status)


@cli.command(
    short_help="Pack one file for whoever helps you, without secrets.",
    epilog=_examples("support", "support --since 7d --out /tmp/for-anna.tar.gz", "support --with-recording last"),
)
@click.option(
    "--out", type=_file, metavar="FILE", help="Where to put it.  [default: retrowalk-support-<time>.tar.gz here]"
)
@click.option("--since", default="24h", show_default=True, metavar="TIME", help="How far back logs go: 90m, 24h, 7d.")
@click.option(
    "--with-recording", type=click.Choice(["last"]), help="Also the latest recorded walk: it shows the walker."
)
@click.option("--with-messages", is_flag=True, help="Also the latest messages to the caregiver, with what they say.")
@click.option("--config", "config_file", type=_file, metavar="FILE", help=f"Settings.  [default: {CONFIG_FILE}]")
@click.option("--run-dir", type=_path, metavar="DIR", help="Of the running retrowalk.")
@click.option("--state-dir", type=_path, metavar="DIR", help="Of the running retrowalk.")
def support(
    out: Path | None,
    since: str,
    with_recording: str | None,
    with_messages: bool,
    config_file: Path | None,
    run_dir: Path | None,
    state_dir: Path | None,
) -> None:
    """Pack one file for whoever helps: logs, settings, the doctor's report, the state of everything.

    Passwords, tokens, addresses and names of people are replaced.  There is no recording of the walker in it unless
    you ask for one.  It takes half a minute at most, disturbs nothing, and works on a broken device: what it could not
    have, it says.  With sudo it may see more.
    """
    import time

    from retrowalk.doctor.machine import ThisMachine
    from retrowalk.support import bundle
    from retrowalk.support.pieces import Places, Source
    from retrowalk.support.secrets import Hidden

    try:
        how_far = bundle.since(since)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    own = (_person_run_dir() / "guard.sock").exists()
    places = Places(
        config=config_file or CONFIG_FILE,
        hub_config=HUB_CONFIG_FILE,
        state=state_dir or _state_dir_in_use(),
        hub_state=_hub_state_dir(),
        run=run_dir or (_person_run_dir() if own else RUN_DIR),
    )
    doctor = [sys.executable, "-m", "retrowalk", "doctor", "--quick", "--json"]
    doctor += ["--config", str(config_file)] if config_file else []
    doctor += ["--run-dir", str(run_dir)] if run_dir else []
    source = Source(places, ThisMachine(), Hidden(), how_far, tuple(doctor))
    made = bundle.make(
        source,
        (out or Path(bundle.default_name(time.time()))).absolute(),
        with_recording=bool(with_recording),
        with_messages=with_messages,
        tell=lambda words: click.echo(f"... {words}", err=True),
    )
    for name, why in made.missing.items():
        click.echo(f"could not be had: {name}: {why}", err=True)
    click.echo(f"{made.file}  ({made.size_bytes / 1e6:.1f} MB)")
    click.echo("Secrets and names are replaced.  It is plain text: read it before you send it.", err=True)


@cli.command(
    short_help="Keep a recording with labels: it says what to do.",
    epilog=_examples(
        "record --out my-walk", "record --label anna --by-button --out anna", "record --script my.toml --out x"
    ),
)
@click.option("--out", type=_path, metavar="DIR", required=True, help="Where the recording is put.")
@click.option("--label", default="", metavar="TEXT", help="A name that holds for the whole recording.")
@click.option(
    "--script",
    "script_file",
    default="default",
    metavar="FILE",
    help="What is asked for.  [default: a minute of standing, walking, stopping and turning]",
)
@click.option("--by-button", is_flag=True, help="Each part begins when the walker presses the button.")
@click.option("--config", "config_file", type=_file, metavar="FILE", help=f"Settings.  [default: {CONFIG_FILE}]")
@click.option("--run-dir", type=_path, metavar="DIR", help="Of the running retrowalk.")
def record(
    out: Path, label: str, script_file: str, by_button: bool, config_file: Path | None, run_dir: Path | None
) -> None:
    """Keep a labelled recording of a walk.

    It says what to do ("Stand still", "Walk back slowly"), and keeps in the recording from when to when that held.  A
    running retrowalk does it beside its work; else one is started for as long.  Warnings go first, as always: what they
    cut off is said again.  Ctrl-C ends it and keeps what there is.

    A script is a TOML file of [[prompt]] tables with label, say, seconds and, for a prompt without "in three, two,
    one", countdown = false.
    """
    from retrowalk import control as controls
    from retrowalk import record as recording
    from retrowalk.doctor.computer import services
    from retrowalk.doctor.machine import ThisMachine
    from retrowalk.platform import MonotonicClock
    from retrowalk.voice.say import render_text

    prompts = recording.script(script_file)
    line = controls.connect(_run_dirs(run_dir), "record", MonotonicClock())
    if line is None and "active" in services(ThisMachine()):
        raise click.ClickException("retrowalk runs as a service, which does not answer you: sudo retrowalk record ...")
    if config_file is None and line is None and not CONFIG_FILE.exists():
        raise click.UsageError(f"{CONFIG_FILE} is not there: give your settings with --config FILE.")
    config = _configuration(config_file)
    bank_dir = _bank_dir(STATE_DIR)
    for text in recording.texts(prompts, by_button=by_button):
        render_text(config, bank_dir, text)
    try:
        if line is not None:
            session = recording.Session(line, click.echo)
            recording.stop_on_signals(session.stop)
            session.run(prompts, by_button=by_button, label=label)
            kept = recording.collect(line, out)
        else:
            file = (config_file or CONFIG_FILE).absolute()
            kept = recording.alone(file, prompts, out, click.echo, by_button=by_button, label=label)
    finally:
        if line is not None:
            line.close()
    if not kept:
        raise click.ClickException("nothing was recorded: is recording.enabled true, and is there room on the disk?")
    names = " ".join(str(path) for path in kept)
    click.echo(f"The recording lies in {out}.  Go through it again: retrowalk replay {names}")


@cli.group(
    cls=_Commands,
    short_help="Measure the walker: how they stop, how they step.",
    epilog=_examples("calibrate stop", "calibrate gait", "calibrate list"),
)
def calibrate() -> None:
    """Measure the walker, so that retrowalk need not assume how they are."""


def _calibrate_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--state-dir", type=_path, metavar="DIR", help="Where that retrowalk keeps what was measured."),
        click.option("--run-dir", type=_path, metavar="DIR", help="Of the running retrowalk."),
        click.option(
            "--config", "config_file", type=_file, metavar="FILE", help=f"Settings.  [default: {CONFIG_FILE}]"
        ),
    ):
        command = option(command)
    return command


@calibrate.command(
    "stop",
    short_help="Measure how long this walker takes to stop.",
    epilog=_examples("calibrate stop", "calibrate stop --undo"),
)
@click.option("--undo", is_flag=True, help="Go back to the measurement before, or to the assumed time.")
@_calibrate_options
def calibrate_stop(undo: bool, config_file: Path | None, run_dir: Path | None, state_dir: Path | None) -> None:
    """Measure how long this walker takes to stop.

    Five times the walker walks backward, in a clear space of ten metres or more and best with somebody beside them,
    and stops when "Stop" is heard.  Everything is spoken, and a press of the button begins each walk.  Hold the button
    for two seconds, or press Ctrl-C, to end it without any change.  A running retrowalk does it beside its work, and
    goes on warning; else one is started for as long.

    From its next start on retrowalk gives the walker the time that 95 of 100 of their stops are expected to take,
    instead of the time assumed for their age.  Earlier measurements are kept.  A walker.measured_stop_s that you set
    yourself, with walker.profile = "measured", stands before any measurement.
    """
    from retrowalk import calibration

    _needs_state_dir(run_dir, state_dir)
    if undo:
        file = (state_dir or _state_dir_in_use()) / calibration.FILE_NAME
        counts = calibration.undo(file)
        now = f"{counts.stop_s:g} s, measured on {counts.measured_at[:10]}" if counts else "the assumed time"
        click.echo(f"Undone in {file}.  What counts is {now}.\n{_AT_NEXT_START}")
        return
    from retrowalk.calibrate import stop as measuring

    def allowed(config: Config) -> None:
        if config.walker.profile == "measured":
            raise click.ClickException(
                f"the settings hold a time of their own, walker.measured_stop_s = {config.walker.measured_stop_s:g}, "
                'which stands before any measurement: set walker.profile to "older" or "younger" first.'
            )

    def measure(control: Control, config: Config, render: Callable[[str], object], file: Path) -> str | None:
        from retrowalk.record import stop_on_signals

        session = measuring.Session(control, render, click.echo)
        stop_on_signals(session.stop)
        measured = measuring.measure(session, config, file, _now_utc())
        return f"{measured.stop_s:g} s" if measured else None

    _calibrate(allowed, measuring.TEXTS, measure, "stop", config_file, run_dir, state_dir)


@calibrate.command(
    "gait",
    short_help="Measure how long this walker's steps are.",
    epilog=_examples("calibrate gait", "calibrate gait --distance-m 15 --steps 31", "calibrate gait --undo"),
)
@click.option(
    "--distance-m", type=click.IntRange(5, 50), default=10, show_default=True, metavar="M", help="Length of the way."
)
@click.option("--steps", type=click.IntRange(5, 400), metavar="N", help="As counted by somebody else: must agree.")
@click.option("--undo", is_flag=True, help="Go back to the measurement before, or to what is usual.")
@_calibrate_options
def calibrate_gait(
    distance_m: int,
    steps: int | None,
    undo: bool,
    config_file: Path | None,
    run_dir: Path | None,
    state_dir: Path | None,
) -> None:
    """Measure how long this walker's steps are, so that distance and speed are their own.

    The walker walks backward once over ten metres that were measured out, between two presses of the button, and again
    if they like.  Everything is spoken.  Hold the button for two seconds, or press Ctrl-C, to end it without any
    change.  A running retrowalk does it beside its work, and goes on warning; else one is started for as long.

    It counts from the next start on.  Earlier measurements are kept.  A walker.step_length_m that you set yourself
    stands before any measurement.
    """
    from retrowalk import calibration

    _needs_state_dir(run_dir, state_dir)
    if undo:
        file = (state_dir or _state_dir_in_use()) / calibration.FILE_NAME
        counts = calibration.undo_gait(file)
        now = f"{counts.step_length_m:g} m, measured on {counts.measured_at[:10]}" if counts else "what is usual"
        click.echo(f"Undone in {file}.  What counts is {now}.\n{_AT_NEXT_START}")
        return
    from retrowalk.calibrate import gait as measuring

    def allowed(config: Config) -> None:
        if config.walker.step_length_m:
            raise click.ClickException(
                f"the settings hold a step of their own, walker.step_length_m = {config.walker.step_length_m:g}, "
                "which stands before any measurement: set it to 0 first."
            )

    def measure(control: Control, config: Config, render: Callable[[str], object], file: Path) -> str | None:
        from retrowalk.record import stop_on_signals

        session = measuring.Session(control, render, click.echo, distance_m=distance_m, steps=steps or 0)
        stop_on_signals(session.stop)
        measured = measuring.measure(session, file, _now_utc())
        return f"{measured.step_length_m:g} m a step" if measured else None

    _calibrate(allowed, measuring.texts(distance_m), measure, "gait", config_file, run_dir, state_dir)


def _needs_state_dir(run_dir: Path | None, state_dir: Path | None) -> None:
    if run_dir is not None and state_dir is None:
        raise click.UsageError("--run-dir needs --state-dir as well: where that retrowalk keeps what was measured.")


def _now_utc() -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _calibrate(
    allowed: Callable[[Config], None],
    texts: Sequence[str],
    measure: Callable[[Control, Config, Callable[[str], object], Path], str | None],
    name: str,
    config_file: Path | None,
    run_dir: Path | None,
    state_dir: Path | None,
) -> None:
    """Measures through the retrowalk that runs, or one that is started for it.

    `allowed` raises where settings stand before any measurement; `measure` returns what was measured, in words.
    """
    from retrowalk import calibration
    from retrowalk import control as controls
    from retrowalk.doctor.computer import services
    from retrowalk.doctor.machine import ThisMachine
    from retrowalk.errors import CalibrationError
    from retrowalk.platform import MonotonicClock
    from retrowalk.record import own_guard
    from retrowalk.voice.bank import default_directory
    from retrowalk.voice.say import render_text

    line = None
    for directory, beside in [(run_dir, state_dir)] if run_dir and state_dir else _places():
        line = controls.connect([directory], "calibrate", MonotonicClock())
        if line is not None:
            state_dir = state_dir or beside
            break
    if line is None and "active" in services(ThisMachine()):
        raise click.ClickException(
            "retrowalk runs as a service, which does not answer you: sudo retrowalk calibrate ..."
        )
    if config_file is None and line is None and not CONFIG_FILE.exists():
        raise click.UsageError(f"{CONFIG_FILE} is not there: give your settings with --config FILE.")
    config = _configuration(config_file)
    allowed(config)
    state_dir = _own_directory(state_dir or _state_dir_in_use(), 0o755)
    if not os.access(state_dir, os.W_OK):  # nobody shall walk for nothing
        raise click.ClickException(f"{state_dir} is not yours to write: sudo retrowalk calibrate ...")
    file = state_dir / calibration.FILE_NAME
    try:
        calibration.read(file)
    except CalibrationError as error:
        click.echo(f"{error}; it is kept as {calibration.set_aside(file)}.", err=True)
    bank_dir = _bank_dir(STATE_DIR) if line is not None else default_directory()

    def render(text: str) -> object:
        return render_text(config, bank_dir, text)

    click.echo("Preparing what will be said.")
    for text in texts:
        render(text)
    if line is not None:
        try:
            measured = measure(line, config, render, file)
        finally:
            line.close()
    else:
        kept = [file] if file.exists() else []
        with own_guard((config_file or CONFIG_FILE).absolute(), "calibrate", kept) as own:
            measured = measure(own.control, config, render, file)
            own.end()
    if measured is None:
        click.echo("Nothing is changed.")
        sys.exit(DIFFERENT)
    click.echo(f"{measured}, kept in {file}.  Back: retrowalk calibrate {name} --undo\n{_AT_NEXT_START}")


@calibrate.command(
    "list",
    short_help="What was measured, and what counts.",
    epilog=_examples("calibrate list", "calibrate list --state-dir my-state"),
)
@click.option("--state-dir", type=_path, metavar="DIR", help="Where the retrowalk in question keeps it.")
def calibrate_list(state_dir: Path | None) -> None:
    """What was measured of the walker, newest first, and which measurements count."""
    from rich.table import Table

    from retrowalk import calibration

    file = (state_dir or _state_dir_in_use()) / calibration.FILE_NAME
    stops, gaits = calibration.read(file), calibration.read_gait(file)
    if not stops and not gaits:
        click.echo(
            f"Nothing was measured: {file} is not there.  "
            "To measure: retrowalk calibrate stop, retrowalk calibrate gait"
        )
        return

    def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        made = Table(box=None, pad_edge=False, header_style="bold")
        for title in titles:
            made.add_column(title)
        for row in rows:
            made.add_row(*row)
        _console().print(made, highlight=False)

    def standing(one: Measured | MeasuredGait, counts: Measured | MeasuredGait | None) -> str:
        return "counts" if one is counts else "undone" if one.undone else ""

    if stops:
        counts = calibration.current(stops)
        table(
            ("measured", "allowed", "stops (s)", "in place of", ""),
            [
                (
                    one.measured_at,
                    f"{one.stop_s:.2f} s",
                    " ".join(f"{stop_s:.2f}" for stop_s in one.stops_s),
                    one.profile,
                    standing(one, counts),
                )
                for one in stops
            ],
        )
    if gaits:
        counted = calibration.current(gaits)
        if stops:
            click.echo()
        table(
            ("measured", "a step", "steps", "over", ""),
            [
                (
                    one.measured_at,
                    f"{one.step_length_m:.3f} m",
                    " ".join(map(str, one.steps)),
                    f"{one.distance_m:g} m",
                    standing(one, counted),
                )
                for one in gaits
            ],
        )


@cli.group(
    cls=_Commands,
    short_help="Measure the device on a bench, for the simulated world.",
    epilog=_examples(
        "bench take echo my-form.toml target=wall distance_m=2 temperature_c=17",
        "bench check my-form.toml",
        "bench import my-form.toml --out world.toml",
    ),
)
def bench() -> None:
    """Measure sensors on a bench: whether this device does what it must, and what the world is really like.

    hardware/bench/README.md has the tests, what to put where, and the form.
    """


@bench.command(
    "take",
    short_help="Take one run, and write it into the form.",
    epilog=_examples(
        "bench take echo my-form.toml target=person_fleece distance_m=2 temperature_c=17",
        "bench take lidar my-form.toml ground=grass height_m=0.9 --spots 20",
        "bench take walk my-form.toml distance_m=20",
        "bench take still my-form.toml",
    ),
)
@click.argument("kind", type=click.Choice(("echo", "lidar", "walk", "still")))
@click.argument("file", type=_file, metavar="FORM.toml")
@click.argument("said", nargs=-1, metavar="FIELD=VALUE...")
@click.option("--seconds", type=click.FloatRange(2.0, 600.0), help="How long.  [default: 60, lidar 20, walk 40]")
@click.option("--spots", type=click.IntRange(2, 100), help="Lidar: so many spots of the ground, two seconds each.")
@click.option("--config", "config_file", type=_file, metavar="FILE", help=f"Settings.  [default: {CONFIG_FILE}]")
@click.option("--run-dir", type=_path, metavar="DIR", help="Of the running retrowalk.")
def bench_take(
    kind: str,
    file: Path,
    said: tuple[str, ...],
    seconds: float | None,
    spots: int | None,
    config_file: Path | None,
    run_dir: Path | None,
) -> None:
    """Take one run of a bench test, and write it at the end of the form.

    echo: an ultrasonic sensor.  lidar: the rear lidar, or with ground= the one for drops.  walk: twenty metres
    backward.  still: the clip on a table.  What stands where is said by the fields of the form: target=wall
    distance_m=2.  A running retrowalk does it beside its work; else one is started for as long.
    """
    from msgspec import Struct

    from retrowalk.bench import form, take
    from retrowalk.bench.form import LidarRun

    wanted = take.like(kind, dict(_field(word) for word in said))
    if spots and not (isinstance(wanted, LidarRun) and wanted.ground):
        raise click.UsageError("--spots is for the lidar on a ground: bench take lidar FORM ground=... --spots 20")
    if file.exists():
        form.read(file)  # nobody measures for a form that cannot be written to
    lasts_s = seconds or take.SECONDS[kind]

    def measure(control: Control, config: Config) -> None:
        if spots and isinstance(wanted, LidarRun):
            sensor = take.sensor_for(config, kind, wanted)
            runs = []
            for number in range(1, spots + 1):
                click.pause(f"Spot {number} of {spots}: point it there, and press a key")
                runs.append(take.lidar(sensor, take.collect(control, 2.0), wanted))
            run: Struct = take.joined(runs)
        else:
            click.echo(f"Taking {lasts_s:g} seconds.", err=True)
            run = take.run_of(config, kind, take.collect(control, lasts_s), wanted)
        form.add(file, kind, run)
        click.echo(form.text_of(kind, run), nl=False)

    _through_guard("bench", measure, config_file, run_dir)


def _field(word: str) -> tuple[str, str]:
    name, given, value = word.partition("=")
    if not given:
        raise click.UsageError(f"{word}: say it as FIELD=VALUE, such as distance_m=2")
    return name, value


def _through_guard(
    name: str, act: Callable[[Control, Config], None], config_file: Path | None, run_dir: Path | None
) -> None:
    """Acts through the retrowalk that runs, or one that is started for it."""
    from retrowalk import control as controls
    from retrowalk.doctor.computer import services
    from retrowalk.doctor.machine import ThisMachine
    from retrowalk.platform import MonotonicClock
    from retrowalk.record import own_guard

    line = controls.connect(_run_dirs(run_dir), name, MonotonicClock())
    if line is None and "active" in services(ThisMachine()):
        raise click.ClickException(f"retrowalk runs as a service, which does not answer you: sudo retrowalk {name} ...")
    if config_file is None and line is None and not CONFIG_FILE.exists():
        raise click.UsageError(f"{CONFIG_FILE} is not there: give your settings with --config FILE.")
    config = _configuration(config_file)
    if line is not None:
        try:
            act(line, config)
        finally:
            line.close()
        return
    with own_guard((config_file or CONFIG_FILE).absolute(), name) as own:
        act(own.control, config)
        own.end()


@bench.command("check", short_help="Which bench tests a device passes.", epilog=_examples("bench check my-form.toml"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FORM.toml")
def bench_check(file: Path) -> None:
    """Which bench tests are passed, which are not, and which were not done.

    The exit status is 0 when none has failed, 1 when one has.
    """
    from retrowalk.bench import form, limits

    verdicts = limits.check(form.read(file))
    for one in verdicts:
        word = {True: "passed", False: "FAILED", None: "not done"}[one.passed]
        found = f"{one.found} ({one.limit})" if one.found else one.limit
        click.echo(f"{word:<9} {one.test:<30} {found}")
        if one.passed is False:
            click.echo(f"{'':<9} {one.reason}")
    passed, failed = (sum(one.passed is state for one in verdicts) for state in (True, False))
    click.echo(f"{passed} passed, {failed} failed, {len(verdicts) - passed - failed} not done.")
    sys.exit(DIFFERENT if failed else OK)


@bench.command(
    "import",
    short_help="Turn a filled-in form into numbers of the simulated world.",
    epilog=_examples("bench import my-form.toml", "bench import my-form.toml --out my-world.toml"),
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FORM.toml")
@click.option("--out", type=_file, default="world.toml", show_default=True, metavar="FILE", help="Where to put them.")
def bench_import(file: Path, out: Path) -> None:
    """Turn a filled-in form into measured numbers of the simulated world.

    Each has its 95 % interval, beside the estimate that it takes the place of; what was not measured stays an estimate.
    Then: retrowalk demo --world FILE.
    """
    from retrowalk import wholefile
    from retrowalk.bench import fit, form
    from retrowalk.sim.estimates import ESTIMATED, each

    found = fit.measured(form.read(file))
    if not found:
        raise click.ClickException(f"{file} holds nothing that tells a number: see hardware/bench/README.md.")
    fit.table(found)
    click.echo(f"{'':<33} {'estimate':>9} {'measured':>9}  95 %")
    for one in found:
        estimate, value = (fit.shown(number, 4) for number in (fit.plain(one.estimate), one.value))
        line = f"{one.parameter:<33} {estimate:>9} {value:>9}"
        if one.low is not None and one.high is not None:
            line += f"  {fit.shown(one.low, 4)} to {fit.shown(one.high, 4)}"
        outside = ", the estimate is outside" if one.agrees is False else ""
        click.echo(f"{line} (n = {one.n}{outside})")
    wholefile.write(out, fit.text(found, file.name).encode(), for_all=True)
    measured = {one.parameter for one in found}
    stay = [name for name, _ in each(ESTIMATED) if name not in measured]
    click.echo(f"\n{len(found)} measured, in {out}.  {len(stay)} stay estimates:")
    for name in stay:
        reason = fit.why_it_stays(name)
        click.echo(f"  {name}" + (f": {reason}" if reason else ""))


@cli.command(
    "set-lidar-address",
    short_help="Give the second TF-Luna an address of its own, once.",
    epilog=_examples("set-lidar-address", "set-lidar-address --from 0x10 --to 0x12"),
)
@click.option("--from", "old", default="0x10", show_default=True, metavar="ADDRESS", help="Where it answers now.")
@click.option("--to", "new", default="0x11", show_default=True, metavar="ADDRESS", help="Where it shall answer.")
@click.option("--bus", "number", type=click.IntRange(0, 63), default=1, show_default=True, help="Of /dev/i2c-N.")
def set_lidar_address(old: str, new: str, number: int) -> None:
    """Give the second TF-Luna an address of its own, once.

    Every TF-Luna comes with address 0x10.  Connect the one that is to look for drops, and not the other, and run this;
    then connect both.  Switch a running retrowalk off before.
    """
    import time

    from retrowalk.devices.tfluna_address import move
    from retrowalk.platform import SmBus

    addresses = []
    for option, text in (("--from", old), ("--to", new)):
        try:
            addresses.append(int(text, 0))
        except ValueError:
            addresses.append(-1)
        if not 0x08 <= addresses[-1] <= 0x77:
            raise click.UsageError(f"{option} {text}: must be an address, 0x08 to 0x77")
    bus = SmBus(number)
    try:
        version = move(bus, addresses[0], addresses[1], time.sleep)
    finally:
        bus.close()
    click.echo(f"The TF-Luna (firmware {version}) now answers at 0x{addresses[1]:02X}, after every start.")


@cli.group(cls=_Commands, short_help="The spoken phrases and the voices that can speak them.")
def voices() -> None:
    """The spoken phrases, and the voices that can speak them."""


@voices.command("list")
def voices_list() -> None:
    """List the voices.

    The name in the first column goes into the settings, as espeak_voice under [voice].
    """
    from rich.table import Table

    from retrowalk.voice.say import list_voices

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("voice", "name", "languages"):
        table.add_column(title)
    for voice in list_voices():
        table.add_row(voice.id, voice.name, ", ".join(voice.languages))
    _console().print(table)


@voices.command("build", epilog=_examples("voices build --config my-settings.toml"))
@click.option("--config", "config_file", type=_file, metavar="FILE", help="Settings: which language and voice.")
@click.option("--dir", "bank_dir", type=_path, metavar="DIR", help="Where to keep the phrases.")
def voices_build(config_file: Path | None, bank_dir: Path | None) -> None:
    """Prepare the spoken phrases.

    Each phrase is rendered once and kept, so that a warning never waits.  What is there already is left alone.
    """
    from retrowalk import logs

    if logs.journal_reads_stderr():
        logs.begin("bank")
    if bank_dir is None and os.access(STATE_DIR / "bank", os.W_OK):
        bank_dir = STATE_DIR / "bank"  # with sudo: the phrases of the service, not some of root's own
    _build_bank(_configuration(config_file), bank_dir, _console())


# ---------------------------------------------------------------------------------------------- the caregiver's side

HUB_ANSWERS_S = 3.0
"""A running hub has done within this what somebody asks."""
FOLLOW_S = 0.5


@cli.group(
    cls=_Commands,
    invoke_without_command=True,
    short_help="The caregiver's side: run it, look at it, answer.",
    epilog=_examples("hub --config my-hub.toml", "hub status", "hub ack 3 --by Anna"),
)
@click.option("--config", "config_file", type=_file, metavar="FILE", help=f"Settings.  [default: {HUB_CONFIG_FILE}]")
@click.option("--state-dir", type=_path, metavar="DIR", help="Where the hub keeps events and alerts.")
@click.pass_context
def hub(context: click.Context, config_file: Path | None, state_dir: Path | None) -> None:
    """Run the hub: it stores the events of all devices, raises alerts, and tells people until one of them answers.

    It runs anywhere where the broker can be reached, on the device itself, too.  Ctrl-C ends it; the devices hear that
    nobody watches.  The commands below look at it, running or not.
    """
    context.obj = state_dir
    if context.invoked_subcommand is not None:
        return
    if config_file is None and not HUB_CONFIG_FILE.exists():
        raise click.UsageError(
            f"{HUB_CONFIG_FILE} is not there: give your settings with --config FILE.\n"
            "systemd/hub.toml of the project is a documented file to begin with."
        )
    import logging

    from retrowalk import logs

    logs.begin("hub")
    logging.getLogger("retrowalk.hub").setLevel(logging.INFO)
    from retrowalk.hub import process, settings
    from retrowalk.hub.notifier import Notifier

    config_file = config_file or HUB_CONFIG_FILE
    config = settings.load(config_file)
    if warning := settings.exposed(config_file, config):
        click.echo(warning, err=True)
    directory = _own_directory(state_dir or _hub_state_dir(), 0o750)
    process.run(config, directory, lambda: Notifier(config, directory))


_hub_json = click.option("--json", "as_json", is_flag=True, help="JSON instead of words.")
_hub_by = click.option(
    "--by", "by", required=True, metavar="NAME", help="Who you are; others, and the walker, hear it."
)


@hub.command("status", epilog=_examples("hub status"))
@_hub_json
@click.pass_obj
def hub_status(state_dir: Path | None, as_json: bool) -> None:
    """Show how the hub and its devices are.

    The exit status is 0 when the hub runs, hears every broker and has somebody to tell, else 1.
    """
    import time

    from retrowalk.hub import process, show

    directory, view = _hub_view(state_dir)
    now = view.hub(running=process.runs(directory), wall_s=time.time())
    if as_json:
        click.echo(_json_text(now))
    else:
        _console().print(show.status(now))
    well = now.running and now.contacts != 0 and all(site["connected"] for site in now.sites.values())
    sys.exit(OK if well else DIFFERENT)


@hub.command("alerts", epilog=_examples("hub alerts", "hub alerts --all"))
@click.option("--all", "all_of_them", is_flag=True, help="Those that are over, too.")
@_hub_json
@click.pass_obj
def hub_alerts(state_dir: Path | None, all_of_them: bool, as_json: bool) -> None:
    """Show the alerts that are open: what happened, who was told, who has it in hand."""
    import time

    from retrowalk.hub import show

    _, view = _hub_view(state_dir)
    found = view.alerts(all_of_them=all_of_them)
    if as_json:
        click.echo(_json_text(found))
    else:
        _console().print(show.alerts(found, time.time()))


@hub.command("events", epilog=_examples("hub events --since 2h", "hub events --type fall --follow"))
@click.option("--device", default="", metavar="DEVICE", help="Of one device only.")
@click.option("--type", "type_", default="", metavar="TYPE", help="Of one type only, such as fall or fall.confirmed.")
@click.option("--since", default="", metavar="TIME", help="Not older than 90s, 30m, 2h, 3d or a date.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="The latest so many.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@_hub_json
@click.pass_obj
def hub_events(
    state_dir: Path | None, device: str, type_: str, since: str, limit: int, follow: bool, as_json: bool
) -> None:
    """Show what the devices have told, the latest last; with --json one JSON object a line."""
    import time

    from retrowalk.hub import show

    try:
        since_wall_s = show.since(since, time.time()) if since else 0.0
    except ValueError as error:
        raise click.UsageError(f"--since {error}") from error
    _, view = _hub_view(state_dir)
    console = _console()
    after = 0
    while True:
        for seen in view.events(device=device, type_=type_, since_wall_s=since_wall_s, after=after, limit=limit):
            after = seen.row
            if as_json:
                click.echo(_json_text(seen))
            else:
                console.print(show.event(seen), soft_wrap=True)
        if not follow:
            return
        limit = 1000
        try:
            time.sleep(FOLLOW_S)
        except KeyboardInterrupt:
            return


@hub.command("ack", epilog=_examples("hub ack 3 --by Anna", "hub ack all --by Anna --over"))
@click.argument("alert")
@_hub_by
@click.option("--over", is_flag=True, help="It is over: everybody who was told hears that.")
@_hub_json
@click.pass_obj
def hub_ack(state_dir: Path | None, alert: str, by: str, over: bool, as_json: bool) -> None:
    """Answer an alert by its number, or all that are open: you have it in hand, and the others hear so.

    The exit status is 0 when the hub has heard it, 1 when it will when it starts, 2 when there is no such alert.
    """
    if alert != "all" and not alert.isdecimal():
        raise click.UsageError(f"{alert}: must be the number of an alert (retrowalk hub alerts), or all.")
    number = 0 if alert == "all" else int(alert)
    done = f"{by} has it in hand." if not over else "It is over; everybody who was told hears it."
    _ask_hub(
        state_dir,
        "answer",
        {"by": _person(by), "alert": number, "over": over},
        {"done": done, "not open": "No such alert is open (retrowalk hub alerts)."},
        as_json,
    )


@hub.command("say", epilog=_examples("hub say rw-0001 coming --by Anna"))
@click.argument("device")
@click.argument("phrase")
@_hub_by
@_hub_json
@click.pass_obj
def hub_say(state_dir: Path | None, device: str, phrase: str, by: str, as_json: bool) -> None:
    """Have the walker told a sentence of the list, by its name."""
    from retrowalk.core.alerts import REMOTE_PHRASES

    if phrase not in REMOTE_PHRASES:
        raise click.UsageError(f"{phrase}: must be one of {', '.join(sorted(REMOTE_PHRASES))}.")
    _, view = _hub_view(state_dir)
    form = {"device": view.named(device), "phrase": phrase, "by": _person(by)}
    _ask_hub(state_dir, "say", form, {"sent": "Sent; the device says it if it hears it within a minute."}, as_json)


@hub.command("locate", epilog=_examples("hub locate rw-0001 --by Anna"))
@click.argument("device")
@_hub_by
@_hub_json
@click.pass_obj
def hub_locate(state_dir: Path | None, device: str, by: str, as_json: bool) -> None:
    """Have a device make itself heard, so that whoever is near finds the walker."""
    _, view = _hub_view(state_dir)
    form = {"device": view.named(device), "by": _person(by)}
    _ask_hub(state_dir, "locate", form, {"sent": "Sent; the device does it if it hears it within a minute."}, as_json)


def _ask_hub(state_dir: Path | None, kind: str, form: dict[str, Any], words: dict[str, str], as_json: bool) -> None:
    """Puts something into the hub's inbox, and waits until a running hub has done it."""
    import time

    from retrowalk.hub import process
    from retrowalk.hub.process import STORE_FILE
    from retrowalk.hub.view import ask

    directory, view = _hub_view(state_dir)
    running = process.runs(directory)
    row = ask(directory / STORE_FILE, kind, form, time.time())
    result = None
    until = time.monotonic() + HUB_ANSWERS_S
    while running and result is None and time.monotonic() < until:
        time.sleep(0.05)
        result = view.result(row)
    status = OK if result in ("done", "sent") else DIFFERENT if result is None else UNUSABLE
    if result is None:
        what = "has not answered" if running else "is not running"
        told = f"The hub {what}; it will be done when it {'can' if running else 'starts'}."
        if kind != "answer":
            told = f"The hub {what}; nothing is said after a minute."
    else:
        told = words.get(result, f"Not done: {result}.")
    if as_json:
        click.echo(_json_text({"result": result, "running": running}))
    else:
        click.echo(told, err=status != OK)
    sys.exit(status)


def _hub_view(state_dir: Path | None) -> tuple[Path, View]:
    """The hub's directory, and a look into it."""
    from retrowalk.hub.process import STORE_FILE
    from retrowalk.hub.view import View

    directory = state_dir or _hub_state_dir()
    return directory, View(directory / STORE_FILE)


def _hub_state_dir() -> Path:
    """The service's, if there is one that we may look into; else the person's own."""
    own = _person_state_dir() / "hub"
    if "STATE_DIRECTORY" in os.environ:
        return _from_env("STATE_DIRECTORY", HUB_STATE_DIR)
    return own if own.exists() or not HUB_STATE_DIR.exists() else HUB_STATE_DIR


def _person(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > 40 or not name.isprintable():
        raise click.UsageError("--by: must be a name of 1 to 40 characters.")
    return name


def _json_text(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


@cli.command(
    "notify-test",
    short_help="Send one message of each kind to every contact, as a test.",
    epilog=_examples("notify-test", "notify-test --contact Anna"),
)
@click.option("--contact", "names", multiple=True, metavar="NAME", help="Only to this contact; may be repeated.")
@click.option("--config", "config_file", type=_file, metavar="FILE", help=f"Settings.  [default: {HUB_CONFIG_FILE}]")
@click.option("--state-dir", type=_path, metavar="DIR", help="Of the hub, whose buttons the messages then carry.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of words.")
def notify_test(names: tuple[str, ...], config_file: Path | None, state_dir: Path | None, as_json: bool) -> None:
    """Send one message of each kind to every contact, as a test.

    Each says that it is a test.  Urgent ways (text message, call) get one of them.  The hub need not run; nothing is
    kept.  The exit status is 0 when every address took everything, else 1.
    """
    from retrowalk.hub import settings, trial

    config_file = config_file or HUB_CONFIG_FILE
    if not config_file.exists():
        raise click.UsageError(f"{config_file} is not there: give the settings of the hub with --config FILE.")
    config = settings.load(config_file)
    if warning := settings.exposed(config_file, config):
        click.echo(warning, err=True)
    known = {contact.name.casefold(): contact for contact in config.contact}
    for name in names:
        if name.casefold() not in known:
            there = ", ".join(contact.name for contact in config.contact) or "nobody"
            raise click.UsageError(f"{name} is no contact in {config_file}; there is {there}.")
    chosen = tuple(known[name.casefold()] for name in dict.fromkeys(names)) or config.contact
    if not chosen:
        raise click.UsageError(f"{config_file} has no [[contact]]: nobody would be told of a fall.")

    import logging

    logging.getLogger("retrowalk.hub").setLevel(logging.CRITICAL)  # the table says it
    console = _console()

    def show(tried: trial.Tried) -> None:
        if not as_json:
            state = "taken" if tried.ok else tried.detail
            console.print(f"{tried.contact} by {tried.scheme}: {tried.kind}: {state}", markup=False, highlight=False)

    found = trial.run(config, chosen, state_dir or _hub_state_dir(), show)
    good = all(tried.ok for tried in found)
    if as_json:
        import json

        click.echo(json.dumps({"ok": good, "tried": [tried._asdict() for tried in found]}))
    else:
        console.print(trial.table(found))
    sys.exit(OK if good else DIFFERENT)


# --------------------------------------------------------------------------------------------- the three processes


def _process(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A hidden command that systemd and the supervisor start."""

    def command(function: Callable[..., None]) -> click.Command:
        for option in (
            click.option("--state-dir", type=_path, default=lambda: _from_env("STATE_DIRECTORY", STATE_DIR)),
            click.option("--run-dir", type=_path, default=lambda: _from_env("RUNTIME_DIRECTORY", RUN_DIR)),
            click.option("--config", "config_file", type=_file, default=CONFIG_FILE),
        ):
            function = option(function)
        return cli.command(name, hidden=True)(function)

    return command


@_process("guard")
def guard(config_file: Path, run_dir: Path, state_dir: Path) -> None:
    """The guard: sensors, button, buzzer, vibration, and every decision."""
    from retrowalk import logs

    logs.begin("guard")
    # lgpio leaves a FIFO where it is imported.
    os.environ.setdefault("LG_WD", str(run_dir))
    from retrowalk.devices.pin_registers import open_bus_lines
    from retrowalk.guard import process
    from retrowalk.platform import (
        LazyBus,
        LazyPins,
        MonotonicClock,
        Platform,
        PySerialPorts,
        SmBus,
        SocketMailbox,
        SysFiles,
        real_pin_factory,
    )

    clock = MonotonicClock()
    found = _resolved(config_file, state_dir)
    problem = "\n".join(filter(None, (found.problem, found.damage)))
    import logging

    for line in problem.splitlines():
        logging.getLogger("retrowalk.config").error("%s", line, extra=logs.about("config.rejected", part="config"))
    if found.note:
        note = logs.about("config.laid_over", part="config")
        logging.getLogger("retrowalk.calibration").info("%s", found.note, extra=note)
    platform = Platform(
        clock=clock,
        mailbox=SocketMailbox(run_dir, "guard"),
        pin_factory=LazyPins(real_pin_factory),
        bus=LazyBus(SmBus),
        bus_lines=open_bus_lines(),
        serial=PySerialPorts(),
        host=SysFiles(),
    )
    sys.exit(process.run(found.config, platform, run_dir, problem, unusable=found.unusable))


@_process("voice")
def voice(config_file: Path, run_dir: Path, state_dir: Path) -> None:
    """The voice: the sound device and the spoken phrases."""
    from retrowalk import logs

    logs.begin("voice")
    from retrowalk.platform import MonotonicClock, Platform, SocketMailbox
    from retrowalk.voice import process
    from retrowalk.voice.alsa import AlsaSystem
    from retrowalk.voice.bank import default_directory
    from retrowalk.voice.microphone import AlsaMicrophones

    config = _resolved(config_file, state_dir).config
    platform = Platform(
        clock=MonotonicClock(),
        mailbox=SocketMailbox(run_dir, "voice"),
        sound=AlsaSystem(),
        microphone=AlsaMicrophones(),
    )
    process.run(config, platform, default_directory())


@_process("courier")
def courier(config_file: Path, run_dir: Path, state_dir: Path) -> None:
    """The courier: messages to the caregiver, recordings, everything slow."""
    from retrowalk import logs

    logs.begin("courier")
    from retrowalk.courier import process
    from retrowalk.platform import MonotonicClock, Platform, SocketMailbox

    config = _resolved(config_file, state_dir).config
    platform = Platform(clock=MonotonicClock(), mailbox=SocketMailbox(run_dir, "courier"))
    process.run(config, platform, state_dir)


@cli.command("first-boot", hidden=True)
@click.option("--boot", type=_path, default=Path("/boot/firmware"), metavar="DIR", help="The card's boot partition.")
@click.option("--root", type=_path, default=Path("/"), metavar="DIR", help="The system; another one for a test.")
def first_boot(boot: Path, root: Path) -> None:
    """Take over the settings that lie on the card's boot partition."""
    from retrowalk import logs

    logs.begin("firstboot")
    from retrowalk.firstboot import take

    outcome = take.run(boot, root)
    if not logs.to_journal():
        taken = f"taken: {', '.join(sorted(outcome.changed)) or 'nothing new'}"
        click.echo(outcome.problem or taken, err=bool(outcome.problem))
    sys.exit(DIFFERENT if outcome.problem else OK)


# ---------------------------------------------------------------------------------------------------------- helpers


_NOT_SAID = {
    "cut": "it was cut off: retrowalk had something more urgent to say.  Say it again.",
    "expired": "not said: there was no pause between more urgent messages, or no sound device.",
    "unknown_phrase": "not said: the voice could not read its sound.",
    "": "nobody knows whether it was said: the voice did not answer.",
}
"""What is told of a text that was not said to its end, by what became of it."""


def _say_through(line: Control, run_dir: Path, text: str, pcm: bytes) -> None:
    """Has the running retrowalk say a text; raises `click.ClickException` unless it was said to its end."""
    from retrowalk import wholefile
    from retrowalk.core.samples import VoiceHeartbeat
    from retrowalk.voice.bank import text_clip_content
    from retrowalk.voice.say import duration_s

    # Where the voice can read it: it need not have the same bank or the same settings, nor may it look into a home.
    sound = (run_dir / f"{line.mailbox.name}.sound").absolute()
    wholefile.write(sound, text_clip_content(pcm), for_all=True)
    try:
        for attempt in range(SAY_ATTEMPTS):
            if attempt == 1:
                click.echo("retrowalk is speaking; waiting for a pause.")
            became = line.say(text, SAY_BEGINS_S + duration_s(pcm) + SAY_ANSWERS_S, str(sound))
            if became != "expired":
                break
    finally:
        sound.unlink(missing_ok=True)
    beats = [item for item in line.items() if isinstance(item, VoiceHeartbeat)]
    if became != "finished":
        fault = f"  The voice reports: {beats[-1].fault}." if beats and beats[-1].fault else ""
        raise click.ClickException(_NOT_SAID.get(became, became) + fault)
    device = beats[-1].device if beats else ""
    click.echo(f"said on {device}" if device else "said")


def _runs_for_others(run_dir: Path) -> bool:
    """Whether a guard's socket lies in a run directory that this person may not look into or write to."""
    try:
        (run_dir / "guard.sock").lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return not os.access(run_dir, os.W_OK)


def _recorded_trial(fast: bool, recorded: Path | None, trial: str | None) -> tuple[Path, str]:
    """The recording and the trial that a person asked for.  Raises `click.UsageError` with what is missing."""
    if recorded is None:
        raise click.UsageError("--trial names a trial of a recording: give that, too, with --imu-recording FILE.npz.")
    if not fast:
        raise click.UsageError("A recorded person walks in their own time only: give --fast as well.")
    if trial is None:
        from retrowalk.sim.recorded import trial_ids

        ids = trial_ids(recorded)
        some = ", ".join(ids[:: max(1, len(ids) // TRIALS_NAMED)][:TRIALS_NAMED])
        raise click.UsageError(f"Which of the {len(ids)} trials of {recorded.name}?  Give --trial ID, such as {some}.")
    return recorded, trial


def _build_bank(config: Config, directory: Path | None, console: Console, *, only_if_needed: bool = False) -> None:
    from retrowalk.voice.bank import build, complete, default_directory

    directory = directory or default_directory()
    if only_if_needed and complete(config, directory):
        return
    made = 0
    with _bar(console, "spoken phrases") as advance:

        def progress(done: int, total: int, words: str) -> None:
            nonlocal made
            made += bool(words)
            if words:
                advance(done, total, words)

        build(config, directory, progress)
    if not only_if_needed:
        console.print(f"{made} phrases made in {directory}" if made else f"all phrases are there, in {directory}")


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Callable[[float, float, str], None]]:
    """A progress bar on a terminal; a plain line at every tenth elsewhere; nothing while there is nothing to do."""
    if not console.is_terminal:
        tenth = -1

        def line(done: float, total: float, words: str) -> None:
            nonlocal tenth
            if total and int(10 * done / total) != tenth:
                tenth = int(10 * done / total)
                console.print(f"{title}: {100 * done / total:.0f} %", highlight=False)

        yield line
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    columns = (TextColumn(title), BarColumn(20), TextColumn("{task.percentage:3.0f} %"), TimeRemainingColumn())
    # Long words are cut off, so that on a narrow terminal they take no room from the bar and the time.
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    words_column = TextColumn("{task.fields[words]}", table_column=rest)
    with Progress(*columns, words_column, console=console, transient=True, expand=True) as bar:
        task = bar.add_task(title, total=None, words="", visible=False)
        yield lambda done, total, words: bar.update(task, completed=done, total=total, words=words, visible=True)


def _print_difference(found: Any) -> None:
    click.echo(f"different: output {found.index}, at {found.t_s:.3f} s")
    click.echo(f"  recorded: {found.expected or '(nothing)'}")
    click.echo(f"  now:      {found.got or '(nothing)'}")
    click.echo("difference (- recorded, + now):")
    for line in found.unified.splitlines():
        click.echo(f"  {line}")
    click.echo("the second before it (-> came in, <- went out):")
    for line in found.before:
        click.echo(f"  {line}")


def _print_other(other: Any, other_file: Path) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("recorded", justify="right", no_wrap=True)
    table.add_column(f"with {other_file.name}", justify="right", no_wrap=True)
    table.add_column("level", no_wrap=True)
    table.add_column("words")
    for left, right in other.rows():
        alert = left or right
        times = [f"{found.t_s:.1f} s" if found is not None else "-" for found in (left, right)]
        table.add_row(*times, alert.level, alert.words, style=None if left and right else "yellow")
    console = _console()
    console.print(table)
    counts = [f"{level} {before} | {after}" for level, (before, after) in other.counts().items()]
    console.print(
        f"\nalerts, recorded | other: {', '.join(counts)}  ({other.until_s:.1f} s)", highlight=False, soft_wrap=True
    )


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr)


def _configuration(config_file: Path | None) -> Config:
    """The settings a person named, else the device's, else the defaults.  Raises `ConfigError`."""
    from retrowalk.config import Config, load

    if config_file is None and not CONFIG_FILE.exists():
        return Config()
    return load(config_file or CONFIG_FILE)


class _Resolved(NamedTuple):
    """What a process runs with."""

    config: Config
    problem: str
    """What is wrong with the settings file; empty: nothing."""
    unusable: bool
    """Whether not even an earlier one can be used."""
    note: str
    """What was laid over the settings; empty: nothing."""
    damage: str
    """What is wrong with what was to be laid over them; empty: nothing."""


def _resolved(config_file: Path, state_dir: Path) -> _Resolved:
    from retrowalk.calibration import FILE_NAME, lay_over
    from retrowalk.config import Config
    from retrowalk.errors import ConfigError
    from retrowalk.lastgood import resolve

    try:
        config, problem = resolve(config_file, state_dir / LAST_GOOD)
        problem = "\n".join(filter(None, (problem, _not_taken(config_file))))
    except ConfigError as error:
        return _Resolved(Config(), str(error), True, "", "")
    config, note, damage = lay_over(config, state_dir / FILE_NAME)
    return _Resolved(config, problem, False, note, damage)


def _not_taken(config_file: Path) -> str:
    """Why settings that somebody put on the card are not in force (`firstboot`); empty: there are none."""
    from retrowalk.config import read

    try:
        return read(config_file.with_name(NOT_TAKEN)).decode(errors="replace").strip()
    except OSError:
        return ""


def _from_env(name: str, otherwise: Path) -> Path:
    # systemd names several directories with colons between them; ours is the first.
    value = os.environ.get(name, "").partition(":")[0]
    return Path(value) if value else otherwise


def _person_run_dir() -> Path:
    """As systemd's, for a person without it: in the user's own directory in memory."""
    parent = os.environ.get("XDG_RUNTIME_DIR")
    return _from_env(
        "RUNTIME_DIRECTORY", Path(parent) / "retrowalk" if parent else Path(f"/tmp/retrowalk-{os.getuid()}")
    )


def _person_state_dir() -> Path:
    parent = os.environ.get("XDG_STATE_HOME")
    home = Path(parent) if parent else Path.home() / ".local" / "state"
    return _from_env("STATE_DIRECTORY", home / "retrowalk")


_AT_NEXT_START = "retrowalk takes it up at its next start; the service: sudo systemctl restart retrowalk.target"


def _places() -> list[tuple[Path, Path]]:
    """Run directory and state directory of a person's own retrowalk, and of the service."""
    return [(_person_run_dir(), _person_state_dir()), (RUN_DIR, STATE_DIR)]


def _state_dir_in_use() -> Path:
    """The state directory of the retrowalk that a person means who names none."""
    if (_person_run_dir() / "guard.sock").exists() or not STATE_DIR.exists():
        return _person_state_dir()
    return STATE_DIR


def _run_dirs(run_dir: Path | None) -> list[Path]:
    """Where the control socket of a running retrowalk may lie."""
    return [run_dir] if run_dir is not None else [_person_run_dir(), RUN_DIR]


def _bank_dir(state_dir: Path) -> Path:
    """Where the phrases of this device are: the service's, if there are any, else the person's own."""
    from retrowalk.voice.bank import default_directory

    service = state_dir / "bank"
    # Another person's may not even be looked for.
    return service if os.access(service, os.F_OK) else default_directory()


def _own_directory(directory: Path, mode: int) -> Path:
    directory = directory.absolute()
    directory.mkdir(mode=mode, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid() and not os.access(directory, os.W_OK):
        raise click.ClickException(f"{directory} belongs to somebody else: give another directory.")
    return directory
