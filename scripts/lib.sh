# shellcheck shell=bash
# Sourced by the scripts beside it: messages, paths, privileges. Defines functions and variables only.

# The root of the source tree, whatever the caller's directory.
ROOT="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
# Where cargo puts what it builds.
TARGET="${CARGO_TARGET_DIR:-$ROOT/target}"
[[ $TARGET == /* ]] || TARGET="$PWD/$TARGET"
# Administration tools live in sbin, which is not in every user's PATH.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export PATH

# What somebody has measured here must not change what `--datapath auto` takes: nothing is known, unless the caller names a file.
export BLK_PATHS="${BLK_PATHS-}"

if [[ -t 2 && -z ${NO_COLOR:-} ]]; then
    BOLD=$'\e[1m' RED=$'\e[31m' YELLOW=$'\e[33m' PLAIN=$'\e[0m'
else
    BOLD='' RED='' YELLOW='' PLAIN=''
fi

# say TEXT...: what happens now.
say() { printf '%s==> %s%s\n' "$BOLD" "$*" "$PLAIN" >&2; }

# warn TEXT...: something the reader has to know, but the work goes on.
warn() { printf '%swarning:%s %s\n' "$YELLOW" "$PLAIN" "$*" >&2; }

# die TEXT...: says what failed and leaves with status 1.
die() {
    printf '%serror:%s %s\n' "$RED" "$PLAIN" "$*" >&2
    exit 1
}

# have COMMAND: is it installed?
have() { command -v -- "$1" >/dev/null 2>&1; }

# need_root SCRIPT [ARGUMENT...]: goes on when root, else runs the script again under sudo with the same PATH (cargo
# lives in the user's home) and the variables that the scripts know.
need_root() {
    ((EUID == 0)) && return
    have sudo || die "this needs root (network namespaces, raw sockets) and sudo is not installed: run it as root"
    local name keep=("PATH=$PATH")
    for name in HOME CARGO_HOME RUSTUP_HOME RUSTUP_TOOLCHAIN CARGO_TARGET_DIR BLK_LAB BLK_PATHS CI NO_COLOR TMPDIR; do
        [[ -z ${!name:-} ]] || keep+=("$name=${!name}")
    done
    exec sudo -- env "${keep[@]}" "$@"
}

# sweep_test_labs: removes what namespace tests left behind whose process is gone (killed before it could clean up).
sweep_test_labs() {
    ((EUID == 0)) || return 0
    local path lab pid mount
    # First, what a test has frozen goes on: the processes that wait for it cannot end before.
    while read -r mount; do
        pid=${mount#"$TARGET/lab-tests/"}
        [[ -e /proc/${pid%%-*} ]] || fsfreeze --unfreeze "$mount" 2>/dev/null || true
    done < <(awk -v under="$TARGET/lab-tests/" 'index($2, under) == 1 { print $2 }' /proc/mounts)
    for path in /run/netns/blk-t*; do
        [[ -e $path ]] || continue
        lab=$(basename "$path")
        lab=${lab%-*}
        pid=${lab#blk-t}
        pid=${pid%-*}
        [[ $pid =~ ^[0-9]+$ && ! -e /proc/$pid ]] || continue
        BLK_LAB=$lab "$ROOT/scripts/lab" down 2>/dev/null || true
    done
    for path in "$TARGET"/lab-tests/*; do
        pid=$(basename "$path")
        pid=${pid%%-*}
        [[ $pid =~ ^[0-9]+$ && ! -e /proc/$pid ]] || continue
        while read -r mount; do umount -l "$mount" 2>/dev/null || true; done \
            < <(awk -v under="$path/" 'index($2, under) == 1 { print $2 }' /proc/mounts)
        rm -rf -- "$path"
    done
    rmdir -- "$TARGET/lab-tests" 2>/dev/null || true
}
