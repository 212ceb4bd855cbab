"""Demand from files: what is read, what is left out and counted, what is refused, and a day of it played."""

from __future__ import annotations

import csv
import gzip
import math
import pickle
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import config, njit

from rlops.envs.contract import parameter_dtype, state_dtype
from rlops.envs.dispatch.city import CITY_FIELDS, DATA, MAX_BOOKINGS, draw_city
from rlops.envs.dispatch.demand import Demand, Frame, data_from, read_demand, read_trips, sample_od
from rlops.envs.dispatch.demand.days import EARTH_RADIUS_KM
from rlops.envs.dispatch.params import V1_PARAMETERS
from rlops.errors import InvalidFile, InvalidValue, MissingExtra, UnknownName

NATIVE = (
    "request_time",
    "ready_time",
    "pickup_lat",
    "pickup_lon",
    "dropoff_lat",
    "dropoff_lon",
    "party",
    "class",
)
GENEVA = (46.2044, 6.1432)
FIRST = ("2024-03-04 07:30", "2024-03-04 09:00", "46.21", "6.14", "46.19", "6.15", "2", "wheelchair")
SECOND = ("2024-03-04 10:00", "2024-03-04 10:05", "46.20", "6.16", "46.22", "6.13", "1", "ambulatory")
THIRD = ("2024-03-05T17:59:30", "2024-03-05T17:59:30", "46.20", "6.16", "46.22", "6.13", "3", "amb")


def written(path: Path, header, *rows) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def changed(row, **cells):
    return tuple(cells.get(name, cell) for name, cell in zip(NATIVE, row, strict=True))


@pytest.fixture
def native(tmp_path):
    return written(tmp_path / "trips.csv", NATIVE, FIRST, SECOND, THIRD)


@pytest.fixture
def refused(tmp_path):
    """Return the message with which a CSV is refused, without its path."""

    def message(header, *rows, **kwargs):
        path = written(tmp_path / "bad.csv", header, *rows)
        with pytest.raises(InvalidFile) as error:
            read_trips(path, **kwargs)
        return str(error.value).replace(str(path), "bad.csv")

    return message


@pytest.fixture(scope="module")
def zones(data):
    return data / "dispatch" / "nyc_manhattan_od" / "zone_centroids_km.csv"


@pytest.fixture(scope="module")
def tlc(data):
    return data / "dispatch" / "nyc_tlc" / "yellow_tripdata_sample_2019-01.csv"


@pytest.fixture(scope="module")
def january(tlc, zones) -> Demand:
    return read_trips(tlc, zones=zones)


# --- what is read -----------------------------------------------------------------------------------------


def test_a_booking_keeps_its_times_places_and_party(native):
    demand = read_trips(native, centre=GENEVA)
    assert demand.days == ("2024-03-04", "2024-03-05")
    first, second, third = demand.bookings
    assert (first["reveal_min"], first["earliest_min"], first["latest_min"]) == (90.0, 180.0, 210.0)
    assert (first["ambulatory"], first["wheelchair"], first["prebooked"]) == (1, 1, 1)
    assert (second["reveal_min"], second["earliest_min"], second["prebooked"]) == (240.0, 245.0, 0)
    assert third["day"] == 1
    assert third["earliest_min"] == pytest.approx(719.5)
    assert third["ambulatory"] == 3
    assert demand.left_out == {}


@given(
    lat=st.floats(-70.0, 70.0),
    lon=st.floats(-180.0, 180.0),
    north_km=st.floats(-8.0, 8.0),
    east_km=st.floats(-8.0, 8.0),
)
@settings(max_examples=50)
def test_kilometres_agree_with_the_great_circle(lat, lon, north_km, east_km):
    point_lat = lat + math.degrees(north_km / EARTH_RADIUS_KM)
    point_lon = lon + math.degrees(east_km / EARTH_RADIUS_KM / math.cos(math.radians(lat)))
    x_km, y_km = Frame(True, (lat, lon), 9.0).km(np.array([point_lon]), np.array([point_lat]))
    a, b = math.radians(lat), math.radians(point_lat)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(point_lon - lon) / 2) ** 2
    great_circle_km = 2.0 * EARTH_RADIUS_KM * math.asin(math.sqrt(half))
    assert np.hypot(x_km, y_km)[0] == pytest.approx(great_circle_km, rel=3e-3, abs=1e-6)


def test_minutes_of_the_day_mean_the_same_as_clock_times(tmp_path, native):
    header = ("day", *NATIVE)
    rows = [
        ("2024-03-04", "450", "540", *FIRST[2:]),
        ("2024-03-04", "600", "605", *SECOND[2:]),
        ("2024-03-05", "1079.5", "1079.5", *THIRD[2:]),
    ]
    in_minutes = read_trips(written(tmp_path / "minutes.csv", header, *rows))
    iso = read_trips(native)
    assert in_minutes.days == iso.days
    np.testing.assert_array_equal(in_minutes.bookings, iso.bookings)


def test_a_request_of_the_day_before_is_known_in_the_morning(tmp_path):
    row = changed(FIRST, request_time="2024-03-03 16:00")
    assert read_trips(written(tmp_path / "a.csv", NATIVE, row)).bookings["reveal_min"][0] == 0.0
    later = read_trips(tmp_path / "a.csv", lookahead_min=60.0)
    assert later.bookings["reveal_min"][0] == 120.0


def test_optional_columns_have_the_stated_defaults(tmp_path):
    path = written(tmp_path / "a.csv", ("ready_time", *NATIVE[2:6]), (FIRST[1], *FIRST[2:6]))
    row = read_trips(path, window_min=20.0).bookings[0]
    assert (row["reveal_min"], row["earliest_min"], row["latest_min"]) == (180.0, 180.0, 200.0)
    assert (row["ambulatory"], row["wheelchair"], row["prebooked"]) == (1, 0, 0)


def test_places_windows_and_prebooking_can_be_given(tmp_path):
    header = ("ready_time", "latest_time", "pickup_x_km", "pickup_y_km", "dropoff_x_km", "dropoff_y_km")
    path = written(
        tmp_path / "a.csv",
        (*header, "ambulatory", "wheelchair", "prebooked"),
        ("2024-03-04 08:00", "2024-03-04 08:10", 1, 2, 3, 4, 2, 3, 1),
    )
    row = read_trips(path, centre=(1.0, 2.0)).bookings[0]
    assert tuple(row) == (0, 120.0, 120.0, 130.0, 0.0, 0.0, 2.0, 2.0, 2, 3, 1)


def test_columns_may_have_any_name(tmp_path, native):
    mapping = {name: f"Column {i}" for i, name in enumerate(NATIVE)}
    renamed = written(tmp_path / "renamed.csv", tuple(mapping.values()), FIRST, SECOND, THIRD)
    np.testing.assert_array_equal(read_trips(renamed, columns=mapping).bookings, read_trips(native).bookings)


def test_a_compressed_file_reads_the_same(tmp_path, native):
    path = tmp_path / "trips.csv.gz"
    path.write_bytes(gzip.compress(native.read_bytes()))
    np.testing.assert_array_equal(read_trips(path).bookings, read_trips(native).bookings)


def test_chunks_do_not_matter(tlc, zones, january, monkeypatch):
    monkeypatch.setattr("rlops.envs.user_tables.CHUNK", 777)
    demand = read_trips(tlc, zones=zones)
    np.testing.assert_array_equal(demand.bookings, january.bookings)
    assert demand.left_out == january.left_out


def test_turning_the_map_keeps_lengths_and_turns_counter_clockwise(tmp_path):
    header = ("ready_time", "pickup_x_km", "pickup_y_km", "dropoff_x_km", "dropoff_y_km")
    path = written(tmp_path / "a.csv", header, ("2024-03-04 08:00", 1, 0, 3, 0))
    row = read_trips(path, centre=(0.0, 0.0), rotate_deg=90.0).bookings[0]
    assert (row["pickup_x_km"], row["pickup_y_km"]) == pytest.approx((0.0, 1.0))
    assert (row["dropoff_x_km"], row["dropoff_y_km"]) == pytest.approx((0.0, 3.0))


# --- trip records of the TLC --------------------------------------------------------------------------------


def test_every_trip_of_the_sample_is_read_or_counted(tlc, zones, january):
    centroids = {row["zone_id"]: row for row in rows_of(zones)}
    trips = rows_of(tlc)
    in_hours = [t for t in trips if 6 <= int(t["pickup_datetime"][11:13]) < 18]
    known = [t for t in in_hours if {t["pickup_location_id"], t["dropoff_location_id"]} <= set(centroids)]
    assert january.rows == len(trips) == len(january) + sum(january.left_out.values())
    assert january.left_out["ready outside 06-18 h"] == len(trips) - len(in_hours)
    assert january.left_out["in a zone that the table of zones lacks"] == len(in_hours) - len(known)
    assert january.left_out["outside the area of ±9 km"] == len(known) - len(january)


def test_bookings_of_a_day_are_those_of_the_file(tlc, zones, january):
    centroids = {row["zone_id"]: row for row in rows_of(zones)}
    day = january.days.index("2019-01-15")
    mine = january.bookings[january.bookings["day"] == day]
    theirs = [
        t
        for t in rows_of(tlc)
        if t["pickup_datetime"].startswith("2019-01-15") and 6 <= int(t["pickup_datetime"][11:13]) < 18
    ]
    theirs = [t for t in theirs if {t["pickup_location_id"], t["dropoff_location_id"]} <= set(centroids)]
    found = np.zeros(len(theirs), bool)
    for booking in mine:
        at = datetime(2019, 1, 15, 6) + timedelta(minutes=float(booking["earliest_min"]))
        stamp = at.replace(microsecond=0) + timedelta(seconds=round(at.microsecond / 1e6))
        here = [
            i
            for i, t in enumerate(theirs)
            if t["pickup_datetime"] == str(stamp)
            and not found[i]
            and all(
                _within(
                    booking[f"{end}_x_km"],
                    booking[f"{end}_y_km"],
                    centroids[t[f"{end}_location_id"]],
                    january,
                )
                for end in ("pickup", "dropoff")
            )
            and int(t["passenger_count"]) == booking["ambulatory"]
        ]
        assert here
        found[here[0]] = True
    assert 0 <= len(theirs) - found.sum() <= 3  # outside the area


def _within(x_km, y_km, zone, demand):
    """Whether a point lies in the disc of a zone."""
    x, y = demand.frame.km(np.float64(zone["x_km"]), np.float64(zone["y_km"]))
    return math.hypot(x_km - x, y_km - y) <= math.sqrt(float(zone["area_km2"]) / math.pi) + 1e-9


def test_scatter_fills_the_disc_of_a_zone_evenly(zones, january):
    """The squared distance from the centroid is uniform; over its largest: mean 1/2, variance 1/12."""
    squares = []
    centroids = [r for r in rows_of(zones) if r["zone_id"] in ("237", "161")]
    for zone in centroids:
        x, y = january.frame.km(np.float64(zone["x_km"]), np.float64(zone["y_km"]))
        radius2 = float(zone["area_km2"]) / math.pi
        d2 = (january.bookings["pickup_x_km"] - x) ** 2 + (january.bookings["pickup_y_km"] - y) ** 2
        nearest = d2 < 0.25 * radius2  # far from the next zone's disc
        squares.append(d2[nearest] / (0.25 * radius2))
    share = np.concatenate(squares)
    assert len(share) > 60
    assert share.mean() == pytest.approx(0.5, abs=4.0 * math.sqrt(1.0 / 12.0 / len(share)))


def test_scatter_depends_on_the_seed_only(tlc, zones, january):
    np.testing.assert_array_equal(read_trips(tlc, zones=zones, seed=0).bookings, january.bookings)
    other = read_trips(tlc, zones=zones, seed=1).bookings
    assert len(np.intersect1d(other["pickup_x_km"], january.bookings["pickup_x_km"])) == 0


def test_column_names_of_later_years_are_recognised(tmp_path, tlc, zones, january):
    lines = tlc.read_text().splitlines()
    new = {
        "pickup_datetime": "tpep_pickup_datetime",
        "pickup_location_id": "PULocationID",
        "dropoff_location_id": "DOLocationID",
    }
    header = ",".join(new.get(name, name) for name in lines[0].split(","))
    path = tmp_path / "yellow.csv"
    path.write_text("\n".join([header, *lines[1:]]))
    np.testing.assert_array_equal(read_trips(path, zones=zones).bookings, january.bookings)


def test_a_missing_passenger_count_is_taken_as_one_and_counted(tmp_path, zones):
    header = ("lpep_pickup_datetime", "PULocationID", "DOLocationID", "passenger_count")
    rows = [("2020-01-06 09:00:00", "4", "12", ""), ("2020-01-06 09:00:00", "4.0", "264", "0")]
    demand = read_trips(written(tmp_path / "a.csv", header, *rows), zones=zones)
    assert demand.bookings["ambulatory"].tolist() == [1]
    assert demand.assumed == {"one passenger where none is recorded": 2}
    assert demand.left_out == {"in a zone that the table of zones lacks": 1}


def test_trips_with_zones_need_a_table_of_zones(tlc):
    with pytest.raises(InvalidFile) as error:
        read_trips(tlc)
    assert str(error.value) == (
        f"{tlc}: a file with TLC location ids needs their coordinates, got no table of zones. Pass zones=, a "
        "CSV "
        "with the columns zone_id, x_km, y_km (or lat, lon) and area_km2."
    )


# --- order, formats -----------------------------------------------------------------------------------------


def test_the_order_of_rows_does_not_matter(tmp_path, tlc, zones, january):
    lines = tlc.read_text().splitlines()
    rows = np.array(lines[1:])
    np.random.default_rng(3).shuffle(rows)
    path = tmp_path / "shuffled.csv"
    path.write_text("\n".join([lines[0], *rows]))
    np.testing.assert_array_equal(read_trips(path, zones=zones).bookings, january.bookings)
    thinned = [read_trips(p, zones=zones, sample_per_day=50).bookings for p in (path, tlc)]
    np.testing.assert_array_equal(*thinned)


def test_equal_trips_in_a_zone_get_places_of_their_own(tmp_path, zones):
    rows = [("2020-01-06 09:00:00", "4", "4", "1")] * 5
    header = ("pickup_datetime", "pickup_location_id", "dropoff_location_id", "passenger_count")
    bookings = read_trips(written(tmp_path / "a.csv", header, *rows), zones=zones).bookings
    assert len(np.unique(bookings["pickup_x_km"])) == 5


def test_parquet_equals_csv(tmp_path, tlc, zones, january):
    pa_csv = pytest.importorskip("pyarrow.csv")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa_csv.read_csv(tlc)
    assert str(table.schema.field("pickup_datetime").type).startswith("timestamp")
    pq.write_table(table, tmp_path / "trips.parquet", row_group_size=3000)
    demand = read_trips(tmp_path / "trips.parquet", zones=zones)
    np.testing.assert_array_equal(demand.bookings, january.bookings)
    assert (demand.days, demand.left_out) == (january.days, january.left_out)


def test_parquet_of_texts_and_offsets_reads_the_same(tmp_path, native):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rows = list(zip(FIRST, SECOND, THIRD, strict=True))
    columns = dict(zip(NATIVE, rows, strict=True))
    pq.write_table(pa.table({name: list(cells) for name, cells in columns.items()}), tmp_path / "texts.parquet")
    np.testing.assert_array_equal(read_trips(tmp_path / "texts.parquet").bookings, read_trips(native).bookings)
    zone = pa.timestamp("ns", tz="Europe/Zurich")
    times = {
        name: pa.array([datetime.fromisoformat(t) for t in columns[name]], pa.timestamp("us")).cast(pa.timestamp("ns"))
        for name in NATIVE[:2]
    }
    import pyarrow.compute as pc

    local = {name: pc.assume_timezone(values, "Europe/Zurich").cast(zone) for name, values in times.items()}
    numbers = {name: [float(c) for c in columns[name]] for name in NATIVE[2:6]}
    mixed = {**local, **numbers, "party": [2, 1, 3], "class": pa.array(columns["class"]).dictionary_encode()}
    pq.write_table(pa.table(mixed), tmp_path / "typed.parquet")
    np.testing.assert_array_equal(read_trips(tmp_path / "typed.parquet").bookings, read_trips(native).bookings)


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "trips.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'rlops\[data\]'"):
        read_trips(tmp_path / "trips.parquet")


# --- what is left out ---------------------------------------------------------------------------------------


def test_everything_left_out_is_counted_and_told(tmp_path):
    rows = [
        FIRST,
        changed(FIRST, request_time="2024-03-04 05:00", ready_time="2024-03-04 05:59:59"),
        changed(SECOND, ready_time="2024-03-04 18:00"),
        changed(SECOND, dropoff_lat="46.5"),
        changed(SECOND, party="12"),
        changed(SECOND, dropoff_lat="46.20", dropoff_lon="6.16"),
    ]
    demand = read_trips(written(tmp_path / "trips.csv", NATIVE, *rows), centre=GENEVA)
    assert demand.left_out == {
        "ready outside 06-18 h": 2,
        "more places than the largest vehicle has": 1,
        "outside the area of ±9 km": 1,
        "shorter than 10 m": 1,
    }
    assert str(demand) == (
        "source    trips.csv\n"
        "bookings  1 of 6 on 1 day (2024-03-04), 06-18 h\n"
        "left out  2: ready outside 06-18 h\n"
        "left out  1: more places than the largest vehicle has\n"
        "left out  1: outside the area of ±9 km\n"
        "left out  1: shorter than 10 m\n"
        "trips     2.35 km on average, median 2.35 km, straight line\n"
        "riders    wheelchair 100%, two or more 100%, prebooked 100%\n"
        "area      ±9 km around 46.20440° N, 6.14320° E"
    )


def test_the_summary_tells_of_parties_that_the_nominal_vehicle_cannot_take(january):
    assert f"note      {np.sum(january.bookings['ambulatory'] > 4)} need more than 4 seats: raise cap_amb" in str(
        january
    )


def test_too_many_bookings_are_refused_or_drawn_at_random(tmp_path):
    header = ("ready_time", "pickup_x_km", "pickup_y_km", "dropoff_x_km", "dropoff_y_km")
    rows = [(f"2024-03-04 {8 + i // 60:02d}:{i % 60:02d}", i / 100, 0, 0, 1) for i in range(MAX_BOOKINGS + 1)]
    path = written(tmp_path / "a.csv", header, *rows)
    with pytest.raises(InvalidFile) as error:
        read_trips(path)
    assert str(error.value) == (
        f"{path}: a day must have at most 320 bookings that fit, got 321 on 2024-03-04. Draw some at random, "
        "for "
        "example sample_per_day=184, or choose a smaller area with centre and half_width_km."
    )
    demand = read_trips(path, sample_per_day=200)
    assert len(demand) == 200
    assert demand.left_out == {"not drawn, sample_per_day is 200": 121}
    assert 60 < np.sum(demand.bookings["earliest_min"] < 120 + 160) < 140  # all parts of the day
    fewer = read_trips(path, sample_per_day=150)
    assert np.isin(fewer.bookings["earliest_min"], demand.bookings["earliest_min"]).all()


def test_a_file_without_a_booking_that_fits_is_refused(refused):
    row = changed(FIRST, request_time="2024-03-04 04:00", ready_time="2024-03-04 05:00")
    assert refused(NATIVE, row) == (
        "bad.csv: at least one booking must fit, got 1 rows, left out: 1 ready outside 06-18 h."
    )


# --- what is refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            {"pickup_lat": "95.2"},
            "bad.csv, line 3, column pickup_lat: must be a latitude within [-90, 90], got '95.2'. Correct the row.",
        ),
        (
            {"dropoff_lon": "-180.5"},
            "bad.csv, line 3, column dropoff_lon: must be a longitude within [-180, 180], got '-180.5'. "
            "Correct the row.",
        ),
        (
            {"pickup_lat": "north"},
            "bad.csv, line 3, column pickup_lat: must be a latitude within [-90, 90], got 'north'. Correct the row.",
        ),
        (
            {"pickup_lat": "nan"},
            "bad.csv, line 3, column pickup_lat: must be a latitude within [-90, 90], got 'nan'. Correct the row.",
        ),
        (
            {"pickup_lat": ""},
            "bad.csv, line 3, column pickup_lat: must be a latitude within [-90, 90], got ''. Correct the row.",
        ),
        (
            {"ready_time": "04/03/2024 10:05"},
            "bad.csv, line 3, column ready_time: must be an ISO date and time such as 2019-01-15 08:30, as "
            "in the "
            "rows before, got '04/03/2024 10:05'. Correct the row.",
        ),
        (
            {"ready_time": "2024-03-04"},
            "bad.csv, line 3, column ready_time: must be an ISO date and time such as 2019-01-15 08:30, as "
            "in the "
            "rows before, got '2024-03-04'. Correct the row.",
        ),
        (
            {"ready_time": "2024-03-04 09:59"},
            "bad.csv, line 3, column ready_time: must be not before request_time, got '2024-03-04 09:59'. "
            "Correct the row.",
        ),
        (
            {"party": "-1"},
            "bad.csv, line 3, column party: must be a whole number of at least 1, got '-1'. Correct the row.",
        ),
        (
            {"party": "1.5"},
            "bad.csv, line 3, column party: must be a whole number of at least 1, got '1.5'. Correct the row.",
        ),
        (
            {"class": "stretcher"},
            "bad.csv, line 3, column class: must be ambulatory or wheelchair, got 'stretcher'. Correct the row.",
        ),
    ],
)
def test_a_wrong_cell_is_named_with_its_line_and_column(refused, cells, message):
    assert refused(NATIVE, FIRST, changed(SECOND, **cells)) == message


def test_a_missing_column_is_named_with_the_nearest(refused):
    header = ("Request time", *NATIVE[1:])
    assert refused(("Requested", "Ready", *NATIVE[2:]), FIRST) == (
        "bad.csv, header: there must be a column request_time (or ready_time), got Requested, Ready, "
        "pickup_lat, "
        "pickup_lon, dropoff_lat, dropoff_lon, party, class. Nearest: Requested. Rename a column, or say "
        "which it is: "
        "columns={'request_time': 'Requested'}."
    )
    assert "there must be a column pickup_lon, got" in refused((*header[:3], "lon", *header[4:]), FIRST)
    assert "there must be a column pickup_lat, got request_time." in refused(("request_time",), ("2024-03-04 07:30",))


def test_a_mapping_must_name_what_exists(tmp_path, native, refused):
    with pytest.raises(UnknownName, match="read_trips has no column of bookings named 'pickup_time'"):
        read_trips(native, columns={"pickup_time": "ready_time"})
    assert refused(NATIVE, FIRST, columns={"party": "riders"}).startswith(
        "bad.csv, header: column 'riders', named in columns['party'], must exist, got request_time, "
    )


def test_files_that_are_no_tables_are_refused(tmp_path, refused):
    def message(path):
        with pytest.raises(InvalidFile) as error:
            read_trips(path)
        return str(error.value).replace(str(path), "FILE")

    assert message(tmp_path / "none.csv") == "FILE: must be a file, got nothing there. Check the path."
    assert message(tmp_path) == "FILE: must be a file, got a folder. Check the path."
    other = tmp_path / "trips.xlsx"
    other.write_bytes(b"PK")
    assert message(other) == (
        "FILE: the name must end in .csv, .csv.gz, .parquet, got 'trips.xlsx'. Convert or rename the file."
    )
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert message(empty) == "FILE: must have a header and at least one row, got an empty file."
    assert refused(NATIVE) == "bad.csv: must have at least one booking, got only a header."
    assert refused(("a;b",), ("1;2",)) == "bad.csv, header: columns must be separated by commas, got 'a;b'."
    assert refused((*NATIVE, "party"), (*FIRST, "1")) == (
        "bad.csv, header: columns must be unique, got 'party' twice. Rename one."
    )
    assert refused(NATIVE, FIRST, SECOND[:-1]) == "bad.csv, line 3: must have 8 fields as the header, got 7."
    latin = tmp_path / "latin.csv"
    latin.write_bytes("request_time,caf\xe9\n".encode("latin-1"))
    assert message(latin).startswith("FILE: must be UTF-8 text, got ")
    broken = tmp_path / "broken.csv.gz"
    broken.write_bytes(gzip.compress(b"request_time,ready_time\n" * 99)[:30])
    assert message(broken).startswith("FILE: must be readable as CSV, got: ")
    parquet = tmp_path / "broken.parquet"
    parquet.write_bytes(b"no parquet")
    assert message(parquet).startswith("FILE: must be a Parquet file, got: ")


def test_rows_of_parquet_count_from_zero(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = dict(zip(NATIVE, zip(FIRST, SECOND, strict=True), strict=True))
    columns["party"] = pa.array([1.0, None])
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({n: c if n == "party" else list(c) for n, c in columns.items()}), path)
    with pytest.raises(InvalidFile) as error:
        read_trips(path)
    assert str(error.value) == (
        f"{path}, row 1, column party: must be a whole number of at least 1, got nothing. Correct the row."
    )


def test_zones_must_be_unique_and_have_an_area(tmp_path, tlc):
    def message(*rows):
        path = written(tmp_path / "zones.csv", ("zone_id", "x_km", "y_km", "area_km2"), *rows)
        with pytest.raises(InvalidFile) as error:
            read_trips(tlc, zones=path)
        return str(error.value).replace(str(path), "zones.csv")

    assert message((4, 0, 0, 1), (4, 1, 0, 1)) == (
        "zones.csv, line 3, column zone_id: must be an id that no other row has, got '4'. Correct the row."
    )
    assert message((4, 0, 0, -1)) == (
        "zones.csv, line 2, column area_km2: must be an area of at least 0 km2, got '-1'. Correct the row."
    )
    assert message() == "zones.csv: must have at least one zone, got only a header."


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"half_width_km": 10.0}, "half_width_km must be a number within [0.1, 9] km, got 10.0."),
        ({"start_hour": 6.5}, "start_hour must be a whole number within [0, 12] h, got 6.5."),
        ({"sample_per_day": 321}, "sample_per_day must be a whole number within [1, 320], got 321."),
        ({"window_min": math.nan}, "window_min must be a number within [0, 150] min, got nan."),
        (
            {"centre": (95.0, 0.0)},
            "centre[0], the latitude, must be a number within [-90, 90] deg, got 95.0.",
        ),
        ({"centre": ("a", 0)}, "centre must be (latitude, longitude) in degrees, got ('a', 0)."),
    ],
)
def test_options_out_of_range_are_refused(native, option, message):
    with pytest.raises(InvalidValue) as error:
        read_trips(native, **option)
    assert str(error.value) == message


# --- days drawn between zones -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(data) -> Demand:
    return sample_od(data / "dispatch" / "nyc_manhattan_od", trips=MAX_BOOKINGS, day_of_week=2, seed=range(40))


def test_hours_of_drawn_days_are_those_of_the_table(data, drawn):
    rows = rows_of(data / "dispatch" / "nyc_manhattan_od" / "demand_by_dow_quarter_hour.csv")
    table = np.zeros(24)
    for row in rows:
        if row["dow"] == "2":
            table[int(row["t_15min"]) // 4] += int(row["n_trips"])
    expected = table[6:18] / table[6:18].sum()
    share = np.bincount(drawn.bookings["earliest_min"].astype(int) // 60, minlength=12) / len(drawn)
    sd = np.sqrt(expected * (1.0 - expected) / len(drawn))
    assert len(drawn) == 40 * MAX_BOOKINGS
    np.testing.assert_array_less(np.abs(share - expected), 4.0 * sd)


def test_pickups_of_drawn_days_have_the_median_of_the_table(drawn):
    """The frame is around the median of the expected pickups."""
    for axis in ("pickup_x_km", "pickup_y_km"):
        assert abs(np.median(drawn.bookings[axis])) < 0.2


def test_a_drawn_day_belongs_to_its_seed(data, drawn):
    alone = sample_od(data / "dispatch" / "nyc_manhattan_od", trips=MAX_BOOKINGS, day_of_week=2, seed=7)
    of_seven = drawn.bookings[drawn.bookings["day"] == 7].copy()
    of_seven["day"] = 0
    np.testing.assert_array_equal(alone.bookings, of_seven)
    fewer = sample_od(data / "dispatch" / "nyc_manhattan_od", trips=100, day_of_week=2, seed=7)
    assert np.isin(fewer.bookings["earliest_min"], alone.bookings["earliest_min"]).all()


def test_an_unknown_day_of_the_week_is_refused(data):
    with pytest.raises(InvalidValue) as error:
        sample_od(data / "dispatch" / "nyc_manhattan_od", day_of_week=6)
    assert str(error.value) == "day_of_week must be None or one of [0, 1, 2, 3, 4], 0 is Monday, got 6."


# --- descriptions and records -------------------------------------------------------------------------------


def test_a_description_names_files_beside_it(tmp_path, tlc, zones, january):
    for name, source in (("trips.csv", tlc), ("zones.csv", zones)):
        (tmp_path / name).write_bytes(source.read_bytes())
    path = tmp_path / "demand.yaml"
    path.write_text(
        "trips: trips.csv\nzones: zones.csv\ncentre: [586.0, 4512.0]\nrotate_deg: 29\nsample_per_day: 100\n"
    )
    demand = read_demand(path)
    assert demand.frame.rotate_deg == 29
    expected = read_trips(tlc, zones=zones, centre=(586.0, 4512.0), rotate_deg=29, sample_per_day=100)
    np.testing.assert_array_equal(data_from(path), expected.bookings)
    np.testing.assert_array_equal(data_from(str(path)), expected.bookings)


def test_a_description_may_draw_days(tmp_path, data):
    path = tmp_path / "demand.json"
    folder = data / "dispatch" / "nyc_manhattan_od"
    path.write_text(f'{{"od": "{folder}", "trips": 20, "seed": [4, 5]}}')
    np.testing.assert_array_equal(data_from(path), sample_od(folder, trips=20, seed=[4, 5]).bookings)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("trips: a.csv\nrotate: 29", UnknownName, "has no option named 'rotate'. Did you mean rotate_deg"),
        ("trips: [1]", InvalidFile, r"option trips: must be a path, got \[1\]"),
        ("- a", InvalidFile, "must be a mapping with trips: FILE, or od: FOLDER, got '- a'"),
        ("a: [", InvalidFile, "must be readable YAML or JSON, got: "),
        ("trips: none.csv", InvalidFile, "must be a file, got nothing there"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path, text, error, message):
    path = tmp_path / "demand.yaml"
    path.write_text(text)
    with pytest.raises(error, match=message):
        read_demand(path)


def test_data_from_takes_paths_demands_and_records(native):
    demand = read_trips(native)
    for value in (native, str(native), demand, demand.bookings):
        rows = data_from(value)
        assert rows.dtype == DATA
        np.testing.assert_array_equal(rows, demand.bookings)
        assert rows is not demand.bookings
    with pytest.raises(InvalidValue) as error:
        data_from([1, 2])
    assert str(error.value) == "demand must be a path, a Demand or records of dtype DATA, got list."


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("pickup_x_km", 9.5, "demand, record 1: pickup_x_km must be within ±9 km, got 9.5."),
        ("latest_min", math.nan, "demand, record 1: latest_min must be within 0 … 870 min, got nan."),
        ("ambulatory", -1, "demand, record 1: ambulatory must be within 0 … 9, got -1."),
        ("wheelchair", 4, "demand, record 1: wheelchair must be within 0 … 3, got 4."),
        ("day", -2, "demand, record 1: day must be at least 0, got -2."),
        ("ambulatory", 0, "demand, record 1: ambulatory must be such that a booking has a place, got 0."),
        ("reveal_min", 3.0, "demand, record 1: reveal_min must be sorted by (day, reveal_min), got 3.0."),
        (
            "reveal_min",
            244.0 + 5.0,
            "demand, record 1: earliest_min must be such that reveal_min <= earliest_min <= latest_min, got 245.0.",
        ),
    ],
)
def test_wrong_records_are_refused(native, field, value, message):
    rows = read_trips(native).bookings.copy()
    rows[field][1] = value
    with pytest.raises(InvalidValue) as error:
        data_from(rows)
    assert str(error.value) == message


def test_a_demand_survives_pickling(native):
    demand = read_trips(native)
    again = pickle.loads(pickle.dumps(demand))
    np.testing.assert_array_equal(again.bookings, demand.bookings)
    assert str(again) == str(demand)


def test_parameters_of_a_demand_are_within_their_bounds(native, january):
    assert january.params() == {
        "area_half_width_km": 9.0,
        "demand_per_day": pytest.approx(len(january) / 31, abs=0.06),
    }
    assert read_trips(native, half_width_km=4.0).params() == {
        "area_half_width_km": 5.0,
        "demand_per_day": 100.0,
    }


# --- in an environment --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 2])
def test_a_day_of_the_file_is_an_episode(make, january, number):
    day = january.days.index("2019-01-15")
    mine = january.bookings[january.bookings["day"] == day]
    env = make(f"rlops/Dispatch-v{number}", demand=january, params={**january.params(), "demand_day": day})
    observation, info = env.reset(seed=5)
    state = env.unwrapped.state[0]
    assert state["n_bookings"] == len(mine)
    assert state["n_clipped"] == 0
    for name in DATA.names[1:]:
        np.testing.assert_array_equal(state["bookings"][name][: len(mine)], mine[name], err_msg=name)
    ended = False
    while not ended:
        assert env.observation_space.contains(observation)
        oldest_first = int(np.argmax(info["action_mask"]))  # slots are in the order of their windows' ends
        observation, _, terminated, truncated, info = env.step(oldest_first)
        ended = terminated or truncated
    statuses = env.unwrapped.state[0]["bookings"]["status"][: len(mine)]
    assert (statuses >= 4).all()  # DONE, MISSED, NO_SHOW or CANCELLED
    assert (statuses == 4).sum() > 0.5 * len(mine)


@njit
def _draw_days(params, state, table, first_km):
    for i in range(len(state)):
        draw_city(params[i], state[i], table)
        first_km[i] = state[i].bookings[0].pickup_x_km


def _first_pickups(table, demand_day, keys):
    """Return where the first pickup of the day is that each key gets."""
    params, state = (
        np.zeros(keys, parameter_dtype(V1_PARAMETERS)),
        np.zeros(keys, state_dtype((), CITY_FIELDS)),
    )
    for parameter in V1_PARAMETERS:
        params[parameter.name] = parameter.nominal
    params["demand_day"], state["key"] = demand_day, np.arange(keys)
    if config.DISABLE_JIT:
        params, state, table = (rows.view(np.recarray) for rows in (params, state, table))
    first_km = np.zeros(keys)
    _draw_days(params, state, table, first_km)
    return first_km.tolist()


def test_days_are_drawn_or_counted_round(january):
    table = np.array(january.bookings[january.bookings["day"] < 5])
    first_km = table["pickup_x_km"][np.unique(table["day"], return_index=True)[1]]
    assert len(set(first_km)) == 5
    assert _first_pickups(table, 4, 3) == [first_km[4]] * 3
    assert _first_pickups(table, 5 + 3, 3) == [first_km[3]] * 3
    assert set(_first_pickups(table, -1, 50)) == set(first_km)
