"""Campaigns of hostile inputs (`tests/fuzz`): workers that may die, and who counts what becomes of each input."""
