#include "nn/checks.h"

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace octavo::nn {

Error nn_error(Code code, std::string what, std::string_view where, std::string hint) {
  return Error{code, std::move(what), std::string(where), std::move(hint)};
}

std::optional<Shape> broadcast_shape(const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  std::vector<std::int64_t> dims(static_cast<std::size_t>(rank));
  for (int d = 0; d < rank; ++d) {
    const auto dim = [&](const Shape& shape) {
      const int own = d - (rank - shape.rank());
      return own < 0 ? 1 : shape[own];
    };
    if (dim(a) != dim(b) && dim(a) != 1 && dim(b) != 1) return std::nullopt;
    dims[static_cast<std::size_t>(d)] = dim(a) == 1 ? dim(b) : dim(a);
  }
  return Shape(std::move(dims));
}

Status check_activation(const QTensor& x, std::string_view where) {
  if (x.dtype() == ScalarType::kQint32) {
    return nn_error(Code::kUnsupportedDtype,
                    text("expected the input to be torch.quint8 or torch.qint8, got torch.qint32."),
                    where, "Give 8-bit codes.");
  }
  if (is_per_channel(x.qscheme())) {
    return nn_error(
        Code::kInvalidOption,
        text("The input is ", qscheme_name(x.qscheme()), ", expected per_tensor_affine."), where,
        "Activations have one scale: quantize_per_tensor.");
  }
  return ok_status();
}

Status check_rank(const QTensor& x, int rank, std::string_view layout, std::string_view where) {
  if (x.shape().rank() == rank) return ok_status();
  return nn_error(
      Code::kShapeMismatch,
      text("Expecting the input tensor of rank ", rank, ", got ", x.shape().to_string(), "."),
      where, text("Give ", layout, "."));
}

Status check_output_grid(double scale, std::int64_t zero_point, ScalarType dtype,
                         std::string_view where) {
  return check_grid(QGrid::per_tensor(scale, zero_point), dtype, Shape{}, where);
}

}  // namespace octavo::nn
