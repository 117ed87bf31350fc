// part: imu-clip-lid
// Closes the balance clip.  The arrow points up when it is worn; the carrier lies with its parts toward this lid.
// Holds: part: screw-m2x6
include <common.scad>

inner = [carrier[2] + 2 * clearance + 1, carrier[0] + 2 * clearance, carrier[1] + 2 * clearance];
outer = inner + [clip_wall, 2 * clip_wall + 8, 2 * clip_wall];

module lid() {
  difference() {
    union() {
      translate([0, -outer[1] / 2, 0]) cube([clip_wall, outer[1], outer[2]]);
      // A lip that keeps water out.
      translate([-1.5, -inner[1] / 2 + clearance, clip_wall + clearance]) difference() {
        cube([1.5 + e, inner[1] - 2 * clearance, inner[2] - 2 * clearance]);
        translate([-1, 1.2, 1.2]) cube([4, inner[1] - 2 * clearance - 2.4, inner[2] - 2 * clearance - 2.4]);
      }
      translate([clip_wall - e, 0, outer[2] / 2]) rotate([90, 0, 90]) linear_extrude(0.8)
        polygon([[-1.5, -6], [1.5, -6], [1.5, 1], [4, 1], [0, 7], [-4, 1], [-1.5, 1]]);
    }
    for (side = [-1, 1]) translate([0, side * (inner[1] / 2 + 2 + clip_wall / 2), outer[2] / 2])
      rotate([0, 90, 0]) cylinder(d = 2.3, h = 20, center = true, $fn = 16);
  }
}

lid();
