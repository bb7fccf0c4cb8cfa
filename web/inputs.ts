// From the page's pictures to a network's feeds, by the form "How pictures become numbers".

import { type Feeds, type ImageOptions, imageInput, images, type Model, OctavoError, type Sample } from 'octavo';
import type { Picture } from './app.ts';
import { digitTensor } from './sample.ts';
import type { State } from './state.ts';

interface Preset {
  label: string;
  range: [number, number];
  mean?: number[];
  std?: number[];
}
const presets: Record<string, Preset> = {
  imagenet: {
    label: 'ImageNet: 0..1, minus mean, divided by std',
    range: [0, 1],
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
  },
  unit: { label: '0..1', range: [0, 1] },
  signed: { label: '-1..1', range: [-1, 1] },
  bytes: { label: '0..255, as they are', range: [0, 255] },
};

export const presetLabels = Object.entries(presets).map(([value, { label }]) => ({ value, label }));

/** How the network takes pictures. */
export interface Geometry {
  name: string;
  layout: 'NCHW' | 'NHWC';
  channels: number;
  height: number;
  width: number;
  /** Whether the model leaves the size open; then it is the form's. */
  open: boolean;
}

/** "48 x 192" or "224" as height and width; 224 where it is neither. */
export function parseSize(text: string): [number, number] {
  const [, height, width] = text.match(/^\s*(\d{1,4})\s*(?:[x×*,]\s*(\d{1,4})\s*)?$/i) ?? [];
  const tall = Number(height) || 224;
  return [tall, Number(width) || tall];
}

/** Null where it takes no pictures. */
export function inputGeometry(model: Model, state: State): Geometry | null {
  const [input, ...more] = model.inputs;
  const found = input && more.length === 0 ? imageInput(input) : undefined;
  if (!input || !found) return null;
  const [height, width] = parseSize(state.size);
  return {
    name: input.name,
    layout: found.layout,
    channels: found.channels ?? 3,
    height: found.height ?? height,
    width: found.width ?? width,
    open: found.height === undefined || found.width === undefined,
  };
}

/** The shapes to fix the input to, where the model leaves them open. */
export function inputShapes(model: Model, state: State): Record<string, number[]> {
  const geometry = inputGeometry(model, state);
  if (!geometry) return {};
  const { name, layout, channels, height, width } = geometry;
  return { [name]: layout === 'NCHW' ? [1, channels, height, width] : [1, height, width, channels] };
}

export function noPictures(model: Model): OctavoError {
  const takes = model.inputs.map((input) => `${input.type} [${input.shape.join(', ')}]`).join(' and ');
  return new OctavoError({
    code: 'SAMPLE_SHAPE',
    what: `This network takes ${takes}; this page feeds pictures only: one float32 input with batch, channels, height and width.`,
    where: model.inputs.map((input) => `input '${input.name}'`).join(', '),
    hint: 'Quantize it with the JavaScript API, which takes any tensors.',
  });
}

export function imageOptions(model: Model, state: State): ImageOptions {
  const geometry = inputGeometry(model, state);
  if (!geometry) throw noPictures(model);
  const preset: Preset = presets[state.preset] ?? { label: '', range: [0, 1] };
  const grey = geometry.channels === 1;
  const pick = (values?: number[]): number[] | undefined => (values && grey ? [values.reduce((a, b) => a + b, 0) / values.length] : values);
  const mean = pick(preset.mean);
  const std = pick(preset.std);
  return {
    size: [geometry.height, geometry.width],
    range: preset.range,
    layout: geometry.layout,
    channels: grey ? 'GRAY' : state.channels === 'BGR' ? 'BGR' : 'RGB',
    ...(mean ? { mean } : {}),
    ...(std ? { std } : {}),
  };
}

/** One picture at a time, as often as asked for, as quantizeStatic takes them with imageOptions(). */
export const samples = (pictures: Picture[]): Iterable<Sample> => ({
  *[Symbol.iterator]() {
    for (const picture of pictures) {
      if (picture.digit) yield digitTensor(picture.digit);
      else if (picture.file) yield picture.file;
    }
  },
});

/** One picture at a time, as feeds. */
export async function* feeds(model: Model, pictures: Picture[], state: State): AsyncGenerator<Feeds> {
  const name = model.inputs[0]?.name ?? 'input';
  for (const picture of pictures) {
    if (picture.digit) {
      yield { [name]: digitTensor(picture.digit) };
    } else if (picture.file) {
      for await (const feed of images([picture.file], imageOptions(model, state))) yield { [name]: feed };
    }
  }
}
