"""The page of a report: one file with its figures, its style and its program, that needs no network.

The charts are drawn by a few hundred lines of JavaScript from the same JSON as ``report.json``: a charting library
would make the file tens of times larger, and could not share the page's own colours for light, dark and paper.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any


def page(report: Mapping[str, Any]) -> str:
    """Return the page of a report, HTML with everything inlined."""
    folder = resources.files("rlops.robustness.page")
    style, program, frame = (
        (folder / name).read_text(encoding="utf-8") for name in ("page.css", "page.js", "page.html")
    )
    content = json.dumps(report, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return (
        frame.replace("{{title}}", f"{report['header']['id']} robustness")
        .replace("{{style}}", style)
        .replace("{{program}}", program)
        .replace("{{report}}", content)
    )
