"""`--list`: the sources, as people see them. Values in, text out."""

from collections.abc import Mapping, Sequence

from pipeline.terminal.typesetting import WIDTH, left_aligned, wrapped
from processors.source_info import SourceInfo

_LIST_WIDTHS = (22, 14, 22, 36)


def source_list(infos: Mapping[str, SourceInfo]) -> str:
    """The sources that can be read: hours, licence, how they are reached, and what their terms restrict."""
    if not infos:
        return "There are no sources."
    lines = [_in_columns(["source", "hours", "licence", "how it is reached"]), "-" * WIDTH]
    for name, info in infos.items():
        lines.append(_in_columns([name, info.hours, info.licence_name or info.licence, info.access]))
        lines += wrapped(f"{info.title}: {info.url}" if info.url else info.title, indent=4)
        lines += wrapped(f"Transcripts: {info.transcripts}", indent=4)
        lines += wrapped(f"Terms: {info.terms}", indent=4) if info.terms else []
        lines.append("")
    return "\n".join(lines).rstrip()


def _in_columns(cells: Sequence[str]) -> str:
    """One row of the list of sources: each cell wrapped in its own column."""
    columns = [wrapped(cell, width=width) for cell, width in zip(cells, _LIST_WIDTHS, strict=True)]
    height = max(len(column) for column in columns)
    lines = []
    for at in range(height):
        parts = [column[at] if at < len(column) else "" for column in columns]
        lines.append(
            "  ".join(left_aligned(part, width) for part, width in zip(parts, _LIST_WIDTHS, strict=True)).rstrip()
        )
    return "\n".join(lines)
