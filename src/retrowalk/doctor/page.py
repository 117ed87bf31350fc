"""The doctor's page on a terminal: readable at 80 columns, in black and white as well."""

from __future__ import annotations

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from retrowalk.doctor.report import Report, State

_STYLE = {State.OK: "green", State.LOOK: "yellow", State.BAD: "bold red"}
_WORD = {State.OK: "ok", State.LOOK: "look", State.BAD: "BAD"}
_TITLE_WIDTH = 13


def page(report: Report) -> Group:
    """The whole page."""
    parts: list[Text | Padding] = []
    for title, checks in report.sections():
        parts.append(Text(title, style="bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(width=4, no_wrap=True)
        table.add_column(width=_TITLE_WIDTH)
        table.add_column(ratio=1)
        for check in checks:
            words = Text(check.detail)
            if check.mend:
                # What to do stands out where there is something to do, and does not where all is well.
                words.append(f"\n> {check.mend}", style="bold" if check.state is not State.OK else "dim")
            table.add_row(Text(_WORD[check.state], style=_STYLE[check.state]), Text(check.title), words)
        parts.append(Padding(table, (0, 0, 0, 2)))
    parts.append(Text(""))
    parts.append(verdict(report))
    return Group(*parts)


def verdict(report: Report) -> Text:
    """The last line."""
    bad = [check.title for check in report.checks if check.state is State.BAD]
    look = [check.title for check in report.checks if check.state is State.LOOK]
    if bad:
        more = f" Then look at: {', '.join(look)}." if look else ""
        return Text(f"Not ready to walk. Mend first: {', '.join(bad)}.{more}", style="bold red")
    if look:
        return Text(f"It works. Look at: {', '.join(look)}.", style="bold yellow")
    return Text("All is well.", style="bold green")


def show(console: Console, report: Report) -> None:
    """Prints the page."""
    console.print(page(report), highlight=False)
