/* The changes of knobs in words, with what each did. */
"use strict";

const Log = (() => {
  const ROWS = [["mask_changing", "proposals that change the mask"], ["acceptance", "accepted"], ["loss", "L_tot"]];

  const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(value < 0.1 ? 2 : 1)}%` : "-");
  const fixed = (value) => (Number.isFinite(value) ? value.toFixed(4) : "-");
  const count = (value) => (Number.isFinite(value) ? Math.round(value).toLocaleString("en") : "-");
  const make = (kind, text, name) => {
    const element = document.createElement(kind);
    element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  function value(name, setting) {
    if (name === "moves") return Object.entries(setting).map(([move, share]) => `${move} ${Math.round(100 * share)}%`).join(", ");
    if (name === "adapt_delta") return setting === null ? "off" : `for ${percent(setting)}`;
    if (name === "evaluation_rows") return setting === null ? "as configured" : String(setting);
    return Knobs.short(setting);
  }

  const title = (name) => ({ adapt_delta: "auto-delta", evaluation_rows: "evaluation batch", budget_pressure: "n(t) pressure" })[name] || name;
  const words = (knobs) => Object.entries(knobs).map(([name, setting]) => (name === "moves" ? value(name, setting) : `${title(name)} ${value(name, setting)}`)).join("; ");
  const turned = (entry) => Object.keys(entry.knobs).map((name) => `${title(name)} ${value(name, entry.before[name])} → ${value(name, entry.knobs[name])}`).join("; ");

  // "accepted 3.1% → 38% (+35.1 ± 1.2 points)", or that no effect was seen.
  function effect(name, text, { before, after, difference, error, is_seen: isSeen }) {
    const isLoss = name === "loss";
    if (before === null && after === null) return "";
    if (name === "mask_changing" && before === 1 && after === 1) return ""; // exchanges always do
    const show = isLoss ? fixed : percent;
    // As many digits as the error has two of.
    const scale = isLoss ? 1 : 100;
    const digits = error > 0 ? Math.max(isLoss ? 4 : 1, Math.min(7, Math.ceil(1 - Math.log10(scale * error)))) : isLoss ? 4 : 1;
    const size = (one) => (scale * one).toFixed(digits);
    const margin = error === null || error === undefined ? "" : `${difference < 0 ? "−" : "+"}${size(Math.abs(difference))} ± ${size(error)}${isLoss ? "" : " points"}`;
    if (isSeen === false) return `${text}: no effect seen (${margin})`;
    return `${text} ${show(before)} → ${show(after)}${isSeen ? ` (${margin})` : ""}`;
  }

  function comparison(entry, isOpen) {
    // Knobs that nothing uses now can have no effect: whatever differs has other causes.
    const unused = Object.entries(entry.unused);
    const reasons = unused.map(([name, reason]) => `${title(name)} has no effect now: ${reason}`);
    if (unused.length && unused.length === Object.keys(entry.knobs).length) return reasons.join("; ");
    if (entry.figures_after) reasons.push(...ROWS.map(([name, text]) => (entry.effects[name] ? effect(name, text, entry.effects[name]) : "")).filter(Boolean));
    else if (entry.is_superseded) reasons.push("another change came before the next block: compared there");
    else if (isOpen) reasons.push("the next 32 blocks are compared with those before");
    const isUnsure = entry.blocks_after >= 16 && Object.values(entry.effects).every((one) => one.is_seen === null);
    return reasons.join("; ") + (isUnsure ? " (too few blocks before the change to tell what it did)" : "");
  }

  function show(changes, isOpen) {
    const last = changes[changes.length - 1];
    const text = last ? `${turned(last)}${last.origin === "undo" ? " (undone)" : ""}: ${comparison(last, isOpen)}.` : isOpen ? "Turn a knob: its effect will stand here." : "";
    const line = document.getElementById("effect");
    if (line.textContent !== text) line.textContent = text;
    if (!last) return;
    document.getElementById("log").replaceChildren(...changes.slice(-100).reverse().map((entry) => {
      const box = make("div", "", "entry");
      box.append(make("b", words(entry.knobs)), document.createTextNode(entry.origin === "undo" ? " (undone)" : ` (was: ${words(entry.before)})`));
      box.append(make("div", `after block ${count(entry.block)}, after ${count(entry.proposals)} proposals`, "quiet"));
      box.append(make("div", comparison(entry, isOpen)));
      if (entry.blocks_after) box.append(make("div", `${count(entry.blocks_after)} blocks after it${Object.values(entry.effects).some((one) => one.trend !== null) ? ", less the trend before" : ""}`, "quiet"));
      return box;
    }));
  }

  return { show, words, percent, fixed, count, make };
})();
