"""Pure rules of the extractor."""
