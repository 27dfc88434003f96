"""Measuring the codec on real files: quality over rate beside peers and published curves, and speed."""
