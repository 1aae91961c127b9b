"""Live participant counts: MAX events are hints, reads confirm, and one budget bounds them all."""
