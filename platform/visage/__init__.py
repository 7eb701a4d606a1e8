"""Visage: talking heads and context-aware emotion recognition, trained and served on Ray.

The library runs and is tested without a cluster; `visage_jobs` holds the verbs and the Ray drivers,
`visage_serve` the HTTP endpoints.
"""

__version__ = "0.1.0"
