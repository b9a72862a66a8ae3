"""Solves hedgerow-instance/1, one JSON object a line, with OR-tools' CP-SAT on one worker.

usage: cp_sat.py SECONDS    (the time limit of each instance)

`min slack` over the batch is not linear, so there is one model for each value that min(slack, compute slot)
could take: over the requests with at least that slack, with that time as the compute slot. The model with the
highest simple bound comes first, each must improve on the incumbent, and those whose bound does not exceed it
are not built.

The first line gives the version of OR-tools: {"version"}. Each answer is one line: {"value", "bound",
"chosen", "seconds", "search_seconds"}. The seconds are from the parsed instance to its answer; those of the
search are CP-SAT's own, summed over all models, without simple bounds and model building in Python.
"""

import json
import sys
import time as clock

import numpy as np
import ortools
from ortools.sat.python import cp_model

NEEDS = ("uplink", "downlink", "memory", "compute_us")


def simple_bounds(needs, values, held_to, limits, times):
    """For each time: the least fractional-knapsack bound over the four constraints."""
    bounds = np.full(len(times), np.inf)
    for row, limit in enumerate(limits):
        with np.errstate(divide="ignore"):
            order = np.argsort(-(values / needs[row]), kind="stable")
        need, value, held = needs[row][order], values[order], held_to[order]
        for place, time in enumerate(times):
            room = min(limit, time) if row == 3 else limit
            feasible = (held >= time) & (need <= room)
            used, gained = np.cumsum(need[feasible]), np.cumsum(value[feasible])
            whole = np.searchsorted(used, room, side="right")
            bound = gained[whole - 1] if whole else 0
            if whole < len(used):
                left = room - (used[whole - 1] if whole else 0)
                bound += int(left * value[feasible][whole] // need[feasible][whole])
            bounds[place] = min(bounds[place], bound)
    return bounds


def solve_model(requests, capacity, time, least, seconds):
    """Searches for a batch with the compute slot `time` and a value of at least `least`."""
    model = cp_model.CpModel()
    limits = dict(capacity, compute_us=time)
    feasible = [
        index
        for index, request in enumerate(requests)
        if min(request["slack_us"], capacity["compute_us"]) >= time
        and all(request[need] <= limits[need] for need in NEEDS)
    ]
    taken = [model.new_bool_var("") for _ in feasible]
    for need in NEEDS:
        needs = [requests[index][need] for index in feasible]
        model.add(cp_model.LinearExpr.weighted_sum(taken, needs) <= limits[need])
    values = [requests[index]["value"] for index in feasible]
    objective = cp_model.LinearExpr.weighted_sum(taken, values)
    model.add(objective >= least)
    model.maximize(objective)
    solver = cp_model.CpSolver()
    solver.parameters.num_search_workers = 1
    solver.parameters.max_time_in_seconds = seconds
    status = solver.solve(model)
    batch = []
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        batch = [index for index, variable in zip(feasible, taken) if solver.boolean_value(variable)]
    if status in (cp_model.OPTIMAL, cp_model.INFEASIBLE):
        bound = None  # Nothing exceeds `batch`, or the incumbent.
    elif status == cp_model.FEASIBLE:
        bound = int(solver.best_objective_bound + 1e-6)
    elif status == cp_model.UNKNOWN:
        bound = sys.maxsize  # The search may have no bound yet.
    else:
        raise RuntimeError(f"CP-SAT returned {solver.status_name(status)}")
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
            break  # The models after it have no higher bound.
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
