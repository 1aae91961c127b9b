"""The target's database."""
