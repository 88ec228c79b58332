// The thin skin around answering.ts: draws the state, runs the effects.
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import {
  type CampaignState,
  type Closer,
  call,
  type Ending,
  type Feedback,
  Problem,
  type Question,
  type Shown,
  type TutorialState,
} from "../api";
import { type Effect, type Event, type State, start, step } from "./answering";
import { Outbox } from "./outbox";
import { Figure, Photo } from "./picture";

const VERSION = "0.1.0";
const viewport = () =>
  `${Math.min(innerWidth, 99999)}x${Math.min(innerHeight, 99999)}@${Math.min(devicePixelRatio, 9).toFixed(1)}`;
const uuid = () =>
  crypto.randomUUID?.() ??
  "10000000-1000-4000-8000-100000000000".replace(/[018]/g, (c) =>
    (Number(c) ^ ((crypto.getRandomValues(new Uint8Array(1))[0] ?? 0) & (15 >> (Number(c) / 4)))).toString(16),
  );
let lastPointer = "mouse";
addEventListener(
  "pointerdown",
  (e) => {
    lastPointer = e.pointerType || "mouse";
  },
  true,
);

interface Keys {
  left: () => void;
  right: () => void;
  same?: (() => void) | undefined;
  toggle?: () => void;
  undo?: () => void;
  help: () => void;
  zoom: () => void;
}
function useKeys(keys: Keys, active: boolean) {
  const ref = useRef(keys);
  ref.current = keys;
  useEffect(() => {
    if (!active) return;
    const onKey = (e: KeyboardEvent) => {
      if (e.ctrlKey || e.metaKey || e.altKey || e.repeat) return;
      const k = ref.current;
      const act = (
        {
          ArrowLeft: k.left,
          ArrowRight: k.right,
          ArrowDown: k.same,
          " ": k.toggle,
          t: k.toggle,
          u: k.undo,
          "?": k.help,
          z: k.zoom,
        } as Record<string, (() => void) | undefined>
      )[e.key];
      if (act && !(e.key === " " && e.target instanceof HTMLButtonElement)) {
        e.preventDefault();
        act();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [active]);
}

function Answers({
  shown,
  enabled,
  same,
  answer,
}: {
  shown: Shown;
  enabled: boolean;
  same: boolean;
  answer: (c: Closer, by: string) => void;
}) {
  const green: Closer = shown.green_is_first ? "first" : "second",
    pink: Closer = shown.green_is_first ? "second" : "first";
  const button = (colour: "green" | "pink", closer: Closer) => (
    <button
      type="button"
      class={colour}
      disabled={!enabled}
      data-closer={closer}
      onClick={() => answer(closer, lastPointer)}
    >
      <strong>{shown[closer as "first" | "second"].words}</strong>
      <small>{colour === "green" ? "green circle A" : "pink diamond B"} is closer</small>
    </button>
  );
  const order = shown.green_on_left
    ? [button("green", green), button("pink", pink)]
    : [button("pink", pink), button("green", green)];
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset cannot be a grid in every browser
    <div class={same ? "answers three" : "answers"} role="group" aria-label="Which is closer?">
      {order[0]}
      {same && (
        <button type="button" disabled={!enabled} onClick={() => answer("same", lastPointer)}>
          can't tell
        </button>
      )}
      {order[1]}
    </div>
  );
}
const leftOf = (s: Shown): Closer => (s.green_is_first === s.green_on_left ? "first" : "second");
const rightOf = (s: Shown): Closer => (leftOf(s) === "first" ? "second" : "first");

function Help({ campaign, open, close }: { campaign: CampaignState; open: boolean; close: () => void }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) ref.current?.showModal();
    else ref.current?.close();
  }, [open]);
  return (
    <dialog ref={ref} onClose={close} aria-labelledby="help-title">
      <h2 id="help-title">What to do</h2>
      <ol>
        <li>Imagine you hold the camera. Two body parts are marked: a green circle A and a pink diamond B.</li>
        <li>Say which of the two is closer to you.</li>
        <li>A part may be hidden by the body. Then trust its name, and judge where it must be.</li>
        <li>Left and right are the person's own. The figure beside the picture shows the same two parts.</li>
        <li>
          {campaign.allow_same
            ? 'If it is too close to call, answer "can\'t tell".'
            : "If it is too close to call, give your best guess."}
        </li>
      </ol>
      {campaign.instructions && <p>{campaign.instructions}</p>}
      <p>
        <strong>Keys:</strong> ← and → answer with the left or right button,
        {campaign.allow_same && " ↓ says that you can't tell,"} space or t hides the rings, u undoes, z zooms, ? opens
        this.
      </p>
      <button type="button" class="primary go" onClick={close}>
        Close
      </button>
    </dialog>
  );
}

function Tools({
  rings,
  toggle,
  undo,
  report,
  canUndo,
  zoom,
  setZoom,
  help,
  home,
}: {
  rings: boolean;
  toggle: () => void;
  undo?: () => void;
  report?: () => void;
  canUndo?: boolean;
  zoom: number;
  setZoom: (z: number) => void;
  help: () => void;
  home: string;
}) {
  return (
    <div class="tools">
      <button type="button" onClick={toggle} aria-pressed={!rings}>
        Toggle Circles
      </button>
      {undo && (
        <button type="button" onClick={undo} disabled={!canUndo}>
          Undo Last
        </button>
      )}
      <button type="button" onClick={() => setZoom(zoom === 1 ? 2 : 1)} aria-pressed={zoom !== 1}>
        Zoom
      </button>
      {report && (
        <button type="button" onClick={report}>
          Report
        </button>
      )}
      <button type="button" onClick={help}>
        Instructions
      </button>
      <a class="button" href={home}>
        Leave
      </a>
    </div>
  );
}

/** Asks the server how it ends here, and says so. `fallback` where it has nothing to say. */
function End({
  api,
  home,
  fallback,
  again,
  undo,
}: {
  api: string;
  home: string;
  fallback: string;
  again?: () => void;
  undo?: () => void;
}) {
  const [ending, setEnding] = useState<Ending | null>(null);
  useEffect(() => {
    call<Ending>(`${api}ending/`).then(setEnding, () =>
      setEnding({ kind: "nothing_left", title: "Nothing to answer now", text: fallback, url: "", again: true }),
    );
  }, [api]);
  if (!ending)
    return (
      <p class="loading" role="status">
        One moment…
      </p>
    );
  return (
    <div class="card narrow" role="status" data-ending={ending.kind}>
      <h2>{ending.title}</h2>
      <p>{ending.text}</p>
      <p class="row">
        {ending.url && (
          <a class="button primary" href={ending.url}>
            Finish
          </a>
        )}
        {again && ending.again && (
          <button type="button" class={ending.url ? "" : "primary"} onClick={again}>
            {ending.kind === "done" ? "Another session" : "Look again"}
          </button>
        )}
        {undo && (
          <button type="button" onClick={undo}>
            Undo Last
          </button>
        )}
        {!ending.url && (
          <a class="button" href={home}>
            Leave
          </a>
        )}
      </p>
    </div>
  );
}

/** The session ended: what was answered waits here until the same person has signed in again. */
function SignedOut({ login, waiting }: { login: string; waiting: number }) {
  return (
    <div class="notice error signed-out" role="alert">
      <p>
        You are signed out, or somebody else signed in with this browser.
        {waiting > 0 &&
          ` ${waiting} answer${waiting === 1 ? " is" : "s are"} kept in this browser and will be sent as soon as you have signed in again.`}
      </p>
      <a class="button primary" href={`${login}?next=${encodeURIComponent(location.pathname)}`}>
        Sign in again
      </a>
    </div>
  );
}

const REASONS: [string, string][] = [
  ["picture", "The picture is broken or shows no person"],
  ["keypoint", "A circle is on the wrong place"],
  ["person", "It is unclear which person is meant"],
  ["other", "Something else"],
];

/** Report a bad picture or a wrong circle, and go on to the next question. */
function Report({
  open,
  close,
  send,
}: {
  open: boolean;
  close: () => void;
  send: (reason: string, words: string) => void;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const [reason, setReason] = useState("picture"),
    [text, setText] = useState("");
  useEffect(() => {
    if (open) ref.current?.showModal();
    else ref.current?.close();
  }, [open]);
  return (
    <dialog ref={ref} onClose={close} aria-labelledby="report-title">
      <h2 id="report-title">What is wrong with this question?</h2>
      <form
        onSubmit={(e) => {
          e.preventDefault();
          send(reason, text);
          setText("");
        }}
      >
        {REASONS.map(([value, words]) => (
          <label class="check block">
            <input type="radio" name="reason" checked={reason === value} onChange={() => setReason(value)} /> {words}
          </label>
        ))}
        <label>
          More, if you like{" "}
          <textarea rows={2} maxLength={400} value={text} onInput={(e) => setText(e.currentTarget.value)} />
        </label>
        <p class="row">
          <button type="submit" class="primary">
            Report and skip
          </button>
          <button type="button" onClick={close}>
            Cancel
          </button>
        </p>
      </form>
    </dialog>
  );
}

interface Start {
  api: string;
  home: string;
  login: string;
  person: string;
}
export function Page({ api, home, login, person }: Start) {
  const [campaign, setCampaign] = useState<CampaignState | null>(null);
  const [error, setError] = useState<Problem | null>(null);
  const [help, setHelp] = useState(false);
  useEffect(() => {
    call<CampaignState>(api).then(setCampaign, setError);
  }, [api]);
  if (error?.signedOut)
    return (
      <div class="stage">
        <SignedOut login={login} waiting={0} />
      </div>
    );
  if (error)
    return (
      <div class="stage">
        <p class="notice error" role="alert">
          {error.message}
        </p>
        <p class="row">
          <button type="button" class="primary" onClick={() => location.reload()}>
            Try again
          </button>
          <a class="button" href={home}>
            Back
          </a>
        </p>
      </div>
    );
  if (!campaign) return <p class="loading">Loading…</p>;
  const common = { api, home, login, person, campaign, openHelp: () => setHelp(true), helpOpen: help };
  const todo = campaign.has_tutorial && !campaign.tutorial_passed;
  return (
    <div class="stage">
      {todo ? (
        <Tutorial {...common} passed={() => setCampaign({ ...campaign, tutorial_passed: true })} />
      ) : (
        <Answering {...common} />
      )}
      <Help campaign={campaign} open={help} close={() => setHelp(false)} />
    </div>
  );
}

interface Common extends Start {
  campaign: CampaignState;
  openHelp: () => void;
  helpOpen: boolean;
}

function Tutorial({ api, home, login, openHelp, helpOpen, passed }: Common & { passed: () => void }) {
  const [state, setState] = useState<TutorialState | null>(null);
  const [feedback, setFeedback] = useState<Feedback | null>(null);
  const [asked, setAsked] = useState<TutorialState["question"]>(null);
  const [ready, setReady] = useState(false),
    [rings, setRings] = useState(true),
    [zoom, setZoom] = useState(1);
  const [error, setError] = useState<Problem | null>(null),
    [broken, setBroken] = useState(false);
  const since = useRef(0),
    busy = useRef(false),
    wait = useRef(0);
  const load = useCallback(() => {
    call<TutorialState>(`${api}tutorial/`).then((s) => {
      setState(s);
      setAsked(s.question);
      setFeedback(null);
      setError(null);
      if (s.passed) passed();
    }, setError);
  }, [api]);
  useEffect(load, [load]);
  const seen = () => {
    since.current = performance.now();
    clearTimeout(wait.current);
    wait.current = window.setTimeout(() => setReady(true), asked?.delay_ms ?? 0);
  };
  const answer = async (closer: Closer): Promise<void> => {
    if (!asked || !ready || busy.current || feedback) return;
    busy.current = true;
    try {
      const feedback = await call<Feedback>(`${api}tutorial/`, {
        number: asked.number,
        token: asked.token,
        closer,
        response_ms: Math.round(performance.now() - since.current),
      });
      setFeedback(feedback);
      setState(feedback.state);
      setRings(true);
      setReady(false);
    } catch (e) {
      if (e instanceof Problem && e.code !== "too_early") setError(e);
    }
    busy.current = false;
  };
  const on = () => {
    if (!feedback || !state) return;
    if (state.passed) passed();
    else if (state.finished_try) load();
    else {
      setFeedback(null);
      setAsked(state.question);
    }
  };
  useKeys(
    {
      left: () => asked && void answer(leftOf(asked)),
      right: () => asked && void answer(rightOf(asked)),
      toggle: () => setRings(!rings),
      help: openHelp,
      zoom: () => setZoom(zoom === 1 ? 2 : 1),
    },
    !helpOpen,
  );
  const next = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => {
    if (feedback) next.current?.focus();
  }, [feedback]); // at once: the next key press belongs to it
  // Nothing is lost: the try is kept on the server, the same question comes again.
  if (error?.signedOut) return <SignedOut login={login} waiting={0} />;
  if (error)
    return (
      <div class="notice error" role="alert">
        <p>{error.message}</p>
        <p class="row">
          <button type="button" class="primary" onClick={load}>
            Try again
          </button>
          <a class="button" href={home}>
            Leave
          </a>
        </p>
      </div>
    );
  if (!state) return <p class="loading">Loading the tutorial…</p>;
  if (!asked)
    return state.tries_left > 0 ? (
      <div class="card narrow">
        <h2>The tutorial is over</h2>
        <p>
          You had {state.right} of {state.length} right; {Math.ceil(state.pass_share * state.length)} are needed.
        </p>
        <button type="button" class="primary" onClick={load}>
          Try again
        </button>
        <a class="button" href={home}>
          Leave
        </a>
      </div>
    ) : (
      <End api={api} home={home} fallback="All tries are used up. Please write to the people who run this campaign." />
    );
  return (
    <>
      <div class="bar">
        <span class="count">
          Tutorial, question {Math.min(asked.number + 1, state.length)} of {state.length}
        </span>
        <Tools
          rings={rings}
          toggle={() => setRings(!rings)}
          zoom={zoom}
          setZoom={setZoom}
          help={openHelp}
          home={home}
        />
      </div>
      <p class="ask">Imagine you hold the camera. Which part is closer to you?</p>
      <div class="panels">
        <Photo
          shown={asked}
          rings={rings}
          zoom={zoom}
          setZoom={setZoom}
          onLoad={seen}
          onBroken={() => setBroken(true)}
        />
        <Figure shown={asked} />
      </div>
      {feedback ? (
        <div class={`feedback ${feedback.correct ? "right" : "wrong"}`} role="status">
          <p>
            <strong>{feedback.correct ? "Right." : `Not quite: the ${asked[feedback.closer].words} is closer.`}</strong>{" "}
            {feedback.reason}
          </p>
          {state.finished_try && (
            <p>
              {state.passed
                ? `Passed with ${state.right} of ${state.length}.`
                : `${state.right} of ${state.length} right; ${Math.ceil(state.pass_share * state.length)} are needed.`}
            </p>
          )}
          {state.finished_try && !state.passed && state.tries_left < 1 ? (
            <button
              type="button"
              ref={next}
              class="primary"
              onClick={() => {
                setFeedback(null);
                setAsked(null);
              }}
            >
              Go on
            </button>
          ) : (
            <button type="button" ref={next} class="primary" onClick={on}>
              {state.passed ? "Start" : state.finished_try ? "Try again" : "Next"}
            </button>
          )}
        </div>
      ) : broken ? (
        <p class="notice error" role="alert">
          The picture does not load.{" "}
          <button
            type="button"
            class="primary"
            onClick={() => {
              setBroken(false);
              load();
            }}
          >
            Try again
          </button>
        </p>
      ) : (
        <Answers shown={asked} enabled={ready} same={false} answer={(c) => void answer(c)} />
      )}
    </>
  );
}

function Answering({ api, home, login, person, campaign, openHelp, helpOpen }: Common) {
  const [state, setState] = useState<State>(start);
  const [zoom, setZoom] = useState(1),
    [notice, setNotice] = useState("");
  const [signedOut, setSignedOut] = useState(false),
    [reporting, setReporting] = useState(false),
    [done, setDone] = useState(0);
  const ref = useRef(state),
    wait = useRef(0),
    undoKey = useRef("");
  const box = useRef<Outbox | null>(null);
  const send = useCallback((event: Event): void => {
    const [next, effects] = step(ref.current, event);
    ref.current = next;
    setState(next);
    effects.forEach(run);
  }, []);
  const run = (effect: Effect): void => {
    if (effect.do === "fetch") {
      call<Question>(`${api}next/`, { have: effect.have }).then(
        (question) => send({ kind: "got", question, at: performance.now() }),
        (e: Problem) => {
          if (e.signedOut) setSignedOut(true);
          else if (e.passing) {
            if (!box.current?.size) setNotice(e.message);
            setTimeout(() => run(effect), e.retryAfterMs);
          } else if (e.code !== "session_full") send({ kind: "none", why: e.message });
        },
      );
    } else if (effect.do === "preload") new Image().src = effect.url;
    else if (effect.do === "wait") {
      clearTimeout(wait.current);
      wait.current = window.setTimeout(() => send({ kind: "delay-over" }), effect.ms);
    } else if (effect.do === "send")
      box.current?.put({
        id: effect.question.id,
        at: Date.now(),
        vote: {
          token: effect.question.token,
          closer: effect.closer,
          key: uuid(),
          response_ms: effect.responseMs,
          toggles: effect.toggles,
          zoom,
          viewport: viewport(),
          by: effect.by,
          app_version: VERSION,
        },
      });
    else if (effect.do === "undo") {
      undoKey.current ||= uuid();
      call<Question>(`${api}undo/`, { key: undoKey.current }).then(
        (question) => {
          undoKey.current = "";
          setNotice("");
          send({ kind: "undone", question, at: performance.now() });
        },
        (e: Problem) => {
          if (!e.passing && !e.signedOut) undoKey.current = "";
          if (e.signedOut) setSignedOut(true);
          setNotice(e.message);
          send({ kind: "undo-failed" });
        },
      );
    }
  };
  useEffect(() => {
    box.current = new Outbox(`${api}vote/`, `nearer-outbox-${person}-${campaign.id}`, {
      sent: (letter, done) => {
        setNotice("");
        setSignedOut(false);
        setDone(done.answered);
        send({ kind: "sent", id: letter.id, toGo: done.to_go, finished: done.session_finished });
      },
      refused: (letter, problem) => {
        setNotice(problem.message);
        send({ kind: "lost", id: letter.id });
      },
      waiting: (count, problem) => {
        if (problem)
          setNotice(
            `${problem.message} ${count} answer${count === 1 ? "" : "s"} ${box.current?.keeps ? "kept here" : "wait in this page (do not close it)"}, sending again…`,
          );
      },
      signedOut: () => setSignedOut(true),
    });
    // Answers of an earlier visit go first, or their questions would be asked again.
    void box.current.flush().then(() => send({ kind: "again" }));
    // Also when the page is looked at again: the person may have signed in again in another tab.
    const online = () => {
      if (document.visibilityState === "visible") void box.current?.flush();
    };
    addEventListener("online", online);
    addEventListener("focus", online);
    document.addEventListener("visibilitychange", online);
    return () => {
      removeEventListener("online", online);
      removeEventListener("focus", online);
      document.removeEventListener("visibilitychange", online);
    };
  }, [api]);
  const shown = state.now;
  useEffect(() => setZoom(1), [shown?.id]);
  const skip = (reason: string, words: string): void => {
    if (!shown) return;
    setReporting(false);
    call(`${api}skip/`, { id: shown.id, reason, words }).then(
      () => {
        setNotice("Thank you: reported. Here is the next one.");
        send({ kind: "skipped", id: shown.id, at: performance.now() });
      },
      (e: Problem) => {
        if (e.signedOut) setSignedOut(true);
        setNotice(e.message);
      },
    );
  };
  const answer = (closer: Closer, by: string) => send({ kind: "answer", closer, by, at: performance.now() });
  useKeys(
    {
      left: () => shown && answer(leftOf(shown), "keyboard"),
      right: () => shown && answer(rightOf(shown), "keyboard"),
      same: campaign.allow_same ? () => answer("same", "keyboard") : undefined,
      toggle: () => send({ kind: "toggle" }),
      undo: () => send({ kind: "undo" }),
      help: openHelp,
      zoom: () => setZoom(zoom === 1 ? 2 : 1),
    },
    !helpOpen && !reporting,
  );
  const toGo = state.toGo === null ? null : Math.max(0, state.toGo - state.sending.length);
  const answered = toGo !== null && toGo < campaign.session_length;
  const out = signedOut && <SignedOut login={login} waiting={box.current?.size ?? 0} />;
  if (!shown && out) return out;
  const undo = () => send({ kind: "undo" }),
    again = () => send({ kind: "again" });
  if (!shown && state.finished)
    return (
      <End
        key={`done ${done}`}
        api={api}
        home={home}
        fallback="This session is done. Thank you!"
        again={again}
        undo={undo}
      />
    );
  if (!shown && state.stopped)
    return <End key={state.stopped} api={api} home={home} fallback={state.stopped} again={again} undo={undo} />;
  if (!shown)
    return (
      <p class="loading" role="status">
        {notice || "Loading…"}
      </p>
    );
  return (
    <>
      <div class="bar">
        <span class="count" data-to-go={toGo ?? ""}>
          {toGo === 1 ? "1 comparison" : `up to ${toGo} comparisons`} to go
        </span>
        <Tools
          rings={state.rings}
          toggle={() => send({ kind: "toggle" })}
          undo={undo}
          report={() => setReporting(true)}
          canUndo={answered && !state.undoing}
          zoom={zoom}
          setZoom={setZoom}
          help={openHelp}
          home={home}
        />
      </div>
      <p class="ask">Imagine you hold the camera. Which part is closer to you?</p>
      <div class="panels">
        <Photo
          key={state.loads}
          shown={shown}
          rings={state.rings}
          zoom={zoom}
          setZoom={setZoom}
          onLoad={() => send({ kind: "picture", at: performance.now() })}
          onBroken={() => send({ kind: "broken" })}
        />
        <Figure shown={shown} />
      </div>
      {out ||
        (state.broken ? (
          <div class="notice error" role="alert" data-broken>
            <p>The picture does not load.</p>
            <p class="row">
              <button type="button" class="primary" onClick={() => send({ kind: "retry" })}>
                Try again
              </button>
              <button type="button" onClick={() => skip("picture", "does not load")}>
                Skip it
              </button>
            </p>
          </div>
        ) : (
          <Answers shown={shown} enabled={state.answerable} same={campaign.allow_same} answer={answer} />
        ))}
      <p class="status" role="status">
        {notice}
      </p>
      <Report open={reporting} close={() => setReporting(false)} send={skip} />
    </>
  );
}
