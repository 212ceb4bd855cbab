"""Facts of Dispatch v1, on its row functions: conservation, physics, symmetry, the mask, no leak of hidden things."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

from rlops.envs.contract import bounds, parameter_dtype, width, write_parameters
from rlops.envs.dispatch import city
from rlops.envs.dispatch import kernel_v1 as kernel
from rlops.envs.draws import bits, episode_key, stream_key

NO_TABLE = np.zeros(0, city.DATA)
COLUMNS = width(kernel.OBSERVATION)
LOW, HIGH = bounds(kernel.OBSERVATION)
QUIET = {"leg_noise_sd": 0, "traffic_day_sd": 0, "congestion_sd": 0, "no_show": 0, "late_cancel": 0}
STATUS, OPEN_LIST, FLEET, SLOTS, TOTALS = 1, 2, 4, 8, 16  # what _audit finds wrong


@njit(error_model="numpy")
def _reset(params, state, table, first):
    for i in range(state.shape[0]):
        state[i].key = episode_key(first + i, 0)
        kernel.reset(params[0], state[i], table)


@njit(error_model="numpy")
def _step(params, state, table, actions):
    for i in range(state.shape[0]):
        s = state[i]
        if not (s.terminated or s.truncated):
            s.terms[:] = 0.0
            kernel.step(params[0], s, table, actions[i])
            s.steps += 1


@njit(error_model="numpy")
def _see(params, state, table, obs, masks):
    for i in range(state.shape[0]):
        kernel.observe(params[0], state[i], table, obs[i])
        kernel.mask(params[0], state[i], table, masks[i])


@njit(error_model="numpy")
def _measure(params, state, table, kpis, context):
    for i in range(state.shape[0]):
        kernel.kpis(params[0], state[i], table, kpis[i])
        kernel.context(params[0], state[i], table, context[i])


@njit(error_model="numpy")
def _random_actions(masks, step, actions):
    """Choose uniformly among the legal actions of each row."""
    for i in range(masks.shape[0]):
        nth = np.int64(bits(stream_key(np.uint64(11), step, 1), i) >> np.uint64(20)) % masks[i].sum()
        for action in range(masks.shape[1]):
            if masks[i, action]:
                if nth == 0:
                    actions[i] = action
                nth -= 1


@njit(error_model="numpy")
def _audit(s):
    """Return what contradicts itself in a row, 0 if nothing."""
    wrong = 0
    count = np.zeros(8, np.int64)
    for b in range(s.n_bookings):
        count[s.bookings[b].status] += 1
        if (s.bookings[b].status == city.HIDDEN) != (b >= s.next_booking) and not s.truncated:
            wrong |= STATUS
    if count[city.DONE] != s.completed or count[city.MISSED] != s.missed or count[city.CANCELLED] != s.cancelled:
        wrong |= TOTALS
    if count[city.DONE :].sum() != s.n_resolved or count[city.NO_SHOW] != s.no_shows:
        wrong |= TOTALS
    if s.truncated:
        return wrong
    if count[city.OPEN] != s.n_open:
        wrong |= OPEN_LIST
    for i in range(s.n_open):
        b = s.open_booking[i]
        if (
            s.bookings[b].status != city.OPEN
            or s.bookings[b].expires_min <= s.now_min
            or s.bookings[b].cancel_min <= s.now_min
        ):
            wrong |= OPEN_LIST
        if i > 0 and s.bookings[s.open_booking[i - 1]].latest_min > s.bookings[b].latest_min:
            wrong |= OPEN_LIST
        if i < kernel.SLOTS and s.slot[kernel.PICKUP_X, i] != s.bookings[b].pickup_x_km:
            wrong |= SLOTS
    idle, on_board, assigned = 0, 0, 0
    for v in range(kernel.VEHICLES):
        mode, b = s.mode[v], s.booking[v]
        idle += mode == kernel.IDLE
        on_board += mode == kernel.RIDING or mode == kernel.ALIGHTING
        assigned += kernel.HOLDING <= mode <= kernel.AT_PICKUP
        # an event may be due right now: a pickup at the very place of the vehicle is reached at once
        if mode > kernel.IDLE and (s.bookings[b].vehicle != v or not s.now_min <= s.event_min[v] < np.inf):
            wrong |= FLEET
    if idle != s.n_idle or on_board != count[city.ONBOARD] or assigned != count[city.ASSIGNED]:
        wrong |= FLEET
    return wrong


@njit(error_model="numpy")
def _play_audited(params, state, table, obs, masks, actions, assigned, depart_min, busy_min):
    """Play every row to its end with random legal actions; return what is wrong and the sum of rewards.

    Written are, by booking, the step that ``assigned`` it (else -1) and when its vehicle was to leave, and by row
    the time that vehicles were busy at the beginning of a minute.
    """
    wrong = 0
    returns = np.zeros(state.shape[0])
    assigned[:] = -1
    for step in range(2000):
        _see(params, state, table, obs, masks)
        _random_actions(masks, step, actions)
        live = 0
        for i in range(state.shape[0]):
            if not (state[i].terminated or state[i].truncated):
                live += 1
        if live == 0:
            break
        before = np.zeros(state.shape[0])
        sent = np.zeros(state.shape[0], np.int64)
        for i in range(state.shape[0]):
            before[i] = state[i].now_min
            sent[i] = state[i].open_booking[actions[i] // 8] if actions[i] < kernel.ADVANCE else -1
            if sent[i] < 0 and not (state[i].terminated or state[i].truncated):
                for v in range(kernel.VEHICLES):
                    busy_min[i] += state[i].mode[v] > kernel.IDLE
        _step(params, state, table, actions)
        for i in range(state.shape[0]):
            s = state[i]
            if s.steps == step + 1:  # it has moved
                wrong |= _audit(s)
                if sent[i] >= 0:
                    assigned[i, sent[i]] = step
                    depart_min[i, sent[i]] = s.depart_min[actions[i] % 8]
                returns[i] += s.terms.sum()
                if s.now_min - before[i] != s.dt_min:
                    wrong |= TOTALS
    return wrong, returns


class Rows:
    """A batch of rows of the kernel, stepped directly."""

    def __init__(self, n=1, first=0, **values):
        self.params = self._records(1, parameter_dtype(kernel.PARAMETERS))
        for parameter in kernel.PARAMETERS:
            self.params[parameter.name] = parameter.nominal
        write_parameters(self.params, kernel.PARAMETERS, values, "rlops/Dispatch-v1")
        self.state = self._records(n, kernel.STATE)
        self.obs = np.full((n, COLUMNS), np.nan, np.float32)
        self.masks = np.full((n, kernel.ACTION), 9, np.int8)
        self.actions = np.zeros(n, np.int64)
        _reset(self.params, self.state, NO_TABLE, first)
        self.see()

    @staticmethod
    def _records(n, dtype):
        rows = np.zeros(n, dtype)
        return rows.view(np.recarray) if config.DISABLE_JIT else rows

    def see(self):
        _see(self.params, self.state, NO_TABLE, self.obs, self.masks)

    def step(self, action):
        self.actions[:] = action
        _step(self.params, self.state, NO_TABLE, self.actions)
        self.see()

    def play(self):
        """Play every row to its end; return what contradicts itself and the sum of rewards of each row."""
        n = len(self.state)
        self.assigned = np.zeros((n, city.MAX_BOOKINGS), np.int64)
        self.depart_min, self.busy_min = np.zeros((n, city.MAX_BOOKINGS)), np.zeros(n)
        return _play_audited(
            self.params, self.state, NO_TABLE, self.obs, self.masks, self.actions,
            self.assigned, self.depart_min, self.busy_min,
        )  # fmt: skip

    def kpis(self):
        out, context = (
            np.zeros((len(self.state), width(kernel.KPIS))),
            np.zeros((len(self.state), width(kernel.CONTEXT))),
        )
        _measure(self.params, self.state, NO_TABLE, out, context)
        first = np.cumsum([0, *(c.count for c in kernel.KPIS)])
        return {c.name: out[:, i] for c, i in zip(kernel.KPIS, first, strict=False)}

    def of(self, name):
        return self.state["bookings"][name][np.arange(city.MAX_BOOKINGS) < self.state["n_bookings"][:, None]]


@pytest.fixture(scope="module")
def played():
    """Return forty days played with random legal actions, with many surprises."""
    rows = Rows(40, no_show=0.12, late_cancel=0.15)
    rows.wrong, rows.returns = rows.play()
    return rows


# --- conservation ---------------------------------------------------------------------------------------


def test_nothing_contradicts_itself_at_any_step(played):
    assert played.wrong == 0


def closed_form_usd(p, s):
    """Return what the totals of rows are worth."""
    usd = p["fare_usd"] * s["completed"] - p["km_cost_usd"] * s["km"] - p["miss_cost_usd"] * s["missed"]
    return usd - p["late_cost_usd_per_min"] * s["late_min"] - p["ride_cost_usd_per_min"] * s["excess_min"]


def leg_km(rows, i):
    """Return the kilometres of a played row from its errands: to the pickups, and with those who got in."""
    s, circuity = rows.state[i], rows.params["circuity"][0]
    empty_km = loaded_km = rider_km = 0.0
    for v in range(kernel.VEHICLES):
        errands = np.flatnonzero((s["bookings"]["vehicle"] == v) & (rows.assigned[i] >= 0))
        at = (0.0, 0.0)
        for b in errands[np.argsort(rows.assigned[i, errands])]:
            depart_min = rows.depart_min[i, b]
            if s["bookings"]["cancel_min"][b] <= depart_min or depart_min > s["now_min"]:
                continue  # it never left
            pickup = (s["bookings"]["pickup_x_km"][b], s["bookings"]["pickup_y_km"][b])
            empty_km += circuity * math.dist(at, pickup)
            at = pickup
            if np.isfinite(s["bookings"]["picked_min"][b]):
                at = (s["bookings"]["dropoff_x_km"][b], s["bookings"]["dropoff_y_km"][b])
                loaded_km += circuity * math.dist(pickup, at)
                rider_km += (
                    circuity * math.dist(pickup, at) * (s["bookings"]["ambulatory"][b] + s["bookings"]["wheelchair"][b])
                )
    return empty_km, loaded_km, rider_km


def check_totals(rows, returns):
    """Check every total of played rows against their bookings."""
    p = rows.params[0]
    np.testing.assert_allclose(returns, closed_form_usd(p, rows.state), atol=1e-9, rtol=1e-13)
    for i, s in enumerate(rows.state):
        empty_km, loaded_km, rider_km = leg_km(rows, i)
        assert s["km"] == pytest.approx(empty_km + loaded_km, abs=1e-9)
        assert s["loaded_km"] == pytest.approx(loaded_km, abs=1e-9)
        assert s["rider_km"] == pytest.approx(rider_km, abs=1e-9)
        rode = np.isfinite(s["bookings"]["picked_min"]) & (np.arange(city.MAX_BOOKINGS) < s["n_bookings"])
        done = s["bookings"]["status"] == city.DONE
        late_min = (s["bookings"]["picked_min"] - s["bookings"]["board_min"] - s["bookings"]["latest_min"])[rode]
        assert s["late_min"] == pytest.approx(np.clip(late_min, 0, kernel.LATE_CAP_MIN).sum())
        ride_min = (s["bookings"]["dropped_min"] - s["bookings"]["alight_min"] - s["bookings"]["picked_min"])[done]
        limit_min = np.maximum(p["ride_limit_min"], p["ride_limit_factor"] * s["bookings"]["direct_min"][done])
        ended_min = np.maximum(0, ride_min - limit_min).sum()
        assert s["excess_min"] >= ended_min - 1e-9  # riders who are getting out when the day is cut off
        assert s["terminated"] or s["truncated"]
        assert not s["terminated"] or s["excess_min"] == pytest.approx(ended_min)


@settings(max_examples=15)
@given(
    st.integers(0, 10_000),
    st.fixed_dictionaries(
        {
            q.name: st.integers(int(q.low), int(q.high)) if q.integer or q.choices else st.floats(q.low, q.high)
            for q in kernel.PARAMETERS
            if q.name != "demand_day"
        }
    ),
)
def test_nothing_contradicts_itself_in_any_city(seed, values):
    rows = Rows(2, seed, **values)
    wrong, returns = rows.play()
    assert wrong == 0
    check_totals(rows, returns)


def test_every_booking_is_resolved_at_the_end(played):
    state = played.state
    np.testing.assert_array_equal(state["n_resolved"], state["n_bookings"])
    assert (played.of("status") >= city.DONE).all()
    assert (state["terminated"] ^ state["truncated"]).all()


def test_totals_are_those_of_the_bookings_and_of_the_legs(played):
    check_totals(played, played.returns)
    np.testing.assert_allclose(played.kpis()["return_usd"], played.returns, atol=1e-9, rtol=0)
    assert (played.state["loaded_km"] < played.state["km"]).all()
    assert (played.state["late_min"] > 0).all()
    assert (played.state["excess_min"] > 0).any()
    assert (played.state["wasted_legs"] > 0).all()


def test_doing_nothing_misses_every_booking_that_is_not_cancelled():
    rows = Rows(5)
    total = np.zeros(5)
    for _ in range(870):
        live = ~(rows.state["terminated"] | rows.state["truncated"])
        rows.step(kernel.ADVANCE)
        total += np.where(live, rows.state["terms"].sum(1), 0)
    assert rows.state["terminated"].all()
    np.testing.assert_allclose(total, -40.0 * (rows.state["n_bookings"] - rows.state["cancelled"]))
    kpis = rows.kpis()
    assert (kpis["completion_rate"] == 0).all()
    assert (kpis["late_or_missed_share"] == 1).all()


def test_riders_on_board_when_the_day_is_cut_off_are_charged_as_missed():
    rows = Rows(1, **QUIET)
    rows.step(int(np.flatnonzero(rows.masks[0])[0]))
    v = int(np.argmax(rows.state["mode"][0]))
    b = int(rows.state["booking"][0][v])
    while rows.state["mode"][0][v] != kernel.RIDING:
        rows.step(kernel.ADVANCE)
    rows.state["event_min"][0][v] = 5000.0
    while not rows.state["truncated"][0]:
        rows.step(kernel.ADVANCE)
    assert rows.state["now_min"][0] == city.END_MIN
    assert rows.state["bookings"]["status"][0][b] == city.MISSED
    assert rows.state["terms"][0][kernel.MISS] == -40.0


# --- physics --------------------------------------------------------------------------------------------


def test_nobody_boards_before_the_window_opens_or_after_patience_ends(played):
    start = played.of("picked_min") - played.of("board_min")
    rode = np.isfinite(start)
    assert rode.sum() > 2000
    assert (start >= played.of("earliest_min") - 1e-9)[rode].all()
    assert (start <= played.of("expires_min") + 1e-9)[rode].all()


def test_a_rider_gets_in_before_getting_out_and_a_vehicle_has_one_rider_at_a_time(played):
    for s in played.state:
        done = np.flatnonzero(s["bookings"]["status"] == city.DONE)
        assert (s["bookings"]["dropped_min"][done] > s["bookings"]["picked_min"][done]).all()
        for v in range(kernel.VEHICLES):
            mine = done[s["bookings"]["vehicle"][done] == v]
            mine = mine[np.argsort(s["bookings"]["picked_min"][mine])]
            start = s["bookings"]["picked_min"][mine] - s["bookings"]["board_min"][mine]
            assert (start[1:] >= s["bookings"]["dropped_min"][mine][:-1] - 1e-9).all()


def test_no_shows_and_cancelled_riders_never_ride(played):
    status = played.of("status")
    assert np.isnan(played.of("picked_min")[(status == city.NO_SHOW) | (status == city.CANCELLED)]).all()
    assert (played.of("no_show")[status == city.NO_SHOW] == 1).all()
    assert (played.of("no_show")[status == city.DONE] == 0).all()
    assert np.isfinite(played.of("cancel_min")[status == city.CANCELLED]).all()
    assert (status == city.NO_SHOW).any()


def test_without_noise_a_rider_boards_when_the_pair_said():
    for seed in range(20):
        rows = Rows(1, seed, **QUIET)
        while rows.state["now_min"][0] < 40 or not rows.masks[0][:-1].any():
            rows.step(kernel.ADVANCE)
        now_min = rows.state["now_min"][0]
        pairs = np.flatnonzero(rows.masks[0][:-1])
        pair = int(pairs[seed % len(pairs)])
        booking = int(rows.state["open_booking"][0][pair // 8])
        eta_min = 60.0 * rows.obs[0, 188 + pair]
        late_min = 30.0 * rows.obs[0, 252 + pair]
        rows.step(pair)
        for _ in range(180):
            rows.step(kernel.ADVANCE)
        s = rows.state[0]
        start = s["bookings"]["picked_min"][booking] - s["bookings"]["board_min"][booking]
        assert min(start - now_min, 60.0) == pytest.approx(eta_min, abs=1e-4)
        assert max(start - s["bookings"]["latest_min"][booking], 0) == pytest.approx(late_min, abs=1e-4)


def test_a_vehicle_waits_before_it_leaves_rather_than_at_the_door():
    rows = Rows(1, lookahead_min=240, prebook_share=1, **QUIET)
    s = rows.state
    k = int(np.argmax(s["slot"][0][kernel.EARLIEST]))
    rows.step(8 * k + 3)
    assert s["mode"][0][3] == kernel.HOLDING
    assert s["km"][0] == 0
    while s["mode"][0][3] == kernel.HOLDING:
        rows.step(kernel.ADVANCE)
    b = int(s["booking"][0][3])
    assert s["arrive_min"][0][3] == pytest.approx(s["bookings"]["earliest_min"][0][b], abs=1e-9)


def test_a_cancellation_on_the_way_leaves_the_leg_to_be_driven_and_paid():
    rows = Rows(1, **QUIET)
    rows.step(kernel.ADVANCE)
    pair = next(
        int(a) for a in np.flatnonzero(rows.masks[0][:-1]) if rows.state["slot"][0][kernel.EARLIEST, a // 8] < 5
    )
    v, s = pair % 8, rows.state
    b = int(s["open_booking"][0][pair // 8])
    s["bookings"]["cancel_min"][0][b] = 2.5  # while the vehicle drives
    rows.step(pair)
    assert s["mode"][0][v] == kernel.TO_PICKUP
    km = s["km"][0]
    assert km > 0
    rows.step(kernel.ADVANCE)
    assert s["mode"][0][v] == kernel.TO_PICKUP
    rows.step(kernel.ADVANCE)
    assert (s["mode"][0][v], s["bookings"]["status"][0][b]) == (kernel.VOID, city.CANCELLED)
    while s["mode"][0][v] == kernel.VOID:
        rows.step(kernel.ADVANCE)
    assert (s["x_km"][0][v], s["y_km"][0][v]) == (
        s["bookings"]["pickup_x_km"][0][b],
        s["bookings"]["pickup_y_km"][0][b],
    )
    assert (s["km"][0], s["wasted_legs"][0], s["missed"][0]) == (km, 1, s["missed"][0])


def test_a_no_show_costs_the_wait_and_nothing_else():
    rows = Rows(1, no_show_wait_min=7, **QUIET)
    pair = int(np.flatnonzero(rows.masks[0][:-1])[0])
    v, s = pair % 8, rows.state
    b = int(s["open_booking"][0][pair // 8])
    s["bookings"]["no_show"][0][b] = 1
    rows.step(pair)
    while s["mode"][0][v] != kernel.IDLE:
        assert s["bookings"]["status"][0][b] == city.ASSIGNED
        rows.step(kernel.ADVANCE)
    assert s["bookings"]["status"][0][b] == city.NO_SHOW
    assert s["now_min"][0] == math.ceil(s["start_min"][0][v] + 7)
    assert (s["no_shows"][0], s["completed"][0], s["late_min"][0]) == (1, 0, 0)


# --- symmetry -------------------------------------------------------------------------------------------


def _permute_vehicles(s, order):
    """Let vehicle ``i`` of a row be what vehicle ``order[i]`` was."""
    for name in kernel.STATE.names:
        if kernel.STATE[name].shape == (kernel.VEHICLES,):
            s[name] = s[name][order]
    s["pair_legal"] = s["pair_legal"].reshape(-1, 8)[:, order].ravel()
    s["seen"][:80] = s["seen"][:80].reshape(-1, 8)[:, order].ravel()
    new = np.append(np.argsort(order), -1)
    s["bookings"]["vehicle"] = np.where(
        np.arange(city.MAX_BOOKINGS) < s["n_bookings"], new[s["bookings"]["vehicle"]], s["bookings"]["vehicle"]
    )


def test_vehicles_in_another_order_live_through_the_same_day_in_that_order():
    order = np.array([3, 0, 7, 1, 6, 2, 5, 4])
    a, b = Rows(1, 21), Rows(1, 21)
    rng = np.random.default_rng(3)
    assigned = 0
    for step in range(700):
        if step == 120:
            assert len(set(a.state["mode"][0])) > 2
            _permute_vehicles(b.state[0], order)
            b.see()
        moved = step >= 120
        action = int(rng.choice(np.flatnonzero(a.masks[0]))) if rng.random() < 0.5 else kernel.ADVANCE
        a.step(action)
        b.step(action // 8 * 8 + int(np.argsort(order)[action % 8]) if moved and action < kernel.ADVANCE else action)
        assigned += action < kernel.ADVANCE
        if moved:
            twin = a.state[0].copy()
            _permute_vehicles(twin, order)
            for name in kernel.STATE.names:
                if name in ("terms", "km", "loaded_km", "rider_km", "late_min", "excess_min", "busy_min", "return_usd"):
                    np.testing.assert_allclose(b.state[0][name], twin[name], atol=1e-9)  # sums in another order
                elif name == "pace":  # of two legs that end in one minute the later counts more
                    assert b.state[0][name] == pytest.approx(twin[name], abs=0.05)
                else:
                    assert b.state[0][name].tobytes() == twin[name].tobytes(), name
    assert assigned > 60
    assert a.state["completed"][0] > 40


# --- the mask -------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def _legal_by_hand(params, state, out):
    """Write the mask from first principles: idle, room, and expected before the rider's patience ends."""
    p, s = params[0], state[0]
    for k in range(kernel.SLOTS):
        for v in range(kernel.VEHICLES):
            out[8 * k + v] = 0
            if k < s.n_open and s.mode[v] == kernel.IDLE:
                b = s.open_booking[k]
                km = city.road_km(p, s.x_km[v], s.y_km[v], s.bookings[b].pickup_x_km, s.bookings[b].pickup_y_km)
                in_time = city.expected_arrival_min(s, s.now_min, km) <= s.bookings[b].latest_min + p.patience_min
                out[8 * k + v] = (
                    in_time and s.bookings[b].ambulatory <= p.cap_amb and s.bookings[b].wheelchair <= p.cap_wc
                )
    out[64] = 1


@pytest.mark.parametrize("values", [{}, {"cap_wc": 0, "n_vehicles": 5}, {"cap_amb": 1, "patience_min": 10}])
def test_the_mask_is_what_first_principles_say(values):
    rows = Rows(1, 3, **values)
    expected = np.zeros(kernel.ACTION, np.int8)
    rng = np.random.default_rng(4)
    seen = 0
    for _ in range(500):
        _legal_by_hand(rows.params, rows.state, expected)
        np.testing.assert_array_equal(rows.masks[0], expected)
        seen += int(expected.sum()) - 1
        legal = np.flatnonzero(rows.masks[0])
        rows.step(kernel.ADVANCE if rng.random() < 0.7 else int(rng.choice(legal)))
    assert seen > 500


def test_an_illegal_action_lets_the_minute_pass_and_is_counted():
    a, b = Rows(4, no_show=0.1), Rows(4, no_show=0.1)
    a.params["n_vehicles"][0] = b.params["n_vehicles"][0] = 8
    for rows in (a, b):
        for k in (0, 1, 2):
            rows.step(9 * k)
    illegal = 0  # vehicle 0 is busy now
    assert not a.masks[:, illegal].any()
    a.step(illegal)
    b.step(kernel.ADVANCE)
    assert (a.state["illegal"] == b.state["illegal"] + 1).all()
    a.state["illegal"] = b.state["illegal"]
    assert a.state.tobytes() == b.state.tobytes()


def test_an_assignment_takes_no_time_and_only_advance_does():
    rows = Rows(1)
    rows.step(int(np.flatnonzero(rows.masks[0])[0]))
    assert (rows.state["dt_min"][0], rows.state["now_min"][0]) == (0, 0)
    rows.step(kernel.ADVANCE)
    assert (rows.state["dt_min"][0], rows.state["now_min"][0]) == (1, 1)


def test_absent_vehicles_are_off_and_never_legal():
    rows = Rows(2, n_vehicles=5)
    assert (rows.state["mode"][:, 5:] == kernel.OFF).all()
    assert (rows.masks[:, :-1].reshape(2, 8, 8)[:, :, 5:] == 0).all()
    assert (rows.masks[:, :-1].reshape(2, 8, 8)[:, :, :5] == 1).any()


# --- what is seen ---------------------------------------------------------------------------------------


def _assign_some(rows):
    """Send four vehicles out, each to the first booking left."""
    for v in range(4):
        rows.step(v if rows.masks[0][v] else kernel.ADVANCE)


def _same_until(event, change, **values):
    """Change hidden things in one of two equal rows; return the minutes for which both look the same."""
    a, b = Rows(1, 6, **values), Rows(1, 6, **values)
    change(b.state)
    _assign_some(a)
    _assign_some(b)
    minutes = 0
    while not (event(a.state[0]) or event(b.state[0])):
        np.testing.assert_array_equal(a.obs, b.obs)
        np.testing.assert_array_equal(a.masks, b.masks)
        legal = np.flatnonzero(a.masks[0])
        action = int(legal[minutes % len(legal)]) if minutes % 9 == 8 else kernel.ADVANCE
        a.step(action)
        b.step(action)
        minutes += 1
        assert minutes < 300
    return minutes, a, b


def test_bookings_that_are_not_revealed_leave_no_trace():
    def change(state):
        hidden = state["bookings"]["reveal_min"][0] > 60.0
        for name in ("pickup_x_km", "dropoff_y_km", "direct_min"):
            state["bookings"][name][0][hidden] += 1.0
        state["bookings"]["wheelchair"][0][hidden] = 1
        state["n_bookings"][0] -= 20

    minutes, a, b = _same_until(lambda s: s["now_min"] >= 60, change)
    assert minutes >= 60
    for _ in range(60):
        a.step(kernel.ADVANCE)
        b.step(kernel.ADVANCE)
    assert not np.array_equal(a.obs, b.obs)


def test_no_shows_leave_no_trace_until_a_vehicle_has_been_at_a_door():
    def change(state):
        state["bookings"]["no_show"][0] = 1 - state["bookings"]["no_show"][0]

    at_a_door = lambda s: s["no_shows"] > 0 or (s["mode"] >= kernel.RIDING).any()  # noqa: E731
    minutes, a, b = _same_until(at_a_door, change)
    assert minutes > 5
    assert not np.array_equal(a.obs, b.obs)


def test_cancellations_leave_no_trace_until_they_come():
    def change(state):
        state["bookings"]["cancel_min"][0] = np.maximum(60.5, state["bookings"]["latest_min"][0] - 3.0)
        state["next_cancel_min"][0] = 0.0  # the cached minimum may be too early

    first = lambda s: s["now_min"] >= 60  # noqa: E731
    minutes, a, b = _same_until(first, change, late_cancel=0)
    assert minutes >= 60
    for _ in range(30):
        a.step(kernel.ADVANCE)
        b.step(kernel.ADVANCE)
    assert b.state["cancelled"][0] > a.state["cancelled"][0]


def test_noise_traffic_and_service_times_leave_no_trace_until_a_vehicle_arrives():
    def change(state):
        state["speed_km_per_min"] *= 0.5
        state["reach_km"] *= 0.5
        state["traffic_factor"] *= 2
        state["demand_factor"] *= 2
        state["congestion"] += 1
        state["bookings"]["board_min"] += 3
        state["bookings"]["alight_min"] += 3
        state["key"] += np.uint64(1)  # the noise of the legs

    arrived = lambda s: (s["mode"] > kernel.TO_PICKUP).any()  # noqa: E731
    minutes, a, b = _same_until(arrived, change)
    assert minutes > 3
    assert not np.array_equal(a.obs, b.obs)


def test_observations_are_finite_within_their_bounds_and_none_is_constant():
    rows = Rows(30, no_show=0.12, late_cancel=0.15)
    low, high = rows.obs.min(0), rows.obs.max(0)
    for step in range(1000):
        _random_actions(rows.masks, step // 2, rows.actions)
        rows.step(np.where(step % 2, rows.actions, kernel.ADVANCE))
        assert np.isfinite(rows.obs).all()
        low, high = np.minimum(low, rows.obs.min(0)), np.maximum(high, rows.obs.max(0))
    assert (low >= LOW).all()
    assert (high <= HIGH).all()
    assert COLUMNS == 316
    assert (high > low).all()


def _seen_by_hand(p, s, mask):
    """Return the observation, written from the state with nothing remembered."""
    now_min, half_km = s["now_min"], p["area_half_width_km"]
    angle = 2 * math.pi * (360 + now_min) / 1440
    quarter = min(int(now_min // 15), 63)
    n = s["n_open"]
    known = np.arange(city.MAX_BOOKINGS) < s["next_booking"]
    shown_min = np.ceil(s["bookings"]["reveal_min"])  # the minute at which the dispatcher has learnt of it
    was_open = s["bookings"]["cancel_min"] > s["bookings"]["reveal_min"]
    requests = (known & was_open & (shown_min > now_min - 30)).sum()
    hour = int(now_min // 60)
    expected = 30 * p["demand_per_day"] * city.DEMAND_SHARE[p["demand_profile"], hour] / 60 if now_min < 720 else 0.0
    speed = s["expected_speed_km_per_min"]
    day = [
        math.sin(angle), math.cos(angle), now_min / 870, min(n / 40, 1), max(0, n - 8) / 40,
        (s["mode"] == kernel.IDLE).sum() / p["n_vehicles"], s["pace"] - 1, speed[quarter], speed[min(quarter + 4, 63)],
        (requests - expected) / (requests + expected + 1), s["km"] / 2400, s["missed"] / 100,
    ]  # fmt: skip
    mode = s["mode"]
    fleet = [s[name] / half_km for name in ("x_km", "y_km", "free_x_km", "free_y_km")]
    fleet += [np.clip((s["free_min"] - now_min) / 120, 0, 1)]
    fleet += [mode == 1, (mode == 2) | (mode == 3), mode == 4, (mode == 5) | (mode == 6), mode == 7]
    b = s["open_booking"][: min(n, 8)]
    slots = [
        s["bookings"][name][b] / half_km for name in ("pickup_x_km", "pickup_y_km", "dropoff_x_km", "dropoff_y_km")
    ]
    times = (s["bookings"][name][b] for name in ("earliest_min", "latest_min", "expires_min"))
    slots += [np.clip((time - now_min) / 120, -1, 1) for time in times]
    slots += [
        np.minimum(s["bookings"]["direct_min"][b] / 60, 1),
        s["bookings"]["ambulatory"][b] / 4,
        s["bookings"]["wheelchair"][b] / 4,
    ]
    slots += [s["bookings"]["prebooked"][b], np.ones(len(b))]
    eta_min, late_min = np.zeros((8, 8)), np.zeros((8, 8))
    for k, v in np.argwhere(mask[:64].reshape(8, 8)):
        km = p["circuity"] * math.dist(
            (s["x_km"][v], s["y_km"][v]), (s["bookings"]["pickup_x_km"][b[k]], s["bookings"]["pickup_y_km"][b[k]])
        )
        arrive_min = city.expected_arrival_min(s, now_min, km)
        eta_min[k, v] = max(arrive_min, s["bookings"]["earliest_min"][b[k]]) - now_min
        late_min[k, v] = max(0, arrive_min - s["bookings"]["latest_min"][b[k]])
    padded = [np.pad(np.asarray(column, float), (0, 8 - len(column))) for column in slots]
    return np.concatenate([day, *fleet, *padded, np.minimum(eta_min / 60, 1).ravel(), late_min.ravel() / 30])


def test_the_observation_is_what_its_columns_say():
    rows = Rows(1, 2, late_cancel=0.15, demand_per_day=280)
    rng = np.random.default_rng(5)
    while not (rows.state["terminated"][0] or rows.state["truncated"][0]):
        by_hand = _seen_by_hand(rows.params[0], rows.state[0], rows.masks[0])
        np.testing.assert_allclose(rows.obs[0], by_hand, atol=2e-6)
        rows.step(kernel.ADVANCE if rng.random() < 0.7 else int(rng.choice(np.flatnonzero(rows.masks[0]))))
    assert rows.state["missed"][0] > 0


def test_slots_show_the_open_bookings_that_are_due_first():
    rows = Rows(1, lookahead_min=240)
    for _ in range(200):
        s = rows.state[0]
        opened = np.flatnonzero(s["bookings"]["status"] == city.OPEN)
        due = opened[np.lexsort((opened, s["bookings"]["latest_min"][opened]))][:8]
        np.testing.assert_array_equal(s["open_booking"][: len(due)], due)
        x = np.zeros(8)
        x[: len(due)] = s["bookings"]["pickup_x_km"][due] / 8
        np.testing.assert_allclose(rows.obs[0, 92:100], x, atol=1e-6)
        np.testing.assert_array_equal(rows.obs[0, 180:188], np.arange(8) < len(due))
        rows.step(int(np.flatnonzero(rows.masks[0])[0]) if s["now_min"] % 3 == 0 else kernel.ADVANCE)


# --- key figures ----------------------------------------------------------------------------------------


def test_key_figures_are_those_of_the_bookings(played):
    kpis = played.kpis()
    for i, s in enumerate(played.state):
        n = s["n_bookings"]
        status = s["bookings"]["status"][:n]
        eligible = ~np.isin(status, (city.CANCELLED, city.NO_SHOW))
        done = status == city.DONE
        late = np.maximum(
            0, s["bookings"]["picked_min"][:n] - s["bookings"]["board_min"][:n] - s["bookings"]["latest_min"][:n]
        )[done]
        wheelchair = s["bookings"]["wheelchair"][:n] > 0
        assert kpis["eligible"][i] == eligible.sum()
        assert kpis["completion_rate"][i] == pytest.approx(done.sum() / eligible.sum())
        assert kpis["lateness_mean_min"][i] == pytest.approx(late.mean())
        assert kpis["lateness_p95_min"][i] == pytest.approx(np.sort(late)[int(0.95 * len(late))])
        assert kpis["completion_wc"][i] == pytest.approx((done & wheelchair).sum() / (eligible & wheelchair).sum())
        missed_or_late = (eligible & ~done).sum() + (late > 1e-9).sum()
        assert kpis["late_or_missed_share"][i] == pytest.approx(missed_or_late / eligible.sum())
        assert kpis["on_time_15"][i] == pytest.approx((late <= 15).sum() / eligible.sum())
        assert kpis["on_time_30"][i] == pytest.approx((late < 30).sum() / eligible.sum())
        assert kpis["lateness_share"][i] == pytest.approx((late > 1e-9).mean())
        assert kpis["deadhead_share"][i] == pytest.approx(1 - s["loaded_km"] / s["km"])
        assert kpis["rider_km_per_km"][i] == pytest.approx(s["rider_km"] / s["km"])
        assert kpis["km_per_completed"][i] == pytest.approx(s["km"] / done.sum())
        assert kpis["trips_per_vehicle_hour"][i] == pytest.approx(60 * done.sum() / (8 * s["now_min"]))
        busy_min = played.busy_min[i] - 0.5 * (played.assigned[i] >= 0).sum()  # an errand ends within a minute
        assert kpis["utilisation"][i] == pytest.approx(busy_min / (8 * s["now_min"]), abs=0.01)
        pickup, dropoff = (
            np.stack([s["bookings"][f"{end}_{x}_km"][:n] for x in "xy"]) for end in ("pickup", "dropoff")
        )
        least = [kpis["completion_amb"][i], kpis["completion_wc"][i]]
        for name, value in (("trip", np.hypot(*(dropoff - pickup))), ("zone", np.hypot(*pickup))):
            quarters = np.array_split(np.argsort(value[eligible]), np.arange(1, 4) * eligible.sum() // 4)
            for q, quarter in enumerate(quarters, 1):
                least.append(kpis[f"completion_{name}_q{q}"][i])
                assert least[-1] == pytest.approx(done[eligible][quarter].mean())
        assert kpis["min_class_completion"][i] == min(least)
        assert kpis["reward_per_step"][i] == pytest.approx(played.returns[i] / s["steps"])
        assert kpis["min_class_completion"][i] <= kpis["completion_rate"][i]


def test_refusing_never_pays_in_any_corner_of_the_parameters():
    p = {q.name: q for q in kernel.PARAMETERS}
    diagonal_km = 2 * math.sqrt(2) * p["area_half_width_km"].high
    dearest = p["km_cost_usd"].high * 2 * p["circuity"].high * diagonal_km
    dearest += p["late_cost_usd_per_min"].high * kernel.LATE_CAP_MIN + p["ride_cost_usd_per_min"].high * 15
    assert p["fare_usd"].low + p["miss_cost_usd"].low >= dearest
