"""Measuring the walker, through the guard that runs: how they stop (`stop`), how long their steps are (`gait`)."""
