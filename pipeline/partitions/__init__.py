"""Partitions: which interval of the cursor each asks for (``window``). Pure."""
