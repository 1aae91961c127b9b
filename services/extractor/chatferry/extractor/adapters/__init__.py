"""MongoDB behind the extractor's ports."""
