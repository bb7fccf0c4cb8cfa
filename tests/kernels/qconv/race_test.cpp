#include "kernels/qconv/race.h"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace octavo::kernels {

namespace {

using Shape = ShapeRace::Shape;

constexpr std::int64_t kPixels = 1000;
constexpr std::int64_t kStep = 24;
constexpr std::int64_t kEnough = 1 << 24;  // products, for a call to take part
constexpr int kCalls = 1000;

// A shape that takes a hundred times as long as the other one.
void work(bool slowly) {
  volatile int sum = 0;
  for (int i = 0; i < (slowly ? 20000 : 200); ++i) sum = sum + i;
}

}  // namespace

TEST_CASE("shape race: every call does each pixel once, and in the end all by the faster shape") {
  for (const Shape slow : {Shape::kFirst, Shape::kSecond}) {
    CAPTURE(slow == Shape::kFirst);
    ShapeRace race;
    bool both = false;
    std::vector<Shape> last_call;
    for (int call = 0; call < kCalls; ++call) {
      std::vector<int> done(kPixels, 0);
      last_call.clear();
      race.run(kPixels, kStep, kEnough, [&](Shape shape, std::int64_t first, std::int64_t last) {
        CHECK((first % kStep == 0 && (last % kStep == 0 || last == kPixels)));
        for (std::int64_t i = first; i < last; ++i) ++done[static_cast<std::size_t>(i)];
        last_call.push_back(shape);
        work(shape == slow);
      });
      REQUIRE(done == std::vector<int>(kPixels, 1));
      both = both || last_call.size() == 2;
    }
    CHECK(both);
    CHECK(last_call == std::vector<Shape>{slow == Shape::kFirst ? Shape::kSecond : Shape::kFirst});
  }
}

TEST_CASE("shape race: small calls take no part") {
  ShapeRace race;
  for (int call = 0; call < kCalls; ++call) {
    race.run(kPixels, kStep, 1000, [&](Shape shape, std::int64_t first, std::int64_t last) {
      CHECK((shape == Shape::kFirst && first == 0 && last == kPixels));
    });
    race.run(2 * kStep, kStep, kEnough, [&](Shape shape, std::int64_t first, std::int64_t last) {
      CHECK((shape == Shape::kFirst && first == 0 && last == 2 * kStep));
    });
  }
}

}  // namespace octavo::kernels
