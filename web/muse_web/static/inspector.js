// Explains one token: its probability, alternatives and sources, and the effect of ablating a source.

import { el, percent, visible } from "./dom.js";
import { colours } from "./palette.js";
import { call } from "./api.js";

const LISTED = 8;

export class Inspector {
  /** `choose(step)` explains another token, `branch(step, stream, id)` generates from an alternative, `showProblem(problem)` shows what failed. */
  constructor({ choose, branch, showProblem, download }) {
    Object.assign(this, { choose, branch, showProblem, download });
    this.stream = 0;
    this.element = el("aside", { className: "muse-why" });
    this.element.setAttribute("aria-label", "Explanation of a token");
    this.element.setAttribute("aria-live", "polite");
    this.invite("Continue a prompt; then click a generated note, frame or word to see what it attended to.");
  }

  invite(words) {
    this.element.replaceChildren(el("p", { className: "quiet" }, words));
  }

  show(candidate, found) {
    const own = found.tokens.find((token) => token.step === found.step);
    this.stream = Math.min(this.stream, own.streams.length - 1);
    const stream = own.streams[this.stream];
    const place = candidate.piece.view.placeOf(candidate, found.step);
    const parts = [
      el("h3", {}, el("strong", {}, visible(stream.label)), `, ${place}`),
      this.tokens(candidate, found, own),
      own.forced ? el("p", { className: "quiet" }, "This token was not sampled: it is the alternative that you chose, or comes before it.") : null,
      el("h4", {}, "Probability, and the five most likely tokens"),
      this.alternatives(own, stream),
      el("h4", {}, "Sources, by attention weight"),
      this.sources(candidate, found),
      el("p", { className: "quiet" }, "A weight shows what the last layer attended to. Only an ablation shows what changes: the source is hidden and the token is scored again."),
      el("div", { className: "row" }, el("span", { className: "quiet" }, "Picture of this token:"), ...["svg", "png"].map((kind) => el("button", { onclick: () => this.download(kind, found.step) }, kind.toUpperCase()))),
    ];
    this.element.replaceChildren(...parts.filter((part) => part !== null));
  }

  /** The tokens of its note, or the codes of its frame. */
  tokens(candidate, found, own) {
    const list = el("div", { className: "chips", role: "group" });
    list.setAttribute("aria-label", "Tokens of this note or frame");
    const put = (label, probability, chosen, pick) =>
      list.append(el("button", { className: chosen ? "chip chosen" : "chip", ariaPressed: String(chosen), onclick: pick }, `${visible(label)} `, el("small", {}, percent(probability))));
    if (own.streams.length > 1) {
      own.streams.forEach((stream, i) =>
        put(`${stream.kind}: ${stream.label}`, stream.probability, i === this.stream, () => {
          this.stream = i;
          this.show(candidate, found);
        }),
      );
    } else {
      for (const token of found.tokens) {
        const [{ label, probability }] = token.streams;
        put(label, probability, token.step === found.step, () => this.choose(token.step));
      }
    }
    return list;
  }

  alternatives(own, stream) {
    const table = el("div", { className: "bars" });
    const rows = stream.alternatives.some(({ id }) => id === stream.id) ? stream.alternatives : [stream, ...stream.alternatives];
    for (const { id, label, probability } of rows) {
      const sampled = id === stream.id;
      table.append(
        labelled(sampled ? "label sampled" : "label", visible(label)),
        bar([[probability, sampled ? "var(--muse-accent)" : "var(--muse-prompt)"]], 1),
        el("span", { className: "number" }, percent(probability)),
        sampled ? el("span", { className: "quiet" }, "sampled") : el("button", { className: "small", title: "Generate a different continuation from here", onclick: () => this.branch(own.step, this.stream, id) }, "Take instead"),
      );
    }
    return table;
  }

  sources(candidate, { step }) {
    const weights = candidate.rows.get(step);
    const { depths } = candidate.piece;
    const ink = colours();
    const table = el("div", { className: "bars" });
    depths.forEach((depth, number) => {
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights.row[number * weights.length + i];
      this.source(table, candidate, step, { label: `depth ${depth}`, at: "", parts: [[sum, ink.depths[number]]], most: 1, weight: sum, payload: { depth } });
    });
    const order = Array.from(weights.total.keys()).sort((a, b) => weights.total[b] - weights.total[a]).slice(0, LISTED);
    for (const span of order) {
      if (!weights.total[span]) continue;
      const [first, stop] = [candidate.spans[2 * span], candidate.spans[2 * span + 1]];
      const parts = depths.map((_, number) => [weights.byDepth[span * depths.length + number], ink.depths[number]]);
      const { label, at } = candidate.piece.view.nameOf(candidate, span, first);
      this.source(table, candidate, step, { label, at, parts, most: weights.strongest, weight: weights.total[span], payload: { first, stop } });
    }
    return table;
  }

  source(table, candidate, step, { label, at, parts, most, weight, payload }) {
    const result = el("span", { className: "change" });
    const button = el("button", { className: "small", title: "Hide this source and score the token again" }, "Ablate");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const found = await call("ablate", { ...candidate.reference, step, ...payload });
        const change = found.change.reduce((sum, one) => sum + one, 0);
        const size = Math.abs(change).toFixed(3);
        result.textContent = `${Number(size) ? (change > 0 ? "+" : "−") : ""}${size} nats`;
        result.title = change < 0 ? "Less likely without this source" : "Not less likely without this source";
        button.replaceWith(result);
      } catch (problem) {
        button.disabled = false;
        this.showProblem(problem);
      }
    });
    table.append(
      labelled("label", label, at),
      bar(parts, most),
      el("span", { className: "number" }, percent(weight)),
      button,
    );
  }
}

/** A label that is shortened if it is too long; its time is kept. */
function labelled(className, label, at = "") {
  return el("span", { className, title: label }, el("span", {}, label), at ? el("small", {}, at) : null);
}

function bar(parts, most) {
  const track = el("span", { className: "bar" });
  for (const [share, colour] of parts) {
    const part = el("i");
    part.style.width = `${(100 * share) / (most || 1)}%`;
    part.style.background = colour;
    track.append(part);
  }
  return track;
}
