"""Headrace measured on this machine, beside others that do the same work. See README.md here."""
