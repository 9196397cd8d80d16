// Opens prompts: an example, a file, played notes, a recording, typed text, or nothing.

import { clock, el, show } from "./dom.js";
import { Microphone } from "./microphone.js";
import { Piano } from "./piano.js";
import { Base } from "./piece.js";
import { VIEWS } from "./views.js";
import { Problem, open, upload } from "./api.js";

const MICROPHONE = "The microphone works only on localhost or over https.";

export class Prompt {
  /** Calls `mayOpen()` before a prompt is opened, `opened(base)` afterwards, and `showProblem(problem)` after an error. */
  constructor(root, configuration, { opened, showProblem, mayOpen }) {
    Object.assign(this, { configuration, opened, showProblem, mayOpen });
    this.examples = el("div", { className: "chips", role: "group" });
    this.examples.setAttribute("aria-label", "Examples");
    this.input = el("input", { type: "file", onchange: () => this.file(this.input.files[0]) });
    this.dropWords = el("span");
    this.drop = el("label", { className: "drop" }, this.dropWords, this.input);
    this.words = el("textarea", { rows: 5, placeholder: "Type the beginning: a sentence or two.", oninput: () => this.type() });
    this.words.setAttribute("aria-label", "Text to continue");
    this.recorded = el("span", { className: "quiet" });
    this.record = el("button", { onclick: () => this.recordOrEnd() }, "Record");
    this.midiWords = el("span", { className: "quiet" });
    this.piano = new Piano((count) => {
      this.playedWords.textContent = count ? `${count} ${count === 1 ? "note" : "notes"}` : "";
      this.usePlayed.disabled = this.clearPlayed.disabled = !count;
    });
    this.playedWords = el("span", { className: "quiet" });
    this.usePlayed = el("button", { disabled: true, onclick: () => this.open({ notes: this.piano.notes }) }, "Use these notes");
    this.clearPlayed = el("button", { disabled: true, onclick: () => this.piano.clear() }, "Clear");
    const connect = el("button", { onclick: async () => (this.midiWords.textContent = await this.piano.connect()) }, "MIDI keyboard");
    this.keys = el(
      "details",
      {},
      el("summary", {}, "Play notes"),
      this.piano.element,
      el("div", { className: "row" }, this.usePlayed, this.clearPlayed, this.playedWords),
      el("div", { className: "row" }, connect, this.midiWords),
    );
    this.recorded.textContent = window.isSecureContext ? "" : MICROPHONE;
    this.sing = el("div", { className: "row" }, this.record, this.recorded);
    this.nothing = el("button", { className: "chip", onclick: () => this.openNothing() }, "from nothing");
    this.warnings = el("div", { className: "warnings", role: "status", hidden: true });
    this.turn = 0; // number of the latest request
    this.pending = Promise.resolve();
    root.replaceChildren(
      el("div", { className: "muse-prompt" }, el("h2", {}, "Prompt"), this.examples, this.words, this.drop, this.warnings, this.sing, this.keys),
    );
    this.listen();
  }

  listen() {
    // Otherwise a file dropped beside the field would replace the page.
    for (const name of ["dragover", "drop"]) {
      window.addEventListener(name, (event) => {
        event.preventDefault();
        this.drop.classList.toggle("over", name === "dragover");
      });
    }
    window.addEventListener("dragleave", () => this.drop.classList.remove("over"));
    window.addEventListener("drop", (event) => {
      const [file] = event.dataTransfer?.files ?? [];
      if (file) this.file(file);
    });
  }

  /** Switch to another domain. */
  choose(domain) {
    this.domain = domain;
    this.turn += 1;
    this.warn([]);
    if (this.microphone) this.endRecording().catch(() => {}); // the recording is discarded
    const { examples, reads, suffixes } = this.configuration.domains[domain];
    this.examples.replaceChildren(
      ...examples.map((name) => el("button", { className: "chip", onclick: () => this.open({ example: name }) }, name)),
      this.nothing,
    );
    this.input.accept = suffixes.join(",");
    this.dropWords.replaceChildren(`Drop a ${reads} here, or choose one`, el("small", {}, this.limit(domain)));
    show(this.words, this.view.words);
    show(this.keys, this.view.byNote);
    show(this.sing, this.view.spectrum);
  }

  get view() {
    return VIEWS[this.configuration.domains[this.domain].view];
  }

  empty() {
    return new Base({ of: null, name: "from nothing", length: 0, domain: this.domain, view: this.view });
  }

  async file(file) {
    this.input.value = "";
    if (!file) return;
    const { configuration } = this;
    if (file.size > configuration.uploadBytes) {
      const size = (bytes) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
      this.showProblem(new Problem(`${file.name} has ${size(file.size)}; allowed: up to ${size(configuration.uploadBytes)}`));
      return;
    }
    await this.guarded(async () => this.open(await upload(file)));
  }

  limit(domain) {
    const { domains, uploadBytes } = this.configuration;
    const { longest, unit } = domains[domain];
    if (unit === "bytes") return `up to ${longest.toLocaleString("en")} bytes`;
    return `up to ${(uploadBytes / 2 ** 20).toLocaleString("en")} MiB and ${(longest / 60).toLocaleString("en")} ${longest === 60 ? "minute" : "minutes"}`;
  }

  /** Show what was repaired or left out when the file was read. */
  warn(warnings) {
    this.warnings.replaceChildren(...warnings.map((line) => el("p", {}, line)));
    show(this.warnings, warnings.length > 0);
  }

  openNothing() {
    if (!this.mayOpen()) return;
    this.warn([]);
    this.turn += 1;
    this.typed = false;
    this.opened(this.empty());
  }

  /** Open a prompt; returns true on success, unless there was a newer request meanwhile. */
  open(payload) {
    if (!this.mayOpen()) return Promise.resolve(false);
    const turn = ++this.turn;
    this.pending = this.guarded(async () => {
      const { source, name, length, view: drawn, domain, sound_rate: soundRate, warnings } = await open({ domain: this.domain, ...payload });
      if (turn !== this.turn) return false;
      const { view } = this;
      const base = new Base({ of: { source }, name, length, drawn, domain, view, soundRate });
      if (view.words) {
        this.words.value = base.text;
        this.typed = false;
      }
      this.opened(base);
      this.warn(warnings);
      return true;
    });
    return this.pending;
  }

  /** Called on typing: drop a prompt that is still being opened. */
  type() {
    this.typed = true;
    this.turn += 1;
  }

  /** Open text that was typed since it was last opened. */
  async openWords() {
    if (!this.view.words || !this.typed) return true;
    if (this.words.value) return this.open({ words: this.words.value });
    this.openNothing();
    return true;
  }

  async recordOrEnd() {
    await this.guarded(async () => {
      if (this.microphone) {
        await this.file(await this.endRecording());
        return;
      }
      this.record.disabled = true;
      try {
        const microphone = new Microphone();
        await microphone.start((seconds) => this.recording(microphone, seconds));
        this.microphone = microphone;
        this.record.textContent = "Stop recording";
      } finally {
        this.record.disabled = false;
      }
    });
  }

  recording(microphone, seconds) {
    const { uploadBytes, domains } = this.configuration;
    this.recorded.textContent = clock(seconds);
    // Reject early what the server would refuse.
    const longest = Math.min(domains[this.domain].longest, (uploadBytes - 100) / (2 * microphone.context.sampleRate)) - 1;
    if (seconds >= longest && this.microphone === microphone) this.recordOrEnd();
  }

  endRecording() {
    const { microphone } = this;
    this.microphone = null;
    this.record.textContent = "Record";
    this.recorded.textContent = "";
    return microphone.stop();
  }

  async guarded(work) {
    try {
      return (await work()) !== false;
    } catch (problem) {
      this.showProblem(problem);
      return false;
    }
  }
}
