"""Dead letters: looked at, sent again, given up (docs/adr: discarded parents; the limit)."""
