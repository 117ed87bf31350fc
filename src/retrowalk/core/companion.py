"""The `Companion`: samples in, facts out.  It decides everything and owns nothing.

One pure object.  `feed(item)` returns the events and requests that follow from an item; `deadline()` says when to
feed a `Tick` if nothing else comes.  Equal items give equal outputs, on any machine, at any speed; when the deadline
was met late, or ticks came more often, nothing changes but the time stamps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.core.alarm import ASK_S, Open
from retrowalk.core.alerts import COURIER_PARTS, RANK_ALARM, introduction, sensor_names
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.body import BodyWatch
from retrowalk.core.care import Care
from retrowalk.core.charge import STEPS as CHARGE_STEPS
from retrowalk.core.charge import Charge
from retrowalk.core.check import Check
from retrowalk.core.events import GuardState, Level, Output, ms, rounded
from retrowalk.core.falls import Fallen
from retrowalk.core.faults import Faults
from retrowalk.core.first_use import Introduction
from retrowalk.core.freshness import Freshness
from retrowalk.core.gestures import Button, Gesture, Meant
from retrowalk.core.governor import Governor, protected_speed_m_s
from retrowalk.core.ground import STIRS_S, GroundWatch
from retrowalk.core.hazards import Path
from retrowalk.core.helper import Helper
from retrowalk.core.posture import unit
from retrowalk.core.prewalk import BATTERY_BLOCK_PERCENT, Stillness
from retrowalk.core.rear import RearWatch
from retrowalk.core.samples import Item, SavedState
from retrowalk.core.slip import Change as ClipChange
from retrowalk.core.upright import wearable
from retrowalk.core.voice_watch import VoiceWatch
from retrowalk.core.walk import Walk
from retrowalk.core.walked import Totals
from retrowalk.core.worn import WornWatch
from retrowalk.models import Models

SHIPPED = Models()
"""None in place of the models that the program brings."""
UPRIGHT_DEG = 35.0
"""Steps count as getting up only with the trunk this upright."""
NEVER_NOT_WORN_AFTER_FALL_S = 600.0
UNKNOWN_LIMITS_AFTER_S = 10.0
SAVE_EVERY_S = 10.0
NUMBER_GAP = 1000
"""Alert numbers jump by this after a restart, so that none is used twice."""
QUIET_S = 60.0
JUDGE_EVERY_S = 0.1
"""Whether the walker is too fast is judged so often."""
TELLS = ("unchecked", "unheard", "unknown", "ground", "inexact")
"""Reasons of limited protection that are told as such; lost sensors and a lost voice are named by their own faults."""
SAID_ONCE = ("led", "thermometer", "pi", "touch")
"""Parts whose faults are said once and not again: nobody walks worse for them."""
USELESS = ("slow", "garbage", "frozen", "wrong", "delayed")
"""What a driver may report of a sensor that still answers."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a display may show; nothing is decided from it.  None: not known."""

    guard_state: str
    reasons: tuple[str, ...]
    range_m: float | None
    closing_speed_m_s: float | None
    time_to_collision_s: float | None
    hazard_level: str
    path: str
    trunk_pitch_deg: float | None
    cadence_spm: float | None
    own_speed_m_s: float | None
    protected_speed_m_s: float | None
    steps: int
    walked_m: float
    """As long as the steps are counted, whichever way."""
    step_length_m: float | None
    activity: str
    """`walking`, `standing`, `sitting`, `lying` or `unknown`."""
    way: str
    """`forward`, `backward` or `unknown`."""
    """Of the last steps."""
    countdown_s: float | None
    health: dict[str, str]
    saying: str


class Companion:
    """The whole of the device's judgement.  See the module's docstring for its contract."""

    def __init__(self, config: Config, models: Models = SHIPPED) -> None:
        self._config = config
        self._out: list[Output] = []
        self._sensors = sensor_names(config)
        self._freshness = Freshness(config.freshness, self._sensors)
        self._button = Button()
        self._by_touch = config.walker.hearing == "touch"
        self._arbiter = Arbiter(self._out, say_side=config.voice.say_side, by_touch=self._by_touch)
        self._faults = Faults(self._arbiter, self._emit)
        self._voice = VoiceWatch(config.voice.device, self._arbiter, self._faults, self._out.append)
        self._check = Check(self._arbiter, config.guard.check_limit_s, by_touch=self._by_touch)
        self._still = Stillness()
        self._passed = False
        """Whether it has guarded since the device was put on: what blocks a walk from beginning does not end one."""
        self._body = BodyWatch(config, models, self._arbiter, self._emit)
        self._care = Care(config, self._arbiter, self._emit)
        self._helper = Helper(config, self._arbiter, self._care, self._emit)
        self._walk = Walk(self._body, self._emit)
        self._introduction = Introduction(introduction(config), self._arbiter, self._emit)
        self._rear = RearWatch(config, self._freshness, self._arbiter, self._emit)
        self._ground = GroundWatch(config, self._freshness, self._arbiter, self._emit)
        self._drop_speed_said = False
        self._charge = Charge(self._arbiter, self._emit)
        self._governor = Governor(config.governor, self._arbiter, self._emit)
        self._judged_s = -math.inf

        self._now = -math.inf
        self._due_s = -math.inf
        self._begun = False
        self._state = GuardState.NOT_WORN
        self._reasons: tuple[str, ...] = ()
        self._thanks = False
        """Whether a press has just confirmed that the device is heard."""
        self._worn = WornWatch()
        self._taken_off_s = -math.inf
        self._maybe_fallen: Fallen | None = None
        """What looks like a fall, or like a clip that was laid down hard: for a second it may be either."""
        self._stopping = False
        self._config_unusable = False
        self._felt = {"buzzer", "vibration", *(["vibration-right"] if config.vibration.right_pin >= 0 else ())}
        self._courier_faults: frozenset[str] = frozenset()
        self._guarding_since_s: float | None = None
        self._tick_due_s = math.inf

        self._switch_off_asked_s = -math.inf
        self._spent_press_s = -math.inf
        self.restarts = 0
        """How often the guard was started anew since it was last switched off cleanly."""
        self._saved: SavedState | None = None
        self._saved_what: tuple[object, ...] = ()

        self._handlers: dict[type, Callable[[Any], None]] = {
            sm.RangeSample: self._range,
            sm.ImuSample: self._imu,
            sm.ButtonEdge: self._edge,
            sm.BatterySample: self._battery,
            sm.AirSample: self._air,
            sm.VoiceProgress: self._voice_progress,
            sm.VoiceHeartbeat: self._voice_heartbeat,
            sm.CourierHeartbeat: self._courier_heartbeat,
            sm.EventDelivered: self._delivered,
            sm.Command: self._command,
            sm.HealthReport: self._health,
            sm.Restored: self._restored,
            sm.StopRequested: self._stop_requested,
            sm.CueRequested: self._cue_requested,
            sm.FirstUse: self._first_use,
            sm.Tick: self._tick,
        }

    # ================================================================================ the contract

    def feed(self, item: Item) -> tuple[Output, ...]:
        """Takes one item and returns what follows from it.  Never raises on a well-formed item."""
        now = item.t_received_s
        if now < self._now:
            now = self._now  # never decreasing: an item that says otherwise is taken as now
        self._now = now
        if not self._begun:
            self._begin(now, item)
        self._handlers[type(item)](item)
        if now >= self._due_s or self._out or type(item) is not sm.ImuSample:
            self._evaluate(now)
        if not self._out:
            return ()
        outputs = tuple(self._out)
        self._out.clear()
        for output in outputs:
            if isinstance(output, ev.Event):
                self._care.sent(now, output)
        return outputs

    def deadline(self) -> float | None:
        """Session second at which a `Tick` is wanted if nothing else comes before; None: never."""
        return None if self._due_s == math.inf else self._due_s

    @property
    def snapshot_state(self) -> str:
        """The guard state alone, for the signs of life."""
        return self._state.value

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the guard state is what it is; empty: nothing is the matter."""
        return self._reasons

    @property
    def battery_percent(self) -> float | None:
        """The charge as last measured, 0 to 100; None: not known."""
        return None if any(self._faults.of("battery")) else self._charge.percent

    @property
    def battery_minutes_left(self) -> float | None:
        """How long the battery lasts at the rate of this walk; None: not known (it takes ten minutes to learn)."""
        return None if any(self._faults.of("battery")) else self._charge.minutes_left

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is broken or lost now, as `part:fault`, sorted."""
        lost = [part for part in self._freshness.parts.values() if part.lost and part.name in self._sensors]
        return tuple(
            sorted([*map(":".join, self._faults), *(f"{part.name}:{part.cause or 'silent'}" for part in lost)])
        )

    @property
    def unheard(self) -> bool:
        """Whether the walker is told by a voice that cannot be heard."""
        return self._arbiter.voice_lost and not self._by_touch

    def snapshot(self) -> Snapshot:
        """What is known now, for a display."""
        behind, _ = self._rear.nearest()
        now = self._now
        body = self._body
        return Snapshot(
            guard_state=self._state.value,
            reasons=self._reasons,
            range_m=rounded(behind.range_m, 3),
            closing_speed_m_s=rounded(behind.closing_speed_m_s, 2),
            time_to_collision_s=rounded(behind.time_to_collision_s, 1),
            hazard_level=behind.level.name.lower(),
            path=self._rear.path.value,
            trunk_pitch_deg=rounded(body.posture.trunk_pitch_deg, 1) if self._freshness.seen("imu") else None,
            cadence_spm=rounded(self._body.gait.cadence_spm(now), 0),
            own_speed_m_s=rounded(self._body.own_speed.speed_m_s(now) if self._walking(now) else None, 2),
            protected_speed_m_s=rounded(self._protected_m_s(now), 2),
            steps=self._body.gait.steps,
            walked_m=round(body.walked.totals.distance_m, 1),
            step_length_m=rounded(body.walked.step_length_m, 2),
            activity=body.activity.activity.value,
            way=body.direction.state(now).value,
            countdown_s=rounded(self._care.alarm.left_s(now), 1),
            health={name: self._freshness.health(name, now) for name in self._freshness.parts},
            saying=self._arbiter.saying,
        )

    # ================================================================================ items

    def _begin(self, now: float, item: Item) -> None:
        self._begun = True
        self._freshness.begin(now)
        self._check.start(now, sound=False)
        self._body.motion_s = now
        if not isinstance(item, sm.Restored):
            self._change(now, GuardState.CHECKING, ())

    def _range(self, item: sm.RangeSample) -> None:
        if item.sensor not in self._sensors:
            return
        now, lie = self._now, ""
        if item.sensor in self._rear.sensors:
            lie = self._rear.feed(item, now, self._walking(now), self._body.own_speed.speed_m_s(now))
            closing = self._rear.followed(item, now)
            if closing is not None:
                self._body.own_speed.learn(now, closing)
                self._body.direction.witness(now, closing, self._body.own_speed.speed_m_s(now))
        elif item.sensor in self._ground.sensors:
            speed_m_s, thing_m = self._body.own_speed.speed_m_s(now), self._rear.thing_m(now)
            self._ground.feed(item, self._body.gait.steps, speed_m_s, moves=self._moves(now), thing_m=thing_m)
        if item.status not in (sm.RangeStatus.VALID, sm.RangeStatus.NO_TARGET):
            self._freshness.useless(item.sensor, item.status.value)
        elif lie:
            self._lie(now, item.sensor, lie)
        else:
            self._alive(item.sensor, now)

    def _lie(self, now: float, name: str, cause: str) -> None:
        """Readings come, and cannot be true."""
        if self._freshness.lose(name):
            self._lost(now, name, cause, stands=cause == "frozen")
        self._freshness.parts[name].cause = cause

    def _imu(self, item: sm.ImuSample) -> None:
        now, t, body = self._now, item.t_measured_s, self._body
        self._alive("imu", now)
        if not self._still.proved and self._worn.worn and self._still.update(t, item.accel_m_s2, item.gyro_rad_s):
            self._due_s = now
        alarm = self._care.alarm
        # Who lies there, or carries the clip about, has none that slips.
        down = alarm.counting or bool(alarm.open) or not self._worn.worn
        news = body.feed(item, now, protecting=self._protecting, down=down)
        if news is None:
            return
        self._rear.turned(now, t, body.pitch_deg, body.pitch_rate_deg_s)
        if news.upright_known:
            self._due_s = now
        if news.clip is not None:
            self._clip_changed(now, news.clip)
        if news.stepped:
            self._stepped(now)
        if not 0.0 <= t - self._judged_s < JUDGE_EVERY_S:
            self._judged_s = t
            # Who falls is shaken as somebody who runs, and is not helped by "Slow down."
            speed_m_s, error = None if body.lies else body.own_speed.speed_m_s(now), body.own_speed.error
            self._governor.judge(now, speed_m_s, error, self._protected_m_s(now))
            self._due_s = min(self._due_s, self._governor.deadline())
            guarded = self._worn.worn and self._protecting
            if self._care.watch(now, body.lean_deg(), body.motion_s, body.gait.last_step_s, guarded=guarded):
                self._due_s = now
        if self._ground.turned(item, body.posture, news.vertical_m_s2, body.gait.steps):
            self._due_s = now
        if news.recovered:
            self._care.recovered(now, body.near_falls)
        self._update_worn(now, item, news.stepped)
        if news.fallen is not None and self._state not in (GuardState.NOT_WORN, GuardState.STOPPING):
            self._maybe_fallen = news.fallen
        if self._maybe_fallen is not None and not self._worn.undecided(t):
            if self._worn.handled(t):
                self._maybe_fallen = None
            self._suspect(now)

    def _suspect(self, now: float) -> None:
        """Asks after what looks like a fall, if something still does."""
        if self._maybe_fallen is None:
            return
        self._care.suspect(now, self._maybe_fallen)
        self._maybe_fallen = None
        self._due_s = now

    def _update_worn(self, now: float, item: sm.ImuSample, stepped: bool) -> None:
        """Put on, taken off, laid down: never called not worn soon after a fall."""
        posture, worn = self._body.posture, self._worn
        was_worn = worn.worn
        if not worn.update(
            item.t_measured_s,
            item.accel_m_s2,
            item.gyro_rad_s,
            posture.upright,
            stepped=stepped,
            repeats=posture.repeats,
            may_leave=now - self._care.suspected_s > NEVER_NOT_WORN_AFTER_FALL_S and not self._care.alarm.open,
        ):
            return
        self._due_s = now
        if worn.worn and not was_worn:
            self._body.worn_anew()
            self._rear.check_anew()
            # Who has heard it a while ago hears it still, as after a restart.
            soon = now - self._taken_off_s <= self._config.guard.resume_within_s
            self._check.start(now, sound=self._check.sound and soon)
            self._still.start()
            self._passed = False
        elif was_worn:
            self._taken_off_s = now
            self._faults.forget(now, "clip", "slipped")

    def _clip_changed(self, now: float, change: ClipChange) -> None:
        """The clip has slipped on the belt, sits right again, or its new seat is known."""
        if change is ClipChange.SLIPPED:
            self._faults.begin(now, "clip", "slipped", f"turned by {self._body.slip.turned_deg:.0f} degrees")
        else:
            self._faults.end(now, "clip", "slipped")
        self._due_s = now

    def _edge(self, item: sm.ButtonEdge) -> None:
        self._helper.pressed()
        for meant in self._button.edge(item.t_measured_s, item.pressed):
            self._mean(self._now, meant)

    def _battery(self, item: sm.BatterySample) -> None:
        self._charge.feed(self._now, item)

    def _air(self, item: sm.AirSample) -> None:
        self._rear.air.feed(item)

    def _voice_progress(self, item: sm.VoiceProgress) -> None:
        self._arbiter.progress(item)
        self._introduction.progress(self._now, item)

    def _voice_heartbeat(self, item: sm.VoiceHeartbeat) -> None:
        now = self._now
        if self._freshness.parts["voice"].last_s is None:
            self._arbiter.voice_there(now)
        self._freshness.heard("voice", now)
        self._voice.heartbeat(now, item)
        if item.proof == "heard" and self._check.asked:
            self._check.confirm()

    def _courier_heartbeat(self, item: sm.CourierHeartbeat) -> None:
        now = self._now
        self._helper.heartbeat(item)
        if self._freshness.heard("courier", now):
            self._faults.end(now, "courier", "silent")
        faults = frozenset(filter(None, item.fault.split(",")))
        before, self._courier_faults = self._courier_faults, faults
        for fault in sorted(before - faults):
            part = COURIER_PARTS.get(fault, "courier")
            if part != "courier" or self._helper.link_over():
                self._faults.end(now, part, fault)
            else:
                self._faults.forget(now, part, fault)
        for fault in sorted(faults - before):
            # The network informs, it does not frighten: said once, and again only if somebody waits for help.
            self._faults.begin(now, COURIER_PARTS.get(fault, "courier"), fault, repeat=False)

    def _delivered(self, item: sm.EventDelivered) -> None:
        self._care.delivered(self._now, item)

    def _command(self, item: sm.Command) -> None:
        self._helper.command(self._now, item, self._state)

    def _health(self, item: sm.HealthReport) -> None:
        now = self._now
        if item.part in self._freshness.parts and item.part in self._sensors:
            part = self._freshness.parts[item.part]
            if item.active:
                part.cause = item.fault
                # Readings that come too seldom or mean nothing protect nobody, though they come.
                if item.fault in USELESS and self._freshness.lose(item.part):
                    self._lost(now, item.part, item.fault)
            elif not part.lost and part.cause == item.fault:
                part.cause = ""
            return
        if item.part == "config" and item.fault == "unusable":
            self._config_unusable = item.active
        if (item.part, item.fault) == ("guard", "paused"):
            self._paused(now, item)
            return
        if item.part == "clock":
            self._emit(ev.ClockChanged(t_s=ms(now), detail=item.detail))
            return
        if (item.part, item.fault) == ("bus", "stuck"):
            self._freshness.hasten("imu" if item.active else "")
        value = "late" if (item.part, item.fault) == ("guard", "starved") else ""
        if item.active:
            repeat = item.part not in SAID_ONCE
            self._faults.begin(now, item.part, item.fault, item.detail, value=value, repeat=repeat)
        else:
            self._faults.end(now, item.part, item.fault, value=value)

    def _paused(self, now: float, item: sm.HealthReport) -> None:
        """The guard itself stood still, and nobody else is to blame for what it did not hear meanwhile.

        The voice has said so; the walker hears when it is over.
        """
        if item.active:
            self._freshness.excuse(now)
            self._faults.begin(now, item.part, item.fault, item.detail, said=False)
        else:
            self._faults.end(now, item.part, item.fault)

    def _restored(self, item: sm.Restored) -> None:
        now, state = self._now, item.state
        elapsed = max(0.0, item.elapsed_s)
        self._arbiter.last_number = max(self._arbiter.last_number, state.last_alert) + NUMBER_GAP
        # After a clean switch-off, or long ago, the device may be worn anew, and sit differently.
        goes_on = state.guard_state != GuardState.STOPPING and elapsed <= self._config.guard.resume_within_s
        if goes_on:
            self._body.gait.steps = max(0, state.steps)
            self._body.walked.totals = Totals(distance_m=max(0.0, state.walked_m))
            self._walk.walked_s = max(0.0, state.walked_s)
        self._body.own_speed.remember(state.speed_factor, state.speed_lessons)
        self._body.coaching.restored(state, worn_on=goes_on and state.upright is not None)
        if state.upright is not None and goes_on:
            up = unit(state.upright)
            if wearable(up):
                self._body.restore_upright(up)
        if goes_on:
            self._taken_off_s = now
            self._check.start(now, sound=state.sound_confirmed)
        if goes_on and state.guard_state in (GuardState.GUARDING, GuardState.LIMITED):
            self._drop_speed_said = self._body.posture.upright is not None
            self._passed = True
            if self._drop_speed_said:
                self._check.resume(now, sound=state.sound_confirmed)
        if state.guard_state != GuardState.STOPPING:
            self.restarts = state.restarts + 1
            self._arbiter.announce(now, "restarted")
        if goes_on and state.guard_state == GuardState.NOT_WORN and not state.open_alarm:
            self._worn.rest()
            self._change(now, GuardState.NOT_WORN, (self._worn.reason,))
        else:
            self._change(now, GuardState.CHECKING, ())
        self._care.restored(now, state, elapsed)
        self._introduction.accepted = state.accepted

    def _stop_requested(self, item: sm.StopRequested) -> None:
        self._stop(self._now, item.reason)

    def _cue_requested(self, item: sm.CueRequested) -> None:
        """Says "Stop" without a reason, for somebody who walks, is guarded, and of nothing else needs to hear."""
        now, arbiter = self._now, self._arbiter
        refused = ""
        if self._care.alarm.counting or self._care.alarm.open:
            refused = "alarm"
        elif arbiter.voice_lost or arbiter.voice_doubted or arbiter.voice_refused:
            refused = "voice"
        elif arbiter.holding:
            refused = "hazard"
        elif self._state not in (GuardState.GUARDING, GuardState.LIMITED):
            refused = "not_guarding"
        elif not self._walking(now):
            refused = "standing"
        number = None if refused else arbiter.announce(now, "cue", because="to measure the stop", insist=False)
        self._emit(
            ev.CommandReceived(
                t_s=ms(now), alert=number, name="cue", id=item.by[:64], accepted=not refused, reason=refused
            )
        )

    def _tick(self, item: sm.Tick) -> None:
        """Time has passed; `_evaluate` does the rest."""

    # ================================================================================ what follows

    def _evaluate(self, now: float) -> None:
        """Brings everything that depends on time up to `now`, and finds the next deadline."""
        for part in self._freshness.newly_lost(now):
            self._lost(now, part.name, part.cause)
        self._faults.advance(now)
        for meant in self._button.advance(now):
            self._mean(now, meant)
        walking = self._walking(now)
        self._rear.advance(now, walking)
        state = self._state
        self._update_state(now)
        if self._thanks:
            self._thanks = False
            if self._state is not GuardState.GUARDING or state is GuardState.GUARDING:
                self._arbiter.announce(now, "heard")  # "Guarding." says as much
        self._update_rear(now, walking)
        self._update_ground(now, walking)
        self._update_governor(now, walking)
        self._care.advance(now)
        self._walk.advance(now)
        self._helper.advance(now, walks=self._walk.open, protecting=self._protecting, faults=self._link_fails)
        self._introduction.advance(now, ready=self._may_introduce)
        self._guarding_tick(now)
        self._arbiter.coming = (RANK_ALARM, self._care.alarm.next_count_s(now))
        self._arbiter.advance(now)
        self._save(now)
        self._due_s = self._next_due(now)

    def _next_due(self, now: float) -> float:
        due = min(
            self._freshness.deadline(),
            self._faults.deadline(),
            self._button.deadline(),
            self._arbiter.deadline(),
            self._tick_due_s,
            self._rear.deadline(),
            self._ground.deadline(now),
            self._governor.deadline(),
            self._care.deadline(now),
            self._helper.deadline(),
            self._introduction.deadline(),
            self._voice.deadline(now),
        )
        if not self._stopping:
            due = min(due, self._check.deadline(now))
        if self._rear.unknown_since_s is not None:
            limit = self._rear.unknown_since_s + UNKNOWN_LIMITS_AFTER_S
            if limit > now:
                due = min(due, limit)
        due = min(due, self._walk.deadline())
        if self._saved is not None and self._walk.open:
            due = min(due, self._saved.t_saved_s + SAVE_EVERY_S)
        return due

    # -- sensors and parts ----------------------------------------------------------------------------------

    def _alive(self, name: str, now: float) -> None:
        if self._freshness.parts[name].last_s is None:
            self._due_s = now  # from its first sample on it may be silent for less long than while starting
        if self._freshness.heard(name, now):
            self._emit(ev.SensorRestored(t_s=ms(now), sensor=name))
            self._arbiter.release(now, "sensor_lost", name)
            self._arbiter.announce(now, "sensor_back", name)
            self._due_s = now

    def _lost(self, now: float, name: str, cause: str, *, stands: bool = False) -> None:
        """A part is lost.  `stands`: it says one thing while the walker moves; another than that may still be there."""
        if name in self._sensors:
            self._arbiter.retract("sensor_back", name)
            number: int | None = None
            # The only rear sensor is named by "no rear sensor" itself: said twice, it would keep the next one waiting.
            named_anyway = self._rear.sensors.keys() == {name} and self._state is not GuardState.NOT_PROTECTING
            if not named_anyway and not self._stopping:
                number = self._arbiter.hold(
                    now, "sensor_lost", Level.CAUTION, value=name, because=cause or "silent", name=name
                )
            self._emit(ev.SensorLost(t_s=ms(now), alert=number, sensor=name, cause=cause or "silent"))
            if name == "imu":
                self._suspect(now)  # nothing will tell any more that it was none
            if name in self._rear.sensors:
                if not stands:  # what stands still stays where it is, and is not seen anew
                    self._rear.sensors[name].broken()
            elif name in self._ground.sensors:
                self._ground.sensors[name].broken()
            elif name == "imu":
                self._body.lost()
        elif name == "voice":
            self._voice.silent(now)
        else:
            self._faults.begin(now, name, "silent")

    # -- guard state ----------------------------------------------------------------------------------------

    def _update_state(self, now: float) -> None:
        if self._stopping:
            return
        reasons: list[str] = []
        parts = self._freshness.parts
        rear_lost = [name for name in self._rear.sensors if parts[name].lost]
        touch_lost = self._felt <= self._faults.parts()
        # Who is told by touch loses nothing with the voice.
        voice_limits = self._voice.limits(now) and not self._by_touch
        deaf = (self._arbiter.voice_lost or self._arbiter.voice_doubted) and not self._by_touch
        if self._config_unusable:
            reasons.append("config")
        if len(rear_lost) == len(self._rear.sensors):
            reasons.append("rear")
        if self._by_touch and self._felt - {"buzzer"} <= self._faults.parts():
            reasons.append("vibration")
        elif voice_limits and touch_lost:
            reasons.append("voice")
        charge = self.battery_percent
        if not self._passed and charge is not None and charge < BATTERY_BLOCK_PERCENT:
            reasons.append("battery")
        if reasons:
            self._change(now, GuardState.NOT_PROTECTING, tuple(reasons))
            return
        if not self._worn.worn:
            self._change(now, GuardState.NOT_WORN, (self._worn.reason,))
            return
        voice = self._freshness.seen("voice") and not self._arbiter.voice_lost
        upright = self._body.posture.upright is not None or not self._freshness.seen("imu")
        self._check.advance(now, hand=self._check.hand or self._check_done(), voice=voice, upright=upright)
        if parts["imu"].lost:
            reasons.append("imu")
        if rear_lost:
            reasons.append("rear")
        if self._rear.unknown_since_s is not None and now >= self._rear.unknown_since_s + UNKNOWN_LIMITS_AFTER_S:
            reasons.append("unknown")
        if self._ground.lost_sensor:
            reasons.append("drop")
        elif self._ground.limited(now):
            reasons.append("ground")
        if ("clip", "slipped") in self._faults:
            reasons.append("clip")
        if self._still.inexact and not parts["imu"].lost:
            reasons.append("inexact")
        if voice_limits:
            reasons.append("voice")
        if ("guard", "starved") in self._faults:
            reasons.append("late")
        missing = self._check.missing(now, waiting=self._state is not GuardState.LIMITED, deaf=deaf)
        if missing == "checking":
            self._change(now, GuardState.CHECKING, ())
            return
        if missing:
            reasons.insert(0, missing)
        if self._state is GuardState.CHECKING and not all(self._freshness.seen(name) for name in self._sensors):
            starting = [name for name in self._sensors if parts[name].last_s is None and not parts[name].lost]
            if starting:
                return  # resumed after a restart: first readings are on their way
        self._change(now, GuardState.LIMITED if reasons else GuardState.GUARDING, tuple(reasons))

    def _check_done(self) -> bool:
        """Whether a hand was seen behind and has gone, and the clip knows upright."""
        return self._body.posture.upright is not None and self._freshness.seen("imu") and self._rear.checked

    def _change(self, now: float, state: GuardState, reasons: tuple[str, ...]) -> None:
        if state is self._state and reasons == self._reasons:
            return
        previous, before = self._state, self._reasons
        self._state, self._reasons = state, reasons
        arbiter = self._arbiter
        number: int | None = None
        for other in GuardState:
            arbiter.retract(other.value)  # what was cut off and waits to be said again is not true any more
        if state is not GuardState.NOT_PROTECTING:
            arbiter.release(now, "not_protecting")
        if state is GuardState.NOT_PROTECTING:
            number = arbiter.hold(now, "not_protecting", Level.CAUTION, value=reasons[0])
        elif state is GuardState.LIMITED:
            news = [reason for reason in reasons if reason not in before and reason in TELLS]
            if "unheard" in news:
                number = arbiter.announce(now, "unheard", "unheard")
            elif news:
                number = arbiter.announce(now, "limited", news[0])
                if news[0] == "unchecked":
                    # Which of them, where some have seen it: a hand may be held too far to the side of one.
                    for name in self._rear.hand_missed:
                        arbiter.announce(now, "hand_missed", name)
        elif state is GuardState.CHECKING:
            self._check.ask(now)
            if not self._check.hand:
                number = arbiter.announce(now, "checking")
        elif state is not previous:
            number = arbiter.announce(now, state.value)
        guarding = state in (GuardState.GUARDING, GuardState.LIMITED)
        if guarding and not self._drop_speed_said and self._ground.speed_said:
            self._drop_speed_said = True
            arbiter.announce(now, "drop_speed", self._ground.speed_said)
        if guarding and not self._passed:
            self._passed = True
            self._charge.checked(now)
        if guarding and self._guarding_since_s is None:
            self._guarding_since_s = now
        elif not guarding:
            self._guarding_since_s = None
        if guarding and self._tick_due_s == math.inf:
            self._tick_due_s = now + self._config.voice.tick_s
        elif not guarding:
            self._tick_due_s = math.inf
        self._emit(ev.GuardChanged(t_s=ms(now), alert=number, state=state, previous=previous, reasons=reasons))

    def _guarding_tick(self, now: float) -> None:
        """The proof of life: heard only while the path behind is known and nothing else needs the ear."""
        if now < self._tick_due_s:
            return
        self._tick_due_s = now + self._config.voice.tick_s
        known = self._rear.path in (Path.CLEAR, Path.OBJECT)
        known = known and not self._rear.tipped and not self._ground.silent(now)
        if known and self._rear.level < Level.CAUTION and not self._care.alarm.counting:
            self._arbiter.announce(now, "tick", insist=False)

    def _stop(self, now: float, reason: str) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._walk.end(now)
        self._rear.stop(now)
        self._change(now, GuardState.STOPPING, (reason,))

    # -- the path behind ------------------------------------------------------------------------------------

    def _update_rear(self, now: float, walking: bool | None) -> None:
        state = self._state
        # The hand held behind for the check is no obstacle.
        checking = state is GuardState.CHECKING and not self._check.hand and walking is False
        self._rear.update(
            now,
            quiet=self._stopping or state is GuardState.NOT_WORN or checking,
            path_quiet=state in (GuardState.CHECKING, GuardState.NOT_WORN, GuardState.STOPPING),
            fallen=self._fallen,
            trunk_pitch_deg=self._body.pitch_deg,
        )

    def _update_ground(self, now: float, walking: bool | None) -> None:
        state = self._state
        checking = state is GuardState.CHECKING and not self._check.hand and walking is False
        self._ground.update(
            now,
            quiet=self._stopping or state is GuardState.NOT_WORN or checking or self._fallen,
            moves=self._moves(now),
            trunk_pitch_deg=self._body.pitch_deg,
        )

    @property
    def _protecting(self) -> bool:
        """Whether words about balance are for somebody: in every other state they would not know of what."""
        return self._state in (GuardState.GUARDING, GuardState.LIMITED, GuardState.NOT_PROTECTING)

    def _moves(self, now: float) -> bool:
        """Whether the walker walks, may be about to, or it is not known."""
        return self._walking(now) is not False or now - self._body.gait.last_peak_s <= STIRS_S

    def _protected_m_s(self, now: float) -> float:
        """Fastest backward speed at which the working rear sensors protect the walker."""
        return protected_speed_m_s(self._rear.reach.reach_m(now), self._config.walker, self._config.collision)

    def _update_governor(self, now: float, walking: bool | None) -> None:
        if not walking:
            self._governor.judge(now, None, 0.0, 0.0)
        quiet = (
            self._state not in (GuardState.GUARDING, GuardState.LIMITED)
            or self._fallen
            or self._rear.level >= Level.CAUTION
            or any(self._arbiter.holds(key) for key in ("unknown", "drop"))
            or self._body.own_speed.forward(now)
            or self._rear.accompanied(now)
        )
        self._governor.advance(now, quiet=quiet)

    @property
    def _fallen(self) -> bool:
        """Whether the walker is being asked after a fall, or lies there waiting for help."""
        if self._care.alarm.counting:
            return True
        return (
            Open.FALL in self._care.alarm.open and self._freshness.seen("imu") and self._body.lean_deg() > UPRIGHT_DEG
        )

    # -- steps, walks ---------------------------------------------------------------------------------------

    def _walking(self, now: float) -> bool | None:
        imu = self._freshness.parts["imu"]
        if imu.lost:
            return None
        return imu.last_s is not None and self._body.gait.walking(now)

    def _stepped(self, now: float) -> None:
        if self._body.lean_deg() < UPRIGHT_DEG:
            self._care.stepped(now)
        gait = self._body.gait
        if gait.bout_started_s is not None:
            for name in self._rear.stepped(gait.last_step_s, gait.bout_started_s):
                self._lie(now, name, "frozen")
        self._due_s = min(self._due_s, now)

    # -- the button -----------------------------------------------------------------------------------------

    def _mean(self, now: float, meant: Meant) -> None:
        alarm, arbiter = self._care.alarm, self._arbiter
        gesture = meant.gesture
        # A press that called an alarm off is spent: two of them are not "quiet" as well.
        free = not alarm.open and not alarm.counting and meant.down_s > self._spent_press_s
        if gesture is Gesture.CLICK:
            self._click(now, meant.down_s)
        elif gesture is Gesture.PRESS:
            if now - self._care.suspected_s > 2.0 and free:
                self._press(now, meant.down_s)
        elif gesture is Gesture.DOUBLE:
            if free:
                arbiter.quiet_until_s = now + QUIET_S
                arbiter.announce(now, "quiet")
        elif gesture is Gesture.TRIPLE:
            if free:
                self._switch_off_asked_s = now
                arbiter.announce(now, "switch_off_question")
        elif gesture is Gesture.HOLD:
            arbiter.announce(now, "sos_hold")
        elif gesture is Gesture.SOS:
            self._care.sos(now)
        elif gesture is Gesture.STUCK:
            self._faults.begin(now, "button", "stuck", "held for more than 10 s")
        elif gesture is Gesture.FREED:
            self._faults.end(now, "button", "stuck")

    def _click(self, now: float, down_s: float) -> None:
        if self._care.click(now, down_s):
            self._spent_press_s = down_s
        elif down_s > self._switch_off_asked_s and now - self._switch_off_asked_s <= ASK_S:
            self._switch_off_asked_s = -math.inf
            self._spent_press_s = down_s
            self._stop(now, "button")
        elif self._check.answers(down_s) and self._worn.worn and not self._introduction.asks(now, down_s):
            self._check.confirm(down_s)
            self._thanks = True

    def _press(self, now: float, down_s: float) -> None:
        """A single press that no alarm has taken."""
        if self._introduction.pressed(now, down_s):
            if not self._check.sound:
                self._check.confirm(down_s)
        elif down_s > self._check.answered_down_s:
            self._how_am_i(now)

    def _how_am_i(self, now: float) -> None:
        """Says what protects the walker now and what does not; then whether messages get out, and the battery."""
        if self._state is GuardState.LIMITED or self._state is GuardState.NOT_PROTECTING:
            reasons = self._reasons or ("unknown",)
            self._arbiter.announce(now, self._state.value, reasons[0])
            if len(reasons) > 1:
                self._arbiter.announce(now, "also", reasons[1])
        else:
            self._arbiter.announce(now, self._state.value)
        self._arbiter.announce(now, "around", self._around())

    def _around(self) -> str:
        """Link to the helper and charge, as `arounds` has them."""
        broker = self._config.broker.host
        helper = ("linked" if self._helper.linked(self._link_fails) else "away") if broker else "none"
        if self._config.battery.chip == "none":
            return helper
        charge = self.battery_percent
        if charge is None:
            return f"{helper}-unknown"
        return f"{helper}-{'good' if charge > 50.0 else 'half' if charge > CHARGE_STEPS[0] else 'low'}"

    @property
    def _link_fails(self) -> bool:
        """Whether something is wrong with the way of messages."""
        return any(True for part in ("courier", "outbox") for _ in self._faults.of(part))

    # -- first use ------------------------------------------------------------------------------------------

    def _first_use(self, item: sm.FirstUse) -> None:
        self._introduction.first_use(item.accepted)

    @property
    def _may_introduce(self) -> bool:
        """Whether there is somebody to hear what the device is, and nothing more urgent in their life."""
        alarm = self._care.alarm
        quiet = (
            not alarm.counting and not alarm.open and not self._arbiter.voice_lost and not self._arbiter.voice_doubted
        )
        return quiet and self._state in (GuardState.GUARDING, GuardState.LIMITED)

    # -- leaving --------------------------------------------------------------------------------------------

    def _emit(self, event: ev.Event) -> None:
        self._out.append(event)

    def _save(self, now: float) -> None:
        untold = self._care.untold or any(
            isinstance(output, ev.Event) and output.priority is ev.Priority.HIGH for output in self._out
        )
        what = (
            untold,
            self._state,
            self._guarding_since_s,
            self._body.posture.upright,
            self._care.what,
            self._introduction.accepted,
            self._check.sound,
            self._walk.walked_s,
            # Alert numbers that a restart might use again must not come near.
            self._arbiter.last_number // (NUMBER_GAP // 2),
        )
        saved = self._saved
        totals_due = saved is not None and self._walk.open and now >= saved.t_saved_s + SAVE_EVERY_S
        if what == self._saved_what and not totals_due:
            return
        self._saved_what = what
        state = SavedState(
            t_saved_s=ms(now),
            guard_state=self._state.value,
            guarding_since_s=rounded(self._guarding_since_s, 3),
            upright=self._body.posture.upright,
            steps=self._body.gait.steps,
            walked_s=round(self._walk.walked_s, 1),
            walked_m=round(self._body.walked.totals.distance_m, 1),
            last_alert=self._arbiter.last_number,
            untold=untold,
            accepted=self._introduction.accepted,
            sound_confirmed=self._check.sound,
            restarts=self.restarts,
            speed_factor=round(self._body.own_speed.factor, 3),
            speed_lessons=self._body.own_speed.lessons,
        )
        self._saved = state = self._body.coaching.saved(self._care.saved(now, state))
        self._out.append(ev.StateSaved(t_s=ms(now), state=state))
