"""A hall whose actuators stand where a test puts them: rows that are moved without an environment around them."""

import numpy as np

from rlops.envs.batch import Batch
from rlops.envs.compiling import compiled
from rlops.envs.cooling import DATACENTER_COOLING
from rlops.envs.cooling.accounts import meter
from rlops.envs.cooling.hall import busy_share, update_handler
from rlops.envs.cooling.kernel_v1 import WHOLE_HALL, ZONES, move_hall_and_plant
from rlops.envs.cooling.psychrometrics import saturated_enthalpy_j_per_kg

HELD = ("fan", "valve", "chilled_set", "tower_fan", "supply_c")
KEEP = np.nan
COLDEST_SET_C, SPAN_SET_K = 7.0, 11.0


@compiled
def _hold(p, s, held, substeps, level):
    for i in range(len(s)):
        row = s[i]
        row.air_j_per_kg = saturated_enthalpy_j_per_kg(row.wet_bulb_c, row.air_pa)
        for _ in range(substeps):
            for z in range(ZONES):
                row.busy_share[z] = busy_share(row.utilisation[z])
                if held[i, 0] == held[i, 0]:
                    row.fan[z] = held[i, 0]
                if held[i, 1] == held[i, 1]:
                    row.valve[z] = held[i, 1]
                if held[i, 4] == held[i, 4]:
                    row.valve[z] = min(max(row.valve[z] + 0.002 * (row.supply_c[z] - held[i, 4]), 0.03), 1.0)
                update_handler(p[i], row, z)
                if level:
                    row.structure_c[z] = row.cold_c[z]
            if held[i, 2] == held[i, 2]:
                row.chilled_set = held[i, 2]
            if held[i, 3] == held[i, 3]:
                row.tower_fan = held[i, 3]
            move_hall_and_plant(p[i], row)
            meter(p[i], row, WHOLE_HALL)


class Plant:
    """Rows of the four-zone hall at a load and a wet bulb."""

    def __init__(self, rows=1, utilisation=0.5, wet_bulb_c=15.0, **params):
        batch = Batch(DATACENTER_COOLING, 1, rows, params=params, threads=1)
        batch.seed(np.arange(rows), [0] * rows)
        batch.reset()
        self.p, self.s = batch.params, batch.state
        self.s["utilisation"] = np.reshape(utilisation, (-1, 1))
        self.s["wet_bulb_c"] = wet_bulb_c
        self.s["air_pa"] = self.p["pressure_pa"]

    def hold(self, hours, level=False, **where):
        """Move all rows for ``hours`` with the actuators of HELD at ``where``; those not named stay."""
        held = np.full((len(self.s), len(HELD)), KEEP)
        for name, value in where.items():
            at = HELD.index(name)
            held[:, at] = (np.asarray(value) - COLDEST_SET_C) / SPAN_SET_K if name == "chilled_set" else value
        _hold(self.p, self.s, held, round(hours * 720), level)
        return self

    def settled(self, **where):
        """Return this plant in its steady state."""
        return self.hold(12.0, level=True, **where)

    @property
    def it_w(self):
        return (self.s["cpu_w"] + self.s["server_fan_w"]).sum(axis=1)

    @property
    def pue(self):
        return self.s["power_w"].sum(axis=1) / self.it_w
