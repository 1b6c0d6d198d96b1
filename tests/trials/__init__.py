"""Long trials of deploys and memory, run by hand: each a program that prints figures, and fails beyond its bounds."""
