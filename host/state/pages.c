#include "state/pages.h"

#include <errno.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the format: LMDB 0.9, lmdb.h says no more than its version; numbers of this machine ---- */

#define MAGIC          0xBEEFC0DEu
#define VERSION        1u
#define METAS          2u               /* pages that a file begins with */
#define HEADER         16u              /* bytes of each page */
#define NODE           8u               /* bytes of a node before its key */
#define KEY_MAX        511u             /* bytes */
#define PAGE_MIN       4096u            /* bytes */
#define PAGE_MAX       32768u
#define NO_ROOT        UINT64_MAX
#define DEPTH_MAX      20u              /* of a tree: enough for 2^48 pages, fewer than LMDB's cursors have */
#define MAPSIZE_MAX    (UINT64_C(1) << 44)
#define SPARE_PAGES    1024u            /* LMDB may leave pages at the end unwritten: so many, or as many as others */

enum page_flag { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };
enum node_flag { NODE_OVERFLOWS = 1, NODE_TREE = 2 };

struct header {
	uint64_t number;
	uint16_t pad, flags;
	uint16_t lower, upper;          /* of an overflow page together: how many pages it has */
};

struct tree {
	uint32_t pad;                   /* of the tree of free pages: bytes of a page */
	uint16_t flags, depth;
	uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
	uint32_t    magic, version;
	uint64_t    address, map_size;
	struct tree free_pages, names;
	uint64_t    last_page, transaction;
};

_Static_assert(sizeof(struct header) == HEADER && sizeof(struct tree) == 48 && sizeof(struct meta) == 136,
	"structs as LMDB has them on a 64-bit machine");

/* Bits of tree.flags: 0x4000 says how the file was opened, 8 that keys are numbers. */
#define FREE_TREE_FLAGS  0x0008u
#define IGNORED_FLAGS    0x4000u

enum kind { FREE_PAGES, NAMES, RECORDS };

static const char *const names[] = { "records", "changed0", "changed1" };
#define NAME_COUNT (sizeof names / sizeof *names)

/* ---- the walk ---- */

struct file {
	int      fd;
	uint32_t page_size;
	uint64_t page_count;
	uint64_t transaction;
	uint8_t *used;                  /* owned: a bit for each page */
	uint8_t *pages;                 /* owned: room for one page of each level */
	uint8_t *marks;                 /* owned: a byte for every two bytes of a page */
	int      error;                 /* of reading; 0: none */
	struct tree found[NAME_COUNT];  /* trees that have a name */
	unsigned found_count;
};

struct walk {
	struct file *file;
	enum kind    kind;
	struct tree  said, seen;
	char         key[KEY_MAX];      /* the last one */
	size_t       key_size;
	bool         has_key, may_repeat;       /* a branch's key may be that of the first entry below it */
};

static uint16_t u16_at(const uint8_t *at)
{
	uint16_t n;
	memcpy(&n, at, sizeof n);
	return n;
}

static uint64_t u64_at(const uint8_t *at)
{
	uint64_t n;
	memcpy(&n, at, sizeof n);
	return n;
}

/* What is behind the end of the file is zero. */
static bool read_at(struct file *f, uint64_t at, uint8_t *to, size_t size)
{
	size_t had = 0;
	while (had < size) {
		ssize_t n = pread(f->fd, to + had, size - had, (off_t)(at + had));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			f->error = errno;
		if (n <= 0)
			break;
		had += (size_t)n;
	}
	memset(to + had, 0, size - had);
	return f->error == 0;
}

/* Every page has one use. */
static bool claim(struct file *f, uint64_t first, uint64_t count)
{
	if (first < METAS || first >= f->page_count || count > f->page_count - first)
		return false;
	for (uint64_t n = first; n < first + count; n++) {
		if (f->used[n / 8] & 1u << n % 8)
			return false;
		f->used[n / 8] |= (uint8_t)(1u << n % 8);
	}
	return true;
}

/* ---- nodes ---- */

struct node {
	const uint8_t *key;
	uint32_t       key_size, data_size;     /* data_size: of a leaf's */
	uint16_t       flags;
	uint64_t       child;                   /* of a branch's */
	uint32_t       size;                    /* bytes in its page */
};

/* False: it does not lie within its page. */
static bool read_node(const struct file *f, const uint8_t *page, uint32_t at, bool is_leaf, struct node *n)
{
	if (at % 2 != 0 || at > f->page_size - NODE)
		return false;
	const uint8_t *node = page + at;
	uint32_t low = u16_at(node), high = u16_at(node + 2);
	*n = (struct node){ .key = node + NODE, .flags = u16_at(node + 4), .key_size = u16_at(node + 6) };
	n->data_size = low | high << 16;
	n->child = n->data_size | (uint64_t)n->flags << 32;
	uint64_t size = NODE + n->key_size;
	if (is_leaf)
		size += n->flags & NODE_OVERFLOWS ? sizeof n->child : n->data_size;
	/* a page has room for two: LMDB splits pages on that */
	if (size > ((f->page_size - HEADER) / 2 & ~1u) - 2 || n->key_size > KEY_MAX)
		return false;
	n->size = (uint32_t)(size + size % 2);
	return n->size <= f->page_size - at;
}

/* Nodes fill the page from `upper` on without a gap, in any order: LMDB moves them together. */
static bool check_layout(struct file *f, const uint8_t *page, const struct header *h, bool is_leaf)
{
	uint32_t sum = 0;
	memset(f->marks, 0, f->page_size / 2);
	for (uint32_t at = HEADER; at < h->lower; at += 2) {
		struct node n;
		uint32_t begin = u16_at(page + at);
		if (begin < h->upper || !read_node(f, page, begin, is_leaf, &n))
			return false;
		for (uint32_t i = begin / 2; i < (begin + n.size) / 2; i++)
			if (f->marks[i]++ != 0)
				return false;
		sum += n.size;
	}
	return sum == f->page_size - h->upper;
}

static int compare(const struct walk *w, const struct node *n)
{
	if (w->kind == FREE_PAGES) {
		uint64_t a = u64_at((const uint8_t *)w->key), b = u64_at(n->key);
		return a < b ? -1 : a > b;
	}
	size_t least = w->key_size < n->key_size ? w->key_size : n->key_size;
	int order = memcmp(w->key, n->key, least);
	return order != 0 ? order : w->key_size < n->key_size ? -1 : w->key_size > n->key_size;
}

static bool check_key(struct walk *w, const struct node *n, bool is_leaf)
{
	if (n->key_size == 0 || (w->kind == FREE_PAGES && n->key_size != sizeof(uint64_t)))
		return false;
	int order = w->has_key ? compare(w, n) : -1;
	if (order > 0 || (order == 0 && !(is_leaf && w->may_repeat)))
		return false;
	memcpy(w->key, n->key, n->key_size);
	w->key_size = n->key_size;
	w->has_key = true;
	w->may_repeat = !is_leaf;
	return true;
}

/* ---- what leaves have ---- */

/* Its pages may be more than the data needs. *at: of the data in the file. */
static bool check_overflow(struct walk *w, const struct node *n, uint64_t *at)
{
	struct file *f = w->file;
	uint8_t first[HEADER];
	struct header h;
	uint64_t page = u64_at(n->key + n->key_size);
	if (page >= f->page_count || !read_at(f, page * f->page_size, first, sizeof first))
		return false;
	memcpy(&h, first, sizeof h);
	uint64_t count = h.lower | (uint32_t)h.upper << 16;
	w->seen.overflow_pages += count;
	*at = page * f->page_size + HEADER;
	return h.number == page && h.flags == PAGE_OVERFLOW
		&& count >= (HEADER - 1 + (uint64_t)n->data_size) / f->page_size + 1 && claim(f, page, count);
}

/* A list of pages that a transaction has freed: their count, then their numbers, the highest first. */
static bool check_free_list(struct file *f, const struct node *n, uint64_t at)
{
	/* LMDB would use the pages of transaction 0 twice */
	if (u64_at(n->key) - 1 >= f->transaction || n->data_size < sizeof(uint64_t))
		return false;
	uint8_t *list = malloc(n->data_size);
	if (list == NULL) {
		f->error = ENOMEM;
		return false;
	}
	bool good = true;
	if (at == 0)
		memcpy(list, n->key + n->key_size, n->data_size);
	else
		good = read_at(f, at, list, n->data_size);
	uint64_t count = u64_at(list), before = UINT64_MAX;
	good = good && count <= n->data_size / sizeof count - 1;
	for (uint64_t i = 1; good && i <= count; i++) {
		uint64_t page = u64_at(list + i * sizeof page);
		good = page < before && claim(f, page, 1);
		before = page;
	}
	free(list);
	return good;
}

static bool check_name(struct file *f, const struct node *n)
{
	bool is_known = false;
	for (size_t i = 0; i < NAME_COUNT; i++)
		is_known |= n->key_size == strlen(names[i]) && memcmp(n->key, names[i], n->key_size) == 0;
	if (!is_known || n->flags != NODE_TREE || n->data_size != sizeof(struct tree))
		return false;
	memcpy(&f->found[f->found_count++], n->key + n->key_size, sizeof(struct tree)); /* keys differ: there is room */
	return true;
}

static bool check_entry(struct walk *w, const struct node *n)
{
	uint64_t at = 0;
	w->seen.entries++;
	if (!check_key(w, n, true))
		return false;
	if (w->kind == NAMES)
		return check_name(w->file, n);
	if ((n->flags & ~NODE_OVERFLOWS) != 0 || (n->flags != 0 && !check_overflow(w, n, &at)))
		return false;
	return w->kind != FREE_PAGES || check_free_list(w->file, n, at);
}

/* ---- trees ---- */

static bool check_header(const struct walk *w, const struct header *h, uint64_t number, bool is_leaf)
{
	uint32_t least = is_leaf || w->kind == FREE_PAGES ? 1 : 2;      /* LMDB leaves no branch with one child else */
	return h->number == number && h->flags == (is_leaf ? PAGE_LEAF : PAGE_BRANCH)
		&& h->lower % 2 == 0 && h->lower >= HEADER + 2 * least && h->lower <= h->upper
		&& h->upper <= w->file->page_size;
}

static bool walk_page(struct walk *w, uint64_t number, unsigned level)
{
	struct file *f = w->file;
	bool is_leaf = level + 1 == w->said.depth;
	uint8_t *page = f->pages + (size_t)level * f->page_size;
	struct header h;
	if (!claim(f, number, 1) || !read_at(f, number * f->page_size, page, f->page_size))
		return false;
	memcpy(&h, page, sizeof h);
	*(is_leaf ? &w->seen.leaf_pages : &w->seen.branch_pages) += 1;
	if (!check_header(w, &h, number, is_leaf) || !check_layout(f, page, &h, is_leaf))
		return false;
	for (uint32_t at = HEADER; at < h.lower; at += 2) {
		struct node n;
		read_node(f, page, u16_at(page + at), is_leaf, &n);
		if (is_leaf ? !check_entry(w, &n)
		    : !(at == HEADER || check_key(w, &n, false)) || !walk_page(w, n.child, level + 1))
			return false;
	}
	return true;
}

static bool check_tree(struct file *f, enum kind kind, const struct tree *t)
{
	struct walk w = { .file = f, .kind = kind, .said = *t };
	uint32_t flags = kind == FREE_PAGES ? FREE_TREE_FLAGS : 0;
	if ((t->flags & ~IGNORED_FLAGS) != flags || t->depth > DEPTH_MAX || (t->depth == 0) != (t->root == NO_ROOT))
		return false;
	if (t->depth > 0 && !walk_page(&w, t->root, 0))
		return false;
	return w.seen.branch_pages == t->branch_pages && w.seen.leaf_pages == t->leaf_pages
		&& w.seen.overflow_pages == t->overflow_pages && w.seen.entries == t->entries;
}

/* ---- the file ---- */

static bool is_meta(struct file *f, uint64_t number, uint32_t page_size, struct meta *m)
{
	uint8_t bytes[HEADER + sizeof *m];
	struct header h;
	if (!read_at(f, number * page_size, bytes, sizeof bytes))
		return false;
	memcpy(&h, bytes, sizeof h);
	memcpy(m, bytes + HEADER, sizeof *m);
	uint32_t p = m->free_pages.pad;
	return h.number == number && h.flags == PAGE_META && m->magic == MAGIC && m->version == VERSION
		&& p >= PAGE_MIN && p <= PAGE_MAX && (p & (p - 1)) == 0 && m->map_size <= MAPSIZE_MAX;
}

/* The newer one of two. */
static bool find_meta(struct file *f, struct meta *m)
{
	struct meta of[METAS];
	if (!is_meta(f, 0, 0, &of[0]))
		return false;
	f->page_size = of[0].free_pages.pad;
	if (!is_meta(f, 1, f->page_size, &of[1]) || of[1].free_pages.pad != f->page_size)
		return false;
	unsigned newer = of[0].transaction < of[1].transaction;
	*m = of[newer];
	f->transaction = m->transaction;
	/* each transaction writes the other one */
	return (m->transaction & 1) == newer && m->transaction - of[!newer].transaction <= 1;
}

static bool check(struct file *f)
{
	struct meta m;
	struct stat is;
	if (fstat(f->fd, &is) != 0) {
		f->error = errno;
		return false;
	}
	if (!find_meta(f, &m))
		return false;
	uint64_t whole = (uint64_t)is.st_size / f->page_size;
	if (m.last_page < METAS - 1 || m.last_page >= 2 * whole + SPARE_PAGES)
		return false;
	f->page_count = m.last_page + 1;
	f->used = calloc(1, f->page_count / 8 + 1);
	f->pages = malloc((size_t)DEPTH_MAX * f->page_size);
	f->marks = malloc(f->page_size / 2);
	if (f->used == NULL || f->pages == NULL || f->marks == NULL) {
		f->error = ENOMEM;
		return false;
	}
	bool good = check_tree(f, FREE_PAGES, &m.free_pages) && check_tree(f, NAMES, &m.names);
	for (unsigned i = 0; i < f->found_count && good; i++)
		good = check_tree(f, RECORDS, &f->found[i]);
	return good;
}

int mm_pages_check(int fd)
{
	struct file f = { .fd = fd };
	bool good = check(&f);
	free(f.used);
	free(f.pages);
	free(f.marks);
	return f.error != 0 ? f.error : good ? 0 : MDB_CORRUPTED;
}
