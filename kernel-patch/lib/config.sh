# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# config.sh - fragments merged into obj/.config, and a check that every line of them took effect,
# for build.sh.
# shellcheck disable=SC2154 # kernel, config, tag, build, log, here, source_date: build.sh

# Sets fragments (paths, a later one wins) and config_base: '' for the kernel's own defaults.
config_files()
{
	local dir=$here/config f

	config_base=
	case $config in
	vm) fragments=("$dir"/{base,bpf,net,"v$kernel"}.config) ;;
	debug) fragments=("$dir"/{base,bpf,net,"v$kernel",debug}.config) ;;
	debian-cloud)
		fragments=("$dir/debian-cloud.config")
		config_base=/usr/src/linux-config-$kernel/config.amd64_none_cloud-amd64.xz
		[ -r "$config_base" ] || die "$config_base is missing: run" \
			"'apt-get install --reinstall linux-config-$kernel'"
		;;
	esac
	for f in "${fragments[@]}"; do
		[ -r "$f" ] || die "$f is missing"
	done
}

config_text()
{
	cat "${fragments[@]}"
	printf 'CONFIG_LOCALVERSION="%s"\n' "$tag"
}

# make for the tree, in obj, with whatever would differ from one build to the next fixed.
kmake()
{
	local flags=$build/src/scripts/pahole-flags.sh

	# 6.1 lets pahole work in parallel, and then the order of types in BTF is by chance.
	[ ! -e "$flags" ] ||
		set -- PAHOLE_FLAGS="$(PAHOLE=pahole sh "$flags" | sed -E 's/(^| )-j( |$)/ /')" "$@"
	KBUILD_BUILD_TIMESTAMP=$source_date KBUILD_BUILD_USER=xmasq KBUILD_BUILD_HOST=kernel-patch \
		KBUILD_BUILD_VERSION=${package_version##*-} PYTHONDONTWRITEBYTECODE=1 \
		make -C "$build/src" O="$build/obj" "$@" 9>&-
}

config_merge()
{
	# make notices another compiler, but not another linker or pahole.
	if [ "$(cat "$build/compiler" 2>/dev/null)" != "$compiler" ]; then
		rm -rf "$build/obj"
		printf '%s\n' "$compiler" > "$build/compiler"
	fi
	mkdir -p "$build/obj"
	config_text > "$build/fragments.config"
	if [ -z "$config_base" ]; then
		KCONFIG_ALLCONFIG=$build/fragments.config kmake alldefconfig >> "$log" 2>&1 ||
			make_failed "make alldefconfig"
	else
		xz -dc "$config_base" | cat - "$build/fragments.config" > "$build/obj/.config"
		kmake olddefconfig >> "$log" 2>&1 || make_failed "make olddefconfig"
	fi
}

# Lists every symbol whose last line in the fragments is not what .config says, and every symbol
# that this kernel does not have at all.
config_verify()
{
	local bad

	find "$build/src" -name 'Kconfig*' -type f -exec \
		sed -nE 's/^[[:space:]]*(menu)?config[[:space:]]+([A-Za-z0-9_]+).*/\2/p' {} + \
		> "$build/symbols"
	bad=$(awk '
		function parse(line,    s)
		{
			sym = ""
			if (line ~ /^# CONFIG_[A-Za-z0-9_]+ is not set/) {
				s = substr(line, 10)
				sym = substr(s, 1, index(s, " ") - 1)
				val = "n"
			} else if (line ~ /^CONFIG_[A-Za-z0-9_]+=/) {
				sym = substr(line, 8, index(line, "=") - 8)
				val = substr(line, index(line, "=") + 1)
			}
			return sym != ""
		}
		FILENAME == ARGV[1] { known[$1] = 1; next }
		FILENAME == ARGV[2] { if (parse($0)) got[sym] = val; next }
		parse($0) { if (!(sym in want)) order[++n] = sym; want[sym] = val; next }
		!/^(#.*)?$/ { print "  not a line of a config: " $0 }
		END {
			for (i = 1; i <= n; i++) {
				s = order[i]
				g = (s in got) ? got[s] : "n"
				if (!(s in known))
					print "  CONFIG_" s ": this kernel has no such option"
				else if (g != want[s])
					print "  CONFIG_" s ": want " want[s] ", got " g
			}
		}' "$build/symbols" "$build/obj/.config" "$build/fragments.config")
	[ -z "$bad" ] && return
	printf '%s\n' "$bad" >&2
	die "lines of ${fragments[*]##*/} did not take effect in $kernel:" \
		"add what they depend on, or move what only another version has to config/v*.config"
}
