"""Contracts, entity declarations, streaming runtime, adapters, telemetry and settings that every service shares."""
