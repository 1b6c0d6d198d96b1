"""Hostile input of every kind, by the thousand: ``make fuzz``; a short part of it is in the suite."""
