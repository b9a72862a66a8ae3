"""Solves hedgerow-instance/1, one JSON object a line, with OR-tools' CP-SAT on one worker.

usage: cp_sat.py SECONDS    (the time limit of each instance)

`min slack` over the batch is not linear. So there is one model for each time that could be what holds the
batch, min(slack, compute slot): over the requests that can wait so long, with that time as the compute
slot. The model with the highest simple bound comes first, each must find more than is known, and those
whose bound is no more than that are not built.

The first line says which OR-tools this is: {"version"}. Each answer is one line: {"value", "bound",
"chosen", "seconds", "search_seconds"}. The seconds are from the instance, read, to its answer; those of the
search are CP-SAT's own in all models together, without simple bounds and building models in Python.
"""

import json
import sys
import time as clock

import numpy as np
import ortools
from ortools.sat.python import cp_model

NEEDS = ("uplink", "downlink", "memory", "compute_us")


def simple_bounds(needs, values, held_to, limits, times):
    """For each time: the least, over the four sums, of that sum filled with the best value per need."""
    bounds = np.full(len(times), np.inf)
    for row, limit in enumerate(limits):
        with np.errstate(divide="ignore"):
            order = np.argsort(-(values / needs[row]), kind="stable")
        need, value, held = needs[row][order], values[order], held_to[order]
        for place, time in enumerate(times):
            room = min(limit, time) if row == 3 else limit
            able = (held >= time) & (need <= room)
            used, worth = np.cumsum(need[able]), np.cumsum(value[able])
            whole = np.searchsorted(used, room, side="right")
            bound = worth[whole - 1] if whole else 0
            if whole < len(used):
                left = room - (used[whole - 1] if whole else 0)
                bound += int(left * value[able][whole] // need[able][whole])
            bounds[place] = min(bounds[place], bound)
    return bounds


def solve_model(requests, capacity, time, least, seconds):
    """Looks for a batch that is held to `time` and worth at least `least`."""
    model = cp_model.CpModel()
    limits = dict(capacity, compute_us=time)
    able = [
        index
        for index, request in enumerate(requests)
        if min(request["slack_us"], capacity["compute_us"]) >= time
        and all(request[need] <= limits[need] for need in NEEDS)
    ]
    taken = [model.new_bool_var("") for _ in able]
    for need in NEEDS:
        needs = [requests[index][need] for index in able]
        model.add(cp_model.LinearExpr.weighted_sum(taken, needs) <= limits[need])
    values = [requests[index]["value"] for index in able]
    worth = cp_model.LinearExpr.weighted_sum(taken, values)
    model.add(worth >= least)
    model.maximize(worth)
    solver = cp_model.CpSolver()
    solver.parameters.num_search_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    batch = []
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        batch = [index for index, variable in zip(able, taken) if solver.boolean_value(variable)]
    if status in (cp_model.OPTIMAL, cp_model.INFEASIBLE):
        bound = None  # Nothing above `batch`, or above what was known.
    elif status == cp_model.FEASIBLE:
        bound = int(solver.best_objective_bound + 1e-6)
    elif status == cp_model.UNKNOWN:
        bound = sys.maxsize  # It may not even have begun to bound it.
    else:
        raise RuntimeError(f"CP-SAT says {solver.status_name(status)}")
    return batch, bound, solver.wall_time


def solve(instance, limit_s):
    started = clock.perf_counter()
    capacity, requests = instance["capacity"], instance["requests"]
    held_to = np.array([min(r["slack_us"], capacity["compute_us"]) for r in requests], dtype=np.int64)
    needs = [np.array([r[need] for r in requests], dtype=np.int64) for need in NEEDS]
    values = np.array([r["value"] for r in requests], dtype=np.int64)
    times = np.unique(held_to)[::-1]
    bounds = simple_bounds(needs, values, held_to, [capacity[need] for need in NEEDS], times)
    best, best_value, open_bound, seconds = [], 0, 0, 0.0
    for place in np.argsort(-bounds, kind="stable"):
        if bounds[place] <= best_value:
            break  # Nor can those after it hold more.
        if seconds >= limit_s:
            open_bound = max(open_bound, int(bounds[place]))
            break
        batch, bound, spent = solve_model(
            requests, capacity, int(times[place]), best_value + 1, limit_s - seconds
        )
        seconds += spent
        if batch:
            best, best_value = batch, sum(requests[index]["value"] for index in batch)
        if bound is not None:
            open_bound = max(open_bound, min(bound, int(bounds[place])))
    bound = max(best_value, open_bound)
    return {
        "value": best_value,
        "bound": bound,
        "chosen": best,
        "seconds": clock.perf_counter() - started,
        "search_seconds": seconds,
    }


def main():
    limit_s = float(sys.argv[1])
    print(json.dumps({"version": ortools.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(solve(json.loads(line), limit_s)), flush=True)


if __name__ == "__main__":
    main()
