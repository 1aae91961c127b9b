"""The steps of a verification's story, each on the ports alone."""
