# ruff: noqa: E501 - messages are compared as a whole
"""What a specification may say: the same hash however it is written, and an error in words for everything else."""

import json
from pathlib import Path

import gymnasium as gym
import pytest
import yaml

from rlops.errors import InvalidFile, InvalidValue, UnknownName
from rlops.randomization import randomize, read

ID = "rlops/Dispatch-v0"
UNIFORM = {"dist": "uniform", "low": 20, "high": 40}


def spec(**params):
    return {"env": ID, "params": params}


def test_yaml_json_and_a_mapping_are_one_specification_with_one_hash(tmp_path):
    content = spec(speed_kmh=UNIFORM, near_km={"dist": "constant", "value": 5})
    as_yaml, as_json = tmp_path / "a.yaml", tmp_path / "a.json"
    as_yaml.write_text(yaml.safe_dump({**content, "params": dict(reversed(content["params"].items()))}))
    as_json.write_text(json.dumps(content).replace("20", "2e1"))
    hashes = {read(one).hash for one in (content, as_yaml, str(as_json))}
    assert len(hashes) == 1
    other = spec(speed_kmh={**UNIFORM, "high": 41}, near_km={"dist": "constant", "value": 5})
    assert read(other).hash not in hashes


def test_a_specification_has_a_json_schema():
    schema = type(read(spec(speed_kmh=UNIFORM))).model_json_schema()
    assert {"env", "params", "correlations", "expose"} <= set(schema["properties"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"params": {}}, "randomization: env must be given, but is missing."),
        (
            spec(speed_kmh={"low": 20, "high": 40}),
            "randomization: params.speed_kmh must have a dist, one of constant, uniform, loguniform, normal, truncnormal, "
            "choice, grid, sobol, lhs, empirical, got {'low': 20, 'high': 40}.",
        ),
        (
            spec(speed_kmh={**UNIFORM, "low": 41}),
            "randomization: params.speed_kmh: low must not be above high, got 41 and 40.",
        ),
        (
            spec(speed_kmh={**UNIFORM, "low": "slow"}),
            "randomization: params.speed_kmh.low: input should be a valid number, unable to parse string as a number, "
            "got 'slow'.",
        ),
        (
            spec(speed_kmh={"dist": "loguniform", "low": 0, "high": 1}),
            "randomization: params.speed_kmh: low must be above 0 for a logarithm, got 0.",
        ),
        (
            spec(speed_kmh={**UNIFORM, "per": "interval"}),
            "randomization: params.speed_kmh: every: [shortest, longest] must be given with per: interval, and only with it.",
        ),
        (
            spec(speed_kmh={**UNIFORM, "per": "interval", "every": [4, 2]}),
            "randomization: params.speed_kmh: every must be [shortest, longest] in steps, 1 <= shortest <= longest, "
            "got (4.0, 2.0).",
        ),
        (
            spec(speed_kmh={"dist": "sobol", "low": 20, "high": 40, "n": 6}),
            "randomization: params.speed_kmh.n: n must be a power of 2, or the sequence loses its balance, got 6.",
        ),
        (
            spec(speed_kmh={"dist": "choice", "values": [20, 30], "weights": [1]}),
            "randomization: params.speed_kmh: weights must be 2 numbers, one a value, and not all 0, got (1.0,).",
        ),
        ("nothing", "nothing must be a level (off, mild, full, ood) or the YAML or JSON file of a randomization, got neither."),
        (
            Path("nothing"),
            "nothing must be a YAML or JSON file of a randomization, got: [Errno 2] No such file or directory: 'nothing'",
        ),
        (3, "randomization must be a mapping with env and params, got 3."),
        (
            {"env": "rlops/Dispatch-v1", "params": {}},
            "rlops/Dispatch-v0: env of the randomization must be rlops/Dispatch-v0, got rlops/Dispatch-v1. Write one for "
            "rlops/Dispatch-v0.",
        ),
        (
            spec(speed_kmh={**UNIFORM, "unit": "m/s"}),
            "rlops/Dispatch-v0: randomized parameter speed_kmh: unit must be km/h, got m/s. Convert the values.",
        ),
        (
            spec(speed_kmh={**UNIFORM, "high": 99}),
            "rlops/Dispatch-v0: randomized parameter speed_kmh: values must stay within the hard bounds [10, 60] km/h, got 99.",
        ),
        (
            spec(speed_kmh={"op": "scale", "dist": "uniform", "low": 0.1, "high": 1}),
            "rlops/Dispatch-v0: randomized parameter speed_kmh: values must stay within the hard bounds [10, 60] km/h, "
            "got 3 = 0.1 x nominal.",
        ),
        (
            spec(speed_kmh={"op": "add", "dist": "choice", "values": [-30, 1]}),
            "rlops/Dispatch-v0: randomized parameter speed_kmh: values must stay within the hard bounds [10, 60] km/h, "
            "got 0 = nominal + -30.",
        ),
        (
            spec(arrival_rush={"dist": "uniform", "low": 0, "high": 1, "per": "step"}),
            "rlops/Dispatch-v0: randomized parameter arrival_rush: per must be episode, got step: a parameter of kind demand "
            "acts where an episode begins.",
        ),
        (
            spec(speed_kmh={**UNIFORM, "dist": "lhs", "n": 4}, near_km={"dist": "lhs", "low": 1, "high": 2, "n": 8}),
            "rlops/Dispatch-v0: all terms with dist lhs must have one n, as they make one design, got near_km 8, "
            "speed_kmh 4.",
        ),
        (
            {**spec(speed_kmh=UNIFORM, near_km={"dist": "constant", "value": 1}),
             "correlations": [{"params": ["speed_kmh", "near_km"], "rho": 0.5}]},
            "rlops/Dispatch-v0: randomized parameter near_km: a correlated parameter must be drawn, neither constant nor "
            "designed, and per episode or per step as those that it is correlated with.",
        ),
        (
            {**spec(**{name: {"dist": "uniform", "low": 0, "high": 1} for name in
                       ("arrival_rush", "arrival_midday", "arrival_else")}),
             "correlations": [{"params": ["arrival_rush", "arrival_midday"], "rho": 0.9},
                              {"params": ["arrival_rush", "arrival_else"], "rho": 0.9},
                              {"params": ["arrival_midday", "arrival_else"], "rho": -0.9}]},
            "rlops/Dispatch-v0: the correlations of arrival_else, arrival_midday, arrival_rush must be possible together (a "
            "positive definite matrix). Lower them.",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_words(content, message):
    with pytest.raises(InvalidValue) as error:
        randomize(gym.make(ID), content)
    assert str(error.value).rstrip() == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (spec(speed_kph=UNIFORM), "rlops/Dispatch-v0 has no parameter named 'speed_kph'. Did you mean speed_kmh?"),
        (
            spec(speed_kmh={**UNIFORM, "dist": "unifrom"}),
            "randomization: params.speed_kmh has no distribution named 'unifrom'. Did you mean uniform or loguniform?",
        ),
        (
            spec(speed_kmh={**UNIFORM, "hihg": 3}),
            "randomization.params.speed_kmh has no field named 'hihg'. Did you mean high?",
        ),
        ({**spec(), "parms": {}}, "randomization has no field named 'parms'. Did you mean params?"),
        (
            {**spec(speed_kmh=UNIFORM), "correlations": [{"params": ["speed_kmh", "near_km"], "rho": 0.5}]},
            "correlations has no randomized parameter named 'near_km'. It has: speed_kmh.",
        ),
    ],
)
def test_unknown_names_come_with_the_nearest_ones(content, message):
    with pytest.raises(UnknownName) as error:
        randomize(gym.make(ID), content)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("speed\n20\nfast\n", "{file}, row 3, column speed: a number is needed, got 'fast'."),
        ("pace\n20\n", "{file} must have a column speed, got pace."),
        ("speed\n", "{file} must have samples, got only its heading."),
    ],
)
def test_a_bad_file_of_samples_is_named_with_row_and_column(tmp_path, content, message):
    file = tmp_path / "samples.csv"
    file.write_text(content)
    with pytest.raises(InvalidFile) as error:
        randomize(gym.make(ID), spec(speed_kmh={"dist": "empirical", "file": str(file), "column": "speed"}))
    assert str(error.value) == message.format(file=file)


def test_only_environments_of_rlops_can_be_randomized():
    with pytest.raises(InvalidValue) as error:
        randomize(gym.make("CartPole-v1"), spec(speed_kmh=UNIFORM))
    assert str(error.value) == "randomize needs an environment of rlops, got CartPoleEnv. Make it by its rlops id."
