// golden DIR: runs every group of golden vectors in a folder, prints a line a group, and exits with
// 1 on any mismatch or anything that it does not understand.
#include <cstdio>
#include <exception>

#include "golden/golden.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: golden DIR (a folder of GROUP.idx and GROUP.bin files)\n", stderr);
    return 2;
  }
  using namespace octavo::golden;
  bool passed = true;
  try {
    const std::vector<std::string> groups = groups_in(argv[1]);
    if (groups.empty()) {
      std::fprintf(stderr, "golden: there are no .idx files in %s\n", argv[1]);
      return 1;
    }
    for (const std::string& group : groups) {
      const Tally tally = run_group(argv[1], group);
      passed = passed && tally.passed();
      std::puts(to_line(group, tally).c_str());
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "golden: %s\n", error.what());
    return 1;
  }
  return passed ? 0 : 1;
}
