"""The demonstration behind ``forkworker quickstart``: real jobs on real children, one of which is killed.

It runs in the command's own process, starts the daemon as a subprocess, and needs no Redis on the machine.
"""
