"""The fault harness: tries to break the promises, with faults drawn from a seed.  See docs/reliability.md."""
