"""Real APIs that others wrote, each with its source YAML and a way to run it on this machine."""
