"""Drivers: one file a chip.  They turn pins and registers into samples, and know nothing of processes."""
