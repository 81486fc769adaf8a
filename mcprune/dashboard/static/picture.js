/* The mask: a picture where the inputs are an image, else sorted bars with names. */
"use strict";

const Picture = (() => {
  const BARS = 200;
  const READ = 60; // names of kept sites that are read aloud
  let run = {};
  let items = null;

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const rgb = (name) => {
    const text = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return [1, 3, 5].map((place) => parseInt(text.slice(place, place + 2), 16));
  };

  function canvas(kept, share, start, shape) {
    const [height, width] = shape.slice(-2);
    const planes = shape.length === 3 ? shape[0] : 1;
    let element = document.querySelector("#mask canvas");
    if (!element) {
      element = document.createElement("canvas");
      element.setAttribute("role", "img");
      document.getElementById("mask").prepend(element);
    }
    const scale = Math.max(1, Math.ceil(320 / width));
    element.width = width * scale;
    element.height = height * scale;
    const brush = element.getContext("2d");
    const [on, off] = [rgb("--c1"), rgb("--off")];
    for (let place = 0; place < height * width; place += 1) {
      let now = 0;
      let lately = 0;
      for (let plane = 0; plane < planes; plane += 1) {
        const site = start + plane * height * width + place;
        now += kept[site] / planes;
        lately += share[site] / 255 / planes;
      }
      const [x, y] = [(place % width) * scale, Math.floor(place / width) * scale];
      const mix = (part) => `rgb(${off.map((level, tone) => Math.round(level + part * (on[tone] - level))).join()})`;
      brush.fillStyle = mix(0.55 * lately);
      brush.fillRect(x, y, scale, scale);
      if (now > 0) {
        const edge = scale > 6 ? 1 : 0;
        brush.fillStyle = mix(Math.max(now, 0.35));
        brush.fillRect(x + edge, y + edge, scale - 2 * edge, scale - 2 * edge);
      }
    }
    return element;
  }

  function bars(kept, share, start, size) {
    const list = Array.from({ length: size }, (_, place) => start + place)
      .sort((one, other) => kept[other] - kept[one] || share[other] - share[one] || one - other).slice(0, BARS);
    if (!items || items.length !== list.length) {
      const element = document.createElement("ul");
      element.className = "bars";
      element.tabIndex = 0;
      element.setAttribute("aria-label", "Sites by the share of recent blocks in which they were kept");
      items = list.map(() => {
        const item = document.createElement("li");
        const [label, bed, fill] = ["span", "span", "div"].map((kind) => document.createElement(kind));
        label.className = "label"; bed.className = "bed"; fill.className = "fill";
        bed.append(fill);
        item.append(label, bed);
        element.append(item);
        return { item, label, fill };
      });
      document.querySelector("#mask .bars")?.remove();
      document.getElementById("mask").append(element);
    }
    list.forEach((site, place) => {
      const { item, label, fill } = items[place];
      const part = Math.round(share[site] / 2.55);
      item.className = kept[site] ? "in" : "out";
      label.textContent = run.names ? run.names[site] : `site ${site}`;
      label.title = `${label.textContent}: ${kept[site] ? "kept" : "dropped"}, ${run.is_recorded ? `mean gate ${part}%` : `kept in ${part}% of recent blocks`}`;
      fill.style.width = `${part}%`;
    });
  }

  // What the pointer is on, by name.
  function under(element, kept, share) {
    element.onpointermove = (event) => {
      const [height, width] = run.image_shape.slice(-2);
      const place = (at, length, number) => Math.min(number - 1, Math.max(0, Math.floor(at / length * number)));
      const site = place(event.offsetY, element.clientHeight, height) * width + place(event.offsetX, element.clientWidth, width);
      element.title = `${run.names ? run.names[site] : `site ${site}`}: ${kept[site] ? "kept" : "dropped"}, ${Math.round(share[site] / 2.55)}%`;
    };
  }

  function draw(latest) {
    const words = document.getElementById("mask-words");
    const count = `${latest.figures.kept} of ${run.n_sites} sites are kept`;
    if (!latest.mask) { words.textContent = `${count}; there are too many sites for a picture.`; return; }
    const packed = bytes(latest.mask);
    const share = bytes(latest.share);
    const kept = Uint8Array.from({ length: run.n_sites }, (_, site) => (packed[site >> 3] >> (7 - (site & 7))) & 1);
    const first = run.sites[0];
    const isImage = run.image_shape && first.kind === "inputs";
    const when = !run.is_recorded ? "now" : run.is_done ? "at the end" : "at the last record";
    const often = run.is_recorded ? "mean gate over the search" : "share of recent blocks in which a site was kept";
    words.textContent = isImage
      ? `${count}. Full colour: kept ${when}; the shade behind: ${often}.`
      : `${count}. Bars: ${often}; blue: kept ${when}.`;
    if (isImage) {
      const element = canvas(kept, share, 0, run.image_shape);
      const inside = run.names ? run.names.filter((_, site) => site < first.size && kept[site]).slice(0, READ).join(", ") : "";
      element.setAttribute("aria-label", `${count}, as a picture of the inputs${inside && `: ${inside}`}`);
      under(element, kept, share);
    }
    const rest = isImage ? first.size : 0;
    if (run.n_sites > rest) bars(kept, share, rest, run.n_sites - rest);
  }

  return { begin(info) { run = info; }, draw };
})();
