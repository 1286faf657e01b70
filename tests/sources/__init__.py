"""Where a source's bytes come from: mirror, Hub, cache, stream; and the indexes made of them."""
