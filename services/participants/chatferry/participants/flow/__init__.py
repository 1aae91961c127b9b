"""The story, in three parts: what is heard (events), what is read (reading), and staying subscribed (keeping)."""
