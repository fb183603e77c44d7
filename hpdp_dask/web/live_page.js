// The live page of single particles: the scenario, sizes, classes (spi_desk.py).

const COLOURS = ["#2468c9", "#b85c00", "#14805f", "#c03645", "#7f4fb8", "#1d7f9c", "#8a6d0b",
                 "#5b6577", "#8c4a14"];
const SHEET = sheet("Live frames", `
  <a class="button" data-at="label" target="_blank" rel="noopener" hidden>Label hits</a>
  <button data-at="train" hidden>Train again</button>`, `
  <section class="scenario"><ol class="steps" data-at="steps"></ol><span data-at="words"></span></section>
  <div class="tiles" data-at="tiles"></div>
  <div class="charts">
    ${RATE}
    ${LAG}
    <section><h2>Size of hits <small>diameter, nm</small></h2><svg data-at="sizes" role="img" aria-label="Histogram of sizes"></svg></section>
  </div>
  <div class="classes" data-at="classes"></div>`);

class SpiPage extends LivePage {
  constructor(model, view, root) {
    super(model, view, root, SHEET);
    this.at("train").onclick = () => model.send_msg({ kind: "train" });
  }

  show(state) {
    this.steps(state);
    const labelled = state.hits - state.unlabelled;
    this.tiles([
      framesTile(state), rateTile(state), hitsTile(state), lagTile(state),
      ["Classified", state.model ? percent(state.hits ? labelled / state.hits : NaN) : "–",
       state.model ? `${whole(state.unlabelled)} to go` : "no model yet"],
      asideTile(state),
    ]);
    bars(this.at("sizes"), state.sizes.edges, state.sizes.counts);
    this.classes(state);
  }

  steps(state) {
    this.at("steps").replaceChildren(...state.steps.map(step => {
      const item = element("li", step.name);
      item.className = step.now ? "now" : step.done ? "done" : "";
      if (step.now) item.setAttribute("aria-current", "step");
      return item;
    }));
    const words = [state.words];
    if (state.state === "gathering" || state.state === "labelling")
      words.push(`${whole(state.gathered)} hits to choose from, ${state.labelled} of ${state.wanted} labelled`);
    const last = state.trained.at(-1);
    if (last) words.push(`model ${last.name} on ${last.labels} labels` +
                         (last.seconds ? `, trained in ${last.seconds.toFixed(1)} s` : ""));
    if (state.ending && state.state !== "ended") words.push("no more frames come");
    this.at("words").textContent = words.join(" · ");
    const label = this.at("label");
    label.hidden = !state.label_url;
    if (state.label_url) label.href = state.label_url;
    label.classList.toggle("wanted", state.state === "labelling");
    this.at("train").hidden = !(state.label_url && state.labelled > 3);
  }

  classes(state) {
    const all = state.classes.reduce((sum, each) => sum + each.number, 0);
    this.at("classes").replaceChildren(...state.classes.map((found, place) => {
      const section = document.createElement("section");
      section.className = "class";
      if (found.name) section.style.setProperty("--colour", COLOURS[place % COLOURS.length]);
      const title = element("h2", found.name || (state.model ? "No class is sure enough" : "Hits"));
      title.append(element("span", `${whole(found.number)} · ${percent(all ? found.number / all : NaN)}`));
      const share = document.createElement("div");
      share.className = "share";
      share.innerHTML = `<i style="width: ${all ? 100 * found.number / all : 0}%"></i>`;
      const pictures = document.createElement("div");
      pictures.className = "pictures";
      if (found.mean) pictures.append(picture(found.mean, "mean", "mean"));
      for (const example of found.examples) {
        if (!example.picture) continue;
        const sure = example.probability === null ? "" : ` · ${Math.round(100 * example.probability)} %`;
        pictures.append(picture(example.picture, `${example.frame}${sure}`, ""));
      }
      section.append(title, share, pictures);
      return section;
    }));
  }
}

export default rendered(SpiPage);
