// The thin skin around answering.ts: draws the state, runs the effects.
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { call, Problem, type CampaignState, type Closer, type Feedback, type Question, type Shown, type TutorialState } from "../api";
import { type Effect, type Event, type State, start, step } from "./answering";
import { Outbox } from "./outbox";
import { Figure, Photo } from "./picture";

const VERSION = "0.1.0";
const viewport = () => `${Math.min(innerWidth, 99999)}x${Math.min(innerHeight, 99999)}@${Math.min(devicePixelRatio, 9).toFixed(1)}`;
const uuid = () => crypto.randomUUID?.() ?? "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (c) =>
  (Number(c) ^ (crypto.getRandomValues(new Uint8Array(1))[0]! & (15 >> (Number(c) / 4)))).toString(16));
let lastPointer = "mouse";
addEventListener("pointerdown", (e) => { lastPointer = e.pointerType || "mouse"; }, true);

interface Keys { left: () => void; right: () => void; toggle?: () => void; undo?: () => void; help: () => void; zoom: () => void }
function useKeys(keys: Keys, active: boolean) {
  const ref = useRef(keys);
  ref.current = keys;
  useEffect(() => {
    if (!active) return;
    const onKey = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.repeat) return;
      const k = ref.current;
      const act = ({ ArrowLeft: k.left, ArrowRight: k.right, " ": k.toggle, t: k.toggle, u: k.undo, "?": k.help, z: k.zoom } as Record<string, (() => void) | undefined>)[e.key];
      if (act && !(e.key === " " && e.target instanceof HTMLButtonElement)) { e.preventDefault(); act(); }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [active]);
}

function Answers({ shown, enabled, same, answer }: { shown: Shown; enabled: boolean; same: boolean; answer: (c: Closer, by: string) => void }) {
  const green: Closer = shown.green_is_first ? "first" : "second", pink: Closer = shown.green_is_first ? "second" : "first";
  const button = (colour: "green" | "pink", closer: Closer) => <button class={colour} disabled={!enabled} data-closer={closer}
    onClick={() => answer(closer, lastPointer)}><strong>{shown[closer as "first" | "second"].words}</strong><small>{colour === "green" ? "green circle A" : "pink diamond B"} is closer</small></button>;
  const order = shown.green_on_left ? [button("green", green), button("pink", pink)] : [button("pink", pink), button("green", green)];
  return <div class={same ? "answers three" : "answers"} role="group" aria-label="Which is closer?">{order[0]}{same && <button disabled={!enabled} onClick={() => answer("same", lastPointer)}>same</button>}{order[1]}</div>;
}
const leftOf = (s: Shown): Closer => (s.green_is_first === s.green_on_left ? "first" : "second");
const rightOf = (s: Shown): Closer => (leftOf(s) === "first" ? "second" : "first");

function Help({ campaign, open, close }: { campaign: CampaignState; open: boolean; close: () => void }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => { if (open) ref.current?.showModal(); else ref.current?.close(); }, [open]);
  return <dialog ref={ref} onClose={close} aria-labelledby="help-title"><h2 id="help-title">What to do</h2>
    <ol><li>Imagine you hold the camera. Two body parts are marked: a green circle A and a pink diamond B.</li>
      <li>Say which of the two is closer to you.</li>
      <li>A part may be hidden by the body. Then trust its name, and judge where it must be.</li>
      <li>Left and right are the person's own. The figure beside the picture shows the same two parts.</li>
      <li>If it is too close to call, give your best guess.</li></ol>
    {campaign.instructions && <p>{campaign.instructions}</p>}
    <p><strong>Keys:</strong> ← and → answer with the left or right button, space or t hides the rings, u undoes, z zooms, ? opens this.</p>
    <button class="primary go" onClick={close}>Close</button></dialog>;
}

function Tools({ rings, toggle, undo, canUndo, zoom, setZoom, help, home }: { rings: boolean; toggle: () => void; undo?: () => void; canUndo?: boolean; zoom: number; setZoom: (z: number) => void; help: () => void; home: string }) {
  return <div class="tools"><button onClick={toggle} aria-pressed={!rings}>Toggle Circles</button>
    {undo && <button onClick={undo} disabled={!canUndo}>Undo Last</button>}
    <button onClick={() => setZoom(zoom === 1 ? 2 : 1)} aria-pressed={zoom !== 1}>Zoom</button>
    <button onClick={help}>Instructions</button><a class="button" href={home}>Leave</a></div>;
}

export function Page({ api, home }: { api: string; home: string }) {
  const [campaign, setCampaign] = useState<CampaignState | null>(null);
  const [error, setError] = useState("");
  const [help, setHelp] = useState(false);
  useEffect(() => { call<CampaignState>(api).then(setCampaign, (e: Problem) => setError(e.message)); }, [api]);
  if (error) return <div class="stage"><p class="notice error" role="alert">{error}</p><a class="button" href={home}>Back</a></div>;
  if (!campaign) return <p class="loading">Loading…</p>;
  const common = { api, home, campaign, openHelp: () => setHelp(true), helpOpen: help };
  const todo = campaign.has_tutorial && !campaign.tutorial_passed;
  return <div class="stage">{todo ? <Tutorial {...common} passed={() => setCampaign({ ...campaign, tutorial_passed: true })} /> : <Answering {...common} />}
    <Help campaign={campaign} open={help} close={() => setHelp(false)} /></div>;
}

interface Common { api: string; home: string; campaign: CampaignState; openHelp: () => void; helpOpen: boolean }

function Tutorial({ api, home, openHelp, helpOpen, passed }: Common & { passed: () => void }) {
  const [state, setState] = useState<TutorialState | null>(null);
  const [told, setTold] = useState<Feedback | null>(null);
  const [asked, setAsked] = useState<TutorialState["question"]>(null);
  const [ready, setReady] = useState(false), [rings, setRings] = useState(true), [zoom, setZoom] = useState(1);
  const [error, setError] = useState("");
  const since = useRef(0), busy = useRef(false), wait = useRef(0);
  const load = useCallback(() => { call<TutorialState>(`${api}tutorial/`).then((s) => { setState(s); setAsked(s.question); setTold(null); if (s.passed) passed(); }, (e: Problem) => setError(e.message)); }, [api]);
  useEffect(load, [load]);
  const seen = () => { since.current = performance.now(); clearTimeout(wait.current); wait.current = window.setTimeout(() => setReady(true), asked?.delay_ms ?? 0); };
  const answer = async (closer: Closer): Promise<void> => {
    if (!asked || !ready || busy.current || told) return;
    busy.current = true;
    try {
      const feedback = await call<Feedback>(`${api}tutorial/`, { number: asked.number, token: asked.token, closer, response_ms: Math.round(performance.now() - since.current) });
      setTold(feedback); setState(feedback.state); setRings(true); setReady(false);
    } catch (e) { if (e instanceof Problem && e.code !== "too_early") setError(e.message); }
    busy.current = false;
  };
  const on = () => { if (!told || !state) return; if (state.passed) passed(); else if (state.finished_try) load(); else { setTold(null); setAsked(state.question); } };
  useKeys({ left: () => asked && void answer(leftOf(asked)), right: () => asked && void answer(rightOf(asked)), toggle: () => setRings(!rings), help: openHelp, zoom: () => setZoom(zoom === 1 ? 2 : 1) }, !helpOpen);
  const next = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => { if (told) next.current?.focus(); }, [told]); // at once: the next key press belongs to it
  if (error) return <p class="notice error" role="alert">{error}</p>;
  if (!state) return <p class="loading">Loading the tutorial…</p>;
  if (!asked) return <div class="card narrow"><h2>The tutorial is over</h2><p>You had {state.right} of {state.length} right; {Math.ceil(state.pass_share * state.length)} are needed.</p>
    {state.tries_left > 0 ? <button class="primary" onClick={load}>Try again</button> : <p>All tries are used up. Please write to the people who run this campaign.</p>}<a class="button" href={home}>Leave</a></div>;
  return <><div class="bar"><span class="count">Tutorial, question {Math.min(asked.number + 1, state.length)} of {state.length}</span>
    <Tools rings={rings} toggle={() => setRings(!rings)} zoom={zoom} setZoom={setZoom} help={openHelp} home={home} /></div>
    <p class="ask">Imagine you hold the camera. Which part is closer to you?</p>
    <div class="panels"><Photo shown={asked} rings={rings} zoom={zoom} onLoad={seen} /><Figure shown={asked} /></div>
    {told ? <div class={`feedback ${told.correct ? "right" : "wrong"}`} role="status"><p><strong>{told.correct ? "Right." : `Not quite: the ${asked[told.closer].words} is closer.`}</strong> {told.reason}</p>
      {state.finished_try && <p>{state.passed ? `Passed with ${state.right} of ${state.length}.` : `${state.right} of ${state.length} right; ${Math.ceil(state.pass_share * state.length)} are needed.`}</p>}
      {state.finished_try && !state.passed && state.tries_left < 1 ? <p>All tries are used up. Please write to the people who run this campaign.</p>
        : <button ref={next} class="primary" onClick={on}>{state.passed ? "Start" : state.finished_try ? "Try again" : "Next"}</button>}</div>
      : <Answers shown={asked} enabled={ready} same={false} answer={(c) => void answer(c)} />}</>;
}

function Answering({ api, home, campaign, openHelp, helpOpen }: Common) {
  const [state, setState] = useState<State>(start);
  const [zoom, setZoom] = useState(1), [notice, setNotice] = useState("");
  const ref = useRef(state), wait = useRef(0), undoKey = useRef("");
  const box = useRef<Outbox | null>(null);
  const send = useCallback((event: Event): void => {
    const [next, effects] = step(ref.current, event);
    ref.current = next;
    setState(next);
    effects.forEach(run);
  }, []);
  const run = (effect: Effect): void => {
    if (effect.do === "fetch") {
      call<Question>(`${api}next/`, { have: effect.have }).then((question) => send({ kind: "got", question, at: performance.now() }), (e: Problem) => {
        if (e.passing) { if (!box.current?.size) setNotice(e.message); setTimeout(() => run(effect), e.retryAfterMs); }
        else if (e.code !== "session_full") send({ kind: "none", why: e.message });
      });
    } else if (effect.do === "preload") new Image().src = effect.url;
    else if (effect.do === "wait") { clearTimeout(wait.current); wait.current = window.setTimeout(() => send({ kind: "delay-over" }), effect.ms); }
    else if (effect.do === "send") box.current?.put({ id: effect.question.id, vote: { token: effect.question.token, closer: effect.closer, key: uuid(), response_ms: effect.responseMs, toggles: effect.toggles, zoom, viewport: viewport(), by: effect.by, app_version: VERSION } });
    else if (effect.do === "undo") {
      undoKey.current ||= uuid();
      call<Question>(`${api}undo/`, { key: undoKey.current }).then((question) => { undoKey.current = ""; setNotice(""); send({ kind: "undone", question, at: performance.now() }); },
        (e: Problem) => { if (!e.passing) undoKey.current = ""; setNotice(e.message); send({ kind: "undo-failed" }); });
    }
  };
  useEffect(() => {
    box.current = new Outbox(`${api}vote/`, `nearer-outbox-${campaign.id}`, {
      sent: (letter, done) => { setNotice(""); send({ kind: "sent", id: letter.id, toGo: done.to_go, finished: done.session_finished }); },
      refused: (letter, problem) => { setNotice(problem.message); send({ kind: "lost", id: letter.id }); },
      waiting: (count, problem) => { if (problem) setNotice(`${problem.message} ${count} answer${count === 1 ? "" : "s"} kept here, sending again…`); },
    });
    // Answers of an earlier visit go first, or their questions would be asked again.
    void box.current.flush().then(() => send({ kind: "again" }));
    const online = () => void box.current?.flush();
    addEventListener("online", online);
    return () => removeEventListener("online", online);
  }, [api]);
  const shown = state.now;
  useEffect(() => setZoom(1), [shown?.id]);
  const answer = (closer: Closer, by: string) => send({ kind: "answer", closer, by, at: performance.now() });
  useKeys({ left: () => shown && answer(leftOf(shown), "keyboard"), right: () => shown && answer(rightOf(shown), "keyboard"), toggle: () => send({ kind: "toggle" }), undo: () => send({ kind: "undo" }), help: openHelp, zoom: () => setZoom(zoom === 1 ? 2 : 1) }, !helpOpen);
  const toGo = state.toGo === null ? null : Math.max(0, state.toGo - state.sending.length);
  const answered = toGo !== null && toGo < campaign.session_length;
  if (!shown && state.finished) return <div class="card narrow" role="status"><h2>Thank you!</h2><p>This session's {campaign.session_length} comparisons are done.</p>
    <p class="row"><button class="primary" onClick={() => send({ kind: "again" })}>Another session</button><button onClick={() => send({ kind: "undo" })}>Undo Last</button>
    {campaign.completion_url ? <a class="button" href={campaign.completion_url}>Finish</a> : <a class="button" href={home}>Leave</a>}</p></div>;
  if (!shown && state.stopped) return <div class="card narrow" role="status"><h2>Nothing to answer now</h2><p>{state.stopped}</p><p class="row"><button class="primary" onClick={() => send({ kind: "again" })}>Look again</button><button onClick={() => send({ kind: "undo" })}>Undo Last</button><a class="button" href={home}>Leave</a></p></div>;
  if (!shown) return <p class="loading" role="status">{notice || "Loading…"}</p>;
  return <><div class="bar"><span class="count" data-to-go={toGo ?? ""}>{toGo} comparison{toGo === 1 ? "" : "s"} to go</span>
    <Tools rings={state.rings} toggle={() => send({ kind: "toggle" })} undo={() => send({ kind: "undo" })} canUndo={answered && !state.undoing} zoom={zoom} setZoom={setZoom} help={openHelp} home={home} /></div>
    <p class="ask">Imagine you hold the camera. Which part is closer to you?</p>
    <div class="panels"><Photo shown={shown} rings={state.rings} zoom={zoom} onLoad={() => send({ kind: "picture", at: performance.now() })} /><Figure shown={shown} /></div>
    <Answers shown={shown} enabled={state.answerable} same={campaign.allow_same} answer={answer} />
    <p class="status" role="status">{notice}</p></>;
}
