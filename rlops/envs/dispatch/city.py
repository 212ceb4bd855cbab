"""The city that Dispatch v1 and v2 share: streets, traffic and riders. None of it depends on the policy.

Minutes count from 06:00, kilometres east and north from the centre of a square service area.

**Streets.** A leg is ``circuity`` x the straight line (Newell 1980). The speed is constant within a
quarter of an hour and the clock follows from integrating distance over it (Ichoua, Gendreau, Potvin 2003),
so that whoever departs later never arrives earlier. The expected speed follows the hour; the true one is
divided by a factor of the day and by a log AR(1) congestion of the quarter, each with mean 1: expected
minutes are right on average. A leg's log-normal noise (mean 1) multiplies its kilometres in time, not its
fuel.

**Riders.** Bookings of an hour are Poisson: day factor x profile. A booking's draws belong to its hour and
its number within the hour, so more demand adds bookings and leaves the others as they were. A trip has a
log-normal length and one end in a hot spot or anywhere; in the morning some trips run inwards, in the
afternoon outwards.
"""

import math

import numpy as np
from numba import njit

from rlops.envs.draws import normal, stream_key, uniform

MAX_BOOKINGS = 320
"""Bookings of a day, 2.4 standard deviations above the highest demand; more are counted, not held."""
DAY_START_HOUR = 6
HORIZON_MIN = 720.0
"""[min] Requests come until 18:00."""
END_MIN = 870.0
"""[min] Whatever is unresolved at 20:30 is missed."""
QUARTER_MIN = 15.0
QUARTERS = 64
"""Pieces of the speed profile, 16 h; later times use the last."""
ZONES = 16
"""4 x 4 squares over the area, from the south-west, eastwards first."""

HIDDEN, OPEN, ASSIGNED, ONBOARD, DONE, MISSED, NO_SHOW, CANCELLED = range(8)
"""Status of a booking."""

PARATRANSIT, NYC, CHICAGO, FLAT = range(4)
"""Choices of the parameter ``demand_profile``."""

# Streams of random draws; a kernel takes its own from FIRST_KERNEL_STREAM upwards.
DEMAND_DAY, TRAFFIC_DAY, CONGESTION, COUNT, ASKED, PREBOOKED = range(1, 7)
LENGTH, HEADING, HOT, HOT_SPOT, ANCHOR_X, ANCHOR_Y, DIRECTED, SWAPPED = range(7, 15)
WHEELCHAIR, COMPANION, BOARD, ALIGHT, NO_SHOWS, CANCELS, CANCEL_TIME, LEG_NOISE, TABLE_DAY = range(15, 24)
FIRST_KERNEL_STREAM = 32

_HOURS = int(HORIZON_MIN) // 60
_PER_HOUR = 1024  # a booking's entity = hour x _PER_HOUR + number within the hour

DEMAND_SHARE = np.array(
    [  # 06 … 17 h [%], weekdays: paratransit Chattanooga 2021, NYC yellow taxi 2019, Chicago taxi 2013-16
        [2.1, 5.4, 8.1, 12.2, 12.4, 6.0, 7.8, 8.9, 10.4, 10.1, 5.9, 1.9],
        [2.5, 4.7, 5.5, 5.2, 4.8, 5.0, 5.2, 5.0, 5.6, 5.5, 5.3, 6.1],
        [1.5, 2.5, 4.4, 5.4, 5.3, 4.4, 5.3, 4.8, 5.3, 4.8, 5.2, 5.9],
        [1.0] * 12,
    ]
)
DEMAND_SHARE /= DEMAND_SHARE.sum(1, keepdims=True)
"""[-] Share of a day's bookings in each hour, by profile."""

# 06 … 21 h [km/h]: taxi trips, kilometres over hours; Chicago 2013-16, Manhattan weekdays 2018
_CHICAGO_KMH = (
    *(35.2, 27.9, 26.2, 24.5, 30.7, 30.9, 29.0, 28.4),
    *(27.3, 24.8, 25.4, 21.5, 21.9, 25.6, 28.2, 29.8),
)
_MANHATTAN_KMH = (
    *(22.6, 17.5, 13.7, 12.8, 12.6, 12.6, 12.9, 13.3),
    *(13.7, 13.3, 13.5, 14.0, 14.6, 15.7, 17.0, 18.3),
)
SPEED_SHAPE = np.array([_CHICAGO_KMH, _MANHATTAN_KMH, _CHICAGO_KMH, [1.0] * 16])
SPEED_SHAPE /= SPEED_SHAPE[:, :_HOURS].mean(1, keepdims=True)
"""[-] Expected speed by hour against its mean over 06-18 h, by profile."""

LENGTH_LOG_MEAN = np.array([1.476, 1.06, 1.476, 1.476])
LENGTH_LOG_SD = np.array([0.825, 0.90, 0.825, 0.825])
"""Straight-line kilometres of a trip are log-normal: Chattanooga 2021, NYC yellow taxi 2019. None is longer
than the area is wide (the fitted tail is heavier than the data's: 95 % are below 13.3 km)."""

HOT_SPOTS = np.array(
    [
        [0.05, 0.10],
        [-0.45, 0.35],
        [0.50, -0.30],
        [-0.25, -0.55],
        [0.60, 0.60],
        [-0.70, -0.15],
        [0.20, 0.70],
        [0.75, 0.05],
    ],
)
"""[half widths] Centres of the hot spots, the parameter ``hotspots`` takes the first ones. Assumption."""
HOT_SPOT_SD_KM = 0.6
"""[km] Spread of trip ends about a hot spot, each axis. Assumption: a hospital quarter."""

BOARD_CV_AMB, BOARD_CV_WC = 0.5, 0.4
"""[-] Coefficient of variation of boarding and alighting. Assumption, wheelchairs being steadier."""
LATE_CANCEL_MIN = 120.0
"""[min] A late cancellation comes within this time before the end of the window. Assumption."""
MORNING_MIN, AFTERNOON_MIN = (60.0, 240.0), (540.0, 720.0)
"""[min] 7-10 h, trips tend inwards; 15-18 h, outwards."""
MAX_DEMAND_PER_DAY = 280.0
"""[1/d] The day factor is cut so that the expected bookings of a day stay below."""
_HEADINGS = 8  # tries for a heading that stays within the area

BOOKING = np.dtype(
    [
        ("reveal_min", "f8"),
        ("earliest_min", "f8"),
        ("latest_min", "f8"),
        ("expires_min", "f8"),  # latest_min + patience
        ("pickup_x_km", "f8"),
        ("pickup_y_km", "f8"),
        ("dropoff_x_km", "f8"),
        ("dropoff_y_km", "f8"),
        ("direct_min", "f8"),  # expected direct ride from earliest_min
        ("board_min", "f8"),  # realised, hidden
        ("alight_min", "f8"),  # realised, hidden
        ("cancel_min", "f8"),  # inf: never; hidden
        ("picked_min", "f8"),  # end of boarding; nan until known
        ("dropped_min", "f8"),  # end of alighting; nan until known
        ("entity", "i4"),  # whose draws they are
        ("vehicle", "i4"),  # -1: none
        ("status", "i2"),
        ("ambulatory", "i2"),  # places
        ("wheelchair", "i2"),  # places
        ("prebooked", "i1"),
        ("no_show", "i1"),  # hidden
    ],
    align=True,
)
"""One booking of a day. It lies together, because what happens to a booking reads most of it, and nothing else does."""

CITY_FIELDS = [
    ("now_min", "f8"),
    ("n_bookings", "i4"),
    ("n_clipped", "i4"),  # bookings beyond MAX_BOOKINGS
    ("next_booking", "i4"),  # the next to be revealed
    ("demand_factor", "f8"),  # [-] of the day, hidden
    ("traffic_factor", "f8"),  # [-] of the day's minutes per km, hidden
    ("congestion", "f8", (QUARTERS,)),  # [-] log AR(1) of minutes per km, hidden
    ("speed_km_per_min", "f8", (QUARTERS,)),  # true
    ("reach_km", "f8", (QUARTERS + 1,)),  # true kilometres since 06:00 at the start of each quarter
    ("expected_speed_km_per_min", "f8", (QUARTERS,)),
    ("expected_reach_km", "f8", (QUARTERS + 1,)),
    ("zone_share", "f8", (ZONES,)),  # [-] expected share of pickups, see zone_rate
    ("bookings", BOOKING, (MAX_BOOKINGS,)),  # in the order of their reveal; those beyond n_bookings stay zero
]
"""State fields."""

DATA = np.dtype(
    [
        ("day", "i4"),
        ("reveal_min", "f8"),
        ("earliest_min", "f8"),
        ("latest_min", "f8"),
        ("pickup_x_km", "f8"),
        ("pickup_y_km", "f8"),
        ("dropoff_x_km", "f8"),
        ("dropoff_y_km", "f8"),
        ("ambulatory", "i4"),
        ("wheelchair", "i4"),
        ("prebooked", "i4"),
    ],
    align=True,
)
"""One booking of a user's table, sorted by (day, reveal_min)."""


@njit(error_model="numpy")
def _uniform(s, stream, entity):
    return uniform(stream_key(s.key, 0, stream), entity)


@njit(error_model="numpy")
def _normal(s, stream, entity):
    return normal(stream_key(s.key, 0, stream), entity)


# --- streets --------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def road_km(p, x0, y0, x1, y1):
    """Return the road kilometres between two points."""
    return p.circuity * math.sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0))


@njit(error_model="numpy")
def quarter_at(t_min):
    """Return the quarter of an hour since 06:00 that ``t_min`` falls into, within the tables."""
    return min(max(int(t_min * (1.0 / QUARTER_MIN)), 0), QUARTERS - 1)


@njit(error_model="numpy")
def _reach_at(speed_km_per_min, reach_km, t_min):
    """Return the kilometres that a vehicle covers from 06:00 until ``t_min``."""
    q = quarter_at(t_min)
    return reach_km[q] + speed_km_per_min[q] * (t_min - QUARTER_MIN * q)


@njit(error_model="numpy")
def _time_at(speed_km_per_min, reach_km, target_km, q):
    """Return when ``target_km`` are covered, which must not be before quarter ``q``."""
    while q < QUARTERS - 1 and reach_km[q + 1] < target_km:
        q += 1
    return QUARTER_MIN * q + (target_km - reach_km[q]) / speed_km_per_min[q]


@njit(error_model="numpy")
def arrival_min(s, depart_min, km):
    """Return when a leg of ``km`` (times its noise) that departs at ``depart_min`` truly ends."""
    target_km = _reach_at(s.speed_km_per_min, s.reach_km, depart_min) + km
    return max(depart_min, _time_at(s.speed_km_per_min, s.reach_km, target_km, quarter_at(depart_min)))


@njit(error_model="numpy")
def expected_arrival_min(s, depart_min, km):
    """Return when a leg of ``km`` that departs at ``depart_min`` is expected to end."""
    target_km = _reach_at(s.expected_speed_km_per_min, s.expected_reach_km, depart_min) + km
    return max(
        depart_min,
        _time_at(s.expected_speed_km_per_min, s.expected_reach_km, target_km, quarter_at(depart_min)),
    )


@njit(error_model="numpy")
def expected_departure_min(s, arrive_min, km):
    """Return the latest departure that is expected to arrive by ``arrive_min``; 0 if none is late enough."""
    target_km = _reach_at(s.expected_speed_km_per_min, s.expected_reach_km, arrive_min) - km
    if target_km <= 0.0:
        return 0.0
    return min(arrive_min, _time_at(s.expected_speed_km_per_min, s.expected_reach_km, target_km, 0))


@njit(error_model="numpy")
def leg_factor(p, s, from_stop, to_stop):
    """Return the noise of a leg [-], log-normal with mean 1; it multiplies the leg's kilometres in time.

    Stops: 2b is the pickup of booking b, 2b + 1 its drop-off, 2 MAX_BOOKINGS + v where vehicle v started,
    higher ones a kernel's own places.
    """
    sd = p.leg_noise_sd
    return math.exp(sd * _normal(s, LEG_NOISE, from_stop * 4096 + to_stop) - 0.5 * sd * sd)


@njit(error_model="numpy")
def zone_of(p, x_km, y_km):
    """Return the zone of a point; points outside the area belong to the nearest."""
    side = 2.0 / p.area_half_width_km  # zones per km
    east = min(max(int((x_km + p.area_half_width_km) * side), 0), 3)
    north = min(max(int((y_km + p.area_half_width_km) * side), 0), 3)
    return 4 * north + east


@njit(error_model="numpy")
def demand_rate(p, t_min):
    """Return the bookings per minute that are expected to ask for ``t_min``, in the parameters' demand."""
    if t_min < 0.0 or t_min >= HORIZON_MIN:
        return 0.0
    return p.demand_per_day * DEMAND_SHARE[p.demand_profile, int(t_min * (1.0 / 60.0))] * (1.0 / 60.0)


@njit(error_model="numpy")
def zone_rate(p, s, zone, t_min):
    """Return the bookings per minute that are expected to ask for a pickup in ``zone`` at ``t_min``.

    A hot spot is one end of a trip; the other, at the trip's length from it, counts as anywhere.
    """
    return demand_rate(p, t_min) * s.zone_share[zone]


# --- a day ----------------------------------------------------------------------------------------------


@njit(error_model="numpy")
def draw_city(p, s, d):
    """Write a new day into ``s``: from the parameters, or one day of the table ``d`` if it has rows."""
    s.now_min = 0.0
    s.next_booking = 0
    s.n_clipped = 0
    _draw_traffic(p, s)
    _write_zone_shares(p, s)
    log_variance = math.log(1.0 + p.demand_day_cv * p.demand_day_cv)
    z = _normal(s, DEMAND_DAY, 0)
    s.demand_factor = min(
        math.exp(math.sqrt(log_variance) * z - 0.5 * log_variance), MAX_DEMAND_PER_DAY / p.demand_per_day
    )
    if d.shape[0] > 0:
        _take_bookings(p, s, d)
    else:
        _draw_bookings(p, s)
    for i in range(s.n_bookings):
        _draw_behaviour(p, s, s.bookings[i])


@njit(error_model="numpy")
def _draw_traffic(p, s):
    sd = p.traffic_day_sd
    s.traffic_factor = math.exp(sd * _normal(s, TRAFFIC_DAY, 0) - 0.5 * sd * sd)
    variance = p.congestion_sd * p.congestion_sd / (1.0 - p.congestion_rho * p.congestion_rho)
    log_pace = math.sqrt(variance) * _normal(s, CONGESTION, 0)
    s.reach_km[0] = 0.0
    s.expected_reach_km[0] = 0.0
    for q in range(QUARTERS):
        if q > 0:
            log_pace = p.congestion_rho * log_pace + p.congestion_sd * _normal(s, CONGESTION, q)
        expected = p.base_speed_kmh / 60.0 * SPEED_SHAPE[p.demand_profile, q // 4]
        true = expected / (s.traffic_factor * math.exp(log_pace - 0.5 * variance))
        s.congestion[q] = log_pace
        s.expected_speed_km_per_min[q] = expected
        s.speed_km_per_min[q] = true
        s.expected_reach_km[q + 1] = s.expected_reach_km[q] + QUARTER_MIN * expected
        s.reach_km[q + 1] = s.reach_km[q] + QUARTER_MIN * true


@njit(error_model="numpy")
def _band_share(p, centre_km, band):
    """Return a hot spot's share in one of the four bands of an axis; the outer ones are open."""
    low = p.area_half_width_km * (0.5 * band - 1.0) - centre_km
    high = low + 0.5 * p.area_half_width_km
    scale = 1.0 / (math.sqrt(2.0) * HOT_SPOT_SD_KM)
    below = -1.0 if band == 0 else math.erf(low * scale)
    above = 1.0 if band == 3 else math.erf(high * scale)
    return 0.5 * (above - below)


@njit(error_model="numpy")
def _write_zone_shares(p, s):
    for zone in range(ZONES):
        s.zone_share[zone] = (1.0 - 0.5 * p.hotspot_share) / ZONES
    weight = 0.5 * p.hotspot_share / p.hotspots
    for spot in range(p.hotspots):
        x_km = HOT_SPOTS[spot, 0] * p.area_half_width_km
        y_km = HOT_SPOTS[spot, 1] * p.area_half_width_km
        for north in range(4):
            row = weight * _band_share(p, y_km, north)
            for east in range(4):
                s.zone_share[4 * north + east] += row * _band_share(p, x_km, east)


@njit(error_model="numpy")
def _poisson(u, mean):
    """Return the Poisson count at quantile ``u``: never less for a higher ``mean``."""
    count = 0
    probability = math.exp(-mean)
    cumulated = probability
    while u > cumulated and count < _PER_HOUR - 1:
        count += 1
        probability *= mean / count
        cumulated += probability
    return count


@njit(error_model="numpy")
def _asked_min(s, entity):
    return 60.0 * (entity // _PER_HOUR + _uniform(s, ASKED, entity))


@njit(error_model="numpy")
def _is_prebooked(p, s, entity):
    return _uniform(s, PREBOOKED, entity) < p.prebook_share


@njit(error_model="numpy")
def _reveal_min(p, s, entity):
    asked_min = _asked_min(s, entity)
    if _is_prebooked(p, s, entity):
        return max(0.0, asked_min - p.window_half_min - p.lookahead_min)
    return asked_min


@njit(error_model="numpy")
def _draw_bookings(p, s):
    """Draw the bookings: those of each hour, put in the order of their reveal, then one by one."""
    n = 0
    for hour in range(_HOURS):
        mean = p.demand_per_day * s.demand_factor * DEMAND_SHARE[p.demand_profile, hour]
        count = _poisson(_uniform(s, COUNT, hour), mean)
        for number in range(count):
            if n == MAX_BOOKINGS:
                s.n_clipped += count - number
                break
            entity = hour * _PER_HOUR + number
            reveal_min = _reveal_min(p, s, entity)
            i = n
            while i > 0 and s.bookings[i - 1].reveal_min > reveal_min:
                s.bookings[i].reveal_min = s.bookings[i - 1].reveal_min
                s.bookings[i].entity = s.bookings[i - 1].entity
                i -= 1
            s.bookings[i].reveal_min = reveal_min
            s.bookings[i].entity = entity
            n += 1
    s.n_bookings = n
    for i in range(n):
        _draw_booking(p, s, s.bookings[i])


@njit(error_model="numpy")
def _draw_booking(p, s, b):
    """Draw window, trip and party of one booking; a prebooked one names the middle of its window."""
    g = b.entity
    asked_min = _asked_min(s, g)
    if _is_prebooked(p, s, g):
        b.prebooked = 1
        b.earliest_min = max(0.0, asked_min - p.window_half_min)
        b.latest_min = asked_min + p.window_half_min
    else:
        b.prebooked = 0
        b.earliest_min = asked_min
        b.latest_min = asked_min + 2.0 * p.window_half_min
    _draw_trip(p, s, b, asked_min)
    companion = 1 if _uniform(s, COMPANION, g) < p.party2_share else 0
    b.wheelchair = 1 if _uniform(s, WHEELCHAIR, g) < p.wc_share else 0
    b.ambulatory = companion if b.wheelchair else 1 + companion


@njit(error_model="numpy")
def _draw_trip(p, s, b, asked_min):
    """Draw a trip: its length, an end in a hot spot or anywhere, a heading; then which end is the pickup."""
    g = b.entity
    half_km = p.area_half_width_km
    z = _normal(s, LENGTH, g)
    km = min(math.exp(LENGTH_LOG_MEAN[p.demand_profile] + LENGTH_LOG_SD[p.demand_profile] * z), 2.0 * half_km)
    hot = _uniform(s, HOT, g) < p.hotspot_share
    x, y, east, north = 0.0, 0.0, 0.0, 0.0
    if hot:
        spot = int(_uniform(s, HOT_SPOT, g) * p.hotspots)
        x = HOT_SPOTS[spot, 0] * half_km + HOT_SPOT_SD_KM * _normal(s, ANCHOR_X, g)
        y = HOT_SPOTS[spot, 1] * half_km + HOT_SPOT_SD_KM * _normal(s, ANCHOR_Y, g)
    for attempt in range(_HEADINGS):
        angle = 2.0 * math.pi * _uniform(s, HEADING, g * _HEADINGS + attempt)
        east, north = km * math.cos(angle), km * math.sin(angle)
        if not hot or (abs(x + east) <= half_km and abs(y + north) <= half_km):
            break
    # where the first end may lie so that both stay within the area
    west_km, east_km = -half_km + max(0.0, -east), half_km - max(0.0, east)
    south_km, north_km = -half_km + max(0.0, -north), half_km - max(0.0, north)
    if hot:
        x, y = min(max(x, west_km), east_km), min(max(y, south_km), north_km)
    else:
        x = west_km + (east_km - west_km) * _uniform(s, ANCHOR_X, g)
        y = south_km + (north_km - south_km) * _uniform(s, ANCHOR_Y, g)
    swap = _uniform(s, SWAPPED, g) < 0.5
    if _uniform(s, DIRECTED, g) < p.directional_am:
        inwards = (x + east) * (x + east) + (y + north) * (y + north) < x * x + y * y
        if MORNING_MIN[0] <= asked_min < MORNING_MIN[1]:
            swap = not inwards
        elif AFTERNOON_MIN[0] <= asked_min < AFTERNOON_MIN[1]:
            swap = inwards
    if swap:
        x, y, east, north = x + east, y + north, -east, -north
    b.pickup_x_km, b.pickup_y_km = x, y
    b.dropoff_x_km, b.dropoff_y_km = x + east, y + north


@njit(error_model="numpy")
def _day_end(d, start):
    """Return the index behind the last row of the day that begins at row ``start``."""
    low, high = start + 1, d.shape[0]
    while low < high:
        middle = (low + high) // 2
        if d[middle].day == d[start].day:
            low = middle + 1
        else:
            high = middle
    return low


@njit(error_model="numpy")
def _take_bookings(p, s, d):
    """Copy the bookings of one day of the table: ``demand_day``, or each day as likely as another."""
    days, start = 0, 0
    while start < d.shape[0]:
        start = _day_end(d, start)
        days += 1
    chosen = p.demand_day % days
    if p.demand_day < 0:
        chosen = int(_uniform(s, TABLE_DAY, 0) * days)
    start = 0
    for _ in range(chosen):
        start = _day_end(d, start)
    rows = _day_end(d, start) - start
    s.n_bookings = min(rows, MAX_BOOKINGS)
    s.n_clipped = rows - s.n_bookings
    for i in range(s.n_bookings):
        row, b = d[start + i], s.bookings[i]
        b.entity = i
        b.reveal_min = row.reveal_min
        b.earliest_min = row.earliest_min
        b.latest_min = row.latest_min
        b.pickup_x_km = row.pickup_x_km
        b.pickup_y_km = row.pickup_y_km
        b.dropoff_x_km = row.dropoff_x_km
        b.dropoff_y_km = row.dropoff_y_km
        b.ambulatory = row.ambulatory
        b.wheelchair = row.wheelchair
        b.prebooked = row.prebooked


@njit(error_model="numpy")
def _draw_behaviour(p, s, b):
    """Draw what nobody knows of a booking beforehand, and write what follows from it."""
    g = b.entity
    wheelchair = b.wheelchair > 0
    board_min = p.board_wc_min if wheelchair else p.board_amb_min
    alight_min = p.alight_wc_min if wheelchair else p.alight_amb_min
    cv = BOARD_CV_WC if wheelchair else BOARD_CV_AMB
    log_variance = math.log(1.0 + cv * cv)
    sd = math.sqrt(log_variance)
    b.board_min = board_min * math.exp(sd * _normal(s, BOARD, g) - 0.5 * log_variance)
    b.alight_min = alight_min * math.exp(sd * _normal(s, ALIGHT, g) - 0.5 * log_variance)
    b.no_show = 1 if _uniform(s, NO_SHOWS, g) < p.no_show else 0
    b.cancel_min = np.inf
    if _uniform(s, CANCELS, g) < p.late_cancel:
        # who asks at once cannot take it back before
        notice_min = LATE_CANCEL_MIN
        if not b.prebooked:
            notice_min = min(notice_min, b.latest_min - b.reveal_min)
        b.cancel_min = b.latest_min - notice_min * _uniform(s, CANCEL_TIME, g)
    b.expires_min = b.latest_min + p.patience_min
    km = road_km(p, b.pickup_x_km, b.pickup_y_km, b.dropoff_x_km, b.dropoff_y_km)
    b.direct_min = expected_arrival_min(s, b.earliest_min, km) - b.earliest_min
    b.status = HIDDEN
    b.vehicle = -1
    b.picked_min = np.nan
    b.dropped_min = np.nan


@njit(error_model="numpy")
def reveal(p, s):
    """Open the bookings that have become known by now; what was cancelled before is never seen."""
    while s.next_booking < s.n_bookings and s.bookings[s.next_booking].reveal_min <= s.now_min:
        b = s.bookings[s.next_booking]
        b.status = CANCELLED if b.cancel_min <= b.reveal_min else OPEN
        s.next_booking += 1
