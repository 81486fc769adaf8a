/* The page: hears the run's messages, shows them, sends orders. All state is the server's. */
"use strict";

(() => {
  const token = new URLSearchParams(location.search).get("token") || "";
  const $ = (id) => document.getElementById(id);
  // Name, value, where it is shown: for a chain, where none is, under a weight of the loss, a schedule of it, or (nothing) always.
  const FIGURES = [
    ["L_tot", (t) => fixed(t.row.loss, 4)], ["L_cla", (t) => fixed(t.row.cla, 4)],
    ["validation", (t) => fixed(t.row.validation, 4)], ["sum of gates", (t) => fixed(t.row.gate_sum, 1)],
    ["n(t)", (t) => count(t.row.target)], ["kept", (t) => count(t.row.kept)],
    ["accepted", (t) => percent(t.acceptance), "chain"], ["proposals/s", (t) => count(t.row.rate), "chain"],
    ["proposals", (t) => count(t.row.step), "chain"], ["delta", (t) => short(t.delta), "chain"],
    ["temperature", (t) => short(t.temperature), "chain"], ["alpha", (t) => short(t.alpha), "weighted"],
    ["lambda", (t) => short(t.row.lambda), "schedule"], ["near 0 or 1", (t) => percent(t.near_hard), "backprop"],
    ["steps/s", (t) => count(t.row.rate), "backprop"], ["steps", (t) => count(t.row.step), "backprop"],
  ];
  const HELD = 3000; // milliseconds for which a hint stays at least, so that it can be read and nothing jumps
  const APART = ["lost", "full", "foreign"]; // no stream comes from the run
  const BUTTONS = ["pause", "step", "checkpoint", "undo", "stop"];
  const figures = {};
  const hints = new Map(); // by their words without figures: the text, and when it was last told
  let run = {};
  let status = "connecting";
  let latest = null;
  let log = [];
  let undoable = 0;
  let source = null;
  let isNew = false;
  let rows = [];
  let notes = [];

  const fixed = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "-");
  const count = (value) => (Number.isFinite(value) ? Math.round(value).toLocaleString("en") : "-");
  const percent = (value) => (Number.isFinite(value) ? `${(100 * value).toFixed(value < 0.1 ? 2 : 1)}%` : "-");
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  const short = (value) => (Number.isFinite(value) ? Knobs.short(value) : "-");
  const make = (kind, text, name) => {
    const element = document.createElement(kind);
    element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  async function post(path, body) {
    try {
      const answer = await fetch(path, {
        method: "POST", body: JSON.stringify(body), cache: "no-store",
        headers: { "Content-Type": "application/json", "X-Mcprune-Token": token },
      });
      const text = await answer.text();
      try { return JSON.parse(text); } catch { return { error: text.trim() }; }
    } catch {
      return { error: "the run does not answer" };
    }
  }

  const say = (text) => { $("said").textContent = text; };

  async function order(action) {
    // Before the answer: what the run tells of it may come sooner.
    say({ checkpoint: "to be saved behind this block", stop: "ends behind this block" }[action] || "");
    const answer = await post("control", { action });
    if (answer.error) say(answer.error);
    else if (action === "undo") say(`back to ${words(answer.accepted)}`);
  }

  function become(name) {
    const isNews = name !== status;
    status = name;
    const isOpen = name === "running" || name === "paused";
    const names = { testing: "hardened: retraining and testing", lost: "connection lost, trying again", full: "too many pages", foreign: "no longer served", starting: "starting" };
    if (name === "full") say("As many pages as are served look at this run already: close one of them. This page tries again every two seconds.");
    else if (name === "foreign") say("Another run is served at this address now, or this one again: open the address that it has printed.");
    else if (name === "lost") say("The run's process does not answer: it has ended, or its machine sleeps. What is shown is the last that was told.");
    else if (name === "paused" && !latest) say("The run waits in front of its first block. Turn knobs if you like, then press Resume.");
    else if (name === "running" && !latest) say("The first block is being done: the engine is compiled, which takes a moment where it is new.");
    else if (isNews && name !== "paused") say("");
    $("status").textContent = names[name] || name;
    $("status").className = `status ${name}`;
    document.title = `${run.name || "run"} ${name} - mcprune`;
    $("pause").textContent = name === "paused" ? "Resume" : "Pause";
    const isOver = Boolean(run.is_past) || ["testing", "done", "failed"].includes(name);
    document.querySelector(".controls").classList.toggle("over", isOver);
    $("knobs").classList.toggle("over", isOver);
    document.querySelector("main").classList.toggle("over", isOver);
    if (isOver) {
      hints.clear();
      showHints([]);
      if (!run.is_past) {
        $("without").textContent = run.is_chain ? "The search has ended: the knobs turn no more." : run.without;
        $("without").hidden = !$("without").textContent;
      }
      if (isNews) { Object.keys(Knobs.values).forEach((name) => Knobs.hush(name)); showLog(); }
    }
    if (APART.includes(name)) { hints.clear(); showHints([]); }
    if (latest) { isNew = true; showLaw(); }
    BUTTONS.forEach((id) => { $(id).disabled = !isOpen; });
    $("undo").disabled = !isOpen || !undoable;
    $("checkpoint").disabled = !isOpen || !run.folder;
    Knobs.enable(isOpen);
  }

  function words(knobs) {
    return Object.entries(knobs).map(([name, value]) => {
      if (name === "moves") return Object.entries(value).map(([move, share]) => `${move} ${Math.round(100 * share)}%`).join(", ");
      if (name === "adapt_delta") return value === null ? "auto-delta off" : `auto-delta for ${percent(value)}`;
      if (name === "evaluation_rows") return value === null ? "evaluation batch as configured" : `evaluation batch ${value}`;
      return `${name === "budget_pressure" ? "n(t) pressure" : name} ${Knobs.short(value)}`;
    }).join("; ");
  }

  function showLog() {
    if (!log.length) return;
    const list = log.slice(-100).reverse().map((entry) => {
      const box = make("div", "", "entry");
      const was = words(entry.before);
      box.append(make("b", words(entry.knobs)), document.createTextNode(entry.origin === "undo" ? " (undone)" : ` (was: ${was})`));
      box.append(make("div", `before block ${entry.block + 1}, after ${count(entry.proposals)} proposals`, "quiet"));
      const [before, after] = [entry.before_figures, entry.effect];
      const text = after
        ? `over ${after.blocks} blocks: accepted ${percent(before.acceptance)} → ${percent(after.acceptance)}, L_tot ${fixed(before.loss, 4)} → ${fixed(after.loss, 4)}`
        : entry.superseded ? "another change came before the next block: what they do together is told there"
          : status === "running" || status === "paused" ? "what it does is being watched for 32 blocks" : "";
      box.append(make("div", text));
      return box;
    });
    $("log").replaceChildren(...list);
    Charts.marks(log.map((entry) => entry.proposals));
  }

  function showLaw() {
    $("law").hidden = !latest || !run.is_chain || !["running", "paused"].includes(status);
    if ($("law").hidden) return;
    const parts = [];
    if (latest.temperature > 0) {
      parts.push(`Tuning at a temperature above 0 breaks stationarity: the chain's visits follow one law only while the knobs rest. `
        + `Delta, temperature and the other knobs have been constant since proposal ${count(latest.constant_since)}.`);
      if (latest.row.target > run.keep) parts.push("n(t) is still falling, so the law changes in every block.");
    } else {
      parts.push("Temperature 0: only strict decreases are accepted, so there is no law to disturb.");
    }
    const text = parts.join(" ");
    if ($("law").textContent !== text) $("law").textContent = text;
  }

  function showFigures() {
    for (const [name, value] of FIGURES) {
      const text = value(latest);
      if (figures[name].textContent !== text) figures[name].textContent = text;
    }
    if (status === "running" || status === "paused") showHints(latest.hints);
    if (latest.blocks && latest.blocks !== run.blocks) { // the clock has planned others
      run.blocks = latest.blocks;
      shape();
    }
    $("progress").value = run.blocks ? latest.block / run.blocks : 0;
    const left = Number.isFinite(latest.seconds_left) && (status === "running" || status === "paused") ? `, ${clock(latest.seconds_left)} left` : "";
    $("blocks").textContent = `block ${count(latest.block)} of ${count(run.blocks)}${left}`;
    showLaw();
    Knobs.follow(latest);
  }

  function showHints(told) {
    const now = performance.now();
    const kinds = [...hints.keys()].join();
    for (const text of told) hints.set(text.replace(/[\d.%e+-]+/g, ""), { text, at: now });
    for (const [kind, hint] of hints) if (now - hint.at > HELD) hints.delete(kind);
    const texts = [...hints.values()].map((hint) => hint.text);
    const list = $("hints");
    if (list.children.length === texts.length) {
      texts.forEach((text, place) => { if (list.children[place].textContent !== text) list.children[place].textContent = text; });
    } else list.replaceChildren(...texts.map((text) => make("li", text)));
    // Read out when there is another one, not at every change of a figure in it.
    if ([...hints.keys()].join() !== kinds) $("hints-said").textContent = texts.join(" ");
  }

  // What the run is decides what there is to see.
  function shape() {
    const isChain = run.is_chain !== false;
    document.querySelectorAll(".chain").forEach((part) => { part.hidden = !isChain; });
    const isRanked = run.method === "importance";
    document.querySelectorAll(".backprop").forEach((part) => { part.hidden = isChain; });
    document.querySelectorAll(".weighted").forEach((part) => { part.hidden = isRanked; });
    document.querySelectorAll(".schedule").forEach((part) => { part.hidden = isChain || isRanked; });
    $("without").hidden = !run.without;
    $("without").textContent = [run.without, run.meanwhile].filter(Boolean).join(" ");
    $("changes").hidden = !isChain;
    document.querySelector("main").classList.toggle("flat", !isChain); // nothing stands beside the view
    $("knobs-title").textContent = isChain ? "Knobs" : "No knobs";
    $("sites-words").textContent = isChain ? "n(t) is how many may be kept now; it falls to n, and the chain chooses which."
      : isRanked ? "What is left after each round of scoring; the last one leaves the n that was asked for."
        : "Dotted: the n that was asked for; kept are the gates above one half.";
    $("losses-words").textContent = run.objective
      ? `L_tot = L_cla + alpha (L_sel + L_rej); L_cla is here: ${run.objective}.`
      : isRanked ? "L_cla, on the training batches, is all that is lowered; the sites go by their scores."
        : isChain ? "L_tot = L_cla + alpha (L_sel + L_rej) on the rows that judge; the chain lowers L_tot." : "L_tot = L_cla + alpha (L_sel + L_rej) on the training batches.";
    $("validation-words").textContent = run.blocks && !run.is_past
      ? `Measured some 40 times in a run, here every ${count(Math.max(1, Math.floor(run.blocks / 40)))} blocks.` : "Measured some 40 times in a run.";
    $("rate-title").textContent = isChain ? "Proposals per second" : "Steps of backprop per second";
    $("rate-words").textContent = isChain ? "Decisions of the chain, the classifier's training included." : "";
    Charts.unit(isChain ? "proposals" : "steps of backprop");
  }

  function showOutcome() {
    const isFailed = status === "failed";
    $("outcome").hidden = !rows.length && !isFailed;
    $("outcome").classList.toggle("failed", isFailed);
    $("outcome-title").textContent = isFailed ? "The run has failed" : "What came out";
    const folder = run.folder;
    const early = run.stopped ? `Stopped early, after block ${count(run.stopped.block)} of ${count(run.blocks)}. ` : "";
    $("outcome-words").textContent = isFailed ? notes[notes.length - 1] || ""
      : status !== "done" ? `${early}The search has ended; this fills as the tests end.`
        : folder ? early + `Written to ${folder}. A page to keep: mcprune report ${folder}` : "";
    showRows();
  }

  function showRows() {
    if (!rows.length) { $("result").replaceChildren(); return; }
    const table = document.createElement("table");
    const head = document.createElement("tr");
    ["", "sites", "test accuracy"].forEach((title) => head.append(make("th", title)));
    table.append(head);
    rows.forEach((row) => {
      const line = document.createElement("tr");
      [row.name, count(row.kept), fixed(row.accuracy, 4)].forEach((text) => line.append(make("td", text)));
      table.append(line);
    });
    $("result").replaceChildren(table);
  }

  // At most one drawing of the figures and of the mask for each frame of the screen.
  function frame() {
    if (isNew && latest && !document.hidden) {
      isNew = false;
      showFigures();
      Picture.draw(latest);
    }
    requestAnimationFrame(frame);
  }

  const heard = {
    state(state) {
      run = state.run;
      log = state.log;
      rows = state.rows;
      notes = state.notes;
      undoable = state.can_undo;
      $("name").textContent = run.name ? `${run.name}, ${count(run.keep)} of ${count(run.n_sites)} sites` : "";
      $("about").textContent = run.rows
        ? `${count(run.rows.train)} training rows; ${run.classifier}; ${run.device}, ${run.threads} thread${run.threads === 1 ? "" : "s"}${run.folder ? `; ${run.folder}` : ""}`
        : "the data are loaded and the engine is compiled";
      if (run.n_sites) Picture.begin(run);
      shape();
      Knobs.limit(run);
      Knobs.show(state.knobs, true);
      Charts.reset(state.series);
      $("notes").replaceChildren(...notes.map((note) => make("li", note)));
      $("says").hidden = !notes.length;
      if (state.latest.row) { latest = state.latest; isNew = true; Charts.histogram(latest.histogram); }
      become(state.status);
      showLog();
      showOutcome();
    },
    tick(data) { if (!latest) say(""); latest = data; isNew = true; Charts.tick(data); },
    stopped(data) { run.stopped = data; showOutcome(); },
    hardened(data) { latest = data; isNew = true; Charts.histogram(data.histogram); },
    status(data) { become(data.status); showOutcome(); },
    note(data) {
      notes = [...notes, data.text].slice(-50);
      if (/^(no )?checkpoint|^refused/.test(data.text)) say(data.text);
      $("notes").append(make("li", data.text));
      $("says").hidden = false;
      while ($("notes").children.length > 50) $("notes").firstChild.remove();
    },
    knob(data) {
      log = [...log.filter((entry) => entry.number !== data.entry.number), data.entry].slice(-200);
      undoable = data.can_undo;
      Knobs.show(data.knobs);
      if (latest) { // what was said before it is no longer so, and while the run is paused no figures follow
        for (const name of ["delta", "temperature", "alpha"]) if (typeof data.knobs[name] === "number") latest[name] = data.knobs[name];
        latest.hints = [];
        latest.constant_since = data.entry.proposals;
        hints.clear();
        isNew = true;
      }
      if (data.entry.origin === "undo") Object.keys(data.entry.knobs).forEach((name) => Knobs.hush(name));
      become(status);
      showLog();
    },
    effect(data) { log = log.map((entry) => (entry.number === data.number ? data : entry)); showLog(); },
    row(data) { rows = [...rows.filter((row) => row.name !== data.name), data]; showOutcome(); },
    done(data) { rows = data.scores; showOutcome(); },
  };

  // An event source does not tell why it was refused; a request for the head alone does.
  async function why() {
    const kinds = { 503: "full", 403: "foreign" };
    try {
      const answer = await fetch(`events?token=${encodeURIComponent(token)}`, { method: "HEAD", cache: "no-store" });
      become(kinds[answer.status] || "lost");
    } catch {
      become("lost");
    }
  }

  function connect() {
    source = new EventSource(`events?token=${encodeURIComponent(token)}`);
    let before = status;
    for (const [kind, hear] of Object.entries(heard)) source.addEventListener(kind, (event) => hear(JSON.parse(event.data)));
    source.onopen = () => { if (APART.includes(status)) become(before); };
    source.onerror = () => {
      if (status === "done" || status === "failed") { source.close(); return; } // the run has ended, and its process too
      if (!APART.includes(status)) before = status;
      // A refused stream is not tried again by the browser.
      if (source.readyState === EventSource.CLOSED) why().then(() => setTimeout(connect, 2000));
      else become("lost");
    };
  }

  for (const [name, , where] of FIGURES) {
    const box = make("div", "", where || "");
    box.hidden = where === "backprop" || where === "schedule"; // until it is known what runs
    figures[name] = make("dd", "-");
    box.append(make("dt", name), figures[name]);
    $("figures").append(box);
  }
  $("pause").addEventListener("click", () => order(status === "paused" ? "resume" : "pause"));
  ["step", "checkpoint", "undo"].forEach((id) => $(id).addEventListener("click", () => order(id)));
  $("stop").addEventListener("click", () => {
    // Pressed twice within four seconds: it cannot be taken back.
    if ($("stop").dataset.sure) { order("stop"); return; }
    $("stop").dataset.sure = "1";
    $("stop").textContent = "Press again to stop";
    setTimeout(() => { delete $("stop").dataset.sure; $("stop").textContent = "Stop and harden"; }, 4000);
  });
  Knobs.build((changes) => post("knobs", changes));
  Knobs.enable(false);
  become("connecting");
  Charts.start();
  connect();
  frame();
})();
