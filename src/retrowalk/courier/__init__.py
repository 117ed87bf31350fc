"""The courier process: outbox, MQTT and recording; everything that may be slow."""
