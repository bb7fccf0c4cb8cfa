// Modules that fuseModules() makes of several. torch.ao.nn.intrinsic.

import type { BatchNorm2d, BatchNorm3d, Conv2d, Linear, ReLU } from './float.js';
import { Sequential } from './module.js';

export class BNReLU2d extends Sequential {
  constructor(bn: BatchNorm2d, relu: ReLU) {
    super(bn, relu);
  }
}
export class BNReLU3d extends Sequential {
  constructor(bn: BatchNorm3d, relu: ReLU) {
    super(bn, relu);
  }
}
export class ConvReLU2d extends Sequential {
  constructor(conv: Conv2d, relu: ReLU) {
    super(conv, relu);
  }
}
export class LinearReLU extends Sequential {
  constructor(linear: Linear, relu: ReLU) {
    super(linear, relu);
  }
}
