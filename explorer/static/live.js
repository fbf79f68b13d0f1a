// Draws requests per second and mean time, from the totals that the page holds and htmx renews every three seconds.
"use strict";
(() => {
  const LONGEST = 200;
  // one point would be drawn on an axis of years
  const start = Date.now() / 1000 - 60;
  const rate = [[start], [null]], latency = [[start], [null]];
  let last = null;
  const plots = [["rate", rate], ["latency", latency]].map(([id, data]) => {
    const place = document.getElementById(id);
    if (!place) return null;
    const options = {
      width: place.clientWidth, height: 180, legend: { show: false }, cursor: { show: false },
      scales: { x: { range: (plot, low, high) => [Math.min(low, high - 60), high] }, y: { range: (plot, low, high) => [0, Math.max(high * 1.1, 1)] } },
      series: [{}, { stroke: "#0f5c54", width: 2, points: { show: true, size: 5 } }],
      axes: [{ space: 70, values: (plot, times) => times.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB")) }, { size: 56 }],
    };
    return [new uPlot(options, data, place), data, place];
  }).filter(Boolean);
  const read = () => {
    const totals = document.querySelector("[data-requests]");
    if (!totals) return;
    const now = { at: Date.now() / 1000, count: Number(totals.dataset.requests), seconds: Number(totals.dataset.seconds) };
    const asked = last ? now.count - last.count : 0;
    if (last && asked >= 0) {
      rate[0].push(now.at); rate[1].push(asked / (now.at - last.at));
      latency[0].push(now.at); latency[1].push(asked ? 1000 * (now.seconds - last.seconds) / asked : null);
      for (const list of [...rate, ...latency]) if (list.length > LONGEST) list.shift();
      for (const [plot, data] of plots) plot.setData(data);
    }
    last = now;
  };
  read();
  document.body.addEventListener("htmx:afterSettle", read);
  window.addEventListener("resize", () => { for (const [plot, , place] of plots) plot.setSize({ width: place.clientWidth, height: 180 }); });
})();
