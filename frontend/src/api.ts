// Talks to our own server only: cookie session, CSRF token, problem details as errors.
// Types of requests and answers come from the server's own description of its API (`npm run types`).
import type { components } from "./api.generated";

export type Schemas = components["schemas"];
export type Ring = Schemas["Ring"];
export type Question = Schemas["Question"];
export type TutorialQuestion = Schemas["TutorialQuestion"];
export type TutorialState = Schemas["TutorialState"];
export type Feedback = Schemas["TutorialFeedback"];
export type CampaignState = Schemas["CampaignState"];
export type Ending = Schemas["Ending"];
export type Vote = Schemas["VoteRequestRequest"];
export type VoteDone = Schemas["VoteResponse"];
export type Closer = Vote["closer"];
/** What a question of a campaign and one of the tutorial have in common. */
export type Shown = Omit<TutorialQuestion, "number">;

export class Problem extends Error {
  /** The session ended, or somebody else signed in with this browser: nothing is wrong with the answer, keep it. */
  get signedOut(): boolean {
    return this.status === 401 || this.code === "other_person" || this.code === "csrf_failed";
  }
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly retryAfterMs: number,
  ) {
    super(detail);
  }
  /** Nothing was wrong with what we sent: try again unchanged. */
  get passing(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500 || this.code === "too_early";
  }
}

/** Who the page was made for: the server refuses what another person's page sends. */
let person = "";
export function speakFor(id: string): void {
  person = id;
}

function cookie(name: string): string {
  return (
    document.cookie
      .split("; ")
      .find((c) => c.startsWith(`${name}=`))
      ?.slice(name.length + 1) ?? ""
  );
}

const mine = (): Record<string, string> => (person ? { "X-Nearer-Person": person } : {});

export async function call<T>(url: string, body?: unknown): Promise<T> {
  let response: Response;
  try {
    response = await fetch(
      url,
      body === undefined
        ? { headers: { Accept: "application/json", ...mine() } }
        : {
            method: "POST",
            body: JSON.stringify(body),
            credentials: "same-origin",
            headers: {
              "Content-Type": "application/json",
              Accept: "application/json",
              "X-CSRFToken": cookie("csrftoken"),
              ...mine(),
            },
          },
    );
  } catch {
    throw new Problem(0, "offline", "No connection.", 2000);
  }
  const data = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Problem(
      response.status,
      data.code ?? "",
      data.detail ?? `Error ${response.status}`,
      data.retry_after_ms ?? (1000 * Number(response.headers.get("Retry-After")) || 2000),
    );
  }
  return data as T;
}
