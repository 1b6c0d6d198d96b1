"""What ``forkworker doctor`` knows of ailments: facts are gathered first, then judged by pure functions."""
