"""Measurements of parts of the package against what others would use for them."""
