// The views of the page, by the part of the address after #.

const VIEWS = {
  grid: {text: "Grid", make: gridView},
  sweep: {text: "Weights", make: sweepView},
  pareto: {text: "Trade-offs", make: paretoView},
  forest: {text: "Intervals", make: forestView},
  cell: {make: cellView},
  task: {make: taskView},
};

function showView(moveFocus) {
  const parameters = new URLSearchParams(location.hash.slice(1)), name = Object.hasOwn(VIEWS, parameters.get("view")) ? parameters.get("view") : "grid";
  const main = document.getElementById("main");
  document.getElementById("views").replaceChildren(...Object.entries(VIEWS).filter(([, {text}]) => text).map(([view, {text}]) =>
    el("a", {href: address({view}), text, "aria-current": view === name ? "page" : null})));
  main.replaceChildren(VIEWS[name].make(parameters));
  if (moveFocus) {
    main.focus({preventScroll: true});
    scrollTo(0, 0);
  }
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
document.getElementById("footer").textContent =
  `Made by langmerge ${DATA.version} from scores.csv and the kept answers of the run ${DATA.run}: ${counted(DATA.models.length, "model")}, `
  + `${counted(DATA.tasks.length, "task")}. Intervals are 95% and over the choice of documents. Plots: plotly.js.`;
addEventListener("hashchange", () => showView(true));
showView(false);
