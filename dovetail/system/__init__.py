"""How work is laid out over several chips."""
