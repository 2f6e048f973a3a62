# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# vm-initrd.sh - the two helper programs and the initramfs of vm.sh, built once and kept.
# Globals: CACHE (directory), LIB (this directory).

# What the guest needs from a distribution's kernel, where these may be modules: how the root and
# the directories come, and the way to the host.
VM_MODULES="virtio_pci virtio_console virtio_rng overlay af_packet"
declare -A VM_FS_MODULES=(
	[9p]="9pnet_virtio 9p"
	[virtiofs]="virtiofs"
	[disk]="virtio_blk ext4"
)

# keep NAME FUNCTION ARG...: a cached file; FUNCTION writes it to the path that it gets last
keep()
{
	local path=$CACHE/$1 tmp

	if [ ! -e "$path" ]; then
		mkdir -p "$CACHE" 2>/dev/null || die "cannot make $CACHE: set XMASQ_CACHE to another"
		tmp=$(mktemp "$path.XXXXXX") || die "cannot write to $CACHE: set XMASQ_CACHE to another"
		"${@:2}" "$tmp" || {
			rm -f "$tmp"
			die "cannot make ${path##*/}: see above"
		}
		chmod a+rX "$tmp" # mktemp's is private
		mv "$tmp" "$path"
	fi
	printf '%s\n' "$path"
}

hash_of() { cat "$@" | sha256sum | cut -c1-16; }

compile()
{
	command -v "${CC:-gcc}" >/dev/null || die "${CC:-gcc} is missing: apt-get install gcc libc6-dev"
	"${CC:-gcc}" -std=gnu11 -O2 -s -Wall -Wextra "$@"
}

# vm_host: path of the host's helper
vm_host()
{
	local src=("$LIB"/vm-host.c "$LIB"/vm-child.c "$LIB"/vm-console.c "$LIB"/vm-tsc.c)

	keep "vm-host-$(hash_of "${src[@]}" "$LIB"/vm-*.h)" compile "${src[@]}" -o
}

# cpio_entry MODE NAME [FILE]: one entry of a "newc" archive on stdout (directory without FILE)
cpio_entry()
{
	local mode=$1 name=$2 file=${3:-} size=0

	[ -z "$file" ] || size=$(stat -Lc %s "$file")
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X' \
		0 $((mode)) 0 0 1 0 "$size" 0 0 0 0 $((${#name} + 1)) 0
	printf '%s\0' "$name"
	cpio_pad $((110 + ${#name} + 1))
	[ -z "$file" ] || cat "$file"
	cpio_pad "$size"
}

cpio_pad()
{
	local n=$(((4 - $1 % 4) % 4))

	[ $n = 0 ] || head -c $n /dev/zero
}

# module_files FS MODROOT RELEASE: the modules to load, in order; FS may be several words
module_files()
{
	local m fs fs_modules=

	for fs in $1; do
		fs_modules+=" ${VM_FS_MODULES[$fs]}"
	done
	for m in $VM_MODULES $fs_modules; do
		modprobe -C /dev/null -d "$2" -S "$3" --show-depends "$m" 2>/dev/null || :
	done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++'
}

# unpacked FILE DEST: a module as the kernel can load it
unpacked()
{
	case $1 in
	*.xz)  xz -dc "$1" ;;
	*.zst) zstd -qdc "$1" ;;
	*.gz)  gzip -dc "$1" ;;
	*)     cat "$1" ;;
	esac > "$2" || die "cannot unpack $1"
}

# write_initrd FS MODROOT RELEASE OUT; MODROOT empty: all is built in
write_initrd()
{
	local fs=$1 root=$2 rel=$3 out=$4 init tmp n=100 f

	init=$(keep "vm-init-$(hash_of "$LIB"/vm-guest*.[ch] "$LIB"/vm-proto.h)" \
		compile -static "$LIB"/vm-guest*.c -o) || return
	tmp=$(mktemp) || return
	{
		for f in dev proc sys m lower rw new; do
			cpio_entry 040755 "$f"
		done
		# The kernel opens the console for the first process.
		cpio_console
		cpio_entry 0100755 init "$init"
		if [ -n "$root" ]; then
			while IFS= read -r f; do
				unpacked "$f" "$tmp"
				cpio_entry 0100644 "m/$((n++))-$(basename "${f%%.ko*}").ko" "$tmp"
			done < <(module_files "$fs" "$root" "$rel")
		fi
		cpio_entry 0 'TRAILER!!!'
	} > "$out"
	rm -f "$tmp"
}

# /dev/console, a character device 5:1
cpio_console()
{
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X' \
		0 $((020600)) 0 0 1 0 0 0 0 5 1 12 0
	printf 'dev/console\0'
	cpio_pad 122
}

# vm_initrd FS MODROOT RELEASE: path of the initramfs
vm_initrd()
{
	local key

	key=$(hash_of "$LIB"/vm-guest*.[ch] "$LIB"/vm-proto.h "$LIB"/vm-initrd.sh)
	[ -z "$2" ] || key+=-$3-$(stat -c %Y "$2/lib/modules/$3/modules.dep" |
		cat - <(printf '%s' "$2") | sha256sum | cut -c1-8)
	keep "vm-initrd-${1// /-}-$key" write_initrd "$@"
}
