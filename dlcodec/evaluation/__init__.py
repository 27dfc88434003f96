"""Measuring the codec on real files: rate and distortion against published curves, and speed."""
