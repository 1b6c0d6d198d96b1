"""Trials against Debian's Sidekiq 6.4.1: its Web UI, its worker and its client."""
