"""retrowalk: warns people who walk backward before a collision or a fall."""

__version__ = "0.1.0"
