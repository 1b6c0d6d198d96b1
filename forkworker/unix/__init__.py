"""Thin wrappers of the operating system.  Nothing here knows of jobs."""
