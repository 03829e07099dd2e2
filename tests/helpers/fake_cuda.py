"""A GPU that is not there: tensors that claim another device, compute on the CPU, and refuse what a GPU refuses.

What runs on it has its real numbers, so a training on it can be held to the same training on the CPU. It refuses operations
on tensors of both devices, and while a CUDA graph is being recorded everything that a recording refuses: numbers read back,
copies between the devices, shapes that depend on values, and random numbers of a generator that was not registered. A
replay repeats the recorded operations, and nothing else, on the memory they were recorded with. What it cannot show: speed,
CUDA's own kernels and their rounding.

Its device is called "meta", the one name besides "cpu" that autograd accepts without a driver.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")
aten = torch.ops.aten
READS = {aten._local_scalar_dense.default, aten.equal.default}
COPIES = {aten._to_copy.default, aten.copy_.default}
SHAPES_FROM_VALUES = {aten.nonzero.default, aten._unique2.default, aten.masked_select.default}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default}  # by a mask: as many as it has true entries
EMPTY = {aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default, aten.new_empty.default}


class OnGpu(Tensor):
    """A tensor that says it lies on DEVICE; `inner` has its numbers."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    gpu: FakeCuda

    @staticmethod
    def __new__(cls, inner: Tensor, gpu: FakeCuda) -> OnGpu:
        return Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=DEVICE
        )

    def __init__(self, inner: Tensor, gpu: FakeCuda):
        self.inner, self.gpu = inner, gpu

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        tensors = (x for x in tree_leaves((args, kwargs or {})) if isinstance(x, OnGpu))
        return next(tensors).gpu.run(operation, args, kwargs or {})

    def tolist(self) -> Any:  # PyTorch's own refuses subclasses
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: int) -> tuple:
        return self.inner.__reduce_ex__(protocol)  # saved as what `map_location="cpu"` would make of it

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnGpu({self.inner})"


class Generator(torch.Generator):
    """A CPU generator that a failed recording leaves unusable, as it does a CUDA one; `waiting` has those, by address."""

    waiting: set[int] = set()

    def __new__(cls, device: Any = "cpu") -> Generator:
        return super().__new__(cls, "cpu" if torch.device(device) == DEVICE else device)

    def graphsafe_set_state(self, other: torch.Generator) -> None:
        self.set_state(other.get_state())
        self.waiting.discard(self._cdata)


class Graph:
    """Stands in for torch.cuda.CUDAGraph."""

    def __init__(self) -> None:
        self.generators: set[int] = set()  # by address
        self.operations: list[tuple[Callable, tuple, dict, Any]] = []

    def register_generator_state(self, generator: Generator) -> None:
        self.generators.add(generator._cdata)

    def replay(self) -> None:
        with torch.no_grad():
            for operation, args, kwargs, results in self.operations:
                for new, old in zip(tree_leaves(operation(*args, **kwargs)), tree_leaves(results)):
                    if isinstance(old, Tensor) and new.data_ptr() != old.data_ptr():
                        old.copy_(new)


class FakeCuda(TorchDispatchMode):
    """Runs what PyTorch would run on DEVICE.

    Attributes:
        counts: "reads" of numbers back to the host, "copies" between the devices, "replays" of graphs, so far.
        graph: the one being recorded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.graph: Graph | None = None

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return self.run(operation, args, kwargs or {})

    def run(self, operation: Any, args: tuple, kwargs: dict) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here = [x for x in tensors if isinstance(x, OnGpu)]
        wanted = kwargs.get("device")
        if not here and wanted != DEVICE:
            return operation(*args, **kwargs)
        elsewhere = [x for x in tensors if not isinstance(x, OnGpu) and x.dim() > 0]
        copies = operation in COPIES and (elsewhere or wanted not in (None, DEVICE))
        if here and elsewhere and not copies:
            raise RuntimeError(f"{operation} of tensors on both devices: {[(x.device.type, tuple(x.shape)) for x in tensors]}")
        self._count(operation, args, copies)
        self._check_order(operation, args)
        self._check_generator(kwargs.get("generator"))

        ours = {id(x.inner): x for x in here}
        plain_args, plain_kwargs = tree_map(_inner, args), tree_map(_inner, kwargs)
        if wanted is not None:
            plain_kwargs["device"] = torch.device("cpu")
        results = operation(*plain_args, **plain_kwargs)
        if self.graph is not None and operation not in EMPTY:
            self.graph.operations.append((operation, plain_args, plain_kwargs, results))
        if wanted not in (None, DEVICE) or (operation is aten.copy_.default and not isinstance(args[0], OnGpu)):
            return results  # on the CPU
        return tree_map(lambda x: ours[id(x)] if id(x) in ours else self.wrap(x), results)

    def wrap(self, x: Any) -> Any:
        return OnGpu(x, self) if isinstance(x, Tensor) else x

    def _check_order(self, operation: Any, args: tuple) -> None:
        if operation is aten.cumsum.default and args[0].is_floating_point() and torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("cumsum_cuda_kernel does not have a deterministic implementation")

    def _count(self, operation: Any, args: tuple, copies: bool) -> None:
        masks = operation in INDEXING and any(x.dtype == torch.bool for x in tree_leaves(args[1]) if isinstance(x, Tensor))
        values = operation in SHAPES_FROM_VALUES or masks
        self.counts["reads"] += operation in READS or values
        self.counts["copies"] += bool(copies)
        if self.graph is not None and (operation in READS or copies or values):
            raise RuntimeError(f"operation not permitted when stream is capturing: {operation}")

    def _check_generator(self, generator: torch.Generator | None) -> None:
        if generator is None:
            return
        if self.graph is None and generator._cdata in Generator.waiting:
            raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
        if self.graph is not None and generator._cdata not in self.graph.generators:
            raise RuntimeError("a generator that was not registered is used while recording")

    @contextmanager
    def record(self, graph: Graph, stream: object = None, capture_error_mode: str = "global") -> Iterator[None]:
        """Stands in for torch.cuda.graph."""
        self.graph = graph
        try:
            yield
        except RuntimeError:
            Generator.waiting |= graph.generators
            raise
        finally:
            self.graph = None


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, OnGpu) else x


class _Stream:
    def __init__(self, device: object = None):
        pass

    def wait_stream(self, other: _Stream) -> None:
        pass


@contextmanager
def fake_cuda() -> Iterator[FakeCuda]:
    """Inside, torch.device("meta") is a GPU, and torch.cuda records graphs on it."""
    gpu, tensor = FakeCuda(), torch.tensor
    Generator.waiting.clear()

    class CountedGraph(Graph):
        def replay(self) -> None:
            gpu.counts["replays"] += 1
            super().replay()

    def make_tensor(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:  # PyTorch's own forgets a meta tensor's numbers
        made = tensor(*args, **kwargs)
        return made if device is None else made.to(device)

    cuda = {
        "device": nullcontext,
        "stream": nullcontext,
        "Stream": _Stream,
        "current_stream": _Stream,
        "CUDAGraph": CountedGraph,
        "graph": gpu.record,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "tensor", make_tensor)
        patch.setattr(torch, "Generator", Generator)
        for name, stand_in in cuda.items():
            patch.setattr(torch.cuda, name, stand_in)
        for name in ("optimizer", "adam", "rmsprop"):
            module = importlib.import_module(f"torch.optim.{name}")
            for kind in ("fused_kernels", "capturable"):
                patch.setattr(module, f"_get_{kind}_supported_devices", lambda *_: ["cpu", "meta"], raising=False)
        with gpu:
            yield gpu
