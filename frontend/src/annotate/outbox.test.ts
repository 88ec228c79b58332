import { beforeEach, describe, expect, it, vi } from "vitest";
import { Outbox, type OutboxEvents, type QueuedVote } from "./outbox";

const store = new Map<string, string>();
const answer = (status: number, data: object) =>
  ({ ok: status < 400, status, json: async () => data, headers: new Headers() }) as Response;
const queued = (key: string, at = 0): QueuedVote => ({
  id: `q-${key}`,
  at,
  vote: {
    token: "t",
    closer: "first",
    key,
    response_ms: 1,
    toggles: 0,
    zoom: 1,
    viewport: "",
    by: "mouse",
    app_version: "",
  },
});
const heard: string[] = [];
const events: OutboxEvents = {
  sent: (l) => heard.push(`sent ${l.vote.key}`),
  refused: (l, p) => heard.push(`refused ${l.vote.key}: ${p.message}`),
  waiting: () => undefined,
  signedOut: (n) => heard.push(`signed out with ${n}`),
};
const settled = () => new Promise((r) => setTimeout(r, 5));

beforeEach(() => {
  store.clear();
  heard.length = 0;
  const storage = new Proxy({} as Record<string, string>, {
    ownKeys: () => [...store.keys()],
    getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
    get: (_, name) =>
      ({
        getItem: (k: string) => store.get(k) ?? null,
        setItem: (k: string, v: string) => store.set(k, v),
        removeItem: (k: string) => store.delete(k),
      })[name as string],
  });
  vi.stubGlobal("localStorage", storage);
  vi.stubGlobal("document", { cookie: "" });
});

describe("outbox", () => {
  it.each([
    [401, {}],
    [403, { code: "other_person" }],
    [403, { code: "csrf_failed" }],
  ])("keeps an answer that came back with %i %o and sends it after the next sign-in", async (status, data) => {
    vi.stubGlobal("fetch", async () => answer(status, data));
    const box = new Outbox("/vote/", "box-mary", events);
    box.put(queued("k1"));
    await settled();
    expect(heard).toEqual(["signed out with 1"]);
    vi.stubGlobal("fetch", async () => answer(200, { to_go: 1, answered: 1, session_finished: false }));
    await new Outbox("/vote/", "box-mary", events).flush(); // another page, later
    expect(heard[1]).toBe("sent k1");
    expect(store.size).toBe(0);
  });
  it("never sends what another person left in the same browser", async () => {
    vi.stubGlobal("fetch", async () => answer(401, {}));
    new Outbox("/vote/", "box-mary", events).put(queued("k1"));
    await settled();
    const fetched = vi.fn();
    vi.stubGlobal("fetch", fetched);
    await new Outbox("/vote/", "box-paul", events).flush();
    expect(fetched).not.toHaveBeenCalled();
    expect(store.size).toBe(1);
  });
  it("says why an answer was refused, and goes on with the next one", async () => {
    let n = 0;
    vi.stubGlobal("fetch", async () =>
      n++
        ? answer(200, { to_go: 1, answered: 1, session_finished: false })
        : answer(409, { code: "lease_expired", detail: "too late" }),
    );
    const box = new Outbox("/vote/", "box-mary", events);
    box.put(queued("k1"));
    box.put(queued("k2"));
    await settled();
    expect(heard).toEqual(["refused k1: too late", "sent k2"]);
  });
  it("keeps two tabs' answers apart, sends them in the order of giving, and survives rubbish in the storage", async () => {
    store.set("box-mary k2", JSON.stringify(queued("k2", 2)));
    store.set("box-mary k1", JSON.stringify(queued("k1", 1)));
    store.set("box-mary bad", "{half");
    vi.stubGlobal("fetch", async () => answer(200, { to_go: 1, answered: 1, session_finished: false }));
    await new Outbox("/vote/", "box-mary", events).flush();
    expect(heard).toEqual(["sent k1", "sent k2"]);
  });
});
