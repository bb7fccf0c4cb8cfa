// Memory that runs out, at one allocation or another: std::bad_alloc travels to the caller, and
// nothing is left behind.
#include <doctest/doctest.h>

#include <algorithm>
#include <new>
#include <string>

#include "quantize/allocations.h"
#include "quantize/job.h"
#include "quantize/model.h"
#include "support/networks.h"
#include "support/onnx_builder.h"

namespace octavo::quantize {
namespace {

// Runs `work` again and again, each time with another of its large allocations failing, at most 200
// of them spread over all. It ends with bad_alloc, or has managed without (a sort that found no
// buffer), and leaves nothing behind.
template <class Work>
void check_each_failure(Work work) {
  test::allocations = 0;
  work();
  const long needed = test::allocations;
  const long tries = std::min(needed, 200L);
  REQUIRE(tries > 5);  // a session of 32-bit pointers makes nine
  long failures = 0;
  const auto fail = [&](long number) {
    test::allocations = 0;
    test::failing = number;
    try {
      work();
    } catch (const std::bad_alloc&) {
      ++failures;
    }
    test::failing = 0;
  };
  const auto each = [&] {
    for (long i = 0; i < tries; ++i) fail(1 + i * needed / tries);
  };
  each();  // what is made once, by us, the test's framework or an error's text, is there afterwards
  failures = 0;
  const long live = test::live;
  each();
  CHECK(test::live == live);
  CHECK(failures > 9 * tries / 10);
}

TEST_CASE("out of memory: loading and exporting a model") {
  const auto file = test::take(Model::from_graph(test::mixed_network(3)).to_onnx({}));
  const std::string bytes(reinterpret_cast<const char*>(file.data()), file.size());
  check_each_failure([&] {
    const Model model = test::take(Model::load(test::exact_bytes(bytes), bytes.size()));
    static_cast<void>(test::take(model.to_onnx({})));
  });
}

TEST_CASE("out of memory: making a session") {
  const Model model = Model::from_graph(test::mixed_network(3));
  check_each_failure([&] { static_cast<void>(create_session(model, {}, {}).ok()); });
}

TEST_CASE("out of memory: quantizing, in every stage") {
  const Model model = Model::from_graph(test::mixed_network(3));
  check_each_failure([&] { static_cast<void>(test::quantized(model, "{}", 2)); });
}

}  // namespace
}  // namespace octavo::quantize
