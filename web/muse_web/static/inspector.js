// Why this token: what it is, what else it could have been, what it looked at, and what it loses without it.

import { el, percent, visible } from "./dom.js";
import { colours } from "./palette.js";
import { call } from "./api.js";

const LISTED = 8;

export class Inspector {
  /** `choose(step)` looks at another token, `branch(step, stream, id)` goes another way there, `tell(problem)` says what failed. */
  constructor({ choose, branch, tell, take }) {
    Object.assign(this, { choose, branch, tell, take });
    this.stream = 0;
    this.element = el("aside", { className: "muse-why" });
    this.element.setAttribute("aria-label", "Why this token");
    this.element.setAttribute("aria-live", "polite");
    this.invite("Continue something; then click a note, a frame or a word to see what it was drawn from.");
  }

  invite(words) {
    this.element.replaceChildren(el("p", { className: "quiet" }, words));
  }

  show(candidate, looked) {
    const own = looked.tokens.find((token) => token.step === looked.step);
    this.stream = Math.min(this.stream, own.streams.length - 1);
    const stream = own.streams[this.stream];
    const place = candidate.piece.view.placeOf(candidate, looked.step);
    const parts = [
      el("h3", {}, el("strong", {}, visible(stream.label)), `, ${place}`),
      this.tokens(candidate, looked, own),
      own.forced ? el("p", { className: "quiet" }, "This token was not drawn: it was forced when you went another way.") : null,
      el("h4", {}, "Its chance, and the five likeliest"),
      this.alternatives(own, stream),
      el("h4", {}, "What it looked at, by weight"),
      this.sources(candidate, looked),
      el("p", { className: "quiet" }, "A weight says where the last layer looked. What truly changes, only an ablation shows: the source is hidden and the token scored again."),
      el("div", { className: "row" }, el("span", { className: "quiet" }, "This picture:"), ...["svg", "png"].map((kind) => el("button", { onclick: () => this.take(kind, looked.step) }, kind.toUpperCase()))),
    ];
    this.element.replaceChildren(...parts.filter((part) => part !== null));
  }

  /** The tokens of its note, or the codes of its frame. */
  tokens(candidate, looked, own) {
    const list = el("div", { className: "chips", role: "group" });
    list.setAttribute("aria-label", "Its own tokens");
    const put = (label, chance, chosen, pick) =>
      list.append(el("button", { className: chosen ? "chip chosen" : "chip", ariaPressed: String(chosen), onclick: pick }, `${visible(label)} `, el("small", {}, percent(chance))));
    if (own.streams.length > 1) {
      own.streams.forEach((stream, i) =>
        put(`${stream.kind}: ${stream.label}`, stream.chance, i === this.stream, () => {
          this.stream = i;
          this.show(candidate, looked);
        }),
      );
    } else {
      for (const token of looked.tokens) {
        const [{ label, chance }] = token.streams;
        put(label, chance, token.step === looked.step, () => this.choose(token.step));
      }
    }
    return list;
  }

  alternatives(own, stream) {
    const table = el("div", { className: "bars" });
    const rows = stream.alternatives.some(({ id }) => id === stream.id) ? stream.alternatives : [{ ...stream, drawn: true }, ...stream.alternatives];
    for (const { id, label, chance } of rows) {
      const drawn = id === stream.id;
      table.append(
        el("span", { className: drawn ? "label drawn" : "label" }, visible(label)),
        bar([[chance, drawn ? "var(--muse-accent)" : "var(--muse-prompt)"]], 1),
        el("span", { className: "number" }, percent(chance)),
        drawn ? el("span", { className: "quiet" }, "drawn") : el("button", { className: "small", title: "Go another way from here", onclick: () => this.branch(own.step, this.stream, id) }, "take this one instead"),
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
      this.source(table, candidate, step, { label: `depth ${depth}`, at: "", parts: [[sum, ink.depths[number]]], most: 1, weight: sum, asked: { depth } });
    });
    const order = Array.from(weights.total.keys()).sort((a, b) => weights.total[b] - weights.total[a]).slice(0, LISTED);
    for (const span of order) {
      if (!weights.total[span]) continue;
      const [first, stop] = [candidate.spans[2 * span], candidate.spans[2 * span + 1]];
      const parts = depths.map((_, number) => [weights.byDepth[span * depths.length + number], ink.depths[number]]);
      const { label, at } = candidate.piece.view.nameOf(candidate, span, first);
      this.source(table, candidate, step, { label, at, parts, most: weights.strongest, weight: weights.total[span], asked: { first, stop } });
    }
    return table;
  }

  source(table, candidate, step, { label, at, parts, most, weight, asked }) {
    const result = el("span", { className: "change" });
    const button = el("button", { className: "small", title: "Hide this source and score the token again" }, "ablate this source");
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const found = await call("ablate", { ...candidate.asked, step, ...asked });
        const change = found.change.reduce((sum, one) => sum + one, 0);
        result.textContent = `${change > 0 ? "+" : change < 0 ? "−" : "±"}${Math.abs(change).toFixed(3)} nats`;
        result.title = change < 0 ? "It was less likely without: the source spoke for it" : "It was no less likely without";
        button.replaceWith(result);
      } catch (problem) {
        button.disabled = false;
        this.tell(problem);
      }
    });
    table.append(
      el("span", { className: "label" }, label, at ? el("small", {}, ` ${at}`) : null),
      bar(parts, most),
      el("span", { className: "number" }, percent(weight)),
      button,
    );
  }
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
