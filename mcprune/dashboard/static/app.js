/* The page: receives the run's messages, shows them, sends requests. All state is the server's. */
"use strict";

(() => {
  const token = new URLSearchParams(location.search).get("token") || "";
  const $ = (id) => document.getElementById(id);
  // Title, value, and the runs that show it: with a chain, by rank, without a chain, with a weight of L_pru, with a schedule of it, or all.
  const FIGURES = [
    ["L_tot", (t) => fixed(t.figures.loss, 4)], ["accepted", (t) => percent(t.acceptance), "chain"],
    ["decisions/s", (t) => count(t.figures.decision_rate), "chain live"], ["kept", (t) => `${count(t.figures.kept)} of ${count(run.n_sites)}`],
    ["n(t)", (t) => count(t.figures.target)], ["validation", (t) => fixed(t.figures.validation_accuracy, 4)],
    ["change the mask", (t) => percent(t.mask_changing), "ranked"], ["proposals", (t) => count(t.figures.x), "chain"],
    ["alpha", (t) => short(t.alpha), "backprop weighted"],
    ["lambda", (t) => short(t.figures.schedule_lambda), "schedule"], ["near 0 or 1", (t) => percent(t.near_hard), "backprop"],
    ["steps/s", (t) => count(t.figures.rate), "backprop"], ["steps", (t) => count(t.figures.x), "backprop"],
  ];
  const HINT_STAYS = 3000; // milliseconds at least, so that a hint can be read and nothing jumps
  const APART = ["lost", "full", "foreign"]; // no stream comes from the run
  const BUTTONS = ["pause", "step", "finish", "stop", "checkpoint", "undo"];
  const TWICE = { finish: "Finish", stop: "Stop now" }; // pressed twice, since they cannot be undone
  const figures = {};
  const hints = new Map(); // by their words without numbers: the text, and when it last came
  let run = {};
  let status = "connecting";
  let latest = null;
  let changes = [];
  let canUndo = 0;
  let source = null;
  let isNew = false;
  let scores = [];
  let notes = [];

  const fixed = (value, digits) => (Number.isFinite(value) ? value.toFixed(digits) : "-");
  const { count, percent, make } = Log;
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
  const short = (value) => (Number.isFinite(value) ? Knobs.short(value) : "-");
  async function post(path, body) {
    try {
      const answer = await fetch(path, {
        method: "POST", body: JSON.stringify(body), cache: "no-store",
        headers: { "Content-Type": "application/json", "X-Mcprune-Token": token },
      });
      const text = await answer.text();
      try { return JSON.parse(text); } catch { return { error: text.trim() }; }
    } catch {
      return { error: "The run does not answer." };
    }
  }

  const say = (text) => { $("said").textContent = text; };
  // What the run does that may take long, as a sentence.
  const showStage = (text) => { $("stage").textContent = text ? `${text[0].toUpperCase()}${text.slice(1)} ...` : ""; };

  async function request(action) {
    // Before the answer: the run's own message may come sooner.
    say({ checkpoint: "will be saved after this block", stop: "ends after this block", finish: "n(t) comes down to n, then the run ends" }[action] || "");
    const answer = await post("control", { action });
    if (answer.error) say(answer.error);
    else if (action === "undo") say(`back to ${Log.words(answer.accepted)}`);
  }

  function become(name) {
    const isNews = name !== status;
    status = name;
    const isOpen = name === "running" || name === "paused";
    const names = { testing: run.path ? "scoring the masks" : "hardened: retraining and testing", lost: "connection lost, trying again", full: "too many pages", foreign: "no longer served", starting: "starting" };
    if (name === "full") say("Too many pages show this run already. Close one of them; this page tries again every two seconds.");
    else if (name === "foreign") say("Another run is served at this address now. Open the address that it has printed.");
    else if (name === "lost") say("The run's process does not answer: it has ended, or its machine sleeps. The page shows the last message.");
    else if (name === "paused" && !latest) say("The run waits before its first block. Change knobs if you like, then press Resume.");
    else if (isNews && name !== "paused") say("");
    $("status").textContent = names[name] || name;
    $("status").className = `status ${name}`;
    document.title = `${run.name || "run"} ${name} - mcprune`;
    $("pause").textContent = name === "paused" ? "Resume" : "Pause";
    const isOver = Boolean(run.is_recorded) || ["testing", "done", "failed"].includes(name);
    document.querySelector(".controls").classList.toggle("over", isOver);
    $("knobs").classList.toggle("over", isOver);
    document.querySelector("main").classList.toggle("over", isOver);
    if (isOver) {
      hints.clear();
      showHints([]);
      if (!run.is_recorded) {
        $("no-knobs").textContent = run.is_chain ? "The search has ended, so the knobs can no longer be changed." : run.no_knobs;
        $("no-knobs").hidden = !$("no-knobs").textContent;
      }
      if (isNews) { Object.keys(Knobs.values).forEach((name) => Knobs.clear(name)); showLog(); }
    }
    if (APART.includes(name)) { hints.clear(); showHints([]); }
    if (latest) { isNew = true; showLaw(); }
    BUTTONS.forEach((id) => { $(id).disabled = !isOpen; });
    $("undo").disabled = !isOpen || !canUndo;
    $("checkpoint").disabled = !isOpen || !run.folder;
    Knobs.enable(isOpen);
  }

  function showLog() {
    Log.show(changes, status === "running" || status === "paused");
    if (changes.length) Charts.marks(changes.map((entry) => entry.proposals));
  }

  function showLaw() {
    $("law").hidden = !latest || !run.is_chain || !["running", "paused"].includes(status);
    if ($("law").hidden) return;
    const parts = [];
    if (latest.temperature > 0) {
      parts.push(`A change of a knob at a temperature above 0 breaks stationarity: the chain's visits follow one law only while the knobs stay as `
        + `they are. Delta, temperature and the other knobs have been constant since proposal ${count(latest.constant_since)}.`);
      if (latest.figures.target > run.keep || run.path) parts.push(run.path ? "n(t) goes from level to level, and the law with it." : "n(t) is still falling, so the law changes in every block.");
    } else {
      parts.push("Temperature 0: only strict decreases are accepted, so there is no stationary law to disturb.");
    }
    const text = parts.join(" ");
    if ($("law").textContent !== text) $("law").textContent = text;
  }

  function showFigures() {
    for (const [name, value] of FIGURES) {
      const text = value(latest);
      if (figures[name].textContent !== text) figures[name].textContent = text;
    }
    figures.lambda.parentElement.hidden = !Number.isFinite(latest.figures.schedule_lambda); // few schedules have one
    if (status === "running" || status === "paused") showHints(latest.hints);
    if (latest.blocks && latest.blocks !== run.blocks) { // replanned
      run.blocks = latest.blocks;
      shape();
    }
    $("progress").value = run.blocks ? latest.block / run.blocks : 0;
    const isOpen = status === "running" || status === "paused";
    const left = Number.isFinite(latest.seconds_left) && isOpen ? `, ${clock(latest.seconds_left)} left` : "";
    const isExploring = run.is_endless && isOpen && latest.figures.target === run.keep;
    $("progress").hidden = isExploring || status === "done" || status === "testing";
    $("blocks").textContent = $("progress").hidden && !isExploring ? `${count(latest.block)} blocks` : isExploring ? `block ${count(latest.block)}: exploring at n until you press Finish`
      : `block ${count(latest.block)} of ${count(run.blocks)}${run.is_endless ? "" : left}`;
    // With one kind of move it would be the acceptance again.
    $("acceptance-card").hidden = !run.is_chain || Object.keys(latest.figures).filter((name) => name.startsWith("move ")).length < 2;
    showLaw();
    Knobs.follow(latest);
    Knobs.unused(latest.unused || {});
  }

  function showHints(current) {
    const now = performance.now();
    const kinds = [...hints.keys()].join();
    for (const text of current) hints.set(text.replace(/[\d.%e+-]+/g, ""), { text, at: now });
    for (const [kind, hint] of hints) if (now - hint.at > HINT_STAYS) hints.delete(kind);
    const texts = [...hints.values()].map((hint) => hint.text);
    const list = $("hints");
    if (list.children.length === texts.length) {
      texts.forEach((text, place) => { if (list.children[place].textContent !== text) list.children[place].textContent = text; });
    } else list.replaceChildren(...texts.map((text) => make("li", text)));
    // Read out when there is another hint, not at every change of a number in it.
    if ([...hints.keys()].join() !== kinds) $("hints-said").textContent = texts.join(" ");
  }

  // The kind of run decides what is shown.
  function shape() {
    const isChain = run.is_chain !== false;
    document.querySelectorAll(".chain").forEach((part) => { part.hidden = !isChain; });
    if (run.path) $("finish").hidden = true; // n(t) goes on to other levels
    const isRanked = run.method === "importance";
    document.querySelectorAll(".ranked").forEach((part) => { part.hidden = !run.is_by_rank || Boolean(run.is_recorded); });
    document.querySelectorAll(".backprop").forEach((part) => { part.hidden = isChain; });
    $("gates-card").hidden = Boolean(run.is_by_rank); // there a gate is 0 or 1
    document.querySelectorAll(".weighted").forEach((part) => { part.hidden = isChain || isRanked; });
    document.querySelectorAll(".schedule").forEach((part) => { part.hidden = isChain || isRanked; });
    $("no-knobs").hidden = !run.no_knobs;
    $("no-knobs").textContent = run.no_knobs || "";
    $("changes").hidden = !isChain;
    // A record holds neither weights nor clocks.
    $("order-card").hidden = Boolean(run.is_recorded) || run.n_sites > 65536; // too many to be sorted ten times a second
    if (run.is_recorded) ["activity-card", "effect"].forEach((id) => { $(id).hidden = true; });
    if (run.is_recorded) document.querySelectorAll(".live").forEach((part) => { part.hidden = true; });
    document.querySelector("main").classList.toggle("flat", !isChain); // no knobs
    document.querySelector("main").classList.toggle("recorded", Boolean(run.is_recorded));
    $("knobs-title").textContent = isChain ? "Knobs" : "No knobs";
    $("sites-words").textContent = run.path ? "n(t) sites may be kept at this time; it rests at every level of the path." : isChain ? "n(t) sites may be kept at this time; it falls to n, and the chain chooses which."
      : isRanked ? "Kept after each round of scoring; the last round leaves n."
        : "Dotted: n. Kept: gates above one half.";
    $("losses-words").textContent = run.is_by_rank ? `By rank L_tot = L_cla${run.objective ? `, which is: ${run.objective}` : " on the evaluation rows"}; the chain minimises it.` : run.objective
      ? `L_tot = L_cla + alpha (L_sel + L_rej), where L_cla is: ${run.objective}.`
      : isRanked ? "Only L_cla, on the training batches, is minimised; sites are dropped by their scores."
        : isChain ? "L_tot = L_cla + alpha (L_sel + L_rej) on the evaluation rows; the chain minimises L_tot." : "L_tot = L_cla + alpha (L_sel + L_rej) on the training batches.";
    $("validation-title").textContent = `${run.is_weighted ? "Weighted validation" : "Validation"} ${measure()}, hard mask`;
    $("validation-words").textContent = run.blocks && !run.is_recorded
      ? `Measured some 40 times in a run, here every ${count(Math.max(1, Math.floor(run.blocks / 40)))} blocks.` : "Measured some 40 times in a run.";
    $("rate-title").textContent = isChain ? "Proposals per second" : "Steps of backprop per second";
    $("rate-words").textContent = isChain ? "Steps of the chain, walks included; the time includes the classifier's training." : "";
    Charts.unit(isChain ? "proposals" : "steps of backprop");
    if (run.is_digits) Digits.shape(run);
  }

  const measure = () => ({ regression: "R2", multilabel: "label accuracy" })[run.task] || "accuracy";
  const figure = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "-");

  function showOutcome() {
    const isFailed = status === "failed";
    $("outcome").hidden = !scores.length && !isFailed;
    $("outcome").classList.toggle("failed", isFailed);
    $("answer").textContent = (run.answer || []).join(" ");
    $("outcome-title").textContent = isFailed ? "The run has failed" : "Result";
    const folder = run.folder;
    const early = !run.stopped ? "" : run.stopped.reason === "finish" ? `Finished after block ${count(run.stopped.block)}. `
      : `Stopped early, after block ${count(run.stopped.block)} of ${count(run.blocks)}. `;
    $("outcome-words").textContent = isFailed ? notes[notes.length - 1] || ""
      : status !== "done" ? `${early}The search has ended; the table fills as the tests end.`
        : folder ? `${early}Written to ${folder}. For a page to keep: mcprune report ${folder}` : "";
    showScores();
  }

  function showScores() {
    if (!scores.length) { $("result").replaceChildren(); return; }
    const columns = [[run.is_digits ? "network" : "mask", (score) => score.name], [run.is_digits ? run.unit : "sites", (score) => count(score.kept)],
      [`${run.is_weighted ? "weighted test" : "test"} ${measure()}`, (score) => fixed(score.accuracy, 4)]];
    if (run.task === "regression") columns.push(["RMSE", (score) => figure(score.rmse)], ["MAE", (score) => figure(score.mae)]);
    if (run.objective) columns.push([run.objective, (score) => fixed(score.objective, 4)]);
    const rowOf = (kind, texts) => { const row = make("tr", ""); row.append(...texts.map((text) => make(kind, text))); return row; };
    const table = make("table", "");
    table.append(rowOf("th", columns.map(([title]) => title)));
    scores.forEach((score) => table.append(rowOf("td", columns.map(([, text]) => text(score)))));
    $("result").replaceChildren(table);
  }

  // The figures and the mask are drawn at most once for each frame of the screen.
  function frame() {
    if (isNew && latest && !document.hidden) {
      isNew = false;
      showFigures();
      Picture.draw(latest);
      Order.draw();
    } else if (Order.isMoving() && !document.hidden) Order.draw();
    requestAnimationFrame(frame);
  }

  const receive = {
    state(state) {
      run = state.run;
      changes = state.changes;
      scores = state.scores;
      notes = state.notes;
      canUndo = state.can_undo;
      PathCurve.show(run.path);
      $("name").textContent = run.is_digits ? Digits.title(run) : run.name ? `${run.name}, ${run.path ? PathCurve.title() : `${count(run.keep)} of ${count(run.n_sites)} sites`}` : "";
      $("about").textContent = run.rows
        ? `${count(run.rows.train)} training rows; ${run.classifier}; ${run.device}, ${run.threads} thread${run.threads === 1 ? "" : "s"}${run.folder ? `; ${run.folder}` : ""}`
        : "Loading the data and compiling the engine.";
      if (run.n_sites) { Picture.begin(run); Order.begin(run); }
      shape();
      showStage(run.stage);
      Knobs.limit(run);
      Knobs.show(state.knobs, true);
      Knobs.unused(state.unused);
      Charts.reset(state.series);
      $("notes").replaceChildren(...notes.map((note) => make("li", note)));
      if (state.latest.figures) { latest = state.latest; isNew = true; Order.add(latest); Charts.histogram(latest.histogram); }
      become(state.status);
      showLog();
      showOutcome();
    },
    figures(data) { if (!latest) say(""); latest = data; isNew = true; Charts.add(data); Order.add(data); },
    stage(data) { showStage(data.text); },
    path(data) { run.path = data; PathCurve.show(data); },
    stopped(data) { run.stopped = data; showOutcome(); },
    hardened(data) { latest = data; isNew = true; Order.add(data); Charts.histogram(data.histogram); },
    status(data) { become(data.status); showOutcome(); },
    note(data) {
      notes = [...notes, data.text].slice(-50);
      if (/^(no )?checkpoint|^refused|^finish/.test(data.text)) say(data.text);
      $("notes").append(make("li", data.text));
      while ($("notes").children.length > 50) $("notes").firstChild.remove();
    },
    knob_changed(data) {
      changes = [...changes.filter((entry) => entry.number !== data.entry.number), data.entry].slice(-200);
      canUndo = data.can_undo;
      Knobs.show(data.knobs);
      Knobs.unused(data.unused);
      if (latest) { // the hints are out of date, and while the run is paused no figures follow
        for (const name of ["delta", "temperature", "alpha"]) if (typeof data.knobs[name] === "number") latest[name] = data.knobs[name];
        Object.assign(latest, { hints: [], unused: data.unused });
        latest.constant_since = data.entry.proposals;
        hints.clear();
        isNew = true;
      }
      if (data.entry.origin === "undo") Object.keys(data.entry.knobs).forEach((name) => Knobs.clear(name));
      become(status);
      showLog();
    },
    compared(data) { changes = changes.map((entry) => (entry.number === data.number ? data : entry)); showLog(); },
    scored(data) { scores = [...scores.filter((score) => score.name !== data.name), data]; showOutcome(); },
    run_done(data) { scores = data.scores; run.answer = data.answer; showOutcome(); },
  };

  // An event source does not say why it was refused; a request for the head alone does.
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
    for (const [kind, handle] of Object.entries(receive)) source.addEventListener(kind, (event) => handle(JSON.parse(event.data)));
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
    box.hidden = /backprop|schedule|ranked/.test(where); // until the kind of run is known
    figures[name] = make("dd", "-");
    box.append(make("dt", name), figures[name]);
    $("figures").append(box);
  }
  $("pause").addEventListener("click", () => request(status === "paused" ? "resume" : "pause"));
  ["step", "checkpoint", "undo"].forEach((id) => $(id).addEventListener("click", () => request(id)));
  for (const [id, name] of Object.entries(TWICE)) {
    $(id).addEventListener("click", () => {
      if ($(id).dataset.sure) { request(id); return; }
      $(id).dataset.sure = "1";
      $(id).textContent = `Press again to ${id}`;
      setTimeout(() => { delete $(id).dataset.sure; $(id).textContent = name; }, 4000);
    });
  }
  // A reload keeps what was unfolded.
  $("more").open = sessionStorage.getItem("more") === "open";
  $("more").addEventListener("toggle", () => sessionStorage.setItem("more", $("more").open ? "open" : ""));
  Knobs.build((changes) => post("knobs", changes));
  Knobs.enable(false);
  become("connecting");
  Charts.start();
  connect();
  frame();
})();
