const NARROW = matchMedia("(max-width: 640px)");
const GAP = 84;
// On a narrow screen panels that stand side by side go below each other, each as high as before.
function stacked(wide) {
  const layout = structuredClone(wide);
  const panels = Object.keys(wide).filter((x) => x.startsWith("xaxis") && wide[x].domain)
    .map((x) => ({ x, y: "yaxis" + String(wide[x].anchor || "y").slice(1) })).filter(({ y }) => wide[y] && wide[y].domain)
    .sort((one, other) => wide[other.y].domain[1] - wide[one.y].domain[1] || wide[one.x].domain[0] - wide[other.x].domain[0]);
  if (new Set(panels.map(({ x }) => wide[x].domain[0])).size < 2) return layout;
  const around = wide.margin.t + wide.margin.b, before = wide.height - around;
  const heights = panels.map(({ y }) => (wide[y].domain[1] - wide[y].domain[0]) * before);
  // A legend of a panel's own stands below it; one for all panels below the last.
  const hasOwn = Object.keys(wide).some((key) => /^legend\d/.test(key));
  const owned = panels.map(({ x }) => (hasOwn && wide[`legend${x.slice(5)}`] ? `legend${x.slice(5)}` : ""));
  const gaps = owned.map((name) => GAP + (name ? 50 : 0));
  const after = heights.reduce((sum, height, place) => sum + height + (place + 1 < panels.length ? gaps[place] : 0), 0);
  let above = 0;
  panels.forEach(({ x, y }, place) => {
    const [left, right] = wide[x].domain, top = wide[y].domain[1];
    layout[x].domain = [0, 1];
    layout[y].domain = [Math.max(0, 1 - (above + heights[place]) / after), 1 - above / after];
    (wide.annotations || []).forEach((note, number) => {
      const isIts = note.xref === "paper" && Math.abs(note.x - (left + right) / 2) < 1e-6 && Math.abs(note.y - top) < 1e-6;
      if (isIts) Object.assign(layout.annotations[number], { x: 0.5, y: 1 - above / after });
    });
    above += heights[place];
    if (owned[place]) Object.assign(layout[owned[place]], { x: 0, y: 1 - (above + 58) / after });
    above += gaps[place];
  });
  layout.height = after + around;
  if (!hasOwn && layout.legend && layout.legend.y < 0) layout.legend.y *= before / after;
  return layout;
}
for (const [id, figure] of Object.entries(FIGURES)) {
  const box = document.getElementById(id);
  const draw = () => {
    const layout = NARROW.matches ? stacked(figure.layout) : structuredClone(figure.layout);
    box.style.height = `${layout.height || 420}px`;
    Plotly.react(box, figure.data, layout, {responsive: true, displaylogo: false, displayModeBar: false});
  };
  // A figure in a closed fold has no width: it is drawn when it is opened.
  const fold = box.closest("details");
  const drawn = () => (fold && !fold.open) || draw();
  drawn();
  if (fold) fold.addEventListener("toggle", drawn);
  NARROW.addEventListener("change", drawn);
}
