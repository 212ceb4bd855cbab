"""A report's figures are those of its table, its files agree, and what does not fit is refused."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from rlops.envs import FAMILIES
from rlops.errors import InvalidFile, InvalidValue, NotReproduced, UnknownName
from rlops.robustness import statistics as s
from rlops.robustness.baseline import fallen
from rlops.robustness.episodes import read_parquet, write_parquet
from rlops.robustness.figures import Figures, margin, rule
from rlops.robustness.gates import judged, verdict
from rlops.robustness.parts import Setting, battery, curves, transfer
from rlops.robustness.replay import film, replay
from rlops.robustness.report import Data, exit_code, junit, load, robustness, setting_of
from rlops.robustness.spec import read_gates, read_spec, shipped, succeeded, trained_for
from tests.robustness.conftest import ID, SPEC, spec


def setting(**changes):
    chosen = spec(**changes)
    return Setting(chosen, trained_for(chosen, {}))


# -- specifications ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [id for family in FAMILIES for id in family.ids])
def test_every_environment_ships_a_specification_that_fits_it(id):
    chosen = shipped(id)
    whole = Setting(chosen, trained_for(chosen, {}))
    assert len(whole.swept) >= 3
    played = [*transfer(whole), battery(whole), curves(whole)]
    parts = {"nominal", "in_distribution", *(f"transfer/{design.labels[0]}" for design in played[:-2])}
    assert {gate.where for gate in chosen.gates.require} <= parts
    assert sum(map(len, (played[-1], battery(whole.__class__(chosen.brief(), whole.trained))))) > 0
    assert chosen.brief().curves.episodes < chosen.curves.episodes


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"env": "rlops/Dispatch-v1"}, InvalidValue, "env must be rlops/Dispatch-v0, got rlops/Dispatch-v1"),
        ({"success": None}, InvalidValue, "success must be given, as rlops/Dispatch-v0 has no is_success"),
        ({"success": "completion_rate"}, InvalidValue, "success must look like completion_rate >= 0.9"),
        ({"success": "punctuality > 1"}, UnknownName, "no figure named 'punctuality'"),
        ({"nominel": {}}, UnknownName, "no field named 'nominel'. Did you mean nominal"),
        ({"curves": {"episodes": 8, "params": ["wind"]}}, UnknownName, "no parameter named 'wind'"),
        ({"curves": {"point": 3}}, UnknownName, "no field named 'point'. Did you mean points"),
        ({"nominal": {"episodes": 4}}, InvalidValue, "nominal.episodes must be at least 12"),
        ({"gates": {"require": [{"figure": "return"}]}}, InvalidValue, "must have at_least or at_most"),
        ({"gates": {"require": [{"figure": "success", "at_least": 95}]}}, InvalidValue, "a share above 0 and below 1"),
        ({"gates": {"primary": "x"}}, InvalidValue, "primary must be one of the gates, of which there is none"),
    ],
)
def test_a_specification_that_does_not_fit_says_where_and_why(change, error, words):
    with pytest.raises(error) as raised:
        spec(**change)
    assert words in str(raised.value)


def test_specifications_and_gates_come_from_files(tmp_path):
    file, gates = tmp_path / "s.json", tmp_path / "g.yaml"
    file.write_text(json.dumps(SPEC))
    gates.write_text("confidence: 0.9\nrequire: [{figure: success, at_least: 0.5}]\n")
    chosen = read_gates(gates, read_spec(file, ID))
    assert (chosen.gates.confidence, chosen.gates.require[0].title) == (0.9, "success ≥ 0.5, nominal")
    assert chosen.hash != spec().hash
    file.write_text("env: [")
    with pytest.raises(InvalidFile, match="must be a readable YAML or JSON file"):
        read_spec(file, ID)


def test_success_is_the_conjunction_of_its_conditions_and_needs_a_number():
    table = np.array([(1.0, 2.0), (3.0, 2.0), (3.0, 9.0), (np.nan, 2.0)], [("return", "f8"), ("pue", "f8")])
    assert succeeded("return >= 1 and pue < 9", table).tolist() == [True, True, False, False]
    assert succeeded("return > 1", table).tolist() == [False, True, True, False]


def test_the_trained_range_follows_the_operation_of_its_term():
    own = {
        "randomization": {
            "spec": {
                "env": ID,
                "params": {"speed_kmh": {"op": "scale", "dist": "uniform", "low": 0.5, "high": 1.5}},
            }
        }
    }
    whole = Setting(spec(), trained_for(spec(), own))
    assert whole.trained_range("speed_kmh") == (15.0, 45.0)
    assert whole.trained_range("arrival_else") is None


# -- the report --------------------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_table(written):
    _, report, _ = written
    table = load(written[0])[1]
    nominal = table[(table["part"] == "nominal") & (table["policy"] == "a")]
    found = report["nominal"]["a"]
    assert found["return"]["value"] == pytest.approx(nominal["return"].mean())
    good = int((nominal["completion_rate"] >= 0.97).sum())
    assert found["success"] == vars(s.rate_estimated(good, 24))
    drawn = table[(table["part"] == "in_distribution") & (table["policy"] == "a")]
    assert report["worst"]["a"]["cvar"] == {"value": np.sort(drawn["return"])[:2].mean(), "low": None, "high": None}
    assert report["in_distribution"]["a"]["lost_return"]["value"] == pytest.approx(
        nominal["return"].mean() - drawn["return"][:24].mean()
    )
    cells = report["heatmap"]["cells"]["b"]
    names = [axis["name"] for axis in report["heatmap"]["axes"]]
    last = table[(table["part"] == "heatmap") & (table["policy"] == "b")][-4:]
    assert cells[1][1]["return"]["value"] == pytest.approx(last["return"].mean())
    assert [float(last[f"param_{name}"][0]) for name in names] == [
        axis["values"][1] for axis in report["heatmap"]["axes"]
    ]
    curve = report["curves"][0]["policies"]["a"]
    usual = float(np.mean(nominal["completion_rate"][:12] >= 0.97))  # the curves play twelve seeds
    points = [{"at": p["at"], "success": p["success"]} for p in curve["points"]]
    assert curve["margin"] == margin(points, 30.0, usual, 0.9 * usual)
    assert report["transfer"]["columns"] == ["nominal", "mild", "full", "ood"]
    assert report["transfer"]["cells"]["a"][0]["lost_return"]["value"] == 0.0


def test_every_part_is_played_by_both_policies_in_the_same_worlds(written):
    out, report, told = written
    table = load(out)[1]
    first, second = (table[table["policy"] == policy] for policy in "ab")
    key = ["part", "label", "seed", *(name for name in table.dtype.names if name.startswith("param_"))]
    assert np.sort(first[key]).tobytes() == np.sort(second[key]).tobytes()
    assert set(table["part"]) == {"nominal", "in_distribution", "curves", "battery", "transfer", "heatmap"}
    assert told[-1][1:] == (len(table), len(table))
    assert report["comparison"]["nominal"]["return"]["value"] == pytest.approx(
        (first["return"] - second["return"])[first["part"] == "nominal"].mean()
    )


def test_a_report_is_the_same_for_the_same_policy_and_leaves_no_work_behind(written, tmp_path):
    out, report, _ = written
    again = robustness(spec(), "nearest_idle", tmp_path, against="hungarian")
    assert read_parquet(tmp_path / "episodes.parquet").tobytes() == load(out)[1].tobytes()
    for one in (report, again):
        one["header"].pop("seconds", None)
    assert again == report
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "episodes.parquet", "report.html", "report.json", "report.junit.xml",
    ]  # fmt: skip


def test_too_few_episodes_leave_the_worst_undecided_and_say_why(written):
    _, report, _ = written
    first, second = report["gates"]
    assert first["answer"] == "pass"
    assert second["answer"] == "cannot decide"
    assert "needs 200 episodes" in second["reason"]
    assert (report["verdict"], exit_code(report)) == ("cannot decide", 2)
    suite = ET.parse(written[0] / "report.junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "0", "1")


def gated(written, *require, **others):
    whole = setting(gates={"require": list(require), **others})
    return judged(Figures(whole, load(written[0])[1]))


def test_gates_pass_fail_and_are_left_open(written):
    found = gated(
        written,
        {"figure": "return", "at_least": 3000},
        {"figure": "return", "at_least": 9000},
        {
            "figure": "return",
            "at_least": round(written[1]["battery"][0]["policies"]["a"][0]["return"]["value"]),
            "where": "battery/traffic_slowdown mild",
        },
        {"figure": "return", "statistic": "degradation", "where": "transfer/ood", "at_most": 0.9},
        {"figure": "return", "statistic": "iqm", "where": "transfer/nominal", "at_most": 9000},
    )
    assert [one["answer"] for one in found] == ["pass", "fail", "cannot decide", "pass", "pass"]
    assert verdict(found) == "fail"
    assert verdict(found[2:]) == "cannot decide"
    assert verdict(found[3:]) == verdict([]) == "pass"
    with pytest.raises(UnknownName, match="no place named 'battery/hail'"):
        gated(written, {"figure": "return", "at_least": 0, "where": "battery/hail"})


def test_several_gates_are_corrected_and_a_primary_one_is_not(written):
    table = load(written[0])[1]
    nominal = table[(table["part"] == "nominal") & (table["policy"] == "a")]
    least = float(np.quantile(s.resampled(nominal["return"], lambda d: d.mean(axis=-1)), 0.03))  # p near 0.03
    gates = [{"figure": "return", "at_least": least}, {"figure": "return", "at_least": least - 1, "name": "other"}]
    alone = gated(written, gates[0])
    assert alone[0]["answer"] == "pass"
    assert [one["answer"] for one in gated(written, *gates)] == ["cannot decide", "cannot decide"]
    primary = gated(written, *gates, primary="other")
    assert [one["decides"] for one in primary] == [False, True]
    assert primary[1]["answer"] == "pass"


def test_the_margin_ends_where_success_falls_below_its_floor():
    points = [{"at": at, "success": {"value": rate}} for at, rate in ((0, 0.2), (5, 0.9), (10, 1.0), (20, 0.6))]
    found = margin(points, nominal=8.0, floor=1.0, least=0.8)
    assert found["above"] == pytest.approx(2 + 10 * 0.5)
    assert found["below"] == pytest.approx(3 + 5 * 0.1 / 0.7)
    assert margin(points, 8.0, 1.0, 0.1) == {"below": None, "above": None}


def test_the_rule_finds_what_makes_episodes_bad_and_does_not_believe_noise():
    draws = np.random.default_rng(0)
    columns = {name: draws.uniform(size=400) for name in ("mass", "friction", "gain")}
    bad = (columns["mass"] > 0.8) & (columns["friction"] < 0.3)
    found = rule(columns, bad)
    assert {(c["name"], c["sign"]) for c in found["conditions"]} == {("mass", ">"), ("friction", "<")}
    assert found["covers"] > 0.8
    assert found["precision"] > 0.8
    assert found["p"] < 0.01
    assert rule(columns, draws.permutation(bad))["p"] > 0.05
    assert rule({}, bad) is None


def test_the_catalogue_names_the_worst_and_the_first_bad_step(written):
    out, report, _ = written
    table = load(out)[1]
    failed = [one for one in report["failures"] if not one["success"]]
    own = table[(table["policy"] == "a") & (table["completion_rate"] < 0.97)]
    assert len(failed) == 3
    assert len({(one["seed"], one["return"]) for one in failed}) == 3
    assert {one["class"] for one in failed} <= {"below the mark", "time over"}  # no day of this task ends early
    assert failed[0]["return"] == own["return"].min()
    for one in report["failures"]:
        row = table[one["episode"]]
        assert (one["seed"], one["return"], one["label"]) == (row["seed"], row["return"], row["label"])
        assert one["first_bad_step"] is None or 1 <= one["first_bad_step"] <= one["steps"]
        assert one["changed"] == {
            name.removeprefix("param_"): row[name]
            for name in table.dtype.names
            if name.startswith("param_") and row[name] != setting().nominal[name.removeprefix("param_")]
        }


# -- replay ------------------------------------------------------------------------------------------------------------


def test_every_kind_of_episode_is_replayed_bit_for_bit(written):
    out, report, _ = written
    table = load(out)[1]
    places = {}
    for number, (part, policy) in enumerate(zip(table["part"], table["policy"], strict=True)):
        places[part, policy] = number  # the last of each
    for number in (*places.values(), report["failures"][0]["episode"]):
        found = replay(out / "report.json", number)
        assert found.episode["return"] == table["return"][number]
    with pytest.raises(InvalidValue, match=f"within 0 … {len(table) - 1}"):
        replay(out, len(table))


def test_a_film_is_made_of_the_episode_that_failed(written, tmp_path):
    out, report, _ = written
    found = replay(out, report["failures"][0]["episode"])
    assert film(found, tmp_path / "f.mp4") == found.episode["steps"] + 1
    assert (tmp_path / "f.mp4").stat().st_size > 5000


def copied(out, folder, change=lambda report: report, table=lambda table: table):
    """Return a copy of a report with its JSON and its table changed."""
    report, episodes = load(out)
    folder.mkdir(exist_ok=True)
    (folder / "report.json").write_text(json.dumps(change(report)))
    write_parquet(table(episodes.copy()), folder / "episodes.parquet")
    return folder


def test_an_episode_that_comes_out_otherwise_is_not_called_the_same(written, tmp_path):
    def one_ulp(table):
        table["return"][3] = np.nextafter(table["return"][3], np.inf)
        return table

    with pytest.raises(NotReproduced, match="1 of its columns differ, first return"):
        replay(copied(written[0], tmp_path / "r", table=one_ulp), 3)


def test_another_agent_of_the_same_name_is_refused(written, tmp_path):
    def other(report):
        report["policies"]["a"]["digest"] = "sha256:0"
        return report

    with pytest.raises(InvalidValue, match="must be the agent that played"):
        replay(copied(written[0], tmp_path / "r", other), 0)


# -- baselines and foreign files ---------------------------------------------------------------------------------------


def test_the_same_policy_is_not_worse_than_itself_and_another_one_is(written, tmp_path):
    out = written[0]
    same = robustness(spec(), "nearest_idle", tmp_path / "same", before=out)
    assert same["baseline"]["worse"] is False
    assert all(one["change"]["value"] == 0 for one in same["baseline"]["regions"])
    idle = robustness(spec(), "do_nothing", tmp_path / "idle", before=out / "report.json")
    assert idle["baseline"]["worse"] is True
    assert (idle["verdict"], exit_code(idle)) == ("fail", 1)
    assert any(line.startswith("curves, speed_kmh > ") for line in idle["baseline"]["told"])
    assert b"not worse than the baseline" in junit(idle)
    assert 'failures="1"' in junit(idle).decode() or 'failures="2"' in junit(idle).decode()


def test_the_sign_test_of_pairs_is_exact_on_few():
    assert fallen(np.zeros(9)) == 1.0
    assert fallen(-np.ones(5)) == pytest.approx(1 / 32, abs=0.006)
    assert fallen(np.ones(5)) == pytest.approx(1.0)
    assert fallen(np.random.default_rng(0).normal(-1, 1, 40)) < 0.001


def test_a_baseline_of_other_dynamics_or_another_environment_is_refused(written, tmp_path):
    def moved(report):
        report["header"]["fingerprint"]["portable"] = "0" * 64
        return report

    def foreign(report):
        report["header"]["id"] = "rlops/Dispatch-v1"
        return report

    with pytest.raises(InvalidValue, match="same dynamics"):
        robustness(spec(), "nearest_idle", tmp_path / "o", before=copied(written[0], tmp_path / "m", moved))
    with pytest.raises(InvalidValue, match="must be a report of rlops/Dispatch-v0, got one of rlops/Dispatch-v1"):
        robustness(spec(), "nearest_idle", tmp_path / "p", before=copied(written[0], tmp_path / "f", foreign))


def test_reports_of_another_format_cut_off_or_foreign_are_refused(written, tmp_path):
    out = written[0]
    whole = (out / "report.json").read_text()
    file = tmp_path / "report.json"
    for content, words in (
        (whole[:-200], "whole, got: "),
        ("[1, 2]", "got other JSON"),
        (whole.replace("rlops/robustness-report@1", "rlops/robustness-report@0"), "Write it anew with this release"),
        (whole, "must be the table of episodes"),
    ):
        file.write_text(content)
        with pytest.raises(InvalidFile, match=words):
            load(file)
    write_parquet(load(out)[1][1:], tmp_path / "episodes.parquet")
    with pytest.raises(InvalidFile, match="Keep the files of a report together"):
        load(tmp_path)
    with pytest.raises(InvalidFile, match=r"must be the report\.json"):
        load(tmp_path / "nowhere")


def test_the_setting_of_a_report_is_the_one_that_it_was_played_in(written):
    report = written[1]
    again, fresh = setting_of(report, Data()), setting()
    assert again.trained.hash == fresh.trained.hash
    assert again.spec.hash == fresh.spec.hash
    assert again.nominal == fresh.nominal
