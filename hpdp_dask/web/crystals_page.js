// The live page of diffraction images: running traces, and images that stand out (crystals_desk.py).

const SHEET = sheet("Live images", "", `
  <div class="tiles" data-at="tiles"></div>
  <div class="charts">
    <section><h2>Resolution of hits <small>median of 10 s, Å; finer is higher</small></h2>
      <svg data-at="resolution" role="img" aria-label="Resolution over time"></svg></section>
    <section><h2>Hits <small><i class="key"></i>hits of all<i class="key second"></i>several lattices of hits</small></h2>
      <svg data-at="shares" role="img" aria-label="Hit rate and several lattices over time"></svg></section>
    <section><h2>Last hits <small>Å, by number<i class="key dot"></i>one lattice<i class="key dot second"></i>several</small></h2>
      <svg data-at="last" role="img" aria-label="Resolution of the last hits"></svg></section>
    <section><h2>All hits <small>resolution, Å</small></h2>
      <svg data-at="counts" role="img" aria-label="Histogram of resolutions"></svg></section>
    ${RATE}
    ${LAG}
  </div>
  <div class="shelves" data-at="shelves"></div>
  <div class="large" data-at="large" hidden><img alt=""><span></span></div>`);

const LATTICES = 0.5; // probability from which several lattices are told
const angstrom = value => `${value.toFixed(value < 9.95 ? 2 : 1)} Å`;

class CrystalsPage extends LivePage {
  constructor(model, view, root) {
    super(model, view, root, SHEET);
    this.pictures = new Map();
    const large = this.at("large");
    large.onclick = () => { large.hidden = true; };
    this.escape = event => { if (event.key === "Escape") large.hidden = true; };
    document.addEventListener("keydown", this.escape);
  }

  stop() {
    super.stop();
    document.removeEventListener("keydown", this.escape);
  }

  show(state) {
    const { course, last } = state;
    const latest = values => (values ?? []).findLast(value => value !== null) ?? null;
    const resolution = latest(course.resolution), several = latest(course.several_lattices_probability);
    this.tiles([
      framesTile(state), rateTile(state), hitsTile(state),
      ["Resolution", resolution === null ? "–" : angstrom(resolution), "median of 10 s"],
      ["Several lattices", several === null ? "–" : percent(several), "of the hits of 10 s"],
      lagTile(state), asideTile(state),
    ]);
    const known = (course.resolution ?? []).filter(value => value !== null);
    curves(this.at("resolution"), course.ago, [["first", course.resolution ?? []]], angstrom, between(known));
    curves(this.at("shares"), course.ago,
           [["first", course.hits], ["second", course.several_lattices_probability ?? []]], percent, [0, 1]);
    dots(this.at("last"), last.frame, last.resolution,
         last.several.map(probability => probability !== null && probability >= LATTICES ? "second" : ""), angstrom);
    bars(this.at("counts"), state.counts.edges, state.counts.counts);
    for (const [frame, source] of Object.entries(state.pictures)) this.pictures.set(Number(frame), source);
    this.shelves(state.shelves);
  }

  shelves(shelves) {
    const shown = new Set(shelves.flatMap(shelf => shelf.frames.map(each => each.frame)));
    for (const frame of this.pictures.keys()) if (!shown.has(frame)) this.pictures.delete(frame);
    const key = JSON.stringify([shelves, [...this.pictures.keys()]]);
    if (key === this.shown) return; // what a person looks at stays as it is
    this.shown = key;
    this.at("shelves").replaceChildren(...shelves.map(shelf => {
      const section = document.createElement("section");
      section.className = "shelf";
      const title = element("h2", shelf.name);
      title.append(element("small", shelf.words));
      const pictures = document.createElement("div");
      pictures.className = "pictures";
      for (const each of shelf.frames) {
        const source = this.pictures.get(each.frame);
        if (!source) continue;
        const value = shelf.unit === "Å" ? angstrom(each.value) : percent(each.value);
        const figure = picture(source, each.name, "");
        figure.title = each.file;
        figure.querySelector("figcaption").prepend(element("b", value), " ");
        figure.onclick = () => this.enlarge(source, `${value} · ${each.file}`);
        pictures.append(figure);
      }
      if (!pictures.childElementCount) pictures.append(element("p", "None yet."));
      section.append(title, pictures);
      return section;
    }));
  }

  enlarge(source, words) {
    const large = this.at("large");
    large.querySelector("img").src = source;
    large.querySelector("span").textContent = words;
    large.hidden = false;
  }
}

// ends of an axis of resolutions: the coarsest at the bottom, the finest at the top
function between(values) {
  if (!values.length) return [4, 1];
  const coarse = Math.ceil(2 * Math.max(...values)) / 2, fine = Math.floor(2 * Math.min(...values)) / 2;
  return [coarse > fine ? coarse : fine + 0.5, fine];
}

function dots(svg, across, values, kinds, spoken) {
  const frame = frameOf(svg);
  const ends = between(values);
  levels(svg, frame, ends, spoken);
  if (!across.length) return;
  const first = Math.min(...across), last = Math.max(...across);
  for (const [number, share, anchor] of [[first, 0, "start"], [last, 1, "end"]])
    draw(svg, "text", { x: BOX.left + share * frame.across, y: frame.height - 4, "text-anchor": anchor }, whole(number));
  across.forEach((number, place) => draw(svg, "circle", {
    class: `dot ${kinds[place]}`, r: 2.5, cy: height(frame, ends, values[place]).toFixed(1),
    cx: (BOX.left + frame.across * (last > first ? (number - first) / (last - first) : 0.5)).toFixed(1) }));
}

export default rendered(CrystalsPage);
