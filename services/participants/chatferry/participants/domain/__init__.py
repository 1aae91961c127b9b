"""Rules without I/O: what a count is worth, what an event means, what is read next, what a page shows."""
