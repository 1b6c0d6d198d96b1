"""The maintenance process of one master: beats, leases, restoring, due jobs, remote commands.  No user code."""
