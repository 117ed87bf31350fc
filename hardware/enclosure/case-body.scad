// part: case-body
// The shell: rear wall, sides, top and underside; open toward the back plate.  Print it on its rear wall.
// Holds: part: hc-sr04, part: a02yyuw, part: tf-luna, part: window-850, part: led, part: speaker, part: cable-gland,
// part: power-switch, part: insert-m3, part: screw-m2x6, part: gasket (in the groove of the rim)
include <common.scad>
outdoor = false;

module openings() {
  // Ultrasonic sensor, tilted up.
  at_rear(us_z, rear_up)
    if (outdoor) rotate([0, 90, 0]) cylinder(d = probe_d + 2 * clearance, h = 60, center = true);
    else for (side = [-1, 1]) translate([0, side * can_distance / 2, 0])
      rotate([0, 90, 0]) cylinder(d = can_d + 2 * clearance, h = 60, center = true);
  // Rear lidar: the opening, and a recess outside for its window.
  at_rear(lidar_z, rear_up) window_hole();
  if (outdoor) at_drop() window_hole();
  // Light.
  translate([depth, led_y, led_z]) rotate([0, 90, 0]) cylinder(d = led_d, h = 30, center = true);
  // Underside: cables and switch.
  for (y = gland_y) translate([gland_x, y, 0]) cylinder(d = outdoor ? gland_outdoor : gland_starter, h = 20, center = true);
  translate([gland_x, switch_y, 0]) cylinder(d = switch_d, h = 20, center = true);
  // Loudspeaker, left side: rings of holes that slope down to the outside.
  translate([speaker_x, width / 2, speaker_z]) for (r = [0, 6, 12]) for (a = [0 : r == 0 ? 360 : 60 * 6 / r : 359])
    translate([r * cos(a), 0, r * sin(a)]) rotate([-90 - speaker_slope, 0, 0]) cylinder(d = speaker_hole, h = 30, center = true, $fn = 16);
}

module window_hole() {
  box([60, window_y - 2 * frame, window_z - 2 * frame]);
  translate([window_t / 2 - window_t, 0, 0]) box([window_t, window_y + 2 * clearance, window_z + 2 * clearance]);
  translate([10 - e, 0, 0]) box([20, window_y + 2 * clearance, window_z + 2 * clearance]);
}

// A drip edge above an opening of the rear wall, at height z.
module visor(z, wide) {
  translate([depth - e, 0, z]) rotate([90, 0, 0])
    linear_extrude(wide, center = true) polygon([[0, 0], [visor, 0], [visor, visor_thick], [0, visor_thick + visor]]);
}

// A pad under a tilted window, so that its recess keeps a floor of at least a wall.
module window_pad() { translate([-wall / 2 - window_t / 2, 0, 0]) box([wall + window_t, window_y + 6, window_z + 6]); }

// Two rails, between which a TF-Luna is held by its own sides, its face at the window.
module lidar_rails() {
  for (side = [-1, 1]) translate([-window_t - lidar_x / 2 - 1, side * (lidar_y / 2 + clearance + 1), 0]) box([lidar_x, 2, 10]);
}

module shell() {
  difference() {
    union() {
      difference() {
        along_y(width) outline();
        along_y(width - 2 * wall) difference() { outline(wall); translate([0, -1]) square([plate + rim_depth + rim - wall, height + 2]); }
        // Open toward the body, inside of the rim.
        translate([plate + rim_depth / 2 + wall / 2, 0, height / 2]) box([rim_depth + wall + 2 * e, width - 2 * rim, height - 2 * rim]);
        // From the rim's inner edge the walls widen at 45 degrees: it prints without supports.
        hull() {
          translate([plate + rim_depth, 0, height / 2]) box([e, width - 2 * rim, height - 2 * rim]);
          translate([plate + rim_depth + rim - wall, 0, height / 2]) box([e, width - 2 * wall, height - 2 * wall]);
        }
      }
      intersection() {
        along_y(width) outline();
        union() {
          at_rear(lidar_z, rear_up) { window_pad(); lidar_rails(); }
          if (outdoor) at_drop() { window_pad(); lidar_rails(); }
          if (!outdoor) at_rear(us_z, rear_up) for (y = [-1, 1], z = [-1, 1])
            translate([-can_height / 2 - wall / 2 + 1, y * us_hole_y / 2, z * us_hole_z / 2]) box([can_height - wall + 2, 4.6, 4.6]);
          // Anchors for cable ties, behind each cable's hole.
          for (y = gland_y) translate([gland_x + 11, y, wall + 2.5]) difference() { box([6, 10, 6]); box([3, 20, 3]); }
        }
      }
      visor(us_z + (outdoor ? flange_d / 2 : can_d / 2) + visor_gap, outdoor ? flange_d + 10 : can_distance + can_d + 10);
      visor(lidar_z + window_z / 2 + visor_gap - 1, window_y + 6);
      translate([0, led_y, 0]) visor(led_z + led_d / 2 + visor_gap, 12);
    }
    openings();
    if (!outdoor) at_rear(us_z, rear_up) for (y = [-1, 1], z = [-1, 1])
      translate([-can_height - 1, y * us_hole_y / 2, z * us_hole_z / 2]) rotate([0, 90, 0]) cylinder(d = screw_m2, h = 8, $fn = 16);
    // Groove for the cord, and the inserts, in the rim.
    translate([plate, 0, height / 2]) difference() {
      box([2 * groove_depth, width - 2 * groove_in + groove_width, height - 2 * groove_in + groove_width]);
      box([4 * groove_depth, width - 2 * groove_in - groove_width, height - 2 * groove_in - groove_width]);
    }
    screw_places() translate([plate - e, 0, 0]) rotate([0, 90, 0]) cylinder(d = insert_d, h = insert_depth);
  }
}

shell();
