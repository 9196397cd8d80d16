// Where the page begins: gradio's controls call what is put on `window.muse`.

import { usePalette } from "./palette.js";
import { Prompt } from "./prompt.js";
import { Stage } from "./stage.js";
import { stay } from "./wire.js";

async function found(id) {
  let element = document.getElementById(id);
  while (!element) {
    await new Promise(requestAnimationFrame);
    element = document.getElementById(id);
  }
  return element;
}

export async function start(configuration) {
  if (window.muse) return;
  window.muse = {};
  usePalette(configuration.colours);
  const stage = new Stage(await found("muse-stage"), configuration);
  const prompt = new Prompt(await found("muse-prompt"), configuration, {
    opened: (base) => {
      stage.clearProblem();
      stage.open(base);
    },
    tell: (problem) => stage.tell(problem),
  });
  Object.assign(window.muse, {
    async go(asked) {
      if (await prompt.openWords()) await stage.go(asked);
    },
    stop: () => stage.stop(),
    lastSeed: () => (stage.lastSeed === null ? "" : String(stage.lastSeed)),
    choose(domain) {
      prompt.choose(domain);
      stage.clearProblem();
      stage.open(prompt.empty());
      prompt.open({ example: configuration.domains[domain].examples[0] });
    },
  });
  stay();
  window.muse.choose("midi");
}
