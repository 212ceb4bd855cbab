"""Every parameter of the warehouse's robots: unit, nominal value, hard bounds, source."""

from dataclasses import replace

from rlops.envs.contract import Parameter
from rlops.envs.robotics.motors import GUESS, MOTOR_PARAMETERS
from rlops.envs.robotics.params import MODES

# fmt: off
HALL_PARAMETERS = (
    Parameter("shelf_rows", "rows", 3, 1, 3, "reset", "of two shelves each", integer=True),
    Parameter("aisle_m", "m", 1.2, 0.9, 1.5, "reset", "no aisle is narrower; a robot is 0.6 m wide"),
    Parameter("wet_share", "-", 0, 0, 1, "disturbance", f"{GUESS}: of the floor's square metres, which have a third of "
              "the grip", plausible=(0, 0.15)),
    Parameter("slope_rad", "rad", 0, 0, 0.05, "disturbance", f"{GUESS}: of the floor, some way down",
              plausible=(0, 0.01)),
)
ROBOT_PARAMETERS = (
    Parameter("base_mass_kg", "kg", 30, 15, 60, "physical", f"{GUESS}: with its inertia", plausible=(26, 36)),
    Parameter("payload_kg", "kg", 10, 0, 60, "physical", f"{GUESS}: with its inertia", plausible=(0, 30)),
    Parameter("centre_m", "m", 0, -0.08, 0.08, "physical", "of mass, before the axle", plausible=(-0.03, 0.03)),
    Parameter("grip", "-", 0.6, 0.1, 1.2, "physical", f"{GUESS}: greatest force of a wheel over its load",
              plausible=(0.4, 0.8)),
    Parameter("creep_m_per_s", "m/s", 0.03, 0.02, 0.2, "physical", f"{GUESS}: slip from which a wheel gives its all",
              plausible=(0.02, 0.06)),
    Parameter("rolling_resistance", "-", 0.015, 0, 0.06, "physical", "polyurethane on concrete: 0.01 … 0.03",
              plausible=(0.008, 0.03)),
    Parameter("wheel_mismatch", "-", 0, -0.05, 0.05, "physical", f"{GUESS}: the left wheel's radius, too large by",
              plausible=(-0.01, 0.01)),
    Parameter("servo_gain", "-", 1, 0.3, 1.5, "actuation", "of the wheels' velocity controllers", plausible=(0.8, 1.2)),
    *MOTOR_PARAMETERS,
    Parameter("battery_wh", "Wh", 1, 0.3, 20, "physical", "capacitors of 48 V and 3 F; a quarter of it is of no use",
              plausible=(0.7, 1.5)),
    Parameter("battery_ohm", "Ω", 0.1, 0, 1, "physical", f"{GUESS}: resistance within", plausible=(0.03, 0.3)),
    Parameter("idle_w", "W", 15, 0, 100, "physical", f"{GUESS}: computer and lidar", plausible=(8, 30)),
    Parameter("start_charge", "-", 0.6, 0.35, 1, "reset", "of the battery, at least, when an episode begins",
              plausible=(0.5, 0.8)),
    Parameter("position_noise_m", "m", 0, 0, 0.3, "noise", f"{GUESS}: standard deviation of where it believes to be",
              plausible=(0, 0.03)),
    Parameter("heading_noise_rad", "rad", 0, 0, 0.3, "noise", f"{GUESS}: standard deviation of its believed heading",
              plausible=(0, 0.02)),
    Parameter("odometry_noise", "rad/s", 0, 0, 5, "noise", f"{GUESS}: standard deviation of a wheel's reading",
              plausible=(0, 0.3)),
    Parameter("lidar_noise_m", "m", 0, 0, 0.3, "noise", "data sheets of 2-D lidars: 0.01 … 0.03", plausible=(0, 0.03)),
    Parameter("lidar_dropout", "-", 0, 0, 0.5, "noise", f"{GUESS}: share of the beams that see nothing",
              plausible=(0, 0.03)),
)
_TASK_PARAMETERS = (
    Parameter("reward_mode", "-", 0, 0, 1, "reset", "every step tells how good it is, or only whether it is done",
              choices=MODES),
    Parameter("tolerance_m", "m", 0.3, 0.1, 2, "reset", "distance at which a goal is reached"),
    Parameter("energy_cost", "1/Wh", 2, 0, 50, "reset", "of what the motors and the computer draw"),
)
NAV_PARAMETERS = (
    Parameter("horizon_steps", "steps", 400, 20, 5000, "reset", "40 s", integer=True),
    *_TASK_PARAMETERS, *HALL_PARAMETERS, *ROBOT_PARAMETERS,
)
_FLEET_NOMINAL = {"shelf_rows": 2, "battery_wh": 3}
FLEET_PARAMETERS = (
    Parameter("horizon_steps", "steps", 600, 20, 5000, "reset", "60 s", integer=True),
    *_TASK_PARAMETERS,
    Parameter("reward_sharing", "-", 0, 0, 1, "reset", "part of the agents' rewards that all share alike"),
    Parameter("service_s", "s", 1.5, 0, 10, "reset", "that a robot stands where it picks or unloads"),
    Parameter("charger_w", "W", 300, 0, 2000, "physical", "into a robot that unloads", plausible=(150, 500)),
    *(replace(p, nominal=_FLEET_NOMINAL.get(p.name, p.nominal), plausible=(2, 4) if p.name == "battery_wh" else
              p.plausible) for p in (*HALL_PARAMETERS, *ROBOT_PARAMETERS)),
)
# fmt: on
