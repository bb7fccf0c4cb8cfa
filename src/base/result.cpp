#include "base/result.h"

#include "base/text.h"

namespace octavo {

std::string Error::message() const {
  std::string out;
  if (!where.empty()) out = text(where, ": ");
  out += what;
  if (!hint.empty()) out += text(" ", hint);
  return out;
}

Error combine(std::vector<Error> findings) {
  Error first = findings.front();
  if (findings.size() > 1) first.all = std::move(findings);
  return first;
}

}  // namespace octavo
