"""Pure rules of the target: its own model, what an item must be, which version wins, list positions."""
