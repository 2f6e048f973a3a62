# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# make.sh - run make with progress, say why it failed, check what came out, for build.sh.
# shellcheck disable=SC2154 # kernel, config, stock, deb, tag, build, log, jobs: build.sh sets them

# Lines like "  CC      net/core/filter.o" that make prints for a build from nothing. The count of
# the last such build is in $build/steps, but it is small when that build continued another.
steps_expected()
{
	local guess last

	case $config in
	vm) guess=2600 ;;
	debug) guess=2700 ;;
	debian-cloud) guess=12000 ;;
	esac
	last=$(cat "$build/steps" 2>/dev/null) || last=0
	if [ $((last * 2)) -gt "$guess" ]; then
		echo "$last"
	else
		echo "$guess"
	fi
}

steps_done() { tail -c +"$((log_begin + 1))" "$log" | grep -cE '^  [A-Z][A-Z0-9_]+ ' || true; }

# Prints how far make is: in place every second on a terminal, else a line every 30 seconds.
progress()
{
	local total=$1 every=30 n what start=$SECONDS

	[ ! -t 2 ] || every=1
	while sleep "$every"; do
		n=$(steps_done)
		what=$((SECONDS - start))
		printf -v what '%d:%02d' $((what / 60)) $((what % 60))
		if [ "$total" -gt 0 ]; then
			n=$((n * 100 / total))
			[ "$n" -lt 99 ] || n=99
			what="$n % $what"
		else
			what="$n steps $what"
		fi
		if [ -t 2 ]; then
			printf '\rkernel: %s %s  %.50s\033[K' "$kernel-$config" "$what" \
				"$(tail -n 1 "$log")" >&2
		else
			say "$kernel-$config $what"
		fi
	done
}

# make_failed WHAT: the log's last errors, and where the rest is.
make_failed()
{
	say "$1 failed; the errors in $log:"
	grep -nE '(error:|undefined reference|undefined!|\*\*\*|dpkg-.*error|FAILED|Killed)' \
		"$log" | tail -n 15 >&2 || tail -n 15 "$log" >&2
	die "$1 failed: the full log is $log"
}

make_run()
{
	local total=$1 rc=0

	shift
	log_begin=$(stat -c %s "$log")
	# In the background, so that a signal does not wait for make to end; with job control, so
	# that each is a process group, which ends as a whole.
	set -m
	progress "$total" 9>&- &
	progress_pid=$!
	kmake -j"$jobs" "$@" >> "$log" 2>&1 < /dev/null &
	make_pid=$!
	set +m
	wait "$make_pid" || rc=$?
	make_pid=
	stop_progress
	[ $rc -eq 0 ] || make_failed "make $*"
}

# Ends a process group and waits: nobody may build in the tree while a compiler writes there.
stop_group()
{
	kill -- "-$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
	while kill -0 -- "-$1" 2>/dev/null; do
		sleep 0.1
	done
}

stop_progress()
{
	[ -n "${progress_pid:-}" ] || return 0
	stop_group "$progress_pid"
	progress_pid=
	[ ! -t 2 ] || printf '\r\033[K' >&2
}

make_kernel()
{
	local total=0 fresh=

	if [ ! -e "$build/obj/vmlinux" ]; then
		fresh=1
		total=$(steps_expected)
	fi
	say "compiling with $jobs jobs; the log is $log"
	if [ -n "$deb" ]; then
		make_packages "$total"
	else
		make_run "$total" bzImage
	fi
	[ -z "$fresh" ] || steps_done > "$build/steps"
}

# linux-image and linux-headers. linux-libc-dev is Debian's own business, and nobody needs a
# gigabyte of debug symbols: 6.12 can be told so, for 6.1 its tree is emptied before it is packed.
make_packages()
{
	local bin=$build/bin dpkg_deb

	rm -f "$build"/*.deb "$build"/*.buildinfo "$build"/*.changes
	mkdir -p "$bin"
	dpkg_deb=$(command -v dpkg-deb)
	cat > "$bin/dpkg-deb" <<-END
	#!/bin/sh
	for arg; do
		case \$arg in debian/linux-image-dbg) rm -rf "\$arg/usr/lib/debug" ;; esac
	done
	exec $dpkg_deb "\$@"
	END
	chmod 755 "$bin/dpkg-deb"
	PATH=$bin:$PATH KDEB_PKGVERSION=$package_version KDEB_CHANGELOG_DIST=bookworm \
		DEBFULLNAME=xmasq DEBEMAIL=xmasq@localhost DEB_BUILD_OPTIONS=terse \
		DEB_BUILD_PROFILES=pkg.linux-upstream.nokerneldbg make_run "$1" bindeb-pkg
}

# Is it the kernel that was asked for?
make_check()
{
	local image=$build/obj/arch/x86/boot/bzImage map=$build/obj/System.map

	[ -s "$image" ] || die "make ended well, but $image is not there: see $log"
	release=$(cat "$build/obj/include/config/kernel.release")
	[[ $release = "$kernel".*"$tag" ]] ||
		die "the kernel calls itself '$release', not $kernel...$tag:" \
			"remove $build and try again"
	if [ -z "$stock" ]; then
		grep -q ' bpf_redirect_rpeer$' "$map" ||
			die "$map has no bpf_redirect_rpeer: is the series complete?"
	elif grep -q ' bpf_redirect_rpeer$' "$map"; then
		die "the stock kernel has bpf_redirect_rpeer: remove $build and try again"
	fi
}
