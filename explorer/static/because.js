// Highlights the history behind the recommendation under the pointer or with the focus, and the other way round.
"use strict";
(() => {
  const products = [...document.querySelectorAll(".history [data-product]")];
  const cards = [...document.querySelectorAll("[data-because]")];
  const because = (card) => card.dataset.because.split(" ");
  const light = (event) => {
    const card = event.target.closest("[data-because]"), product = event.target.closest(".history [data-product]");
    const causes = card ? because(card) : [];
    for (const one of products) one.classList.toggle("lit", one === product || causes.includes(one.dataset.product));
    for (const one of cards) one.classList.toggle("lit", one === card || (product && because(one).includes(product.dataset.product)));
  };
  for (const name of ["pointerover", "focusin"]) document.addEventListener(name, light);
})();
