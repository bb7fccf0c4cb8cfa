// libFuzzer's mutations, made on ONNX's messages: a file stays one whose lengths fit, so that what
// lies behind the reader is reached. One mutation in eight is on plain bytes all the same.
//
// Fields are places in the file's bytes; a mutation replaces a range of bytes and writes the
// lengths around it anew. It runs before every input, so it copies and allocates next to nothing.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <random>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "fuzz/fuzz.h"
#include "onnx/schema.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using namespace octavo::onnx;
using Random = std::minstd_rand;
using Bytes = std::vector<std::uint8_t>;
using View = std::span<const std::uint8_t>;

enum class Kind {
  kLeaf,
  kModel,
  kOpset,
  kEntry,
  kGraph,
  kNode,
  kAttribute,
  kTensor,
  kValueInfo,
  kType,
  kTensorType,
  kShape,
  kDim
};

struct Nesting {
  Kind parent;
  field::Tag tag;
  Kind child;
};
constexpr Nesting kNestings[] = {
    {Kind::kModel, field::model::kGraph, Kind::kGraph},
    {Kind::kModel, field::model::kOpsetImport, Kind::kOpset},
    {Kind::kModel, field::model::kMetadataProps, Kind::kEntry},
    {Kind::kGraph, field::graph::kNode, Kind::kNode},
    {Kind::kGraph, field::graph::kInitializer, Kind::kTensor},
    {Kind::kGraph, field::graph::kInput, Kind::kValueInfo},
    {Kind::kGraph, field::graph::kOutput, Kind::kValueInfo},
    {Kind::kGraph, field::graph::kValueInfo, Kind::kValueInfo},
    {Kind::kNode, field::node::kAttribute, Kind::kAttribute},
    {Kind::kAttribute, field::attribute::kT, Kind::kTensor},
    {Kind::kAttribute, field::attribute::kG, Kind::kGraph},
    {Kind::kTensor, field::tensor::kExternalData, Kind::kEntry},
    {Kind::kValueInfo, field::value_info::kType, Kind::kType},
    {Kind::kType, field::type::kTensorType, Kind::kTensorType},
    {Kind::kTensorType, field::tensor_type::kShape, Kind::kShape},
    {Kind::kShape, field::shape::kDim, Kind::kDim},
};
Kind child_kind(Kind parent, field::Tag tag) {
  for (const Nesting& row : kNestings) {
    if (row.parent == parent && row.tag == tag) return row.child;
  }
  return Kind::kLeaf;
}

enum class Wire : std::uint8_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

constexpr std::size_t kNone = ~std::size_t{0};
constexpr int kDeepest =
    16;  // graphs in attributes of nodes of graphs ...: below, bytes are a leaf

struct Field {
  std::size_t parent;  // its index, or kNone
  Kind parent_kind, kind;
  field::Tag tag;
  Wire wire;
  // It is [start, end), begins with its key, and with kLength has a length at length_at; its
  // contents begin at body.
  std::size_t start, length_at, body, end;
};

struct Message {
  View bytes;
  std::vector<Field> fields;  // each before those inside it

  View whole(const Field& field) const {
    return bytes.subspan(field.start, field.end - field.start);
  }
  View contents(const Field& field) const {
    return bytes.subspan(field.body, field.end - field.body);
  }
};

// ---- reading and writing ----

std::optional<std::uint64_t> read_varint(View bytes, std::size_t& at, std::size_t end) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && at < end; shift += 7) {
    const std::uint8_t byte = bytes[at++];
    value |= static_cast<std::uint64_t>(byte & 127U) << shift;
    if (byte < 128) return value;
  }
  return std::nullopt;
}

std::size_t varint_size(std::uint64_t value) {
  std::size_t size = 1;
  while (value >>= 7U) ++size;
  return size;
}

void write_varint(std::uint64_t value, Bytes& out) {
  for (; value > 127; value >>= 7U) out.push_back(static_cast<std::uint8_t>(value | 128U));
  out.push_back(static_cast<std::uint8_t>(value));
}

void append(View bytes, Bytes& out) { out.insert(out.end(), bytes.begin(), bytes.end()); }

// A field with a number in it.
Bytes encoded(field::Tag tag, Wire wire, std::uint64_t number) {
  Bytes out;
  write_varint(std::uint64_t{tag} << 3U | static_cast<std::uint64_t>(wire), out);
  if (wire == Wire::kVarint) {
    write_varint(number, out);
  } else {
    for (int i = wire == Wire::kFixed32 ? 4 : 8; i > 0; --i, number >>= 8U)
      out.push_back(static_cast<std::uint8_t>(number));
  }
  return out;
}

// A field with bytes in it.
Bytes encoded(field::Tag tag, View contents) {
  Bytes out = encoded(tag, Wire::kVarint, contents.size());
  out[0] = static_cast<std::uint8_t>(out[0] | static_cast<unsigned>(Wire::kLength));
  append(contents, out);
  return out;
}

View view_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// Adds the fields of [at, end); false where these bytes are no message, and nothing is added.
bool parse(Message& message, std::size_t at, std::size_t end, Kind kind, std::size_t parent,
           int depth) {
  const std::size_t before = message.fields.size();
  while (at < end) {
    Field field{parent, kind, Kind::kLeaf, 0, Wire::kVarint, at, 0, 0, 0};
    const auto key = read_varint(message.bytes, at, end);
    if (!key || *key >> 35U != 0) break;
    field.tag = static_cast<field::Tag>(*key >> 3U);
    field.wire = static_cast<Wire>(*key & 7U);
    field.length_at = field.body = at;
    std::uint64_t size = field.wire == Wire::kFixed32 ? 4 : 8;
    if (field.wire == Wire::kVarint) {
      if (!read_varint(message.bytes, at, end)) break;
      size = at - field.body;
    } else if (field.wire == Wire::kLength) {
      const auto length = read_varint(message.bytes, at, end);
      if (!length) break;
      size = *length;
      field.body = at;
    } else if (field.wire != Wire::kFixed32 && field.wire != Wire::kFixed64) {
      break;
    }
    if (size > end - field.body) break;
    at = field.end = field.body + size;
    if (field.wire == Wire::kLength && depth < kDeepest) field.kind = child_kind(kind, field.tag);
    const std::size_t index = message.fields.size();
    message.fields.push_back(field);
    if (field.kind != Kind::kLeaf &&
        !parse(message, field.body, field.end, field.kind, index, depth + 1))
      message.fields[index].kind = Kind::kLeaf;
    if (at == end) return true;
  }
  if (at == end && message.fields.size() == before) return true;  // an empty message
  message.fields.resize(before);
  return false;
}

std::optional<Message> parsed(View bytes) {
  Message message{bytes, {}};
  if (!parse(message, 0, bytes.size(), Kind::kModel, kNone, 0) || message.fields.empty())
    return std::nullopt;
  return message;
}

// The file with `with` in place of [from, to), which lies inside field `parent`.
Bytes replaced(const Message& message, std::size_t parent, std::size_t from, std::size_t to,
               View with) {
  std::vector<std::pair<const Field*, std::uint64_t>> lengths;  // innermost first
  std::size_t gained = with.size() - (to - from);               // modulo 2^n
  for (std::size_t i = parent; i != kNone; i = message.fields[i].parent) {
    const Field& field = message.fields[i];
    const std::uint64_t length = field.end - field.body + gained;
    lengths.emplace_back(&field, length);
    gained += varint_size(length) - (field.body - field.length_at);
  }
  Bytes out;
  out.reserve(message.bytes.size() + gained);
  std::size_t at = 0;
  std::for_each(lengths.rbegin(), lengths.rend(), [&](const auto& entry) {
    append(message.bytes.subspan(at, entry.first->length_at - at), out);
    write_varint(entry.second, out);
    at = entry.first->body;
  });
  append(message.bytes.subspan(at, from - at), out);
  append(with, out);
  append(message.bytes.subspan(to), out);
  return out;
}

Bytes replaced(const Message& message, const Field& field, View with) {
  return replaced(message, field.parent, field.start, field.end, with);
}

// ---- mutations ----

std::size_t below(Random& random, std::size_t n) { return random() % n; }

template <class Items>
auto& pick(Random& random, Items&& items) {
  return items[below(random, std::size(items))];
}

// One of the fields that are such, each as likely; null where there is none.
template <class Such>
const Field* pick_such(Random& random, const Message& message, Such such) {
  const Field* found = nullptr;
  std::size_t count = 0;
  for (const Field& field : message.fields) {
    if (such(field) && below(random, ++count) == 0) found = &field;
  }
  return found;
}

constexpr std::int64_t kNumbers[] = {0,
                                     1,
                                     -1,
                                     2,
                                     -2,
                                     3,
                                     4,
                                     7,
                                     16,
                                     127,
                                     128,
                                     255,
                                     256,
                                     65536,
                                     1 << 28,
                                     (1 << 28) + 1,
                                     std::numeric_limits<std::int32_t>::max(),
                                     std::numeric_limits<std::int32_t>::min(),
                                     std::int64_t{1} << 32,
                                     std::int64_t{1} << 40,
                                     std::int64_t{1} << 62,
                                     std::numeric_limits<std::int64_t>::max(),
                                     std::numeric_limits<std::int64_t>::min()};

bool is_tensor_name(const Field& field) {
  return (field.parent_kind == Kind::kNode && field.tag <= field::node::kOutput) ||
         (field.parent_kind == Kind::kValueInfo && field.tag == field::value_info::kName) ||
         (field.parent_kind == Kind::kTensor && field.tag == field::tensor::kName);
}

Bytes change_leaf(Random& random, const Message& message, const Field& field) {
  // Half of all changes take what stands in such a place elsewhere.
  if (random() % 2 == 0) {
    const Field& other = *pick_such(random, message, [&](const Field& one) {
      if (one.wire != field.wire || one.kind != Kind::kLeaf) return false;
      return is_tensor_name(field) ? is_tensor_name(one)
                                   : one.parent_kind == field.parent_kind && one.tag == field.tag;
    });
    if (field.wire != Wire::kLength) return replaced(message, field, message.whole(other));
    return replaced(message, field, encoded(field.tag, message.contents(other)));
  }
  if (field.wire != Wire::kLength) {
    std::uint64_t number = 0;
    if (random() % 2 == 0) {
      number = static_cast<std::uint64_t>(pick(random, kNumbers));
    } else {
      std::size_t at = field.body;
      if (field.wire == Wire::kVarint) {
        number = read_varint(message.bytes, at, field.end).value_or(0);
      } else {
        std::memcpy(&number, &message.bytes[at], field.end - at);
      }
      number += random() % 9 - 4;
    }
    return replaced(message, field, encoded(field.tag, field.wire, number));
  }
  const auto ops = octavo::fuzz::mutator_ops();
  if (!ops.empty() && field.parent_kind == Kind::kNode && field.tag == field::node::kOpType)
    return replaced(message, field, encoded(field.tag, view_of(pick(random, ops).name)));
  const View contents = message.contents(field);
  Bytes changed(contents.begin(), contents.end());
  changed.resize(contents.size() + 16);
  changed.resize(LLVMFuzzerMutate(changed.data(), contents.size(), changed.size()));
  return replaced(message, field, encoded(field.tag, changed));
}

// An attribute that the node's op reads, with integers (an attribute may be any type; most are).
Bytes added_attribute(Random& random, const Message& message, const Field& node) {
  using namespace field;
  const auto ops = octavo::fuzz::mutator_ops();
  const octavo::ops::OpDef* def = nullptr;
  for (const Field& one : message.fields) {
    if (one.parent == kNone || &message.fields[one.parent] != &node || one.tag != node::kOpType)
      continue;
    for (const auto& row : ops) {
      if (std::ranges::equal(view_of(row.name), message.contents(one))) def = &row;
    }
  }
  if (def == nullptr || def->attrs.empty()) return {};
  const octavo::ops::AttrDef& attr = pick(random, def->attrs);
  const bool list = attr.type == octavo::ops::AttrType::kInts;
  Bytes contents = encoded(attribute::kName, view_of(attr.name));
  for (std::size_t i = list ? 1 + below(random, 4) : 1; i > 0; --i) {
    const auto number = static_cast<std::uint64_t>(pick(random, kNumbers));
    append(encoded(list ? attribute::kInts : attribute::kI, Wire::kVarint, number), contents);
  }
  const AttributeType type = list ? AttributeType::kInts : AttributeType::kInt;
  append(encoded(attribute::kType, Wire::kVarint, static_cast<std::uint64_t>(type)), contents);
  const auto index = static_cast<std::size_t>(&node - message.fields.data());
  return replaced(message, index, node.end, node.end, encoded(node::kAttribute, contents));
}

// Empty where that mutation cannot be made.
Bytes mutated(Random& random, const Message& message) {
  const Field& field = pick(random, message.fields);
  const auto sibling = [&] {
    return pick_such(random, message, [&](const Field& one) { return one.parent == field.parent; });
  };
  switch (random() % 8) {
    case 0:
      return replaced(message, field, {});
    case 1: {
      const std::size_t at = sibling()->end;
      return replaced(message, field.parent, at, at, message.whole(field));
    }
    case 2: {
      const Field* first = &field;
      const Field* second = sibling();
      if (first->start > second->start) std::swap(first, second);
      Bytes swapped;
      append(message.whole(*second), swapped);
      if (first != second) {
        append(message.bytes.subspan(first->end, second->start - first->end), swapped);
        append(message.whole(*first), swapped);
      }
      return replaced(message, field.parent, first->start, second->end, swapped);
    }
    case 3:
      return field.kind == Kind::kNode ? added_attribute(random, message, field) : Bytes{};
    default: {
      const Field* leaf =
          pick_such(random, message, [](const Field& one) { return one.kind == Kind::kLeaf; });
      return leaf != nullptr ? change_leaf(random, message, *leaf) : Bytes{};
    }
  }
}

std::size_t store(View bytes, std::uint8_t* out, std::size_t max_size) {
  if (bytes.size() > max_size) return 0;
  std::copy(bytes.begin(), bytes.end(), out);
  return bytes.size();
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  Random random(seed);
  if (random() % 8 != 0) {
    std::size_t stored = 0;
    for (std::size_t i = 1 + below(random, 4); i > 0; --i) {
      const auto message = parsed({data, size});
      if (!message) break;
      const Bytes bytes = mutated(random, *message);
      if (bytes.empty() || store(bytes, data, max_size) == 0) continue;
      size = stored = bytes.size();
    }
    if (stored != 0) return stored;
  }
  return LLVMFuzzerMutate(data, size, max_size);
}

// A field of the second file in place of, or beside, one that stands in such a message of the
// first.
extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* data1, std::size_t size1,
                                                 const std::uint8_t* data2, std::size_t size2,
                                                 std::uint8_t* out, std::size_t max_out_size,
                                                 unsigned seed) {
  Random random(seed);
  const auto to = parsed({data1, size1});
  const auto from = parsed({data2, size2});
  if (!to || !from) return 0;
  const Field& source = pick(random, from->fields);
  const Field* target = pick_such(random, *to, [&](const Field& one) {
    return one.parent_kind == source.parent_kind && one.tag == source.tag;
  });
  if (target == nullptr) return 0;
  const std::size_t at = random() % 2 == 0 ? target->start : target->end;
  return store(replaced(*to, target->parent, at, target->end, from->whole(source)), out,
               max_out_size);
}
