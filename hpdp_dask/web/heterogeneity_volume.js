// A volume in the browser: its surface by ray casting, slices and projections. The server sends
// voxels in 256 levels, so turning, the level and the place of slices need no server.

const LIGHT = unit([-0.45, 0.6, 0.75]), STEP = 0.7, IN_FRONT = 1.5; // voxels
const SURFACE = [122, 164, 214], COMPARED = [238, 160, 84];

class Density {
  // voxels [z, y, x] of `box` a side, from `low` (0) to `high` (255)
  constructor({ box, low, high, voxels }) {
    Object.assign(this, { box, low, high, voxels });
    // the largest level of blocks of four voxels and their neighbours: where a ray may leap
    const blocks = this.blocks = Math.ceil(box / 4), most = new Uint8Array(blocks ** 3);
    for (let z = 0, i = 0; z < box; z++)
      for (let y = 0; y < box; y++)
        for (let x = 0; x < box; x++, i++) {
          const place = ((z >> 2) * blocks + (y >> 2)) * blocks + (x >> 2);
          if (voxels[i] > most[place]) most[place] = voxels[i];
        }
    this.most = [1, blocks, blocks * blocks].reduce((before, stride) => before.map((level, place) => {
      const along = Math.floor(place / stride) % blocks;
      return Math.max(level, along > 0 ? before[place - stride] : 0, along < blocks - 1 ? before[place + stride] : 0);
    }), most);
  }

  level(value) { // of a grey value, as voxels count
    return 255 * (value - this.low) / (this.high - this.low || 1);
  }

  at(x, y, z) { // between voxels
    const { box, voxels } = this, i = x | 0, j = y | 0, k = z | 0, u = x - i, v = y - j, w = z - k;
    const p = (k * box + j) * box + i, q = p + box * box;
    const a = voxels[p] + u * (voxels[p + 1] - voxels[p]), b = voxels[p + box] + u * (voxels[p + box + 1] - voxels[p + box]);
    const c = voxels[q] + u * (voxels[q + 1] - voxels[q]), d = voxels[q + box] + u * (voxels[q + box + 1] - voxels[q + box]);
    const e = a + v * (b - a), f = c + v * (d - c);
    return e + w * (f - e);
  }

  // The distance from the middle within which all is that is above a level, as a share of half the box.
  reach(level) {
    const { box, voxels } = this, middle = box / 2;
    let most = 0;
    for (let z = 0, i = 0; z < box; z++)
      for (let y = 0; y < box; y++)
        for (let x = 0; x < box; x++, i++)
          if (voxels[i] >= level) most = Math.max(most, (x - middle) ** 2 + (y - middle) ** 2 + (z - middle) ** 2);
    return Math.sqrt(most) / middle;
  }

  // Where a ray first meets a level, from -depth to depth about (ox, oy, oz) along (dx, dy, dz), in
  // voxels; NaN where it does not.
  strike(ox, oy, oz, dx, dy, dz, depth, level) {
    const { blocks, most } = this;
    let before = 0;
    for (let t = -depth; t < depth; t += STEP) {
      const x = ox + t * dx, y = oy + t * dy, z = oz + t * dz;
      if (most[((z >> 2) * blocks + (y >> 2)) * blocks + (x >> 2)] < level) {
        t += 3.9 - STEP;
        before = 0;
        continue;
      }
      const value = this.at(x, y, z);
      if (value >= level) return Math.max(-depth, t - STEP * (value - level) / Math.max(value - before, 1e-6));
      before = value;
    }
    return NaN;
  }

  // The way out of what is dense.
  normal(x, y, z) {
    return unit([this.at(x - 1, y, z) - this.at(x + 1, y, z), this.at(x, y - 1, z) - this.at(x, y + 1, z), this.at(x, y, z - 1) - this.at(x, y, z + 1)]);
  }

  // A slice across an axis (0: z, 1: y, 2: x), or with `place` null the sum along it; rows go upwards.
  plane(axis, place) {
    const { box, voxels } = this, found = new Float32Array(box * box), strides = [box * box, box, 1];
    const across = strides[axis], [up, along] = strides.filter((_, each) => each !== axis);
    for (let row = 0; row < box; row++)
      for (let column = 0; column < box; column++) {
        const start = row * up + column * along;
        let sum = 0;
        if (place === null) for (let k = 0; k < box; k++) sum += voxels[start + k * across];
        else sum = voxels[start + place * across];
        found[(box - 1 - row) * box + column] = sum;
      }
    return found;
  }
}

// Paints surfaces, each { density, level, colour }, as seen after a turn, enlarged: the first, and
// others where they are clearly in front of it. Gives the number of pixels that show one.
function paintSurfaces(picture, surfaces, turn, zoom) {
  const { width: side, data } = picture, [rx, ry, rz] = turn, scale = 2 / (side * zoom);
  const [dx, dy, dz] = rz.map(each => -each);
  let shown = 0, x, y, z;
  data.fill(0);
  for (let row = 0, place = 0; row < side; row++)
    for (let column = 0; column < side; column++, place += 4) {
      const u = (column + 0.5 - side / 2) * scale, v = (side / 2 - row - 0.5) * scale; // of half the box
      let nearest = Infinity, found = null;
      for (const each of surfaces) {
        // within two voxels of the edge there are no neighbours for a slope
        const { density, level } = each, middle = density.box / 2, rest = (middle - 2.01) ** 2 - (u * u + v * v) * middle * middle;
        if (rest <= 0) continue;
        const ox = middle * (1 + u * rx[0] + v * ry[0]), oy = middle * (1 + u * rx[1] + v * ry[1]), oz = middle * (1 + u * rx[2] + v * ry[2]);
        const t = density.strike(ox, oy, oz, dx, dy, dz, Math.sqrt(rest), level);
        if (!(t / middle < nearest - (found ? IN_FRONT / middle : 0))) continue;
        [nearest, found, x, y, z] = [t / middle, each, ox + t * dx, oy + t * dy, oz + t * dz];
      }
      if (!found) continue;
      shown++;
      const normal = found.density.normal(x, y, z), seen = [dot(rx, normal), dot(ry, normal), dot(rz, normal)];
      const light = (0.35 + 0.8 * Math.max(0, dot(seen, LIGHT))) * (1 - 0.17 * (nearest + 1));
      const gloss = 60 * Math.max(0, seen[2] * 0.94 + seen[1] * 0.34) ** 24;
      for (let c = 0; c < 3; c++) data[place + c] = found.colour[c] * light + gloss;
      data[place + 3] = 255;
    }
  return shown;
}

// Paints numbers in grey; `low` and `high` are black and white.
function grey(canvas, values, side, low, high) {
  Object.assign(canvas, { width: side, height: side });
  const context = canvas.getContext("2d"), picture = context.createImageData(side, side), { data } = picture;
  const scale = 255 / (high - low || 1);
  for (let i = 0; i < values.length; i++) {
    data[4 * i] = data[4 * i + 1] = data[4 * i + 2] = (values[i] - low) * scale;
    data[4 * i + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

// Grey levels of the server, whose rows go upwards.
function showPicture(canvas, { side, levels }) {
  const given = bytesOf(levels), turned = new Uint8Array(side * side);
  for (let row = 0; row < side; row++) turned.set(given.subarray(row * side, (row + 1) * side), (side - 1 - row) * side);
  grey(canvas, turned, side, 0, 255);
}

class VolumeView {
  // canvases: surface, slices (three), projections (three); level: a slider in thousandths
  constructor({ surface, slices, projections, level }) {
    Object.assign(this, { surface, slices, projections });
    this.turn = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]; // what points right, up and to the eye
    this.place = [0.5, 0.5, 0.5]; // of the slices, along z, y, x
    this.density = null;
    level.oninput = () => { this.share = Number(level.value) / 1000; this.drawSoon(false); };
    this.slider = level;
    this.turning(surface);
    slices.forEach((canvas, axis) => this.moving(canvas, axis));
  }

  // `level`: the grey value to begin with; the slider goes to three times it
  begin(level) {
    this.most = 3 * level;
    this.share = 1 / 3;
    this.slider.value = 333;
  }

  show(message) {
    this.density = new Density({ ...message, voxels: bytesOf(message.voxels) });
    const { box, low, high } = message;
    // one scale for all volumes, or a change of brightness would look like a change of form
    if (!(this.finest >= box)) [this.finest, this.ends] = [box, [Math.min(low, 0), 0.9 * high]];
    this.zoom ??= Math.max(1, Math.min(4, 0.9 / (this.density.reach(this.density.level(this.share * this.most)) || 1)));
    this.draw();
  }

  // Keeps the volume that is shown, to be seen beside others, or lets it go.
  compare(isOn) {
    this.compared = isOn ? this.density : null;
    this.drawSurface();
  }

  draw() {
    if (!this.density) return;
    this.drawSurface();
    this.drawSlices();
    const { density, projections } = this;
    projections.forEach((canvas, axis) => {
      const values = density.plane(axis, null), zero = density.level(0) * density.box;
      grey(canvas, values, density.box, Math.min(zero, values.reduce((a, b) => Math.min(a, b))), values.reduce((a, b) => Math.max(a, b)));
    });
  }

  drawSlices() {
    const { density, slices, place, ends } = this;
    if (!density) return;
    slices.forEach((canvas, axis) => {
      const number = Math.min(density.box - 1, Math.floor(place[axis] * density.box));
      grey(canvas, density.plane(axis, number), density.box, density.level(ends[0]), density.level(ends[1]));
      const [up, along] = place.filter((_, each) => each !== axis);
      const cross = canvas.parentElement.querySelector(".cross");
      cross.style.setProperty("--across", `${100 * along}%`);
      cross.style.setProperty("--down", `${100 * (1 - up)}%`);
    });
  }

  // while it is turned, with fewer pixels
  drawSurface(isQuick = false) {
    if (!this.density) return;
    const ratio = Math.min(1.5, window.devicePixelRatio || 1);
    const side = Math.round(isQuick ? 150 : Math.max(150, Math.min(560, this.surface.clientWidth * ratio)));
    Object.assign(this.surface, { width: side, height: side });
    const context = this.surface.getContext("2d"), picture = context.createImageData(side, side);
    const surfaces = [{ density: this.density, colour: SURFACE }];
    if (this.compared) surfaces.push({ density: this.compared, colour: COMPARED });
    for (const each of surfaces) each.level = Math.max(1, each.density.level(this.share * this.most));
    const shown = paintSurfaces(picture, surfaces, this.turn, this.zoom);
    Object.assign(this.surface.dataset, { shown: (shown / side ** 2).toFixed(5), zoom: this.zoom.toFixed(4) });
    context.putImageData(picture, 0, 0);
  }

  drawSoon(isQuick) {
    this.soon ??= requestAnimationFrame(() => { this.soon = undefined; this.drawSurface(isQuick); });
  }

  turning(canvas) {
    canvas.onpointerdown = event => {
      canvas.setPointerCapture(event.pointerId);
      this.last = [event.clientX, event.clientY];
    };
    canvas.onpointermove = event => {
      if (!this.last) return;
      const rate = 3.5 / canvas.clientWidth;
      this.rotate((event.clientX - this.last[0]) * rate, (event.clientY - this.last[1]) * rate);
      this.last = [event.clientX, event.clientY];
      this.drawSoon(true);
    };
    canvas.onpointerup = canvas.onpointercancel = () => {
      this.last = null;
      cancelAnimationFrame(this.soon);
      this.soon = undefined;
      this.drawSurface();
    };
    canvas.addEventListener("wheel", event => {
      event.preventDefault();
      this.zoom = Math.max(0.5, Math.min(8, this.zoom * Math.exp(-Math.max(-100, Math.min(100, event.deltaY)) * 0.002)));
      this.drawSoon(true);
      clearTimeout(this.rest);
      this.rest = setTimeout(() => this.drawSurface(), 150);
    }, { passive: false });
    canvas.ondblclick = () => { this.turn = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]; this.drawSurface(); };
  }

  // what is in front goes to the right and down
  rotate(right, down) {
    const [rx, ry, rz] = this.turn, mix = (a, s, b, t) => a.map((each, i) => s * each + t * b[i]);
    const x = mix(rx, Math.cos(right), rz, Math.sin(right)), z = mix(rz, Math.cos(right), rx, -Math.sin(right));
    this.turn = [x, mix(ry, Math.cos(down), z, -Math.sin(down)), mix(z, Math.cos(down), ry, Math.sin(down))].map(unit);
  }

  moving(canvas, axis) {
    const move = event => {
      if (!event.buttons) return;
      const { left, top, width, height } = canvas.getBoundingClientRect();
      const within = share => Math.max(0, Math.min(0.999, share));
      const [up, along] = [0, 1, 2].filter(each => each !== axis);
      this.place[along] = within((event.clientX - left) / width);
      this.place[up] = within(1 - (event.clientY - top) / height);
      this.drawSlices();
    };
    canvas.onpointerdown = event => { canvas.setPointerCapture(event.pointerId); move(event); };
    canvas.onpointermove = move;
  }
}

function dot(a, b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
function unit(a) { const length = Math.sqrt(dot(a, a)) || 1; return a.map(each => each / length); }

// what came as bytes, whatever holds them
function bytesOf(given) {
  return given instanceof ArrayBuffer ? new Uint8Array(given) : new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
}
