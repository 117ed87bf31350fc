// What all printed parts share.  parameters.scad is made from geometry.toml and the settings: script/drawings enclosure
include <parameters.scad>
$fn = 48;
e = 0.01;

// The case's outline from the side (x, z), with the slanting face for the drop-off lidar at the lower rear edge.
function chamfer_x() = chamfer * sin(dropoff_down);
function chamfer_z() = chamfer * cos(dropoff_down);
module outline(inset = 0) {
  offset(delta = -inset)
    polygon([[plate, 0], [depth - chamfer_x(), 0], [depth, chamfer_z()], [depth, height - corner],
             [depth - corner, height], [plate, height]]);
}

// Extrudes an outline in (x, z) along y, centred.
module along_y(width) { rotate([90, 0, 0]) linear_extrude(width, center = true) children(); }

// Looks backward from the rear wall at height z, tilted up by `up` degrees: x of the children is the beam's direction.
module at_rear(z, up) { translate([depth, 0, z]) rotate([0, -up, 0]) children(); }

// The same from the middle of the drop-off lidar's place on the slanting face.
module at_drop() {
  translate([depth - drop_from_edge * sin(dropoff_down), 0, chamfer_z() - drop_from_edge * cos(dropoff_down)])
    rotate([0, dropoff_down, 0]) children();
}

module box(size) { translate(-size / 2) cube(size); }

// The four screws that hold the back plate.
module screw_places() {
  for (side = [-1, 1], z = [insert_in, height - insert_in]) translate([0, side * (width / 2 - insert_in), z]) children();
}
