"""Policies for other runtimes: ONNX in float32 and INT8, and how fast and how faithful each is, measured.

The graph takes ``observation`` (n, k) float32 and, where actions are masked, ``mask`` (n, m) bool; it gives ``action``:
the best one, ``(n,)`` int64 or ``(n, d)`` float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlops.agents_baseline.directions import NEAREST, indices
from rlops.agents_baseline.pair_layout import layout
from rlops.agents_baseline.policies import MOST_STANDARDISED, Policy, PolicyAgent
from rlops.agents_baseline.sharing import part_of_each
from rlops.envs import parse_id
from rlops.envs.contract import bounds, width
from rlops.envs.faces import VectorEnv
from rlops.errors import MissingExtra
from rlops.files import written

OPSET = 18
BATCH_ROWS = 256
_TIMED_S = 0.3
Decide = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From observations ``(n, k)`` and masks ``(n, m)`` to actions."""


def write_onnx(policy: Policy, path: str | Path) -> Path:
    """Write the graph of a policy, checked, all or nothing.

    Raises:
        MissingExtra: If onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtra("The export to ONNX", "export") from None
    model = _Graph(policy).model()
    onnx.checker.check_model(model, full_check=True)
    with written(path) as partial:
        onnx.save(model, partial)
    return Path(path)


def write_int8(source: str | Path, path: str | Path) -> Path:
    """Write an ONNX graph with 8-bit weights; activations are quantised as they come.

    The weights are unsigned, as the activations are: where weights are signed, processors without VNNI add products up
    in 16 bits, which overflow, and actions are far off (``onnxruntime``'s guide to quantisation, "U8U8").

    Raises:
        MissingExtra: If onnxruntime is not installed.
    """
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise MissingExtra("The export to INT8", "export") from None
    with written(path) as partial:
        quantize_dynamic(source, partial, weight_type=QuantType.QUInt8, extra_options={"DefaultTensorType": 1})
    return Path(path)


class _Graph:
    """The graph of a policy, node by node."""

    def __init__(self, policy: Policy):
        from onnx import TensorProto, helper, numpy_helper

        self._policy, self._helper, self._as_tensor, self._types = policy, helper, numpy_helper.from_array, TensorProto
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self) -> Any:
        """Return the whole."""
        policy, helper, types = self._policy, self._helper, self._types
        family, number = parse_id(policy.id)
        kernel = family.kernel(number)
        discrete = isinstance(kernel.ACTION, int)
        scores = self._pairs("observation") if policy.network == "pairs" else self._layers(self._standardised())
        if policy.shared:
            scores = self._add("Reshape", scores, self._constant([-1, len(bounds(kernel.ACTION)[0])], np.int64))
        self._head(scores, None if discrete else bounds(kernel.ACTION))
        columns = len(bounds(kernel.OBSERVATION)[0])
        inputs = [helper.make_tensor_value_info("observation", types.FLOAT, ["n", columns])]
        if policy.masked:
            inputs.append(helper.make_tensor_value_info("mask", types.BOOL, ["n", kernel.ACTION]))
        action = (types.INT64, ["n"]) if discrete else (types.FLOAT, ["n", len(bounds(kernel.ACTION)[0])])
        outputs = [helper.make_tensor_value_info("action", *action)]
        graph = helper.make_graph(self._nodes, policy.id, inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        helper.set_model_props(model, {"id": policy.id, "algo": policy.algo})
        return model

    def _add(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """Add a node; return the name of what it gives."""
        name = out or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(self._helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def _constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(self._as_tensor(np.array(value, dtype, order="C"), name))
        return name

    def _linear(self, x: str, layer: str) -> str:
        """Add a linear layer over the last axis."""
        arrays = self._policy.arrays
        product = self._add("MatMul", x, self._constant(arrays[f"{layer}.weight"].T))
        return self._add("Add", product, self._constant(arrays[f"{layer}.bias"]))

    def _standardised(self) -> str:
        arrays, obs = self._policy.arrays, "observation"
        if self._policy.shared:
            columns = width(part_of_each(self._policy.id).columns)
            obs = self._add("Reshape", obs, self._constant([-1, columns], np.int64))
        if "mean" not in arrays:
            return obs
        x = self._add("Sub", self._appended(obs), self._constant(arrays["mean"]))
        x = self._add("Div", x, self._constant(arrays["scale"]))
        return self._add("Clip", x, self._constant(-MOST_STANDARDISED), self._constant(MOST_STANDARDISED))

    def _appended(self, obs: str) -> str:
        """Add what :func:`rlops.agents_baseline.directions.appended` does, if the policy has directions."""
        if not self._policy.directions:
            return obs
        add, at = self._add, indices(self._policy.directions, self._policy.id)
        x, y = (add("Gather", obs, self._constant(places, np.int64), axis=1) for places in at)
        length = add("Sqrt", add("Add", add("Mul", x, x), add("Mul", y, y)))
        length = add("Add", length, self._constant(NEAREST))
        return add("Concat", obs, add("Div", x, length), add("Div", y, length), add("Log", length), axis=1)

    def _layers(self, x: str) -> str:
        depth = sum(name.startswith("actor.") for name in self._policy.arrays) // 2
        for i in range(depth):
            x = self._linear(x, f"actor.{i}")
            if i < depth - 1:
                x = self._add({"tanh": "Tanh", "relu": "Relu"}[self._policy.activation], x)
        return x

    def _head(self, scores: str, limits: tuple[np.ndarray, np.ndarray] | None) -> None:
        if limits is None:
            if self._policy.masked:
                scores = self._add("Where", "mask", scores, self._constant(-np.inf))
            self._add("ArgMax", scores, out="action", axis=1, keepdims=0)
            return
        low, high = limits
        if self._policy.head == "squashed":
            x = self._add("Add", self._add("Tanh", scores), self._constant(1))
            x = self._add("Mul", x, self._constant(0.5 * (high - low)))
            self._add("Add", x, self._constant(low), out="action")
            return
        self._add("Max", self._add("Min", scores, self._constant(high)), self._constant(low), out="action")

    def _pairs(self, obs: str) -> str:
        """Add the network of ``networks.Pairs``: every cell is computed, and those that cannot be legal score 0."""
        known, add = layout(self._policy.id), self._add
        whole, vehicles, slots, pairs = (
            add("Gather", obs, self._constant(block, np.int64), axis=1)
            for block in (known.whole, known.vehicles, known.slots, known.pairs)
        )
        of_each = [
            add("Relu", self._linear(x, f"summary.{name}")) for name, x in (("vehicle", vehicles), ("slot", slots))
        ]
        if known.sums_filled:
            filled = add("Greater", self._column(slots, known.slot_filled), self._constant(0))
            of_each[1] = add("Where", self._unsqueezed(filled, 2), of_each[1], self._constant(0))
        sums = [add("ReduceSum", x, self._constant([1], np.int64), keepdims=0) for x in of_each]
        summary = add("Concat", whole, *sums, axis=1)
        for layer in ("summary.whole.0", "summary.whole.2"):
            summary = add("Relu", self._linear(summary, layer))
        between = self._between(vehicles, slots) if known.places else pairs
        of_all, of_vehicle = self._linear(summary, "from_summary"), self._linear(vehicles, "from_vehicle")
        parts = (
            self._unsqueezed(of_all, 1, 2),
            self._unsqueezed(of_vehicle, 1),
            self._unsqueezed(self._linear(slots, "from_slot"), 2),
            self._linear(between, "from_pair"),
        )
        hidden = parts[0]
        for part in parts[1:]:
            hidden = add("Add", hidden, part)
        cells = self._linear(add("Relu", self._linear(add("Relu", hidden), "score.0")), "score.2")
        cells = add("Squeeze", cells, self._constant([3], np.int64))
        cells = add("Where", self._there(vehicles, slots, pairs), cells, self._constant(0))
        k, v = known.actions.shape
        cells = add("Reshape", cells, self._constant([-1, k * v], np.int64))
        wait = self._linear(add("Relu", self._linear(summary, "score_wait.0")), "score_wait.2")
        moves = [self._moves(of_all, of_vehicle, vehicles)] if known.moves.size else []
        places = np.empty(k * v + 1 + known.moves.size, np.int64)
        places[known.actions.ravel()] = np.arange(k * v)
        places[known.wait] = k * v
        places[known.moves.ravel()] = k * v + 1 + np.arange(known.moves.size)
        return add("Gather", add("Concat", cells, wait, *moves, axis=1), self._constant(places, np.int64), axis=1)

    def _moves(self, of_all: str, of_vehicle: str, vehicles: str) -> str:
        """Return scores of all moves of vehicles, ``(n, v * m)``; those of vehicles that are not idle are 0."""
        known, add, zero = layout(self._policy.id), self._add, self._constant(0)
        hidden = add("Relu", add("Add", self._unsqueezed(of_all, 1), of_vehicle))
        scores = self._linear(add("Relu", self._linear(hidden, "score_move.0")), "score_move.2")
        idle, stops = (self._column(vehicles, index) for index in known.idle)
        may = add("And", add("Greater", idle, zero), add("Equal", stops, zero))
        scores = add("Where", self._unsqueezed(may, 2), scores, zero)
        return add("Reshape", scores, self._constant([-1, known.moves.size], np.int64))

    def _unsqueezed(self, x: str, *axes: int) -> str:
        return self._add("Unsqueeze", x, self._constant(axes, np.int64))

    def _column(self, x: str, index: int) -> str:
        """Return one column of things ``(n, things, columns)``, ``(n, things)``."""
        return self._add("Gather", x, self._constant(index, np.int64), axis=2)

    def _between(self, vehicles: str, slots: str) -> str:
        """Return how far vehicles are from the places of slots, ``(n, k, v, 1)``."""
        *own, x, y = layout(self._policy.id).places
        squares = []
        for here, there in zip(own or (None, None), (x, y), strict=True):
            off = self._unsqueezed(self._column(slots, there), 2)
            if here is not None:
                off = self._add("Sub", off, self._unsqueezed(self._column(vehicles, here), 1))
            squares.append(self._add("Mul", off, off))
        return self._unsqueezed(self._add("Sqrt", self._add("Add", *squares)), 3)

    def _there(self, vehicles: str, slots: str, pairs: str) -> str:
        """Return which pairs may be legal, ``(n, k, v)`` bool."""
        known, zero = layout(self._policy.id), self._constant(0)
        there = self._unsqueezed(self._add("Greater", self._column(slots, known.slot_filled), zero), 2)
        if known.vehicle_there >= 0:
            able = self._add("Greater", self._column(vehicles, known.vehicle_there), zero)
            there = self._add("And", there, self._unsqueezed(able, 1))
        if known.pairs.shape[2]:
            most = self._add("ReduceMax", self._add("Abs", pairs), self._constant([3], np.int64), keepdims=0)
            there = self._add("And", there, self._add("Greater", most, zero))
        return there


def onnx_side(path: str | Path, masked: bool) -> Decide:
    """Return what decides as the graph of a file, on one thread."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])

    def decide(obs: np.ndarray, masks: np.ndarray) -> np.ndarray:
        given = {"observation": obs, "mask": masks} if masked else {"observation": obs}
        actions: np.ndarray = session.run(["action"], given)[0]
        return actions

    return decide


@dataclass(frozen=True)
class Side:
    """How fast and how faithful a policy is in one runtime.

    Attributes:
        name: Of the runtime.
        size_bytes: Of its file.
        one_us: Median time of a decision for one row [µs].
        rows_per_s: Rate of decisions, :data:`BATCH_ROWS` rows at a time [1/s].
        equal: Share of decisions that are the reference's; for vectors, of components within 1e-3 of their range.
        greatest: Greatest difference of a component, as a share of its range; None for numbers.
    """

    name: str
    size_bytes: int
    one_us: float
    rows_per_s: float
    equal: float
    greatest: float | None


def seen_by(policy: Policy, steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return observations ``(n, k)`` and masks ``(n, m)`` that the policy meets, ``n`` of at least ``steps`` in all."""
    family, number = parse_id(policy.id)
    rows = 16
    envs, agent = VectorEnv(family, number, rows), PolicyAgent(policy)
    obs, _ = envs.reset(seed=seed)
    found = []
    for _ in range(-(-steps // rows)):
        masks = envs.action_masks()
        found.append((obs, masks))
        obs = envs.step(agent.actions(envs, obs, masks))[0]
    envs.close()
    return np.concatenate([o for o, _ in found]), np.concatenate([m for _, m in found])


def compared(
    policy: Policy, sides: Mapping[str, tuple[Decide, int]], seen: tuple[np.ndarray, np.ndarray]
) -> Sequence[Side]:
    """Return how each side, by name with its file's bytes, does on what was ``seen``; the first is the reference."""
    obs, masks = seen
    family, number = parse_id(policy.id)
    action = family.kernel(number).ACTION
    wide = None if isinstance(action, int) else np.subtract(*bounds(action)[::-1])
    wanted, found = None, []
    for name, (decide, size) in sides.items():
        chosen = np.concatenate([decide(obs[i : i + BATCH_ROWS], masks[i : i + BATCH_ROWS]) for i in _starts(obs)])
        wanted = chosen if wanted is None else wanted
        greatest = None
        if wide is None:
            equal = float((chosen == wanted).mean())
        else:
            off = np.abs(chosen - wanted) / wide
            equal, greatest = float((off <= 1e-3).mean()), float(off.max())
        one = _median_s(decide, obs, masks, 1)
        many = _median_s(decide, obs, masks, min(BATCH_ROWS, len(obs)))
        found.append(Side(name, size, 1e6 * one, min(BATCH_ROWS, len(obs)) / many, equal, greatest))
    return found


def _starts(obs: np.ndarray) -> range:
    return range(0, len(obs), BATCH_ROWS)


def _median_s(decide: Decide, obs: np.ndarray, masks: np.ndarray, rows: int) -> float:
    """Return the median time of a decision for so many rows [s]."""
    taken, begin, at = [], time.perf_counter(), 0
    while time.perf_counter() - begin < _TIMED_S:
        at = at + rows if at + 2 * rows <= len(obs) else 0
        start = time.perf_counter()
        decide(obs[at : at + rows], masks[at : at + rows])
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))
