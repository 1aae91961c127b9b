"""Delivers published records to the target in batches, in order, once."""
