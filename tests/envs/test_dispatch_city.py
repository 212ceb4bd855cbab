"""Physical and statistical facts of the city that Dispatch v1 and v2 share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit
from scipy import stats

from rlops.envs.contract import parameter_dtype, state_dtype, write_parameters
from rlops.envs.dispatch import city
from rlops.envs.dispatch.params import PARAMETERS
from rlops.envs.draws import episode_key

STATE = state_dtype(("none",), city.CITY_FIELDS)
NO_TABLE = np.zeros(0, city.DATA)
PROFILES = ("paratransit", "nyc", "chicago", "flat")
DAYS = 300


@njit(error_model="numpy")
def _draw(params, state, table, first):
    for i in range(state.shape[0]):
        state[i].key = episode_key(first + i, 0)
        city.draw_city(params[0], state[i], table)


@njit(error_model="numpy")
def _travel(params, state, depart_min, km, out):
    s = state[0]
    out[0] = city.arrival_min(s, depart_min, km)
    out[1] = city.expected_arrival_min(s, depart_min, km)
    out[2] = city.expected_departure_min(s, depart_min, km)


@njit(error_model="numpy")
def _leg_factors(params, state, out):
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = city.leg_factor(params[0], state[0], i, j)


@njit(error_model="numpy")
def _rates(params, state, t_min, out):
    for zone in range(city.ZONES):
        out[zone] = city.zone_rate(params[0], state[0], zone, t_min)
    out[city.ZONES] = city.demand_rate(params[0], t_min)


@njit(error_model="numpy")
def _zone(params, x, y):
    return city.zone_of(params[0], x, y)


@njit(error_model="numpy")
def _road(params, points):
    return city.road_km(params[0], points[0], points[1], points[2], points[3])


@njit(error_model="numpy")
def _reveal(params, state, now_min):
    for i in range(state.shape[0]):
        state[i].now_min = now_min
        city.reveal(params[0], state[i])


def _rows(n, dtype):
    rows = np.zeros(n, dtype)
    return rows.view(np.recarray) if config.DISABLE_JIT else rows


def _params(**values):
    row = _rows(1, parameter_dtype(PARAMETERS))
    for parameter in PARAMETERS:
        row[parameter.name] = parameter.nominal
    write_parameters(row, PARAMETERS, values, "city")
    return row


def _days(n=DAYS, table=NO_TABLE, first=0, **values):
    params, state = _params(**values), _rows(n, STATE)
    _draw(params, state, table, first)
    return params, state


def _of(state, name):
    """Return one field of every booking that exists."""
    return state["bookings"][name][np.arange(city.MAX_BOOKINGS) < state["n_bookings"][:, None]]


def _trip_km(state):
    east = _of(state, "dropoff_x_km") - _of(state, "pickup_x_km")
    return np.hypot(east, _of(state, "dropoff_y_km") - _of(state, "pickup_y_km"))


# --- streets --------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.sampled_from(PROFILES),
    st.integers(0, 10_000),
    st.floats(0, 1000),
    st.floats(0, 120),
    st.floats(0, 60),
    st.floats(0, 20),
)
def test_a_later_departure_or_a_longer_leg_never_arrives_earlier(profile, seed, depart, later, km, more):
    params, state = _days(1, first=seed, demand_profile=profile, congestion_sd=0.15, traffic_day_sd=0.25)
    first, second, longer = np.zeros(3), np.zeros(3), np.zeros(3)
    _travel(params, state, depart, km, first)
    _travel(params, state, depart + later, km, second)
    _travel(params, state, depart, km + more, longer)
    for kind in range(2):
        assert depart <= first[kind] <= second[kind] + 1e-9
        assert first[kind] <= longer[kind] + 1e-9


@settings(max_examples=60)
@given(st.sampled_from(PROFILES), st.floats(0, 870), st.floats(0.01, 60))
def test_a_departure_computed_backwards_arrives_on_time(profile, arrive, km):
    params, state = _days(1, demand_profile=profile)
    backwards, forwards = np.zeros(3), np.zeros(3)
    _travel(params, state, arrive, km, backwards)
    _travel(params, state, backwards[2], km, forwards)
    if backwards[2] > 0.0:
        assert forwards[1] == pytest.approx(arrive, abs=1e-9)
    else:
        assert forwards[1] >= arrive - 1e-9


@given(st.lists(st.floats(-9, 9), min_size=6, max_size=6))
def test_no_detour_is_shorter_than_the_road(c):
    params = _params()
    a, b, via = c[0:2], c[2:4], c[4:6]
    direct = _road(params, np.array([*a, *b]))
    assert direct <= _road(params, np.array([*a, *via])) + _road(params, np.array([*via, *b])) + 1e-9
    assert direct == pytest.approx(params["circuity"][0] * math.dist(a, b))


def test_a_leg_within_a_quarter_takes_kilometres_over_speed_and_across_quarters_the_sum_of_both():
    params, state = _days(1, demand_profile="chicago", base_speed_kmh=30)
    speed, out = state["expected_speed_km_per_min"][0], np.zeros(3)
    _travel(params, state, 0.0, 15.0 * speed[0] / 3, out)
    assert out[1] == pytest.approx(5.0)
    _travel(params, state, 55.0, 5.0 * speed[3] + 4.0 * speed[4], out)
    assert out[1] == pytest.approx(64.0)
    assert speed[:48].mean() * 60 == pytest.approx(30.0)


def test_leg_noise_has_mean_one_and_the_declared_spread():
    for sd in (0.2, 0.35):
        params, state = _days(1, leg_noise_sd=sd)
        factors = np.zeros((400, 400))
        _leg_factors(params, state, factors)
        assert factors.mean() == pytest.approx(1.0, abs=4 * sd / 400)
        assert np.log(factors).std() == pytest.approx(sd, rel=0.01)
        assert np.unique(factors).size == factors.size


def test_expected_minutes_per_kilometre_are_right_on_average():
    _, state = _days(2000, traffic_day_sd=0.25, congestion_sd=0.1)
    ratio = state["expected_speed_km_per_min"] / state["speed_km_per_min"]
    assert ratio.mean() == pytest.approx(1.0, abs=4 * ratio.mean(1).std() / math.sqrt(2000))
    assert np.log(state["traffic_factor"]).std() == pytest.approx(0.25, rel=0.06)


def test_congestion_is_a_stationary_ar1():
    _, state = _days(2000, congestion_rho=0.9, congestion_sd=0.05)
    congestion = state["congestion"]
    assert congestion.std(0) == pytest.approx(0.05 / math.sqrt(1 - 0.81), rel=0.1)
    lagged = np.corrcoef(congestion[:, :-1].ravel(), congestion[:, 1:].ravel())[0, 1]
    assert lagged == pytest.approx(0.9, abs=0.01)


# --- riders ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_arrivals_by_hour_follow_the_profile(profile):
    _, state = _days(demand_profile=profile, demand_day_cv=0)
    counts = np.bincount(_of(state, "entity") // 1024, minlength=12)
    expected = 184 * DAYS * city.DEMAND_SHARE[PROFILES.index(profile)]
    assert stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-4
    assert counts.sum() == pytest.approx(expected.sum(), abs=4 * math.sqrt(expected.sum()))


def test_counts_of_an_hour_are_poisson_and_a_day_factor_spreads_the_day():
    _, state = _days(2000, demand_day_cv=0)
    hours = np.stack([np.bincount(s["bookings"]["entity"][: s["n_bookings"]] // 1024, minlength=12) for s in state])
    ratio = hours.var(0) / hours.mean(0)
    assert ((ratio > 0.87) & (ratio < 1.13)).all()
    assert 0.95 < ratio.mean() < 1.05
    _, state = _days(2000, demand_day_cv=0.13)
    n = state["n_bookings"]
    assert n.mean() == pytest.approx(184, rel=0.01)
    assert n.std() == pytest.approx(math.sqrt(184 + (0.13 * 184) ** 2), rel=0.06)


@pytest.mark.parametrize(("profile", "median_km", "log_sd"), [("paratransit", 4.375, 0.825), ("nyc", 2.886, 0.90)])
def test_trip_lengths_have_the_median_and_spread_of_the_source(profile, median_km, log_sd):
    _, state = _days(demand_profile=profile)
    km = _trip_km(state)
    assert np.median(km) == pytest.approx(median_km, rel=0.05)
    assert np.log(km).std() == pytest.approx(log_sd, rel=0.06)


def test_the_mean_trip_of_the_nominal_city_is_that_of_chattanooga():
    _, state = _days()
    assert _trip_km(state).mean() == pytest.approx(5.8, rel=0.05)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("no_show", "no_show", 0.04), ("wc_share", "wheelchair", 0.2), ("prebook_share", "prebooked", 0.7)],
)
def test_shares_are_the_parameters(name, field, value):
    _, state = _days(**{name: value})
    drawn = _of(state, field) > 0
    assert drawn.mean() == pytest.approx(value, abs=4 * math.sqrt(value * (1 - value) / drawn.size))


def test_parties_of_two_and_cancellations_have_their_shares():
    _, state = _days(party2_share=0.12, late_cancel=0.15)
    places = _of(state, "ambulatory") + _of(state, "wheelchair")
    assert set(np.unique(places)) == {1, 2}
    assert (places == 2).mean() == pytest.approx(0.12, abs=0.006)
    assert np.isfinite(_of(state, "cancel_min")).mean() == pytest.approx(0.15, abs=0.007)


def test_service_times_have_the_mean_of_their_class():
    _, state = _days()
    wheelchair = _of(state, "wheelchair") > 0
    for field, ambulatory_min, wheelchair_min in (("board_min", 2.0, 5.0), ("alight_min", 1.5, 4.0)):
        drawn = _of(state, field)
        assert drawn[~wheelchair].mean() == pytest.approx(ambulatory_min, rel=0.02)
        assert drawn[wheelchair].mean() == pytest.approx(wheelchair_min, rel=0.02)
        assert drawn[wheelchair].std() / drawn[wheelchair].mean() == pytest.approx(0.4, rel=0.06)


def test_more_trips_run_inwards_in_the_morning_and_outwards_in_the_afternoon_by_the_declared_share():
    _, state = _days(800, directional_am=0.25)
    out = np.hypot(_of(state, "dropoff_x_km"), _of(state, "dropoff_y_km"))
    inwards = out < np.hypot(_of(state, "pickup_x_km"), _of(state, "pickup_y_km"))
    hour = _of(state, "entity") // 1024
    for hours, share in (((1, 2, 3), 0.25), ((9, 10, 11), -0.25), ((5, 6, 7), 0.0)):
        chosen = inwards[np.isin(hour, hours)]
        assert 2 * chosen.mean() - 1 == pytest.approx(share, abs=4 / math.sqrt(chosen.size))


def test_hot_spots_draw_trip_ends_towards_them():
    def near(share):
        _, state = _days(hotspot_share=share)
        spots = city.HOT_SPOTS[:4] * 8
        ends = np.stack([_of(state, "pickup_x_km"), _of(state, "pickup_y_km")], 1)
        return (np.linalg.norm(ends[:, None] - spots, axis=2).min(1) < 1.0).mean()

    assert near(0.9) > near(0.5) + 0.1 > near(0.0) + 0.2


@settings(max_examples=30)
@given(
    st.integers(0, 10_000),
    st.sampled_from(PROFILES),
    st.floats(5, 9),
    st.floats(10, 30),
    st.floats(0, 240),
    st.floats(0, 0.9),
)
def test_every_booking_is_well_formed(seed, profile, half_km, window, lookahead, hot):
    values = {"area_half_width_km": half_km, "window_half_min": window, "lookahead_min": lookahead}
    _, state = _days(3, first=seed, demand_profile=profile, hotspot_share=hot, late_cancel=0.15, **values)
    for axis in ("pickup_x_km", "pickup_y_km", "dropoff_x_km", "dropoff_y_km"):
        assert (abs(_of(state, axis)) <= half_km + 1e-9).all()
    reveal, earliest, latest = (_of(state, f"{name}_min") for name in ("reveal", "earliest", "latest"))
    prebooked, cancel = _of(state, "prebooked") > 0, _of(state, "cancel_min")
    assert (reveal >= 0).all()
    assert (reveal <= earliest).all()
    assert (reveal < city.HORIZON_MIN).all()
    assert latest - earliest == pytest.approx(2 * window, abs=window + 1e-9)
    assert reveal[prebooked] == pytest.approx(np.maximum(0, latest[prebooked] - 2 * window - lookahead), abs=1e-9)
    np.testing.assert_array_equal(reveal[~prebooked], earliest[~prebooked])
    assert (cancel[~prebooked] >= reveal[~prebooked]).all()
    assert (_of(state, "direct_min") > 0).all()
    np.testing.assert_array_equal(_of(state, "expires_min"), latest + 30)
    for s in state:
        assert (np.diff(s["bookings"]["reveal_min"][: s["n_bookings"]]) >= 0).all()


def test_more_demand_adds_bookings_and_leaves_the_others_as_they_were():
    _, few = _days(20, demand_per_day=150)
    _, many = _days(20, demand_per_day=200)
    for a, b in zip(few, many, strict=True):
        place = {int(e): i for i, e in enumerate(b["bookings"]["entity"][: b["n_bookings"]])}
        assert b["n_bookings"] > a["n_bookings"]
        for i in range(a["n_bookings"]):
            j = place[int(a["bookings"]["entity"][i])]
            for name in ("reveal_min", "pickup_x_km", "dropoff_y_km", "board_min", "no_show", "cancel_min"):
                assert a["bookings"][name][i] == b["bookings"][name][j]


def test_bookings_beyond_the_rows_of_a_day_are_counted():
    _, state = _days(1500, demand_per_day=280, demand_day_cv=0.3)
    clipped = state["n_clipped"] > 0
    assert 0 < clipped.mean() < 0.02
    assert (state["n_bookings"][clipped] == city.MAX_BOOKINGS).all()
    assert state["demand_factor"].max() <= 1.0


def test_the_rates_of_the_zones_add_up_to_the_demand():
    params, state = _days(1)
    out = np.zeros(city.ZONES + 1)
    _rates(params, state, 300.0, out)
    assert out[:-1].sum() == pytest.approx(out[-1])
    assert out[-1] == pytest.approx(184 * city.DEMAND_SHARE[0, 5] / 60)
    _rates(params, state, 720.0, out)
    assert (out == 0).all()


def test_pickups_of_a_zone_are_about_what_its_rate_says():
    params, state = _days(800)
    pickups = zip(_of(state, "pickup_x_km"), _of(state, "pickup_y_km"), strict=True)
    zones = np.array([_zone(params, x, y) for x, y in pickups])
    observed = np.bincount(zones, minlength=city.ZONES) / zones.size
    assert np.corrcoef(observed, state["zone_share"][0])[0, 1] > 0.9


def test_zones_count_from_the_south_west_and_take_in_what_lies_outside():
    params = _params()
    assert [_zone(params, x, y) for x, y in ((-7, -7), (7, -7), (-7, 7), (0.1, 0.1), (99, 99))] == [
        0,
        3,
        12,
        10,
        15,
    ]


def test_bookings_become_open_when_they_are_revealed_and_not_before():
    params, state = _days(50, late_cancel=0.15)
    _reveal(params, state, 200.0)
    shown, status = _of(state, "reveal_min") <= 200.0, _of(state, "status")
    before = _of(state, "cancel_min") <= _of(state, "reveal_min")
    assert (status[~shown] == city.HIDDEN).all()
    assert (status[shown & before] == city.CANCELLED).all()
    assert (status[shown & ~before] == city.OPEN).all()
    assert (shown & before).any()


def test_a_table_gives_one_of_its_days_and_every_day_its_turn():
    rng = np.random.default_rng(5)
    table = np.zeros(60, city.DATA)
    table["day"] = np.repeat([3, 4, 9], [10, 20, 30])
    for name in city.DATA.names[1:]:
        table[name] = rng.integers(1, 7, 60)
    sizes = set()
    _, state = _days(60, table=table.view(np.recarray) if config.DISABLE_JIT else table)
    for s in state:
        day = {10: 3, 20: 4, 30: 9}[int(s["n_bookings"])]
        for name in city.DATA.names[1:]:
            np.testing.assert_array_equal(s["bookings"][name][: s["n_bookings"]], table[table["day"] == day][name])
        sizes.add(day)
    assert sizes == {3, 4, 9}


def test_days_of_different_keys_differ_and_of_the_same_key_agree():
    _, a = _days(2, first=7)
    _, b = _days(2, first=7)
    assert a.tobytes() == b.tobytes()
    assert a[0].tobytes() != a[1].tobytes()
