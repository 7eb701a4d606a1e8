"""The HTTP endpoints on Ray Serve."""
