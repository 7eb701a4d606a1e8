"""Benchmarks: speed and memory, measured and printed; nothing here is asserted (docs/bench.md)."""
