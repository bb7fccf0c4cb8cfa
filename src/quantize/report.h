// What a quantization did and what it cost, as JSON:
//
// { version: 1, model: { name, floatBytes, int8Bytes }, options: {effective}, samples,
//   nodes: [{ name, op, fate: 'int8'|'float'|'folded'|'fused'|'removed', reason, into? }],   every node of the normalized model
//   batchNorm: [{ name, fate: 'folded'|'int8'|'float', reason }],
//   tensors: [{ name, node, op, dtype, scale, zeroPoint, min, max, observedMin, observedMax, observer,
//               sqnr: dB|null, histogram: { min, max, counts: number[] } | null }],    every quantized activation, graph order
//   weights: [{ name, node, scheme, sqnr }],
//   outputs: [{ name, sqnr, relativeRms }],
//   top1Agreement: 0..1 | null, evaluatedSamples,
//   latency: { floatMs, int8Ms } }                                                      medians over the evaluated samples
#pragma once
