#include "ops/border_linear.h"

#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "autograd/kept.h"
#include "autograd/record.h"
#include "kernels/elementwise.h"
#include "ops/linear.h"
#include "ops/linear_product.h"
#include "ops/redistribute.h"
#include "parallel/piecewise_redistribution.h"
#include "parallel/redistribute.h"
#include "parallel/redistribute_plan.h"

namespace triptych::ops {
namespace {

using Way = std::shared_ptr<PiecewiseRedistribution>;

Way way_of(const Shape& global_shape, const Layout& from, const Layout& to, const Border& border) {
  return std::make_shared<PiecewiseRedistribution>(global_shape, from, to, border.mesh, border.num_pieces);
}

Tensor piece_of(const Tensor& tensor, const Range& range) {
  return tensor.slice(0, range.begin, range.length);
}

// A tensor of the shape `local` before the way, made a piece at a time and sent as it is made.
template <typename MakePiece>
Tensor sent_as_made(Device& device, DType dtype, const Shape& local, const Shape& global_shape, const Layout& from,
                    const Layout& to, const Border& border, const MakePiece& make_piece) {
  Tensor whole = Tensor::empty(device, dtype, local_shape(global_shape, to, border.mesh));
  const Way way = way_of(global_shape, from, to, border);
  const bool in_place = whole.shape() == local;
  for (int p = 0; p < way->size(); ++p) {
    const Range range = way->range(p);
    const Tensor piece = in_place ? piece_of(whole, range) : Tensor::empty(device, dtype, local.with(0, range.length));
    make_piece(range, piece);
    if (way->moves()) way->start(p, piece, whole);
  }
  if (way->moves()) whole.set_pending([way] { way->finish(); });
  return whole;
}

// A tensor as it is behind the way, of which `use_piece` gets a range as soon as that has come.
template <typename UsePiece>
Tensor used_as_it_comes(const Tensor& local, const Shape& global_shape, const Layout& from, const Layout& to,
                        const Border& border, const UsePiece& use_piece) {
  const Way way = way_of(global_shape, from, to, border);
  Tensor whole = local;
  if (way->moves()) {
    whole = Tensor::empty(local.device(), local.dtype(), local_shape(global_shape, to, border.mesh));
    for (int p = 0; p < way->size(); ++p) way->start(p, piece_of(local, way->range(p)), whole);
  }
  for (int p = 0; p < way->size(); ++p) {
    way->finish(p);
    use_piece(way->range(p), whole);
  }
  return whole;
}

bool are_alike(const Layout& from, const Layout& to, const Mesh& mesh) {
  return plan_redistribute(from, to, mesh.shape()).empty();
}

// Brings the gradient of what the weight multiplies and that of the product, whole, to the inputs.
using HandOut = std::function<void(const Tensor& da, const Tensor& dy, const Layout& layout, InputGradients& in)>;

Variable leaving(std::string_view name, const Variable& h, const Variable& weight, const LinearProduct& product,
                 const Tensor& input, DType out, const Border& outside, const HandOut& hand_out) {
  const Tensor w = weight.tensor().contiguous();
  const Shape global_shape = product.rule.global_shape();
  const Layout inside = product.rule.layout(), target = on_mesh(outside.layout, outside.mesh);
  Tensor y = sent_as_made(input.device(), out, product.y_shape, global_shape, inside, target, outside,
                          [&](const Range& range, const Tensor& piece) {
                            multiply_by_weight(product, piece_of(input, range), w, nullptr, piece);
                          });
  return record(name, {h, weight}, std::move(y), global_shape, target,
                [product, w, global_shape, inside, border = outside, dtype = input.dtype(), shape = input.shape(),
                 hand_out](const Gradient& gradient, InputGradients& in) {
                  const Layout layout = inside.of_gradient();
                  Tensor da;
                  if (in.needed(0)) da = Tensor::empty(w.device(), dtype, shape);
                  const Tensor dy =
                      used_as_it_comes(gradient.tensor.to(dtype).contiguous(), global_shape, gradient.layout, layout,
                                       border, [&](const Range& range, const Tensor& whole) {
                                         if (da.defined())
                                           multiply_back(product, piece_of(whole, range), w, piece_of(da, range));
                                       });
                  hand_out(da, dy, layout, in);
                });
}

}  // namespace

Entered entering_linear(const Variable& x, const Variable& weight, const Variable& bias, DType out,
                        const Border& inside) {
  const Layout layout = on_mesh(inside.layout, inside.mesh), outside = x.layout();
  const Tensor given = x.tensor().contiguous();
  const Shape global_shape = x.global_shape();
  // Of what is not there yet, the layouts alone.
  const Shape local = local_shape(global_shape, layout, inside.mesh);
  const LinearProduct product = linear_product(local, global_shape, layout, weight, bias);
  const Layout gathered = product.rule.gradient(0, product.rule.layout());  // of the gradient, inside
  if (are_alike(outside, layout, inside.mesh) && are_alike(gathered, outside.of_gradient(), inside.mesh)) {
    return {x, linear(x, weight, bias, out)};
  }
  const Tensor w = weight.tensor().contiguous();
  const Tensor b = bias.defined() ? bias.tensor().contiguous() : Tensor();
  Tensor y = Tensor::empty(given.device(), out, product.y_shape);
  const Tensor whole =
      used_as_it_comes(given, global_shape, outside, layout, inside, [&](const Range& range, const Tensor& here) {
        multiply_by_weight(product, piece_of(here, range), w, b.defined() ? b.data<float>() : nullptr,
                           piece_of(y, range));
      });
  const Kept again = kept_again(x);
  const Kept kept = again.defined() ? Kept([again, global_shape, outside, layout, &mesh = inside.mesh] {
    return redistribute(again.tensor(), global_shape, outside, layout, mesh);
  })
                                    : Kept(whole);
  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  const auto backward = [product, kept, w, local, global_shape, wanted = outside.of_gradient(), border = inside,
                         dtype = given.dtype(),
                         has_bias = bias.defined()](std::span<const std::optional<Gradient>> dys, InputGradients& in) {
    const std::optional<Gradient>&of_x = dys[0], &of_y = dys[1];
    if (!of_y) {
      in.add(0, redistribute(of_x->tensor, global_shape, of_x->layout, wanted, border.mesh), wanted);
      return;
    }
    const Tensor dy = of_y->tensor.to(dtype).contiguous();
    const Tensor x_again = in.needed(1) ? kept.tensor().contiguous() : Tensor();  // it may be on its way
    Tensor dx;
    if (in.needed(0)) {
      const Layout partial = product.rule.gradient(0, of_y->layout);
      if (of_x && !(of_x->layout == partial)) {
        throw LayoutError("entering_linear",
                          fmt::format("the gradients of what entered must have one layout, found {} and {}. "
                                      "Redistribute one of the uses",
                                      of_x->layout.to_string(), partial.to_string()));
      }
      const Tensor more = of_x ? of_x->tensor.contiguous() : Tensor();
      dx = sent_as_made(dy.device(), dtype, local, global_shape, partial, wanted, border,
                        [&](const Range& range, const Tensor& piece) {
                          multiply_back(product, piece_of(dy, range), w, piece);
                          if (!more.defined()) return;
                          add_into(dy.device().stream(), piece.raw(), piece_of(more, range).raw(), piece.num_elements(),
                                   dtype);
                        });
    }
    weights_apart(product, dy, x_again, of_y->layout, has_bias, in);
    if (dx.defined()) in.add(0, std::move(dx), wanted);
  };
  std::vector<Variable> made = record_all(
      "entering_linear", std::move(inputs),
      {{whole, global_shape, layout}, {std::move(y), product.rule.global_shape(), product.rule.layout()}}, backward);
  const Variable entered = again.defined() ? made_again(made[0], kept) : made[0];
  return {entered, with_adapter(made[1], weight, x.dtype(),
                                [&](const Variable& a, DType dtype) { return linear(entered, a, Variable(), dtype); })};
}

Variable leaving_linear(const Variable& h, const Variable& weight, DType out, const Border& outside) {
  const LinearProduct product = linear_product(h, weight, Variable());
  if (weight.adapter() != nullptr || are_alike(product.rule.layout(), outside.layout, outside.mesh)) {
    return redistribute(linear(h, weight, Variable(), out), outside.layout, outside.mesh);
  }
  const Tensor input = h.tensor().contiguous();
  return leaving(
      "leaving_linear", h, weight, product, input, out, outside,
      [product, kept = keep(h, input)](const Tensor& dh, const Tensor& dy, const Layout& layout, InputGradients& in) {
        weights_apart(product, dy, in.needed(1) ? kept.tensor().contiguous() : Tensor(), layout, false, in);
        if (dh.defined()) in.add(0, dh, product.rule.gradient(0, layout));
      });
}

Variable leaving_activated_linear(const Variable& h, const Variable& weight, Activation activation, DType out,
                                  const Border& outside) {
  const ActivatedProduct activated = activated_product(h, weight, activation);
  const LinearProduct& product = activated.product;
  if (weight.adapter() != nullptr || are_alike(product.rule.layout(), outside.layout, outside.mesh)) {
    return redistribute(activated_linear(h, weight, activation, out), outside.layout, outside.mesh);
  }
  const Tensor input = h.tensor().contiguous();
  return leaving("leaving_activated_linear", h, weight, product, activated.activated(input), out, outside,
                 [activated, input](const Tensor& da, const Tensor& dy, const Layout& layout, InputGradients& in) {
                   const Tensor dh = activated_backward(activated, input, da, dy, layout, in);
                   if (dh.defined()) in.add(0, dh, activated.product.rule.gradient(0, layout));
                 });
}

}  // namespace triptych::ops
