"""Synthetic corpora with known truth, in the on-disk layouts of the real ones."""
