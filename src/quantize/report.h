// What a quantization did and what it cost, as JSON:
//
// { version: 1,
//   model: { name, opset, floatBytes, int8Bytes },
//   options,                            as they were in effect
//   samples,
//   fittedSamples,                      the first ones that weights and channels were fitted to, or
//   0 nodes: [{ name, op, reason, into?,  every node of the normalized model
//             fate: 'int8'|'float'|'folded'|'fused'|'removed' }],
//   batchNorm: [{ name, fate: 'folded'|'int8'|'float', reason }],
//   tensors: [{ name, node, op, dtype,  every quantized activation, graph order
//               scale, zeroPoint,     min and max are what the codes can express,
//               min, max,             range what was asked for: exact in a float
//               range: [min, max],
//               observedMin, observedMax, observer,
//               sqnr: dB|null,
//               histogram: { min, max, counts, int8: number[] }|null,   of float and of int8
//               channels?: { before, after: number[] } }],  largest magnitudes, where equalized
//   weights: [{ name, node, scheme, sqnr,
//               codes }],               fnv1a of the codes of the weights and of the bias
//   outputs: [{ name, sqnr, relativeRms }],
//   top1Agreement: 0..1|null,
//   evaluatedSamples,
//   latency: { floatMs, int8Ms },       medians over the evaluated samples
//   sensitivity: [{ node, op,           where it was asked for: every int8 layer, graph order
//     alone, sequence: { sqnr, relativeRms },   sensitivity.h, over the evaluated samples
//     floatMs, int8Ms }]|null,          the node's time in either network
//   work: { calibrated, fitted, nodesRun } }    tensors whose range was searched for, layers fitted
//                                       anew, nodes that the sensitivity ran
#pragma once
