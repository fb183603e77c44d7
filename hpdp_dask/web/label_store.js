// Labels as this browser knows them: what is saved, what is on its way, what can be undone.
// What is on its way lies in the browser's storage too, and is sent again after a reload.

class LabelStore {
  constructor(send) {
    this.send = send;
    this.saved = new Map(); // frame -> [label, person]
    this.pending = new Map(); // name of the act -> {frame, label}
    this.undoable = [];
    this.classes = [];
    this.log = "";
    this.person = recall("hpdp person", "");
    this.tab = [...crypto.getRandomValues(new Uint32Array(2))].map(n => n.toString(36)).join("");
    this.count = 0;
  }

  begin({ classes, log, person, labels }) {
    this.classes = classes;
    this.log = log;
    this.person ||= person;
    this.replace(labels);
    this.undoable = JSON.parse(recall(`hpdp undo ${log}`, "[]", "sessionStorage"));
    for (const [key, text] of stored(`hpdp act ${log} `)) {
      this.pending.set(key, JSON.parse(text));
    }
    this.resend();
  }

  replace(labels) {
    this.saved.clear();
    this.update(labels);
  }

  update(labels) {
    for (const [frame, label, person] of labels) {
      if (label === null) this.saved.delete(frame);
      else this.saved.set(frame, [label, person]);
    }
  }

  // What holds for a frame: [label, person] or undefined; what was said here goes before.
  get(frame) {
    let found = this.saved.get(frame);
    for (const act of this.pending.values()) {
      if (act.frame === frame) found = act.label === null ? undefined : [act.label, this.person];
    }
    return found;
  }

  label(frame) {
    return this.get(frame)?.[0] ?? null;
  }

  set(frame, label) {
    const before = this.label(frame);
    if (before === label) return;
    this.undoable.push({ frame, before, after: label });
    this.undoable.splice(0, this.undoable.length - 500);
    this.say(frame, label);
  }

  // Takes the last act back and gives its frame; null if there is none.
  undo() {
    while (this.undoable.length) {
      const { frame, before, after } = this.undoable.pop();
      // what somebody else has said since then stays
      if (this.label(frame) === after) {
        this.say(frame, before);
        return frame;
      }
    }
    remember(`hpdp undo ${this.log}`, "[]", "sessionStorage");
    return null;
  }

  say(frame, label) {
    const name = `${this.tab}-${this.count++}`;
    this.pending.set(name, { frame, label });
    remember(`hpdp act ${this.log} ${name}`, JSON.stringify({ frame, label }));
    remember(`hpdp undo ${this.log}`, JSON.stringify(this.undoable), "sessionStorage");
    this.post([[name, frame, label]]);
  }

  resend() {
    const acts = [...this.pending].map(([name, act]) => [name, act.frame, act.label]);
    if (acts.length) this.post(acts);
  }

  post(acts) {
    this.send({ kind: "acts", acts, person: this.person });
  }

  // The server has these on its disk, or will never take them.
  settle(names, isSaved) {
    for (const name of names) {
      const act = this.pending.get(name);
      if (act && isSaved) this.update([[act.frame, act.label, this.person]]);
      this.pending.delete(name);
      forget(`hpdp act ${this.log} ${name}`);
    }
  }

  counts() {
    const counts = new Map(this.classes.map(name => [name, 0]));
    const changed = new Map();
    for (const act of this.pending.values()) changed.set(act.frame, act.label);
    for (const [frame, [label]] of this.saved) {
      if (!changed.has(frame)) counts.set(label, (counts.get(label) ?? 0) + 1);
    }
    for (const label of changed.values()) {
      if (label !== null) counts.set(label, (counts.get(label) ?? 0) + 1);
    }
    return counts;
  }
}

// The browser's storage; the frames of some notebooks may not use it.

function remember(key, text, storage = "localStorage") {
  try { window[storage].setItem(key, text); } catch { /* the page works without */ }
}

function recall(key, otherwise, storage = "localStorage") {
  try { return window[storage].getItem(key) ?? otherwise; } catch { return otherwise; }
}

function forget(key) {
  try { window.localStorage.removeItem(key); } catch { /* it was not there */ }
}

function stored(prefix) {
  try {
    const { localStorage } = window;
    return Object.keys(localStorage)
      .filter(key => key.startsWith(prefix))
      .map(key => [key.slice(prefix.length), localStorage.getItem(key)]);
  } catch {
    return [];
  }
}
