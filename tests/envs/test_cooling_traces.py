"""Weather and load of the user: what is read, what is refused and where, and what episodes make of it."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from rlops.envs.batch import Batch
from rlops.envs.cooling import DATACENTER_COOLING
from rlops.envs.cooling.load import Load, read_load
from rlops.envs.cooling.site import DATA
from rlops.envs.cooling.traces import data_from, records
from rlops.envs.cooling.weather import SPLIT_YEARS, read_weather, standard_pressure_pa
from rlops.errors import InvalidFile, InvalidValue, UnknownName

DAY = 24


def weather_rows(days=2, first="2021-06-01"):
    start = np.datetime64(first, "h")
    return [[str(start + h), f"{20 + 5 * np.sin(h)}", "50"] for h in range(DAY * days)]


def csv_file(folder, rows, header="time_local,temperature_2m_C,relative_humidity_2m_pct", name="site.csv"):
    path = folder / name
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n", "utf-8")
    return path


def test_a_csv_of_hours_becomes_weather(tmp_path):
    weather = read_weather(csv_file(tmp_path, [[t + ":00", c, h] for t, c, h in weather_rows()]))
    assert len(weather) == 48
    assert weather.dry_bulb_c[0] == pytest.approx(20.0)
    np.testing.assert_allclose(weather.relative_humidity, 0.5)
    np.testing.assert_allclose(weather.air_pa, 101325.0)
    assert weather.day_of_year[[0, -1]].tolist() == [151.0, 152.0]


def test_weather_begins_at_the_first_midnight_and_ends_with_a_whole_day(tmp_path):
    rows = [[t + ":00", c, h] for t, c, h in weather_rows(3)][5:-2]
    weather = read_weather(csv_file(tmp_path, rows))
    assert (weather.begins.hour, weather.begins.day, len(weather)) == (0, 2, 24)


@pytest.mark.parametrize(
    ("row", "column", "cell", "message"),
    [
        (3, 1, "hot", r"line 5, column temperature_2m_C: must be a temperature within -60 … 60 °C, got 'hot'"),
        (3, 1, "99.9", r"line 5, column temperature_2m_C"),
        (10, 2, "-3", r"line 12, column relative_humidity_2m_pct: must be a relative humidity within 0 … 110 %"),
        (7, 0, "2021-06-01T09:00", r"line 9, column time_local: must be an hour after the row before"),
        (7, 0, "noon", r"line 9, column time_local: must be an ISO date and time"),
    ],
)
def test_a_bad_cell_of_weather_is_named_with_row_and_column(tmp_path, row, column, cell, message):
    rows = [[t + ":00", c, h] for t, c, h in weather_rows()]
    rows[row][column] = cell
    with pytest.raises(InvalidFile, match=message):
        read_weather(csv_file(tmp_path, rows))


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(InvalidFile, match="header: there must be a column relative_humidity_pct"):
        read_weather(csv_file(tmp_path, [["2021-06-01T00:00", "3"]], header="time,temperature_c"))


def test_columns_may_have_any_name_if_it_is_said(tmp_path):
    rows = [[t + ":00", c, h] for t, c, h in weather_rows()]
    path = csv_file(tmp_path, rows, header="when,drybulb,rh")
    names = {"time": "when", "dry_bulb_c": "drybulb", "relative_humidity_pct": "rh"}
    assert len(read_weather(path, columns=names, elevation_m=1500.0)) == 48
    assert read_weather(path, columns=names, elevation_m=1500.0).air_pa[0] == pytest.approx(84556, abs=1)
    with pytest.raises(UnknownName, match="drybulp"):
        read_weather(path, columns={**names, "dry_bulb_c": "drybulp"})


def test_standard_pressure_falls_with_elevation():
    assert standard_pressure_pa(0.0) == 101325.0
    assert standard_pressure_pa(3000.0) == pytest.approx(70108, abs=2)


def test_typical_years_are_read_with_the_stamps_of_their_hours_ends(data):
    weather = read_weather(data / "datacenter/tmy3/USA_AZ_Davis-Monthan.AFB.722745_TMY3.epw")
    assert weather.typical
    assert len(weather) == 8760
    assert weather.dry_bulb_c[1:4].tolist() == [5.6, 4.6, 3.7]  # the rows of 01:00, 02:00, 03:00
    assert weather.relative_humidity[1] == 0.53
    assert weather.air_pa[1] == 92100
    with pytest.raises(InvalidValue, match="a typical year"):
        weather.split("train")


def test_a_bad_field_of_a_typical_year_is_named_with_line_and_column(data, tmp_path):
    lines = (data / "datacenter/tmy3/USA_IL_Chicago-OHare.Intl.AP.725300_TMY3.epw").read_text("utf-8").splitlines()
    fields = lines[20].split(",")
    fields[6] = "99.9"
    path = tmp_path / "broken.epw"
    path.write_text("\n".join([*lines[:20], ",".join(fields), *lines[21:]]), "utf-8")
    with pytest.raises(InvalidFile, match=r"line 21, column dry_bulb_c: must be a temperature .* got '99.9'"):
        read_weather(path)


def test_years_are_split_without_overlap(data):
    weather = read_weather(data / "datacenter/weather/GB_2020-2024.csv.gz")
    parts = {name: weather.split(name) for name in SPLIT_YEARS}
    assert sum(map(len, parts.values())) == len(weather)
    assert [parts[name].begins.year for name in ("train", "validation", "test")] == [2020, 2023, 2024]
    np.testing.assert_array_equal(
        np.concatenate([parts[name].dry_bulb_c for name in ("train", "validation", "test")]), weather.dry_bulb_c
    )
    with pytest.raises(UnknownName, match="valid"):
        weather.split("valid")
    with pytest.raises(InvalidValue, match="consecutive"):
        weather.years(2020, 2022)
    with pytest.raises(InvalidValue, match="whole years of the file"):
        weather.years(2019)


def test_the_loads_at_hand_are_no_copies_of_a_shorter_one(data):
    """A trace that repeats itself lets an agent learn the test by heart."""
    for name in ("google2011_cpu_hourly_first672h.csv", "cpu_utilization_asg_misconfiguration.csv"):
        load = read_load(data / "datacenter/load" / name)
        half = len(load) // 2
        for lag in range(round(1440 / load.sample_min), half, round(1440 / load.sample_min)):
            assert np.corrcoef(load.utilisation[:-lag], load.utilisation[lag:])[0, 1] < 0.98


def test_a_load_in_per_cent_becomes_shares_from_a_midnight_on(data):
    load = read_load(data / "datacenter/load/cpu_utilization_asg_misconfiguration.csv")
    assert load.sample_min == 5.0
    assert 0.0 <= load.utilisation.min() <= load.utilisation.max() <= 1.0
    whole = (data / "datacenter/load/cpu_utilization_asg_misconfiguration.csv").read_text("utf-8").splitlines()
    after_midnight = next(line for line in whole if line.startswith("2014-05-15 00:04"))
    assert load.utilisation[0] == pytest.approx(float(after_midnight.split(",")[1]) / 100)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0,0.5", "1,much", "2,0.4"], r"line 3, column cpu_load: must be a number, got 'much'"),
        (["0,0.5", "1,-0.1"], r"line 3, column cpu_load: must be a utilisation within 0 … 1"),
        (["0,0.5"], r"must have at least two rows"),
    ],
)
def test_a_bad_cell_of_a_load_is_named_with_row_and_column(tmp_path, rows, message):
    path = tmp_path / "load.csv"
    path.write_text("\n".join([",cpu_load", *rows]), "utf-8")
    with pytest.raises(InvalidFile, match=message):
        read_load(path)


def test_a_gap_in_a_load_is_named(tmp_path):
    path = tmp_path / "load.csv.gz"
    rows = ["time,load", *(f"2020-01-01T{h:02d}:00,0.5" for h in (0, 1, 2, 4))]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    with pytest.raises(InvalidFile, match=r"line 5, column time: must be 60 min after the row before"):
        read_load(path)


def test_a_load_is_split_by_whole_days():
    load = Load("made", np.arange(240) / 240, 60.0)
    np.testing.assert_array_equal(load.between(0.0, 0.7).utilisation, load.utilisation[:168])
    np.testing.assert_array_equal(load.between(0.7, 1.0).utilisation, load.utilisation[168:])
    with pytest.raises(InvalidValue, match="shares must be"):
        load.between(0.5, 0.5)


def test_traces_name_their_sources():
    with pytest.raises(UnknownName, match="wether"):
        data_from({"wether": "x.epw"})
    with pytest.raises(InvalidValue, match="must be a mapping"):
        data_from(3)
    with pytest.raises(InvalidValue, match="weather must be a path or a Weather, got int"):
        data_from({"weather": 3})


def test_records_out_of_range_are_refused():
    rows = records(load=Load("made", np.full(48, 0.5), 60.0))
    assert rows.dtype == DATA
    np.testing.assert_array_equal(data_from(rows), rows)
    rows["utilisation"][7] = 2.0
    with pytest.raises(InvalidValue, match="record 7: utilisation must be within 0 … 1"):
        data_from(rows)


def _begun(data, **params):
    batch = Batch(DATACENTER_COOLING, 0, 1, params=params, data=data, threads=1)
    batch.seed(np.array([0]), [0])
    batch.reset()
    return batch


QUIET = {"load_noise": 0.0, "burst_per_day": 0.0}


def test_an_episode_plays_the_users_weather_and_load(tmp_path):
    weather = read_weather(csv_file(tmp_path, [[t + ":00", c, h] for t, c, h in weather_rows(4)]))
    load = Load("made", np.linspace(0.2, 0.8, 96), 60.0)
    batch = _begun({"weather": weather, "load": load}, horizon_min=1440, start_day=1, **QUIET)
    state = batch.state[0]
    first = int(state["first_sample"])
    for _ in range(90):
        batch.step(np.full((1, 2), 0.8), next_step=False)
    hour = DAY + 1
    middle = 0.5 * (weather.dry_bulb_c[hour] + weather.dry_bulb_c[hour + 1])
    assert batch.state["dry_bulb_c"][0] == pytest.approx(middle)
    assert batch.state["utilisation"][0, 0] == pytest.approx(load.utilisation[first + 1 : first + 3].mean())
    assert batch.state["wet_bulb_c"][0] < batch.state["dry_bulb_c"][0]


def test_only_one_of_both_may_come_from_a_file():
    load = Load("made", np.full(96, 0.3), 60.0)
    batch = _begun({"load": load}, horizon_min=60, **QUIET)
    assert batch.state["utilisation"][0, 0] == pytest.approx(0.3)
    assert batch.data["hours"][0] == 0
    assert batch.state["dry_bulb_c"][0] != 0.0


def test_episodes_begin_on_different_days_and_never_run_over_the_end(tmp_path):
    weather = read_weather(csv_file(tmp_path, [[t + ":00", c, h] for t, c, h in weather_rows(10)]))
    batch = Batch(DATACENTER_COOLING, 0, 64, params={"horizon_min": 2880}, data={"weather": weather}, threads=1)
    batch.seed(np.arange(64), list(range(64)))
    batch.reset()
    days = batch.state["first_day"]
    assert len(set(days.tolist())) == 8
    assert (days + 2 <= 10).all()
