// part: imu-clip-body
// The balance clip: a box for the carrier of the motion sensor, and a spring that goes behind the waistband.
// Holds: part: lsm6dsox, part: screw-m2x6
include <common.scad>

inner = [carrier[2] + 2 * clearance + 1, carrier[0] + 2 * clearance, carrier[1] + 2 * clearance];
outer = inner + [clip_wall, 2 * clip_wall + 8, 2 * clip_wall];

module clip() {
  difference() {
    union() {
      translate([0, -outer[1] / 2, 0]) cube(outer);
      // The spring, joined at the top: it hangs behind the waistband, toward the body.
      translate([-gap - tongue[2], -tongue[0] / 2, outer[2] - tongue[1]]) cube([tongue[2], tongue[0], tongue[1]]);
      translate([-gap - tongue[2], -tongue[0] / 2, outer[2] - 4]) cube([gap + tongue[2] + e, tongue[0], 4]);
    }
    // Open backward, where the lid comes.
    translate([clip_wall, -inner[1] / 2, clip_wall]) cube([outer[0], inner[1], inner[2]]);
    // The cable leaves downward, so that no rain runs along it into the box.
    translate([clip_wall + inner[0] / 2, 0, -e]) cylinder(d = clip_cable, h = clip_wall + 2, $fn = 24);
    for (side = [-1, 1]) translate([clip_wall + 1, side * (inner[1] / 2 + 2 + clip_wall / 2), outer[2] / 2])
      rotate([0, 90, 0]) cylinder(d = screw_m2, h = outer[0], $fn = 16);
  }
}

clip();
