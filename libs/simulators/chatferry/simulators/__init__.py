"""A Bitrix24 portal that behaves as the real one, its limits, odd types and errors included."""
