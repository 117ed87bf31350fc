"""Settings that a maker writes onto the card in a laptop, taken over when the Pi starts: see docs/first-boot.md."""
