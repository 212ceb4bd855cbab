"""A plant of EnergyPlus without a building: a chiller between a load and a source of condenser water, and a tower.

A day is cut into as many parts as there are operating points. Loads, set points and weather at the tower follow
schedules, and what EnergyPlus reports at the end of a part is what it has settled to.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

EnergyPlusAPI = pytest.importorskip("pyenergyplus.api", reason="EnergyPlus is not installed: make oracle").EnergyPlusAPI

STEPS_PER_HOUR = 6
CAPACITY_W, COP = 1.3e6, 5.50
HEADROOM = 1.05
"""EnergyPlus never loads a chiller above its reference capacity: that is raised, and its curve lowered, by as much."""
FULL, WITH_RESERVE = 0.999, 0.8
"""Part loads: a part of the day begins with a load that lets the chiller pull the loop to its set point."""
CAPACITY_BY_TEMPERATURE = (0.257896, 0.0389016, -2.1708e-4, 0.0468684, -9.4284e-4, -3.4344e-4)
POWER_BY_TEMPERATURE = (0.933884, -0.058212, 0.00450036, 0.00243, 4.86e-4, -0.001215)
POWER_BY_LOAD = (0.222903, 0.313387, 0.463710)
"""DOE-2 centrifugal chiller, COP 5.50, of EnergyPlus' reference data set: 5 … 10 °C leaving, 24 … 35 °C entering."""
CHILLED_M3_PER_S, CONDENSER_M3_PER_S, TOWER_M3_PER_S = 0.060, 0.070, 0.0622
WATER_KG_PER_M3 = 997.0


def biquadratic(c: tuple[float, ...], x: float, y: float) -> float:
    """Return a biquadratic polynomial."""
    return c[0] + c[1] * x + c[2] * x * x + c[3] * y + c[4] * y * y + c[5] * x * y


def _schedule(values: list[float]) -> dict[str, Any]:
    """Return a schedule of equal parts of a day."""
    lines: list[Any] = ["Through: 12/31", "For: AllDays"]
    for part, value in enumerate(values, 1):
        minutes = round(1440 * part / len(values))
        lines += [f"Until: {minutes // 60:02d}:{minutes % 60:02d}", value]
    return {"data": [{"field": line} for line in lines]}


def _branch(name: str, *components: tuple[str, str, str, str]) -> dict[str, Any]:
    keys = ("component_object_type", "component_name", "component_inlet_node_name", "component_outlet_node_name")
    return {name: {"components": [dict(zip(keys, one, strict=True)) for one in components]}}


def _pump(name: str, inlet: str, outlet: str, flow: float) -> dict[str, Any]:
    return {
        name: {
            "inlet_node_name": inlet, "outlet_node_name": outlet, "design_flow_rate": flow, "design_pump_head": 1.0,
            "design_power_consumption": 1.0, "motor_efficiency": 1.0, "pump_control_type": "Continuous",
        }
    }  # fmt: skip


def _load(name: str, flow: float) -> dict[str, Any]:
    return {
        name: {
            "inlet_node_name": f"{name} in", "outlet_node_name": f"{name} out", "load_schedule_name": f"{name} W",
            "peak_flow_rate": flow, "flow_rate_fraction_schedule_name": "Always",
        }
    }  # fmt: skip


def _loop(model: dict[str, Any], name: str, flow: float, supply: tuple, demand: tuple, scheme: dict[str, Any]) -> None:
    """Add a loop of a pump and one component on its supply side and one on its demand side."""
    (kind, component, inlet, outlet), (user_kind, user, user_in, user_out) = supply, demand
    pump_in = f"{name} pump in"

    def add(kind: str, objects: dict[str, Any]) -> None:
        model.setdefault(kind, {}).update(objects)

    add("Pump:ConstantSpeed", _pump(f"{name} pump", pump_in, inlet, flow))
    add(
        "Branch",
        _branch(
            f"{name} supply", ("Pump:ConstantSpeed", f"{name} pump", pump_in, inlet), (kind, component, inlet, outlet)
        ),
    )
    add("Branch", _branch(f"{name} demand", (user_kind, user, user_in, user_out)))
    for part in ("supply", "demand"):
        add("BranchList", {f"{name} {part} list": {"branches": [{"branch_name": f"{name} {part}"}]}})
    add(
        "PlantEquipmentList",
        {f"{name} equipment": {"equipment": [{"equipment_object_type": kind, "equipment_name": component}]}},
    )
    add("PlantEquipmentOperationSchemes", {f"{name} operation": scheme})
    add(
        "PlantLoop",
        {
            name: {
                "fluid_type": "Water", "plant_equipment_operation_scheme_name": f"{name} operation",
                "loop_temperature_setpoint_node_name": outlet, "maximum_loop_temperature": 80.0,
                "minimum_loop_temperature": 1.0, "maximum_loop_flow_rate": flow, "minimum_loop_flow_rate": 0.0,
                "plant_loop_volume": 0.1, "plant_side_inlet_node_name": pump_in, "plant_side_outlet_node_name": outlet,
                "plant_side_branch_list_name": f"{name} supply list", "demand_side_inlet_node_name": user_in,
                "demand_side_outlet_node_name": user_out, "demand_side_branch_list_name": f"{name} demand list",
                "load_distribution_scheme": "SequentialLoad",
            }
        },
    )  # fmt: skip
    add("SetpointManager:Scheduled", {f"{name} manager": {
        "control_variable": "Temperature", "schedule_name": f"{name} C", "setpoint_node_or_nodelist_name": outlet,
    }})  # fmt: skip


def _scheme(name: str, kind: str = "CoolingLoad") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how a loop is run, as the scheme and its object."""
    objects = {f"{name} run": {
        "load_range_1_lower_limit": 0.0, "load_range_1_upper_limit": 1e12,
        "range_1_equipment_list_name": f"{name} equipment",
    }}  # fmt: skip
    scheme = {
        "control_scheme_1_object_type": f"PlantEquipmentOperation:{kind}", "control_scheme_1_name": f"{name} run",
        "control_scheme_1_schedule_name": "Always",
    }  # fmt: skip
    return scheme, objects


def _day(parts: int, wet_bulb_c: float = 25.0) -> dict[str, Any]:
    """Return what a model needs beside its plant."""
    return {
        "Version": {"v": {"version_identifier": "25.2"}},
        "Building": {"none": {}},
        "GlobalGeometryRules": {"g": {
            "coordinate_system": "Relative", "starting_vertex_position": "UpperLeftCorner",
            "vertex_entry_direction": "Counterclockwise",
        }},
        "Timestep": {"t": {"number_of_timesteps_per_hour": STEPS_PER_HOUR}},
        "SimulationControl": {"s": {
            "do_zone_sizing_calculation": "No", "do_system_sizing_calculation": "No",
            "do_plant_sizing_calculation": "No", "run_simulation_for_sizing_periods": "Yes",
            "run_simulation_for_weather_file_run_periods": "No",
        }},
        "Site:Location": {"sea level": {"latitude": 41.8, "longitude": -87.7, "time_zone": -6.0, "elevation": 0.0}},
        "SizingPeriod:DesignDay": {"day": {
            "month": 7, "day_of_month": 21, "day_type": "SummerDesignDay",
            "maximum_dry_bulb_temperature": wet_bulb_c + 8.0, "daily_dry_bulb_temperature_range": 0.0,
            "humidity_condition_type": "WetBulb", "wetbulb_or_dewpoint_at_maximum_dry_bulb": wet_bulb_c,
            "barometric_pressure": 101325.0, "wind_speed": 3.0, "wind_direction": 0.0,
            "solar_model_indicator": "ASHRAEClearSky", "sky_clearness": 0.0,
        }},
        "Schedule:Compact": {"Always": _schedule([1.0] * parts)},
    }  # fmt: skip


def chiller_model(points: list[tuple[float, float]]) -> dict[str, Any]:
    """Return a chiller at full load for each leaving chilled and entering condenser water temperature [°C]."""
    model = _day(len(points))
    capacities = [CAPACITY_W * biquadratic(CAPACITY_BY_TEMPERATURE, *point) for point in points]
    loads = [share * capacity for capacity in capacities for share in (WITH_RESERVE, WITH_RESERVE, WITH_RESERVE, FULL)]
    model["Schedule:Compact"] |= {
        "chilled C": _schedule([chilled for chilled, _ in points]),
        "condenser C": _schedule([entering for _, entering in points]),
        "load W": _schedule([-load for load in loads]),
    }
    curves = {"capacity": tuple(c / HEADROOM for c in CAPACITY_BY_TEMPERATURE), "power": POWER_BY_TEMPERATURE}
    names = ("constant", "x", "x_2", "y", "y_2", "x_y")
    model["Curve:Biquadratic"] = {
        curve: {
            **{f"coefficient{n}_{name}": c for n, (name, c) in enumerate(zip(names, coefficients, strict=True), 1)},
            "minimum_value_of_x": 5.0, "maximum_value_of_x": 10.0,
            "minimum_value_of_y": 24.0, "maximum_value_of_y": 35.0,
        }
        for curve, coefficients in curves.items()
    }  # fmt: skip
    model["Curve:Quadratic"] = {"part load": {
        **{f"coefficient{n}_{name}": c for n, (name, c) in enumerate(zip(names, POWER_BY_LOAD, strict=False), 1)},
        "minimum_value_of_x": 0.0, "maximum_value_of_x": 1.0,
    }}  # fmt: skip
    model["Chiller:Electric:EIR"] = {"chiller": {
        "reference_capacity": HEADROOM * CAPACITY_W, "reference_cop": COP,
        "reference_leaving_chilled_water_temperature": 6.67,
        "reference_entering_condenser_fluid_temperature": 29.4, "condenser_type": "WaterCooled",
        "reference_chilled_water_flow_rate": CHILLED_M3_PER_S,
        "reference_condenser_fluid_flow_rate": CONDENSER_M3_PER_S,
        "cooling_capacity_function_of_temperature_curve_name": "capacity",
        "electric_input_to_cooling_output_ratio_function_of_temperature_curve_name": "power",
        "electric_input_to_cooling_output_ratio_function_of_part_load_ratio_curve_name": "part load",
        "minimum_part_load_ratio": 0.1, "maximum_part_load_ratio": 1.0, "optimum_part_load_ratio": 1.0,
        "minimum_unloading_ratio": 0.1, "chilled_water_inlet_node_name": "chilled in",
        "chilled_water_outlet_node_name": "chilled out", "condenser_inlet_node_name": "condenser in",
        "condenser_outlet_node_name": "condenser out",
        "fraction_of_compressor_electric_consumption_rejected_by_condenser": 1.0,
        "leaving_chilled_water_lower_temperature_limit": 2.0, "chiller_flow_mode": "ConstantFlow",
    }}  # fmt: skip
    model["LoadProfile:Plant"] = _load("load", CHILLED_M3_PER_S)
    model["PlantComponent:TemperatureSource"] = {"source": {
        "inlet_node": "source in", "outlet_node": "source out", "design_volume_flow_rate": CONDENSER_M3_PER_S,
        "temperature_specification_type": "Scheduled", "source_temperature_schedule_name": "condenser C",
    }}  # fmt: skip
    scheme, objects = _scheme("chilled")
    _loop(model, "chilled", CHILLED_M3_PER_S, ("Chiller:Electric:EIR", "chiller", "chilled in", "chilled out"),
          ("LoadProfile:Plant", "load", "load in", "load out"), scheme)  # fmt: skip
    condenser_scheme, condenser_objects = _scheme("condenser")
    _loop(model, "condenser", CONDENSER_M3_PER_S,
          ("PlantComponent:TemperatureSource", "source", "source in", "source out"),
          ("Chiller:Electric:EIR", "chiller", "condenser in", "condenser out"), condenser_scheme)  # fmt: skip
    model["PlantEquipmentOperation:CoolingLoad"] = objects | condenser_objects
    return model


def tower_model(wet_bulb_c: float, ranges_k: list[float]) -> dict[str, Any]:
    """Return a York tower with its fan at full speed at a wet bulb [°C], for each range [K]."""
    model = _day(len(ranges_k), wet_bulb_c)
    per_k = TOWER_M3_PER_S * WATER_KG_PER_M3 * 4186.0
    model["Schedule:Compact"] |= {
        "tower C": _schedule([wet_bulb_c] * len(ranges_k)),
        "heat W": _schedule([-per_k * range_k for range_k in ranges_k]),
    }
    model["CoolingTower:VariableSpeed"] = {"tower": {
        "water_inlet_node_name": "tower in", "water_outlet_node_name": "tower out", "model_type": "YorkCalc",
        "design_inlet_air_wet_bulb_temperature": 25.6, "design_approach_temperature": 3.8,
        "design_range_temperature": 5.6, "design_water_flow_rate": TOWER_M3_PER_S, "design_air_flow_rate": 45.0,
        "design_fan_power": 18e3, "minimum_air_flow_rate_ratio": 0.2,
        "fraction_of_tower_capacity_in_free_convection_regime": 0.125,
    }}  # fmt: skip
    model["LoadProfile:Plant"] = _load("heat", TOWER_M3_PER_S)
    scheme, objects = _scheme("tower")
    _loop(model, "tower", TOWER_M3_PER_S, ("CoolingTower:VariableSpeed", "tower", "tower in", "tower out"),
          ("LoadProfile:Plant", "heat", "heat in", "heat out"), scheme)  # fmt: skip
    model["PlantEquipmentOperation:CoolingLoad"] = objects
    return model


def settled(model: dict[str, Any], folder: Path, variables: list[tuple[str, str]], parts: int) -> list[list[float]]:
    """Run a model in a folder and return its variables at the end of every part of the day.

    Raises:
        RuntimeError: If EnergyPlus ends with an error; it names the folder with its report.
    """
    file = folder / "model.epJSON"
    file.write_text(json.dumps(model))
    api = EnergyPlusAPI()
    state = api.state_manager.new_state()
    api.runtime.set_console_output_status(state, False)
    for name, key in variables:
        api.exchange.request_variable(state, name, key)
    rows: list[list[float]] = []

    def read(state: Any) -> None:
        if api.exchange.warmup_flag(state) or not api.exchange.api_data_fully_ready(state):
            return
        handles = [api.exchange.get_variable_handle(state, *one) for one in variables]
        assert min(handles) >= 0, f"EnergyPlus must know {variables}, got {handles}."
        rows.append([api.exchange.get_variable_value(state, handle) for handle in handles])

    api.runtime.callback_end_zone_timestep_after_zone_reporting(state, read)
    code = api.runtime.run_energyplus(state, ["-d", str(folder), str(file)])
    api.state_manager.delete_state(state)
    if code != 0:
        raise RuntimeError(f"EnergyPlus must run the plant, got code {code}: see {folder / 'eplusout.err'}.")
    per_part = 24 * STEPS_PER_HOUR // parts
    return rows[per_part - 1 :: per_part]
