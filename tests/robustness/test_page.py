"""The page opens in a browser without an error, draws every chart, and says what the JSON says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from decimal import ROUND_HALF_UP, Decimal

import pytest

from rlops.robustness.page import page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def test_the_page_is_one_file_that_asks_the_network_for_nothing(written):
    text = (written[0] / "report.html").read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!data:)[\w/.:]+|url\(|@import|fetch\(""", text)


def test_what_the_data_say_cannot_end_the_script(written):
    report = {**written[1], "policies": {"a": {**written[1]["policies"]["a"], "name": "</script><b>"}}}
    text = page(report)
    assert "</script><b>" not in text
    inlined = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert json.loads(inlined[1]) == report


@pytest.fixture(scope="module")
def checked(written, tmp_path_factory):
    """Return what the page found when it asked each of its marks, in a headless browser."""
    if BROWSER is None:
        if os.environ.get("RLOPS_REQUIRE_BROWSER") == "1":
            pytest.fail("A browser must be installed, as RLOPS_REQUIRE_BROWSER is set: apt-get install chromium.")
        pytest.skip("no browser: apt-get install chromium")
    profile = tmp_path_factory.mktemp("profile")
    call = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--window-size=1280,900",
        f"--user-data-dir={profile}", "--dump-dom", f"file://{written[0] / 'report.html'}#check",
    ]  # fmt: skip
    dom = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<script type="application/json" id="checked">(.*?)</script>', dom, re.DOTALL)
    assert found, f"the page did not check itself: {dom[-2000:]}"
    return json.loads(found[1])


def test_the_page_draws_every_chart_without_an_error(checked, written):
    report = written[1]
    assert checked["problems"] == []
    assert checked["charts"] == len(report["curves"]) + 2 + 4  # heatmaps, and two charts of the worst, for two policies
    assert checked["empty"] == 0
    assert checked["wide"] is False  # nothing reaches over the edge of a laptop's window


def test_the_unit_of_a_parameter_is_said_once(checked, written):
    units = {curve["name"]: curve["unit"] for curve in written[1]["curves"]}
    assert units["speed_kmh"] == "km/h"
    assert "speed, km/h" in checked["titles"]
    assert not any("kmh" in title for title in checked["titles"])


def test_what_is_shown_on_hovering_is_what_the_json_says(checked, written):
    report = written[1]
    curve = report["curves"][0]
    for i, point in enumerate(curve["policies"]["a"]["points"]):
        said = numbers(checked["said"][f"{curve['name']} = {number(point['at'])} {curve['unit']}"])
        other = curve["policies"]["b"]["points"][i]
        for one in (point, other):
            assert {percent(one["success"][end]) for end in ("value", "low", "high")} <= said
            assert {number(one["return"][end]) for end in ("value", "low", "high")} <= said
    axes = report["heatmap"]["axes"]
    places = "; ".join(
        f"{axis['name']} = {number(axis['values'][1])} {axis['unit']}".removesuffix(" -") for axis in axes
    )
    said = numbers(checked["said"][places])
    cell = report["heatmap"]["cells"]["b"][1][1]
    assert {percent(cell["success"]["value"]), number(cell["return"]["value"])} <= said


def numbers(text):
    return set(re.findall(r"−?[\d,.]+", text))


def percent(x):
    return f"{Decimal(100 * x).quantize(Decimal(1).scaleb(-1), ROUND_HALF_UP):f}"


def number(x):
    """Return a number as the page writes it."""
    size = abs(x)
    digits = 0 if size >= 1000 or x == int(x) else 1 if size >= 100 else 2 if size >= 1 else 4
    text = f"{Decimal(x).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP):,f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")
