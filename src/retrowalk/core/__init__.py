"""The pure core: samples in, facts out.  No clock, thread, logger, device or random source."""
