// The label page: draws, listens to keys and mouse, talks with the server (label_view.py).

// white is readable on each of them
const COLOURS = ["#2468c9", "#b85c00", "#14805f", "#c03645", "#7f4fb8", "#1d7f9c", "#8a6d0b",
                 "#5b6577", "#8c4a14"];
const SIZES = [6, 12, 24, 40, 60];
const CONTRAST = { scale: "log", high: 99.9, exposure: 0, colours: "inferno" };
const KEPT_PICTURES = 400;
const ENDED = 20000; // milliseconds without a word from the server

class LabelPage {
  constructor(model, view, root) {
    this.model = model;
    this.root = root;
    this.store = new LabelStore(message => this.send(message));
    this.deck = new LabelDeck(message => this.send(message));
    this.contrast = { ...CONTRAST, ...JSON.parse(recall("hpdp contrast", "{}")) };
    this.pictures = { small: new Map(), large: new Map() }; // frame -> address of a picture
    this.stale = { small: new Map(), large: new Map() };
    this.asked = { small: new Set(), large: new Set() };
    this.version = 0; // of the contrast: pictures of others are not wanted any more
    this.waiting = []; // keys that came before their frame
    this.zoomed = false;
    this.problem = "";
    this.heard = Date.now();
    this.numbers = new Map();
    this.build();
    model.on("msg:custom", message => this.receive(message.data ?? message));
    this.onKey = event => this.key(event);
    window.addEventListener("keydown", this.onKey, true);
    this.timer = setInterval(() => this.watch(), 5000);
    view.model.document?.on_event("connection_lost", () => this.lose());
    this.observer = new ResizeObserver(() => this.layout());
    this.observer.observe(this.at("main"));
    this.send({ kind: "hello" });
  }

  at(name) {
    return this.root.querySelector(`[data-at="${name}"]`);
  }

  send(message) {
    this.model.send_msg(message);
  }

  // ---- what the server says

  receive(message) {
    this.heard = Date.now();
    this[`on_${message.kind}`]?.(message);
  }

  on_start(start) {
    this.store.begin(start);
    Object.assign(this, { orders: start.orders, filters: start.filters, count: start.number });
    this.at("name").textContent = start.name;
    this.at("person").value = this.store.person;
    this.fill(this.at("order"), start.orders);
    this.fill(this.at("only"), start.filters);
    this.drawClasses();
    this.deck.only = start.only;
    this.deck.size = Number(recall("hpdp size", "24"));
    this.deck.resume(`hpdp deck ${start.log}`, start.orders, start.filters);
    this.at("size").value = this.deck.size;
    this.draw();
  }

  on_labels({ all, labels, number }) {
    if (all) this.store.replace(labels);
    else this.store.update(labels);
    this.count = number;
    this.draw();
  }

  on_saved({ names }) {
    this.store.settle(names, true);
    this.problem = "";
    this.drawProgress();
  }

  on_refused({ names, text }) {
    this.store.settle(names, false);
    this.problem = text;
    this.draw();
  }

  on_problem({ text }) {
    this.problem = text;
    this.drawProgress();
  }

  on_frames(message) {
    this.deck.receive(message, frame => this.store.label(frame));
    this.draw();
    const keys = this.waiting.splice(0);
    keys.forEach(key => this.act(key));
  }

  on_pictures({ version, size, frames, pictures }) {
    if (version !== this.version) return;
    frames.forEach((frame, i) => {
      const blob = new Blob([pictures[i]], { type: "image/png" });
      this.pictures[size].set(frame, URL.createObjectURL(blob));
      this.asked[size].delete(frame);
    });
    this.drop(size);
    this.drawPictures();
  }

  on_numbers({ frame, rows }) {
    this.numbers.set(frame, rows);
    if (this.zoomed && frame === this.deck.frame) this.drawNumbers();
  }

  on_estimate({ text, isKnown, history }) {
    this.at("estimate").textContent = text;
    this.at("estimate").classList.toggle("known", isKnown);
    this.at("curve").innerHTML = curve(history);
  }

  // Asks for what was not answered, and finds out whether the server is gone.
  watch() {
    if (Date.now() - this.heard > ENDED) this.lose();
    else this.store.resend();
  }

  // Loads the page again as soon as there is a server; until then labels are kept here.
  async lose() {
    if (this.isLost) return;
    this.isLost = true;
    clearInterval(this.timer);
    const say = setTimeout(() => { this.at("lost").hidden = false; }, 1000);
    while (this.isLost) {
      await new Promise(resolve => setTimeout(resolve, 1500));
      try {
        const answer = await fetch("favicon.ico", { cache: "no-store" });
        if (answer.ok && this.isLost) {
          clearTimeout(say);
          return location.reload();
        }
      } catch { /* it is still gone */ }
    }
  }

  // ---- what the person does

  key(event) {
    const target = event.composedPath()[0];
    const isField = /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName ?? "");
    if (isField) {
      if (event.key === "Escape" || (event.key === "Enter" && target.tagName === "INPUT")) {
        target.blur();
      }
      return;
    }
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "z") {
      event.preventDefault();
      return this.act("u");
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // by its place too: the digits of some keyboards need Shift
    const digit = /^[1-9]$/.test(event.key)
      ? event.key
      : !event.shiftKey && /^(?:Digit|Numpad)([1-9])$/.exec(event.code ?? "")?.[1];
    const key = digit || event.key;
    if (!(digit || key in ACTIONS)) return;
    const isButton = target.tagName === "BUTTON" && target.matches(":focus-visible");
    if (isButton && (key === "Enter" || key === " ")) return;
    event.preventDefault();
    event.stopPropagation();
    // a key that is held down labels one frame
    if (event.repeat && (digit || key === "u")) return;
    this.act(key);
  }

  // Does what a key says; if its frame is still to come, then.
  act(key) {
    if (!this.orders || (this.deck.isWaiting && !"?uz".includes(key))) {
      this.waiting.push(key);
      return;
    }
    if (/^[1-9]$/.test(key)) this.choose(this.store.classes[key - 1]);
    else ACTIONS[key](this);
  }

  choose(label) {
    const frame = this.deck.frame;
    if (label === undefined || frame === undefined) return;
    this.store.set(frame, label);
    this.advance();
  }

  // Goes on to the next frame without a label; in review, to the next.
  advance() {
    const { deck, store } = this;
    const page = deck.page;
    let next = deck.current + 1;
    if (deck.order !== "review") {
      while (next < page.length && store.label(page[next]) !== null) next++;
    }
    if (next < page.length) return this.move(next);
    if (deck.next()) return this.draw();
    // the end: on to what was left out, or to nothing, so that one more key does no harm
    const open = page.findIndex(frame => store.label(frame) === null);
    deck.current = open >= 0 ? open : page.length;
    this.draw();
  }

  move(current) {
    const { deck } = this;
    if (current < 0) {
      if (!deck.previous(deck.size - 1)) deck.current = 0;
    } else if (current >= deck.page.length) {
      if (!deck.next()) deck.current = Math.max(0, deck.page.length - 1);
    } else {
      deck.current = current;
      deck.keep();
    }
    this.draw();
  }

  turn(way) {
    if (way > 0) this.deck.next();
    else this.deck.previous();
    this.draw();
  }

  undo() {
    const frame = this.store.undo();
    if (frame === null) return;
    const { deck } = this;
    const place = deck.frames.indexOf(frame);
    if (place >= 0 && place < deck.fixed) {
      const isHere = place >= deck.offset && place < deck.offset + deck.size;
      const offset = isHere ? deck.offset : Math.floor(place / deck.size) * deck.size;
      deck.show(offset, place - offset);
    }
    this.draw();
  }

  clear() {
    if (this.deck.frame !== undefined) this.store.set(this.deck.frame, null);
    this.draw();
  }

  zoom(isOn = !this.zoomed) {
    this.zoomed = isOn;
    this.at("zoom").hidden = !isOn;
    this.draw();
  }

  adjust(changes) {
    Object.assign(this.contrast, changes);
    this.contrast.exposure = Math.max(-6, Math.min(12, this.contrast.exposure));
    remember("hpdp contrast", JSON.stringify(this.contrast));
    this.version++;
    for (const address of Object.values(this.stale).flatMap(old => [...old.values()])) {
      URL.revokeObjectURL(address);
    }
    this.stale = this.pictures; // shown until the new ones are there
    this.pictures = { small: new Map(), large: new Map() };
    this.asked = { small: new Set(), large: new Set() };
    this.draw();
  }

  cycle(name, values) {
    this.adjust({ [name]: values[(values.indexOf(this.contrast[name]) + 1) % values.length] });
  }

  setTheme(theme) {
    remember("hpdp theme", theme);
    this.root.dataset.theme = theme;
    if (this.model.full_page) document.documentElement.style.colorScheme = theme || "light dark";
  }

  end() {
    window.removeEventListener("keydown", this.onKey, true);
    clearInterval(this.timer);
    this.isLost = false;
    this.observer.disconnect();
  }
}

const SCALES = ["log", "sqrt", "linear"];
const TABLES = ["inferno", "viridis", "gray", "gray_r"];

const ACTIONS = {
  ArrowLeft: page => page.move(page.deck.current - 1),
  ArrowRight: page => page.move(page.deck.current + 1),
  ArrowUp: page => page.move(page.deck.current - (page.zoomed ? 1 : page.columns)),
  ArrowDown: page => page.move(page.deck.current + (page.zoomed ? 1 : page.columns)),
  Home: page => page.move(0),
  End: page => page.move(page.deck.page.length - 1),
  " ": page => page.move(page.deck.current + 1),
  n: page => page.turn(1),
  PageDown: page => page.turn(1),
  p: page => page.turn(-1),
  PageUp: page => page.turn(-1),
  u: page => page.undo(),
  Delete: page => page.clear(),
  Backspace: page => page.clear(),
  0: page => page.clear(),
  z: page => page.zoom(),
  Enter: page => page.zoom(),
  Escape: page => (page.at("help").hidden ? page.zoom(false) : (page.at("help").hidden = true)),
  "+": page => page.adjust({ exposure: page.contrast.exposure + 0.5 }),
  "=": page => page.adjust({ exposure: page.contrast.exposure + 0.5 }),
  "-": page => page.adjust({ exposure: page.contrast.exposure - 0.5 }),
  s: page => page.cycle("scale", SCALES),
  c: page => page.cycle("colours", TABLES),
  "?": page => { page.at("help").hidden = !page.at("help").hidden; },
};

Object.assign(LabelPage.prototype, DRAWING);

export default {
  render({ model, view, el }) {
    const root = document.createElement("div");
    root.className = "label-page";
    el.appendChild(root);
    const page = new LabelPage(model, view, root);
    model.on("remove", () => page.end());
  },
};
