#include "mta/mta_macros.h"

#include <stdio.h>

typedef struct mm_text value_of(struct mm_mta_facts *);

static struct mm_text none(void)
{
	return (struct mm_text){ NULL, 0 };
}

static struct mm_text text_of(const char *s)
{
	return s != NULL ? (struct mm_text){ s, strlen(s) } : none();
}

static bool is_postfix(const struct mm_mta_facts *f)
{
	return f->kind != MM_MTA_SENDMAIL;
}

const char *mm_mta_address_prefix(const struct mm_mta_facts *f)
{
	return f->client.family == MM_FAMILY_INET6 && !is_postfix(f) ? "IPv6:" : "";
}

struct mm_text mm_mta_client_name(struct mm_mta_facts *f)
{
	if (f->client.host != NULL)
		return text_of(f->client.host);
	if (f->client.family == MM_FAMILY_UNKNOWN)
		return text_of("unknown");
	if (f->client.family == MM_FAMILY_UNIX)
		return text_of("localhost");
	snprintf(f->scratch, sizeof f->scratch, "[%s%s]", mm_mta_address_prefix(f), f->client.address);
	return text_of(f->scratch);
}

static struct mm_text client_both(struct mm_mta_facts *f)
{
	char name[512];
	struct mm_text host = mm_mta_client_name(f);
	snprintf(name, sizeof name, "%.*s", (int)(host.size < 500 ? host.size : 500), host.bytes);
	if (f->client.address == NULL || f->client.host == NULL)
		snprintf(f->scratch, sizeof f->scratch, "%s", name);
	else
		snprintf(f->scratch, sizeof f->scratch, "%s [%s%s]", name, mm_mta_address_prefix(f), f->client.address);
	return text_of(f->scratch);
}

static struct mm_text client_port(struct mm_mta_facts *f)
{
	snprintf(f->scratch, sizeof f->scratch, "%u", f->client.port);
	return text_of(f->scratch);
}

static struct mm_text queue_id(struct mm_mta_facts *f)
{
	/* Postfix names a message when its queue file exists: after the first recipient that it
	 * accepts (protocol 6.3) */
	if (!f->in_envelope || (is_postfix(f) && f->recipients_taken == 0))
		return none();
	snprintf(f->scratch, sizeof f->scratch, is_postfix(f) ? "4MoonM%06uz" : "4BMoon%06u", f->number);
	return text_of(f->scratch);
}

static struct mm_text host_of(struct mm_text bare)
{
	const char *at = bare.size > 0 ? memrchr(bare.bytes, '@', bare.size) : NULL;
	return at != NULL ? (struct mm_text){ at + 1, bare.size - (size_t)(at + 1 - bare.bytes) }
		: (struct mm_text){ "", 0 };
}

static struct mm_text sender(struct mm_mta_facts *f)
{
	return f->in_envelope ? mm_address_bare(mm_mail_text(f->mail, f->mail->sender)) : none();
}

static struct mm_text recipient(struct mm_mta_facts *f)
{
	return f->in_envelope && f->recipient.bytes != NULL ? mm_address_bare(f->recipient) : none();
}

static struct mm_text mailer(struct mm_mta_facts *f, struct mm_text bare)
{
	if (bare.bytes == NULL)
		return none();
	return text_of(bare.size == 0 ? "local" : is_postfix(f) ? "smtp" : "esmtp");
}

static struct mm_text v_j(struct mm_mta_facts *f) { return text_of(f->mta_name); }
static struct mm_text v_v(struct mm_mta_facts *f) { return text_of(is_postfix(f) ? "Postfix 3.7.11" : "8.17.1.9"); }
static struct mm_text v_daemon(struct mm_mta_facts *f) { return text_of(is_postfix(f) ? f->mta_name : "MTA"); }
static struct mm_text v_daemon_addr(struct mm_mta_facts *f) { (void)f; return text_of("192.0.2.25"); }
static struct mm_text v_daemon_port(struct mm_mta_facts *f) { (void)f; return text_of("25"); }
static struct mm_text v_if_name(struct mm_mta_facts *f) { return is_postfix(f) ? none() : text_of(f->mta_name); }
static struct mm_text v_if_addr(struct mm_mta_facts *f) { return is_postfix(f) ? none() : text_of("192.0.2.25"); }
static struct mm_text v_address(struct mm_mta_facts *f) { return text_of(f->client.address); }
static struct mm_text v_ptr(struct mm_mta_facts *f) { return text_of(f->client.host); }
static struct mm_text v_resolve(struct mm_mta_facts *f) { return text_of(f->client.host != NULL ? "OK" : "FAIL"); }
static struct mm_text v_connections(struct mm_mta_facts *f) { (void)f; return text_of("1"); }
static struct mm_text v_auth(struct mm_mta_facts *f) { return text_of(f->client.auth_user); }
static struct mm_text v_auth_type(struct mm_mta_facts *f) {
	return text_of(f->client.auth_user != NULL ? "PLAIN" : NULL); }
static struct mm_text v_tls_version(struct mm_mta_facts *f) { return text_of(f->client.tls_version); }
static struct mm_text v_cipher(struct mm_mta_facts *f) { return text_of(f->client.cipher); }
static struct mm_text v_cipher_bits(struct mm_mta_facts *f) { return text_of(f->client.cipher_bits); }
static struct mm_text v_cert_subject(struct mm_mta_facts *f) { return text_of(f->client.cert_subject); }
static struct mm_text v_cert_issuer(struct mm_mta_facts *f) { return text_of(f->client.cert_issuer); }
static struct mm_text v_mail_host(struct mm_mta_facts *f) { return host_of(sender(f)); }
static struct mm_text v_mail_mailer(struct mm_mta_facts *f) { return mailer(f, sender(f)); }
static struct mm_text v_rcpt_host(struct mm_mta_facts *f) { return host_of(recipient(f)); }
static struct mm_text v_rcpt_mailer(struct mm_mta_facts *f) { return mailer(f, recipient(f)); }

static struct mm_text v_msg_id(struct mm_mta_facts *f)
{
	if (is_postfix(f) || !f->in_envelope)
		return none();
	struct mm_text id = mm_mail_file_value(f->mail, "Message-Id");
	while (id.size > 0 && (id.bytes[0] == ' ' || id.bytes[0] == '\t' || id.bytes[0] == '\n')) {
		id.bytes++;
		id.size--;
	}
	while (id.size > 0 && (id.bytes[id.size - 1] == ' ' || id.bytes[id.size - 1] == '\t'))
		id.size--;
	return id;
}

static const struct {
	const char *name;               /* without braces */
	value_of   *value;
} known_macros[] = {
	{ "j", v_j }, { "_", client_both }, { "v", v_v }, { "i", queue_id },
	{ "daemon_name", v_daemon }, { "daemon_addr", v_daemon_addr }, { "daemon_port", v_daemon_port },
	{ "if_name", v_if_name }, { "if_addr", v_if_addr },
	{ "client_name", mm_mta_client_name }, { "client_addr", v_address }, { "client_port", client_port },
	{ "client_ptr", v_ptr },
	{ "client_resolve", v_resolve }, { "client_connections", v_connections },
	{ "tls_version", v_tls_version }, { "cipher", v_cipher }, { "cipher_bits", v_cipher_bits },
	{ "cert_subject", v_cert_subject }, { "cert_issuer", v_cert_issuer },
	{ "auth_type", v_auth_type }, { "auth_authen", v_auth },
	{ "mail_addr", sender }, { "mail_host", v_mail_host }, { "mail_mailer", v_mail_mailer },
	{ "rcpt_addr", recipient }, { "rcpt_host", v_rcpt_host }, { "rcpt_mailer", v_rcpt_mailer },
	{ "msg_id", v_msg_id },
};

#define TLS_MACROS "{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}"

/* Protocol 6.3. NULL: no list, so no packet. */
static const char *const postfix_lists[MM_MACRO_SET_COUNT] = {
	[MM_MACRO_SET_connect] = "j {daemon_name} {daemon_addr} v _", [MM_MACRO_SET_helo] = TLS_MACROS,
	[MM_MACRO_SET_mail] = "i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}",
	[MM_MACRO_SET_rcpt] = "i {rcpt_addr} {rcpt_host} {rcpt_mailer}", [MM_MACRO_SET_data] = "i",
	[MM_MACRO_SET_eoh] = "i",
	[MM_MACRO_SET_eom] = "i",
};
static const char *const sendmail_lists[MM_MACRO_SET_COUNT] = {
	[MM_MACRO_SET_connect] = "j _ {daemon_name} {if_name} {if_addr}", [MM_MACRO_SET_helo] = TLS_MACROS,
	[MM_MACRO_SET_mail] = "i {auth_type} {auth_authen} {auth_ssf} {auth_author} {mail_mailer} "
		"{mail_host} {mail_addr}",
	[MM_MACRO_SET_rcpt] = "{rcpt_mailer} {rcpt_host} {rcpt_addr}", [MM_MACRO_SET_eom] = "{msg_id}",
};

/* Sendmail 8.17 checks the list for end-of-headers to decide which list end-of-message gets (protocol 4.5). */
static struct mm_text list_of(const struct mm_mta_facts *f, enum mm_macro_set set)
{
	const struct mm_mta *m = f->mta;
	struct mm_text asked = { (const char *)m->lists[set].bytes, m->lists[set].size };
	if (is_postfix(f))
		return m->has_list[set] && asked.size > 0 ? asked : text_of(postfix_lists[set]);
	bool is_asked = m->has_list[set == MM_MACRO_SET_eom ? MM_MACRO_SET_eoh : set];
	if (!is_asked)
		return text_of(sendmail_lists[set]);
	return asked.size > 0 ? asked : none();
}

static struct mm_text bare_name(struct mm_text name)
{
	if (name.size >= 2 && name.bytes[0] == '{' && name.bytes[name.size - 1] == '}')
		return (struct mm_text){ name.bytes + 1, name.size - 2 };
	return name;
}

static bool same(struct mm_text a, struct mm_text b)
{
	a = bare_name(a);
	b = bare_name(b);
	return a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

static struct mm_text next_name(struct mm_text *list)
{
	while (list->size > 0 && (*list->bytes == ' ' || *list->bytes == ',')) {
		list->bytes++;
		list->size--;
	}
	struct mm_text name = { list->bytes, 0 };
	while (name.size < list->size && name.bytes[name.size] != ' ' && name.bytes[name.size] != ',')
		name.size++;
	list->bytes += name.size;
	list->size -= name.size;
	return name;
}

static bool is_listed(const struct mm_mta_facts *f, enum mm_macro_set set, struct mm_text name)
{
	struct mm_text list = list_of(f, set), listed;
	while (list.size > 0 && (listed = next_name(&list)).size > 0)
		if (same(listed, name))
			return true;
	return false;
}

static struct mm_text macro_value(struct mm_mta_facts *f, enum mm_macro_set set, struct mm_text name)
{
	for (size_t i = 0; i < f->macro_count; i++) {
		const struct mm_mta_macro *m = &f->macros[i];
		if (same(m->name, name) && (m->set < 0 || m->set == (int)set))
			return m->value;
	}
	for (size_t i = 0; i < sizeof known_macros / sizeof *known_macros; i++)
		if (same(text_of(known_macros[i].name), name))
			return known_macros[i].value(f);
	return none();
}

/* A macro of the plan that no list asks for: sent at its own stage, or at connect so that it is known throughout. */
static bool is_extra(const struct mm_mta_facts *f, const struct mm_mta_macro *m, enum mm_macro_set set)
{
	if (m->value.bytes == NULL)
		return false;
	if (m->set >= 0)
		return m->set == (int)set && !is_listed(f, set, m->name);
	if (set != MM_MACRO_SET_connect)
		return false;
	for (int other = 0; other < MM_MACRO_SET_COUNT; other++)
		if (is_listed(f, (enum mm_macro_set)other, m->name))
			return false;
	return true;
}

static void append_pair(struct mm_buffer *pairs, struct mm_text name, struct mm_text value)
{
	mm_buffer_append_text(pairs, name.bytes, name.size);
	mm_buffer_append_text(pairs, value.bytes, value.size);
}

/* Writes the macro packet before a command. letter: as in the packet. */
static void write_macros(struct mm_mta_facts *f, uint8_t letter, enum mm_macro_set set, struct mm_buffer *out)
{
	struct mm_text list = list_of(f, set), name;
	struct mm_buffer pairs = { 0 };
	bool is_due = list.bytes != NULL;
	mm_buffer_append_u8(&pairs, letter);
	while (list.size > 0 && (name = next_name(&list)).size > 0) {
		struct mm_text value = macro_value(f, set, name);
		if (value.bytes != NULL)
			append_pair(&pairs, name, value);
	}
	for (size_t i = 0; i < f->macro_count; i++) {
		if (!is_extra(f, &f->macros[i], set))
			continue;
		append_pair(&pairs, f->macros[i].name, f->macros[i].value);
		is_due = true;
	}
	if (pairs.failed)
		out->failed = true;
	else if (is_due)
		mm_frame_write(out, SMFIC_MACRO, pairs.bytes, pairs.size);
	mm_buffer_free(&pairs);
}

/* Decides which macros go before a command, and whether also when the command itself is switched off (protocol 2.2). */
void mm_mta_write_macros_before(struct mm_mta_facts *f, uint8_t letter, struct mm_buffer *out)
{
	bool sends = mm_mta_sends(f->mta, letter);
	switch (letter) {
	case SMFIC_CONNECT: write_macros(f, letter, MM_MACRO_SET_connect, out); break;
	case SMFIC_HELO: write_macros(f, letter, MM_MACRO_SET_helo, out); break;
	case SMFIC_MAIL: write_macros(f, letter, MM_MACRO_SET_mail, out); break;
	case SMFIC_RCPT: write_macros(f, letter, MM_MACRO_SET_rcpt, out); break;
	case SMFIC_DATA: write_macros(f, letter, MM_MACRO_SET_data, out); break;
	case SMFIC_BODYEOB: write_macros(f, letter, MM_MACRO_SET_eom, out); break;
	case SMFIC_EOH: if (sends) write_macros(f, letter, MM_MACRO_SET_eoh, out); break;
	case SMFIC_HEADER: if (sends && is_postfix(f)) write_macros(f, letter, MM_MACRO_SET_eoh, out); break;
	case SMFIC_BODY: if (sends && is_postfix(f)) write_macros(f, letter, MM_MACRO_SET_eom, out); break;
	case SMFIC_UNKNOWN: if (sends && is_postfix(f)) mm_frame_write(out, SMFIC_MACRO, "U", 1); break;
	}
}
