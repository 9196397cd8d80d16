// Colours come from the server; this module selects those of light or dark mode.

let palette = null;

export function usePalette(received) {
  palette = received;
  paint();
}

export function isDark() {
  return document.body.classList.contains("dark") || document.documentElement.classList.contains("dark");
}

export function colours() {
  return palette[isDark() ? "dark" : "light"];
}

/** Set them as CSS variables too. */
export function paint() {
  const now = colours();
  for (const name of ["paper", "ink", "muted", "faint", "prompt", "new", "accent"]) {
    document.documentElement.style.setProperty(`--muse-${name}`, now[name]);
  }
  now.depths.forEach((colour, i) => document.documentElement.style.setProperty(`--muse-depth-${i}`, colour));
}

export function onThemeChange(changed) {
  const observer = new MutationObserver(() => {
    paint();
    changed();
  });
  for (const root of [document.body, document.documentElement]) observer.observe(root, { attributes: true, attributeFilter: ["class"] });
}
