"""What is not a matrix product in a network."""
