"""The guard process: sensors, button, the Companion, buzzer and vibration.  No network, no disk, no synthesis."""
