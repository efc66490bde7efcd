// The admin listener's JSON interface: types, requests and errors.

export interface Site {
  site: string;
  on: boolean;
  locked: boolean;
  changed_at: string | null;
  changed_by: string | null;
  /**
   * Storage of the state: anything but the database means that the site is off and could not be recorded there.
   */
  recorded: "database" | "tombstone" | "nowhere";
  plausible: Acceptance;
}

/** Whether Plausible accepts a site's events, as text for people. */
export interface Acceptance {
  accepting: "yes" | "never" | "no longer" | "not checked";
  last_accepted: string | null;
  /** Events held until Plausible accepts them. */
  held: number;
  says: string;
  advice: string | null;
}

export interface Ending {
  outcome: string;
  reason: string;
  count: number;
}

export interface Status {
  user: string;
  version: string;
  sites: Site[];
  counters: { received: number; recovered: number; in_progress: number; spooled: number; suspicious: number; ended: Ending[] };
  spool: { events: number; bytes: number; oldest_age_seconds: number | null };
  plausible: { status: "UNKNOWN" | "UP" | "DOWN" | "NOT_PLAUSIBLE" };
}

/** The relay refused the request; the message is for people. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** The relay did not answer. */
export class Unreachable extends Error {}

/** Without an answer after this time the relay counts as away. */
const ANSWER_WITHIN_MS = 10_000;
/** Passwords are hashed in turn and at low priority. The relay itself ends a login after 20 seconds, and says why. */
const LOGIN_WITHIN_MS = 25_000;

async function request(path: string, init: RequestInit = {}, within = ANSWER_WITHIN_MS): Promise<Response> {
  try {
    return await fetch(`admin/api/${path}`, { ...init, cache: "no-store", signal: AbortSignal.timeout(within) });
  } catch (error) {
    throw new Unreachable(undefined, { cause: error });
  }
}

async function refusal(response: Response): Promise<Refused> {
  const problem = (await response.json().catch(() => ({}))) as { title?: string; detail?: string };
  return new Refused(response.status, problem.detail ?? problem.title ?? `The relay answered with status ${response.status}.`);
}

const json = { "Content-Type": "application/json" };
/** Marks actions of the user on this page; requests of the page's timer are sent without it. */
const ownPage = { "X-Feedback-Admin": "1" };

export async function logIn(user: string, password: string): Promise<void> {
  const init = { method: "POST", headers: json, body: JSON.stringify({ user, password }) };
  const response = await request("login", init, LOGIN_WITHIN_MS);
  if (response.ok) return;
  if (response.status === 401) throw new Refused(401, "Wrong user name or password.");
  if (response.status === 429) {
    const seconds = Number(response.headers.get("Retry-After"));
    const when = seconds > 120 ? `in ${Math.ceil(seconds / 60)} minutes` : `in ${seconds} seconds`;
    throw new Refused(429, `Too many attempts. Please try again ${when}, or use a browser that has logged in before.`);
  }
  throw await refusal(response);
}

export async function logOut(): Promise<void> {
  const response = await request("logout", { method: "POST", headers: ownPage });
  if (!response.ok && response.status !== 401) throw await refusal(response);
}

/**
 * The current status; null without a session. It counts as use of the session only if the user did something since the
 * last request.
 */
export async function readStatus(used: boolean): Promise<Status | null> {
  const response = await request("status", used ? { headers: ownPage } : {});
  if (response.status === 401) return null;
  if (!response.ok) throw await refusal(response);
  return (await response.json()) as Status;
}

export async function setSwitch(site: string, on: boolean): Promise<{ purged: number }> {
  const response = await request(`sites/${encodeURIComponent(site)}/switch`, {
    method: "PUT",
    headers: { ...json, ...ownPage },
    body: JSON.stringify({ on }),
  });
  if (response.status === 401) throw new Refused(401, "Your session has ended.");
  if (!response.ok) throw await refusal(response);
  return (await response.json()) as { purged: number };
}
