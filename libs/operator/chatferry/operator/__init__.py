"""The chatferry command."""
