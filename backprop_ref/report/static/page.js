// Opens what is embedded in the page, draws the charts when they come into sight, and switches between light and dark.

const MOST_IN_LEGEND = 60;
const [NARROW, LINE, SPARE] = [560, 19, 60]; // of a chart, of a line in its legend, what a legend may take of its height
const PAPER = [690, 236]; // of a chart on paper, in CSS pixels: three to a page of A4

const ON_DARK = { "#0072B2": "#57a8ec" }; // what of the charts' colours is too dark there
const PACE = 60; // milliseconds from frame to frame of a chart that moves

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark";
const onThis = (colour) => (dark() ? (ON_DARK[colour] ?? colour) : colour);

// A name in the legend, in lines that fit.
const inLines = (name, most) => name?.replace(new RegExp(`(.{1,${most}})(?: |$)`, "g"), "$1<br>").replace(/<br>$/, "");

// Lines of the legend below a narrow chart, whose entries are as wide as the longest one.
function legendLines(data, width) {
  const entries = data.filter((each) => each.name && each.showlegend !== false && each.visible !== false);
  const groups = new Set(entries.map((each) => each.legendgrouptitle?.text).filter(Boolean)).size;
  const longest = Math.max(0, ...entries.flatMap((each) => each.name.split("<br>").map((line) => line.length)));
  const columns = groups ? 1 : Math.max(1, Math.floor(width / (48 + 6 * longest)));
  const lines = Math.max(1, ...entries.map((each) => each.name.split("<br>").length));
  return entries.length < 2 ? 0 : Math.ceil(entries.length / columns) * lines + 2 * groups;
}

// A layout in the colours of the page; on a narrow screen with its legend below, or without one that is long.
function themed({ layout, data }, width) {
  const narrow = width < NARROW;
  const axis = { gridcolor: style("--line"), zerolinecolor: style("--line"), linecolor: style("--line") };
  const look = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: style("--text"), family: style("--font"), size: narrow ? 11 : 13 },
  };
  const axes = Object.keys(layout).filter((name) => /^[xy]axis/.test(name));
  const merged = { ...layout, ...look };
  for (const name of axes) merged[name] = { ...axis, ...layout[name] };
  if (!window.matchMedia("(hover: hover)").matches) merged.dragmode = false; // a finger on a chart scrolls the page
  if (narrow) {
    merged.margin = { ...layout.margin, l: 48, r: 8 };
    const lines = legendLines(data, width);
    const many = data.filter((each) => each.visible !== false).length > MOST_IN_LEGEND;
    if (lines && !many) merged.margin.b = 64 + LINE * lines;
    const orientation = data.some((each) => each.legendgrouptitle) ? "v" : "h";
    const tracegroupgap = orientation === "v" ? 10 : 0;
    merged.legend = { ...layout.legend, orientation, tracegroupgap, x: 0, y: 0, yref: "container", yanchor: "bottom" };
    if (many && layout.showlegend === undefined) merged.showlegend = false;
  }
  return merged;
}

// What in a layout depends on the width.
const ofWidth = ({ margin, font, legend, showlegend }) => ({ margin, font, legend, showlegend: showlegend ?? null });

// Goes through the frames of a chart, by a slider or by itself.
class Player {
  constructor(frames, [button, slider, output], draw) {
    Object.assign(this, { frames, button, slider, output, draw, timer: null });
    slider.oninput = () => this.show(Number(slider.value));
    button.onclick = () => (this.timer ? this.stop() : this.play());
  }

  show(index) {
    const frame = this.frames[index];
    this.slider.value = index;
    this.output.textContent = `epoch ${frame.name}`;
    this.slider.setAttribute("aria-valuetext", this.output.textContent);
    this.draw(frame);
  }

  play() {
    this.button.textContent = "❚❚ Pause";
    if (Number(this.slider.value) === this.frames.length - 1) this.show(0);
    this.timer = setInterval(() => {
      const next = Number(this.slider.value) + 1;
      if (next < this.frames.length) this.show(next);
      else this.stop();
    }, PACE);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.button.textContent = "▶ Play";
  }
}

class Charts {
  constructor(figures) {
    this.figures = figures;
    this.places = [...document.querySelectorAll("[data-chart]")];
    this.drawn = new Map();
    const seen = new IntersectionObserver(
      (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => this.draw(entry.target)),
      { rootMargin: "300px" },
    );
    this.places.forEach((place) => seen.observe(place));
  }

  shown(place, figure, width = place.clientWidth) {
    const { layout, data } = structuredClone(figure);
    for (const each of data) {
      each.name = inLines(each.name, width < NARROW ? 36 : 60);
      if (each.line?.color) each.line.color = onThis(each.line.color);
    }
    return { data, layout: themed({ layout, data }, width) };
  }

  draw(place) {
    if (this.drawn.has(place)) return;
    const figure = this.figures[Number(place.dataset.chart)];
    this.drawn.set(place, figure);
    const config = { responsive: true, displayModeBar: false };
    for (const button of place.closest("figure").querySelectorAll("[data-save]")) {
      const format = button.dataset.save;
      const image = { format, filename: figure.name, scale: format === "png" ? 2 : 1 };
      button.onclick = () => Plotly.downloadImage(place, image);
    }
    const { data, layout } = this.shown(place, figure);
    const below = layout.margin.b - figure.layout.margin.b;
    if (below > 0) place.style.height = `${place.clientHeight + Math.max(0, below - SPARE)}px`;
    Plotly.newPlot(place, { data, layout, config });
    this.connect(place, figure);
  }

  // The drop-down, or the player, above a chart that has one.
  connect(place, figure) {
    const [choose, play, slider, output] = ["[data-choose]", "[data-play]", "[data-frame]", "output"].map((part) =>
      place.closest("figure").querySelector(part),
    );
    if (choose) {
      choose.onchange = () => Plotly.restyle(place, { visible: figure.choices.map((each) => each === choose.value) });
    }
    if (play) new Player(figure.frames, [play, slider, output], (frame) => Plotly.restyle(place, { z: [frame.data[0].z] }));
  }

  // All of them, in a shape for paper and free to scale; and afterwards as wide as the screen has room.
  print() {
    for (const place of this.places) {
      this.draw(place);
      const { data, layout } = this.shown(place, this.drawn.get(place), PAPER[0]);
      const [width, height] = [PAPER[0], Math.max(PAPER[1], 2 * SPARE + LINE * legendLines(data, 0))];
      Plotly.relayout(place, { ...ofWidth(layout), autosize: false, width, height });
      place.style.setProperty("--paper", `${width} / ${height}`);
      for (const svg of place.querySelectorAll(".main-svg")) svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    }
  }

  printed() {
    for (const [place, figure] of this.drawn) {
      const { layout } = this.shown(place, figure);
      Plotly.relayout(place, { ...ofWidth(layout), autosize: true, width: null, height: null });
      for (const svg of place.querySelectorAll(".main-svg")) svg.removeAttribute("viewBox");
    }
  }

  recolour() {
    for (const [place, figure] of this.drawn) {
      const { paper_bgcolor, plot_bgcolor, font, ...rest } = this.shown(place, figure).layout;
      const lines = figure.data.map((each, i) => [each.line?.color, i]).filter(([colour]) => colour in ON_DARK);
      if (lines.length) Plotly.restyle(place, { "line.color": lines.map(([colour]) => onThis(colour)) }, lines.map(([, i]) => i));
      const axes = Object.entries(rest).filter(([name]) => /^[xy]axis/.test(name));
      const changes = { paper_bgcolor, plot_bgcolor, font };
      for (const [name, axis] of axes) {
        for (const colour of ["gridcolor", "zerolinecolor", "linecolor"]) changes[`${name}.${colour}`] = axis[colour];
      }
      Plotly.relayout(place, changes);
    }
  }
}

async function main() {
  const preferred = window.matchMedia("(prefers-color-scheme: dark)");
  let explorer = null;
  let charts = null;
  const recolour = () => {
    explorer?.show(explorer.frame);
    charts?.recolour();
  };
  document.getElementById("theme").onclick = () => {
    const root = document.documentElement;
    const now = root.dataset.theme ?? (preferred.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    recolour();
  };
  preferred.addEventListener("change", recolour);
  let theme;
  window.addEventListener("beforeprint", () => {
    theme = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    recolour();
    charts?.print();
  });
  window.addEventListener("afterprint", () => {
    if (theme) document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
    recolour();
    charts?.printed();
  });
  const root = document.getElementById("explorer");
  if (root) explorer = new Explorer(root, await embeddedRecords());
  const script = document.createElement("script");
  script.textContent = await embeddedText("page-plotly");
  document.head.append(script);
  charts = new Charts(JSON.parse(await embeddedText("page-figures")));
  window.backpropRef = { explorer, charts };
  document.documentElement.dataset.ready = "yes";
}

main().catch(failed);
