"""Bytes in, standard audio out; what a recording sounds like. Pure: it opens no file and knows no source."""
