"""All that a person sees. Decides nothing."""
