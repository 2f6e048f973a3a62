# SPDX-License-Identifier: GPL-2.0-only
#
# How libbpf is found; libbpf/README.md explains it.
#
# Input:   LIBBPF=system|src forces one of the two; default: system, else src.
# Output:  LIBBPF_CFLAGS, LIBBPF_LIBS  compiler and linker flags
#          LIBBPF_DEP                  what a user of libbpf depends on

LIBBPF_MIN := 1.1
LIBBPF_DIR := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
LIBBPF_SYSTEM_VERSION := $(shell $(PKG_CONFIG) --modversion libbpf 2>/dev/null)

ifeq ($(origin LIBBPF),undefined)
  ifeq ($(shell $(PKG_CONFIG) --atleast-version=$(LIBBPF_MIN) libbpf 2>/dev/null && echo y),y)
    LIBBPF := system
  else ifneq ($(wildcard $(LIBBPF_DIR)/src/Makefile),)
    LIBBPF := src
  else
    LIBBPF := none
  endif
endif

ifeq ($(LIBBPF),system)

LIBBPF_CFLAGS := $(shell $(PKG_CONFIG) --cflags libbpf 2>/dev/null)
LIBBPF_LIBS   := $(shell $(PKG_CONFIG) --libs libbpf 2>/dev/null) -lelf -lz
LIBBPF_DEP    :=

else ifeq ($(LIBBPF),src)

LIBBPF_OUT    := $(BUILD)/libbpf
LIBBPF_A      := $(LIBBPF_OUT)/lib/libbpf.a
LIBBPF_CFLAGS := -isystem $(LIBBPF_OUT)/include
LIBBPF_LIBS   := $(LIBBPF_A) -lelf -lz
LIBBPF_DEP    := $(LIBBPF_A)

# libbpf's own Makefile; its headers land in build/libbpf/include/bpf.
$(LIBBPF_A): $(wildcard $(LIBBPF_DIR)/src/*.[ch]) $(LIBBPF_DIR)/libbpf.mk
	$(call say,LIBBPF,$@)
	$(Q)rm -rf $(LIBBPF_OUT) && mkdir -p $(LIBBPF_OUT)/obj
	$(Q)$(MAKE) -s -C $(LIBBPF_DIR)/src BUILD_STATIC_ONLY=1 CC="$(CC)" \
		OBJDIR=$(abspath $(LIBBPF_OUT))/obj PREFIX=$(abspath $(LIBBPF_OUT)) \
		LIBDIR=$(abspath $(LIBBPF_OUT))/lib INCLUDEDIR=$(abspath $(LIBBPF_OUT))/include \
		UAPIDIR=$(abspath $(LIBBPF_OUT))/include DESTDIR= \
		install install_uapi_headers >$(LIBBPF_OUT)/log 2>&1 || { cat $(LIBBPF_OUT)/log; exit 1; }

else

# Fail when something needs libbpf, not at parse time: `make setup` and `make clean` must work.
LIBBPF_DEP := libbpf-missing
.PHONY: libbpf-missing
libbpf-missing:
	@echo "libbpf >= $(LIBBPF_MIN) not found (pkg-config says: $(or $(LIBBPF_SYSTEM_VERSION),nothing))." >&2
	@echo "Run 'sudo make setup', or unpack a libbpf source as libbpf/README.md says." >&2
	@exit 1

endif
