"""Clips looked for, in a dataset and in what is staged for it, by name, words or sound; nothing is changed."""
