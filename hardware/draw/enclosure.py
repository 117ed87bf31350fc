"""The enclosure: parameters for OpenSCAD from `geometry.toml` and the program's settings, meshes, and pictures.

What the program uses (how high the unit is worn, how its sensors tilt) is read from its default configuration, so that
a changed setting changes the case.  The places of the beams, in `beams`, are calculated here from the same numbers; the
tests hold them against the meshes.
"""

from __future__ import annotations

import math
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrowalk.config import Config

Vector = tuple[float, float, float]

PARAMETERS = "enclosure/parameters.scad"
MESHES: dict[str, tuple[str, dict[str, str]]] = {
    "case-body-starter": ("case-body", {"outdoor": "false"}),
    "case-body-outdoor": ("case-body", {"outdoor": "true"}),
    "case-lid": ("case-lid", {}),
    "belt-mount-0": ("belt-mount", {"wedge": "0"}),
    "belt-mount-5": ("belt-mount", {"wedge": "5"}),
    "belt-mount-10": ("belt-mount", {"wedge": "10"}),
    "imu-clip-body": ("imu-clip-body", {}),
    "imu-clip-lid": ("imu-clip-lid", {}),
}
"""Mesh -> its source, and what is set there."""


@dataclass(frozen=True)
class View:
    """A picture: a scene of pictures.scad, and where it is looked at from (OpenSCAD's three angles)."""

    scene: str
    build: str
    turn_deg: tuple[float, float, float]


PICTURES = {
    "assembly/starter": View("closed", "starter", (65, 0, 145)),
    "assembly/outdoor": View("closed", "outdoor", (65, 0, 145)),
    "assembly/exploded-starter": View("exploded", "starter", (68, 0, 150)),
    "assembly/exploded-outdoor": View("exploded", "outdoor", (68, 0, 150)),
    "assembly/section-outdoor": View("section", "outdoor", (0, 0, 0)),
    "assembly/step-inserts": View("inserts", "outdoor", (70, 0, -40)),
    "assembly/step-sensors-starter": View("sensors", "starter", (65, 0, 145)),
    "assembly/step-sensors-outdoor": View("sensors", "outdoor", (65, 0, 145)),
    "assembly/step-board": View("board", "starter", (65, 0, 125)),
    "assembly/step-close": View("closing", "outdoor", (65, 0, 120)),
    "assembly/step-belt": View("belt", "outdoor", (65, 0, -40)),
    "assembly/step-clip": View("clip", "outdoor", (65, 0, 140)),
}
"""Picture -> what it shows; worn, the walker's back is at the left of the section."""


def sources(hardware: Path) -> list[Path]:
    scads = sorted(file for file in (hardware / "enclosure").glob("*.scad") if file.name != Path(PARAMETERS).name)
    return [hardware / "geometry.toml", *scads]


def render(hardware: Path, into: Path) -> list[Path]:
    text = parameters(load(hardware), Config())
    folder = into / "enclosure"
    folder.mkdir(parents=True)
    for file in sources(hardware)[1:]:
        (folder / file.name).write_bytes(file.read_bytes())
    copied = list(folder.iterdir())
    (into / PARAMETERS).write_text(text, "utf-8")
    made = [Path(PARAMETERS)]
    (folder / "stl").mkdir()
    for name, (source, settings) in MESHES.items():
        place = Path("enclosure/stl") / f"{name}.stl"
        defines = [part for key, value in settings.items() for part in ("-D", f"{key}={value}")]
        openscad(folder / f"{source}.scad", into / place, "--export-format", "binstl", *defines)
        made.append(place)
    for name, view in PICTURES.items():
        place = Path(f"{name}.png")
        (into / place).parent.mkdir(parents=True, exist_ok=True)
        camera = ",".join(["0,0,0", *(f"{angle:g}" for angle in view.turn_deg), "500"])
        options = ["--imgsize=900,700", "--viewall", "--autocenter", f"--camera={camera}", "--colorscheme=Tomorrow"]
        scene = ["-D", f'scene="{view.scene}"', "-D", f"outdoor={'true' if view.build == 'outdoor' else 'false'}"]
        openscad(folder / "pictures.scad", into / place, *options, *scene, display=True)
        made.append(place)
    for file in copied:
        file.unlink()
    return made


def openscad(source: Path, target: Path, *options: str, display: bool = False) -> None:
    """Raises `RuntimeError` with what OpenSCAD says when it warns or fails."""
    command = ["openscad", "-q", "-o", str(target), *options, str(source)]
    if display:
        command = ["xvfb-run", "-a", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or "WARNING" in done.stderr or "ERROR" in done.stderr:
        raise RuntimeError(f"openscad {source.name}: {done.stderr[-600:]}")


def load(hardware: Path) -> dict[str, Any]:
    return tomllib.loads((hardware / "geometry.toml").read_text("utf-8"))


def parameters(geometry: Mapping[str, Any], config: Config) -> str:
    """The OpenSCAD variables, one a line."""
    g = geometry
    case, us, lidar, drip, openings, pi, belt, clip = (
        g[name] for name in ("case", "ultrasonic", "lidar", "drip", "openings", "pi", "belt", "imu_clip")
    )
    fast = g["fasteners"]
    values: dict[str, Any] = {
        "rear_up": config.mount.rear_up_deg,
        "dropoff_down": config.mount.dropoff_down_deg,
        "wall": g["print"]["wall_mm"],
        "clearance": g["print"]["clearance_mm"],
        "depth": case["depth_mm"],
        "width": case["width_mm"],
        "height": case["height_mm"],
        "plate": case["plate_mm"],
        "rim": case["rim_mm"],
        "rim_depth": case["rim_depth_mm"],
        "insert_in": case["insert_in_mm"],
        "groove_in": case["groove_in_mm"],
        "groove_width": case["groove_width_mm"],
        "groove_depth": case["groove_depth_mm"],
        "corner": case["corner_mm"],
        "insert_d": fast["insert_m3_hole_mm"],
        "insert_depth": fast["insert_m3_depth_mm"],
        "screw_m3": fast["screw_m3_hole_mm"],
        "screw_head": fast["screw_m3_head_mm"],
        "under_head": fast["under_head_mm"],
        "screw_m2": fast["screw_m2_hole_mm"],
        "us_board": us["board_mm"],
        "us_z": us["center_z_mm"],
        "us_hole_y": us["holes_mm"][0],
        "us_hole_z": us["holes_mm"][1],
        "can_d": us["can_diameter_mm"],
        "can_distance": us["can_distance_mm"],
        "can_height": us["can_height_mm"],
        "probe_d": us["probe_diameter_mm"],
        "flange_d": us["flange_diameter_mm"],
        "proud": us["proud_mm"],
        "lidar_y": lidar["body_mm"][0],
        "lidar_zz": lidar["body_mm"][1],
        "lidar_x": lidar["body_mm"][2],
        "lens_distance": lidar["lens_distance_mm"],
        "lidar_z": lidar["rear_center_z_mm"],
        "window_y": lidar["window_mm"][0],
        "window_z": lidar["window_mm"][1],
        "window_t": lidar["window_mm"][2],
        "frame": lidar["window_frame_mm"],
        "drop_from_edge": lidar["drop_from_edge_mm"],
        "chamfer": lidar["chamfer_mm"],
        "visor": drip["visor_mm"],
        "visor_thick": drip["visor_thick_mm"],
        "visor_gap": drip["visor_gap_mm"],
        "led_d": openings["led_diameter_mm"],
        "led_y": openings["led_yz_mm"][0],
        "led_z": openings["led_yz_mm"][1],
        "gland_outdoor": openings["gland_outdoor_mm"],
        "gland_starter": openings["gland_starter_mm"],
        "gland_y": openings["gland_y_mm"],
        "gland_x": openings["gland_x_mm"],
        "switch_d": openings["switch_diameter_mm"],
        "switch_y": openings["switch_y_mm"],
        "speaker_d": openings["speaker_diameter_mm"],
        "speaker_x": openings["speaker_xz_mm"][0],
        "speaker_z": openings["speaker_xz_mm"][1],
        "speaker_hole": openings["speaker_hole_mm"],
        "speaker_slope": openings["speaker_slope_deg"],
        "pi_hole_y": pi["holes_mm"][0],
        "pi_hole_z": pi["holes_mm"][1],
        "pi_hole": pi["hole_mm"],
        "post": pi["post_mm"],
        "post_d": pi["post_diameter_mm"],
        "pi_z": pi["center_z_mm"],
        "webbing": belt["webbing_mm"],
        "slot": belt["slot_mm"],
        "belt_plate_y": belt["plate_mm"][0],
        "belt_plate_z": belt["plate_mm"][1],
        "belt_t": belt["plate_mm"][2],
        "belt_screw_y": belt["screws_mm"][0],
        "belt_screw_z": belt["screws_mm"][1],
        "boss": belt["boss_mm"],
        "boss_d": belt["boss_diameter_mm"],
        "belt_z": belt["center_z_mm"],
        "carrier": clip["carrier_mm"],
        "clip_wall": clip["wall_mm"],
        "clip_cable": clip["cable_mm"],
        "tongue": clip["tongue_mm"],
        "gap": clip["gap_mm"],
    }
    lines = ["// Made by script/drawings from geometry.toml and the program's default settings: change those."]
    lines += [f"{name} = {_scad(value)};" for name, value in values.items()]
    return "\n".join(lines) + "\n"


def _scad(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_scad(each) for each in value) + "]"
    return f"{value:g}"


# ------------------------------------------------------------------------------------------------------- the beams


@dataclass(frozen=True)
class Beam:
    """A cone: what leaves the case as a disc of `radius_mm` at `origin_mm`, and widens by the half angle."""

    sensor: str
    origin_mm: Vector
    direction: Vector
    radius_mm: float
    half_angle_deg: float


def tilted(down_deg: float) -> Vector:
    """The unit vector that looks backward and so far below level."""
    return math.cos(math.radians(down_deg)), 0.0, -math.sin(math.radians(down_deg))


def beams(geometry: Mapping[str, Any], config: Config, build: str) -> list[Beam]:
    """Where each sensor of a build looks from, and where to; in the case's coordinates."""
    case, us, lidar = geometry["case"], geometry["ultrasonic"], geometry["lidar"]
    up, down = config.mount.rear_up_deg, config.mount.dropoff_down_deg
    rear = tilted(-up)

    def out(z: float, direction: Vector, by: float, y: float = 0.0) -> Vector:
        return case["depth_mm"] + by * direction[0], y, z + by * direction[2]

    found = []
    if build == "starter":
        for side in (-1.0, 1.0):
            origin = out(us["center_z_mm"], rear, us["proud_mm"], side * us["can_distance_mm"] / 2.0)
            found.append(Beam("ultrasonic", origin, rear, us["can_diameter_mm"] / 2.0, us["half_angle_deg"]))
    else:
        origin = out(us["center_z_mm"], rear, us["proud_mm"])
        found.append(Beam("ultrasonic", origin, rear, us["probe_diameter_mm"] / 2.0, us["probe_half_angle_deg"]))
    behind = -lidar["window_mm"][2] - 1.0  # the lidar's face: behind its window
    lenses = [side * lidar["lens_distance_mm"] / 2.0 for side in (-1.0, 1.0)]
    for y in lenses:
        origin = out(lidar["rear_center_z_mm"], rear, behind, y)
        found.append(Beam("rear lidar", origin, rear, lidar["lens_radius_mm"], lidar["half_angle_deg"]))
    if build == "outdoor":
        direction = tilted(down)
        x = case["depth_mm"] - lidar["drop_from_edge_mm"] * math.sin(math.radians(down))
        z = (lidar["chamfer_mm"] - lidar["drop_from_edge_mm"]) * math.cos(math.radians(down))
        for y in lenses:
            origin = (x + behind * direction[0], y, z + behind * direction[2])
            found.append(Beam("drop-off lidar", origin, direction, lidar["lens_radius_mm"], lidar["half_angle_deg"]))
    return found
