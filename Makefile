# SPDX-License-Identifier: GPL-2.0-only
#
# xmasq: build, test and install.  `make help` lists the targets.
#
#   tc_prog/xmasq.bpf.c   -> build/xmasq.bpf.o -> build/xmasq.skel.h
#   user_prog/core/*.c    -> build/libxmasq-core.a   no system calls; in both programs
#   user_prog/edge/*.c    -> build/libxmasq-edge.a   kernel and sockets; daemon only
#   user_prog/xmasqd/*.c  -> build/xmasqd
#   user_prog/xmasqctl/*.c-> build/xmasqctl          never links libbpf
#   tests/unit/test_*.c   -> build/tests/unit/test_* sanitized, with the sanitized core
#   tests/edge/test_*.c   -> build/tests/edge/test_* sanitized, with the sanitized edge; root
#   tests/prog/*.c        -> build/tests/prog/xmasq-prog-test
#   tests/tools/NAME.c    -> build/tests/tools/NAME
#   tests/fuzz/fuzz_*.c   -> build/fuzz/fuzz_*       clang's libFuzzer, with the core and the
#                            TC programs built for it; `make fuzz` only
#   tests/afxdp/          -> build/afxdp/            see tests/afxdp/afxdp.mk
#   SANITIZE=1            -> build/sanitize/         both programs with sanitizers; tests/sanitize.sh
#
# Sources are found by wildcard: add a file and run make. Variables: V=1 shows the commands;
# BUILD= is the output directory; CC, CLANG, LLVM_STRIP, BPFTOOL choose tools; LIBBPF=system|src
# chooses the libbpf (libbpf/README.md); CFLAGS, CPPFLAGS and LDFLAGS are added to ours, EXTRA_CFLAGS
# and EXTRA_BPF_CFLAGS at the end; SAN= builds the unit tests without sanitizers; SANITIZE=1 builds the
# two programs with them, into $(BUILD)/sanitize; XMASQ_VERSION is the version, otherwise git's.

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.SECONDARY:
.SUFFIXES:
.DEFAULT_GOAL := all

# A directory of its own: objects with and without sanitizers do not link.
BUILD ?= build
ifneq ($(SANITIZE),)
override BUILD := $(patsubst %/sanitize,%,$(BUILD))/sanitize
endif

# make's own defaults are cc and no PREFIX; ours are below, the user's win.
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin AR),default)
AR := ar
endif
CLANG      ?= clang
LLVM_STRIP ?= llvm-strip
# Debian keeps bpftool in /usr/sbin, which is not in a plain user's PATH.
BPFTOOL    ?= $(or $(shell command -v bpftool),/usr/sbin/bpftool)
PKG_CONFIG ?= pkg-config
PREFIX     ?= /usr
SYSCONFDIR ?= /etc
DESTDIR    ?=

# Quiet by default: `  CC      user_prog/core/config.c`; V=1 shows commands instead, -s nothing.
ifeq ($(V),1)
Q   :=
say :=
else ifneq ($(findstring s,$(filter-out --%,$(firstword $(MAKEFLAGS)))),)
Q   := @
say :=
else
Q   := @
say  = @printf '  %-7s %s\n' '$(1)' '$(2)'
endif

# Write stdin to $(1) only when that changes it, so that nothing is rebuilt for nothing.
# The temporary name is per process: two makes may run in one tree.
update = mkdir -p $(dir $(1)); cat >$(1).$$$$; \
	if cmp -s $(1).$$$$ $(1); then rm $(1).$$$$; else mv $(1).$$$$ $(1); fi

.PHONY: FORCE
FORCE:

# ---- flags ----

include libbpf/libbpf.mk

MACHINE := $(shell uname -m)
BPF_ARCH := $(or $(patsubst x86_64,x86,$(filter x86_64,$(MACHINE))),$\
	$(patsubst aarch64,arm64,$(filter aarch64,$(MACHINE))),$\
	$(patsubst ppc64le,powerpc,$(filter ppc64le,$(MACHINE))),$\
	$(patsubst s390x,s390,$(filter s390x,$(MACHINE))),$\
	$(patsubst riscv64,riscv,$(filter riscv64,$(MACHINE))),$\
	$(patsubst loongarch64,loongarch,$(filter loongarch64,$(MACHINE))),$\
	$(MACHINE))

# <linux/types.h> wants <asm/types.h>, which Debian keeps in a per-architecture directory that
# clang does not search for the bpf target.
MULTIARCH_DIR := $(wildcard /usr/include/$(MACHINE)-linux-gnu /usr/include/powerpc64le-linux-gnu)

BPF_CFLAGS = -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -D__TARGET_ARCH_$(BPF_ARCH) \
	-Itc_prog -Iheaders -Icommon -I$(BUILD) $(LIBBPF_CFLAGS) \
	$(addprefix -idirafter ,$(MULTIARCH_DIR)) $(EXTRA_BPF_CFLAGS)

WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes

INCLUDES := -Icommon -Iuser_prog -Iuser_prog/core -Iuser_prog/edge -I$(BUILD)

# Some distributions predefine _FORTIFY_SOURCE in the compiler; what the user says about it wins.
HARDEN := $(if $(findstring _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),,-U_FORTIFY_SOURCE \
	-D_FORTIFY_SOURCE=2) -fstack-protector-strong -fPIE

CPPFLAGS_ALL = -D_GNU_SOURCE $(INCLUDES) $(LIBBPF_CFLAGS) $(PKG_CFLAGS)
CFLAGS_ALL   = -std=gnu11 -O2 -g $(WARN) $(HARDEN) $(SANITIZED) $(CPPFLAGS_ALL) $(EXTRA_CFLAGS)
LDFLAGS_ALL  = $(SANITIZED) -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(LDFLAGS)

# What measures and makes load is not what is looked at, and has to be quick (see the tools below).
ifneq ($(SANITIZE),)
# gcc 12 takes the first member of a struct for all of it when the sanitizer instruments the access.
SANITIZED = $(SAN) -fno-omit-frame-pointer -Wno-stringop-overflow
# The checked versions of libc's functions are unknown to the sanitizers' own.
HARDEN := -fPIE
endif

SAN ?= -fsanitize=address,undefined -fno-sanitize-recover=all
CFLAGS_SAN = -std=gnu11 -O1 -g $(WARN) $(SAN) -fno-omit-frame-pointer $(CPPFLAGS_ALL) \
	$(EXTRA_CFLAGS)

# Always clang: gcc has no libFuzzer. FUZZ_CC=clang-19 where the plain one lacks its run-time library.
FUZZ_CC   ?= $(CLANG)
CFLAGS_FUZZ = -std=gnu11 -O1 -g $(WARN) $(FUZZ_SAN) -fno-omit-frame-pointer \
	-fno-sanitize-recover=all $(CPPFLAGS_ALL) $(EXTRA_CFLAGS)
FUZZ_SAN := -fsanitize=address,undefined

DEPS = -MMD -MP -MF $(@:.o=.d)

PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags libmnl yaml-0.1 json-c nettle libmicrohttpd 2>/dev/null)
# --as-needed keeps what a program does not use out of it. The core parses netlink with libmnl.
LIBS_CORE := -lyaml -ljson-c -lnettle -lmnl -lz
LIBS_EDGE  = $(LIBBPF_LIBS) -lmicrohttpd

# ---- sources ----

SRC_CORE := $(sort $(wildcard user_prog/core/*.c))
SRC_EDGE := $(sort $(wildcard user_prog/edge/*.c))
SRC_D    := $(sort $(wildcard user_prog/xmasqd/*.c))
SRC_CTL  := $(sort $(wildcard user_prog/xmasqctl/*.c))
SRC_UNIT := $(sort $(wildcard tests/unit/test_*.c))
# Any other .c in tests/unit is a helper that every unit test links.
SRC_UNIT_HELP := $(filter-out $(SRC_UNIT),$(sort $(wildcard tests/unit/*.c)))
SRC_EDGET := $(sort $(wildcard tests/edge/test_*.c))
SRC_EDGET_HELP := $(filter-out $(SRC_EDGET),$(sort $(wildcard tests/edge/*.c)))
SRC_PROG  := $(sort $(wildcard tests/prog/*.c))
SRC_TOOLS := $(sort $(wildcard tests/tools/*.c))
SRC_FUZZ  := $(sort $(wildcard tests/fuzz/fuzz_*.c))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
san = $(patsubst %.c,$(BUILD)/asan/%.o,$(1))
fuz = $(patsubst %.c,$(BUILD)/fuzz/obj/%.o,$(1))

BPF_O     := $(BUILD)/xmasq.bpf.o
SKEL      := $(BUILD)/xmasq.skel.h
VERSION_H := $(BUILD)/version.h
CORE_A    := $(BUILD)/libxmasq-core.a
EDGE_A    := $(BUILD)/libxmasq-edge.a
CORE_SAN_A := $(BUILD)/asan/libxmasq-core.a
XMASQD    := $(BUILD)/xmasqd
XMASQCTL  := $(BUILD)/xmasqctl
EDGE_SAN_A := $(BUILD)/asan/libxmasq-edge.a
UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(SRC_UNIT))
EDGE_TESTS := $(patsubst %.c,$(BUILD)/%,$(SRC_EDGET))
PROG_TEST := $(BUILD)/tests/prog/xmasq-prog-test
TOOLS     := $(patsubst %.c,$(BUILD)/%,$(SRC_TOOLS))
CORE_FUZZ_A := $(BUILD)/fuzz/libxmasq-core.a
FUZZERS   := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(SRC_FUZZ))

# ---- what to build ----

.PHONY: all bpf core tests tools
all: $(XMASQD) $(XMASQCTL) $(BPF_O) $(SKEL) ## Build daemon, xmasqctl and BPF object (default)

bpf: $(BPF_O) $(SKEL) ## Build the BPF object and its skeleton only

core: $(CORE_A) ## Build the pure core only

# Without a single source of its kind a test program is left out; tests/run.sh then complains.
tests: $(UNIT_TESTS) $(EDGE_TESTS) $(if $(SRC_PROG),$(PROG_TEST)) $(TOOLS) ## Build the test programs
	@$(MAKE) -C tests/vm/rpeer BUILD=$(abspath $(BUILD)) CC=$(CC) CLANG=$(CLANG) BPFTOOL=$(BPFTOOL)

tools: $(TOOLS) ## Build the load generators in tests/tools only

# ---- generated files ----

# As root in a user's tree (sudo make) git refuses to look; the check is for hooks and aliases,
# which describe does not run. No optional locks: root must not rewrite the user's index.
GIT := git --no-optional-locks -c safe.directory='*'

$(VERSION_H): FORCE
	@v='$(XMASQ_VERSION)'; [ -n "$$v" ] || \
		v=$$($(GIT) describe --always --dirty 2>/dev/null || cat VERSION 2>/dev/null || \
			echo unknown); \
	printf '/* SPDX-License-Identifier: GPL-2.0-only */\n/* Generated by the Makefile. */\n%s\n' \
		"#define XM_VERSION \"$$v\"" | { $(call update,$@); }

# A change of compiler or flags rebuilds what was built with the old ones.
$(BUILD)/.flags-user: FORCE
	@printf '%s\n' '$(CC) $(CFLAGS_ALL) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS_ALL) $(LIBS_EDGE)' | { $(call update,$@); }
$(BUILD)/.flags-san: FORCE
	@printf '%s\n' '$(CC) $(CFLAGS_SAN)' | { $(call update,$@); }
$(BUILD)/.flags-bpf: FORCE
	@printf '%s\n' '$(CLANG) $(BPF_CFLAGS)' | { $(call update,$@); }
$(BUILD)/.flags-fuzz: FORCE
	@printf '%s\n' '$(FUZZ_CC) $(CFLAGS_FUZZ)' | { $(call update,$@); }
# A source that is gone must leave its archive or program too.
$(BUILD)/.sources: FORCE
	@printf '%s\n' '$(SRC_CORE) $(SRC_EDGE) $(SRC_D) $(SRC_CTL) $(SRC_PROG) $(SRC_UNIT_HELP)' | \
		{ $(call update,$@); }

# ---- BPF ----

# $(1) clang, $(2) object. DWARF goes (the kernel wants only BTF), BTF stays.
define bpf_compile
	$(call say,BPF,$(2))
	$(Q)mkdir -p $(dir $(2))
	$(Q)$(1) $(BPF_CFLAGS) -MMD -MP -MF $(2:.o=.d) -MT $(2) -c $< -o $(2).tmp
	$(Q)$(LLVM_STRIP) -g $(2).tmp -o $(2)
	$(Q)rm -f $(2).tmp
endef

$(BPF_O): tc_prog/xmasq.bpf.c $(BUILD)/.flags-bpf | $(LIBBPF_DEP)
	$(call bpf_compile,$(CLANG),$@)

# The same with a given clang: build/clang-19/xmasq.bpf.o. For `make verifier`.
$(BUILD)/clang-%/xmasq.bpf.o: tc_prog/xmasq.bpf.c $(BUILD)/.flags-bpf | $(LIBBPF_DEP)
	$(call bpf_compile,clang-$*,$@)

$(SKEL): $(BPF_O) Makefile
	$(call say,SKEL,$@)
	$(Q){ echo '/* NOLINTBEGIN: bpftool wrote this */'; $(BPFTOOL) gen skeleton $< name xmasq_bpf && \
		echo '/* NOLINTEND */'; } >$@

# ---- userspace ----

$(BUILD)/obj/%.o: %.c $(BUILD)/.flags-user | $(VERSION_H) $(LIBBPF_DEP)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(OBJ_FLAGS) $(CPPFLAGS) $(CFLAGS) $(DEPS) -c $< -o $@

# The skeleton must exist before its users are first compiled; later the .d files know.
$(call obj,$(SRC_EDGE) $(SRC_D) $(SRC_PROG)): | $(SKEL)

# The BPF side's headers are shared with the program tests alone.
$(call obj,$(SRC_PROG)): private OBJ_FLAGS := -Itests/prog -Iheaders
$(call obj,$(SRC_TOOLS)): private OBJ_FLAGS := -pthread
$(call obj,$(SRC_TOOLS)) $(TOOLS): private SANITIZED :=

define archive
	$(call say,AR,$@)
	$(Q)mkdir -p $(@D)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)
endef

$(CORE_A): $(call obj,$(SRC_CORE)) $(BUILD)/.sources
	$(archive)

$(EDGE_A): $(call obj,$(SRC_EDGE)) $(BUILD)/.sources
	$(archive)

# Objects and archives of $^ in their order, then the libraries $(1).
define link
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS_ALL) -o $@ $(filter %.o %.a,$^) $(1)
endef

# An archive in $(LIBBPF_DEP) is order-only here: $(LIBBPF_LIBS) names it in the right place.
$(XMASQD): $(call obj,$(SRC_D)) $(EDGE_A) $(CORE_A) $(BUILD)/.sources | $(LIBBPF_DEP)
	$(call link,$(LIBS_EDGE) $(LIBS_CORE))

$(XMASQCTL): $(call obj,$(SRC_CTL)) $(CORE_A) $(BUILD)/.sources
	$(call link,$(LIBS_CORE))

# ---- tests ----

$(BUILD)/asan/%.o: %.c $(BUILD)/.flags-san | $(VERSION_H)
	$(call say,CC-SAN,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_SAN) -Itests/unit $(SAN_FLAGS) $(DEPS) -c $< -o $@

$(CORE_SAN_A): $(call san,$(SRC_CORE)) $(BUILD)/.sources
	$(archive)

# As for the ordinary objects: the skeleton first.
$(call san,$(SRC_EDGE)): | $(SKEL)

$(EDGE_SAN_A): $(call san,$(SRC_EDGE)) $(BUILD)/.sources
	$(archive)

$(BUILD)/tests/edge/%: $(BUILD)/asan/tests/edge/%.o $(call san,$(SRC_EDGET_HELP)) $(EDGE_SAN_A) $(CORE_SAN_A) | $(LIBBPF_DEP)
	$(call say,LD-SAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(SAN) -Wl,--as-needed $(LDFLAGS) -o $@ $(filter %.o %.a,$^) -lcmocka \
		$(LIBS_EDGE) $(LIBS_CORE)

$(BUILD)/tests/unit/%: $(BUILD)/asan/tests/unit/%.o $(call san,$(SRC_UNIT_HELP)) $(CORE_SAN_A)
	$(call say,LD-SAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(SAN) -Wl,--as-needed $(LDFLAGS) -o $@ $(filter %.o %.a,$^) -lcmocka $(LIBS_CORE)

$(PROG_TEST): $(call obj,$(SRC_PROG)) $(EDGE_A) $(CORE_A) $(BUILD)/.sources | $(LIBBPF_DEP)
	$(call link,$(LIBS_EDGE) $(LIBS_CORE))

$(BUILD)/tests/tools/%: $(BUILD)/obj/tests/tools/%.o
	$(call link,-pthread -lm)

# ---- fuzz targets ----

# The TC programs read what is not aligned, which their kernel allows (headers/parse.h), and
# their warnings are those of their own build.
$(call fuz,tests/fuzz/fuzz_prog.c tests/fuzz/bpf_shim.c): private FUZZ_FLAGS := \
	-Itc_prog -Iheaders -fno-sanitize=alignment -Wno-missing-prototypes
# Nothing to discover there, and it is what takes the time.
$(call fuz,tests/fuzz/bpf_shim.c): private FUZZ_FLAGS += -fno-sanitize=fuzzer-no-link

$(BUILD)/fuzz/obj/%.o: %.c $(BUILD)/.flags-fuzz | $(VERSION_H) $(LIBBPF_DEP)
	$(call say,CC-FUZZ,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(CFLAGS_FUZZ) -fsanitize=fuzzer-no-link -Itests/fuzz $(FUZZ_FLAGS) $(DEPS) \
		-c $< -o $@

$(CORE_FUZZ_A): $(call fuz,$(SRC_CORE)) $(BUILD)/.sources
	$(archive)

$(BUILD)/fuzz/fuzz_prog: $(call fuz,tests/fuzz/bpf_shim.c)

$(BUILD)/fuzz/fuzz_%: $(BUILD)/fuzz/obj/tests/fuzz/fuzz_%.o $(CORE_FUZZ_A)
	$(call say,LD-FUZZ,$@)
	$(Q)$(FUZZ_CC) $(FUZZ_SAN) -fsanitize=fuzzer -Wl,--as-needed $(LDFLAGS) -o $@ \
		$(filter %.o %.a,$^) $(LIBS_CORE)

.PHONY: fuzz fuzzers
fuzzers: $(FUZZERS) ## Build the fuzz targets only (tests/fuzz/README.md)

fuzz: fuzzers ## Fuzz each target for FUZZ_SECONDS (30)
	@tests/fuzz/run.sh

# ---- AF_XDP between containers ----

include tests/afxdp/afxdp.mk

# ---- running ----

# setup may install what the rest of this file looks for, so build in a make of its own. It gets
# as many jobs as there are processors unless the user chose a number.
BUILD_ALL = $(MAKE) $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))
# Give what root built back to the user of sudo, whose next plain make would fail otherwise.
GIVE_BACK = if [ -n "$$SUDO_UID" ]; then chown -Rh "$$SUDO_UID:$$SUDO_GID" $(BUILD); fi
NEED_ROOT = [ "$$(id -u)" = 0 ] || \
	{ echo "make $@ needs root (namespaces, BPF): run with sudo: sudo make $@" >&2; exit 1; }

# What the suite "memory" runs.
SANITIZED_TOO = $(if $(or $(if $(SUITES),,all),$(filter memory,$(SUITES))),$(BUILD_ALL) SANITIZE=1 all tools,:)

.PHONY: setup demo check check-all check-sanitize bench soak scale lint verifier format
setup: ## Install the packages that building, the demo and the tests need (Debian)
	@scripts/setup.sh

demo: ## Show xmasq at work on a two-node test bed (root)
	@$(NEED_ROOT)
	@scripts/setup.sh build demo
	@$(BUILD_ALL) all tools; rc=$$?; $(GIVE_BACK); exit $$rc
	@scripts/demo.sh

check: ## Build and run every test (root)
	@$(NEED_ROOT)
	@scripts/setup.sh
	@$(BUILD_ALL) all tests fuzzers && $(SANITIZED_TOO); rc=$$?; $(GIVE_BACK); exit $$rc
	@tests/run.sh $(SUITES); rc=$$?; $(GIVE_BACK); exit $$rc

check-all: ## The same with every kernel, overlay and mode in virtual machines; takes hours
	@XM_VM_SET="ci all" XM_FULL=1 XM_TIMEOUT=36000 $(MAKE) check

check-sanitize: ## Tests of both programs, built with ASan, LSan and UBSan (root)
	@$(NEED_ROOT)
	@scripts/setup.sh build demo test
	@$(BUILD_ALL) all tests && $(BUILD_ALL) SANITIZE=1 all tools; rc=$$?; $(GIVE_BACK); exit $$rc
	@tests/sanitize.sh $(SUITES)

soak: ## 20 minutes of pods that come and go: is what xmasqd holds flat? (root)
	@$(NEED_ROOT)
	@scripts/setup.sh build demo test
	@$(BUILD_ALL) all tools; rc=$$?; $(GIVE_BACK); exit $$rc
	@scripts/soak.sh

scale: ## 250 pods, 50 peers, 200 000 flows: what does xmasqd take? (root)
	@$(NEED_ROOT)
	@scripts/setup.sh build demo test
	@$(BUILD_ALL) all tests; rc=$$?; $(GIVE_BACK); exit $$rc
	@scripts/scale.sh

bench: ## Measure host, overlay and xmasq (root)
	@$(NEED_ROOT)
	@scripts/setup.sh build demo test
	@$(BUILD_ALL) all tests; rc=$$?; $(GIVE_BACK); exit $$rc
	@scripts/bench.sh

lint: ## Check format, headers, layers, licenses and static analysis
	@scripts/lint.sh

# The oldest and the newest clang-N that is installed, or CLANGS="clang-16 clang-19".
CLANGS ?= $(shell ls /usr/bin/clang-[0-9]* 2>/dev/null | sed -n 's|.*/\(clang-[0-9]*\)$$|\1|p' | \
	sort -t- -k2n | sed -n '1p;$$p' | uniq)

verifier: $(PROG_TEST) $(CLANGS:%=$(BUILD)/%/xmasq.bpf.o) ## Load what each clang built (root)
	@$(NEED_ROOT)
	@[ -n "$(CLANGS)" ] || { echo "make verifier: no clang-N in /usr/bin" >&2; exit 1; }
	@set -e; for c in $(CLANGS); do \
		echo "# $$c"; $(PROG_TEST) --verifier $(BUILD)/$$c/xmasq.bpf.o; done

format: ## Rewrite the C sources with clang-format
	@scripts/lint.sh --fix-format

# ---- installing ----

# Empty: no unit.
UNITDIR ?= $(PREFIX)/lib/systemd/system
MANDIR  ?= $(PREFIX)/share/man
COMPDIR ?= $(PREFIX)/share/bash-completion/completions

.PHONY: install uninstall deb clean help
install: all ## Install under DESTDIR, PREFIX (/usr); an existing configuration is kept
	install -d $(DESTDIR)$(PREFIX)/sbin
	install -m 755 $(XMASQD) $(XMASQCTL) $(DESTDIR)$(PREFIX)/sbin
	install -d $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(COMPDIR)
	install -m 644 docs/man/*.5 $(DESTDIR)$(MANDIR)/man5
	install -m 644 docs/man/*.8 $(DESTDIR)$(MANDIR)/man8
	install -m 644 deploy/xmasqctl.bash $(DESTDIR)$(COMPDIR)/xmasqctl
	install -m 644 deploy/xmasqd.bash $(DESTDIR)$(COMPDIR)/xmasqd
	@if [ -n "$(UNITDIR)" ]; then set -x; \
		install -d $(DESTDIR)$(UNITDIR); \
		sed 's|/usr/sbin/|$(PREFIX)/sbin/|g' deploy/xmasqd.service \
			>$(DESTDIR)$(UNITDIR)/xmasqd.service; \
		chmod 644 $(DESTDIR)$(UNITDIR)/xmasqd.service; fi
	@if [ ! -e $(DESTDIR)$(SYSCONFDIR)/xmasq/xmasqd.yaml ]; then \
		set -x; install -D -m 644 deploy/xmasqd.yaml \
			$(DESTDIR)$(SYSCONFDIR)/xmasq/xmasqd.yaml; fi

uninstall: ## Remove what install put there, except the configuration
	rm -f $(DESTDIR)$(PREFIX)/sbin/xmasqd $(DESTDIR)$(PREFIX)/sbin/xmasqctl \
		$(DESTDIR)$(UNITDIR)/xmasqd.service \
		$(patsubst docs/man/%,$(DESTDIR)$(MANDIR)/man5/%,$(wildcard docs/man/*.5)) \
		$(patsubst docs/man/%,$(DESTDIR)$(MANDIR)/man8/%,$(wildcard docs/man/*.8)) \
		$(DESTDIR)$(COMPDIR)/xmasqctl $(DESTDIR)$(COMPDIR)/xmasqd
	@if [ -d $(DESTDIR)$(SYSCONFDIR)/xmasq ]; then \
		echo "kept the configuration in $(DESTDIR)$(SYSCONFDIR)/xmasq"; fi

# In a copy of the tree, which a build would leave its traces in: what git knows and what is new, but
# nothing that is deleted. A tree that is no release is later than the one before it, and each commit
# later than its parents: 0.1.0+git456.1a2b3c4.
deb: ## Build the Debian package, build/deb/xmasq_*.deb
	@scripts/setup.sh build package
	@rm -rf $(BUILD)/deb && mkdir -p $(BUILD)/deb/xmasq
	@{ $(GIT) ls-files -co --exclude-standard -z 2>/dev/null || \
		find . -path './$(BUILD)' -prune -o -type f,l -printf '%P\0'; } | \
		xargs -0 -I{} find {} -maxdepth 0 -print0 2>/dev/null | \
		tar -c --null -T - | tar -x -C $(BUILD)/deb/xmasq
	@count=$$($(GIT) rev-list --count HEAD 2>/dev/null) || exit 0; \
		$(GIT) describe --tags --exact-match HEAD >/dev/null 2>&1 || \
		sed -i "1s/(\([^)]*\))/(\1+git$$count.$$($(GIT) rev-parse --short HEAD))/" \
			$(BUILD)/deb/xmasq/debian/changelog
	@cd $(BUILD)/deb/xmasq && env -u MAKEFLAGS -u MFLAGS dpkg-buildpackage -us -uc -b
	@$(GIVE_BACK); ls $(BUILD)/deb/*.deb

clean: ## Remove everything that was built
	rm -rf $(BUILD)

help: ## List the targets
	@sed -n 's/^\([a-z-]\+\):.*## \(.*\)/  \1\t\2/p' Makefile tests/afxdp/afxdp.mk | expand -t 14

# ---- dependencies that the compilers wrote ----

-include $(patsubst %.o,%.d,$(call obj,$(SRC_CORE) $(SRC_EDGE) $(SRC_D) $(SRC_CTL) $(SRC_PROG) \
	$(SRC_TOOLS)) $(call fuz,$(SRC_CORE) $(SRC_FUZZ) tests/fuzz/bpf_shim.c) $(call san,$(SRC_CORE) $(SRC_EDGE) $(SRC_UNIT) $(SRC_UNIT_HELP) $(SRC_EDGET) \
	$(SRC_EDGET_HELP)))
-include $(BPF_O:.o=.d) $(wildcard $(BUILD)/clang-*/xmasq.bpf.d)
