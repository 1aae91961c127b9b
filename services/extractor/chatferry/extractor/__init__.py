"""Reads a Bitrix24 portal within its limits and publishes every new or changed record."""
