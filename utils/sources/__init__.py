"""The bytes of others: a mirror, the Hub, a URL; cached or streamed. Knows no format and no dataset."""
