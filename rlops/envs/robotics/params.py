"""Every parameter of the robots: unit, nominal value, hard bounds, source."""

from rlops.envs.contract import Parameter
from rlops.envs.robotics.motors import GUESS, MOTOR_PARAMETERS, SENSOR_PARAMETERS

BARTO = "Barto, Sutton, Anderson 1983"
MODES = ("dense", "sparse")
DENSE, SPARSE = range(2)
"""Values of ``reward_mode``."""

# fmt: off
_REWARD = Parameter("reward_mode", "-", 0, 0, 1, "reset", "every step tells how good it is, or only whether it is done",
                    choices=MODES)

CART_PARAMETERS = (
    Parameter("horizon_steps", "steps", 500, 20, 5000, "reset", "10 s", integer=True),
    _REWARD,
    Parameter("cart_mass_kg", "kg", 1, 0.2, 5, "physical", BARTO, plausible=(0.7, 1.5)),
    Parameter("pole_mass_kg", "kg", 0.1, 0.02, 1, "physical", f"{BARTO}; with its inertia", plausible=(0.06, 0.2)),
    Parameter("pole_length_m", "m", 1, 0.3, 2, "physical", BARTO, plausible=(0.7, 1.4)),
    Parameter("payload_kg", "kg", 0, 0, 0.5, "physical", "a point mass at the tip of the pole", plausible=(0, 0.08)),
    Parameter("rail_damping", "N s/m", 0.1, 0, 5, "physical", GUESS, plausible=(0.02, 0.6)),
    Parameter("hinge_damping", "N m s/rad", 0.002, 0, 0.1, "physical", GUESS, plausible=(0, 0.01)),
    *MOTOR_PARAMETERS,
    *SENSOR_PARAMETERS,
    Parameter("start_angle_rad", "rad", 0.15, 0, 0.4, "reset", "the pole begins within, either side",
              plausible=(0.05, 0.2)),
    Parameter("start_position_m", "m", 0.5, 0, 1.5, "reset", "the cart begins within, either side",
              plausible=(0.1, 0.8)),
    Parameter("gust_n", "N", 0, 0, 20, "disturbance", "at the cart, 0.1 s long, once a second on average",
              plausible=(0, 3)),
)
ARM_PARAMETERS = (
    Parameter("upper_mass_kg", "kg", 1.5, 0.5, 4, "physical", f"{GUESS}: with its inertia", plausible=(1.1, 2)),
    Parameter("fore_mass_kg", "kg", 1, 0.3, 3, "physical", f"{GUESS}: with its inertia", plausible=(0.7, 1.4)),
    Parameter("upper_length_m", "m", 0.3, 0.25, 0.35, "physical", GUESS, plausible=(0.295, 0.305)),
    Parameter("fore_length_m", "m", 0.25, 0.2, 0.3, "physical", GUESS, plausible=(0.245, 0.255)),
    Parameter("joint_damping", "N m s/rad", 0.1, 0, 1, "physical", f"{GUESS}: shoulder; elbow a quarter",
              plausible=(0.03, 0.3)),
    Parameter("servo_gain", "-", 1, 0.3, 1.5, "actuation", "of the velocity controller's gains", plausible=(0.8, 1.2)),
    *MOTOR_PARAMETERS,
    *SENSOR_PARAMETERS,
    Parameter("camera_noise_m", "m", 0, 0, 0.05, "noise", f"{GUESS}: standard deviation of a place that is seen",
              plausible=(0, 0.003)),
)
REACH_PARAMETERS = (
    Parameter("horizon_steps", "steps", 150, 10, 2000, "reset", "3 s", integer=True),
    _REWARD,
    *ARM_PARAMETERS,
    Parameter("hand_mass_kg", "kg", 0.5, 0.1, 2, "physical", f"{GUESS}: quill with hand", plausible=(0.35, 0.7)),
    Parameter("payload_kg", "kg", 0, 0, 2, "physical", "carried in the hand; gravity is compensated without it",
              plausible=(0, 0.5)),
    Parameter("tolerance_m", "m", 0.02, 0.002, 0.3, "reset", "distance at which the goal is reached"),
    Parameter("effort_cost", "-", 0.02, 0, 1, "reset", "of the mean square of the action, a step"),
)
PUSH_PARAMETERS = (
    Parameter("horizon_steps", "steps", 250, 10, 2000, "reset", "5 s", integer=True),
    _REWARD,
    *ARM_PARAMETERS,
    Parameter("box_mass_kg", "kg", 0.5, 0.05, 3, "physical", f"{GUESS}: with its inertia", plausible=(0.25, 1)),
    Parameter("box_half_m", "m", 0.05, 0.03, 0.07, "physical", "half the box's edge", plausible=(0.045, 0.055)),
    Parameter("box_centre_m", "m", 0, -0.02, 0.02, "physical", "of mass, off the middle", plausible=(-0.01, 0.01)),
    Parameter("friction", "-", 0.5, 0.05, 1.2, "physical", f"{GUESS}: of the box on the floor", plausible=(0.3, 0.9)),
    Parameter("tip_friction", "-", 0.3, 0, 1, "physical", f"{GUESS}: of the tip on the box", plausible=(0.1, 0.6)),
    Parameter("tolerance_m", "m", 0.04, 0.002, 0.3, "reset", "distance at which the goal is reached"),
    Parameter("effort_cost", "-", 0.02, 0, 1, "reset", "of the mean square of the action, a step"),
)
# fmt: on
