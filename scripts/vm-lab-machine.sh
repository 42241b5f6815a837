# shellcheck shell=bash
# Sourced by vm-lab: what a guest has in its memory, and one run of it under QEMU.
# shellcheck disable=SC2154,SC2034 # variables of vm-lab and vm-lab-packages.sh

work='' emulator=''

# Where this run keeps its files. What runs that were killed have left goes.
make_work_directory() {
    local left pid
    mkdir -p "$TARGET"
    for left in "$TARGET"/vm-lab-[0-9]*.*; do
        pid=${left##*/vm-lab-}
        [[ ! -d $left || -d /proc/${pid%%.*} || -e $left/kept ]] || rm -rf -- "$left"
    done
    work=$(mktemp -d "$TARGET/vm-lab-$$.XXXXXX")
}

# Ends QEMU, if it runs.
stop_emulator() {
    [[ -n $emulator ]] || return 0
    kill "$emulator" 2>/dev/null || true
    local tries
    for tries in {1..30}; do
        [[ -d /proc/$emulator ]] || break
        sleep 0.1
    done
    ((tries < 30)) || kill -KILL "$emulator" 2>/dev/null || true
    emulator=''
}

cleanup() {
    local status=$?
    trap '' INT TERM HUP
    stop_emulator
    if [[ -n $work && -n $kept ]]; then
        rm -rf -- "$work/guest" "$work/initramfs" "$work/disk"
        touch "$work/kept"
        echo "console and results: $work" >&2
    elif [[ -n $work ]]; then
        rm -rf -- "$work"
    fi
    ((status == 0)) || echo "vm-lab: FAILED" >&2
    exit "$status"
}

# program FILE: into the guest, stripped, with the shared libraries it needs, under the same names.
program() {
    local library
    cp -L -- "$1" "$guest/bin/"
    ! have strip || strip -- "$guest/bin/$(basename "$1")"
    while read -r library; do
        mkdir -p "$guest$(dirname "$library")"
        cp -L -- "$library" "$guest$library"
    done < <(ldd "$1" | grep -oE '/[^ ]+')
}

# module NAME: into the guest with all that it needs, in the order to load them. Built into the kernel: nothing.
module() {
    local line file name
    line=$(grep -E "/${1//_/[-_]}\.ko[^ ]*:" "$modules/modules.dep") || return 0
    for file in $(tr ' ' '\n' <<<"${line/:/}" | tac); do
        name=$(basename "$file" .xz)
        [[ " ${module_order[*]} " != *" $name "* ]] || continue
        case $file in
        *.xz) xz -dc "$modules/$file" >"$guest/modules/$name" ;;
        *) cp -- "$modules/$file" "$guest/modules/$name" ;;
        esac || die "cannot unpack $file"
        module_order+=("$name")
    done
}

# pack VERSION: the guest with that kernel, $programs, $drivers and $settings. Sets image and release.
pack() {
    local name guest="$work/guest" modules module_order=()
    modules=$(echo "$(kernel_tree "$1")"/usr/lib/modules/*)
    release=$(basename "$modules")
    image="$modules/vmlinuz"
    [[ -r $image ]] || image="$(kernel_tree "$1")/boot/vmlinuz-$release"
    [[ -r $image ]] || die "$(kernel_tree "$1") is not a whole kernel: remove it, and run this again"
    say "packing Linux $release"
    rm -rf -- "$guest"
    mkdir -p "$guest"/{bin,modules,proc,sys,dev,tmp,run}
    cp -- "$tools_tree/bin/busybox" "$guest/bin/"
    # All applets but those that real programs take the place of.
    while read -r name; do ln -s busybox "$guest/bin/$name"; done < <("$guest/bin/busybox" --list | grep -vxE 'busybox|ip')
    for name in "${programs[@]}"; do program "$(command -v "$name")"; done
    for name in "${drivers[@]}"; do module "$name"; done
    install -m 755 "$ROOT/scripts/vm-lab-guest" "$guest/init"
    printf '%s\n' "${settings[@]}" "modules='${module_order[*]}'" >"$guest/settings"
    (cd "$guest" && find . | "$tools_tree/bin/cpio" --quiet -o -H newc -R 0:0) >"$work/initramfs"
}

# What the guest has said since the last time, as far as it is for the reader.
reported=0
report() {
    local lines
    lines=$(wc -l <"$work/results")
    ((lines > reported)) || return 0
    sed -n "$((reported + 1)),$lines{s/\r\$//;s/^fact /    /p;s/^log /    /p}" "$work/results"
    reported=$lines
}

# CPU time that QEMU has used, in seconds.
used() { awk -v hertz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print int(($12 + $13) / hertz) }' "/proc/$emulator/stat" 2>/dev/null || echo 0; }

# watch: reports until QEMU ends. Sets `why` when it hangs, that is: nothing new from the guest while it had the CPU for
# $patience s (a minute while it boots), or for ten minutes, or no end in half an hour. A busy host makes a guest slow, but not silent for so long; and
# the time that this process was stopped for does not count. `paused` tells that something was.
watch() {
    local size said='' since=0 now limit silent=0 waited=0 clock=$SECONDS
    paused=''
    while [[ -d /proc/$emulator ]]; do
        sleep 1
        report
        size=$(stat -c %s "$work/console" "$work/results")
        now=$(used)
        if [[ $size != "$said" ]]; then said=$size since=$now silent=0; fi
        ((silent += 1, waited += 1))
        if ((SECONDS - clock > 5)) || grep -q '^State:.*stopped' "/proc/$emulator/status" 2>/dev/null; then paused=1; fi
        clock=$SECONDS
        limit=$patience
        [[ -s $work/results ]] || limit=60
        if ((now - since > limit)); then
            why="the guest hangs: it said nothing new in $((now - since)) s of CPU time"
        elif ((silent > 600 || waited > 1800)); then
            why="the guest hangs: no end after $waited s, nothing new since $silent s"
        else
            continue
        fi
        stop_emulator
        return
    done
}

# excused: whether there is a failure that says nothing of what is tested, and then says so. The guest did not come up: seen on a host
# whose CPUs were all busy, the kernel says nothing. Or it, or this process, was stopped, for longer than blockd waits for a
# client. Or QEMU gave up a device, as in "virtio: bogus descriptor or out of resources": descriptors are between it and the
# kernel, blockd and blkcp only see that nothing gets through any more.
excused() {
    [[ -n $why ]] || return 1
    [[ -n $paused || ! -s $work/results ]] || grep -q '^qemu-system-x86_64: virtio: ' "$work/qemu" || return 1
    warn "$why. But the guest did not come up, or was stopped, or QEMU gave up a device, so this run says nothing; one more follows"
}

# boot QEMU-OPTION...: one run of the guest. Sets `why` unless it came to its end and said OK; $work/results.text is what it said.
boot() {
    local status=0 last tools="$tools_tree/usr"
    why='' reported=0
    rm -f -- "$work"/{console,results,results.text}
    : >"$work/console"
    : >"$work/results"
    # no_timer_check: without, a kernel that does not get the CPU in time may take the timer for broken.
    # Behind setpriv, it ends with this script, however that ends. A guest that panics resets, which ends it, too.
    LD_LIBRARY_PATH="$tools/lib/x86_64-linux-gnu" setpriv --pdeathsig TERM -- "$tools/bin/qemu-system-x86_64" \
        -L "$tools/share/qemu" -L "$tools/share/seabios" -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
        -nodefaults -no-user-config -no-reboot -display none -serial "file:$work/console" -serial "file:$work/results" \
        -kernel "$image" -initrd "$work/initramfs" -append 'console=ttyS0 no_timer_check panic=-1 oops=panic' \
        "$@" </dev/null 2>"$work/qemu" &
    emulator=$!
    watch
    if [[ -n $emulator ]]; then
        wait "$emulator" || status=$?
        emulator=''
    fi
    report
    tr -d '\r' <"$work/results" >"$work/results.text"
    last=$(tail -n1 "$work/results.text")
    if [[ -n $why ]]; then
        why="$why; the last of it was: $(grep -E '^(step|fact|FAILED) ' "$work/results.text" | tail -n1 || true)"
    elif [[ $last == 'FAILED '* ]]; then
        why=${last#FAILED }
    elif ((status != 0)); then
        why="QEMU ended with status $status"
    elif [[ $last != OK ]]; then
        why="the guest ended without a result"
    fi
    [[ -z $why ]] || explain
}

# What QEMU and the kernel said.
explain() {
    # A hub has no port to the host on purpose.
    grep -v 'hub 0 is not connected' "$work/qemu" | sed 's/^/    /' || true
    tail -n 40 "$work/console" | sed 's/^/    console: /' || true
}
