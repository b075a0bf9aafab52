"""Two models in one arena, in the real runtime: what stays of both, and the largest of the rest."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from edgeq.children.other_python import OtherPython
from edgeq.packaging.assembly.build import make_package
from tests.packaging.targets.c.test_c import (
    LINKED,
    RELEASE,
    STRICT,
    files,
    ingredients,
    needs_compiler,
    unpack,
    write_codes,
)

__all__ = ["files", "ingredients"]

# Arena: what the packages declare, or what was measured, less some bytes.
PROGRAM = """
#include <cstdio>
#include <cstring>

#include "edgeq_anomaly_golden.h"
#include "edgeq_anomaly_package.h"
#include "edgeq_fmnist_golden.h"
#include "edgeq_fmnist_package.h"
#include "tensorflow/lite/micro/micro_interpreter.h"

namespace one = edgeq::fmnist;
namespace other = edgeq::anomaly;
using namespace tflite;
using namespace tflite::micro;

struct One {
  static constexpr std::size_t kBytes = one::kArenaBytesMeasured;
  static constexpr std::size_t kPersistent = one::kArenaBytesPersistent;
};
struct Other {
  static constexpr std::size_t kBytes = other::kArenaBytesMeasured;
  static constexpr std::size_t kPersistent = other::kArenaBytesPersistent;
};
constexpr std::size_t kDeclared = edgeq::SharedArenaBytes<one::Arena, other::Arena>();
constexpr std::size_t kMeasured = edgeq::SharedArenaBytes<One, Other>();
static_assert(kMeasured < One::kBytes + Other::kBytes, "nothing is shared");
static_assert(edgeq::SharedArenaBytes<one::Arena>() == one::kArenaBytes, "alone it is its own");

alignas(16) static std::uint8_t arena[kDeclared + 16];

template <typename In, typename Out>
int Sample(MicroInterpreter& interpreter, const void* given, const typename Out::Value* golden,
           double tolerance) {
  std::memcpy(interpreter.input(0)->data.raw, given, sizeof(typename In::Value) * In::kSize);
  if (interpreter.Invoke() != kTfLiteOk) return 1;
  const auto* found = reinterpret_cast<typename Out::Value*>(interpreter.output(0)->data.raw);
  for (std::size_t i = 0; i < Out::kSize; ++i) {
    const double apart = static_cast<double>(found[i]) - static_cast<double>(golden[i]);
    if (apart > tolerance || apart < -tolerance) return 1;
  }
  return 0;
}

extern "C" int Run(int is_declared, std::size_t less) {
  const std::size_t size = (is_declared ? kDeclared : kMeasured) - less;
  static MicroMutableOpResolver<one::kOperatorCount> first_operators;
  static MicroMutableOpResolver<other::kOperatorCount> second_operators;
  if (!one::RegisterOperators(first_operators)) return 101;
  if (!other::RegisterOperators(second_operators)) return 102;
  MicroAllocator* shared = MicroAllocator::Create(arena, size, MemoryPlannerType{});
  static MicroInterpreter first(GetModel(one::kModel), first_operators, shared, nullptr, nullptr);
  static MicroInterpreter second(GetModel(other::kModel), second_operators, shared, nullptr,
                                 nullptr);
  if (first.AllocateTensors() != kTfLiteOk || second.AllocateTensors() != kTfLiteOk) return 99;
  int failed = 0;
  for (std::size_t turn = 0; turn < 8; ++turn) {
    const std::size_t a = turn % one::golden::kCount, b = turn % other::golden::kCount;
    failed += Sample<one::FIRST_IN, one::FIRST_OUT>(
        first, one::golden::kFIRST_IN[a], one::golden::kFIRST_OUT[a],
        one::golden::kToleranceFIRST_OUT);
    failed += Sample<other::SECOND_IN, other::SECOND_OUT>(
        second, other::golden::kSECOND_IN[b], other::golden::kSECOND_OUT[b],
        other::golden::kToleranceSECOND_OUT);
  }
  return failed;
}
"""
INSIDE = """
import ctypes, os, sys
sys.setdlopenflags(os.RTLD_NOW | os.RTLD_GLOBAL)
import tflite_micro
run = ctypes.CDLL(sys.argv[1]).Run
run.argtypes = [ctypes.c_int, ctypes.c_size_t]
sys.exit(run(int(sys.argv[2]), int(sys.argv[3])))
"""


@pytest.fixture(scope="module")
def library(
    files: Mapping[str, bytes], tflite_micro: OtherPython, shared: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    """The program with both packages, for the runtime inside the Python package."""
    if tflite_micro.version != RELEASE:
        pytest.skip(f"The declarations in {LINKED.name} are those of tflite-micro {RELEASE}")
    folder = tmp_path_factory.mktemp("shared-arena")
    drawn = np.random.default_rng(0).uniform(-1, 1, (8, 640)).astype(np.float32)
    np.savez(folder / "samples.npz", allow_pickle=False, input_1=drawn)
    second = make_package(
        shared / "mlperf_tiny" / "ad01_int8.tflite", "c", data=folder / "samples.npz",
        vectors=2, name="anomaly",
    )  # fmt: skip
    source = unpack({**files, **second.files}, folder)
    write_codes(folder)
    text = PROGRAM
    for word, package in (("FIRST", "fmnist"), ("SECOND", "anomaly")):
        header = (source / f"edgeq_{package}_package.h").read_text()
        names = [line.split()[1] for line in header.splitlines() if line.startswith("struct ")]
        structs = [name for name in names if name.endswith(("Input", "Output"))]
        text = text.replace(f"{word}_IN", structs[0]).replace(f"{word}_OUT", structs[1])
    (source / "shared.cc").write_text(text)
    built = folder / "shared.so"
    sources = [*source.glob("*_model.cc"), *source.glob("*_package.cc"), source / "shared.cc"]
    done = subprocess.run(
        ["g++", *STRICT, "-shared", "-fPIC", f"-I{LINKED}", f"-I{folder}", *map(str, sources),
         "-o", str(built)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return built


@needs_compiler
@pytest.mark.parametrize(
    ("is_declared", "less", "status"), [(1, 0, 0), (0, 0, 0), (0, 2048, 99)],
    ids=["declared", "measured", "too small"],
)  # fmt: skip
def test_two_models_share_an_arena(
    library: Path, tflite_micro: OtherPython, is_declared: int, less: int, status: int
) -> None:
    """They run in turn, and each gives its golden outputs."""
    done = subprocess.run(
        [tflite_micro.python, "-c", INSIDE, str(library), str(is_declared), str(less)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
