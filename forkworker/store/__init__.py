"""The only package that talks to Redis.  One module for each side of the traffic, one script for each change."""
