"""From the sample campaign to a trained lifter, in real Chromium, against the real web server and workers."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.drivers import Annotator, finish_job, json_of, sign_in, violations
from tests.site import CHROMIUM, CHROMIUM_FLAGS, Site
from tests.training.harvests.test_harvests import upload
from tests.training.harvests.test_video_harvests import film, npz
from tests.training.video.test_video_harvest import person, seen

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="NO CHROMIUM: browser tests left out")]
SHOTS = os.environ.get("NEARER_SCREENSHOTS", "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), "e2e")
    try:
        yield site.start()
    finally:
        site.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def look(page, name: str) -> None:
    """axe-core at both widths, no sideways scrolling at 360 px, and a screenshot where one is asked for."""
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert violations(page) == [], (name, width)
        if width == 360:
            assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        if SHOTS:
            Path(SHOTS).mkdir(exist_ok=True)
            page.screenshot(path=f"{SHOTS}/{name}-{width}.png", full_page=True)


@pytest.mark.parametrize(("name", "by"), [("ann", "mouse"), ("ben", "keyboard")])
def test_an_annotator_passes_the_tutorial_and_answers_a_session(site: Site, browser, name: str, by: str) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" and "425" not in m.text else None)
    sign_in(page, site, name)
    if by == "mouse":
        look(page, "home")
        page.get_by_role("link", name="Start").click()
    else:
        page.keyboard.press("Tab")
        while page.evaluate("document.activeElement.textContent") != "Start":
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
    someone = Annotator(page, site, by)
    page.wait_for_selector(".answers button")
    if by == "mouse":
        look(page, "tutorial")
    someone.pass_tutorial()
    for n in range(3):
        someone.answer(left=n % 2 == 0)
    page.wait_for_function(
        "() => !Object.keys(localStorage).some((k) => k.startsWith('nearer-outbox'))"
    )  # undo waits for what is on its way
    someone.undo()
    page.wait_for_selector("[data-to-go='23']")
    page.reload()
    page.wait_for_selector("[data-to-go='23']")
    page.keyboard.press("t")
    page.wait_for_selector("[data-rings]", state="detached")
    page.keyboard.press("t")
    if by == "mouse":
        look(page, "annotate")
    while someone.to_go() > 1:
        someone.answer(left=someone.to_go() % 3 == 0)
    someone.answer()
    page.get_by_text("Thank you!").wait_for()
    if by == "mouse":
        look(page, "thanks")
    assert errors == []
    context.close()


def test_an_answer_given_offline_arrives_once_the_network_is_back(site: Site, browser) -> None:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sign_in(page, site, "ann")
    page.get_by_role("link", name="Continue").click()
    someone = Annotator(page, site, "keyboard")
    someone.answer()
    page.wait_for_selector(".answers button:not([disabled])")
    before = someone.to_go()
    context.set_offline(True)
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("text=/kept here/")
    context.set_offline(False)
    page.wait_for_selector(f"[data-to-go='{before - 1}']")
    page.wait_for_function("() => !Object.keys(localStorage).some((k) => k.startsWith('nearer-outbox'))")
    page.reload()
    page.wait_for_selector(f"[data-to-go='{before - 1}']")
    context.close()


def test_an_admin_merges_releases_and_trains_and_the_command_line_says_the_same(site: Site, browser) -> None:
    site.manage("simulate_annotators", "Sample campaign", "--url", site.url, "--annotators", "4", "--most", "60")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sign_in(page, site, "ada")
    look(page, "campaigns")
    page.get_by_role("link", name="Sample campaign").click()
    look(page, "campaign")
    page.get_by_role("button", name="Aggregate votes").click()
    finish_job(page, site)
    look(page, "job")
    page.get_by_role("link", name="Back to the campaign").click()
    back = page.url
    page.get_by_role("link", name="Quality").click()
    page.wait_for_load_state()
    look(page, "quality")
    page.goto(site.url + "/campaigns/plan/")
    look(page, "plan")
    page.goto(back)
    page.get_by_role("button", name="Make a release").click()
    finish_job(page, site)
    page.get_by_role("link", name="Open the release").click()
    look(page, "release")
    with page.expect_download() as download:
        page.get_by_role("link", name="ordinal.json").click()
    assert '"joint_names"' in Path(download.value.path()).read_text()[:300]
    page.get_by_role("link", name="Train a lifter").click()
    look(page, "new-run")
    page.get_by_text("Options: empty ones are the preset's").click()
    look(page, "new-run-options")
    page.get_by_label("epochs", exact=False).first.fill("25")
    page.get_by_role("button", name="Train").click()
    page.wait_for_url("**/runs/*-*/")
    finish_job(page, site, 240)
    page.wait_for_selector("#measures")
    page.wait_for_selector(".uplot")
    page.locator("[data-island=poses]").scroll_into_view_if_needed()
    page.get_by_text("Example 1 of 12").wait_for()
    page.get_by_role("button", name="Next").click()
    page.get_by_text("Example 2 of 12").wait_for()
    page.get_by_role("button", name="show in 3D").first.click()
    page.get_by_text("Worst case 1 of 12").wait_for()
    page.locator(".viewer canvas").press("ArrowLeft")
    look(page, "run")
    rows = [r.inner_text().split("\t") for r in page.locator("#measures tbody tr").all()]
    printed = json_of(site.manage("train_lifter", "Sample campaign", "--actor", "resi", "--epochs", "25", "--here"))
    shown = {r[0]: r[1:3] for r in rows}
    assert float(shown["this run"][0]) == printed["true_error"]
    assert float(shown["this run"][1]) == printed["label_error"]
    assert float(next(v for k, v in shown.items() if "noise-free" in k)[0]) == printed["noise_free"]["true_error"]
    assert float(shown["chance"][0]) == 0.5
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Training").click()
    for box in page.get_by_role("checkbox").all()[:2]:
        box.check()
    page.get_by_role("button", name="Compare the chosen runs").click()
    page.wait_for_selector(".uplot")
    assert page.locator("tbody th .key").count() == 2
    look(page, "compare")
    for link in ("Data sets", "Releases", "Training", "Jobs", "People"):
        page.get_by_role("navigation", name="Main").get_by_role("link", name=link).click()
        page.wait_for_load_state()
        look(page, link.lower().replace(" ", "-"))
    page.goto(site.url + "/campaigns/new/")
    look(page, "new-campaign")
    page.goto(site.url + "/datasets/import/")
    look(page, "import")
    context.close()


def test_a_recording_is_harvested_reviewed_by_keyboard_and_becomes_a_data_set(
    site: Site, browser, tmp_path: Path
) -> None:
    files = {}
    for name, file in upload(tmp_path).items():
        files[name] = tmp_path / f"uploaded-{file.name}"
        files[name].write_bytes(file.read())
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sign_in(page, site, "ada")
    page.get_by_role("link", name="Recordings").click()
    look(page, "recordings")
    page.get_by_role("link", name="Harvest: recording of several cameras").click()
    look(page, "new-recording")
    page.get_by_label("Name").fill("Leaning")
    for name, file in files.items():
        page.locator(f"input[name={name}]").set_input_files(file)
    page.get_by_text("Options: empty ones are the usual ones").click()
    page.get_by_label("Grid").select_option("32")
    page.get_by_role("button", name="Harvest").click()
    page.wait_for_url("**/harvests/*-*/")
    finish_job(page, site)
    page.get_by_text("cam1 ends early").wait_for()
    look(page, "recording")
    page.get_by_role("link", name="Review pseudo-labels").click()
    page.wait_for_selector(".review-views image")
    page.wait_for_selector(".viewer canvas")
    look(page, "review")
    status, waiting = page.get_by_role("status"), page.locator(".review-joints .state.waiting")
    here = waiting.count()
    assert here > 3
    page.locator("h1").click()
    page.keyboard.press("a")
    status.get_by_text(f"{here} accepted.").wait_for()
    assert waiting.count() == 0
    page.keyboard.press("u")
    status.get_by_text("Taken back").wait_for()
    assert waiting.count() == here
    ring = page.locator(".review-views svg").nth(1).locator("circle.joint.waiting").first
    ring.scroll_into_view_if_needed()
    box = ring.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 25, box["y"] + 10, steps=4)
    page.mouse.up()
    status.get_by_text("1 placed.", exact=True).wait_for()
    assert waiting.count() == here - 1
    page.locator("h1").click()
    page.keyboard.press("u")
    status.get_by_text("Taken back: 1 placed.").wait_for()
    assert waiting.count() == here
    page.get_by_label("x (px)").fill("500")
    page.get_by_label("y (px)").fill("410,5")
    page.get_by_role("button", name="Place", exact=True).click()
    status.get_by_text("1 placed.", exact=True).wait_for()
    page.locator("h1").click()
    page.keyboard.press("u")
    status.get_by_text("Taken back").wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("Surest of each joint").fill("100")
    page.get_by_role("button", name="Accept these").click()
    status.get_by_text(f"{8 * 17} accepted.").wait_for()
    page.get_by_role("link", name="Leaning").click()
    page.get_by_label("Name of the new data set").fill("Leaning people")
    page.get_by_role("button", name="Make a data set").click()
    finish_job(page, site)
    page.get_by_role("link", name="Open the data set").click()
    look(page, "harvested-people")
    assert page.get_by_text("pictures, skeleton h36m-17").count() == 1
    context.close()


def test_a_video_is_harvested_reviewed_on_its_timeline_and_a_lifter_is_fine_tuned(
    site: Site, browser, tmp_path: Path
) -> None:
    for name, file in (("d.npz", npz(seen(person(90)))), ("walk.mp4", film(90))):
        (tmp_path / name).write_bytes(file.read())
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    sign_in(page, site, "ada")
    page.get_by_role("link", name="Recordings").click()
    page.get_by_role("link", name="Harvest: video of one camera").click()
    look(page, "new-video")
    page.get_by_label("Name").fill("Walking")
    page.locator("input[name=detections]").set_input_files(tmp_path / "d.npz")
    page.locator("input[name=video]").set_input_files(tmp_path / "walk.mp4")
    page.get_by_label("Focal length (px)").fill("1145")
    page.get_by_role("button", name="Harvest").click()
    page.wait_for_url("**/harvests/*-*/")
    finish_job(page, site)
    page.get_by_role("heading", name="Clips").wait_for()
    look(page, "video")
    page.get_by_role("link", name="Review pseudo-labels").click()
    page.wait_for_selector(".review-views image")
    page.wait_for_selector(".viewer canvas")
    status, curves = page.get_by_role("status"), page.locator("canvas.timeline")
    slider = page.get_by_role("slider", name="Frame")
    page.locator("h1").click()
    page.keyboard.press("p")
    for _ in range(100):
        if int(slider.input_value()) > 8:
            break
        page.wait_for_timeout(100)
    assert int(slider.input_value()) > 8
    page.keyboard.press("p")
    page.get_by_role("button", name="Play").wait_for()
    box = curves.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 50)
    status.get_by_text("clip 1, frame 45 of the video").wait_for()
    assert slider.input_value() == "45"
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 60, steps=5)
    page.mouse.up()
    page.get_by_text("Stretch: frames 18 to 54 (3.7 s)").wait_for()
    look(page, "timeline")
    page.get_by_role("button", name="Accept stretch").click()
    status.get_by_text("accepted.").wait_for()
    accepted = int(status.inner_text().split()[0])
    assert accepted > 100
    assert page.get_by_text("as lifted at first (grey)").count() == 1
    page.get_by_role("link", name="Walking").click()
    page.get_by_label("Epochs").fill("2")
    page.get_by_role("button", name="Fine-tune").click()
    page.wait_for_url("**/runs/*-*/")
    finish_job(page, site)
    page.get_by_text("the model it started from").wait_for()
    assert errors == []
    context.close()


def test_every_answer_was_counted_once(site: Site) -> None:
    if site.database:
        pytest.skip("read from SQLite only; tests/labeling/answering/test_race.py counts on PostgreSQL")
    with sqlite3.connect(site.folder / "var" / "nearer.sqlite3") as db:
        counted = db.execute("SELECT SUM(votes_counted) FROM labeling_pair").fetchone()[0]
        votes = db.execute(
            "SELECT COUNT(*) FROM labeling_answer v LEFT JOIN labeling_retraction r ON r.answer_id = v.id "
            "WHERE r.id IS NULL AND v.kind = 'vote'"
        ).fetchone()[0]
    assert counted == votes > 60
