"""The master: keeps processes alive, and has never heard of jobs.  No Redis, no threads, no user code."""
