// What a detector finds, and how far two detectors find the same: boxes out of raw outputs, suppression, matching by IoU.

import type { Tensor } from './tensor.js';

/** Something found. The unit of the corners does not matter, as long as it is the same for both models. */
export interface Detection {
  /** Left, top, right, bottom. */
  box: [number, number, number, number];
  score: number;
  kind: number;
}
/** The boxes in a model's outputs, before suppression; `input` is the shape of the picture that made them. */
export type Detect = (outputs: Record<string, Tensor>, input: readonly number[]) => Detection[];

export interface BoxAgreement {
  /** The share of both models' boxes that have a partner of the same kind at IoU 0.5; null where there was none at all. */
  agreement: number | null;
  /** The mean IoU of the partners; null where there is none. */
  meanIoU: number | null;
  /** How many boxes each model found. */
  boxes: { a: number; b: number };
}

type Shapes = { name: string; shape: readonly (number | string)[] }[];
interface Decoder {
  /** Whether outputs of these names and shapes are its own. */
  fits: (outputs: Shapes) => boolean;
  detect: Detect;
}

const scoreFloor = 0.5;
const suppressionIoU = 0.45;
const partnerIoU = 0.5;

/** The outputs of N boxes: [1, N, width]; undefined where there is not exactly one such. */
const rowsOf = <T extends { shape: readonly (number | string)[] }>(outputs: T[], fits: (width: number) => boolean): T | undefined => {
  const [found, ...more] = outputs.filter(({ shape }) => shape.length === 3 && fits(Number(shape[2])));
  return more.length === 0 ? found : undefined;
};
const isScores = (width: number): boolean => width >= 2 && width !== 4;
const isBoxes = (width: number): boolean => width === 4;

/** Corners and class scores of the same N rows, class 0 being the background (UltraFace, SSD after its priors). */
const corners: Decoder = {
  fits: (outputs) => outputs.length === 2 && Boolean(rowsOf(outputs, isBoxes) && rowsOf(outputs, isScores)),
  detect(outputs) {
    const boxes = rowsOf(Object.values(outputs), isBoxes);
    const scores = rowsOf(Object.values(outputs), isScores);
    const classes = scores?.shape[2] ?? 0;
    const found: Detection[] = [];
    for (let row = 0; boxes && scores && row < (boxes.shape[1] ?? 0); row++) {
      const [left = 0, top = 0, right = 0, bottom = 0] = Array.from(boxes.data.subarray(4 * row, 4 * row + 4), Number);
      for (let kind = 1; kind < classes; kind++) {
        const score = Number(scores.data[row * classes + kind]);
        if (score >= scoreFloor) found.push({ box: [left, top, right, bottom], score, kind });
      }
    }
    return found;
  },
};

/** YuNet: for each stride S of its grids cls_S, obj_S and bbox_S (centre in cells, logarithm of the size). */
const yunet: Decoder = {
  fits: (outputs) => ['cls_8', 'obj_8', 'bbox_8'].every((name) => outputs.some((output) => output.name === name)),
  detect(outputs, input) {
    const found: Detection[] = [];
    for (const stride of [8, 16, 32]) {
      const [cls, obj, bbox] = ['cls', 'obj', 'bbox'].map((name) => outputs[`${name}_${stride}`]?.data);
      const columns = (input[3] ?? 0) / stride;
      for (let cell = 0; cls && obj && bbox && cell < cls.length; cell++) {
        const score = Math.sqrt(Math.max(0, Number(cls[cell]) * Number(obj[cell])));
        if (score < scoreFloor) continue;
        const [dx = 0, dy = 0, w = 0, h = 0] = Array.from(bbox.subarray(4 * cell, 4 * cell + 4), Number);
        const [x, y] = [((cell % columns) + dx) * stride, (Math.floor(cell / columns) + dy) * stride];
        const [halfWidth, halfHeight] = [(Math.exp(w) * stride) / 2, (Math.exp(h) * stride) / 2];
        found.push({ box: [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight], score, kind: 0 });
      }
    }
    return found;
  },
};

/** How a detector's outputs are read, by their names and shapes; undefined for a network that is none we know. */
export const detectorOf = (outputs: Shapes): Detect | undefined => [yunet, corners].find(({ fits }) => fits(outputs))?.detect;

/** Intersection over union. */
export function iou(a: Detection['box'], b: Detection['box']): number {
  const area = ([left, top, right, bottom]: Detection['box']): number => Math.max(0, right - left) * Math.max(0, bottom - top);
  const both = area([Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])]);
  const either = area(a) + area(b) - both;
  return either > 0 ? both / either : 0;
}

/** Best first, without those that overlap a better one of their kind. */
function suppress(found: Detection[]): Detection[] {
  const kept: Detection[] = [];
  for (const one of [...found].sort((a, b) => b.score - a.score)) {
    if (!kept.some((better) => better.kind === one.kind && iou(better.box, one.box) > suppressionIoU)) kept.push(one);
  }
  return kept;
}

/** Collects the boxes of picture after picture. */
export class BoxMatcher {
  #a = 0;
  #b = 0;
  #partners = 0;
  #overlap = 0;

  /** Boxes as they are decoded; each of `a`, best first, takes the free one of `b` that it overlaps most. */
  add(a: Detection[], b: Detection[]): void {
    const ours = suppress(a);
    const free = new Set(suppress(b));
    this.#a += ours.length;
    this.#b += free.size;
    for (const one of ours) {
      const [partner, overlap] = [...free]
        .filter(({ kind }) => kind === one.kind)
        .map((other) => [other, iou(one.box, other.box)] as const)
        .reduce<readonly [Detection | undefined, number]>((best, next) => (next[1] > best[1] ? next : best), [undefined, 0]);
      if (!partner || overlap < partnerIoU) continue;
      free.delete(partner);
      this.#partners++;
      this.#overlap += overlap;
    }
  }

  result(): BoxAgreement {
    const all = this.#a + this.#b;
    return {
      agreement: all > 0 ? (2 * this.#partners) / all : null,
      meanIoU: this.#partners > 0 ? this.#overlap / this.#partners : null,
      boxes: { a: this.#a, b: this.#b },
    };
  }
}
