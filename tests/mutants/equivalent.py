"""Mutations that change nothing that a released environment does, each with the reason.

A threshold on a continuous quantity moved by 1e-6 is one of them: a value between the old and the new one comes up once
in a million. Thresholds are moved by far more elsewhere in the catalogue, and nominal values are compared as such.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_THRESHOLD = "only decides a comparison with a continuous quantity, and 1e-6 lies between no two values"
_NO_NORMAL = "no shipped level draws normal numbers"
_NO_CHANGE = "no term of a shipped level changes within an episode"
_NO_PIN = "no shipped level pins a term to a bound; schedules do"
_NO_EVENING = "a day of v0 ends at 16:00, before the evening's rush hour"
_ENDLESS = "the loop would never end: nobody needs a check to notice"
_WITHIN = "no drawn trip leaves the area, so that this bound clips nothing"
_LEAST_FAN = "no fan is wanted slower than 0.2, and they begin at 0.7"
_RECOMPUTED = "without a stroke the handler's flows come out as they are"
_SLIDES = "a body that only slides does not turn"
_UPRIGHT = "of a body that turns about the vertical alone: nothing depends on how tall or how high it is"
_ONLY_SEEN = "of shapes that are only seen"
_SMALL_PARTY = "no party has the four riders that would be clipped"

REASONS = {
    "city.DEMAND_SHARE.value.3": "the flat profile's shares are all the same and divided by their sum",
    "city.SPEED_SHAPE.value.0": "the flat profile's speeds are all the same and divided by their mean",
    "city._draw_bookings.weight.0": _THRESHOLD,
    "city._poisson.compare.1": "no hour has a thousand bookings",
    "city.quarter_at.literal.*": _THRESHOLD,
    "city._take_bookings.lost.1": "a table with more bookings a day than are held is refused; the count begins as 0",
    "city._day_end.compare.0": _ENDLESS,
    "city._day_end.count.0": _ENDLESS,
    "city._day_end.sign.0": "the search looks at the middle, which never is the row before the day",
    "city._day_end.sign.2": _ENDLESS,
    "city.demand_rate.literal.0": _THRESHOLD,
    "cooling.accounts.meter.compare.0": _THRESHOLD,
    "cooling.accounts.settle.compare.1": _THRESHOLD,
    "cooling.elementary.LEAST.value.0": "vanishes beside anything but 0; of 0 it leaves gone / d = 1 whatever it is",
    "cooling.elementary._ROOT_HALF.value.0": "where mantissas are cut in two: exactly there is one in 2^52",
    "cooling.elementary._parts.literal.[01]": "of e^700: no exponent of a hall is beyond 100",
    "cooling.hall.FAN_STOPPED.value.0": _LEAST_FAN,
    "cooling.hall.coil_conductance_w_per_k.compare.0": _LEAST_FAN,
    "cooling.hall.mean_return_c.compare.0": _LEAST_FAN,
    "cooling.hall.valve_flow_kg_per_s.compare.0": _THRESHOLD,
    "cooling.kernel_v0.observe.clip.1": "chilled water is held at 12 °C, and no sensor reads 11 K less",
    "cooling.kernel_v0.observe.literal.6": "inlets run away long before the loop's 6 MJ/K are at 60 °C",
    "cooling.kernel_v0.step.compare.0": _RECOMPUTED,
    "cooling.kernel_v1.step.compare.0": _RECOMPUTED,
    "cooling.kernel_v1.step_agents.count.[01]": "an array that is longer than what is read of it",
    "cooling.plant.TOWER_FAN_STOPPED.value.0": _LEAST_FAN,
    "cooling.plant.chiller_w.compare.0": "without heat the compressor's power comes out as 0 too",
    "cooling.plant.tower_fan_w.compare.0": _LEAST_FAN,
    "cooling.psychrometrics._NEWTON_STEPS.value.0": "nine steps are enough at any weather and site",
    "kernel_static.draw_request.swapped.0": "a state begins as zeros, and the other limit is written next",
    "kernel_static.radius.literal.0": "only if all places lie on the depot, and then what it divides is 0",
    "kernel_v0.arrival_probability.compare.[23]": _NO_EVENING,
    "kernel_v0.arrival_probability.weight.*": _THRESHOLD,
    "kernel_v0.assign.literal.*": _THRESHOLD,
    "kernel_v0.assign.weight.[01]": _THRESHOLD,
    "kernel_v0.traffic.compare.[23]": _NO_EVENING,
    "kernel_v1._CLOCK.value.3": "a table's length: it would not get another whole minute",
    "kernel_v1._fill_slot.literal.1[01]": _SMALL_PARTY,
    "kernel_v1._fill_slot.literal.[1-8]": _WITHIN,
    "kernel_v1._show_vehicle.literal.[1-8]": _WITHIN,
    "kernel_v1._write_legal.flip.0": "an early return: without it the loops find nothing legal either",
    "kernel_v1.reset.compare.1": "no drawn day is without a booking",
    "kernel_v1.reset.lost.5": "the reveal that follows writes it anew",
    "kernel_v2.context.compare.0": "who cancels does so before the window ends, and nobody gives up within ten minutes",
    "kernel_v2.context.sign.1": "a day ends in quarter 58, and the tables have 64",
    "plan._EPS.value.0": _THRESHOLD,
    "robotics.amr.HALF_BODY_M.value.0": _UPRIGHT,
    "robotics.amr.amr_bodies.count.0": _ONLY_SEEN,
    "robotics.amr.amr_bodies.literal.[0-2]": _SLIDES,
    "robotics.amr.amr_bodies.literal.[3-6]": _ONLY_SEEN,
    "robotics.amr.amr_bodies.sign.1": _ONLY_SEEN,
    "robotics.arm.links.literal.[26]": _UPRIGHT,
    "robotics.kernel_arm_push.build.literal.[0-5]": "colours",
    "robotics.kernel_arm_reach.build.literal.[02]": _UPRIGHT,
    "robotics.kernel_cart_balance.GUST_STEPS.value.0": "rounded to the same number of steps",
    "robotics.kernel_cart_balance.build.literal.[3-5]": _SLIDES,
    "robotics.kernel_cart_balance.build.weight.5": _SLIDES,
    "robotics.rays.NEVER.value.0": "far behind the walls, which every ray meets",
    "robotics.rays._PARALLEL.value.0": "directions are parallel to an axis to the last bit, or far from it",
    "sampling.*_[A-Z]*.value.*": _NO_NORMAL,
    "sampling.PIN_STREAM.value.0": _NO_PIN,
    "sampling._rational.*": _NO_NORMAL,
    "sampling.draw_parameters.compare.1": _NO_PIN,
    "sampling.draw_parameters.flip.0": _NO_PIN,
    "sampling.draw_parameters.count.*": _NO_PIN,
    "sampling.draw_parameters.flip.2": _NO_CHANGE,
    "sampling.draw_parameters.flip.4": _NO_PIN,
    "sampling.draw_parameters.flip.6": "every term of a shipped level takes the nominal value's place",
    "sampling.draw_parameters.sign.0": "every term of a shipped level takes the nominal value's place",
    "sampling.interval_at.*": _NO_CHANGE,
    "sampling.normal_quantile.*": _NO_NORMAL,
    "sampling.normal_share.*": _NO_NORMAL,
    "sampling.number_at.draw.[23]": _NO_NORMAL,
    "sampling.number_at.flip.0": _NO_CHANGE,
    "sampling.pinned_at.*": _NO_PIN,
    "sampling.value_at.compare.0": _ENDLESS,
    "sampling.value_at.count.0": _ENDLESS,
    "sampling.value_at.sign.[23456]": "no shipped level draws log-uniform or normal numbers",
    "sampling.value_at.sign.7": "tables of shipped levels have 3 or 8 entries: the search looks at none behind them",
    "sampling.value_at.sign.9": _ENDLESS,
    "schedule.TOLERANCE_MIN.value.0": _THRESHOLD,
    "schedule.ride_min.literal.0": "says that a stop is no delivery, for which any negative number would do",
    "schedule.scheduled.compare.3": "behind the route as at its end: no pickup is left to delay, and the answer is no",
    "schedule.scheduled.compare.4": "at the depot, where the route ends, a delay makes no ride shorter",
    "schedule.scheduled.compare.6": "the loop turns once more, finds nothing to delay and ends likewise",
    "shipped._outside.compare.*": "values outside of the plausible range are never on its ends",
}
"""By the name of the mutation, or a pattern of names."""


def reason(name: str) -> str:
    """Return why a mutation changes nothing, empty if it may."""
    return next((why for pattern, why in REASONS.items() if fnmatchcase(name, pattern)), "")
