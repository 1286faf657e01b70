"""Transcripts in one form, and what speaks against them. Pure: it opens no file and knows no source."""
