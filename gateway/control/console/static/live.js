// The live view of an account's limits: server-sent events while the page is in sight, with a pause, and a word when they fail.

import { Refusal, call } from "./api.js";
import { icon } from "./icons.js";
import { draw } from "./live_rows.js";

const STALE_MS = 7000;
const LOOK_MS = 1000;
const AGAIN_MS = [2000, 4000, 8000, 15_000, 30_000];
const GIVEN_UP = [403, 404];
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

const STATES = {
  connecting: ["Connecting", "muted"],
  live: ["Live", "ok"],
  paused: ["Paused", "muted"],
  stale: ["Out of date", "warn"],
  lost: ["Disconnected, trying again", "danger"],
  refused: ["No longer open to you", "danger"],
};

/** The stream. It says `live` with what it brings and `state` with how it is; `open` and `close` may be called at any time. */
class Stream extends EventTarget {
  #source = null;
  #timer = null;
  #failures = 0;
  #heard = 0;
  #state = "";

  constructor(path) {
    super();
    this.path = path;
    setInterval(() => this.#look(), LOOK_MS);
  }

  open(state = "connecting") {
    this.close(state);
    const source = (this.#source = new EventSource(`${this.path}/events`));
    source.addEventListener("live", (event) => this.#bring(JSON.parse(event.data)));
    source.addEventListener("ended", () => this.#ask());
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      // One that was open is taken up by the browser itself; one that was refused is not.
      if (source.readyState === EventSource.CLOSED) this.#fail();
      else this.#say("lost");
    });
  }

  close(state) {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#source?.close();
    this.#source = null;
    this.#say(state);
  }

  #bring(data) {
    this.#heard = Date.now();
    this.#failures = 0;
    this.#say("live");
    this.dispatchEvent(new CustomEvent("live", { detail: data }));
  }

  #look() {
    if (this.#state === "live" && Date.now() - this.#heard > STALE_MS) this.#say("stale");
  }

  #fail() {
    this.close("lost");
    const pause = AGAIN_MS[Math.min(this.#failures, AGAIN_MS.length - 1)];
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#ask(), pause);
  }

  /** A stream does not say why it was refused; a plain request does, and stands in for it where there is no place for a stream. */
  async #ask() {
    this.close("lost");
    const asked = (this.#timer = setTimeout(() => {}, 0));
    try {
      const { data } = await call("GET", this.path);
      if (asked !== this.#timer) return;
      this.dispatchEvent(new CustomEvent("live", { detail: data }));
      this.open("lost");
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (asked !== this.#timer) return;
      if (GIVEN_UP.includes(error.status)) this.close("refused");
      else this.#fail();
    }
  }

  #say(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}

class View {
  #paused = false;

  constructor(root) {
    this.root = root;
    this.state = root.querySelector("[data-live-state]");
    this.at = root.querySelector("[data-live-at]");
    this.button = root.querySelector("[data-live-pause]");
    this.stream = new Stream(root.dataset.live);
    this.stream.addEventListener("state", (event) => this.#show(event.detail));
    this.stream.addEventListener("live", (event) => this.#draw(event.detail));
    this.button.addEventListener("click", () => this.#pause(!this.#paused));
    document.addEventListener("visibilitychange", () => this.#follow());
    window.addEventListener("pagehide", () => this.stream.close("paused"));
    this.#follow();
  }

  /** Nobody looks at a page that is hidden, and a browser has few connections. */
  #follow() {
    if (this.#paused || document.hidden) this.stream.close("paused");
    else this.stream.open();
  }

  #pause(paused) {
    this.#paused = paused;
    this.button.replaceChildren(icon(paused ? "play" : "hold"), Object.assign(document.createElement("span"), { textContent: paused ? "Resume" : "Pause" }));
    this.#follow();
  }

  #show(state) {
    const [text, kind] = STATES[state];
    this.state.textContent = text;
    this.state.className = `badge badge-${kind}`;
    this.root.toggleAttribute("data-old", state !== "live" && state !== "connecting");
  }

  #draw(data) {
    this.at.textContent = `Updated ${CLOCK.format(new Date(data.at))}`;
    draw(this.root, data);
  }
}

new View(document.querySelector("[data-live]"));
