#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Every check that needs no root and no running kernel. One line per check, the details of what
# failed below it.
#
#   scripts/lint.sh [CHECK...]       checks: see all_checks below (default: all)
#   scripts/lint.sh --fix-format     rewrite the C sources with clang-format
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

all_checks="spdx text format shell python layers clocks build-gcc build-clang headers syscalls tidy"
all_checks+=" cppcheck"
jobs=$(nproc)
export out=build/lint # builds of its own: gcc's and clang's objects must not mix with build/

cleanup() { rm -rf "$tmp"; }
tmp=$(mktemp -d) || exit 1
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# Files of the project: tracked, or new and not ignored; none that are deleted.
if git -c safe.directory='*' rev-parse --git-dir >/dev/null 2>&1; then
	git --no-optional-locks -c safe.directory='*' ls-files -co --exclude-standard
else
	find . -path ./build -prune -o -path './libbpf/src' -prune -o -type f -print | sed 's|^\./||'
fi | sort -u | while IFS= read -r f; do [ ! -f "$f" ] || printf '%s\n' "$f"; done >"$tmp/files"

# files REGEX: the project's files whose path matches
files() { grep -E -- "$1" "$tmp/files" || true; }

# Sources written for this project; kernel-patch/ follows the kernel's own format.
c_files() { files '\.[ch]$' | grep -v '^kernel-patch/' || true; }

# The #! line decides where the name has no suffix.
shell_files() {
	files '\.sh$'
	files '^deploy/.*\.bash$'
	files '(^|/)[^.]+$' | while IFS= read -r f; do
		if head -n 1 "$f" | tr -d '\0' | grep -Eq '^#!.*\b(ba|da)?sh\b'; then echo "$f"; fi
	done
}

# tool NAME: is it there?
tool() {
	command -v "$1" >/dev/null || {
		echo "$1 is not installed: run 'sudo scripts/setup.sh lint'"
		return 1
	}
}

# each FUNCTION [ARG...]: run an exported function as FUNCTION PATH ARG... for every path on stdin,
# in parallel.
each() {
	local fn=$1
	shift
	# shellcheck disable=SC2016 # the inner shell expands it
	xargs -r -d '\n' -P "$jobs" -I '{}' bash -c '"$@"' _ "$fn" '{}' "$@"
}

# The flags of the Makefile, as far as a syntax check needs them.
user_flags="-std=gnu11 -D_GNU_SOURCE -Icommon -Iuser_prog -Iuser_prog/core -Iuser_prog/edge"
user_flags+=" -Itests/afxdp/core -Itests/afxdp/router -Itests/afxdp/unit -I$out/gcc/afxdp"
user_flags+=" -I$out/gcc $(pkg-config --cflags libbpf libmnl json-c yaml-0.1 nettle libmicrohttpd 2>/dev/null)"
bpf_flags="-target bpf -mcpu=v3 -O2 -Itc_prog -Iheaders -Icommon"
bpf_flags+=" -Itests/afxdp/core -idirafter /usr/include/$(gcc -print-multiarch 2>/dev/null)"
export user_flags bpf_flags

# ---- checks: print what is wrong, return non-zero ----

check_spdx() {
	local f rc=0
	while IFS= read -r f; do
		head -n 5 "$f" | grep -q 'SPDX-License-Identifier: GPL-2\.0-only' || {
			echo "$f: no 'SPDX-License-Identifier: GPL-2.0-only' in its first five lines"
			rc=1
		}
	done < <({
		files '\.(c|h|S|sh|bats|bash|py|mk|ya?ml|service)$|(^|/)(Makefile|Dockerfile|rules)$'
		shell_files
	} | sort -u)
	return "$rc"
}

# No blanks at line ends, no CRLF, a newline at the end; patches and expected output may differ.
check_text() {
	local f rc=0
	while IFS= read -r f; do
		grep -Iq . "$f" || continue
		if grep -HnE '[[:blank:]]+$|'$'\r' "$f" | head -n 5 | grep .; then
			echo "$f: blank or CR at the end of a line"
			rc=1
		fi
		[ -z "$(tail -c 1 "$f")" ] || {
			echo "$f: no newline at the end"
			rc=1
		}
	done < <(files . | grep -vE '\.(patch|diff|svg|png|pcap|bin|expected)$|^COPYING$')
	return "$rc"
}

check_format() {
	tool clang-format || return
	c_files | xargs -r -d '\n' -n 8 -P "$jobs" clang-format --style=file --dry-run -Werror
}

check_shell() {
	local rc=0
	tool shellcheck || return
	shell_files | sort -u | xargs -r -d '\n' -n 4 -P "$jobs" shellcheck || rc=1
	files '\.bats$' | xargs -r -d '\n' -n 4 -P "$jobs" shellcheck -s bats || rc=1
	return "$rc"
}

check_python() {
	files '\.py$' |
		PYTHONPYCACHEPREFIX=$tmp/pycache xargs -r -d '\n' /usr/bin/python3 -m py_compile
}

# Includes point one way: main -> edge -> core -> common; tc_prog -> headers, common. What lies in
# user_prog itself makes system calls and is for main and edge.
# owned DIR NAME: does DIR have a header NAME ("x.h" or "dir/x.h")?
owned() { [ -f "$1/$2" ] || [ -f "$1/$(basename "$2")" ]; }
layer() {
	local dir=$1 forbidden=$2 system=$3 f name d rc=0
	while IFS= read -r f; do
		while IFS= read -r name; do
			owned "$(dirname "$f")" "$name" && continue
			for d in $forbidden; do
				! owned "$d" "$name" || {
					echo "$f includes $name of $d: $dir must not"
					rc=1
				}
			done
		done < <(sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"([^"]+)".*/\1/p' "$f")
		if [ -n "$system" ] && grep -HnE "^[[:space:]]*#[[:space:]]*include *<($system)" "$f"; then
			echo "$f: $dir must not include that"
			rc=1
		fi
	done < <(files "^$dir/.*\.[ch]$")
	return "$rc"
}
check_layers() {
	local rc=0 u=user_prog
	layer common "headers tc_prog $u $u/core $u/edge $u/xmasqd $u/xmasqctl" 'bpf/' || rc=1
	layer headers "tc_prog $u/core $u/edge $u/xmasqd $u/xmasqctl" '' || rc=1
	layer tc_prog "$u/core $u/edge $u/xmasqd $u/xmasqctl" '' || rc=1
	layer user_prog/core "headers tc_prog $u $u/edge $u/xmasqd $u/xmasqctl" 'bpf/' || rc=1
	layer user_prog/edge "headers tc_prog $u/xmasqd $u/xmasqctl" '' || rc=1
	layer user_prog/xmasqd "headers tc_prog $u/xmasqctl" '' || rc=1
	layer user_prog/xmasqctl "headers tc_prog $u/edge $u/xmasqd" 'bpf/' || rc=1
	layer tests/afxdp/core "tests/afxdp/router $u/edge" '(bpf|xdp)/' || rc=1
	return "$rc"
}

# What headers and sources include from the build directory.
generated() {
	make -s BUILD="$out/gcc" "$out/gcc/version.h" &&
		{ [ ! -f tc_prog/xmasq.bpf.c ] || make -s BUILD="$out/gcc" bpf; } &&
		make -s BUILD="$out/gcc" afxdp
}

# Every header compiles alone, as the only line of a source.
header_user() {
	# shellcheck disable=SC2086 # lists of flags
	echo "#include \"$1\"" | gcc -fsyntax-only -x c $user_flags -Wall -Wextra -Werror -I. $2 - || {
		echo "  ($1 does not compile alone)"
		return 1
	}
}
header_bpf() {
	# shellcheck disable=SC2086 # a list of flags
	echo "#include \"$1\"" | clang -fsyntax-only -x c $bpf_flags -Wall -Wextra -Werror -I. - || {
		echo "  ($1 does not compile alone for bpf)"
		return 1
	}
}
export -f header_user header_bpf
check_headers() {
	local rc=0
	generated || rc=1
	files '^(common|user_prog|tests/unit|tests/tools|tests/afxdp)/.*\.h$' |
		each header_user -Itests/unit || rc=1
	files '^tests/prog/.*\.h$' |
		each header_user "-Iheaders -Itests/prog" || rc=1
	files '^(common|headers|tc_prog)/.*\.h$' | each header_bpf || rc=1
	return "$rc"
}

# Both compilers, all of it; clang without sanitizers, whose runtime is a package of its own.
build() {
	make -s -j"$jobs" BUILD="$out/$1" CC="$1" "${@:2}" all tests
}
check_build-gcc() { build gcc; }
check_build-clang() {
	tool clang || return
	build clang SAN=
}

# The core makes no system calls: it asks libc for none that would.
check_syscalls() {
	local lib="$out/gcc/libxmasq-core.a" afxdp="$out/gcc/afxdp/libcore.a" bad
	[ -n "$(files '^user_prog/core/.*\.c$')" ] || return 0
	make -s BUILD="$out/gcc" core "$afxdp" || return
	bad='socket|bind|connect|listen|accept4?|send|sendto|sendmsg|recv|recvfrom|recvmsg|ioctl|syscall'
	bad+='|open|open64|openat|openat64|fopen|fopen64|read|write|close|mmap|mmap64|fork|exec[vl]p?e?'
	bad+='|setns|unshare|clock_gettime|time|gettimeofday|nanosleep|sleep|usleep|getrandom|epoll_.*'
	bad+='|mnl_socket_.*|poll|select|printf|puts|__printf_chk|exit|_exit|system|getenv'
	! nm -A -u "$lib" "$afxdp" | grep -E " U ($bad)$"
}

# A clock that can be set dates logs, reports and archives, one use in each of these. It times nothing:
# whatever else asks for it is wrong.
check_clocks() {
	local bad='CLOCK_(REALTIME|TAI)|gettimeofday|timespec_get|ktime_get_tai|(^|[^_[:alnum:]])time\('
	local want

	want=$(printf 'user_prog/%s:1\n' clock.h xmasqctl/archive.c xmasqctl/bugtool.c xmasqd/daemon.c)
	diff <(echo "$want") <(files '^(user_prog|tc_prog|headers|common)/.*\.[ch]$' |
		xargs -r -d '\n' grep -cHE "$bad" | grep -v ':0$' | sort)
}

tidy_one() {
	local log
	# shellcheck disable=SC2086 # a list of flags
	log=$(clang-tidy --quiet "$1" -- $user_flags 2>&1) && return
	printf '%s\n' "$log" | grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed '
	return 1
}
export -f tidy_one
check_tidy() {
	tool clang-tidy && generated || return
	files '^(user_prog|tests/afxdp/(core|router))/.*\.c$' | each tidy_one
}

check_cppcheck() {
	tool cppcheck || return
	local dirs=()
	for d in common user_prog tests/tools tests/afxdp/core tests/afxdp/router tests/afxdp/tools; do
		[ -z "$(files "^$d/.*\.[ch]$")" ] || dirs+=("$d")
	done
	[ ${#dirs[@]} != 0 ] || return 0
	cppcheck --quiet -j "$jobs" --std=c11 --language=c --enable=warning,performance,portability \
		--inline-suppr --error-exitcode=1 --suppress=missingIncludeSystem \
		--suppress=missingInclude --suppress=normalCheckLevelMaxBranches \
		-Icommon -Iuser_prog -Iuser_prog/core -Iuser_prog/edge -Itests/afxdp/core "${dirs[@]}"
}

# ---- main ----

if [ "${1:-}" = --fix-format ]; then
	tool clang-format >&2 || exit 1
	c_files | xargs -r -d '\n' clang-format --style=file -i
	exit
fi

rc=0
checks=${*:-$all_checks}
for check in $checks; do
	case " $all_checks " in
	*" $check "*) ;;
	*)
		echo "lint: no check '$check'; checks are: $all_checks" >&2
		exit 2
		;;
	esac
	start=$SECONDS
	if "check_$check" >"$tmp/log" 2>&1 </dev/null; then
		printf '  %-12s ok    (%d s)\n' "$check" $((SECONDS - start))
	else
		printf '  %-12s FAIL  (%d s)\n' "$check" $((SECONDS - start))
		sed 's/^/    /' "$tmp/log"
		rc=1
	fi
done
exit "$rc"
