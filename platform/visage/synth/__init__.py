"""Corpora with known truth: drawn people whose faces and settings carry an emotion."""
