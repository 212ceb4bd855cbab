"""Films and pictures of a day: whole, readable, and in step with the episode."""

from __future__ import annotations

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rlops.agents_baseline.agents import Constant, load_agent
from rlops.agents_baseline.cooling_day import record_cooling_day
from rlops.agents_baseline.day import record_day
from rlops.agents_baseline.video import pictures, write_gif, write_video
from rlops.cli.__main__ import application
from rlops.envs import parse_id
from rlops.envs.cooling.accounts import CONSUMERS, REWARD_TERMS
from rlops.envs.dispatch import scene
from rlops.envs.faces import Env
from rlops.errors import InvalidValue

V0, V1 = "rlops/Dispatch-v0", "rlops/Dispatch-v1"
COOLING = "rlops/DatacenterCooling-v1"
STEADY = "constant:0.25,0.25,0.25,0.25,0.5,0.5,0.5,0.5,-0.3,0"


class Waiting:
    """Never assigns anything."""

    name = "waiting"

    def actions(self, envs, obs, masks):
        return np.zeros(len(masks), np.int64)


class Failing(Waiting):
    """Breaks off in the middle of a day."""

    def __init__(self):
        self.left = 10

    def actions(self, envs, obs, masks):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("no decision")
        return super().actions(envs, obs, masks)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "day.mp4"
    assert write_video(path, V0, Waiting(), seed=3, fps=12) == 97
    return path


def test_a_film_has_a_picture_for_every_step_of_the_clock(film):
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(film)
    assert frames == 97
    assert seconds == pytest.approx(97 / 12, abs=0.1)
    reader = imageio_ffmpeg.read_frames(film)
    assert next(reader)["size"] == (960, 640)
    reader.close()


def test_nothing_unfinished_is_left_beside_a_film(film):
    assert [file.name for file in film.parent.iterdir()] == ["day.mp4"]


def test_a_film_shows_the_episode(film):
    env = Env(*parse_id(V0), render_mode="rgb_array")
    first = next(pictures(env, Waiting(), seed=3))[1]
    reader = imageio_ffmpeg.read_frames(film)
    next(reader)
    shown = np.frombuffer(next(reader), np.uint8).reshape(first.shape)
    reader.close()
    assert np.abs(shown.astype(int) - first).mean() < 3.0


def test_a_film_becomes_a_gif(film, tmp_path):
    with Image.open(write_gif(film, tmp_path / "day.gif", fps=4)) as gif:
        assert gif.format == "GIF"
        assert gif.width == 640
        assert gif.n_frames > 10
    assert [file.name for file in tmp_path.iterdir()] == ["day.gif"]


def test_a_day_that_breaks_off_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="no decision"):
        write_video(tmp_path / "day.mp4", V0, Failing(), seed=0)
    assert list(tmp_path.iterdir()) == []


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(InvalidValue, match=r"ends in \.mp4, got .*day\.avi"):
        write_video(tmp_path / "day.avi", V0, Waiting(), seed=0)


def test_a_file_that_is_no_film_is_refused(tmp_path):
    (tmp_path / "day.mp4").write_bytes(b"no film")
    with pytest.raises(InvalidValue, match="must be a film that can be read"):
        write_gif(tmp_path / "day.mp4", tmp_path / "day.gif")
    assert [file.name for file in tmp_path.iterdir()] == ["day.mp4"]


def test_the_verb_says_where_the_film_is(tmp_path):
    out = tmp_path / "films" / "day.mp4"
    arguments = ["video", V0, "--agent", "nearest_idle", "--seed", "1", "--out", str(out), "--fps", "30"]
    result = CliRunner().invoke(application([]), arguments)
    assert result.exit_code == 0, result.output
    assert str(out) in result.output.replace("\n", "")
    assert imageio_ffmpeg.count_frames_and_secs(out)[0] == 97


@pytest.fixture(scope="module")
def day():
    return record_day(Env(*parse_id(V1)), load_agent("hungarian", V1), seed=2)


def test_a_recorded_day_agrees_with_its_key_figures(day):
    assert day.served().sum() == day.kpis["completed"] > 0
    assert day.missed().sum() == day.kpis["missed"]
    assert day.total_usd == pytest.approx(day.kpis["return_usd"], abs=1e-9)
    assert len(day.status) == day.kpis["bookings"]
    assert day.late().sum() == round(day.kpis["lateness_share"] * day.kpis["completed"])


def test_a_recorded_day_has_every_minute(day):
    assert np.array_equal(day.minutes, np.arange(len(day.minutes)))
    assert day.modes.shape == (len(day.minutes), 8)
    riding = day.modes == scene.WITH_RIDERS
    assert riding.any()
    assert (day.riders[riding] > 0).all()
    assert (np.abs(day.places_km) <= 1.5 * day.half_width_km).all()


def test_a_day_becomes_a_picture(day, tmp_path):
    path = day.picture(tmp_path / "pictures" / "day.png")
    with Image.open(path) as image:
        assert image.width > 1000
    assert [file.name for file in path.parent.iterdir()] == ["day.png"]


def test_a_film_of_cooling_has_a_picture_a_minute(tmp_path):
    out = tmp_path / "hall.mp4"
    arguments = ["video", COOLING, "--agent", STEADY, "--out", str(out), "--param", "horizon_min=20"]
    result = CliRunner().invoke(application([]), arguments)
    assert result.exit_code == 0, result.output
    assert imageio_ffmpeg.count_frames_and_secs(out)[0] == 21


@pytest.fixture(scope="module")
def hall():
    env = Env(*parse_id(COOLING), params={"horizon_min": 200})
    return record_day(env, load_agent(STEADY, COOLING), seed=2)


def test_a_recorded_day_of_cooling_has_a_row_for_every_consumer_and_they_add_up(hall):
    rows = hall.consumers()
    assert len(rows) == len(CONSUMERS)
    assert sum(kwh for _, kwh, _ in rows) == pytest.approx(hall.kpis["kwh_total"], rel=1e-12)
    for consumer, (_, kwh, usd) in zip(CONSUMERS, rows, strict=True):
        assert kwh == pytest.approx(hall.kpis[f"kwh_{consumer}"], rel=1e-9)
        assert usd == pytest.approx(0.1 * kwh)


def test_the_bill_of_a_recorded_day_is_its_return(hall):
    assert len(hall.bill()) == len(REWARD_TERMS)
    assert sum(usd for _, usd in hall.bill()) == pytest.approx(hall.total_usd, abs=1e-9)
    assert hall.total_usd == pytest.approx(hall.kpis["return_usd"], abs=1e-9)


def test_a_recorded_day_of_cooling_has_every_minute_and_its_extremes(hall):
    np.testing.assert_allclose(hall.hours * 60.0, np.arange(1, 201))
    assert hall.worst_c.shape == hall.fan.shape == hall.utilisation.shape == (200, 4)
    assert hall.worst_c.max() <= hall.kpis["max_inlet_c"] + 1e-9
    assert hall.wet_bulb_c.mean() == pytest.approx(hall.kpis["wet_bulb_mean_c"])
    np.testing.assert_allclose(hall.fan[-1], 0.7)


@pytest.mark.parametrize(("id", "agent"), [(COOLING, STEADY), ("rlops/DatacenterCooling-v0", "constant:0.25,-1")])
def test_a_day_of_cooling_becomes_a_picture_however_it_ends(id, agent, tmp_path):
    env = Env(*parse_id(id), params={"horizon_min": 30 if id == COOLING else 3000})
    day = record_day(env, load_agent(agent, id), seed=1)
    assert day.terminated == (id != COOLING)
    path = day.picture(tmp_path / "pictures" / "hall.png")
    with Image.open(path) as image:
        assert image.width > 1000
    assert [file.name for file in path.parent.iterdir()] == ["hall.png"]


def test_a_day_of_cooling_needs_a_hall():
    with pytest.raises(InvalidValue, match="got rlops/Dispatch-v0"):
        record_cooling_day(Env(*parse_id(V0)), Waiting(), seed=0)


def test_a_constant_agent_holds_its_action_in_every_row():
    agent = load_agent("constant:0.25,-1", "rlops/DatacenterCooling-v0")
    assert isinstance(agent, Constant)
    assert agent.name == "constant:0.25,-1"
    assert np.array_equal(agent.actions(None, np.zeros((3, 10)), np.zeros((3, 0))), [[0.25, -1.0]] * 3)


@pytest.mark.parametrize("action", ["", "0.25", "0.25,1.5", "0.25,nan", "0.25,x", "0,0,0"])
def test_a_constant_action_that_does_not_fit_is_refused(action):
    with pytest.raises(InvalidValue, match=r"must be 2 numbers within -1 … 1 \(1 × fan, 1 × valve\), got 'constant:"):
        load_agent(f"constant:{action}", "rlops/DatacenterCooling-v0")


def test_a_trained_agent_of_vectors_acts_in_the_hall_it_was_trained_in_alone(tmp_path):
    PPO = pytest.importorskip("stable_baselines3").PPO
    id = "rlops/DatacenterCooling-v0"
    env = Env(*parse_id(id), params={"horizon_min": 30})
    PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu").save(tmp_path / "model.zip")
    agent = load_agent(tmp_path / "model.zip", id)
    action = agent.actions(env, np.zeros((3, 10), np.float32), np.zeros((3, 0), np.bool_))
    assert (action.shape, action.dtype) == ((3, 2), np.float64)
    assert record_day(env, agent, seed=0).kpis["kwh_total"] > 0
    with pytest.raises(
        InvalidValue, match=r"43 observed numbers and actions of shape \(10,\) .* got \(10,\) and \(2,\)"
    ):
        load_agent(tmp_path / "model.zip", COOLING)


def test_a_constant_action_of_integers_is_refused():
    with pytest.raises(InvalidValue, match="takes integers"):
        load_agent("constant:0", V1)


def test_a_day_needs_vehicles_that_drive():
    with pytest.raises(InvalidValue, match="got rlops/Dispatch-v0"):
        record_day(Env(*parse_id(V0)), Waiting(), seed=0)
