"""How two peers are connected: the link interface, and what carries it."""
