"""Validated descriptions of work: what to read, what to build, how long; no behaviour."""
