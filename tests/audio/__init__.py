"""Bytes of a clip in, standard audio or a reject out."""
