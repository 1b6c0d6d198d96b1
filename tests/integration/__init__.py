"""Real masters, children and Redis servers, judged from outside."""
