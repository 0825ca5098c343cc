"""What is typed: one file a command, and the command line they share."""
