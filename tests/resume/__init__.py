"""Runs that die, stop or are begun again: they end at the undisturbed run's bytes, and pay for nothing twice."""
