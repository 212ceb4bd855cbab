"""Data-centre cooling: keep servers within their limits with the least energy.

See the README of this folder for the story, the equations and the tables.
"""

from rlops.envs.contract import Family
from rlops.envs.cooling.versions import V0, V1

DATACENTER_COOLING = Family(
    "DatacenterCooling",
    "An operator keeps the servers of a hall within their temperatures with fans, valves, a chiller and a tower.",
    (V0, V1),
    "rlops.envs.cooling.excite",
)
