// What the colours mean: the same everywhere on the page.

import { el } from "./dom.js";

export function legend(depths) {
  const entry = (colour, words) => {
    const swatch = el("i");
    swatch.style.background = colour;
    return el("span", {}, swatch, words);
  };
  const looked = "color-mix(in srgb, var(--muse-accent) 45%, transparent)";
  return el(
    "p",
    { className: "muse-legend" },
    entry("var(--muse-prompt)", "given"),
    entry("var(--muse-new)", "written"),
    entry("var(--muse-accent)", "the token that is explained"),
    entry(looked, "what it looked at"),
    ...depths.map((depth, number) => entry(`var(--muse-depth-${number})`, number ? `depth ${depth}` : `depth ${depth}: the output of so many layers`)),
  );
}
