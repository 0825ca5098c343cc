"""Text files, parsed."""
