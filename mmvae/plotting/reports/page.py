"""One HTML page that needs nothing else: style, tables and pictures inside it, no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape

from mmvae.evaluation.results import Unavailable, words_of

_CSS = """
:root { color-scheme: light dark; --paper: #ffffff; --ground: #f5f6f8; --ink: #22262e; --muted: #5d6573;
  --rule: #dfe3e8; --accent: #1f6fbf; --card: #ffffff; --best: #e8f1fb; }
@media (prefers-color-scheme: dark) { :root { --paper: #16191f; --ground: #0f1216; --ink: #e6e9ee; --muted: #9aa3b0;
  --rule: #2c323b; --accent: #7cb8f2; --card: #1b1f26; --best: #1d3550; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
.frame { max-width: 1240px; margin: 0 auto; padding: 0 24px 80px; display: grid;
  grid-template-columns: 190px minmax(0, 1fr); gap: 40px; }
header { grid-column: 1 / -1; padding: 44px 0 0; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.015em; }
header p { margin: 0; color: var(--muted); }
nav { position: sticky; top: 24px; align-self: start; font-size: 0.9rem; }
nav ol { list-style: none; margin: 0; padding: 0; border-left: 2px solid var(--rule); }
nav a { display: block; padding: 4px 0 4px 14px; color: var(--muted); text-decoration: none; }
nav a:hover, nav a:focus { color: var(--accent); }
main { min-width: 0; }
section { background: var(--paper); border: 1px solid var(--rule); border-radius: 12px; padding: 8px 28px 24px;
  margin: 0 0 24px; scroll-margin-top: 16px; }
h2 { font-size: 1.3rem; margin: 18px 0 10px; letter-spacing: -0.01em; }
h3 { font-size: 1.02rem; margin: 30px 0 8px; }
p { margin: 8px 0; max-width: 46em; }
a { color: var(--accent); }
figure { margin: 22px 0 8px; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 8px; padding: 10px;
  margin: 0 auto; }
@media (prefers-color-scheme: light) { figure img { padding: 0; } }
figcaption { margin: 10px auto 0; color: var(--muted); font-size: 0.92rem; max-width: 50em; }
figcaption b { color: var(--ink); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.92rem; margin: 10px 0 4px; font-variant-numeric: tabular-nums; }
.lead { color: var(--muted); font-size: 0.92rem; }
th, td { padding: 6px 14px 6px 0; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
thead th { font-weight: 600; color: var(--muted); border-bottom: 1.5px solid var(--muted);
  vertical-align: bottom; }
tbody th { font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; }
td.number { white-space: nowrap; }
td.best { font-weight: 700; }
td small { color: var(--muted); font-weight: 400; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 12px; margin: 16px 0 6px; }
.tile { border: 1px solid var(--rule); border-radius: 10px; padding: 12px 11px; background: var(--card); }
.tile b { display: block; font-size: 1.25rem; line-height: 1.25; letter-spacing: -0.01em; }
.tile span { color: var(--muted); font-size: 0.85rem; line-height: 1.35; display: block; }
.notes { border-left: 3px solid var(--accent); padding: 2px 0 2px 16px; margin: 14px 0; }
.notes p { margin: 4px 0; }
pre, code { font: 0.85rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--ground); border: 1px solid var(--rule); border-radius: 8px; padding: 12px 14px;
  overflow-x: auto; margin: 10px 0; }
details summary { cursor: pointer; color: var(--accent); margin: 12px 0 4px; }
@media (max-width: 860px) { .frame { display: block; padding: 0 12px 40px; } nav { position: static; margin: 18px 0; }
  section { padding: 4px 16px 18px; } header { padding: 28px 0 0; } }
@media print { body { background: none; } .frame { display: block; } nav { display: none; }
  section { border: 0; padding: 0; } figure { break-inside: avoid; } }
"""

Cell = str | float | int | None
"""A cell of a table; ``None`` is empty. Text is escaped."""


class Page:
    """An HTML page that is written from top to bottom.

    Args:
        title: heading of the page.
        subtitle: a line below it.
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self._title, self._subtitle = title, subtitle
        self._sections: list[tuple[str, list[str]]] = []

    def section(self, title: str) -> None:
        """Begins a section; what is added from now on belongs to it."""
        self._sections.append((title, []))

    def heading(self, text: str) -> None:
        """A heading within the section."""
        self._add(f"<h3>{escape(text)}</h3>")

    def paragraph(self, text: str) -> None:
        """A paragraph of plain text."""
        self._add(f"<p>{escape(text)}</p>")

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Write what follows, or a paragraph on why it failed: one part that fails does not cost the others.

        Args:
            what: Name of the part, for readers.
        """
        try:
            yield
        except Unavailable as reason:
            self.paragraph(f"Left out, since {reason}. ({what})")
        except Exception as error:
            self.paragraph(f"Left out. {words_of(error)} ({what})")

    def notes(self, lines: Iterable[str]) -> None:
        """Lines that the reader must not miss; nothing, if there are none."""
        paragraphs = "".join(f"<p>{escape(line)}</p>" for line in lines)
        if paragraphs:
            self._add(f'<div class="notes">{paragraphs}</div>')

    def tiles(self, figures: Mapping[str, str]) -> None:
        """A few key figures, by what they are."""
        tiles = (
            f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
            for name, value in figures.items()
        )
        self._add(f'<div class="tiles">{"".join(tiles)}</div>')

    def figure(self, png: bytes, alt: str, caption: str) -> None:
        """A picture, inlined. The first sentence of the caption is set in bold.

        Args:
            png: the bytes of the file.
            alt: what it shows, for those who do not see it.
            caption: what to see, and how to read it.
        """
        lead, _, rest = caption.partition(". ")
        text = f"<b>{escape(lead)}.</b> {escape(rest)}" if rest else f"<b>{escape(caption)}</b>"
        width, height = (int.from_bytes(png[start : start + 4]) for start in (16, 20))  # of the IHDR chunk
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        size = f'width="{round(width / 1.55)}" height="{round(height / 1.55)}"'
        self._add(
            f'<figure><img src="{source}" alt="{escape(alt)}" {size} loading="eager">'
            f"<figcaption>{text}</figcaption></figure>"
        )

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[Cell]],
        caption: str = "",
        best: Iterable[tuple[int, int]] = (),
        links: Mapping[str, str] | None = None,
    ) -> None:
        """A table whose first column names the rows.

        Args:
            header: of the columns.
            rows: of cells; numbers are rounded to four digits and stand to the right. A cell such as ``0.91 ± 0.02``
                is a number too.
            caption: above it.
            best: row and column of the cells to set in bold.
            links: where the names of rows lead.
        """
        rows, best = [list(row) for row in rows], set(best)
        numeric = [
            all(_is_number(row[column]) for row in rows) and any(row[column] not in (None, "") for row in rows)
            for column in range(len(header))
        ]
        head = "".join(
            f'<th scope="col"{" class=number" if numeric[place] and place else ""}>{escape(name)}</th>'
            for place, name in enumerate(header)
        )
        body = []
        for place, row in enumerate(rows):
            name = escape(_shown(row[0]))
            target = (links or {}).get(str(row[0]))
            cells = [f'<th scope="row">{_link(name, target) if target else name}</th>']
            for column, cell in enumerate(row[1:], 1):
                kinds = ["number"] * numeric[column] + ["best"] * ((place, column) in best)
                kind = f' class="{" ".join(kinds)}"' if kinds else ""
                cells.append(f"<td{kind}>{_with_small_error(escape(_shown(cell)))}</td>")
            body.append(f"<tr>{''.join(cells)}</tr>")
        if caption:  # outside of the part that scrolls, where a wide table would take it along
            self._add(f'<p class="lead">{escape(caption)}</p>')
        self._add(
            f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
        )

    def code(self, text: str, summary: str = "") -> None:
        """Text of fixed width, folded away if it has a summary."""
        block = f"<pre><code>{escape(text)}</code></pre>"
        self._add(f"<details><summary>{escape(summary)}</summary>{block}</details>" if summary else block)

    def html(self) -> str:
        """The page."""
        anchors = [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") for title, _ in self._sections]
        contents = "".join(
            f'<li><a href="#{anchor}">{escape(title)}</a></li>'
            for anchor, (title, _) in zip(anchors, self._sections, strict=True)
        )
        sections = "\n".join(
            f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{chr(10).join(parts)}\n</section>'
            for anchor, (title, parts) in zip(anchors, self._sections, strict=True)
        )
        title = escape(self._title)
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>{_CSS}</style>\n</head>\n<body>\n"
            f'<div class="frame">\n<header><h1>{title}</h1><p>{escape(self._subtitle)}</p></header>\n'
            f'<nav aria-label="Contents"><ol>{contents}</ol></nav>\n<main>\n{sections}\n</main>\n</div>\n'
            f"</body>\n</html>\n"
        )

    def _add(self, html: str) -> None:
        self._sections[-1][1].append(html)


def number(value: float) -> str:
    """A number of four digits, thousands apart, with a true minus."""
    text = f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _link(html: str, target: str) -> str:
    return f'<a href="{escape(target)}">{html}</a>'


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    return number(cell) if isinstance(cell, float) else str(cell)


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or bool(re.fullmatch(r"|[\N{MINUS SIGN}-]?[\d.,e+\-]+%?( ± .*)?|nan|inf", cell))


def _with_small_error(text: str) -> str:
    value, sign, error = text.partition(" ± ")
    return f"{value} <small>± {error}</small>" if sign else text
