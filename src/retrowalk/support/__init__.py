"""One file for whoever helps: what a device says of itself, and no secret."""
