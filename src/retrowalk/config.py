"""Every knob, typed, with its unit, default, range and reason.

One TOML file (`/etc/retrowalk/retrowalk.toml`) holds what a person may set; the program never writes it.
`load` reads it and reports *all* findings at once.  The string beneath each field is its documentation and
goes, word for word, into the commented default file (`systemd/retrowalk.toml`, made by `script/config-reference`).

A knob's range stands twice: in its type, which is checked, and in its string, which is read.  Its unit is the end
of its name and stands in the string, too.  A test holds the three together.  `lastgood.resolve` is how a device
reads its file: it falls back on the last one that was in order, never on the defaults below.
"""

from __future__ import annotations

import math
import operator
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from retrowalk.errors import ConfigError, Finding

FILE_MAX_BYTES = 256 * 1024
"""A longer file is refused unread: forty times the documented default file."""

UNITS = {
    "_m_s2": "m/s2",
    "_deg_s": "degrees/s",
    "_m_s": "m/s",
    "_wpm": "words a minute",
    "_deg": "degrees",
    "_ms": "ms",
    "_mb": "MB",
    "_s": "s",
    "_m": "m",
    "_g": "g",
    "_percent": "percent",
    "_c": "C",
    "_ohm": "ohm",
}
"""Unit by the end of a knob's name; the first that fits counts."""

# \Z and not $: before a last line feed, $ fits as well.
Pin = Annotated[int, Meta(ge=0, le=27)]
OtherPin = Annotated[int, Meta(ge=-1, le=27, description="must be -1 (none) or a whole number, 0 to 27")]
I2cAddress = Annotated[int, Meta(ge=0x08, le=0x77, description="must be a whole number, 0x08 to 0x77")]
UsualAddress = Annotated[
    int, Meta(ge=0, le=0x77, description="must be 0x00 (the chip's usual one) or a whole number, 0x08 to 0x77")
]
PortName = Annotated[
    str, Meta(pattern=r"^/dev/[A-Za-z0-9._/-]{1,100}\Z", description='must be a serial port such as "/dev/serial0"')
]
Name = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,32}\Z", description="must be 1 to 32 of a to z, 0 to 9 and hyphen")]
Language = Literal["en", "de"]
"""Every language that has its words in voice/texts."""
Text = Annotated[
    str,
    Meta(pattern=r"^[^\x00-\x1f\x7f]{0,200}\Z", description="must be text on one line, at most 200 characters"),
]
SpokenName = Annotated[
    str,
    Meta(pattern=r"^[^\W\d_](?:[^\W\d_]|[ .'-]){0,23}\Z", description="must be a name of 1 to 24 letters"),
]
FilledText = Annotated[
    str,
    Meta(pattern=r"^[^\x00-\x1f\x7f]{1,200}\Z", description="must be text on one line, 1 to 200 characters"),
]


R = TypeVar("R", bound=Struct)


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class Device(Section, frozen=True, kw_only=True):
    """Who this device is, on the broker and in recordings."""

    name: Name = "rw-0001"
    """Name of the device: broker user, client id and topic level (a to z, 0 to 9, hyphen; 1 to 32 characters)."""
    site: Name = "home"
    """Family or ward the device belongs to; the topic level above the device (as `name`)."""
    language: Language = "en"
    """Language of the spoken phrases: en (English) or de (German)."""


class Walker(Section, frozen=True, kw_only=True):
    """How the walker stops.  Nobody has published stopping while walking backward: measure it (retrowalk calibrate)."""

    profile: Literal["older", "younger", "measured"] = "older"
    """Whose stopping time: older, younger, or measured (`measured_stop_s`).  When in doubt older, warning earlier."""
    measured_stop_s: Annotated[float, Meta(ge=0.3, le=4.0)] = 1.9
    """Cue to standstill of this walker, 95 of 100 stops (0.3 to 4 s).  Used with profile = "measured" only."""
    step_length_m: Annotated[float, Meta(ge=0.0, le=0.8)] = 0.0
    """Mean step of this walker going backward (0 to 0.8 m), by `retrowalk calibrate gait`; 0: not measured."""
    step_bounce_m_s2: Annotated[float, Meta(ge=0.0, le=40.0)] = 0.0
    """Bounce of the back that this step belongs to (0 to 40 m/s2); 0: not measured."""
    step_time_s: Annotated[float, Meta(ge=0.0, le=2.0)] = 0.0
    """Time that this step took (0 to 2 s); 0: not measured."""
    speed_factor: Annotated[float, Meta(ge=0.6, le=1.6)] = 1.0
    """This walker's speed over that of everybody who bounces alike (0.6 to 1.6); 1: not measured."""
    reach_m: Annotated[float, Meta(ge=0.0, le=0.8)] = 0.30
    """How far the foot reaches behind the sensor: half a backward step (0 to 0.8 m)."""
    clearance_m: Annotated[float, Meta(ge=0.05, le=1.0)] = 0.20
    """Room left between foot and obstacle after a stop (0.05 to 1 m)."""
    usual_speed_m_s: Annotated[float, Meta(ge=0.1, le=2.0)] = 0.7
    """Speed assumed while neither closing speed nor walking speed is known (0.1 to 2 m/s)."""
    hearing: Literal["sound", "touch"] = "sound"
    """How this walker is told: sound, or touch, for who hears badly or not at all: all that is heard is also felt."""


class HcSr04(Section, frozen=True, kw_only=True, tag_field="chip", tag="hc-sr04"):
    """An HC-SR04-class ultrasonic sensor on two GPIO lines (3.3 V type, or a divider on the echo line)."""

    name: Name = "rear"
    """Name of the sensor, as spoken and recorded (a to z, 0 to 9, hyphen)."""
    role: Literal["rear"] = "rear"
    """What it watches: rear, the path behind."""
    trigger_pin: Pin = 23
    """GPIO number (BCM) of the trigger line (0 to 27)."""
    echo_pin: Pin = 24
    """GPIO number (BCM) of the echo line (0 to 27), not above 3.3 V."""
    power_pin: OtherPin = -1
    """GPIO number (BCM) of a switch in its 5 V (-1 to 27), low for a moment when it hangs, else high; -1: none."""
    range_max_m: Annotated[float, Meta(ge=0.5, le=5.0)] = 4.0
    """Longest range believed (0.5 to 5 m); a longer echo counts as no target."""
    clear_range_m: Annotated[float, Meta(ge=0.5, le=5.0)] = 2.0
    """Range within which "no target" may be called clear (0.5 to 5 m).  A person in fleece is seen to about 2 m."""
    temperature_c: Annotated[float, Meta(ge=-20.0, le=45.0)] = 0.0
    """Air temperature for the speed of sound (-20 to 45 C).  Cold reads near, which is the safe side."""
    bearing_left_deg: Annotated[float, Meta(ge=-60.0, le=60.0)] = 0.0
    """Where its beam points, from straight behind towards the walker's own left (-60 to 60 degrees)."""


class TfLuna(Section, frozen=True, kw_only=True, tag_field="chip", tag="tf-luna"):
    """A TF-Luna lidar on the I2C bus: a narrow beam, far and fast, in daylight, too."""

    name: Name = "lidar"
    """Name of the sensor, as spoken and recorded (a to z, 0 to 9, hyphen)."""
    role: Literal["rear", "dropoff"] = "rear"
    """What it watches: rear, the path behind; dropoff, the ground behind (35 degrees below level)."""
    address: I2cAddress = 0x10
    """I2C address: 0x10 from the maker; a second one is set to 0x11 (0x08 to 0x77)."""
    range_max_m: Annotated[float, Meta(ge=0.5, le=8.0)] = 8.0
    """Longest range believed (0.5 to 8 m); a longer one counts as no target."""
    clear_range_m: Annotated[float, Meta(ge=0.5, le=8.0)] = 2.5
    """Range within which "no target" may be called clear (0.5 to 8 m).  Black cloth is seen to 2.5 m."""
    bearing_left_deg: Annotated[float, Meta(ge=-60.0, le=60.0)] = 0.0
    """Where its beam points, from straight behind towards the walker's own left (-60 to 60 degrees)."""
    poll_s: Annotated[float, Meta(ge=0.01, le=0.1)] = 0.048
    """How often it is read (0.01 to 0.1 s); as often as the clip, so that one wake-up reads both."""


class Vl53l1x(Section, frozen=True, kw_only=True, tag_field="chip", tag="vl53l1x"):
    """A VL53L1X time-of-flight sensor on the I2C bus: for shade and indoors only."""

    name: Name = "tof"
    """Name of the sensor, as spoken and recorded (a to z, 0 to 9, hyphen)."""
    role: Literal["rear"] = "rear"
    """What it watches: rear, the path behind."""
    address: I2cAddress = 0x29
    """I2C address: 0x29 at every power-on (0x08 to 0x77); another one is set at each start."""
    range_max_m: Annotated[float, Meta(ge=0.5, le=4.0)] = 3.5
    """Longest range believed (0.5 to 4 m); a longer one counts as no target."""
    clear_range_m: Annotated[float, Meta(ge=0.5, le=4.0)] = 1.3
    """Range within which "no target" may be called clear (0.5 to 4 m): what its short mode reaches."""
    bearing_left_deg: Annotated[float, Meta(ge=-60.0, le=60.0)] = 0.0
    """Where its beam points, from straight behind towards the walker's own left (-60 to 60 degrees)."""


class A02yyuw(Section, frozen=True, kw_only=True, tag_field="chip", tag="a02yyuw"):
    """A sealed ultrasonic sensor of the A02YYUW class on a serial port: rain and dust do not harm it."""

    name: Name = "rear"
    """Name of the sensor, as spoken and recorded (a to z, 0 to 9, hyphen).  Beside an HC-SR04 give it another one."""
    role: Literal["rear"] = "rear"
    """What it watches: rear, the path behind."""
    port: PortName = "/dev/serial0"
    """Serial port that its TX line leads to; /dev/serial0 is the Pi's own (TX to GPIO15).  Its RX line: to ground."""
    range_max_m: Annotated[float, Meta(ge=0.5, le=4.5)] = 4.5
    """Longest range believed (0.5 to 4.5 m); a longer one counts as no target."""
    clear_range_m: Annotated[float, Meta(ge=0.5, le=4.5)] = 2.0
    """Range within which "no target" may be called clear (0.5 to 4.5 m).  A person in fleece is seen to about 2 m."""
    bearing_left_deg: Annotated[float, Meta(ge=-60.0, le=60.0)] = 0.0
    """Where its beam points, from straight behind towards the walker's own left (-60 to 60 degrees)."""


class Mount(Section, frozen=True, kw_only=True):
    """How the range sensors are worn: the trunk's pitch turns their beams, and the ground is where they say."""

    height_m: Annotated[float, Meta(ge=0.4, le=1.5)] = 0.90
    """Height of the range sensors above the ground when the walker stands (0.4 to 1.5 m)."""
    rear_up_deg: Annotated[float, Meta(ge=-5.0, le=20.0)] = 5.0
    """How far the rear sensors look up when the walker stands (-5 to 20 degrees); 5 to 10 keep the ground out."""
    dropoff_down_deg: Annotated[float, Meta(ge=20.0, le=60.0)] = 35.0
    """How far below level the drop-off sensor looks when the walker stands (20 to 60 degrees)."""


class Air(Section, frozen=True, kw_only=True):
    """The air that the sound goes through."""

    thermometer: Literal["none", "ds18b20"] = "none"
    """Thermometer in the open air, for the speed of sound: ds18b20 (on GPIO4), or none: `temperature_c` is taken."""


class RangeTracker(Section, frozen=True, kw_only=True):
    """The gated two-state Kalman filter that turns ranges into range and closing speed."""

    sigma_accel_m_s2: Annotated[float, Meta(ge=0.1, le=5.0)] = 0.7
    """Acceleration noise of the motion model (0.1 to 5 m/s2).  Lower lags, higher rings; 0.7 measured best."""
    sigma_range_m: Annotated[float, Meta(ge=0.005, le=0.2)] = 0.03
    """Range noise assumed, on purpose larger than the sensor's (0.005 to 0.2 m)."""
    gate: Annotated[float, Meta(ge=3.0, le=50.0)] = 12.0
    """Squared innovation over its variance beyond which a sample is rejected (3 to 50)."""
    blind_after_s: Annotated[float, Meta(ge=0.2, le=2.0)] = 0.5
    """A track without an accepted sample for longer is blind (0.2 to 2 s)."""


class Collision(Section, frozen=True, kw_only=True):
    """When to warn of something behind: by the room left, and never later than the floors."""

    system_delay_s: Annotated[float, Meta(ge=0.05, le=2.0)] = 0.30
    """From a range sample to sound in the ear (0.05 to 2 s): three pings, filter, sound buffer."""
    caution_ahead_s: Annotated[float, Meta(ge=0.5, le=5.0)] = 1.5
    """Caution comes this much earlier than warning (0.5 to 5 s)."""
    advisory_time_to_collision_s: Annotated[float, Meta(ge=2.0, le=20.0)] = 6.0
    """A new object nearer than this in time gets one chime (2 to 20 s)."""
    warning_floor_m: Annotated[float, Meta(ge=0.2, le=2.0)] = 0.50
    """Nearer than this is a warning at any speed while moving back (0.2 to 2 m)."""
    caution_floor_m: Annotated[float, Meta(ge=0.3, le=3.0)] = 1.0
    """Nearer than this and closing is at least a caution (0.3 to 3 m)."""
    touching_m: Annotated[float, Meta(ge=0.05, le=1.0)] = 0.30
    """Nearer than this the tone is continuous, as in parking aids (0.05 to 1 m)."""
    moving_m_s: Annotated[float, Meta(ge=0.02, le=0.5)] = 0.10
    """Closing slower than this is standing still (0.02 to 0.5 m/s)."""
    release_m: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.20
    """A level is left only with this much more room than it needs (0 to 1 m) ..."""
    release_hold_s: Annotated[float, Meta(ge=0.0, le=5.0)] = 0.6
    """... for this long (0 to 5 s).  Raise at once, lower slowly."""
    quiet_after_still_s: Annotated[float, Meta(ge=0.5, le=30.0)] = 3.0
    """Standing still beside something, the alerts end after this time (0.5 to 30 s)."""
    with_walker_after_s: Annotated[float, Meta(ge=0.5, le=10.0)] = 1.0
    """What keeps its distance for so long moves with the walker: only the warning floor counts (0.5 to 10 s)."""
    approaching_m_s: Annotated[float, Meta(ge=0.3, le=5.0)] = 0.8
    """What nears by so much more than the walker's own speed comes by itself (0.3 to 5 m/s): it is announced."""


class Governor(Section, frozen=True, kw_only=True):
    """Says "Slow down" to a walker who is faster than the working sensors can protect."""

    after_s: Annotated[float, Meta(ge=0.5, le=10.0)] = 2.0
    """Too fast for so long before it is said (0.5 to 10 s)."""
    gap_s: Annotated[float, Meta(ge=10.0, le=120.0)] = 10.0
    """It is said again no sooner than this (10 to 120 s), and each time in vain twice as late, up to eight times."""


class Dropoff(Section, frozen=True, kw_only=True):
    """Kerbs, steps down, stairs and holes behind."""

    depth_m: Annotated[float, Meta(ge=0.05, le=0.5)] = 0.08
    """Ground that lies suddenly deeper than this is a drop (0.05 to 0.5 m).  A kerb is 0.12 m."""
    slope_percent: Annotated[float, Meta(ge=0.0, le=15.0)] = 8.0
    """Steepest slope that is no drop (0 to 15 percent)."""


class Freshness(Section, frozen=True, kw_only=True):
    """When a reading is too old, and when clear may be believed."""

    degraded_after_s: Annotated[float, Meta(ge=0.1, le=1.0)] = 0.3
    """A sensor silent for longer is degraded (0.1 to 1 s)."""
    lost_after_s: Annotated[float, Meta(ge=0.2, le=2.0)] = 0.5
    """A sensor silent for longer is lost, and the walker is told (0.2 to 2 s).  Eight missed pings."""
    proof_s: Annotated[float, Meta(ge=1.0, le=30.0)] = 10.0
    """A range sensor must have proved itself alive within this time for its silence to mean clear (1 to 30 s)."""
    unknown_after_s: Annotated[float, Meta(ge=0.5, le=5.0)] = 1.5
    """The path behind is called unknown when nothing has proved it either way for this long (0.5 to 5 s)."""
    voice_lost_after_s: Annotated[float, Meta(ge=0.2, le=2.0)] = 0.3
    """No sign of life from the voice, ten times a second, for longer: buzzer and vibration take over (0.2 to 2 s)."""
    courier_lost_after_s: Annotated[float, Meta(ge=2.0, le=30.0)] = 3.0
    """No sign of life from the courier, each second, for longer: the walker hears of it (2 to 30 s)."""


class Imu(Section, frozen=True, kw_only=True):
    """The motion sensor clip on the lower back."""

    chip: Literal["lsm6dsox", "mpu6050"] = "lsm6dsox"
    """Chip of the clip: lsm6dsox or mpu6050."""
    address: UsualAddress = 0
    """I2C address (0x00 to 0x77); 0: the usual one: lsm6dsox 0x6A (SA0 high: 0x6B), mpu6050 0x68 (AD0 high: 0x69)."""
    axes: tuple[str, str, str] = ("+x", "+y", "+z")
    """Chip axes that point to the walker's front, left and up; a right-handed set such as +x +y +z."""
    poll_s: Annotated[float, Meta(ge=0.01, le=0.2)] = 0.048
    """How often the FIFO is read (0.01 to 0.2 s): five samples, so that none is older than 48 ms."""

    @property
    def bus_address(self) -> int:
        """The address that is meant, 0x08 to 0x77."""
        return self.address or {"lsm6dsox": 0x6A, "mpu6050": 0x68}[self.chip]


class Balance(Section, frozen=True, kw_only=True):
    """Leaning back, losing balance."""

    upright_s: Annotated[float, Meta(ge=1.0, le=10.0)] = 3.0
    """Standing this long at the start teaches the wearer's own upright (1 to 10 s)."""
    lean_caution_deg: Annotated[float, Meta(ge=2.0, le=30.0)] = 6.0
    """Leaning back so much further than usual in walking, with its rate, is worth a word (2 to 30 degrees)."""
    lean_hold_s: Annotated[float, Meta(ge=0.1, le=5.0)] = 1.0
    """How long it must last, as a mean over two steps (0.1 to 5 s)."""
    lean_drift_deg: Annotated[float, Meta(ge=1.0, le=30.0)] = 5.0
    """So is a mean over 5 s that has drifted back by so much (1 to 30 degrees)."""
    unsteady_cv: Annotated[float, Meta(ge=0.04, le=0.5)] = 0.10
    """Step times that vary by more than this share are unsteady (0.04 to 0.5); frail people have 0.07."""
    hurry_share: Annotated[float, Meta(ge=0.1, le=1.0)] = 0.25
    """Becoming faster by more than this share within 5 s is hurrying (0.1 to 1)."""
    look_back_deg: Annotated[float, Meta(ge=10.0, le=60.0)] = 20.0
    """A trunk turned aside further than this looks back (10 to 60 degrees) ..."""
    look_back_s: Annotated[float, Meta(ge=0.5, le=10.0)] = 2.0
    """... and for longer than this is worth a word (0.5 to 10 s)."""
    message_gap_s: Annotated[float, Meta(ge=5.0, le=300.0)] = 30.0
    """At most one spoken balance message in this time (5 to 300 s)."""


class Fall(Section, frozen=True, kw_only=True):
    """Recognising a fall, and asking before alarming."""

    impact_g: Annotated[float, Meta(ge=1.5, le=8.0)] = 1.5
    """Shock that may be a fall (1.5 to 8 g) ..."""
    lying_deg: Annotated[float, Meta(ge=30.0, le=85.0)] = 40.0
    """... when from 1.5 s later the trunk is tilted by more than this (30 to 85 degrees) ..."""
    still_deg_s: Annotated[float, Meta(ge=5.0, le=120.0)] = 30.0
    """... and turns more slowly than this (5 to 120 degrees/s).  Then the weights of fall.json judge it."""
    hard_g: Annotated[float, Meta(ge=2.0, le=8.0)] = 2.9
    """After a harder shock, lying flat and still is a fall without them (2 to 8 g).  Recorded daily life: none."""
    countdown_s: Annotated[float, Meta(ge=10.0, le=120.0)] = 30.0
    """Time to cancel before the caregiver is called (10 to 120 s)."""
    recovered_steps: Annotated[int, Meta(ge=2, le=20)] = 4
    """Steps taken upright that cancel the countdown: the walker got up (2 to 20)."""


class Button(Section, frozen=True, kw_only=True):
    """The one button, between its pin and ground."""

    pin: Pin = 17
    """GPIO number (BCM) (0 to 27); the internal pull-up is used."""
    debounce_s: Annotated[float, Meta(ge=0.0, le=0.2)] = 0.03
    """Edges closer together than this are one (0 to 0.2 s)."""


class Buzzer(Section, frozen=True, kw_only=True):
    """The active buzzer: sounds with every warning, and is the voice's last stand-in."""

    pin: Pin = 22
    """GPIO number (BCM) of its transistor (0 to 27)."""


class Vibration(Section, frozen=True, kw_only=True):
    """The vibration motor."""

    strength: Annotated[float, Meta(ge=0.3, le=1.0)] = 1.0
    """Share of the motors' full power (0.3 to 1), with all of which each burst begins.  It cannot be set to nothing."""

    pin: Pin = 27
    """GPIO number (BCM) of its transistor (0 to 27).  With two motors: of the one on the walker's own left."""
    right_pin: OtherPin = -1
    """GPIO number (BCM) of a second motor's transistor, on the walker's own right (-1 to 27); -1: there is none."""


class Led(Section, frozen=True, kw_only=True):
    """The light: for a helper's glance, and the last that still tells something when all else has failed."""

    pin: OtherPin = 25
    """GPIO number (BCM) of the LED, with its resistor (-1 to 27); -1: there is none.  An LED left out does no harm."""


class Battery(Section, frozen=True, kw_only=True):
    """The battery, and the chip that watches it."""

    chip: Literal["max17048", "ina219", "none"] = "max17048"
    """Chip that watches it: max17048 (fuel gauge), ina219 (voltage and current), or none: nobody warns of its end."""
    address: UsualAddress = 0
    """I2C address (0x00 to 0x77); 0: the chip's usual one, max17048 0x36, ina219 0x40."""
    cells: Annotated[int, Meta(ge=1, le=4)] = 1
    """Lithium cells in series, which the ina219 measures together (1 to 4)."""
    shunt_ohm: Annotated[float, Meta(ge=0.001, le=1.0)] = 0.1
    """Resistor through which the ina219 measures the current (0.001 to 1 ohm)."""

    @property
    def bus_address(self) -> int:
        """The address that is meant, 0x08 to 0x77; 0 for none."""
        return self.address or {"max17048": 0x36, "ina219": 0x40, "none": 0}[self.chip]


class Pi(Section, frozen=True, kw_only=True):
    """The Raspberry Pi itself."""

    hot_c: Annotated[float, Meta(ge=50.0, le=85.0)] = 78.0
    """Processor temperature that is named as a fault (50 to 85 C); from 80 C on a Pi slows itself down."""


class Voice(Section, frozen=True, kw_only=True):
    """What the walker hears."""

    device: FilledText = "default"
    """ALSA device, by name: "default", or "plughw:CARD=Device" (see `aplay -L`).  Never a card number."""
    other_devices: tuple[FilledText, ...] = ()
    """Further ALSA devices, by name, tried in this order when the first one fails; "default" is always tried last."""
    microphone: Text = ""
    """ALSA device, by name, of a microphone that hears surroundings and own voice; empty: there is none."""
    espeak_voice: Text = ""
    """Voice that renders the phrases, as `retrowalk voices list` names them; empty: the language's own."""
    rate_wpm: Annotated[int, Meta(ge=100, le=260)] = 160
    """Speaking rate of phrases (100 to 260 words a minute).  "Stop" is always said at 200."""
    volume: Annotated[float, Meta(ge=0.2, le=1.0)] = 0.9
    """Level of warnings (0.2 to 1); the rest is a little lower.  With a microphone, noise raises it, up to 1."""
    buffer_ms: Annotated[int, Meta(ge=10, le=200)] = 20
    """Sound kept in the device (10 to 200 ms).  20 ms keeps a warning within 25 ms of its decision."""
    tick_s: Annotated[float, Meta(ge=2.0, le=30.0)] = 8.0
    """The guarding tick, the proof of life, comes this often (2 to 30 s)."""
    say_side: bool = False
    """Whether the walker's own left and right are spoken, where sensors have a bearing.  They are panned and felt."""


class Broker(Section, frozen=True, kw_only=True):
    """The MQTT broker that carries messages to the caregiver."""

    host: Text = "localhost"
    """Name or address of the broker.  Empty: no messages are sent, and the device says so."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    """Port (1 to 65535); 8883 is usual with TLS."""
    tls: bool = False
    """Whether to encrypt.  Use it for every broker that is not on the device itself."""
    ca_file: Text = ""
    """Certificate authority file for TLS; empty: the system's."""
    username: Text = ""
    """User name; empty: the device's name when a password is set, else none."""
    password_file: Text = ""
    """File that holds the password, readable by the service only; empty: none.  The password never stands here."""
    keepalive_s: Annotated[int, Meta(ge=5, le=120)] = 6
    """The broker gives up on a silent device after 1.5 times this (5 to 120 s), mosquitto up to 6 s later."""
    hub: Literal["auto", "required", "none"] = "auto"
    """Who must have an event: a hub (required), the broker alone (none), a hub once one was heard of (auto)."""


class Helper(Section, frozen=True, kw_only=True):
    """Whoever answers the walker from elsewhere."""

    names: Annotated[tuple[SpokenName, ...], Meta(max_length=8, description="must be a list of up to 8 names")] = ()
    """Names that can be spoken ("Anna has seen it"), as the hub sends them; for any other it is "your helper"."""


class Recording(Section, frozen=True, kw_only=True):
    """The recording of each walk."""

    enabled: bool = True
    """Whether walks are recorded (on the device only)."""
    file_max_mb: Annotated[int, Meta(ge=1, le=2000)] = 64
    """A recording file is closed and a new one begun at this size (1 to 2000 MB)."""
    total_max_mb: Annotated[int, Meta(ge=2, le=100000)] = 1024
    """The oldest recordings are deleted beyond this (2 to 100000 MB)."""


class Guard(Section, frozen=True, kw_only=True):
    """The guard's own behaviour."""

    check_limit_s: Annotated[float, Meta(ge=10.0, le=120.0)] = 30.0
    """A check at the start that nobody answers becomes limited protection after this (10 to 120 s)."""
    resume_within_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 600.0
    """A restart within this time of guarding resumes without the hand and the press of the check (0 to 3600 s)."""


PARTS = (
    *("imu", "voice", "courier", "guard", "button", "buzzer", "vibration", "touch", "config", "recording", "state"),
    *("battery", "power", "heat", "clip", "thermometer", "vibration-right", "led"),
    *("voice-frozen", "voice-gone", "voice-muted", "voice-nowhere", "voice-unheard", "voice-slow", "voice-clipped"),
    *("voice-restarted", "voice-bank", "voice-espeak", "microphone", "outbox", "bus", "late", "memory", "pi"),
)
"""Parts of the device that are followed and named like a sensor.  No range sensor may be called so: its samples would
pass for the other part's signs of life."""

RangeSensor = HcSr04 | TfLuna | Vl53l1x | A02yyuw
"""Every kind of range sensor the configuration knows, told apart by `chip`."""

RANGE_SENSOR_KINDS: dict[str, type[RangeSensor]] = {
    "hc-sr04": HcSr04,
    "tf-luna": TfLuna,
    "vl53l1x": Vl53l1x,
    "a02yyuw": A02yyuw,
}

SERIAL_PINS = {"/dev/serial0": (14, 15), "/dev/ttyAMA0": (14, 15), "/dev/ttyS0": (14, 15)}
"""GPIO lines of the Pi's own serial ports."""


ONE_WIRE_PIN = 4
"""GPIO line of the kernel's 1-Wire bus, where dtoverlay=w1-gpio names no other."""


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration.  `Config()` is the documented default."""

    device: Device = Device()
    walker: Walker = Walker()
    range_sensor: tuple[RangeSensor, ...] = (HcSr04(), TfLuna(), TfLuna(name="drop", role="dropoff", address=0x11))
    mount: Mount = Mount()
    air: Air = Air()
    tracker: RangeTracker = RangeTracker()
    collision: Collision = Collision()
    governor: Governor = Governor()
    dropoff: Dropoff = Dropoff()
    freshness: Freshness = Freshness()
    imu: Imu = Imu()
    balance: Balance = Balance()
    fall: Fall = Fall()
    button: Button = Button()
    buzzer: Buzzer = Buzzer()
    vibration: Vibration = Vibration()
    led: Led = Led()
    battery: Battery = Battery()
    pi: Pi = Pi()
    voice: Voice = Voice()
    broker: Broker = Broker()
    helper: Helper = Helper()
    recording: Recording = Recording()
    guard: Guard = Guard()


# ---------------------------------------------------------------------------------------------- reading


def load(path: str | Path) -> Config:
    """Reads and checks a configuration file.

    Raises `ConfigError` with every finding: unknown keys, wrong types, values out of range, broken rules
    between values, and text that is not TOML (with its line).  Raises `OSError` if it cannot be read.
    """
    return parse(read(path), str(path))


def read(path: str | Path) -> bytes:
    """The bytes of a configuration file, and one more than `FILE_MAX_BYTES` at most.  Raises `OSError`."""
    with open(path, "rb") as file:
        return file.read(FILE_MAX_BYTES + 1)


def parse(text: bytes, file: str) -> Config:
    """As `load`, from the bytes of a file that is called `file` in the findings."""
    return from_table(table_of(text, file), file)


def table_of(text: bytes, file: str) -> dict[str, Any]:
    """The table that a settings file holds, unchecked.  Raises `ConfigError` if it is not TOML, or holds nothing."""
    if len(text) > FILE_MAX_BYTES:
        raise ConfigError([_whole_file(file, f"must not be longer than {FILE_MAX_BYTES // 1024} KiB")])
    try:
        # Editors on Windows begin a file with a byte order mark; tomllib would refuse it.
        table = tomllib.loads(text.removeprefix(b"\xef\xbb\xbf").decode())
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise ConfigError([_whole_file(file, f"is not UTF-8 text (at line {line})")]) from error
    except RecursionError as error:
        raise ConfigError(
            [_whole_file(file, "is not TOML that can be read: brackets within brackets without end")]
        ) from error
    except ValueError as error:  # TOMLDecodeError, which has the line; also a number of 5000 digits
        raise ConfigError([_whole_file(file, f"is not TOML: {error}")]) from error
    if not table:
        # A power cut can leave a file of no bytes.  Read as "all defaults", it would undo every setting unsaid.
        raise ConfigError([_whole_file(file, "holds no setting; begin with the commented default file")])
    return table


def from_table(table: dict[str, Any], file: str = "(table)") -> Config:
    """As `load`, from a table that has been parsed already (a recording's, for instance)."""
    return checked(Config, table, file, _rules)


def checked(root: type[R], table: dict[str, Any], file: str, rules: Callable[[R], Iterable[Rule]]) -> R:
    """The configuration of type `root` that `table` holds: its fields are sections, and tuples of sections.

    `rules` yields the rules between values that it breaks.  Raises `ConfigError` with every finding.
    """
    findings: list[Finding] = []
    values: dict[str, Any] = {}
    fields = {field.name: field for field in msgspec.structs.fields(root)}
    for key, value in table.items():
        if key not in fields:
            findings.append(_unknown(file, key, value, root))
        elif get_origin(fields[key].type) is not tuple:
            values[key] = _section(file, key, value, fields[key].type, findings)
        elif key == "range_sensor":
            values[key] = _range_sensors(file, value, findings)
        else:
            values[key] = _tables(file, key, value, get_args(fields[key].type)[0], findings)
    config = root(**values)
    # A default stands in for what is bad itself (of a sensor without a known chip, for all of it): nothing is said of
    # how that fits the others.
    bad = [key.removesuffix(".chip") if key.startswith("range_sensor") else key for key in (f.key for f in findings)]
    bad = [re.sub(r"(\.\w+)\[\d+\]$", r"\1", key) for key in bad]  # an entry that is bad spoils its list
    findings.extend(
        Finding(file, rule.keys[0], rule.value, rule.words)
        for rule in rules(config)
        if not any(_within(key, wrong) for key in rule.keys for wrong in bad)
    )
    if findings:
        raise ConfigError(findings)
    return config


def to_table(config: Config) -> dict[str, Any]:
    """The configuration as plain tables, for recordings; `from_table` reads it back."""
    table: dict[str, Any] = msgspec.to_builtins(config, builtin_types=())
    return table


def to_toml(config: Config) -> str:
    """The configuration as a settings file without comments; `parse` reads it back."""
    lines = []
    for name, value in to_table(config).items():
        many = not isinstance(value, dict)
        for table in value if many else [value]:
            lines.append(f"[[{name}]]" if many else f"[{name}]")
            # A text, number, truth value or list of them in JSON is TOML, too.
            lines += [f"{key} = {msgspec.json.encode(item).decode()}" for key, item in table.items()]
    return "\n".join(lines) + "\n"


def sections(config_type: type[Struct] = Config) -> Iterator[tuple[str, Any]]:
    """Name and type of each table, in the order of the file; of `range_sensor` every kind there is."""
    for field in msgspec.structs.fields(config_type):
        if field.name == "range_sensor":
            for kind in RANGE_SENSOR_KINDS.values():
                yield field.name, kind
        elif get_origin(field.type) is tuple:
            yield field.name, get_args(field.type)[0]
        else:
            yield field.name, field.type


def _section(file: str, prefix: str, value: Any, kind: type[Section], findings: list[Finding]) -> Section:
    """The section, with defaults in place of what the findings name."""
    if not isinstance(value, dict):
        findings.append(Finding(file, prefix, _shown(value), f"must be a table, [{prefix}]"))
        return kind()
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    good: dict[str, Any] = {}
    for key, item in value.items():
        if key == kind.__struct_config__.tag_field:
            continue
        if key not in fields:
            findings.append(_unknown(file, f"{prefix}.{key}", item, kind))
            continue
        try:
            # msgspec takes 40 for 40.0 and refuses True; infinity it would take where a range is open.
            if isinstance(item, float) and not math.isfinite(item):
                raise msgspec.ValidationError
            good[key] = msgspec.convert(item, fields[key].type)
        except msgspec.ValidationError:
            findings.append(_wrong(file, f"{prefix}.{key}", key, item, fields[key].type))
    return kind(**good)


def _wrong(file: str, key: str, name: str, value: Any, kind: Any) -> Finding:
    """What is said of a value that does not fit: of a list whose one entry does not, of that entry."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) is tuple and get_args(plain)[1:] == (...,):
        inner = get_args(plain)[0]
        for index, item in enumerate(value if isinstance(value, list) else ()):
            try:
                msgspec.convert(item, inner)
            except msgspec.ValidationError:
                return _wrong(file, f"{key}[{index}]", name, item, inner)
        secret = is_secret(inner)
    else:
        secret = is_secret(kind)
    return Finding(file, key, "(not shown)" if secret else _shown(value), rule_text(name, kind, value))


def _tables(file: str, key: str, value: Any, kind: type[Section], findings: list[Finding]) -> tuple[Section, ...]:
    """The sections of a list of tables that are all of one kind."""
    if not isinstance(value, (list, tuple)):
        findings.append(Finding(file, key, "", f"must be tables, [[{key}]]"))
        return ()
    found = []
    for index, item in enumerate(value):
        name = f"{key}[{index}]"
        if isinstance(item, dict):
            found.append(_section(file, name, item, kind, findings))
        else:
            findings.append(Finding(file, name, "", f"must be a table, [[{key}]]"))
            found.append(kind())
    return tuple(found)


def _range_sensors(file: str, value: Any, findings: list[Finding]) -> tuple[RangeSensor, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        findings.append(Finding(file, "range_sensor", _shown(value), "must be one or more tables, [[range_sensor]]"))
        return (HcSr04(),)
    sensors: list[RangeSensor] = []
    for index, item in enumerate(value):
        key = f"range_sensor[{index}]"
        if not isinstance(item, dict):
            findings.append(Finding(file, key, _shown(item), "must be a table, [[range_sensor]]"))
            sensors.append(HcSr04())
            continue
        chip = item.get("chip")
        kind = RANGE_SENSOR_KINDS.get(chip) if isinstance(chip, str) else None
        if kind is None:
            known = ", ".join(sorted(RANGE_SENSOR_KINDS))
            shown = "(missing)" if "chip" not in item else _shown(chip)
            findings.append(Finding(file, f"{key}.chip", shown, f"must be one of: {known}"))
            sensors.append(HcSr04())
            continue
        section = _section(file, key, item, kind, findings)
        assert isinstance(section, kind)
        sensors.append(section)
    return tuple(sensors)


# ------------------------------------------------------------------------------------------------ rules


class Rule(Struct, frozen=True):
    """A rule between several values that is broken: the key to name first, and all it binds."""

    keys: tuple[str, ...]
    value: str
    words: str


_ORDER: tuple[tuple[str, str, str], ...] = (
    ("collision.touching_m", "be below", "collision.warning_floor_m"),
    ("collision.caution_floor_m", "be above", "collision.warning_floor_m"),
    ("freshness.degraded_after_s", "be below", "freshness.lost_after_s"),
    # A FIFO read less often than that would call a sensor degraded that is well.
    ("imu.poll_s", "be below", "freshness.degraded_after_s"),
    ("recording.total_max_mb", "not be below", "recording.file_max_mb"),
)

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "be above": operator.gt,
    "be below": operator.lt,
    "not be below": operator.ge,
    "not be above": operator.le,
}


def _rules(config: Config) -> Iterator[Rule]:
    """The rules between values that `config` breaks."""

    def order(key: str, value: float, word: str, other: str, limit: float) -> Iterator[Rule]:
        if not _COMPARE[word](value, limit):
            section, _, name = other.rpartition(".")
            shown = name if key.startswith(f"{section}.") else other
            yield Rule((key, other), f"{value}", f"must {word} {shown} ({limit})")

    for key, word, other in _ORDER:
        yield from order(key, _value(config, key), word, other, _value(config, other))

    first_of: dict[str, str] = {}
    for index, sensor in enumerate(config.range_sensor):
        key = f"range_sensor[{index}]"
        yield from order(
            f"{key}.clear_range_m", sensor.clear_range_m, "not be above", f"{key}.range_max_m", sensor.range_max_m
        )
        if sensor.name in PARTS:
            yield Rule((f"{key}.name",), _shown(sensor.name), "is already the name of another part of the device")
        elif sensor.name in first_of:
            other = first_of[sensor.name]
            yield Rule((f"{key}.name", other), _shown(sensor.name), f"is already the name of {other[:-5]}")
        first_of.setdefault(sensor.name, f"{key}.name")

    if not any(sensor.role == "rear" for sensor in config.range_sensor):
        yield Rule(("range_sensor",), "(none)", 'must have at least one with role = "rear"')

    at: dict[int, str] = {}
    for key, address in _addresses(config):
        if address < 0x08:
            yield Rule((key,), f"{address}", "must be 0 (the chip's usual one) or 0x08 to 0x77")
        elif address in at:
            yield Rule((key, at[address]), f"0x{address:02X}", f"is already the I2C address of {at[address]}")
        at.setdefault(address, key)

    tofs = [index for index, sensor in enumerate(config.range_sensor) if isinstance(sensor, Vl53l1x)]
    for index in tofs[1:]:
        first = f"range_sensor[{tofs[0]}]"
        words = f"must not be a second vl53l1x (the first is {first}): at power-on both answer at 0x29"
        yield Rule((f"range_sensor[{index}].chip", first), '"vl53l1x"', words)

    ports: dict[str, str] = {}
    for index, sensor in enumerate(config.range_sensor):
        if isinstance(sensor, A02yyuw):
            key = f"range_sensor[{index}].port"
            if sensor.port in ports:
                yield Rule((key, ports[sensor.port]), _shown(sensor.port), f"is already used by {ports[sensor.port]}")
            ports.setdefault(sensor.port, key)

    taken = {2: "imu, whose I2C bus needs it", 3: "imu, whose I2C bus needs it"}
    if config.air.thermometer == "ds18b20":
        taken[ONE_WIRE_PIN] = "air.thermometer, whose 1-Wire bus needs it"
    for port, key in ports.items():
        taken.update(dict.fromkeys(SERIAL_PINS.get(port, ()), key))
    for key, pin in _pins(config):
        if pin in taken:
            yield Rule((key, taken[pin]), f"{pin}", f"is already used by {taken[pin]}")
        taken.setdefault(pin, key)

    if axis_matrix(config.imu.axes) is None:
        yield Rule(
            ("imu.axes",),
            _shown(list(config.imu.axes)),
            "must be three different axes such as +x, -y, +z that make a right-handed set",
        )


def _value(config: Config, key: str) -> float:
    section, name = key.split(".")
    value: float = getattr(getattr(config, section), name)
    return value


def _pins(config: Config) -> Iterator[tuple[str, int]]:
    for index, sensor in enumerate(config.range_sensor):
        if isinstance(sensor, HcSr04):
            yield f"range_sensor[{index}].trigger_pin", sensor.trigger_pin
            yield f"range_sensor[{index}].echo_pin", sensor.echo_pin
            if sensor.power_pin >= 0:
                yield f"range_sensor[{index}].power_pin", sensor.power_pin
    yield "button.pin", config.button.pin
    yield "buzzer.pin", config.buzzer.pin
    yield "vibration.pin", config.vibration.pin
    if config.led.pin >= 0:
        yield "led.pin", config.led.pin
    if config.vibration.right_pin >= 0:
        yield "vibration.right_pin", config.vibration.right_pin


def _addresses(config: Config) -> Iterator[tuple[str, int]]:
    for index, sensor in enumerate(config.range_sensor):
        if isinstance(sensor, TfLuna | Vl53l1x):
            yield f"range_sensor[{index}].address", sensor.address
    yield "imu.address", config.imu.bus_address
    if config.battery.chip != "none":
        yield "battery.address", config.battery.bus_address


def axis_matrix(axes: Iterable[str]) -> tuple[tuple[int, float], ...] | None:
    """Turns names such as `("+x", "-z", "+y")` into (index, sign) for each body axis; None if not right-handed."""
    result: list[tuple[int, float]] = []
    for axis in axes:
        if len(axis) != 2 or axis[0] not in "+-" or axis[1] not in "xyz":
            return None
        result.append(("xyz".index(axis[1]), 1.0 if axis[0] == "+" else -1.0))
    indices = [index for index, _ in result]
    if sorted(indices) != [0, 1, 2]:
        return None
    inversions = sum(indices[i] > indices[j] for i in range(3) for j in range(i + 1, 3))
    handed = (-1.0) ** inversions * result[0][1] * result[1][1] * result[2][1]
    return tuple(result) if handed > 0 else None


# ------------------------------------------------------------------------------------------------ words


def unit(name: str) -> str:
    """The unit of a knob by its name (`range_m`: m); empty for a plain number, a pin or a text."""
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def bounds(kind: Any) -> tuple[float, float] | None:
    """Smallest and largest value that a knob's type allows; None where it is not a number with a range."""
    for meta in _metas(kind):
        if meta.ge is not None and meta.le is not None:
            return meta.ge, meta.le
    return None


def rule_text(name: str, kind: Any, value: Any = None) -> str:
    """What a knob called `name` of type `kind` must be, in plain words, said to someone who wrote `value`."""
    for meta in _metas(kind):
        if meta.description is not None:
            return meta.description
    if get_origin(kind) is Literal:
        return f"must be one of: {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return 'must be three axes such as ["+x", "+y", "+z"]'
    if kind is bool:
        return "must be true or false"
    base = get_args(kind)[0]
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if base is int:
        what = "" if number and not isinstance(value, float) else "a whole number, "
    elif number:
        what = "" if not isinstance(value, float) or math.isfinite(value) else "a finite number, "
    else:
        what = "a number, "
    limits = bounds(kind)
    assert limits is not None, name
    measure = f" ({unit(name)})" if unit(name) else ""
    return f"must be {what}{limits[0]:g} to {limits[1]:g}{measure}"


def is_secret(kind: Any) -> bool:
    """Whether a value of that type must not be shown: its `Meta` carries `extra={"secret": True}`."""
    return any((meta.extra or {}).get("secret") for meta in _metas(kind))


def _metas(kind: Any) -> Sequence[Meta]:
    return [meta for meta in get_args(kind)[1:] if isinstance(meta, Meta)] if get_origin(kind) is Annotated else []


def _unknown(file: str, key: str, value: Any, within: type[Struct]) -> Finding:
    # A misspelt key may hold what its neighbour keeps secret.
    shown = "(not shown)" if _has_secrets(within) else _shown(value)
    return Finding(file, key, shown, f"is not known; known here: {', '.join(within.__struct_fields__)}")


def _has_secrets(kind: Any) -> bool:
    """Whether a value of that type holds anything that must not be shown."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return any(_has_secrets(field.type) for field in msgspec.structs.fields(kind))
    return is_secret(kind) or any(_has_secrets(inner) for inner in get_args(kind) if not isinstance(inner, Meta))


def _whole_file(file: str, rule: str) -> Finding:
    return Finding(file, "(file)", "", rule)


def _within(key: str, table: str) -> bool:
    """Whether `key` is `table` itself or stands in it."""
    return key == table or key.startswith((f"{table}.", f"{table}["))


def _shown(value: Any) -> str:
    """A value as a person would have written it, shortened."""
    try:
        if isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, str):
            text = msgspec.json.encode(value).decode()
        else:
            text = repr(value)
    except (ValueError, RecursionError):  # hexadecimal digits by the thousand, a.a.a. ... by the thousand
        text = "(too long to show)"
    return text if len(text) <= 60 else text[:57] + "..."
