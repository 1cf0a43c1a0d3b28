"""The page of a study in a browser: what it draws, what can be switched, who can use it."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from study.made_up import history, made_up_run

from equipoise.problems.labelled import Labelled
from equipoise.problems.table.targets import Target
from equipoise.study.auditing.judged import Judged
from equipoise.study.configuration import Study
from equipoise.study.page.audit import write_audit
from equipoise.study.page.report import write_report
from equipoise.study.statistics import summarise

METHODS, TASKS, LARGEST = 30, 617, 6_000_000
"""Of the large page; bytes."""


def chromium():
    found = os.environ.get("EQUIPOISE_BROWSER") or shutil.which("chromium")
    if not found:
        pytest.fail("no browser: install chromium, or name one with EQUIPOISE_BROWSER")
    return found


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


def page_file(folder, methods, tasks, seeds=5):
    generator = np.random.default_rng(0)
    tasks = tuple(f"assay {number}" for number in range(tasks))
    names = ["constant", *(f"method{number}" for number in range(1, methods))]
    runs = []
    for place, method in enumerate(names):
        for seed in range(seeds):
            scores = 0.5 + 0.01 * place + 0.05 * generator.standard_normal(len(tasks))
            values = dict(zip(tasks, scores.tolist(), strict=True))
            values["all"] = float(scores.mean())
            diverged = 40 if (place, seed) == (3, 0) else None
            curve = np.linspace(0.4, values["all"], 10, dtype=np.float32)
            recorded = history(
                losses=np.ones((100, len(tasks)), np.float32),
                weights=generator.uniform(0.5, 2, (100, len(tasks))).astype(np.float32),
                evaluated_at=np.arange(10, 110, 10, dtype=np.float32),
                validation=curve,
                test=curve,
            )
            if diverged:
                values = dict.fromkeys(values, float("nan"))
            runs.append(
                made_up_run(
                    method,
                    seed,
                    {"AUC": values},
                    recorded=recorded,
                    diverged_at=diverged,
                    seconds_per_step=0.001 * (place + 5),
                )
            )
    study = Study("molecules", {}, {"steps": 100}, tasks, {"AUC": "max"}, ())
    path = folder / "report.html"
    write_report(study, runs, summarise(study, runs, {}), None, path)
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return page_file(tmp_path_factory.mktemp("large"), METHODS, TASKS)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return page_file(tmp_path_factory.mktemp("small"), 4, 3)


@pytest.fixture(scope="module")
def medium(tmp_path_factory):
    """All kinds of parts, and few enough of them for axe, which looks at each cell."""
    return page_file(tmp_path_factory.mktemp("medium"), 9, 21, seeds=2)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """An audit of more targets than have a part each, classes and numbers, with pictures."""
    rng = np.random.default_rng(0)
    targets = [
        Target(f"target {place}", "binary", rng.integers(0, 2, 60).astype(float), ("no", "yes"))
        if place % 2
        else Target(f"target {place}", "regression", rng.normal(100, 9, 60))
        for place in range(15)
    ]
    labelled = Labelled(
        inputs=np.zeros((60, 1), np.float32),
        targets=targets,
        rows=np.arange(1, 61),
        shown=pd.DataFrame(rng.normal(size=(60, 4)), columns=["width", "height", "b", "c"]),
        wrong=rng.random((60, 15)) < 0.3,
        pictures=lambda samples: np.full((len(samples), 8, 8, 3), 120, np.uint8),
    )
    judged = {
        target.name: Judged(
            target,
            samples=np.arange(60),
            likely=rng.permutation(target.values),
            wrong=rng.random(60),
            trusted=np.arange(60) < 5,
            checked=np.full(60, np.nan),
            between=(0.2, 0.5),
        )
        for target in targets
    }
    path = tmp_path_factory.mktemp("audited") / "audit.html"
    write_audit("houses", labelled, judged, ["what was found"], path)
    return path


@pytest.fixture(params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.fixture
def opened(browser):
    """Opens a page without a network, and fails on whatever its console complains of."""
    complaints, contexts = [], []

    def open_(path, **options):
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not complaints


def rows(page, table):
    return page.locator(f"{table} tbody tr:visible th").all_text_contents()


def test_a_page_of_many_methods_and_tasks_is_small(large):
    assert large.stat().st_size < LARGEST


@pytest.mark.parametrize("width", [390, 820, 1280])
@pytest.mark.parametrize("kind", ["small", "large", "audited"])
def test_every_width_holds_the_page(kind, width, opened, request):
    page = opened(request.getfixturevalue(kind), viewport={"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.locator(".js-plotly-plot:visible")
    assert charts.count() >= 4
    for box in (charts.nth(index).bounding_box() for index in range(charts.count())):
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width + 1


@pytest.mark.parametrize("kind", ["medium", "audited"])
def test_it_is_accessible(kind, scheme, opened, request):
    page = opened(request.getfixturevalue(kind), color_scheme=scheme)
    results = Axe().run(page)
    serious = [
        (found["id"], found["nodes"][0]["html"][:200])
        for found in results.response["violations"]
        if found["impact"] in ("serious", "critical")
    ]
    assert not serious


def test_methods_can_be_switched(opened, large):
    page = opened(large)
    assert len(rows(page, "#results")) == METHODS
    page.locator("summary", has_text="Methods shown").click()
    page.get_by_role("button", name="none").click()
    assert rows(page, "#results") == []
    page.get_by_label("method7", exact=True).check()
    assert rows(page, "#results") == ["method7"]
    visible = """[...document.getElementById('curves').data]
        .filter(trace => trace.visible !== false).map(trace => trace.meta)"""
    assert set(page.evaluate(visible)) == {"method7"}
    page.get_by_role("button", name="all").click()
    assert len(rows(page, "#results")) == METHODS


def test_many_panels_are_chosen_from(opened, large, small):
    page = opened(large)
    panels = page.locator("#weights > section:visible")
    assert panels.count() == 1
    page.locator("#chooser").select_option("method9")
    assert "method9" in panels.all_text_contents()[0]
    assert panels.locator(".js-plotly-plot svg").first.bounding_box()["width"] > 300
    assert opened(small).locator("#weights > section:visible").count() == 4


def test_tables_are_sorted_by_a_heading(opened, large):
    page = opened(large)
    heading = page.locator("#results th", has_text="ms per step")
    heading.get_by_role("button").click()
    assert rows(page, "#results")[:2] == ["constant", "method1"]
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").press("Enter")
    assert rows(page, "#results")[:2] == [f"method{METHODS - 1}", f"method{METHODS - 2}"]
    # Whatever has no number comes last, whichever way.
    page.locator("#results th button").nth(1).click()
    assert rows(page, "#results")[-1] == "method3"
    page.locator("#results th button").nth(1).click()
    assert rows(page, "#results")[-1] == "method3"
    page.locator("#tasks th button").first.click()
    assert rows(page, "#tasks")[:3] == ["assay 0", "assay 1", "assay 2"]


def test_tasks_are_found(opened, large):
    page = opened(large)
    page.get_by_label("Filter tasks").fill("ASSAY 61")
    assert len(rows(page, "#tasks")) == 1 + 7


def test_an_audit_has_a_part_for_the_targets_with_most_wrong_labels(opened, audited):
    page = opened(audited)
    assert len(rows(page, "#tasks")) == 15
    page.get_by_label("Filter targets").fill("target 1")
    assert len(rows(page, "#tasks")) == 6
    assert page.locator("h2").count() == 2 + 12
    assert page.locator("figure img").count() == 12 * 20
    assert "known to be wrong" in page.locator("body").text_content()
