"""What is described in a file, and where its results lie on disk."""
