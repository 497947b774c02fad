// A row per class, time from left to right, darker where it is more likely.
const ROW = 28;
const AXIS = 22;

export function draw(canvas, parts, classes, seconds) {
  const width = canvas.clientWidth || 600;
  const height = classes.length * ROW + AXIS;
  const scale = window.devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  pen.scale(scale, scale);
  pen.font = `13px ${style.fontFamily}`;
  const left = Math.min(
    Math.max(...classes.map(([, label]) => pen.measureText(label).width)) + 10,
    width / 3,
  );
  const x = (time) => left + ((width - left) * time) / seconds;
  classes.forEach(([index, label], row) => {
    pen.fillStyle = style.color;
    pen.globalAlpha = 1;
    pen.fillText(label, 0, row * ROW + 19, left - 6);
    // Windows overlap: each fills up to the next one's start
    parts.forEach(({ from, to, probabilities }, i) => {
      const end = parts[i + 1]?.from ?? to;
      pen.fillStyle = style.accentColor;
      pen.globalAlpha = Math.max(probabilities[index], 0.04);
      pen.fillRect(x(from), row * ROW + 3, x(end) - x(from), ROW - 6);
    });
  });
  pen.globalAlpha = 1;
  pen.fillStyle = style.color;
  const step = [0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600].find(
    (s) => (seconds / s) * 60 < width - left,
  );
  for (let time = 0; step && time < seconds; time += step) {
    pen.fillText(`${time} s`, x(time), height - 5);
  }
}
