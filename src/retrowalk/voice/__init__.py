"""The voice process: the phrase bank, the mixer and the sound device."""
