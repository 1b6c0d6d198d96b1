"""The command line: arguments, wiring, words for people, exit codes."""
