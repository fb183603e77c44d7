// The explorer of conformations: latent space on the left, what is under the cursor on the right,
// what is chosen below. Talks with the server (heterogeneity_view.py).

const SHEET = `
<div class="lost" data-at="lost" role="status" hidden>This page does not hear of its server any more. Start it again, and load the page anew.</div>
<header>
  <b>Conformations</b><span class="source" data-at="source"></span><span class="space"></span>
  <label>Across <select data-at="x"></select></label>
  <label>Up <select data-at="y"></select></label>
  <label>Colour <select data-at="colour"></select></label>
  <span class="group" role="group" aria-label="What dragging does">
    <button data-at="lasso" title="Drag draws a line around images (l)">Lasso</button>
    <button data-at="move" title="Drag moves the chart (m); the wheel zooms">Move</button>
    <button data-at="fit" title="Show all (double click)">All</button>
  </span>
</header>
<main>
  <section class="space-of">
    <div class="legend" data-at="legend"></div>
    <div class="chart" data-at="chart"><canvas></canvas><svg role="img" aria-label="Images by their latent variables"></svg><div class="tip" data-at="tip" hidden></div></div>
    <div class="chosen">
      <b data-at="count">Nothing is chosen</b>
      <button data-at="invert" hidden>Invert</button><button data-at="clear" hidden>Clear</button>
      <span class="save" data-at="save" hidden>
        <label>Save as <input data-at="name" value="chosen" spellcheck="false" autocomplete="off"></label>
        <select data-at="what" aria-label="Kind of file">
          <option value="stack">stack (.zarr)</option><option value="star">table (.star)</option><option value="lasso">lasso (.json)</option>
        </select>
        <button data-at="go">Save</button>
      </span>
    </div>
    <div class="gallery" data-at="gallery"></div>
    <div class="said" data-at="said" role="status"></div>
  </section>
  <section class="point">
    <div class="title"><label>Image <input type="number" min="0" data-at="image"></label>
      <span data-at="state"></span><button data-at="unpin" hidden title="Follow the cursor again (Esc)">Let go</button></div>
    <div class="grid">
      <figure class="large"><canvas data-at="surface" title="Drag to turn, wheel to enlarge, double click to turn back"></canvas>
        <figcaption>Surface <input type="range" min="1" max="1000" data-at="level" aria-label="Level of the surface">
          <button data-at="compare" aria-pressed="false" title="Keep this surface, in orange, and see others through it (c)">Compare</button></figcaption></figure>
      <div class="side">
        ${["recorded", "smoothed", "expected"].map((name, i) => `<figure><canvas data-at="${name}"></canvas><figcaption>${["As recorded", "Smoothed", "From its volume"][i]}</figcaption></figure>`).join("")}
      </div>
      ${["z", "y", "x"].map((name, i) => `<figure class="slice"><div><canvas data-at="slice${i}" title="Drag to move the slices"></canvas><i class="cross"></i></div><figcaption>Slice across ${name}</figcaption></figure>`).join("")}
      ${["z", "y", "x"].map((name, i) => `<figure><canvas data-at="projection${i}"></canvas><figcaption>Projection along ${name}</figcaption></figure>`).join("")}
    </div>
    <details><summary>All that is known of it</summary><div class="numbers" data-at="numbers"></div></details>
  </section>
</main>`;

const RESTS = 30; // milliseconds that the cursor is at a point before it is asked for
const CATEGORIES = ["#2468c9", "#e07b00", "#1a9e6c", "#d03a4a", "#8a56c9", "#16a3bf", "#b3900c", "#d457a5",
                    "#7a4a1c", "#5a6b85", "#7fb32d", "#9db5ea", "#f2b46b", "#80cfae", "#eb9aa2", "#bfa3e3",
                    "#86d3e0", "#ddc673", "#eeb0d8", "#b98d63", "#aab4c2", "#c2dd93", "#3a3f8f", "#0c5c4a"];
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"].map(colourOf);
const counted = number => number.toLocaleString("en");

class ExplorerPage {
  constructor(model, view, root) {
    this.model = model;
    this.root = root;
    root.innerHTML = SHEET;
    this.columns = new Map(); // name -> values of the drawn images, or null while they come
    this.scatter = new Scatter(this.at("chart"), {
      hover: (point, event) => this.hover(point, event),
      pick: point => this.look(this.images[point], true),
      lasso: (polygon, how) => this.send({ kind: "lasso", x: this.shown.x, y: this.shown.y, polygon, how }),
    });
    this.volume = new VolumeView({
      surface: this.at("surface"), level: this.at("level"),
      slices: [0, 1, 2].map(i => this.at(`slice${i}`)), projections: [0, 1, 2].map(i => this.at(`projection${i}`)),
    });
    this.pinned = false;
    this.wire();
    model.on("msg:custom", message => this.receive(message.data ?? message));
    view.model.document?.on_event("connection_lost", () => { this.at("lost").hidden = false; });
    this.send({ kind: "hello" });
  }

  at(name) {
    return this.root.querySelector(`[data-at="${name}"]`);
  }

  send(message) {
    this.model.send_msg(message);
  }

  wire() {
    const on = (name, act) => { this.at(name).onclick = act; };
    on("lasso", () => this.setMode("lasso"));
    on("move", () => this.setMode("move"));
    on("fit", () => this.scatter.fit());
    on("clear", () => this.clear());
    on("invert", () => { this.scatter.lasso = null; this.send({ kind: "invert" }); });
    on("unpin", () => this.release());
    on("go", () => this.save());
    on("compare", () => this.compare());
    this.at("name").onkeydown = event => { if (event.key === "Enter") this.save(); };
    for (const name of ["x", "y", "colour"]) this.at(name).onchange = () => this.arrange();
    this.at("image").onchange = event => {
      const image = Math.round(Number(event.target.value));
      if (event.target.value !== "" && image >= 0 && image < this.number) this.look(image, true);
      else this.say(`There is no image ${event.target.value}; they are 0 to ${this.number - 1}.`, true);
    };
    this.onKey = event => this.key(event);
    window.addEventListener("keydown", this.onKey);
    this.setMode("lasso");
    this.hint();
    this.theme = window.matchMedia("(prefers-color-scheme: dark)");
    this.onTheme = () => this.scatter.draw();
    this.theme.addEventListener("change", this.onTheme);
  }

  stop() {
    window.removeEventListener("keydown", this.onKey);
    this.theme.removeEventListener("change", this.onTheme);
    clearTimeout(this.timer);
    this.scatter.stop();
  }

  // ---- what the server says

  receive(message) {
    this[`on_${message.kind}`]?.(message);
  }

  on_start(start) {
    this.number = start.number;
    const images = bytesOf(start.images).slice();
    this.images = new Int32Array(images.buffer);
    this.points = new Map(Array.from(this.images, (image, point) => [image, point]));
    this.names = new Map(start.columns);
    const folder = start.folder.split("/");
    this.at("source").textContent = `${folder.at(-1)} · ${counted(start.number)} images` +
      (this.images.length < start.number ? `, of which ${counted(this.images.length)} are drawn` : "");
    this.at("source").title = start.folder;
    this.at("name").title = `In ${start.output}`;
    this.at("image").max = start.number - 1;
    const numbers = start.columns.filter(([, names]) => !names.length).map(([name]) => name);
    for (const name of ["x", "y"]) this.fill(name, numbers, start.first[name]);
    this.fill("colour", start.columns.map(([name]) => name), start.first.colour);
    this.volume.begin(start.level);
    this.extent = start.extent;
    this.arrange();
    this.look(this.images[0], false);
  }

  on_column({ name, values }) {
    const bytes = bytesOf(values).slice();
    this.columns.set(name, this.names.get(name).length ? bytes : new Float32Array(bytes.buffer));
    this.arrange();
  }

  on_chosen({ count, mask, isLasso }) {
    this.count = count;
    this.scatter.mask = count ? bytesOf(mask).slice() : null;
    if (!count || !isLasso) this.scatter.lasso = null;
    this.at("count").textContent = count ? `${counted(count)} of ${counted(this.number)} chosen` : "Nothing is chosen";
    this.at("count").dataset.count = count;
    for (const name of ["save", "clear", "invert"]) this.at(name).hidden = !count;
    const lasso = this.at("what").querySelector('[value="lasso"]');
    lasso.disabled = !isLasso;
    lasso.title = isLasso ? "" : "Only of what one lasso has chosen";
    if (!isLasso && this.at("what").value === "lasso") this.at("what").value = "stack";
    if (!count) this.hint();
    this.scatter.draw();
  }

  on_gallery({ pictures }) {
    this.at("gallery").replaceChildren(...pictures.map(each => {
      const canvas = document.createElement("canvas");
      showPicture(canvas, each);
      canvas.title = `Image ${each.image}, smoothed`;
      canvas.onclick = () => this.look(each.image, true);
      return canvas;
    }));
  }

  on_particle(message) {
    if (message.image !== this.image) return;
    for (const name of ["recorded", "smoothed"]) showPicture(this.at(name), message[name]);
    const table = document.createElement("table");
    for (const [name, value] of message.rows) {
      const row = table.insertRow();
      row.insertCell().textContent = name;
      row.insertCell().textContent = value;
    }
    this.at("numbers").replaceChildren(table);
  }

  on_volume(message) {
    if (message.image !== this.image) return;
    this.volume.show(message);
    showPicture(this.at("expected"), message.expected);
    this.root.dataset.volume = `${message.image} ${message.box}`;
    this.root.dataset.fine = message.isFine;
    this.finest = message.finest;
    this.isFine = message.isFine;
    this.tell();
  }

  on_saving({ path }) {
    this.say(`Writing ${path} …`);
    this.at("go").disabled = true;
  }

  on_saved({ path, count, what }) {
    const held = what === "lasso" ? `A lasso around ${counted(count)} particles` : `${counted(count)} particles`;
    this.say(`${held}: ${path}`);
    this.at("go").disabled = false;
  }

  on_problem({ text }) {
    this.say(text, true);
    this.at("go").disabled = false;
  }

  // ---- the chart

  fill(name, names, value) {
    this.at(name).replaceChildren(...names.map(each => new Option(each, each)));
    this.at(name).value = value;
  }

  // Shows what the three fields say, as soon as their columns are there.
  arrange() {
    const wanted = Object.fromEntries(["x", "y", "colour"].map(name => [name, this.at(name).value]));
    let isThere = true;
    for (const name of Object.values(wanted)) {
      if (this.columns.get(name)) continue;
      isThere = false;
      if (!this.columns.has(name)) this.send({ kind: "column", name });
      this.columns.set(name, null);
    }
    if (!isThere) return;
    const { x, y, colour } = wanted, before = this.shown ?? {};
    this.shown = wanted;
    if (before.colour !== colour) this.colour(colour);
    if (before.x !== x || before.y !== y) this.scatter.place(this.columns.get(x), this.columns.get(y), [x, y]);
    else this.scatter.draw();
    this.scatter.pin(this.pinned ? this.points.get(this.image) ?? -1 : -1);
    this.root.dataset.shown = `${x} ${y} ${colour}`;
  }

  colour(name) {
    const values = this.columns.get(name), names = this.names.get(name), legend = this.at("legend");
    const colours = new Uint32Array(values.length);
    legend.replaceChildren();
    if (names.length) {
      const palette = CATEGORIES.map(colourOf), counts = new Uint32Array(names.length);
      values.forEach((category, i) => { colours[i] = palette[category % palette.length]; counts[category]++; });
      names.forEach((each, category) => {
        const button = document.createElement("button");
        button.style.setProperty("--colour", CATEGORIES[category % CATEGORIES.length]);
        button.textContent = each;
        button.title = `${name} ${each}: ${counted(counts[category])} images drawn; click to choose them, with Shift to add, with Alt to take away`;
        button.onclick = event => {
          this.scatter.lasso = null;
          this.send({ kind: "pick", column: name, category, how: event.shiftKey ? "add" : event.altKey ? "remove" : "new" });
        };
        legend.append(button);
      });
    } else {
      const known = values.filter(Number.isFinite).sort();
      const low = known[Math.floor(0.01 * (known.length - 1))], high = known[Math.ceil(0.99 * (known.length - 1))];
      values.forEach((value, i) => { colours[i] = Number.isFinite(value) ? between((value - low) / (high - low || 1)) : colourOf("#8d99a8"); });
      const bar = document.createElement("i");
      const short = value => Number(value.toPrecision(3)).toString().replace("-", "−");
      legend.append(short(low), bar, short(high));
      legend.title = "From the 1st to the 99th percentile";
    }
    this.scatter.colours = colours;
  }

  setMode(mode) {
    this.scatter.mode = mode;
    for (const name of ["lasso", "move"]) this.at(name).setAttribute("aria-pressed", String(name === mode));
    this.at("chart").dataset.mode = mode;
  }

  // ---- one image

  hover(point, event) {
    const tip = this.at("tip");
    tip.hidden = point < 0;
    if (point < 0) return clearTimeout(this.timer);
    const image = this.images[point], { colour } = this.shown, names = this.names.get(colour), value = this.columns.get(colour)[point];
    tip.textContent = `Image ${image} · ${colour} ${names.length ? names[value] : Number(value.toPrecision(4))}`;
    const { offsetX: x, offsetY: y } = event;
    tip.style.translate = `${Math.min(x + 14, this.at("chart").clientWidth - tip.offsetWidth - 4)}px ${Math.max(2, y - 30)}px`;
    if (this.pinned || image === this.image) return;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.look(image, false), RESTS);
  }

  look(image, isPinned) {
    clearTimeout(this.timer);
    this.pinned = isPinned;
    this.at("unpin").hidden = !isPinned;
    this.scatter.pin(isPinned ? this.points.get(image) ?? -1 : -1);
    if (image !== this.image) {
      this.image = image;
      this.at("image").value = image;
      this.send({ kind: "look", image });
    }
    this.tell();
  }

  compare() {
    const isOn = !this.volume.compared;
    this.volume.compare(isOn);
    this.at("compare").setAttribute("aria-pressed", String(isOn));
    this.at("compare").textContent = isOn ? `Compared with ${this.image}` : "Compare";
  }

  release() {
    this.look(this.image, false);
  }

  tell() {
    const parts = [this.pinned ? "kept" : "under the cursor"];
    if (this.finest) parts.push(`volume to ${this.finest.toPrecision(2)} Å${this.isFine ? "" : " …"}`, `box ${Math.round(this.extent)} Å`);
    this.at("state").textContent = parts.join(" · ");
  }

  // ---- what is chosen

  clear() {
    this.scatter.lasso = null;
    this.send({ kind: "clear" });
  }

  save() {
    if (!this.count || this.at("go").disabled) return;
    this.send({ kind: "save", name: this.at("name").value, what: this.at("what").value });
  }

  hint() {
    const words = document.createElement("p");
    words.textContent = "Drag around images to choose them; with Shift to add, with Alt to take away. Click an image to keep its volume while the cursor goes on.";
    this.at("gallery").replaceChildren(words);
  }

  say(text, isBad = false) {
    this.at("said").textContent = text;
    this.at("said").classList.toggle("bad", isBad);
  }

  key(event) {
    const target = event.composedPath()[0];
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(target.tagName ?? "")) return;
    if (event.key === "l") this.setMode("lasso");
    if (event.key === "m") this.setMode("move");
    if (event.key === "c") this.compare();
    if (event.key === "Escape") {
      if (this.pinned) this.release();
      else if (this.count) this.clear();
    }
  }
}

// a colour of the table, between 0 and 1
function between(share) {
  const place = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1), k = Math.min(VIRIDIS.length - 2, Math.floor(place)), t = place - k;
  const mix = shift => Math.round((VIRIDIS[k] >> shift & 255) * (1 - t) + (VIRIDIS[k + 1] >> shift & 255) * t) << shift;
  return mix(0) | mix(8) | mix(16);
}

export default {
  render({ model, view, el }) {
    const root = document.createElement("div");
    root.className = `explorer-page${model.full_page ? " full" : ""}`;
    el.appendChild(root);
    const page = new ExplorerPage(model, view, root);
    model.on("remove", () => page.stop());
  },
};
