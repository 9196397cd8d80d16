// Draws text: prompt and continuation, depth shares under each generated token, weights as sources behind each token.

import { el } from "./dom.js";
import { colours } from "./palette.js";

export class Words {
  /** `choose` is called with a generated step that was clicked, `splitPoint` with a place in the prompt, in characters. */
  constructor({ choose, cut }) {
    this.element = el("div", { className: "muse-words", tabIndex: 0 });
    this.element.setAttribute("aria-label", "Text: click a generated word to see what it attended to");
    this.element.addEventListener("click", (event) => {
      const token = event.target.closest("[data-step]");
      if (token) choose(Number(token.dataset.step));
      else if (this.isPrompt) cut(this.characterAt(event));
    });
  }

  /** The number of characters before the pointer. */
  characterAt({ clientX, clientY }) {
    const place = document.caretRangeFromPoint?.(clientX, clientY);
    const before = document.createRange();
    before.setStart(this.element, 0);
    if (place) before.setEnd(place.startContainer, place.startOffset);
    return before.toString().length;
  }

  /** Show a prompt; text after the split point is faint. */
  showPrompt(piece) {
    this.isPrompt = true;
    this.tokens = [];
    const { promptText } = piece;
    this.element.replaceChildren(
      el("span", { className: "now" }, promptText),
      el("span", { className: "cut", title: "the continuation begins here" }),
      el("span", { className: "after" }, piece.base.text.slice(promptText.length)),
    );
  }

  /** Start with the prompt; `add` appends generated text. */
  begin(piece) {
    this.isPrompt = false;
    this.tokens = [];
    this.element.replaceChildren(el("span", { className: "prompt" }, piece.promptText), el("span", { className: "cut" }));
  }

  add(candidate) {
    const { array, length } = candidate.characters;
    const fragment = document.createDocumentFragment();
    for (let step = this.tokens.length; step < length / 2; step++) {
      const token = this.token(candidate.newText.slice(array[2 * step], array[2 * step + 1]), step, candidate, -1);
      this.tokens.push(token);
      fragment.append(token);
    }
    this.element.append(fragment);
  }

  token(text, step, candidate, head) {
    const token = el("span", { className: "token" }, text);
    token.dataset.step = step;
    this.band(token, candidate, step, head);
    return token;
  }

  /** Draw depth shares as a coloured line under a token. */
  band(token, candidate, step, head) {
    let at = 0;
    const stops = candidate.piece.depths.map((_, depth) => {
      const from = at;
      at += 100 * candidate.share(step, depth, head);
      return `var(--muse-depth-${depth}) ${from.toFixed(1)}% ${at.toFixed(1)}%`;
    });
    token.style.setProperty("--band", `linear-gradient(to right, ${stops.join(", ")})`);
  }

  /** Show a finished candidate, with the tokens of its prompt, since they are sources. */
  finish(candidate, head) {
    this.isPrompt = false;
    const { finalText, finalCharacters: characters, base, promptSteps } = candidate;
    const fragment = document.createDocumentFragment();
    const before = characters.length ? characters[0] : finalText.length;
    fragment.append(el("span", { className: "prompt" }, finalText.slice(0, before)));
    this.tokens = [];
    this.sources = [];
    for (let i = 0; i < characters.length / 2; i++) {
      const step = base + i - promptSteps;
      if (step === 0) fragment.append(el("span", { className: "cut" }));
      // A character of several tokens is shown once, with the last one.
      const from = characters[2 * i];
      const to = i + 1 < characters.length / 2 ? Math.max(from, Math.min(characters[2 * i + 1], characters[2 * i + 2])) : characters[2 * i + 1];
      const text = finalText.slice(from, to);
      const token = step >= 0 ? this.token(text, step, candidate, head) : el("span", { className: "prompt token" }, text);
      if (step >= 0) this.tokens.push(token);
      this.sources.push(token);
      fragment.append(token);
    }
    if (!candidate.steps) fragment.append(el("span", { className: "cut" }));
    this.element.replaceChildren(fragment);
  }

  bands(candidate, head) {
    this.tokens.forEach((token, step) => this.band(token, candidate, step, head));
  }

  /** Shade the sources of a step. */
  light(candidate, step, weights, split) {
    const depths = candidate.piece.depths.length;
    this.sources?.forEach((token, i) => {
      const strength = weights ? weights.total[i] / weights.strongest : 0;
      if (strength <= 0.02) {
        token.style.removeProperty("--lit");
        return;
      }
      const alpha = Math.round(10 + 55 * strength);
      if (!split) {
        token.style.setProperty("--lit", `color-mix(in srgb, var(--muse-accent) ${alpha}%, transparent)`);
        return;
      }
      let strongest = 0;
      for (let depth = 1; depth < depths; depth++) {
        if (weights.byDepth[i * depths + depth] > weights.byDepth[i * depths + strongest]) strongest = depth;
      }
      token.style.setProperty("--lit", `color-mix(in srgb, ${colours().depths[strongest]} ${alpha + 20}%, transparent)`);
    });
    this.tokens?.forEach((token, at) => token.classList.toggle("chosen", at === step));
    if (step !== null) this.tokens?.[step]?.scrollIntoView({ block: "nearest" });
  }
}
