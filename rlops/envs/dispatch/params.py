"""Every parameter of Dispatch: unit, nominal value, hard bounds, source."""

from rlops.envs.contract import Parameter

CHATTANOOGA = "Chattanooga paratransit 2021, 25 144 trips on 180 days"
MANHATTAN = "Manhattan taxi, weekdays 2018"

# --- v0 -------------------------------------------------------------------------------------------------

HISTORICAL = "the historical task"

# fmt: off
V0_PARAMETERS = (
    Parameter("arrival_rush", "-", 0.5, 0, 1, "demand", f"{HISTORICAL}: per step, 8-9:30 and 17-18:30 h",
              plausible=(0.35, 0.65), effect="+bookings"),
    Parameter("arrival_midday", "-", 0.35, 0, 1, "demand", f"{HISTORICAL}: per step, 12-14 h",
              plausible=(0.2, 0.5), effect="+bookings"),
    Parameter("arrival_else", "-", 0.2, 0, 1, "demand", f"{HISTORICAL}: per step, other hours",
              plausible=(0.1, 0.3), effect="+bookings"),
    Parameter("speed_kmh", "km/h", 30, 10, 60, "physical", HISTORICAL, plausible=(24, 36), effect="-lateness_share"),
    Parameter("traffic_slowdown", "-", 0.5, 0, 2, "physical", f"{HISTORICAL}: travel time x (1 + 0.5 traffic)",
              plausible=(0.25, 0.75), effect="+lateness_share"),
    Parameter("load_end_probability", "-", 0.1, 0.01, 1, "disturbance", f"{HISTORICAL}: per load and step",
              plausible=(0.07, 0.15), effect="+completion_rate"),
    Parameter("late_tolerance_min", "min", 5, 0, 30, "demand", HISTORICAL, plausible=(3, 8), effect="-lateness_share"),
    Parameter("near_km", "km", 5, 0, 20, "physical", f"{HISTORICAL}: a nearer pickup earns a bonus",
              effect="+reward.near_pickup"),
    Parameter("assignment_reward", "-", 100, 0, 200, "physical", HISTORICAL, effect="+reward.assignment"),
    Parameter("late_reward", "-", -50, -200, 0, "physical", f"{HISTORICAL}: in place of the assignment reward",
              effect="+reward.assignment"),
    Parameter("near_reward", "-", 10, 0, 50, "physical", HISTORICAL, effect="+reward.near_pickup"),
    Parameter("balance_reward", "-", 20, 0, 50, "physical", f"{HISTORICAL}: standard deviation of loads below 1",
              effect="+reward.balance"),
    Parameter("expired_reward", "-", -60, -200, 0, "physical", f"{HISTORICAL}: per booking", effect="+reward.expired"),
    Parameter("waiting_reward", "-", -5, -50, 0, "physical", f"{HISTORICAL}: while an assignment is legal",
              effect="+reward.waiting"),
    Parameter("illegal_reward", "-", -100, -200, 0, "physical", HISTORICAL, effect="+reward.illegal"),
)
# fmt: on
"""Parameters of v0."""

# --- v1 and v2 ------------------------------------------------------------------------------------------

# fmt: off
V1_PARAMETERS = (
    # demand
    Parameter("demand_per_day", "1/d", 184, 100, 280, "demand", f"{CHATTANOOGA}: 184 on weekdays, 06-18 h",
              plausible=(150, 220), effect="+bookings"),
    Parameter("demand_day_cv", "-", 0.13, 0, 0.30, "demand", f"{CHATTANOOGA}: weekdays 184 ± 25",
              plausible=(0.08, 0.18)),
    Parameter("demand_profile", "-", 0, 0, 3, "demand",
              f"{CHATTANOOGA}; NYC yellow taxi 2019; Chicago taxi 2013-16; flat: no hour differs",
              choices=("paratransit", "nyc", "chicago", "flat")),
    Parameter("demand_day", "-", -1, -1, 9999, "demand",
              "day of a table of bookings, after the last the first again; -1: drawn", integer=True),
    Parameter("hotspot_share", "-", 0.5, 0, 0.9, "demand", f"{MANHATTAN}: 10 of 61 zones have 34 % of pickups",
              plausible=(0.3, 0.7), effect="-mean_distance_km"),
    Parameter("hotspots", "-", 4, 1, 8, "demand", "assumption: hospitals and centres of a town",
              integer=True, plausible=(2, 6), effect="+mean_distance_km"),
    Parameter("directional_am", "-", 0.12, 0, 0.25, "demand", f"{MANHATTAN}: net flow 24 % (7-10 h), 12 % (15-18 h)",
              plausible=(0.06, 0.18)),
    Parameter("prebook_share", "-", 0.70, 0, 1, "demand", "assumption: most paratransit trips are booked ahead",
              plausible=(0.5, 0.9), effect="-lateness_share"),
    Parameter("lookahead_min", "min", 60, 0, 240, "demand", "assumption: prebooked trips show this long before",
              plausible=(30, 120), effect="-lateness_share"),
    Parameter("wc_share", "-", 0.20, 0, 0.4, "demand", f"{CHATTANOOGA}: 0.199 of trips with a wheelchair",
              plausible=(0.12, 0.28)),
    Parameter("party2_share", "-", 0.12, 0, 0.3, "demand", f"{CHATTANOOGA}: 0.129 of trips with two riders",
              plausible=(0.06, 0.18), effect="+rider_km_per_km"),
    Parameter("no_show", "-", 0.04, 0, 0.12, "disturbance", "TCRP Synthesis 60, p. 9: average 4 %, high 12 %",
              plausible=(0.02, 0.08), effect="+no_shows"),
    Parameter("late_cancel", "-", 0.03, 0, 0.15, "disturbance", "assumption: somewhat rarer than no-shows",
              plausible=(0.01, 0.08), effect="+cancelled"),
    Parameter("patience_min", "min", 30, 10, 60, "demand", "FTA: a vehicle later than 30 min is a missed trip",
              plausible=(20, 40), effect="+lateness_p95_min"),
    Parameter("window_half_min", "min", 15, 10, 30, "demand", "ADA practice: pickup window of ±15 min",
              effect="-lateness_share"),
    # streets
    Parameter("area_half_width_km", "km", 8, 5, 9, "physical", f"{CHATTANOOGA}: fits a mean trip of 5.8 km",
              plausible=(7, 8.5), effect="+mean_distance_km"),
    Parameter("circuity", "-", 1.30, 1.15, 1.45, "physical",
              "Newell 1980: 1.2; Chicago taxi 1.17-1.35; Boscoe 2012: 1.42",
              plausible=(1.22, 1.38), effect="+mean_distance_km"),
    Parameter("base_speed_kmh", "km/h", 32, 22, 45, "physical", "mean of 06-18 h; Chicago taxi 27, suburbs faster",
              plausible=(27, 38), effect="+on_time_15"),
    Parameter("traffic_day_sd", "-", 0.10, 0, 0.25, "noise", "assumption: sd of the day's log minutes per km",
              plausible=(0.05, 0.15)),
    Parameter("congestion_rho", "-", 0.9, 0, 0.98, "noise", "assumption: AR(1) of log minutes per km, per 15 min",
              plausible=(0.8, 0.95)),
    Parameter("congestion_sd", "-", 0.05, 0, 0.15, "noise", "assumption: innovation of that AR(1)",
              plausible=(0.02, 0.09)),
    Parameter("leg_noise_sd", "-", 0.20, 0, 0.35, "noise", f"{MANHATTAN}: log residual 0.34, with the route's choice",
              plausible=(0.1, 0.28)),
    # stops
    Parameter("board_amb_min", "min", 2, 1, 5, "physical", "Cordeau 2006: 3 min; agencies plan 5 min",
              plausible=(1.5, 3.5), effect="-completed"),
    Parameter("board_wc_min", "min", 5, 3, 10, "physical", "Cordeau & Laporte 2003: 10 min; agencies plan 5 min",
              plausible=(4, 7), effect="-completed"),
    Parameter("alight_amb_min", "min", 1.5, 0.5, 4, "physical", "assumption: three quarters of boarding",
              plausible=(1, 2.5), effect="-completed"),
    Parameter("alight_wc_min", "min", 4, 2, 8, "physical", "assumption: four fifths of boarding",
              plausible=(3, 6), effect="-completed"),
    Parameter("no_show_wait_min", "min", 5, 3, 10, "physical", "DREDF/FTA Topic Guide 6: five-minute wait"),
    # fleet
    Parameter("n_vehicles", "-", 8, 5, 16, "physical", "1.9 trips per vehicle-hour", integer=True, effect="+completed"),
    Parameter("cap_amb", "-", 4, 1, 9, "physical", "minivan; agency vehicles up to 9 places",
              integer=True, effect="+rider_km_per_km"),
    Parameter("cap_wc", "-", 1, 0, 3, "physical", "minivan with ramp; agency vehicles up to 3",
              integer=True, effect="+completion_wc"),
    Parameter("ride_limit_min", "min", 30, 20, 90, "physical", "Cordeau 2006: 30, 45 and 90 min; the floor"),
    Parameter("ride_limit_factor", "-", 1.5, 1.2, 2.5, "physical",
              "Easter Seals FAQ: 2 x fixed route; of the direct ride"),
    # Money. The bounds keep fare + miss above the dearest possible trip (25.5 km out and back, 30 min late,
    # 15 min of excess ride) in every corner, so refusing a booking never pays.
    Parameter("fare_usd", "$", 10, 10, 30, "physical", "assumption", effect="+reward.fare"),
    Parameter("km_cost_usd", "$/km", 0.42, 0.10, 0.42, "physical", "IRS standard mileage rate 2024: 0.67 $/mile",
              effect="-reward.distance"),
    Parameter("late_cost_usd_per_min", "$/min", 0.50, 0, 0.50, "physical", "assumption: 30 $/h of a rider's waiting",
              effect="-reward.lateness"),
    Parameter("ride_cost_usd_per_min", "$/min", 0.20, 0, 0.20, "physical", "assumption: 12 $/h of a rider's riding",
              effect="-reward.excess_ride"),
    Parameter("miss_cost_usd", "$", 40, 40, 100, "physical", "assumption: a taxi sent instead",
              effect="-reward.missed"),
)
# fmt: on
"""Parameters of v1; v2 has them too."""

# fmt: off
PARAMETERS = (
    Parameter("breakdown_per_km", "1/km", 1.8e-5, 0, 2e-3, "disturbance", "BTS Table 4-24: 1.6-1.9 per 100 000 km",
              plausible=(5e-6, 2e-4), effect="+breakdowns"),
    Parameter("repair_min", "min", 120, 60, 180, "disturbance", "assumption", plausible=(90, 150), effect="-completed"),
    Parameter("shift_min", "min", 600, 480, 720, "physical", "agency practice: runs of 600 min", effect="+completed"),
    Parameter("break_min", "min", 30, 0, 60, "physical", "agency practice", effect="-completed"),
    Parameter("ev_share", "-", 0, 0, 1, "physical", "off by default: 100-150 km a day does not bind"),
    Parameter("ev_range_km", "km", 400, 160, 450, "physical", "NREL/Columbus Yellow Cab: 100- and 250-mile vehicles",
              effect="+km_total"),
    Parameter("ev_charge_kw", "kW", 50, 22, 150, "physical", "assumption: public chargers", effect="+km_total"),
    # options
    Parameter("event_driven", "-", 0, 0, 1, "actuation", "1: ADVANCE runs to the next event, at most 5 min",
              integer=True),
    Parameter("pooling", "-", 1, 0, 1, "actuation", "0: only empty vehicles, one booking at a time",
              integer=True, effect="+completed"),
    Parameter("reward_sharing", "-", 0, 0, 1, "actuation",
              "of the agents: the team's reward in equal parts, or one's own with misses shared",
              choices=("team", "marginal")),
    *V1_PARAMETERS,
)
# fmt: on
"""Parameters of v2. Those of v1 come last: Numba takes a record that begins like another for a kind of it."""
