"""A table of rows that prints itself, answers by name, and leaves as dictionaries or a data frame."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas  # pyright: ignore[reportMissingImports] - only who wants a data frame has it


class Table:
    """Rows with a name each; the columns shown are chosen by whoever makes it.

    >>> Table([{"name": "llm", "bias": 0.0}, {"name": "slm", "bias": 0.45}], ("bias",))
    name    bias
    llm        0
    slm     0.45
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], shown: Sequence[str]) -> None:
        self.rows = [dict(row) for row in rows]
        self.shown = tuple(shown)

    def __getitem__(self, name: str) -> dict[str, Any]:
        for row in self.rows:
            if row["name"] == name:
                return row
        known = ", ".join(str(row["name"]) for row in self.rows)
        raise KeyError(f"no row {name!r}; the rows are {known}")

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def cells(self) -> list[list[str]]:
        """Shown columns as text, heads first."""
        names = ("name", *self.shown)
        return [list(names), *([cell(row.get(name)) for name in names] for row in self.rows)]

    def __repr__(self) -> str:
        cells = self.cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = []
        for first, *others in cells:
            rest = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
            lines.append("  ".join([first.ljust(widths[0] + 2), *rest]).rstrip())
        return "\n".join(lines)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Every row under its name."""
        return {str(row["name"]): row for row in self.rows}

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame with the names as its index; needs pandas."""
        import pandas  # pyright: ignore[reportMissingImports] - as above

        return pandas.DataFrame(self.rows).set_index("name")


def cell(value: Any) -> str:
    """Write a value with three significant digits; nothing as a dash, an interval in brackets.

    >>> cell(0.12345), cell(None), cell((9.651, 10.07)), cell(1179648.0)
    ('0.123', '-', '[9.65, 10.1]', '1.18e+06')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return f"[{', '.join(cell(item) for item in value)}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
