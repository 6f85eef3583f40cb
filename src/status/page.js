"use strict";
// Takes the place of what the page shows every few seconds, and lets it be filtered.
(() => {
  const live = document.getElementById("live");
  const filter = document.createElement("input");
  filter.type = "search";
  filter.placeholder = "Filter by name";
  filter.setAttribute("aria-label", "Filter groups and requests by name");
  live.after(filter);
  const apply = () => {
    const wanted = filter.value.toLowerCase();
    for (const item of document.querySelectorAll("main tbody tr, main .card")) {
      item.hidden = wanted !== "" && !item.textContent.toLowerCase().includes(wanted);
    }
  };
  filter.addEventListener("input", apply);
  const look = async () => {
    let pause = 5000;
    if (!document.hidden) {
      const start = performance.now();
      try {
        const answer = await fetch(location.href, { cache: "no-store", credentials: "same-origin" });
        if (!answer.ok) throw new Error(answer.status);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
        apply();
        live.textContent = "Live. ";
      } catch (problem) {
        live.textContent = `httpd does not answer (${problem.message}): this is how it was. `;
      }
      // A page with very many groups comes less often.
      pause = Math.max(pause, 20 * (performance.now() - start));
    }
    setTimeout(look, pause);
  };
  setTimeout(look, 2000);
})();
