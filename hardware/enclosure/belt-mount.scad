// part: belt-mount
// A plate between belt and case.  The webbing goes through both slots, so that it cannot turn; `wedge` degrees make the
// case plumb where the lower back slopes: print the one you need, and turn it over for the other way.
// Holds: part: belt, part: screw-m3x8, part: foam-pad (over plate, heads and webbing, towards the back)
include <common.scad>
wedge = 0;

module mount() {
  difference() {
    // From the flat side at the belt (x = -thick) to the side of the bosses, which leans by the wedge.
    rotate([90, 0, 0]) linear_extrude(belt_plate_y, center = true)
      polygon([[-belt_t, -belt_plate_z / 2], [belt_plate_z * tan(wedge), -belt_plate_z / 2], [0, belt_plate_z / 2],
               [-belt_t, belt_plate_z / 2]]);
    for (side = [-1, 1]) translate([0, side * (belt_plate_y / 2 - 8), 0]) box([200, slot, webbing + 2]);
    // At right angles to the side of the bosses, and sunk from the belt's side, so that nothing presses; the same screw
    // serves every wedge.
    translate([belt_plate_z * tan(wedge) / 2, 0, 0]) rotate([0, -wedge, 0]) for (y = [-1, 1], z = [-1, 1])
      translate([0, y * belt_screw_y / 2, z * belt_screw_z / 2]) rotate([0, 90, 0]) {
        cylinder(d = screw_m3, h = 200, center = true);
        translate([0, 0, -under_head - 100]) cylinder(d = screw_head, h = 100);
      }
  }
}

mount();
