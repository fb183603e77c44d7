"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Columns for a program that reads the table, which no terminal bounds.
_WIDE = 500


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table without lines; for a file or another program, each row in one line.

    Parameters
    ----------
    columns : list of str
        Their titles.
    rows : iterable of list of str
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    console.print(table)
