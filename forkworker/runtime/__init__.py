"""One child's worth of work, in threads.  Has never heard of fork, and installs no signal handlers."""
