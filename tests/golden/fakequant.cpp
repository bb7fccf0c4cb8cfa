// fakequant: torch.fake_quantize_per_tensor_affine, fake_quantize_per_channel_affine, and their
// gradient.
#include "golden/groups.h"
#include "nn/fake_quantize.h"

namespace octavo::golden {

namespace {

nn::FakeQuantized fake_quantize(Case& c, const std::string& kind, const Tensor& x) {
  const std::int64_t quant_min = c.integer("quant_min");
  const std::int64_t quant_max = c.integer("quant_max");
  if (kind == "per_tensor") {
    return Case::take(nn::fake_quantize_per_tensor_affine(
        x, c.number("scale"), c.integer("zero_point"), quant_min, quant_max));
  }
  if (kind != "per_channel") throw std::runtime_error("kind " + kind + " is not understood");
  nn::QParams qparams;
  for (const double scale : c.numbers("scales")) qparams.scale.push_back(static_cast<float>(scale));
  for (const double zero : c.numbers("zero_points"))
    qparams.zero_point.push_back(static_cast<std::int64_t>(zero));
  return Case::take(
      nn::fake_quantize_per_channel_affine(x, qparams, c.integer("axis"), quant_min, quant_max));
}

}  // namespace

void run_fakequant(Case& c) {
  const nn::FakeQuantized out = fake_quantize(c, c.str("kind"), c.tensor("x"));
  c.expect("y", out.y);
  c.expect<std::uint8_t>("mask", out.mask.span<std::uint8_t>());
  c.expect("grad_in", Case::take(nn::fake_quantize_backward(c.tensor("grad_out"), out.mask)));
}

}  // namespace octavo::golden
