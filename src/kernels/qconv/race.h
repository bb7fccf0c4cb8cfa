// Which of two tile shapes is faster on this machine, found out on the work itself: for some calls
// each shape takes half of the pixels, in turn the first and the second half, both are timed, and
// from then on all of them are the faster one's. What the shapes compute is the same.
//
// Clocks of browsers tick in up to a millisecond, so what is compared are sums over many calls. The
// first calls do not count: a browser runs code unoptimized until it has seen it for a while.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/clock.h"

namespace octavo::kernels {

// Made once for each pair of shapes. Threads may take part at the same time.
class ShapeRace {
 public:
  enum class Shape : std::uint8_t { kFirst, kSecond };

  // Calls run(shape, first, last) for all of [0, pixels), cut at multiples of `step`; `products` is
  // the size of the work.
  template <class Run>
  void run(std::int64_t pixels, std::int64_t step, std::int64_t products, Run&& run) {
    const int turn = turn_.load(std::memory_order_relaxed);
    if (turn >= kTurns || products < kLeastProducts || pixels < 4 * step) {
      run(turn >= kTurns ? winner_.load(std::memory_order_relaxed) : Shape::kFirst, std::int64_t{0},
          pixels);
      return;
    }
    const std::int64_t middle = pixels / 2 / step * step;
    const bool swapped = turn % 2 != 0;
    const double begin = milliseconds_now();
    run(swapped ? Shape::kSecond : Shape::kFirst, std::int64_t{0}, middle);
    const double between = milliseconds_now();
    run(swapped ? Shape::kFirst : Shape::kSecond, middle, pixels);
    const double end = milliseconds_now();
    take(turn, swapped ? end - between : between - begin,
         swapped ? between - begin : end - between);
  }

 private:
  static constexpr std::int64_t kLeastProducts = 1 << 20;  // some ten microseconds
  static constexpr int kUncounted = 256;
  static constexpr int kTurns = kUncounted + 128;
  // Of the first shape's time: below, the second one wins. Noise is not to change what is known to
  // be good on most machines.
  static constexpr double kClearly = 0.97;

  void take(int turn, double first, double second) {
    if (turn >= kUncounted) {
      first_.fetch_add(first, std::memory_order_relaxed);
      second_.fetch_add(second, std::memory_order_relaxed);
    }
    if (turn == kTurns - 1) {
      const bool faster = second_.load(std::memory_order_relaxed) <
                          kClearly * first_.load(std::memory_order_relaxed);
      winner_.store(faster ? Shape::kSecond : Shape::kFirst, std::memory_order_relaxed);
    }
    turn_.fetch_add(1, std::memory_order_relaxed);
  }

  std::atomic<int> turn_ = 0;
  std::atomic<double> first_ = 0, second_ = 0;
  std::atomic<Shape> winner_ = Shape::kFirst;
};

}  // namespace octavo::kernels
