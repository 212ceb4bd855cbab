"""The plant against EnergyPlus, moist air against EnergyPlus and PsychroLib, where the extra ``oracle`` is installed.

``make oracle`` sets that up. EnergyPlus runs a chiller and a tower without a building, see ``energyplus_plant``.
"""

from __future__ import annotations

import numpy as np
import pytest

from rlops.envs.cooling import hall, plant, psychrometrics
from rlops.envs.cooling.params import V1_PARAMETERS

pytest.importorskip("pyenergyplus", reason="EnergyPlus is not installed: make oracle")
psychrolib = pytest.importorskip("psychrolib", reason="PsychroLib is not installed: make oracle")

from pyenergyplus.api import EnergyPlusAPI  # noqa: E402

from tests.envs import energyplus_plant as oracle  # noqa: E402

P = np.zeros(1, [(p.name, "f8") for p in V1_PARAMETERS])
for parameter in V1_PARAMETERS:
    P[parameter.name] = parameter.nominal
P = P.view(np.recarray)[0]
SEA_PA = 101325.0
AIRS = [(float(t_c), h) for t_c in range(-10, 43) for h in (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)]
"""Dry bulbs [°C] and relative humidities."""
LEAVING_ENTERING_C = [(leaving, entering) for leaving in (5.0, 6.67) for entering in (24.0, 29.4, 35.0)]
WET_BULBS_C, RANGES_K = (15.6, 20.0, 25.6), [2.8, 5.6]


@pytest.fixture(scope="module")
def chiller(tmp_path_factory):
    """Return what EnergyPlus' chiller settles to at each operating point."""
    names = (
        "Chiller Electricity Rate", "Chiller Evaporator Cooling Rate", "Chiller Evaporator Outlet Temperature",
        "Chiller Condenser Inlet Temperature", "Chiller Part Load Ratio",
    )  # fmt: skip
    rows = oracle.settled(
        oracle.chiller_model(LEAVING_ENTERING_C),
        tmp_path_factory.mktemp("chiller"),
        [(name, "chiller") for name in names],
        len(LEAVING_ENTERING_C),
    )
    return dict(zip(LEAVING_ENTERING_C, rows, strict=True))


@pytest.mark.parametrize("point", LEAVING_ENTERING_C, ids=str)
def test_a_full_chiller_draws_what_the_centrifugal_chiller_of_energyplus_draws_within_eight_per_cent(chiller, point):
    power_w, heat_w, leaving_c, entering_c, load = chiller[point]
    assert (leaving_c, entering_c) == pytest.approx(point, abs=0.01)
    assert load == pytest.approx(oracle.FULL, abs=0.005)
    assert plant.chiller_w(P, heat_w, heat_w / load, leaving_c, entering_c, 1.0) == pytest.approx(power_w, rel=0.08)


def _leaving_c(wet_bulb_c, range_k):
    """Return where our tower's water settles with its fan at full speed."""
    air = psychrometrics.saturated_enthalpy_j_per_kg(wet_bulb_c, SEA_PA)
    heat_w = plant.CONDENSER_KG_PER_S * hall.WATER_J_PER_KG_K * range_k
    cold, warm = wet_bulb_c, wet_bulb_c + 40.0
    for _ in range(60):
        leaving = 0.5 * (cold + warm)
        given_off = plant.tower_w(P, 1.0, leaving, range_k, air, SEA_PA)
        cold, warm = (leaving, warm) if given_off < heat_w else (cold, leaving)
    return leaving


@pytest.mark.parametrize("wet_bulb_c", WET_BULBS_C)
def test_a_tower_comes_as_near_to_the_wet_bulb_as_the_york_tower_of_energyplus_within_a_kelvin(tmp_path, wet_bulb_c):
    names = ("Inlet Temperature", "Outlet Temperature", "Air Flow Rate Ratio")
    variables = [(f"Cooling Tower {name}", "tower") for name in names]
    rows = oracle.settled(oracle.tower_model(wet_bulb_c, RANGES_K), tmp_path, variables, len(RANGES_K))
    for range_k, (entering_c, leaving_c, fan) in zip(RANGES_K, rows, strict=True):
        assert fan == 1.0
        assert entering_c - leaving_c == pytest.approx(range_k, rel=0.01)
        assert _leaving_c(wet_bulb_c, entering_c - leaving_c) == pytest.approx(leaving_c, abs=1.0)


@pytest.mark.parametrize("pressure_pa", [SEA_PA, 85e3])
def test_wet_bulbs_over_water_and_ice_are_those_of_energyplus_within_a_thousandth_of_a_kelvin(pressure_pa):
    api = EnergyPlusAPI()
    state = api.state_manager.new_state()
    moist = api.functional.psychrometrics(state)
    for t_c, humidity in AIRS:
        ratio = psychrometrics.humidity_ratio(humidity * psychrometrics.saturation_pressure_pa(t_c), pressure_pa)
        theirs = moist.wet_bulb(state, t_c, ratio, pressure_pa)
        assert psychrometrics.wet_bulb_c(t_c, ratio, pressure_pa) == pytest.approx(theirs, abs=1e-3), (t_c, humidity)


def test_wet_bulbs_are_those_of_psychrolib_within_a_thousandth_of_a_kelvin():
    """At sea level: elsewhere its bisection can end on the wrong side of the jump from water to ice, 0.7 K away."""
    psychrolib.SetUnitSystem(psychrolib.SI)
    for t_c, humidity in AIRS:
        ratio = psychrolib.GetHumRatioFromRelHum(t_c, humidity, SEA_PA)
        theirs = psychrolib.GetTWetBulbFromHumRatio(t_c, ratio, SEA_PA)
        assert psychrometrics.wet_bulb_c(t_c, ratio, SEA_PA) == pytest.approx(theirs, abs=1e-3), (t_c, humidity)
