"""Trained models as artefacts: save, load, and predict from pictures."""
