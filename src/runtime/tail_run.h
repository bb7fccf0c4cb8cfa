// The tail of a session (runtime/session.h: Tail): planned for what has come out, run, and its
// results given back as the session's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "runtime/session.h"

namespace octavo::runtime {

class TailRun {
 public:
  // `head` has had its steps made; it gets the tail's results as outputs whose shapes are open.
  // `options` are what is left for the tail.
  TailRun(Tail tail, Graph& head, const SessionOptions& options);

  // Plans the tail, unless it is planned for these very shapes and decisive values, and gives it
  // its inputs. `memory` has the bytes of the head's values that are no constants; their shapes are
  // what has come out.
  Status begin(const Graph& head, const std::vector<std::byte*>& memory);
  Session* session() { return session_ ? &*session_ : nullptr; }
  const Session* session() const { return session_ ? &*session_ : nullptr; }
  // Writes the shapes of the results into the head; forgets them where there are none.
  void end(Graph& head) const;
  // The bytes of a result; nothing where the tail does not make this value.
  std::optional<std::span<const std::byte>> result(ValueId id) const;

 private:
  Tail tail_;
  SessionOptions options_;
  std::vector<ValueId> sources_;  // of the head, by input of the tail
  std::vector<ValueId> results_;  // of the head, in the order of the tail's outputs
  std::vector<std::int64_t> planned_for_;
  std::optional<Session> session_;
};

}  // namespace octavo::runtime
