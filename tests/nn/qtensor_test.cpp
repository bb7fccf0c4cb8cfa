#include "nn/qtensor.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <string>

#include "support/buffers.h"
#include "support/take.h"

namespace octavo::nn {
namespace {

using test::take;

bool mentions(const Error& error, std::string_view part) {
  return error.message().find(part) != std::string::npos;
}

template <class T>
std::vector<T> list(const Tensor& tensor) {
  const auto span = tensor.span<T>();
  return {span.begin(), span.end()};
}

TEST_CASE(
    "qtensor: quantize_per_tensor, int_repr and dequantize agree with torch's documentation") {
  const Tensor x = Tensor::of<float>({4}, {-1.0F, 0.0F, 1.0F, 2.0F});
  const QTensor q = take(quantize_per_tensor(x, 0.1, 10, ScalarType::kQuint8));
  CHECK(list<std::uint8_t>(q.int_repr()) == std::vector<std::uint8_t>{0, 10, 20, 30});
  CHECK(list<float>(q.dequantize()) == std::vector<float>{-1.0F, 0.0F, 1.0F, 2.0F});
  CHECK(*q.q_scale() == 0.1);
  CHECK(*q.q_zero_point() == 10);
  CHECK(q.qscheme() == QScheme::kPerTensorAffine);
  CHECK(mentions(q.q_per_channel_scales().error(), "per_channel_affine"));

  const Tensor matrix = Tensor::of<float>({2, 2}, {-1.0F, 0.0F, 1.0F, 2.0F});
  const QTensor rows =
      take(quantize_per_channel(matrix, {0.1, 0.01}, {10, 0}, 0, ScalarType::kQuint8));
  CHECK(list<std::uint8_t>(rows.int_repr()) == std::vector<std::uint8_t>{0, 10, 100, 200});
  CHECK(*rows.q_per_channel_axis() == 0);
  CHECK(*rows.q_per_channel_scales() == std::vector<double>{0.1, 0.01});
  CHECK(*rows.q_per_channel_zero_points() == std::vector<std::int64_t>{10, 0});
  CHECK(mentions(rows.q_scale().error(), "per_tensor_affine"));
  CHECK(mentions(rows.q_zero_point().error(), "per_tensor_affine"));
}

TEST_CASE("qtensor: memory formats change where codes lie and nothing else") {
  const Tensor x = Tensor::of<float>({2, 3, 2, 5}, test::random_floats(60, 7, -4, 4));
  const QTensor nchw =
      take(quantize_per_channel(x, {0.1, 0.02, 0.5}, {3, -7, 0}, 1, ScalarType::kQint8));
  const QTensor nhwc = nchw.contiguous(MemoryFormat::kChannelsLast);
  CHECK(nhwc.memory_format() == MemoryFormat::kChannelsLast);
  CHECK(nhwc.storage().span<std::int8_t>()[1] == nchw.storage().span<std::int8_t>()[10]);
  CHECK(list<std::int8_t>(nhwc.int_repr()) == list<std::int8_t>(nchw.int_repr()));
  CHECK(test::same_bits(list<float>(nhwc.dequantize()), list<float>(nchw.dequantize())));
  CHECK(list<std::int8_t>(nhwc.contiguous().storage()) == list<std::int8_t>(nchw.storage()));
}

TEST_CASE("qtensor: wrong arguments get torch's messages") {
  const Tensor x = Tensor::of<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  CHECK(mentions(quantize_per_tensor(x, 1.0, 256, ScalarType::kQuint8).error(),
                 "zero_point 256 is above upper bound."));
  CHECK(mentions(quantize_per_tensor(x, 1.0, -129, ScalarType::kQint8).error(),
                 "zero_point -129 is below lower bound."));
  for (const double scale : {0.0, -1.0, 1e39, 1e-46, std::nan(""), 1.0 / 0.0}) {
    CAPTURE(scale);
    CHECK(mentions(quantize_per_tensor(x, scale, 0, ScalarType::kQuint8).error(), "scale"));
  }
  CHECK(mentions(
      quantize_per_tensor(Tensor::of<std::int32_t>({1}, {3}), 1.0, 0, ScalarType::kQuint8).error(),
      "only works on Float Tensor, got int32"));
  CHECK(mentions(quantize_per_channel(x, {1, 1}, {0, 0}, 1, ScalarType::kQint8).error(),
                 "2 scales, 2 zero points, 3 channels"));
  CHECK(mentions(quantize_per_channel(x, {1, 1}, {0, 0, 0}, 0, ScalarType::kQint8).error(),
                 "2 scales, 3 zero points"));
  CHECK(mentions(quantize_per_channel(x, {1, 1}, {0, 128}, 0, ScalarType::kQint8).error(),
                 "zero_point 128 of channel 1 is above upper bound."));
  CHECK(mentions(quantize_per_channel(x, {1, 1}, {0, 0}, 2, ScalarType::kQint8).error(),
                 "axis out of range"));
  CHECK(mentions(make_quantized_tensor(x, QGrid::per_tensor(1, 0)).error(), "cannot be float32"));
  QGrid symmetric = QGrid::per_tensor(0.5, 0);
  symmetric.scheme = QScheme::kPerTensorSymmetric;
  CHECK(quantize(x, symmetric, ScalarType::kQint8).ok());
  CHECK(mentions(quantize(x, symmetric, ScalarType::kQuint8).error(), "zero point 128"));
  symmetric.scheme = QScheme::kPerChannelSymmetric;
  CHECK(mentions(quantize(x, symmetric, ScalarType::kQint8).error(), "needs an axis"));
}

TEST_CASE("qtensor: scales at the ends of float32, empty tensors and qint32 do not trap") {
  const Tensor x = Tensor::of<float>({3}, {-3e38F, 0.0F, 3e38F});
  const auto codes = [&x](double scale, ScalarType type) {
    return to_int64s(take(quantize_per_tensor(x, scale, 5, type)).int_repr());
  };
  CHECK(codes(1e38, ScalarType::kQuint8) == std::vector<std::int64_t>{2, 5, 8});
  // x / scale leaves 2^63: the lowest code, both ways (quantize.h says why).
  CHECK(codes(1e-38, ScalarType::kQint8) == std::vector<std::int64_t>{-128, 5, -128});
  CHECK(codes(1.0, ScalarType::kQint32)[1] == 5);
  const QTensor far =
      take(make_quantized_tensor(Tensor::of<std::int32_t>({1}, {2147483647}),
                                 QGrid::per_tensor(1.0, std::numeric_limits<std::int32_t>::min())));
  CHECK(far.dequantize().span<float>()[0] == 4294967296.0F);
  const QTensor empty = take(quantize_per_tensor(Tensor::make(DType::kFloat32, {0, 3, 4, 4}), 0.1,
                                                 0, ScalarType::kQuint8));
  CHECK(empty.numel() == 0);
  CHECK(empty.contiguous(MemoryFormat::kChannelsLast).dequantize().elements() == 0);
  CHECK(empty.to_string().find("size=(0, 3, 4, 4)") != std::string::npos);
}

TEST_CASE("qtensor: prints as torch does") {
  const Tensor x = Tensor::of<float>({2, 2}, {-1.0F, 0.25F, 1.0F, 2.0F});
  CHECK(take(quantize_per_tensor(x, 0.25, 10, ScalarType::kQuint8)).to_string() ==
        "tensor([[-1.0000,  0.2500],\n        [ 1.0000,  2.0000]], size=(2, 2), "
        "dtype=torch.quint8,\n       quantization_scheme=torch.per_tensor_affine, scale=0.25, "
        "zero_point=10)");
  CHECK(take(quantize_per_channel(x, {0.5, 1}, {0, 2}, 0, ScalarType::kQint8)).to_string() ==
        "tensor([[-1.,  0.],\n        [ 1.,  2.]], size=(2, 2), dtype=torch.qint8,\n"
        "       quantization_scheme=torch.per_channel_affine, scale=[0.5, 1],\n"
        "       zero_point=[0, 2], axis=0)");
  const Tensor big = Tensor::of<float>({2000}, test::random_floats(2000, 3, 0, 100));
  const std::string printed = take(quantize_per_tensor(big, 1, 0, ScalarType::kQuint8)).to_string();
  CHECK(printed.find("...") != std::string::npos);
  CHECK(printed.size() < 200);
  CHECK(take(quantize_per_tensor(Tensor::scalar(1.5F), 0.5, 0, ScalarType::kQint8))
            .to_string()
            .rfind("tensor(1.5000, size=(), dtype=torch.qint8", 0) == 0);
}

TEST_CASE("qtensor: names of types and schemes read back") {
  for (const char* name : {"quint8", "qint8", "qint32"})
    CHECK(scalar_type_name(scalar_type_from_name(name).value()) == name);
  for (const char* name :
       {"per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric"})
    CHECK(qscheme_name(qscheme_from_name(name).value()) == name);
  CHECK(!scalar_type_from_name("int8"));
  CHECK(!qscheme_from_name("per_row"));
}

}  // namespace
}  // namespace octavo::nn
