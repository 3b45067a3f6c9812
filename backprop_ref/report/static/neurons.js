// Neurons that are drawn in SVG: their numbers in short, and the way from one to the next by keys.

const SVG = "http://www.w3.org/2000/svg";
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function short(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  const text = size !== 0 && (size < 0.01 || size >= 1000) ? value.toExponential(0) : value.toPrecision(2);
  return text.replace("e+", "e").replaceAll("-", "−");
}

// What a key means at a neuron: Enter and the space bar choose it; an arrow goes to the nearest one in that direction.
function atKey(event, units, { choose, reach }) {
  const here = units[Number(event.target.closest("[data-unit]")?.dataset.unit ?? "none")];
  const way = ARROWS[event.key];
  if (!here || !(way || event.key === "Enter" || event.key === " ")) return;
  event.preventDefault();
  if (!way) return choose(here.element);
  const ahead = units.filter((unit) => (unit.x - here.x) * way[0] + (unit.y - here.y) * way[1] > 1);
  const cost = (unit) => {
    const [dx, dy] = [unit.x - here.x, unit.y - here.y];
    return Math.abs(dx * way[0] + dy * way[1]) + 3 * Math.abs(dx * way[1] - dy * way[0]);
  };
  const nearest = ahead.reduce((best, unit) => (best && cost(best) <= cost(unit) ? best : unit), null);
  if (nearest) reach(nearest.element);
}

// One neuron at a time is in the tabulator's way.
function tabTo(svg, element, focus) {
  svg.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
  element.setAttribute("tabindex", "0");
  if (focus) element.focus();
}
