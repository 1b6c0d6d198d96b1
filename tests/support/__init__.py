"""What the tests use to set up a world: Redis servers, a proxy, daemons, sample jobs, and eyes."""
