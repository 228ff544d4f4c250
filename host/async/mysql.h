/* async/mysql.h -- MariaDB and MySQL for async/database.h, over libmariadb, which is loaded when the first database is
 * opened. Settings: user, password, dbname. Connections speak utf8mb4, send no local files, and use no TLS: the library
 * waits for the handshake. Parts of a question: SQL and values in turn, SQL first; a value is escaped as between single
 * quotes. One statement for each question. */
#ifndef MM_ASYNC_MYSQL_H
#define MM_ASYNC_MYSQL_H

#include "async/database.h"

extern const struct mm_database_driver mm_mysql_driver;

#endif
