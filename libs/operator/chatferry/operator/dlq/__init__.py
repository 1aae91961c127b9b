"""Dead letters: looked at, sent again, given up (docs/adr/0008)."""
