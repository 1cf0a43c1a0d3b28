"""What a weighting costs: the time of a whole step as a ratio to one with constant weights.

    python benchmarks/step_cost.py

The steps of all methods take turns on one network, so that whatever else the machine does falls on
all of them alike; a ratio is the median over rounds. Methods whose step is long take part in as
many of the first rounds as there is time for, and those that need minutes in none. ``constant``,
timed a second time, shows what the ratios cannot tell apart.
"""

from __future__ import annotations

import statistics
import time

from rich.console import Console
from rich.table import Table
from settings import (
    EVERY,
    METHODS,
    TOO_LONG,
    Setting,
    made,
    patience,
    regression,
    threads,
    virtual_screening,
)

from equipoise import SLAW
from equipoise.weighting import Weighting

SHARE = 5.0
"""Seconds for all rounds of a method."""
LEAST = 2
"""Rounds of it however long they are."""
WARM = 3
"""Steps of each method before those that count, one where they are long."""


def seconds_of_steps(setting: Setting) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Seconds of every step of every method that can take one, in turns; why others cannot."""
    weightings, reasons = made(setting)
    rounds = {}
    for name, weighting in list(weightings.items()):
        first = _warm_up(setting, weighting)
        if first is None:
            reasons[name] = TOO_LONG
            del weightings[name]
        else:
            rounds[name] = min(setting.rounds, max(LEAST, int(SHARE / first)))
    seconds: dict[str, list[float]] = {name: [] for name in weightings}
    for number in range(setting.rounds):
        names = [name for name in weightings if number < rounds[name]]
        for name in names if number % 2 else names[::-1]:
            seconds[name].append(_seconds(setting, weightings[name]))
    return seconds, reasons


def _warm_up(setting: Setting, weighting: Weighting) -> float | None:
    """Seconds of the quickest of the first steps; none if one takes longer than anyone waits."""
    try:
        with patience():
            first = _seconds(setting, weighting)
    except TimeoutError:
        return None
    return min([first, *(_seconds(setting, weighting) for _ in range(WARM - 1) if first < 1)])


def _seconds(setting: Setting, weighting: Weighting) -> float:
    start = time.perf_counter()
    setting.take_step(weighting)
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print the tables."""
    console = Console(highlight=False, width=130)
    settings = [*(virtual_screening(tasks, 30) for tasks in (10, 32, 128, 617)), regression(500)]
    found = {setting.name: seconds_of_steps(setting) for setting in settings}

    table = Table("", *found, title=f"Step time / step with constant weights, {threads()}")
    for name in METHODS:
        table.add_row(
            name, *(reasons.get(name) or _ratio(times, name) for times, reasons in found.values())
        )
    milliseconds = (1000 * statistics.median(times["constant"]) for times, _ in found.values())
    table.add_row("constant, ms", *(f"{each:.2f}" for each in milliseconds))
    console.print(table)

    many, few = (
        statistics.median(found[f"virtual screening, {tasks} tasks"][0]["slaw"])
        for tasks in (617, 32)
    )
    console.print(f"A step with slaw at 617 tasks / at 32 tasks: {many / few:.2f}")
    bytes_a_task = sum(buffer.nbytes for buffer in SLAW(617).buffers()) / 617
    console.print(f"State of SLAW: {bytes_a_task:.0f} bytes a task")


def _ratio(seconds: dict[str, list[float]], name: str) -> str:
    pairs = list(zip(seconds[name], seconds["constant"], strict=False))
    if name == EVERY:  # a tenth of its steps is another kind of step
        return f"{sum(own for own, _ in pairs) / sum(plain for _, plain in pairs):.3f}"
    return f"{statistics.median(own / plain for own, plain in pairs):.3f}"


if __name__ == "__main__":
    main()
