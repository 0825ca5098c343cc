"""Compression: choosing, rounding and packing what is sent."""
