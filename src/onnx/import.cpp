#include "onnx/import.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "base/limits.h"
#include "base/text.h"
#include "graph/verify.h"
#include "onnx/schema.h"
#include "onnx/wire.h"

namespace octavo::onnx {

namespace {

using protozero::data_view;
using protozero::pbf_wire_type;

// Ends the reading: a file that asks for too much is not read on.
struct LimitExceeded {
  Error error;
};

// ---- repeated scalars: packed or one by one, as the writer chose ----

template <class T, class Next>
void append_packed(Reader& reader, std::vector<T>& out, Next next) {
  if (reader.wire_type() == pbf_wire_type::length_delimited) {
    Reader packed{reader.get_view()};
    const char* at = packed.data().data();
    const char* const end = at + packed.data().size();
    while (at != end) out.push_back(next(at, end));
  } else {
    out.push_back(static_cast<T>(reader.get_int64()));
  }
}

void read_int64s(Reader& reader, std::vector<std::int64_t>& out) {
  append_packed(reader, out, [](const char*& at, const char* end) {
    return static_cast<std::int64_t>(protozero::decode_varint(&at, end));
  });
}

template <class T>
void read_fixed(Reader& reader, std::vector<T>& out) {
  if (reader.wire_type() == pbf_wire_type::length_delimited) {
    const data_view view = reader.get_view();
    if (view.size() % sizeof(T) != 0) throw protozero::invalid_length_exception{};
    const std::size_t before = out.size();
    out.resize(before + view.size() / sizeof(T));
    if (!view.empty()) std::memcpy(out.data() + before, view.data(), view.size());
  } else if constexpr (sizeof(T) == 4) {
    out.push_back(reader.get_float());
  } else {
    out.push_back(reader.get_double());
  }
}

std::string to_string(data_view view) { return {view.data(), view.size()}; }

class Importer {
 public:
  Importer(std::shared_ptr<const std::byte> bytes, std::size_t size, const ExternalFiles& external,
           Unaligned unaligned)
      : bytes_(std::move(bytes)), size_(size), external_(external), unaligned_(unaligned) {}

  Result<Graph> run() {
    try {
      read_model(Reader{data_view{reinterpret_cast<const char*>(bytes_.get()), size_}});
    } catch (LimitExceeded& limit) {
      return std::move(limit.error);
    } catch (const protozero::end_of_buffer_exception&) {
      return Error{Code::kTruncatedModel, "The model ends in the middle of a field.", where_,
                   "Download or copy the file again; it is not complete."};
    } catch (const protozero::exception& problem) {
      return Error{Code::kInvalidModel,
                   text("The bytes are not a valid ONNX model (", problem.what(), ")."), where_,
                   "Give an ONNX file, for example from torch.onnx.export."};
    }
    if (!findings_.empty()) return combine(std::move(findings_));
    if (!has_graph_) {
      return Error{Code::kInvalidModel, "The file holds no graph: it is not an ONNX model.", "",
                   "Give an ONNX file, for example from torch.onnx.export."};
    }
    if (graph_.opset < kMinOpset || graph_.opset > kMaxOpset) {
      return Error{Code::kUnsupportedOpset, text("The model uses opset ", graph_.opset, "."),
                   "model",
                   text("Octavo reads opsets ", kMinOpset, " to ", kMaxOpset,
                        ": export the model again, or convert it with onnx.version_converter.")};
    }
    OCTAVO_CHECK_OK(finish());
    return std::move(graph_);
  }

 private:
  void find(Code code, std::string what, std::string where, std::string hint) {
    if (findings_.size() == kMaxFindings) return;
    findings_.push_back({code, std::move(what), std::move(where), std::move(hint), {}});
  }

  void check_limit(std::size_t count, std::size_t most, std::string_view what) const {
    if (count <= most) return;
    throw LimitExceeded{{Code::kLimitExceeded,
                         text("There are ", count, " ", what, " or more."),
                         where_,
                         text("At most ", most, " are read."),
                         {}}};
  }

  std::string read_name(Reader& reader) {
    const data_view view = reader.get_view();
    check_limit(view.size(), kMaxNameBytes, "bytes in a name");
    return to_string(view);
  }

  ValueId value_named(const std::string& name) {
    if (name.empty()) return kNoValue;
    const auto [it, is_new] = ids_.try_emplace(name, kNoValue);
    if (is_new) {
      check_limit(ids_.size(), kMaxValues, "tensors");
      Value value;
      value.name = name;
      it->second = graph_.add_value(std::move(value));
    }
    return it->second;
  }

  void read_model(Reader reader) {
    std::vector<data_view> graphs;
    graph_.opset = 0;
    while (reader.next()) {
      where_ = text("model, field ", reader.tag());
      switch (reader.tag()) {
        case field::model::kIrVersion:
          graph_.ir_version = static_cast<int>(reader.get_int64());
          break;
        case field::model::kProducerName:
          graph_.producer_name = read_name(reader);
          break;
        case field::model::kProducerVersion:
          graph_.producer_version = read_name(reader);
          break;
        case field::model::kDocString:
          graph_.doc_string = to_string(reader.get_view());
          break;
        case field::model::kGraph:
          graphs.push_back(reader.get_view());
          break;
        case field::model::kOpsetImport:
          read_opset(reader.get_message());
          break;
        case field::model::kMetadataProps:
          read_metadata(reader.get_message());
          break;
        default:
          reader.skip();
      }
    }
    // Without an opset_import, opset 1 is meant; the check of the range says so.
    if (graph_.opset == 0) graph_.opset = 1;
    if (graphs.empty()) return;
    has_graph_ = true;
    read_graph(Reader{graphs.back()});
  }

  void read_opset(Reader reader) {
    std::string domain;
    std::int64_t version = 0;
    while (reader.next()) {
      switch (reader.tag()) {
        case field::opset::kDomain:
          domain = read_name(reader);
          break;
        case field::opset::kVersion:
          version = reader.get_int64();
          break;
        default:
          reader.skip();
      }
    }
    const int number = static_cast<int>(std::clamp<std::int64_t>(version, 0, 1'000'000));
    if (domain.empty() || domain == "ai.onnx") {
      graph_.opset = number;
    } else {
      graph_.domain_opsets[domain] = number;
    }
  }

  void read_metadata(Reader reader) {
    const auto [key, value] = read_entry(reader);
    graph_.metadata[key] = value;
  }

  static std::pair<std::string, std::string> read_entry(Reader reader) {
    std::pair<std::string, std::string> entry;
    while (reader.next()) {
      switch (reader.tag()) {
        case field::entry::kKey:
          entry.first = to_string(reader.get_view());
          break;
        case field::entry::kValue:
          entry.second = to_string(reader.get_view());
          break;
        default:
          reader.skip();
      }
    }
    return entry;
  }

  // Initializers first: they tell inputs from weights, and nodes may stand before them in the file.
  void read_graph(Reader whole) {
    Reader reader = whole;
    std::size_t initializers = 0;
    while (reader.next()) {
      switch (reader.tag()) {
        case field::graph::kInitializer: {
          where_ = text("initializer ", initializers++);
          std::string name;
          std::optional<Tensor> tensor = read_tensor(reader.get_message(), name);
          if (!tensor) break;
          if (name.empty()) {
            find(Code::kInvalidModel, "It has no name.", where_,
                 "Export the model again; the file is damaged.");
            break;
          }
          Value& value = graph_.value(value_named(name));
          value.dtype = tensor->dtype();
          value.shape = tensor->shape();
          value.constant = std::move(*tensor);
          break;
        }
        case field::graph::kSparseInitializer:
          find(Code::kUnsupportedDtype, "The model has sparse initializers.", "graph",
               "Export it with dense weights.");
          reader.skip();
          break;
        default:
          reader.skip();
      }
    }
    reader = whole;
    while (reader.next()) {
      switch (reader.tag()) {
        case field::graph::kNode:
          where_ = text("node ", graph_.nodes.size());
          check_limit(graph_.nodes.size() + 1, kMaxNodes, "nodes");
          read_node(reader.get_message());
          break;
        case field::graph::kName:
          graph_.name = read_name(reader);
          break;
        case field::graph::kInput: {
          where_ = "graph inputs";
          check_limit(graph_.inputs.size() + 1, kMaxNodes, "inputs");
          const ValueId id = read_value_info(reader.get_message());
          if (id != kNoValue && !graph_.value(id).is_constant()) add_input(id);
          break;
        }
        case field::graph::kOutput: {
          where_ = "graph outputs";
          check_limit(graph_.outputs.size() + 1, kMaxNodes, "outputs");
          const ValueId id = read_value_info(reader.get_message());
          // Some tools list a result twice; once says as much.
          const bool listed =
              std::find(graph_.outputs.begin(), graph_.outputs.end(), id) != graph_.outputs.end();
          if (id != kNoValue && !listed) graph_.outputs.push_back(id);
          break;
        }
        case field::graph::kValueInfo:
          where_ = "value info";
          read_value_info(reader.get_message());
          break;
        default:
          reader.skip();
      }
    }
  }

  void add_input(ValueId id) {
    if (graph_.is_input(id)) {
      find(Code::kInvalidModel, text("'", graph_.value(id).name, "' is listed twice."), where_,
           "Each input has a name of its own.");
      return;
    }
    graph_.inputs.push_back(id);
  }

  ValueId read_value_info(Reader reader) {
    std::string name;
    std::optional<std::pair<DType, std::optional<Shape>>> type;
    std::vector<std::string> dim_names;
    std::int64_t other_type = 0;
    while (reader.next()) {
      switch (reader.tag()) {
        case field::value_info::kName:
          name = read_name(reader);
          break;
        case field::value_info::kType: {
          Reader of = reader.get_message();
          while (of.next()) {
            if (of.tag() == field::type::kTensorType) {
              type = read_tensor_type(of.get_message(), dim_names, other_type);
            } else {
              of.skip();
            }
          }
          break;
        }
        default:
          reader.skip();
      }
    }
    if (name.empty()) return kNoValue;
    const ValueId id = value_named(name);
    Value& value = graph_.value(id);
    if (type && !value.is_constant()) {
      value.dtype = type->first;
      value.shape = type->second;
      value.dim_names = std::move(dim_names);
    }
    return id;
  }

  std::pair<DType, std::optional<Shape>> read_tensor_type(Reader reader,
                                                          std::vector<std::string>& names,
                                                          std::int64_t& other_type) {
    DType dtype = DType::kUndefined;
    std::optional<Shape> shape;
    while (reader.next()) {
      switch (reader.tag()) {
        case field::tensor_type::kElemType:
          other_type = reader.get_int64();
          dtype = dtype_from_onnx(other_type).value_or(DType::kUndefined);
          break;
        case field::tensor_type::kShape: {
          shape.emplace();
          Reader dims = reader.get_message();
          while (dims.next()) {
            if (dims.tag() != field::shape::kDim) {
              dims.skip();
              continue;
            }
            Reader dim = dims.get_message();
            std::int64_t number = kUnknownDim;
            std::string param;
            while (dim.next()) {
              switch (dim.tag()) {
                case field::dim::kValue:
                  number = dim.get_int64();
                  break;
                case field::dim::kParam:
                  param = read_name(dim);
                  break;
                default:
                  dim.skip();
              }
            }
            if (number > kMaxElements)
              find(Code::kLimitExceeded, text("A dimension is ", number, "."), where_,
                   text("At most ", kMaxElements, " is read."));
            // Exporters write -1 or 0 for "any size" too.
            shape->dims().push_back(number > 0 ? number : kUnknownDim);
            names.push_back(std::move(param));
            check_limit(shape->dims().size(), kMaxRank, "dimensions");
          }
          break;
        }
        default:
          reader.skip();
      }
    }
    return {dtype, shape};
  }

  void read_node(Reader reader) {
    Node node;
    std::vector<std::string> outputs;
    while (reader.next()) {
      switch (reader.tag()) {
        case field::node::kInput:
          node.inputs.push_back(value_named(read_name(reader)));
          break;
        case field::node::kOutput:
          outputs.push_back(read_name(reader));
          break;
        case field::node::kName:
          node.name = read_name(reader);
          break;
        case field::node::kOpType:
          node.op = read_name(reader);
          break;
        case field::node::kDomain:
          node.domain = read_name(reader);
          break;
        case field::node::kAttribute:
          check_limit(node.attrs.size() + 1, kMaxAttributes, "attributes");
          read_attribute(reader.get_message(), node);
          break;
        default:
          reader.skip();
      }
    }
    if (node.domain == "ai.onnx") node.domain.clear();
    if (node.name.empty()) node.name = text(node.op, "_", graph_.nodes.size());
    if (const auto [it, is_new] = node_names_.try_emplace(node.name, 0); !is_new) {
      const std::string base = it->first;
      // Counted on from the last one: a file may give one name to all its nodes.
      int& last = node_names_[base];
      do node.name = text(base, "_", ++last);
      while (node_names_.contains(node.name));
      node_names_.emplace(node.name, 0);
    }
    while (!node.inputs.empty() && node.inputs.back() == kNoValue) node.inputs.pop_back();
    for (const std::string& name : outputs) {
      const ValueId id = value_named(name);
      if (id != kNoValue) {
        if (!made_.insert(name).second || graph_.value(id).is_constant()) {
          find(Code::kInvalidModel, text("Tensor '", name, "' is made twice."), describe(node),
               "Each tensor has one maker.");
        }
      }
      node.outputs.push_back(id);
    }
    while (!node.outputs.empty() && node.outputs.back() == kNoValue) node.outputs.pop_back();
    graph_.nodes.push_back(std::move(node));
  }

  void read_attribute(Reader reader, Node& node) {
    std::string name;
    auto type = field::AttributeType::kUndefined;
    std::int64_t i = 0;
    float f = 0;
    std::string s;
    std::vector<std::int64_t> ints;
    std::vector<float> floats;
    std::vector<std::string> strings;
    std::optional<Tensor> tensor;
    auto seen = field::AttributeType::kUndefined;
    while (reader.next()) {
      using Type = field::AttributeType;
      switch (reader.tag()) {
        case field::attribute::kName:
          name = read_name(reader);
          break;
        case field::attribute::kType:
          type = static_cast<Type>(reader.get_int32());
          break;
        case field::attribute::kF:
          f = reader.get_float();
          seen = Type::kFloat;
          break;
        case field::attribute::kI:
          i = reader.get_int64();
          seen = Type::kInt;
          break;
        case field::attribute::kS:
          s = to_string(reader.get_view());
          seen = Type::kString;
          break;
        case field::attribute::kT: {
          std::string tensor_name;
          const std::string where = where_;
          where_ = text(where, ", attribute '", name, "'");
          tensor = read_tensor(reader.get_message(), tensor_name);
          where_ = where;
          seen = Type::kTensor;
          break;
        }
        case field::attribute::kFloats:
          read_fixed(reader, floats);
          seen = Type::kFloats;
          break;
        case field::attribute::kInts:
          read_int64s(reader, ints);
          seen = Type::kInts;
          break;
        case field::attribute::kStrings:
          strings.push_back(to_string(reader.get_view()));
          seen = Type::kStrings;
          break;
        case field::attribute::kG:
        case field::attribute::kGraphs:
          reader.skip();
          seen = Type::kGraph;
          break;
        default:
          reader.skip();
      }
    }
    if (type == field::AttributeType::kUndefined)
      type = seen;  // files of IR version 2 and before say no type
    switch (type) {
      case field::AttributeType::kFloat:
        node.attrs.set(name, f);
        break;
      case field::AttributeType::kInt:
        node.attrs.set(name, i);
        break;
      case field::AttributeType::kString:
        node.attrs.set(name, std::move(s));
        break;
      case field::AttributeType::kFloats:
        node.attrs.set(name, std::move(floats));
        break;
      case field::AttributeType::kInts:
        node.attrs.set(name, std::move(ints));
        break;
      case field::AttributeType::kStrings:
        node.attrs.set(name, std::move(strings));
        break;
      case field::AttributeType::kTensor:
        if (tensor) node.attrs.set(name, std::move(*tensor));
        break;
      // No op of ours has such an attribute: the check of attributes names the node.
      case field::AttributeType::kGraph:
      case field::AttributeType::kUndefined:
        node.attrs.set(name, std::string("a subgraph or an unknown type"));
        break;
    }
  }

  std::optional<Tensor> read_tensor(Reader reader, std::string& name) {
    std::vector<std::int64_t> dims;
    std::int64_t data_type = 0;
    std::vector<float> floats;
    std::vector<double> doubles;
    std::vector<std::int64_t> ints;  // int32_data, int64_data and uint64_data: varints all
    std::optional<data_view> raw;
    bool external = false;
    std::map<std::string, std::string> place;  // "location", "offset", "length"
    std::shared_ptr<const std::byte> owner = bytes_;
    while (reader.next()) {
      switch (reader.tag()) {
        case field::tensor::kDims:
          read_int64s(reader, dims);
          break;
        case field::tensor::kDataType:
          data_type = reader.get_int64();
          break;
        case field::tensor::kFloatData:
          read_fixed(reader, floats);
          break;
        case field::tensor::kDoubleData:
          read_fixed(reader, doubles);
          break;
        case field::tensor::kInt32Data:
        case field::tensor::kInt64Data:
        case field::tensor::kUint64Data:
          read_int64s(reader, ints);
          break;
        case field::tensor::kName:
          name = read_name(reader);
          break;
        case field::tensor::kRawData:
          raw = reader.get_view();
          break;
        case field::tensor::kExternalData: {
          place.insert(read_entry(reader.get_message()));
          break;
        }
        case field::tensor::kDataLocation:
          external = reader.get_int64() == 1;
          break;
        default:
          reader.skip();
      }
    }
    const std::string where = name.empty() ? where_ : text("initializer '", name, "'");
    if (external) {
      const auto file = external_.find(place["location"]);
      if (file == external_.end()) {
        find(Code::kExternalData,
             text("Its data lies in another file, '", place["location"], "', which was not given."),
             where,
             "Give that file too (externalData), or save the model as one: "
             "onnx.save(model, path, save_as_external_data=False).");
        return std::nullopt;
      }
      owner = file->second.data;
      raw = external_view(file->second, place);
      if (!raw) {
        find(Code::kInvalidModel,
             text("Its data (offset '", place["offset"], "', length '", place["length"],
                  "') does not lie inside '", place["location"], "', which has ", file->second.size,
                  " bytes."),
             where, "Give the file that was saved with this model.");
        return std::nullopt;
      }
    }
    const std::optional<DType> dtype = dtype_from_onnx(data_type);
    if (!dtype) {
      find(Code::kUnsupportedDtype, text("It has data type ", data_type, " of ONNX."), where,
           "Floats, integers of 8 to 64 bits and booleans are read.");
      return std::nullopt;
    }
    Shape shape(std::move(dims));
    const std::optional<std::int64_t> elements =
        shape.rank() <= kMaxRank ? shape.checked_elements() : std::nullopt;
    if (!elements) {
      find(Code::kLimitExceeded, text("Its shape ", shape.to_string(), " is not one that can be."),
           where,
           text("Dimensions are not negative, and a tensor has at most ", kMaxElements,
                " elements."));
      return std::nullopt;
    }
    const std::size_t count = static_cast<std::size_t>(*elements);
    std::optional<Tensor> tensor;
    const auto wrong_size = [&](std::size_t got, std::string_view unit) {
      find(Code::kInvalidModel,
           text("Its shape ", shape.to_string(), " needs ", count, " elements, the file has ", got,
                " ", unit, "."),
           where, "Export the model again; the file is damaged.");
    };
    if (raw) {
      const std::size_t wanted = count * dtype_size(*dtype);
      if (raw->size() != wanted) {
        wrong_size(raw->size(), "bytes");
        return std::nullopt;
      }
      const auto* data = reinterpret_cast<const std::byte*>(raw->data());
      const std::size_t off = reinterpret_cast<std::uintptr_t>(data) % dtype_size(*dtype);
      // From 128 bytes on the length takes two bytes, which with the field's number are three.
      const bool moves = unaligned_ == Unaligned::kMove && !external && off <= 3 && wanted >= 128;
      if (wanted > 0 && (off == 0 || moves)) {
        if (off > 0) std::memmove(const_cast<std::byte*>(data - off), data, wanted);
        tensor = Tensor::view(*dtype, shape, std::shared_ptr<const std::byte>(owner, data - off));
      } else {
        tensor = Tensor::make(*dtype, shape);
        if (wanted > 0) std::memcpy(tensor->mutable_data(), data, wanted);
      }
    } else {
      const std::size_t got = *dtype == DType::kFloat32   ? floats.size()
                              : *dtype == DType::kFloat64 ? doubles.size()
                                                          : ints.size();
      if (got != count) {
        wrong_size(got, "elements");
        return std::nullopt;
      }
      tensor = Tensor::make(*dtype, shape);
      store(*tensor, floats, doubles, ints);
    }
    if (*dtype == DType::kFloat16 || *dtype == DType::kBfloat16)
      tensor = Tensor::of(shape, to_floats(*tensor));
    check_finite(*tensor, where);
    return tensor;
  }

  // The part of a file that offset and length name; all that is left without a length.
  static std::optional<data_view> external_view(const FileBytes& file,
                                                const std::map<std::string, std::string>& place) {
    const auto number = [&](const char* key, std::size_t absent) -> std::optional<std::size_t> {
      const auto entry = place.find(key);
      if (entry == place.end()) return absent;
      const char* const end = entry->second.data() + entry->second.size();
      std::size_t value = 0;
      const auto [at, problem] = std::from_chars(entry->second.data(), end, value);
      if (problem != std::errc() || at != end) return std::nullopt;
      return value;
    };
    const auto offset = number("offset", 0);
    if (!offset || *offset > file.size) return std::nullopt;
    const auto length = number("length", file.size - *offset);
    if (!length || *length > file.size - *offset) return std::nullopt;
    return data_view{reinterpret_cast<const char*>(file.data.get()) + *offset, *length};
  }

  static void store(Tensor& tensor, const std::vector<float>& floats,
                    const std::vector<double>& doubles, const std::vector<std::int64_t>& ints) {
    const auto fill = [&]<class T>(T) {
      auto out = tensor.mutable_span<T>();
      for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<T>(ints[i]);
    };
    switch (tensor.dtype()) {
      case DType::kFloat32:
        std::copy(floats.begin(), floats.end(), tensor.mutable_span<float>().begin());
        break;
      case DType::kFloat64:
        std::copy(doubles.begin(), doubles.end(), tensor.mutable_span<double>().begin());
        break;
      case DType::kBool:
      case DType::kUint8:
        fill(std::uint8_t{});
        break;
      case DType::kInt8:
        fill(std::int8_t{});
        break;
      case DType::kFloat16:
      case DType::kBfloat16:
      case DType::kUint16:
        fill(std::uint16_t{});
        break;
      case DType::kInt16:
        fill(std::int16_t{});
        break;
      case DType::kUint32:
        fill(std::uint32_t{});
        break;
      case DType::kInt32:
        fill(std::int32_t{});
        break;
      case DType::kUint64:
        fill(std::uint64_t{});
        break;
      case DType::kInt64:
        fill(std::int64_t{});
        break;
      case DType::kUndefined:
        break;
    }
  }

  void check_finite(const Tensor& tensor, const std::string& where) {
    if (tensor.dtype() != DType::kFloat32) return;
    const auto values = tensor.span<float>();
    const auto bad =
        std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
    if (bad == values.end()) return;
    find(Code::kNonFiniteWeight,
         text("Element ", bad - values.begin(), " of its ", values.size(), " is ",
              std::isnan(*bad) ? "NaN" : "infinite", "."),
         where, "Repair the weights before exporting; such a network has no meaningful results.");
  }

  Status finish() {
    for (const ValueId id : graph_.outputs) {
      const Value& value = graph_.value(id);
      if (!made_.contains(value.name) && !value.is_constant() && !graph_.is_input(id)) {
        find(Code::kMissingInitializer, text("Output '", value.name, "' is not made by any node."),
             "graph outputs", "Export the model again; the file is damaged.");
      }
    }
    if (!findings_.empty()) return combine(std::move(findings_));
    if (graph_.outputs.empty()) {
      return Error{Code::kInvalidModel, "The graph has no outputs.", "graph",
                   "Export the model again; the file is damaged."};
    }
    OCTAVO_CHECK_OK(sort_topologically(graph_));
    graph_.compact_values();
    return verify(graph_);
  }

  std::shared_ptr<const std::byte> bytes_;
  std::size_t size_;
  const ExternalFiles& external_;
  Unaligned unaligned_;
  Graph graph_;
  bool has_graph_ = false;
  std::string where_ = "model";
  std::unordered_map<std::string, ValueId> ids_;
  std::unordered_set<std::string> made_;
  std::unordered_map<std::string, int> node_names_;  // with the last number put behind each
  std::vector<Error> findings_;
};

struct Lookalike {
  std::size_t offset;
  std::string_view magic;
  std::string_view what;
  std::string_view hint;
};
// What people drop by mistake. None of these can be the start of an ONNX file (field 1, the IR
// version: bytes 08 xx).
constexpr Lookalike kLookalikes[] = {
    {0, "PK\x03\x04", "This is a zip archive, perhaps a PyTorch checkpoint (.pt, .pth).",
     "Export it with torch.onnx.export and give the .onnx file."},
    {0, "\x80\x02", "This is a Python pickle, perhaps an old PyTorch checkpoint.",
     "Export it with torch.onnx.export and give the .onnx file."},
    {4, "TFL3", "This is a TensorFlow Lite model.", "Convert the original network with tf2onnx."},
    {0, "\x89HDF", "This is an HDF5 file, perhaps a Keras model.", "Convert it with tf2onnx."},
    {0, "\x89PNG", "This is a PNG picture.", "Give the model first, pictures after it."},
    {0, "\xFF\xD8\xFF", "This is a JPEG picture.", "Give the model first, pictures after it."},
    {0, "<",
     "This is a text or web page (it begins with '<'), perhaps an error page of a download.",
     "Look at the file, and download the model again."},
    {0, "{", "This is a JSON text.", "Give an ONNX file, for example from torch.onnx.export."},
    {0, "version https://git-lfs", "This is a Git LFS pointer, not the model itself.",
     "Fetch the real file with git lfs pull."},
};

}  // namespace

Result<Graph> import_model(std::shared_ptr<const std::byte> bytes, std::size_t size,
                           const ExternalFiles& external, Unaligned unaligned) {
  const std::string_view head(reinterpret_cast<const char*>(bytes.get()),
                              std::min<std::size_t>(size, 64));
  if (size == 0)
    return Error{Code::kInvalidModel, "The file is empty.", "model",
                 "Give an ONNX file, for example from torch.onnx.export."};
  for (const Lookalike& other : kLookalikes) {
    if (head.size() >= other.offset && head.substr(other.offset).starts_with(other.magic)) {
      return Error{Code::kInvalidModel, std::string(other.what), "model", std::string(other.hint)};
    }
  }
  return Importer(std::move(bytes), size, external, unaligned).run();
}

}  // namespace octavo::onnx
