/* The curve of a path while it grows: accuracy over the levels with error bars, and the level that is searched. */
"use strict";

const PathCurve = (() => {
  const NOUNS = { macs: "multiply-accumulates", parameters: "parameters" };
  let path = null;

  const element = (id) => document.getElementById(id);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const count = (value) => Number(value).toLocaleString("en");
  const noun = () => NOUNS[path.unit] || path.noun;

  function words() {
    if (path.answer.length) return path.answer.join(" ");
    const left = (one, many) => (path.stops_left === 1 ? `; 1 more ${one} after it` : path.stops_left ? `; ${path.stops_left} more ${many} after it` : "");
    if (path.way === "score") {
      return path.level === null ? "Fresh classifiers score the masks of all levels."
        : `A fresh classifier scores ${count(path.level)} ${noun()}${left("level", "levels")}.`;
    }
    return `Searching ${count(path.level)} ${noun()}, on the way ${path.way}${left("stop", "stops")}. Until fresh classifiers score the levels, `
      + "accuracies are those of the classifier of the search on validation rows.";
  }

  function trace(isFinal) {
    const scores = path.scores.filter((score) => score.is_final === isFinal && Number.isFinite(score.accuracy));
    const hue = colour(isFinal ? "--c1" : "--quiet");
    return {
      type: "scatter", mode: "lines+markers", name: isFinal ? "fresh classifiers" : "in the search",
      x: scores.map((score) => score.level), y: scores.map((score) => score.accuracy),
      error_y: { type: "data", array: scores.map((score) => score.accuracy_error), color: hue, thickness: 1.2, width: 4 },
      line: { color: hue, width: 1.4, dash: isFinal ? "solid" : "dot" },
      marker: { size: 7, color: hue, symbol: isFinal ? "circle" : "circle-open" },
      text: scores.map((score) => `${count(score.level)} ${noun()}: ${score.accuracy.toFixed(4)} ± ${score.accuracy_error.toFixed(4)}`),
      hoverinfo: "text",
    };
  }

  function marker(level, name, symbol, hue) {
    const score = path.scores.find((one) => one.level === level);
    return { type: "scatter", mode: "markers", name: `${name}: ${count(level)}`, x: [level], y: [score.accuracy], hoverinfo: "skip",
      marker: { size: 14, symbol, color: colour(hue), line: { width: 2 } } };
  }

  function draw() {
    const isEmpty = !path.scores.some((score) => Number.isFinite(score.accuracy));
    element("path").classList.toggle("waiting", isEmpty);
    if (isEmpty) { Plotly.purge("path"); return; }
    const axis = { gridcolor: colour("--grid"), zerolinecolor: colour("--grid"), linecolor: colour("--line"), automargin: true };
    const traces = [false, true].map(trace).filter((one) => one.x.length);
    if (path.enough !== null) traces.push(marker(path.enough, "enough", "circle-open", "--c2"));
    if (path.knee !== null && path.knee !== path.enough) traces.push(marker(path.knee, "knee", "diamond-open", "--c3"));
    const ends = [path.levels[0], path.levels[path.levels.length - 1]].map(Math.log10);
    const room = 0.04 * Math.max(ends[1] - ends[0], 0.1);
    Plotly.react("path", traces, {
      margin: { l: 46, r: 12, t: 26, b: 40 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: colour("--quiet"), size: 11, family: getComputedStyle(document.body).fontFamily },
      showlegend: true, legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11 } },
      xaxis: { ...axis, type: "log", title: { text: noun(), standoff: 6 }, range: [ends[0] - room, ends[1] + room], autorange: false,
        tickvals: path.levels, ticktext: path.levels.map(count) },
      yaxis: { ...axis, tickformat: "~%", nticks: 6 }, hovermode: "closest",
      shapes: path.level === null ? [] : [{ type: "line", xref: "x", yref: "paper", x0: path.level, x1: path.level, y0: 0, y1: 1,
        line: { color: colour("--c6"), width: 1.5, dash: "dot" } }],
    }, { displayModeBar: false, responsive: true });
  }

  function show(state) {
    path = state || null;
    element("path-card").hidden = !path;
    if (!path) return;
    element("path-title").textContent = `Accuracy over the number of ${noun()}`;
    const text = words();
    if (element("path-words").textContent !== text) element("path-words").textContent = text;
    draw();
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (path) draw(); });
  return { show, title: () => (path ? `${count(path.levels[0])} to ${count(path.levels[path.levels.length - 1])} ${noun()}` : "") };
})();
