"""The bit-exact entropy layer: integer tables, a range coder over them, and integer-valued networks."""
