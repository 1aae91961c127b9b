"""Logs, metrics and traces, without secrets and message texts (design §7)."""
