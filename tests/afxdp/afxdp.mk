# SPDX-License-Identifier: GPL-2.0-only
#
# The second part of the product: AF_XDP between containers (docs/afxdp.md).
#
#   tests/afxdp/bpf/NAME.bpf.c  -> build/afxdp/NAME.skel.h
#   tests/afxdp/core/*.c        -> build/afxdp/libcore.a    no system calls
#   tests/afxdp/router/*.c      -> build/afxdp/xsk-router
#   tests/afxdp/tools/NAME.c    -> build/afxdp/NAME         other routers, load generators
#   tests/afxdp/unit/test_*.c   -> build/tests/afxdp/test_* sanitized
#   tests/afxdp/fuzz/fuzz_*.c   -> build/afxdp/fuzz_*       clang's libFuzzer; `make fuzz` only

AFXDP     := tests/afxdp
AFXDP_OUT := $(BUILD)/afxdp

SRC_AFXDP_CORE := $(sort $(wildcard $(AFXDP)/core/*.c))
SRC_AFXDP      := $(sort $(wildcard $(AFXDP)/router/*.c))
SRC_AFXDP_TOOL := $(sort $(wildcard $(AFXDP)/tools/*.c))
SRC_AFXDP_UNIT := $(sort $(wildcard $(AFXDP)/unit/test_*.c))
SRC_AFXDP_HELP := $(filter-out $(SRC_AFXDP_UNIT),$(sort $(wildcard $(AFXDP)/unit/*.c)))
SRC_AFXDP_FUZZ := $(sort $(wildcard $(AFXDP)/fuzz/fuzz_*.c))

AFXDP_CORE_A := $(AFXDP_OUT)/libcore.a
AFXDP_SAN_A  := $(BUILD)/asan/libafxdp-core.a
AFXDP_ROUTER := $(AFXDP_OUT)/xsk-router
AFXDP_TOOLS  := $(patsubst $(AFXDP)/tools/%.c,$(AFXDP_OUT)/%,$(SRC_AFXDP_TOOL))
AFXDP_SKEL   := $(patsubst $(AFXDP)/bpf/%.bpf.c,$(AFXDP_OUT)/%.skel.h,\
	$(wildcard $(AFXDP)/bpf/*.bpf.c))
AFXDP_TESTS  := $(patsubst $(AFXDP)/unit/%.c,$(BUILD)/tests/afxdp/%,$(SRC_AFXDP_UNIT))
AFXDP_FUZZ   := $(patsubst $(AFXDP)/fuzz/%.c,$(AFXDP_OUT)/%,$(SRC_AFXDP_FUZZ))
AFXDP_FLAGS  := -I$(AFXDP)/core -I$(AFXDP)/router -I$(AFXDP_OUT)

.PHONY: afxdp afxdp-fuzz
afxdp: $(AFXDP_ROUTER) $(AFXDP_TOOLS) ## Build xsk-router and what it is compared with

tests: afxdp $(AFXDP_TESTS)

$(call obj,$(SRC_AFXDP_CORE) $(SRC_AFXDP) $(SRC_AFXDP_TOOL)): private OBJ_FLAGS := $(AFXDP_FLAGS)
$(call obj,$(SRC_AFXDP) $(SRC_AFXDP_TOOL)): | $(AFXDP_SKEL)

$(AFXDP_OUT)/%.bpf.o: $(AFXDP)/bpf/%.bpf.c $(BUILD)/.flags-bpf | $(LIBBPF_DEP)
	$(call say,BPF,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_CFLAGS) -I$(AFXDP)/core -MMD -MP -MF $(@:.o=.d) -MT $@ -c $< -o $@.tmp
	$(Q)$(LLVM_STRIP) -g $@.tmp -o $@ && rm -f $@.tmp

$(AFXDP_OUT)/%.skel.h: $(AFXDP_OUT)/%.bpf.o
	$(call say,SKEL,$@)
	$(Q){ echo '/* NOLINTBEGIN: bpftool wrote this */'; $(BPFTOOL) gen skeleton $< name $*_bpf && \
		echo '/* NOLINTEND */'; } >$@

$(AFXDP_CORE_A): $(call obj,$(SRC_AFXDP_CORE)) $(BUILD)/.sources
	$(archive)

$(AFXDP_ROUTER): $(call obj,$(SRC_AFXDP)) $(AFXDP_CORE_A) $(EDGE_A) $(CORE_A) | $(LIBBPF_DEP)
	$(call link,-lxdp $(LIBS_EDGE) $(LIBS_CORE))

$(AFXDP_TOOLS): $(AFXDP_OUT)/%: $(BUILD)/obj/$(AFXDP)/tools/%.o $(EDGE_A) $(CORE_A) | $(LIBBPF_DEP)
	$(call link,-pthread $(LIBS_EDGE) $(LIBS_CORE))

# ---- tests ----

$(call san,$(SRC_AFXDP_CORE) $(SRC_AFXDP_UNIT) $(SRC_AFXDP_HELP)): private SAN_FLAGS := \
	$(AFXDP_FLAGS) -I$(AFXDP)/unit -Itests/fuzz

$(AFXDP_SAN_A): $(call san,$(SRC_AFXDP_CORE)) $(BUILD)/.sources
	$(archive)

$(BUILD)/tests/afxdp/%: $(BUILD)/asan/$(AFXDP)/unit/%.o $(call san,$(SRC_AFXDP_HELP)) $(AFXDP_SAN_A)
	$(call say,LD-SAN,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(SAN) -Wl,--as-needed $(LDFLAGS) -o $@ $(filter %.o %.a,$^) -lcmocka $(LIBS_CORE)

# Always clang: gcc has no libFuzzer.
AFXDP_FUZZ_FLAGS = -std=gnu11 -O1 -g $(WARN) -fsanitize=address,undefined,fuzzer \
	-fno-sanitize-recover=all $(CPPFLAGS_ALL) $(AFXDP_FLAGS) -I$(AFXDP)/unit \
	-Itests/fuzz

$(AFXDP_OUT)/fuzz_%: $(AFXDP)/fuzz/fuzz_%.c $(SRC_AFXDP_CORE) $(SRC_AFXDP_HELP) \
		$(wildcard $(AFXDP)/core/*.h $(AFXDP)/unit/*.h) tests/fuzz/fuzz.h | $(VERSION_H)
	$(call say,FUZZ,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(FUZZ_CC) $(AFXDP_FUZZ_FLAGS) -o $@ $(filter %.c,$^) -ljson-c

fuzzers: $(AFXDP_FUZZ)

afxdp-fuzz: $(AFXDP_FUZZ) ## Fuzz the AF_XDP router for FUZZ_SECONDS (30)
	@tests/fuzz/run.sh router

-include $(patsubst %.o,%.d,$(call obj,$(SRC_AFXDP_CORE) $(SRC_AFXDP) $(SRC_AFXDP_TOOL)) \
	$(call san,$(SRC_AFXDP_CORE) $(SRC_AFXDP_UNIT) $(SRC_AFXDP_HELP)))
-include $(wildcard $(AFXDP_OUT)/*.bpf.d)
