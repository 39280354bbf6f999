// Reads the values off a chart's lines where the pointer is.
for (const svg of document.querySelectorAll("svg[data-lines]")) {
  const lines = JSON.parse(svg.dataset.lines);
  const readings = svg.parentElement.querySelectorAll(".reading b");
  const cursor = svg.querySelector(".cursor");
  const box = svg.viewBox.baseVal;
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const at = ((event.clientX - frame.left) / frame.width) * box.width;
    let nearest = null;
    lines.forEach((points, line) => {
      if (!points.length) return;
      const point = points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
      nearest = nearest === null || Math.abs(point[0] - at) < Math.abs(nearest - at) ? point[0] : nearest;
      readings[line].textContent = `${point[2]} at ${point[1]}`;
    });
    if (nearest !== null) cursor.setAttribute("d", `M${nearest} 10V${box.height - 30}`);
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("d", "");
    readings.forEach((reading) => (reading.textContent = ""));
  });
}
