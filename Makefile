# moonmilter: GNU make, pkg-config, Debian's libraries.
#   make run     install what is missing, build, serve scripts/ on inet:10025@127.0.0.1
#   make test    the same, then every spec
# make help lists the rest.

VERSION  := 0.1.0
PREFIX   ?= /usr/local
DESTDIR  ?=
CC       ?= gcc
BUILD    ?= build
LISTEN   ?= inet:10025@127.0.0.1

WARNINGS := -Wall -Wextra -Werror
CFLAGS   ?= -O2 -g
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) $(SANITIZE) -fPIC -fvisibility=hidden -fno-strict-aliasing \
	-DMM_VERSION_TEXT='"$(VERSION)"' -DMM_LUA_MULTIARCH_CPATH='"$(MULTIARCH_CPATH)"' $(LUA_CFLAGS)

LUA_CFLAGS = $(shell pkg-config --cflags luajit)
LUA_LIBS   = $(shell pkg-config --libs luajit)
MULTIARCH  = $(shell $(CC) -print-multiarch 2>/dev/null)
MULTIARCH_CPATH = $(if $(MULTIARCH),/usr/lib/$(MULTIARCH)/lua/5.1/?.so;)
LIBS      = $(LUA_LIBS) -lcurl -lssl -lcrypto -lm -ldl $(EXTRA_LIBS)
LINK      = -Wl,--exclude-libs,ALL -Wl,-z,relro,-z,now

COMMANDS := main $(patsubst host/%.c,%,$(wildcard host/command_*.c)) $(patsubst host/%.c,%,$(wildcard host/bench_*.c))
SOURCES  := $(filter-out $(COMMANDS:%=host/%.c) host/codec.c,$(wildcard host/*.c))
OBJECTS   = $(SOURCES:host/%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/lua_sources.o
MAIN_OBJECTS = $(COMMANDS:%=$(BUILD)/obj/%.o)
LUA_SOURCES := $(wildcard lua/moonmilter/*.lua)

PACKAGES_BUILD := gcc make pkg-config libc6-dev libluajit-5.1-dev luajit libev-dev lua-lpeg libssl-dev libcurl4-openssl-dev
PACKAGES_TEST  := lua-busted lua-check luarocks lua-cjson lua-filesystem lua-posix lua-socket miltertest

.PHONY: all run test check lint asan valgrind install uninstall clean help packages-build packages-test specs

all: $(BUILD)/moonmilter $(BUILD)/libmoonmilter.a $(BUILD)/libmoonmilter.so $(BUILD)/test/libmoonmilter_test.so

help:
	@sed -n 's/^#   //p' Makefile
	@echo "all  lint  asan  valgrind  bench  fuzz  install (DESTDIR, PREFIX)  clean"

# ---- packages: installed only when missing, asking nothing ----

define install_packages
	@missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q "ok installed" || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		echo "installing:$$missing"; \
		$$sudo apt-get update -qq && \
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

packages-build:
	$(call install_packages,$(PACKAGES_BUILD))

packages-test: packages-build
	$(call install_packages,$(PACKAGES_TEST))

# ---- build ----

$(BUILD)/obj/%.o: host/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

-include $(wildcard $(BUILD)/obj/*.d)

# The runtime's Lua files as C arrays: program and runtime cannot be of two versions.
$(BUILD)/lua_sources.c: $(LUA_SOURCES) Makefile
	@mkdir -p $(@D)
	@{ echo '#include "lua_sources.h"'; \
	for f in $(LUA_SOURCES); do \
		echo "static const unsigned char $$(basename $$f .lua)_source[] = {"; \
		od -v -An -tu1 $$f | sed 's/\([0-9][0-9]*\)/\1,/g'; \
		echo '};'; \
	done; \
	echo 'const struct mm_lua_source mm_lua_sources[] = {'; \
	for f in $(LUA_SOURCES); do b=$$(basename $$f .lua); \
		n=moonmilter.$$b; [ $$b = init ] && n=moonmilter; \
		echo "{ \"$$n\", $${b}_source, sizeof $${b}_source },"; \
	done; \
	echo '{ NULL, NULL, 0 } };'; } > $@.tmp && mv $@.tmp $@

$(BUILD)/obj/lua_sources.o: $(BUILD)/lua_sources.c host/lua_sources.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -Ihost -c -o $@ $<

# libev goes in statically and hidden: the shared one exports libevent's names, which breaks modules that use libevent.
# Debian builds its static libev for programs only; the one thing in ev.o that a shared library cannot hold is its use of
# the variable stderr, so that becomes one of ours (host/ev_stderr.c).
$(BUILD)/ev.o:
	@mkdir -p $(BUILD)/ev
	cd $(BUILD)/ev && ar x $$($(CC) -print-file-name=libev.a) ev.o
	objcopy --redefine-sym stderr=mm_ev_stderr $(BUILD)/ev/ev.o $@

$(BUILD)/libmoonmilter.a: $(OBJECTS)
	@rm -f $@
	ar rcs $@ $(OBJECTS)

$(BUILD)/libmoonmilter.so: $(OBJECTS) $(BUILD)/ev.o host/libmoonmilter.map
	$(CC) -shared $(SANITIZE) -Wl,-soname,libmoonmilter.so.0 -Wl,--version-script,host/libmoonmilter.map $(LINK) -o $@ \
		$(OBJECTS) $(BUILD)/ev.o $(LIBS)

# Every host function, for specs of single parts through LuaJIT's ffi.
$(BUILD)/test/libmoonmilter_test.so: $(SOURCES) $(BUILD)/lua_sources.c $(BUILD)/ev.o $(wildcard host/*.h)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -fvisibility=default -Ihost -shared -Wl,--version-script,host/libmoonmilter_test.map -o $@ $(SOURCES) $(BUILD)/lua_sources.c $(BUILD)/ev.o $(LIBS)

# C modules of scripts take lua_* from the process: LuaJIT is linked as a shared library.
$(BUILD)/moonmilter: $(MAIN_OBJECTS) $(BUILD)/libmoonmilter.a $(BUILD)/ev.o
	$(CC) $(SANITIZE) $(LINK) -o $@ $(MAIN_OBJECTS) $(BUILD)/ev.o $(BUILD)/libmoonmilter.a $(LIBS)

# ---- serve, test ----

run: packages-build
	@$(MAKE) --no-print-directory all
	$(BUILD)/moonmilter run -s $(LISTEN) scripts/

clean:
	rm -rf $(BUILD)
