#!/usr/bin/env bash
# setup.sh [FOLDER]: an environment of its own for force_field.py (MACE needs another e3nn than mlh); about 1.5 GB.
#
# The wheel of torch without CUDA has to be found by pip: by its configuration, or
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu bench/force_field/setup.sh
# A build with CUDA, gigabytes that nothing here uses, is refused.
set -e
env=${1:-build/force_field}
python3 -m venv "$env"
"$env/bin/pip" install "torch==2.13.0+cpu" "mace-torch==0.3.16" setuptools
"$env/bin/python" -c 'import torch; assert torch.version.cuda is None, "expected torch without CUDA"'
if "$env/bin/pip" list 2>/dev/null | grep -i '^nvidia-'; then echo "setup.sh: CUDA was installed"; exit 1; fi
echo "$env/bin/python bench/force_field/force_field.py --help"
