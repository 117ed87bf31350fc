// Scenes for the assembly guide; script/drawings enclosure looks at them.  Modules are stood in for by plain bodies.
include <common.scad>
scene = "closed";
outdoor = false;

module body_mesh() { import(outdoor ? "stl/case-body-outdoor.stl" : "stl/case-body-starter.stl"); }
module body() { color("#d9dde2") import(outdoor ? "stl/case-body-outdoor.stl" : "stl/case-body-starter.stl"); }
module back() { color("#b9c4d0") import("stl/case-lid.stl"); }
module mount() { color("#8fa3b8") translate([-boss, 0, belt_z]) import("stl/belt-mount-0.stl"); }

module luna() { color("#30343a") box([lidar_x, lidar_y, lidar_zz]);
  for (side = [-1, 1]) color("#7a1020") translate([lidar_x / 2, side * lens_distance / 2, 0]) rotate([0, 90, 0]) cylinder(r = 6, h = 1, center = true); }
module window() { color("#7a1f4fb0") box([window_t, window_y, window_z]); }
module ultrasonic() {
  if (outdoor) { color("#26292e") rotate([0, 90, 0]) { translate([0, 0, -23]) cylinder(d = probe_d, h = 23); cylinder(d = flange_d, h = 4); } }
  else { color("#1d5fa8") translate([-can_height, 0, 0]) box([1.6, us_board[0], us_board[1]]);
    for (side = [-1, 1]) color("#c9ccd0") translate([-can_height, side * can_distance / 2, 0]) rotate([0, 90, 0]) cylinder(d = can_d, h = can_height + proud); }
}
module sensors(away = 0) {
  at_rear(us_z, rear_up) translate([outdoor ? away : -away, 0, 0]) ultrasonic();
  at_rear(lidar_z, rear_up) { translate([-window_t - 1 - lidar_x / 2 - away, 0, 0]) luna(); translate([-window_t / 2 + away, 0, 0]) window(); }
  if (outdoor) at_drop() { translate([-window_t - 1 - lidar_x / 2 - away, 0, 0]) luna(); translate([-window_t / 2 + away, 0, 0]) window(); }
}
module board(away = 0) {
  translate([plate + post + 0.7 + away, 0, pi_z]) color("#2e8b57") box([1.4, 65, 30]);
  translate([plate + post + 1.4 + 11 + 1.5 * away, 0, pi_z - 10]) color("#c9a24a") box([1.6, 66, 51]);
  translate([plate + post + 1.4 + 5.5 + 1.25 * away, 0, pi_z + 11.5]) color("#222") box([8.5, 51, 5]);
}
module inserts(away = 0) {
  screw_places() translate([plate - away, 0, 0]) rotate([0, 90, 0]) color("#c8a030") cylinder(d = 4.6, h = 5.7);
}
module screws(away = 0) {
  screw_places() translate([-away, 0, 0]) rotate([0, 90, 0]) color("#555") { cylinder(d = 3, h = 8); translate([0, 0, -3]) cylinder(d = 5.5, h = 3); }
}
module cord(away = 0) {
  translate([plate - away, 0, height / 2]) color("#111") difference() {
    box([1.9, width - 2 * groove_in + 2, height - 2 * groove_in + 2]);
    box([4, width - 2 * groove_in - 2, height - 2 * groove_in - 2]);
  }
}
module belt() { color("#3c4a3c") translate([-boss - belt_t - 2, 0, belt_z]) box([2, 180, webbing]); }
module clip(away = 0) {
  color("#d9dde2") import("stl/imu-clip-body.stl");
  color("#7a1f9f") translate([clip_wall + carrier[2] / 2 + 0.5 + away, 0, clip_wall + clearance + carrier[1] / 2]) box([carrier[2] - 2, carrier[0], carrier[1]]);
  color("#b9c4d0") translate([carrier[2] + 2 * clearance + 1 + clip_wall + 2 * away, 0, 0]) import("stl/imu-clip-lid.stl");
}

if (scene == "closed") { body(); back(); mount(); sensors(); belt(); }
if (scene == "exploded") { body(); sensors(35); translate([-60, 0, 0]) { back(); board(25); } translate([-110, 0, 0]) { mount(); belt(); } screws(100); if (outdoor) cord(20); }
// A cut along the middle, laid flat: x to the right is backward, y is up.
module cut(y = 0) { linear_extrude(1) projection(cut = true) rotate([-90, 0, 0]) translate([0, y, 0]) children(); }
module ray(origin, angle, long, half, start) {
  color("#d0303080") translate([origin[0], origin[1], -1]) rotate(angle) linear_extrude(0.5)
    polygon([[0, -start], [long, -start - long * tan(half)], [long, start + long * tan(half)], [0, start]]);
}
if (scene == "section") {
  color("#5b6b7c") cut() body_mesh();
  color("#8fa3b8") cut() import("stl/case-lid.stl");
  color("#6a7f95") cut() translate([-boss, 0, belt_z]) import("stl/belt-mount-0.stl");
  color("#26292e") cut() at_rear(us_z, rear_up) rotate([0, 90, 0]) { translate([0, 0, -23]) cylinder(d = probe_d, h = 23); cylinder(d = flange_d, h = 4); }
  color("#30343a") cut() { at_rear(lidar_z, rear_up) translate([-window_t - 1 - lidar_x / 2, 0, 0]) box([lidar_x, lidar_y, lidar_zz]);
    at_drop() translate([-window_t - 1 - lidar_x / 2, 0, 0]) box([lidar_x, lidar_y, lidar_zz]); }
  color("#7a1f4f") cut() { at_rear(lidar_z, rear_up) translate([-window_t / 2, 0, 0]) box([window_t, window_y, window_z]);
    at_drop() translate([-window_t / 2, 0, 0]) box([window_t, window_y, window_z]); }
  color("#2e8b57") cut() translate([plate + post + 0.7, 0, pi_z]) box([1.4, 65, 30]);
  color("#c9a24a") cut() translate([plate + post + 1.4 + 11 + 0.8, 0, pi_z - 10]) box([1.6, 66, 51]);
  ray([depth, us_z], rear_up, 70, 30, probe_d / 2);
  ray([depth, lidar_z], rear_up, 110, 1, 6);
  ray([depth - drop_from_edge * sin(dropoff_down), chamfer_z() - drop_from_edge * cos(dropoff_down)], -dropoff_down, 110, 1, 6);
}
if (scene == "inserts") { body(); inserts(14); }
if (scene == "sensors") { body(); sensors(32); }
if (scene == "board") { back(); board(18); }
if (scene == "closing") { translate([30, 0, 0]) { body(); sensors(); if (outdoor) cord(12); } back(); board(); screws(22); }
if (scene == "belt") { body(); back(); translate([-25, 0, 0]) { mount(); belt(); } sensors(); }
if (scene == "clip") clip(14);
