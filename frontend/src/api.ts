// Talks to our own server only: cookie session, CSRF token, problem details as errors.
export interface Ring { keypoint: string; words: string; x: number; y: number; occluded: boolean }
export interface Shown {
  picture: string; width: number; height: number; first: Ring; second: Ring;
  green_is_first: boolean; green_on_left: boolean; delay_ms: number; token: string;
}
export interface Question extends Shown { id: string; to_go: number }
export interface TutorialQuestion extends Shown { number: number }
export interface TutorialState {
  passed: boolean; finished_try: boolean; tries_left: number; try_number: number; length: number; answered: number;
  right: number; pass_share: number; question: TutorialQuestion | null;
}
export interface Feedback { correct: boolean; closer: "first" | "second"; reason: string; state: TutorialState }
export interface CampaignState {
  id: string; name: string; state: string; instructions: string; delay_ms: number; session_length: number;
  allow_same: boolean; tutorial_passed: boolean; has_tutorial: boolean; answered: number;
}
/** What there is to say when no question comes; `url` leads back to who sent the person, where there is such an end. */
export interface Ending { kind: string; title: string; text: string; url: string; again: boolean }
export type Closer = "first" | "second" | "same";
export interface Vote {
  token: string; closer: Closer; key: string; response_ms: number; toggles: number; zoom: number; viewport: string;
  by: string; app_version: string;
}
export interface VoteDone { to_go: number; answered: number; session_finished: boolean }

export class Problem extends Error {
  /** The session ended, or somebody else signed in with this browser: nothing is wrong with the answer, keep it. */
  get signedOut(): boolean { return this.status === 401 || this.code === "other_person" || this.code === "csrf_failed"; }
  constructor(readonly status: number, readonly code: string, detail: string, readonly retryAfterMs: number) { super(detail); }
  /** Nothing was wrong with what we sent: try again unchanged. */
  get passing(): boolean { return this.status === 0 || this.status === 429 || this.status >= 500 || this.code === "too_early"; }
}

/** Who the page was made for: the server refuses what another person's page sends. */
let person = "";
export function speakFor(id: string): void { person = id; }

function cookie(name: string): string {
  return document.cookie.split("; ").find((c) => c.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";
}

const mine = (): Record<string, string> => person ? { "X-Nearer-Person": person } : {};

export async function call<T>(url: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, body === undefined ? { headers: { Accept: "application/json", ...mine() } } : {
      method: "POST", body: JSON.stringify(body), credentials: "same-origin",
      headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": cookie("csrftoken"), ...mine() },
    });
  } catch {
    throw new Problem(0, "offline", "No connection.", 2000);
  }
  const data = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Problem(response.status, data.code ?? "", data.detail ?? `Error ${response.status}`, data.retry_after_ms ?? (1000 * Number(response.headers.get("Retry-After")) || 2000));
  }
  return data as T;
}
