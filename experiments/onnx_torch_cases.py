"""Usual layers and small networks in PyTorch, for make_onnx_cases.py: what people export. Each has the shape of its
input and, where halotile's layers cannot express it, a pattern of the importer's reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass
class Case:
    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 8, 8)
    refused: str = ""
    refused_fixed: str = ""  # with a batch of one image


class Call(nn.Module):
    """A function of x behind a convolution, as people write them in forward()."""

    def __init__(
        self, function: Callable[[Tensor], Tensor], *before: nn.Module, after: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.before = nn.Sequential(*(before or (nn.Conv2d(3, 4, 3),)))
        self.function = function
        self.after = after if after is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.function(self.before(x)))


def call(
    function: Callable[[Tensor], Tensor], *before: nn.Module, after: nn.Module | None = None
) -> Callable[[], nn.Module]:
    return lambda: Call(function, *before, after=after)


def chain(*layers: Callable[[], nn.Module] | nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv(x) + x)


class Normalized(nn.Module):
    """Preprocessing inside of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).reshape(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.25, 0.3]).reshape(3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv((x - self.mean) / self.std)


def small_alexnet(lrn: bool) -> Callable[[], nn.Module]:
    norm = [nn.LocalResponseNorm(5, alpha=1e-2, beta=0.75, k=2.0)] if lrn else []
    pool = [] if lrn else [nn.AdaptiveAvgPool2d(3)]  # the older exporter loses the size of a map behind its LRN
    return chain(
        nn.Conv2d(3, 8, 5, stride=2, padding=2), nn.ReLU(), *norm, nn.MaxPool2d(3, 2),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(), *norm, nn.MaxPool2d(3, 2), *pool, nn.Flatten(),
        nn.Dropout(), nn.Linear(72, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 5), nn.Softmax(1),
    )  # fmt: skip


def small_vgg() -> nn.Module:
    layers: list[nn.Module] = []
    for c_in, c_out in ((3, 4), (4, 6)):
        layers += [
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(24, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def all_convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2),
        nn.ReLU(),
        nn.Dropout2d(),
        nn.Conv2d(6, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.LogSoftmax(1),
    )


def conv(**options: object) -> Callable[[], nn.Module]:
    return lambda: nn.Conv2d(3, 6, **({"kernel_size": 3} | options))  # type: ignore[arg-type]


LAYERS: dict[str, Case] = {
    "conv": Case(conv()),
    "conv_no_bias": Case(conv(bias=False)),
    "conv_stride": Case(conv(stride=2, padding=1)),
    "conv_dilated": Case(conv(dilation=2, padding=2)),
    "conv_groups": Case(conv(groups=3)),
    "conv_1x1": Case(conv(kernel_size=1)),
    "conv_uneven": Case(conv(kernel_size=(1, 5), padding=(0, 2), stride=(2, 1))),
    "conv_same": Case(conv(padding="same")),
    "conv_same_even": Case(conv(kernel_size=4, padding="same")),
    "conv_valid": Case(conv(padding="valid")),
    "conv_reflect": Case(conv(padding=1, padding_mode="reflect"), refused="pads with something else than zeros"),
    "conv_circular": Case(conv(padding=1, padding_mode="circular"), refused="no layer|joins|cuts|something else"),
    "conv_transposed": Case(lambda: nn.ConvTranspose2d(3, 4, 2, stride=2), refused=r"\(ConvTranspose\) is of a kind"),
    "zero_pad_conv": Case(chain(nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(3, 4, 3))),
    "depthwise_separable": Case(chain(nn.Conv2d(3, 3, 3, groups=3), nn.ReLU(), nn.Conv2d(3, 5, 1))),
    "batch_norm": Case(chain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())),
    "batch_norm_first": Case(chain(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3))),
    "batch_norm_behind_relu": Case(
        chain(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3, padding=1))
    ),
    "batch_norm_no_affine": Case(chain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False))),
    "batch_norm_1d": Case(chain(nn.Flatten(), nn.Linear(24, 6), nn.BatchNorm1d(6)), (2, 3, 4)),
    "batch_norm_1d_behind_relu": Case(
        chain(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 3)),
        (2, 3, 4),
    ),
    "batch_norm_1d_last": Case(chain(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.BatchNorm1d(6)), (2, 3, 4)),
    "batch_norm_1d_dropout": Case(
        chain(nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3)),
        (2, 3, 4),
    ),
    "batch_norm_1d_flat": Case(chain(nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 3))),
    "instance_norm": Case(lambda: nn.InstanceNorm2d(3), refused=r"\(InstanceNormalization\) is of a kind|no layer"),
    "group_norm": Case(lambda: nn.GroupNorm(3, 3), refused="no layer|only \\(batch, features\\)"),
    "layer_norm": Case(chain(nn.Flatten(), nn.LayerNorm(192)), refused="LayerNormalization|no layer|joins"),
    "relu": Case(call(functional.relu)),
    "relu_clamp": Case(call(lambda x: x.clamp(min=0))),
    "relu_maximum": Case(call(lambda x: torch.maximum(x, torch.zeros(())))),
    "hardtanh_0_inf": Case(chain(nn.Conv2d(3, 4, 3), nn.Hardtanh(0.0, float("inf")))),
    "relu6": Case(lambda: nn.ReLU6(), refused=r"clips to \[0\.0, 6\.0\]|no layer"),
    "leaky_relu": Case(lambda: nn.LeakyReLU(), refused=r"\(LeakyRelu\) is of a kind"),
    "prelu": Case(lambda: nn.PReLU(), refused=r"\(PRelu\) is of a kind"),
    "elu": Case(lambda: nn.ELU(), refused=r"\(Elu\) is of a kind"),
    "gelu": Case(lambda: nn.GELU(), refused="no layer|joins"),
    "silu": Case(lambda: nn.SiLU(), refused="no layer|joins"),
    "sigmoid": Case(lambda: nn.Sigmoid(), refused=r"\(Sigmoid\) is of a kind"),
    "tanh": Case(lambda: nn.Tanh(), refused=r"\(Tanh\) is of a kind"),
    "lrn5": Case(lambda: nn.LocalResponseNorm(5, alpha=0.1, k=2.0), (6, 3, 4)),
    "lrn4": Case(lambda: nn.LocalResponseNorm(4, alpha=0.5, beta=0.5, k=1.0), (6, 3, 4)),
    "lrn1": Case(lambda: nn.LocalResponseNorm(1, alpha=0.5), (4, 5, 6)),
    "lrn_beta1": Case(lambda: nn.LocalResponseNorm(3, alpha=0.5, beta=1.0), (4, 5, 6)),
    "lrn_k0": Case(lambda: nn.LocalResponseNorm(3, alpha=0.5, k=0.0), (4, 5, 6)),
    "max_pool": Case(lambda: nn.MaxPool2d(3, 2)),
    "max_pool_padded": Case(lambda: nn.MaxPool2d(3, 2, padding=1)),
    "max_pool_ceil": Case(lambda: nn.MaxPool2d(3, 2, ceil_mode=True)),
    "max_pool_k1_ceil": Case(lambda: nn.MaxPool2d(1, 2, ceil_mode=True)),
    "max_pool_k2_s3_ceil": Case(lambda: nn.MaxPool2d(2, 3, ceil_mode=True), (3, 9, 9)),
    "max_pool_padded_ceil": Case(lambda: nn.MaxPool2d(2, 2, padding=1, ceil_mode=True), (3, 7, 9)),
    "max_pool_dilated": Case(lambda: nn.MaxPool2d(2, 1, dilation=2)),
    "max_pool_uneven": Case(lambda: nn.MaxPool2d((3, 1), (2, 1))),
    "adaptive_max_pool_1": Case(lambda: nn.AdaptiveMaxPool2d(1)),
    "amax": Case(call(lambda x: x.amax((2, 3)))),
    "avg_pool": Case(lambda: nn.AvgPool2d(2)),
    "avg_pool_padded": Case(lambda: nn.AvgPool2d(3, 2, padding=1)),
    "avg_pool_not_counted": Case(lambda: nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)),
    "avg_pool_ceil": Case(lambda: nn.AvgPool2d(3, 2, ceil_mode=True)),
    "avg_pool_ceil_padded": Case(lambda: nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)),
    "avg_pool_k2_s3_ceil": Case(lambda: nn.AvgPool2d(2, 3, ceil_mode=True), (3, 9, 9)),
    "adaptive_avg_pool_1": Case(lambda: nn.AdaptiveAvgPool2d(1)),
    "adaptive_avg_pool_dividing": Case(lambda: nn.AdaptiveAvgPool2d(2)),
    "adaptive_avg_pool_same": Case(lambda: nn.AdaptiveAvgPool2d(8)),
    "mean_23": Case(call(lambda x: x.mean((2, 3)), after=nn.Linear(4, 3))),
    "mean_keepdim": Case(call(lambda x: x.mean((2, 3), keepdim=True))),
    "mean_3_2": Case(call(lambda x: x.mean(3).mean(2), after=nn.Linear(4, 3))),
    "mean_last": Case(call(lambda x: x.mean([-1, -2]))),
    "mean_flattened": Case(call(lambda x: x.flatten(2).mean(2), after=nn.Linear(4, 3))),
    "max_view": Case(call(lambda x: x.view(x.size(0), 4, -1).amax(-1))),
    "pool_of_shape": Case(call(lambda x: functional.avg_pool2d(x, x.shape[2:]).flatten(1), after=nn.Linear(4, 3))),
    "squeeze_without_axes": Case(
        call(lambda x: x.squeeze(), nn.AdaptiveAvgPool2d(1)), refused_fixed="batch does not stand first"
    ),
    "mean_channels": Case(call(lambda x: x.mean(1)), refused="only height and width"),
    "flatten": Case(chain(nn.Conv2d(3, 4, 3), nn.Flatten())),
    "view_minus1": Case(call(lambda x: x.view(x.size(0), -1), after=nn.Linear(16, 3)), (3, 4, 4)),
    "view_features": Case(call(lambda x: x.view(-1, 16), after=nn.Linear(16, 3)), (3, 4, 4)),
    "reshape_shape0": Case(
        call(lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3]), after=nn.Linear(16, 3)), (3, 4, 4)
    ),
    "torch_flatten": Case(call(lambda x: torch.flatten(x, 1), after=nn.Linear(16, 3)), (3, 4, 4)),
    "index_00": Case(call(lambda x: x[:, :, 0, 0], nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), after=nn.Linear(4, 3))),
    "squeeze": Case(
        call(lambda x: x.squeeze(3).squeeze(2), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), after=nn.Linear(4, 3))
    ),
    "squeeze_all": Case(call(lambda x: x.squeeze(-1).squeeze(-1), nn.AdaptiveAvgPool2d(1))),
    "corner": Case(call(lambda x: x[:, :, 0, 0]), refused="only the one pixel|cuts"),
    "crop": Case(call(lambda x: x[:, :, 1:-1, 1:-1]), refused="cuts"),
    "first_channels": Case(call(lambda x: x[:, :2]), refused="cuts"),
    "linear": Case(chain(nn.Flatten(), nn.Linear(192, 5))),
    "linear_no_bias": Case(chain(nn.Flatten(), nn.Linear(192, 5, bias=False))),
    "conv_1d": Case(
        lambda: nn.Conv1d(3, 4, 3), (3, 8), refused="channels, height, width\\) or \\(batch, features\\) is needed"
    ),
    "linear_map": Case(lambda: nn.Linear(8, 5), refused=r"multiplies \(3, 8, 8\)"),
    "mlp": Case(chain(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), (6,)),
    "softmax": Case(chain(nn.Flatten(), nn.Linear(192, 5), nn.Softmax(1))),
    "softmax_last": Case(chain(nn.Flatten(), nn.Linear(192, 5), nn.Softmax(-1))),
    "softmax_c11": Case(chain(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Softmax(1))),
    "softmax_map": Case(chain(nn.Conv2d(3, 4, 3), nn.Softmax(1))),
    "softmax_2d": Case(lambda: nn.Softmax2d()),
    "softmax_rows": Case(lambda: nn.Softmax(2), refused="only over all|moves the axes"),
    "log_softmax": Case(chain(nn.Flatten(), nn.LogSoftmax(1)), refused=r"\(LogSoftmax\) takes the logarithm"),
    "dropout": Case(chain(nn.Flatten(), nn.Dropout(0.3), nn.Linear(192, 5))),
    "dropout_2d": Case(chain(nn.Conv2d(3, 4, 3), nn.Dropout2d(), nn.ReLU())),
    "identity": Case(chain(nn.Identity(), nn.Conv2d(3, 4, 3), nn.Identity())),
    "normalized": Case(Normalized),
    "scaled": Case(call(lambda x: x * 0.5 + 1.0)),
    "divided": Case(call(lambda x: (1.0 - x) / 255.0)),
    "residual": Case(Residual, refused="joins"),
    "concat": Case(call(lambda x: torch.cat([x, x], 1)), refused="no layer|joins"),
    "upsample": Case(lambda: nn.Upsample(scale_factor=2), refused=r"\((Resize|Upsample)\) is of a kind"),
    "pixel_shuffle": Case(lambda: nn.PixelShuffle(2), (4, 4, 4), refused=r"\(DepthToSpace\) is of a kind"),
    "permute": Case(call(lambda x: x.permute(0, 2, 3, 1)), refused="moves the axes"),
    "double": Case(chain(nn.Flatten(), nn.Linear(192, 4).double(), nn.ReLU())),
    "alexnet_lrn": Case(small_alexnet(True), (3, 35, 35)),
    "alexnet": Case(small_alexnet(False), (3, 35, 35)),
    "vgg": Case(small_vgg),
    "all_convolutional": Case(all_convolutional, refused="LogSoftmax"),
    "lenet": Case(
        chain(
            nn.Conv2d(1, 4, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 10),
            nn.ReLU(),
            nn.Linear(10, 5),
        ),
        (1, 16, 16),
    ),
}
