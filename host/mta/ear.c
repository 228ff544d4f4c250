/* mta/ear.c -- see moonmilter_testing.h: what a filter says, judged and obeyed, for moonmilter.testing. */
#include "moonmilter_testing.h"

#include "mta/mail_edit.h"

#include <stdio.h>
#include <stdlib.h>

struct mm_ear {
	struct mm_mta       mta;
	enum mm_mta_kind    kind;
	bool                has_message;
	struct mm_mail_file mail;
	struct mm_buffer    result;     /* owned */
};

struct mm_ear *mm_ear_open(const char *kind, unsigned version, unsigned actions, unsigned steps, struct mm_error *error)
{
	struct mm_fault why;
	bool is_sendmail = strcmp(kind, "sendmail") == 0;
	struct mm_ear *e = is_sendmail || strcmp(kind, "postfix") == 0 ? calloc(1, sizeof *e) : NULL;
	if (e == NULL) {
		mm_fault_set(&why, MM_FAULT_CONFIG, "there is no MTA \"%s\"; postfix and sendmail are", kind);
		mm_fault_tell(&why, error);
		return NULL;
	}
	e->kind = is_sendmail ? MM_MTA_SENDMAIL : MM_MTA_POSTFIX;
	mm_mta_init(&e->mta, &(struct mm_offer){ version, actions, steps });
	return e;
}

static bool decode(char letter, const void *data, size_t size, struct mm_mta_reply *out, struct mm_fault *why)
{
	return mm_mta_decode(&(struct mm_packet){ .letter = (uint8_t)letter, .data = data, .size = size }, out, why);
}

bool mm_ear_hear(struct mm_ear *e, char command, char letter, const void *data, size_t size, struct mm_error *error)
{
	struct mm_mta_reply r;
	struct mm_fault why;
	bool ok = decode(letter, data, size, &r, &why) && mm_mta_accepts(&e->mta, (uint8_t)command, &r, &why)
		&& (letter != SMFIR_OPTNEG || mm_mta_agree(&e->mta, &r, &why));
	return ok || mm_fault_tell(&why, error);
}

bool mm_ear_message(struct mm_ear *e, const void *bytes, size_t size, struct mm_error *error)
{
	struct mm_fault why;
	mm_mail_file_free(&e->mail);
	e->has_message = mm_mail_file_parse(&e->mail, bytes, size, &why)
		&& mm_mail_edit_take_in(&e->mail, e->kind, &why);
	return e->has_message || mm_fault_tell(&why, error);
}

bool mm_ear_edit(struct mm_ear *e, char letter, const void *data, size_t size, struct mm_error *error)
{
	struct mm_mta_reply r;
	struct mm_fault why;
	bool space = e->mta.agreed.steps & SMFIP_HDR_LEADSPC;
	if (!e->has_message) {
		mm_fault_set(&why, MM_FAULT_CONFIG, "there is no message to edit");
		return mm_fault_tell(&why, error);
	}
	return (decode(letter, data, size, &r, &why) && mm_mail_edit_apply(&e->mail, e->kind, space, &r, &why))
		|| mm_fault_tell(&why, error);
}

const void *mm_ear_result(struct mm_ear *e, size_t *size)
{
	mm_buffer_clear(&e->result);
	*size = 0;
	if (!e->has_message)
		return NULL;
	mm_mail_file_write(&e->mail, &e->result);
	if (e->result.failed)
		return NULL;
	*size = e->result.size;
	return e->result.bytes;
}

void mm_ear_close(struct mm_ear *e)
{
	if (e == NULL)
		return;
	mm_mta_free(&e->mta);
	mm_mail_file_free(&e->mail);
	mm_buffer_free(&e->result);
	free(e);
}
