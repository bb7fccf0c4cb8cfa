// What a quantization did and what it cost, as JSON:
//
// { version: 1,
//   model: { name, floatBytes, int8Bytes },
//   options,                            as they were in effect
//   samples,
//   nodes: [{ name, op, reason, into?,  every node of the normalized model
//             fate: 'int8'|'float'|'folded'|'fused'|'removed' }],
//   batchNorm: [{ name, fate: 'folded'|'int8'|'float', reason }],
//   tensors: [{ name, node, op, dtype,  every quantized activation, graph order
//               scale, zeroPoint, min, max, observedMin, observedMax, observer,
//               sqnr: dB|null, histogram: { min, max, counts: number[] }|null }],
//   weights: [{ name, node, scheme, sqnr }],
//   outputs: [{ name, sqnr, relativeRms }],
//   top1Agreement: 0..1|null,
//   evaluatedSamples,
//   latency: { floatMs, int8Ms } }      medians over the evaluated samples
#pragma once
