// Saved states of observers: bytes that save() did not write are refused and change nothing, others
// give an observer that works. The first byte names the observer.
#include <vector>

#include "calib/observer.h"
#include "fuzz/fuzz.h"

using namespace octavo;

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {
std::unique_ptr<calib::Observer> observer_of(std::uint8_t number) {
  const auto rows = calib::all_observers();
  calib::ObserverOptions options;
  options.bins = 64;
  return rows[number % rows.size()].make(options);
}

constexpr float kSome[] = {-1, 0.25F, 0.5F, 3};
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto observer = observer_of(data[0]);
  observer->observe(kSome);
  const std::vector<std::byte> before = observer->save();
  const auto bytes = fuzz::exact_bytes(data + 1, size - 1);
  if (const Status loaded = observer->load({bytes.get(), size - 1}); !loaded.ok()) {
    fuzz::check_error(loaded.error());
    fuzz::check(observer->save() == before, "a refused state changes nothing");
    return 0;
  }
  const std::vector<std::byte> saved = observer->save();
  const auto other = observer_of(data[0]);
  fuzz::check(other->load(saved).ok() && other->save() == saved, "a saved state is read back");
  const calib::Range range = observer->range();
  fuzz::check(range.min <= range.max, "a range has an order");
  observer->observe(kSome);
  fuzz::check(observer->merge(*other).ok(), "observers of a kind merge");
  static_cast<void>(observer->range());
  return 0;
}

// Starts from states that are right: random bytes would hardly ever spell one.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  if (size < 8 || seed % 64 == 0) {
    const auto number = static_cast<std::uint8_t>(seed / 64);
    const auto observer = observer_of(number);
    observer->observe(kSome);
    const std::vector<std::byte> state = observer->save();
    if (state.size() + 1 <= max_size) {
      data[0] = number;
      std::memcpy(data + 1, state.data(), state.size());
      return state.size() + 1;
    }
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
