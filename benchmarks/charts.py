"""Charts as SVG files: the same figures give the same file. They need the extra `bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def open_pyplot() -> Any:
    """matplotlib's pyplot, without a window and without random ids in its files."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "twotower"
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure into a file, and makes its folder."""
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
