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
    violations = page.evaluate("tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", tags)
    return [f"{v['id']}: {n['html'][:160]}" for v in violations["violations"] for n in v["nodes"]]


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
        """Answer by the truth, which the database holds; the first question wrong, to see what is said then. How many answers."""
        answers = 0
        truth: dict[str, str] = {}

        def learn(response: Any) -> None:
            """The tutorial draws its questions anew in every try: what the page was asked names the two parts."""
            if "/tutorial/" in response.url and response.ok and "json" in response.headers.get("content-type", ""):
                data = response.json()
                asked = data.get("state", data).get("question")
                if asked:
                    truth["now"] = asked["token"]

        self.page.on("response", learn)
        self.page.reload()
        while True:
            self.page.wait_for_selector(ENABLED)
            names = self.page.locator(".answers strong").all_inner_texts()
            right = self._right(truth["now"])
            name = right if answers else next(n for n in names if n != right)
            self.press(left=name == names[0])
            answers += 1
            feedback = self.page.locator(".feedback")
            expect(feedback).to_be_visible()
            text = feedback.inner_text()
            assert text.startswith("Right.") == (answers > 1), (text, right, names)
            expect(feedback.get_by_role("button")).to_be_focused()
            if self.by == "keyboard":
                self.page.keyboard.press("Enter")
            else:
                feedback.get_by_role("button").click()
            expect(feedback).to_be_hidden()
            if self.page.locator(".count", has_text="to go").count() or "Passed" in text:
                self.page.remove_listener("response", learn)
                return answers

    def _right(self, token: str) -> str:
        """The words of the part that is closer, of the question of a token."""
        _, participation, number, position, *_ = token.split(":")
        script = (
            "from labeling.models import ReferenceQuestion, TutorialTry; from labeling.skeletons import words;"
            f"t = TutorialTry.objects.get(participation={participation}, number={number});"
            "qs = ReferenceQuestion.objects.select_related('person__image__dataset__skeleton').in_bulk([d[0] for d in t.drawn]);"
            "print('|'.join(words(q.person.image.dataset.skeleton.keypoints[q.second if q.second_closer else q.first])"
            " for q in (qs[d[0]] for d in t.drawn)))"
        )
        known = self.__dict__.setdefault("known", {})
        if (participation, number) not in known:
            known[participation, number] = (
                self.site.manage("shell", "-v0", "-c", script).strip().splitlines()[-1].split("|")
            )
        return str(known[participation, number][int(position)])

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
