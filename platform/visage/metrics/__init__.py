"""Metrics as pure functions of arrays, with their intervals."""
