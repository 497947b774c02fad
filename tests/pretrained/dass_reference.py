"""DASS from the formulas of the papers, and weights of any size for it.

`Reference` computes on grids [B, D, F, T], as the authors do: one loop per
direction, sequences flipped and turned.
"""

import math
import re

import torch
import torch.nn.functional as F

DEPTHS, WIDTHS, CLASSES = (1, 2, 1, 1), (8, 16, 24, 48), 5
PREFIX = "module.v."


def shapes(depths=DEPTHS, widths=WIDTHS, states=1, n_classes=CLASSES):
    """Yield the names and shapes of a checkpoint of the DASS repository."""

    def norm(name, width):
        return {f"{name}.weight": (width,), f"{name}.bias": (width,)}

    def layer(name, *shape):
        return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

    first = widths[0]
    found = layer("patch_embed.0", first // 2, 1, 3, 3)
    found |= norm("patch_embed.2", first // 2)
    found |= layer("patch_embed.5", first, first // 2, 3, 3)
    found |= norm("patch_embed.7", first)
    for i, (depth, d) in enumerate(zip(depths, widths)):
        rank = -(-d // 16)
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}"
            found |= norm(f"{block}.norm", d) | norm(f"{block}.norm2", d)
            found |= norm(f"{block}.op.out_norm", d)
            found |= layer(f"{block}.mlp.fc1", 4 * d, d)
            found |= layer(f"{block}.mlp.fc2", d, 4 * d)
            found |= {
                f"{block}.op.in_proj.weight": (d, d),
                f"{block}.op.conv2d.weight": (d, 1, 3, 3),
                f"{block}.op.x_proj_weight": (4, rank + 2 * states, d),
                f"{block}.op.dt_projs_weight": (4, d, rank),
                f"{block}.op.dt_projs_bias": (4, d),
                f"{block}.op.A_logs": (4 * d, states),
                f"{block}.op.Ds": (4 * d,),
                f"{block}.op.out_proj.weight": (d, d),
            }
        if i < len(depths) - 1:
            new = widths[i + 1]
            found |= layer(f"layers.{i}.downsample.1", new, d, 3, 3)
            found |= norm(f"layers.{i}.downsample.3", new)
    found |= norm("classifier.norm", widths[-1])
    return found | layer("classifier.head", n_classes, widths[-1])


def official(**sizes):
    """Return random weights, large enough to tell every formula apart."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes(**sizes).items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("weight") and len(shape) > 1:
            value = value / math.sqrt(math.prod(shape[1:]))
        elif name.endswith(("weight", "Ds")):
            value = 1 + 0.2 * value
        else:
            value = 0.5 * value
        state[PREFIX + name] = value
    return state


class Reference:
    """DASS by the formulas, in float64; ``state`` has the authors' names."""

    def __init__(self, state):
        self.state = {
            key.removeprefix(PREFIX): value.double().requires_grad_()
            for key, value in state.items()
        }

    def parameters(self, name):
        return self.state[f"{name}.weight"], self.state.get(f"{name}.bias")

    def norm(self, x, name):
        weight, bias = self.parameters(name)
        x = F.layer_norm(x.movedim(1, -1), weight.shape, weight, bias, 1e-5)
        return x.movedim(-1, 1)

    def conv(self, x, name, **options):
        return F.conv2d(x, *self.parameters(name), padding=1, **options)

    def dense(self, x, name):
        return F.linear(x.movedim(1, -1), *self.parameters(name)).movedim(-1, 1)

    def scan(self, u, op, k):
        """Scan u [B, D, L] forward with the parameters of direction k."""
        state, d = self.state, u.shape[1]
        A = -state[f"{op}.A_logs"][k * d : (k + 1) * d].exp()
        D = state[f"{op}.Ds"][k * d : (k + 1) * d]
        selected = state[f"{op}.x_proj_weight"][k] @ u
        rank = state[f"{op}.dt_projs_weight"].shape[2]
        r, B, C = selected.split([rank, A.shape[1], A.shape[1]], 1)
        delta = state[f"{op}.dt_projs_weight"][k] @ r
        delta = F.softplus(delta + state[f"{op}.dt_projs_bias"][k][:, None])
        h, y = 0.0, []
        for step in range(u.shape[2]):
            size, x = delta[:, :, step, None], u[:, :, step, None]
            h = (size * A).exp() * h + size * x * B[:, None, :, step]
            y.append((h * C[:, None, :, step]).sum(-1) + D * u[:, :, step])
        return torch.stack(y, 2)

    def cross_scan(self, x, op):
        x = self.conv(
            self.dense(x, f"{op}.in_proj"), f"{op}.conv2d", groups=x.shape[1]
        )
        u = F.silu(x)
        rows, columns = u.flatten(2), u.mT.flatten(2)
        y = self.scan(rows, op, 0) + self.scan(rows.flip(2), op, 2).flip(2)
        z = self.scan(columns, op, 1) + self.scan(columns.flip(2), op, 3).flip(
            2
        )
        merged = y.view(u.shape) + z.view(u.mT.shape).mT
        return self.dense(self.norm(merged, f"{op}.out_norm"), f"{op}.out_proj")

    def features(self, feats):
        x = self.conv(feats.double().mT[:, None], "patch_embed.0", stride=2)
        x = F.gelu(self.norm(x, "patch_embed.2"))
        x = self.norm(self.conv(x, "patch_embed.5", stride=2), "patch_embed.7")
        for i, j in self.blocks():
            block = f"layers.{i}.blocks.{j}"
            if i and not j:
                down = f"layers.{i - 1}.downsample"
                x = self.norm(self.conv(x, f"{down}.1", stride=2), f"{down}.3")
            x = x + self.cross_scan(
                self.norm(x, f"{block}.norm"), f"{block}.op"
            )
            h = F.gelu(
                self.dense(self.norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")
            )
            x = x + self.dense(h, f"{block}.mlp.fc2")
        return self.norm(x, "classifier.norm").mean((2, 3))

    def blocks(self):
        name = re.compile(r"layers\.(\d+)\.blocks\.(\d+)\.op\.Ds")
        found = [name.fullmatch(key) for key in self.state]
        return sorted((int(m[1]), int(m[2])) for m in found if m)

    def logits(self, feats):
        return self.dense(self.features(feats), "classifier.head")
