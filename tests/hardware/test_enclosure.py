"""The enclosure: meshes that can be printed and are tight, nothing in front of a beam, one place for every number."""

from __future__ import annotations

import copy
import csv
import math
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from hardware.draw import __main__ as drawings
from hardware.draw import enclosure
from hardware.draw.enclosure import Beam
from numpy.typing import NDArray

from retrowalk.config import Config, Mount, axis_matrix
from retrowalk.core import dropoff

HARDWARE = Path(__file__).parents[2] / "hardware"
STL = HARDWARE / "enclosure/stl"
BUILDS = ("starter", "outdoor")

MARGIN_DEG = 1.0
"""A beam has to be free by so much more than it is wide."""
PITCH_DEG = (-10.0, -5.0, 0.0, 5.0, 10.0)
ROLL_DEG = (-4.0, 0.0, 4.0)
"""How far a trunk sways on a walk (reference: 5 degrees usually, 10 when stumbling; roll 4)."""
FAR_MM = 600.0

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def geometry() -> dict[str, Any]:
    return enclosure.load(HARDWARE)


def mesh(name: str) -> trimesh.Trimesh:
    return trimesh.load_mesh(STL / f"{name}.stl")


# ---------------------------------------------------------------------------------------------------------- meshes


@pytest.mark.parametrize("name", enclosure.MESHES)
def test_a_mesh_can_be_printed(name, geometry):
    """Closed, in one piece, the right way out, and on the bed"""
    one = mesh(name)
    assert one.is_watertight
    assert one.is_winding_consistent
    assert one.volume > 1000.0
    assert pieces(one) == 1
    assert all(size <= bed for size, bed in zip(sorted(one.extents), sorted(geometry["print"]["bed_mm"]), strict=True))


def pieces(one: trimesh.Trimesh) -> int:
    """How many bodies a mesh is: faces that share an edge belong together."""
    group = list(range(len(one.faces)))

    def root(face: int) -> int:
        while group[face] != face:
            group[face] = group[group[face]]
            face = group[face]
        return face

    for a, b in one.face_adjacency:
        group[root(int(a))] = root(int(b))
    return len({root(face) for face in range(len(one.faces))})


@pytest.mark.parametrize("build", BUILDS)
def test_the_case_has_its_size(build, geometry):
    case = geometry["case"]
    low, high = mesh(f"case-body-{build}").bounds
    assert low == pytest.approx([case["plate_mm"], -case["width_mm"] / 2, 0.0], abs=0.01)
    visor = geometry["drip"]["visor_mm"]
    assert high == pytest.approx([case["depth_mm"] + visor, case["width_mm"] / 2, case["height_mm"]], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", enclosure.MESHES)
def test_no_wall_is_too_thin(name, geometry):
    """Looking inward from points all over the surface, the next surface is at least two lines away"""
    one = mesh(name)
    points, faces = trimesh.sample.sample_surface(one, 400, seed=1)
    inward = -one.face_normals[faces]
    thin = [
        point
        for point, way in zip(points, inward, strict=True)
        if nearest(one.triangles, point + way * 1e-3, way) < geometry["print"]["thinnest_mm"] - 0.01
    ]
    assert len(thin) <= len(points) * 0.01, thin  # what a slanting edge leaves, seen along a corner


def nearest(triangles: Array, origin: Array, way: Array) -> float:
    """Distance to the first triangle that a ray meets (Moeller and Trumbore), infinite if none."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    ab, ac = b - a, c - a
    p = np.cross(way, ac)
    det = np.einsum("ij,ij->i", ab, p)
    meets_plane = np.abs(det) > 1e-12
    det = np.where(meets_plane, det, 1.0)
    t = origin - a
    u = np.einsum("ij,ij->i", t, p) / det
    q = np.cross(t, ab)
    v = (q @ way) / det
    far = np.einsum("ij,ij->i", ac, q) / det
    hit = meets_plane & (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (far > 1e-6)
    return float(far[hit].min()) if hit.any() else math.inf


def inserts_of(geometry: dict[str, Any]) -> list[tuple[float, float]]:
    """For each place with a screw: what is between its head and the insert's hole, and how deep that is."""
    case, fast = geometry["case"], geometry["fasteners"]
    closing = [(case["plate_mm"], fast["insert_m3_depth_mm"])] * 4
    return closing + [(fast["under_head_mm"], fast["insert_m3_depth_mm"])] * 4


def test_every_screw_holds_and_none_bottoms(geometry):
    """At least 3.5 mm in the insert, and not to the end of its hole: what bottoms does not clamp"""
    for between_mm, deep_mm in inserts_of(geometry):
        reach_mm = geometry["fasteners"]["screw_m3_mm"] - between_mm
        assert 3.5 <= reach_mm <= deep_mm - 0.2


@pytest.mark.parametrize("wedge", [0.0, 5.0, 10.0])
def test_the_belt_mounts_bores_are_where_the_bosses_are(wedge, geometry):
    """Along each bore's axis it is free all the way; beside it, under the head, as thick as the screw wants it"""
    belt, fast = geometry["belt"], geometry["fasteners"]
    triangles = mesh(f"belt-mount-{wedge:g}").triangles
    lean = math.radians(wedge)
    normal = np.array([math.cos(lean), 0.0, math.sin(lean)])
    up = np.array([-math.sin(lean), 0.0, math.cos(lean)])
    left = np.array([0.0, 1.0, 0.0])
    middle = np.array([belt["plate_mm"][1] * math.tan(lean) / 2.0, 0.0, 0.0])
    ring_mm = (fast["screw_m3_hole_mm"] + fast["screw_m3_head_mm"]) / 4.0
    for y in (-0.5, 0.5):
        for z in (-0.5, 0.5):
            axis = middle + y * belt["screws_mm"][0] * left + z * belt["screws_mm"][1] * up
            assert nearest(triangles, axis + 50.0 * normal, -normal) == math.inf
            beside = axis + ring_mm * left
            assert nearest(triangles, beside + 1.0 * normal, -normal) == pytest.approx(1.0, abs=0.05)
            assert nearest(triangles, beside - 0.01 * normal, -normal) == pytest.approx(fast["under_head_mm"], abs=0.05)


def test_the_parts_list_has_as_many_inserts_and_screws(geometry):
    rows = {row["id"]: row for row in csv.DictReader((HARDWARE / "bom.csv").read_text("utf-8").splitlines())}
    length = f"{geometry['fasteners']['screw_m3_mm']:g}"
    for part in ("insert-m3", f"screw-m3x{length}"):
        assert {rows[part][f"{build}_qty"] for build in BUILDS} == {str(len(inserts_of(geometry)))}


def test_a_screw_that_cuts_its_thread_fits_its_hole(geometry):
    """The Pi's holes bear M2.5, the modules' M2: the core of such a screw goes in, its thread does not pass"""
    rows = {row["id"] for row in csv.DictReader((HARDWARE / "bom.csv").read_text("utf-8").splitlines())}
    for part, hole_mm, core_mm, outer_mm in (
        ("screw-m25x6", geometry["pi"]["hole_mm"], 2.0, 2.5),  # ISO 261, coarse
        ("screw-m2x6", geometry["fasteners"]["screw_m2_hole_mm"], 1.55, 2.0),
    ):
        assert part in rows
        assert core_mm < hole_mm < outer_mm - 0.2, part


def test_the_clip_tells_the_settings_which_way_the_chip_looks(geometry):
    """Both builds set the axes as the carrier lies in the clip: its parts toward the lid, away from the back"""
    clip = geometry["imu_clip"]
    for build in BUILDS:
        axes = tomllib.loads((HARDWARE / f"{build}.toml").read_text())["imu"]["axes"]
        assert axes == ["-z", clip["carrier_chip_axis_left"], clip["carrier_chip_axis_up"]]
        assert axis_matrix(axes) is not None


# ----------------------------------------------------------------------------------------------------------- beams


def rays(beam: Beam) -> Iterator[tuple[Array, Array]]:
    """The rim of a beam's cone and its middle: where each ray begins, and where it goes."""
    middle = np.array(beam.direction)
    side = np.array([0.0, 1.0, 0.0])
    up = np.cross(middle, side)
    angle = math.radians(beam.half_angle_deg + MARGIN_DEG)
    yield np.array(beam.origin_mm), middle
    for turn in np.linspace(0.0, 2.0 * math.pi, 32, endpoint=False):
        rim = math.cos(turn) * side + math.sin(turn) * up
        yield np.array(beam.origin_mm) + beam.radius_mm * rim, math.cos(angle) * middle + math.sin(angle) * rim


def blocked_by_case(beams: list[Beam], triangles: Array) -> set[str]:
    """The sensors with something of the case in front of them."""
    return {beam.sensor for beam in beams if any(nearest(triangles, o, way) < FAR_MM for o, way in rays(beam))}


def worn(build: str, geometry: dict[str, Any]) -> Array:
    """All triangles of what is worn: case, back plate, belt mount."""
    mount = mesh("belt-mount-0")
    mount.apply_translation([-geometry["belt"]["boss_mm"], 0.0, geometry["belt"]["center_z_mm"]])
    return np.concatenate([each.triangles for each in (mesh(f"case-body-{build}"), mesh("case-lid"), mount)])


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_nothing_of_the_case_is_in_front_of_a_beam(build, geometry):
    """Every sensor's cone, a degree wider than it is, leaves the case without touching it"""
    beams = enclosure.beams(geometry, Config(), build)
    assert {beam.sensor for beam in beams} == {
        "ultrasonic",
        "rear lidar",
        *(["drop-off lidar"] if build == "outdoor" else []),
    }
    assert blocked_by_case(beams, worn(build, geometry)) == set()


WRONG = {
    "ultrasonic sensor 6 mm too far in": ("ultrasonic", "proud_mm", -5.0, "ultrasonic"),
    "rear lidar beside its window": ("lidar", "rear_center_z_mm", 52.0, "rear lidar"),
    "drop-off lidar too near the edge": ("lidar", "drop_from_edge_mm", 24.0, "drop-off lidar"),
    "a wider beam": ("ultrasonic", "probe_half_angle_deg", 75.0, "ultrasonic"),
    "lenses farther apart": ("lidar", "lens_distance_mm", 34.0, "rear lidar"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_in_front_of_a_beam_is_seen(name, geometry):
    """A sensor that sits elsewhere than the case was made for is found to look at the case"""
    group, key, value, sensor = WRONG[name]
    changed = copy.deepcopy(geometry)
    changed[group][key] = value
    assert sensor in blocked_by_case(enclosure.beams(changed, Config(), "outdoor"), worn("outdoor", geometry))


def test_a_longer_drip_edge_would_be_seen(geometry):
    """A plate of 40 mm above the ultrasonic sensor"""
    g = geometry
    bar = trimesh.creation.box([40.0, 60.0, 2.0])
    bar.apply_translation([g["case"]["depth_mm"] + 20.0, 0.0, g["ultrasonic"]["center_z_mm"] + 20.0])
    triangles = np.concatenate([worn("outdoor", geometry), bar.triangles])
    assert blocked_by_case(enclosure.beams(geometry, Config(), "outdoor"), triangles) == {"ultrasonic"}


# ------------------------------------------------------------------------------------------------ the walker's body


def body(geometry: dict[str, Any], swing_deg: float) -> list[tuple[Array, Array, float]]:
    """The walker behind the belt as capsules: two ends and a radius, metres; x backward, z up from the belt."""
    w = geometry["walker"]
    found = []
    for side in (-0.09, 0.09):
        inner = w["buttock_out_m"] - w["buttock_radius_m"]
        buttock = np.array([inner, side, -w["buttock_below_m"]])
        found.append((buttock, buttock - np.array([0.0, 0.0, 0.08]), w["buttock_radius_m"]))
        hip = np.array([w["hip_x_m"], side, -w["hip_below_m"]])
        way = np.array([math.sin(math.radians(swing_deg)), 0.0, -math.cos(math.radians(swing_deg))])
        found.append((hip, hip + w["leg_m"] * way, w["leg_radius_m"]))
    return found


def hem(geometry: dict[str, Any]) -> tuple[Array, Array, float]:
    """The edge of a jacket above the case: it sways with the trunk."""
    w, case = geometry["walker"], geometry["case"]
    top = (case["height_mm"] - geometry["belt"]["center_z_mm"]) / 1000.0
    radius = 0.02
    point = np.array([w["hem_out_m"] - radius, 0.0, top + w["hem_above_m"] + radius])
    half = np.array([0.0, 0.2, 0.0])
    return point - half, point + half, radius


def meets(origin: Array, way: Array, capsule: tuple[Array, Array, float]) -> bool:
    """Whether a ray (metres) comes nearer to a capsule's middle line than its radius."""
    a, b, radius = capsule
    along = np.linspace(0.0, 2.0, 400)[:, None]
    points = origin + along * way
    line = b - a
    share = np.clip(((points - a) @ line) / max(float(line @ line), 1e-12), 0.0, 1.0)
    return bool((np.linalg.norm(points - (a + share[:, None] * line), axis=1) < radius).any())


def turned(pitch_deg: float, roll_deg: float) -> Array:
    """Rotation of the trunk about the belt: pitch + nose down to the rear, then roll."""
    p, r = math.radians(pitch_deg), math.radians(roll_deg)
    pitch = np.array([[math.cos(p), 0, math.sin(p)], [0, 1, 0], [-math.sin(p), 0, math.cos(p)]])
    roll = np.array([[1, 0, 0], [0, math.cos(r), -math.sin(r)], [0, math.sin(r), math.cos(r)]])
    return np.asarray(pitch @ roll, dtype=np.float64)


def blocked_by_body(beams: list[Beam], geometry: dict[str, Any]) -> set[str]:
    """The sensors that see the walker, with the trunk swaying and a leg far back."""
    out = geometry["belt"]["boss_mm"] + geometry["belt"]["plate_mm"][2]
    shift = np.array([out, 0.0, -geometry["belt"]["center_z_mm"]])
    found = set()
    legs = [capsule for swing in (0.0, geometry["walker"]["leg_back_deg"]) for capsule in body(geometry, swing)]
    for pitch in PITCH_DEG:
        for roll in ROLL_DEG:
            rotation = turned(pitch, roll)
            for beam in beams:
                for origin, way in rays(beam):
                    if beam.sensor in found:
                        break
                    start = (origin + shift) / 1000.0
                    if meets(start, way, hem(geometry)) or any(
                        meets(rotation @ start, rotation @ way, capsule) for capsule in legs
                    ):
                        found.add(beam.sensor)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("build", BUILDS)
def test_no_beam_meets_the_walker(build, geometry):
    """Buttocks, a leg in a long step back, a jacket's hem; the trunk 10 degrees forward or back, 4 to a side"""
    assert blocked_by_body(enclosure.beams(geometry, Config(), build), geometry) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value", "sensor"),
    [
        ("buttock_out_m", 0.35, "drop-off lidar"),
        ("leg_back_deg", 62.0, "drop-off lidar"),
        ("hem_out_m", 0.16, "ultrasonic"),
    ],
)
def test_a_walker_in_the_way_is_seen(key, value, sensor, geometry):
    changed = copy.deepcopy(geometry)
    changed["walker"][key] = value
    assert sensor in blocked_by_body(enclosure.beams(changed, Config(), "outdoor"), changed)


# ------------------------------------------------------------------------------------- one place for every number


def test_the_drop_off_lidar_looks_where_the_program_thinks(geometry):
    """Its spot on level ground is where the core looks for the ground, but for where in the case it sits"""
    config = Config()
    beam = next(each for each in enclosure.beams(geometry, config, "outdoor") if each.sensor == "drop-off lidar")
    down = math.degrees(math.asin(-beam.direction[2]))
    assert down == pytest.approx(config.mount.dropoff_down_deg)
    spot_m = config.mount.height_m / math.tan(math.radians(down))
    assert spot_m == pytest.approx(dropoff.look_ahead_m(config), abs=1e-9)
    # The case's own depth, and how far below its middle the sensor sits: no more than the mounting's own error.
    x_m, z_m = beam.origin_mm[0] / 1000.0, (geometry["belt"]["center_z_mm"] - beam.origin_mm[2]) / 1000.0
    seen_m = x_m + (config.mount.height_m - z_m) / math.tan(math.radians(down))
    assert seen_m == pytest.approx(spot_m, abs=0.05)


def test_both_rear_sensors_look_up_as_the_settings_say(geometry):
    for build in BUILDS:
        for beam in enclosure.beams(geometry, Config(), build):
            if beam.sensor != "drop-off lidar":
                assert math.degrees(math.asin(beam.direction[2])) == pytest.approx(Config().mount.rear_up_deg)
                assert 5.0 <= Config().mount.rear_up_deg <= 10.0


def test_a_changed_setting_changes_the_case(geometry):
    """Tilts stand in the settings alone"""
    assert enclosure.parameters(geometry, Config()) == (HARDWARE / enclosure.PARAMETERS).read_text()
    other = replace_mount(rear_up_deg=8.0, dropoff_down_deg=40.0)
    text = enclosure.parameters(geometry, other)
    assert "rear_up = 8;" in text
    assert "dropoff_down = 40;" in text
    written = (HARDWARE / "geometry.toml").read_text()
    for name in ("rear_up_deg", "dropoff_down_deg", "height_m"):
        assert f"{name} =" not in written


def replace_mount(**changes: float) -> Config:
    table = {name: getattr(Mount(), name) for name in ("height_m", "rear_up_deg", "dropoff_down_deg")}
    return Config(mount=Mount(**{**table, **changes}))


def test_every_number_of_the_model_comes_from_the_table():
    """No model sets a parameter of its own over one that is made"""
    names = {line.split(" = ")[0] for line in (HARDWARE / enclosure.PARAMETERS).read_text().splitlines()[1:]}
    for file in enclosure.sources(HARDWARE)[1:]:
        for line in file.read_text().splitlines():
            assert line.split(" = ")[0].strip() not in names, f"{file.name}: {line}"


@pytest.mark.slow
def test_rendered_anew_the_meshes_are_the_same(tmp_path):
    if shutil.which("openscad") is None or shutil.which("xvfb-run") is None:
        pytest.skip("openscad or xvfb is missing: script/setup --dev")
    places = sorted(map(str, enclosure.render(HARDWARE, tmp_path)))
    assert places == sorted(drawings.made()["enclosure"]["outputs"])
    for name in enclosure.MESHES:
        new, old = trimesh.load_mesh(tmp_path / f"enclosure/stl/{name}.stl"), mesh(name)
        assert new.volume == pytest.approx(old.volume, rel=1e-3), name
        assert new.area == pytest.approx(old.area, rel=1e-3), name
        assert new.bounds == pytest.approx(old.bounds, abs=0.02), name
    assert (tmp_path / enclosure.PARAMETERS).read_text() == (HARDWARE / enclosure.PARAMETERS).read_text()
