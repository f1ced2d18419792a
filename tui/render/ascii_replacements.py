"""ASCII characters in place of bars, boxes and arrows, for terminals without UTF-8. Pure."""

from __future__ import annotations

from rich.cells import cell_len

_ASCII = str.maketrans(
    {
        **dict.fromkeys("█▓", "#"),
        "▒": ":",
        "░": ".",
        **dict.fromkeys("▁▂▃", "_"),
        **dict.fromkeys("▄▅▆▇━╸", "="),
        **dict.fromkeys("─–—−╌┄", "-"),
        **dict.fromkeys("│┃╎┆▕▏", "|"),
        **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╴╶╵╷", "+"),
        **dict.fromkeys("▶▸→", ">"),
        **dict.fromkeys("◀◂←", "<"),
        **dict.fromkeys("▲△↑", "^"),
        **dict.fromkeys("▼▽↓", "v"),
        **dict.fromkeys("●★◆■", "*"),
        **dict.fromkeys("○◇□", "o"),
        "·": ".",
        "…": "~",
        "×": "x",
        "≥": ">",
        "≤": "<",
        "°": " ",
        "±": "~",
        "“": '"',
        "”": '"',
        "’": "'",
    }
)


def to_ascii(text: str) -> str:
    """`text` in ASCII with the same number of cells, for terminals without UTF-8."""
    if text.isascii():
        return text
    return "".join(c if c.isascii() else "?" * cell_len(c) for c in text.translate(_ASCII))
