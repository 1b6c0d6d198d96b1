"""What other programs read in Redis: the names of keys and the JSON in them.  A published format."""
