"""Proves that what the portal had is what the target has, and writes the report."""
