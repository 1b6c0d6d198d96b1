"""The systems that are measured, one module for each.  Runs in that system's own interpreter."""
