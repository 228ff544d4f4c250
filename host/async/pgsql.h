/* async/pgsql.h -- PostgreSQL for async/database.h, over libpq, which is loaded when the first database is opened.
 * Settings: keywords of libpq's connection strings (user, password, dbname, sslmode, …). Connections speak UTF-8 and
 * never Kerberos, whose library blocks. Parts of a question: SQL and values in turn, SQL first; a value is escaped as
 * between quotes ('…') of a plain string. One statement for each question. */
#ifndef MM_ASYNC_PGSQL_H
#define MM_ASYNC_PGSQL_H

#include "async/database.h"

extern const struct mm_database_driver mm_pgsql_driver;

#endif
