/* A chain over the digits of a network: the words of the page for it, and what it has no use for. */
"use strict";

const Digits = (() => {
  const GONE = ["order-card", "mask-card", "gates-card", "changes", "finish", "undo", "checkpoint", "more-knobs"];
  const NAMES = { L_tot: "loss", "n(t)": "budget", kept: "cost" }; // of figures and curves
  const LABELS = {
    sites: { "aria-label": "Curves of the budget and the cost" },
    activity: { "data-empty": "With the first blocks: acceptance, decisions per second and the loss." },
  };
  const WORDS = {
    "losses-words": "Cross-entropy of the training rows by the integers of the network.",
    "validation-words": "Of the network as it is after each block.",
    "rate-words": "Candidates that were drawn; the time includes the moves of units and bits.",
  };

  function shape(run) {
    document.querySelector("main").classList.add("digits"); // without a mask beside the figures
    for (const id of GONE) document.getElementById(id).style.display = "none"; // also where other code would show it again
    for (const [id, text] of Object.entries(WORDS)) document.getElementById(id).textContent = text;
    for (const [id, labels] of Object.entries(LABELS)) {
      for (const [name, text] of Object.entries(labels)) document.getElementById(id).setAttribute(name, text);
    }
    for (const title of document.querySelectorAll("#figures dt")) title.textContent = NAMES[title.textContent] || title.textContent;
    Charts.rename({ ...NAMES, sites: run.unit });
    document.getElementById("sites-title").textContent = `Cost in ${run.unit}`;
    document.getElementById("sites-words").textContent = "Dotted: the budget of the block.";
    document.getElementById("validation-title").textContent = "Validation accuracy";
    document.getElementById("stop").title = "End after this block: what is above the budget goes at once, and the best network so far is written";
    document.getElementById("help").hidden = true;
  }

  return { shape, title: (run) => `${run.name}, at most ${Number(run.keep).toLocaleString("en")} ${run.unit}` };
})();
