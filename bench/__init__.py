"""Measures forkworker, and the peers beside it: ``python -m bench``.  README.md says how."""
