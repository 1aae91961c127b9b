"""The target: a chat server that takes imports and gives everything back."""
