// Asks for the scripts in their order, once the page has been painted: nobody waits for them to see it.
requestAnimationFrame(() => setTimeout(() => {
  const names = document.querySelector("[data-plot]") ? ["uPlot.iife.min", "htmx.min", "console"] : ["htmx.min", "console"];
  for (const name of names) document.head.append(Object.assign(document.createElement("script"), { src: `/assets/${name}.js`, async: false }));
}));
