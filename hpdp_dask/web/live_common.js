// What the live pages of all crafts share: the frame of the page, charts, tables, and how it
// hears of the stream (live_desk.py). The script of the craft follows in the same module.

const ENDED = 15000; // milliseconds without a word from the server

const sheet = (title, buttons, middle) => `
<div class="lost" data-at="lost" role="status" hidden></div>
<header>
  <b>${title}</b><span class="source" data-at="source"></span><span class="space"></span>
  ${buttons}
  <button data-at="end">End the stream</button>
</header>
<main>
  ${middle}
  <div class="tables">
    <section><h2>Set aside</h2><div data-at="asides"></div></section>
    <section><h2>Work <small>CPU milliseconds a frame</small></h2><div data-at="work"></div></section>
  </div>
</main>`;

const RATE = `<section><h2>Frames a second</h2><svg data-at="rate" role="img" aria-label="Frames a second over time"></svg></section>`;
const LAG = `<section><h2>Lag <small><i class="key"></i>median<i class="key second"></i>95 %</small></h2>
      <svg data-at="lag" role="img" aria-label="Lag over time"></svg></section>`;

const whole = number => Math.round(number).toLocaleString("en");
const seconds = value => value === null ? "–" : value < 10 ? `${value.toFixed(2)} s` : `${whole(value)} s`;
const percent = share => Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : "–";

class LivePage {
  // a craft gives its sheet, and shows its part of each message in `show`
  constructor(model, view, root, html) {
    this.model = model;
    this.root = root;
    this.heard = Date.now();
    this.asked = false;
    root.innerHTML = html;
    this.at("end").onclick = () => this.end();
    model.on("msg:custom", message => this.receive(message.data ?? message));
    this.timer = setInterval(() => this.watch(), 3000);
    view.model.document?.on_event("connection_lost", () => this.lose());
    model.send_msg({ kind: "hello" });
  }

  at(name) {
    return this.root.querySelector(`[data-at="${name}"]`);
  }

  stop() {
    clearInterval(this.timer);
  }

  watch() {
    if (Date.now() - this.heard > ENDED) this.lose();
  }

  lose() {
    const lost = this.at("lost");
    lost.textContent = this.ended ? "The stream has ended." : "This page does not hear of the stream any more.";
    lost.classList.toggle("ended", Boolean(this.ended));
    lost.hidden = false;
  }

  end() {
    // twice, since it cannot be undone
    const button = this.at("end");
    if (this.asked) {
      this.model.send_msg({ kind: "end" });
      button.disabled = true;
    } else {
      this.asked = true;
      button.textContent = "Really end it?";
      setTimeout(() => { this.asked = false; if (!button.disabled) button.textContent = "End the stream"; }, 4000);
    }
  }

  receive(state) {
    if (state.kind !== "state") return;
    this.heard = Date.now();
    this.ended = state.ended;
    this.at("lost").hidden = true;
    this.at("source").textContent = state.source;
    const end = this.at("end");
    end.hidden = state.ended;
    if (state.ending) {
      end.disabled = true;
      end.textContent = "Ending …";
    }
    const { ago, rate, lag, lag_95 } = state.course;
    curves(this.at("rate"), ago, [["first", rate]], value => whole(value));
    curves(this.at("lag"), ago, [["first", lag], ["second", lag_95]], 
           value => `${value < 99.5 ? value.toPrecision(2) : whole(value)} s`);
    this.asides(state);
    table(this.at("work"), state.work.slice(0, 8).map(part => [part.name, "", part.milliseconds.toFixed(3)]),
          "Nothing yet.");
    this.show(state);
  }

  tiles(tiles) {
    this.at("tiles").replaceChildren(...tiles.map(([name, value, small, bad]) => {
      const tile = document.createElement("section");
      tile.classList.toggle("bad", Boolean(bad));
      tile.append(element("span", name), element("b", value), element("small", small || "\u00a0"));
      return tile;
    }));
  }

  asides(state) {
    const rows = state.asides.map(each => [each.reason, each.words, whole(each.number)]);
    if (state.missing) rows.push(["missing", "never came", whole(state.missing)]);
    table(this.at("asides"), rows, "Nothing was set aside.");
  }
}

// The tiles that all pages have.
const framesTile = state =>
  ["Frames", whole(state.frames), state.total ? `of ${whole(state.total)}` : `${whole(state.rate * 3600)} an hour`];
const rateTile = state =>
  ["Frames a second", state.rate < 10 ? state.rate.toFixed(1) : whole(state.rate), state.waiting ? `${whole(state.waiting)} wait` : "none waits"];
const hitsTile = state =>
  ["Hits", percent(state.frames ? state.hits / state.frames : NaN), `${whole(state.hits)} frames`];
const lagTile = state => ["Lag, 95 %", seconds(state.lag), `since the start: ${seconds(state.lags[1])}`];
const asideTile = state => {
  const aside = state.asides.reduce((sum, each) => sum + each.number, 0);
  return ["Set aside", whole(aside), state.missing ? `${whole(state.missing)} never came` : "", aside > 0];
};

function element(name, text) {
  const found = document.createElement(name);
  found.textContent = text;
  return found;
}

function picture(source, caption, kind) {
  const figure = document.createElement("figure");
  figure.className = kind;
  const image = document.createElement("img");
  image.src = source;
  image.alt = `Frame ${caption}`;
  figure.append(image, element("figcaption", caption));
  return figure;
}

function table(place, rows, none) {
  if (!rows.length) {
    const words = element("p", none);
    words.className = "none";
    place.replaceChildren(words);
    return;
  }
  const found = document.createElement("table");
  for (const [name, words, value] of rows) {
    const row = found.insertRow();
    const first = row.insertCell();
    first.textContent = name;
    if (words) first.append(element("small", words));
    row.insertCell().textContent = value;
  }
  place.replaceChildren(found);
}

// ---- charts: plain SVG, drawn anew each time

const BOX = { left: 46, right: 8, top: 8, bottom: 20 };

function frameOf(svg) {
  const width = svg.clientWidth || 400, height = svg.clientHeight || 170;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  return { width, height, across: width - BOX.left - BOX.right, up: height - BOX.top - BOX.bottom };
}

function draw(svg, name, attributes, text) {
  const found = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  if (text !== undefined) found.textContent = text;
  svg.append(found);
}

function nice(most) {
  // the next of 1, 2, 5, 10 ... above
  const power = 10 ** Math.floor(Math.log10(most || 1));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= most * 0.999) ?? power;
}

function levels(svg, frame, [bottom, top], spoken) {
  for (const share of [0, 0.5, 1]) {
    const y = BOX.top + frame.up * (1 - share);
    draw(svg, "line", { class: "grid", x1: BOX.left, x2: frame.width - BOX.right, y1: y, y2: y });
    draw(svg, "text", { x: BOX.left - 6, y: y + 4, "text-anchor": "end" }, spoken(bottom + (top - bottom) * share));
  }
}

// the height of a value between what is at the bottom and what is at the top
const height = (frame, [bottom, top], value) =>
  BOX.top + frame.up * (1 - Math.min(1, Math.max(0, (value - bottom) / (top - bottom))));

function curves(svg, ago, all, spoken, range) {
  const frame = frameOf(svg);
  const known = all.flatMap(([, values]) => values).filter(value => value !== null);
  const ends = range ?? [0, known.length ? nice(Math.max(...known, 1e-9)) : 1];
  const span = Math.max(60, ago[0] ?? 0);
  levels(svg, frame, ends, spoken);
  for (const [text, share, anchor] of [[`${spokenSpan(span)} ago`, 0, "start"], ["now", 1, "end"]])
    draw(svg, "text", { x: BOX.left + share * frame.across, y: frame.height - 4, "text-anchor": anchor }, text);
  for (const [kind, values] of all) {
    // what was not known is left out, not bridged
    let line = [];
    for (const [place, value] of [...values, null].entries()) {
      if (value !== null) {
        const x = BOX.left + frame.across * (1 - ago[place] / span);
        line.push([x.toFixed(1), height(frame, ends, value).toFixed(1)]);
        continue;
      }
      if (line.length > 1) draw(svg, "polyline", { class: kind, points: line.join(" ") });
      if (line.length === 1) draw(svg, "circle", { class: `${kind} alone`, r: 1.5, cx: line[0][0], cy: line[0][1] });
      line = [];
    }
  }
}

function spokenSpan(span) {
  return span < 120 ? `${Math.round(span)} s` : span < 7200 ? `${Math.round(span / 60)} min` : `${(span / 3600).toFixed(1)} h`;
}

function bars(svg, edges, counts) {
  const frame = frameOf(svg);
  const top = nice(Math.max(...counts, 1));
  levels(svg, frame, [0, top], whole);
  if (!counts.length) return;
  const low = Math.log(edges[0]), high = Math.log(edges.at(-1));
  const x = edge => BOX.left + frame.across * (Math.log(edge) - low) / (high - low);
  const path = counts.map((count, place) => count &&
    `M${x(edges[place]).toFixed(1)},${BOX.top + frame.up}V${(BOX.top + frame.up * (1 - count / top)).toFixed(1)}` +
    `H${x(edges[place + 1]).toFixed(1)}V${BOX.top + frame.up}Z`).filter(Boolean).join("");
  draw(svg, "path", { class: "bars", d: path });
  const ticks = [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10].flatMap(step => [1, 10, 100, 1000].map(power => step * power))
    .filter(tick => tick >= edges[0] && tick <= edges.at(-1)).sort((a, b) => a - b);
  let last = -Infinity;
  for (const tick of ticks) {
    if (x(tick) - last < 34) continue;
    last = x(tick);
    draw(svg, "text", { x: last, y: frame.height - 4, "text-anchor": "middle" }, `${tick}`);
  }
}

// What Panel renders, of a page as its craft has it.
const rendered = Page => ({
  render({ model, view, el }) {
    const root = document.createElement("div");
    root.className = `live-page${model.full_page ? " full" : ""}`;
    el.appendChild(root);
    const page = new Page(model, view, root);
    model.on("remove", () => page.stop());
  },
});
