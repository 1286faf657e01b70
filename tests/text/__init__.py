"""Transcripts: what is brought to one form, and what is held against the clip."""
