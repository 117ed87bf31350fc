"""The doctor: what is wrong with a device, by name, and what to do about it."""
