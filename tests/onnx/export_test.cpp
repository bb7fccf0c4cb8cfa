#include "onnx/export.h"

#include <doctest/doctest.h>

#include "onnx/import.h"
#include "support/files.h"
#include "support/onnx_builder.h"

namespace octavo::onnx {
namespace {

using namespace octavo::test;

Result<Graph> import_bytes(const std::string& bytes) {
  return import_model(exact_bytes(bytes), bytes.size());
}
Graph reimported(const Graph& graph) {
  const std::vector<std::byte> bytes =
      export_model(graph, {.opset = graph.opset,
                           .producer_name = graph.producer_name,
                           .producer_version = graph.producer_version,
                           .metadata = {}});
  auto again = import_bytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  REQUIRE_MESSAGE(again.ok(), (again.ok() ? "" : again.error().message()));
  return std::move(*again);
}

bool same_tensor(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         (a.bytes() == 0 || std::memcmp(a.data(), b.data(), a.bytes()) == 0);
}
bool same_attr(const Attr& a, const Attr& b) {
  if (a.index() != b.index()) return false;
  if (const auto* tensor = std::get_if<Tensor>(&a))
    return same_tensor(*tensor, std::get<Tensor>(b));
  return std::visit(
      [&b]<class T>(const T& value) {
        if constexpr (std::is_same_v<T, Tensor>) {
          return false;
        } else {
          return value == std::get<T>(b);
        }
      },
      a);
}

// What the two graphs differ in, or nothing. Values go by name; shapes of values inside are not
// written.
std::string difference(const Graph& a, const Graph& b) {
  const auto name = [](const Graph& g, ValueId id) {
    return id == kNoValue ? std::string() : g.value(id).name;
  };
  const auto same_names = [&](const std::vector<ValueId>& x, const std::vector<ValueId>& y) {
    if (x.size() != y.size()) return false;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (name(a, x[i]) != name(b, y[i])) return false;
    }
    return true;
  };
  if (a.opset != b.opset || a.metadata != b.metadata || a.doc_string != b.doc_string ||
      a.producer_name != b.producer_name)
    return "the model's fields";
  if (!same_names(a.inputs, b.inputs) || !same_names(a.outputs, b.outputs))
    return "inputs or outputs";
  for (const auto* list : {&a.inputs, &a.outputs}) {
    for (std::size_t i = 0; i < list->size(); ++i) {
      const Value& x = a.value((*list)[i]);
      const Value& y = b.value((list == &a.inputs ? b.inputs : b.outputs)[i]);
      if (x.dtype != y.dtype || x.shape != y.shape || x.dim_names != y.dim_names)
        return "the type of " + x.name;
    }
  }
  if (a.nodes.size() != b.nodes.size()) return "the number of nodes";
  for (std::size_t i = 0; i < a.nodes.size(); ++i) {
    const Node& x = a.nodes[i];
    const Node& y = b.nodes[i];
    if (x.name != y.name || x.op != y.op || x.domain != y.domain ||
        !same_names(x.inputs, y.inputs) || !same_names(x.outputs, y.outputs))
      return "node " + x.name;
    if (x.attrs.size() != y.attrs.size()) return "attributes of " + x.name;
    for (const auto& [key, attr] : x.attrs) {
      if (y.attrs.find(key) == nullptr || !same_attr(attr, *y.attrs.find(key)))
        return "attribute " + key + " of " + x.name;
    }
    for (std::size_t k = 0; k < x.inputs.size(); ++k) {
      if (x.inputs[k] == kNoValue) continue;
      const Value& u = a.value(x.inputs[k]);
      const Value& v = b.value(y.inputs[k]);
      if (u.is_constant() != v.is_constant() ||
          (u.is_constant() && !same_tensor(*u.constant, *v.constant)))
        return "constant " + u.name;
    }
  }
  return "";
}

TEST_CASE("export: every form of attribute, dtype and shape comes back as it was") {
  Graph graph;
  graph.name = "forms";
  graph.doc_string = "a text";
  graph.producer_name = "octavo";
  graph.metadata = {{"k", "v"}, {"empty", ""}};
  const auto value = [&](const char* name, DType dtype, std::optional<Shape> shape,
                         std::vector<std::string> dims) {
    Value v;
    v.name = name;
    v.dtype = dtype;
    v.shape = std::move(shape);
    v.dim_names = std::move(dims);
    return graph.add_value(std::move(v));
  };
  graph.inputs = {value("named", DType::kFloat32, Shape{-1, 3, -1}, {"N", "", ""}),
                  value("scalar", DType::kInt64, Shape{}, {}),
                  value("open", DType::kFloat32, std::nullopt, {}),
                  value("codes", DType::kUint8, Shape{-1}, {""})};
  graph.outputs = {value("y", DType::kFloat32, Shape{-1, -1}, {"", "M"}),
                   value("z", DType::kInt8, std::nullopt, {})};
  std::vector<ValueId> inputs = graph.inputs;
  inputs.push_back(kNoValue);
  inputs.push_back(graph.add_constant("f32", Tensor::of<float>(Shape{2, 2}, {1, 2, 3, -4})));
  inputs.push_back(graph.add_constant("i64", Tensor::scalar(std::int64_t{-5})));
  inputs.push_back(graph.add_constant("nothing", Tensor::make(DType::kInt8, {0})));
  inputs.push_back(graph.add_constant("bool", Tensor::make(DType::kBool, {3})));
  Node node{"node", "Op", "", inputs, {graph.outputs[0], kNoValue, graph.outputs[1]}, {}};
  node.attrs.set("i", std::int64_t{-7});
  node.attrs.set("f", 0.1F);
  node.attrs.set("s", std::string("text"));
  node.attrs.set("ints", std::vector<std::int64_t>{1, -2, std::int64_t{1} << 40});
  node.attrs.set("no_ints", std::vector<std::int64_t>{});
  node.attrs.set("floats", std::vector<float>{0.5F, -1.0F});
  node.attrs.set("strings", std::vector<std::string>{"a", ""});
  node.attrs.set("t", Tensor::of<std::int32_t>(Shape{2}, {9, -9}));
  node.attrs.set("zero", std::int64_t{0});
  graph.nodes.push_back(node);
  CHECK(difference(graph, reimported(graph)) == "");
}

TEST_CASE("export: opsets of other domains are written where a node is of one") {
  Graph graph = *import_bytes(small_file().bytes());
  graph.domain_opsets = {{"com.example", 3}, {"unused", 1}};
  CHECK(reimported(graph).domain_opsets.empty());
  graph.nodes[0].domain = "com.example";
  CHECK(reimported(graph).domain_opsets == std::map<std::string, int>{{"com.example", 3}});
}

TEST_CASE("export: added metadata wins over the graph's, the IR version fits the opset") {
  Graph graph = *import_bytes(small_file().bytes());
  graph.metadata = {{"a", "old"}, {"b", "kept"}};
  const auto written = [&](int opset) {
    const std::vector<std::byte> bytes = export_model(
        graph, {.opset = opset, .producer_version = "1.2", .metadata = {{"a", "new"}}});
    return *import_bytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  const Graph again = written(17);
  CHECK(again.metadata == std::map<std::string, std::string>{{"a", "new"}, {"b", "kept"}});
  CHECK(again.producer_name == "octavo");
  CHECK(again.producer_version == "1.2");
  CHECK(again.ir_version == 8);
  CHECK(written(13).ir_version == 7);
  CHECK(written(19).ir_version == 9);
  CHECK(written(21).ir_version == 10);
}

TEST_CASE("export: whole networks come back as they were") {
  std::vector<std::string> paths{std::string(OCTAVO_SOURCE_DIR) +
                                 "/web/public/samples/digits_mobilenet_bn.onnx"};
  for (const char* name :
       {"float", "qdq_qint8", "qdq_quint8", "qoperator_qint8", "qoperator_quint8"}) {
    paths.push_back(std::string(OCTAVO_SOURCE_DIR) + "/tests/data/golden/onnx/" + name + ".onnx");
  }
  const std::size_t ours = paths.size();
  for (const char* name :
       {"models/ch_ppocr_mobile_v2.0_cls_infer", "models/mlperf_resnet8_cifar10_bn",
        "models/mnist_cntk_op7", "models/mobilenetv2_deq", "models/resnet20_cifar10_bn",
        "models/squeezenet11_fp32", "models/version-RFB-320", "models/vww_mobilenetv1_025_96_bn",
        "models/yunet_n_320", "own/densenet_tiny_cifar10_bn", "own/mobilenetv2_cifar10_bn"}) {
    paths.push_back(shared_path(std::string(name) + ".onnx"));
  }
  for (std::size_t i = 0; i < paths.size(); ++i) {
    CAPTURE(paths[i]);
    const auto bytes = read_file(paths[i]);
    if (!bytes && i >= ours) {
      MESSAGE("skipped: ", paths[i], " is not there");
      continue;
    }
    REQUIRE(bytes);
    const auto graph = import_bytes({bytes->begin(), bytes->end()});
    REQUIRE_MESSAGE(graph.ok(), (graph.ok() ? "" : graph.error().message()));
    CHECK(difference(*graph, reimported(*graph)) == "");
  }
}

}  // namespace
}  // namespace octavo::onnx
