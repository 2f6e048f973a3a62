# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# source.sh - the source package, the series, and the source tree made of both, for build.sh.
#
# The tree is exactly what tar and patch make. A change of either is made at the side, and only
# files that differ are copied: the unchanged keep their times, make rebuilds what it must, and
# nothing of an older series stays behind.
# shellcheck disable=SC2154 # kernel, stock, build, log, here: build.sh sets them

# Sets source_package, source_version, source_tarball, source_md5 (what dpkg says it must be) and
# source_date (of the package's last change).
source_find()
{
	source_package=linux-source-$kernel
	source_tarball=/usr/src/$source_package.tar.xz
	# shellcheck disable=SC2016 # dpkg's variable, not ours
	source_version=$(dpkg-query -W -f '${Version}' "$source_package")
	source_md5=$(awk -v f="${source_tarball#/}" '$2 == f { print $1 }' \
		"$(dpkg-query --control-path "$source_package" md5sums)")
	source_date=$(zcat "/usr/share/doc/$source_package/changelog.Debian.gz" |
		sed -n '0,/^ -- .*>  /s/^ -- .*>  //p')
	source_date=$(date -u -d "${source_date:-none}" +%F 2>/dev/null) ||
		die "the changelog of $source_package has no date: reinstall the package"
	[ -n "$source_md5" ] ||
		die "$source_package does not list $source_tarball: reinstall it with" \
			"'apt-get install --reinstall $source_package'"
}

# Sets series (the paths of the patches, in order) and series_hash.
source_series()
{
	local dir=$here/v$kernel line p

	series=()
	series_hash=none
	[ -z "$stock" ] || return 0
	[ -r "$dir/series" ] ||
		die "$dir/series is missing: --stock builds a kernel without our patches"
	while read -r line _; do
		case $line in ''|'#'*) continue ;; esac
		[ -r "$dir/$line" ] || die "$dir/series names $line, which is not there"
		series+=("$dir/$line")
	done < "$dir/series"
	[ ${#series[@]} -gt 0 ] || die "$dir/series names no patch"
	for p in "$dir"/*.patch; do
		[[ " ${series[*]} " = *" $p "* ]] || say "note: $p is not in the series"
	done
	series_hash=$(cat "${series[@]}" | sha256sum | cut -c1-64)
}

source_verify()
{
	[ "$(md5sum < "$source_tarball" | cut -d' ' -f1)" = "$source_md5" ] ||
		die "$source_tarball is not what $source_package $source_version installed:" \
			"run 'apt-get install --reinstall $source_package'"
}

# Sorted names below a directory: `find -newer` does not see what was put there with an old time.
source_names() { (cd "$1" && find . -printf '%P\n' | sort | sha256sum | cut -c1-64); }

# source_untouched ID: is the tree still what source_sync made of ID (a regular expression)? Looks
# at times and names, not at contents.
source_untouched()
{
	head -n 1 "$build/src.id" 2>/dev/null | grep -qx "$1" && [ -d "$build/applied" ] &&
		[ -z "$(find "$build/src" -newer "$build/src.id" -print -quit)" ] &&
		[ "$(source_names "$build/src")" = "$(tail -n 1 "$build/src.id")" ]
}

# source_apply DIR: the series onto the files in it.
source_apply()
{
	local p

	for p in "${series[@]}"; do
		printf 'applying %s\n' "$p" >> "$log"
		patch -d "$1" -p1 --fuzz=0 --forward --batch --no-backup-if-mismatch \
			< "$p" >> "$log" 2>&1 || {
			tail -n 20 "$log" >&2
			die "$p does not apply to $source_package $source_version:" \
				"refresh the series"
		}
	done
	[ ${#series[@]} -eq 0 ] || say "${#series[@]} patches applied"
}

# From one series to another, when the tree is what the last build left: the files that either
# series names go through patch at the side, the old series backwards, then the new one.
source_switch()
{
	local new=$1 old f

	mapfile -t old < <(find "$build/applied" -type f | sort -r)
	sed -nE 's,^(---|\+\+\+) [ab]/([^[:space:]]+).*,\2,p' /dev/null "${old[@]}" "${series[@]}" |
		sort -u > "$build/named"
	while read -r f; do
		[ -e "$build/src/$f" ] || continue
		mkdir -p "$(dirname "$new/$f")"
		cp -p "$build/src/$f" "$new/$f" || return
	done < "$build/named"
	for f in "${old[@]}"; do
		patch -d "$new" -p1 -R --fuzz=0 --force --no-backup-if-mismatch \
			< "$f" >> "$log" 2>&1 || return
	done
	source_apply "$new"
	rm -f "$build/src.id"
	while read -r f; do
		if [ ! -e "$new/$f" ]; then
			rm -f "$build/src/$f"
		elif ! cmp -s "$new/$f" "$build/src/$f"; then
			mkdir -p "$(dirname "$build/src/$f")"
			cp --preserve=mode "$new/$f" "$build/src/$f" || return
		fi
	done < "$build/named"
}

source_unpack()
{
	local new=$1

	rm -f "$build/src.id"
	space_needed
	say "unpacking $source_tarball"
	tar -C "$new" --strip-components=1 -xf "$source_tarball" ||
		die "cannot unpack $source_tarball into $new: see above"
	source_apply "$new"
	if [ -d "$build/src" ]; then
		# No --times: what differs must be newer than the objects made of it.
		rsync -rlp --checksum --delete "$new/" "$build/src/" ||
			die "cannot bring $build/src up to date: remove $build and try again"
	else
		mv "$new" "$build/src"
	fi
}

source_sync()
{
	local new=$build/src.new i

	if source_untouched "$source_md5 $series_hash"; then
		return
	fi
	rm -rf "$new"
	mkdir "$new"
	if ! source_untouched "$source_md5 .*" || ! source_switch "$new"; then
		rm -rf "$new"
		mkdir "$new"
		source_unpack "$new"
	fi
	rm -rf "$new" "$build/applied"
	mkdir "$build/applied"
	for i in "${!series[@]}"; do
		cp "${series[i]}" "$build/applied/$(printf %03d "$i")"
	done
	printf '%s\n' "$source_md5 $series_hash" "$(source_names "$build/src")" > "$build/src.tmp"
	mv "$build/src.tmp" "$build/src.id"
}

# A first build of a configuration fills the disk more than anything else here.
space_needed()
{
	local want=5 have

	[ ! -d "$build/obj" ] || return 0
	case $config in
	debug) want=8 ;;
	debian-cloud) want=25 ;;
	esac
	have=$(df --output=avail -BG "$build" | tail -n 1 | tr -dc 0-9)
	[ "$have" -ge "$want" ] ||
		die "$cache has $have GB free, the build needs $want GB:" \
			"free some, or set XMASQ_CACHE"
}
