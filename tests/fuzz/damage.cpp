// damage FILE... [--cut FILE...]: every truncation and every change of a single byte of each file,
// of those behind --cut every truncation, and what came of it. Ends with 1 where one of them was
// not answered with an error that explains itself or a result.
#include "support/damage.h"

#include <cstdio>
#include <string_view>

#include "support/files.h"

using namespace octavo;

int main(int argc, char** argv) {
  std::int64_t wrong = 0;
  bool only_cut = false;
  for (int i = 1; i < argc; ++i) {
    if (argv[i] == std::string_view("--cut")) {
      only_cut = true;
      continue;
    }
    const auto file = test::read_file(argv[i]);
    if (!file) {
      std::fprintf(stderr, "%s cannot be read.\n", argv[i]);
      return 2;
    }
    const std::string whole(file->begin(), file->end());
    const test::DamageCount cut = test::truncations(whole);
    const test::DamageCount changed = only_cut ? test::DamageCount{} : test::byte_changes(whole);
    std::printf("%s: %lld truncations, %lld changed bytes, %lld wrong\n", argv[i],
                static_cast<long long>(cut.tried), static_cast<long long>(changed.tried),
                static_cast<long long>(cut.wrong + changed.wrong));
    std::fflush(stdout);
    wrong += cut.wrong + changed.wrong;
  }
  return wrong == 0 ? 0 : 1;
}
