// The inputs of the golden groups `observers` and `ort_calib`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "support/golden.h"

namespace octavo::test {

inline std::uint32_t uhash(std::uint32_t i, std::uint32_t seed) {
  std::uint32_t h = i * 2654435761U + seed;
  h ^= h >> 15;
  h *= 2246822519U;
  return h ^ (h >> 13);
}

// The batches of a golden data case: stored, or generated from seeds by the rule in the golden
// format. Throws where the rule does not give what is stored of them.
inline std::vector<std::vector<float>> batches_of(const GoldenGroup& group,
                                                  const GoldenCase& data) {
  std::vector<std::vector<float>> batches;
  if (data.str("gen").empty()) {
    for (int b = 0; data.has("b" + std::to_string(b)); ++b)
      batches.push_back(group.get<float>(data, "b" + std::to_string(b)));
    return batches;
  }
  const std::vector<double> seeds = data.list("seeds");
  const std::vector<double> mults = data.list("mults");
  const std::string kind = data.str("gen");
  if (kind != "gauss" && kind != "relu" && kind != "cube" && kind != "square" && kind != "fifth")
    throw std::runtime_error("generator " + kind + " is not understood");
  for (std::size_t b = 0; b < seeds.size(); ++b) {
    std::vector<float> values(static_cast<std::size_t>(data.integer("n")));
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::int64_t sum = -131070;
      for (std::uint32_t k = 0; k < 4; ++k)
        sum += uhash(static_cast<std::uint32_t>(i),
                     static_cast<std::uint32_t>(seeds[b]) + k * 1000003U) >>
               16;
      float x = static_cast<float>(sum) * 0x1p-15F;
      if (kind == "relu") x = std::max(x, 0.0F);
      if (kind == "cube") x = (x * x) * x;
      if (kind == "square") x = x * x;
      if (kind == "fifth") x = ((x * x) * (x * x)) * x;
      values[i] = x * static_cast<float>(mults[b]);
    }
    const auto head = group.get<float>(data, "b" + std::to_string(b) + "_head");
    if (head.size() > values.size() || !std::equal(head.begin(), head.end(), values.begin()))
      throw std::runtime_error(data.name + ": the generator does not give the stored head");
    batches.push_back(std::move(values));
  }
  return batches;
}

}  // namespace octavo::test
