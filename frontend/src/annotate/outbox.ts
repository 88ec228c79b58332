// Sends answers in order, again and again with the same key until the server has said yes or no. Kept in the browser's
// storage, so that a reload or a crash loses nothing; the key makes a second arrival harmless. A box belongs to one person
// in one campaign: nobody else who signs in with this browser sends what is in it.
import { call, Problem, type Vote, type VoteDone } from "../api";

export interface Letter { id: string; vote: Vote; at: number }
export interface Told {
  sent(letter: Letter, done: VoteDone): void;
  refused(letter: Letter, problem: Problem): void;
  waiting(count: number, problem: Problem | null): void;
  signedOut(count: number): void;
}

export class Outbox {
  private readonly letters: Letter[];
  private busy = false;
  /** False where the browser keeps nothing (private window, storage full): then a reload would lose what waits. */
  keeps = true;
  constructor(private readonly url: string, private readonly name: string, private readonly told: Told) {
    this.letters = this.kept();
  }
  get size(): number { return this.letters.length; }
  put(letter: Letter): void {
    this.letters.push(letter);
    // One entry a letter: two tabs of one person never write over each other's.
    try { localStorage.setItem(this.key(letter), JSON.stringify(letter)); } catch { this.keeps = false; }
    void this.flush();
  }
  async flush(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      for (let letter = this.letters[0]; letter; letter = this.letters[0]) {
        try {
          const done = await call<VoteDone>(this.url, letter.vote);
          this.drop(letter);
          this.told.sent(letter, done);
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
          if (error.signedOut) return this.told.signedOut(this.letters.length);
          if (error.passing) {
            if (error.code !== "too_early") this.told.waiting(this.letters.length, error);
            await new Promise((r) => setTimeout(r, Math.min(error.retryAfterMs, 10_000)));
          } else {
            this.drop(letter);
            this.told.refused(letter, error);
          }
        }
      }
      this.told.waiting(0, null);
    } finally {
      this.busy = false;
    }
  }
  private key(letter: Letter): string { return `${this.name} ${letter.vote.key}`; }
  private drop(letter: Letter): void {
    this.letters.shift();
    try { localStorage.removeItem(this.key(letter)); } catch { this.keeps = false; }
  }
  private kept(): Letter[] {
    const found: Letter[] = [];
    try {
      for (const key of Object.keys(localStorage)) {
        if (!key.startsWith(`${this.name} `)) continue;
        try { found.push(JSON.parse(localStorage.getItem(key) ?? "") as Letter); } catch { localStorage.removeItem(key); }
      }
    } catch { this.keeps = false; }
    return found.sort((a, b) => a.at - b.at);
  }
}
