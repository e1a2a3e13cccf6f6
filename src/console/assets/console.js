// Keeps an open page up to date, draws plots, and remembers nothing. Everything works without it but that.
(() => {
  "use strict";
  // On a phone the tabs are a line that is longer than the screen.
  document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  const main = document.querySelector("main[data-live]");
  const offline = document.getElementById("offline");
  if (main && window.EventSource) {
    const stream = new EventSource(main.dataset.live);
    let missed = false;
    const changed = () => document.body.dispatchEvent(new Event("store"));
    stream.addEventListener("hello", () => {
      offline.hidden = true;
      if (missed) changed();
      missed = false;
    });
    stream.addEventListener("store", changed);
    stream.onerror = () => {
      missed = true;
      offline.hidden = false;
      // A refusal ends the stream for good; the page still says so and can be loaded again.
    };
    addEventListener("pagehide", () => stream.close());
  }
  // When the list of runs comes with another end, what such an end changes is asked for.
  const lastEnd = () => document.querySelector("[data-ended]")?.dataset.ended;
  let ended = lastEnd();
  document.body.addEventListener("htmx:afterSettle", () => {
    if (lastEnd() === ended) return;
    ended = lastEnd();
    document.body.dispatchEvent(new Event("ended"));
  });
  // Timestamps are since 1970 in a unit that their size tells; others are plain numbers.
  const scale = (t) => (t >= 1e18 && t < 1e19 ? 1e9 : t >= 1e15 && t < 1e16 ? 1e6 : t >= 1e12 && t < 1e13 ? 1e3 : t >= 1e9 && t < 1e10 ? 1 : 0);
  for (const place of document.querySelectorAll("[data-time]")) {
    const time = Number(place.dataset.time), unit = scale(time);
    if (unit) place.textContent = new Date((time / unit) * 1000).toLocaleString("sv-SE");
  }
  const draw = (place, points) => {
    const numbers = points.filter((point) => typeof point[1] === "number");
    if (!numbers.length) { place.textContent = "Nothing is stored yet that could be drawn."; return; }
    const unit = scale(numbers[numbers.length - 1][0]);
    const ink = getComputedStyle(document.body), colour = (name) => ink.getPropertyValue(name).trim();
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const options = {
      width: place.clientWidth, height: 260, scales: { x: { time: unit > 0, ...(numbers.length < 2 && { range: (plot, low) => [low - 60, low + 60] }) } }, axes: [axis, { ...axis, size: 80 }],
      series: [{}, { label: place.dataset.label, stroke: colour("--accent"), width: 1.6, fill: colour("--calm-wash") }],
    };
    const plot = new uPlot(options, [numbers.map((point) => point[0] / (unit || 1)), numbers.map((point) => point[1])], place);
    return plot;
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  for (const place of document.querySelectorAll("[data-plot]")) {
    fetch(place.dataset.plot, { headers: { "HX-Request": "true" } })
      .then((answer) => (answer.ok ? answer.json() : Promise.reject(new Error(answer.statusText))))
      .then((facts) => {
        let plot = draw(place, facts.points);
        place.dataset.drawn = "yes";
        if (!plot) return;
        new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: 260 })).observe(place);
        dark.addEventListener("change", () => { plot.destroy(); plot = draw(place, facts.points); });
      })
      .catch((error) => { place.textContent = `The points cannot be had: ${error.message}`; });
  }
  // The usual port follows the box, as long as it is one of the two usual ones.
  const port = document.getElementById("smtp-port"), ssl = document.querySelector("[name=ssl]");
  if (port && ssl) {
    ssl.addEventListener("change", () => {
      const { usual, ssl: secure } = port.dataset;
      if (port.value === usual || port.value === secure) port.value = ssl.checked ? secure : usual;
    });
  }
  const controller = document.getElementById("controller");
  if (controller) controller.addEventListener("change", () => { if (controller.value) location.href = controller.value; });
})();
