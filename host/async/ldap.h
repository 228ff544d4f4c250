/* async/ldap.h -- LDAP directories for async/database.h, over libldap, which is loaded when the first one is opened.
 * Settings: version ("2" or "3"); bind ("yes": a simple bind begins a connection), bind_dn, bind_pw; start_tls or
 * ldaps ("yes": TLS begins it), tls_require_cert ("yes": the server's certificate must be for its name),
 * tls_ca_cert_file, tls_ca_cert_dir, tls_cert, tls_key, tls_cipher_suite. libldap gets a connected socket, so it
 * resolves no names; it follows no referrals.
 * Parts of a question: base, scope ("0" base, "1" one level, "2" subtree), filter (RFC 4515, with values that are
 * escaped), dereference ("0" to "3"), size limit ("0": none), "1" when a base that does not exist is no failure, then
 * the names of attributes. A row of the answer is an entry: its DN, then names of attributes and values in turn. */
#ifndef MM_ASYNC_LDAP_H
#define MM_ASYNC_LDAP_H

#include "async/database.h"

extern const struct mm_database_driver mm_ldap_driver;

#endif
