"""Strict twins of chips: registers that behave, and refuse what the real chip does not allow."""
