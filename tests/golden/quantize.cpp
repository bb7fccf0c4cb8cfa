// quantize: torch.quantize_per_tensor, torch.quantize_per_channel, Tensor.dequantize.
#include "golden/groups.h"
#include "golden/quantized_case.h"

namespace octavo::golden {

void run_quantize(Case& c) {
  const std::string kind = c.str("kind");
  const nn::ScalarType type = scalar_type(c);
  const Tensor x = c.tensor("x");
  nn::QTensor q;
  if (kind == "per_channel") {
    std::vector<std::int64_t> zero_points;
    for (const double zero : c.numbers("zero_points"))
      zero_points.push_back(static_cast<std::int64_t>(zero));
    q = Case::take(
        nn::quantize_per_channel(x, c.numbers("scales"), zero_points, c.integer("axis"), type));
  } else if (kind == "per_tensor" || kind == "nonfinite") {
    // nonfinite: NaN and infinities, as torch's x86-64 build without FBGEMM has them.
    c.ignore({"order"});
    q = Case::take(nn::quantize_per_tensor(x, c.number("scale"), c.integer("zero_point"), type));
  } else {
    throw std::runtime_error("kind " + kind + " is not understood");
  }
  expect_codes(c, "q", q);
  if (kind != "nonfinite" || c.has("dq")) c.expect("dq", q.dequantize());
  const nn::QTensor last = q.contiguous(nn::MemoryFormat::kChannelsLast);
  expect_codes(c, "q", last);
  if (c.has("dq")) c.expect("dq", last.dequantize());
}

}  // namespace octavo::golden
