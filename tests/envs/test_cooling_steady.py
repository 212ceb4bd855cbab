"""The steady state of a hall that is solved is the one that it comes to, and the cheapest is found."""

from __future__ import annotations

import numpy as np
import pytest

from rlops.envs.cooling import steady
from rlops.envs.cooling.held import HeldHall

ZONES = 4
RATED = {"wet_bulb_c": 15.0, "air_pa": 101325.0, "efficiency": 1.0, "hall_share": 1.0, "approach_k": np.nan,
         "limit_c": 27.0}  # fmt: skip


class Solved:
    """Halls of some loads and wet bulbs, to be solved."""

    def __init__(self, utilisation, wet_bulb_c=15.0, **params):
        self.utilisation = np.array(utilisation, float)
        n = len(self.utilisation)
        self.hall = HeldHall(n, self.utilisation, wet_bulb_c, **params)
        self.site = np.tile([RATED[name] for name in steady.SITE], (n, 1))
        self.site[:, steady.WET_BULB] = wet_bulb_c
        self.site[:, steady.PRESSURE] = self.hall.s["air_pa"]
        self.zones, self.figures = np.zeros((n, ZONES, len(steady.OF_ZONE))), np.zeros((n, len(steady.OF_HALL)))

    def at(self, points):
        steady.settle_halls(self.hall.p, self.utilisation, self.site, points, self.zones, self.figures)
        return self.figures[:, steady.USD].copy()

    def cheapest(self, begin=True, points=None):
        n = len(self.utilisation)
        points = np.tile([0.5] * 4 + [25.0] * 4 + [12.0, 0.6], (n, 1)) if points is None else points
        where = self.hall.p, self.utilisation, self.site, points, np.full(n, begin), np.ones(n, np.bool_)
        steady.search_halls(*where, self.zones, self.figures)
        return points, self.figures[:, steady.USD].copy()


LOADS = [[0.1, 0.2, 0.3, 0.4], [0.5] * 4, [0.55, 0.45, 0.6, 0.7], [0.8, 0.7, 0.9, 0.6]]


def points_of(rng, n):
    fans, inlets = rng.uniform(0.45, 1.0, (n, ZONES)), rng.uniform(22.0, 27.0, (n, ZONES))
    return np.concatenate([fans, inlets, rng.uniform(7.0, 11.0, (n, 1)), rng.uniform(0.3, 1.0, (n, 1))], axis=1)


@pytest.mark.parametrize("params", [{}, {"hot_spot": 0.3, "recirculation": 0.1, "coil_ua": 0.8, "return_mixing": 0.4}])
def test_a_held_hall_comes_to_the_state_that_is_solved(params):
    one = Solved(LOADS, [2.0, 12.0, 20.0, 26.0], **params)
    points = points_of(np.random.default_rng(0), len(LOADS))
    points[3, :4] = 1.0  # the fullest hall needs all its air
    one.at(points)
    held = (one.figures[:, steady.SHORT] == 0.0) & (one.zones[:, :, steady.VALVE] > 0.2).all(axis=1)
    assert held.sum() >= 3
    hall = one.hall
    hall.s["fan"], hall.s["valve"] = points[:, :4], one.zones[:, :, steady.VALVE]
    hall.settled(chilled_set=points[:, 8], tower_fan=points[:, 9])
    np.testing.assert_allclose(hall.s["worst_c"][held], points[held, 4:8], atol=1e-5)
    np.testing.assert_allclose(hall.s["supply_c"][held], one.zones[held, :, steady.COLD], atol=1e-5)
    np.testing.assert_allclose(hall.s["power_w"][held], one.figures[held, :8], rtol=1e-6, atol=1e-3)
    np.testing.assert_allclose(hall.s["basin_c"][held], one.figures[held, steady.BASIN], atol=1e-5)


def test_the_worst_inlet_follows_from_the_supply_air_as_the_other_way_round():
    one = Solved(LOADS)
    points = points_of(np.random.default_rng(1), len(LOADS))
    one.at(points)
    p, air = one.hall.p[0], one.zones[:, :, steady.AIR]
    for i in range(len(LOADS)):
        for z in range(ZONES):
            cold = one.zones[i, z, steady.COLD]
            found = steady.worst_of_supply_c(p, one.utilisation[i, z], air[i, z], cold)
            assert found == pytest.approx(points[i, 4 + z], abs=1e-3)


def test_a_point_that_a_coil_cannot_give_costs_more_than_it_saves():
    one = Solved([[0.8] * 4])
    cold, colder = (np.array([[0.5] * 4 + [worst] * 4 + [16.0, 0.6]]) for worst in (23.0, 22.0))
    first, second = one.at(cold)[0], one.at(colder)[0]
    assert one.figures[0, steady.SHORT] > 0.0
    assert (one.zones[0, :, steady.VALVE] == 1.0).all()
    assert second > first
    weak = Solved([[0.8] * 4], chiller_capacity_w=0.8e6)
    assert weak.at(np.array([[0.9] * 4 + [26.0] * 4 + [8.0, 0.9]]))[0] > 0.0
    assert weak.figures[0, steady.SHORT] > 0.0


def test_no_point_of_many_is_cheaper_than_the_one_that_is_found():
    one = Solved(LOADS, [0.0, 10.0, 18.0, 26.0])
    found, least = one.cheapest()
    assert (one.figures[:, steady.SHORT] == 0.0).all()
    assert (found[:, 4:8] <= 27.0 + 1e-9).all()
    rng = np.random.default_rng(2)
    near = np.array([0.04] * 4 + [0.4] * 4 + [0.7, 0.06])
    for _ in range(400):
        far = np.concatenate([rng.uniform(0.2, 1, (4, 4)), rng.uniform(20, 27, (4, 4)), rng.uniform(7, 18, (4, 1)),
                              rng.uniform(0.2, 1, (4, 1))], axis=1)  # fmt: skip
        assert (one.at(far) > least).all()
        close = np.clip(found + rng.normal(size=found.shape) * near, [0.2] * 4 + [18] * 4 + [7, 0.2], None)
        close = np.minimum(close, [1.0] * 4 + [35] * 4 + [18, 1.0])
        assert (one.at(close) > least * 0.9995).all()


def test_a_search_from_elsewhere_finds_little_more():
    one = Solved(np.repeat(LOADS[1:3], 4, axis=0), np.tile([0.0, 10.0, 18.0, 26.0], 2))
    _, least = one.cheapest()
    _, again = one.cheapest(begin=False, points=points_of(np.random.default_rng(3), 8))
    np.testing.assert_allclose(again, least, rtol=0.004)


def test_zones_of_unequal_load_are_worth_fans_of_their_own():
    one = Solved([[0.25, 0.45, 0.6, 0.8]], [18.0])
    found, least = one.cheapest()
    fans = found[0, :4]
    assert (np.diff(fans) > 0.02).all()
    alike = [one.at(np.array([[fan] * 4 + [27.0] * 4 + [chilled, tower]]))[0]
             for fan in np.linspace(0.3, 1, 29) for chilled in np.linspace(7, 18, 12)
             for tower in (0.5, 0.6, 0.7, 0.8)]  # fmt: skip
    assert min(alike) > least[0] + 0.02


def test_the_limit_is_not_passed_but_without_its_price():
    halls = [Solved([[0.5] * 4], [18.0], over_recommended_usd=usd) for usd in (0.05, 0.0)]
    kept, free = (one.cheapest()[0][0, 4:8] for one in halls)
    assert (kept <= 27.0).all()
    assert (free > 27.1).all()
    halls[0].site[:, steady.LIMIT] = 26.0
    np.testing.assert_allclose(halls[0].cheapest()[0][0, 4:8], 26.0)


def test_a_kelvin_above_the_limit_costs_three_times_the_most_that_it_could_save():
    loads = [[0.2] * 4, [0.55, 0.45, 0.6, 0.7], [0.85] * 4] * 3
    weather = np.repeat([-5.0, 12.0, 26.0], 3)
    price_usd_per_h = ZONES * 60.0 * float(Solved(loads).hall.p["over_recommended_usd"][0])
    bills = []
    for limit_c in (27.0, 28.0):
        one = Solved(loads, weather)
        one.site[:, steady.LIMIT] = limit_c
        bills.append(one.cheapest()[1])
    saved = bills[0] - bills[1]
    assert saved.max() > 0.05  # the limit binds somewhere
    assert price_usd_per_h >= 3.0 * saved.max()


def test_the_limit_binds_where_servers_are_busy_and_the_night_is_mild():
    one = Solved([[0.55] * 4, [0.6, 0.5, 0.7, 0.4]], [12.0, 20.0])
    points, _ = one.cheapest()
    assert (points[:, 4:8].max(axis=1) > 26.9).all()
