"""Forward passes of the networks that are trained here, on arrays, in float32 as Stable-Baselines3 computes them.

What a row gets depends on that row alone, bit for bit: a product by BLAS depends in its last bits on how many rows
there are, so linear layers add in an order of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numba
import numpy as np
from numba import prange

from rlops.agents_baseline.pair_layout import layout
from rlops.envs.compiling import PARALLEL_LOCK, compiled, usable_threads
from rlops.errors import InvalidValue

ACTIVATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, np.float32(0)),
}
Arrays = Mapping[str, np.ndarray]
Shapes = dict[str, tuple[int, ...]]


class Network(Protocol):
    """From observations ``(n, k)`` float32 to what a head makes actions of."""

    def hidden(self, obs: np.ndarray) -> np.ndarray:
        """Return what the last layer gets, ``(n, h)``."""

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return what the last layer gives, ``(n, m)``."""


class Layers:
    """Linear layers, named ``actor.0``, ``actor.1``, …, with an activation between them."""

    def __init__(self, arrays: Arrays, activation: str):
        """Take the arrays ``actor.i.weight`` (out, in) and ``actor.i.bias`` (out,)."""
        self._layers = [_layer(arrays, f"actor.{i}") for i in range(_depth(arrays))]
        self._activation = ACTIVATIONS[activation]

    @staticmethod
    def shapes(arrays: Arrays, columns: int, outputs: int) -> Shapes:
        """Return what the shapes of ``arrays`` must be."""
        widths = [columns, *(arrays[f"actor.{i}.bias"].size for i in range(_depth(arrays) - 1)), outputs]
        found: Shapes = {}
        for i in range(len(widths) - 1):
            found |= _shapes_of(f"actor.{i}", widths[i], widths[i + 1])
        return found

    def hidden(self, obs: np.ndarray) -> np.ndarray:
        """Return what the last layer gets, ``(n, h)``."""
        for layer in self._layers[:-1]:
            obs = self._activation(layer(obs))
        return obs

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return what the last layer gives, ``(n, m)``."""
        return self._layers[-1](self.hidden(obs))


class Pairs:
    """Scores of pairs of slots and vehicles, see ``pair_policy.py``: the same sums over the same cells."""

    def __init__(self, arrays: Arrays, id: str):
        """Take the arrays by the names that :class:`~rlops.agents_baseline.pair_policy.PairScores` gives them."""
        known = self._layout = layout(id)
        self._blocks = [known.whole, known.vehicles, known.slots, known.pairs]
        self._of = {name: _layer(arrays, name) for name in _names(arrays)}

    @staticmethod
    def shapes(arrays: Arrays, id: str) -> Shapes:
        """Return what the shapes of ``arrays`` must be."""
        known = layout(id)
        width = arrays["from_pair.bias"].size if "from_pair.bias" in arrays else 0
        vehicle, slot = known.vehicles.shape[1], known.slots.shape[1]
        between = known.pairs.shape[2] + (1 if known.places else 0)
        layers = {
            "summary.vehicle": (vehicle, width),
            "summary.slot": (slot, width),
            "summary.whole.0": (len(known.whole) + 2 * width, width),
            "summary.whole.2": (width, width),
            "from_summary": (width, width),
            "from_vehicle": (vehicle, width),
            "from_slot": (slot, width),
            "from_pair": (between, width),
            "score.0": (width, width),
            "score.2": (width, 1),
            "score_wait.0": (width, width),
            "score_wait.2": (width, 1),
        }
        if known.moves.size:
            layers |= {"score_move.0": (width, width), "score_move.2": (width, known.moves.shape[1])}
        return {name: shape for layer, sizes in layers.items() for name, shape in _shapes_of(layer, *sizes).items()}

    def hidden(self, obs: np.ndarray) -> np.ndarray:
        """Raise: no head asks this network for it."""
        raise InvalidValue("A network of pairs must be asked for scores alone, its head has no spread of its own.")

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Return the scores of the actions, ``(n, m)``; 0 where a pair cannot be legal."""
        known, relu, of = self._layout, ACTIVATIONS["relu"], self._of
        whole, vehicles, slots, pairs = (obs[:, block] for block in self._blocks)
        summary = np.concatenate([whole, relu(of["summary.vehicle"](vehicles)).sum(1), self._by_slot(slots)], axis=1)
        summary = relu(of["summary.whole.2"](relu(of["summary.whole.0"](summary))))
        of_all, of_vehicle = of["from_summary"](summary), of["from_vehicle"](vehicles)
        row, k, v = np.nonzero(self._there(vehicles, slots, pairs))
        hidden = (
            of_all[row]
            + of_vehicle[row, v]
            + of["from_slot"](slots)[row, k]
            + of["from_pair"](self._between(vehicles[row, v], slots[row, k], pairs[row, k, v]))
        )
        scores = np.zeros((len(obs), known.actions.size + 1 + known.moves.size), np.float32)
        scores[:, known.wait] = of["score_wait.2"](relu(of["score_wait.0"](summary)))[:, 0]
        scores[row, known.actions[k, v]] = of["score.2"](relu(of["score.0"](relu(hidden))))[:, 0]
        if known.moves.size:
            idle, stops = known.idle
            row, v = np.nonzero((vehicles[:, :, idle] > 0) & (vehicles[:, :, stops] == 0))
            hidden = relu(of_all[row] + of_vehicle[row, v])
            scores[row[:, None], known.moves[v]] = of["score_move.2"](relu(of["score_move.0"](hidden)))
        return scores

    def _by_slot(self, slots: np.ndarray) -> np.ndarray:
        """Return the sum over slots, ``(n, width)``."""
        relu, of_slot = ACTIVATIONS["relu"], self._of["summary.slot"]
        if not self._layout.sums_filled:
            added: np.ndarray = relu(of_slot(slots)).sum(1)
            return added
        row, k = np.nonzero(slots[:, :, self._layout.slot_filled] > 0)
        of_filled = relu(of_slot(slots[row, k]))
        added = np.zeros((len(slots), of_filled.shape[1]), np.float32)
        np.add.at(added, row, of_filled)
        return added

    def _between(self, vehicles: np.ndarray, slots: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Return what is known of cells beyond their vehicles (c, f) and slots (c, s), ``(c, p)``."""
        if not self._layout.places:
            return pairs
        *own, x, y = self._layout.places
        away = slots[:, [x, y]] - (vehicles[:, own] if own else np.float32(0.0))
        far: np.ndarray = np.hypot(away[:, :1], away[:, 1:])
        return far

    def _there(self, vehicles: np.ndarray, slots: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        """Return which pairs may be legal, ``(n, k, v)`` bool."""
        there = (slots[:, :, self._layout.slot_filled] > 0)[:, :, None]
        if self._layout.vehicle_there >= 0:
            there = there & (vehicles[:, :, self._layout.vehicle_there] > 0)[:, None, :]
        if pairs.shape[3]:
            there = there & (pairs != 0).any(axis=3)
        found: np.ndarray = there
        return found


class Linear:
    """A linear layer over the last axis."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        """Take a ``weight`` (out, in) and a ``bias`` (out,)."""
        self._weight, self._bias = np.ascontiguousarray(weight.T), np.ascontiguousarray(bias)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return what the layer gives for ``x`` (…, in), ``(…, out)``."""
        out = np.empty((x.size // x.shape[-1] if x.size else 0, len(self._bias)), np.float32)
        given = np.ascontiguousarray(x, np.float32).reshape(len(out), x.shape[-1])
        threads = usable_threads() if given.size * len(self._bias) >= _WORTH_THREADS else 1
        if threads > 1:
            with PARALLEL_LOCK:
                numba.set_num_threads(threads)
                _multiply_on_threads(given, self._weight, self._bias, out, threads)
        else:
            _multiply(given, self._weight, self._bias, out, 0, len(out))
        return out.reshape(*x.shape[:-1], len(self._bias))


_WORTH_THREADS = 1 << 20
"""Products in a layer from which on waking threads costs less than they save."""


@compiled
def _multiply(x: Any, weight: Any, bias: Any, out: Any, low: int, high: int) -> None:
    """Write ``x`` (n, in) times ``weight`` (in, out) plus ``bias`` (out,), for the rows from ``low`` to below ``high``.

    The products of an output are added one after another. Four at a go are half the time: it stays in a register.
    """
    inputs = x.shape[1]
    fours = inputs - inputs % 4
    for i in range(low, high):
        for o in range(out.shape[1]):
            out[i, o] = bias[o]
        for j in range(0, fours, 4):
            a, b, c, d = x[i, j], x[i, j + 1], x[i, j + 2], x[i, j + 3]
            for o in range(out.shape[1]):
                sum_ab = (out[i, o] + a * weight[j, o]) + b * weight[j + 1, o]
                out[i, o] = (sum_ab + c * weight[j + 2, o]) + d * weight[j + 3, o]
        for j in range(fours, inputs):
            for o in range(out.shape[1]):
                out[i, o] += x[i, j] * weight[j, o]


@compiled(parallel=True)
def _multiply_on_threads(x: Any, weight: Any, bias: Any, out: Any, threads: int) -> None:
    """Do what :func:`_multiply` does for all rows, each thread a share of them."""
    n = x.shape[0]
    for share in prange(threads):
        _multiply(x, weight, bias, out, n * share // threads, n * (share + 1) // threads)


def _layer(arrays: Arrays, name: str) -> Linear:
    return Linear(arrays[f"{name}.weight"], arrays[f"{name}.bias"])


def _names(arrays: Arrays) -> list[str]:
    return [name.removesuffix(".weight") for name in arrays if name.endswith(".weight")]


def _depth(arrays: Arrays) -> int:
    """Return how many layers there are."""
    return sum(name.startswith("actor.") and name.endswith(".bias") for name in arrays)


def _shapes_of(layer: str, n_in: int, n_out: int) -> Shapes:
    return {f"{layer}.weight": (n_out, n_in), f"{layer}.bias": (n_out,)}
