// Horizontal bars in groups as one SVG text, without a browser: enough for a document, and the same bytes for the same numbers.

const escapes = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => escapes[sign]);
const layout = { label: 190, width: 860, right: 80, bar: 13, gap: 12, top: 64 };

/**
 * @param title a line above
 * @param series [{ name, color }]: the legend
 * @param groups [{ label, bars: [{ series, value, text }] }]: `series` is an index, `text` stands at the bar's end; the longest value
 *   fills the width
 */
export function barChart({ title, series, groups }) {
  const { label, width, right, bar, gap, top } = layout;
  const longest = Math.max(...groups.flatMap(({ bars }) => bars.map(({ value }) => value)));
  const parts = [];
  const text = (x, y, content, attributes = '') => parts.push(`<text x="${x}" y="${y}"${attributes}>${escaped(content)}</text>`);
  const box = (x, y, w, h, color) => parts.push(`<rect x="${x}" y="${y}" width="${w}" height="${h}" fill="${escaped(color)}"/>`);
  text(16, 24, title, ' font-weight="bold"');
  series.forEach(({ name, color }, i) => {
    box(label + i * 170, 36, 12, 12, color);
    text(label + 18 + i * 170, 46, name);
  });
  let y = top;
  for (const { label: name, bars } of groups) {
    text(label - 10, y + (bars.length * bar) / 2 + 4, name, ' text-anchor="end"');
    for (const { series: at, value, text: words } of bars) {
      const length = Number(((value / longest) * (width - label - right)).toFixed(1));
      box(label, y, length, bar - 2, series[at].color);
      text(Number((label + length + 6).toFixed(1)), y + bar - 3, words, ' font-size="11"');
      y += bar;
    }
    y += gap;
  }
  const size = `width="${width}" height="${y}" viewBox="0 0 ${width} ${y}"`;
  const head = `<svg xmlns="http://www.w3.org/2000/svg" ${size} font-family="sans-serif" font-size="13">`;
  return [head, `<title>${escaped(title)}</title>`, `<rect width="${width}" height="${y}" fill="#fff"/>`, ...parts, '</svg>', ''].join(
    '\n',
  );
}
