#include "base/result.h"

#include "base/limits.h"
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
  if (findings.size() > kMaxFindings)
    findings.erase(findings.begin() + kMaxFindings, findings.end());
  if (findings.size() > 1) first.all = std::move(findings);
  return first;
}

}  // namespace octavo
