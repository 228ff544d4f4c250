/* fuzz/pages.c -- files of LMDB: the input is changes of a whole file, of five bytes each: where, and the byte. A file
 * that is said to be whole LMDB reads and changes without a crash, and it stays whole. */
#include "state/pages.h"

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHANGE_SIZE 5u
#define KEYS        400u
#define MAP_SIZE    (4u << 20)
#define FILE_MAX    (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fd;
static char path[64];
static uint8_t whole[FILE_MAX];
static size_t whole_size;

static void must(bool good)
{
	if (!good)
		abort();
}

static MDB_env *open_env(void)
{
	MDB_env *env;
	must(mdb_env_create(&env) == 0 && mdb_env_set_maxdbs(env, 3) == 0 && mdb_env_set_mapsize(env, MAP_SIZE) == 0);
	must(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0600) == 0);
	return env;
}

static void put(MDB_txn *t, MDB_dbi table, unsigned number, size_t size)
{
	static char value[20000];
	char key[32];
	MDB_val k = { (size_t)snprintf(key, sizeof key, "key %u", number * 7919 % KEYS), key }, v = { size, value };
	must(mdb_put(t, table, &k, &v, 0) == 0);
}

static void drop(MDB_txn *t, MDB_dbi table, unsigned number)
{
	char key[32];
	MDB_val k = { (size_t)snprintf(key, sizeof key, "key %u", number), key };
	int error = mdb_del(t, table, &k, NULL);
	must(error == 0 || error == MDB_NOTFOUND);
}

static void make_whole(void)
{
	fd = memfd_create("pages", MFD_CLOEXEC);
	must(fd >= 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	MDB_env *env = open_env();
	for (unsigned round = 0; round < 3; round++) {
		MDB_txn *t;
		MDB_dbi records = 0, changed = 0;
		must(mdb_txn_begin(env, NULL, 0, &t) == 0 && mdb_dbi_open(t, "records", MDB_CREATE, &records) == 0
			&& mdb_dbi_open(t, "changed0", MDB_CREATE, &changed) == 0);
		for (unsigned i = 0; i < KEYS; i++) {
			put(t, records, i, i % 40 == round ? 9000 : i % 90);
			put(t, changed, i % 50, 0);
		}
		for (unsigned i = round; i < KEYS; i += 5)
			drop(t, records, i);
		must(mdb_txn_commit(t) == 0);
	}
	mdb_env_close(env);
	ssize_t n = pread(fd, whole, sizeof whole, 0);
	must(n > 0 && (size_t)n < sizeof whole);
	whole_size = (size_t)n;
	must(mm_pages_check(fd) == 0);
}

static void read_all(MDB_txn *t, MDB_dbi table)
{
	MDB_cursor *c;
	MDB_val k, v;
	unsigned count = 0;
	must(mdb_cursor_open(t, table, &c) == 0);
	while (mdb_cursor_get(c, &k, &v, MDB_NEXT) == 0) {
		must(k.mv_size > 0 && k.mv_size <= 511 && ++count <= 10 * KEYS);
		for (const volatile char *at = v.mv_data, *end = at + v.mv_size; at < end; at += 64)
			(void)*at;
	}
	mdb_cursor_close(c);
}

static void use(void)
{
	MDB_env *env = open_env();
	for (unsigned round = 0; round < 3; round++) {
		MDB_txn *t;
		MDB_dbi records = 0;
		must(mdb_txn_begin(env, NULL, 0, &t) == 0 && mdb_dbi_open(t, "records", MDB_CREATE, &records) == 0);
		read_all(t, records);
		for (unsigned i = round; i < KEYS; i += 3) {
			drop(t, records, i);
			put(t, records, i + 1, i % 30 == 0 ? 15000 : i % 200);
		}
		must(mdb_txn_commit(t) == 0);
	}
	mdb_env_close(env);
	must(mm_pages_check(fd) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (whole_size == 0)
		make_whole();
	must(ftruncate(fd, 0) == 0 && pwrite(fd, whole, whole_size, 0) == (ssize_t)whole_size);
	for (; size >= CHANGE_SIZE; data += CHANGE_SIZE, size -= CHANGE_SIZE) {
		uint32_t at;
		memcpy(&at, data, sizeof at);
		must(pwrite(fd, data + sizeof at, 1, (off_t)(at % whole_size)) == 1);
	}
	if (mm_pages_check(fd) == 0)
		use();
	return 0;
}
