"""How a mean over the workers is obtained: memories, the server, transports."""
