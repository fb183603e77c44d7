// Which frames are shown: pages of an order that the server gives piece by piece.
// What was shown stays where it is; of the most instructive, what was not shown yet may change.

class LabelDeck {
  constructor(send) {
    this.send = send;
    this.key = "";
    Object.assign(this, { order: "instructive", only: "", size: 24 });
    this.clear();
  }

  clear() {
    this.frames = []; // by place in the order; holes are not known yet
    this.offset = 0; // of the page that is shown
    this.fixed = 0; // as far as this place nothing changes any more
    this.total = null; // null: not known, more may come
    this.current = 0; // place within the page
    this.isWaiting = true;
  }

  get page() {
    return this.frames.slice(this.offset, this.offset + this.size).filter(f => f !== undefined);
  }

  get frame() {
    return this.page[this.current];
  }

  get isChanging() {
    return this.order === "instructive";
  }

  // Begins an order anew, at its first page with a frame that has no label.
  choose(order, only) {
    Object.assign(this, { order, only });
    this.clear();
    this.want(null);
  }

  resize(size) {
    const frame = this.offset + this.current;
    this.size = size;
    this.offset = this.isChanging ? this.offset : Math.floor(this.offset / size) * size;
    this.current = Math.max(0, Math.min(frame - this.offset, size - 1));
    this.fixed = Math.max(this.fixed, this.offset + size);
    this.fetch();
  }

  want(start) {
    this.send({
      kind: "want",
      order: this.order,
      only: this.only,
      start,
      size: this.size,
      shown: this.isChanging ? this.frames.slice(0, this.fixed).slice(-5000) : [],
    });
  }

  // Frames came from the server.
  receive({ order, only, start, frames, total }, label) {
    if (order !== this.order || only !== this.only) return;
    const isFirst = this.isWaiting || !this.page.length;
    if (this.isChanging) {
      const known = new Set(this.frames.slice(0, this.fixed));
      const fresh = frames.filter(f => !known.has(f) && label(f) === null);
      this.frames = this.frames.slice(0, this.fixed).concat(fresh);
      this.total = fresh.length ? null : this.frames.length;
    } else {
      if (!this.frames.length) this.offset = Math.floor(start / this.size) * this.size;
      frames.forEach((f, i) => { this.frames[start + i] = f; });
      this.total = total;
    }
    if (isFirst) this.show(this.offset, this.current);
    // what is seen stays, though it came after the rest of its page
    else this.fixed = Math.max(this.fixed, this.offset + this.page.length);
  }

  // Shows the page at a place, or waits for it.
  show(offset, current) {
    this.offset = Math.max(0, offset);
    this.current = current;
    const isKnown = this.frames[this.offset] !== undefined;
    this.isWaiting = !isKnown && this.total !== 0 && !this.isAtEnd;
    if (isKnown) {
      this.fixed = Math.max(this.fixed, Math.min(this.offset + this.size, this.frames.length));
      this.current = Math.max(0, Math.min(current, this.page.length - 1));
    }
    this.fetch();
    this.keep();
  }

  // Asks for what will be needed next.
  fetch() {
    const next = this.offset + this.size;
    if (this.isChanging) {
      if (this.frames.length < next + this.size && !this.isAtEnd) this.want(this.frames.length);
    } else {
      for (const place of [this.offset, next, this.offset - this.size]) {
        const isInside = place >= 0 && (this.total === null || place < this.total);
        if (isInside && this.frames[place] === undefined) {
          this.want(place);
          break;
        }
      }
    }
  }

  // There is nothing behind the page that is shown.
  get isAtEnd() {
    return this.total !== null && this.offset + this.size >= this.total;
  }

  next() {
    if (this.isWaiting || this.isAtEnd) return false;
    this.show(this.offset + this.size, 0);
    return true;
  }

  previous(current = 0) {
    if (this.offset === 0) return false;
    this.show(Math.max(0, this.offset - this.size), current);
    return true;
  }

  // The frames of the next page, to have their pictures ready; they will not change any more.
  upcoming() {
    const end = this.offset + 2 * this.size;
    const found = this.frames.slice(this.offset + this.size, end).filter(f => f !== undefined);
    if (found.length) this.fixed = Math.max(this.fixed, this.offset + this.size + found.length);
    return found;
  }

  // Keeps what a reload of this tab needs.
  keep() {
    const { order, only, size, offset, fixed, current } = this;
    const frames = this.isChanging ? this.frames.slice(0, fixed).slice(-2000) : [];
    const dropped = this.isChanging ? Math.max(0, fixed - 2000) : 0;
    remember(this.key, JSON.stringify({
      order, only, size, current, frames,
      offset: Math.max(0, offset - dropped), fixed: fixed - dropped,
    }), "sessionStorage");
  }

  // Goes on where this tab was before it was loaded again.
  resume(key, orders, filters) {
    this.key = key;
    const kept = JSON.parse(recall(key, "null", "sessionStorage"));
    if (!kept || !(kept.order in orders) || !(kept.only in filters)) {
      return this.choose(this.order, this.only);
    }
    // what depends on labels is another list by now
    const isOther = kept.order === "review" || /^(open|given)/.test(kept.only);
    if (kept.order !== "instructive" && isOther) return this.choose(kept.order, kept.only);
    Object.assign(this, kept, { isWaiting: true });
    if (this.isChanging && this.frames.length) this.show(this.offset, this.current);
    else this.want(this.isChanging ? null : this.offset);
  }
}
