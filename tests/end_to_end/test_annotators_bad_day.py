"""What goes wrong in an annotator's browser: no answer is lost, and a way on is shown each time."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.end_to_end.drivers import ENABLED, sign_in
from tests.end_to_end.test_the_whole_loop import browser as browser
from tests.pictures import people_json
from tests.site import CHROMIUM, Site

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
SHOTS = os.environ.get("NEARER_SCREENSHOTS", "")

CAMPAIGN = """
import time
from labeling.campaigns import lifecycle
from labeling.campaigns.plan import CampaignPlan, PairPolicy
from labeling.importing import storing
from labeling.models import Campaign, Dataset
from webapp.accounts.models import Account
from webapp.jobs import run
ada = Account.objects.get(username="ada")
plan = storing.ImportConfig(dataset="other pictures", format="json", annotations="{folder}/people.json", pictures="{folder}/pictures.zip")
storing.store(ada, plan, lambda *_: None)
dataset = Dataset.objects.select_related("skeleton").get(name="other pictures")
campaign, job = lifecycle.create(ada, dataset, CampaignPlan(name="other pictures", delay_ms=100, tutorial_questions=0,
    session_length=40, pair_policy=PairPolicy(per_person=9, seed=1)))
run.run_job(job.pk)
while not campaign.pair_count:  # the site's own worker may have taken the job before us
    time.sleep(0.2)
    campaign.refresh_from_db()
lifecycle.move(ada, campaign, "open")
print(campaign.uuid)
"""
VOTES = """
from labeling.models import Vote
print(Vote.objects.filter(campaign__uuid="{campaign}", participation__annotator__username="{name}", retraction=None).count())
"""
SIZES = [(235, 226), (4000, 3000), (300, 900), (1200, 400)]  # LSP's size, 12 megapixels, tall, wide


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    folder = tmp_path_factory.mktemp("bad-day")
    data = people_json(len(SIZES))
    with zipfile.ZipFile(folder / "pictures.zip", "w") as archive:
        for n, ((width, height), image) in enumerate(zip(SIZES, data["images"], strict=True)):
            noise = np.random.default_rng(n).integers(60, 200, (12, 16, 3), dtype=np.uint8)
            stream = io.BytesIO()
            Image.fromarray(noise).resize((width, height)).save(stream, "JPEG")
            archive.writestr(image["file"], stream.getvalue())
            for keypoint in image["people"][0]["keypoints"].values():
                keypoint[0], keypoint[1] = keypoint[0] * width / 96, keypoint[1] * height / 96
    (folder / "people.json").write_text(json.dumps(data))
    site = Site(folder, "badday").start()
    try:
        script = CAMPAIGN.format(folder=folder)
        yield site, site.manage("shell", "-v0", "-c", script).split()[-1]
    finally:
        site.stop()


def votes(site: Site, campaign: str, name: str) -> int:
    return int(site.manage("shell", "-v0", "-c", VOTES.format(campaign=campaign, name=name)).split()[-1])


def start(place: tuple[Site, str], browser: Any, name: str, width: int = 1280, height: int = 800) -> Any:
    site, campaign = place
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    sign_in(page, site, name)
    page.goto(f"{site.url}/annotate/{campaign}/")
    page.wait_for_selector(ENABLED)
    return page


def answer(page: Any) -> None:
    page.wait_for_selector(ENABLED)
    page.keyboard.press("ArrowLeft")


def shot(page: Any, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(exist_ok=True)
        page.screenshot(path=f"{SHOTS}/bad-day-{name}.png")


def empty_box(page: Any) -> None:
    page.wait_for_function("() => !Object.keys(localStorage).some((k) => k.startsWith('nearer-outbox'))")


def test_an_answer_given_after_the_session_ended_is_sent_after_the_next_sign_in(place: Any, browser: Any) -> None:
    site, campaign = place
    page = start(place, browser, "ann")
    answer(page)
    empty_box(page)
    before = votes(site, campaign, "ann")
    page.context.clear_cookies()
    answer(page)
    page.get_by_text("You are signed out").wait_for()
    assert "1 answer is kept in this browser" in page.locator(".signed-out").inner_text()
    shot(page, "signed-out")
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_label("Name").fill("ann")
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector(ENABLED)
    empty_box(page)
    assert votes(site, campaign, "ann") == before + 1
    page.context.close()


def test_two_people_on_one_browser_never_send_each_others_answers(place: Any, browser: Any) -> None:
    site, campaign = place
    page = start(place, browser, "ann")
    empty_box(page)
    before = {name: votes(site, campaign, name) for name in ("ann", "ben")}
    page.context.set_offline(True)
    answer(page)
    page.get_by_text("kept here").wait_for()
    page.context.set_offline(False)
    page.context.clear_cookies()  # before the answer could leave, somebody else signs in
    other = page.context.new_page()
    sign_in(other, site, "ben")
    other.goto(f"{site.url}/annotate/{campaign}/")
    answer(other)
    other.wait_for_function("() => Object.keys(localStorage).filter((k) => k.startsWith('nearer-outbox')).length === 1")
    page.get_by_text("somebody else signed in").wait_for(timeout=20_000)
    assert votes(site, campaign, "ann") == before["ann"]
    assert votes(site, campaign, "ben") == before["ben"] + 1
    other.context.clear_cookies()
    sign_in(other, site, "ann")
    other.goto(f"{site.url}/annotate/{campaign}/")
    other.wait_for_selector(ENABLED)
    empty_box(other)
    assert votes(site, campaign, "ann") == before["ann"] + 1
    page.context.close()


def test_two_log_in_tabs_are_explained_and_the_work_goes_on(place: Any, browser: Any) -> None:
    site, campaign = place
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    first, second = context.new_page(), context.new_page()
    for page in (first, second):
        page.goto(site.url + "/login/")
        page.get_by_label("Name").fill("ben")
        page.get_by_label("Password").fill(site.password)
    first.get_by_role("button", name="Sign in").click()
    first.wait_for_url(lambda url: "/login/" not in url)
    second.get_by_role("button", name="Sign in").click()
    second.wait_for_load_state()
    assert "CSRF verification failed" not in second.content()
    shot(second, "two-log-ins")
    first.goto(f"{site.url}/annotate/{campaign}/")
    before = votes(site, campaign, "ben")
    answer(first)
    empty_box(first)
    assert votes(site, campaign, "ben") == before + 1
    context.close()


def test_a_picture_that_does_not_load_is_tried_again_and_can_be_skipped(place: Any, browser: Any) -> None:
    site, campaign = place
    page = start(place, browser, "ben", 360, 740)
    empty_box(page)
    before = votes(site, campaign, "ben")
    page.route("**/pictures/*", lambda route: route.abort())
    page.reload()
    page.get_by_text("The picture does not load.").wait_for(timeout=20_000)
    shot(page, "broken-picture")
    page.unroute("**/pictures/*")
    page.get_by_role("button", name="Skip it").click()
    page.wait_for_selector(ENABLED)
    answer(page)
    empty_box(page)
    assert votes(site, campaign, "ben") == before + 1
    page.get_by_role("button", name="Report").click()
    page.get_by_label("A circle is on the wrong place").check()
    shot(page, "report")
    page.get_by_role("button", name="Report and skip").click()
    page.get_by_text("reported").wait_for()
    admin = browser.new_context().new_page()
    sign_in(admin, site, "ada")
    admin.goto(f"{site.url}/campaigns/{campaign}/reports/")
    assert admin.locator("figure").count() == 2
    admin.get_by_role("button", name="Settle").first.click()
    admin.get_by_text("settled by ada").wait_for()
    admin.context.close()
    page.context.close()


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (360, 740), (740, 360), (640, 400)])
def test_pictures_of_every_size_fill_their_panel_and_the_buttons_are_in_view(
    place: Any, browser: Any, width: int, height: int
) -> None:
    page = start(place, browser, "rea", width, height)  # a reviewer who tries it
    seen: set[str] = set()
    for n in range(30):
        page.wait_for_selector(ENABLED)
        panel, picture = page.locator(".photo").bounding_box(), page.locator(".photo img").bounding_box()
        assert max(picture["width"] / panel["width"], picture["height"] / panel["height"]) == pytest.approx(1, abs=0.01)
        rings = page.locator(".photo [data-ring]").evaluate_all(
            "all => all.map(g => g.firstElementChild.getBoundingClientRect().width)"
        )
        assert all(8 <= size <= 40 for size in rings), rings
        for button in page.locator(".answers button").all():
            box = button.bounding_box()
            assert box["y"] + box["height"] <= height
        shape = f"{picture['width'] / picture['height']:.1f}"
        if shape not in seen:
            shot(page, f"size-{shape}-at-{width}")
        seen.add(shape)
        if len(seen) > 1 and n > 3:
            break
        answer(page)
        page.wait_for_function(
            "t => document.querySelector('.photo img')?.src !== t", arg=page.locator(".photo img").get_attribute("src")
        )
    page.context.close()


COVERED = """() => [...document.querySelectorAll('button')].filter((b) => {
    const box = b.getBoundingClientRect(), there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    return box.width && !b.contains(there);
}).map((b) => b.textContent)"""


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (360, 740)])
def test_the_words_of_a_preview_cover_no_button(place: Any, browser: Any, width: int, height: int) -> None:
    site, campaign = place
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    sign_in(page, site, "ada")
    page.goto(f"{site.url}/campaigns/{campaign}/preview/")
    page.wait_for_selector(ENABLED)
    assert page.evaluate(COVERED) == []
    words, link = page.locator(".preview").bounding_box(), page.locator(".preview a").bounding_box()
    assert link["x"] >= 0 and link["x"] + link["width"] <= width
    assert words["y"] + words["height"] <= page.locator(".stage").bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollHeight") <= height
    page.context.close()
