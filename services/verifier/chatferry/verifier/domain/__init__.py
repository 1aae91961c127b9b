"""Pure rules of verification: what is equal, what differs, what is sampled, and what "verified" means."""
