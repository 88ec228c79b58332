"""Small drivers: what a person does, in a person's words."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page, expect

from tests.site import ROOT, Site

ENABLED = ".answers button:not([disabled])"
AXE = ROOT / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


def sign_in(page: Page, site: Site, name: str) -> None:
    page.goto(site.url + "/login/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(site.password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login/" not in url)


def violations(page: Page) -> list[str]:
    """What axe-core finds wrong on the page, WCAG 2.2 AA, when nothing is fading in (buttons do, after the delay)."""
    page.emulate_media(reduced_motion="reduce")
    page.evaluate("Promise.all(document.getAnimations().map(a => a.finished))")
    page.evaluate(AXE.read_text())
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
    return [f"{v['id']}: {n['html'][:160]}" for v in found["violations"] for n in v["nodes"]]


def finish_job(page: Page, site: Site, seconds: int = 120) -> None:
    """Wait on a job's page until it is done."""
    page.wait_for_selector(".state.done, .state.failed, .state.cancelled", timeout=seconds * 1000)
    assert page.locator(".state.done").count(), page.content()[-3000:]


class Annotator:
    """Answers on the annotator's page, by mouse or by keyboard. Knows the truth of the rendered pictures."""

    def __init__(self, page: Page, site: Site, by: str) -> None:
        self.page, self.site, self.by = page, site, by
        people = json.loads((ROOT / "labeling" / "sample" / "people.json").read_text())["images"]
        self.people = people

    def press(self, left: bool) -> None:
        if self.by == "keyboard":
            self.page.keyboard.press("ArrowLeft" if left else "ArrowRight")
        else:
            self.page.locator(".answers button").nth(0 if left else -1).click()

    def pass_tutorial(self) -> int:
        """Answer by the feedback of earlier tries: a wrong answer names the right part. Returns how many answers it took."""
        known: dict[str, str] = {}
        answers = 0
        while True:
            self.page.wait_for_selector(ENABLED)
            names = self.page.locator(".answers strong").all_inner_texts()
            question = self.page.locator(".count").inner_text()
            self.press(left=known.get(question, names[0]) == names[0])
            answers += 1
            feedback = self.page.locator(".feedback")
            expect(feedback).to_be_visible()
            text = feedback.inner_text()
            chosen = known.get(question, names[0])
            known[question] = chosen if text.startswith("Right.") else next(n for n in names if n != chosen)
            expect(feedback.get_by_role("button")).to_be_focused()
            if self.by == "keyboard":
                self.page.keyboard.press("Enter")
            else:
                feedback.get_by_role("button").click()
            expect(feedback).to_be_hidden()
            if self.page.locator(".count", has_text="to go").count() or "Passed" in text:
                return answers

    def to_go(self) -> int:
        return int(self.page.locator("[data-to-go]").get_attribute("data-to-go") or -1)

    def answer(self, left: bool = True) -> None:
        self.page.wait_for_selector(ENABLED)
        before = self.to_go()
        self.press(left)
        if before > 1:
            expect(self.page.locator("[data-to-go]")).to_have_attribute("data-to-go", str(before - 1))

    def undo(self) -> None:
        if self.by == "keyboard":
            self.page.keyboard.press("u")
        else:
            self.page.get_by_role("button", name="Undo Last").click()


def json_of(text: str) -> Any:
    """The JSON object at the end of a command's output."""
    return json.loads(text[text.index("{") :])
