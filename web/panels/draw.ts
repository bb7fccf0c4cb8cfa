// Panel 5, for the sample: draw a digit; both networks answer while you draw.

import { InferenceSession } from 'octavo';
import { type App, errorNotice } from '../app.ts';
import { byId, h } from '../dom.ts';
import { digitTensor } from '../sample.ts';

const side = 280;

/**
 * The drawing as MNIST would have it: the ink scaled to fit 20 x 20 and its centre of mass put into the middle of 28 x 28.
 * Null while the canvas is empty.
 */
export function toDigit(canvas: HTMLCanvasElement): Uint8Array | null {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) return null;
  const pixels = context.getImageData(0, 0, side, side).data;
  let [left, right, top, bottom] = [side, -1, side, -1];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      if ((pixels[4 * (y * side + x)] ?? 0) < 40) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  if (right < left) return null;
  const scale = 20 / Math.max(right - left + 1, bottom - top + 1);
  const at = (dx: number, dy: number): Uint8ClampedArray | undefined => {
    const small = h('canvas', { width: 28, height: 28 });
    const target = small.getContext('2d', { willReadFrequently: true });
    if (!target) return undefined;
    target.fillRect(0, 0, 28, 28);
    target.imageSmoothingQuality = 'high';
    const width = (right - left + 1) * scale;
    const height = (bottom - top + 1) * scale;
    target.drawImage(canvas, left, top, right - left + 1, bottom - top + 1, 14 - width / 2 + dx, 14 - height / 2 + dy, width, height);
    return target.getImageData(0, 0, 28, 28).data;
  };
  const centred = at(0, 0);
  if (!centred) return null;
  let [mass, mx, my] = [0, 0, 0];
  for (let i = 0; i < 784; i++) {
    const value = centred[4 * i] ?? 0;
    mass += value;
    mx += value * (i % 28);
    my += value * Math.floor(i / 28);
  }
  const data = at(Math.round(13.5 - mx / mass), Math.round(13.5 - my / mass));
  return data ? Uint8Array.from({ length: 784 }, (_, i) => data[4 * i] ?? 0) : null;
}

export function drawPanel(app: App): { show: () => Promise<void>; hide: () => Promise<void> } {
  const section = byId('draw');
  const out = byId('draw-out');
  let sessions: [InferenceSession, InferenceSession] | undefined;

  async function hide(): Promise<void> {
    section.hidden = true;
    const old = sessions;
    sessions = undefined;
    out.replaceChildren();
    await Promise.all((old ?? []).map((session) => session.close()));
  }

  async function show(): Promise<void> {
    await hide();
    const result = app.result;
    if (!result || !app.isSample) return;
    const pair: [InferenceSession, InferenceSession] = [
      await InferenceSession.create(result.float, { engine: app.engine }),
      await InferenceSession.create(result.int8, { engine: app.engine }),
    ];
    sessions = pair;
    section.hidden = false;

    const canvas = h('canvas', { className: 'pad', width: side, height: side, id: 'pad', tabIndex: 0 });
    canvas.setAttribute('role', 'img');
    canvas.setAttribute(
      'aria-label',
      'Drawing area: draw a digit with mouse, pen or finger; with the keyboard use the buttons that put a sample digit here',
    );
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const verdict = h('p', { role: 'status' }, 'Draw a digit with mouse, pen or finger, or press a button.');
    const meters = [0, 1].map(() => Array.from({ length: 10 }, () => h('meter', { min: 0, max: 1, value: 0 })));
    const scores = h(
      'div',
      { className: 'scores' },
      h('span', {}, ''),
      h('strong', {}, 'Float'),
      h('strong', {}, 'Int8'),
      ...Array.from({ length: 10 }, (_, digit) => [h('span', {}, String(digit)), meters[0]?.[digit], meters[1]?.[digit]])
        .flat()
        .filter((x): x is HTMLElement => x !== undefined),
    );
    meters.forEach((list, which) =>
      list.forEach((meter, digit) => meter.setAttribute('aria-label', `${which === 0 ? 'float' : 'int8'} score of ${digit}`)),
    );

    function clear(): void {
      if (!context) return;
      context.fillStyle = '#000';
      context.fillRect(0, 0, side, side);
      for (const meter of meters.flat()) meter.value = 0;
      verdict.textContent = 'Draw a digit with mouse, pen or finger, or press a button.';
    }

    let busy = false;
    let again = false;
    async function answer(): Promise<void> {
      if (busy) {
        again = true;
        return;
      }
      busy = true;
      try {
        do {
          again = false;
          const grey = toDigit(canvas);
          if (!grey || sessions !== pair) break;
          const said: string[] = [];
          for (const [which, session] of pair.entries()) {
            const output = (await session.run({ [session.inputNames[0] ?? 'image']: digitTensor(grey) }))[session.outputNames[0] ?? ''];
            const logits = Array.from((output?.data ?? []) as ArrayLike<number>);
            const top = Math.max(...logits);
            const exps = logits.map((v) => Math.exp(v - top));
            const sum = exps.reduce((a, b) => a + b, 0);
            exps.forEach((v, digit) => {
              const meter = meters[which]?.[digit];
              if (meter) meter.value = v / sum;
            });
            said.push(`${which === 0 ? 'Float' : 'Int8'} says ${logits.indexOf(top)}`);
          }
          verdict.textContent = `${said.join('; ')}.`;
        } while (again);
      } catch (error) {
        verdict.replaceChildren(errorNotice(error));
      } finally {
        busy = false;
      }
    }

    let last: { x: number; y: number } | undefined;
    const place = (event: PointerEvent): { x: number; y: number } => {
      const box = canvas.getBoundingClientRect();
      return { x: ((event.clientX - box.left) / box.width) * side, y: ((event.clientY - box.top) / box.height) * side };
    };
    function stroke(event: PointerEvent): void {
      if (!context || !last) return;
      const next = place(event);
      context.strokeStyle = '#fff';
      context.lineWidth = 20;
      context.lineCap = 'round';
      context.beginPath();
      context.moveTo(last.x, last.y);
      context.lineTo(next.x, next.y);
      context.stroke();
      last = next;
      void answer();
    }
    canvas.addEventListener('pointerdown', (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = place(event);
      stroke(event);
    });
    canvas.addEventListener('pointermove', stroke);
    for (const end of ['pointerup', 'pointercancel'] as const)
      canvas.addEventListener(end, () => {
        last = undefined;
      });

    let next = 0;
    function putSample(): void {
      const digit = app.evaluation[next++ % app.evaluation.length]?.digit;
      if (!context || !digit) return;
      const small = h('canvas', { width: 28, height: 28 });
      const image = new ImageData(28, 28);
      digit.forEach((byte, i) => image.data.set([byte, byte, byte, 255], 4 * i));
      small.getContext('2d')?.putImageData(image, 0, 0);
      context.drawImage(small, 0, 0, side, side);
      void answer();
    }
    out.append(
      h(
        'div',
        { className: 'columns' },
        h(
          'div',
          {},
          canvas,
          h(
            'p',
            { className: 'row' },
            h('button', { type: 'button', on: { click: clear } }, 'Clear'),
            h('button', { type: 'button', id: 'put-sample', on: { click: putSample } }, 'Put a test digit here'),
          ),
          verdict,
        ),
        scores,
      ),
    );
    clear();
  }

  return { show, hide };
}
