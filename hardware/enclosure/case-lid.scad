// part: case-lid
// The back plate, toward the walker: posts for the Pi inside, bosses for the belt mount outside.  Four screws close it.
// Holds: part: pi-zero-2w, part: screw-m25x6, part: sd-card, part: interface-board, part: ina219, part: max17048, part: charger-boost, part: max98357a, part: buzzer, part: lipo-cell, part: insert-m3; closed by part: screw-m3x8
include <common.scad>

module lid() {
  difference() {
    union() {
      translate([0, -width / 2, 0]) cube([plate, width, height]);
      for (y = [-1, 1], z = [-1, 1]) {
        translate([plate - e, y * pi_hole_y / 2, pi_z + z * pi_hole_z / 2]) rotate([0, 90, 0]) cylinder(d = post_d, h = post);
        translate([-boss, y * belt_screw_y / 2, belt_z + z * belt_screw_z / 2]) rotate([0, 90, 0]) cylinder(d = boss_d, h = boss + e);
      }
      // Where the supply's board or gauge is tied down, below the Pi.
      for (y = [-24, 0, 24]) translate([plate + 2.5 - e, y, 26]) difference() { box([5, 6, 10]); translate([-0.8, 0, 0]) box([2, 20, 4]); }
    }
    screw_places() rotate([0, 90, 0]) cylinder(d = screw_m3, h = 40, center = true);
    for (y = [-1, 1], z = [-1, 1]) {
      translate([plate + 1, y * pi_hole_y / 2, pi_z + z * pi_hole_z / 2]) rotate([0, 90, 0]) cylinder(d = pi_hole, h = post + 1, $fn = 16);
      // Blind: what holds the case to the belt opens no way in.
      translate([-boss - e, y * belt_screw_y / 2, belt_z + z * belt_screw_z / 2]) rotate([0, 90, 0]) cylinder(d = insert_d, h = insert_depth);
    }
  }
}

lid();
