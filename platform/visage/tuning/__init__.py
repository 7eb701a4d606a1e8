"""Searches over training specs: what to try, when to stop, what was seen; runs without Ray."""
