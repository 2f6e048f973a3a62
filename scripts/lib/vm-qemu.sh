# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# vm-qemu.sh - the machine of vm.sh: what QEMU emulates, and with what.
# Globals: the options of vm.sh, IMAGE, RELEASE, MODROOT; sets QEMU, ACCEL, FS (how the
# root comes) and SHARE (how other directories do).

VIRTIOFSD=${XMASQ_VIRTIOFSD:-/usr/lib/qemu/virtiofsd}

find_qemu()
{
	QEMU=$(command -v "${XMASQ_QEMU:-qemu-system-x86_64}") ||
		die "${XMASQ_QEMU:-qemu-system-x86_64} is missing: apt-get install qemu-system-x86"
}

# What of a kernel with modules is known before it runs: which file systems it has.
has_module()
{
	command -v modprobe >/dev/null || die "modprobe is missing: apt-get install kmod"
	modprobe -C /dev/null -d "$MODROOT" -S "$RELEASE" --show-depends "$1" >/dev/null 2>&1
}

# Debian's cloud kernels have no 9p. A kernel without modules is one of ours, which has.
choose_transport()
{
	SHARE=9p
	[ -z "$MODROOT" ] || has_module 9pnet_virtio || SHARE=virtiofs
	FS=${DISK:+disk}
	FS=${FS:-$SHARE}
	if [ "$SHARE" = virtiofs ] && { [ "$FS$OUT" != disk ] || foreign_root; }; then
		has_module virtiofs || die "$RELEASE has neither 9p nor virtiofs to share directories"
		[ "$(id -u)" = 0 ] || die "$RELEASE has no 9p, and virtiofs needs root"
		[ -x "$VIRTIOFSD" ] || die "$VIRTIOFSD is missing: apt-get install qemu-system-common"
	fi
}

foreign_root() { [ "$GUEST_ROOT" != / ]; }

# ---- image of a root ----

# A file's change time moves with content, mode and name: newer than the image, it is stale.
disk_image()
{
	local image size

	# shellcheck disable=SC2153 # a global of vm.sh
	image=$CACHE/vm-disk-$(printf '%s' "$GUEST_ROOT" | sha256sum | cut -c1-16).ext4
	[ -z "$(find "$GUEST_ROOT" -xdev -cnewer "$image" -print -quit 2>&1)" ] || rm -f "$image"
	size=$(du -sxm "$GUEST_ROOT" | cut -f1)
	keep "${image##*/}" make_image $((size + size / 8 + 64))
}

make_image()
{
	local start

	say "making an image of $GUEST_ROOT ($1 MiB)"
	start=$(date +%s.%N)
	mke2fs -q -t ext4 -O '^has_journal' -E lazy_itable_init=1,root_owner=0:0 -d "$GUEST_ROOT" \
		-F "$2" "$1M" || return
	# What changed while it was copied makes the image stale, too.
	touch -d "@$start" "$2"
}

# ---- KVM or emulation ----

# /dev/kvm that opens proves nothing (nested, half-working): boot this very kernel.
# A "no" counts only when emulation then boots it.
choose_accel()
{
	local boot_id file

	[ "$ACCEL" = auto ] || return 0
	ACCEL=tcg
	[ -w /dev/kvm ] || return 0
	boot_id=$(cat /proc/sys/kernel/random/boot_id)
	file=$CACHE/vm-accel-$boot_id
	if [ -s "$file" ]; then
		ACCEL=$(cat "$file")
		return 0
	fi
	if boots kvm 15; then
		ACCEL=kvm
	elif ! boots tcg 120; then
		return 0
	fi
	rm -f "$CACHE"/vm-accel-*
	printf '%s\n' "$ACCEL" > "$file"
	[ -z "$VERBOSE" ] || say "accelerator: $ACCEL"
}

# boots ACCEL SECONDS: does this kernel come up and run a command with that accelerator?
boots()
{
	local args=(run --kernel "$IMAGE" --root "$GUEST_ROOT" --accel "$1" --timeout "$2"
		${DISK:+--disk})

	XMASQ_VM_PROBE=yes "$BASH" "$ROOT/scripts/vm.sh" "${args[@]}" -- true >/dev/null 2>&1
}

# ---- the machine ----

# kernel_args VM_HOST: the kernel's command line
kernel_args()
{
	local khz a=(
		console=ttyS0 8250.nr_uarts=1
		# A panic ends the machine at once, and an oops is one.
		panic=-1 oops=panic reboot=t
		# No workarounds for processors that are not there, no loops to calibrate delays.
		no_timer_check nokaslr mitigations=off lpj=4000000
		# Translated code is found by its address: with the addresses equal, exec is 4 times quicker.
		norandmaps
		random.trust_cpu=on
		# Deleting namespaces waits for grace periods.
		rcupdate.rcu_expedited=1
		audit=0 apparmor=0 selinux=0
	)

	# Calibrated on a busy machine, the clock can be wrong by any factor: say what it is.
	# Emulation shows this machine's counter, and with --icount one tick for an instruction.
	if [ "$ACCEL" = tcg ]; then
		khz=1000000
		[ -n "$ICOUNT" ] || khz=$("$1" -T) || khz=
		[ -z "$khz" ] || a+=(tsc=reliable "tsc_early_khz=$khz")
	fi
	# Until 6.17 the kernel forgets for a moment, when it identifies its processor, that its page tables
	# have five levels. KASAN takes each address for a wild one then, reports it, reports nothing
	# any more, and lockdep is off from there on.
	[ "$CONFIG" != debug ] || a+=(no5lvl)
	if [ -n "$VERBOSE" ]; then
		a+=(ignore_loglevel)
	else
		a+=(quiet loglevel=5) # "quiet" alone hides the call traces of warnings
	fi
	printf '%s' "${a[*]}"
}

# share TAG DIR ro|rw: adds a shared directory to ARGS, and to HELPERS what serves it
share()
{
	local model=none n=${#HELPERS[@]} cache=always

	if [ "$SHARE" = 9p ]; then
		[ "$3" = ro ] || [ "$(id -u)" != 0 ] || model=passthrough
		[ "$3" = rw ] || model+=,readonly=on
		ARGS+=(-fsdev "local,id=$1,path=$2,multidevs=remap,security_model=$model"
			-device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
		return
	fi
	[ "$3" = ro ] || cache=none
	HELPERS+=("$(serve_virtiofs "$2" "$3") -o cache=$cache -o sandbox=chroot --fd=3")
	ARGS+=(-chardev "socket,id=$1,fd=$((5 + n))"
		-device "vhost-user-fs-pci,chardev=$1,tag=$1,queue-size=1024")
}

# The server cannot share read-only by itself: it gets a view of the directory that is.
serve_virtiofs()
{
	if [ "$2" = rw ]; then
		printf 'exec %q -o source=%q' "$VIRTIOFSD" "$1"
	else
		printf 'exec unshare -m sh -c %q sh' "$(printf \
			'mount --rbind %q /mnt && mount -o remount,bind,ro /mnt && exec %q -o source=/mnt "$@"' \
			"$1" "$VIRTIOFSD")"
	fi
}

# machine VM_HOST: sets ARGS to QEMU's command
machine()
{
	local image card

	ARGS=("$QEMU" -nodefaults -no-user-config -display none -no-reboot
		-M q35 -smp "$CPUS" -m "$MEM"
		-kernel "$IMAGE" -initrd "$INITRD" -append "$(kernel_args "$1")"
		-chardev "socket,id=con,fd=4" -serial chardev:con
		-chardev "socket,id=ctl,fd=3"
		-device virtio-serial-pci -device "virtserialport,chardev=ctl,name=xmasq"
		-device virtio-rng-pci)
	case $ACCEL in
	kvm) ARGS+=(-accel kvm -cpu host) ;;
	# Emulated, the "fast" string instructions copy byte by byte.
	tcg) ARGS+=(-accel "tcg,thread=$([ -n "$ICOUNT" ] && echo single || echo multi),tb-size=512"
		-cpu "max,-erms,-fsrm") ;;
	esac
	# Time passes with instructions only; when idle it jumps to the next timer.
	[ -z "$ICOUNT" ] || ARGS+=(-icount "shift=0,sleep=off")
	# With the DMA interface of the kernel, which drivers want for zero-copy AF_XDP.
	[ -z "$CARDS" ] || for card in 0 1; do
		ARGS+=(-netdev "hubport,id=net$card,hubid=0"
			-device "virtio-net-pci,netdev=net$card,mac=52:54:00:00:00:0$card,disable-legacy=on,iommu_platform=on")
	done
	HELPERS=()
	if [ "$FS" = disk ]; then
		image=$(disk_image) || exit
		ARGS+=(-drive "file=$image,format=raw,if=none,id=root,readonly=on"
			-device "virtio-blk-pci,drive=root")
	else
		share root "$GUEST_ROOT" ro
	fi
	! foreign_root || share tree "$ROOT" ro
	[ -z "$OUT" ] || share out "$OUT" rw
	# Servers of virtiofs work on the guest's memory.
	[ ${#HELPERS[@]} = 0 ] || ARGS+=(-object "memory-backend-memfd,id=mem,size=${MEM}M,share=on"
		-machine memory-backend=mem)
}

# run_vm ACTION COMMAND...: does not return
run_vm()
{
	local action=$1 host word dir=$PWD args=(-t "$TIMEOUT")

	shift
	INITRD=$(vm_initrd "$FS$([ "$FS" = "$SHARE" ] || echo " $SHARE")" "$MODROOT" "$RELEASE") || exit
	host=$(vm_host) || exit
	machine "$host"
	args+=(${VERBOSE:+-v} ${STRICT:+-s} ${CONSOLE:+-c "$CONSOLE"} ${XMASQ_VM_PROBE:+-d})
	[ "$action" = run ] || args+=(-i -r t)
	args+=(-r "f$FS" -r "s$SHARE" -r "k$PWD" -r "k$ROOT")
	if foreign_root; then
		args+=(-r "p$ROOT")
		[[ $PWD/ == "$ROOT"/* || -d $GUEST_ROOT$PWD ]] || dir=/
	fi
	args+=(-r "c$dir")
	[ -z "$OUT" ] || args+=(-r o -r "eXMASQ_VM_OUT=/run/xmasq-out")
	for word in "${HELPERS[@]}"; do
		args+=(-h "$word")
	done
	for word in PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		"TERM=${TERM:-dumb}" LANG=C.UTF-8 "XMASQ_VM=$RELEASE" "${ENVS[@]}"; do
		args+=(-r "e$word")
	done
	for word; do
		args+=(-r "a$word")
	done
	exec "$host" "${args[@]}" -- "${ARGS[@]}"
}
