// ONNX files written field by field, right ones and wrong ones (numbers: github.com/onnx/onnx,
// onnx/onnx.proto3).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

namespace octavo::test {

using protozero::pbf_writer;

// The bytes as import_model() takes them: exactly as many, so that a sanitizer sees a read behind
// the last.
inline std::shared_ptr<const std::byte> exact_bytes(const std::string& bytes) {
  auto* copy = new std::byte[bytes.size()];
  if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
  return {copy, [](const std::byte* p) { delete[] p; }};
}

inline std::string message(const std::function<void(pbf_writer&)>& fill) {
  std::string bytes;
  pbf_writer writer{bytes};
  fill(writer);
  return bytes;
}

// TensorProto; `fill` adds what else there is.
inline std::string tensor_bytes(const std::string& name, const std::vector<std::int64_t>& dims,
                                int data_type, const std::function<void(pbf_writer&)>& fill) {
  return message([&](pbf_writer& w) {
    w.add_packed_int64(1, dims.begin(), dims.end());
    w.add_int32(2, data_type);
    if (!name.empty()) w.add_string(8, name);
    fill(w);
  });
}
template <class T>
std::string raw_tensor(const std::string& name, const std::vector<std::int64_t>& dims,
                       int data_type, const std::vector<T>& values) {
  return tensor_bytes(name, dims, data_type, [&](pbf_writer& w) {
    w.add_bytes(9, reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  });
}

// AttributeProto.
inline std::string int_attr(const std::string& name, std::int64_t value) {
  return message([&](pbf_writer& w) {
    w.add_string(1, name);
    w.add_int64(3, value);
    w.add_enum(20, 2);
  });
}
inline std::string ints_attr(const std::string& name, const std::vector<std::int64_t>& values) {
  return message([&](pbf_writer& w) {
    w.add_string(1, name);
    for (const std::int64_t value : values) w.add_int64(8, value);
    w.add_enum(20, 7);
  });
}

// NodeProto.
inline std::string node_bytes(const std::string& op, const std::vector<std::string>& inputs,
                              const std::vector<std::string>& outputs,
                              const std::vector<std::string>& attrs = {},
                              const std::string& name = "", const std::string& domain = "") {
  return message([&](pbf_writer& w) {
    for (const std::string& input : inputs) w.add_string(1, input);
    for (const std::string& output : outputs) w.add_string(2, output);
    if (!name.empty()) w.add_string(3, name);
    w.add_string(4, op);
    for (const std::string& attr : attrs) w.add_message(5, attr);
    if (!domain.empty()) w.add_string(7, domain);
  });
}

// ValueInfoProto of a tensor: a dimension below 0 has no value, but the name "N".
inline std::string value_info(const std::string& name, int elem_type,
                              const std::vector<std::int64_t>& dims) {
  const std::string shape = message([&](pbf_writer& w) {
    for (const std::int64_t dim : dims) {
      w.add_message(
          1, message([&](pbf_writer& d) { dim < 0 ? d.add_string(2, "N") : d.add_int64(1, dim); }));
    }
  });
  const std::string tensor = message([&](pbf_writer& w) {
    w.add_int32(1, elem_type);
    w.add_message(2, shape);
  });
  return message([&](pbf_writer& w) {
    w.add_string(1, name);
    w.add_message(2, message([&](pbf_writer& t) { t.add_message(1, tensor); }));
  });
}

struct OnnxFile {
  std::vector<std::string> nodes, initializers, inputs, outputs, value_infos;
  std::int64_t opset = 17;
  std::int64_t ir_version = 8;
  std::vector<std::pair<std::string, std::int64_t>> domains = {};
  std::vector<std::pair<std::string, std::string>> metadata = {};

  std::string bytes() const {
    return message([&](pbf_writer& model) {
      model.add_int64(1, ir_version);
      model.add_string(2, "a test");
      model.add_message(7, message([&](pbf_writer& graph) {
                          for (const std::string& node : nodes) graph.add_message(1, node);
                          graph.add_string(2, "g");
                          for (const std::string& tensor : initializers)
                            graph.add_message(5, tensor);
                          for (const std::string& input : inputs) graph.add_message(11, input);
                          for (const std::string& output : outputs) graph.add_message(12, output);
                          for (const std::string& info : value_infos) graph.add_message(13, info);
                        }));
      const auto add_opset = [&](const std::string& domain, std::int64_t version) {
        model.add_message(8, message([&](pbf_writer& w) {
                            w.add_string(1, domain);
                            w.add_int64(2, version);
                          }));
      };
      if (opset != 0) add_opset("", opset);
      for (const auto& [domain, version] : domains) add_opset(domain, version);
      for (const auto& [key, value] : metadata) {
        model.add_message(14, message([&, &k = key, &v = value](pbf_writer& w) {
                            w.add_string(1, k);
                            w.add_string(2, v);
                          }));
      }
    });
  }
};

// y = Conv(x, w), x [N, 1, 4, 4] floats.
inline OnnxFile small_file() {
  OnnxFile file;
  file.nodes = {node_bytes("Conv", {"x", "w"}, {"y"},
                           {ints_attr("pads", {1, 1, 1, 1}), int_attr("group", 1)}, "conv")};
  file.initializers = {raw_tensor<float>("w", {2, 1, 3, 3}, 1, std::vector<float>(18, 0.5F))};
  file.inputs = {value_info("x", 1, {-1, 1, 4, 4})};
  file.outputs = {value_info("y", 1, {-1, 2, 4, 4})};
  return file;
}

}  // namespace octavo::test
