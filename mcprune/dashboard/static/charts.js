/* Curves over the proposals, drawn by plotly one after the other so that the page never takes the cores from the chain. */
"use strict";

const Charts = (() => {
  const SHARE = 0.2; // of the time at most goes into drawing
  const UNSEEN = 8; // one drawing in so many is of a chart that is scrolled away
  const LINES = {
    activity: [["acceptance", "accepted", 1], ["decision_rate", "decisions/s", 2], ["loss", "L_tot", 3]],
    losses: [["loss", "L_tot", 1], ["classification_loss", "L_cla", 2], ["selection_loss", "alpha L_sel", 3], ["rejection_loss", "alpha L_rej", 4]],
    sites: [["gate_sum", "sum of gates", 1], ["target", "n(t)", 2], ["kept", "kept", 3]],
    validation: [["validation_accuracy", "validation accuracy", 3]],
    rate: [["rate", "per second", 5]],
    weights: [["alpha", "alpha", 1], ["schedule_lambda", "lambda", 2]],
  };
  const AXES = {
    losses: { title: { text: "nats" }, rangemode: "tozero" },
    sites: { title: { text: "sites" }, rangemode: "tozero" },
    activity: { tickformat: "~%", rangemode: "tozero", domain: [0.54, 1] },
    acceptance: { tickformat: "~%", rangemode: "tozero" },
    validation: { tickformat: "~%", nticks: 5 },
    rate: { rangemode: "tozero" },
    weights: { type: "log", exponentformat: "power" },
    histogram: { title: { text: "sites" }, type: "log" },
  };
  const ORDER = ["activity", "losses", "acceptance", "sites", "histogram", "validation", "rate", "weights"];
  let series = { columns: {}, stride: 1, rows: 0, points: 600 };
  let histogram = [];
  let marks = [];
  let unit = "proposals";
  let names = {}; // of curves and axes, where a run has words of its own
  const dirty = new Set();
  const seen = new Set();
  const urgent = new Set(ORDER); // not drawn yet, or in other colours: at once
  const at = {}; // when each was drawn last
  let drawn = 0;
  let cameAt = 0;
  let freeAt = 0;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function append(row) {
    // The same thinning as the server's: a full series loses every second point, and from then on takes every second one.
    series.rows += 1;
    if ((series.rows - 1) % series.stride) return;
    const columns = series.columns;
    const length = columns.x ? columns.x.length : 0;
    for (const name of Object.keys(row)) columns[name] ??= new Array(length).fill(null);
    for (const name of Object.keys(columns)) columns[name].push(row[name] ?? null);
    if (columns.x.length >= series.points) {
      for (const name of Object.keys(columns)) columns[name] = columns[name].filter((_, place) => place % 2 === 0);
      series.stride *= 2;
    }
  }

  function traces(id) {
    if (id === "histogram") {
      const bins = histogram.length;
      return [{
        type: "bar", x: histogram.map((_, place) => (place + 0.5) / bins), y: histogram.map((count) => count || null),
        marker: { color: colour("--c1") }, hovertemplate: "%{y} sites near %{x:.2f}<extra></extra>",
      }];
    }
    const lines = (LINES[id] || Object.keys(series.columns).filter((name) => name.startsWith("move "))
      .map((name, place) => [name, name.slice(5), place % 6 + 1])).filter(([name]) => isWorthALine(id, name));
    return lines.map(([name, title, hue]) => ({
      type: "scatter", mode: id === "validation" && shareRange().range ? "lines+markers" : "lines", marker: { size: 4 }, name: names[title] || title, x: series.columns[id === "activity" ? "seconds" : "x"] || [], y: series.columns[name] || [],
      ...(name === "decision_rate" ? { yaxis: "y2" } : id === "activity" && name === "loss" ? { yaxis: "y3" } : {}),
      // The first line is wide and lies under the others: where they agree it shows as an edge.
      line: { width: isBed(id, hue, lines) ? 4 : 1.6, color: colour(`--c${hue}`), dash: name === "target" ? "dot" : "solid" },
      opacity: isBed(id, hue, lines) ? 0.55 : 1,
    }));
  }

  const isBed = (id, hue, lines) => hue === 1 && id in LINES && id !== "activity" && lines.length > 1;

  // Nothing is drawn that is always 0, or the same as the line before it.
  function isWorthALine(id, name) {
    const column = series.columns[name] || [];
    if (!column.some((value) => (id === "acceptance" || id === "activity" ? Number.isFinite(value) : value))) return false;
    const twin = id === "losses" && name === "classification_loss" ? "loss" : id === "sites" && name === "gate_sum" ? "kept" : "";
    return !twin || column.some((value, place) => Number.isFinite(value) && Math.abs(value - series.columns[twin][place]) > 1e-9 * Math.abs(value));
  }

  function lossRange() {
    // Without the first fall, next to which all that follows would be flat.
    const loss = (series.columns.loss || []).filter(Number.isFinite);
    const top = Math.max(...loss.slice(Math.floor(loss.length / 8)), 1e-6);
    return { range: [-0.03 * top, 1.1 * top], autorange: false };
  }

  function shareRange() {
    // Before the second measurement plotly would show -100% to 300%.
    return new Set((series.columns.validation_accuracy || []).filter(Number.isFinite)).size > 1 ? {} : { range: [0, 1], autorange: false };
  }

  function barRange() {
    const top = Math.max(...histogram, 2);
    const ticks = [];
    for (let ten = 1; ten <= 2 * top; ten *= 10) ticks.push(...(top < 1000 ? [ten, 2 * ten, 5 * ten] : [ten]));
    return {
      range: [-0.2, Math.log10(top) + 0.1], autorange: false,
      tickvals: ticks, ticktext: ticks.map((tick) => tick.toLocaleString("en")),
    };
  }

  function titled(id) {
    const text = names[AXES[id]?.title?.text];
    return text ? { title: { text } } : {};
  }

  function layout(id) {
    const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), linecolor: colour("--line"), automargin: true };
    const isBars = id === "histogram";
    return {
      margin: { l: 46, r: id === "activity" ? 40 : 8, t: id === "activity" ? 26 : 6, b: 34 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--quiet"), size: 11, family: getComputedStyle(document.body).fontFamily },
      showlegend: !isBars && (id === "acceptance" || (LINES[id] || []).length > 1),
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
      xaxis: { ...axis, title: { text: isBars ? "gate" : id === "activity" ? "seconds" : unit, standoff: 6 }, nticks: 6, ...(isBars ? { range: [0, 1] } : {}), ...(id === "activity" ? { anchor: "y3" } : {}) },
      yaxis: { ...axis, nticks: id === "activity" ? 4 : 6, ...AXES[id], ...titled(id), ...(id === "losses" ? lossRange() : isBars ? barRange() : id === "validation" ? shareRange() : {}) },
      ...(id === "activity" ? {
        yaxis2: { ...axis, overlaying: "y", side: "right", rangemode: "tozero", showgrid: false, nticks: 4 },
        yaxis3: { ...axis, domain: [0, 0.44], anchor: "x", ...lossRange(), nticks: 4 },
      } : {}),
      hovermode: "x", bargap: 0.08, uirevision: "kept",
      datarevision: series.rows, // the arrays grow in place, which plotly does not see
      shapes: isBars ? [] : marks.map((step) => (id === "activity" ? secondsAt(step) : step)).filter(Number.isFinite).map((step) => ({
        type: "line", xref: "x", yref: "paper", x0: step, x1: step, y0: 0, y1: 1, line: { color: colour("--c6"), width: 1, dash: "dot" },
      })),
    };
  }

  function secondsAt(proposals) {
    // When the chain had made so many proposals; a change of this moment has no point of the curve behind it yet.
    const { x = [], seconds = [] } = series.columns;
    const place = x.findIndex((value) => value >= proposals);
    return place < 0 ? seconds[seconds.length - 1] : seconds[place];
  }

  function draw(id) {
    const element = document.getElementById(id);
    const lines = traces(id);
    // Until there is something to draw the card says what will come.
    const isEmpty = !lines.some((one) => one.y.some(Number.isFinite));
    element.classList.toggle("waiting", isEmpty);
    if (isEmpty) { Plotly.purge(id); return; }
    Plotly.react(id, lines, layout(id), { displayModeBar: false, responsive: true });
  }

  function next() {
    // The chart that has waited longest, of those on the screen or, now and then, of those scrolled away.
    const wantsHidden = drawn % UNSEEN === UNSEEN - 1 || !seen.size;
    const there = ORDER.filter((id) => document.getElementById(id).offsetParent); // not what this run has no use for
    const first = there.find((id) => urgent.has(id) && seen.has(id)) || there.find((id) => urgent.has(id));
    if (first) return first;
    const ready = there.filter((id) => dirty.has(id)).sort((one, other) => (at[one] || 0) - (at[other] || 0));
    const isQuiet = performance.now() - cameAt > 1000; // nothing comes: what is scrolled away can be drawn too
    return ready.find((id) => seen.has(id) !== wantsHidden) || (wantsHidden || isQuiet ? ready[0] : undefined);
  }

  function frame() {
    const now = performance.now();
    const isFree = !document.hidden && series.rows && (now >= freeAt || urgent.size);
    const id = isFree ? next() : undefined;
    if (id) {
      drawn += 1;
      at[id] = now;
      dirty.delete(id);
      urgent.delete(id);
      draw(id);
      const took = performance.now() - now;
      freeAt = performance.now() + took * (1 / SHARE - 1);
    }
    setTimeout(frame, 40);
  }

  function all() { ORDER.forEach((id) => dirty.add(id)); }

  function start() {
    const watch = new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (entry.isIntersecting) seen.add(entry.target.id); else seen.delete(entry.target.id);
    }), { rootMargin: "80px" });
    ORDER.forEach((id) => watch.observe(document.getElementById(id)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => ORDER.forEach((id) => urgent.add(id)));
    document.addEventListener("visibilitychange", all);
    frame();
  }

  return {
    start,
    reset(state) { series = state; all(); },
    add(latest) { cameAt = performance.now(); append(latest.figures); histogram = latest.histogram; all(); },
    histogram(bins) { histogram = bins; all(); },
    unit(name) { unit = name; all(); },
    rename(words) { names = words; all(); },
    marks(steps) { marks = steps.slice(-60); all(); },
    length: () => (series.columns.x || []).length,
    rows: () => series.rows,
  };
})();
