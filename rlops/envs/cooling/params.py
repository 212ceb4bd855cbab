"""Every parameter of data-centre cooling: unit, nominal value, hard bounds, source."""

from rlops.envs.contract import Parameter

FWB = "Fan, Weber, Barroso 2007"
GUESS = "assumption"
ASHRAE = "ASHRAE TC 9.9 2021"

# fmt: off
_SITE = (
    Parameter("horizon_min", "min", 10080, 10, 525600, "reset", "a week; a day (1440) to train on", integer=True),
    Parameter("start_day", "d", -1, -1, 3649, "reset", "day of the weather it begins on; -1: drawn", integer=True),
    Parameter("weather_mean_c", "°C", 11, -5, 30, "demand", f"{GUESS}: temperate; without a weather file",
              plausible=(4, 27), effect="+kwh_chiller"),
    Parameter("weather_season_k", "K", 10, 0, 20, "demand", f"{GUESS}: half the span of monthly means; without a file",
              plausible=(2, 15)),
    Parameter("weather_day_k", "K", 5, 0, 12, "demand", f"{GUESS}: half the span of a day; without a file",
              plausible=(3, 8)),
    Parameter("weather_variation_k", "K", 3, 0, 6, "demand", f"{GUESS}: of the day's mean, 24 h; without a file",
              plausible=(1.5, 4.5)),
    Parameter("dew_depression_k", "K", 5, 0, 25, "demand", f"{GUESS}: of the dew point below the day's mean; no file",
              plausible=(2, 12), effect="-wet_bulb_mean_c"),
    Parameter("weather_offset_k", "K", 0, -6, 6, "disturbance", "at constant relative humidity, file or not",
              plausible=(-3, 3), effect="+wet_bulb_mean_c"),
    Parameter("weather_noise_k", "K", 0, 0, 3, "disturbance", "AR(1), 24 h, added to the weather, file or not",
              plausible=(0, 1)),
    Parameter("pressure_pa", "Pa", 101325, 70000, 105000, "physical", "site altitude; a file's own is scaled by it",
              plausible=(80000, 101325)),
    Parameter("load_mean", "-", 0.55, 0.05, 0.95, "demand", "Google cluster 2011: 0.5; without a load file",
              plausible=(0.2, 0.85), effect="+it_kw"),
    Parameter("load_scale", "-", 1, 0.2, 2, "demand", "of utilisation, file or not", plausible=(0.8, 1.2),
              effect="+it_kw"),
    Parameter("load_noise", "-", 0.015, 0, 0.1, "disturbance", f"{GUESS}: AR(1) of a zone's utilisation, 20 min",
              plausible=(0.005, 0.03)),
    Parameter("burst_per_day", "1/d", 2, 0, 48, "disturbance", f"{GUESS}: a zone's utilisation jumps by 0.25",
              plausible=(0, 12), effect="+it_kw"),
)
_SITE_OF_ZONES = (
    Parameter("zone_skew", "-", 0.1, 0, 0.6, "demand", f"{GUESS}: log-normal shares of the zones", plausible=(0, 0.35)),
    Parameter("shift_per_day", "1/d", 0.5, 0, 24, "disturbance", f"{GUESS}: the shares are drawn anew",
              plausible=(0, 2)),
)
_SERVERS = (
    Parameter("it_scale", "-", 1, 0.4, 1.3, "physical", "servers: 560 in a zone, 1 MW in four", plausible=(0.7, 1.2),
              effect="+it_kw"),
    Parameter("idle_w", "W", 160, 60, 250, "physical", FWB, plausible=(120, 200), effect="+it_kw"),
    Parameter("busy_w", "W", 400, 260, 600, "physical", FWB, plausible=(350, 480), effect="+it_kw"),
    Parameter("leak_per_k", "1/K", 0.0015, 0, 0.005, "physical", "servers 0.35-0.5 %/K at 23-30 °C (Coroama 2025)",
              plausible=(0.0005, 0.003)),
    Parameter("fan_knee_c", "°C", 24.5, 21, 30, "physical", "server fans rise above; server at 27 -> 35 °C +7 %",
              plausible=(23, 27), effect="-kwh_server_fan"),
    Parameter("server_mass", "-", 1, 0.3, 3, "physical", "of 12 kJ/K a server", plausible=(0.6, 1.6)),
    Parameter("air_mass", "-", 1, 0.6, 3, "physical", "of cold aisle 1.5, hot aisle 1.0, return 0.3 MJ/K a zone",
              plausible=(0.6, 1.6)),
)
_AIR = (
    Parameter("recirculation", "-", 0.03, 0, 0.3, "physical", "least share of hot air at the inlets",
              plausible=(0.01, 0.10), effect="+max_inlet_c"),
    Parameter("bypass", "-", 0.05, 0, 0.4, "physical", "least share of supply air past the servers",
              plausible=(0.02, 0.20), effect="+max_inlet_c"),
    Parameter("hot_spot", "-", 0.18, 0, 0.4, "physical", "worst rack above the zone's mean, of the aisles' difference",
              plausible=(0.08, 0.30), effect="+max_inlet_c"),
    Parameter("recirculation_lag_s", "s", 60, 10, 180, "physical", f"{GUESS}: of the aisles' flow pattern",
              plausible=(30, 120)),
    Parameter("fan_gain", "-", 1, 0.6, 1.1, "actuation", "of the flow at a fan's speed: 25 kg/s at full speed",
              plausible=(0.80, 1.02), effect="-max_inlet_c"),
    Parameter("fan_efficiency", "-", 1, 0.5, 1.2, "physical", "relative: 16 kW at full speed", plausible=(0.80, 1.05),
              effect="-kwh_crah_fan"),
    Parameter("coil_ua", "-", 1, 0.5, 1.5, "physical", "of 30 kW/K", plausible=(0.75, 1.15), effect="-max_inlet_c"),
    Parameter("coil_fouling", "-", 0, 0, 0.6, "physical", "added to the coil's resistances, which sum to 1",
              plausible=(0, 0.35), effect="+max_inlet_c"),
    Parameter("valve_gain", "-", 1, 0.6, 1.1, "actuation", "of the flow at a valve's opening: 11 kg/s when open",
              plausible=(0.85, 1.05)),
    Parameter("valve_hysteresis", "-", 0, 0, 0.1, "actuation", "play between drive and valve", plausible=(0, 0.03)),
    Parameter("valve_stiction", "-", 0, 0, 0.1, "actuation", "smaller moves are not made", plausible=(0, 0.02)),
    Parameter("fan_slew_s", "s", 60, 5, 300, "actuation", "for a full stroke", plausible=(20, 120)),
    Parameter("valve_slew_s", "s", 90, 5, 600, "actuation", "for a full stroke", plausible=(30, 180)),
)
_AIR_OF_ZONES = (
    Parameter("return_mixing", "-", 0.2, 0, 0.8, "physical", "share of the hall's mean return at a handler",
              plausible=(0.05, 0.4)),
)
_SENSORS = (
    Parameter("sensor_bias_k", "K", 0, -3, 3, "noise", "of all temperatures that are read", plausible=(-0.8, 0.8)),
    Parameter("sensor_noise_k", "K", 0.1, 0, 1, "noise", "standard deviation of a reading", plausible=(0.02, 0.3)),
    Parameter("sensor_lag_s", "s", 20, 1, 180, "latency", "first order", plausible=(5, 60)),
    Parameter("sensor_dropout", "-", 0, 0, 0.5, "noise", "probability a reading is the last one again",
              plausible=(0, 0.01)),
)
_CHILLER = (
    Parameter("chiller_eta", "-", 0.607, 0.35, 0.70, "physical", "share of Carnot: COP 5.50 at 6.67/29.4 °C, full load",
              plausible=(0.49, 0.64), effect="-kwh_chiller"),
    Parameter("chiller_drift", "1/(30 d)", 0, -0.2, 0, "physical", "of its efficiency", plausible=(-0.05, 0),
              effect="-kwh_chiller"),
    Parameter("chiller_capacity_w", "W", 1.3e6, 0.8e6, 2e6, "physical", "for 1 MW of IT", plausible=(1.1e6, 1.5e6)),
    Parameter("loop_lag_s", "s", 120, 30, 600, "physical", f"{GUESS}: chilled water towards its set point",
              plausible=(60, 240)),
)
_TOWER = (
    Parameter("tower_c", "-", 1.3, 0.6, 2, "physical", "NTU = c (water/air)^0.4 (Braun 1988); CTI 35/29.4/25.6 °C",
              plausible=(0.95, 1.45), effect="-kwh_chiller"),
)
_AGENTS = (
    Parameter("reward_mode", "-", 0, 0, 1, "reset", "of agents: the hall's reward for each, or each its own part",
              choices=("team", "local")),
)
_POWER = (
    Parameter("ups_standing", "-", 0.012, 0, 0.06, "physical", "standing loss of 1.2 MW", plausible=(0.008, 0.03),
              effect="+kwh_ups"),
)
_TARIFF = (
    Parameter("price_usd_per_kwh", "$/kWh", 0.10, 0, 1, "physical", "tariff", effect="-reward.energy"),
    Parameter("over_recommended_usd", "$/(K min)", 0.05, 0, 1, "physical", f"inlet above 27 °C; {ASHRAE}",
              effect="-reward.over_recommended"),
    Parameter("under_recommended_usd", "$/(K min)", 0.02, 0, 1, "physical", f"inlet below 18 °C; {ASHRAE}",
              effect="-reward.under_recommended"),
    Parameter("over_allowable_usd", "$/(K² min)", 0.5, 0, 5, "physical", f"inlet above 32 °C; {ASHRAE}, class A1",
              effect="-reward.over_allowable"),
    Parameter("rate_usd", "$/(K min)", 0.01, 0, 1, "physical", f"inlet moves over 5 K in 15 min, 20 K in 1 h; {ASHRAE}",
              effect="-reward.rate"),
    Parameter("stroke_usd", "$", 1e-4, 0, 0.01, "physical", "of an actuator's full stroke", effect="-reward.wear"),
)
# fmt: on

V0_PARAMETERS = (*_SITE, *_SERVERS, *_AIR, *_SENSORS, *_CHILLER, *_POWER, *_TARIFF)
"""Parameters of v0: one zone."""
V1_PARAMETERS = (
    *_SITE, *_SITE_OF_ZONES, *_SERVERS, *_AIR, *_AIR_OF_ZONES, *_SENSORS, *_CHILLER, *_TOWER, *_POWER, *_TARIFF,
    *_AGENTS,
)  # fmt: skip
"""Parameters of v1: four zones and a tower."""
