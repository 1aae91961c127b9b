"""Pure rules of the importer."""
