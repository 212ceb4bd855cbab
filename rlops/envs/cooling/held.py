"""A hall whose actuators stand where somebody puts them: rows of v1 that move without an environment around them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rlops.envs.batch import Batch
from rlops.envs.compiling import compiled
from rlops.envs.cooling import DATACENTER_COOLING
from rlops.envs.cooling.accounts import SUBSTEP_S, meter
from rlops.envs.cooling.hall import busy_share, update_handler
from rlops.envs.cooling.kernel_v1 import COLDEST_SET_C, WARMEST_SET_C, WHOLE_HALL, ZONES, move_hall_and_plant
from rlops.envs.cooling.psychrometrics import saturated_enthalpy_j_per_kg

HELD = ("fan", "valve", "chilled_set", "tower_fan", "supply_c")
"""What can be held: speeds and openings 0 … 1, set points in °C. The supply air is held by the valve."""
_FAN, _VALVE, _CHILLED_SET, _TOWER_FAN, _SUPPLY = range(len(HELD))
_VALVE_PER_K = 0.002
"""[1/K] By which a valve moves in a substep towards the supply air that is asked for."""
_LEAST_VALVE = 0.03
SETTLED_H = 12.0
"""[h] After which a held hall whose structure follows its air has come to rest."""


@compiled
def _hold(p: Any, s: Any, held: Any, substeps: int, level: bool) -> None:
    """Move every row; NaN in ``held`` (n, 5) leaves an actuator where it is."""
    for i in range(len(s)):
        row = s[i]
        row.air_j_per_kg = saturated_enthalpy_j_per_kg(row.wet_bulb_c, row.air_pa)
        fan, valve, supply_c = held[i, _FAN], held[i, _VALVE], held[i, _SUPPLY]
        for _ in range(substeps):
            for z in range(ZONES):
                row.busy_share[z] = busy_share(row.utilisation[z])
                if fan == fan:
                    row.fan[z] = fan
                if valve == valve:
                    row.valve[z] = valve
                if supply_c == supply_c:
                    moved = row.valve[z] + _VALVE_PER_K * (row.supply_c[z] - supply_c)
                    row.valve[z] = min(max(moved, _LEAST_VALVE), 1.0)
                update_handler(p[i], row, z)
                if level:
                    row.structure_c[z] = row.cold_c[z]
            if held[i, _CHILLED_SET] == held[i, _CHILLED_SET]:
                row.chilled_set = held[i, _CHILLED_SET]
            if held[i, _TOWER_FAN] == held[i, _TOWER_FAN]:
                row.tower_fan = held[i, _TOWER_FAN]
            move_hall_and_plant(p[i], row)
            meter(p[i], row, WHOLE_HALL)


class HeldHall:
    """Rows of the four-zone hall at a load and a wet bulb that stay as they are.

    Attributes:
        p, s: Parameters and state, records ``(rows,)``.
    """

    def __init__(self, rows: int = 1, utilisation: Any = 0.5, wet_bulb_c: Any = 15.0, **params: Any):
        """Make ``rows`` rows.

        Args:
            rows: How many.
            utilisation: Of the servers [-]: one number, one a row ``(rows, 1)`` or one a zone ``(rows, zones)``.
            wet_bulb_c: Outdoors [°C], one number or ``(rows,)``.
            params: Parameters that differ from nominal.
        """
        batch = Batch(DATACENTER_COOLING, 1, rows, params=params, threads=1)
        batch.seed(np.arange(rows), [0] * rows)
        batch.reset()
        self.p, self.s = batch.params, batch.state
        given = np.asarray(utilisation, float)
        self.s["utilisation"] = given if given.ndim == 2 else given.reshape(-1, 1)
        self.s["wet_bulb_c"] = wet_bulb_c
        self.s["air_pa"] = self.p["pressure_pa"]

    def hold(self, hours: float, level: bool = False, **where: Any) -> HeldHall:
        """Move all rows for ``hours`` with what :data:`HELD` names held ``where``; the rest stays where it is.

        Args:
            hours: For how long [h].
            level: Whether the structure has the temperature of its air at once instead of after days.
            where: One number, or one a row ``(rows,)``.
        """
        held = np.full((len(self.s), len(HELD)), np.nan)
        for name, value in where.items():
            share = (np.asarray(value) - COLDEST_SET_C) / (WARMEST_SET_C - COLDEST_SET_C)
            held[:, HELD.index(name)] = share if name == "chilled_set" else value
        _hold(self.p, self.s, held, round(hours * 3600.0 / SUBSTEP_S), level)
        return self

    def settled(self, **where: Any) -> HeldHall:
        """Return this hall in the steady state ``where`` it is held."""
        return self.hold(SETTLED_H, level=True, **where)

    @property
    def it_w(self) -> np.ndarray:
        """Power of the servers with their fans [W], ``(rows,)``."""
        return np.asarray((self.s["cpu_w"] + self.s["server_fan_w"]).sum(axis=1))

    @property
    def pue(self) -> np.ndarray:
        """All consumers over the servers with their fans [-], ``(rows,)``."""
        return np.asarray(self.s["power_w"].sum(axis=1) / self.it_w)
