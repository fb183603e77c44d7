// A scatter chart of very many points: painted pixel by pixel, so that no graphics card is needed
// and a hundred thousand points take some milliseconds. Lasso, zoom, and the point under the cursor.

const MARGIN = { left: 50, right: 10, top: 8, bottom: 36 };
const REACH = 14; // pixels from the cursor to the nearest point that it can mean
const CLICK = 4; // pixels that a click may move
const CORNERS = 400; // of a lasso that is sent
const SVG = "http://www.w3.org/2000/svg";

class Scatter {
  // `on` has hover(point, event), pick(point), lasso(polygon, how); points are numbers in the arrays
  constructor(root, on) {
    this.root = root;
    this.on = on;
    this.canvas = root.querySelector("canvas");
    this.svg = root.querySelector("svg");
    this.x = this.y = new Float32Array(0);
    this.colours = new Uint32Array(0); // red, green, blue: 0xBBGGRR
    this.mask = null;
    this.names = ["", ""];
    this.mode = "lasso";
    this.pinned = this.hovered = -1;
    this.lasso = null;
    this.events = {
      pointerdown: event => this.press(event),
      pointermove: event => this.move(event),
      pointerup: event => this.release(event),
      pointercancel: () => { this.drag = null; this.lines(); },
      pointerleave: () => { if (!this.drag) this.hover(-1); },
      dblclick: () => this.fit(),
      wheel: event => this.wheel(event),
    };
    for (const [name, act] of Object.entries(this.events)) this.svg.addEventListener(name, act, { passive: false });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(root);
  }

  stop() {
    this.observer.disconnect();
  }

  // ---- what is shown

  place(x, y, names) {
    Object.assign(this, { x, y, names, lasso: null });
    this.fit();
  }

  fit() {
    this.view = [...bounds(this.x), ...bounds(this.y)];
    this.draw();
  }

  get size() {
    const { clientWidth: width, clientHeight: height } = this.root;
    return { width, height, across: Math.max(20, width - MARGIN.left - MARGIN.right),
             up: Math.max(20, height - MARGIN.top - MARGIN.bottom) };
  }

  // pixels of a point of the data, and back
  at(x, y) {
    const { across, up } = this.size, [x0, x1, y0, y1] = this.view;
    return [MARGIN.left + across * (x - x0) / (x1 - x0), MARGIN.top + up * (1 - (y - y0) / (y1 - y0))];
  }

  from(px, py) {
    const { across, up } = this.size, [x0, x1, y0, y1] = this.view;
    return [x0 + (x1 - x0) * (px - MARGIN.left) / across, y0 + (y1 - y0) * (1 - (py - MARGIN.top) / up)];
  }

  draw() {
    if (!this.view || this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => { this.isWaiting = false; this.paint(); this.lines(); });
  }

  paint() {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const { across, up } = this.size;
    const width = Math.round(across * ratio), height = Math.round(up * ratio);
    Object.assign(this.canvas, { width, height });
    this.canvas.style.cssText = `left:${MARGIN.left}px;top:${MARGIN.top}px;width:${across}px;height:${up}px`;
    const style = getComputedStyle(this.root);
    const ground = colourOf(style.getPropertyValue("--sheet")), faded = colourOf(style.getPropertyValue("--faded"));
    const context = this.canvas.getContext("2d"), picture = context.createImageData(width, height);
    const pixels = new Uint32Array(picture.data.buffer).fill(0xff000000 | ground);
    const number = this.x.length;
    const radius = ratio * (number < 3000 ? 3 : number < 12000 ? 2.3 : number < 60000 ? 1.7 : 1.3);
    const [x0, x1, y0, y1] = this.view;
    const kx = width / (x1 - x0), ky = height / (y1 - y0);
    // what is chosen lies over the rest
    for (const chosen of this.mask ? [0, 1] : [1]) {
      const dab = brush(pixels, width, height, radius, chosen ? 0.85 : 0.5);
      for (let i = 0; i < number; i++) {
        if (this.mask && this.mask[i] !== chosen) continue;
        dab((this.x[i] - x0) * kx, height - (this.y[i] - y0) * ky, chosen ? this.colours[i] : faded);
      }
    }
    context.putImageData(picture, 0, 0);
  }

  lines() {
    if (!this.view) return;
    const { width, height, across, up } = this.size;
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren();
    const [x0, x1, y0, y1] = this.view, bottom = MARGIN.top + up;
    const put = (name, attributes, text) => {
      const found = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
      if (text !== undefined) found.textContent = text;
      this.svg.append(found);
    };
    put("rect", { class: "frame", x: MARGIN.left, y: MARGIN.top, width: across, height: up });
    for (const tick of ticks(x0, x1, across / 90)) {
      const [px] = this.at(tick, y0);
      put("line", { class: "tick", x1: px, x2: px, y1: bottom, y2: bottom + 4 });
      put("text", { x: px, y: bottom + 16, "text-anchor": "middle" }, spoken(tick));
    }
    for (const tick of ticks(y0, y1, up / 60)) {
      const [, py] = this.at(x0, tick);
      put("line", { class: "tick", x1: MARGIN.left - 4, x2: MARGIN.left, y1: py, y2: py });
      put("text", { x: MARGIN.left - 7, y: py + 4, "text-anchor": "end" }, spoken(tick));
    }
    put("text", { class: "name", x: MARGIN.left + across / 2, y: height - 5, "text-anchor": "middle" }, this.names[0]);
    put("text", { class: "name", "text-anchor": "middle",
                  transform: `translate(12 ${MARGIN.top + up / 2}) rotate(-90)` }, this.names[1]);
    const path = this.drag?.path ?? this.lasso;
    if (path && path.length > 1)
      put(this.drag ? "polyline" : "polygon", { class: "lasso", points: path.map(([x, y]) => this.at(x, y).map(p => p.toFixed(1)).join(",")).join(" ") });
    for (const [kind, point] of [["pinned", this.pinned], ["hovered", this.hovered]]) {
      if (point < 0) continue;
      const [px, py] = this.at(this.x[point], this.y[point]);
      if (px >= MARGIN.left && px <= width - MARGIN.right && py >= MARGIN.top && py <= bottom)
        put("circle", { class: kind, cx: px.toFixed(1), cy: py.toFixed(1), r: 6 });
    }
  }

  // ---- what a person does

  nearest(px, py) {
    const [x, y] = this.from(px, py), { across, up } = this.size, [x0, x1, y0, y1] = this.view;
    const kx = across / (x1 - x0), ky = up / (y1 - y0);
    let found = -1, least = REACH ** 2;
    for (let i = 0; i < this.x.length; i++) {
      const distance = ((this.x[i] - x) * kx) ** 2 + ((this.y[i] - y) * ky) ** 2;
      if (distance < least) [found, least] = [i, distance];
    }
    return found;
  }

  hover(point, event) {
    if (point !== this.hovered) {
      this.hovered = point;
      this.lines();
    }
    this.on.hover(point, event);
  }

  pin(point) {
    this.pinned = point;
    this.lines();
  }

  press(event) {
    if (event.button > 1 || !this.view) return;
    event.preventDefault();
    this.svg.setPointerCapture(event.pointerId);
    const moves = this.mode === "move" || event.button === 1;
    const start = [event.offsetX, event.offsetY];
    this.drag = { start, moves, view: [...this.view], path: moves ? null : [this.from(...start)],
                  how: event.shiftKey ? "add" : event.altKey ? "remove" : "new", far: 0 };
  }

  move(event) {
    if (!this.view) return;
    const { drag } = this;
    const here = [event.offsetX, event.offsetY];
    if (!drag) return this.hover(this.nearest(...here), event);
    drag.far = Math.max(drag.far, Math.hypot(here[0] - drag.start[0], here[1] - drag.start[1]));
    if (drag.moves) {
      const { across, up } = this.size, [x0, x1, y0, y1] = drag.view;
      const dx = (here[0] - drag.start[0]) * (x1 - x0) / across, dy = (here[1] - drag.start[1]) * (y1 - y0) / up;
      this.view = [x0 - dx, x1 - dx, y0 + dy, y1 + dy];
      return this.draw();
    }
    drag.path.push(this.from(...here));
    this.lines();
  }

  release(event) {
    const { drag } = this;
    this.drag = null;
    if (!drag) return;
    if (drag.far < CLICK) {
      const point = this.nearest(event.offsetX, event.offsetY);
      if (point >= 0) this.on.pick(point);
    } else if (!drag.moves && drag.path.length > 2) {
      const step = Math.ceil(drag.path.length / CORNERS);
      this.lasso = drag.path.filter((_, i) => i % step === 0);
      if (this.lasso.length > 2) this.on.lasso(this.lasso, drag.how);
    }
    this.lines();
  }

  wheel(event) {
    event.preventDefault();
    if (!this.view) return;
    const [x, y] = this.from(event.offsetX, event.offsetY), zoom = Math.exp(Math.max(-100, Math.min(100, event.deltaY)) * 0.003);
    const [x0, x1, y0, y1] = this.view;
    this.view = [x + (x0 - x) * zoom, x + (x1 - x) * zoom, y + (y0 - y) * zoom, y + (y1 - y) * zoom];
    this.draw();
  }
}

// Gives a function that paints a soft disc over what is there. Which pixels a disc covers, and how
// much of 256 parts of each, is found once, for its centre in each sixteenth of a pixel.
function brush(pixels, width, height, radius, opacity) {
  const reach = Math.ceil(radius + 0.5), stamps = [];
  for (let part = 0; part < 16; part++) {
    const dx = (part % 4 + 0.5) / 4 - 0.5, dy = (Math.floor(part / 4) + 0.5) / 4 - 0.5, offsets = [], shares = [];
    for (let row = -reach; row <= reach; row++)
      for (let column = -reach; column <= reach; column++) {
        const cover = Math.round(256 * opacity * Math.min(1, radius + 0.5 - Math.hypot(column - dx, row - dy)));
        if (cover <= 0) continue;
        offsets.push(row * width + column);
        shares.push(cover);
      }
    stamps.push([Int32Array.from(offsets), Int32Array.from(shares)]);
  }
  return (px, py, colour) => {
    const column = Math.floor(px), row = Math.floor(py);
    if (column < reach || row < reach || column >= width - reach || row >= height - reach) return;
    const [offsets, shares] = stamps[(py - row) * 4 << 2 | (px - column) * 4], start = row * width + column;
    const redBlue = colour & 0xff00ff, green = colour & 0xff00;
    for (let i = 0; i < offsets.length; i++) {
      const place = start + offsets[i], share = shares[i], rest = 256 - share, old = pixels[place];
      pixels[place] = 0xff000000 | (share * redBlue + rest * (old & 0xff00ff)) >>> 8 & 0xff00ff
        | (share * green + rest * (old & 0xff00)) >>> 8 & 0xff00;
    }
  };
}

// The ends of an axis: few points far out do not press the others together.
function bounds(values) {
  const known = values.filter(Number.isFinite).sort();
  if (!known.length) return [0, 1];
  const at = share => known[Math.round(share * (known.length - 1))];
  let [low, high] = [known[0], known.at(-1)];
  const [inner, outer] = [at(0.002), at(0.998)];
  if (high - low > 2.5 * (outer - inner) && outer > inner) [low, high] = [inner, outer];
  const margin = 0.04 * (high - low) || 0.5;
  return [low - margin, high + margin];
}

function ticks(low, high, wanted) {
  const rough = (high - low) / Math.max(2, wanted), power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(each => each * power).find(each => each >= rough) ?? 10 * power;
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high && found.length < 50; k++) found.push(k * step);
  return found;
}

const spoken = value => value === 0 ? "0" : `${Number(value.toPrecision(6))}`.replace("-", "−");

// `#rrggbb` as the number of a pixel
function colourOf(text) {
  const number = parseInt(text.trim().slice(1), 16);
  return number >> 16 & 255 | number & 0xff00 | (number & 255) << 16;
}
