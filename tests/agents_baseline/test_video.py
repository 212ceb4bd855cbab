"""Films and pictures of a day: whole, readable, and in step with the episode."""

from __future__ import annotations

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from rlops.agents_baseline.agents import load_agent
from rlops.agents_baseline.day import record_day
from rlops.agents_baseline.video import pictures, write_gif, write_video
from rlops.cli.__main__ import application
from rlops.envs import parse_id
from rlops.envs.dispatch import scene
from rlops.envs.faces import Env
from rlops.errors import InvalidValue

V0, V1 = "rlops/Dispatch-v0", "rlops/Dispatch-v1"


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


def test_a_day_needs_vehicles_that_drive():
    with pytest.raises(InvalidValue, match="got rlops/Dispatch-v0"):
        record_day(Env(*parse_id(V0)), Waiting(), seed=0)
