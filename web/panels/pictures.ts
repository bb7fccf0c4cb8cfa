// Panel 2: the pictures that calibration watches, and how they become numbers.

import type { App } from '../app.ts';
import { acceptFiles, byId, h } from '../dom.ts';
import { inputGeometry, presetLabels } from '../inputs.ts';
import { digitCanvas } from '../sample.ts';
import { type Field, readState, writeState } from '../state.ts';

/** A labelled <select> bound to a field of the state. */
export function choice(
  field: Field,
  label: string,
  values: { value: string; label: string }[],
  note: string,
  onChange: () => void,
): HTMLElement {
  const current = readState()[field];
  const select = h(
    'select',
    {
      id: `field-${field}`,
      on: {
        change: () => {
          writeState({ [field]: select.value });
          onChange();
        },
      },
    },
    ...values.map((one) => h('option', { value: one.value, selected: one.value === current }, one.label)),
  );
  return h('div', {}, h('label', { htmlFor: select.id }, label), select, note ? h('small', {}, note) : null);
}

export function picturesPanel(app: App, onChange: () => void): { show: () => void } {
  const out = byId('pictures-out');
  const shown = 24;
  let urls: string[] = [];

  function show(): void {
    for (const url of urls) URL.revokeObjectURL(url);
    urls = [];
    const total = app.calibration.length + app.evaluation.length;
    byId('preprocess').hidden = app.isSample;
    const geometry = app.model ? inputGeometry(app.model, readState()) : null;
    sizeField.hidden = !geometry?.open;
    if (total === 0) {
      out.replaceChildren();
      return;
    }
    const thumbs = app.calibration.slice(0, shown).map((picture) => {
      if (picture.digit) return digitCanvas(picture.digit);
      const url = picture.file ? URL.createObjectURL(picture.file) : '';
      urls.push(url);
      return h('img', { src: url, alt: picture.name, title: picture.name });
    });

    out.replaceChildren(
      h(
        'p',
        {},
        `${app.calibration.length} to calibrate`,
        app.evaluation.length ? `, ${app.evaluation.length} others to compare float and int8 with` : '',
        app.evaluation.some((picture) => picture.label !== undefined) ? ' (labelled)' : '',
        '.',
      ),
      h('div', { className: 'thumbs' }, ...thumbs),
      app.calibration.length > shown ? h('p', { className: 'hint' }, `and ${app.calibration.length - shown} more`) : '',
      geometry && !app.isSample
        ? h(
            'p',
            { className: 'hint' },
            `Each is resized to ${geometry.width} × ${geometry.height}, ${geometry.channels === 1 ? 'grey' : 'colour'}.`,
          )
        : '',
      app.isSample ? '' : h('p', {}, h('button', { type: 'button', on: { click: clear } }, 'Remove these pictures')),
    );
  }

  const size = h('input', {
    type: 'text',
    id: 'field-size',
    value: readState().size,
    placeholder: '224 x 224',
    on: {
      change: () => {
        writeState({ size: size.value.trim() });
        show();
        onChange();
      },
    },
  });
  const sizeField = h(
    'div',
    { hidden: true },
    h('label', { htmlFor: size.id }, 'Height and width'),
    size,
    h('small', {}, 'The network leaves its size open: give the one that it will be used with.'),
  );

  function clear(): void {
    app.calibration = [];
    app.evaluation = [];
    app.chosen = [];
    show();
    onChange();
  }

  acceptFiles(byId('pictures-drop'), byId<HTMLInputElement>('pictures-file'), (files) => {
    const known = app.isSample ? [] : app.chosen;
    app.isSample = false;
    const all = [...known, ...files.map((file) => ({ name: file.name, file }))];
    // With many pictures a fifth is kept back: the comparison is then on pictures that calibration has not seen.
    app.chosen = all;
    const kept = all.length >= 20 ? Math.floor(all.length / 5) : 0;
    app.evaluation = all.filter((_, i) => kept > 0 && i % 5 === 4);
    app.calibration = all.filter((_, i) => !(kept > 0 && i % 5 === 4));
    show();
    onChange();
  });

  byId('preprocess-form').append(
    choice('preset', 'Values', presetLabels, 'As the network was trained; the wrong choice ruins any network.', onChange),
    choice(
      'channels',
      'Colour order',
      [
        { value: 'RGB', label: 'RGB' },
        { value: 'BGR', label: 'BGR' },
      ],
      'Most networks take RGB; those from Caffe and OpenCV BGR.',
      onChange,
    ),
    sizeField,
  );
  return { show };
}
