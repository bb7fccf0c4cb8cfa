#include "kernels/pad/pad.h"

#include <doctest/doctest.h>

#include <vector>

#include "support/buffers.h"

namespace octavo::kernels {
namespace {

TEST_CASE("pad: a bordered copy holds the image's rows and the fill around them") {
  for (const std::int64_t pixel_bytes : {1, 3, 4, 7, 16}) {
    for (const std::int64_t spare : {0, 1, 5}) {
      for (const std::int64_t left : {0, 1, 3}) {
        for (const std::int64_t right : {0, 2}) {
          for (const std::int64_t first : {-4, -2, 0, 1, 4, 6}) {
            const PadGeometry g{5, 3, left, right, pixel_bytes, pixel_bytes + spare};
            CAPTURE(pixel_bytes);
            CAPTURE(spare);
            CAPTURE(left);
            CAPTURE(right);
            CAPTURE(first);
            const auto image = test::random_codes<std::uint8_t>(
                static_cast<std::size_t>(g.height * g.width * pixel_bytes), 3);
            const std::int64_t rows = 4;
            test::Guarded<std::uint8_t> out(static_cast<std::size_t>(rows * g.row_bytes()));
            copy_padded_rows(reinterpret_cast<const std::byte*>(image.data()), g, first, rows, 0x77,
                             reinterpret_cast<std::byte*>(out.data()));
            std::vector<std::uint8_t> expected(static_cast<std::size_t>(rows * g.row_bytes()),
                                               0x77);
            for (std::int64_t y = std::max<std::int64_t>(0, first);
                 y < std::min(g.height, first + rows); ++y) {
              for (std::int64_t x = 0; x < g.width; ++x) {
                for (std::int64_t c = 0; c < pixel_bytes; ++c) {
                  expected[static_cast<std::size_t>((y - first) * g.row_bytes() +
                                                    (left + x) * g.padded_pixel_bytes + c)] =
                      image[static_cast<std::size_t>((y * g.width + x) * pixel_bytes + c)];
                }
              }
            }
            CHECK(out.values() == expected);
            CHECK(out.intact());
          }
        }
      }
    }
  }
}

TEST_CASE("pad: windows become the runs of bytes under them") {
  const std::vector<std::int32_t> offsets{0, 33, 70};
  for (const std::int64_t length : {1, 9, 16, 21}) {
    for (const std::int64_t run : {length, length + 1}) {
      for (const std::int64_t pixels : {1, 4, 5, 11}) {
        CAPTURE(length);
        CAPTURE(run);
        CAPTURE(pixels);
        const auto x = test::random_codes<std::uint8_t>(300 + 16, 5);
        const auto bytes = static_cast<std::size_t>(pixels * run * 3);
        test::Guarded<std::uint8_t> out(bytes + 15);
        copy_windows({6, 40, 5, offsets, length, run}, reinterpret_cast<const std::byte*>(x.data()),
                     pixels, reinterpret_cast<std::byte*>(out.data()));
        for (std::size_t i = 0; i < bytes; ++i) {
          const auto at = static_cast<std::int64_t>(i);
          const std::int64_t m = at / (3 * run);
          if (at % run >= length) continue;
          const std::int64_t from =
              m / 5 * 40 + m % 5 * 6 + offsets[static_cast<std::size_t>(at / run % 3)] + at % run;
          CHECK(out.values()[i] == x[static_cast<std::size_t>(from)]);
        }
        CHECK(out.intact());
      }
    }
  }
}

}  // namespace
}  // namespace octavo::kernels
