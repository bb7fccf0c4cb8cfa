// How far one tensor is from another.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/session.h"

namespace octavo::quantize {

// A tensor of `shape` from a memory layout to row-major order, and back.
std::vector<float> to_row_major(std::span<const float> values, const Shape& shape, Layout layout);
std::vector<float> from_row_major(std::span<const float> values, const Shape& shape, Layout layout);

// The value after run() as real numbers in row-major order: codes dequantized, layout undone. Empty
// where the session does not keep it or it is no float or code.
std::vector<float> read_real(const runtime::Session& session, ValueId id);
// A value after run() as real numbers in its own memory order, piece by piece.
class Reals {
 public:
  Reals(const runtime::Session& session, ValueId id);
  // 0 where the session does not keep it, or it is no float or code of one grid.
  std::size_t size() const;
  // Elements [first, first + n), in memory or in `buffer`.
  std::span<const float> piece(std::size_t first, std::size_t n, std::vector<float>& buffer) const;

 private:
  const Value* value_;
  std::span<const std::byte> bytes_;
};

// All of them: enough where order does not matter.
std::vector<float> read_unordered(const runtime::Session& session, ValueId id);

// The value of a (possibly lowered) session that stands for float tensor `name`: codes of that
// name, codes behind its QuantizeLinear, or the float tensor itself.
std::optional<ValueId> find_tensor(const Graph& graph, const std::string& name);

// Sums over any number of tensors.
struct ErrorSums {
  double signal = 0, noise = 0, max_error = 0;

  void add(std::span<const float> reference, std::span<const float> other);
  // 10 log10(sum a^2 / sum (a - b)^2); nothing when equal.
  std::optional<double> sqnr() const {
    if (noise == 0) return std::nullopt;
    return 10 * std::log10(signal / noise);
  }
  double relative_rms() const {
    return signal > 0 ? std::sqrt(noise / signal) : noise > 0 ? INFINITY : 0;
  }
};

// How many classes a row of an output has: the length of the last axis ([N, C, 1, 1]: C).
std::int64_t class_count(const Shape& shape);
// The Kullback-Leibler divergence of `other`'s shares from `reference`'s, in nats, summed over rows
// of `width`: rows that are shares (not negative, sum 1) as they are, others after softmax. Nothing
// where rows are no shares and `scores` is false.
std::optional<double> divergence(std::span<const float> reference, std::span<const float> other,
                                 std::int64_t width, bool scores);
// Indices of the largest elements along the last axis ([N, C, 1, 1]: along the channels), one a
// row; empty where that axis has fewer than 2 elements.
std::vector<std::int64_t> top1_rows(std::span<const float> values, const Shape& shape);
// Whether `label` is among the `k` largest of one row.
bool in_top(std::span<const float> row, std::int64_t label, std::size_t k);

// FNV-1a with 64 bits, continued from `hash`.
inline constexpr std::uint64_t kFnv1aSeed = 0xCBF29CE484222325U;
inline std::uint64_t fnv1a(std::span<const std::byte> bytes, std::uint64_t hash = kFnv1aSeed) {
  for (const std::byte byte : bytes)
    hash = (hash ^ std::to_integer<std::uint64_t>(byte)) * 0x100000001B3U;
  return hash;
}

double median(std::vector<double> values);  // 0 for none

// Runs and returns the milliseconds it took.
double timed_run(runtime::Session& session);

}  // namespace octavo::quantize
