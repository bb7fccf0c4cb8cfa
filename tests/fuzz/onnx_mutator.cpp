// libFuzzer's mutations, made on ONNX's messages: a file stays one whose lengths fit, so that what
// lies behind the reader is reached. One mutation in eight is on plain bytes all the same.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "onnx/schema.h"
#include "onnx/wire.h"
// Behind the assertions that wire.h defines.
#include <protozero/pbf_writer.hpp>

#include "ops/op.h"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace {

using namespace octavo::onnx;
using protozero::pbf_wire_type;
using Random = std::minstd_rand;

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

struct Field {
  field::Tag tag = 0;
  pbf_wire_type wire = pbf_wire_type::varint;
  Kind kind = Kind::kLeaf;
  std::uint64_t number = 0;   // of varint, fixed32, fixed64
  std::string bytes;          // of a leaf with a length
  std::vector<Field> fields;  // of a message
};

// Nothing where the bytes are no message of fields.
std::optional<std::vector<Field>> parse(protozero::data_view bytes, Kind kind) {
  std::vector<Field> fields;
  try {
    for (protozero::pbf_reader reader{bytes}; reader.next();) {
      Field& field = fields.emplace_back();
      field.tag = reader.tag();
      field.wire = reader.wire_type();
      switch (field.wire) {
        case pbf_wire_type::varint:
          field.number = reader.get_uint64();
          break;
        case pbf_wire_type::fixed64:
          field.number = reader.get_fixed64();
          break;
        case pbf_wire_type::fixed32:
          field.number = reader.get_fixed32();
          break;
        case pbf_wire_type::length_delimited: {
          const protozero::data_view view = reader.get_view();
          field.kind = child_kind(kind, field.tag);
          if (field.kind != Kind::kLeaf) {
            if (auto inner = parse(view, field.kind)) {
              field.fields = std::move(*inner);
              break;
            }
            field.kind = Kind::kLeaf;
          }
          field.bytes = std::string(view.data(), view.size());
          break;
        }
        default:
          return std::nullopt;
      }
    }
  } catch (const protozero::exception&) {
    return std::nullopt;
  }
  return fields;
}

std::string serialize(const std::vector<Field>& fields) {
  std::string bytes;
  protozero::pbf_writer writer{bytes};
  for (const Field& field : fields) {
    switch (field.wire) {
      case pbf_wire_type::varint:
        writer.add_uint64(field.tag, field.number);
        break;
      case pbf_wire_type::fixed64:
        writer.add_fixed64(field.tag, field.number);
        break;
      case pbf_wire_type::fixed32:
        writer.add_fixed32(field.tag, static_cast<std::uint32_t>(field.number));
        break;
      default:
        writer.add_bytes(field.tag,
                         field.kind == Kind::kLeaf ? field.bytes : serialize(field.fields));
    }
  }
  return bytes;
}

// Where a field stands.
struct Place {
  Kind parent;
  std::vector<Field>* fields;
  std::size_t at;
  Field& field() const { return (*fields)[at]; }
};
void collect(std::vector<Field>& fields, Kind kind, std::vector<Place>& out) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    out.push_back({kind, &fields, i});
    if (fields[i].kind != Kind::kLeaf) collect(fields[i].fields, fields[i].kind, out);
  }
}
std::vector<Place> places_of(std::vector<Field>& model) {
  std::vector<Place> places;
  collect(model, Kind::kModel, places);
  return places;
}

std::size_t below(Random& random, std::size_t n) { return random() % n; }

template <class Items>
auto& pick(Random& random, Items&& items) {
  return items[below(random, std::size(items))];
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

bool is_tensor_name(const Place& place) {
  return (place.parent == Kind::kNode && place.field().tag <= field::node::kOutput) ||
         (place.parent == Kind::kValueInfo && place.field().tag == field::value_info::kName) ||
         (place.parent == Kind::kTensor && place.field().tag == field::tensor::kName);
}

void change_leaf(Random& random, const std::vector<Place>& places, const Place& place) {
  Field& field = place.field();
  const auto like = [&](const Place& other) {
    return is_tensor_name(place) ? is_tensor_name(other)
                                 : other.parent == place.parent && other.field().tag == field.tag;
  };
  // Half of all changes take what stands in such a place elsewhere.
  if (random() % 2 == 0) {
    std::vector<Place> others;
    std::copy_if(places.begin(), places.end(), std::back_inserter(others), like);
    const Field other = pick(random, others).field();
    if (other.wire == field.wire && other.kind == Kind::kLeaf) {
      field.bytes = other.bytes;
      field.number = other.number;
    }
  } else if (place.parent == Kind::kNode && field.tag == field::node::kOpType) {
    field.bytes = pick(random, octavo::ops::all_ops()).name;
  } else if (field.wire != pbf_wire_type::length_delimited) {
    field.number = random() % 2 == 0 ? static_cast<std::uint64_t>(pick(random, kNumbers))
                                     : field.number + random() % 9 - 4;
  } else {
    const std::size_t size = field.bytes.size();
    field.bytes.resize(size + 16);
    field.bytes.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(field.bytes.data()), size,
                                        field.bytes.size()));
  }
}

// An attribute that the node's op reads, with integers (an attribute may be any type; most are).
void add_attribute(Random& random, Field& node) {
  using namespace field;
  std::string op;
  for (const Field& one : node.fields) {
    if (one.tag == node::kOpType) op = one.bytes;
  }
  const octavo::ops::OpDef* def = octavo::ops::find_op(op, "");
  if (def == nullptr || def->attrs.empty()) return;
  const octavo::ops::AttrDef& attr = pick(random, def->attrs);
  const bool list = attr.type == octavo::ops::AttrType::kInts;
  Field added{node::kAttribute, pbf_wire_type::length_delimited, Kind::kAttribute, 0, "", {}};
  const auto number = [&](Tag tag, std::int64_t value) {
    added.fields.push_back(
        {tag, pbf_wire_type::varint, Kind::kLeaf, static_cast<std::uint64_t>(value), "", {}});
  };
  added.fields.push_back({attribute::kName,
                          pbf_wire_type::length_delimited,
                          Kind::kLeaf,
                          0,
                          std::string(attr.name),
                          {}});
  for (std::size_t i = list ? 1 + below(random, 4) : 1; i > 0; --i)
    number(list ? attribute::kInts : attribute::kI, pick(random, kNumbers));
  number(attribute::kType, static_cast<int>(list ? AttributeType::kInts : AttributeType::kInt));
  node.fields.push_back(std::move(added));
}

void mutate(Random& random, std::vector<Field>& model) {
  const std::vector<Place> places = places_of(model);
  if (places.empty()) return;
  const Place place = pick(random, places);
  std::vector<Field>& siblings = *place.fields;
  const Field copy = place.field();
  switch (random() % 8) {
    case 0:
      siblings.erase(siblings.begin() + static_cast<std::ptrdiff_t>(place.at));
      break;
    case 1:
      siblings.insert(
          siblings.begin() + static_cast<std::ptrdiff_t>(below(random, siblings.size() + 1)), copy);
      break;
    case 2:
      std::swap(place.field(), pick(random, siblings));
      break;
    case 3:
      if (place.field().kind == Kind::kNode) add_attribute(random, place.field());
      break;
    default:
      if (place.field().kind == Kind::kLeaf) {
        change_leaf(random, places, place);
      } else {
        mutate(random, place.field().fields);
      }
  }
}

std::size_t store(const std::string& bytes, std::uint8_t* out, std::size_t max_size) {
  if (bytes.size() > max_size) return 0;
  std::memcpy(out, bytes.data(), bytes.size());
  return bytes.size();
}

protozero::data_view view_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  Random random(seed);
  auto model = parse(view_of(data, size), Kind::kModel);
  if (model && random() % 8 != 0) {
    for (std::size_t i = 1 + below(random, 4); i > 0; --i) mutate(random, *model);
    if (const std::size_t stored = store(serialize(*model), data, max_size)) return stored;
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
  auto to = parse(view_of(data1, size1), Kind::kModel);
  auto from = parse(view_of(data2, size2), Kind::kModel);
  if (!to || !from || to->empty() || from->empty()) return 0;
  const std::vector<Place> sources = places_of(*from);
  const Place source = pick(random, sources);
  std::vector<Place> targets = places_of(*to);
  std::erase_if(targets, [&](const Place& one) {
    return one.parent != source.parent || one.field().tag != source.field().tag;
  });
  if (targets.empty()) return 0;
  const Place target = pick(random, targets);
  if (random() % 2 == 0) {
    target.field() = source.field();
  } else {
    target.fields->insert(target.fields->begin() + static_cast<std::ptrdiff_t>(target.at),
                          source.field());
  }
  return store(serialize(*to), out, max_out_size);
}
