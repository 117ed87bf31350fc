"""Makes the drawings, meshes and tables of this folder from its sources; `script/drawings` runs it.

Each module here makes one kind of them.  It has `sources(hardware)`, the files it reads, and `render(hardware, into)`,
which writes its outputs below `into`, at the places they have below `hardware`, and returns those places.  What it
makes is kept in the repository, so that a maker needs a browser and nothing else; `made.json` holds by hashes which
sources each of them was made from.
"""
