#include "onnx/export.h"

#include <protozero/pbf_writer.hpp>

#include "onnx/schema.h"

namespace octavo::onnx {

namespace {

using protozero::pbf_writer;

void write_entry(pbf_writer& parent, field::Tag tag, const std::string& key,
                 const std::string& value) {
  pbf_writer entry{parent, tag};
  entry.add_string(field::entry::kKey, key);
  entry.add_string(field::entry::kValue, value);
}

void write_tensor(pbf_writer& parent, field::Tag tag, const std::string& name,
                  const Tensor& tensor) {
  pbf_writer out{parent, tag};
  const auto& dims = tensor.shape().dims();
  out.add_packed_int64(field::tensor::kDims, dims.begin(), dims.end());
  out.add_int32(field::tensor::kDataType, static_cast<std::int32_t>(tensor.dtype()));
  if (!name.empty()) out.add_string(field::tensor::kName, name);
  out.add_bytes(field::tensor::kRawData, reinterpret_cast<const char*>(tensor.data()),
                tensor.bytes());
}

void write_attribute(pbf_writer& parent, const std::string& name, const Attr& attr) {
  using Type = field::AttributeType;
  pbf_writer out{parent, field::node::kAttribute};
  out.add_string(field::attribute::kName, name);
  const auto type = [&](Type t) {
    out.add_enum(field::attribute::kType, static_cast<std::int32_t>(t));
  };
  if (const auto* i = std::get_if<std::int64_t>(&attr)) {
    out.add_int64(field::attribute::kI, *i);
    type(Type::kInt);
  } else if (const auto* f = std::get_if<float>(&attr)) {
    out.add_float(field::attribute::kF, *f);
    type(Type::kFloat);
  } else if (const auto* s = std::get_if<std::string>(&attr)) {
    out.add_string(field::attribute::kS, *s);
    type(Type::kString);
  } else if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&attr)) {
    for (const std::int64_t value : *ints) out.add_int64(field::attribute::kInts, value);
    type(Type::kInts);
  } else if (const auto* floats = std::get_if<std::vector<float>>(&attr)) {
    for (const float value : *floats) out.add_float(field::attribute::kFloats, value);
    type(Type::kFloats);
  } else if (const auto* strings = std::get_if<std::vector<std::string>>(&attr)) {
    for (const std::string& value : *strings) out.add_string(field::attribute::kStrings, value);
    type(Type::kStrings);
  } else if (const auto* tensor = std::get_if<Tensor>(&attr)) {
    write_tensor(out, field::attribute::kT, "", *tensor);
    type(Type::kTensor);
  }
}

void write_value_info(pbf_writer& parent, field::Tag tag, const Value& value) {
  pbf_writer info{parent, tag};
  info.add_string(field::value_info::kName, value.name);
  pbf_writer type{info, field::value_info::kType};
  pbf_writer tensor{type, field::type::kTensorType};
  tensor.add_int32(field::tensor_type::kElemType, static_cast<std::int32_t>(value.dtype));
  if (!value.shape) return;
  // A pbf_writer drops an empty submessage; a scalar's shape and an unknown dimension are empty
  // ones.
  if (value.shape->rank() == 0) {
    tensor.add_message(field::tensor_type::kShape, std::string());
    return;
  }
  pbf_writer shape{tensor, field::tensor_type::kShape};
  for (int axis = 0; axis < value.shape->rank(); ++axis) {
    const auto i = static_cast<std::size_t>(axis);
    const bool known = (*value.shape)[axis] >= 0;
    if (!known && (i >= value.dim_names.size() || value.dim_names[i].empty())) {
      shape.add_message(field::shape::kDim, std::string());
      continue;
    }
    pbf_writer dim{shape, field::shape::kDim};
    if (known) {
      dim.add_int64(field::dim::kValue, (*value.shape)[axis]);
    } else {
      dim.add_string(field::dim::kParam, value.dim_names[i]);
    }
  }
}

void write_node(pbf_writer& parent, const Graph& graph, const Node& node) {
  pbf_writer out{parent, field::graph::kNode};
  const auto name_of = [&](ValueId id) {
    return id == kNoValue ? std::string() : graph.value(id).name;
  };
  for (const ValueId id : node.inputs) out.add_string(field::node::kInput, name_of(id));
  for (const ValueId id : node.outputs) out.add_string(field::node::kOutput, name_of(id));
  out.add_string(field::node::kName, node.name);
  out.add_string(field::node::kOpType, node.op);
  if (!node.domain.empty()) out.add_string(field::node::kDomain, node.domain);
  for (const auto& [name, attr] : node.attrs) write_attribute(out, name, attr);
}

void write_opset(pbf_writer& parent, const std::string& domain, int version) {
  pbf_writer out{parent, field::model::kOpsetImport};
  out.add_string(field::opset::kDomain, domain);
  out.add_int64(field::opset::kVersion, version);
}

// The IR version that came with an opset; readers refuse files that claim more than they know.
int ir_version_of(int opset) {
  if (opset >= 21) return 10;
  if (opset >= 19) return 9;
  if (opset >= 15) return 8;
  return 7;
}

}  // namespace

std::vector<std::byte> export_model(const Graph& graph, const ExportInfo& info) {
  std::string bytes;
  {
    pbf_writer model{bytes};
    model.add_int64(field::model::kIrVersion, ir_version_of(info.opset));
    model.add_string(field::model::kProducerName, info.producer_name);
    model.add_string(field::model::kProducerVersion, info.producer_version);
    if (!graph.doc_string.empty()) model.add_string(field::model::kDocString, graph.doc_string);
    {
      pbf_writer out{model, field::model::kGraph};
      for (const Node& node : graph.nodes) write_node(out, graph, node);
      out.add_string(field::graph::kName, graph.name.empty() ? "graph" : graph.name);
      for (const Value& value : graph.values) {
        if (value.constant)
          write_tensor(out, field::graph::kInitializer, value.name, *value.constant);
      }
      for (const ValueId id : graph.inputs)
        write_value_info(out, field::graph::kInput, graph.value(id));
      for (const ValueId id : graph.outputs)
        write_value_info(out, field::graph::kOutput, graph.value(id));
    }
    write_opset(model, "", info.opset);
    for (const auto& [domain, version] : graph.domain_opsets) {
      for (const Node& node : graph.nodes) {
        if (node.domain == domain) {
          write_opset(model, domain, version);
          break;
        }
      }
    }
    std::map<std::string, std::string> metadata = graph.metadata;
    for (const auto& [key, value] : info.metadata) metadata.insert_or_assign(key, value);
    for (const auto& [key, value] : metadata)
      write_entry(model, field::model::kMetadataProps, key, value);
  }
  const auto* data = reinterpret_cast<const std::byte*>(bytes.data());
  return {data, data + bytes.size()};
}

}  // namespace octavo::onnx
