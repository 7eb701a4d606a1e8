"""Decode and encode images, audio and video under hard limits."""
