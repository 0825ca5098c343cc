"""Operators and proximal maps of the problems."""
