// Calls of the admin API: JSON in and out, with the token against forged requests, and refusals as one kind of error.

const SIGN_IN = "/console/sign-in";
const UNREACHABLE = "The gateway cannot be reached. Check the connection and try again.";

/** A refusal: `status` (0 where no answer came), `detail` for people, `errors` as [{param, message}], `code`. */
export class Refusal extends Error {
  constructor(status, document = {}) {
    super(document.detail || document.error?.message || `The gateway answered ${status}; try again.`);
    this.status = status;
    this.detail = this.message;
    this.errors = Array.isArray(document.errors) ? document.errors : [];
    this.code = document.error?.code ?? null;
    this.requestId = document.request_id ?? null;
  }
}

function csrf() {
  return document.querySelector('meta[name="csrf-token"]')?.content ?? "";
}

/** Leaves for the sign-in page, and comes back to this one afterwards. */
export function toSignIn() {
  const here = location.pathname + location.search;
  location.assign(`${SIGN_IN}?next=${encodeURIComponent(here)}`);
}

async function documentOf(response) {
  const text = await response.text();
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/**
 * Sends a request and answers {status, data, etag}; throws Refusal. `body` is sent as JSON unless it is undefined.
 * Where nobody is signed in any more it leaves for the sign-in page and never answers.
 */
export async function call(method, path, { body, etag, idempotencyKey, signal } = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": csrf() };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (etag) headers["If-Match"] = etag;
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  let response;
  let data;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
      signal,
    });
    data = await documentOf(response);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { detail: UNREACHABLE });
  }
  if (response.status === 401) {
    toSignIn();
    return new Promise(() => {});
  }
  if (!response.ok) throw new Refusal(response.status, data ?? {});
  return { status: response.status, data, etag: response.headers.get("ETag") };
}

/** A path with its `{name}` parts filled in. A value stays one path, whatever it holds; throws where one is missing. */
export function fillPath(template, values) {
  return template.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    if (value === undefined || value === null || value === "") throw new Error(`nothing stands for {${name}} in ${template}`);
    const parts = String(value).split("/");
    if (parts.some((part) => part === "." || part === "..")) throw new Error(`{${name}} would leave its place in ${template}`);
    return parts.map(encodeURIComponent).join("/");
  });
}
