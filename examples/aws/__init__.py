"""Assets of your own over the inventory of AWS."""
