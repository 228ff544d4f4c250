/* async/mysql.h -- MariaDB and MySQL for async/database.h, over libmariadb, which is loaded when the first database is
 * opened. Settings: user, password, dbname; tls ("yes": a connection without TLS fails), tls_verify_cert ("yes": the
 * server's certificate must be for its name), tls_CAfile, tls_CApath, tls_cert_file, tls_key_file, tls_ciphers.
 * Connections speak utf8mb4 and send no local files. Parts of a question: SQL and values in turn, SQL first; a value is
 * escaped as between single quotes. One statement for each question. */
#ifndef MM_ASYNC_MYSQL_H
#define MM_ASYNC_MYSQL_H

#include "async/database.h"

extern const struct mm_database_driver mm_mysql_driver;

#endif
