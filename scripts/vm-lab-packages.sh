# shellcheck shell=bash
# Sourced by vm-lab: the packages that it boots, QEMU and kernels. They are Debian's, from the mirror that apt is set up with
# here, and not installed: unpacked in $CACHE, and used from there.
#
#     $CACHE/tools-SUITE               QEMU, busybox, cpio and their libraries
#     $CACHE/kernel-VERSION-FLAVOUR    a kernel and its modules; VERSION as asked for (6.1), or `newest`
#     $CACHE/apt-tools, apt-kernels    package lists
#
# Each tree is there whole or not at all. apt holds what it downloads against the hashes in the package lists, and those
# against Debian's archive key.
# shellcheck disable=SC2154 # $refresh and $flavour are vm-lab's

CACHE="${XDG_CACHE_HOME:-${HOME:-$TARGET}/.cache}/blk-vm-lab"
ARCHITECTURE=amd64
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The release of this host, by its name.
# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# QEMU is of the host's release, as it is linked with libraries of the host. That of Debian 12 (7.2) has no igb, and gives its
# virtio NICs up (`broken` in vm-lab) once in a hundred copies or so; 10.0 never did in some 200.
tools_suite=$codename
[[ $codename != bookworm ]] || tools_suite=bookworm-backports
tools_tree=$CACHE/tools-$tools_suite

# suite_of VERSION: the release that has kernels of this version.
suite_of() {
    case $1 in
    6.1 | 6.1.*) echo bookworm ;;
    6.12 | 6.12.*) echo trixie ;;
    *) echo trixie-backports ;;
    esac
}

# The mirror of Debian's archive that this host takes its packages from.
mirror() {
    # shellcheck disable=SC2016 # apt's variables
    # Without release information: also where no package lists were downloaded yet.
    apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 'Component: main' |
        awk -v release="$codename" '$1 == release || $1 ~ /^((old)?stable|testing|unstable|sid)$/ { print $2; exit }'
}

# What this host lacks, one thing a line.
lacks() {
    local tool
    for tool in apt-get apt-cache dpkg-deb mke2fs ip ss ethtool xz ldd flock timeout setpriv; do
        have "$tool" || echo "$tool is not installed: vm-lab needs a Debian system and scripts/deps --test"
    done
    [[ $(dpkg --print-architecture 2>/dev/null) == "$ARCHITECTURE" ]] || echo "vm-lab runs on $ARCHITECTURE only"
    [[ -r $KEYRING ]] || echo "there is no $KEYRING: install debian-archive-keyring"
    [[ -n $(mirror 2>/dev/null) ]] || echo "apt's sources have no mirror of Debian's archive, where vm-lab takes its packages from"
}

# private AREA TOOL ARGUMENT...: apt with lists, sources and downloads of its own, and the host's settings and installed packages.
# A mirror that does not answer ends it, and so does one that trickles.
private() {
    local area=$CACHE/apt-$1 tool=$2
    shift 2
    timeout --foreground --kill-after=5 600 "$tool" -o "Dir::State::lists=$area/lists" -o "Dir::Cache=$area" \
        -o "Dir::Cache::archives=$area/archives" -o "Dir::Etc::sourcelist=$area/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 "$@"
}

# download WHAT AREA TOOL ARGUMENT...: `private`, up to three times, then gives up for want of the network, with status 69
# (EX_UNAVAILABLE of sysexits.h).
download() {
    local what=$1 pause
    shift
    for pause in 3 15 0; do
        if private "$@"; then return 0; fi
        ((pause == 0)) || { warn "apt could not get $what; again in $pause s" && sleep "$pause"; }
    done
    warn "apt cannot get $what from $(mirror). What vm-lab boots is downloaded once, into $CACHE:
    run it again with the network up (and --refresh, should Debian have replaced a package since the last time)"
    exit 69
}

# update_lists AREA SUITE...: lists of what there is; once in a run for the same suites.
declare -A listed=()
update_lists() {
    local area=$1 suite uri
    shift
    [[ ${listed[$area]:-} != "$*" ]] || return 0
    uri=$(mirror)
    mkdir -p "$CACHE/apt-$area/lists/partial" "$CACHE/apt-$area/archives/partial"
    for suite; do echo "deb [signed-by=$KEYRING] $uri $suite main"; done >"$CACHE/apt-$area/sources.list"
    say "package lists of $*"
    download 'the package lists' "$area" apt-get -qq update
    listed[$area]=$*
}

# unpack DIRECTORY FILE...: Debian packages into DIRECTORY.new, which the caller renames when it is complete.
unpack() {
    local directory=$1 file
    shift
    rm -rf -- "$directory.new"
    mkdir -p "$directory.new"
    for file; do
        dpkg-deb -x "$file" "$directory.new" || die "cannot unpack $file"
    done
}

# complete DIRECTORY: DIRECTORY.new takes its place.
complete() {
    rm -rf -- "$1"
    mv -- "$1.new" "$1"
}

# QEMU, busybox, cpio, and the libraries that the host lacks for them.
fetch_tools() {
    [[ ! -d $tools_tree || -n $refresh ]] || return 0
    local suites=("$codename") archives=$CACHE/apt-tools/archives
    [[ $tools_suite == "$codename" ]] || suites+=("$tools_suite")
    update_lists tools "${suites[@]}"
    say "QEMU of $tools_suite"
    rm -f -- "$archives"/*.deb
    # The host's own copies do not count: what is unpacked here must be complete but for libraries. And parts of QEMU that the
    # host has, which can be of another version, must not stand against these.
    awk -v RS= -v ORS='\n\n' '!/^Package: qemu/' /var/lib/dpkg/status >"$CACHE/apt-tools/status"
    download QEMU tools apt-get -o "Dir::State::status=$CACHE/apt-tools/status" -qq -y --fix-broken --download-only --reinstall \
        --no-install-recommends -t "$tools_suite" install qemu-system-x86 qemu-system-data busybox-static cpio seabios >/dev/null
    unpack "$tools_tree" "$archives"/*.deb
    complete "$tools_tree"
    rm -f -- "$archives"/*.deb
}

# kernel_tree VERSION: where that kernel is.
kernel_tree() { echo "$CACHE/kernel-$1-$flavour"; }

# fetch_kernel VERSION: the packages of the newest kernel of that version, without those that would install it.
fetch_kernel() {
    local tree escaped name names suite archives=$CACHE/apt-kernels/packages
    tree=$(kernel_tree "$1")
    [[ ! -d $tree || -n $refresh ]] || return 0
    suite=$(suite_of "$1")
    update_lists kernels "$suite"
    # As in linux-image-6.1.0-50-cloud-amd64 and linux-image-6.12.107+deb13-amd64.
    escaped=${1//./\\.}
    escaped=${escaped//+/\\+}
    [[ $1 != newest ]] || escaped='[0-9]+\.[0-9]+'
    name=$(private kernels apt-cache pkgnames linux-image- |
        { grep -E "^linux-image-$escaped([.+~][^-]*)?(-[0-9]+)?-$flavour\$" || true; } | sort -V | tail -n1)
    [[ -n $name ]] || die "$suite has no kernel package linux-image-$1…-$flavour"
    # Since 7.x the image is split in binary and modules; earlier packages have both.
    mapfile -t names < <(private kernels apt-cache depends --recurse --important "$name" | grep -E '^linux-(image|binary|modules)-[0-9]' | sort -u)
    say "kernel: ${names[*]}"
    rm -rf -- "$archives"
    mkdir -p "$archives"
    (cd "$archives" && download "$name" kernels apt-get -qq download "${names[@]}")
    unpack "$tree" "$archives"/*.deb
    rm -rf -- "$archives"
    # Packages before the merge of / and /usr.
    [[ ! -d $tree.new/lib ]] || { mkdir -p "$tree.new/usr" && mv -- "$tree.new/lib" "$tree.new/usr/"; }
    # For the dependencies of modules.
    "$tools_tree/bin/busybox" depmod -b "$tree.new/usr" "$(basename "$tree.new"/usr/lib/modules/*)" || die "depmod failed for $name"
    complete "$tree"
}

# fetch VERSION...: all that it takes to boot these kernels. Nobody replaces it while this process runs.
fetch() {
    local version absent=$refresh
    mkdir -p "$CACHE"
    exec 9>"$CACHE/lock"
    # Without a wait where nothing is to be downloaded.
    [[ -d $tools_tree ]] || absent=1
    for version; do [[ -d $(kernel_tree "$version") ]] || absent=1; done
    if [[ -n $absent ]]; then
        flock --timeout 1800 9 || die "another vm-lab has been using $CACHE for half an hour: end it, and run this again"
        fetch_tools
        for version; do fetch_kernel "$version"; done
    fi
    flock --shared --timeout 1800 9 || die "another vm-lab has been downloading to $CACHE for half an hour"
}
