#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run a command on another kernel, in a virtual machine whose root is this machine's.
#
#   scripts/vm.sh run [OPTION...] -- COMMAND [ARG...]
#   scripts/vm.sh shell [OPTION...] [-- COMMAND [ARG...]]
#
# Pieces: lib/vm-qemu.sh describes the machine, lib/vm-initrd.sh builds the two helper programs
# and the initramfs; lib/vm-host.c runs QEMU and passes output on, lib/vm-guest.c is the guest's
# first process. Inside, /tmp and /run start empty (the working directory and this tree stay
# visible), bpffs, cgroup2, tracefs and debugfs are mounted, the loopback device is up.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LIB=$ROOT/scripts/lib
CACHE=${XMASQ_CACHE:-/var/cache/xmasq}
PATH=$PATH:/usr/sbin:/sbin # modprobe, mke2fs

# shellcheck source=lib/vm-initrd.sh
. "$LIB/vm-initrd.sh"
# shellcheck source=lib/vm-qemu.sh
. "$LIB/vm-qemu.sh"

RC_NO_GUEST=125

say()     { printf 'vm.sh: %s\n' "$*" >&2; }
die()     { printf 'vm.sh: error: %s\n' "$*" >&2; exit "$RC_NO_GUEST"; }
misused() { printf "vm.sh: %s\nTry 'scripts/vm.sh --help'.\n" "$*" >&2; exit 2; }

usage()
{
	cat <<-'END'
	usage: scripts/vm.sh run [OPTION...] -- COMMAND [ARG...]
	       scripts/vm.sh shell [OPTION...] [-- COMMAND [ARG...]]

	Boots a kernel under QEMU with this machine's root (read-only, a tmpfs on top) and runs
	COMMAND in the current directory. Its output and exit status come back; what it writes
	does not, except below the directory of --out. 'shell' gives it a terminal: 'exit' or
	Ctrl-] ends it.

	  --kernel 6.1|6.12|PATH  a kernel of kernel-patch/build.sh, or a bzImage   [6.12]
	  --config NAME           build.sh's configuration: vm, debug, debian-cloud [vm]
	  --stock                 build.sh's kernel without our patches
	  --root DIR              another root than /, such as debootstrap makes; this tree is shown in
	                          it at its own path
	  --out DIR               directory of this machine that the command may write: it finds
	                          its name in $XMASQ_VM_OUT
	  --cpus N                processors; under emulation 1 is quickest           [1]
	  --mem MB                memory                                            [2048]
	  --timeout S             stop the machine after S seconds, 0: never        [run 600, shell 0]
	  --env NAME=VALUE        one more variable for COMMAND (may be repeated)
	  --accel auto|kvm|tcg    auto tries KVM once after each boot of this machine [auto]
	  --icount                one processor whose clock counts instructions: 1 ns each
	  --cards                 two network cards on one wire, eth0 and eth1
	  --disk                  the root of --root as a cached ext4 image instead of a share
	  --verbose               the guest's console on stderr, all of it
	  --console FILE          keep the console's output in FILE
	  --strict                fail when the kernel complains (warning, KASAN, lock order)

	Exit status: COMMAND's own; 123 the guest's kernel panicked (--strict: or complained),
	124 the time limit was over, 125 the machine could not run COMMAND, 2 wrong usage.
	Kernels and helper programs are kept in ${XMASQ_CACHE:-/var/cache/xmasq}.
	END
}

number()
{
	[[ $2 =~ ^(0|[1-9][0-9]{0,6})$ && $2 -ge $3 && $2 -le $4 ]] ||
		misused "$1 '$2': give a number from $3 to $4"
}

choice()
{
	local what=$1 value=$2 c

	for c in "${@:3}"; do
		[ "$value" != "$c" ] || return 0
	done
	misused "$what '$value': give one of: ${*:3}"
}

# ---- options ----

KERNEL=6.12 CONFIG=vm STOCK='' GUEST_ROOT=/ OUT='' CPUS='' MEM=2048 TIMEOUT='' ACCEL=auto
ICOUNT='' DISK='' CARDS='' VERBOSE='' CONSOLE='' STRICT=''
ENVS=() COMMAND=()

parse()
{
	while [ $# -gt 0 ]; do
		case $1 in
		--kernel|--config|--root|--out|--cpus|--mem|--timeout|--env|--accel|--console)
			[ $# -ge 2 ] || misused "$1: its value is missing" ;;
		esac
		case $1 in
		--kernel)  KERNEL=$2; shift ;;
		--config)  CONFIG=$2; shift ;;
		--root)    GUEST_ROOT=$2; shift ;;
		--out)     OUT=$2; shift ;;
		--cpus)    CPUS=$2; shift ;;
		--mem)     MEM=$2; shift ;;
		--timeout) TIMEOUT=$2; shift ;;
		--env)     ENVS+=("$2"); shift ;;
		--accel)   ACCEL=$2; shift ;;
		--console) CONSOLE=$2; shift ;;
		--stock)   STOCK=yes ;;
		--icount)  ICOUNT=yes ;;
		--disk)    DISK=yes ;;
		--cards)   CARDS=yes ;;
		--verbose) VERBOSE=yes ;;
		--strict)  STRICT=yes ;;
		-h|--help) usage; exit 0 ;;
		--)        shift; COMMAND=("$@"); return ;;
		*)         misused "'$1' is not an option; the command comes after '--'" ;;
		esac
		shift
	done
}

check()
{
	local e

	choice --config "$CONFIG" vm debug debian-cloud
	choice --accel "$ACCEL" auto kvm tcg
	number --mem "$MEM" 128 1000000
	if [ -n "$ICOUNT" ]; then
		[ "${CPUS:-1}" = 1 ] || misused "--icount counts one processor: not with --cpus $CPUS"
		[ "$ACCEL" != kvm ] || misused "--icount needs emulation: not with --accel kvm"
		ACCEL=tcg
	fi
	CPUS=${CPUS:-1}
	number --cpus "$CPUS" 1 64
	number --timeout "$TIMEOUT" 0 1000000
	for e in "${ENVS[@]}"; do
		[[ $e =~ ^[A-Za-z_][A-Za-z0-9_]*= ]] || misused "--env '$e': give NAME=VALUE"
	done
	[ -d "$GUEST_ROOT" ] || misused "--root '$GUEST_ROOT': no such directory"
	GUEST_ROOT=$(cd "$GUEST_ROOT" && pwd -P)
	if [ -n "$OUT" ]; then
		[ -d "$OUT" ] || misused "--out '$OUT': no such directory; make it first"
		[ -w "$OUT" ] || misused "--out '$OUT': it cannot be written"
		OUT=$(cd "$OUT" && pwd -P)
	fi
	[[ $OUT,$GUEST_ROOT != *,*,* ]] || misused "--root and --out: no comma in their names"
	[ -z "$DISK" ] || [ "$GUEST_ROOT" != / ] ||
		misused "--disk makes an image of --root DIR: all of / would be too much"
}

# ---- kernel ----

# Sets IMAGE, RELEASE and MODROOT: below it are the modules, empty when all is built in.
find_kernel()
{
	local args dir

	if [[ $KERNEL == */* || -f $KERNEL ]]; then
		IMAGE=$KERNEL
		[ -f "$IMAGE" ] || misused "--kernel '$IMAGE': no such file"
	else
		choice --kernel "$KERNEL" 6.1 6.12
		args=(--kernel "$KERNEL" --config "$CONFIG" ${STOCK:+--stock} --print-image)
		[ -x "$ROOT/kernel-patch/build.sh" ] ||
			die "no kernel-patch/build.sh here to ask for a $KERNEL kernel: give --kernel PATH"
		IMAGE=$("$ROOT/kernel-patch/build.sh" "${args[@]}") ||
			die "no $KERNEL kernel ($CONFIG${STOCK:+, stock}): build.sh says why above"
		[ -f "$IMAGE" ] || die "build.sh names '$IMAGE', which is not there"
	fi
	kernel_release "$IMAGE"
	MODROOT=
	for dir in "$GUEST_ROOT" "$(dirname "$(dirname "$(realpath "$IMAGE")")")"; do
		[ ! -e "$dir/lib/modules/$RELEASE/modules.dep" ] || { MODROOT=$dir; break; }
	done
}

# The boot protocol's header says where the version string is.
kernel_release()
{
	local magic off

	magic=$(head -c 518 "$1" | tail -c 4 | tr -d '\0')
	[ "$magic" = HdrS ] || die "$1 is no bzImage: give the file that arch/x86/boot/bzImage names"
	off=$(od -An -tu2 -j 526 -N 2 "$1")
	RELEASE=$(head -c $((off + 768)) "$1" | tail -c 256 | tr '\0' '\n' | sed -n '1s/ .*//p')
	[ -n "$RELEASE" ] || die "$1 does not say which kernel it is"
}

# ---- main ----

ACTION=${1:-}
case $ACTION in
run)       TIMEOUT=600 ;;
shell)     TIMEOUT=0 ;;
-h|--help) usage; exit 0 ;;
'')        usage >&2; exit 2 ;;
*)         misused "'$ACTION' is not an action; actions are: run shell" ;;
esac
parse "${@:2}"
check
if [ "$ACTION" = run ]; then
	[ ${#COMMAND[@]} -gt 0 ] || misused "run: give a command after '--'"
else
	if ! [ -t 0 ] || ! [ -t 1 ]; then
		misused "shell: it needs a terminal; use 'run' without one"
	fi
	[ ${#COMMAND[@]} -gt 0 ] || COMMAND=(bash -i)
fi
find_kernel
find_qemu
choose_transport
choose_accel
run_vm "$ACTION" "${COMMAND[@]}"
