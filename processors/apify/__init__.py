"""The paid source, whole: queries, purchases, pairs. Nothing else knows of it but the registry and the command line."""
