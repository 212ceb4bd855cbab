"""The loops over rows, written once: reset, step with autoreset, observe, over any kernel's row functions.

The functions here are templates: the names in capitals and the row functions (``row_reset`` …) are globals that
:func:`verbs` replaces by a kernel's own before it compiles them. Axes: ``n`` rows, ``k`` observed columns, ``m``
actions, ``a`` agents.

A row that has ended (``terminated`` or ``truncated``) is moved no further: with ``next_step`` it is reset instead,
otherwise stepping it is an error.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, config, njit, prange, types
from numba.extending import intrinsic

from rlops.envs.compiling import compiled, specialised
from rlops.envs.contract import (
    Kernel,
    agent_actions,
    agent_observations,
    bounds,
    info_dtype,
    parameter_dtype,
    shown_terms,
    widest,
    width,
)
from rlops.envs.draws import episode_key
from rlops.envs.sampling import TERM, changes_within, draw_next, draw_parameters


class Rows(NamedTuple):
    """What rows are: the arrays that the verbs move."""

    params: Any
    base: Any
    numbers: Any
    """``params`` read as float64, ``(n, k)``."""
    usual: Any
    """``base`` read as float64."""
    plan: Any
    plan_values: Any
    state: Any
    raw: Any
    """``state`` as bytes."""
    data: Any


class Shown(NamedTuple):
    """What rows show: the arrays that the verbs only write."""

    obs: Any
    mask: Any
    reward: Any
    terminated: Any
    truncated: Any
    terms: Any
    kpis: Any
    ended: Any
    """The rows whose key figures are shown: those that end with this step."""
    info_bytes: Any
    drawn: Any
    """Parameters as numbers, ``(n, k)``, of the rows ``told``, else 0; only with a plan."""
    told: Any
    """The rows that begin or end an episode with this step."""
    agent_obs: Any
    agent_mask: Any
    agent_reward: Any


ARRAYS = (*Rows._fields, *Shown._fields, "chosen", "bids", "taken")
"""The arrays of a batch, in the order of its address table. The table starts with ``HEAD`` words: n, len(data), the
number of agents whose arrays there are, the address of the dtype object that actions must have, len(plan),
len(plan_values), and the number of threads. ``taken``, ``(threads, 8)`` uint64, counts the shares of each thread that
somebody has taken, in a cache line of its own."""

_N, _N_DATA, _AGENTS, _ACTION_TYPE, _N_PLAN, _N_PLAN_VALUES, _THREADS, HEAD = range(8)
_STATE = HEAD + Rows._fields.index("state")
_SHOWN = HEAD + len(Rows._fields)
_CHOSEN = _SHOWN + len(Shown._fields)
_TAKEN = HEAD + ARRAYS.index("taken")

_SHARES = 16
"""Into how many shares the rows of a thread are divided."""

STEP, STEP_OR_RESET, ACT, ACT_OR_RESET, STEP_AGENTS, ACT_AGENTS, RESET, RESET_KEEPING, OBSERVE = range(9)
"""The verbs: step and refuse rows that have ended; step and reset those; the same two for what comes before an engine
moves the rows; step from ``bids``, and what comes before; start the next episode of the ``chosen`` rows with their
sticky parameters, or with those that they have; write what the chosen observe."""

ILLEGAL, ENDED, MALFORMED = 1 << 32, 1 << 33, -(1 << 34)
"""What a step returns if nothing was done: ``-ILLEGAL`` or ``-ENDED`` minus the row, or ``MALFORMED`` for actions that
are no array of the right type and shape. Anything else is the number of rows that ended."""

# Replaced by `verbs`; the values here only let the templates be read, linted and typed as a module.
STATE = PARAMS = DATA = np.dtype([("terms", "f8", (1,))])
COLUMNS = PARAMETERS = ACTIONS = AGENT_COLUMNS = AGENT_ACTIONS = 0


@njit
def row_reset(p, s, d):
    """Stand for a kernel's ``reset``."""


@njit
def row_step(p, s, d, action):
    """Stand for a kernel's ``step``."""


@njit
def row_act(p, s, d, action):
    """Stand for a kernel's ``act``."""


@njit
def row_step_agents(p, s, d, actions, rewards):
    """Stand for a kernel's ``step_agents``."""


@njit
def row_nothing(p, s, d, out):
    """Write nothing: stands for what a kernel does not have."""


@njit
def row_nothing_agent(p, s, d, a, out):
    """Write nothing for an agent: stands for what a kernel does not have."""


row_observe = row_mask = row_kpis = row_context = row_nothing
row_observe_agent = row_mask_agent = row_nothing_agent


@njit
def first_illegal(actions):
    """Return the first row whose discrete action is out of range, or -1."""
    illegal = 0
    for i in range(actions.shape[0]):
        illegal += (actions[i] < 0) | (actions[i] >= ACTIONS)
    if illegal:
        for i in range(actions.shape[0]):
            if (actions[i] < 0) | (actions[i] >= ACTIONS):
                return i
    return -1


@njit
def first_outside(actions):
    """Return the first row whose vector action is not within its bounds, or -1."""
    outside = 0
    for i in range(actions.shape[0]):
        for k in range(actions.shape[1]):
            outside += not (actions[i, k] >= ACTION_LOW[k]) & (actions[i, k] <= ACTION_HIGH[k])  # NaN is outside
    if outside:
        for i in range(actions.shape[0]):
            for k in range(actions.shape[1]):
                if not (actions[i, k] >= ACTION_LOW[k]) & (actions[i, k] <= ACTION_HIGH[k]):
                    return i
    return -1


@njit
def refused(state, actions, next_step):
    """Return the code of the first row that cannot be stepped, or 0."""
    illegal = first_illegal(actions)
    if illegal >= 0:
        return -ILLEGAL - illegal
    if not next_step:
        for i in range(state.shape[0]):
            if state[i].terminated | state[i].truncated:
                return -ENDED - i
    return 0


@njit
def begin_episode(rows, i, keep):
    """Start the next episode of row ``i``; ``keep`` leaves its parameters, else they become the sticky ones."""
    seed = rows.state[i].seed
    episode = rows.state[i].episode + 1
    rows.raw[i, :] = 0
    rows.state[i].seed = seed
    rows.state[i].episode = episode
    rows.state[i].key = episode_key(seed, episode)
    if not keep:
        rows.params[i] = rows.base[i]
        if len(rows.plan) > 0:
            draw_parameters(
                rows.plan, rows.plan_values, rows.numbers[i], rows.usual[i], rows.state[i].key, seed, episode, 0
            )
    row_reset(rows.params[i], rows.state[i], rows.data)


@njit
def change_parameters(rows, i):
    """Draw the parameters of row ``i`` that change within an episode."""
    s = rows.state[i]
    draw_parameters(rows.plan, rows.plan_values, rows.numbers[i], rows.usual[i], s.key, s.seed, s.episode, s.steps)


@njit
def show_drawn(rows, shown, i):
    """Write the parameters of row ``i`` as numbers, if there is a plan."""
    if len(rows.plan) > 0:
        wholes = rows.numbers[i].view(np.int64)
        for k in range(shown.drawn.shape[1]):
            shown.drawn[i, k] = float(wholes[k]) if WHOLE[k] else rows.numbers[i, k]
        shown.told[i] = True


@njit
def hide_drawn(shown, i):
    """Clear the parameters of row ``i``, if they were shown."""
    if shown.told[i]:
        shown.drawn[i, :] = 0.0
        shown.told[i] = False


@njit
def show_row(rows, shown, i):
    """Write what row ``i`` observes and may do, and the fields of its state that ``info`` shows."""
    row_observe(rows.params[i], rows.state[i], rows.data, shown.obs[i])
    row_mask(rows.params[i], rows.state[i], rows.data, shown.mask[i])
    for byte in range(shown.info_bytes.shape[1]):
        shown.info_bytes[i, byte] = rows.raw[i, INFO_BYTES[byte]]


@njit
def show_agents(rows, shown, i):
    """Write what the agents of row ``i`` observe and may do."""
    for a in range(shown.agent_obs.shape[1]):
        row_observe_agent(rows.params[i], rows.state[i], rows.data, a, shown.agent_obs[i, a])
        row_mask_agent(rows.params[i], rows.state[i], rows.data, a, shown.agent_mask[i, a])


@njit
def reset_rows(rows, shown, chosen, keep):
    """Start the next episode of the ``chosen`` rows and write what they observe."""
    for i in range(rows.state.shape[0]):
        if not chosen[i]:
            hide_drawn(shown, i)
        else:
            begin_episode(rows, i, keep)
            show_drawn(rows, shown, i)
            shown.reward[i] = 0.0
            shown.terminated[i] = False
            shown.truncated[i] = False
            shown.terms[i, :] = 0.0
            show_row(rows, shown, i)
            show_agents(rows, shown, i)
    return 0


@njit
def observe_rows(rows, shown, chosen):
    """Write what the ``chosen`` rows observe, without moving them."""
    for i in range(rows.state.shape[0]):
        if chosen[i]:
            show_row(rows, shown, i)
            show_agents(rows, shown, i)
    return 0


@njit
def starts_over(rows, shown, i):
    """Begin the next episode of row ``i`` if its last one has ended, and return whether it had."""
    s = rows.state[i]
    if s.terminated | s.truncated:
        begin_episode(rows, i, False)
        show_drawn(rows, shown, i)
        return True
    if s.steps > 0 and changes_within(rows.plan_values):
        change_parameters(rows, i)
    return False


@njit
def started_over(rows, shown, i):
    """Return whether row ``i`` was begun by :func:`act_rows` instead of being moved by an engine."""
    moved = rows.state[i].moving
    rows.state[i].moving = False
    return not moved


@njit
def act_rows(rows, shown, actions, low, high):
    """Let the rows from ``low`` up to ``high`` act, or begin their next episode if they have ended; return 0.

    An engine then moves those that are ``moving``.
    """
    for i in range(low, high):
        if not starts_over(rows, shown, i):
            rows.state[i].moving = True
            row_act(rows.params[i], rows.state[i], rows.data, actions[i])
    return 0


@njit
def act_agents_rows(rows, shown, bids):
    """Let every row act as its agents bid."""
    for i in range(rows.state.shape[0]):
        if not starts_over(rows, shown, i):
            rows.state[i].moving = True
            row_act(rows.params[i], rows.state[i], rows.data, bids[i].reshape(-1))
    return 0


@njit
def nobody_acts(rows, shown, actions, low=0, high=0):
    """Do nothing: stands for what comes before an engine where there is none."""
    return 0


begins = starts_over


@njit
def advance_row(rows, shown, i, action):
    """Step row ``i``, or reset it if it has ended; return 1 if it ends with this step."""
    s = rows.state[i]
    ended = 0
    total = 0.0
    if not begins(rows, shown, i):
        s.terms[:] = 0.0
        row_step(rows.params[i], s, rows.data, action)
        s.steps += 1
        for j in range(s.terms.shape[0]):
            total += s.terms[j]
        ended = int(s.terminated | s.truncated)
        if ended:
            show_drawn(rows, shown, i)
            row_kpis(rows.params[i], s, rows.data, shown.kpis[i])
        elif len(rows.plan) > 0:
            hide_drawn(shown, i)
    if FIGURES > 0:
        if shown.ended[i] and not ended:
            shown.kpis[i, :] = 0.0
        shown.ended[i] = ended > 0
    shown.reward[i] = total
    shown.terminated[i] = s.terminated
    shown.truncated[i] = s.truncated
    for j in range(shown.terms.shape[1]):
        shown.terms[i, j] = s.terms[j]
    show_row(rows, shown, i)
    return ended


@njit
def advance_rows(rows, shown, actions, low, high):
    """Advance the rows from ``low`` up to ``high``; return how many end with this step."""
    ended = 0
    for i in range(low, high):
        ended += advance_row(rows, shown, i, actions[i])
    return ended


@njit
def step_agents_rows(rows, shown, bids):
    """Move every row one step from the agents' actions ``bids`` (n, a) or (n, a, w), which the face has checked."""
    for i in range(rows.state.shape[0]):
        s = rows.state[i]
        if s.steps > 0 and changes_within(rows.plan_values):
            change_parameters(rows, i)
        s.terms[:] = 0.0
        row_step_agents(rows.params[i], s, rows.data, bids[i], shown.agent_reward[i])
        s.steps += 1
        if s.terminated | s.truncated:
            row_kpis(rows.params[i], s, rows.data, shown.kpis[i])
        shown.terminated[i] = s.terminated
        shown.truncated[i] = s.truncated
        show_agents(rows, shown, i)
    return 0


@njit
def do(rows, shown, chosen, bids, actions, verb):
    """Do one of the verbs. They are compiled together, because most of what they call is the same."""
    if verb <= STEP_OR_RESET:
        code = refused(rows.state, actions, verb == STEP_OR_RESET)
        return code if code else advance_rows(rows, shown, actions, 0, rows.state.shape[0])
    if verb <= ACT_OR_RESET:
        code = refused(rows.state, actions, verb == ACT_OR_RESET)
        return code if code else act_rows(rows, shown, actions, 0, rows.state.shape[0])
    if verb == STEP_AGENTS:
        return step_agents_rows(rows, shown, bids)
    if verb == ACT_AGENTS:
        return act_agents_rows(rows, shown, bids)
    if verb == OBSERVE:
        return observe_rows(rows, shown, chosen)
    return reset_rows(rows, shown, chosen, verb == RESET_KEEPING)


@intrinsic
def pointer_at(typingctx, address):
    """Return an address as a pointer that ``carray`` takes."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.uint64), codegen


# Words of NumPy's PyArrayObject after the head of every Python object.
_DATA, _DIMENSIONS, _SHAPE, _TYPE, _FLAGS = 0, 1, 2, 5, 6
_OBJECT_BYTES = object.__basicsize__
_CONTIGUOUS_ALIGNED = 0x0101


@njit
def data_address(array, rows, dtype):
    """Return where the numbers of a NumPy array are, or 0 if they are not what ``actions`` must be.

    ``array`` is the address of the object, its ``id``, and ``dtype`` that of the dtype object that it must have. To
    look at it here costs a few nanoseconds; through Python's attributes or Numba's dispatcher it costs as much as a
    light kernel's step.
    """
    words = carray(pointer_at(np.uint64(array + _OBJECT_BYTES)), (7,), np.uint64)
    fits = (words[_DIMENSIONS] & np.uint64(0xFFFFFFFF)) == ACTION_DIMENSIONS and words[_TYPE] == dtype
    if not fits or (words[_FLAGS] & np.uint64(_CONTIGUOUS_ALIGNED)) != _CONTIGUOUS_ALIGNED:
        return np.uint64(0)
    shape = carray(pointer_at(words[_SHAPE]), (ACTION_DIMENSIONS,), np.int64)
    if shape[0] != rows or shape[ACTION_DIMENSIONS - 1] != (rows if ACTION_DIMENSIONS == 1 else ACTION_WIDTH):
        return np.uint64(0)
    return words[_DATA]


@njit
def table_at(address):
    """Return the words of an address table: one integer is far cheaper to pass than a dozen arrays."""
    return carray(pointer_at(np.uint64(address)), (HEAD + len(ARRAYS),), np.uint64)


@njit
def bundles(table):
    """Return the two bundles of the arrays that an address table names."""
    n, agents = np.int64(table[_N]), np.int64(table[_AGENTS])
    return Rows(
        carray(pointer_at(table[HEAD]), (n,), PARAMS),
        carray(pointer_at(table[HEAD + 1]), (n,), PARAMS),
        carray(pointer_at(table[HEAD + 2]), (n, PARAMETERS), np.float64),
        carray(pointer_at(table[HEAD + 3]), (n, PARAMETERS), np.float64),
        carray(pointer_at(table[HEAD + 4]), (np.int64(table[_N_PLAN]),), TERM),
        carray(pointer_at(table[HEAD + 5]), (np.int64(table[_N_PLAN_VALUES]),), np.float64),
        carray(pointer_at(table[_STATE]), (n,), STATE),
        carray(pointer_at(table[_STATE + 1]), (n, STATE_BYTES), np.uint8),
        carray(pointer_at(table[_STATE + 2]), (np.int64(table[_N_DATA]),), DATA),
    ), Shown(
        carray(pointer_at(table[_SHOWN]), (n, COLUMNS), np.float32),
        carray(pointer_at(table[_SHOWN + 1]), (n, MASKED), np.int8),
        carray(pointer_at(table[_SHOWN + 2]), (n,), np.float64),
        carray(pointer_at(table[_SHOWN + 3]), (n,), np.bool_),
        carray(pointer_at(table[_SHOWN + 4]), (n,), np.bool_),
        carray(pointer_at(table[_SHOWN + 5]), (n, TERMS), np.float64),
        carray(pointer_at(table[_SHOWN + 6]), (n, FIGURES), np.float64),
        carray(pointer_at(table[_SHOWN + 7]), (n,), np.bool_),
        carray(pointer_at(table[_SHOWN + 8]), (n, len(INFO_BYTES)), np.uint8),
        carray(pointer_at(table[_SHOWN + 9]), (n, PARAMETERS), np.float64),
        carray(pointer_at(table[_SHOWN + 10]), (n,), np.bool_),
        carray(pointer_at(table[_SHOWN + 11]), (n, agents, AGENT_COLUMNS), np.float32),
        carray(pointer_at(table[_SHOWN + 12]), (n, agents, AGENT_ACTIONS), np.int8),
        carray(pointer_at(table[_SHOWN + 13]), (n, agents), np.float64),
    )


@njit
def do_at(address, actions, verb):
    """Call :func:`do` on the arrays of the address table.

    ``actions`` is the ``id`` of the array of actions, or 0 for a verb that needs none.
    """
    table = table_at(address)
    n = np.int64(table[_N])
    at = np.uint64(0)
    if verb <= ACT_OR_RESET:
        at = data_address(actions, n, table[_ACTION_TYPE])
        if at == 0:
            return MALFORMED
    rows, shown = bundles(table)
    chosen = carray(pointer_at(table[_CHOSEN]), (n,), np.bool_)
    bids = carray(pointer_at(table[_CHOSEN + 1]), bids_shape(n, np.int64(table[_AGENTS])), BIDS_DTYPE)
    return do(rows, shown, chosen, bids, carray(pointer_at(at), actions_shape(n), ACTIONS_DTYPE), verb)


@njit
def advance_at(address, at, verb, low, high):
    """Call :func:`advance_rows` or :func:`act_rows` on the arrays of the address table and the actions at ``at``."""
    table = table_at(address)
    rows, shown = bundles(table)
    actions = carray(pointer_at(at), actions_shape(np.int64(table[_N])), ACTIONS_DTYPE)
    if verb <= STEP_OR_RESET:
        return advance_rows(rows, shown, actions, low, high)
    return act_rows(rows, shown, actions, low, high)


@intrinsic
def count_one(typingctx, address):
    """Add one to the number at an address and return what it was; no two threads are given the same."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(64)
        return builder.atomic_rmw("add", builder.inttoptr(args[0], word.as_pointer()), word(1), "monotonic")

    return types.int64(types.uint64), codegen


@njit
def work_through(address, at, verb, thread):
    """Advance the rows of ``thread``, one share after another, then what is left of those of the others.

    To begin an episode may take as long as a hundred steps, and who has none to begin must not wait for who has. But a
    thread begins with the same rows in every step, as they are in the cache of its core.
    """
    table = table_at(address)
    n, threads = np.int64(table[_N]), np.int64(table[_THREADS])
    shares = threads * _SHARES
    ended = 0
    for turn in range(threads):
        owner = (thread + turn) % threads
        counter = table[_TAKEN] + np.uint64(64 * owner)
        share = count_one(counter)
        while share < _SHARES:
            share += owner * _SHARES
            ended += advance_at(address, at, verb, n * share // shares, n * (share + 1) // shares)
            share = count_one(counter)
    return ended


set_num_threads = types.ExternalFunction("set_num_threads", types.void(types.intc))
set_parallel_chunksize = types.ExternalFunction("set_parallel_chunksize", types.uintp(types.uintp))
"""What ``numba.set_num_threads`` and ``numba.set_parallel_chunksize`` call: those cannot be kept on disk, and from
Python they cost as much as a light kernel's step."""


@njit
def step_at(address, actions, verb):
    """Step or act like :func:`do_at` on threads.

    A thread takes the arrays from the table itself: those passed to it would have shapes that the compiler does not
    know, which costs a sixth of a light step.
    """
    table = table_at(address)
    n, threads = np.int64(table[_N]), np.int64(table[_THREADS])
    at = data_address(actions, n, table[_ACTION_TYPE])
    if at == 0:
        return MALFORMED
    state = carray(pointer_at(table[_STATE]), (n,), STATE)
    next_step = (verb == STEP_OR_RESET) | (verb == ACT_OR_RESET)
    code = refused(state, carray(pointer_at(at), actions_shape(n), ACTIONS_DTYPE), next_step)
    if code:
        return code
    carray(pointer_at(table[_TAKEN]), (threads, 8), np.uint64)[:] = 0
    set_num_threads(threads)
    chunk = set_parallel_chunksize(1)
    ended = 0
    for thread in prange(threads):
        ended += work_through(address, at, verb, thread)
    set_parallel_chunksize(chunk)
    return ended


@njit
def shape_of_discrete(n):
    """Return the shape of the discrete actions of ``n`` rows."""
    return (n,)


@njit
def shape_of_vectors(n):
    """Return the shape of the vector actions of ``n`` rows."""
    return (n, ACTION_WIDTH)


@njit
def shape_of_discrete_bids(n, agents):
    """Return the shape of the discrete actions of the agents of ``n`` rows."""
    return (n, agents)


@njit
def shape_of_vector_bids(n, agents):
    """Return the shape of the vector actions of the agents of ``n`` rows."""
    return (n, agents, BID_WIDTH)


ACTION_DIMENSIONS = ACTION_WIDTH = BID_WIDTH = 1
ACTIONS_DTYPE = BIDS_DTYPE = np.int64
actions_shape, bids_shape = shape_of_discrete, shape_of_discrete_bids
STATE_BYTES = MASKED = TERMS = FIGURES = 0
ACTION_LOW = ACTION_HIGH = np.zeros(0)
INFO_BYTES = np.zeros(0, np.int64)
WHOLE = np.zeros(0, np.bool_)


@njit
def context_rows(params, state, data, out):
    """Write the hidden context of every row."""
    for i in range(state.shape[0]):
        row_context(params[i], state[i], data, out[i])


def info_bytes(kernel: Kernel) -> np.ndarray:
    """Return where in a row of state each byte of its ``INFO`` is."""
    fields: Any = kernel.STATE.fields
    where = [fields[name] for name in info_dtype(kernel).names or ()]
    return np.array([at + byte for dtype, at, *_ in where for byte in range(dtype.itemsize)], np.int64)


@cache
def verbs(kernel: Kernel) -> SimpleNamespace:
    """Return a kernel's compiled verbs; compilation happens at their first call.

    ``do`` and ``step_on_threads`` take ``(address, actions, verb)``, see :func:`do_at`; when compilation is disabled,
    ``do`` takes the arguments of :func:`do`.
    ``context`` takes ``(params, state, data, out)``, ``draw_next`` what :func:`~rlops.envs.sampling.draw_next` takes.
    """
    interpreted = bool(config.DISABLE_JIT)
    name = str(kernel.__name__)  # type: ignore[attr-defined]
    label = name.replace(".", "_")

    def has(attribute: str, default: Any) -> Any:
        return getattr(kernel, attribute, default)

    discrete = isinstance(kernel.ACTION, int)
    layout: dict[str, Any] = {
        "STATE": kernel.STATE,
        "PARAMS": parameter_dtype(kernel.PARAMETERS),
        "PARAMETERS": len(kernel.PARAMETERS),
        "WHOLE": np.array([parameter.dtype == "i8" for parameter in kernel.PARAMETERS], np.bool_),
        "DATA": has("DATA", NO_DATA),
        "COLUMNS": width(kernel.OBSERVATION),
        "MASKED": kernel.ACTION if hasattr(kernel, "mask") else 0,
        "TERMS": shown_terms(kernel),
        "FIGURES": len(has("KPIS", ())),
        "INFO_BYTES": info_bytes(kernel),
        "ACTIONS": kernel.ACTION if discrete else 0,
        "STATE_BYTES": kernel.STATE.itemsize,
        "ACTION_DIMENSIONS": 1 if discrete else 2,
        "ACTION_WIDTH": 1 if isinstance(kernel.ACTION, int) else width(kernel.ACTION),
        "ACTIONS_DTYPE": np.int64 if discrete else np.float64,
        "ACTION_LOW": np.zeros(0) if isinstance(kernel.ACTION, int) else bounds(kernel.ACTION)[0].astype(np.float64),
        "ACTION_HIGH": np.zeros(0) if isinstance(kernel.ACTION, int) else bounds(kernel.ACTION)[1].astype(np.float64),
        "AGENT_COLUMNS": widest(agent_observations(kernel)),
        "AGENT_ACTIONS": has("AGENT_ACTION", 0) if hasattr(kernel, "mask_agent") else 0,
        "BID_WIDTH": widest(agent_actions(kernel)),
        "BIDS_DTYPE": np.float64 if widest(agent_actions(kernel)) else np.int64,
        "row_reset": kernel.reset,
        "row_step": kernel.step,
        "row_act": has("act", row_nothing),
        "row_observe": kernel.observe,
        "row_mask": has("mask", row_nothing),
        "row_kpis": has("kpis", row_nothing),
        "row_context": has("context", row_nothing),
        "row_step_agents": has("step_agents", row_step_agents),
        "row_observe_agent": has("observe_agent", row_nothing_agent),
        "row_mask_agent": has("mask_agent", row_nothing_agent),
    }

    def specialise(function: Any) -> Any:
        python = getattr(function, "py_func", function)
        return specialised(python, f"{label}_{python.__name__}", **layout)

    def bind(*functions: Any, inline: bool = False, **named: Any) -> None:
        """Let what is specialised from now on call the kernel's own copies of ``functions``."""
        named |= {getattr(function, "py_func", function).__name__: function for function in functions}
        options = {"error_model": "numpy", "nogil": True, "inline": "always" if inline else "never"}
        copies = {template: specialise(function) for template, function in named.items()}
        layout.update({template: copy if interpreted else njit(**options)(copy) for template, copy in copies.items()})

    def whole(function: Any, parallel: bool = False) -> Any:
        return compiled(specialise(function), sources=name, parallel=parallel)

    bind(
        first_illegal=first_illegal if discrete else first_outside,
        actions_shape=shape_of_discrete if discrete else shape_of_vectors,
        bids_shape=shape_of_vector_bids if widest(agent_actions(kernel)) else shape_of_discrete_bids,
    )
    bind(refused, begin_episode, show_drawn, hide_drawn, change_parameters, show_agents, data_address)
    engine, agents = hasattr(kernel, "act"), hasattr(kernel, "AGENTS")
    bind(starts_over, started_over if engine else nobody_acts, inline=True)
    layout["begins"] = layout["started_over" if engine else "starts_over"]
    bind(
        act_rows=act_rows if engine else nobody_acts,
        act_agents_rows=act_agents_rows if engine and agents else nobody_acts,
    )
    bind(show_row, inline=True)  # here and below: to pass all arrays for every row costs a sixth of v1's step
    bind(reset_rows, observe_rows, step_agents_rows)
    bind(advance_row, inline=True)
    if hasattr(kernel, "advance_rows"):
        layout["advance_rows"] = kernel.advance_rows
    else:
        bind(advance_rows, inline=True)
    bind(do, table_at, bundles, inline=True)
    bind(advance_at)
    bind(work_through)
    return SimpleNamespace(
        do=layout["do"] if interpreted else whole(do_at),
        step_on_threads=whole(step_at, parallel=True),
        context=whole(context_rows),
        draw_next=whole(draw_next),
    )


NO_DATA = np.dtype([("unused", "u1")])
"""Record dtype of the shared data of kernels that have none."""
