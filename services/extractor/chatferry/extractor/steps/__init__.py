"""The steps of Get: reading, taking in what was read, finding strangers, publishing."""
