"""The streaming runtime: records in order, commits of finished work only, outages waited out."""
