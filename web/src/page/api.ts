import { signal } from "@preact/signals";
import { t } from "./i18n";

/** Whether the server answered last time; calls wait until it does again. */
export const reachable = signal(true);
/** Whether the server wants a token that this browser does not have. */
export const locked = signal(false);

const TRIES = 3;
const LONGEST_WAIT_S = 10;

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

const pause = (seconds: number): Promise<void> => new Promise((done) => setTimeout(done, 1000 * seconds));

let waiting: Promise<void> | null = null;

/** Resolves when the server answers again; one poll for all who wait. */
function back(): Promise<void> {
  waiting ??= (async () => {
    reachable.value = false;
    for (;;) {
      await pause(1);
      try {
        if ((await fetch("/healthz", { cache: "no-store" })).ok) break;
      } catch {
        // still away
      }
    }
    reachable.value = true;
    waiting = null;
  })();
  return waiting;
}

async function sentence(response: Response): Promise<string> {
  try {
    const problem = (await response.json()) as { detail?: unknown; title?: unknown };
    if (typeof problem.detail === "string") return problem.detail;
    if (typeof problem.title === "string") return problem.title;
  } catch {
    // no JSON: said by its number
  }
  return t("error.status", { status: response.status });
}

export interface Ask {
  method?: string;
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

/** The response of one call; repeated when the server was away or asks to come back later. */
export async function ask(path: string, { method, body, headers, signal }: Ask = {}): Promise<Response> {
  const init: RequestInit = { method: method ?? (body === undefined ? "GET" : "POST"), headers: { ...headers } };
  if (signal) init.signal = signal;
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...headers, "Content-Type": "application/json" };
  }
  for (let busy = 0; ; ) {
    let response: Response;
    try {
      response = await fetch(path, init);
    } catch (error) {
      if (signal?.aborted) throw error;
      await back();
      continue;
    }
    if (response.ok) return response;
    if (response.status === 401) locked.value = true;
    const after = Number(response.headers.get("Retry-After") ?? "NaN");
    if ((response.status === 503 || response.status === 429) && after <= LONGEST_WAIT_S && busy < TRIES) {
      busy += 1;
      await pause(Math.max(after, 0.5));
      continue;
    }
    throw new ApiError(response.status, await sentence(response));
  }
}

export async function json<T>(path: string, options: Ask = {}): Promise<T> {
  return (await (await ask(path, options)).json()) as T;
}

/** Exchanges the token of the address for a cookie and takes it out of the address. */
export async function enter(): Promise<void> {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  const rest = new URLSearchParams(location.hash.slice(1));
  rest.delete("token");
  history.replaceState(null, "", rest.size ? `#${rest.toString()}` : location.pathname);
  await ask("/api/session", { body: { token } });
}
