"""The versions of Dispatch: each a named difference and its reason. A released one never changes."""

from rlops.envs.contract import Version

V0 = Version(
    0,
    "The historical task: ten drivers who jump to the drop-off, paid at assignment. Kept so that its published figures "
    "can be compared; not a task to learn dispatching from.",
    "rlops.envs.dispatch.kernel_v0",
)
V1 = V0.next(
    "Vehicles drive: time-of-day speeds, stochastic travel and service, no-shows and cancellations; one booking at a "
    "time; paid at drop-off, every unserved booking is charged.",
    kernel="rlops.envs.dispatch.kernel_v1",
)
V2 = V1.next(
    "Vehicles pool: plans of stops with insertion, seats, wheelchair places and ride-time limits; shifts, breaks, "
    "breakdowns and congestion that is not known in advance.",
    kernel="rlops.envs.dispatch.kernel_v2",
)
REPOSITION_V2 = Version(
    2,
    "An idle vehicle may be sent to a zone beside its own before anybody asks for it; everything else is v2. Numbered "
    "after the v2 that it is a variant of.",
    "rlops.envs.dispatch.kernel_v2_reposition",
)
STATIC_V2 = Version(
    2,
    "Hard time windows, Euclidean distance, no noise: costs are those of the literature. Numbered after the v2 that it "
    "is the static variant of.",
    "rlops.envs.dispatch.kernel_static",
)
