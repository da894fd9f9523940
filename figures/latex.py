"""Markdown with formulas to the body of a LaTeX article; needs mistletoe."""

from typing import Any

from mistletoe.latex_renderer import LaTeXRenderer
from mistletoe.span_token import Image, LineBreak

_CAPTION = "Table: "
_SIGNS: dict[str, str] = {
    "\N{NO-BREAK SPACE}": r"\,",
    "≤": r"$\le$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "–": "--",
    "<": r"$<$",
    ">": r"$>$",
    "Δ": r"$\Delta$",
}


class Renderer(LaTeXRenderer):
    """Floats with captions, and the signs that text has."""

    def __init__(self) -> None:
        super().__init__()
        self._caption = ""

    def render_document(self, token: Any) -> str:
        """Return the body alone."""
        return self.render_inner(token)

    def render_raw_text(self, token: Any, escape: bool = True) -> str:
        """Set signs beyond ASCII as LaTeX has them."""
        text = super().render_raw_text(token, escape)
        return text.translate(str.maketrans(_SIGNS))

    def render_inline_code(self, token: Any) -> str:
        """Set code in a fixed width that may be broken at an underscore."""
        return rf"\texttt{{{self.render_inner(token)}}}".replace(r"\_", r"\_\allowbreak{}")

    def render_heading(self, token: Any) -> str:
        """Make the first level the title."""
        inner = self.render_inner(token)
        return f"\n{{\\LARGE\\bfseries {inner}\\par}}\n" if token.level == 1 else f"\n\\section{{{inner}}}\n"

    def render_paragraph(self, token: Any) -> str:
        """Keep the caption of a table for it, and put images beside each other."""
        images = [child for child in token.children if isinstance(child, Image)]
        if images and all(isinstance(child, Image | LineBreak) for child in token.children):
            width = f"{0.97 / len(images):.2f}"
            drawn = "\\hfill\n".join(
                rf"\drawn{{{width}}}{{{image.src.removesuffix('.png')}}}{{{self.render_inner(image)}}}"
                for image in images
            )
            return f"\n\\begin{{figure}}[!htb]\n{drawn}\n\\end{{figure}}\n"
        text = self.render_inner(token)
        if text.startswith(_CAPTION):
            self._caption = text.removeprefix(_CAPTION)
            return ""
        return f"\n{text}\n"

    def render_list(self, token: Any) -> str:
        """Set a list tightly."""
        return (
            f"\\begin{{itemize}}\\setlength{{\\itemsep}}{{0pt}}\n{self.render_inner(token)}\\end{{itemize}}\n"
        )

    def render_table(self, token: Any) -> str:
        """Set a table as a float with its caption, no wider than the text."""
        places = "".join("r" if place == 1 else "l" for place in token.column_align)
        head, rows = self.render_table_row(token.header), self.render_inner(token)
        return f"\n\\fitted{{{self._caption}}}{{{places}}}{{%\n{head}\\midrule\n{rows}}}\n"
