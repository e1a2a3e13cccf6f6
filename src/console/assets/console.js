// Keeps an open page up to date, draws plots, and remembers nothing. Everything works without it but that.
(() => {
  "use strict";
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
  const controller = document.getElementById("controller");
  if (controller) controller.addEventListener("change", () => { if (controller.value) location.href = controller.value; });
})();
