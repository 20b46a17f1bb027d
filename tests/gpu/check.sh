#!/usr/bin/env bash
# What only a GPU can break, on a machine that has one. Makes the environments, a random model of
# 60 million parameters, and needs some minutes; prints one line per check, then a table of numbers
# for docs/benchmarks. `--cpu` tries the checks themselves where there is no GPU.
#
#   tests/gpu/check.sh [--cpu] [FOLDER OF A MODEL]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

vllm=--vllm
if [[ ${1:-} == --cpu ]]; then
  vllm=--vllm-cpu
  shift
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
model=${1:-$folder/model}

envs/run $vllm langmerge --version
[[ -d $model ]] || envs/run env PYTHONPATH=tests python tests/gpu/check.py make "$model"
envs/run env PYTHONPATH=tests python tests/gpu/check.py training "$folder/training"
envs/run $vllm python -P tests/gpu/check.py numbers "$model"
envs/run $vllm python -P tests/gpu/check.py processes "$model"
