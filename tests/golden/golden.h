// The golden runner: computes every case of a folder of golden vectors and compares bit by bit.
//
// A group is one file here and one row in all_groups.cpp. Nothing passes silently: a group or a
// kind that has no code here, and an attribute or tensor of a case that nobody read, count as
// failures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "support/buffers.h"
#include "support/golden.h"
#include "tensor/tensor.h"

namespace octavo::golden {

// What happened in one case or one group.
struct Tally {
  int cases = 0;
  std::int64_t compared = 0;    // codes, numbers
  std::int64_t mismatches = 0;  // of those
  std::vector<std::string> problems;

  bool passed() const { return mismatches == 0 && problems.empty(); }
  void add(const Tally& other);
};

// One case: reads attributes and tensors, and compares. A key that is missing, or has another type,
// ends the case as a problem.
class Case {
 public:
  Case(const test::GoldenGroup& group, const test::GoldenCase& record, std::string folder)
      : group_(group), record_(record), folder_(std::move(folder)) {}

  const std::string& name() const { return record_.name; }
  const std::string& folder() const { return folder_; }  // of the golden files

  const test::GoldenGroup& group() const { return group_; }  // for cases that name another

  bool has(const std::string& key) const;  // an attribute or a tensor
  std::vector<std::string> keys() const;   // all attributes and tensors
  std::string str(const std::string& key);
  double number(const std::string& key);
  std::int64_t integer(const std::string& key);
  bool flag(const std::string& key);
  std::vector<double> list(const std::string& key);
  // An attribute that is one number for all of `count` axes, or a list of one for each.
  std::vector<std::int64_t> each(const std::string& key, std::size_t count);
  // Says that these, where they are there, need no check (and why, in a comment at the call).
  void ignore(const std::vector<std::string>& keys);

  std::string dtype(const std::string& key) const;  // "u8", "i8", "i32", "f32", "f64"
  Shape shape(const std::string& key) const;
  Tensor tensor(const std::string& key);
  template <class T>
  std::vector<T> values(const std::string& key);
  // A tensor of any dtype as numbers.
  std::vector<double> numbers(const std::string& key);

  // Compares with tensor `key`, bit by bit; two NaNs are equal.
  template <class T>
  void expect(const std::string& key, std::span<const T> got);
  void expect(const std::string& key, const Tensor& got);
  // Compares what is not a tensor; numbers bit by bit.
  void expect_equal(std::string_view what, const std::string& got, const std::string& want);
  void expect_equal(std::string_view what, double got, double want);

  // The value, or the end of this case with the error as its problem.
  template <class T>
  static T take(Result<T> result) {
    if (!result.ok()) throw std::runtime_error(result.error().message());
    return std::move(result).value();
  }

  void problem(std::string what);
  // The last word: complains about keys that nobody read, and where nothing was compared.
  Tally finish();

 private:
  const std::string& attribute(const std::string& key);
  const test::GoldenTensor& record(const std::string& key);

  const test::GoldenGroup& group_;
  const test::GoldenCase& record_;
  std::string folder_;
  std::set<std::string> read_;
  int comparisons_ = 0;  // of tensors and numbers; a tensor may be empty
  Tally tally_;
};

struct Group {
  std::string_view name;  // of the files
  void (*run)(Case& c);
};
std::span<const Group> all_groups();

// Every case of FOLDER/GROUP.idx.
Tally run_group(const std::string& folder, const std::string& group);
// The names of the .idx files in a folder, sorted.
std::vector<std::string> groups_in(const std::string& folder);
// "batchnorm: 99 cases, 1234567 codes compared, 0 mismatches", then a line a problem.
std::string to_line(std::string_view group, const Tally& tally);

template <class T>
std::vector<T> Case::values(const std::string& key) {
  const Tensor read = tensor(key);
  if (read.dtype() != dtype_of<T>())
    throw std::runtime_error("tensor " + key + " is " + std::string(dtype_name(read.dtype())));
  const auto span = read.span<T>();
  return {span.begin(), span.end()};
}

template <class T>
void Case::expect(const std::string& key, std::span<const T> got) {
  const std::vector<T> want = values<T>(key);
  ++comparisons_;
  if (got.size() != want.size()) {
    problem(key + " has " + std::to_string(want.size()) + " elements, we have " +
            std::to_string(got.size()));
    return;
  }
  std::int64_t wrong = 0;
  std::size_t first = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (test::same_bits<T>({got[i]}, {want[i]})) continue;
    if (wrong++ == 0) first = i;
  }
  tally_.compared += static_cast<std::int64_t>(want.size());
  tally_.mismatches += wrong;
  if (wrong != 0) {
    problem(key + ": " + std::to_string(wrong) + " of " + std::to_string(want.size()) +
            " differ, the first at " + std::to_string(first) + ": " + std::to_string(got[first]) +
            " instead of " + std::to_string(want[first]));
  }
}

}  // namespace octavo::golden
