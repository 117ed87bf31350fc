"""Bench tests: what a device of one's own measures, kept in a form, becomes the numbers of the simulated world."""
