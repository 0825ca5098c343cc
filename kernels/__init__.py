"""Pure functions on arrays, compiled by Numba: no MPI, no classes, no state.

Array arguments are contiguous and have the shapes and dtypes their docstrings name; nothing is checked here.
"""
