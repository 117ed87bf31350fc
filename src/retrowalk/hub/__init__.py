"""The caregiver's side: stores every event once, raises alerts, tells people until one of them answers."""
