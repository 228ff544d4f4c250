# The benchmark. Included by the top Makefile; BUILD is the build directory, by default "build".
BENCH_BUILD   := $(or $(BUILD),build)/bench
BENCH_CFLAGS  := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -O2 -g
BENCH_PROGRAM := $(or $(BUILD),build)/moonmilter

.PHONY: bench-instructions
bench-instructions: packages-test $(BENCH_PROGRAM) bench-peers    ## instructions a message, under callgrind, 3 minutes
	$(call install_packages,valgrind)
	luajit spec/bench/instructions.lua $(INSTRUCTIONS_FLAGS)

$(BENCH_BUILD)/responder: spec/bench/responder.c | present
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) $(CPPFLAGS) $(LDFLAGS) -o $@ $<

$(BENCH_BUILD)/still_server: spec/bench/still_server.c | present
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) $(CPPFLAGS) $(LDFLAGS) -o $@ $<

.PHONY: bench-readers
bench-readers: packages-test $(BENCH_PROGRAM) $(BENCH_BUILD)/still_server    ## mail beside readers of page and metrics
	luajit spec/bench/page_bench.lua 300 1000
	luajit spec/bench/exporter_bench.lua

# Needs libmilter (Debian: libmilter-dev). Without it the other subjects are still compared.
$(BENCH_BUILD)/libmilter_filter: spec/bench/libmilter_filter.c | present
	@mkdir -p $(@D)
	-$(CC) $(BENCH_CFLAGS) $(CPPFLAGS) $(LDFLAGS) -o $@ $< -lmilter -lpthread

# The same filter in C on our own library, without a script.
$(BENCH_BUILD)/moonmilter_filter: spec/bench/moonmilter_filter.c host/moonmilter.h $(or $(BUILD),build)/libmoonmilter.so
	@mkdir -p $(@D)
	@ln -sf libmoonmilter.so $(or $(BUILD),build)/libmoonmilter.so.0
	$(CC) $(BENCH_CFLAGS) $(CPPFLAGS) $(LDFLAGS) -Ihost -o $@ $< -L$(or $(BUILD),build) -lmoonmilter \
		-Wl,-rpath,'$$ORIGIN/..'

.PHONY: bench bench-quick bench-peers
bench-peers: $(BENCH_BUILD)/responder $(BENCH_BUILD)/libmilter_filter $(BENCH_BUILD)/moonmilter_filter

bench: packages-test $(BENCH_PROGRAM) bench-peers    ## compare with other milters, five rounds, 15 minutes
	luajit spec/bench/run.lua $(BENCH_FLAGS)
	luajit spec/bench/lookup_bench.lua

bench-quick: packages-test $(BENCH_PROGRAM) bench-peers    ## the same in one round, 2 minutes
	luajit spec/bench/run.lua --quick $(BENCH_FLAGS)
	luajit spec/bench/lookup_bench.lua --quick
