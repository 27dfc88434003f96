"""Imported by the process that children are forked from: torch and the tiny weights are in memory before the fork."""

import torch

from dlcodec import checkpoint, installed
from dlcodec.cli import compare, decode, encode  # noqa: F401
from dlcodec.loading import load_codec, load_fusion

_BASE = installed.find(checkpoint.DEFAULT_FAMILY)
load_codec(_BASE, torch.device("cpu"))
load_fusion(_BASE, torch.device("cpu"), "auto")
