"""What replaces the street below the drivers: a world, its walker, strict twins of the chips, virtual time."""
