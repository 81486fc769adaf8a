/* The weights in order: the kept sites left of the cut, the dropped ones right of it, and the candidates as they come. */
"use strict";

const Order = (() => {
  const LEFT = 0.45; // of the width belongs to the kept sites, so that the cut stays in its place
  const STAYS = 1200; // milliseconds that a candidate is shown
  const MOST = 14; // candidates at a time, so that the weights behind them can be seen
  const PADDING = 10;
  let run = {};
  let shown = []; // candidates with the time when they came
  let latest = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function begin(info) { run = info; shown = []; latest = null; }

  function add(message) {
    latest = message.order ? message : latest;
    const now = performance.now();
    shown = shown.filter((candidate) => now - candidate.at < STAYS);
    for (const [dropped, kept, isAccepted] of message.order?.candidates || []) shown.push({ dropped, kept, isAccepted, at: now });
    // Accepted ones are rare, so they go last.
    const accepted = shown.filter((one) => one.isAccepted).slice(-MOST);
    shown = [...shown.filter((one) => !one.isAccepted).slice(-Math.max(4, MOST - accepted.length)), ...accepted];
  }

  function across(rank, kept, size, width) {
    const room = width - 2 * PADDING;
    const cut = kept === 0 ? 0 : kept === size ? 1 : LEFT;
    if (rank < kept) return PADDING + room * cut * (rank + 0.5) / kept;
    return PADDING + room * (cut + (1 - cut) * (rank - kept + 0.5) / Math.max(1, size - kept));
  }

  function draw() {
    const canvas = document.getElementById("order");
    if (!latest || !canvas.clientWidth) return;
    const { ranks, weights, kept, size, cut, reach } = latest.order;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const brush = canvas.getContext("2d");
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, width, height);
    const x = (rank) => across(rank, kept, size, width);
    const [low, high] = [Math.min(...weights), Math.max(...weights)];
    const y = (weight) => PADDING + (height - 2 * PADDING) * (high - Math.max(low, Math.min(high, weight))) / Math.max(high - low, 1e-9);
    // The reach of delta around the cut: from there a site can cross it in one step.
    const delta = latest.delta;
    if (Number.isFinite(reach)) {
      brush.fillStyle = colour("--reach");
      brush.fillRect(PADDING, y(cut + delta), width - 2 * PADDING, y(cut - delta) - y(cut + delta));
    }
    const edge = PADDING + (width - 2 * PADDING) * (kept === 0 ? 0 : kept === size ? 1 : LEFT);
    brush.strokeStyle = colour("--ink");
    brush.lineWidth = 1;
    brush.setLineDash([3, 3]);
    brush.beginPath();
    brush.moveTo(edge, 0);
    brush.lineTo(edge, height);
    if (Number.isFinite(cut)) { brush.moveTo(PADDING, y(cut)); brush.lineTo(width - PADDING, y(cut)); }
    brush.stroke();
    brush.setLineDash([]);
    // The weight of a rank that was not sent is that of the nearest one that was.
    const height_of = (rank) => {
      const place = ranks.findIndex((one) => one >= rank);
      return weights[place < 0 ? weights.length - 1 : place];
    };
    const dot = size > 200 ? 1.6 : 2.6;
    ranks.forEach((rank, place) => {
      brush.fillStyle = colour(rank < kept ? "--c1" : "--quiet");
      brush.beginPath();
      brush.arc(x(rank), y(weights[place]), dot, 0, 2 * Math.PI);
      brush.fill();
    });
    const now = performance.now();
    for (const { dropped, kept: taken, isAccepted, at } of shown) {
      const age = (now - at) / STAYS;
      if (age >= 1) continue;
      brush.globalAlpha = (1 - age) * (isAccepted ? 1 : 0.6);
      brush.strokeStyle = brush.fillStyle = colour(isAccepted ? "--c3" : "--c2");
      brush.lineWidth = isAccepted ? 3 : 1;
      // From the site that is to be dropped to the one that is to be kept instead, over the cut.
      const ends = [dropped, taken === null ? kept : taken].map((rank) => [x(rank), y(height_of(rank))]);
      brush.beginPath();
      brush.moveTo(...ends[0]);
      brush.quadraticCurveTo(edge, PADDING + 4, ...ends[1]);
      brush.stroke();
      for (const end of ends) {
        brush.beginPath();
        brush.arc(...end, isAccepted ? 4 : 2.5, 0, 2 * Math.PI);
        if (isAccepted) brush.fill(); else brush.stroke(); // not by colour alone
      }
    }
    brush.globalAlpha = 1;
    brush.fillStyle = colour("--quiet");
    brush.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    brush.textAlign = "right";
    brush.fillText(`${kept.toLocaleString("en")} kept`, edge - 6, height - 4);
    brush.textAlign = "left";
    if (kept < size) brush.fillText(`${(size - kept).toLocaleString("en")} dropped`, edge + 6, 12);
    if (Number.isFinite(reach)) {
      const top = Math.max(12, y(cut + delta) + 12);
      brush.textAlign = "right";
      // Not on the line of the cut.
      brush.fillText("reach of delta", width - PADDING, Math.abs(y(cut) - top + 5) < 10 ? y(cut) + 13 : top);
    }
    const inside = Number.isFinite(reach) ? `${reach.toLocaleString("en")} of ${size.toLocaleString("en")} sites are within delta of the cut (shaded). ` : "";
    const text = inside ? `${inside}Candidates: thick green accepted, thin orange rejected.` : "The sites left of the cut are kept.";
    const words = document.getElementById("order-words");
    if (words.textContent !== text) words.textContent = text;
  }

  const isMoving = () => shown.some((candidate) => performance.now() - candidate.at < STAYS);

  return { begin, add, draw, isMoving };
})();
