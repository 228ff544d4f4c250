# moonmilter: GNU make, pkg-config, Debian's libraries.
#   make run         install what is missing, build, serve scripts/ on inet:10025@127.0.0.1 (LISTEN=), and load each
#                    script that is saved
#   make test        the same, then runs every spec
#   make test-debian the same in a root of another release: RELEASE=trixie or bookworm, SPECS="spec/milter spec/mta"
#   make test-all    everything to run before a release: the slow specs, then asan gc valgrind one-byte fuzz soak
#                    bench-quick; takes hours
#   make             build only; V=1 shows the commands
#   make install     DESTDIR, PREFIX; make uninstall removes it
#   make lint        the rules of the tree (spec/lint/), luacheck, clang if it is installed
#   make asan        specs in a host built with ASan and UBSan; make valgrind: specs of the pure folders
#   make reference   makes docs/embedding-reference.md from moonmilter.h
#   make tsan        programs that embed hosts, built with ThreadSanitizer
#   make abi         compares the library's binary interface with that of a commit: SINCE=v0.1.0
#   make gc          specs with a collection at every line of Lua; make one-byte: with reads and writes of one byte
#   make fuzz        a minute for each target; FUZZ="engine edits" chooses targets, FUZZ_SECONDS=3600 the time
#   make fuzz-quick  the same inputs each time, 300 seconds at most over all targets, two at a time
#   make corpus      adds the new inputs worth keeping that fuzzing found to the tree
#   make soak        ten minutes of load and faults: memory and descriptors must not grow
#   make bench       compares with libmilter and others for a quarter of an hour; make bench-quick: two minutes
#   make deb         builds Debian packages of the committed state in build/deb
#   make dist        makes the archive of a release with its bill of materials in build/dist
#   make libs        prints the libraries that a program needs besides libmoonmilter.a
#   make clean

VERSION  := $(shell sed -n 's/^\#define MM_VERSION *"\(.*\)"/\1/p' host/moonmilter.h)
PREFIX   ?= /usr/local
DESTDIR  ?=
CC       ?= gcc
BUILD    ?= build
LISTEN   ?= inet:10025@127.0.0.1

# Warnings are errors in make lint and in CI only (WERROR=-Werror): a newer compiler or library must not break a build.
WERROR   ?=
WARNINGS  = -Wall -Wextra $(WERROR)
CFLAGS   ?= -O2 -g
# What compiler and libraries offer is asked once, when it is first needed and not when this file is read: a make that
# installs packages has them by then. $(call once,VARIABLE,VALUE) is the value of a variable that is defined by it.
once = $(eval $(1) := $(2))$($(1))

# What the compiler has against memory errors; not together with sanitizers, which replace it. A package passes its own.
FORTIFY ?= 2
ifeq ($(origin HARDENING)$(SANITIZE),undefined)
HARDENING = $(call once,HARDENING,$(shell \
	for flag in -fstack-protector-strong -fstack-clash-protection -fcf-protection; do \
	$(CC) -Werror $$flag -c -x c -o /dev/null /dev/null 2>/dev/null && echo $$flag; done) \
	-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=$(FORTIFY))
endif
HARDENING_LINK ?= -Wl,-z,relro,-z,now
# Functions of other libraries are called through the table of addresses, which is complete at the start (-z now), and
# not through a stub besides: a message calls hundreds.
# Debug information names files relative to the tree, so that builds of one commit are equal wherever they run.
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) $(HARDENING) $(SANITIZE) -fPIC -fvisibility=hidden \
	-fno-strict-aliasing -fno-plt -ffile-prefix-map=$(CURDIR)=. -Ihost \
	-DMM_LUA_MULTIARCH='$(MULTIARCH_MODULES)' $(LUA_CFLAGS) $(if $(SYSTEMD_LIBS),-DMM_HAVE_SYSTEMD)

# LUAJIT=/opt/luajit: another LuaJIT than the system's, as its own `make install PREFIX=/opt/luajit` lays it
pkg_config = $(shell $(if $(LUAJIT),PKG_CONFIG_PATH=$(LUAJIT)/lib/pkgconfig) pkg-config $(1) 2>/dev/null)
LUA_CFLAGS = $(call once,LUA_CFLAGS,$(call pkg_config,--cflags luajit))
LUA_LIBS   = $(call once,LUA_LIBS,$(call pkg_config,--libs luajit) $(LUAJIT:%=-Wl$(COMMA)-rpath$(COMMA)%/lib))
IDN_LIBS   = $(call once,IDN_LIBS,$(call pkg_config,--libs libidn2))
PCRE_LIBS  = $(call once,PCRE_LIBS,$(call pkg_config,--libs libpcre2-8))
# Readiness and socket activation, where libsystemd is available.
SYSTEMD_LIBS = $(call once,SYSTEMD_LIBS,$(call pkg_config,--libs libsystemd))
EXTRA_LIBS = $(call once,EXTRA_LIBS,$(call pkg_config,--libs libcares) $(SYSTEMD_LIBS))
MULTIARCH  = $(call once,MULTIARCH,$(shell $(CC) -print-multiarch 2>/dev/null))
MULTIARCH_MODULES = $(if $(MULTIARCH),"/usr/lib/$(MULTIARCH)/lua/5.1"$(COMMA))
# Only of the program: the process that shows metrics.
PROGRAM_LIBS = -lmicrohttpd
COMMA := ,
LIBS      = $(LUA_LIBS) $(IDN_LIBS) $(PCRE_LIBS) -lcurl -llmdb -lssl -lcrypto -lm -ldl -pthread $(EXTRA_LIBS)
LINK      = -Wl,--exclude-libs,ALL $(HARDENING_LINK)

# The folders of host/ are the rows of docs/ARCHITECTURE.md. The library ends at embed/; the program is built on it.
LIBRARY_FOLDERS := base milter mta async state map codec seal config story task bind script io embed
PROGRAM_FOLDERS := process ctl page trial bench doctor program
LIBRARY_SOURCES := $(sort $(wildcard $(LIBRARY_FOLDERS:%=host/%/*.c)))
PROGRAM_SOURCES := $(sort $(wildcard $(PROGRAM_FOLDERS:%=host/%/*.c)))
LIBRARY_OBJECTS := $(LIBRARY_SOURCES:host/%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/lua_sources.o
PROGRAM_OBJECTS := $(PROGRAM_SOURCES:host/%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/page_assets.o
PARTS_OBJECTS   := $(filter-out $(BUILD)/obj/program/%,$(PROGRAM_OBJECTS))
# The same with every function visible and without main: for specs of single parts.
TEST_OBJECTS    := $(patsubst host/%.c,$(BUILD)/test/obj/%.o,$(LIBRARY_SOURCES) \
	$(filter-out host/program/%,$(PROGRAM_SOURCES))) $(BUILD)/obj/lua_sources.o \
	$(BUILD)/obj/page_assets.o
# lua/moonmilter/testing/ runs in busted, outside the host: it is not part of the library
LUA_SOURCES := $(sort $(wildcard lua/moonmilter/*.lua \
	$(patsubst %,lua/moonmilter/%/*.lua,runtime mail identity net state maps)))

PACKAGES_BUILD := gcc make pkg-config libc6-dev libluajit-5.1-dev luajit libev-dev libc-ares-dev libcurl4-openssl-dev \
	liblmdb-dev libidn2-dev libmicrohttpd-dev libpcre2-dev libssl-dev libsystemd-dev lua-lpeg
PACKAGES_TEST  := g++ libmilter-dev lua-busted lua-check luarocks lua-cjson lua-filesystem lua-posix lua-socket \
	lua-sec libglib2.0-dev libuv1-dev lua-redis lua-yaml man-db miltertest patch redis-server redis-tools \
	prometheus dnsmasq-base iproute2 openssl python3 \
	python3-dkim python3-html5lib python3-nacl python3-spf systemd libmail-dkim-perl libopendkim-dev \
	libedit2 fish zsh ldap-utils mariadb-server postgresql slapd

# For the specs of the web page, which need a real browser.
PACKAGES_BROWSER := chromium chromium-driver fonts-dejavu-core

.PHONY: all run test test-debian test-all check lint objects asan tsan abi reference one-byte gc valgrind install \
	uninstall clean help packages-build packages-test packages-browser present product

all: product $(BUILD)/test/libmoonmilter_test.so $(BUILD)/test/program.a $(BUILD)/test/library.a

# what make install installs
product: $(BUILD)/moonmilter $(BUILD)/libmoonmilter.a $(BUILD)/libmoonmilter.so $(BUILD)/lua/moonmilter/codec.so \
	$(BUILD)/lua/moonmilter/seal.so

help:
	@sed -n 's/^#   //p' Makefile

# ---- packages: installed only when missing, without questions, and without starting their services ----

define install_packages
	@missing=""; for p in $(1); do \
		dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q "ok installed" || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
		sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		echo "installing:$$missing"; \
		policy=/usr/sbin/policy-rc.d; made=; \
		[ -e $$policy ] || { made=yes; printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; \
			$$sudo chmod 755 $$policy; }; \
		$$sudo apt-get update -qq && \
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			-o Dpkg::Options::=--force-confold $$missing >/dev/null; \
		status=$$?; [ -z "$$made" ] || $$sudo rm -f $$policy; exit $$status; \
	fi
endef

packages-build:
	$(call install_packages,$(PACKAGES_BUILD))

packages-test: packages-build
	$(call install_packages,$(PACKAGES_TEST))

packages-browser: packages-build
	$(call install_packages,$(PACKAGES_BROWSER))

# Says in one line which packages a build lacks: header=package. The tools come first, because pkg-config finds headers.
HEADERS := luajit.h=libluajit-5.1-dev ev.h=libev-dev ares.h=libc-ares-dev curl/curl.h=libcurl4-openssl-dev \
	idn2.h=libidn2-dev pcre2posix.h=libpcre2-dev lmdb.h=liblmdb-dev \
	microhttpd.h=libmicrohttpd-dev openssl/ssl.h=libssl-dev
# In a make that also installs them, the build waits for that, even with -j.
INSTALLING := packages-build packages-test packages-browser run test check test-all lint asan one-byte gc valgrind \
	tsan abi soak fuzz fuzz-quick fuzz-build bench bench-quick bench-instructions deb
present: | $(if $(filter $(INSTALLING),$(MAKECMDGOALS)),packages-build)
	@missing=""; \
	for tool in $(firstword $(CC))=gcc ar=binutils pkg-config=pkg-config; do \
		command -v $${tool%%=*} >/dev/null || missing="$$missing $${tool#*=}"; done; \
	[ -n "$$missing" ] || for header in $(HEADERS); do \
		echo "#include <$${header%%=*}>" | $(CC) $(LUA_CFLAGS) -E -x c -o /dev/null - 2>/dev/null || \
			missing="$$missing $${header#*=}"; done; \
	[ -z "$$missing" ] || { echo "moonmilter: missing:$$missing; install them with: make packages-build" >&2; \
		exit 1; }

# ---- build: one short line a file; make V=1 shows the commands ----

quiet = $(if $(V),,@printf '  %-4s %s\n' $(1) $@;)

$(BUILD)/obj/%.o: host/%.c Makefile | present
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/test/obj/%.o: host/%.c Makefile | present
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(ALL_CFLAGS) -fvisibility=default -MMD -MP -c -o $@ $<

-include $(wildcard $(BUILD)/obj/*/*.d $(BUILD)/test/obj/*/*.d)

# The Lua files below lua/moonmilter/ as C arrays: program and runtime always have the same version.
# runtime/wait.lua is the array runtime_wait_source and the module "moonmilter.runtime.wait".
$(BUILD)/lua_sources.c: $(LUA_SOURCES) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "script/sources.h"'; \
	for f in $(LUA_SOURCES:lua/moonmilter/%.lua=%); do \
		echo "static const unsigned char $$(echo $$f | tr / _)_source[] = {"; \
		od -v -An -tu1 lua/moonmilter/$$f.lua | sed 's/\([0-9][0-9]*\)/\1,/g'; \
		echo '};'; \
	done; \
	echo 'const struct mm_lua_source mm_lua_sources[] = {'; \
	for f in $(LUA_SOURCES:lua/moonmilter/%.lua=%); do \
		n=moonmilter.$$(echo $$f | tr / .); [ $$f = init ] && n=moonmilter; \
		b=$$(echo $$f | tr / _)_source; \
		echo "{ \"$$n\", $$b, sizeof $$b },"; \
	done; \
	echo '{ NULL, NULL, 0 } };'; } > $@.tmp && mv $@.tmp $@

$(BUILD)/obj/lua_sources.o: $(BUILD)/lua_sources.c host/script/sources.h | present
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# What the web page loads from itself: host/page/page.css is mm_page_style, page.js is mm_page_script.
$(BUILD)/page_assets.c: host/page/page.css host/page/page.js Makefile
	@mkdir -p $(@D)
	@{ echo '#include "page/assets.h"'; \
	for f in style=css script=js; do \
		n=$${f%%=*}; \
		echo "static const char $$n[] = {"; \
		od -v -An -tx1 host/page/page.$${f#*=} | sed "s/\([0-9a-f][0-9a-f]\) */'\\\\x\1',/g"; \
		echo '};'; \
		echo "const struct mm_page_asset mm_page_$$n = { $$n, sizeof $$n };"; \
	done; } > $@.tmp && mv $@.tmp $@

$(BUILD)/obj/page_assets.o: $(BUILD)/page_assets.c host/page/assets.h | present
	@mkdir -p $(@D)
	$(call quiet,CC)$(CC) $(ALL_CFLAGS) -c -o $@ $<

# libev goes in statically and hidden: the shared one exports libevent's names, which breaks modules that use libevent.
# Debian builds its static libev for programs only. The only obstacle to a shared library is that ev.o uses the variable
# stderr, so we replace it with our own (host/base/ev_stderr.c). Its clock and its wait go through host/base/clock.c, so
# that a test can move the time.
$(BUILD)/ev.o: Makefile | present
	@mkdir -p $(BUILD)/ev
	@cd $(BUILD)/ev && ar x $$($(CC) -print-file-name=libev.a) ev.o
	$(call quiet,EV)objcopy --redefine-sym stderr=mm_ev_stderr --redefine-sym clock_gettime=mm_ev_clock_gettime \
		--redefine-sym epoll_wait=mm_ev_epoll_wait $(BUILD)/ev/ev.o $@

# The static library is one object with our libev inside, in which only the public functions are visible. So it behaves
# as the shared one, and an embedder may link another libev beside it.
$(BUILD)/libmoonmilter.a: $(LIBRARY_OBJECTS) $(BUILD)/ev.o
	@mkdir -p $(BUILD)/static
	@rm -f $@
	@$(CC) -nostdlib -r -o $(BUILD)/static/moonmilter.o $(LIBRARY_OBJECTS) $(BUILD)/ev.o
	@objcopy --localize-hidden --wildcard --localize-symbol='ev_*' --localize-symbol='luaopen_*' \
		$(BUILD)/static/moonmilter.o
	$(call quiet,AR)ar qcs $@ $(BUILD)/static/moonmilter.o

# The same with all functions, for the program and for fuzz targets. "q", not "r": files of two folders may have the
# same name.
$(BUILD)/test/library.a: $(LIBRARY_OBJECTS) $(BUILD)/ev.o
	@mkdir -p $(@D)
	@rm -f $@
	$(call quiet,AR)ar qcs $@ $(LIBRARY_OBJECTS) $(BUILD)/ev.o

# A Lua that ends unloads what ffi.load has loaded, also under the threads of a host that a test has not closed.
STAYS = -Wl,-z,nodelete

$(BUILD)/libmoonmilter.so: $(LIBRARY_OBJECTS) $(BUILD)/ev.o host/libmoonmilter.map
	$(call quiet,LD)$(CC) -shared $(STAYS) $(SANITIZE) -Wl,-soname,libmoonmilter.so.0 \
		-Wl,--version-script,host/libmoonmilter.map $(LINK) -o $@ \
		$(LIBRARY_OBJECTS) $(BUILD)/ev.o $(LIBS)

# The parts of the program besides the library and its main, for fuzz targets.
$(BUILD)/test/program.a: $(PARTS_OBJECTS)
	@mkdir -p $(@D)
	@rm -f $@
	$(call quiet,AR)ar qcs $@ $(PARTS_OBJECTS)

# Every host function, for specs of single parts through LuaJIT's ffi.
$(BUILD)/test/libmoonmilter_test.so: $(TEST_OBJECTS) $(BUILD)/ev.o host/libmoonmilter_test.map
	@mkdir -p $(@D)
	$(call quiet,LD)$(CC) -shared $(STAYS) $(SANITIZE) -Wl,--version-script,host/libmoonmilter_test.map -o $@ \
		$(TEST_OBJECTS) $(BUILD)/ev.o $(LIBS) $(PROGRAM_LIBS)

# The C half of the mail modules again, as a plain Lua module: they also work outside the host (docs/mail-codec.md).
$(BUILD)/lua/moonmilter/codec.so: $(filter $(BUILD)/obj/codec/%,$(LIBRARY_OBJECTS))
	@mkdir -p $(@D)
	$(call quiet,LD)$(CC) -shared $(SANITIZE) $(HARDENING_LINK) -o $@ $^ $(IDN_LIBS)

# The same for canonical forms, body hashes and keys.
$(BUILD)/lua/moonmilter/seal.so: $(filter $(BUILD)/obj/seal/%,$(LIBRARY_OBJECTS))
	@mkdir -p $(@D)
	$(call quiet,LD)$(CC) -shared $(SANITIZE) $(HARDENING_LINK) -o $@ $^ -lcrypto

# C modules of scripts take lua_* from the process, so LuaJIT is linked as a shared library.
$(BUILD)/moonmilter: $(PROGRAM_OBJECTS) $(BUILD)/test/library.a
	$(call quiet,LD)$(CC) -pie $(SANITIZE) $(LINK) -o $@ $(PROGRAM_OBJECTS) $(BUILD)/test/library.a $(LIBS) \
		$(PROGRAM_LIBS)

# ---- serve, test ----

# As many compilers as there are processors, unless -j says otherwise.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

run: packages-build
	@$(MAKE) --no-print-directory $(PARALLEL) all
	$(BUILD)/moonmilter run -s $(LISTEN) --watch --state_dir=$(abspath $(BUILD))/state scripts/

# Every spec, including those with real MTAs (they need root; without it they are skipped and reported as such).
test: packages-build packages-test packages-browser
	@spec/mta/install || echo "spec/mta/install: not everything could be installed; specs that need it are skipped"
	@$(MAKE) --no-print-directory $(PARALLEL) all
	@$(MAKE) --no-print-directory lint
	@spec/run $(SPECS)

check: test

# The same two commands on another release of Debian, in a root of its own (spec/debian/run), as root:
# make test-debian RELEASE=bookworm SPECS="spec/milter spec/mta"
RELEASE ?= trixie
test-debian:
	@spec/debian/run $(RELEASE) make test SPECS="$(SPECS)"

# Everything to run before a release (docs/TESTING.md): make test, then all the rest in its long form. Takes hours.
test-all: test
	SLOW=1 spec/run
	@$(MAKE) --no-print-directory asan
	@$(MAKE) --no-print-directory tsan
	@$(MAKE) --no-print-directory gc
	@$(MAKE) --no-print-directory valgrind
	@$(MAKE) --no-print-directory one-byte
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=240
	@$(MAKE) --no-print-directory soak
	@$(MAKE) --no-print-directory bench-quick

# The whole tree with both compilers' strict warnings, then the include rules, documentation coverage, width, dead
# functions, names and sections that comments cite, patterns that take more than linear time, luacheck.
lint: packages-build packages-test
	@luajit spec/lint/rooms.lua
	@luajit spec/lint/documentation.lua
	@luajit spec/lint/width.lua
	@luajit spec/lint/dead.lua
	@luajit spec/lint/words.lua
	@luajit spec/lint/sections.lua
	@luajit spec/lint/patterns.lua
	@luacheck -q --no-color lua spec examples scripts
	@$(MAKE) --no-print-directory $(PARALLEL) WERROR=-Werror BUILD=build/strict objects
	@if command -v clang >/dev/null; then \
		$(MAKE) --no-print-directory $(PARALLEL) WERROR=-Werror CC=clang BUILD=build/clang objects; fi

objects: $(LIBRARY_OBJECTS) $(PROGRAM_OBJECTS)

# The MTA's side in this process, without a real MTA.
PURE_MTA_SPECS := spec/mta/dialogue_spec.lua spec/mta/mail_file_spec.lua spec/mta/mta_spec.lua spec/mta/player_spec.lua

# In-process specs again with AddressSanitizer and UndefinedBehaviorSanitizer. Lua's memory then comes from malloc, so
# that a use after free of Lua objects is also found.
with_sanitizers = MOONMILTER_BUILD=$(1) MOONMILTER_TESTLIB=$(1)/test/libmoonmilter_test.so MOONMILTER=$(1)/moonmilter \
	MOONMILTER_LIBRARY=$(abspath $(1)/libmoonmilter.so) ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 \
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so)"
ASAN_SPECS ?= spec/base spec/auth spec/config spec/trial spec/bench spec/milter spec/script spec/examples spec/regress \
	spec/async spec/attack spec/mail spec/map spec/fault spec/embed spec/state spec/event $(PURE_MTA_SPECS)
asan: packages-build packages-test
	@$(MAKE) --no-print-directory BUILD=build/asan CFLAGS="-O1 -g -fno-omit-frame-pointer" \
		SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" all
	@$(call with_sanitizers,build/asan) spec/run $(wildcard $(ASAN_SPECS))

# The page of docs/ that shows moonmilter.h; a spec compares it with the header.
reference:
	@luajit spec/docs/reference.lua >docs/embedding-reference.md

# Programs that embed hosts again with ThreadSanitizer: hosts on several threads, wake-ups from threads, loops of other
# libraries. The MTA that some specs need is the program of the usual build.
TSAN_SPECS ?= $(addprefix spec/embed/,embed_spec.lua filter_spec.lua loops_spec.lua processes_spec.lua)
tsan: packages-build packages-test all
	@$(MAKE) --no-print-directory BUILD=build/tsan CFLAGS="-O1 -g -fno-omit-frame-pointer" \
		SANITIZE="-fsanitize=thread" build/tsan/libmoonmilter.so build/tsan/libmoonmilter.a
	@MOONMILTER_TESTLIB=build/tsan/test/libmoonmilter_test.so MOONMILTER=build/moonmilter \
		spec/run $(wildcard $(TSAN_SPECS))

# The binary interface of the shared library, types of the public headers included, against that of another commit:
# make abi SINCE=v0.1.0. Programs that were built with that one must run with this one, so any change fails but new
# functions. After a release, what changes more needs a new soname.
SINCE ?= HEAD
abi: packages-build all
	$(call install_packages,abigail-tools git)
	@rm -rf build/abi && mkdir -p build/abi/tree build/abi/old build/abi/new
	@git archive $(SINCE) | tar -x -C build/abi/tree
	@$(MAKE) --no-print-directory -s -C build/abi/tree BUILD=build build/libmoonmilter.so
	@cp build/abi/tree/host/moonmilter*.h build/abi/old && cp host/moonmilter*.h build/abi/new
	@abidiff --no-show-locs --no-added-syms --drop-private-types --headers-dir1 build/abi/old \
		--headers-dir2 build/abi/new build/abi/tree/build/libmoonmilter.so $(BUILD)/libmoonmilter.so
	@echo "make abi: programs that were built with $(SINCE) run with this library"

# Everything that uses sockets again, with reads and writes of one byte, and of none every other time
# (spec/fault/one_byte.c): the host, its peers, and the specs themselves.
# miltertest is left out because it expects a whole packet in one read.
ONE_BYTE_SPECS ?= spec/async spec/process spec/ctl spec/trial/send_spec.lua spec/testing spec/regress \
	spec/examples spec/docs \
	$(filter-out spec/mta/miltertest_spec.lua $(PURE_MTA_SPECS),$(wildcard spec/mta/*_spec.lua))
$(BUILD)/one_byte.so: spec/fault/one_byte.c | present
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARNINGS) -D_GNU_SOURCE -O1 -shared -fPIC -o $@ $< -ldl

one-byte: packages-build packages-test all $(BUILD)/one_byte.so
	@spec/mta/install || echo "spec/mta/install: not everything could be installed; specs that need it are skipped"
	@ONE_BYTE=1 LD_PRELOAD=$(abspath $(BUILD)/one_byte.so) spec/run $(wildcard $(ONE_BYTE_SPECS))

# In-process specs again with a full collection at every line of Lua: finds objects that are used without a reference.
# With the sanitizers' allocator, because otherwise the memory is often still intact.
GC_SPECS ?= spec/milter/lifetimes_spec.lua spec/script/verdicts_spec.lua spec/script/facts_spec.lua \
	spec/script/edits_spec.lua spec/script/coroutines_spec.lua spec/script/body_spec.lua spec/examples spec/regress
gc: packages-build packages-test
	@$(MAKE) --no-print-directory BUILD=build/asan-gc \
		CFLAGS="-O1 -g -fno-omit-frame-pointer -DMM_COLLECT_AT_EVERY_LINE" \
		SANITIZE="-fsanitize=address,undefined -fno-sanitize-recover=undefined" all
	@$(call with_sanitizers,build/asan-gc) spec/run $(wildcard $(GC_SPECS))

# The session specs under valgrind, without the JIT, whose code valgrind cannot follow, and in a build without
# _FORTIFY_SOURCE: valgrind takes the C library's checked memmove for a memcpy.
VALGRIND_SPECS ?= spec/milter/lifetimes_spec.lua spec/milter/splits_spec.lua spec/script/edits_spec.lua \
	spec/script/coroutines_spec.lua spec/script/reload_spec.lua spec/regress
valgrind: packages-build packages-test
	$(call install_packages,valgrind)
	@$(MAKE) --no-print-directory BUILD=build/valgrind HARDENING= all
	@for spec in $(wildcard $(VALGRIND_SPECS)); do \
		MOONMILTER_BUILD=build/valgrind MOONMILTER_TESTLIB=build/valgrind/test/libmoonmilter_test.so \
		MOONMILTER=build/valgrind/moonmilter MOONMILTER_LIBRARY=$(abspath build/valgrind/libmoonmilter.so) \
		LUA_PATH="./?.lua;./lua/?.lua;./lua/?/init.lua;;" LUA_CPATH="./build/valgrind/lua/?.so;;" \
		MOONMILTER_SEEDS=8 MOONMILTER_ROUNDS=40 \
			valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
			luajit -joff /usr/bin/busted --ignore-lua $$spec || exit 1; \
	done

# Every target of host/fuzz/ for this many seconds, one after the other. build/fuzz keeps the failures,
# build/fuzz/corpus the inputs that reach new code (make corpus). One target: make fuzz FUZZ=engine FUZZ_SECONDS=3600
# fuzz-quick is for CI: FUZZ_INPUTS for each target, within FUZZ_TOTAL seconds over all, two at a time, always from the
# same seed, so that a finding comes from the change at hand and not from a faster machine, which gets further. Finding
# what nobody knew is the work of make fuzz, whose seed is another each time.
FUZZ_SECONDS ?= 60
FUZZ_TOTAL   ?= 300
FUZZ_INPUTS  ?= 40000
FUZZ ?= $(filter-out replay_corpus watch,$(patsubst host/fuzz/%.c,%,$(wildcard host/fuzz/*.c)))
FUZZ_FLAGS := -std=c11 -D_GNU_SOURCE $(WARNINGS) -O1 -g -fsanitize=fuzzer,address,undefined \
	-fno-sanitize-recover=undefined -DMM_FUZZER -Ihost

.PHONY: fuzz fuzz-quick fuzz-build corpus libs program-libs
# the other libraries of a program that links with the static library, and of one with the objects of our program
libs:
	@echo $(LIBS)
program-libs:
	@echo $(LIBS) $(PROGRAM_LIBS)

fuzz: fuzz-build
	@FUZZ_SECONDS=$(FUZZ_SECONDS) spec/fuzz/run $(FUZZ)

fuzz-quick: fuzz-build
	@FUZZ_SECONDS=$$(($(FUZZ_TOTAL) / $(words $(FUZZ)))) FUZZ_JOBS=2 FUZZ_SEED=1 \
		FUZZ_INPUTS=$(FUZZ_INPUTS) spec/fuzz/run $(FUZZ)

fuzz-build: packages-build
	$(call install_packages,clang)
	$(call install_packages,libclang-rt-$$(clang -dumpversion | cut -d. -f1)-dev)
	@$(MAKE) --no-print-directory -s -j2 BUILD=build/fuzz CC=clang CFLAGS="-O1 -g" \
		SANITIZE="-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined" \
		build/fuzz/test/library.a build/fuzz/test/program.a
	@$(MAKE) --no-print-directory -s -j2 $(FUZZ:%=build/fuzz/fuzz_%)

build/fuzz/fuzz_%: host/fuzz/%.c $(wildcard host/fuzz/*.h) host/fuzz/watch.c build/fuzz/test/library.a \
		build/fuzz/test/program.a
	clang $(FUZZ_FLAGS) $(LUA_CFLAGS) -Wl,--wrap=LLVMFuzzerTestOneInput -o $@ -no-pie $< host/fuzz/watch.c \
		build/fuzz/test/program.a build/fuzz/test/library.a $(LIBS) $(PROGRAM_LIBS)

# Adds the new inputs that matter to the tree.
corpus:
	@for t in $(FUZZ); do [ -x build/fuzz/fuzz_$$t ] && \
		build/fuzz/fuzz_$$t -merge=1 -max_len=512 host/fuzz/corpus/$$t build/fuzz/corpus/$$t 2>/dev/null; \
		echo "$$t: $$(ls host/fuzz/corpus/$$t | wc -l) inputs"; done

# Mixed load and reloads for this many seconds; memory and descriptors must not grow after the warm-up (spec/soak/).
SOAK_SECONDS ?= 600
.PHONY: soak
soak: packages-build packages-test all
	@SOAK_SECONDS=$(SOAK_SECONDS) luajit spec/soak/soak.lua

# ---- install ----

INCLUDEDIR = $(PREFIX)/include
LIBDIR     = $(PREFIX)/lib
LUADIR     = $(PREFIX)/share/lua/5.1
CODECDIR   = $(PREFIX)/lib/lua/5.1/moonmilter
BASHDIR    = $(PREFIX)/share/bash-completion/completions
ZSHDIR     = $(PREFIX)/share/zsh/vendor-completions
FISHDIR    = $(PREFIX)/share/fish/vendor_completions.d
MANDIR     = $(PREFIX)/share/man/man8
DOCDIR     = $(PREFIX)/share/doc/moonmilter
METADIR    = $(PREFIX)/share/moonmilter/meta

# Made each time, because it holds PREFIX, and no file's age shows a change of that.
.PHONY: $(BUILD)/moonmilter.pc
$(BUILD)/moonmilter.pc:
	@mkdir -p $(@D)
	@{ printf 'prefix=%s\n' "$(PREFIX)"; \
	printf 'includedir=%s\n' '$(patsubst $(PREFIX)/%,$${prefix}/%,$(INCLUDEDIR))'; \
	printf 'libdir=%s\n\n' '$(patsubst $(PREFIX)/%,$${prefix}/%,$(LIBDIR))'; \
	printf 'Name: moonmilter\nDescription: host for milters written in Lua\nVersion: %s\n' "$(VERSION)"; \
	printf 'Requires.private: luajit\nLibs: -L$${libdir} -lmoonmilter\n'; \
	printf 'Libs.private: -lidn2 -lpcre2-8 -lcurl -llmdb -lssl -lcrypto -lm -ldl -pthread %s\n' \
		"$(EXTRA_LIBS)"; \
	printf 'Cflags: -I$${includedir}\n'; } > $@

install: product $(BUILD)/moonmilter.pc install-systemd
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(LIBDIR)/pkgconfig \
		$(DESTDIR)$(LUADIR)/moonmilter $(DESTDIR)$(MANDIR) $(DESTDIR)$(DOCDIR)/examples $(DESTDIR)$(METADIR)
	install -m 755 $(BUILD)/moonmilter $(DESTDIR)$(PREFIX)/bin/moonmilter
	install -m 644 host/moonmilter.h host/moonmilter_testing.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 $(BUILD)/libmoonmilter.a $(DESTDIR)$(LIBDIR)/libmoonmilter.a
	install -m 755 $(BUILD)/libmoonmilter.so $(DESTDIR)$(LIBDIR)/libmoonmilter.so.0
	ln -sf libmoonmilter.so.0 $(DESTDIR)$(LIBDIR)/libmoonmilter.so
	install -m 644 $(BUILD)/moonmilter.pc $(DESTDIR)$(LIBDIR)/pkgconfig/moonmilter.pc
	cd lua/moonmilter && \
		find . -name '*.lua' -exec install -D -m 644 {} $(abspath $(DESTDIR)$(LUADIR)/moonmilter)/{} \;
	install -D -m 644 $(BUILD)/lua/moonmilter/codec.so $(DESTDIR)$(CODECDIR)/codec.so
	install -D -m 644 $(BUILD)/lua/moonmilter/seal.so $(DESTDIR)$(CODECDIR)/seal.so
	install -D -m 644 debian/completions/moonmilter.bash $(DESTDIR)$(BASHDIR)/moonmilter
	install -D -m 644 debian/completions/_moonmilter $(DESTDIR)$(ZSHDIR)/_moonmilter
	install -D -m 644 debian/completions/moonmilter.fish $(DESTDIR)$(FISHDIR)/moonmilter.fish
	install -m 644 lua/meta/*.lua $(DESTDIR)$(METADIR)/
	install -m 644 docs/moonmilter.8 $(DESTDIR)$(MANDIR)/moonmilter.8
	install -m 644 docs/*.md $(DESTDIR)$(DOCDIR)/
	install -D -m 644 docs/grafana/moonmilter.json $(DESTDIR)$(DOCDIR)/grafana/moonmilter.json
	install -D -m 644 docs/openrc/moonmilter $(DESTDIR)$(DOCDIR)/openrc/moonmilter
	install -m 644 examples/* $(DESTDIR)$(DOCDIR)/examples/

uninstall: uninstall-systemd
	rm -f $(DESTDIR)$(PREFIX)/bin/moonmilter \
		$(DESTDIR)$(INCLUDEDIR)/moonmilter.h $(DESTDIR)$(INCLUDEDIR)/moonmilter_testing.h \
		$(DESTDIR)$(LIBDIR)/libmoonmilter.a $(DESTDIR)$(LIBDIR)/libmoonmilter.so \
		$(DESTDIR)$(LIBDIR)/libmoonmilter.so.0 $(DESTDIR)$(LIBDIR)/pkgconfig/moonmilter.pc \
		$(DESTDIR)$(MANDIR)/moonmilter.8 $(DESTDIR)$(CODECDIR)/codec.so $(DESTDIR)$(CODECDIR)/seal.so \
		$(DESTDIR)$(BASHDIR)/moonmilter $(DESTDIR)$(ZSHDIR)/_moonmilter \
		$(DESTDIR)$(FISHDIR)/moonmilter.fish
	rm -rf $(DESTDIR)$(LUADIR)/moonmilter $(DESTDIR)$(DOCDIR) $(DESTDIR)$(PREFIX)/share/moonmilter

clean:
	rm -rf $(BUILD)

# ---- packages, release ----

# Debian packages of the committed state (debian/), built in build/deb, checked with lintian.
# Of lintian's tags only those about the maintainer's address are off: the project has none, reports go to its tracker.
DIST ?= $(BUILD)/dist
LINTIAN_SUPPRESS := bogus-mail-host,bogus-mail-host-in-debian-changelog
.PHONY: deb dist
deb: packages-build
	$(call install_packages,build-essential debhelper dpkg-dev git lintian)
	@rm -rf $(BUILD)/deb && mkdir -p $(BUILD)/deb
	@git archive --prefix=moonmilter-$(VERSION)/ HEAD | tar -x -C $(BUILD)/deb
	@cd $(BUILD)/deb/moonmilter-$(VERSION) && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		dpkg-buildpackage -us -uc -b >../build.log 2>&1 || { tail -30 ../build.log; exit 1; }
	@cd $(BUILD)/deb && lintian --allow-root --fail-on error,warning --tag-display-limit 0 \
		--suppress-tags $(LINTIAN_SUPPRESS) *.changes && ls *.deb

# The archive of a release with its bill of materials (SPDX), the same bytes for each run on one commit.
dist:
	$(call install_packages,git luajit lua-cjson)
	@mkdir -p $(DIST)
	@luajit debian/sbom.lua $(VERSION) >$(DIST)/moonmilter-$(VERSION).spdx.json
	@git archive --prefix=moonmilter-$(VERSION)/ HEAD | gzip -n9 >$(DIST)/moonmilter-$(VERSION).tar.gz
	@cd $(DIST) && sha256sum moonmilter-$(VERSION).*

# ---- measure ----

include spec/bench/bench.mk

include docs/systemd/install.mk
