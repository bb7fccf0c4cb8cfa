#include "onnx/import.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>

#include "base/limits.h"
#include "graph/verify.h"
#include "support/files.h"
#include "support/onnx_builder.h"

namespace octavo::onnx {
namespace {

using namespace octavo::test;

Result<Graph> import_bytes(const std::string& bytes) {
  return import_model(exact_bytes(bytes), bytes.size());
}
Graph import_good(const OnnxFile& file) {
  auto graph = import_bytes(file.bytes());
  REQUIRE_MESSAGE(graph.ok(), (graph.ok() ? "" : graph.error().message()));
  return std::move(*graph);
}
Error error_of(const std::string& bytes) {
  const auto graph = import_bytes(bytes);
  REQUIRE_FALSE(graph.ok());
  return graph.error();
}
Error error_of(const OnnxFile& file) { return error_of(file.bytes()); }

const Value* find_value(const Graph& graph, const std::string& name) {
  for (const Value& value : graph.values) {
    if (value.name == name) return &value;
  }
  return nullptr;
}

TEST_CASE("import: a file becomes a graph as it is") {
  OnnxFile file = small_file();
  file.metadata = {{"author", "someone"}};
  file.domains = {{"com.example", 3}};
  const Graph graph = import_good(file);
  CHECK(graph.name == "g");
  CHECK(graph.opset == 17);
  CHECK(graph.ir_version == 8);
  CHECK(graph.producer_name == "a test");
  CHECK(graph.metadata.at("author") == "someone");
  CHECK(graph.domain_opsets.at("com.example") == 3);
  REQUIRE(graph.inputs.size() == 1);
  const Value& x = graph.value(graph.inputs[0]);
  CHECK(x.name == "x");
  CHECK(x.dtype == DType::kFloat32);
  CHECK(x.shape == Shape{-1, 1, 4, 4});
  CHECK(x.dim_names == std::vector<std::string>{"N", "", "", ""});
  REQUIRE(graph.nodes.size() == 1);
  CHECK(graph.nodes[0].name == "conv");
  CHECK(graph.nodes[0].op == "Conv");
  CHECK(graph.nodes[0].attrs.get_ints("pads") == std::vector<std::int64_t>{1, 1, 1, 1});
  CHECK(graph.nodes[0].attrs.get_int("group", 0) == 1);
  const Value& w = graph.value(graph.nodes[0].inputs[1]);
  REQUIRE(w.is_constant());
  CHECK(w.constant->shape() == Shape{2, 1, 3, 3});
  CHECK(w.constant->span<float>()[17] == 0.5F);
}

TEST_CASE("import: an operator that nobody knows is imported") {
  OnnxFile file = small_file();
  file.nodes[0] = node_bytes("Frobnicate", {"x", "w"}, {"y"}, {}, "", "com.example");
  const Graph graph = import_good(file);
  CHECK(graph.nodes[0].op == "Frobnicate");
  CHECK(graph.nodes[0].domain == "com.example");
  CHECK(graph.nodes[0].name == "Frobnicate_0");
}

TEST_CASE("import: initializers of every dtype, raw and in typed fields") {
  struct Row {
    int data_type;
    DType dtype;
    std::string raw, typed;
  };
  const auto varints = [](int type, protozero::pbf_tag_type tag) {
    return tensor_bytes("w", {3}, type, [tag](pbf_writer& w) {
      const std::vector<std::int64_t> values{1, 0, 77};
      w.add_packed_int64(tag, values.begin(), values.end());
    });
  };
  const std::vector<float> f{1, 0, 77};
  const std::vector<double> d{1, 0, 77};
  const std::vector<Row> rows = {
      {1, DType::kFloat32, raw_tensor<float>("w", {3}, 1, f),
       tensor_bytes("w", {3}, 1,
                    [&](pbf_writer& w) { w.add_packed_float(4, f.begin(), f.end()); })},
      {2, DType::kUint8, raw_tensor<std::uint8_t>("w", {3}, 2, {1, 0, 77}), varints(2, 5)},
      {3, DType::kInt8, raw_tensor<std::int8_t>("w", {3}, 3, {1, 0, 77}), varints(3, 5)},
      {4, DType::kUint16, raw_tensor<std::uint16_t>("w", {3}, 4, {1, 0, 77}), varints(4, 5)},
      {5, DType::kInt16, raw_tensor<std::int16_t>("w", {3}, 5, {1, 0, 77}), varints(5, 5)},
      {6, DType::kInt32, raw_tensor<std::int32_t>("w", {3}, 6, {1, 0, 77}), varints(6, 5)},
      {7, DType::kInt64, raw_tensor<std::int64_t>("w", {3}, 7, {1, 0, 77}), varints(7, 7)},
      {11, DType::kFloat64, raw_tensor<double>("w", {3}, 11, d),
       tensor_bytes("w", {3}, 11,
                    [&](pbf_writer& w) { w.add_packed_double(10, d.begin(), d.end()); })},
      {12, DType::kUint32, raw_tensor<std::uint32_t>("w", {3}, 12, {1, 0, 77}), varints(12, 11)},
      {13, DType::kUint64, raw_tensor<std::uint64_t>("w", {3}, 13, {1, 0, 77}), varints(13, 11)},
      // Half precision becomes float32.
      {10, DType::kFloat32, raw_tensor<std::uint16_t>("w", {3}, 10, {0x3C00, 0, 0x54D0}),
       tensor_bytes("w", {3}, 10,
                    [](pbf_writer& w) {
                      const std::vector<std::int64_t> bits{0x3C00, 0, 0x54D0};
                      w.add_packed_int64(5, bits.begin(), bits.end());
                    })},
      {16, DType::kFloat32, raw_tensor<std::uint16_t>("w", {3}, 16, {0x3F80, 0, 0x429A}),
       tensor_bytes("w", {3}, 16,
                    [](pbf_writer& w) {
                      const std::vector<std::int64_t> bits{0x3F80, 0, 0x429A};
                      w.add_packed_int64(5, bits.begin(), bits.end());
                    })},
  };
  for (const Row& row : rows) {
    CAPTURE(row.data_type);
    for (const std::string& tensor : {row.raw, row.typed}) {
      OnnxFile file = small_file();
      file.initializers = {tensor};
      const Graph graph = import_good(file);
      const Value* w = find_value(graph, "w");
      REQUIRE((w != nullptr && w->is_constant()));
      CHECK(w->dtype == row.dtype);
      CHECK(w->constant->dtype() == row.dtype);
      if (row.dtype == DType::kFloat32 || row.dtype == DType::kFloat64) {
        CHECK(to_floats(*w->constant) == f);
      } else {
        CHECK(to_int64s(*w->constant) == std::vector<std::int64_t>{1, 0, 77});
      }
    }
  }
  OnnxFile file = small_file();
  file.initializers = {raw_tensor<std::uint8_t>("w", {2}, 9, {1, 0})};
  CHECK(find_value(import_good(file), "w")->dtype == DType::kBool);
}

TEST_CASE("import: repeated numbers may be packed or not") {
  OnnxFile file = small_file();
  file.initializers = {message([](pbf_writer& w) {
    for (int i = 0; i < 2; ++i) w.add_int64(1, 1);
    w.add_int32(2, 1);
    w.add_string(8, "w");
    w.add_float(4, 2.5F);
  })};
  file.nodes[0] = node_bytes("Conv", {"x", "w"}, {"y"}, {message([](pbf_writer& w) {
                               w.add_string(1, "pads");
                               const std::vector<std::int64_t> pads{1, 2, 3, 4};
                               w.add_packed_int64(8, pads.begin(), pads.end());
                               w.add_enum(20, 7);
                             })});
  const Graph graph = import_good(file);
  CHECK(find_value(graph, "w")->shape == Shape{1, 1});
  CHECK(find_value(graph, "w")->constant->span<float>()[0] == 2.5F);
  CHECK(graph.nodes[0].attrs.get_ints("pads") == std::vector<std::int64_t>{1, 2, 3, 4});
}

TEST_CASE("import: initializers that old files list as inputs are no inputs") {
  OnnxFile file = small_file();
  file.ir_version = 3;
  file.inputs.push_back(value_info("w", 1, {2, 1, 3, 3}));
  CHECK(import_good(file).inputs.size() == 1);
}

TEST_CASE("import: attributes without a type are what they hold") {
  OnnxFile file = small_file();
  file.nodes[0] = node_bytes("Conv", {"x", "w"}, {"y"}, {message([](pbf_writer& w) {
                               w.add_string(1, "alpha");
                               w.add_float(2, 0.25F);
                             })});
  CHECK(import_good(file).nodes[0].attrs.get_float("alpha", 0) == 0.25F);
}

TEST_CASE("import: nodes are put in order, names made unique, absent inputs kept") {
  OnnxFile file = small_file();
  file.nodes = {node_bytes("Add", {"c", "b"}, {"y"}, {}, "n"),
                node_bytes("Clip", {"x", "", "w"}, {"b"}, {}, "n"),
                node_bytes("Relu", {"b", ""}, {"c", ""}, {}, "n_1"),
                node_bytes("Relu", {"b"}, {"d"}, {}, "n")};
  const Graph graph = import_good(file);
  REQUIRE(graph.nodes.size() == 4);
  CHECK(graph.nodes[0].op == "Clip");
  CHECK(graph.nodes[0].inputs.size() == 3);
  CHECK(graph.nodes[0].inputs[1] == kNoValue);
  CHECK(graph.nodes[1].inputs.size() == 1);
  CHECK(graph.nodes[1].outputs.size() == 1);
  CHECK(graph.nodes[2].name == "n");
  CHECK(verify(graph).ok());
}

TEST_CASE("import: thousands of nodes with one name are named in an instant") {
  OnnxFile file = small_file();
  file.nodes.clear();
  for (int i = 0; i < 20000; ++i)
    file.nodes.push_back(node_bytes("Relu", {i == 0 ? "x" : "t" + std::to_string(i - 1)},
                                    {i == 19999 ? "y" : "t" + std::to_string(i)}, {}, "n"));
  CHECK(import_good(file).nodes.back().name == "n_19999");
}

TEST_CASE("import: what is no ONNX file is told by what it is") {
  const auto what = [](const std::string& bytes) {
    const Error error = error_of(bytes);
    CHECK(error.code == Code::kInvalidModel);
    CHECK(!error.hint.empty());
    return error.what;
  };
  CHECK(what("") == "The file is empty.");
  CHECK(what(std::string("PK\x03\x04", 4) + std::string(100, '\0')).find("zip") !=
        std::string::npos);
  CHECK(what("\x80\x02" + std::string(100, 'x')).find("pickle") != std::string::npos);
  CHECK(what(std::string("\x1c\0\0\0TFL3", 8)).find("TensorFlow Lite") != std::string::npos);
  CHECK(what("\x89HDF\r\n").find("HDF5") != std::string::npos);
  CHECK(what("\x89PNG\r\n").find("PNG") != std::string::npos);
  CHECK(what("\xFF\xD8\xFF\xE0").find("JPEG") != std::string::npos);
  CHECK(what("<!DOCTYPE html>").find("web page") != std::string::npos);
  CHECK(what("{\"a\": 1}").find("JSON") != std::string::npos);
  CHECK(what("version https://git-lfs.github.com/spec/v1\n").find("LFS") != std::string::npos);
  CHECK(!what(std::string(1000, '\xFF')).empty());
  CHECK(what(message([](pbf_writer& w) { w.add_int64(1, 8); })).find("no graph") !=
        std::string::npos);
}

TEST_CASE("import: an opset that is too old, too new or absent is refused") {
  for (const std::int64_t opset : {0, 1, 6, 23, 1 << 30}) {
    OnnxFile file = small_file();
    file.opset = opset;
    CHECK(error_of(file).code == Code::kUnsupportedOpset);
  }
  for (const std::int64_t opset : {7, 22}) {
    OnnxFile file = small_file();
    file.opset = opset;
    CHECK(import_good(file).opset == opset);
  }
}

TEST_CASE("import: tensors that nothing makes are all named") {
  OnnxFile file = small_file();
  file.nodes = {node_bytes("Conv", {"x", "lost"}, {"a"}), node_bytes("Conv", {"a", "gone"}, {"y"})};
  const Error error = error_of(file);
  CHECK(error.code == Code::kMissingInitializer);
  REQUIRE(error.all.size() == 2);
  CHECK(error.all[0].what.find("'lost'") != std::string::npos);
  CHECK(error.all[1].what.find("'gone'") != std::string::npos);
  CHECK(error.all[1].where == "node 'Conv_1' (Conv)");
  file = small_file();
  file.outputs.push_back(value_info("nowhere", 1, {1}));
  CHECK(error_of(file).code == Code::kMissingInitializer);
}

TEST_CASE("import: external data is named with its file") {
  OnnxFile file = small_file();
  file.initializers = {tensor_bytes("w", {2, 1, 3, 3}, 1, [](pbf_writer& w) {
    w.add_message(13, message([](pbf_writer& e) {
                    e.add_string(1, "location");
                    e.add_string(2, "weights.bin");
                  }));
    w.add_enum(14, 1);
  })};
  const Error error = error_of(file);
  CHECK(error.code == Code::kExternalData);
  CHECK(error.what.find("weights.bin") != std::string::npos);
  CHECK(error.where == "initializer 'w'");
}

TEST_CASE("import: external data comes from the files that are given, inside their bounds") {
  constexpr std::size_t kBytes = 2 * 9 * sizeof(float);
  const auto file_with = [](std::vector<std::pair<std::string, std::string>> place) {
    OnnxFile file = small_file();
    file.initializers = {tensor_bytes("w", {2, 1, 3, 3}, 1, [&](pbf_writer& w) {
      place.emplace_back("location", "weights.bin");
      for (const auto& entry : place) {
        w.add_message(13, message([&entry](pbf_writer& e) {
                        e.add_string(1, entry.first);
                        e.add_string(2, entry.second);
                      }));
      }
      w.add_enum(14, 1);
    })};
    return file.bytes();
  };
  std::string weights(4 + kBytes + 4, '\0');
  for (std::size_t i = 0; i < 18; ++i) {
    const auto value = static_cast<float>(i);
    std::memcpy(weights.data() + 4 + i * sizeof(float), &value, sizeof(float));
  }
  const auto load = [&](std::vector<std::pair<std::string, std::string>> place) {
    const std::string bytes = file_with(std::move(place));
    return import_model(exact_bytes(bytes), bytes.size(),
                        {{"weights.bin", {exact_bytes(weights), weights.size()}}});
  };
  const auto graph = load({{"offset", "4"}, {"length", std::to_string(kBytes)}});
  REQUIRE(graph.ok());
  const Node& conv = graph->nodes[0];
  CHECK(to_floats(*graph->value(conv.inputs[1]).constant)[17] == 17);

  using Place = std::vector<std::pair<std::string, std::string>>;
  for (const Place& place :
       {Place{}, Place{{"offset", "4"}}, Place{{"offset", "8"}, {"length", "80"}},
        Place{{"offset", "-4"}}, Place{{"offset", "99999999999999999999"}},
        Place{{"offset", "4"}, {"length", "18446744073709551615"}}, Place{{"offset", "4x"}}}) {
    const auto damaged = load(place);
    REQUIRE_FALSE(damaged.ok());
    CHECK(damaged.error().code == Code::kInvalidModel);
    CHECK(damaged.error().where == "initializer 'w'");
  }
}

TEST_CASE("import: weights that are not finite are refused with their place") {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    OnnxFile file = small_file();
    file.initializers = {raw_tensor<float>("w", {3}, 1, {1.0F, 2.0F, bad})};
    const Error error = error_of(file);
    CHECK(error.code == Code::kNonFiniteWeight);
    CHECK(error.what.find("Element 2 of its 3") != std::string::npos);
    CHECK(error.where == "initializer 'w'");
  }
}

TEST_CASE("import: dtypes that are no numbers are refused") {
  for (const int type : {0, 8, 14, 15, 17, 21, 99}) {
    OnnxFile file = small_file();
    file.initializers = {raw_tensor<float>("w", {1}, type, {1.0F})};
    CHECK(error_of(file).code == Code::kUnsupportedDtype);
  }
  OnnxFile file = small_file();
  file.value_infos = {};
  std::string bytes = file.bytes();
  bytes = message([&](pbf_writer& w) {
    w.add_message(7, message([](pbf_writer& g) { g.add_message(15, std::string("\x0a\x00", 2)); }));
  });
  CHECK(error_of(bytes).code == Code::kUnsupportedDtype);  // sparse
}

TEST_CASE("import: data that does not fill its shape is refused") {
  const auto code_of = [](const std::string& tensor) {
    OnnxFile file = small_file();
    file.initializers = {tensor};
    return error_of(file).code;
  };
  CHECK(code_of(raw_tensor<float>("w", {3}, 1, {1, 2})) == Code::kInvalidModel);
  CHECK(code_of(raw_tensor<float>("w", {3}, 1, {1, 2, 3, 4})) == Code::kInvalidModel);
  CHECK(code_of(tensor_bytes("w", {3}, 1, [](pbf_writer&) {})) == Code::kInvalidModel);
  CHECK(code_of(tensor_bytes("w", {3}, 7, [](pbf_writer& w) { w.add_int64(7, 5); })) ==
        Code::kInvalidModel);
  CHECK(code_of(raw_tensor<float>("w", {-3}, 1, {1})) == Code::kLimitExceeded);
  CHECK(code_of(raw_tensor<float>("w", {std::int64_t{1} << 40}, 1, {1})) == Code::kLimitExceeded);
  CHECK(code_of(raw_tensor<float>("w", {std::int64_t{1} << 33, std::int64_t{1} << 33}, 1, {1})) ==
        Code::kLimitExceeded);
  CHECK(code_of(raw_tensor<float>("w", std::vector<std::int64_t>(40, 1), 1, {1})) ==
        Code::kLimitExceeded);
  CHECK(code_of(raw_tensor<float>("", {1}, 1, {1})) == Code::kInvalidModel);  // without a name
}

TEST_CASE("import: what is beyond a limit is refused, as soon as it is seen, with its place") {
  const auto refused = [](const OnnxFile& file, std::size_t limit, const std::string& where) {
    const Error error = error_of(file);
    CAPTURE(error.message());
    CHECK(error.code == Code::kLimitExceeded);
    CHECK(error.where == where);
    CHECK(error.message().find(std::to_string(limit)) != std::string::npos);
  };
  const auto times = [](std::size_t n, const std::function<std::string(std::size_t)>& make) {
    std::vector<std::string> list;
    for (std::size_t i = 0; i < n; ++i) list.push_back(make(i));
    return list;
  };
  const auto relu = [](std::size_t i) {
    return node_bytes("Relu", {"x"}, {"r" + std::to_string(i)});
  };
  OnnxFile file = small_file();
  file.nodes = times(kMaxNodes + 1, relu);
  refused(file, kMaxNodes, "node " + std::to_string(kMaxNodes));
  file = small_file();
  file.nodes = times(kMaxNodes - 1, relu);
  file.nodes.push_back(small_file().nodes[0]);
  CHECK(import_bytes(file.bytes()).ok());

  file = small_file();
  const auto name = [](std::size_t i) { return "i" + std::to_string(i); };
  file.nodes.push_back(node_bytes("Concat", times(kMaxValues, name), {"c"}));
  refused(file, kMaxValues, "node 1");
  file = small_file();
  file.inputs = times(kMaxNodes + 1, [&](std::size_t i) { return value_info(name(i), 1, {1}); });
  refused(file, kMaxNodes, "graph inputs");
  file = small_file();
  file.nodes = times(kMaxNodes, relu);
  file.outputs = times(kMaxNodes + 1,
                       [](std::size_t i) { return value_info("r" + std::to_string(i), 1, {}); });
  refused(file, kMaxNodes, "graph outputs");
  file = small_file();
  file.nodes[0] =
      node_bytes("Conv", {"x", "w"}, {"y"},
                 times(kMaxAttributes + 1, [&](std::size_t i) { return int_attr(name(i), 1); }));
  refused(file, kMaxAttributes, "node 0");
  file = small_file();
  file.nodes[0] = node_bytes("Conv", {"x", "w"}, {"y"}, {}, std::string(kMaxNameBytes + 1, 'n'));
  refused(file, kMaxNameBytes, "node 0");
  file = small_file();
  file.inputs = {value_info("x", 1, std::vector<std::int64_t>(kMaxRank + 1, 1))};
  refused(file, kMaxRank, "graph inputs");
  file = small_file();
  file.inputs = {value_info("x", 1, {std::int64_t{1} << 62, 1, 4, 4})};
  refused(file, kMaxElements, "graph inputs");
}

TEST_CASE("import: of findings without end the first are told") {
  OnnxFile file = small_file();
  for (std::size_t i = 0; i < 2 * kMaxFindings; ++i)
    file.nodes.push_back(node_bytes("Relu", {"x"}, {"y"}));
  CHECK(error_of(file).all.size() == kMaxFindings);
  file = small_file();
  for (std::size_t i = 0; i < 2 * kMaxFindings; ++i)
    file.nodes.push_back(
        node_bytes("Relu", {"gone" + std::to_string(i)}, {"r" + std::to_string(i)}));
  const Error error = error_of(file);
  CHECK(error.code == Code::kMissingInitializer);
  CHECK(error.all.size() == kMaxFindings);
}

TEST_CASE("import: graphs that are none are refused") {
  OnnxFile file = small_file();
  file.nodes = {node_bytes("Relu", {"b"}, {"a"}), node_bytes("Relu", {"a"}, {"b"}),
                node_bytes("Add", {"x", "b"}, {"y"})};
  CHECK(error_of(file).what.find("circle") != std::string::npos);
  file = small_file();
  file.nodes.push_back(node_bytes("Relu", {"x"}, {"y"}));
  CHECK(error_of(file).what.find("made twice") != std::string::npos);
  file = small_file();
  file.nodes.push_back(node_bytes("Relu", {"x"}, {"w"}));
  CHECK(error_of(file).what.find("made twice") != std::string::npos);
  file = small_file();
  file.nodes.push_back(node_bytes("Relu", {"y"}, {"x"}));
  CHECK(error_of(file).code == Code::kInvalidModel);
  file = small_file();
  file.outputs.clear();
  CHECK(error_of(file).what.find("no outputs") != std::string::npos);
  file = small_file();
  file.inputs.push_back(file.inputs[0]);
  CHECK(error_of(file).what.find("listed twice") != std::string::npos);
  // An output that is listed twice says nothing new.
  file = small_file();
  file.outputs.push_back(file.outputs[0]);
  CHECK(import_good(file).outputs.size() == 1);
}

TEST_CASE("import: all findings come at once") {
  OnnxFile file = small_file();
  file.initializers = {raw_tensor<float>("w", {3}, 1, {1, 2}),
                       raw_tensor<float>("v", {1}, 1, {std::nanf("")}),
                       raw_tensor<float>("u", {1}, 99, {1})};
  CHECK(error_of(file).all.size() == 3);
}

TEST_CASE("import: fields of another wire type than the schema's are refused") {
  const std::string text_for_number = message([](pbf_writer& w) { w.add_string(1, "eight"); });
  CHECK(error_of(text_for_number).code == Code::kInvalidModel);
  const std::string number_for_graph = message([](pbf_writer& w) { w.add_int64(7, 3); });
  CHECK(error_of(number_for_graph).code == Code::kInvalidModel);
  const std::string float_for_ints = message([](pbf_writer& w) {
    w.add_message(7, message([](pbf_writer& g) {
                    g.add_message(5, message([](pbf_writer& t) { t.add_float(1, 1.0F); }));
                  }));
  });
  CHECK(error_of(float_for_ints).code == Code::kInvalidModel);
}

// Every way to end early, and single bytes changed: an error with a text, or a graph that verifies.
void check_damaged(const std::string& bytes) {
  const auto outcome = [](const std::string& damaged) {
    const auto graph = import_bytes(damaged);
    if (graph.ok()) return verify(*graph).ok();
    return !graph.error().what.empty();
  };
  int wrong = 0;
  for (std::size_t n = 0; n < bytes.size(); ++n) wrong += outcome(bytes.substr(0, n)) ? 0 : 1;
  CHECK(wrong == 0);
  for (std::size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 4000) {
    for (const int change : {0x01, 0x08, 0x80, 0xFF}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(static_cast<unsigned char>(damaged[at]) ^ change);
      wrong += outcome(damaged) ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("import: damaged files give an error or a valid graph, never a crash") {
  check_damaged(small_file().bytes());
  for (const char* name :
       {"float", "qdq_qint8", "qdq_quint8", "qoperator_qint8", "qoperator_quint8"}) {
    CAPTURE(name);
    const auto bytes =
        read_file(std::string(OCTAVO_SOURCE_DIR) + "/tests/data/golden/onnx/" + name + ".onnx");
    REQUIRE(bytes);
    check_damaged({bytes->begin(), bytes->end()});
  }
}

TEST_CASE("import: a length of 2 GiB and more is a truncated file, in 32-bit memories too") {
  for (const std::string length :
       {"\xFF\xFF\xFF\xFF\x07", "\x80\x80\x80\x80\x08", "\xF0\xFF\xFF\xFF\x0F"}) {
    CHECK(error_of("\x08\x08\x3A" + length).code == Code::kTruncatedModel);  // the graph
    CHECK(error_of("\x08\x08\x52" + length).code == Code::kTruncatedModel);  // skipped: field 10
  }
}

TEST_CASE("import: the built-in sample cut at any byte is told to be cut") {
  const auto bytes =
      read_file(std::string(OCTAVO_SOURCE_DIR) + "/web/public/samples/digits_mobilenet_bn.onnx");
  REQUIRE(bytes);
  const std::string whole(bytes->begin(), bytes->end());
  int truncated = 0;
  int tried = 0;
  for (std::size_t n = 100; n < whole.size(); n += n < 2000 ? 1 : 997) {
    const auto graph = import_bytes(whole.substr(0, n));
    ++tried;
    if (!graph.ok() && graph.error().code == Code::kTruncatedModel) ++truncated;
  }
  CHECK(truncated == tried);
}

TEST_CASE("weights that lie unaligned are copied, or moved inside the file where that is allowed") {
  constexpr std::size_t kCount = 40;
  OnnxFile file = small_file();
  std::string name = "v";
  for (int i = 0; i < 8;
       ++i, name += "v") {  // each file's tensors lie a byte further than the last
    std::vector<float> values;
    for (std::size_t k = 0; k < kCount; ++k)
      values.push_back(static_cast<float>(100 * i) + static_cast<float>(k));
    file.initializers.push_back(raw_tensor(name, {static_cast<std::int64_t>(kCount)}, 1, values));
    file.outputs.push_back(value_info(name, 1, {static_cast<std::int64_t>(kCount)}));
  }
  const std::string bytes = file.bytes();
  for (const Unaligned unaligned : {Unaligned::kCopy, Unaligned::kMove}) {
    const auto owned = exact_bytes(bytes);
    const auto graph = import_model(owned, bytes.size(), {}, unaligned);
    REQUIRE(graph.ok());
    int inside = 0;
    for (const Value& value : graph->values) {
      if (!value.name.starts_with("v")) continue;
      const auto values = value.constant->span<float>();
      const auto i = value.name.size() - 1;
      for (std::size_t k = 0; k < kCount; ++k) CHECK(values[k] == static_cast<float>(100 * i + k));
      CHECK(reinterpret_cast<std::uintptr_t>(values.data()) % alignof(float) == 0);
      const auto* data = value.constant->data();
      inside += data >= owned.get() && data < owned.get() + bytes.size() ? 1 : 0;
    }
    CHECK((unaligned == Unaligned::kMove ? inside == 8 : inside < 8));
    const bool untouched = std::memcmp(owned.get(), bytes.data(), bytes.size()) == 0;
    CHECK(untouched == (unaligned == Unaligned::kCopy));
  }
}

}  // namespace
}  // namespace octavo::onnx
