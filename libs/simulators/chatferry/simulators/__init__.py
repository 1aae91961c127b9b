"""Servers that behave as the real ones, limits, odd types and errors included: a Bitrix24 portal, the MAX platform."""
