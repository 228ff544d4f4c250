/* codec/codec.c -- the hot byte work of the mail modules, as the Lua module "moonmilter.codec".
 * Transfer encodings (RFC 2045 6), the "Q" of encoded words (RFC 2047 4.2), uuencode as seen in old mail, charset
 * conversion to UTF-8 over iconv, IDNA2008 over libidn2.
 *
 * Knows nothing of milters, sessions or MIME structure: bytes in, bytes out. It is built into the host and also as a
 * plain Lua C module (build/lua/moonmilter/codec.so, luarocks), so it may include no header of the host.
 *
 * Ownership: input strings are BORROWED for one call. A decoder, encoder or converter is a full userdata; what it holds
 * besides itself (an iconv_t) goes in __gc or :close(). One `struct pad` of working memory per Lua state is OWNED by
 * the module and reused, so nothing allocated by malloc is ever live across a call that may raise.
 *
 * Every loop here looks at each input byte a bounded number of times; output is at most 3 bytes for one (plus line
 * ends). Decoders never refuse input: they skip what cannot be decoded and count it, because a filter must see what a
 * mail reader will make of broken mail. Each deviation from strict RFC 2045 is commented where it happens. */
#include <errno.h>
#include <iconv.h>
#include <idn2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

/* The one symbol that leaves a shared object built with -fvisibility=hidden. */
__attribute__((visibility("default"))) int luaopen_moonmilter_codec(lua_State *L);

#define PAD_KEPT_BYTES     (256 * 1024) /* working memory kept between calls */
#define CHARSET_NAME_BYTES 40           /* longest charset name given to iconv; IANA's longest in use is 29 */
#define ICONV_CACHE        8            /* iconv handles kept open for one-shot conversions */
#define QP_HELD_BYTES      1024         /* blanks held back at a line's end; RFC 5322 2.1.1 allows lines of 998 */
#define UU_LINE_BYTES      128          /* a uuencoded line is at most 61 characters */

#define DECODER_TYPE   "moonmilter.codec.decoder"
#define ENCODER_TYPE   "moonmilter.codec.encoder"
#define CONVERTER_TYPE "moonmilter.codec.converter"
#define PAD_TYPE       "moonmilter.codec.pad"

/* ---- working memory, and the iconv handles that go with it ------------------------------------------------------ */

struct cached_iconv {
	char    name[CHARSET_NAME_BYTES + 1];
	iconv_t cd;
};

struct pad {
	unsigned char      *bytes;              /* owned */
	size_t              size;
	struct cached_iconv cached[ICONV_CACHE]; /* owned; name "" when free */
	unsigned            next_victim;
};

/* The module's pad is upvalue 1 of every function and method. */
static struct pad *the_pad(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

/* At least `size` bytes, contents kept. MAY_RAISE (out of memory). */
static unsigned char *pad_grow(lua_State *L, struct pad *p, size_t size)
{
	if (size <= p->size)
		return p->bytes;
	unsigned char *bytes = realloc(p->bytes, size);
	if (!bytes)
		luaL_error(L, "codec: out of memory for %d KiB of working space", (int)(size / 1024));
	p->bytes = bytes;
	p->size = size;
	return bytes;
}

/* Pushes the first `used` bytes as a Lua string. A huge message must not leave a huge pad behind: the next call that
 * finds it over PAD_KEPT_BYTES and does not need it lets it go. */
static void pad_push(lua_State *L, struct pad *p, size_t used)
{
	lua_pushlstring(L, (const char *)p->bytes, used); /* MAY_RAISE: the pad stays owned by the module */
	if (p->size > PAD_KEPT_BYTES && used <= PAD_KEPT_BYTES / 2) {
		free(p->bytes);
		p->bytes = NULL;
		p->size = 0;
	}
}

static int pad_gc(lua_State *L)
{
	struct pad *p = lua_touserdata(L, 1);
	free(p->bytes);
	p->bytes = NULL;
	p->size = 0;
	for (int i = 0; i < ICONV_CACHE; i++) {
		if (p->cached[i].name[0])
			iconv_close(p->cached[i].cd);
		p->cached[i].name[0] = '\0';
	}
	return 0;
}

/* (s, i, j) as string.sub reads them, for positive i and j only: feeding a slice must not create a Lua string. */
static const unsigned char *slice(lua_State *L, int at, size_t *n)
{
	size_t size;
	const char *s = luaL_checklstring(L, at, &size);
	lua_Integer first = luaL_optinteger(L, at + 1, 1);
	lua_Integer last = luaL_optinteger(L, at + 2, (lua_Integer)size);
	if (first < 1)
		first = 1;
	if (last > (lua_Integer)size)
		last = (lua_Integer)size;
	*n = last < first ? 0 : (size_t)(last - first + 1);
	return (const unsigned char *)s + (*n ? first - 1 : 0);
}

/* ---- base64 (RFC 2045 6.8) --------------------------------------------------------------------------------------- */

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { B64_BLANK = 64, B64_PAD, B64_BAD };
static unsigned char base64_value[256];

static void base64_init(void)
{
	memset(base64_value, B64_BAD, sizeof base64_value);
	for (int i = 0; i < 64; i++)
		base64_value[(unsigned char)base64_digits[i]] = (unsigned char)i;
	base64_value['='] = B64_PAD;
	base64_value['\r'] = base64_value['\n'] = base64_value[' '] = base64_value['\t'] = B64_BLANK;
}

static int hex_value(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f') /* RFC 2045 6.7 (1) wants capitals, and asks readers to take both */
		return c - 'a' + 10;
	return -1;
}

enum kind { BASE64, QUOTED_PRINTABLE, Q_WORD, UUENCODE };

enum qp_state { QP_TEXT, QP_EQUALS, QP_HEX, QP_SOFT, QP_SOFT_CR };

struct decoder {
	enum kind     kind;
	size_t        bad;          /* bytes that did not fit the encoding */
	bool          is_truncated; /* ended inside a base64 group; known after finish */
	bool          is_continued; /* base64 went on after its padding */
	/* base64 */
	uint32_t      bits;
	unsigned      digits;       /* 0..3 in the current group */
	bool          was_padded;
	/* quoted-printable */
	enum qp_state state;
	unsigned char hex;          /* first digit of =XX, as written */
	size_t        held_size;    /* blanks that vanish if a line end follows */
	unsigned char held[QP_HELD_BYTES];
	/* uuencode */
	bool          in_body;
	size_t        line_size;
	unsigned char line[UU_LINE_BYTES];
};

/* Text between groups is ignored (RFC 2045 6.8 "must be ignored"), only counted. Decoding goes on after padding: the
 * RFC leaves that open, mail readers differ, and what one of them shows a filter must have seen. */
static size_t base64_decode(struct decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char *start = out;
	size_t i = 0;
	while (i < n) {
		if (d->digits == 0) {
			while (n - i >= 4) { /* whole groups: the usual case by far */
				unsigned a = base64_value[in[i]], b = base64_value[in[i + 1]];
				unsigned c = base64_value[in[i + 2]], e = base64_value[in[i + 3]];
				if ((a | b | c | e) >= 64)
					break;
				uint32_t w = a << 18 | b << 12 | c << 6 | e;
				*out++ = (unsigned char)(w >> 16);
				*out++ = (unsigned char)(w >> 8);
				*out++ = (unsigned char)w;
				i += 4;
				if (d->was_padded)
					d->is_continued = true;
			}
			if (i == n)
				break;
		}
		unsigned v = base64_value[in[i++]];
		if (v < 64) {
			if (d->was_padded)
				d->is_continued = true;
			d->bits = d->bits << 6 | v;
			if (++d->digits == 4) {
				*out++ = (unsigned char)(d->bits >> 16);
				*out++ = (unsigned char)(d->bits >> 8);
				*out++ = (unsigned char)d->bits;
				d->digits = 0;
				d->bits = 0;
			}
		} else if (v == B64_PAD) {
			if (d->digits == 1)
				d->bad++; /* six bits are no byte */
			if (d->digits >= 2)
				*out++ = (unsigned char)(d->digits == 2 ? d->bits >> 4 : d->bits >> 10);
			if (d->digits == 3)
				*out++ = (unsigned char)(d->bits >> 2);
			d->digits = 0;
			d->bits = 0;
			d->was_padded = true;
		} else if (v == B64_BAD) {
			d->bad++;
		}
	}
	return (size_t)(out - start);
}

static size_t base64_finish(struct decoder *d, unsigned char *out)
{
	size_t n = 0;
	if (d->digits) { /* cut short: give what whole bytes there are, as mail readers do */
		d->is_truncated = true;
		if (d->digits >= 2)
			out[n++] = (unsigned char)(d->digits == 2 ? d->bits >> 4 : d->bits >> 10);
		if (d->digits == 3)
			out[n++] = (unsigned char)(d->bits >> 2);
	}
	d->digits = 0;
	d->bits = 0;
	return n;
}

/* ---- quoted-printable (RFC 2045 6.7) and Q (RFC 2047 4.2) -------------------------------------------------------- */

static unsigned char *qp_release(struct decoder *d, unsigned char *out)
{
	memcpy(out, d->held, d->held_size);
	out += d->held_size;
	d->held_size = 0;
	return out;
}

static unsigned char *qp_bad_escape(struct decoder *d, unsigned char *out)
{
	d->bad++;
	*out++ = '=';
	d->state = QP_TEXT;
	return out;
}

/* Behind "=". True: c is part of the escape; else the escape is over, and c is text. Bad escapes stay as written (RFC
 * 2045 6.7, advice to decoders). */
static bool qp_escape(struct decoder *d, unsigned char c, unsigned char **out)
{
	bool is_blank = c == ' ' || c == '\t';
	switch (d->state) {
	case QP_EQUALS:
		if (hex_value(c) >= 0) {
			d->hex = c;
			d->state = QP_HEX;
		} else if (is_blank) {
			d->held[d->held_size++] = c;
			d->state = QP_SOFT;
		} else if (c == '\n' || c == '\r') {
			d->state = c == '\n' ? QP_TEXT : QP_SOFT_CR;
		} else {
			*out = qp_bad_escape(d, *out);
			return false;
		}
		return true;
	case QP_HEX:
		if (hex_value(c) < 0) {
			*out = qp_bad_escape(d, *out);
			*(*out)++ = d->hex;
			return false;
		}
		*(*out)++ = (unsigned char)(hex_value(d->hex) << 4 | hex_value(c));
		d->state = QP_TEXT;
		return true;
	case QP_SOFT: /* "=" then blanks: a soft line break with transport padding, if the line ends here */
		if (is_blank && d->held_size < QP_HELD_BYTES) {
			d->held[d->held_size++] = c;
		} else if (c == '\n' || c == '\r') {
			d->held_size = 0;
			d->state = c == '\n' ? QP_TEXT : QP_SOFT_CR;
		} else {
			*out = qp_release(d, qp_bad_escape(d, *out));
			return false;
		}
		return true;
	case QP_SOFT_CR: /* "=" CR: the LF, when it comes, belongs to the break */
		d->state = QP_TEXT;
		return c == '\n';
	default:
		return false;
	}
}

/* Blanks before a line end go (rule 3); a run of them longer than QP_HELD_BYTES is no transport padding and stays. */
static unsigned char *qp_text(struct decoder *d, unsigned char c, unsigned char *out)
{
	if (c == ' ' || c == '\t') {
		if (d->held_size == QP_HELD_BYTES)
			out = qp_release(d, out);
		d->held[d->held_size++] = c;
		return out;
	}
	if (c == '\n' || c == '\r')
		d->held_size = 0;
	else if (d->held_size > 0)
		out = qp_release(d, out);
	if (c == '=')
		d->state = QP_EQUALS;
	else
		*out++ = c;
	return out;
}

static size_t qp_decode(struct decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char *start = out;
	for (size_t i = 0; i < n; i++)
		if (d->state == QP_TEXT || !qp_escape(d, in[i], &out))
			out = qp_text(d, in[i], out);
	return (size_t)(out - start);
}

static size_t qp_finish(struct decoder *d, unsigned char *out)
{
	unsigned char *start = out;
	if (d->state == QP_HEX) {
		d->bad++;
		*out++ = '=';
		*out++ = d->hex;
	}
	/* "=" as the very last byte is a soft break with nothing after it; blanks at the end are
	 * padding: both vanish. */
	d->held_size = 0;
	d->state = QP_TEXT;
	return (size_t)(out - start);
}

static size_t q_word_decode(struct decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	unsigned char *start = out;
	for (size_t i = 0; i < n; i++) {
		if (in[i] == '_') {
			*out++ = ' '; /* 0x20 whatever the charset, RFC 2047 4.2 (2) */
		} else if (in[i] == '=' && i + 2 < n && hex_value(in[i + 1]) >= 0 && hex_value(in[i + 2]) >= 0) {
			*out++ = (unsigned char)(hex_value(in[i + 1]) << 4 | hex_value(in[i + 2]));
			i += 2;
		} else {
			d->bad += in[i] == '=';
			*out++ = in[i];
		}
	}
	return (size_t)(out - start);
}

/* ---- uuencode (never a MIME standard; "x-uuencode" is in old mail and in mail that wants not to be scanned) ---- */

static size_t uu_line(struct decoder *d, unsigned char *out)
{
	const unsigned char *line = d->line;
	size_t n = d->line_size;
	d->line_size = 0;
	if (n && line[n - 1] == '\r')
		n--;
	if (!d->in_body) {
		d->in_body = n >= 6 && memcmp(line, "begin ", 6) == 0;
		return 0;
	}
	if (n == 3 && memcmp(line, "end", 3) == 0) {
		d->in_body = false;
		return 0;
	}
	if (n == 0)
		return 0;
	if (line[0] < ' ' || line[0] > '`') {
		d->bad++;
		return 0;
	}
	size_t want = (line[0] - ' ') & 63, got = 0;
	if (want > n)
		d->bad++; /* a line cut short gives only what it has: two bytes may not become 63 */
	for (size_t i = 1; got < want && i < n; i += 4) {
		unsigned v[4];
		for (size_t k = 0; k < 4; k++)
			v[k] = i + k < n ? (unsigned)(line[i + k] - ' ') & 63 : 0;
		uint32_t w = v[0] << 18 | v[1] << 12 | v[2] << 6 | v[3];
		for (int shift = 16; shift >= 0 && got < want; shift -= 8)
			out[got++] = (unsigned char)(w >> shift);
	}
	return got;
}

static size_t uu_decode(struct decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	size_t made = 0;
	for (size_t i = 0; i < n; i++) {
		if (in[i] == '\n')
			made += uu_line(d, out + made);
		else if (d->line_size < UU_LINE_BYTES)
			d->line[d->line_size++] = in[i];
		else
			d->bad++;
	}
	return made;
}

/* ---- decoders as one thing --------------------------------------------------------------------------------------- */

/* Upper bound of what `n` more bytes can yield: themselves, and what was held back (blanks or one uuencoded line, whose
 * last group may be padded out). */
static size_t decoded_bound(size_t n)
{
	return 2 * n + QP_HELD_BYTES + UU_LINE_BYTES + 8;
}

static size_t decode(struct decoder *d, const unsigned char *in, size_t n, unsigned char *out)
{
	switch (d->kind) {
	case BASE64:           return base64_decode(d, in, n, out);
	case QUOTED_PRINTABLE: return qp_decode(d, in, n, out);
	case Q_WORD:           return q_word_decode(d, in, n, out);
	case UUENCODE:         return uu_decode(d, in, n, out);
	}
	return 0;
}

static size_t decode_finish(struct decoder *d, unsigned char *out)
{
	switch (d->kind) {
	case BASE64:           return base64_finish(d, out);
	case QUOTED_PRINTABLE: return qp_finish(d, out);
	case UUENCODE:         return d->line_size ? uu_line(d, out) : 0;
	case Q_WORD:           return 0;
	}
	return 0;
}

static int decode_all(lua_State *L, enum kind kind)
{
	struct pad *p = the_pad(L);
	struct decoder d = { .kind = kind };
	size_t n;
	const unsigned char *in = slice(L, 1, &n);
	unsigned char *out = pad_grow(L, p, decoded_bound(n) + decoded_bound(0));
	size_t made = decode(&d, in, n, out);
	made += decode_finish(&d, out + made);
	pad_push(L, p, made);
	lua_pushinteger(L, (lua_Integer)(d.bad + d.is_truncated));
	return 2;
}

static int base64_decode_lua(lua_State *L) { return decode_all(L, BASE64); }
static int qp_decode_lua(lua_State *L) { return decode_all(L, QUOTED_PRINTABLE); }
static int q_decode_lua(lua_State *L) { return decode_all(L, Q_WORD); }
static int uu_decode_lua(lua_State *L) { return decode_all(L, UUENCODE); }

static int decoder_new(lua_State *L)
{
	static const char *const names[] = { "base64", "quoted-printable", "x-uuencode", NULL };
	static const enum kind kinds[] = { BASE64, QUOTED_PRINTABLE, UUENCODE };
	enum kind kind = kinds[luaL_checkoption(L, 1, NULL, names)];
	struct decoder *d = lua_newuserdata(L, sizeof *d);
	memset(d, 0, sizeof *d);
	d->kind = kind;
	luaL_getmetatable(L, DECODER_TYPE);
	lua_setmetatable(L, -2);
	return 1;
}

static int decoder_feed(lua_State *L)
{
	struct decoder *d = luaL_checkudata(L, 1, DECODER_TYPE);
	size_t n;
	const unsigned char *in = slice(L, 2, &n);
	unsigned char *out = pad_grow(L, the_pad(L), decoded_bound(n));
	pad_push(L, the_pad(L), decode(d, in, n, out));
	return 1;
}

/* As feed, but tells only how many bytes it was: for parts nobody reads. */
static int decoder_count(lua_State *L)
{
	struct decoder *d = luaL_checkudata(L, 1, DECODER_TYPE);
	size_t n;
	const unsigned char *in = slice(L, 2, &n);
	unsigned char *out = pad_grow(L, the_pad(L), decoded_bound(n));
	lua_pushinteger(L, (lua_Integer)decode(d, in, n, out));
	return 1;
}

/* finish() -> last bytes, count of bad bytes, is_truncated, is_continued; the decoder is then as new. */
static int decoder_finish(lua_State *L)
{
	struct decoder *d = luaL_checkudata(L, 1, DECODER_TYPE);
	unsigned char *out = pad_grow(L, the_pad(L), decoded_bound(0));
	pad_push(L, the_pad(L), decode_finish(d, out));
	lua_pushinteger(L, (lua_Integer)d->bad);
	lua_pushboolean(L, d->is_truncated);
	lua_pushboolean(L, d->is_continued);
	enum kind kind = d->kind;
	memset(d, 0, sizeof *d);
	d->kind = kind;
	return 4;
}

/* ---- encoders ---------------------------------------------------------------------------------------------------- */

struct encoder {
	enum kind     kind;
	unsigned      width;        /* most characters in a line, 0: no line ends (base64 only) */
	unsigned      column;
	/* base64 */
	unsigned char group[3];
	unsigned      group_size;
	/* quoted-printable: one byte waits, because a blank or CR is written otherwise before a line end */
	int           waiting;      /* -1: none */
};

static unsigned char *base64_group(struct encoder *e, unsigned char *out)
{
	if (e->width && e->column + 4 > e->width) {
		*out++ = '\r';
		*out++ = '\n';
		e->column = 0;
	}
	uint32_t w = (uint32_t)e->group[0] << 16 | (uint32_t)e->group[1] << 8 | e->group[2];
	*out++ = (unsigned char)base64_digits[w >> 18];
	*out++ = (unsigned char)base64_digits[w >> 12 & 63];
	*out++ = (unsigned char)(e->group_size > 1 ? base64_digits[w >> 6 & 63] : '=');
	*out++ = (unsigned char)(e->group_size > 2 ? base64_digits[w & 63] : '=');
	e->column += 4;
	e->group_size = 0;
	e->group[1] = e->group[2] = 0;
	return out;
}

/* Writes one byte, as itself or as =XX, with a soft break before it when the line would pass 76 (RFC 2045 6.7 (5)).
 * Lines that begin with ".", "F" of "From " or "-" are escaped too: dot-stuffing and mbox writers have spoiled the
 * first two (RFC 2049 3), and a line that begins with "-" could be a delimiter of the multipart around it. */
static unsigned char *qp_put(unsigned char c, bool must_escape, struct encoder *e, unsigned char *out)
{
	static const char hex[] = "0123456789ABCDEF";
	bool escape = must_escape || c == '=' || c < ' ' || c > '~';
	if (c == '\t' && !must_escape)
		escape = false;
	if (e->column == 0 && strchr(".F-", c) && c)
		escape = true;
	unsigned need = escape ? 3 : 1;
	if (e->column + need > e->width - 1) {
		*out++ = '=';
		*out++ = '\r';
		*out++ = '\n';
		e->column = 0;
		if (strchr(".F-", c) && c) {
			escape = true;
			need = 3;
		}
	}
	if (escape) {
		*out++ = '=';
		*out++ = (unsigned char)hex[c >> 4];
		*out++ = (unsigned char)hex[c & 15];
	} else {
		*out++ = c;
	}
	e->column += need;
	return out;
}

static unsigned char *qp_encode(struct encoder *e, const unsigned char *in, size_t n, unsigned char *out)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = in[i];
		if (e->waiting == '\r' && c == '\n') { /* a line end of the text itself */
			*out++ = '\r';
			*out++ = '\n';
			e->column = 0;
			e->waiting = -1;
			continue;
		}
		if (e->waiting >= 0) { /* CR alone is data; a blank at a line's end must be escaped, rule (3) */
			unsigned char w = (unsigned char)e->waiting;
			out = qp_put(w, w == '\r' || c == '\r' || c == '\n', e, out);
			e->waiting = -1;
		}
		if (c == '\r' || c == ' ' || c == '\t')
			e->waiting = c;
		else
			out = qp_put(c, c == '\n', e, out); /* LF alone is data */
	}
	return out;
}

static unsigned char *encode(struct encoder *e, const unsigned char *in, size_t n, unsigned char *out)
{
	if (e->kind == QUOTED_PRINTABLE)
		return qp_encode(e, in, n, out);
	for (size_t i = 0; i < n; i++) {
		e->group[e->group_size++] = in[i];
		if (e->group_size == 3)
			out = base64_group(e, out);
	}
	return out;
}

static unsigned char *encode_finish(struct encoder *e, unsigned char *out)
{
	if (e->kind == BASE64 && e->group_size)
		out = base64_group(e, out);
	if (e->kind == QUOTED_PRINTABLE && e->waiting >= 0)
		out = qp_put((unsigned char)e->waiting, true, e, out);
	e->waiting = -1;
	e->column = 0;
	return out;
}

/* base64: 4 for 3 and a line end every >= 4; quoted-printable: 3 for 1 and "=\r\n" at least every 3 characters. */
static size_t encoded_bound(size_t n)
{
	return 6 * (n + 4) + 16;
}

static unsigned check_width(lua_State *L, int at, unsigned otherwise)
{
	lua_Integer width = luaL_optinteger(L, at, (lua_Integer)otherwise);
	luaL_argcheck(L, width == 0 || (width >= 8 && width <= 998), at, "line width: 0 or 8..998");
	return (unsigned)width;
}

static int encode_all(lua_State *L, enum kind kind, unsigned width)
{
	struct pad *p = the_pad(L);
	struct encoder e = { .kind = kind, .width = width, .waiting = -1 };
	size_t n;
	const char *in = luaL_checklstring(L, 1, &n);
	unsigned char *start = pad_grow(L, p, encoded_bound(n));
	unsigned char *end = encode_finish(&e, encode(&e, (const unsigned char *)in, n, start));
	pad_push(L, p, (size_t)(end - start));
	return 1;
}

static int base64_encode_lua(lua_State *L) { return encode_all(L, BASE64, check_width(L, 2, 0)); }
static int qp_encode_lua(lua_State *L) { return encode_all(L, QUOTED_PRINTABLE, 76); }

static int encoder_new(lua_State *L)
{
	static const char *const names[] = { "base64", "quoted-printable", NULL };
	static const enum kind kinds[] = { BASE64, QUOTED_PRINTABLE };
	enum kind kind = kinds[luaL_checkoption(L, 1, NULL, names)];
	struct encoder *e = lua_newuserdata(L, sizeof *e);
	memset(e, 0, sizeof *e);
	e->kind = kind;
	e->width = 76;
	e->waiting = -1;
	luaL_getmetatable(L, ENCODER_TYPE);
	lua_setmetatable(L, -2);
	return 1;
}

static int encoder_feed(lua_State *L)
{
	struct encoder *e = luaL_checkudata(L, 1, ENCODER_TYPE);
	size_t n;
	const unsigned char *in = slice(L, 2, &n);
	unsigned char *out = pad_grow(L, the_pad(L), encoded_bound(n));
	pad_push(L, the_pad(L), (size_t)(encode(e, in, n, out) - out));
	return 1;
}

static int encoder_finish(lua_State *L)
{
	struct encoder *e = luaL_checkudata(L, 1, ENCODER_TYPE);
	unsigned char *out = pad_grow(L, the_pad(L), encoded_bound(0));
	pad_push(L, the_pad(L), (size_t)(encode_finish(e, out) - out));
	return 1;
}

/* ---- UTF-8 and other charsets ------------------------------------------------------------------------------------ */

/* Bytes of the well-formed sequence at `s` (RFC 3629 4: no overlong forms, no surrogates, nothing above U+10FFFF),
 * or 0. On 0, *skip is the length of the part to replace by one U+FFFD ("maximal subpart", Unicode 3.9). */
static size_t utf8_sequence(const unsigned char *s, size_t n, size_t *skip)
{
	unsigned char c = s[0], low = 0x80, high = 0xBF;
	size_t need;
	*skip = 1;
	if (c < 0x80)
		return 1;
	if (c >= 0xC2 && c <= 0xDF)
		need = 1;
	else if (c >= 0xE0 && c <= 0xEF)
		need = 2;
	else if (c >= 0xF0 && c <= 0xF4)
		need = 3;
	else
		return 0;
	if (c == 0xE0)
		low = 0xA0;
	else if (c == 0xED)
		high = 0x9F;
	else if (c == 0xF0)
		low = 0x90;
	else if (c == 0xF4)
		high = 0x8F;
	for (size_t i = 1; i <= need; i++) {
		if (i == n || s[i] < low || s[i] > high) {
			*skip = i;
			return 0;
		}
		low = 0x80;
		high = 0xBF;
	}
	return need + 1;
}

/* is_utf8(s) -> true | false, position of the first bad byte */
static int is_utf8(lua_State *L)
{
	size_t n, skip;
	const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &n);
	for (size_t i = 0; i < n;) {
		size_t got = utf8_sequence(s + i, n - i, &skip);
		if (got == 0) {
			lua_pushboolean(L, false);
			lua_pushinteger(L, (lua_Integer)i + 1);
			return 2;
		}
		i += got;
	}
	lua_pushboolean(L, true);
	return 1;
}

/* s[0..n) with each ill-formed part as U+FFFD to out, which has room for 3 * n. -> bytes written */
static size_t utf8_clean(const unsigned char *s, size_t n, unsigned char *out, size_t *bad)
{
	size_t skip, made = 0;
	*bad = 0;
	for (size_t i = 0; i < n;) {
		size_t got = utf8_sequence(s + i, n - i, &skip);
		if (got) {
			memcpy(out + made, s + i, got);
			made += got;
			i += got;
		} else {
			memcpy(out + made, "\xEF\xBF\xBD", 3);
			made += 3;
			i += skip;
			++*bad;
		}
	}
	return made;
}

/* clean_utf8(s) -> s with each ill-formed part as U+FFFD, how many */
static int clean_utf8(lua_State *L)
{
	struct pad *p = the_pad(L);
	size_t n, bad;
	const unsigned char *s = (const unsigned char *)luaL_checklstring(L, 1, &n);
	unsigned char *out = pad_grow(L, p, 3 * n + 1);
	size_t made = utf8_clean(s, n, out, &bad);
	if (bad)
		pad_push(L, p, made);
	else
		lua_pushvalue(L, 1);
	lua_pushinteger(L, (lua_Integer)bad);
	return 2;
}

/* A charset name comes from the message: letters, digits and "-_.:+" only, so that it can carry none of iconv's own
 * syntax ("//TRANSLIT", commas, paths in old implementations). charset.lua lets through only names it knows. */
static const char *check_charset(lua_State *L, int at)
{
	size_t n;
	const char *name = luaL_checklstring(L, at, &n);
	if (n == 0 || n > CHARSET_NAME_BYTES)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];
		bool is_alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
		if (!is_alnum && !strchr("-_.:+", c))
			return NULL;
	}
	return name;
}

static int unknown_charset(lua_State *L, int at)
{
	lua_pushnil(L);
	lua_pushfstring(L, "charset \"%s\" is not known to iconv", lua_tostring(L, at));
	lua_pushliteral(L, "charset");
	return 3;
}

struct conversion {
	size_t made;     /* bytes in the pad */
	size_t replaced; /* input bytes that became U+FFFD */
	size_t left;     /* bytes at the end that are an unfinished character */
};

/* Converts in[0..n) to UTF-8 into the pad, from offset 0. Each bad byte becomes U+FFFD and conversion goes on after it;
 * that is at most one iconv call per input byte, so linear. glibc lets through UTF-8 above U+10FFFF and surrogates from
 * some charsets, so what it made is checked once more. MAY_RAISE (out of memory). */
static struct conversion convert(lua_State *L, struct pad *p, iconv_t cd, const unsigned char *in, size_t n)
{
	struct conversion r = { 0, 0, 0 };
	char *from = (char *)in; /* iconv's prototype is older than const; it does not write there */
	size_t left = n;
	pad_grow(L, p, 2 * n + 64);
	while (left > 0) {
		char *to = (char *)p->bytes + r.made;
		size_t room = p->size - r.made;
		size_t rc = iconv(cd, &from, &left, &to, &room);
		int why = errno;
		r.made = (size_t)(to - (char *)p->bytes);
		if (rc != (size_t)-1)
			break;
		if (why == EINVAL) {
			r.left = left;
			break;
		}
		pad_grow(L, p, r.made + 4 * left + 64);
		if (why == E2BIG)
			continue;
		memcpy(p->bytes + r.made, "\xEF\xBF\xBD", 3); /* EILSEQ */
		r.made += 3;
		r.replaced++;
		from++;
		left--;
	}
	size_t skip, good = 0, got;
	while (good < r.made && (got = utf8_sequence(p->bytes + good, r.made - good, &skip)) > 0)
		good += got;
	if (good < r.made) {
		size_t bad, rest = r.made - good;
		pad_grow(L, p, r.made + 3 * rest);
		size_t clean = utf8_clean(p->bytes + good, rest, p->bytes + r.made, &bad);
		memmove(p->bytes + good, p->bytes + r.made, clean);
		r.made = good + clean;
		r.replaced += bad;
	}
	return r;
}

static iconv_t cached_iconv(struct pad *p, const char *name)
{
	for (int i = 0; i < ICONV_CACHE; i++) {
		if (strcmp(p->cached[i].name, name) == 0) {
			iconv(p->cached[i].cd, NULL, NULL, NULL, NULL); /* back to the initial shift state */
			return p->cached[i].cd;
		}
	}
	iconv_t cd = iconv_open("UTF-8", name);
	if (cd == (iconv_t)-1)
		return cd;
	struct cached_iconv *slot = &p->cached[p->next_victim++ % ICONV_CACHE];
	if (slot->name[0])
		iconv_close(slot->cd);
	strcpy(slot->name, name); /* check_charset bounds it */
	slot->cd = cd;
	return cd;
}

/* to_utf8(s, charset) -> text, count of replaced bytes | nil, text, "charset" */
static int to_utf8(lua_State *L)
{
	struct pad *p = the_pad(L);
	size_t n;
	const char *in = luaL_checklstring(L, 1, &n);
	const char *name = check_charset(L, 2);
	iconv_t cd = name ? cached_iconv(p, name) : (iconv_t)-1;
	if (cd == (iconv_t)-1)
		return unknown_charset(L, 2);
	struct conversion r = convert(L, p, cd, (const unsigned char *)in, n);
	if (r.left) { /* the text ends inside a character */
		pad_grow(L, p, r.made + 3);
		memcpy(p->bytes + r.made, "\xEF\xBF\xBD", 3);
		r.made += 3;
		r.replaced++;
	}
	pad_push(L, p, r.made);
	lua_pushinteger(L, (lua_Integer)r.replaced);
	return 2;
}

struct converter {
	iconv_t       cd;           /* owned; (iconv_t)-1 when closed */
	unsigned char held[16];     /* an unfinished character; the longest (GB 18030, escapes of ISO 2022) are 4 */
	size_t        held_size;
	size_t        replaced;
};

static int converter_new(lua_State *L)
{
	const char *name = check_charset(L, 1);
	struct converter *c = lua_newuserdata(L, sizeof *c);
	memset(c, 0, sizeof *c);
	c->cd = (iconv_t)-1;
	luaL_getmetatable(L, CONVERTER_TYPE);
	lua_setmetatable(L, -2);
	if (name)
		c->cd = iconv_open("UTF-8", name);
	return c->cd == (iconv_t)-1 ? unknown_charset(L, 1) : 1;
}

static struct converter *check_converter(lua_State *L)
{
	struct converter *c = luaL_checkudata(L, 1, CONVERTER_TYPE);
	if (c->cd == (iconv_t)-1)
		luaL_error(L, "converter is closed");
	return c;
}

static int converter_feed(lua_State *L)
{
	struct converter *c = check_converter(L);
	struct pad *p = the_pad(L);
	size_t n;
	const unsigned char *in = slice(L, 2, &n);
	unsigned char *joined = NULL;
	if (c->held_size) { /* GC-owned, because convert() below may raise */
		joined = lua_newuserdata(L, c->held_size + n);
		memcpy(joined, c->held, c->held_size);
		memcpy(joined + c->held_size, in, n);
		in = joined;
		n += c->held_size;
		c->held_size = 0;
	}
	struct conversion r = convert(L, p, c->cd, in, n);
	c->replaced += r.replaced;
	if (r.left > sizeof c->held) { /* no charset has characters that long: drop, but say so */
		pad_grow(L, p, r.made + 3);
		memcpy(p->bytes + r.made, "\xEF\xBF\xBD", 3);
		r.made += 3;
		c->replaced++;
	} else {
		memcpy(c->held, in + n - r.left, r.left);
		c->held_size = r.left;
	}
	pad_push(L, p, r.made);
	return 1;
}

/* finish() -> last text, bytes replaced in all */
static int converter_finish(lua_State *L)
{
	struct converter *c = check_converter(L);
	if (c->held_size)
		c->replaced++;
	lua_pushstring(L, c->held_size ? "\xEF\xBF\xBD" : "");
	lua_pushinteger(L, (lua_Integer)c->replaced);
	c->held_size = 0;
	c->replaced = 0;
	iconv(c->cd, NULL, NULL, NULL, NULL);
	return 2;
}

static int converter_close(lua_State *L)
{
	struct converter *c = luaL_checkudata(L, 1, CONVERTER_TYPE);
	if (c->cd != (iconv_t)-1)
		iconv_close(c->cd);
	c->cd = (iconv_t)-1;
	return 0;
}

/* ---- domain names (RFC 5890, IDNA2008; libidn2 maps as UTS 46, non-transitional) ---- */

static int idna_result(lua_State *L, int rc, char *made)
{
	if (rc != IDN2_OK) {
		lua_pushnil(L);
		lua_pushfstring(L, "domain \"%s\": %s", lua_tostring(L, 1), idn2_strerror(rc));
		lua_pushliteral(L, "idna");
		return 3;
	}
	size_t n = strlen(made);
	if (n > 1024) /* 4 bytes for each of 255 */
		n = 1024;
	char copy[1024];
	memcpy(copy, made, n);
	idn2_free(made); /* before anything that may raise */
	lua_pushlstring(L, copy, n);
	return 1;
}

static const char *check_domain(lua_State *L)
{
	size_t n;
	const char *s = luaL_checklstring(L, 1, &n);
	return strlen(s) == n && n <= 1024 ? s : NULL;
}

static int idna_to_ascii(lua_State *L)
{
	const char *domain = check_domain(L);
	char *made = NULL;
	int rc = domain ? idn2_to_ascii_8z(domain, &made, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT) : IDN2_TOO_BIG_DOMAIN;
	return idna_result(L, rc, made);
}

static int idna_to_unicode(lua_State *L)
{
	const char *domain = check_domain(L);
	char *made = NULL;
	int rc = domain ? idn2_to_unicode_8z8z(domain, &made, 0) : IDN2_TOO_BIG_DOMAIN;
	return idna_result(L, rc, made);
}

/* ---- the module -------------------------------------------------------------------------------------------------- */

static const luaL_Reg functions[] = {
	{ "base64_decode", base64_decode_lua },     /* (s[, i, j]) -> bytes, bad */
	{ "base64_encode", base64_encode_lua },     /* (s[, width]) -> text; width 0: one line */
	{ "qp_decode", qp_decode_lua },             /* (s[, i, j]) -> bytes, bad */
	{ "qp_encode", qp_encode_lua },             /* (s) -> text, lines of at most 76 */
	{ "q_decode", q_decode_lua },               /* (s[, i, j]) -> bytes, bad */
	{ "uu_decode", uu_decode_lua },             /* (s[, i, j]) -> bytes, bad */
	{ "decoder", decoder_new },                 /* ("base64" | "quoted-printable" | "x-uuencode") -> decoder */
	{ "encoder", encoder_new },                 /* ("base64" | "quoted-printable") -> encoder */
	{ "is_utf8", is_utf8 },
	{ "clean_utf8", clean_utf8 },
	{ "to_utf8", to_utf8 },
	{ "converter", converter_new },             /* (charset) -> converter | nil, text, "charset" */
	{ "idna_to_ascii", idna_to_ascii },         /* (domain) -> domain | nil, text, "idna" */
	{ "idna_to_unicode", idna_to_unicode },
	{ NULL, NULL }
};

static const luaL_Reg decoder_methods[] = {
	{ "feed", decoder_feed }, { "count", decoder_count }, { "finish", decoder_finish }, { NULL, NULL }
};
static const luaL_Reg encoder_methods[] = {
	{ "feed", encoder_feed }, { "finish", encoder_finish }, { NULL, NULL }
};
static const luaL_Reg converter_methods[] = {
	{ "feed", converter_feed }, { "finish", converter_finish }, { "close", converter_close },
	{ "__gc", converter_close }, { NULL, NULL }
};

/* before: [pad]  after: [pad] -- methods close over the pad too */
static void new_type(lua_State *L, const char *type, const luaL_Reg *methods)
{
	luaL_newmetatable(L, type);                     /* [pad, mt] */
	for (const luaL_Reg *m = methods; m->name; m++) {
		lua_pushvalue(L, -2);
		lua_pushcclosure(L, m->func, 1);        /* [pad, mt, method] */
		lua_setfield(L, -2, m->name);
	}
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}

int luaopen_moonmilter_codec(lua_State *L)
{
	base64_init();
	struct pad *p = lua_newuserdata(L, sizeof *p);
	memset(p, 0, sizeof *p);
	luaL_newmetatable(L, PAD_TYPE);
	lua_pushcfunction(L, pad_gc);
	lua_setfield(L, -2, "__gc");
	lua_setmetatable(L, -2);                        /* [pad] */
	new_type(L, DECODER_TYPE, decoder_methods);
	new_type(L, ENCODER_TYPE, encoder_methods);
	new_type(L, CONVERTER_TYPE, converter_methods);
	lua_newtable(L);                                /* [pad, module] */
	for (const luaL_Reg *f = functions; f->name; f++) {
		lua_pushvalue(L, -2);
		lua_pushcclosure(L, f->func, 1);
		lua_setfield(L, -2, f->name);
	}
	return 1;
}
