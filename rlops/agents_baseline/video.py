"""A day as a film: one picture for every minute that the clock moves, written as MP4."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlops.agents_baseline.agents import decision
from rlops.envs import parse_id
from rlops.errors import InvalidValue, MissingExtra
from rlops.files import written

if TYPE_CHECKING:
    from rlops.agents_baseline.agents import Agent
    from rlops.envs.faces import Env

FPS = 20
"""[1/s] Pictures per second; a day of twelve hours takes 36 s."""
_QUALITY = 23
"""[-] Constant rate factor of x264; 18 looks lossless, more is smaller."""
_GIF_WIDTH = 640


def pictures(
    env: Env, agent: Agent, seed: int, override: Mapping[str, float] | None = None
) -> Iterator[tuple[float, np.ndarray]]:
    """Play one episode and yield the time and the picture of every moment, ``(height, width, 3)`` uint8.

    Decisions that take no time share the picture of their minute; without a clock there is one a step. ``override`` are
    parameters of this episode.
    """
    obs, _ = env.reset(seed=seed, options={"params": dict(override)} if override else None)
    clock = next(name for name in ("now_min", "minute", "steps") if name in (env.state.dtype.names or ()))
    shown_at = float(env.state[clock][0])
    yield shown_at, env.render()
    ended = False
    while not ended:
        obs, _, terminated, truncated, _ = env.step(decision(agent, env, obs))
        ended = terminated or truncated
        now = float(env.state[clock][0])
        if now > shown_at or ended:
            shown_at = now
            yield now, env.render()


def write_video(
    path: str | Path,
    id: str,
    agent: Agent,
    seed: int,
    *,
    params: Mapping[str, Any] | None = None,
    override: Mapping[str, float] | None = None,
    prepare: Callable[[Env], Env] | None = None,
    fps: int | None = None,
    progress: Callable[[float], None] | None = None,
    **options: Any,
) -> int:
    """Play one episode and write it as an MP4 film; return how many pictures it has.

    The file appears under its name when it is complete.

    Args:
        path: File to write, ending in ``.mp4``.
        id: Environment that can be rendered.
        agent: Who decides.
        seed: Of the episode.
        params: Parameters that differ from the nominal ones.
        override: Parameters of this episode, on top of them.
        prepare: Returns the environment as it is to be played, for example randomized.
        fps: Pictures per second; without it the version's own rate, for a day of minutes 20.
        progress: Called with the minutes that have passed.
        options: The environment's own options, for example ``demand=`` or ``traces=``, as for ``gymnasium.make``; one
            that is None is left out.

    Raises:
        InvalidValue: If the file has another suffix, or ``fps`` is not positive.
        MissingExtra: If the encoder is not installed.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise InvalidValue(f"A film must be written to a file that ends in .mp4, got {path}.")
    if fps is not None and fps < 1:
        raise InvalidValue(f"fps must be at least 1, got {fps}.")
    encoder = _encoder()
    env = _opened(id, params, options)
    env = env if prepare is None else prepare(env)
    with written(path) as unfinished:
        return _film(encoder, unfinished, env, pictures(env, agent, seed, override), fps, progress)


def _film(
    encoder: Any,
    path: Path,
    env: Any,
    shown: Iterable[tuple[float, np.ndarray]],
    fps: int | None,
    progress: Callable[[float], None] | None,
) -> int:
    """Write pictures into a film; return how many there were."""
    count = 0
    film = None
    try:
        for now, picture in shown:
            if film is None:
                height, width = picture.shape[:2]
                film = encoder.write_frames(
                    path,
                    (width, height),
                    fps=fps or env.metadata["render_fps"],
                    codec="libx264",
                    macro_block_size=16,
                    output_params=["-crf", str(_QUALITY), "-preset", "veryfast", "-movflags", "+faststart"],
                )
                film.send(None)
            film.send(np.ascontiguousarray(picture))
            count += 1
            if progress is not None:
                progress(now)
    finally:
        if film is not None:
            film.close()
    return count


def write_gif(film: str | Path, path: str | Path, fps: int = 10) -> Path:
    """Turn an MP4 film into an animated GIF, ``640`` pixels wide, and return its path.

    Raises:
        MissingExtra: If the encoder is not installed.
        InvalidValue: If the film cannot be read.
    """
    path = Path(path)
    palette = path.with_name(f".palette-{path.stem}.png")
    scale = f"fps={fps},scale={_GIF_WIDTH}:-1:flags=lanczos"
    colours = f"{scale},palettegen=max_colors=96:stats_mode=diff"
    mapped = f"{scale}[x];[x][1:v]paletteuse=dither=none"
    try:  # twice over the film, so that the pictures need not be kept
        _run_encoder(film, ["-vf", colours, str(palette)])
        with written(path) as unfinished:
            _run_encoder(film, ["-i", str(palette), "-lavfi", mapped, str(unfinished)])
    finally:
        palette.unlink(missing_ok=True)
    return path


def _run_encoder(film: str | Path, arguments: list[str]) -> None:
    call = [_encoder().get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i", str(film), *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InvalidValue(f"{film} must be a film that can be read, got: {done.stderr.strip()}")


def _encoder() -> Any:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise MissingExtra("Writing films", "render") from None
    return imageio_ffmpeg


def _opened(id: str, params: Mapping[str, Any] | None, options: Mapping[str, Any]) -> Env:
    from rlops.envs.faces import Env

    given = {name: value for name, value in options.items() if value is not None}
    return Env(*parse_id(id), render_mode="rgb_array", params=params, **given)
