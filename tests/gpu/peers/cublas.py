#!/usr/bin/env python3
"""Times what the CUDA examples are compared with: cuBLAS and cuDNN in float, as PyTorch calls them.

Prints one JSON object, {name: time_ns}: the products of cuda-sgemm and the convolutions of
cuda-conv2d under the names of their problems. Tensor cores (TF32) are off. The caches are warm: each
sample is a CUDA graph of many launches in a row, and the median of the samples counts.

Prints {"skipped": "why"} where PyTorch or a GPU is missing.
"""

import json
import statistics
import sys

SAMPLES = 15
SAMPLE_NS = 5_000_000  # how long the launches of a sample take together, about

PRODUCTS = {"square-1024": 1024, "square-4096": 4096}
# Channels, filters, height and width, stride.
CONVOLUTIONS = {
    "conv-64x56": (64, 64, 56, 1),
    "conv-64x56-down": (64, 128, 56, 2),
    "conv-128x28": (128, 128, 28, 1),
    "conv-128x28-down": (128, 256, 28, 2),
    "conv-256x14": (256, 256, 14, 1),
    "conv-256x14-down": (256, 512, 14, 2),
    "conv-512x7": (512, 512, 7, 1),
}


def skip(why):
    print(json.dumps({"skipped": why}))
    sys.exit(0)


def import_torch():
    try:
        import torch
    except ImportError as error:
        skip(f"PyTorch is not installed: {error}")
    if not torch.cuda.is_available():
        skip("PyTorch finds no GPU")
    return torch


def elapsed_ns(torch, work):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e6


def time_ns(torch, work):
    """Median time of one call, by graphs of as many calls as fill a sample."""
    for _ in range(3):  # algorithms are chosen and workspaces allocated here
        work()
    torch.cuda.synchronize()
    launches = int(min(200, max(20, SAMPLE_NS / elapsed_ns(torch, work))))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(launches):
            work()
    graph.replay()
    torch.cuda.synchronize()
    samples = [elapsed_ns(torch, graph.replay) / launches for _ in range(SAMPLES)]
    return round(statistics.median(samples))


def main():
    torch = import_torch()
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True  # the fastest of cuDNN's algorithms
    torch.manual_seed(1)
    times = {}
    with torch.no_grad():
        for name, size in PRODUCTS.items():
            a, b = (torch.rand(size, size, device="cuda") * 2 - 1 for _ in range(2))
            c = torch.empty_like(a)
            times[name] = time_ns(torch, lambda: torch.matmul(a, b, out=c))
        for name, (channels, filters, size, stride) in CONVOLUTIONS.items():
            image = torch.rand(1, channels, size, size, device="cuda") * 2 - 1
            weights = torch.rand(filters, channels, 3, 3, device="cuda") * 2 - 1
            times[name] = time_ns(
                torch, lambda: torch.nn.functional.conv2d(image, weights, stride=stride, padding=1)
            )
    print(json.dumps(times))


if __name__ == "__main__":
    main()
