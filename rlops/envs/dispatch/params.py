"""Every parameter of Dispatch: unit, nominal value, hard bounds, source."""

from rlops.envs.contract import Parameter

CHATTANOOGA = "Chattanooga paratransit 2021, 25 144 trips on 180 days"
MANHATTAN = "Manhattan taxi, weekdays 2018"

# --- v0 -------------------------------------------------------------------------------------------------

HISTORICAL = "the historical task"

V0_PARAMETERS = (
    Parameter("arrival_rush", "-", 0.5, 0, 1, "demand", f"{HISTORICAL}: per step, 8-9:30 and 17-18:30 h"),
    Parameter("arrival_midday", "-", 0.35, 0, 1, "demand", f"{HISTORICAL}: per step, 12-14 h"),
    Parameter("arrival_else", "-", 0.2, 0, 1, "demand", f"{HISTORICAL}: per step, other hours"),
    Parameter("speed_kmh", "km/h", 30, 10, 60, "physical", HISTORICAL),
    Parameter("traffic_slowdown", "-", 0.5, 0, 2, "physical", f"{HISTORICAL}: travel time x (1 + 0.5 traffic)"),
    Parameter("load_end_probability", "-", 0.1, 0.01, 1, "disturbance", f"{HISTORICAL}: per load and step"),
    Parameter("late_tolerance_min", "min", 5, 0, 30, "demand", HISTORICAL),
    Parameter("near_km", "km", 5, 0, 20, "physical", f"{HISTORICAL}: a nearer pickup earns a bonus"),
    Parameter("assignment_reward", "-", 100, 0, 200, "physical", HISTORICAL),
    Parameter("late_reward", "-", -50, -200, 0, "physical", f"{HISTORICAL}: in place of the assignment reward"),
    Parameter("near_reward", "-", 10, 0, 50, "physical", HISTORICAL),
    Parameter("balance_reward", "-", 20, 0, 50, "physical", f"{HISTORICAL}: standard deviation of loads below 1"),
    Parameter("expired_reward", "-", -60, -200, 0, "physical", f"{HISTORICAL}: per booking"),
    Parameter("waiting_reward", "-", -5, -50, 0, "physical", f"{HISTORICAL}: while an assignment is legal"),
    Parameter("illegal_reward", "-", -100, -200, 0, "physical", HISTORICAL),
)
"""Parameters of v0."""

# --- v1 and v2 ------------------------------------------------------------------------------------------

V1_PARAMETERS = (
    # demand
    Parameter("demand_per_day", "1/d", 184, 100, 280, "demand", f"{CHATTANOOGA}: 184 on weekdays, 06-18 h"),
    Parameter("demand_day_cv", "-", 0.13, 0, 0.30, "demand", f"{CHATTANOOGA}: weekdays 184 ± 25"),
    Parameter(
        "demand_profile",
        "-",
        0,
        0,
        3,
        "demand",
        f"{CHATTANOOGA}; NYC yellow taxi 2019; Chicago taxi 2013-16; flat: no hour differs",
        choices=("paratransit", "nyc", "chicago", "flat"),
    ),
    Parameter(
        "demand_day",
        "-",
        -1,
        -1,
        9999,
        "demand",
        "day of a table of bookings, after the last the first again; -1: drawn",
        integer=True,
    ),
    Parameter("hotspot_share", "-", 0.5, 0, 0.9, "demand", f"{MANHATTAN}: 10 of 61 zones have 34 % of pickups"),
    Parameter("hotspots", "-", 4, 1, 8, "demand", "assumption: hospitals and centres of a town", integer=True),
    Parameter("directional_am", "-", 0.12, 0, 0.25, "demand", f"{MANHATTAN}: net flow 24 % (7-10 h), 12 % (15-18 h)"),
    Parameter("prebook_share", "-", 0.70, 0, 1, "demand", "assumption: most paratransit trips are booked ahead"),
    Parameter("lookahead_min", "min", 60, 0, 240, "demand", "assumption: prebooked trips show this long before"),
    Parameter("wc_share", "-", 0.20, 0, 0.4, "demand", f"{CHATTANOOGA}: 0.199 of trips with a wheelchair"),
    Parameter("party2_share", "-", 0.12, 0, 0.3, "demand", f"{CHATTANOOGA}: 0.129 of trips with two riders"),
    Parameter("no_show", "-", 0.04, 0, 0.12, "disturbance", "TCRP Synthesis 60, p. 9: average 4 %, high 12 %"),
    Parameter("late_cancel", "-", 0.03, 0, 0.15, "disturbance", "assumption: somewhat rarer than no-shows"),
    Parameter("patience_min", "min", 30, 10, 60, "demand", "FTA: a vehicle later than 30 min is a missed trip"),
    Parameter("window_half_min", "min", 15, 10, 30, "demand", "ADA practice: pickup window of ±15 min"),
    # streets
    Parameter("area_half_width_km", "km", 8, 5, 9, "physical", f"{CHATTANOOGA}: fits a mean trip of 5.8 km"),
    Parameter(
        "circuity",
        "-",
        1.30,
        1.15,
        1.45,
        "physical",
        "Newell 1980: 1.2; Chicago taxi 1.17-1.35; Boscoe 2012: 1.42",
    ),
    Parameter("base_speed_kmh", "km/h", 32, 22, 45, "physical", "mean of 06-18 h; Chicago taxi 27, suburbs faster"),
    Parameter("traffic_day_sd", "-", 0.10, 0, 0.25, "noise", "assumption: sd of the day's log minutes per km"),
    Parameter("congestion_rho", "-", 0.9, 0, 0.98, "noise", "assumption: AR(1) of log minutes per km, per 15 min"),
    Parameter("congestion_sd", "-", 0.05, 0, 0.15, "noise", "assumption: innovation of that AR(1)"),
    Parameter(
        "leg_noise_sd",
        "-",
        0.20,
        0,
        0.35,
        "noise",
        f"{MANHATTAN}: log residual 0.34, with the route's choice",
    ),
    # stops
    Parameter("board_amb_min", "min", 2, 1, 5, "physical", "Cordeau 2006: 3 min; agencies plan 5 min"),
    Parameter("board_wc_min", "min", 5, 3, 10, "physical", "Cordeau & Laporte 2003: 10 min; agencies plan 5 min"),
    Parameter("alight_amb_min", "min", 1.5, 0.5, 4, "physical", "assumption: three quarters of boarding"),
    Parameter("alight_wc_min", "min", 4, 2, 8, "physical", "assumption: four fifths of boarding"),
    Parameter("no_show_wait_min", "min", 5, 3, 10, "physical", "DREDF/FTA Topic Guide 6: five-minute wait"),
    # fleet
    Parameter("n_vehicles", "-", 8, 5, 16, "physical", "1.9 trips per vehicle-hour", integer=True),
    Parameter("cap_amb", "-", 4, 1, 9, "physical", "minivan; agency vehicles up to 9 places", integer=True),
    Parameter("cap_wc", "-", 1, 0, 3, "physical", "minivan with ramp; agency vehicles up to 3", integer=True),
    Parameter("ride_limit_min", "min", 30, 20, 90, "physical", "Cordeau 2006: 30, 45 and 90 min; the floor"),
    Parameter(
        "ride_limit_factor",
        "-",
        1.5,
        1.2,
        2.5,
        "physical",
        "Easter Seals FAQ: 2 x fixed route; of the direct ride",
    ),
    # Money. The bounds keep fare + miss above the dearest possible trip (25.5 km out and back, 30 min late,
    # 15 min of excess ride) in every corner, so refusing a booking never pays.
    Parameter("fare_usd", "$", 10, 10, 30, "physical", "assumption"),
    Parameter("km_cost_usd", "$/km", 0.42, 0.10, 0.42, "physical", "IRS standard mileage rate 2024: 0.67 $/mile"),
    Parameter("late_cost_usd_per_min", "$/min", 0.50, 0, 0.50, "physical", "assumption: 30 $/h of a rider's waiting"),
    Parameter("ride_cost_usd_per_min", "$/min", 0.20, 0, 0.20, "physical", "assumption: 12 $/h of a rider's riding"),
    Parameter("miss_cost_usd", "$", 40, 40, 100, "physical", "assumption: a taxi sent instead"),
)
"""Parameters of v1; v2 has them too."""

PARAMETERS = (
    Parameter("breakdown_per_km", "1/km", 1.8e-5, 0, 2e-3, "disturbance", "BTS Table 4-24: 1.6-1.9 per 100 000 km"),
    Parameter("repair_min", "min", 120, 60, 180, "disturbance", "assumption"),
    Parameter("shift_min", "min", 600, 480, 720, "physical", "agency practice: runs of 600 min"),
    Parameter("break_min", "min", 30, 0, 60, "physical", "agency practice"),
    Parameter("ev_share", "-", 0, 0, 1, "physical", "off by default: 100-150 km a day does not bind"),
    Parameter("ev_range_km", "km", 400, 160, 450, "physical", "NREL/Columbus Yellow Cab: 100- and 250-mile vehicles"),
    Parameter("ev_charge_kw", "kW", 50, 22, 150, "physical", "assumption: public chargers"),
    # options
    Parameter(
        "event_driven", "-", 0, 0, 1, "actuation", "1: ADVANCE runs to the next event, at most 5 min", integer=True
    ),
    Parameter("pooling", "-", 1, 0, 1, "actuation", "0: only empty vehicles, one booking at a time", integer=True),
    Parameter(
        "reward_sharing",
        "-",
        0,
        0,
        1,
        "actuation",
        "of the agents: the team's reward in equal parts, or one's own with misses shared",
        choices=("team", "marginal"),
    ),
    *V1_PARAMETERS,
)
"""Parameters of v2. Those of v1 come last: Numba takes a record that begins like another for a kind of it."""
