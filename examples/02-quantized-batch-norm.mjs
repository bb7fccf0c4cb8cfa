// torch:
//   q_input = torch.quantize_per_tensor(input, scale=0.1, zero_point=0, dtype=torch.quint8)
//   output = torch.ao.nn.quantized.BatchNorm2d(64)(q_input)
import { init, nn, quantizePerTensor, tensor } from 'octavo/nn';

await init();
const numbers = Float32Array.from({ length: 64 * 8 * 8 }, (_, i) => 12 + 10 * Math.sin(i));
const input = quantizePerTensor(tensor(numbers, [1, 64, 8, 8]), 0.1, 0, 'quint8');

const bn = new nn.quantized.BatchNorm2d(64); // weight 1, bias 0, mean 0, variance 1; scale 1, zero point 0
const output = bn.forward(input);
console.log(`${output}`);
console.log(`codes ${output.intRepr().data.slice(0, 4).join(' ')} by ${bn.kernel}`);
