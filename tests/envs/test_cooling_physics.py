"""The physics of the hall and its plant: component points, balances, limits, transients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlops.envs.cooling import hall, plant, psychrometrics
from rlops.envs.cooling.accounts import CONSUMERS, ledger_residual
from rlops.envs.cooling.held import HeldHall as Plant
from rlops.envs.cooling.params import V1_PARAMETERS

P = np.zeros(1, [(p.name, "f8") for p in V1_PARAMETERS])
for parameter in V1_PARAMETERS:
    P[parameter.name] = parameter.nominal
P = P.view(np.recarray)[0]
SEA_PA = 101325.0
USUAL = {"fan": 0.7, "supply_c": 20.0, "chilled_set": 10.0, "tower_fan": 0.7}


# --- psychrometrics -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t_c", "pascal"), [(-40, 12.85), (-20, 103.24), (0, 611.2), (20, 2338.8), (40, 7384.9), (60, 19943.9)]
)
def test_saturation_pressures_are_those_of_the_handbook(t_c, pascal):
    """ASHRAE Fundamentals 2017, ch. 1, table 3."""
    assert psychrometrics.saturation_pressure_pa(float(t_c)) == pytest.approx(pascal, rel=5e-4)


@pytest.mark.parametrize(
    ("t_c", "humidity", "wet_c"), [(20.0, 0.50, 13.80), (25.0, 0.50, 17.89), (35.0, 0.40, 23.95), (40.0, 0.10, 18.55)]
)
def test_wet_bulbs_are_those_of_a_psychrometric_chart(t_c, humidity, wet_c):
    ratio = psychrometrics.humidity_ratio(humidity * psychrometrics.saturation_pressure_pa(t_c), SEA_PA)
    assert psychrometrics.wet_bulb_c(t_c, ratio, SEA_PA) == pytest.approx(wet_c, abs=0.1)


def _humidity_of_wet_bulb(t_c, wet_c, pressure_pa):
    """Return the humidity ratio by eq. 33 or 35, the other way round."""
    saturated = psychrometrics.saturated_humidity_ratio(wet_c, pressure_pa)
    if wet_c < 0.0:
        return ((2830 - 0.24 * wet_c) * saturated - 1.006 * (t_c - wet_c)) / (2830 + 1.86 * t_c - 2.1 * wet_c)
    return ((2501 - 2.326 * wet_c) * saturated - 1.006 * (t_c - wet_c)) / (2501 + 1.86 * t_c - 4.186 * wet_c)


@given(st.floats(-35, 45), st.floats(0.05, 1.0), st.floats(70e3, 105e3))
def test_a_wet_bulb_solves_its_equation_and_lies_below_the_dry_bulb(t_c, humidity, pressure_pa):
    ratio = psychrometrics.humidity_ratio(humidity * psychrometrics.saturation_pressure_pa(t_c), pressure_pa)
    wet_c = psychrometrics.wet_bulb_c(t_c, ratio, pressure_pa)
    assert wet_c <= t_c
    if abs(wet_c) > 1e-6:
        assert _humidity_of_wet_bulb(t_c, wet_c, pressure_pa) == pytest.approx(ratio, abs=1e-9)


@given(st.floats(-35, 45), st.floats(0.05, 0.9), st.floats(0.01, 0.1))
def test_damper_air_has_a_higher_wet_bulb(t_c, humidity, more):
    saturation = psychrometrics.saturation_pressure_pa(t_c)
    drier, damper = (psychrometrics.humidity_ratio(h * saturation, SEA_PA) for h in (humidity, humidity + more))
    assert psychrometrics.wet_bulb_c(t_c, damper, SEA_PA) >= psychrometrics.wet_bulb_c(t_c, drier, SEA_PA)


# --- components -----------------------------------------------------------------------------------------


def test_a_coil_gives_what_a_hand_calculation_gives():
    """Counterflow at design flows: C_air = 25150, C_water = 46046, UA = 30000 W/K."""
    units, ratio = 30000 / 25150, 25150 / 46046
    passed = math.exp(-units * (1 - ratio))
    by_hand = 25150 * (1 - passed) / (1 - ratio * passed)
    assert hall.coil_conductance_w_per_k(P, 25.0, 11.0) == pytest.approx(by_hand, rel=1e-12)


def test_a_coil_of_equal_flows_is_the_limit_of_unequal_ones():
    air = 11.0 * hall.WATER_J_PER_KG_K / hall.AIR_J_PER_KG_K
    equal, nearly = (hall.coil_conductance_w_per_k(P, flow, 11.0) for flow in (air, air * (1 + 1e-6)))
    assert equal == pytest.approx(nearly, rel=1e-5)


@given(st.floats(0.2, 27), st.floats(0.3, 12))
def test_a_coil_never_cools_air_below_its_water(air_kg_per_s, water_kg_per_s):
    conductance = hall.coil_conductance_w_per_k(P, air_kg_per_s, water_kg_per_s)
    least = min(air_kg_per_s * hall.AIR_J_PER_KG_K, water_kg_per_s * hall.WATER_J_PER_KG_K)
    assert 0.0 < conductance < least


def test_a_tower_reaches_the_rating_point_of_the_cooling_technology_institute():
    """35 °C in, 25.6 °C wet bulb: 29.4 °C out."""
    air = psychrometrics.saturated_enthalpy_j_per_kg(25.6, SEA_PA)
    per_k = plant.CONDENSER_KG_PER_S * hall.WATER_J_PER_KG_K
    cold, warm = 25.6, 35.0
    for _ in range(60):
        leaving = 0.5 * (cold + warm)
        given_off = plant.tower_w(P, 1.0, leaving, 35.0 - leaving, air, SEA_PA)
        cold, warm = (leaving, warm) if given_off < per_k * (35.0 - leaving) else (cold, leaving)
    assert leaving == pytest.approx(29.42, abs=0.03)


@given(st.floats(0.2, 1), st.floats(5, 45), st.floats(0.2, 10), st.floats(-10, 30))
def test_a_tower_gives_more_heat_to_dry_air_than_to_damp_air(fan, leaving_c, range_k, wet_c):
    dry, damp = (psychrometrics.saturated_enthalpy_j_per_kg(t, SEA_PA) for t in (wet_c, wet_c + 1.0))
    more, less = (plant.tower_w(P, fan, leaving_c, range_k, air, SEA_PA) for air in (dry, damp))
    assert more > less


def test_a_chiller_has_its_rated_efficiency():
    power = plant.chiller_w(P, 1.3e6, 1.3e6, 6.67, 29.4, 1.0)
    assert 1.3e6 / power == pytest.approx(5.50, abs=0.01)


def _doe2_cop(chilled_c, entering_c):
    """Return the full-load COP of the DOE-2 polynomials of the 5.50-COP centrifugal chiller."""
    temperature = (
        0.933884 - 0.058212 * chilled_c + 0.00450036 * chilled_c**2
        + 0.00243 * entering_c + 0.000486 * entering_c**2 - 0.001215 * chilled_c * entering_c
    )  # fmt: skip
    return 5.50 / temperature


@pytest.mark.parametrize("chilled_c", [5.0, 6.67])
@pytest.mark.parametrize("entering_c", [24.0, 29.4, 35.0])
def test_a_chiller_is_within_eight_per_cent_of_the_published_polynomial_where_that_is_valid(chilled_c, entering_c):
    cop = 1.3e6 / plant.chiller_w(P, 1.3e6, 1.3e6, chilled_c, entering_c, 1.0)
    assert cop == pytest.approx(_doe2_cop(chilled_c, entering_c), rel=0.08)


@given(st.floats(3, 30), st.floats(15.5, 45), st.floats(0.02, 1))
def test_a_chiller_stays_below_carnot_and_gets_worse_with_lift(chilled_c, entering_c, load):
    def power(chilled, entering):
        return plant.chiller_w(P, load * 1.3e6, 1.3e6, chilled, entering, 1.0)

    cop = load * 1.3e6 / power(chilled_c, entering_c)
    assert 0.0 < cop < (chilled_c + 273.15) / max(entering_c - chilled_c, plant.LEAST_LIFT_K)
    assert power(chilled_c, entering_c + 1.0) >= power(chilled_c, entering_c)
    assert power(chilled_c - 1.0, entering_c) > power(chilled_c, entering_c)


def test_a_chiller_below_its_least_load_cycles():
    at_least, half = (plant.chiller_w(P, heat, 1.3e6, 10.0, 20.0, 1.0) for heat in (0.1 * 1.3e6, 0.05 * 1.3e6))
    assert half == pytest.approx(0.5 * at_least, rel=1e-12)
    assert plant.chiller_w(P, 0.0, 1.3e6, 10.0, 20.0, 1.0) == 0.0


def test_fans_and_pumps_follow_their_power_laws():
    assert hall.handler_fan_w(P, 1.0) == pytest.approx(16e3)
    assert hall.handler_fan_w(P, 0.5) == pytest.approx(16e3 * (0.03 + 0.97 * 0.5**2.8))
    assert hall.handler_fan_w(P, 0.0) == 0.0
    assert hall.server_fan_w(0.5) == pytest.approx(60 / 8)
    assert plant.chilled_pump_w(44.0, 1.0) == pytest.approx(17300)
    assert plant.chilled_pump_w(22.0, 1.0) == pytest.approx(17e3 * 0.5**2.5 + 300)
    assert plant.tower_fan_w(1.0) == pytest.approx(18e3)


def test_a_valve_is_of_equal_percentage_and_shuts():
    assert hall.valve_flow_kg_per_s(P, 1.0) == pytest.approx(11.0)
    ratios = [hall.valve_flow_kg_per_s(P, v + 0.1) / hall.valve_flow_kg_per_s(P, v) for v in (0.1, 0.5, 0.8)]
    np.testing.assert_allclose(ratios, 30**0.1, rtol=1e-9)
    assert hall.valve_flow_kg_per_s(P, 0.01) == 0.0


@pytest.mark.parametrize(("inlet_c", "watts"), [(18, 311), (23, 313), (25, 315), (27, 318), (30, 325), (35, 340)])
def test_a_half_loaded_server_draws_what_was_worked_out(inlet_c, watts):
    speed = hall.server_fan_speed(P, 0.5, float(inlet_c))
    assert hall.server_w(P, hall.busy_share(0.5), float(inlet_c)) + hall.server_fan_w(speed) == pytest.approx(
        watts, abs=0.6
    )


@given(st.floats(23, 29), st.floats(0.2, 0.9))
def test_servers_draw_little_more_when_it_is_warmer(inlet_c, utilisation):
    """Field data: 0.35-0.5 %/K for whole servers. A model with several per cent makes overcooling look good."""

    def power(t_c):
        return hall.server_w(P, hall.busy_share(utilisation), t_c) + hall.server_fan_w(
            hall.server_fan_speed(P, utilisation, t_c)
        )

    mean_slope = (power(30.0) / power(23.0) - 1.0) / 7.0
    assert 0.002 < mean_slope < 0.008
    assert 0.0 < power(inlet_c + 1.0) / power(inlet_c) - 1.0 < 0.016


# --- integration ----------------------------------------------------------------------------------------


@given(st.floats(0, 90), st.floats(0, 90), st.floats(1e-6, 1.0), st.floats(0.1, 600))
def test_a_node_relaxes_exactly(t_c, target_c, rate, dt_s):
    after, mean = hall.relaxed(t_c, target_c, rate, dt_s)
    decay = math.exp(-rate * dt_s)
    assert after == pytest.approx(target_c + (t_c - target_c) * decay, rel=1e-10, abs=1e-10)
    assert rate * (target_c - mean) * dt_s == pytest.approx(after - t_c, rel=1e-9, abs=1e-9)


def test_a_drive_moves_at_its_slew_rate_and_through_its_play():
    rows = Plant(1, valve_hysteresis=0.04, valve_stiction=0.01)
    p, s = rows.p[0], rows.s[0]
    s["fan"], s["drive"], s["valve"] = 0.5, 0.5, 0.5
    assert hall.move_actuators(p, s, 0, 1.0, 1.0, 5.0) == pytest.approx(5 / 60 + 5 / 90)
    assert s["valve"][0] == pytest.approx(s["drive"][0] - 0.02)
    hall.move_actuators(p, s, 0, 1.0, s["drive"][0] - 0.005, 5.0)
    assert s["drive"][0] == pytest.approx(0.5 + 5 / 90)


def _inlets_after_a_swing(dt_s):
    """Return the inlet temperature of a zone every 2 min of an hour in which its fan and its load swing."""
    rows = Plant(1, utilisation=0.4)
    p, s = rows.p[0], rows.s[0]
    inlets = []
    for part in range(30):
        s["fan"][0] = 0.5 + 0.25 * math.sin(part / 3.0)
        s["busy_share"][0] = hall.busy_share(0.5 + 0.3 * math.cos(part / 4.0))
        hall.update_handler(p, s, 0)
        for _ in range(round(120 / dt_s)):
            hall.move_zone(p, s, 0, s["return_c"][0], 10.0, dt_s)
        inlets.append(s["inlet_c"][0])
    return np.array(inlets)


def test_the_error_of_integration_is_of_first_order_and_small_at_five_seconds():
    exact = _inlets_after_a_swing(0.5)
    errors = [np.abs(_inlets_after_a_swing(dt_s) - exact).max() for dt_s in (5.0, 10.0, 20.0)]
    assert errors[0] < 0.2
    assert 1.6 < errors[1] / errors[0] < 2.6
    assert 1.6 < errors[2] / errors[1] < 2.6


# --- the whole plant ------------------------------------------------------------------------------------


def test_in_a_steady_state_the_coils_take_what_servers_and_fans_give():
    rows = Plant(8, utilisation=np.linspace(0.1, 0.95, 8), wet_bulb_c=15.0).settled(**USUAL)
    given_off = rows.it_w + rows.s["handler_fan_w"].sum(axis=1)
    np.testing.assert_allclose(rows.s["coil_w"].sum(axis=1) / given_off, 1.0, atol=1e-6)
    into = given_off + rows.s["compressor_w"] + rows.s["power_w"][:, CONSUMERS.index("pump")]
    np.testing.assert_allclose(rows.s["tower_w"] / into, 1.0, atol=1e-6)


def test_the_ledger_closes_through_a_transient():
    rows = Plant(4, utilisation=[[0.2], [0.5], [0.8], [0.95]], wet_bulb_c=18.0)
    rows.hold(1.0, fan=1.0, valve=1.0, chilled_set=7.0, tower_fan=1.0)
    rows.hold(1.0, fan=0.2, valve=0.3, chilled_set=18.0, tower_fan=0.2)
    rows.hold(0.2, fan=0.0, valve=0.0)
    for p, s in zip(rows.p, rows.s, strict=True):
        assert abs(ledger_residual(p, s, 1.0)) < 1e-12


def test_everything_costs_more_when_it_is_damper_outside():
    wet_bulbs = np.array([0.0, 8.0, 14.0, 18.0, 22.0, 26.0, 30.0])
    rows = Plant(7, utilisation=0.5, wet_bulb_c=wet_bulbs).settled(**USUAL)
    assert (np.diff(rows.pue) >= -1e-9).all()
    assert (np.diff(rows.s["compressor_w"]) >= -1e-3).all()
    assert rows.s["compressor_w"][-1] > 1.3 * rows.s["compressor_w"][0]
    assert (rows.s["basin_c"] > wet_bulbs).all()
    assert (rows.s["basin_c"] >= plant.LEAST_ENTERING_C - 1e-9).all()


def test_warmer_chilled_water_lets_the_compressor_draw_less():
    rows = Plant(5, utilisation=0.5, wet_bulb_c=20.0)
    rows.settled(fan=0.8, supply_c=22.0, chilled_set=np.linspace(7, 15, 5), tower_fan=0.7)
    assert (np.diff(rows.s["compressor_w"]) < 0).all()


def test_supply_air_is_warmer_than_chilled_water_and_cooler_than_the_return():
    rows = Plant(6, utilisation=0.6).settled(fan=np.linspace(0.3, 1, 6), valve=0.8, chilled_set=10.0, tower_fan=0.7)
    assert (rows.s["supply_c"] > rows.s["chilled_c"][:, None]).all()
    assert (rows.s["supply_c"] < rows.s["return_c"]).all()
    assert (rows.s["chilled_return_c"] > rows.s["chilled_c"]).all()


@pytest.mark.parametrize(
    ("held", "low", "high"),
    [
        ({"fan": 1.0, "supply_c": 16.0, "chilled_set": 7.0, "tower_fan": 1.0}, 1.29, 1.39),
        ({"fan": 0.85, "supply_c": 20.0, "chilled_set": 10.0, "tower_fan": 0.8}, 1.22, 1.32),
    ],
    ids=["legacy", "tuned"],
)
def test_fixed_set_points_have_the_pue_of_such_sites(held, low, high):
    rows = Plant(4, utilisation=0.5, wet_bulb_c=[2.0, 10.0, 16.0, 24.0]).settled(**held)
    assert (rows.pue > low).all()
    assert (rows.pue < high).all()


def test_a_hall_without_fans_passes_forty_degrees_within_minutes():
    for utilisation in (0.5, 0.8):
        rows = Plant(1, utilisation=utilisation).settled(**USUAL)
        inlets = []
        for _ in range(60):
            rows.hold(5 / 3600, fan=0.0)
            inlets.append(rows.s["worst_c"].max())
        minutes = 5 / 60 * (1 + int(np.argmax(np.array(inlets) > 40.0)))
        assert 1.5 <= minutes <= 5.0
        assert max(np.diff(inlets)) < 3.0  # no jump


def test_a_hall_without_a_chiller_lives_on_its_water_for_minutes():
    rows = Plant(1, utilisation=0.8).settled(**USUAL)
    rows.p["chiller_capacity_w"] = 1.0
    inlets = []
    for _ in range(240):
        rows.hold(5 / 3600)
        inlets.append(rows.s["worst_c"].max())
    seconds = {limit: 5 * (1 + int(np.argmax(np.array(inlets) > limit))) for limit in (27.0, 32.0)}
    assert 240 < seconds[27.0] < 600
    assert 360 < seconds[32.0] < 900


def test_permuting_the_zones_permutes_the_results():
    loads = np.array([0.2, 0.5, 0.7, 0.9])
    order = [2, 0, 3, 1]
    one, other = Plant(1), Plant(1)
    one.s["utilisation"][0], other.s["utilisation"][0] = loads, loads[order]
    for rows in (one, other):
        rows.hold(2.0, **USUAL)
    for name in ("supply_c", "worst_c", "server_c", "coil_w", "valve"):
        np.testing.assert_allclose(one.s[name][0][order], other.s[name][0], rtol=1e-9)
    np.testing.assert_allclose(one.s["power_w"], other.s["power_w"], rtol=1e-9)
