// How the label page looks: its skeleton, tiles, the large picture, progress.

const SKELETON = `
<header>
  <div class="title"><b>Label</b> <span data-at="name"></span></div>
  <label>Order <select data-at="order"></select></label>
  <label>Show <select data-at="only"></select></label>
  <label>Tiles <select data-at="size"></select></label>
  <span class="group" title="Contrast: + and -, s, c">
    <select data-at="scale" title="Scale (s)"></select>
    <button data-at="darker" title="Darker (-)">−</button>
    <button data-at="brighter" title="Brighter (+)">+</button>
    <select data-at="high" title="Share of the pixels below the last colour"></select>
    <select data-at="colours" title="Colours (c)"></select>
  </span>
  <span class="space"></span>
  <label>You <input data-at="person" size="9" maxlength="40" spellcheck="false"></label>
  <span class="group"><button data-at="theme" title="Light or dark">◐</button>
    <button data-at="question" title="Keys (?)">?</button></span>
</header>
<section class="state">
  <div class="classes" data-at="classes"></div>
  <div class="progress"><span data-at="progress"></span><span data-at="curve"></span>
    <span data-at="estimate" class="estimate"></span></div>
</section>
<main data-at="main"><div class="grid" data-at="grid" role="grid"></div>
  <p class="message" data-at="message" hidden></p></main>
<footer><button data-at="previous" title="Previous (p)">‹</button>
  <span data-at="place"></span>
  <button data-at="next" title="Next (n)">Next ›</button>
  <span class="space"></span><span data-at="status" role="status"></span></footer>
<div class="zoom" data-at="zoom" hidden>
  <div class="picture"><img data-at="large" alt=""></div>
  <aside><h2 data-at="heading"></h2><div data-at="given" class="given"></div>
    <div class="group"><button data-at="before" title="Back (←)">‹</button>
      <button data-at="after" title="On (→)">›</button>
      <button data-at="close" title="Close (z, Esc)">Close</button></div>
    <table data-at="numbers"></table>
  </aside>
</div>
<div class="lost" data-at="lost" hidden>The server does not answer. What you label now is kept in
  this browser and saved when it is there again.</div>
<div class="help" data-at="help" hidden><table>
  <tr><td><kbd>1</kbd> … <kbd>9</kbd></td><td>label, and go on</td></tr>
  <tr><td><kbd>←</kbd> <kbd>→</kbd> <kbd>↑</kbd> <kbd>↓</kbd></td><td>move</td></tr>
  <tr><td><kbd>space</kbd></td><td>go on without a label</td></tr>
  <tr><td><kbd>u</kbd>, <kbd>Ctrl</kbd> <kbd>z</kbd></td><td>undo</td></tr>
  <tr><td><kbd>0</kbd>, <kbd>Del</kbd></td><td>take the label away</td></tr>
  <tr><td><kbd>z</kbd>, <kbd>Enter</kbd></td><td>one large pattern, and back</td></tr>
  <tr><td><kbd>n</kbd> <kbd>p</kbd></td><td>next and previous batch</td></tr>
  <tr><td><kbd>+</kbd> <kbd>−</kbd></td><td>brighter, darker</td></tr>
  <tr><td><kbd>s</kbd> <kbd>c</kbd></td><td>scale, colours</td></tr>
  <tr><td><kbd>?</kbd></td><td>these keys</td></tr>
</table></div>`;

const DRAWING = {
  build() {
    this.root.innerHTML = SKELETON;
    this.setTheme(recall("hpdp theme", ""));
    this.root.classList.toggle("full", this.model.full_page);
    if (this.model.full_page) document.body.style.margin = "0";
    this.fill(this.at("size"), Object.fromEntries(SIZES.map(n => [n, n])));
    this.fill(this.at("scale"), Object.fromEntries(SCALES.map(s => [s, s])));
    this.fill(this.at("colours"), Object.fromEntries(TABLES.map(s => [s, s.replace("_r", ", inverted")])));
    this.fill(this.at("high"), { 99: "99 %", 99.5: "99.5 %", 99.9: "99.9 %", 100: "100 %" });
    const on = (name, event, act) => this.at(name).addEventListener(event, e => {
      act(e);
      if (e.target.tagName === "SELECT") e.target.blur(); // so that keys label again
    });
    for (const name of ["order", "only"]) {
      on(name, "change", () => {
        this.deck.choose(this.at("order").value, this.at("only").value);
        this.draw();
      });
    }
    on("size", "change", e => {
      this.deck.resize(Number(e.target.value));
      remember("hpdp size", e.target.value);
      this.draw();
    });
    for (const name of ["scale", "colours"]) {
      on(name, "change", e => this.adjust({ [name]: e.target.value }));
    }
    on("high", "change", e => this.adjust({ high: Number(e.target.value) }));
    on("person", "change", e => {
      this.store.person = e.target.value.trim() || this.store.person;
      remember("hpdp person", this.store.person);
    });
    const clicks = {
      darker: "-", brighter: "+", previous: "p", next: "n", question: "?",
      before: "ArrowLeft", after: "ArrowRight", close: "z",
    };
    for (const [name, key] of Object.entries(clicks)) on(name, "click", () => this.act(key));
    on("help", "click", () => this.act("?"));
    on("theme", "click", () => this.setTheme(isDark(this.root) ? "light" : "dark"));
    on("large", "click", () => this.act("z"));
    // buttons do not take the keys away; a page in the frame of a notebook must have them first
    this.root.addEventListener("mousedown", e => {
      if (e.target.closest("button")) e.preventDefault();
      window.focus();
      if (!e.target.closest("input, select")) this.root.querySelector(":focus")?.blur();
    });
  },

  fill(select, choices) {
    select.replaceChildren(...Object.entries(choices).map(([value, text]) => {
      return Object.assign(document.createElement("option"), { value, textContent: text });
    }));
  },

  drawClasses() {
    const make = (name, i) => {
      const button = document.createElement("button");
      button.style.setProperty("--colour", COLOURS[i]);
      button.append(element("kbd", i + 1), element("span", name), element("b", "0"));
      button.title = `Label the current pattern ${name} (${i + 1})`;
      button.addEventListener("click", () => this.act(String(i + 1)));
      return button;
    };
    this.at("classes").replaceChildren(...this.store.classes.map(make));
    this.at("given").replaceChildren(...this.store.classes.map(make));
  },

  draw() {
    if (!this.orders) return;
    const { deck } = this;
    this.at("order").value = deck.order;
    this.at("only").value = deck.only;
    this.at("scale").value = this.contrast.scale;
    this.at("colours").value = this.contrast.colours;
    this.at("high").value = this.contrast.high;
    this.drawGrid();
    this.drawProgress();
    this.drawPictures();
    if (this.zoomed) this.drawZoom();
  },

  drawGrid() {
    const { deck } = this;
    const page = deck.page;
    const grid = this.at("grid");
    while (grid.children.length > page.length) grid.lastChild.remove();
    while (grid.children.length < page.length) grid.append(this.makeTile(grid.children.length));
    page.forEach((frame, i) => {
      const tile = grid.children[i];
      const label = this.store.label(frame);
      tile.dataset.frame = frame;
      tile.dataset.label = label ?? "";
      tile.classList.toggle("current", i === deck.current);
      tile.classList.toggle("labelled", label !== null);
      tile.style.setProperty("--colour", this.colour(label));
      tile.querySelector("span").textContent = label ?? "";
      tile.querySelector("small").textContent = frame;
      tile.setAttribute("aria-label", `frame ${frame}${label ? `, ${label}` : ""}`);
    });
    const message = this.at("message");
    message.hidden = page.length > 0;
    message.textContent = deck.isWaiting
      ? "Looking for patterns …"
      : deck.isChanging && !deck.only ? "All patterns have a label." : "There is no such pattern.";
    this.layout();
  },

  makeTile(place) {
    const tile = element("div");
    tile.className = "tile";
    tile.setAttribute("role", "gridcell");
    const image = element("img");
    image.alt = "";
    image.draggable = false;
    const caption = element("div");
    caption.append(element("span"), element("small"));
    tile.append(image, caption);
    tile.addEventListener("click", () => this.move(place));
    tile.addEventListener("dblclick", () => this.zoom(true));
    return tile;
  },

  colour(label) {
    return label === null ? "transparent" : COLOURS[this.store.classes.indexOf(label)] ?? "#5b6577";
  },

  // As many columns as make the tiles largest.
  layout() {
    const main = this.at("main");
    const count = this.deck.page.length || this.deck.size;
    const gap = 8;
    const caption = 22;
    let best = 0;
    for (let columns = 1; columns <= count; columns++) {
      const rows = Math.ceil(count / columns);
      const wide = (main.clientWidth - gap * (columns + 1)) / columns;
      const high = (main.clientHeight - gap * (rows + 1)) / rows - caption;
      const side = Math.floor(Math.min(wide, high));
      if (side > best) [best, this.columns] = [side, columns];
    }
    // what is too small to see is scrolled
    if (best < 64) {
      best = 64;
      this.columns = Math.max(1, Math.floor((main.clientWidth - gap) / (best + gap)));
    }
    const grid = this.at("grid");
    grid.style.gridTemplateColumns = `repeat(${this.columns}, ${best}px)`;
    grid.style.setProperty("--side", `${best}px`);
    grid.children[this.deck.current]?.scrollIntoView({ block: "nearest" });
  },

  // Shows the pictures that are there and asks for the others, those of the next page last.
  drawPictures() {
    const { deck } = this;
    const page = deck.page;
    [...this.at("grid").children].forEach((tile, i) => this.show(tile.firstChild, page[i], "small"));
    const open = page.filter(frame => this.store.label(frame) === null).length;
    this.ask(page, "small");
    if (!deck.isChanging || open <= deck.size / 3) this.ask(deck.upcoming(), "small");
    if (this.zoomed && deck.frame !== undefined) {
      const large = this.at("large");
      if (!this.show(large, deck.frame, "large")) this.show(large, deck.frame, "small");
      this.ask(page.slice(deck.current, deck.current + 2), "large");
    }
  },

  show(image, frame, size) {
    const found = this.pictures[size].get(frame) ?? this.stale[size].get(frame);
    const address = found ?? "data:,";
    if (image.src !== address && (found || size === "small")) image.src = address;
    image.classList.toggle("absent", !image.src || image.src === "data:,");
    return Boolean(found);
  },

  ask(frames, size) {
    const { pictures, asked } = this;
    const missing = frames.filter(f => !pictures[size].has(f) && !asked[size].has(f));
    if (!missing.length) return;
    missing.forEach(frame => asked[size].add(frame));
    this.send({ kind: "paint", frames: missing, size, version: this.version, ...this.contrast });
  },

  drop(size) {
    const { pictures } = this;
    const kept = new Set(this.deck.page);
    for (const [frame, address] of pictures[size]) {
      if (pictures[size].size <= KEPT_PICTURES) return;
      if (kept.has(frame)) continue;
      URL.revokeObjectURL(address);
      pictures[size].delete(frame);
    }
  },

  drawZoom() {
    const { frame } = this.deck;
    this.at("heading").textContent = frame === undefined ? "" : `Frame ${frame}`;
    const label = frame === undefined ? null : this.store.label(frame);
    [...this.at("given").children].forEach((button, i) => {
      button.classList.toggle("chosen", this.store.classes[i] === label);
    });
    this.drawNumbers();
    if (frame !== undefined && !this.numbers.has(frame)) this.send({ kind: "describe", frame });
  },

  drawNumbers() {
    const { frame } = this.deck;
    const held = frame === undefined ? undefined : this.store.get(frame);
    const rows = [...(this.numbers.get(frame) ?? [])];
    if (held) rows.unshift(["label", held[1] ? `${held[0]} (${held[1]})` : held[0]]);
    this.at("numbers").replaceChildren(...rows.map(([name, value]) => {
      const row = element("tr");
      row.append(element("td", name), element("td", value));
      return row;
    }));
  },

  drawProgress() {
    const counts = this.store.counts();
    const total = [...counts.values()].reduce((sum, n) => sum + n, 0);
    for (const place of ["classes", "given"]) {
      [...this.at(place).children].forEach((button, i) => {
        button.querySelector("b").textContent = counts.get(this.store.classes[i]) ?? 0;
      });
    }
    this.at("progress").textContent = `${total} of ${this.count} labelled`;
    const { deck } = this;
    const pages = deck.total === null ? "" : ` of ${Math.max(1, Math.ceil(deck.total / deck.size))}`;
    this.at("place").textContent = `Batch ${Math.floor(deck.offset / deck.size) + 1}${pages}`;
    const waiting = this.store.pending.size;
    const status = this.at("status");
    status.classList.toggle("bad", Boolean(this.problem));
    status.textContent = this.problem || (waiting ? `Saving ${waiting} …` : "All saved");
  },
};

function element(tag, text) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  return made;
}

function isDark(root) {
  const theme = root.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// The precision of the estimates so far as a small curve, from 50 to 100 %.
function curve(history) {
  const [first, last] = [history[0]?.[0], history.at(-1)?.[0]];
  if (history.length < 3 || first === last) return "";
  const points = history.map(([labels, precision]) => {
    const x = 2 + 66 * (labels - first) / (last - first);
    return `${x.toFixed(1)},${(18 - 32 * Math.max(0, precision - 0.5)).toFixed(1)}`;
  });
  return `<svg width="70" height="20"><polyline points="${points.join(" ")}"/></svg>`;
}
