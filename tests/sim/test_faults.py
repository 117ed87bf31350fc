from __future__ import annotations

import math

import pytest

from retrowalk.errors import ConfigError
from retrowalk.sim.faults import KINDS, Fault, Faults, descriptions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("rear:off", Fault("rear", "off"), id="always"),
        pytest.param("rear:off@20", Fault("rear", "off", 20.0), id="from a time on"),
        pytest.param("voice:muted@20-30.5", Fault("voice", "muted", 20.0, 30.5), id="for a while"),
    ],
)
def test_a_fault_is_read_and_written_alike(text, expected):
    """The command line's form goes both ways."""
    assert Fault.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("rear", "PART:KIND", id="no kind"),
        pytest.param("nose:off", "parts are rear, lidar, drop, tof, imu, bus", id="no such part"),
        pytest.param("rear:muted", "off, stuck, garbage", id="no such kind"),
        pytest.param("rear:off@30-20", "end after it began", id="ends first"),
        pytest.param("rear:off@-5", "PART:KIND", id="negative time"),
    ],
)
def test_an_unknown_fault_is_refused_with_what_there_is(text, says):
    """A typing error is told with the choices, not ignored."""
    with pytest.raises(ConfigError, match=says) as raised:
        Fault.parse(text)
    assert text.split("@", maxsplit=1)[0] in str(raised.value)


def test_a_fault_holds_from_its_start_up_to_its_end():
    """Scenarios break and mend parts by the second."""
    faults = Faults([Fault("rear", "off", 2.0, 3.0), Fault("imu", "stuck", 2.5)])
    assert [faults.active("rear", t) for t in (1.999, 2.0, 2.999, 3.0)] == ["", "off", "off", ""]
    assert faults.active("imu", math.nextafter(2.5, 9)) == "stuck"
    assert faults.changes("rear") == [2.0, 3.0]
    assert faults.changes("imu") == [2.5]


def test_every_fault_has_a_description():
    """--help lists what can be broken."""
    listed = dict(descriptions())
    assert set(listed) == {f"{part}:{kind}" for part, kinds in KINDS.items() for kind in kinds}
    assert all(listed.values())
