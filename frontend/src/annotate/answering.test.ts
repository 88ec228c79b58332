import { describe, expect, it } from "vitest";
import type { Question } from "../api";
import { type Event, type State, start, step } from "./answering";

const ring = { keypoint: "left_wrist", words: "left wrist", x: 0.2, y: 0.3, occluded: false };
const q = (id: string, toGo = 25): Question => ({
  id,
  token: `t-${id}`,
  picture: `/p/${id}.jpg`,
  width: 300,
  height: 400,
  first: ring,
  second: { ...ring, keypoint: "neck" },
  green_is_first: true,
  green_on_left: true,
  to_go: toGo,
  delay_ms: 750,
});
const play = (events: Event[], from: State = start): [State, string[]] => {
  let state = from;
  const did: string[] = [];
  for (const event of events) {
    const [next, effects] = step(state, event);
    state = next;
    did.push(...effects.map((x) => x.do));
  }
  return [state, did];
};

describe("answering", () => {
  it("shows the first question and fetches one ahead", () => {
    const [state, did] = play([{ kind: "got", question: q("a"), at: 0 }]);
    expect(state.now?.id).toBe("a");
    expect(did).toEqual(["fetch"]);
  });
  it("takes no answer before the delay is over", () => {
    const [state, did] = play([
      { kind: "got", question: q("a"), at: 0 },
      { kind: "picture", at: 5 },
      { kind: "answer", closer: "first", by: "mouse", at: 10 },
    ]);
    expect(did).not.toContain("send");
    expect(state.now?.id).toBe("a");
  });
  it("sends one answer with the time since the picture was seen, and moves on at once", () => {
    const [state] = play([
      { kind: "got", question: q("a"), at: 0 },
      { kind: "got", question: q("b"), at: 1 },
      { kind: "picture", at: 100 },
      { kind: "delay-over" },
      { kind: "toggle" },
    ]);
    const [next, effects] = step(state, { kind: "answer", closer: "second", by: "keyboard", at: 1350 });
    expect(effects[0]).toMatchObject({ do: "send", closer: "second", responseMs: 1250, toggles: 1, by: "keyboard" });
    expect(next.now?.id).toBe("b");
    expect(next.answerable).toBe(false);
    const [, again] = step(next, { kind: "answer", closer: "second", by: "keyboard", at: 1351 });
    expect(again).toEqual([]);
  });
  it("tells the server about questions whose answers it may not have seen", () => {
    const [state] = play([
      { kind: "got", question: q("a"), at: 0 },
      { kind: "got", question: q("b"), at: 1 },
      { kind: "picture", at: 2 },
      { kind: "delay-over" },
    ]);
    const [, effects] = step(state, { kind: "answer", closer: "first", by: "mouse", at: 900 });
    expect(effects[1]).toEqual({ do: "fetch", have: ["a", "b"] });
  });
  it("does not fetch more than the sitting has", () => {
    const [, did] = play([{ kind: "got", question: q("a", 1), at: 0 }]);
    expect(did).toEqual([]);
  });
  it("puts an undone question in front and keeps the others", () => {
    const [state] = play([
      { kind: "got", question: q("b"), at: 0 },
      { kind: "got", question: q("c"), at: 0 },
      { kind: "undo" },
      { kind: "undone", question: q("a", 25), at: 9 },
    ]);
    expect(state.now?.id).toBe("a");
    expect(state.ahead.map((x) => x.id)).toEqual(["b", "c"]);
    expect(state.toGo).toBe(25);
  });
  it("waits with undo until every answer has arrived", () => {
    const [, did] = play([{ kind: "undo" }], { ...start, sending: ["a"] });
    expect(did).toEqual([]);
  });
  it("goes on to the next question when a broken picture is skipped, and loads it anew when asked", () => {
    const [broken] = play([
      { kind: "got", question: q("a"), at: 0 },
      { kind: "got", question: q("b"), at: 1 },
      { kind: "broken" },
    ]);
    expect([broken.broken, broken.answerable]).toEqual([true, false]);
    const [again] = step(broken, { kind: "retry" });
    expect([again.broken, again.loads, again.now?.id]).toEqual([false, 1, "a"]);
    const [next, effects] = step(broken, { kind: "skipped", id: "a", at: 5 });
    expect([next.now?.id, next.broken]).toEqual(["b", false]);
    expect(effects).toEqual([{ do: "fetch", have: ["b"] }]);
    expect(step(next, { kind: "skipped", id: "a", at: 6 })[0]).toBe(next);
  });
});
