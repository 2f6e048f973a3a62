# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# cache.sh - the key of a build, its lock and its entry in the cache, for build.sh.
# shellcheck disable=SC2154 # kernel, config, stock, build, log, begin: build.sh sets them

keep=2 # entries of each kernel and configuration

# Sets key, entry, package_version, compiler. Whatever decides the result is in the hash: among it
# the functions that make it, as bash prints them, so that a comment changes nothing.
cache_key()
{
	local hash

	config_files
	compiler="$(gcc --version | sed -n 1p), $(ld --version | sed -n 1p)"
	compiler+=", pahole $(pahole --version)"
	package_version=$source_version+rpeer$package_revision
	[ -z "$stock" ] || package_version=$source_version+stock$package_revision
	hash=$({
		printf '%s\n' "$source_version" "$source_md5" "$series_hash" "$compiler" \
			"$package_version"
		config_text
		[ -z "$config_base" ] || cat "$config_base"
		declare -f source_sync config_text config_merge kmake make_kernel make_packages
	} | sha256sum | cut -c1-12)
	key=$kernel-$config$stock-$hash
	entry=$cache/kernel/$key
}

cache_hit()
{
	[ -s "$entry/build.json" ] || return 1
	touch "$entry" 2>/dev/null || true # the newest are kept
}

cache_lock()
{
	exec 9> "$build/lock"
	flock -n 9 && return
	say "another build of $kernel-$config is running: waiting for it"
	flock 9
}

json_string() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"; }

cache_store()
{
	local obj=$build/obj

	stage=$(mktemp -d "$cache/kernel/.stage.XXXXXX")
	chmod 755 "$stage"
	cp "$obj/arch/x86/boot/bzImage" "$obj/System.map" "$log" "$stage/"
	cp "$obj/.config" "$stage/config"
	printf '%s\n' "$release" > "$stage/release"
	if [ -n "$deb" ]; then
		cp "$build"/linux-{image,headers}-*"$tag"_*.deb "$stage/" ||
			die "the packages are not in $build: see $log"
	fi
	{
		printf '{\n'
		printf '\t"key": %s,\n' "$(json_string "$key")"
		printf '\t"release": %s,\n' "$(json_string "$release")"
		printf '\t"source": %s,\n' "$(json_string "$source_package")"
		printf '\t"source_version": %s,\n' "$(json_string "$source_version")"
		printf '\t"patches": %d,\n' "${#series[@]}"
		printf '\t"compiler": %s,\n' "$(json_string "$compiler")"
		printf '\t"bytes": %d,\n' "$(stat -c %s "$stage/bzImage")"
		printf '\t"seconds": %d\n' $((SECONDS - begin))
		printf '}\n'
	} > "$stage/build.json"
	rm -rf "$entry" # only an entry without build.json can be there
	mv -T "$stage" "$entry"
	stage=
	say "built $release in $((SECONDS - begin)) s"
}

cache_prune()
{
	local old

	find "$cache/kernel" -maxdepth 1 -type d -regextype posix-extended \
		-regex ".*/$kernel-$config$stock-[0-9a-f]{12}" -printf '%T@ %p\n' |
		sort -rn | tail -n +$((keep + 1)) | cut -d' ' -f2- | while read -r old; do
		say "removing the old $old"
		rm -rf "$old"
	done
}

cleanup()
{
	stop_progress
	[ -z "${make_pid:-}" ] || stop_group "$make_pid"
	[ -z "${stage:-}" ] || rm -rf "$stage"
	rm -rf "$build/src.new"
}
