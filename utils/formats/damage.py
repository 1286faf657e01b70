"""Is the file damaged, or could it not be read just now? Arrow's errors don't say it by their class."""


def is_damage(error: Exception) -> bool:
    """Whether an error that came up while an Arrow or Parquet file was read tells of the file.

    The disk's own errors and a lack of memory say nothing of it.
    """
    if isinstance(error, MemoryError):  # pyarrow's is one of its ArrowExceptions, too
        return False
    # Arrow tells of damage with OSErrors too, but those have no number: the disk's own errors do.
    return not isinstance(error, OSError) or error.errno is None
