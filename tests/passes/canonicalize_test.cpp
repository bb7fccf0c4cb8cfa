#include "passes/canonicalize.h"

#include <doctest/doctest.h>

#include <limits>

#include "graph/verify.h"
#include "ops/window.h"
#include "passes/passes.h"
#include "passes/pipelines.h"
#include "support/graph_builder.h"

namespace octavo::passes {
namespace {

using test::GraphBuilder;
using Ints = std::vector<std::int64_t>;
using Attributes = std::vector<std::pair<std::string, Attr>>;

// One node `op` of opset `opset` on x [2, 6, 8, 8], in canonical form.
struct One {
  GraphBuilder b;
  ValueId x, y;
  Status status = ok_status();

  One(int opset, const std::string& op, const Attributes& attrs,
      std::vector<ValueId> (*more)(GraphBuilder&) = nullptr, std::size_t outputs = 1,
      const std::string& domain = "") {
    b.graph.opset = opset;
    x = b.input("x", {2, 6, 8, 8});
    std::vector<ValueId> inputs{x};
    if (more != nullptr) {
      for (const ValueId id : more(b)) inputs.push_back(id);
    }
    const std::vector<ValueId> made = b.nodes(op, inputs, outputs, attrs, domain);
    y = made[0];
    b.output(y);
    status = canonicalize(b.graph);
    if (status.ok()) CHECK(verify(b.graph).ok());
  }
  const Node& node() const {
    REQUIRE_MESSAGE(status.ok(), (status.ok() ? "" : status.error().message()));
    REQUIRE(b.graph.nodes.size() == 1);
    return b.graph.nodes[0];
  }
  Ints ints(std::size_t i) const { return to_int64s(*b.graph.value(node().input(i)).constant); }
  std::vector<float> floats(std::size_t i) const {
    return to_floats(*b.graph.value(node().input(i)).constant);
  }
  Code code() const {
    REQUIRE_FALSE(status.ok());
    CHECK(!status.error().where.empty());
    return status.error().code;
  }
};

constexpr float kMax = std::numeric_limits<float>::max();

TEST_CASE("canonicalize: Clip's and Pad's attributes become inputs") {
  const One clip(6, "Clip", {{"min", 0.0F}, {"max", 6.0F}});
  CHECK(clip.floats(1) == std::vector<float>{0});
  CHECK(clip.floats(2) == std::vector<float>{6});
  CHECK(clip.node().attrs.size() == 0);
  const One open(10, "Clip", {{"min", 0.0F}});
  CHECK(open.floats(2) == std::vector<float>{kMax});
  const One pad(
      10, "Pad",
      {{"pads", Ints{0, 0, 1, 1, 0, 0, 2, 2}}, {"value", 3.0F}, {"mode", std::string("constant")}});
  CHECK(pad.ints(1) == Ints{0, 0, 1, 1, 0, 0, 2, 2});
  CHECK(pad.floats(2) == std::vector<float>{3});
  CHECK(pad.node().attrs.size() == 1);
}

TEST_CASE("canonicalize: Pad's named axes become pads of all axes") {
  const One pad(18, "Pad", {}, [](GraphBuilder& b) {
    return std::vector<ValueId>{b.ints({1, 2, 3, 4}), kNoValue, b.ints({2, -1})};
  });
  CHECK(pad.ints(1) == Ints{0, 0, 1, 2, 0, 0, 3, 4});
  CHECK(pad.node().inputs.size() == 2);
  CHECK(One(18, "Pad", {}, [](GraphBuilder& b) {
          return std::vector<ValueId>{b.ints({1, 2, 3}), kNoValue, b.ints({2, 3})};
        }).code() == Code::kInvalidModel);
  CHECK(One(18, "Pad", {}, [](GraphBuilder& b) {
          return std::vector<ValueId>{b.ints({1, 2}), kNoValue, b.ints({7})};
        }).code() == Code::kInvalidModel);
  CHECK(
      One(18, "Pad", {}, [](GraphBuilder& b) {
        return std::vector<ValueId>{b.ints({1, 2}), kNoValue, b.input("axes", {1}, DType::kInt64)};
      }).code() == Code::kUnsupportedAttribute);
}

TEST_CASE("canonicalize: Slice's attributes become inputs, axes named") {
  const One slice(9, "Slice", {{"starts", Ints{1, 0}}, {"ends", Ints{2, 4}}});
  CHECK(slice.ints(1) == Ints{1, 0});
  CHECK(slice.ints(2) == Ints{2, 4});
  CHECK(slice.ints(3) == Ints{0, 1});
  CHECK(slice.node().attrs.size() == 0);
}

TEST_CASE(
    "canonicalize: axes of Squeeze, Unsqueeze and ReduceSum become inputs, those of other "
    "reductions attributes") {
  for (const char* op : {"Squeeze", "Unsqueeze", "ReduceSum"}) {
    const One one(11, op, {{"axes", Ints{1}}});
    CHECK(one.ints(1) == Ints{1});
    CHECK(!one.node().attrs.has("axes"));
  }
  for (const char* op : {"ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2"}) {
    const One one(18, op, {{"noop_with_empty_axes", std::int64_t{1}}}, [](GraphBuilder& b) {
      return std::vector<ValueId>{b.ints({2, 3})};
    });
    CHECK(one.node().attrs.get_ints("axes") == Ints{2, 3});
    CHECK(one.node().inputs.size() == 1);
    CHECK(One(18, op, {}).node().attrs.size() == 0);
    CHECK(One(18, op, {{"noop_with_empty_axes", std::int64_t{1}}}).node().op == "Identity");
    CHECK(One(18, op, {}, [](GraphBuilder& b) {
            return std::vector<ValueId>{b.input("axes", {1}, DType::kInt64)};
          }).code() == Code::kUnsupportedAttribute);
  }
}

TEST_CASE(
    "canonicalize: Split's lengths become an input; num_outputs goes, with a shorter last piece "
    "spelled out") {
  const One split(11, "Split", {{"axis", std::int64_t{1}}, {"split", Ints{2, 4}}}, nullptr, 2);
  CHECK(split.ints(1) == Ints{2, 4});
  const One even(18, "Split", {{"axis", std::int64_t{1}}, {"num_outputs", std::int64_t{2}}},
                 nullptr, 2);
  CHECK(even.node().inputs.size() == 1);
  CHECK(!even.node().attrs.has("num_outputs"));
  const One uneven(18, "Split", {{"axis", std::int64_t{-1}}, {"num_outputs", std::int64_t{3}}},
                   nullptr, 3);
  CHECK(uneven.ints(1) == Ints{3, 3, 2});
  CHECK(One(18, "Split", {{"num_outputs", std::int64_t{3}}}, nullptr, 2).code() ==
        Code::kInvalidModel);
}

TEST_CASE("canonicalize: floats where integers belong are an error, whatever they are") {
  using Numbers = std::numeric_limits<float>;
  for (const float axis :
       {4e33F, -4e33F, Numbers::infinity(), -Numbers::infinity(), Numbers::quiet_NaN()}) {
    const Tensor tensor = Tensor::of<float>({1}, {axis});
    const std::int64_t whole = to_int64s(tensor)[0];
    CHECK(whole == (axis > 0   ? std::numeric_limits<std::int64_t>::max()
                    : axis < 0 ? std::numeric_limits<std::int64_t>::min()
                               : 0));
    GraphBuilder b;
    b.graph.opset = 18;
    b.output(b.node("ReduceL1", {b.input("x", {2, 6}), b.constant(tensor)}));
    PassContext context;
    CHECK(normalize(b.graph, context).ok() == (whole == 0));
  }
}

TEST_CASE("canonicalize: what ONNX Runtime's optimizer has fused comes apart again") {
  const auto weights = [](GraphBuilder& b) {
    return std::vector<ValueId>{b.constant(Tensor::make(DType::kFloat32, {6, 6, 1, 1}))};
  };
  const auto ops = [](const One& one) {
    REQUIRE_MESSAGE(one.status.ok(), (one.status.ok() ? "" : one.status.error().message()));
    std::vector<std::string> names;
    for (const Node& node : one.b.graph.nodes) names.push_back(node.op);
    return names;
  };
  using Names = std::vector<std::string>;
  const auto fused = [&](const Attributes& attrs) {
    return One(17, "FusedConv", attrs, weights, 1, "com.microsoft");
  };
  CHECK(ops(fused({})) == Names{"Conv"});
  CHECK(ops(fused({{"activation", std::string("Relu")}})) == Names{"Conv", "Relu"});
  const One clipped = fused({{"activation", std::string("Clip")},
                             {"activation_params", std::vector<float>{0, 6}},
                             {"group", std::int64_t{1}}});
  CHECK(ops(clipped) == Names{"Conv", "Clip"});
  CHECK(clipped.b.graph.nodes[0].attrs.get_int("group", 0) == 1);
  const Node& clip = clipped.b.graph.nodes[1];
  CHECK(to_floats(*clipped.b.graph.value(clip.input(2)).constant) == std::vector<float>{6});
  CHECK(clip.attrs.size() == 0);
  const One hard = fused({{"activation", std::string("HardSigmoid")},
                          {"activation_params", std::vector<float>{0.25F, 0.75F}}});
  CHECK(hard.b.graph.nodes[1].attrs.get_float("beta", 0) == 0.75F);
  const One summed(
      17, "FusedConv", {{"activation", std::string("Relu")}},
      [](GraphBuilder& b) {
        return std::vector<ValueId>{b.constant(Tensor::make(DType::kFloat32, {6, 6, 1, 1})),
                                    kNoValue, b.input("z", {2, 6, 8, 8})};
      },
      1, "com.microsoft");
  CHECK(ops(summed) == Names{"Conv", "Add", "Relu"});
  CHECK(fused({{"activation", std::string("Softermax")}}).code() == Code::kUnsupportedOp);
  CHECK(fused({{"colour", std::int64_t{1}}}).code() == Code::kUnsupportedAttribute);
  CHECK(ops(One(17, "Gelu", {}, nullptr, 1, "com.microsoft")) == Names{"Gelu"});
  const One quick(17, "QuickGelu", {{"alpha", 1.0F}}, nullptr, 1, "com.microsoft");
  CHECK(ops(quick) == Names{"Mul", "Sigmoid", "Mul"});
}

TEST_CASE("canonicalize: Upsample and the first Resize become Resize") {
  const One seven(7, "Upsample",
                  {{"mode", std::string("nearest")}, {"scales", std::vector<float>{1, 1, 2, 2}}});
  CHECK(seven.node().op == "Resize");
  CHECK(seven.floats(2) == std::vector<float>{1, 1, 2, 2});
  CHECK(seven.node().attrs.get_string("coordinate_transformation_mode", "") == "asymmetric");
  CHECK(seven.node().attrs.get_string("nearest_mode", "") == "floor");
  const One nine(9, "Upsample", {{"mode", std::string("bilinear")}}, [](GraphBuilder& b) {
    return std::vector<ValueId>{b.constant(Tensor::of<float>(Shape{4}, {1, 1, 3, 3}))};
  });
  CHECK(nine.node().attrs.get_string("mode", "") == "linear");
  CHECK(nine.floats(2) == std::vector<float>{1, 1, 3, 3});
  const One ten(10, "Resize", {}, [](GraphBuilder& b) {
    return std::vector<ValueId>{b.constant(Tensor::of<float>(Shape{4}, {1, 1, 3, 3}))};
  });
  CHECK(ten.node().inputs[1] == kNoValue);
  CHECK(ten.floats(2) == std::vector<float>{1, 1, 3, 3});
}

TEST_CASE(
    "canonicalize: Resize's later attributes are spelled out as scales or sizes of all axes") {
  constexpr auto scales = [](GraphBuilder& b) {
    return std::vector<ValueId>{kNoValue, b.constant(Tensor::of<float>(Shape{2}, {2, 4}))};
  };
  const One axes(18, "Resize",
                 {{"axes", Ints{2, -1}},
                  {"antialias", std::int64_t{0}},
                  {"keep_aspect_ratio_policy", std::string("stretch")}},
                 scales);
  CHECK(axes.floats(2) == std::vector<float>{1, 1, 2, 4});
  CHECK(axes.node().attrs.size() == 0);
  CHECK(One(18, "Resize", {{"antialias", std::int64_t{1}}}, scales)
            .node()
            .attrs.get_int("antialias", 0) == 1);
  // x is 8 x 8 there; the smaller or the larger of 6 / 8 and 20 / 8 is taken for both.
  constexpr auto sizes = [](GraphBuilder& b) {
    return std::vector<ValueId>{kNoValue, kNoValue, b.ints({6, 20})};
  };
  for (const auto& [policy, wanted] :
       {std::pair<std::string, Ints>{"stretch", {2, 6, 6, 20}},
        std::pair<std::string, Ints>{"not_larger", {2, 6, 6, 6}},
        std::pair<std::string, Ints>{"not_smaller", {2, 6, 20, 20}}}) {
    const One kept(18, "Resize", {{"axes", Ints{2, 3}}, {"keep_aspect_ratio_policy", policy}},
                   sizes);
    CHECK(kept.ints(3) == wanted);
    CHECK(kept.node().attrs.size() == 0);
  }
  CHECK(One(18, "Resize", {{"axes", Ints{1, 2, 3}}}, scales).code() == Code::kUnsupportedAttribute);
}

TEST_CASE("canonicalize: Dropout and training attributes go, training itself is refused") {
  CHECK(One(7, "Dropout", {{"ratio", 0.5F}}).node().op == "Identity");
  const One dropout(
      13, "Dropout", {},
      [](GraphBuilder& b) {
        return std::vector<ValueId>{b.constant(Tensor::scalar(0.5F)),
                                    b.constant(Tensor::make(DType::kBool, {}))};
      },
      2);
  CHECK(dropout.node().inputs.size() == 1);
  CHECK(dropout.node().outputs.size() == 1);
  CHECK(One(13, "Dropout", {}, [](GraphBuilder& b) {
          return std::vector<ValueId>{kNoValue, b.input("training", {}, DType::kBool)};
        }).code() == Code::kUnsupportedAttribute);

  constexpr auto parameters = [](GraphBuilder& b) {
    std::vector<ValueId> list;
    for (int i = 0; i < 4; ++i)
      list.push_back(b.constant(Tensor::of<float>(Shape{6}, std::vector<float>(6, 1.0F))));
    return list;
  };
  const One bn(14, "BatchNormalization",
               {{"training_mode", std::int64_t{0}}, {"momentum", 0.9F}, {"epsilon", 1e-3F}},
               parameters, 3);
  CHECK(bn.node().outputs.size() == 1);
  CHECK(!bn.node().attrs.has("training_mode"));
  CHECK(bn.node().attrs.get_float("epsilon", 0) == 1e-3F);
  CHECK(One(7, "BatchNormalization", {{"spatial", std::int64_t{1}}}, parameters)
            .node()
            .attrs.size() == 0);
  CHECK(One(9, "BatchNormalization", {{"spatial", std::int64_t{0}}}, parameters).node().op ==
        "BatchNormalization");
  CHECK(One(7, "BatchNormalization", {{"spatial", std::int64_t{0}}}, [](GraphBuilder& b) {
          return std::vector<ValueId>(4, b.input("p", {6}));
        }).code() == Code::kUnsupportedAttribute);
  CHECK(One(14, "BatchNormalization", {{"training_mode", std::int64_t{1}}}, parameters).code() ==
        Code::kUnsupportedAttribute);
}

TEST_CASE("canonicalize: a BatchNormalization of each position is Mul and Add") {
  GraphBuilder b;
  b.graph.opset = 7;
  const auto parameter = [&](std::vector<float> values) {
    return b.constant(Tensor::of<float>(Shape{1, 2}, std::move(values)));
  };
  b.output(b.node("BatchNormalization",
                  {b.input("x", {3, 1, 2}), parameter({2, 3}), parameter({5, 7}),
                   parameter({1, -1}), parameter({3, 8})},
                  {{"spatial", std::int64_t{0}}, {"epsilon", 1.0F}}));
  REQUIRE(canonicalize(b.graph).ok());
  REQUIRE(b.graph.nodes.size() == 2);
  const auto constant = [&](std::size_t node) {
    return to_floats(*b.graph.value(b.graph.nodes[node].inputs[1]).constant);
  };
  CHECK(b.graph.nodes[0].op == "Mul");
  CHECK(constant(0) == std::vector<float>{1, 1});
  CHECK(b.graph.nodes[1].op == "Add");
  CHECK(constant(1) == std::vector<float>{4, 8});
}

TEST_CASE(
    "canonicalize: MaxPool without indices, AveragePool with its opset's divisor, Cast without "
    "saturate") {
  const One pool(12, "MaxPool", {{"kernel_shape", Ints{2, 2}}, {"storage_order", std::int64_t{1}}},
                 nullptr, 2);
  CHECK(pool.node().outputs.size() == 1);
  CHECK(!pool.node().attrs.has("storage_order"));
  const Attributes both{{"kernel_shape", Ints{2, 2}},
                        {"ceil_mode", std::int64_t{1}},
                        {"count_include_pad", std::int64_t{1}}};
  CHECK(!One(18, "AveragePool", both).node().attrs.has(ops::kClippedWindow));
  CHECK(One(19, "AveragePool", both).node().attrs.has(ops::kClippedWindow));
  CHECK(!One(19, "AveragePool", {{"kernel_shape", Ints{2, 2}}, {"ceil_mode", std::int64_t{1}}})
             .node()
             .attrs.has(ops::kClippedWindow));
  CHECK(One(19, "Cast", {{"to", std::int64_t{7}}, {"saturate", std::int64_t{1}}})
            .node()
            .attrs.size() == 1);
}

TEST_CASE("canonicalize: MaxPool's indices are kept, Dropout's mask is refused where it is read") {
  for (const std::string op : {"MaxPool", "Dropout"}) {
    GraphBuilder b;
    b.graph.opset = 11;
    Attributes attrs;
    if (op == "MaxPool") attrs = {{"kernel_shape", Ints{2, 2}}, {"storage_order", std::int64_t{1}}};
    const auto outputs = b.nodes(op, {b.input("x", {1, 2, 8, 8})}, 2, attrs);
    b.output(outputs[0]);
    b.output(outputs[1]);
    const Status status = canonicalize(b.graph);
    REQUIRE(status.ok() == (op == "MaxPool"));
    if (status.ok()) {
      CHECK(b.graph.nodes[0].outputs.size() == 2);
      CHECK(b.graph.nodes[0].attrs.has("storage_order"));
    } else {
      CHECK(status.error().code == Code::kUnsupportedAttribute);
    }
  }
}

TEST_CASE("canonicalize: Scatter, TopK with an attribute and QLinearSoftmax are spelled out") {
  const One scatter(9, "Scatter", {{"axis", std::int64_t{1}}}, [](GraphBuilder& b) {
    return std::vector<ValueId>{b.ints({0}), b.constant(Tensor::of<float>(Shape{1}, {1}))};
  });
  CHECK(scatter.node().op == "ScatterElements");
  const One top(1, "TopK", {{"k", std::int64_t{3}}}, nullptr, 2);
  CHECK(top.ints(1) == Ints{3});
  CHECK(top.node().attrs.size() == 0);
  for (const std::int64_t opset : {12, 13}) {
    const One softmax(
        13, "QLinearSoftmax", {{"axis", std::int64_t{1}}, {"opset", opset}},
        [](GraphBuilder& b) {
          const ValueId scale = b.constant(Tensor::scalar(0.5F));
          const ValueId zero = b.constant(Tensor::scalar(std::uint8_t{3}));
          return std::vector<ValueId>{scale, zero, scale, zero};
        },
        1, "com.microsoft");
    REQUIRE(softmax.status.ok());
    const std::vector<Node>& nodes = softmax.b.graph.nodes;
    REQUIRE(nodes.size() == 3);
    CHECK(nodes[0].op == "DequantizeLinear");
    CHECK(nodes[1].op == "Softmax");
    CHECK(nodes[1].attrs.has("octavo_flattened") == (opset == 12));
    CHECK(nodes[2].op == "QuantizeLinear");
    CHECK(nodes[2].outputs[0] == softmax.y);
  }
}

TEST_CASE("canonicalize: Mean is a Sum and a division") {
  const One mean(13, "Mean", {}, [](GraphBuilder& b) {
    return std::vector<ValueId>{b.constant(Tensor::of<float>(Shape{1}, {1}))};
  });
  REQUIRE(mean.status.ok());
  const std::vector<Node>& nodes = mean.b.graph.nodes;
  REQUIRE(nodes.size() == 2);
  CHECK(nodes[0].op == "Sum");
  CHECK(nodes[0].inputs.size() == 2);
  CHECK(nodes[1].op == "Div");
  CHECK(mean.b.graph.value(nodes[1].inputs[1]).constant->span<float>()[0] == 2.0F);
}

TEST_CASE("canonicalize: shapes that a file does not state are found where a spelling needs them") {
  GraphBuilder b;
  b.graph.opset = 18;
  const ValueId x = b.input("x", {2, 7});
  const ValueId y = b.node("Relu", {x});
  b.graph.value(y).shape.reset();
  const std::vector<ValueId> parts =
      b.nodes("Split", {y}, 3, {{"axis", std::int64_t{1}}, {"num_outputs", std::int64_t{3}}});
  b.output(b.node("Pad", {parts[0], b.ints({1, 1}), kNoValue, b.ints({1})}));
  REQUIRE(canonicalize(b.graph).ok());
  const Node& split = b.graph.nodes[1];
  CHECK(to_int64s(*b.graph.value(split.inputs[1]).constant) == Ints{3, 3, 1});
  CHECK(to_int64s(*b.graph.value(b.graph.nodes[2].inputs[1]).constant) == Ints{0, 1, 0, 1});
}

TEST_CASE("canonicalize: Constant nodes become constants in every spelling") {
  const auto constant = [](const char* name, Attr attr) {
    GraphBuilder b;
    const ValueId c = b.node("Constant", {}, {{name, std::move(attr)}});
    b.output(b.node("Identity", {c}));
    REQUIRE(canonicalize(b.graph).ok());
    REQUIRE(b.graph.nodes.size() == 1);
    REQUIRE(b.graph.value(c).is_constant());
    CHECK(b.graph.value(c).dtype == b.graph.value(c).constant->dtype());
    return *b.graph.value(c).constant;
  };
  CHECK(to_floats(constant("value", Tensor::of<float>(Shape{2}, {1, 2}))) ==
        std::vector<float>{1, 2});
  CHECK(constant("value_float", 2.5F).shape() == Shape{});
  CHECK(to_int64s(constant("value_int", std::int64_t{7})) == Ints{7});
  CHECK(to_int64s(constant("value_ints", Ints{7, 8})) == Ints{7, 8});
  CHECK(to_floats(constant("value_floats", std::vector<float>{1, 2})) == std::vector<float>{1, 2});
  GraphBuilder b;
  b.output(b.node("Constant", {}, {{"value_string", std::string("text")}}));
  const Status status = canonicalize(b.graph);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == Code::kUnsupportedAttribute);
}

TEST_CASE("canonicalize: everything that is not supported is named at once, with what is") {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 2, 8, 8});
  const ValueId a = b.node("Loop", {x});
  const ValueId c = b.node("Det", {a});
  const ValueId d = b.node("Relu", {c}, {{"slope", 1.0F}});
  const ValueId e = b.node("Frobnicate", {d}, {}, "com.example");
  const ValueId f = b.node("LeakyRelu", {e}, {{"alpha", std::int64_t{1}}, {"beta", 2.0F}});
  b.output(b.node("Conv", {f, x, x, x}));
  const Status status = canonicalize(b.graph);
  REQUIRE_FALSE(status.ok());
  const std::vector<Error>& all = status.error().all;
  REQUIRE(all.size() == 7);
  CHECK(all[0].code == Code::kUnsupportedOp);
  CHECK(all[0].what == "The operator Loop (opset 17) is not supported.");
  CHECK(all[0].hint.find("onnxsim") != std::string::npos);
  CHECK(all[1].hint.find("DequantizeLinear") != std::string::npos);  // the list of what is
  CHECK(all[2].code == Code::kUnsupportedAttribute);
  CHECK(all[2].what == "Attribute 'slope' is not supported.");
  CHECK(all[3].what.find("com.example.Frobnicate") != std::string::npos);
  CHECK(all[3].hint.find("Conv") != std::string::npos);
  CHECK(all[4].code == Code::kInvalidModel);              // alpha of the wrong type
  CHECK(all[5].hint.find("alpha") != std::string::npos);  // the attributes there are
  CHECK(all[6].code == Code::kInvalidModel);
  CHECK(all[6].where.find("Conv") != std::string::npos);
}

TEST_CASE("canonicalize: internal ops and attributes in a file are refused") {
  CHECK(One(17, "ToChannelsLast", {}, nullptr, 1, "octavo").code() == Code::kUnsupportedOp);
  CHECK(One(17, "Relu", {{"octavo_activation", std::string("Relu")}}).code() ==
        Code::kUnsupportedAttribute);
  CHECK(One(12, "Softmax", {{"octavo_flattened", std::int64_t{1}}}).code() ==
        Code::kUnsupportedAttribute);
  CHECK(One(18, "AveragePool",
            {{"kernel_shape", Ints{2, 2}}, {"octavo_clipped_window", std::int64_t{1}}})
            .code() == Code::kUnsupportedAttribute);
}

TEST_CASE("canonicalize: inputs that no session takes are refused by name") {
  for (const DType dtype : {DType::kUint16, DType::kFloat64, DType::kUndefined}) {
    GraphBuilder b;
    b.output(b.node("Relu", {b.input("x", {1}, dtype)}));
    const Status status = canonicalize(b.graph);
    REQUIRE_FALSE(status.ok());
    CHECK(status.error().code == Code::kUnsupportedDtype);
    CHECK(status.error().where == "input 'x'");
  }
}

TEST_CASE("canonicalize: half floats become float32 wherever a tensor is declared or cast to one") {
  for (const DType half : {DType::kFloat16, DType::kBfloat16}) {
    GraphBuilder b;
    const ValueId y =
        b.node("Cast", {b.input("x", {1}, half)}, {{"to", static_cast<std::int64_t>(half)}});
    b.graph.value(y).dtype = half;
    b.output(y);
    REQUIRE(canonicalize(b.graph).ok());
    CHECK(b.graph.value(b.graph.inputs[0]).dtype == DType::kFloat32);
    CHECK(b.graph.value(y).dtype == DType::kFloat32);
    CHECK(b.graph.nodes[0].attrs.get_int("to", 0) == static_cast<std::int64_t>(DType::kFloat32));
  }
}

TEST_CASE("canonicalize: nodes without inputs or outputs are refused, whatever their op") {
  for (const ops::OpDef& def : ops::all_ops()) {
    for (const int opset : {7, 12, 17, 22}) {
      for (const bool has_output : {true, false}) {
        if (has_output && def.min_inputs == 0) continue;
        for (const std::size_t inputs : {std::size_t{0}, std::size_t{1}, std::size_t{5}}) {
          GraphBuilder b;
          b.graph.opset = opset;
          b.input("x", {1});
          Node node;
          node.name = "n";
          node.op = def.name;
          node.domain = def.domain;
          node.inputs.assign(inputs, kNoValue);
          Value y;
          y.name = "y";
          if (has_output) node.outputs = {b.graph.add_value(y)};
          b.graph.nodes.push_back(node);
          CAPTURE(def.name);
          CHECK_FALSE(canonicalize(b.graph).ok());
        }
      }
    }
  }
}

// ---- Softmax before opset 13 ----

TEST_CASE("normalize: an old Softmax flattens behind its axis") {
  const auto ops_of = [](std::int64_t axis, Shape shape) {
    GraphBuilder b;
    b.graph.opset = 11;
    b.output(b.node("Softmax", {b.input("x", std::move(shape))}, {{"axis", axis}}));
    PassContext context;
    const Status status = normalize(b.graph, context);
    REQUIRE_MESSAGE(status.ok(), (status.ok() ? "" : status.error().message()));
    std::string ops;
    for (const Node& node : b.graph.nodes) ops += node.op + " ";
    return ops;
  };
  CHECK(ops_of(1, {2, 10}) == "Softmax ");
  CHECK(ops_of(1, {2, 10, 1, 1}) == "Softmax ");
  CHECK(ops_of(1, {2, 10, 3}) == "Flatten Softmax Reshape ");
  CHECK(ops_of(-1, {2, 10, 3}) == "Softmax ");
  GraphBuilder b;
  b.graph.opset = 11;
  b.output(b.node("Softmax", {b.input("x", {2, 10})}, {{"axis", std::int64_t{5}}}));
  PassContext context;
  CHECK_FALSE(normalize(b.graph, context).ok());
}

// ---- quantized operators ----

ValueId scalar(GraphBuilder& b, float value) { return b.constant(Tensor::scalar(value)); }
ValueId zero_point(GraphBuilder& b, std::uint8_t value) {
  return b.constant(Tensor::scalar(value));
}

ValueId codes(GraphBuilder& b) { return b.input("x", {1, 2, 8, 8}, DType::kUint8); }

TEST_CASE("canonicalize: QLinearConv becomes Conv on codes with their grids") {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 2, 8, 8}, DType::kUint8);
  const ValueId w = b.constant(Tensor::make(DType::kInt8, {4, 2, 3, 3}));
  const ValueId w_scale = b.constant(Tensor::of<float>(Shape{4}, {1, 2, 3, 4}));
  const ValueId w_zero = b.constant(Tensor::make(DType::kInt8, {4}));
  const ValueId bias = b.constant(Tensor::make(DType::kInt32, {4}));
  const ValueId y = b.node("QLinearConv",
                           {x, scalar(b, 0.5F), zero_point(b, 3), w, w_scale, w_zero,
                            scalar(b, 0.25F), zero_point(b, 9), bias},
                           {{"pads", Ints{1, 1, 1, 1}}});
  b.output(y);
  REQUIRE(canonicalize(b.graph).ok());
  const Node& node = b.graph.nodes[0];
  CHECK(node.op == "Conv");
  CHECK(node.inputs == std::vector<ValueId>{x, w, bias});
  CHECK(b.graph.value(x).quant == QuantParams::per_tensor(0.5F, 3));
  CHECK(b.graph.value(w).quant == QuantParams{{1, 2, 3, 4}, {0, 0, 0, 0}, 0});
  CHECK(b.graph.value(y).quant == QuantParams::per_tensor(0.25F, 9));
  CHECK(b.graph.value(y).dtype == DType::kUint8);
}

TEST_CASE("canonicalize: the other quantized operators") {
  struct Row {
    const char* op;
    const char* domain;
    const char* becomes;
    int operands;
    Attributes attrs;
  };
  for (const Row& row :
       {Row{"QLinearAdd", "com.microsoft", "Add", 2, {}},
        Row{"QLinearMul", "com.microsoft", "Mul", 2, {}}, Row{"QLinearMatMul", "", "MatMul", 2, {}},
        Row{"QLinearSigmoid", "com.microsoft", "Sigmoid", 1, {}},
        Row{"QLinearLeakyRelu", "com.microsoft", "LeakyRelu", 1, {{"alpha", 0.1F}}},
        Row{"QLinearGlobalAveragePool",
            "com.microsoft",
            "GlobalAveragePool",
            1,
            {{"channels_last", std::int64_t{0}}}},
        Row{"QLinearAveragePool",
            "com.microsoft",
            "AveragePool",
            1,
            {{"kernel_shape", Ints{2, 2}}}}}) {
    CAPTURE(row.op);
    GraphBuilder b;
    std::vector<ValueId> inputs;
    for (int i = 0; i < row.operands; ++i) {
      inputs.push_back(b.input("x" + std::to_string(i), {1, 2, 8, 8}, DType::kUint8));
      inputs.push_back(scalar(b, 0.5F + static_cast<float>(i)));
      inputs.push_back(zero_point(b, 3));
    }
    inputs.push_back(scalar(b, 0.25F));
    inputs.push_back(zero_point(b, 9));
    const ValueId y = b.node(row.op, inputs, row.attrs, row.domain);
    b.output(y);
    const Status status = canonicalize(b.graph);
    REQUIRE_MESSAGE(status.ok(), (status.ok() ? "" : status.error().message()));
    const Node& node = b.graph.nodes[0];
    CHECK(node.op == row.becomes);
    CHECK(node.domain.empty());
    CHECK(std::ssize(node.inputs) == row.operands);
    CHECK(b.graph.value(node.inputs[0]).quant == QuantParams::per_tensor(0.5F, 3));
    CHECK(b.graph.value(y).quant == QuantParams::per_tensor(0.25F, 9));
  }
  GraphBuilder b;
  const ValueId p = b.input("p", {1, 2, 8, 8}, DType::kUint8);
  const ValueId q = b.input("q", {1, 2, 8, 8}, DType::kUint8);
  b.output(b.node("QLinearConcat",
                  {scalar(b, 0.25F), zero_point(b, 9), p, scalar(b, 0.5F), zero_point(b, 1), q,
                   scalar(b, 0.75F), zero_point(b, 2)},
                  {{"axis", std::int64_t{1}}}, "com.microsoft"));
  REQUIRE(canonicalize(b.graph).ok());
  CHECK(b.graph.nodes[0].op == "Concat");
  CHECK(b.graph.nodes[0].inputs == std::vector<ValueId>{p, q});
  CHECK(b.graph.value(q).quant == QuantParams::per_tensor(0.75F, 2));
}

TEST_CASE("canonicalize: quantized operators that are not whole are refused") {
  const auto code_of = [](const char* op, const char* domain,
                          std::vector<ValueId> (*inputs)(GraphBuilder&),
                          const Attributes& attrs = {}) {
    GraphBuilder b;
    b.output(b.node(op, inputs(b), attrs, domain));
    const Status status = canonicalize(b.graph);
    REQUIRE_FALSE(status.ok());
    return status.error().code;
  };
  const auto microsoft = "com.microsoft";
  CHECK(code_of("QLinearConv", "", [](GraphBuilder&) { return std::vector<ValueId>{}; }) ==
        Code::kInvalidModel);
  CHECK(code_of("QLinearAdd", microsoft, [](GraphBuilder& b) {
          return std::vector<ValueId>{kNoValue, scalar(b, 1), zero_point(b, 0)};
        }) == Code::kInvalidModel);
  CHECK(code_of("QLinearConcat", microsoft, [](GraphBuilder& b) {
          return std::vector<ValueId>{scalar(b, 1), zero_point(b, 0), kNoValue, scalar(b, 1),
                                      zero_point(b, 0)};
        }) == Code::kInvalidModel);
  CHECK(code_of("QLinearSigmoid", microsoft, [](GraphBuilder& b) {
          return std::vector<ValueId>{codes(b), b.input("s", {}), zero_point(b, 0)};
        }) == Code::kUnsupportedAttribute);
  CHECK(code_of("QLinearSigmoid", microsoft, [](GraphBuilder& b) {
          return std::vector<ValueId>{codes(b), scalar(b, 1), zero_point(b, 0)};
        }) == Code::kUnsupportedAttribute);
  CHECK(code_of("QLinearSigmoid", microsoft, [](GraphBuilder& b) {
          return std::vector<ValueId>{codes(b), scalar(b, 1),
                                      b.constant(Tensor::scalar(std::int32_t{0})), scalar(b, 1),
                                      zero_point(b, 0)};
        }) == Code::kUnsupportedDtype);
  CHECK(code_of("QLinearSigmoid", microsoft, [](GraphBuilder& b) {
          return std::vector<ValueId>{codes(b), b.constant(Tensor::of<float>(Shape{2}, {1, 2})),
                                      b.constant(Tensor::make(DType::kUint8, {2})), scalar(b, 1),
                                      zero_point(b, 0)};
        }) == Code::kUnsupportedAttribute);
  CHECK(code_of("QLinearGlobalAveragePool", microsoft,
                [](GraphBuilder& b) {
                  return std::vector<ValueId>{codes(b), scalar(b, 1), zero_point(b, 0),
                                              scalar(b, 1), zero_point(b, 0)};
                },
                {{"channels_last", std::int64_t{1}}}) == Code::kUnsupportedAttribute);
}

TEST_CASE("canonicalize: one tensor read with two grids is refused") {
  GraphBuilder b;
  const ValueId x = b.input("x", {4}, DType::kUint8);
  for (const float scale : {0.5F, 0.75F})
    b.output(b.node("QLinearSigmoid",
                    {x, scalar(b, scale), zero_point(b, 0), scalar(b, 1), zero_point(b, 0)}, {},
                    "com.microsoft"));
  const Status status = canonicalize(b.graph);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().what.find("two different scales") != std::string::npos);
}

// ---- eliminate_dead, eliminate_identity ----

TEST_CASE("eliminate_dead: what nobody reads goes, chains of it too") {
  GraphBuilder b;
  const ValueId x = b.input("x", {4});
  const ValueId y = b.node("Relu", {x});
  b.output(y);
  b.node("Relu", {b.node("Add", {x, b.constant(Tensor::scalar(1.0F))})});
  PassContext context;
  CHECK(*eliminate_dead(b.graph, context) == 2);
  CHECK(b.graph.nodes.size() == 1);
  CHECK(b.graph.values.size() == 2);
  CHECK(verify(b.graph).ok());
  CHECK(*eliminate_dead(b.graph, context) == 0);
}

TEST_CASE("eliminate_identity: nodes that hand on go, but not those that name an output") {
  GraphBuilder b;
  const ValueId x = b.input("x", {4});
  const ValueId a = b.node("Identity", {b.node("Identity", {x})});
  const ValueId cast = b.node("Cast", {a}, {{"to", std::int64_t{1}}});
  const ValueId relu = b.node("Relu", {cast});
  const ValueId real_cast = b.node("Cast", {relu}, {{"to", std::int64_t{7}}});
  b.output(b.node("Identity", {real_cast}));
  PassContext context;
  CHECK(*eliminate_identity(b.graph, context) == 3);
  REQUIRE(b.graph.nodes.size() == 3);
  CHECK(b.graph.nodes[0].op == "Relu");
  CHECK(b.graph.nodes[0].inputs[0] == b.graph.inputs[0]);
  CHECK(b.graph.nodes[1].op == "Cast");
  CHECK(b.graph.nodes[2].op == "Identity");
  CHECK(verify(b.graph).ok());
  CHECK(*eliminate_identity(b.graph, context) == 0);
}

}  // namespace
}  // namespace octavo::passes
