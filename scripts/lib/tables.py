"""Tables of repeated runs: for the terminal and Markdown, and for a page."""

import html
from dataclasses import dataclass

from .stats import median, spread
from .verdicts import in_short


@dataclass
class Table:
    """A table of words with a title."""

    title: str
    header: list
    rows: list

    def markdown(self):
        lines = [f"### {self.title}", "", markdown_row(self.header)]
        lines.append("|---" * len(self.header) + "|")
        lines += map(markdown_row, self.rows)
        return "\n".join(lines) + "\n"

    def html(self):
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in self.header)
        rows = (
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return (
            f"<h2>{html.escape(self.title)}</h2>\n"
            f"<table>\n<tr>{head}</tr>\n" + "\n".join(rows) + "\n</table>\n"
        )


def markdown_row(cells):
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def table_of_runs(title, what, columns, groups, base=None):
    """A row of medians and ranges for each group of summaries, and the verdict of each.

    `groups` maps a name to its repeated runs. With a `base`, compared figures also say how many
    times those of that group they are. A figure that no run has gets no column.
    """
    values = {
        name: [[column.value(run) for run in runs] for column in columns]
        for name, runs in groups.items()
    }
    kept = [
        number
        for number in range(len(columns))
        if any(value is not None for row in values.values() for value in row[number])
    ]
    rows = []
    for name, runs in groups.items():
        cells = [name]
        for number in kept:
            column = columns[number]
            cell = median_and_range(values[name][number], column.form)
            if base in values and name != base and column.is_compared:
                cell += ratio(values[name][number], values[base][number])
            cells.append(cell)
        rows.append([*cells, in_short([run["verdict"] for run in runs])])
    header = [what, *(columns[number].title for number in kept), "verdict"]
    return Table(title, header, rows)


def median_and_range(values, form):
    """The median of the values that are there, and their range where they differ."""
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    middle, low, high = map(form.format, spread(values))
    return middle if low == high else f"{middle} ({low}–{high})"


def ratio(values, base):
    """How many times the base's median the median is; empty where one is missing or nothing."""
    values = [value for value in values if value is not None]
    base = [value for value in base if value is not None]
    if not values or not base or not median(base):
        return ""
    return f", {median(values) / median(base):.2f} ×"


def figures(columns, runs):
    """The same for programs: by column, the median, the range and every value."""
    found = {}
    for column in columns:
        values = [column.value(run) for run in runs]
        there = [value for value in values if value is not None]
        if there:
            middle, low, high = spread(there)
            found[column.title] = {"median": middle, "min": low, "max": high, "runs": values}
    return found
