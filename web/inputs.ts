// From the page's pictures to a network's feeds, by the form "How pictures become numbers".

import { type Feeds, type ImageOptions, images, type Model } from 'octavo';
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

/** What the network's first input takes: [N, C, H, W]; unknown sizes become 224. */
export function inputGeometry(model: Model): { name: string; channels: number; height: number; width: number } | null {
  const input = model.inputs[0];
  if (input?.shape.length !== 4 || input.type !== 'float32') return null;
  const at = (axis: number, fallback: number): number => {
    const dim = input.shape[axis];
    return typeof dim === 'number' && dim > 0 ? dim : fallback;
  };
  return { name: input.name, channels: at(1, 3), height: at(2, 224), width: at(3, 224) };
}

/** The shapes to fix the input to, where the model leaves them open. */
export function inputShapes(model: Model): Record<string, number[]> {
  const geometry = inputGeometry(model);
  return geometry ? { [geometry.name]: [1, geometry.channels, geometry.height, geometry.width] } : {};
}

export function imageOptions(model: Model, state: State): ImageOptions {
  const geometry = inputGeometry(model);
  if (!geometry) throw new Error('This network does not take pictures.');
  const preset: Preset = presets[state.preset] ?? { label: '', range: [0, 1] };
  const grey = geometry.channels === 1;
  const pick = (values?: number[]): number[] | undefined => (values && grey ? [values.reduce((a, b) => a + b, 0) / values.length] : values);
  const mean = pick(preset.mean);
  const std = pick(preset.std);
  return {
    size: [geometry.height, geometry.width],
    range: preset.range,
    layout: 'NCHW',
    channels: grey ? 'GRAY' : state.channels === 'BGR' ? 'BGR' : 'RGB',
    ...(mean ? { mean } : {}),
    ...(std ? { std } : {}),
  };
}

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
