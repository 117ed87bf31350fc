"""Random well-formed item streams, for properties that hold whatever comes through the door."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st
from tests.core.synth import G, fall, walking

from retrowalk.core.alerts import VOICE_CAUSES
from retrowalk.core.samples import (
    BatterySample,
    ButtonEdge,
    Command,
    CourierHeartbeat,
    CueRequested,
    EventDelivered,
    FirstUse,
    HealthReport,
    ImuSample,
    Item,
    RangeSample,
    RangeStatus,
    Restored,
    SavedState,
    StopRequested,
    Tick,
    VoiceHeartbeat,
    VoicePhase,
    VoiceProgress,
)


class Stream(list[Item]):
    """Items, with a picture short enough to be read: runs of one kind are counted."""

    def __repr__(self) -> str:
        parts: list[str] = []
        for _, run in itertools.groupby(self, key=type):
            same = list(run)
            parts.append(repr(same[0]) if len(same) == 1 else f"{len(same)} x {same[0]!r} ... {same[-1]!r}")
        return "\n".join(parts)[:12000]


Piece = Callable[[float], list[Item]]
"""Makes items that begin at a time."""

_WALK = list(walking(10.0, bouts=[(0.5, 9.5)], seed=5).samples())

finite = st.floats(-1e6, 1e6)
small = st.floats(0.0, 2.0)
ranges_m = st.one_of(
    st.floats(0.02, 5.0), st.sampled_from([0.02, 0.29, 0.3, 0.5, 1.0, 1.5, 2.0, 4.0]), st.floats(1e-6, 1e6)
)
names = st.sampled_from(
    ["rear", "imu", "voice", "courier", "button", "buzzer", "vibration", "config", "guard", "other"]
)
words = st.text(max_size=8)
vectors = st.one_of(
    st.tuples(st.floats(-400, 400), st.floats(-400, 400), st.floats(-400, 400)),
    st.sampled_from([(0.0, 0.0, 0.0), (0.0, 0.0, G), (G, 0.0, 0.0), (0.0, 0.0, -G), (1e6, -1e6, 1e6)]),
)


def _range(
    t: float, range_m: float | None, status: RangeStatus = RangeStatus.VALID, late_s: float = 0.03
) -> RangeSample:
    return RangeSample(t, t - late_s, "rear", status, range_m)


@st.composite
def _approach(draw: st.DrawFn) -> Piece:
    start, speed = draw(st.floats(0.3, 4.5)), draw(st.floats(-1.5, 1.5))
    n, hz = draw(st.integers(1, 40)), draw(st.sampled_from([5.0, 15.0, 16.7, 30.0]))
    return lambda t: [_range(t + i / hz, max(0.02, start - speed * i / hz)) for i in range(n)]


@st.composite
def _answers(draw: st.DrawFn) -> Piece:
    status = draw(st.sampled_from([s for s in RangeStatus if s is not RangeStatus.VALID]))
    n = draw(st.integers(1, 80))
    return lambda t: [_range(t + i / 15.0, None, status) for i in range(n)]


@st.composite
def _garbage(draw: st.DrawFn) -> Piece:
    values = draw(st.lists(ranges_m, min_size=1, max_size=20))
    sensor = draw(st.sampled_from(["rear", "rear", "nobody"]))
    late = draw(st.floats(-1.0, 1.0))
    return lambda t: [replace(_range(t + i / 15.0, v, late_s=late), sensor=sensor) for i, v in enumerate(values)]


@st.composite
def _still(draw: st.DrawFn) -> Piece:
    accel, gyro = draw(vectors), draw(st.one_of(st.just((0.0, 0.0, 0.0)), vectors))
    n, gap = draw(st.integers(1, 500)), draw(st.booleans())
    return lambda t: [ImuSample(t + i / 104.0, t + i / 104.0 - 0.02, accel, gyro, gap and i == 0) for i in range(n)]


@st.composite
def _walk(draw: st.DrawFn) -> Piece:
    n = draw(st.integers(1, len(_WALK)))
    return lambda t: [replace(s, t_received_s=t + s.t_received_s, t_measured_s=t + s.t_measured_s) for s in _WALK[:n]]


@st.composite
def _hold(draw: st.DrawFn) -> Piece:
    held = draw(st.sampled_from([0.05, 0.2, 0.3, 1.0, 2.0, 3.5, 12.0]))
    again = draw(st.booleans())
    edges = [True, True, False] if again else [True, False]
    return lambda t: [ButtonEdge(t + held * i, t + held * i - 0.01, pressed) for i, pressed in enumerate(edges)]


@st.composite
def _beats(draw: st.DrawFn) -> Piece:
    n, fault = draw(st.integers(1, 40)), draw(st.sampled_from(["", "", *sorted(VOICE_CAUSES), "another"]))
    moving, flaps = draw(st.booleans()), draw(st.booleans())
    device, output = draw(st.sampled_from(["default", "d"])), draw(st.sampled_from(["alsa", "alsa", "aplay", ""]))
    proof = draw(st.sampled_from(["", "heard", "unheard"]))
    return lambda t: [
        VoiceHeartbeat(
            t + 0.1 * i,
            device,
            int((t + 0.1 * i) * 48e3) if moving else 0,
            fault="" if flaps and i % 2 else fault,
            output=output,
            proof=proof,
        )
        for i in range(n)
    ]


saved = st.builds(
    SavedState,
    t_saved_s=st.floats(0.0, 1e6),
    guard_state=st.sampled_from(["guarding", "limited", "checking", "not_worn", "stopping", "", "nonsense"]),
    guarding_since_s=st.one_of(st.none(), st.floats(0.0, 1e6)),
    upright=st.one_of(st.none(), vectors),
    fall_number=st.integers(0, 1000),
    countdown_left_s=st.one_of(st.none(), st.floats(-10.0, 200.0)),
    open_alarm=st.sampled_from(["", "fall", "sos", "nonsense"]),
    steps=st.integers(0, 10**6),
    walked_s=st.floats(0.0, 1e6),
    last_alert=st.integers(0, 10**6),
    fall_ago_s=st.one_of(st.none(), st.floats(-10.0, 1e5)),
    fall_reports=st.integers(-1, 1000),
    fall_risen=st.sampled_from(["", "upright", "walking", "nonsense"]),
    lain_s=st.one_of(st.none(), st.floats(-10.0, 1e5)),
    still_s=st.one_of(st.none(), st.floats(-10.0, 1e5)),
    left_in_peace=st.booleans(),
    accepted=st.booleans(),
    sound_confirmed=st.booleans(),
    walked_m=st.floats(0.0, 1e5),
    speed_factor=st.floats(0.0, 3.0),
    speed_lessons=st.integers(-3, 40),
)


def _one(strategy: st.SearchStrategy[Item]) -> st.SearchStrategy[Piece]:
    def piece(item: Item) -> Piece:
        late = getattr(item, "t_measured_s", 0.0)
        if isinstance(item, (BatterySample, VoiceProgress)):
            return lambda t: [replace(item, t_received_s=t, t_measured_s=t - late)]
        return lambda t: [replace(item, t_received_s=t)]

    return strategy.map(piece)


pieces: st.SearchStrategy[Piece] = st.one_of(
    _approach(),
    _answers(),
    _garbage(),
    _still(),
    _walk(),
    _hold(),
    _beats(),
    st.just(lambda t: list(fall(t))),
    _one(st.builds(BatterySample, st.just(0.0), small, st.floats(0.0, 100.0), st.floats(0.0, 10.0))),
    _one(st.builds(VoiceProgress, st.just(0.0), small, st.integers(0, 60), st.sampled_from(VoicePhase), words)),
    _one(
        st.builds(
            CourierHeartbeat,
            st.just(0.0),
            st.booleans(),
            st.integers(0, 9),
            st.booleans(),
            st.sampled_from(["", "disk"]),
        )
    ),
    _one(st.builds(EventDelivered, st.just(0.0), st.integers(0, 100))),
    _one(
        st.builds(
            Command, st.just(0.0), words, st.sampled_from(["seen", "other"]), st.dictionaries(words, words, max_size=2)
        )
    ),
    _one(
        st.builds(
            HealthReport, st.just(0.0), names, st.sampled_from(["absent", "stuck", "unusable"]), st.booleans(), words
        )
    ),
    _one(st.builds(Restored, st.just(0.0), saved, st.floats(-5.0, 1e5))),
    _one(st.builds(FirstUse, st.just(0.0), st.booleans())),
    _one(st.builds(CueRequested, st.just(0.0), words)),
    _one(st.builds(StopRequested, st.just(0.0), st.sampled_from(["button", "service", "person"]))),
    _one(st.builds(Tick, st.just(0.0))),
)


@st.composite
def streams(draw: st.DrawFn, max_pieces: int = 10) -> Stream:
    """Pieces that follow or overlap each other, with silences; received times never decrease."""
    t = draw(st.sampled_from([0.0, 0.123, 1000.1]))
    items: list[Item] = []
    if draw(st.booleans()):
        items = [replace(Restored(0.0, draw(saved), draw(st.floats(0.0, 700.0))), t_received_s=t)]
    later: list[Item] = []
    for piece, gap, overlap in draw(
        st.lists(
            st.tuples(pieces, st.sampled_from([0.0, 0.01, 0.2, 0.7, 2.0, 31.0]), st.booleans()),
            min_size=1,
            max_size=max_pieces,
        )
    ):
        new = piece(t)
        later.extend(new)
        end = max((item.t_received_s for item in new), default=t)
        t = (t if overlap else end) + gap
    items.extend(sorted(later, key=lambda item: item.t_received_s))
    assert all(math.isfinite(item.t_received_s) for item in items)
    return Stream(items)
