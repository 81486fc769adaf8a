/* The knobs: a slider and a number each. They show the server's values; what it refuses is written beside the knob. */
"use strict";

const Knobs = (() => {
  const STEPS = 1000;
  const MOVES = ["exchange", "site", "toggle", "block", "uniform", "informed"];
  // The ends of the sliders; the number beside takes everything that the option takes.
  const SCALES = {
    delta: { title: "delta", unit: "half-width of a proposal, log scale", low: 1e-3, high: 20 },
    temperature: { title: "temperature", unit: "nats, log scale; far left: exactly 0", low: 1e-7, high: 1, zero: true },
    alpha: { title: "alpha", unit: "weight of L_pru, log scale; far left: exactly 0", low: 1e-3, high: 1e3, zero: true },
    evaluation_rows: { title: "evaluation batch", unit: "rows on which a candidate is evaluated", low: 16, high: 4096, whole: true },
    budget_pressure: { title: "n(t) pressure", unit: "1: as planned; above 1: n(t) falls sooner", low: 0.25, high: 4 },
  };
  const parts = {};
  let send = async () => ({});
  let touched = null; // the knob that a finger is on
  let isOpen = false; // the knobs can be changed now

  const make = (kind, attributes = {}, ...children) => {
    const element = document.createElement(kind);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") element.className = value; else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };
  const short = (value) => (Number.isInteger(value) && Math.abs(value) < 1e9 ? String(value) : typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value));

  function toPlace(scale, value) {
    if (typeof value !== "number") return 0;
    if (scale.zero && value <= 0) return 0;
    const first = scale.zero ? 1 : 0;
    const part = Math.log(Math.min(Math.max(value, scale.low), scale.high) / scale.low) / Math.log(scale.high / scale.low);
    return Math.round(first + part * (STEPS - first));
  }

  function toValue(scale, place) {
    if (scale.zero && place <= 0) return 0;
    const first = scale.zero ? 1 : 0;
    const value = scale.low * (scale.high / scale.low) ** ((place - first) / (STEPS - first));
    return scale.whole ? Math.round(value) : Number(value.toPrecision(3));
  }

  function say(name, text, kind) {
    const place = parts[name].said;
    place.textContent = text || "";
    place.className = kind || "refused";
  }

  async function post(name, changes) {
    say(name, "");
    const answer = await send(changes);
    const refused = answer.refused && Object.values(answer.refused).join(" ");
    if (refused || answer.error) {
      say(name, refused || answer.error);
      show(Knobs.values, true);
    } else if (answer.clamped && Object.keys(answer.clamped).length) {
      say(name, Object.values(answer.clamped).join(" "), "clamped");
    }
  }

  function slider(name) {
    const scale = SCALES[name];
    const range = make("input", { type: "range", id: `${name}-range`, min: 0, max: STEPS, step: 1, "aria-label": `${scale.title}, ${scale.unit}`, "aria-describedby": `${name}-said` });
    const box = make("input", { type: "number", id: name, step: "any", "aria-describedby": `${name}-said ${name}-unit ${name}-idle` });
    const said = make("div", { id: `${name}-said`, class: "refused", role: "alert" });
    const unit = make("div", { class: "quiet", id: `${name}-unit` }, scale.unit);
    const idle = make("div", { class: "idle", id: `${name}-idle`, hidden: "" });
    const set = make("fieldset", { id: `${name}-set` },
      make("div", { class: "knob-top" }, make("label", { for: name }, scale.title), box), range, unit, idle, said);
    const speak = () => range.setAttribute("aria-valuetext", box.value || [box.placeholder && `as configured, ${box.placeholder}`, unit.textContent].filter(Boolean).join(": "));
    range.addEventListener("input", () => { touched = name; box.value = toValue(scale, Number(range.value)); speak(); });
    range.addEventListener("change", () => { touched = null; post(name, { [name]: toValue(scale, Number(range.value)) }); });
    range.addEventListener("blur", () => { touched = null; });
    box.addEventListener("input", () => { parts[name].isTyped = true; say(name, ""); });
    box.addEventListener("blur", () => { parts[name].isTyped = false; });
    box.addEventListener("change", () => {
      parts[name].isTyped = false;
      const value = box.value.trim() === "" ? NaN : Number(box.value);
      if (Number.isFinite(value)) post(name, { [name]: value }); else { say(name, "Give a finite number."); show(Knobs.values, true); }
    });
    parts[name] = { set, range, box, said, unit, idle, speak };
    return set;
  }

  function mixture() {
    const set = make("fieldset", { id: "moves-set" }, make("legend", {}, "mixture of moves"));
    const rows = {};
    // A slider shows whole percents; one that was not moved keeps its exact share.
    const shown = (one) => Math.round(100 * ((Knobs.values.moves || {})[one] || 0));
    const share = (one) => {
      const place = Number(rows[one].range.value);
      return place === shown(one) ? 100 * ((Knobs.values.moves || {})[one] || 0) : place;
    };
    for (const move of MOVES) {
      const range = make("input", { type: "range", id: `move-${move}`, min: 0, max: 100, step: 1, "aria-describedby": "moves-said" });
      const out = make("output", { for: `move-${move}` });
      range.addEventListener("input", () => { touched = "moves"; label(); });
      range.addEventListener("change", () => {
        touched = null;
        const shares = Object.fromEntries(MOVES.map((one) => [one, share(one)]).filter(([, part]) => part > 0));
        post("moves", { moves: shares });
      });
      range.addEventListener("blur", () => { touched = null; });
      rows[move] = { range, out };
      set.append(make("div", { class: "share" }, make("label", { for: `move-${move}` }, move), range, out));
    }
    const label = () => {
      const total = MOVES.reduce((sum, one) => sum + share(one), 0);
      for (const one of MOVES) {
        const part = 100 * share(one) / total;
        const text = total ? (part > 0 && part < 1 ? "<1%" : `${Math.round(part)}%`) : "-";
        rows[one].out.textContent = text;
        rows[one].range.setAttribute("aria-valuetext", text);
      }
    };
    const said = make("div", { id: "moves-said", class: "refused", role: "alert" });
    set.append(make("div", { class: "quiet" }, "site, block and uniform moves use delta; exchange swaps a kept site and a dropped one"), said);
    parts.moves = { set, rows, said, label };
    return set;
  }

  function automatic() {
    const box = make("input", { type: "checkbox", id: "auto-delta", "aria-describedby": "adapt_delta-said" });
    const wanted = make("input", { type: "number", id: "wanted", "aria-label": "acceptance that auto-delta aims at", min: 0.01, max: 0.99, step: 0.01, value: 0.3, "aria-describedby": "adapt_delta-said" });
    const said = make("div", { id: "adapt_delta-said", class: "refused", role: "alert" });
    const idle = make("div", { class: "idle", hidden: "" });
    const set = make("fieldset", { id: "adapt_delta-set" }, make("div", { class: "row" },
      box, make("label", { for: "auto-delta" }, "auto-delta, to accept"), wanted), idle, said);
    const order = () => {
      if (Number(wanted.value) > 0 && Number(wanted.value) < 1) { post("adapt_delta", { adapt_delta: Number(wanted.value) }); return; }
      say("adapt_delta", "Give the acceptance to aim at, above 0 and below 1, such as 0.3.");
      show(Knobs.values, true);
      wanted.value = Knobs.values.adapt_delta ?? 0.3;
    };
    box.addEventListener("change", () => { if (box.checked) order(); else post("adapt_delta", { adapt_delta: null }); });
    wanted.addEventListener("input", () => say("adapt_delta", ""));
    wanted.addEventListener("change", () => { if (box.checked || !(Number(wanted.value) > 0 && Number(wanted.value) < 1)) order(); });
    parts.adapt_delta = { set, box, wanted, idle, said };
    return set;
  }

  function configured() {
    const box = make("input", { type: "checkbox", id: "rows-configured", "aria-describedby": "evaluation_rows-said" });
    box.addEventListener("change", () => post("evaluation_rows",
      { evaluation_rows: box.checked ? null : Number(parts.evaluation_rows.box.value) || SCALES.evaluation_rows.high }));
    parts.evaluation_rows.configured = box;
    parts.evaluation_rows.set.append(make("div", { class: "row" }, box, make("label", { for: "rows-configured" }, "as configured")));
  }

  function build(post_) {
    send = post_;
    const form = document.getElementById("knob-form");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.append(slider("delta"), slider("temperature"));
    parts.temperature.mark = make("button", { type: "button", class: "mark", hidden: "" });
    parts.temperature.range.after(parts.temperature.mark);
    parts.temperature.mark.addEventListener("click", () => post("temperature", { temperature: parts.temperature.one }));
    const more = document.getElementById("more-form");
    more.addEventListener("submit", (event) => event.preventDefault());
    more.append(automatic(), mixture(), slider("evaluation_rows"), slider("budget_pressure"), slider("alpha"));
    configured();
  }

  function limit(run) {
    if (run.evaluation_rows_configured) {
      parts.evaluation_rows.box.placeholder = [...new Set(run.evaluation_rows_configured)].join("–");
      SCALES.evaluation_rows.usual = run.evaluation_rows_configured[1];
    }
    if (run.evaluation_rows_limit) SCALES.evaluation_rows.high = Math.max(32, Math.min(run.evaluation_rows_limit, 60000));
    for (const [name, text] of Object.entries(run.meanings || {})) parts[name]?.set.setAttribute("title", text);
  }

  function show(values, force = false) {
    Knobs.values = values;
    const names = Object.keys(values);
    ["knob-form", "more-knobs"].forEach((id) => { document.getElementById(id).hidden = !names.length; });
    for (const [name, part] of Object.entries(parts)) part.set.hidden = !(name in values);
    for (const name of Object.keys(SCALES)) {
      if (!(name in values) || (touched === name && !force)) continue;
      const { range, box, unit, speak } = parts[name];
      const value = values[name];
      const isPlan = typeof value === "string";
      unit.textContent = isPlan ? `now by the schedule ${value}; ${SCALES[name].unit}` : SCALES[name].unit;
      if (name === "evaluation_rows") parts[name].configured.checked = value === null;
      if (value === null || isPlan) {
        box.value = "";
        if (SCALES[name].usual) range.value = toPlace(SCALES[name], SCALES[name].usual);
      } else {
        if (!parts[name].isTyped || force) box.value = short(value);
        range.value = toPlace(SCALES[name], value);
      }
      speak();
    }
    if (values.moves && (touched !== "moves" || force)) {
      for (const move of MOVES) parts.moves.rows[move].range.value = Math.round(100 * (values.moves[move] || 0));
      parts.moves.label();
    }
    if ("adapt_delta" in values) {
      parts.adapt_delta.box.checked = values.adapt_delta !== null;
      if (values.adapt_delta !== null && document.activeElement !== parts.adapt_delta.wanted) parts.adapt_delta.wanted.value = values.adapt_delta;
    }
  }

  function markTemperature(value) {
    // One standard error of a paired loss difference: masks closer than that cannot be told apart on the evaluation rows.
    const { mark } = parts.temperature;
    mark.hidden = !Number.isFinite(value) || value <= 0;
    if (mark.hidden) return;
    parts.temperature.one = Number(value.toPrecision(2));
    mark.style.left = `${100 * toPlace(SCALES.temperature, value) / STEPS}%`;
    const text = `1 se: ${short(parts.temperature.one)}`;
    if (mark.textContent === text) return;
    mark.textContent = text;
    mark.setAttribute("aria-label", `${text}: set the temperature to one standard error of a loss difference`);
    mark.title = "One standard error of the difference of two losses on the evaluation rows. Press to set the temperature to it.";
  }

  function follow(latest) {
    markTemperature(latest.one_se);
    // The values to which a schedule or auto-delta has moved a knob.
    for (const name of ["delta", "temperature", "alpha"]) {
      const isMoving = typeof Knobs.values[name] === "string" || (name === "delta" && Knobs.values.adapt_delta !== null);
      if (!isMoving || touched === name || latest[name] === null || parts[name].isTyped) continue;
      parts[name].box.value = Number(latest[name].toPrecision(3));
      parts[name].range.value = toPlace(SCALES[name], latest[name]);
      parts[name].speak();
    }
  }

  // What nothing uses now is greyed, with the reason.
  function unused(reasons) {
    for (const [name, part] of Object.entries(parts)) {
      if (!part.idle) continue;
      const text = reasons[name] ? `Not used now: ${reasons[name]}.` : "";
      if (part.idle.textContent === text) continue;
      part.idle.textContent = text;
      part.idle.hidden = !text;
      part.set.classList.toggle("unused", Boolean(text));
      block(part);
    }
  }

  function block(part) {
    part.set.disabled = !isOpen || part.set.classList.contains("unused");
  }

  function enable(is) {
    isOpen = is;
    Object.values(parts).forEach(block);
  }

  const clear = (name) => { if (parts[name]) say(name, ""); };

  return { build, limit, show, clear, follow, unused, enable, values: {}, short };
})();
