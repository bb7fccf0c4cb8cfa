#include "quantize/compare.h"

#include <cstring>
#include <utility>

#include "base/text.h"
#include "quantize/json.h"
#include "quantize/measure.h"

namespace octavo::quantize {

namespace {

// An output of both.
struct Output {
  std::string name;
  ErrorSums sums{};
  double divergence = 0;
  std::int64_t rows = 0;  // 0: no rows of shares or scores
};

// A tensor that both sessions make.
struct Layer {
  std::string node, op, tensor;
  ValueId a, b;
  ErrorSums sums;
};

struct Hits {
  std::int64_t top1 = 0, top5 = 0;
};

}  // namespace

struct Comparison::Impl {
  runtime::Session a, b;
  std::vector<Layer> layers;
  std::vector<Output> outputs;
  std::int64_t worst_sample = -1;
  double worst_error = -1;
  std::vector<double> milliseconds_a{}, milliseconds_b{};
  std::int64_t samples = 0, labelled = 0, rows = 0, equal_rows = 0;
  Hits hits_a{}, hits_b{};
};

Comparison::Comparison(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Comparison::Comparison(Comparison&&) noexcept = default;
Comparison& Comparison::operator=(Comparison&&) noexcept = default;
Comparison::~Comparison() = default;

Result<Comparison> Comparison::create(const Model& a, const Model& b, std::string_view options_json,
                                      const kernels::Policy& policy) {
  OCTAVO_TRY(const Json parsed, parse_options(options_json));
  const OptionReader options(parsed, "");
  constexpr std::string_view kKeys[] = {"inputShapes", "layers"};
  OCTAVO_CHECK_OK(options.check(kKeys));
  bool layers = true;
  OCTAVO_CHECK_OK(options.read("layers", layers));
  OCTAVO_TRY(const passes::InputShapes shapes, parse_input_shapes(options, "inputShapes"));

  runtime::SessionOptions session_options;
  session_options.policy = policy;
  session_options.keep_values = layers;
  // Results whose sizes differ from run to run are not compared; what they are made of is.
  OCTAVO_TRY(const Model head_a, head_of(a, shapes));
  OCTAVO_TRY(const Model head_b, head_of(b, shapes));
  OCTAVO_TRY(runtime::Session first, create_session(head_a, shapes, session_options));
  OCTAVO_TRY(runtime::Session second, create_session(head_b, shapes, session_options));
  const Graph& graph_a = first.graph();
  const Graph& graph_b = second.graph();
  const auto same_borders = [&](const std::vector<ValueId>& ours,
                                const std::vector<ValueId>& theirs,
                                std::string_view kind) -> Status {
    bool fits = ours.size() == theirs.size();
    for (std::size_t i = 0; fits && i < ours.size(); ++i) {
      const Value& x = graph_a.value(ours[i]);
      const Value& y = graph_b.value(theirs[i]);
      fits = x.dtype == y.dtype && x.shape == y.shape;
    }
    if (fits) return ok_status();
    return Error{Code::kShapeMismatch,
                 text("The two models' ", kind, "s differ in number, shape or type."),
                 "",
                 "Compare models that take and give the same.",
                 {}};
  };
  OCTAVO_CHECK_OK(same_borders(graph_a.inputs, graph_b.inputs, "input"));
  OCTAVO_CHECK_OK(same_borders(graph_a.outputs, graph_b.outputs, "output"));

  std::vector<Layer> pairs;
  if (layers) {
    for (const Node& node : graph_a.nodes) {
      if (node.domain == "octavo") continue;
      for (const ValueId id : node.outputs) {
        if (id == kNoValue ||
            (graph_a.value(id).dtype != DType::kFloat32 && !graph_a.value(id).quant))
          continue;
        const auto other = find_tensor(graph_b, graph_a.value(id).name);
        if (!other || graph_b.value(*other).is_constant() ||
            graph_b.value(*other).shape != graph_a.value(id).shape)
          continue;
        pairs.push_back({node.name, node.op, graph_a.value(id).name, id, *other, {}});
      }
    }
  }
  std::vector<Output> outputs;
  for (const ValueId id : graph_a.outputs) outputs.push_back({.name = graph_a.value(id).name});
  return Comparison(std::make_unique<Impl>(Impl{.a = std::move(first),
                                                .b = std::move(second),
                                                .layers = std::move(pairs),
                                                .outputs = std::move(outputs)}));
}

const Graph& Comparison::graph() const { return impl_->a.graph(); }
std::span<std::byte> Comparison::input(std::size_t i) { return impl_->a.input(i); }

Status Comparison::run_sample(std::int64_t label) {
  Impl& impl = *impl_;
  for (std::size_t i = 0; i < impl.a.graph().inputs.size(); ++i) {
    const auto from = impl.a.input(i);
    std::memcpy(impl.b.input(i).data(), from.data(), from.size());
  }
  const double of_a = timed_run(impl.a);
  const double of_b = timed_run(impl.b);
  OCTAVO_CHECK_OK(impl.a.status());
  OCTAVO_CHECK_OK(impl.b.status());
  impl.milliseconds_a.push_back(of_a);
  impl.milliseconds_b.push_back(of_b);
  ++impl.samples;
  for (Layer& layer : impl.layers)
    layer.sums.add(read_real(impl.a, layer.a), read_real(impl.b, layer.b));
  // The largest value means an answer in a classifier; a network of several outputs is a detector
  // or the like.
  const bool classifies = impl.outputs.size() == 1;
  ErrorSums of_sample;
  for (std::size_t i = 0; i < impl.outputs.size(); ++i) {
    const std::vector<float> x = output(false, i);
    const std::vector<float> y = output(true, i);
    Output& both = impl.outputs[i];
    both.sums.add(x, y);
    of_sample.add(x, y);
    const Shape& shape = *impl.a.graph().value(impl.a.graph().outputs[i]).shape;
    const std::int64_t width = class_count(shape);
    if (const auto divergent = divergence(x, y, width, classifies)) {
      both.divergence += *divergent;
      both.rows += static_cast<std::int64_t>(x.size()) / width;
    }
    if (i != 0) continue;
    const std::vector<std::int64_t> best_a = top1_rows(x, shape);
    const std::vector<std::int64_t> best_b = top1_rows(y, shape);
    for (std::size_t row = 0; classifies && row < best_a.size() && row < best_b.size(); ++row) {
      ++impl.rows;
      impl.equal_rows += best_a[row] == best_b[row] ? 1 : 0;
    }
    if (label >= 0 && best_a.size() == 1) {
      ++impl.labelled;
      const auto count = [&](Hits& hits, const std::vector<float>& row) {
        hits.top1 += in_top(row, label, 1) ? 1 : 0;
        hits.top5 += in_top(row, label, 5) ? 1 : 0;
      };
      count(impl.hits_a, x);
      count(impl.hits_b, y);
    }
  }
  if (of_sample.relative_rms() > impl.worst_error) {
    impl.worst_error = of_sample.relative_rms();
    impl.worst_sample = impl.samples - 1;
  }
  return ok_status();
}

std::vector<float> Comparison::output(bool of_second, std::size_t i) const {
  const runtime::Session& session = of_second ? impl_->b : impl_->a;
  return read_real(session, session.graph().outputs[i]);
}

std::string Comparison::report_json() const {
  const Impl& impl = *impl_;
  const auto number = [](std::optional<double> value) {
    return value ? Json(*value) : Json(nullptr);
  };
  const auto share = [&](std::int64_t part, std::int64_t whole) {
    return whole > 0 ? Json(static_cast<double>(part) / static_cast<double>(whole)) : Json(nullptr);
  };
  Json out;
  out["samples"] = impl.samples;
  out["labelled"] = impl.labelled;
  out["top1Agreement"] = share(impl.equal_rows, impl.rows);
  const auto accuracy = [&](std::int64_t a, std::int64_t b) {
    return impl.labelled > 0 ? Json{{"a", share(a, impl.labelled)}, {"b", share(b, impl.labelled)}}
                             : Json(nullptr);
  };
  out["top1"] = accuracy(impl.hits_a.top1, impl.hits_b.top1);
  out["top5"] = accuracy(impl.hits_a.top5, impl.hits_b.top5);
  out["milliseconds"] = {{"a", median(impl.milliseconds_a)}, {"b", median(impl.milliseconds_b)}};
  out["worst"] = {{"sample", impl.worst_sample}, {"relativeRms", impl.worst_error}};
  out["outputs"] = Json::array();
  for (const Output& both : impl.outputs) {
    out["outputs"].push_back(
        {{"name", both.name},
         {"sqnr", number(both.sums.sqnr())},
         {"maxError", both.sums.max_error},
         {"relativeRms", both.sums.relative_rms()},
         {"kl",
          both.rows > 0 ? Json(both.divergence / static_cast<double>(both.rows)) : Json(nullptr)}});
  }
  out["layers"] = Json::array();
  for (const Layer& layer : impl.layers) {
    const bool codes = impl.b.graph().value(layer.b).quant.has_value();
    out["layers"].push_back({{"node", layer.node},
                             {"op", layer.op},
                             {"tensor", layer.tensor},
                             {"sqnr", number(layer.sums.sqnr())},
                             {"type", codes ? "int8" : "float"}});
  }
  return dump(out);
}

}  // namespace octavo::quantize
